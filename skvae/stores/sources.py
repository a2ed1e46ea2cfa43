"""Sources: what a store reads its rows from, CSR rows in three arrays, or whatever gives rows for a slice."""

import math
from functools import singledispatch
from numbers import Integral

import numpy as np
import torch
from scipy import sparse

from skvae.files import task_in_errors
from skvae.maps import check_maps, is_of_joblib, memory_maps, read_array
from skvae.stores.chunks import check_chunks
from skvae.stores.containers import close_file, open_matrix

# Values of an index that are checked at a time.
N_CHECKED = 2**20


class CompressedRows:
    """CSR rows in three one-dimensional arrays, each a memory map or on disk.

    `warning` is what the user should know of the file, or None.

    Parameters
    ----------
    X : object
        With the shape.
    data, indices, indptr : array-like that slices
    name : str
    """

    def __init__(self, X, data, indices, indptr, name):
        self.X = X
        self.name = name
        with task_in_errors(f"cannot read {name}"):
            check_shape(X.shape)
            data, self.warning = check_chunks(data, name)
            indices, of_indices = check_chunks(indices, name)
            # where there are no values all of indptr is 0, of which zarr writes nothing
            indptr, of_indptr = check_chunks(indptr, name) if data.shape[0] else (indptr, None)
            check_compressed(X.shape[0], data, indices, indptr)
        self.warning = self.warning or of_indices or of_indptr
        # zeros in the place of lost indices would be summed, or put rows together
        self.must_be_sorted = not (of_indices is None and of_indptr is None)
        self.arrays = (data, indices)
        self.indptr = indptr
        self.dtype = np.dtype(data.dtype)
        self.nnz = data.shape[0]
        chunks = getattr(data, "chunks", None)
        self.chunk_size = math.ceil(chunks[0] * X.shape[0] / max(1, self.nnz)) if chunks else 1

    @property
    def shape(self):
        return self.X.shape

    def read(self, start, stop):
        indptr = read_array(self.indptr, start, stop + 1)
        if len(indptr) != stop + 1 - start:
            raise ValueError(f"indptr holds {len(indptr)} values of the rows {start} to {stop}; was it truncated?")
        parts = [read_array(array, int(indptr[0]), int(indptr[-1])) for array in self.arrays]
        rows = sparse.csr_matrix((*parts, indptr - indptr[0]), shape=(stop - start, self.shape[1]))
        rows.check_format(full_check=True)
        if not rows.has_canonical_format and self.must_be_sorted:
            raise OSError(
                f"chunks of indices or indptr are lost: column indices of the rows {start} to {stop} are not sorted or "
                "not unique, as where zeros stand for them. Expected the whole file."
            )
        return canonical(rows)


def canonical(rows):
    """Return CSR rows of a store with sorted columns, and with the sum of what stands at the same place.

    Sums are those of floats, as in memory, where integers of a few bits would overflow.
    """
    rows.sort_indices()
    if rows.has_canonical_format:
        return rows
    rows = rows if rows.dtype in (np.float32, np.float64) else rows.astype(np.float64)
    rows.sum_duplicates()
    return rows


class SlicedRows:
    """Rows of whatever gives them for a slice; see `CompressedRows`.

    Parameters
    ----------
    X : object
        With shape, dtype and slices of rows, which are arrays, scipy sparse or to be computed.
    name : str
    """

    nnz = None  # unknown

    def __init__(self, X, name):
        self.name = name
        with task_in_errors(f"cannot read {name}"):
            check_shape(X.shape)
            check_numbers("X", X)
            self.X, self.warning = check_chunks(X, name)
        self.dtype = np.dtype(X.dtype)
        chunks = getattr(X, "chunks", None)
        self.chunk_size = int(np.max(chunks[0])) if chunks else 1  # of dask a tuple

    @property
    def shape(self):
        return self.X.shape

    def read(self, start, stop):
        rows = self.X[start:stop]
        rows = rows.compute() if hasattr(rows, "compute") else rows
        rows = canonical(sparse.csr_matrix(rows)) if sparse.issparse(rows) else read_array(rows, 0, stop - start)
        if rows.shape != (stop - start, self.shape[1]):
            raise ValueError(f"the rows {start} to {stop} have the shape {rows.shape}; was it truncated?")
        return rows


def check_shape(shape):
    if len(shape) != 2 or not all(isinstance(size, Integral) and int(size) >= 0 for size in shape):
        raise ValueError(f"it has the shape {tuple(shape)}; expected two numbers, known and not negative.")


def check_numbers(name, array, kinds="biuf"):
    """Raise a ValueError unless an array is of numbers."""
    if np.dtype(array.dtype).kind not in kinds:
        raise ValueError(f"{name} is of {array.dtype}; expected {'numbers' if 'f' in kinds else 'integers'}.")


def check_compressed(n_rows, data, indices, indptr):
    """Raise a ValueError unless three arrays can be those of CSR rows; columns are checked when rows are read."""
    check_numbers("data", data)
    check_numbers("indices", indices, "iu")
    check_numbers("indptr", indptr, "iu")
    shapes, n_stored = (data.shape, indices.shape, indptr.shape), math.prod(data.shape)
    if shapes != ((n_stored,), (n_stored,), (n_rows + 1,)):
        raise ValueError(
            f"data, indices and indptr have the shapes {shapes}; expected as many indices as data, and {n_rows + 1} "
            "values of indptr, one more than rows."
        )
    last = first = int(read_array(indptr, 0, 1)[0])
    for start in range(0, n_rows + 1, N_CHECKED):
        ends = read_array(indptr, start, start + N_CHECKED)
        if ends[0] < last or (ends[1:] < ends[:-1]).any():
            raise ValueError(f"indptr falls after its value {start}; expected one that rises from row to row.")
        last = int(ends[-1])
    if (first, last) != (0, n_stored):
        raise ValueError(f"indptr goes from {first} to {last}; expected 0 to {n_stored}, the number of values in data.")


@singledispatch
def find_source(X):
    """Return the source of the rows of a store, or None if X is in memory or none."""
    if getattr(X, "format", None) == "csc" and hasattr(X, "group"):
        raise ValueError(
            f"{name_of(X)} is column-major (CSC); expected row-major (CSR), whose rows can be read. Convert it once: "
            "adata = anndata.read_h5ad(name); adata.X = adata.X.tocsr(); adata.write_h5ad(new_name)."
        )
    if getattr(X, "format", None) == "csr" and hasattr(X, "group"):  # of anndata
        with task_in_errors(f"cannot read {name_of(X)}"):
            data, indices, indptr = (X.group[name] for name in ("data", "indices", "indptr"))
        return CompressedRows(X, data, indices, indptr, name_of(X))
    sliceable = all(hasattr(X, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    if not sliceable or hasattr(X, "iloc") or hasattr(X, "__array_namespace__") or len(X.shape or ()) != 2:
        return None
    return SlicedRows(X, name_of(X))


@find_source.register
def find_source_tensor(X: torch.Tensor):  # noqa: ARG001
    return None


@find_source.register(CompressedRows)
@find_source.register(SlicedRows)
def find_source_itself(X):
    return X


@find_source.register
def find_source_array(X: np.ndarray):
    maps = maps_on_disk(X)
    return SlicedRows(X, name_of(maps[0])) if maps and X.ndim == 2 and X.dtype.kind in "biuf" else None


@find_source.register(sparse.spmatrix)
@find_source.register(sparse.sparray)
def find_source_scipy(X):
    maps = maps_on_disk(X)
    if X.format != "csr" or X.ndim != 2 or not maps:  # other formats are converted, in memory
        return None
    return CompressedRows(X, X.data, X.indices, X.indptr, name_of(maps[0]))


def maps_on_disk(X):
    """Return the memory maps that X is in, but those that joblib made of memory: all processes are to see X alike."""
    check_maps(X)
    return [mapped for mapped in memory_maps(X) if not is_of_joblib(mapped)]


def open_source(path, layer):
    """Return the source of a matrix in a file, which is closed again if it is none."""
    X = open_matrix(path, layer)
    try:
        source = find_source(X)
        if source is None:
            raise ValueError(f"cannot read {name_of(X)}: it has the shape {X.shape}; expected two dimensions.")
        return source
    except BaseException:
        close_file(X)
        raise


def name_of(X):
    """Return the name of the file that an object is stored in, else that of its type."""
    X = getattr(X, "group", X)
    if hasattr(X, "file"):  # of h5py
        return f"{X.file.filename}{X.name}"
    return str(getattr(X, "filename", None) or getattr(X, "store_path", None) or type(X).__name__)
