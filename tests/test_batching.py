import numpy as np
import pytest
import torch
from scipy import sparse

from skvae.batching import Rows, ShuffledBatches, feature_moments, map_batches

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
    mean, variance = feature_moments(Rows(X, np.float32), 5)
    np.testing.assert_allclose(mean, DENSE.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, DENSE.var(axis=0), rtol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_map_batches_stacks_the_results_in_order(X, batch_size):
    result = map_batches(lambda x: 2 * x[:, :3], X, X.dtype, batch_size, "cpu")
    np.testing.assert_array_equal(result, 2 * DENSE[:, :3])
