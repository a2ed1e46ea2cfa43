import numpy as np
import pytest
import torch
from scipy import sparse

from skvae import batching
from skvae.batching import Rows, ShuffledBatches, feature_moments, map_batches
from skvae.sparse import SparseBatch

DENSE = np.random.default_rng(0).poisson(0.3, size=(23, 7)).astype(np.float64)
FORMS = {"dense": DENSE, "csr_matrix": sparse.csr_matrix(DENSE), "csr_array": sparse.csr_array(DENSE)}


def shuffled(rows, seed=0):
    return ShuffledBatches(rows, 5, torch.Generator().manual_seed(seed), "cpu")


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_rows_are_dense_tensors_of_the_dtype(X):
    batch = Rows(X, np.float32)[np.array([3, 1])]
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch, DENSE[[3, 1]])


def test_rows_share_no_memory_with_x():
    X = DENSE.copy()
    Rows(X, np.float64)[slice(0, 2)].zero_()
    np.testing.assert_array_equal(X, DENSE)


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_a_pass_holds_each_row_once(X):
    seen = torch.cat([x for x, _ in shuffled(Rows(X, np.float64))]).numpy()
    assert sorted(map(tuple, seen)) == sorted(map(tuple, DENSE))


def test_batches_are_even_and_at_most_of_the_batch_size():
    assert [len(x) for x, _ in shuffled(Rows(DENSE, np.float32))] == [5, 5, 5, 4, 4]


def test_each_pass_has_a_new_order_that_the_generator_sets():
    iterator, twin = shuffled(Rows(DENSE, np.float32)), shuffled(Rows(DENSE, np.float32))
    first, second = (torch.cat([x for x, _ in iterator]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat([x for x, _ in twin]))


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_feature_moments_are_exact(X):
    mean, variance = feature_moments(Rows(X, np.float32))
    np.testing.assert_allclose(mean, DENSE.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, DENSE.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("n_elements", [1, 28, 1000])
@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_map_batches_stacks_the_results_in_order(X, n_elements, monkeypatch):
    monkeypatch.setattr(batching, "MAX_BATCH_ELEMENTS", n_elements)
    result = map_batches(lambda x: 2 * x[:, :3], X, X.dtype, 3, "cpu")
    np.testing.assert_array_equal(result, 2 * DENSE[:, :3])


@pytest.mark.parametrize(("n_outputs", "n_rows"), [(1, 100), (7, 100), (14, 50), (10**9, 1)])
def test_batches_are_sized_by_their_largest_array(n_outputs, n_rows, monkeypatch):
    monkeypatch.setattr(batching, "MAX_BATCH_ELEMENTS", 700)
    assert next(batching.batches_by_cost(Rows(np.zeros((200, 7)), np.float32), n_outputs)) == slice(0, n_rows)


@pytest.fixture
def wide():
    """Sparse enough and wide enough to stay sparse in a batch."""
    return sparse.random_array((40, 5000), density=0.02, format="csr", rng=0)


def test_wide_sparse_rows_stay_sparse(wide):
    batch = Rows(wide, np.float32, trains=True)[np.array([3, 1])]
    assert isinstance(batch, SparseBatch)
    assert batch.rows.values.dtype == torch.float32
    np.testing.assert_array_equal(batch.to_dense(), wide[[3, 1]].toarray().astype(np.float32))
    dense = sparse.csr_array(np.ones((40, 5000)))
    assert isinstance(Rows(dense, np.float32)[:2], torch.Tensor)


def test_moments_of_sparse_rows_are_exact(wide):
    mean, variance = feature_moments(Rows(wide, np.float64))
    np.testing.assert_allclose(mean, wide.toarray().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, wide.toarray().var(axis=0), rtol=1e-10, atol=1e-15)


def test_duplicate_entries_are_summed_and_x_is_not_changed(wide):
    halves = sparse.csr_array((np.repeat(wide.data / 2, 2), np.repeat(wide.indices, 2), 2 * wide.indptr), wide.shape)
    np.testing.assert_array_equal(Rows(halves, np.float64)[:40].to_dense(), wide.toarray())
    assert halves.nnz == 2 * wide.nnz
