"""Input: every container and type of X gives what the same numbers in another give."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from models import SMALL, every_estimator
from scipy import sparse

FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")


@every_estimator
@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("layout", FORMATS)
def test_sparse_and_dense_input_give_the_same_bits(Estimator, container, layout, X):
    dense = Estimator(**SMALL).fit_transform(X.toarray())
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(container(X).asformat(layout)), dense)


@every_estimator
def test_sparse_input_is_never_made_dense_as_a_whole(Estimator, monkeypatch):
    heights = []

    def toarray(self, *args, original=sparse.csr_array.toarray, **kwargs):
        heights.append(self.shape[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", toarray)
    for n_features, most in ((2000, 2200), (5000, 0)):  # made dense a batch at a time, or not at all
        X = sparse.random_array((4500, n_features), density=0.01, format="csr", random_state=0, dtype=np.float32)
        estimator = Estimator(**{**SMALL, "max_epochs": 1}).fit(X)
        estimator.transform(X)
        estimator.score(X)
        assert max(heights, default=0) <= most
        heights.clear()


@every_estimator
def test_wide_sparse_input_gives_what_dense_input_gives_within_rounding(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0)
    settings = {**SMALL, "max_epochs": 5, "batch_size": 30, "hidden_layer_sizes": (16,)}
    few, dense = (Estimator(**settings).fit(data) for data in (X, X.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    np.testing.assert_allclose(few.transform(X), dense.transform(X), atol=1e-4)
    np.testing.assert_allclose(few.score_samples(X), few.score_samples(X.toarray()), rtol=1e-9)


@every_estimator
def test_sparse_input_may_be_read_only(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0)
    expected = Estimator(**SMALL).fit_transform(X)
    for part in (X.data, X.indices, X.indptr):
        part.setflags(write=False)
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(X), expected)


@every_estimator
def test_sparse_features_that_hardly_vary_beside_a_large_mean_lose_no_precision(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0).tolil()
    X[:, :3] = 1e4 + np.arange(270).reshape(90, 3) % 7
    X = X.tocsr()
    few, dense = (Estimator(**SMALL, likelihood="unit_gaussian").fit(data) for data in (X, X.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    single = X.astype(np.float32)
    np.testing.assert_allclose(few.score_samples(single), few.score_samples(single.toarray()), rtol=1e-4)


@every_estimator
def test_the_embedding_has_the_float_type_of_the_input(Estimator, X):
    for dtype in (np.float32, np.float64):
        assert Estimator(**SMALL).fit_transform(X.astype(dtype)).dtype == dtype


@every_estimator
def test_integers_are_taken_as_floats(Estimator, cells):
    counts = cells.data.astype(np.int64)
    Z = Estimator(**SMALL).fit_transform(counts)
    assert Z.dtype == np.float64
    np.testing.assert_array_equal(Z, Estimator(**SMALL).fit_transform(counts.astype(np.float64)))


@every_estimator
def test_frames_give_and_check_feature_names(Estimator, X):
    names = [f"gene{i}" for i in range(X.shape[1])]
    for frame in (pd.DataFrame(X.toarray(), columns=names), pl.DataFrame(X.toarray(), schema=names)):
        estimator = Estimator(**SMALL).fit(frame)
        assert list(estimator.feature_names_in_) == names
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(pd.DataFrame(X.toarray(), columns=names[::-1]))


@every_estimator
def test_input_is_not_changed(Estimator, X):
    dense = X.toarray()
    before = dense.copy()
    dense.setflags(write=False)
    estimator = Estimator(**SMALL).fit(dense)
    estimator.inverse_transform(estimator.transform(dense))
    estimator.score(dense)
    np.testing.assert_array_equal(dense, before)


@every_estimator
def test_a_linear_encoder_takes_wide_sparse_rows(Estimator):
    wide = sparse.random_array((90, 1500), density=0.05, format="csr", random_state=0)
    few, dense = (
        Estimator(**{**SMALL, "hidden_layer_sizes": (), "batch_size": 30}).fit_transform(data)
        for data in (wide, wide.toarray())
    )
    np.testing.assert_allclose(few, dense, rtol=1e-3, atol=1e-4 * np.abs(dense).max())


@every_estimator
def test_lists_of_a_type_that_scipy_does_not_convert_are_refused(Estimator):
    X = sparse.lil_array(np.eye(8, dtype=np.float32))
    X.dtype = np.dtype(np.float16)  # as older versions of scipy make them
    with pytest.raises(TypeError, match="LIL matrix of float16, must be one of float32 or float64"):
        Estimator(1).fit(X)
