"""Stores: matrices that stay on disk, of which blocks of rows are read.

A store is anything two-dimensional with a `shape`, a `dtype` and slices of rows: arrays and CSR matrices over
`numpy.memmap`, the X of a backed AnnData, datasets of h5py, arrays of zarr or dask.
"""

import math
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_scalar, gen_even_slices

from skvae.files import task_in_errors
from skvae.maps import check_maps
from skvae.stores.containers import close_file
from skvae.stores.sources import SlicedRows, find_source, open_source
from skvae.warn import warn

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
        Of a name, the layer to open instead of X; "raw" for the X of `raw`, unless a layer has that name.
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
        If X is no store, or a column-major (CSC) one, or its parts do not fit each other.
    OSError
        If there is no such file, or it cannot be read.

    Warns
    -----
    UserWarning
        If chunks of a file are absent, see the notes.

    Notes
    -----
    The columns of a row of a CSR matrix may be in any order; values at the same place are summed when they are read.

    By default zarr does not write a chunk that holds nothing but zeros, and it reads one that is lost as zeros. That a
    chunk is lost is an error where it can be told: because it was there when the store was made, because the indices
    of a CSR matrix do not fit each other without it, or because `array.write_empty_chunks` of zarr's configuration says
    that all chunks are written. Where it cannot be told, absent chunks are read as zeros, with a warning; so are chunks
    of an `.h5ad` file that nobody wrote.

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
        elif layer is not None:
            raise ValueError(f"layer == {layer!r}, must be None unless X is the name of a file; got {type(X)}.")
        for name, size in (("block_size", block_size), ("buffer_size", buffer_size)):
            if size is not None:
                check_scalar(size, name, Integral, min_val=1)
        self.source = find_source(X) if self._opened is None else open_source(*self._opened)
        if self.source is None:
            raise ValueError(f"X is {type(X)}; expected a store, see RowStore, or the name of a file.")
        if self.source.warning is not None:
            warn(self.source.warning)
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
        return self._sizes[0] or max(self.rows_in(BLOCK_BYTES), self.source.chunk_size)

    @property
    def buffer_size(self) -> int:
        return max(self.block_size, self._sizes[1] or self.rows_in(BUFFER_BYTES))

    def rows_in(self, n_bytes: int) -> int:
        """Return how many rows take so much memory, 1 or more.

        Parameters
        ----------
        n_bytes : int
            Bytes of memory.

        Returns
        -------
        n_rows : int
            Those of the mean number of non-zeros, if rows are sparse.
        """
        if self.nnz is None:
            row_bytes = self.dtype.itemsize * self.shape[1]
        else:
            row_bytes = (self.dtype.itemsize + INDEX_BYTES) * self.nnz / max(1, len(self))
        return math.ceil(n_bytes / max(1, row_bytes))

    def close(self) -> None:
        """Close a file that was opened by its name; the store, and those made of it, cannot be read any more."""
        if self._opened is not None:
            close_file(self.source.X)

    def __getstate__(self):
        # open files cannot be pickled
        return {name: value for name, value in vars(self).items() if name != "source" or self._opened is None}

    def __setstate__(self, state):
        vars(self).update(state)
        if self._opened is not None:
            self.source = open_source(*self._opened)

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


def guess_nnz(rows, n_samples):
    """Return how many values all rows store, from some of them, to choose what is fast; None if they are not sparse."""
    return round(rows.nnz * n_samples / max(1, rows.shape[0])) if sparse.issparse(rows) else None


@find_source.register
def find_source_of_store(X: RowStore):
    return SlicedRows(X, X.name)


def find_store(X, *, maps=True):
    """Return X as a RowStore if it is a store, else None; without `maps`, None for memory maps too.

    joblib makes memory maps of large arrays: transformers must not return stores for these.
    """
    if isinstance(X, RowStore):
        return X
    if not maps and (isinstance(X, np.ndarray) or sparse.issparse(X)):
        check_maps(X)
        return None
    source = find_source(X)
    return None if source is None else RowStore(source)


def stack(parts):
    """Return blocks of rows as one."""
    if len(parts) == 1:
        return parts[0]
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)
