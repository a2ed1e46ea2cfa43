"""Mapping: a function of the trained model, applied to rows and written where the user wants it."""

import os
from copy import deepcopy
from functools import partial

import numpy as np
import torch

from skvae.embedding.resizing import resized
from skvae.files import open_output
from skvae.maps import arrays_of, memory_map
from skvae.rows.mapping import map_rows
from skvae.state import threads_for, usual_state
from skvae.stores import RowStore
from skvae.training.processes import find_processes


def apply_model(estimator, function, rows, n_outputs, out=None):
    """Apply `function` to the trained module, all rows and their covariates.

    Parameters
    ----------
    estimator : BaseEmbedding
        Fitted.
    function : callable
        Maps the module, x (B, D) and its covariates (B, C) to a tensor of B rows.
    rows : Rows
        Float64 rows are mapped in float64.
    n_outputs : int
        Elements a row of the largest array that `function` makes.
    out : ndarray of shape (n_samples, n_components) or path, default=None
        Where the results go; None for a new array.

    Returns
    -------
    ndarray with n_samples rows
    """
    # Weights of X's precision: with float32 weights a float64 row's result would depend on its minibatch at 1e-7.
    module, device = estimator.net_.module_, estimator.net_.device
    processes = find_processes(estimator.distributed, device)
    processes.check_alike({"the shape of X": rows.X.shape})
    check_apart(out, rows.X)
    with usual_state(), threads_for(module):
        if rows.dtype == np.float64:
            module = deepcopy(module).double()
        function = keeping_bits(function, module, rows.covariates.widths_then)
        mapped = partial(map_rows, function, n_outputs=n_outputs, device=device)
        if out is None:
            return processes.gather(mapped(processes.share(rows)))
        shape = (len(rows), estimator._n_features_out)
        if processes.count > 1:
            write_together(out, shape, processes, processes.gather(mapped(processes.share(rows))), rows.dtype)
        else:
            with open_output(out, shape, rows.dtype) as target:
                mapped(rows, out=target)
    return out if isinstance(out, np.ndarray) else np.load(out, mmap_mode="r")


def check_apart(out, X):
    """Raise a ValueError if an array that results go to shares memory with X: rows would be changed before their turn.

    Two memory maps of the same bytes of a file share them too.
    """
    if not isinstance(out, np.ndarray):
        return
    source = X.source.X if isinstance(X, RowStore) else X
    if any(shares_bytes(out, array) for array in arrays_of(source)):
        raise ValueError("out shares memory with X; expected an array, or a part of a file, of its own.")


def shares_bytes(one, other):
    maps = memory_map(one), memory_map(other)
    if all(mapped is not None and os.path.exists(mapped.filename) for mapped in maps):
        starts, ends = zip(*((mapped.offset, mapped.offset + mapped.nbytes) for mapped in maps), strict=True)
        return os.path.samefile(*(mapped.filename for mapped in maps)) and max(starts) < min(ends)
    return np.shares_memory(one, other)


def write_together(out, shape, processes, Z, dtype):
    """Write what several processes have gathered to a file: one of them writes, and an error is that of all."""
    if isinstance(out, np.ndarray):
        raise ValueError("out is an array, must be a path or None with several processes: one of them writes.")
    with processes.together():
        if processes.index == 0:
            with open_output(out, shape, dtype) as target:
                target[...] = Z


def inputs_of(covariates, batch):
    """Return the covariates of a row of that batch, (1, C) of float32."""
    return torch.from_numpy(covariates.inputs(covariates.encode(batch, 1)).astype(np.float32))


def keeping_bits(function, module, widths):
    """Return `function` of a module such that what was learned by `adapt` leaves the bits of all other rows alone.

    A row is given to the module as it was before the first level that the row is not of: the products of a wider one
    may be rounded otherwise.

    Parameters
    ----------
    function : callable
        See `apply_model`.
    module : Autoencoder
    widths : list of int
        C after `fit`, and after each `adapt`.
    """
    modules, width_now = modules_then(module, widths), widths[-1]

    def apply(x, c):
        # the covariates of rows may stand there more than once
        parts = c.unflatten(1, (c.shape[1] // max(1, width_now), width_now))
        outputs = function(modules[0], x, parts[..., : widths[0]].flatten(1))
        for before, width, wider in zip(widths, widths[1:], modules[1:], strict=False):
            is_new = parts[..., before:].flatten(1).any(dim=1)
            if is_new.any():
                found = function(wider, x, parts[..., :width].flatten(1))
                outputs = torch.where(is_new.reshape(-1, *[1] * (found.ndim - 1)), found, outputs)
        return outputs

    return apply if len(widths) > 1 else partial(function, module)


def modules_then(module, widths):
    """Return a module as it was after `fit`, and after each `adapt`, when C was each of some widths."""
    *earlier, width_now = widths
    return [*(resized(module, width_now, width) for width in earlier), module]


def first_to_know(modules, widths, c):
    """Return the first of `modules_then` that knows the covariates of all rows, (B, C), and what it is told of them."""
    return next((module, c[:, :width]) for module, width in zip(modules, widths, strict=True) if not c[:, width:].any())
