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
    """The rows of X and their covariates; an index array gives a pair of tensors.

    The first, (B, D), is a `SparseBatch` where that is faster. The second, (B, C), is one where a row is of a category
    and zero elsewhere.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Kept as it is, never made dense as a whole, and copied only to sum duplicate entries.
    dtype : numpy dtype
        Of the batches.
    categories : ndarray of int of shape (n_samples,), default=None
        The category of each row, from 0 to C - 1; None where there are none.
    n_categories : int, default=0
        C.
    trains : bool, default=False
        Whether gradients will be asked of sparse batches.
    """

    def __init__(self, X, dtype, categories=None, n_categories=0, *, trains=False):
        self.X = X
        self.dtype = dtype
        self.categories = np.zeros(X.shape[0], dtype=int) if categories is None else categories
        self.n_categories = n_categories
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

    def density(self, weights):
        """Return the weighted mean share of non-zeros in a row."""
        n_nonzero = np.diff(self.X.indptr) if sparse.issparse(self.X) else np.count_nonzero(self.X, axis=1)
        return np.average(n_nonzero, weights=weights) / self.X.shape[1]

    def __getitem__(self, rows):
        return self._features(rows), one_hot(self.categories[rows], self.n_categories, self.dtype)

    def _features(self, rows):
        batch = self.X[rows]
        if self.stays_sparse:
            return SparseBatch.from_scipy(batch.astype(self.dtype, copy=False), trains=self.trains)
        if sparse.issparse(batch):
            batch = batch.toarray()
        # contiguous, writeable and no view of X, which torch would share
        return torch.from_numpy(np.require(batch, self.dtype, ["C", "W", "O"]))


def one_hot(categories, n_categories, dtype):
    """Return a tensor (B, C) that is one where a row is of a category, and zero elsewhere."""
    return torch.from_numpy((categories[:, np.newaxis] == np.arange(n_categories)).astype(dtype))


def feature_moments(rows, weights, function=None):
    """Return the weighted mean and variance of each feature of `function(x)`, or of x, two float64 tensors (D,).

    Summed batch by batch, so that sparse and dense X give the same bits where both make dense batches.
    """
    sums = squares = 0
    for batch in batches_by_cost(rows):
        x, _ = rows[batch]
        x_sums, x_squares = power_sums(x if function is None else function(x), torch.from_numpy(weights[batch]))
        sums = sums + x_sums
        squares = squares + x_squares
    mean = sums / weights.sum()
    return mean, (squares / weights.sum() - mean.square()).clamp(min=0)


def canonical_order(rows):
    """Return an order of the rows that follows from what they hold, not from where they stand: (n_samples,)."""
    direction = np.random.RandomState(0).standard_normal(rows.X.shape[1])
    places = np.empty(len(rows))
    for batch in batches_by_cost(rows):
        places[batch] = rows.X[batch] @ direction
    return np.lexsort((places, rows.categories))


def batches_by_cost(rows, n_outputs=1):
    """Yield slices of rows such that no array of a batch, with `n_outputs` elements a row or fewer, is large."""
    return bounded_batches(len(rows), max(rows.row_size, n_outputs))


def bounded_batches(n_rows, row_size):
    """Yield slices of so many rows, each of that many elements, that a batch is not large."""
    return gen_batches(n_rows, max(1, int(MAX_BATCH_ELEMENTS / row_size)))


def move(parts, device):
    """Return the tensors of a batch on a device, without waiting for the copies."""
    if torch.device(device).type == "cpu":
        return parts
    return tuple(part.pin_memory().to(device, non_blocking=True) for part in parts)


class ShuffledBatches:
    """Iterate over all rows in a new random order at each pass.

    A row comes as often as its weight says: a weight of 2 is two rows, 1/2 is every other pass on average. The weights
    are cut at a random place of each unit of their sum, so that integers are met exactly (systematic sampling).
    The order does not depend on that of X: the same rows and the same seed make the same batches.

    Each item is `((x, c), x)`: the input, with its covariates, and the target, which for an autoencoder is x again.
    Batches are as even as can be: a small last one would make a noisy step.

    Parameters
    ----------
    rows : Rows
        The data set.
    weights : ndarray of shape (n_samples,)
        At least 0, with a sum of 1 or more.
    batch_size : int
        Largest number of rows in a batch.
    generator : torch.Generator
        On the CPU, orders the rows.
    device : torch.device or str
        Where the batches go.
    """

    def __init__(self, rows, weights, batch_size, generator, device):
        self.rows = rows
        self.order = canonical_order(rows)
        self.ends = np.cumsum(weights[self.order])
        self.batch_size = batch_size
        self.generator = generator
        self.device = device

    def __iter__(self):
        n_visits = count_visits(self.ends[-1])
        start = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        cuts = (np.arange(n_visits) + start) * (self.ends[-1] / n_visits)
        visits = self.order[np.searchsorted(self.ends[:-1], cuts, side="right")]
        shuffled = torch.randperm(n_visits, generator=self.generator)
        for batch in shuffled.tensor_split(count_batches(n_visits, self.batch_size)):
            x, covariates = move(self.rows[visits[batch.numpy()]], self.device)
            yield (x, covariates), x


def count_visits(total_weight):
    """Return how many rows a pass over the data visits."""
    return round(float(total_weight))


def count_batches(n_visits, batch_size):
    """Return how many batches these rows make."""
    return math.ceil(n_visits / batch_size)


def map_batches(function, rows, n_outputs, device):
    """Apply `function` to all rows in batches, in order, and stack what it returns.

    Parameters
    ----------
    function : callable
        Maps x (B, D) and its covariates (B, C) to a tensor of B rows.
    rows : Rows
        The data.
    n_outputs : int
        Elements a row of the largest array that `function` makes.
    device : torch.device or str
        Where the function runs.

    Returns
    -------
    ndarray with n_samples rows
    """
    stacked = None
    with torch.inference_mode():
        for batch in batches_by_cost(rows, n_outputs):
            output = function(*move(rows[batch], device)).numpy(force=True)
            if stacked is None:
                stacked = np.empty((len(rows), *output.shape[1:]), output.dtype)
            stacked[batch] = output
    return stacked
