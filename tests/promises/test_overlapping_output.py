"""Results never go where rows are still to be read."""

import numpy as np
import pytest
from scipy import sparse

from skvae import BetaVAE, RowStore


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


@pytest.fixture
def model(X):
    return BetaVAE(n_components=5, hidden_layer_sizes=(8,), max_epochs=1, random_state=0).fit(X)


@pytest.mark.parametrize("rows", [slice(0, 40), slice(1, 41)])
def test_an_output_in_the_memory_of_X_is_an_error(rows, X, model):
    memory = np.zeros((41, 5), np.float32)
    memory[:40] = X
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.transform(memory[:40], out=memory[rows])
    np.testing.assert_array_equal(memory[:40], X)


def test_an_output_in_the_values_of_sparse_X_is_an_error(X, model):
    rows = sparse.csr_array(X)
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.transform(rows, out=rows.data.reshape(40, 5))


@pytest.mark.parametrize("wrap", [lambda X: X, RowStore])
def test_two_maps_of_the_same_bytes_share_them(wrap, X, model, tmp_path):
    np.save(tmp_path / "X.npy", X)
    rows, out = (np.load(tmp_path / "X.npy", mmap_mode="r+") for _ in range(2))
    with pytest.raises(ValueError, match="out shares memory with X"):
        model.transform(wrap(rows), out=out)
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), X)


def test_other_columns_of_the_same_memory_are_no_overlap(X, model):
    memory = np.zeros((40, 10), np.float32)
    memory[:, ::2] = X
    model.transform(memory[:, ::2], out=memory[:, 1::2])
    np.testing.assert_array_equal(memory[:, 1::2], model.transform(X))
