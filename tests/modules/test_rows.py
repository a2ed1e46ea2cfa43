"""Rows of X: as tensors, in minibatches, in a random order, and what is computed of them."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse

from skvae.rows import bounds, mapping
from skvae.rows.bounds import bounded_minibatches
from skvae.rows.covariates import Covariates
from skvae.rows.kinds import Levels
from skvae.rows.mapping import map_rows, mean_over_rows
from skvae.rows.moments import Moments
from skvae.rows.rows import Rows
from skvae.rows.shuffling import ShuffledMinibatches
from skvae.sparse import SparseBatch

DENSE = np.random.default_rng(0).poisson(0.3, size=(23, 7)).astype(np.float64)
FORMS = {"dense": DENSE, "csr_matrix": sparse.csr_matrix(DENSE), "csr_array": sparse.csr_array(DENSE)}


def shuffled(rows, seed=0):
    return ShuffledMinibatches(rows, math.ceil(rows.n_visits / 5), torch.Generator().manual_seed(seed), "cpu")


def levels(n_levels):
    return Covariates({None: Levels(np.arange(n_levels))})


def moments_of(rows):
    moments = Moments()
    for minibatch in bounded_minibatches(rows):
        moments.add(rows[minibatch][0], rows.weights_of(minibatch))
    return moments.mean_and_variance()


def rows_of(iterator):
    """Return the rows of a pass, sorted."""
    return sorted(map(tuple, torch.cat([x for _, x in iterator]).numpy()))


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_rows_are_dense_tensors_of_the_dtype(X):
    minibatch, _ = Rows(X, np.float32)[np.array([3, 1])]
    assert minibatch.dtype == torch.float32
    np.testing.assert_array_equal(minibatch, DENSE[[3, 1]])


def test_rows_share_no_memory_with_x():
    X = DENSE.copy()
    x, _ = Rows(X, np.float64)[slice(0, 2)]
    x.zero_()
    np.testing.assert_array_equal(X, DENSE)


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_a_pass_holds_each_row_once(X):
    assert rows_of(shuffled(Rows(X, np.float64))) == sorted(map(tuple, DENSE))


def test_covariates_are_one_in_the_column_of_the_category():
    categories = np.arange(23) % 3
    _, covariates = Rows(DENSE, np.float32, levels(3), categories[:, np.newaxis])[np.array([0, 4, 5])]
    np.testing.assert_array_equal(covariates, np.eye(3, dtype=np.float32))
    (x, covariates), _ = next(
        iter(shuffled(Rows(categories[:, np.newaxis] * 1.0, np.float32, levels(3), categories[:, np.newaxis])))
    )
    np.testing.assert_array_equal(covariates.argmax(dim=1), x[:, 0])


def test_without_categories_there_are_no_covariates():
    _, covariates = Rows(DENSE, np.float32)[:4]
    assert covariates.shape == (4, 0)


def test_a_pass_holds_each_row_as_often_as_its_weight():
    weights = np.arange(23) % 4
    assert rows_of(shuffled(Rows(DENSE, np.float64, weights=weights * 1.0))) == sorted(
        map(tuple, DENSE.repeat(weights, axis=0))
    )


def test_passes_hold_each_row_as_often_as_its_fractional_weight_on_average():
    weights = np.linspace(0.1, 2.1, 23)
    iterator = shuffled(Rows(np.arange(23.0)[:, np.newaxis], np.float64, weights=weights))
    visits = sum(np.bincount(np.concatenate(rows_of(iterator)).astype(int), minlength=23) for _ in range(2000))
    # a row comes the next lower or the next higher integer of times
    error = np.sqrt(0.25 / 2000)
    np.testing.assert_allclose(visits / 2000, weights * (round(weights.sum()) / weights.sum()), atol=4 * error)


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_minibatches_do_not_depend_on_the_order_of_x(X):
    order = np.random.default_rng(1).permutation(23)
    passes = [shuffled(Rows(X[i], np.float64, levels(2), i[:, np.newaxis] % 2)) for i in (np.arange(23), order)]
    for ((x, c), _), ((other, other_c), _) in zip(*passes, strict=True):
        torch.testing.assert_close(x, other, rtol=0, atol=0)
        torch.testing.assert_close(c, other_c, rtol=0, atol=0)


def test_minibatches_are_even_and_at_most_of_the_batch_size():
    assert [len(x) for _, x in shuffled(Rows(DENSE, np.float32))] == [5, 5, 5, 4, 4]


def test_each_pass_has_a_new_order_that_the_generator_sets():
    iterator, twin = shuffled(Rows(DENSE, np.float32)), shuffled(Rows(DENSE, np.float32))
    first, second = (torch.cat([x for _, x in iterator]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat([x for _, x in twin]))


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_feature_moments_are_exact(X):
    weights = np.linspace(0, 3, 23)
    mean, variance = moments_of(Rows(X, np.float32, weights=weights))
    expected = np.average(DENSE, axis=0, weights=weights)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_allclose(variance, np.average((DENSE - expected) ** 2, axis=0, weights=weights), rtol=1e-12)


@pytest.mark.parametrize("n_elements", [1, 28, 1000])
@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_map_rows_stacks_the_results_in_order(X, n_elements, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_MINIBATCH_ELEMENTS", n_elements)
    for module in (bounds, mapping):
        monkeypatch.setattr(module, "ROW_MULTIPLE", 1)
    rows = Rows(X, X.dtype, levels(1), np.zeros((23, 1)))
    result = map_rows(lambda x, c: 2 * x[:, :3] + c, rows, 3, "cpu")
    np.testing.assert_array_equal(result, 2 * DENSE[:, :3] + 1)


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_mean_over_rows_is_the_weighted_mean(X, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_MINIBATCH_ELEMENTS", 28)
    for module in (bounds, mapping):
        monkeypatch.setattr(module, "ROW_MULTIPLE", 1)
    weights = np.linspace(0, 3, 23)
    rows = Rows(X, np.float64, levels(1), np.zeros((23, 1)), weights)
    mean = mean_over_rows(lambda x, c: 2 * x[:, :3] + c, rows, 3, "cpu")
    np.testing.assert_allclose(mean, 2 * np.average(DENSE[:, :3], axis=0, weights=weights) + 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("n_outputs", "row_multiple", "n_rows"),
    [(1, 1, 100), (7, 1, 100), (14, 1, 50), (10**9, 1, 1), (1, 32, 96), (10**9, 32, 32)],
)
def test_minibatches_are_sized_by_their_largest_array(n_outputs, row_multiple, n_rows, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_MINIBATCH_ELEMENTS", 700)
    monkeypatch.setattr(bounds, "ROW_MULTIPLE", row_multiple)
    assert next(bounded_minibatches(Rows(np.zeros((200, 7)), np.float32), n_outputs)) == slice(0, n_rows)


@pytest.fixture
def wide():
    """Sparse enough and wide enough to stay sparse in a minibatch."""
    return sparse.random_array((40, 5000), density=0.02, format="csr", random_state=0)


def test_wide_sparse_rows_stay_sparse(wide):
    minibatch, _ = Rows(wide, np.float32)[np.array([3, 1])]
    assert isinstance(minibatch, SparseBatch)
    assert minibatch.rows.values.dtype == torch.float32
    np.testing.assert_array_equal(minibatch.to_dense(), wide[[3, 1]].toarray().astype(np.float32))
    dense = sparse.csr_array(np.ones((40, 5000)))
    assert isinstance(Rows(dense, np.float32)[:2][0], torch.Tensor)


def test_moments_of_sparse_rows_are_exact(wide):
    mean, variance = moments_of(Rows(wide, np.float64))
    np.testing.assert_allclose(mean, wide.toarray().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, wide.toarray().var(axis=0), rtol=1e-10, atol=1e-15)
