"""Batches: the rows of X, dense or CSR, as dense float tensors. The only place that makes sparse rows dense."""

import math

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import gen_batches
from torch.utils.data import Dataset


class Rows(Dataset):
    """The rows of X, each index array giving one dense tensor.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Kept as it is, never copied or made dense as a whole.
    dtype : numpy dtype
        Of the tensors.
    """

    def __init__(self, X, dtype):
        self.X = X
        self.dtype = dtype

    def __len__(self):
        return self.X.shape[0]

    def __getitem__(self, rows):
        batch = self.X[rows]
        if sparse.issparse(batch):
            batch = batch.toarray()
        # contiguous, writeable and no view of X, which torch would share
        return torch.from_numpy(np.require(batch, self.dtype, ["C", "W", "O"]))


def feature_moments(rows, batch_size):
    """Return the mean and the variance of each feature, two float64 tensors (D,).

    Summed batch by batch, so that sparse and dense X give the same bits.
    """
    sums = sums_of_squares = 0
    for batch in gen_batches(len(rows), batch_size):
        x = rows[batch].double()
        sums = sums + x.sum(dim=0)
        sums_of_squares = sums_of_squares + x.square().sum(dim=0)
    mean = sums / len(rows)
    return mean, (sums_of_squares / len(rows) - mean.square()).clamp(min=0)


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
    device : str
        Where the tensors go.
    """

    def __init__(self, rows, batch_size, generator, device):
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator
        self.device = device

    def __iter__(self):
        order = torch.randperm(len(self.rows), generator=self.generator)
        for batch in order.tensor_split(math.ceil(len(order) / self.batch_size)):
            x = self.rows[batch.numpy()].to(self.device)
            yield x, x


def map_batches(function, X, dtype, batch_size, device):
    """Apply `function` to X in batches of rows, in order, and stack what it returns.

    Parameters
    ----------
    function : callable
        Maps a tensor (B, D) to one of B rows.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    dtype : numpy dtype
        Of the batches.
    batch_size : int
        Rows in a batch.
    device : str
        Where the function runs.

    Returns
    -------
    ndarray with n_samples rows
    """
    rows = Rows(X, dtype)
    stacked = None
    with torch.inference_mode():
        for batch in gen_batches(len(rows), batch_size):
            output = function(rows[batch].to(device)).numpy(force=True)
            if stacked is None:
                stacked = np.empty((len(rows), *output.shape[1:]), output.dtype)
            stacked[batch] = output
    return stacked
