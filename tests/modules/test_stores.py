"""Matrices on disk: what the estimators make of them, and what goes wrong with files."""

import os
import pickle

import anndata
import h5py
import numpy as np
import pytest
import torch
import zarr
from dask import array as dask_array
from models import SMALL, every_estimator
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import (
    BetaVAE,
    BetaVSC,
    LogNormalizer,
    RowStore,
    VariableGeneSelector,
    make_single_cell_counts,
)
from skvae.maps import memory_map
from skvae.rows.rows import Rows
from skvae.rows.shuffling import ShuffledMinibatches
from skvae.stores import find_store


def mapped(values, path, mode="r"):
    """Return a copy of an array as a memory map."""
    copied = np.memmap(path, values.dtype, "w+", shape=values.shape)
    copied[...] = values
    copied.flush()
    return np.memmap(path, values.dtype, mode, shape=values.shape)


def mapped_csr(X, folder, mode="r"):
    parts = [mapped(getattr(X, part), folder / part, mode) for part in ("data", "indices", "indptr")]
    return sparse.csr_matrix(tuple(parts), shape=X.shape)


def h5ad(X, folder):
    anndata.AnnData(X).write_h5ad(folder / "cells.h5ad")
    return anndata.read_h5ad(folder / "cells.h5ad", backed="r").X


def zarr_folder(X, folder):
    anndata.AnnData(X).write_zarr(folder / "cells.zarr")
    return anndata.io.sparse_dataset(zarr.open_group(folder / "cells.zarr", mode="r")["X"])


def h5py_array(X, folder):
    with h5py.File(folder / "dense.h5", "w") as file:
        file["X"] = X.toarray()
    return h5py.File(folder / "dense.h5")["X"]


SPARSE_FORMS = {"memmap": mapped_csr, "h5ad": h5ad, "zarr": zarr_folder}
DENSE_FORMS = {
    "dense memmap": lambda X, folder: mapped(X.toarray(), folder / "x"),
    "dense h5py": h5py_array,
    "dense zarr": lambda X, folder: zarr.array(X.toarray(), store=folder / "dense.zarr", chunks=(50, 30)),
    "dask": lambda X, _: dask_array.from_array(X.toarray(), chunks=(50, 30)),
}
every_form = pytest.mark.parametrize("form", [*SPARSE_FORMS, *DENSE_FORMS])


@pytest.fixture
def store(form, X, tmp_path):
    return (SPARSE_FORMS | DENSE_FORMS)[form](X, tmp_path)


def in_memory(form, X):
    return X if form in SPARSE_FORMS else X.toarray()


@every_form
def test_a_store_that_the_buffer_holds_gives_the_bits_of_memory(form, store, X):
    expected = in_memory(form, X)
    vsc, from_store = BetaVSC(**SMALL).fit(expected), BetaVSC(**SMALL).fit(store)
    np.testing.assert_array_equal(from_store.history_["loss"], vsc.history_["loss"])
    np.testing.assert_array_equal(from_store.active_components_, vsc.active_components_)
    np.testing.assert_array_equal(from_store.transform(store), vsc.transform(expected))
    np.testing.assert_array_equal(from_store.score_samples(store), vsc.score_samples(expected))
    np.testing.assert_array_equal(from_store.denoise(store), vsc.denoise(expected))
    assert from_store.score(store) == vsc.score(expected)


@every_estimator
@pytest.mark.parametrize("n_features", [80, 1200])  # dense and sparse batches
def test_batches_and_weights_of_a_store(Estimator, n_features, tmp_path):
    X = sparse.random_array((90, n_features), density=0.1, format="csr", random_state=0, dtype=np.float32)
    rows = {"batch": np.arange(90) % 3, "sample_weight": np.arange(90) % 4}
    expected = Estimator(**SMALL).fit(X, **rows)
    fitted = Estimator(**SMALL).fit(RowStore(mapped_csr(X, tmp_path), block_size=7), **rows)
    np.testing.assert_array_equal(fitted.transform(X), expected.transform(X))


@every_form
def test_a_pass_through_a_small_buffer_holds_each_row_once(form, store, X):
    rows = Rows(RowStore(store, block_size=7, buffer_size=25), np.float64)
    batches = ShuffledMinibatches(rows, 24, torch.Generator().manual_seed(0), "cpu")
    passes = [[x for _, x in batches] for _ in range(2)]
    for batch_list in passes:
        assert [len(x) for x in batch_list] == [5] * 24
        seen = torch.cat(batch_list).numpy()
        order, expected_order = (np.lexsort(values.T) for values in (seen, X.toarray()))
        np.testing.assert_array_equal(seen[order], X.toarray()[expected_order])
    assert not torch.equal(torch.cat(passes[0]), torch.cat(passes[1]))


def test_a_pass_through_a_small_buffer_holds_each_row_as_often_as_its_weight(tmp_path):
    X = np.arange(64.0).reshape(32, 2)
    weights = np.arange(32) % 3
    store = RowStore(mapped(X, tmp_path / "x"), block_size=3, buffer_size=8)
    rows = Rows(store, np.float64, weights=weights.astype(float))
    seen = torch.cat([x for _, x in ShuffledMinibatches(rows, 4, torch.Generator().manual_seed(0), "cpu")])[:, 0]
    np.testing.assert_array_equal(np.sort(seen), np.repeat(X[:, 0], weights))


def test_a_buffer_mixes_blocks_from_all_over(tmp_path):
    store = RowStore(mapped(np.arange(2000.0).reshape(1000, 2), tmp_path / "x"), block_size=10, buffer_size=200)
    batches = ShuffledMinibatches(Rows(store, np.float64), 20, torch.Generator().manual_seed(0), "cpu")
    for _, x in batches:
        assert x[:, 0].std() > 300  # of all rows 577, of one block 6


@pytest.mark.slow
def test_small_blocks_and_buffers_are_as_good_as_memory_even_sorted_by_type(tmp_path):
    cells = make_single_cell_counts(1500, 500, random_state=0)
    X = LogNormalizer().fit_transform(cells.data)
    X, X_new, types = X[:1000], X[1000:], cells.target[:1000]
    store = RowStore(mapped_csr(X[np.argsort(types)], tmp_path), block_size=25, buffer_size=250)
    # from random weights: scores of the linear start hardly differ over seeds
    settings = {"init": "random", "kl_warmup": 0.4}
    in_memory, streamed, half = (
        np.mean([BetaVSC(**settings, max_epochs=n, random_state=seed).fit(data).score(X_new) for seed in range(4)])
        for data, n in ((X, 40), (store, 40), (X, 20))
    )
    # mixing less costs little beside what the second half of training gains
    assert in_memory - streamed < 0.15 * (in_memory - half)


def test_rows_are_read_by_slices_and_by_index(X, tmp_path):
    store = RowStore(mapped_csr(X, tmp_path), block_size=7)
    for rows in (slice(3, 30), slice(None), slice(100, 5), slice(1, 50, 3), [5, 3, 80, 3, -1], np.arange(120) % 5 == 0):
        np.testing.assert_array_equal(store[rows].toarray(), X[rows].toarray())
    np.testing.assert_array_equal(store.part(40, 60)[5:9].toarray(), X[45:49].toarray())


def test_stores_are_searched_and_validated(X, cells, tmp_path):
    store = RowStore(mapped_csr(X, tmp_path))
    searches = [GridSearchCV(BetaVAE(**SMALL), {"beta": [1, 2]}, cv=2).fit(data) for data in (X, store)]
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_score"] for search in searches))


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_a_pipeline_from_counts_takes_a_store(form, cells, tmp_path):
    counts = cells.data.astype(np.float32)
    pipeline = make_pipeline(VariableGeneSelector(50), LogNormalizer(), BetaVSC(**SMALL))
    expected = pipeline.fit_transform(counts)
    for store in (SPARSE_FORMS[form](counts, tmp_path), RowStore(tmp_path / f"cells.{form}", block_size=50)):
        np.testing.assert_array_equal(clone(pipeline).fit_transform(store), expected)


def test_transformers_load_bare_memory_maps_which_joblib_makes(cells, tmp_path):
    counts = cells.data.astype(np.float32)
    for transformer in (LogNormalizer(), VariableGeneSelector(50)):
        expected = transformer.fit_transform(counts).toarray()
        np.testing.assert_array_equal(transformer.transform(mapped_csr(counts, tmp_path)).toarray(), expected)


def test_partial_fit_takes_a_store(X, tmp_path):
    fitted = [BetaVAE(**SMALL).partial_fit(data) for data in (X, mapped_csr(X, tmp_path))]
    np.testing.assert_array_equal(*(vae.transform(X) for vae in fitted))


def test_a_store_opened_by_name_is_pickled_by_name(X, tmp_path):
    h5ad(X, tmp_path)
    store = pickle.loads(pickle.dumps(RowStore(tmp_path / "cells.h5ad", block_size=50)))
    assert store.block_size == 50
    np.testing.assert_array_equal(store[:10].toarray(), X[:10].toarray())


def test_dense_stores_are_loaded_by_who_takes_no_stores(cells, tmp_path):
    counts = cells.data.toarray()
    pipeline = make_pipeline(LogNormalizer(), PCA(2))
    expected = pipeline.fit_transform(counts)
    np.testing.assert_allclose(pipeline.fit_transform(dask_array.from_array(counts, chunks=(50, 80))), expected)
    store = RowStore(mapped(counts, tmp_path / "x"))
    np.testing.assert_array_equal(np.asarray(store), counts)
    with pytest.raises(TypeError, match="not iterable"):
        list(store)
    with pytest.raises(TypeError, match="rows == 0, must be a slice"):
        store[0]


def test_sparse_stores_say_how_to_load_them(X, tmp_path):
    with pytest.raises(TypeError, match=r"sparse rows; expected a dense store\. store\[:\] loads"):
        np.asarray(RowStore(mapped_csr(X, tmp_path)))


def test_a_closed_file_can_be_written(X, tmp_path):
    h5ad(X, tmp_path).group.file.close()
    store = RowStore(tmp_path / "cells.h5ad")
    BetaVAE(**SMALL).fit(store)
    store.close()
    anndata.AnnData(X).write_h5ad(tmp_path / "cells.h5ad")


def test_sizes_follow_what_a_store_holds(tmp_path):
    counts = np.ones((100_000, 1000), np.uint8)
    store = RowStore(counts_map := mapped(counts, tmp_path / "x"))
    as_floats = LogNormalizer().transform(store)
    assert as_floats.dtype == np.float64
    assert as_floats.buffer_size == -(-store.buffer_size // 8)
    assert VariableGeneSelector(100).fit(store[:100]).transform(store).buffer_size > store.buffer_size
    assert RowStore(counts_map, block_size=5, buffer_size=7).map(np.float64).block_size == 5


def test_a_block_is_a_chunk_of_the_file_or_more(tmp_path):
    chunked = zarr.array(np.ones((50_000, 10)), store=tmp_path / "dense.zarr", chunks=(20_000, 10))
    assert RowStore(chunked).block_size == 20_000
    assert RowStore(dask_array.ones((50_000, 10), chunks=(30_000, 10))).block_size == 30_000


def test_memory_is_not_taken_for_a_store(X):
    for data in (X, X.toarray(), X.toarray().tolist(), torch.ones(3, 2), anndata.AnnData(X).to_df()):
        assert find_store(data) is None
    with pytest.raises(ValueError, match="expected a store"):
        RowStore(X)


def test_pages_of_a_memory_map_are_let_go(tmp_path):
    values = mapped(np.ones((2000, 1000)), tmp_path / "x")  # 16 MB

    def resident():
        with open("/proc/self/smaps") as file:
            lines = iter(file.read().splitlines())
        return sum(int(line.split()[1]) for path in lines if path.endswith(str(tmp_path / "x")) for line in [next(
            line for line in lines if line.startswith("Rss"))])  # fmt: skip

    float(values.sum())
    assert resident() > 15_000
    RowStore(values, block_size=100)[:100]
    assert resident() < 1_000


def test_what_was_written_to_a_copy_on_write_stays(X, tmp_path):
    values = mapped(X.toarray(), tmp_path / "x", mode="c")
    values[:, 0] = 7
    RowStore(values)[:5]
    assert (values[:, 0] == 7).all()


def test_a_store_is_sampled_and_not_read_as_a_whole(tmp_path):
    X = np.memmap(tmp_path / "x", "float32", "w+", shape=(30_000, 20))
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    store = RowStore(X, block_size=500, buffer_size=2000)
    read = []
    sample = Rows(store.map(lambda rows: read.append(len(rows)) or rows), np.float32).sample(1000)
    assert len(sample) == 1000
    assert sum(read[1:]) <= 2 * 1024  # the first block says what the function returns


# Output


@pytest.fixture(scope="module")
def fitted(X):
    return BetaVSC(**SMALL).fit(X)


def test_transform_writes_to_an_array(fitted, X, tmp_path):
    Z = fitted.transform(X)
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float32, (120, 3))
    assert fitted.transform(X, out=out) is out
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), Z)


def test_transform_writes_a_file(fitted, X, tmp_path):
    written = fitted.transform(X, out=tmp_path / "z.npy")
    assert memory_map(written) is not None
    np.testing.assert_array_equal(written, fitted.transform(X))
    assert os.listdir(tmp_path) == ["z.npy"]


@pytest.mark.parametrize(
    ("shape", "dtype", "mode", "message"),
    [
        ((120, 4), np.float32, "r+", r"of shape \(120, 4\) and float32; expected a writeable one of shape \(120, 3\)"),
        ((120, 3), np.float64, "r+", "and float64; expected a writeable one"),
        ((120, 3), np.float32, "r", "read-only"),
    ],
)
def test_an_output_of_the_wrong_kind_is_an_error_that_names_it(shape, dtype, mode, message, fitted, X, tmp_path):
    out = mapped(np.ones(shape, dtype), tmp_path / "z.dat", mode)
    with pytest.raises(ValueError, match=rf"z\.dat.*{message}"):
        fitted.transform(X, out=out)
    assert (out == 1).all()


def test_an_unwritable_file_is_an_error_that_names_it(fitted, X, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("absent/z.npy", "folder"):
        with pytest.raises(OSError, match=f"cannot write .*{name}"):
            fitted.transform(X, out=tmp_path / name)
    assert os.listdir(tmp_path) == ["folder"]


def test_a_transform_that_fails_leaves_no_file_and_the_old_one(fitted, X, tmp_path):
    bad = X.copy()
    bad.data[-1] = np.nan
    store = RowStore(mapped_csr(bad, tmp_path), block_size=7)  # of which the last is bad
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(store, out=tmp_path / "z.npy")
    assert not (tmp_path / "z.npy").exists()
    fitted.transform(X, out=tmp_path / "z.npy")
    before = (tmp_path / "z.npy").read_bytes()
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(store, out=tmp_path / "z.npy")
    assert (tmp_path / "z.npy").read_bytes() == before
    assert not list(tmp_path.glob("*part*")) + list(tmp_path.glob(".*"))


def test_sparse_codes_have_no_output(X):
    with pytest.raises(ValueError, match="must be None with code='sparse'"):
        BetaVSC(**SMALL, code="sparse").fit(X).transform(X, out="z.npy")


# Files that are not as they should be


def test_a_truncated_h5ad_is_an_error_that_names_it(X, tmp_path):
    h5ad(X, tmp_path)
    whole = (tmp_path / "cells.h5ad").read_bytes()
    (tmp_path / "half.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"cannot read .*half\.h5ad.*truncated"):
        RowStore(tmp_path / "half.h5ad")


@pytest.mark.parametrize("form", ["memmap", "dense memmap"])
def test_a_memory_map_that_was_truncated_is_an_error_that_names_it(form, store, fitted, tmp_path):
    path = tmp_path / ("x" if form == "dense memmap" else "data")
    os.truncate(path, 100)
    with pytest.raises(OSError, match=f"cannot read {path}.*was it truncated"):
        fitted.transform(store)


def test_a_zarr_that_lacks_a_part_is_a_warning_that_names_it(X, tmp_path):
    zarr_folder(X, tmp_path)
    (tmp_path / "cells.zarr" / "X" / "data" / "0").unlink()
    with pytest.warns(UserWarning, match=r"cells\.zarr/X: 0 of 1 chunks"):
        RowStore(tmp_path / "cells.zarr")


def test_a_zarr_that_was_truncated_is_an_error_that_names_it(X, tmp_path, fitted):
    store = zarr_folder(X, tmp_path)
    for chunk in (tmp_path / "cells.zarr" / "X" / "indices").glob("[0-9]*"):
        chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot read .*cells\.zarr/X"):
        fitted.transform(store)


def test_a_store_that_changes_shape_is_an_error_that_names_it(X, tmp_path, fitted):
    h5ad(X, tmp_path)
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        store = RowStore(anndata.io.sparse_dataset(file["X"]))
        file["X"].attrs["shape"] = (60, 80)
        with pytest.raises(ValueError, match=r"cells\.h5ad/X: its shape is \(60, 80\); expected \(120, 80\)"):
            fitted.transform(store)
    with pytest.raises(ValueError, match="X has 79 features, but BetaVSC is expecting 80"):
        fitted.transform(mapped_csr(X[:, :79], tmp_path))


@pytest.mark.parametrize("opened", [lambda path: anndata.read_h5ad(path, backed="r").X, RowStore])
def test_a_column_major_file_is_an_error_that_says_to_convert(opened, X, tmp_path):
    h5ad(X.tocsc(), tmp_path)
    with pytest.raises(ValueError, match=r"cells\.h5ad/X is column-major \(CSC\); expected row-major .*tocsr\(\)"):
        BetaVAE(**SMALL).fit(opened(tmp_path / "cells.h5ad"))


@pytest.mark.parametrize("kind", ["unsorted", "duplicate"])
@pytest.mark.parametrize("form", SPARSE_FORMS)
def test_indices_that_are_not_canonical_are_sorted_and_summed_as_in_memory(kind, form, X, tmp_path):
    rows = X.copy()
    rows.indices[:2] = rows.indices[:2][::-1].copy() if kind == "unsorted" else rows.indices[0]
    summed = type(rows)((rows.data.copy(), rows.indices.copy(), rows.indptr.copy()), shape=rows.shape)
    summed.sum_duplicates()
    model = BetaVAE(**SMALL).fit(SPARSE_FORMS[form](rows, tmp_path))
    np.testing.assert_array_equal(model.transform(summed), BetaVAE(**SMALL).fit(summed).transform(summed))


def test_indices_beyond_the_features_are_an_error(X, tmp_path):
    bad = mapped_csr(X, tmp_path, mode="r+")
    bad.indices[5] = 200
    with pytest.raises(ValueError, match=r"cannot read .*data"):
        BetaVAE(**SMALL).fit(bad)


@every_form
def test_values_that_are_not_finite_are_an_error_that_names_the_store(form, X, tmp_path):
    bad = X.copy()
    bad.data[-1] = np.inf
    with pytest.raises(ValueError, match=r"cannot read .*infinity"):
        BetaVAE(**SMALL).fit((SPARSE_FORMS | DENSE_FORMS)[form](bad, tmp_path))


def test_negative_counts_of_a_store_are_an_error(X, tmp_path):
    bad = X.ceil()
    bad.data[-1] = -1
    with pytest.raises(ValueError, match="Negative values"):
        BetaVAE(**SMALL, likelihood="poisson").fit(mapped_csr(bad, tmp_path))


def test_a_failed_fit_of_a_store_leaves_the_last_one(X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    Z = vae.transform(X)
    bad = X.copy()
    bad.data[-1] = np.nan
    for method in (vae.fit, vae.partial_fit):
        with pytest.raises(ValueError, match="NaN"):
            method(RowStore(mapped_csr(bad, tmp_path), block_size=7))
        np.testing.assert_array_equal(vae.transform(X), Z)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": "cells.csv"}, r"cells\.csv', must end in one of"),
        ({"X": "cells.h5ad"}, "no such file"),
        ({"X": np.ones((3, 2)), "layer": "counts"}, "layer == 'counts', must be None"),
        ({"X": np.ones((3, 2)), "block_size": 0}, "block_size == 0, must be >= 1"),
    ],
)
def test_a_store_names_what_it_does_not_understand(arguments, message):
    with pytest.raises((ValueError, OSError), match=message):
        RowStore(**arguments)


def test_a_layer_is_opened_by_name(X, tmp_path):
    anndata.AnnData(X * 2, layers={"halved": X}).write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(RowStore(tmp_path / "cells.h5ad", layer="halved")[:5].toarray(), X[:5].toarray())
    with pytest.raises(ValueError, match=r"cells\.h5ad: layer == 'raw', must be None or one of \['halved'\]"):
        RowStore(tmp_path / "cells.h5ad", layer="raw")
