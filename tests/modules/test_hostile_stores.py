"""Files that lost a part, or whose parts do not fit together, are named in errors; what is legal and rare is read."""

import gc
import json
import os
import pickle
import warnings

import anndata
import h5py
import numpy as np
import pytest
import zarr
from models import SMALL
from scipy import sparse

from skvae import BetaVAE, LogNormalizer, RowStore, VariableGeneSelector, quality_control
from skvae.maps import is_of_joblib
from skvae.stores import find_store

PARTS = ("data", "indices", "indptr")

every_zarr_format = pytest.mark.parametrize("zarr_format", [2, 3])
absent_is_a_warning = pytest.mark.filterwarnings("ignore:.*chunks of .* are there, and the others read as")


def csr_attributes(group, X):
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(X.shape)})


def zarr_csr(X, path, zarr_format=2, chunk=200):
    """Write a CSR matrix as anndata does, but in small chunks."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format).create_group("X")
    csr_attributes(group, X)
    for part in PARTS:
        values = getattr(X, part)
        array = group.create_array(part, shape=values.shape, dtype=values.dtype, chunks=(chunk,))
        array[...] = values
    return path


def zarr_dense(X, path, zarr_format=2):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    array = group.create_array("X", shape=X.shape, dtype=X.dtype, chunks=(50, 30))
    array[...] = X
    return path


def chunk(path, array, place, zarr_format):
    """Return the file of a chunk."""
    separator = "/" if zarr_format == 3 else "."
    name = separator.join(map(str, place))
    return path / array / ("c" if zarr_format == 3 else "") / name


def h5ad_csr(X, path, **changed):
    """Write a CSR matrix as anndata does, with some of its parts changed, or left out where these are None."""
    parts = {part: getattr(X, part) for part in PARTS} | {"shape": X.shape} | changed
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": parts.pop("shape")})
        for part, values in parts.items():
            if values is not None:
                group[part] = values
    return path


def mapped(values, path, mode="r"):
    copied = np.memmap(path, values.dtype, "w+", shape=values.shape)
    copied[...] = values
    copied.flush()
    return np.memmap(path, values.dtype, mode, shape=values.shape)


def mapped_csr(X, folder, parts=PARTS):
    arrays = [mapped(getattr(X, part), folder / part) if part in parts else getattr(X, part) for part in PARTS]
    return sparse.csr_matrix(tuple(arrays), shape=X.shape)


# Chunks of zarr that are lost


@every_zarr_format
@pytest.mark.parametrize("part", PARTS)
def test_a_chunk_of_sparse_rows_lost_after_opening_is_an_error_that_names_the_file(part, zarr_format, X, tmp_path):
    store = RowStore(zarr_csr(X, tmp_path / "cells.zarr", zarr_format, chunk=30), block_size=10)
    chunk(tmp_path / "cells.zarr", f"X/{part}", [2], zarr_format).unlink()
    with pytest.raises(OSError, match=rf"cannot read .*cells\.zarr/X: the chunk X/{part}/(c/)?2 is not there any more"):
        store[:]


@every_zarr_format
def test_a_chunk_of_dense_rows_lost_after_opening_is_an_error_that_names_the_file(zarr_format, X, tmp_path):
    array = zarr.open_group(zarr_dense(X.toarray() + 1, tmp_path / "cells.zarr", zarr_format), mode="r")["X"]
    stores = RowStore(tmp_path / "cells.zarr"), RowStore(array)
    np.testing.assert_array_equal(stores[1][:], X.toarray() + 1)
    chunk(tmp_path / "cells.zarr", "X", [1, 2], zarr_format).unlink()
    for store in stores:
        np.testing.assert_array_equal(store[:50], X[:50].toarray() + 1)
        with pytest.raises(
            OSError, match=r"cannot read .*cells\.zarr/X: the chunk X/(c/)?1[./]2 is not there any more"
        ):
            store[50:60]


def test_a_shard_lost_after_opening_is_an_error(X, tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X.toarray() + 1, chunks=(10, 10), shards=(40, 40))
    store = RowStore(zarr.open_array(tmp_path / "x.zarr", mode="r"))
    (tmp_path / "x.zarr" / "c" / "0" / "1").unlink()
    with pytest.raises(OSError, match="the chunk c/0/1 is not there any more"):
        store[:]


@every_zarr_format
@pytest.mark.parametrize("part", ["indices", "indptr"])
def test_lost_chunks_of_an_index_are_a_warning_and_then_an_error(part, zarr_format, X, tmp_path):
    zarr_csr(X, tmp_path / "cells.zarr", zarr_format, chunk=30)
    chunk(tmp_path / "cells.zarr", f"X/{part}", [0], zarr_format).unlink()
    with pytest.warns(UserWarning, match=rf"cells\.zarr/X: \d+ of \d+ chunks of /X/{part} are there"):
        store = RowStore(tmp_path / "cells.zarr")
    with pytest.raises(OSError, match=r"cannot read .*cells\.zarr/X: chunks of indices or indptr are lost"):
        store[:]


@absent_is_a_warning
def test_an_indptr_lost_as_a_whole_is_an_error(X, tmp_path):
    zarr_csr(X, tmp_path / "cells.zarr")
    chunk(tmp_path / "cells.zarr", "X/indptr", [0], 2).unlink()
    with pytest.raises(ValueError, match=r"cells\.zarr/X: indptr goes from 0 to 0; expected 0 to \d+, the number of"):
        RowStore(tmp_path / "cells.zarr")


@every_zarr_format
def test_a_chunk_that_may_have_been_left_out_is_a_warning(zarr_format, X, tmp_path):
    dense = X.toarray()
    dense[50:100, 30:60] = 0
    zarr_dense(dense, tmp_path / "cells.zarr", zarr_format)
    message = r"cells\.zarr/X: 8 of 9 chunks of /X are there, and the others read as 0\.0\. .*or are lost, which looks"
    with pytest.warns(UserWarning, match=message):
        store = RowStore(tmp_path / "cells.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        np.testing.assert_array_equal(store[:], dense)


def test_a_file_in_memory_is_looked_at_once_in_a_fit(X):
    array = zarr.array(X.toarray() * (np.arange(120) > 60)[:, None], chunks=(50, 80))
    with pytest.warns(UserWarning, match=r"2 of 3 chunks of / are there") as caught:
        BetaVAE(**SMALL).fit(array)
    assert len([warning for warning in caught if "chunks" in str(warning.message)]) == 1
    assert caught[0].filename == __file__


@every_zarr_format
def test_stored_zeros_that_zarr_leaves_out_are_read(zarr_format, tmp_path):
    X = sparse.csr_matrix(np.ones((30, 5), np.float32))
    X.data[:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=zarr_format):
            anndata.AnnData(X).write_zarr(tmp_path / "cells.zarr")
    with pytest.warns(UserWarning, match="0 of 1 chunks of /X/data are there"):
        rows = RowStore(tmp_path / "cells.zarr")[:]
    assert (rows.nnz, rows.data.any()) == (150, False)


@absent_is_a_warning
def test_an_index_of_zeros_that_zarr_leaves_out_is_read(tmp_path):
    X = sparse.csr_matrix(np.eye(40, 5)[np.r_[np.full(30, 10), np.arange(10) % 5]] + 0.0)  # 30 empty rows
    X = sparse.vstack([X, sparse.csr_matrix(np.eye(1, 5).repeat(60, axis=0))], format="csr")  # 60 rows of one column
    store = RowStore(zarr_csr(X, tmp_path / "cells.zarr", chunk=20))
    np.testing.assert_array_equal(store[:].toarray(), X.toarray())


def test_a_matrix_without_values_is_no_warning(tmp_path):
    X = sparse.csr_matrix((30, 5), dtype=np.float32)
    assert RowStore(zarr_csr(X, tmp_path / "cells.zarr"))[:].nnz == 0


def test_zarr_that_writes_all_chunks_misses_each(X, tmp_path):
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr_dense(np.zeros((120, 80)), tmp_path / "cells.zarr")
        assert not RowStore(tmp_path / "cells.zarr")[:].any()
        chunk(tmp_path / "cells.zarr", "X", [0, 0], 2).unlink()
        with pytest.raises(OSError, match=r"cannot read .*cells\.zarr/X: 8 of 9 chunks of /X are there; was it trunc"):
            RowStore(tmp_path / "cells.zarr")


def test_an_absent_chunk_without_a_fill_value_is_an_error(tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", shape=(9, 4), chunks=(3, 4), dtype="f4", zarr_format=2)
    array[:3] = 1
    metadata = tmp_path / "x.zarr" / ".zarray"
    metadata.write_text(metadata.read_text().replace('"fill_value": 0.0', '"fill_value": null'))
    with pytest.raises(OSError, match=r"x\.zarr: 1 of 3 chunks of / are there"):
        RowStore(zarr.open_array(tmp_path / "x.zarr", mode="r"))


@pytest.mark.parametrize("chunks", [(10, 10), None])
def test_chunks_of_hdf5_that_nobody_wrote_are_a_warning(chunks, tmp_path):
    with h5py.File(tmp_path / "dense.h5ad", "w") as file:
        file.create_dataset("X", (100, 20), "float32", chunks=chunks)
    with pytest.warns(UserWarning, match=r"dense\.h5ad/X: 0 of (20|1) chunks of /X are there"):
        RowStore(tmp_path / "dense.h5ad").close()


def test_parts_of_other_hdf5_files_are_no_warning(X, tmp_path):
    layout = h5py.VirtualLayout(X.shape, X.dtype)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["rows"] = X.toarray()
    layout[:] = h5py.VirtualSource(tmp_path / "part.h5", "rows", X.shape)
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file.create_virtual_dataset("X", layout)
    np.testing.assert_array_equal(RowStore(tmp_path / "cells.h5ad")[:], X.toarray())


METADATA = {"zarr_format": 2, "shape": [30, 4], "chunks": [10, 4], "dtype": "<f4", "fill_value": 0, "order": "C"}
METADATA |= {"compressor": None, "filters": None}


@pytest.mark.parametrize(
    "changed",
    [{"chunks": [0, 0]}, {"chunks": [10]}, {"shape": [30, -4]}, {"shape": "wide"}, {"dtype": "|O"}, {"dtype": "<c8"}],
    ids=str,
)
def test_metadata_of_zarr_that_fit_nothing_are_an_error_that_names_the_file(changed, tmp_path):
    zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=2).create_group("X")
    (tmp_path / "cells.zarr" / "X" / ".zgroup").unlink()
    (tmp_path / "cells.zarr" / "X" / ".zarray").write_text(json.dumps(METADATA | changed))
    with pytest.raises(ValueError, match=r"cannot read .*cells\.zarr"):
        RowStore(tmp_path / "cells.zarr")


@absent_is_a_warning
def test_any_number_of_absent_chunks_is_counted_at_once(tmp_path):
    zarr.create_array(tmp_path / "x.zarr", shape=(10**12, 4), chunks=(10, 4), dtype="f4", zarr_format=2)
    (tmp_path / "x.zarr" / "1.0.swp").touch()  # no chunk
    assert RowStore(zarr.open_array(tmp_path / "x.zarr", mode="r")).shape == (10**12, 4)


def test_a_store_of_an_open_zarr_array_is_pickled(X, tmp_path):
    zarr_dense(X.toarray() + 1, tmp_path / "cells.zarr")
    store = pickle.loads(pickle.dumps(RowStore(zarr.open_group(tmp_path / "cells.zarr", mode="r")["X"])))
    np.testing.assert_array_equal(store[:], X.toarray() + 1)
    chunk(tmp_path / "cells.zarr", "X", [0, 0], 2).unlink()
    with pytest.raises(OSError, match=r"the chunk X/0\.0 is not there any more"):
        store[:]


@pytest.mark.parametrize("compressors", [None, zarr.codecs.GzipCodec(), zarr.codecs.BloscCodec()])
@pytest.mark.parametrize("n_bytes", [0, 5, -1])
def test_a_chunk_cut_short_is_an_error_that_names_the_file(n_bytes, compressors, X, tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=X.toarray() + 1, chunks=(50, 80), compressors=compressors)
    store = RowStore(zarr.open_array(tmp_path / "x.zarr", mode="r"))
    path = tmp_path / "x.zarr" / "c" / "1" / "0"
    os.truncate(path, n_bytes % path.stat().st_size)
    with pytest.raises((OSError, ValueError), match=r"cannot read .*x\.zarr"):
        store[:]


# Memory maps of files that were cut short


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("parts", [PARTS, None])
def test_each_part_of_mapped_sparse_rows_is_looked_at_before_it_is_read(part, parts, X, tmp_path):
    large = sparse.vstack([X] * 20, format="csr")  # of several pages
    rows = mapped_csr(large, tmp_path, parts or (part,))
    fitted = BetaVAE(**SMALL).fit(X)
    os.truncate(tmp_path / part, 100)
    for method in (RowStore, find_store, fitted.transform, fitted.fit, LogNormalizer().fit, VariableGeneSelector().fit):
        with pytest.raises(OSError, match=rf"cannot read .*{part}: it ends after 100 of the \d+ bytes .*truncated"):
            method(rows)
    with pytest.raises(OSError, match=f"cannot read .*{part}"):
        quality_control(rows, np.arange(80))


@pytest.mark.parametrize("part", PARTS)
def test_a_map_cut_short_while_a_store_is_open_is_an_error_that_names_it(part, X, tmp_path):
    store = RowStore(mapped_csr(sparse.vstack([X] * 20, format="csr"), tmp_path))
    os.truncate(tmp_path / part, 100)
    with pytest.raises(OSError, match=f"cannot read .*{part}: it ends after 100"):
        store[:]


def test_dense_maps_are_looked_at_before_they_are_read(X, tmp_path):
    rows = mapped(np.tile(X.toarray(), (20, 1)), tmp_path / "x")
    views = {"rows": rows, "part": rows[5:], "turned": np.asfortranarray(rows[:80, :80]), "fewer": rows[:, ::2]}
    os.truncate(tmp_path / "x", 100)
    for name in ("rows", "part", "fewer"):
        for method in (find_store, LogNormalizer().fit, VariableGeneSelector().fit):
            with pytest.raises(OSError, match=r"cannot read .*x: it ends after 100"):
                method(views[name])
        with pytest.raises(OSError, match=r"cannot read .*x: it ends after 100"):
            quality_control(views[name], np.arange(views[name].shape[1]))
    assert find_store(views["turned"]) is None  # a copy


def test_a_map_whose_name_is_gone_is_read(X, tmp_path):
    rows = mapped(X.toarray(), tmp_path / "x")
    (tmp_path / "x").unlink()
    np.testing.assert_array_equal(RowStore(rows)[:], X.toarray())
    (tmp_path / "x").write_bytes(b"another file")
    np.testing.assert_array_equal(RowStore(rows)[:], X.toarray())


def test_an_output_map_cut_short_is_an_error_that_names_it(X, tmp_path):
    rows = np.tile(X.toarray(), (20, 1))
    vae = BetaVAE(**SMALL).fit(X)
    out = np.lib.format.open_memmap(tmp_path / "z.npy", "w+", np.float32, (2400, 3))
    os.truncate(tmp_path / "z.npy", 200)
    with pytest.raises(OSError, match=r"cannot write .*z\.npy: it ends after 200 of the \d+ bytes that were mapped"):
        vae.transform(rows, out=out)


# Columns in any order


FORMS = {
    "memmap": mapped_csr,
    "h5ad": lambda X, folder: RowStore(h5ad_csr(X, folder / "cells.h5ad")),
    "zarr": lambda X, folder: RowStore(zarr_csr(X, folder / "cells.zarr")),
}


def shuffled(X):
    """Return the same rows with their columns in another order."""
    mixed = X.copy()
    rng = np.random.default_rng(0)
    for start, stop in zip(X.indptr, X.indptr[1:], strict=False):
        order = start + rng.permutation(stop - start)
        mixed.indices[start:stop], mixed.data[start:stop] = X.indices[order], X.data[order]
    mixed.has_sorted_indices = mixed.has_canonical_format = False
    return mixed


def doubled(X):
    """Return the same rows with each value in two halves."""
    parts = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
    return sparse.csr_array(parts, shape=X.shape)


@pytest.mark.parametrize("change", [shuffled, doubled, lambda X: shuffled(doubled(X))])
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_sorted_and_summed_as_they_are_read(form, change, X, tmp_path):
    changed = change(X)
    assert not changed.has_canonical_format
    before = [getattr(changed, part).copy() for part in PARTS]
    store = FORMS[form](changed, tmp_path)
    rows = RowStore(store)[10:90]
    assert rows.has_canonical_format
    np.testing.assert_array_equal(rows.toarray(), X[10:90].toarray())
    expected = BetaVAE(**SMALL).fit(X)
    np.testing.assert_array_equal(BetaVAE(**SMALL).fit(store).transform(store), expected.transform(X))
    np.testing.assert_array_equal(BetaVAE(**SMALL).fit(changed).transform(changed), expected.transform(X))
    for part, values in zip(PARTS, before, strict=True):
        np.testing.assert_array_equal(getattr(changed, part), values)


def test_a_copy_of_columns_in_another_order_is_read_as_anndata_writes_it(X, tmp_path):
    adata = anndata.AnnData(sparse.csr_matrix(X))
    order = [str(i) for i in np.random.default_rng(0).permutation(80)]
    adata[:, order].copy().write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(RowStore(tmp_path / "cells.h5ad")[:].toarray(), X[:, list(map(int, order))].toarray())


@pytest.mark.parametrize("form", FORMS)
def test_sums_of_small_integers_do_not_overflow(form, tmp_path):
    X = sparse.csr_matrix((np.full(4, 200, np.uint8), [1, 1, 0, 1], [0, 2, 4]), shape=(2, 3))
    store = RowStore(FORMS[form](X, tmp_path))
    np.testing.assert_array_equal(store[:].toarray(), [[0, 400, 0], [200, 200, 0]])
    np.testing.assert_array_equal(*(LogNormalizer().fit_transform(data)[:].toarray() for data in (X, store)))


# Files whose parts do not fit each other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": (121, 80)}, "have the shapes .*; expected as many indices as data, and 122 values of indptr"),
        ({"shape": (-1, 80)}, r"it has the shape \(-1, 80\); expected two numbers"),
        ({"shape": (120, 80, 1)}, r"it has the shape \(120, 80, 1\); expected two numbers"),
        ({"shape": "wide"}, ""),
        ({"data": None}, "data"),
        ({"indices": None}, "indices"),
        ({"indptr": None}, "indptr"),
        ({"data": np.ones((3, 2))}, "have the shapes"),
        ({"data": np.ones(7)}, "have the shapes"),
        ({"data": np.array(["a"] * 4808, "S1")}, r"data is of \|S1; expected numbers"),
        ({"indices": np.ones(4808)}, "indices is of float64; expected integers"),
        ({"indptr": np.zeros(121)}, "indptr is of float64; expected integers"),
        ({"indptr": np.zeros(121, int)}, "indptr goes from 0 to 0; expected 0 to 4808"),
        ({"indptr": np.arange(4808 - 120, 4809)}, "indptr goes from 4688 to 4808"),
        ({"indptr": np.r_[0, -5, np.full(119, 4808)]}, "indptr falls"),
        ({"indptr": np.r_[0, 2**62, np.full(119, 4808)]}, "indptr falls"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_parts_that_do_not_fit_each_other_are_an_error_at_opening_that_names_the_file(changed, message, X, tmp_path):
    assert X.nnz == 4808
    h5ad_csr(X, tmp_path / "cells.h5ad", **changed)
    with pytest.raises(ValueError, match=rf"cannot read .*cells\.h5ad.*{message}"):
        RowStore(tmp_path / "cells.h5ad")
    gc.collect()
    h5py.File(tmp_path / "cells.h5ad", "r+").close()  # which an open file would hinder


@pytest.mark.parametrize("column", [80, -1, 2**31 - 1])
def test_columns_beyond_the_features_are_an_error_that_names_the_file(column, X, tmp_path):
    indices = X.indices.copy()
    indices[50] = column
    store = RowStore(h5ad_csr(X, tmp_path / "cells.h5ad", indices=indices))
    with pytest.raises(ValueError, match=r"cannot read .*cells\.h5ad/X.*ind"):
        store[:]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(5), r"it has the shape \(5,\); expected two dimensions"),
        (np.ones((5, 2, 2)), r"it has the shape \(5, 2, 2\); expected two dimensions"),
        (np.array([["a", "b"]], "S1"), r"X is of \|S1; expected numbers"),
        (h5py.Empty("f4"), ""),
    ],
    ids=str,
)
def test_a_dense_matrix_that_is_none_is_an_error_that_names_the_file(values, message, tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["X"] = values
    with pytest.raises(ValueError, match=rf"cannot read .*cells\.h5ad.*{message}"):
        RowStore(tmp_path / "cells.h5ad")


@pytest.mark.parametrize("encoding", ["csc_matrix", "dataframe", "unknown", None])
def test_a_group_that_holds_no_rows_is_an_error_that_names_the_file(encoding, X, tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        group = file.create_group("X")
        if encoding is not None:
            group.attrs.update({"encoding-type": encoding, "encoding-version": "0.1.0", "shape": X.shape})
    with pytest.raises(ValueError, match=r"cells\.h5ad"):
        RowStore(tmp_path / "cells.h5ad")


def test_a_file_without_a_matrix_is_an_error_that_names_it(tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["obs"] = np.ones(3)
    with pytest.raises(ValueError, match=r"cannot read .*cells\.h5ad: it holds \['obs'\]; expected X"):
        RowStore(tmp_path / "cells.h5ad")


# Names and closing


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_raw_can_be_named(suffix, X, tmp_path):
    adata = anndata.AnnData(X * 2)
    adata.raw = anndata.AnnData(X)
    for layers, expected in (({}, X), ({"raw": X * 3}, X * 3)):
        adata.layers.update(layers)
        getattr(adata, f"write_{suffix}")(tmp_path / f"cells.{suffix}")
        store = RowStore(tmp_path / f"cells.{suffix}", layer="raw")
        np.testing.assert_array_equal(store[:].toarray(), expected.toarray())
        store.close()
    with pytest.raises(ValueError, match=r"layer == 'counts', must be None or one of \['raw'\]"):
        RowStore(tmp_path / f"cells.{suffix}", layer="counts")


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_closed_store_leaves_the_file_to_others(is_sparse, X, tmp_path):
    anndata.AnnData(X if is_sparse else X.toarray()).write_h5ad(tmp_path / "cells.h5ad")
    store = RowStore(tmp_path / "cells.h5ad")
    part = store.part(5, 20)
    store.close()
    store.close()
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        assert "X" in file
    with pytest.raises((OSError, ValueError)):
        part[:]


def test_closing_a_store_that_was_not_opened_by_its_name_closes_nothing(X, tmp_path):
    anndata.AnnData(X.toarray()).write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad") as file:
        RowStore(file["X"]).close()
        assert file["X"][:].shape == X.shape


@pytest.mark.parametrize("form", FORMS)
def test_quality_control_reads_a_store_in_blocks(form, cells, tmp_path):
    counts = sparse.csr_matrix(cells.data)
    names = np.array(["MT-1", "MT-2", *(f"gene {i}" for i in range(78))])
    bounds = {"min_cells": 30, "min_genes": 20, "max_genes": 60, "max_mitochondrial": 0.05}
    expected = quality_control(counts, names, **bounds)
    assert all(0 < kept.mean() < 1 for kept in expected)
    sizes = []
    store = RowStore(FORMS[form](counts, tmp_path), block_size=7).map(lambda rows: sizes.append(rows.shape[0]) or rows)
    for data in (store, store.part(0, 120)):
        for kept, of_memory in zip(quality_control(data, names, **bounds), expected, strict=True):
            np.testing.assert_array_equal(kept, of_memory)
    assert max(sizes) <= 7
    bad = counts.copy()
    bad.data[-1] = -1
    (tmp_path / "bad").mkdir()
    with pytest.raises(ValueError, match=r"cannot read .*Negative values in data passed to quality_control"):
        quality_control(FORMS[form](bad, tmp_path / "bad"), names)


def test_what_joblib_maps_is_no_store(X, tmp_path):
    folder = tmp_path / "joblib_memmapping_folder_1_2"
    folder.mkdir()
    for values in (mapped(X.toarray(), folder / "x"), mapped_csr(X, folder)):
        assert find_store(values) is None
    assert is_of_joblib(mapped(X.toarray(), folder / "x"))
