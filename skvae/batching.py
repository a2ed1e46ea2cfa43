"""Batches: the rows of X, dense or CSR, as tensors or, where that is faster, as sparse batches."""

import math

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import gen_batches
from torch.utils.data import Dataset

from skvae.sparse import SparseBatch, power_sums

# CSR rows stay sparse in a batch up to this density and from this number of features on; others are faster dense.
MAX_DENSITY = 0.25
MIN_FEATURES = 1000

# Elements of the largest array of a batch outside training: 2**22 float64 values are 32 MB.
MAX_BATCH_ELEMENTS = 2**22


class Rows(Dataset):
    """The rows of X, each index array giving one tensor, or a `SparseBatch` where that is faster.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Kept as it is, never made dense as a whole, and copied only to sum duplicate entries.
    dtype : numpy dtype
        Of the batches.
    trains : bool, default=False
        Whether gradients will be asked of sparse batches.
    """

    def __init__(self, X, dtype, *, trains=False):
        self.X = X
        self.dtype = dtype
        self.trains = trains
        n_samples, n_features = X.shape
        self.stays_sparse = (
            sparse.issparse(X) and n_features >= MIN_FEATURES and X.nnz <= MAX_DENSITY * n_samples * n_features
        )
        if self.stays_sparse and not X.has_canonical_format:
            self.X = X.copy()
            self.X.sum_duplicates()

    def __len__(self):
        return self.X.shape[0]

    @property
    def row_size(self):
        """Elements that a batch holds for each row."""
        return self.X.nnz / len(self) if self.stays_sparse else self.X.shape[1]

    def __getitem__(self, rows):
        batch = self.X[rows]
        if self.stays_sparse:
            return SparseBatch.from_scipy(batch.astype(self.dtype, copy=False), trains=self.trains)
        if sparse.issparse(batch):
            batch = batch.toarray()
        # contiguous, writeable and no view of X, which torch would share
        return torch.from_numpy(np.require(batch, self.dtype, ["C", "W", "O"]))


def feature_moments(rows, function=None):
    """Return the mean and the variance of each feature of `function(x)`, or of x, two float64 tensors (D,).

    Summed batch by batch, so that sparse and dense X give the same bits where both make dense batches.
    """
    sums = squares = 0
    for batch in batches_by_cost(rows):
        x = rows[batch]
        x_sums, x_squares = power_sums(x if function is None else function(x))
        sums = sums + x_sums
        squares = squares + x_squares
    mean = sums / len(rows)
    return mean, (squares / len(rows) - mean.square()).clamp(min=0)


def batches_by_cost(rows, n_outputs=1):
    """Yield slices of rows such that no array of a batch, with `n_outputs` elements a row or fewer, is large."""
    return bounded_batches(len(rows), max(rows.row_size, n_outputs))


def bounded_batches(n_rows, row_size):
    """Yield slices of so many rows, each of that many elements, that a batch is not large."""
    return gen_batches(n_rows, max(1, int(MAX_BATCH_ELEMENTS / row_size)))


def move(x, device):
    """Return a batch on a device, without waiting for the copy."""
    return x if torch.device(device).type == "cpu" else x.pin_memory().to(device, non_blocking=True)


class ShuffledBatches:
    """Iterate over all rows in a new random order at each pass.

    Each item is `(x, x)`: the target of an autoencoder is its input. Batches are as even as can be: a small last one
    would make a noisy step.

    Parameters
    ----------
    rows : Rows
        The data set.
    batch_size : int
        Largest number of rows in a batch.
    generator : torch.Generator
        On the CPU, orders the rows.
    device : torch.device or str
        Where the batches go.
    """

    def __init__(self, rows, batch_size, generator, device):
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator
        self.device = device

    def __iter__(self):
        order = torch.randperm(len(self.rows), generator=self.generator)
        for batch in order.tensor_split(math.ceil(len(order) / self.batch_size)):
            x = move(self.rows[batch.numpy()], self.device)
            yield x, x


def map_batches(function, X, dtype, n_outputs, device):
    """Apply `function` to X in batches of rows, in order, and stack what it returns.

    Parameters
    ----------
    function : callable
        Maps a batch of B rows to a tensor of B rows.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    dtype : numpy dtype
        Of the batches.
    n_outputs : int
        Elements a row of the largest array that `function` makes.
    device : torch.device or str
        Where the function runs.

    Returns
    -------
    ndarray with n_samples rows
    """
    rows = Rows(X, dtype)
    stacked = None
    with torch.inference_mode():
        for batch in batches_by_cost(rows, n_outputs):
            output = function(move(rows[batch], device)).numpy(force=True)
            if stacked is None:
                stacked = np.empty((len(rows), *output.shape[1:]), output.dtype)
            stacked[batch] = output
    return stacked
