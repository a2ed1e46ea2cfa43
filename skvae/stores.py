"""Stores: matrices that stay on disk, of which blocks of rows are read.

A store is anything two-dimensional with a `shape`, a `dtype` and slices of rows: arrays and CSR matrices over
`numpy.memmap`, the X of a backed AnnData, datasets of h5py, arrays of zarr or dask.
"""

import math
import mmap
import os
from collections.abc import Callable
from functools import singledispatch
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_scalar, gen_even_slices

from skvae.files import task_in_errors

# Memory of the rows that are mixed at a time, and of those read at a time.
BUFFER_BYTES = 2**27
BLOCK_BYTES = 2**20

# Of the column index of a value.
INDEX_BYTES = 4

# Rows from which the number of all non-zeros is guessed where it is not stored.
N_PEEKED = 64


class RowStore:
    """A matrix on disk, whose rows are read in blocks.

    The estimators take stores as they are; this class is for choosing the sizes, or for opening a file by its name. A
    pass of training reads all blocks in a random order, and mixes the rows of those that a buffer holds. A store that
    the buffer holds as a whole trains to the same bits as in memory.

    Parameters
    ----------
    X : store or path
        Array or CSR matrix over `numpy.memmap`, X of a backed AnnData, h5py dataset, zarr or dask array, of shape
        (n_samples, n_features); or the name of an `.h5ad` file or a `.zarr` folder, which needs the extra `anndata`.
    layer : str, default=None
        Of a name, the layer to open instead of X.
    block_size : int >= 1, default=None
        Rows that training and gene selection read at a time, from one place. None for a megabyte of them, or a chunk
        of the file if that is larger. What needs no shuffling, such as `transform`, reads as many as it can take.
    buffer_size : int >= 1, default=None
        Rows that are mixed at a time, from many places. None for 128 megabytes of them; while it is filled, a buffer
        takes twice its size.

    Attributes
    ----------
    shape : (int, int)
        n_samples and n_features.
    dtype : numpy dtype
        Of the values.
    name : str
        Names the file, in errors too.
    nnz : int or None
        Values stored of a sparse matrix; None for a dense one.

    Raises
    ------
    ValueError
        If X is no store, or a column-major (CSC) one.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skvae import BetaVAE, RowStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     X = np.memmap(f"{folder}/x.dat", dtype="float32", mode="w+", shape=(300, 50))
    ...     X[:] = np.random.default_rng(0).normal(size=X.shape)
    ...     store = RowStore(X, block_size=32, buffer_size=128)
    ...     BetaVAE(n_components=2, max_epochs=2, random_state=0).fit_transform(store).shape
    (300, 2)
    """

    def __init__(
        self, X: Any, *, layer: str | None = None, block_size: int | None = None, buffer_size: int | None = None
    ) -> None:
        self._opened = None
        if isinstance(X, (str, Path)):
            self._opened = Path(X).absolute(), layer
            X = open_file(*self._opened)
        elif layer is not None:
            raise ValueError(f"layer == {layer!r}, must be None unless X is the name of a file; got {type(X)}.")
        for name, size in (("block_size", block_size), ("buffer_size", buffer_size)):
            if size is not None:
                check_scalar(size, name, Integral, min_val=1)
        self.source = find_source(X)
        if self.source is None:
            raise ValueError(f"X is {type(X)}; expected a store, see RowStore, or the name of a file.")
        if not all(isinstance(size, Integral) for size in self.source.shape):
            raise ValueError(f"{self.source.name} has the shape {self.source.shape}; expected known numbers.")
        self.shape = self._source_shape = tuple(map(int, self.source.shape))
        self._first = 0
        self._functions: tuple[Callable, ...] = ()
        self.dtype = np.dtype(self.source.dtype)
        self.ndim = 2
        self.name = self.source.name
        self.nnz = self.source.nnz
        if self.nnz is None:
            self.nnz = guess_nnz(self._read(0, min(N_PEEKED, len(self))), len(self))
        self._sizes = block_size, buffer_size

    def __repr__(self):
        return f"RowStore({self.name!r}, shape={self.shape}, dtype={self.dtype})"

    @property
    def block_size(self) -> int:
        # a chunk of the file is read as a whole, even for a part of it
        return self._sizes[0] or max(self._rows_of(BLOCK_BYTES), self.source.chunk_size)

    @property
    def buffer_size(self) -> int:
        return max(self.block_size, self._sizes[1] or self._rows_of(BUFFER_BYTES))

    def _rows_of(self, n_bytes):
        """Return how many rows take so much memory."""
        if self.nnz is None:
            row_bytes = self.dtype.itemsize * self.shape[1]
        else:
            row_bytes = (self.dtype.itemsize + INDEX_BYTES) * self.nnz / max(1, len(self))
        return math.ceil(n_bytes / max(1, row_bytes))

    def close(self) -> None:
        """Close a file that was opened by its name; the store, and those made of it, cannot be read any more."""
        if self._opened is not None and hasattr(self.source.X, "group"):
            close_file(self.source.X.group)

    def __getstate__(self):
        # open files cannot be pickled
        return {name: value for name, value in vars(self).items() if name != "source" or self._opened is None}

    def __setstate__(self, state):
        vars(self).update(state)
        if self._opened is not None:
            self.source = find_source(open_file(*self._opened))

    def __len__(self):
        return self.shape[0]

    __iter__ = None

    def __array__(self, dtype=None, copy=None):
        """Load all rows, for who takes no stores."""
        if self.nnz is not None:
            raise TypeError(f"{self!r} has sparse rows; expected a dense store. store[:] loads it as a CSR matrix.")
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows):
        """Read rows, a slice or an index array, into memory: an ndarray or a CSR matrix."""
        if isinstance(rows, tuple) and rows[1:] == (Ellipsis,):  # as scikit-learn's searches index
            rows = rows[0]
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return self._read(start, max(start, stop))
        # in any order, but all their blocks in turn
        index = np.arange(len(self))[rows]
        if index.ndim != 1:
            raise TypeError(f"rows == {rows!r}, must be a slice or a one-dimensional index array.")
        order = np.argsort(index, kind="stable")
        ordered = index[order]
        parts = []
        for block in self.blocks():
            wanted = ordered[slice(*np.searchsorted(ordered, [block.start, block.stop]))]
            if len(wanted):
                parts.append(self._read(block.start, block.stop)[wanted - block.start])
        return stack(parts)[np.argsort(order)] if parts else self._read(0, 1)[:0]

    def _read(self, start, stop):
        with task_in_errors(f"cannot read {self.name}"):
            if tuple(self.source.shape) != self._source_shape:
                raise ValueError(f"its shape is {tuple(self.source.shape)}; expected {self._source_shape}, as before.")
            rows = self.source.read(self._first + start, self._first + stop)
            for function in self._functions if stop > start else ():
                rows = function(rows)
            return rows

    def map(self, function: Callable) -> "RowStore":
        """Return the store of `function(rows)`, computed when they are read.

        Parameters
        ----------
        function : callable
            Of an ndarray or a CSR matrix, some rows; returns one row for each, float32 or float64. A function of a
            module, or a `functools.partial` of one, can be pickled with the store.

        Returns
        -------
        mapped : RowStore
            Reads the rows of this store.
        """
        mapped = self._copy()
        mapped._functions = (*self._functions, function)
        first = mapped[: self.block_size]
        mapped.shape = (len(self), first.shape[1])
        mapped.dtype = first.dtype
        if mapped.shape != self.shape:
            mapped.nnz = guess_nnz(first, len(self))
        return mapped

    def _copy(self):
        copied = object.__new__(RowStore)  # copy would open the file anew
        vars(copied).update(vars(self))
        return copied

    def part(self, start: int, stop: int) -> "RowStore":
        """Return the store of some of the rows, which are not read.

        Parameters
        ----------
        start, stop : int
            The first row, and the one after the last.

        Returns
        -------
        part : RowStore
            Of shape (stop - start, n_features).
        """
        part = self._copy()
        part._first = self._first + start
        part.shape = (stop - start, self.shape[1])
        part.nnz = None if self.nnz is None else round(self.nnz * len(part) / max(1, len(self)))
        return part

    def blocks(self) -> list[slice]:
        """Return the blocks, even slices of rows.

        Returns
        -------
        blocks : list of slice
            In the order of the rows, each of at most `block_size` of them.
        """
        return list(gen_even_slices(len(self), math.ceil(len(self) / self.block_size))) if len(self) else []

    def buffers(self, generator: torch.Generator) -> list[list[slice]]:
        """Return lists of blocks, each the rows of a buffer, in a random order.

        Parameters
        ----------
        generator : torch.Generator
            Draws the order.

        Returns
        -------
        buffers : list of list of slice
            Together they are `blocks()`.
        """
        blocks = self.blocks()
        if len(self) <= self.buffer_size:  # mixed as a whole
            return [blocks]
        blocks = [blocks[i] for i in torch.randperm(len(blocks), generator=generator)]
        n_buffers = math.ceil(len(blocks) / (self.buffer_size // self.block_size))
        return [blocks[part] for part in gen_even_slices(len(blocks), n_buffers)]


class CompressedRows:
    """CSR rows in three one-dimensional arrays, each a memory map or on disk.

    Parameters
    ----------
    X : object
        With the shape.
    data, indices, indptr : array-like that slices
    name : str
    """

    def __init__(self, X, data, indices, indptr, name):
        self.X = X
        self.arrays = (data, indices)
        self.indptr = indptr
        self.dtype = data.dtype
        self.name = name
        self.nnz = int(np.asarray(indptr[-1:])[0])
        chunks = getattr(data, "chunks", None)
        self.chunk_size = math.ceil(chunks[0] * X.shape[0] / max(1, self.nnz)) if chunks else 1

    @property
    def shape(self):
        return self.X.shape

    def read(self, start, stop):
        indptr = read_array(self.indptr, start, stop + 1)
        if len(indptr) != stop + 1 - start:
            raise ValueError(f"indptr holds {len(indptr)} values of the rows {start} to {stop}; was it truncated?")
        parts = [read_array(array, *indptr[[0, -1]]) for array in self.arrays]
        rows = sparse.csr_matrix((*parts, indptr - indptr[0]), shape=(stop - start, self.shape[1]))
        rows.check_format(full_check=True)
        if not rows.has_canonical_format:
            raise ValueError(
                f"column indices of the rows {start} to {stop} are not sorted or not unique; expected canonical CSR. "
                "Load the matrix, call its sum_duplicates() and write it anew."
            )
        return rows


class SlicedRows:
    """Rows of whatever gives them for a slice.

    Parameters
    ----------
    X : object
        With shape, dtype and slices of rows, which are arrays, scipy sparse or to be computed.
    name : str
    """

    nnz = None  # unknown

    def __init__(self, X, name):
        self.X = X
        self.dtype = X.dtype
        self.name = name
        chunks = getattr(X, "chunks", None)
        self.chunk_size = int(np.max(chunks[0])) if chunks else 1  # of dask a tuple

    @property
    def shape(self):
        return self.X.shape

    def read(self, start, stop):
        rows = self.X[start:stop]
        rows = rows.compute() if hasattr(rows, "compute") else rows
        rows = sparse.csr_matrix(rows) if sparse.issparse(rows) else read_array(rows, 0, stop - start)
        if rows.shape != (stop - start, self.shape[1]):
            raise ValueError(f"the rows {start} to {stop} have the shape {rows.shape}; was it truncated?")
        return rows


def check_chunks(data, name):
    """Raise an OSError if parts of a zarr array are lost: zarr would give zeros."""
    n_chunks, n_there = (getattr(data, what, None) for what in ("nchunks", "nchunks_initialized"))
    if n_chunks != n_there:
        raise OSError(f"cannot read {name}: {n_there} of {n_chunks} chunks of its data are there; was it truncated?")


def guess_nnz(rows, n_samples):
    """Return how many values all rows store, from some of them, to choose what is fast; None if they are not sparse."""
    return round(rows.nnz * n_samples / max(1, rows.shape[0])) if sparse.issparse(rows) else None


def read_array(array, start, stop):
    """Return a part of an array, copied to memory."""
    mapped = memory_map(array)
    if mapped is not None and os.path.getsize(mapped.filename) < mapped.offset + mapped.nbytes:
        # reading on would kill the process
        raise OSError(f"it ends before the {mapped.offset + mapped.nbytes} bytes that were mapped; was it truncated?")
    part = np.array(array[start:stop])
    release(array)
    return part


def memory_map(array):
    """Return the memmap whose memory an array shares, or None."""
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename is not None:
            return array
        array = getattr(array, "base", None)
    return None


def release(array):
    """Let go of the pages of a memory map, which would count as memory of this process; they stay cached."""
    mapped = memory_map(array)
    # what was written to a copy on write is nowhere else
    if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.base.madvise(mmap.MADV_DONTNEED)


@singledispatch
def find_source(X):
    """Return the source of the rows of a store, or None if X is in memory or none."""
    if getattr(X, "format", None) == "csc" and hasattr(X, "group"):
        raise ValueError(
            f"{name_of(X)} is column-major (CSC); expected row-major (CSR), whose rows can be read. Convert it once: "
            "adata = anndata.read_h5ad(name); adata.X = adata.X.tocsr(); adata.write_h5ad(new_name)."
        )
    if getattr(X, "format", None) == "csr" and hasattr(X, "group"):  # of anndata
        check_chunks(X.group["data"], name_of(X))
        return CompressedRows(X, X.group["data"], X.group["indices"], X.group["indptr"], name_of(X))
    sliceable = all(hasattr(X, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    if not sliceable or hasattr(X, "iloc") or hasattr(X, "__array_namespace__") or len(X.shape) != 2:
        return None
    return SlicedRows(X, name_of(X))


@find_source.register
def find_source_tensor(X: torch.Tensor):  # noqa: ARG001
    return None


@find_source.register
def find_source_array(X: np.ndarray):
    is_store = X.ndim == 2 and X.dtype.kind in "biuf" and memory_map(X) is not None
    return SlicedRows(X, name_of(memory_map(X))) if is_store else None


@find_source.register(sparse.spmatrix)
@find_source.register(sparse.sparray)
def find_source_scipy(X):
    if X.format != "csr":  # converted, in memory
        return None
    maps = [found for found in map(memory_map, (X.data, X.indices)) if found is not None]
    return CompressedRows(X, X.data, X.indices, X.indptr, name_of(maps[0])) if maps else None


def name_of(X):
    """Return the name of the file that an object is stored in, else that of its type."""
    X = getattr(X, "group", X)
    if isinstance(X, RowStore):
        return X.name
    if hasattr(X, "file"):  # of h5py
        return f"{X.file.filename}{X.name}"
    return str(getattr(X, "filename", None) or getattr(X, "store_path", None) or type(X).__name__)


def find_store(X, *, maps=True):
    """Return X as a RowStore if it is a store, else None; without `maps`, None for memory maps too.

    joblib makes memory maps of large arrays: transformers must not return stores for these.
    """
    if isinstance(X, RowStore):
        return X
    is_array = isinstance(X, np.ndarray) or sparse.issparse(X)
    return None if (is_array and not maps) or find_source(X) is None else RowStore(X)


def stack(parts):
    """Return blocks of rows as one."""
    if len(parts) == 1:
        return parts[0]
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)


def open_h5ad(path):
    import h5py

    return h5py.File(path)


def open_zarr(path):
    import zarr

    return zarr.open_group(path, mode="r")


OPENERS = {".h5ad": open_h5ad, ".zarr": open_zarr}


def close_file(group):
    """Close the file of an h5py group; zarr keeps none open."""
    if hasattr(group, "file"):
        group.file.close()


def open_file(path, layer):
    """Return X, or a layer, of a file of anndata."""
    if path.suffix not in OPENERS:
        raise ValueError(f"X == {str(path)!r}, must end in one of {list(OPENERS)}.")
    if not path.exists():
        raise FileNotFoundError(f"X == {str(path)!r}: there is no such file.")
    from anndata.io import sparse_dataset

    with task_in_errors(f"cannot read {path}"):
        group = OPENERS[path.suffix](path)
        layers = list(group["layers"]) if "layers" in group else []
        if layer is not None and layer not in layers:
            raise ValueError(f"layer == {layer!r}, must be None or one of {layers}.")
        element = group["X" if layer is None else f"layers/{layer}"]
        return element if hasattr(element, "dtype") else sparse_dataset(element)
