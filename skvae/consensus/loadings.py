"""Loadings: what each feature has to do with each dimension of an embedding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing, gen_batches, indexable

from skvae.consensus.matching import moments, standardised
from skvae.names import known_names, steps_of
from skvae.stores import RowStore

# Where models have the slopes of what they expect of X: FastICA's `components_` are the way from X to Z.
SLOPES: dict[str, Callable[[Any], np.ndarray]] = {"mixing_": np.transpose, "components_": np.asarray}

# Elements of the blocks of rows that are looked at together, 32 MB in float64.
MAX_BLOCK_ELEMENTS = 2**22

# Share of the mean square of a feature below which its variance is the rounding of none.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Loadings:
    """What each feature has to do with each dimension.

    Parameters
    ----------
    slopes : ndarray of shape (n_components, n_features)
        Change of the feature for a standard deviation of the dimension, the others held.
    correlations : ndarray of shape (n_components, n_features)
        Correlation of the two over the rows.
    names : ndarray of shape (n_features,)
        Names of the features.
    """

    slopes: np.ndarray
    correlations: np.ndarray
    names: np.ndarray

    @classmethod
    def of(cls, estimator, X, Z, n_features_in):
        """Return the loadings of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
        X : {array-like, sparse matrix, RowStore} of shape (n_samples, n_features)
            Rows as the last step of the estimator sees them.
        Z : {ndarray, CSR matrix} of shape (n_samples, n_components)
            Their codes.
        n_features_in : int
            Number of features that the first step sees.
        """
        *before, model = steps_of(estimator)
        codes = standardised(Z)
        slopes, deviations = cross_moments(codes, X)
        names = known_names(estimator)
        names = default_names(n_features_in) if names is None else names
        return cls(
            slopes=slopes_of(model, codes, slopes, moments(Z)[1]),
            correlations=np.divide(slopes, deviations, out=np.zeros_like(slopes), where=deviations > 0),
            names=names_after(before, names, slopes.shape[1]),
        )


def slopes_of(model, codes, alone, deviations):
    """Return the slopes of the features, from the model where it has them, else by regression.

    Parameters
    ----------
    model : estimator
    codes : ndarray of shape (n_samples, n_components)
        Standardised.
    alone : ndarray of shape (n_components, n_features)
        The slopes on each dimension alone.
    deviations : ndarray of shape (n_components,)
        Of the codes before they were standardised.
    """
    for name, to_rows in SLOPES.items():
        own = getattr(model, name, None)
        if own is not None and np.shape(to_rows(own)) == alone.shape:
            return np.asarray(to_rows(own), dtype=np.float64) * deviations[:, np.newaxis]
    return np.linalg.lstsq(codes.T @ codes / len(codes), alone, rcond=None)[0]


def cross_moments(codes, X):
    """Return the mean products of codes and features, (n_components, n_features), and the features' deviations."""
    X = X if isinstance(X, RowStore) else indexable(X)[0]
    n_features = np.shape(X)[1]
    total, squares, products = np.zeros(n_features), np.zeros(n_features), np.zeros((codes.shape[1], n_features))
    for rows in blocks_of(X):
        block = X[rows] if isinstance(X, RowStore) else _safe_indexing(X, rows)
        block = (sparse.csr_array(block) if sparse.issparse(block) else np.asarray(block)).astype(np.float64)
        total += block.sum(axis=0)
        squares += (block**2).sum(axis=0)
        products += (block.T @ codes[rows]).T
    means, squares = total / len(codes), squares / len(codes)
    variances = squares - np.square(means)
    return products / len(codes), np.sqrt(np.where(variances > LEAST_VARIANCE * squares, variances, 0))


def blocks_of(X):
    """Return slices of rows that are not too large."""
    if isinstance(X, RowStore):
        return X.blocks()
    n_rows, n_features = np.shape(X)
    return gen_batches(n_rows, max(1, MAX_BLOCK_ELEMENTS // max(1, n_features)))


def default_names(n_features):
    return np.array([f"x{index}" for index in range(n_features)], dtype=object)


def names_after(steps, names, n_features):
    """Return the names of the features that fitted steps return, x0, x1, ... if they do not tell."""
    for step in steps:
        if hasattr(step, "get_feature_names_out") and len(names) == getattr(step, "n_features_in_", len(names)):
            names = step.get_feature_names_out(names)
    return np.asarray(names, dtype=object) if len(names) == n_features else default_names(n_features)


def place_together(names, names_in):
    """Return the names of all features that runs see, and the places of each run's among them.

    They are those that the first step is given, unless other steps make new ones.

    Parameters
    ----------
    names : list of ndarray of shape (n_features,)
    names_in : ndarray of shape (n_features_in,)
    """
    if all(np.array_equal(own, names_in) for own in names):
        return names_in, [np.arange(len(names_in)) for _ in names]
    places = {name: place for place, name in enumerate(names_in)}
    if not all(name in places for own in names for name in own):
        places = {name: place for place, name in enumerate(dict.fromkeys(name for own in names for name in own))}
    together = np.array(list(places), dtype=object)
    return together, [np.array([places[name] for name in own], dtype=int) for own in names]
