"""Mapping: a function of all rows, minibatch by minibatch, in order."""

import math

import numpy as np
import torch

from skvae.maps import release
from skvae.rows.bounds import ROW_MULTIPLE, bounded_minibatches
from skvae.sparse import pad


def move(parts, device):
    """Return the tensors of a minibatch on a device, without waiting for the copies."""
    if torch.device(device).type == "cpu":
        return parts
    return tuple(part.pin_memory().to(device, non_blocking=True) for part in parts)


def map_rows(function, rows, n_outputs, device, out=None):
    """Apply `function` to all rows in minibatches, in order, and stack what it returns for each.

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
        for minibatch in bounded_minibatches(rows, n_outputs):
            x, covariates = move(rows[minibatch], device)
            n_rows = math.ceil(len(x) / ROW_MULTIPLE) * ROW_MULTIPLE
            output = function(pad(x, n_rows), pad(covariates, n_rows))[: len(x)].numpy(force=True)
            if not np.isfinite(output).all():
                raise ValueError("the result for a row of X is infinite or NaN; expected values like those of fit.")
            if out is None:
                out = np.empty((len(rows), *output.shape[1:]), output.dtype)
            out[minibatch] = output
            release(out)
    return out


def mean_over_rows(function, rows, n_outputs, device):
    """Return the weighted mean over all rows of what `function` returns for each, float64; see `map_rows`."""
    total = weight = torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for minibatch in bounded_minibatches(rows, n_outputs):
            weights = rows.weights_of(minibatch)
            total = total + weights @ function(*move(rows[minibatch], device)).double().cpu()
            weight = weight + weights.sum()
    return (total / weight).numpy()
