"""What is no matrix, or is not what it says, is named at once or taken for what it is."""

import time
from pathlib import Path

import anndata
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
from models import SMALL, every_estimator
from scipy import sparse

from skvae import BetaVAE, LogNormalizer, RowStore, VariableGeneSelector, embed, quality_control
from skvae.rows.checks import check_is_matrix, without_duplicates

N_ROWS, N_COLUMNS = 40, 30


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(0.4, size=(N_ROWS, N_COLUMNS)).astype(np.float64)


class Cells:
    """A container with rows, as numpy would read one after the other."""

    def __len__(self):
        return 10**9

    def __getitem__(self, row):
        return self


def raw(X):
    adata = anndata.AnnData(X)
    adata.raw = adata
    return adata.raw


def of_xarray(X):
    return pytest.importorskip("xarray").DataArray(X, dims=("cell", "gene"), name="counts")


FOREIGN = {
    "AnnData": (anndata.AnnData, r"adata\.X, or embed\(adata, estimator\)"),
    "raw of AnnData": (raw, r"adata\.X, or embed\(adata, estimator\)"),
    "name": (lambda X: "cells.h5ad", r"RowStore\(path\)"),
    "path": (lambda X: Path("cells.zarr"), r"RowStore\(path\)"),
    "bytes": (lambda X: b"cells.h5ad", r"RowStore\(path\)"),
    "DataArray": (of_xarray, r"array\.transpose\(samples, features\)\.values"),
    "Dataset": (lambda X: of_xarray(X).to_dataset(), r"array\.transpose"),
    "dict": (lambda X: {"counts": X}, r"one of its values, which have the names \['counts'\]"),
    "group of h5py": (lambda X: h5py.File.in_memory().create_group("X"), "one of its values"),
    "container": (lambda X: Cells(), "the array that it holds"),
}


def doors(X):
    """Return the functions that take a matrix, as functions of it."""
    fitted = BetaVAE(**SMALL, likelihood="nb").fit(X)
    return {
        "fit": BetaVAE(**SMALL).fit,
        "fit_transform": BetaVAE(**SMALL).fit_transform,
        "partial_fit": BetaVAE(**SMALL).partial_fit,
        "held out": lambda other: BetaVAE(**SMALL, likelihood="nb").fit(X, X_val=other),
        "transform": fitted.transform,
        "score": fitted.score,
        "denoise": fitted.denoise,
        "inverse_transform": fitted.inverse_transform,
        "component_features": fitted.component_features,
        "LogNormalizer.fit": LogNormalizer().fit,
        "LogNormalizer.transform": LogNormalizer().fit(X).transform,
        "VariableGeneSelector.fit": VariableGeneSelector().fit,
        "VariableGeneSelector.transform": VariableGeneSelector().fit(X).transform,
        "quality_control": lambda other: quality_control(other, ["gene"] * N_COLUMNS),
    }


@pytest.mark.parametrize(("make", "message"), FOREIGN.values(), ids=FOREIGN)
def test_what_holds_or_names_a_matrix_is_an_error_that_says_where_it_is(make, message, counts):
    other = make(counts)
    for door in doors(counts).values():
        start = time.perf_counter()
        with pytest.raises(TypeError, match=message):
            door(other)
        assert time.perf_counter() - start < 1


def test_a_large_container_is_an_error_within_a_second():
    adata = anndata.AnnData(sparse.random_array((3000, 20000), density=0.01, format="csr", random_state=0))
    start = time.perf_counter()
    for estimator in (BetaVAE(), LogNormalizer(), VariableGeneSelector()):
        with pytest.raises(TypeError, match=r"adata\.X"):
            estimator.fit(adata)
    assert time.perf_counter() - start < 1


def test_rows_of_unknown_number_are_an_error_that_says_what_finds_it(counts):
    lazy = da.from_array(counts, chunks=(10, N_COLUMNS))
    some = lazy[da.from_array(np.arange(N_ROWS) % 2 == 0, chunks=10)]
    for name, door in doors(counts).items():
        if name != "inverse_transform":
            with pytest.raises(ValueError, match=r"the shape \(nan, 30\); expected .*known"):
                door(some)


MATRICES = {
    "list": np.ndarray.tolist,
    "tuple": lambda X: tuple(map(tuple, X)),
    "list of rows": list,
    "array": np.asarray,
    "frame": pd.DataFrame,
    "frame with odd names": lambda X: pd.DataFrame(X, columns=["obs_names", "dims", "coords", *map(str, range(27))]),
    "masked": np.ma.masked_array,
    "memoryview": memoryview,
    "h5py": lambda X: h5py.File.in_memory().create_dataset("X", data=X),
    "dask": da.from_array,
    **{name: getattr(sparse, f"{name}_array") for name in ("csr", "csc", "coo", "dok", "lil", "bsr", "dia")},
}


@pytest.mark.parametrize("make", MATRICES.values(), ids=MATRICES)
def test_matrices_are_none_of_these(make, counts):
    check_is_matrix(make(counts))


def test_embed_takes_what_estimators_do_not(counts):
    adata = anndata.AnnData(counts)
    embed(adata, BetaVAE(likelihood="nb", **SMALL))
    np.testing.assert_array_equal(adata.obsm["X_betavae"], BetaVAE(likelihood="nb", **SMALL).fit_transform(counts))


# What scipy remembers of a matrix may be out of date


def with_stale_flags(X):
    """Return CSR counts with duplicates, of which scipy still says that there are none."""
    changed = sparse.csr_array(X)
    assert changed.has_canonical_format
    changed.indices[:] = changed.indices // 2 * 2
    assert changed.has_canonical_format
    return changed


def with_unsorted_rows(X):
    changed = sparse.csr_array(X)
    assert changed.has_sorted_indices
    for start, stop in zip(changed.indptr, changed.indptr[1:], strict=False):
        changed.indices[start:stop] = changed.indices[start:stop][::-1].copy()
    return changed


STALE = {"duplicates": with_stale_flags, "unsorted": with_unsorted_rows}


def truth_of(X):
    """Return what a sparse matrix holds, dense."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return sparse.coo_array((X.data, (rows, X.indices)), shape=X.shape).toarray()


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
@every_estimator
def test_an_embedding_is_that_of_the_values_that_are_there(Estimator, change):
    wide = np.random.default_rng(1).poisson(0.02, size=(60, 1200)).astype(np.float32)
    changed = change(wide)
    model = Estimator(likelihood="poisson", **SMALL)
    expected = model.fit_transform(sparse.csr_array(truth_of(changed)))
    np.testing.assert_array_equal(model.fit_transform(changed), expected)
    np.testing.assert_array_equal(model.transform(changed), expected)


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
def test_counts_are_those_that_are_there(change, counts):
    changed = change(counts)
    truth = truth_of(changed)
    for step in (LogNormalizer(), VariableGeneSelector(10)):
        np.testing.assert_array_equal(
            step.fit(changed).transform(changed).toarray(), step.fit(truth).transform(truth).astype(np.float64)
        )
    names = ["gene"] * N_COLUMNS
    for found, expected in zip(
        *(quality_control(X, names, min_cells=5, min_genes=1) for X in (changed, truth)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
def test_the_matrix_of_the_user_stays_as_it_is(change, counts):
    changed = change(counts)
    before = [part.copy() for part in (changed.data, changed.indices, changed.indptr)]
    assert without_duplicates(changed) is not changed
    for part, old in zip((changed.data, changed.indices, changed.indptr), before, strict=True):
        np.testing.assert_array_equal(part, old)


def test_duplicates_in_the_blocks_of_a_store_are_summed(counts):
    store = RowStore(da.from_array(counts, chunks=(10, N_COLUMNS))).map(with_stale_flags)
    model = BetaVAE(likelihood="poisson", **SMALL)
    expected = model.fit_transform(truth_of(with_stale_flags(counts)))
    np.testing.assert_allclose(model.fit_transform(store), expected, rtol=1e-5)
