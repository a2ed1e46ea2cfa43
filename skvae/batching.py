"""Batches: the rows of X, dense, CSR or on disk, as tensors or, where that is faster, as sparse batches."""

import math
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import gen_batches, gen_even_slices
from torch.utils.data import Dataset

from skvae.sparse import SparseBatch, pad, power_sums
from skvae.stores import RowStore, release, stack

# CSR rows stay sparse in a batch up to this density and from this number of features on; others are faster dense.
MAX_DENSITY = 0.25
MIN_FEATURES = 1000

# Elements of the largest array of a batch outside training, unless the fewest rows have more: 2**22 float64 values are
# 32 MB.
MAX_BATCH_ELEMENTS = 2**22

# Rows of each slice from which a large store is sampled.
SLICE = 128

# The rows of a batch outside training are a multiple of this: BLAS and vector units round otherwise where there are
# few rows or the number is odd, so that the last bits of a row would depend on the rows beside it.
ROW_MULTIPLE = 64


class Rows(Dataset):
    """The rows of X, their covariates and weights; an index array gives a pair of tensors.

    The first, (B, D), is a `SparseBatch` where that is faster. The second, (B, C), is one where a row is of a category
    and zero elsewhere.

    Parameters
    ----------
    X : ndarray, CSR matrix or RowStore of shape (n_samples, n_features)
        Kept as it is, never made dense as a whole. CSR without duplicates. A store gives slices of rows alone.
    dtype : numpy dtype
        Of the batches.
    categories : ndarray of int of shape (n_samples,), default=None
        The category of each row, from 0 to C - 1; None where there are none.
    n_categories : int, default=0
        C.
    weights : ndarray of float64 of shape (n_samples,), default=None
        How often a pass over the data is to visit each row; None for once.
    stays_sparse : bool, default=None
        Whether batches are sparse; None for where it is faster.
    """

    def __init__(self, X, dtype, categories=None, n_categories=0, weights=None, *, stays_sparse=None):
        n_samples, n_features = X.shape
        self.X = X
        self.dtype = dtype
        self.categories = np.broadcast_to(0, n_samples) if categories is None else categories
        self.n_categories = n_categories
        self.weights = np.broadcast_to(1.0, n_samples) if weights is None else weights
        self.stays_sparse = stays_sparse
        if stays_sparse is None:
            few = getattr(X, "nnz", None) is not None and X.nnz <= MAX_DENSITY * n_samples * n_features
            self.stays_sparse = few and n_features >= MIN_FEATURES

    def __len__(self):
        return self.X.shape[0]

    @property
    def row_size(self):
        """Elements that a batch holds for each row."""
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
        return self._with(self.X[rows], self.categories[rows], self.weights[rows])

    def part(self, start, stop):
        """Return the rows from `start` to `stop`, where they are."""
        X = self.X.part(start, stop) if isinstance(self.X, RowStore) else self.X[start:stop]
        return self._with(X, self.categories[start:stop], self.weights[start:stop])

    def _with(self, X, categories, weights):
        return Rows(X, self.dtype, categories, self.n_categories, weights, stays_sparse=self.stays_sparse)

    def tensors(self, *, trains=False):
        """Return the pair of tensors of all rows; `trains` says whether gradients will be asked of them."""
        X = self.X.astype(self.dtype, copy=False)
        if self.stays_sparse:
            x = SparseBatch.from_scipy(X, trains=trains)
        else:
            # contiguous, writeable and no view of X, which torch would share
            x = torch.from_numpy(np.require(X.toarray() if sparse.issparse(X) else X, self.dtype, ["C", "W", "O"]))
        return x, one_hot(self.categories, self.n_categories, self.dtype)

    @cached_property
    def places(self):
        """A number for each row that follows from what it holds, (n_samples,)."""
        direction = np.random.RandomState(0).standard_normal(self.X.shape[1])
        places = np.empty(len(self))
        for batch in batches_by_cost(self):
            with np.errstate(over="ignore", invalid="ignore"):  # training will tell of such values
                places[batch] = self.X[batch].astype(self.dtype, copy=False) @ direction
        return places

    @cached_property
    def order(self):
        """An order of the rows that follows from what they hold, not from where they stand: (n_samples,)."""
        return np.lexsort((self.places, self.categories))

    def sample(self, n_rows):
        """Return about `n_rows` rows in memory, as often as their weights say: all, if a pass visits no more.

        They follow from what the rows hold, not from where they stand. Of a store larger than its buffer they are those
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
        cuts = (np.arange(n_visits) + 0.5) * (ends[-1] / max(1, n_visits))
        visits = rows.order[np.searchsorted(ends[:-1], cuts, side="right")]
        return rows._with(rows.X[visits], rows.categories[visits], np.ones(n_visits))

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
    categories, weights = (np.concatenate([getattr(p, name) for p in parts]) for name in ("categories", "weights"))
    return parts[0]._with(stack([part.X for part in parts]), categories, weights)


def one_hot(categories, n_categories, dtype):
    """Return a tensor (B, C) that is one where a row is of a category, and zero elsewhere."""
    return torch.from_numpy((categories[:, np.newaxis] == np.arange(n_categories)).astype(dtype))


class Moments:
    """Weighted moments of features, summed batch by batch.

    Sparse and dense X give the same bits where both make dense batches.
    """

    def __init__(self):
        self.sums = self.squares = self.weight = torch.zeros((), dtype=torch.float64)

    def add(self, x, weights):
        sums, squares = power_sums(x, weights)
        self.sums, self.squares, self.weight = self.sums + sums, self.squares + squares, self.weight + weights.sum()

    def map(self, function):
        """Return the moments with `function` applied to each sum."""
        mapped = Moments()
        mapped.sums, mapped.squares, mapped.weight = map(function, (self.sums, self.squares, self.weight))
        return mapped

    def plus(self, other):
        """Return the moments of the rows of both."""
        both = Moments()
        both.sums, both.squares = self.sums + other.sums, self.squares + other.squares
        both.weight = self.weight + other.weight
        return both

    def largest_mean(self):
        """Return the largest absolute value of the features' means."""
        return (self.sums / self.weight).abs().max().item()

    def mean_and_variance(self):
        """Return two float64 tensors (D,)."""
        mean = self.sums / self.weight
        return mean, (self.squares / self.weight - mean.square()).clamp(min=0)


def batches_by_cost(rows, n_outputs=1):
    """Yield slices of rows such that no array of a batch, with `n_outputs` elements a row or fewer, is large."""
    return bounded_batches(len(rows), max(rows.row_size, n_outputs))


def bounded_batches(n_rows, row_size):
    """Yield slices of so many rows, each of that many elements, that a batch is not large."""
    return gen_batches(n_rows, max(1, int(MAX_BATCH_ELEMENTS / row_size / ROW_MULTIPLE)) * ROW_MULTIPLE)


def move(parts, device):
    """Return the tensors of a batch on a device, without waiting for the copies."""
    if torch.device(device).type == "cpu":
        return parts
    return tuple(part.pin_memory().to(device, non_blocking=True) for part in parts)


class ShuffledBatches:
    """Iterate over all rows in a new random order at each pass.

    A row comes as often as its weight says: a weight of 2 is two rows, 1/2 is every other pass on average. The weights
    are cut at a random place of each unit of their sum, so that integers are met exactly (systematic sampling).
    The order does not depend on that of X: the same rows and the same seed make the same batches. Of a store, rows are
    mixed a buffer at a time.

    Each item is `((x, c), x)`: the input, with its covariates, and the target, which for an autoencoder is x again.
    Batches are as even as can be: a small last one would make a noisy step.

    Parameters
    ----------
    rows : Rows
        The data set, with weights whose sum is 1 or more.
    n_batches : int
        Number of batches of a pass.
    generator : torch.Generator
        On the CPU, orders the rows.
    device : torch.device or str
        Where the batches go.
    """

    def __init__(self, rows, n_batches, generator, device):
        self.rows = rows
        self.n_batches = n_batches
        self.generator = generator
        self.device = device

    def __iter__(self):
        sizes = (part.stop - part.start for part in gen_even_slices(self.rows.n_visits, self.n_batches))
        parts: list[Rows] = []
        missing = next(sizes)
        for buffer, visits in self.visits():
            while 0 < missing <= len(visits):
                batch = stack_rows([*parts, buffer.take(visits[:missing])])
                x, covariates = move(batch.tensors(trains=True), self.device)
                yield (x, covariates), x
                visits = visits[missing:]
                parts, missing = [], next(sizes, 0)
            if len(visits):  # the next batch begins in this buffer and ends in another
                parts.append(buffer.take(visits))
                missing -= len(visits)
            del buffer  # before the next one is filled

    def visits(self):
        """Yield buffers of rows with the rows in them that a pass visits, in a random order."""
        n_visits = self.rows.n_visits
        unit = self.rows.total_weight / n_visits
        start = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        first, end = 0, 0.0
        for buffer in self.rows.buffers(self.generator):
            ends = end + np.cumsum(buffer.weights[buffer.order])
            end = ends[-1]
            last = min(n_visits, math.ceil(end / unit - start))
            cuts = (np.arange(first, last) + start) * unit
            visits = buffer.order[np.searchsorted(ends[:-1], cuts, side="right")]
            first = last
            yield buffer, visits[torch.randperm(len(visits), generator=self.generator).numpy()]
            del buffer


def map_batches(function, rows, n_outputs, device, out=None):
    """Apply `function` to all rows in batches, in order, and stack what it returns for each.

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
    out : ndarray with n_samples rows, default=None
        Where the results go; a memory map is written as they come. None for a new array.

    Returns
    -------
    ndarray with n_samples rows

    Raises
    ------
    ValueError
        If one of the results is infinite or NaN.
    """
    with torch.inference_mode():
        for batch in batches_by_cost(rows, n_outputs):
            x, covariates = move(rows[batch], device)
            n_rows = math.ceil(len(x) / ROW_MULTIPLE) * ROW_MULTIPLE
            output = function(pad(x, n_rows), pad(covariates, n_rows))[: len(x)].numpy(force=True)
            if not np.isfinite(output).all():
                raise ValueError("the result for a row of X is infinite or NaN; expected values like those of fit.")
            if out is None:
                out = np.empty((len(rows), *output.shape[1:]), output.dtype)
            out[batch] = output
            release(out)
    return out


def mean_of_batches(function, rows, n_outputs, device):
    """Return the weighted mean over all rows of what `function` returns for each, float64; see `map_batches`."""
    total = weight = torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for batch in batches_by_cost(rows, n_outputs):
            weights = rows.weights_of(batch)
            total = total + weights @ function(*move(rows[batch], device)).double().cpu()
            weight = weight + weights.sum()
    return (total / weight).numpy()
