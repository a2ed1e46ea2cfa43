"""Rows: those of X, dense, CSR or on disk, with their covariates and weights."""

import hashlib
import math
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import Dataset

from skvae.rows.bounds import bounded_minibatches
from skvae.rows.checks import check_weights
from skvae.rows.covariates import NONE, Moved
from skvae.sparse import SparseBatch
from skvae.stores import RowStore, stack

# CSR rows stay sparse in a minibatch up to this density and from this number of features on; others are faster dense.
MAX_DENSITY = 0.25
MIN_FEATURES = 1000

# Rows of each slice from which a large store is sampled.
SLICE = 128


class Rows(Dataset):
    """The rows of X, their covariates and weights; an index array gives a pair of tensors.

    The first, (B, D), is a `SparseBatch` where that is faster. The second, (B, C), are the covariates.

    Parameters
    ----------
    X : ndarray, CSR matrix or RowStore of shape (n_samples, n_features)
        Kept as it is, never made dense as a whole. CSR without duplicates. A store gives slices of rows alone.
    dtype : numpy dtype
        Of the minibatches.
    covariates : Covariates, default=NONE
        Make the decoder's inputs of `encoded`.
    encoded : ndarray of shape (n_samples, n_columns), default=None
        What `covariates.encode` returned; None where there are none.
    weights : ndarray of float64 of shape (n_samples,), default=None
        How often a pass over the data is to visit each row; None for once.
    stays_sparse : bool, default=None
        Whether minibatches are sparse; None for where it is faster.
    """

    def __init__(self, X, dtype, covariates=NONE, encoded=None, weights=None, *, stays_sparse=None):
        n_samples, n_features = X.shape
        self.X = X
        self.dtype = dtype
        self.covariates = covariates
        self.encoded = np.broadcast_to(0.0, (n_samples, 0)) if encoded is None else encoded
        self.weights = np.broadcast_to(1.0, n_samples) if weights is None else weights
        self.stays_sparse = stays_sparse
        if stays_sparse is None:
            few = getattr(X, "nnz", None) is not None and X.nnz <= MAX_DENSITY * n_samples * n_features
            self.stays_sparse = few and n_features >= MIN_FEATURES

    @classmethod
    def make(cls, X, dtype, covariates, batch, *, sample_weight=None, required=True, name="batch", admits_new=False):
        """Return the rows of checked X, and of what the user gave with it; see `Covariates.encode`."""
        encoded = covariates.encode(batch, X.shape[0], required=required, name=name, admits_new=admits_new)
        return cls(X, dtype, covariates, encoded, check_weights(sample_weight, X))

    def __len__(self):
        return self.X.shape[0]

    @property
    def row_size(self):
        """Elements that a minibatch holds for each row."""
        return self.X.nnz / max(1, len(self)) if self.stays_sparse else self.X.shape[1]

    @cached_property
    def total_weight(self):
        return math.fsum(self.weights)  # exact, so that the order of rows does not matter

    @property
    def n_visits(self):
        """How many rows a pass over the data visits."""
        return round(self.total_weight)

    def __getitem__(self, rows):
        return self.take(rows).tensors()

    def weights_of(self, rows):
        """Return the weights of some of the rows, a float64 tensor (B,)."""
        return torch.from_numpy(self.weights[rows].copy())

    def take(self, rows):
        """Return some of the rows, in memory."""
        return self._with(self.X[rows], self.encoded[rows], self.weights[rows])

    def part(self, start, stop):
        """Return the rows from `start` to `stop`, where they are."""
        X = self.X.part(start, stop) if isinstance(self.X, RowStore) else self.X[start:stop]
        return self._with(X, self.encoded[start:stop], self.weights[start:stop])

    def moved(self, *targets):
        """Return the rows with more covariates: their own, and those with the values of some `Covariates.targets`."""
        covariates = Moved(self.covariates, *targets)
        return Rows(self.X, self.dtype, covariates, self.encoded, self.weights, stays_sparse=self.stays_sparse)

    def _with(self, X, encoded, weights):
        return Rows(X, self.dtype, self.covariates, encoded, weights, stays_sparse=self.stays_sparse)

    def tensors(self, *, trains=False):
        """Return the pair of tensors of all rows; `trains` says whether gradients will be asked of them."""
        X = self.X.astype(self.dtype, copy=False)
        if self.stays_sparse:
            x = SparseBatch.from_scipy(X, trains=trains)
        else:
            # contiguous, writeable and no view of X, which torch would share
            x = torch.from_numpy(np.require(X.toarray() if sparse.issparse(X) else X, self.dtype, ["C", "W", "O"]))
        return x, torch.from_numpy(self.inputs.astype(self.dtype))

    @property
    def inputs(self):
        """The covariates of all rows, (n_samples, C), float64."""
        return self.covariates.inputs(self.encoded)

    @cached_property
    def fingerprints(self):
        """Projection of each row on a fixed random direction, (n_samples,): equal rows have equal ones."""
        direction = np.random.RandomState(0).standard_normal(self.X.shape[1])
        fingerprints = np.empty(len(self))
        for minibatch in bounded_minibatches(self):
            with np.errstate(over="ignore", invalid="ignore"):  # training raises an error for such values
                fingerprints[minibatch] = self.X[minibatch].astype(self.dtype, copy=False) @ direction
        return fingerprints

    @cached_property
    def order(self):
        """An order of the rows that depends on their values, not on their positions: (n_samples,)."""
        return np.lexsort((self.fingerprints, *self.encoded.T[::-1]))

    def sample(self, n_rows):
        """Return about `n_rows` rows in memory, as often as their weights say: all, if a pass visits no more.

        Which ones depends on their values, not on their positions. Of a store larger than its buffer they are those
        of short slices from all over, and the rest is not read.
        """
        rows = self
        if isinstance(self.X, RowStore):
            length = len(self)
            if length > max(n_rows, self.X.buffer_size):
                starts = np.linspace(0, length - SLICE, math.ceil(n_rows / SLICE)).astype(int)
                rows = stack_rows([self.part(start, start + SLICE).take(slice(None)) for start in starts])
            else:
                rows = self.take(slice(None))
        n_visits = min(n_rows, round(rows.total_weight))
        ends = np.cumsum(rows.weights[rows.order])
        visits = rows.at((np.arange(n_visits) + 0.5) * (ends[-1] / max(1, n_visits)), ends)
        return rows._with(rows.X[visits], rows.encoded[visits], np.ones(n_visits))

    def at(self, cuts, ends):
        """Return the rows at some points of the sum of all weights, whose cumulative sums in `order` are `ends`."""
        return self.order[np.searchsorted(ends[:-1], cuts, side="right")]

    def buffers(self, generator):
        """Yield all rows in memory: at once, or, of a store, as many at a time as its buffer holds, in random order."""
        if not isinstance(self.X, RowStore):
            yield self
            return
        for blocks in self.X.buffers(generator):
            yield stack_rows([self.take(block) for block in blocks])


def stack_rows(parts):
    """Return parts of the same rows as one."""
    if len(parts) == 1:
        return parts[0]
    encoded, weights = (np.concatenate([getattr(part, name) for part in parts]) for name in ("encoded", "weights"))
    return parts[0]._with(stack([part.X for part in parts]), encoded, weights)


def digest(rows):
    """Return a checksum of rows, their covariates and weights, in which their order and format do not matter."""
    # float32, as the last bits of a product depend on the format
    parts = (rows.fingerprints.astype(np.float32), rows.encoded, rows.weights)
    return hashlib.sha256(b"".join(part[rows.order].tobytes() for part in parts)).hexdigest()


def exact_digest(rows):
    """Return the same of all values: one that rounding or a large column hides from a projection counts too.

    A row's checksum is a projection of the bits of its values, in integers, which are exact in any order.
    """
    direction = np.random.RandomState(0).randint(2**64, size=rows.X.shape[1], dtype=np.uint64)
    checksums = np.empty(len(rows), np.uint64)
    for minibatch in bounded_minibatches(rows):
        checksums[minibatch] = as_integers(rows.X[minibatch]) @ direction
    parts = (rows.encoded, checksums, rows.weights)
    order = np.lexsort((rows.weights, checksums, *rows.encoded.T[::-1]))
    return hashlib.sha256(b"".join(part[order].tobytes() for part in parts)).hexdigest()


def as_integers(X):
    """Return the bits of X in float32, in which networks train, as uint64: 0 where X is 0."""
    if sparse.issparse(X):
        return sparse.csr_matrix((as_integers(X.data), X.indices, X.indptr), shape=X.shape)
    with np.errstate(over="ignore"):  # training raises an error for such values
        return (X.astype(np.float32) + 0.0).view(np.uint32).astype(np.uint64)  # -0.0 is 0 too
