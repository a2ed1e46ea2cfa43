"""Denoising: expected values of some features, and how uncertain q(z|x) leaves them."""

import reprlib

import numpy as np
import torch

from skvae.objectives import N_SCORE_SAMPLES
from skvae.sparse import totals


def expected(module, x, c, *, features, total):
    """Return E[x|z] of some features at the mean of q(z|x), (B, n_features); see `Autoencoder.denoise`."""
    return module.denoise(x, c, total)[:, features]


def spread(module, x, c, *, features, total, n_targets):
    """Return the deviation of E[x|z] of some features over z ~ q(z|x), (B, n_features), from quasi-random samples.

    `c` (B, (1 + T) C) are the covariates of rows, and those of T targets over which expected values are averaged. They
    are as in `Autoencoder.denoise` else.
    """
    own, *others = c.chunk(1 + n_targets, dim=1) if c.shape[1] else [c] * (1 + n_targets)
    q, total = module.encode(x, own), totals(x) if total is None else total
    mean = squares = torch.zeros((), dtype=c.dtype, device=c.device)
    # a point has one sample, itself
    samples = q.samples(N_SCORE_SAMPLES) if q.n_uniforms else [q.mean()]
    for number, z in enumerate(samples, 1):
        values = [module.likelihood.denoised(module.decode(z, other), total)[:, features] for other in others]
        change = sum(values) / n_targets - mean
        mean = mean + change / number
        squares = squares + change**2 * ((number - 1) / number)
    return torch.sqrt(squares / number)


def check_features(estimator, features):
    """Return the indices of the features that are asked for, by index, mask or name; a slice of all for None."""
    if features is None:
        return slice(None)
    n_features, asked = estimator.n_features_in_, np.atleast_1d(np.asarray(features))
    if asked.dtype == bool:
        if asked.shape != (n_features,):
            raise ValueError(f"features is a mask of the shape {asked.shape}, must have {(n_features,)}.")
        indices = np.flatnonzero(asked)
    elif np.issubdtype(asked.dtype, np.integer):
        indices = asked
    else:
        indices = indices_of_names(estimator, asked)
    if indices.ndim != 1 or len(indices) == 0 or indices.min() < 0 or indices.max() >= n_features:
        raise ValueError(
            f"features == {reprlib.repr(features)}, must be one feature or more of {n_features}: indices from 0 on, a "
            "mask or names."
        )
    return indices


def indices_of_names(estimator, names):
    """Return the index of each name among the features of `fit`."""
    known = getattr(estimator, "feature_names_in_", None)
    if known is None:
        raise ValueError(
            f"features == {reprlib.repr(names.tolist())}, must be indices or a mask: the data of fit had no names of "
            "features."
        )
    places = {name: index for index, name in enumerate(known)}
    missing = [name for name in names.ravel().tolist() if name not in places]
    if missing:
        raise ValueError(f"features holds {missing[:5]}; expected names of feature_names_in_.")
    return np.array([places[name] for name in names.ravel().tolist()], dtype=int)
