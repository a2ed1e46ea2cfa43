"""Covariates that say the same: a warning, since what the one does cannot be told from what the other does."""

from itertools import combinations

import numpy as np

from skvae.rows.bounds import minibatch_slices
from skvae.rows.columns import named
from skvae.warn import warn

# Share of the largest eigenvalue below which one of the products of inputs is rounding.
MIN_SHARE = 1e-9


def warn_of_columns(covariates, encoded):
    """Warn of columns of which little can be learned, and of pairs of them that cannot be told apart.

    Parameters
    ----------
    covariates : Covariates
    encoded : ndarray of shape (n_samples, n_columns)
    """
    names = [named("batch", name) for name in covariates.columns]
    for name, kind, numbers in zip(names, covariates.columns.values(), encoded.T, strict=True):
        kind.warn_of(numbers, name)
    pairs = list(combinations(range(len(names)), 2))
    products = products_of(covariates, encoded) if pairs else None
    for one, other in pairs:
        if are_confounded(products, covariates.places[one], covariates.places[other]):
            warn(
                f"{names[one]} and {names[other].rstrip(',')} cannot be told apart: in these rows some of the one "
                "follows from the other, so that an effect may be that of either; expected rows of each level of the "
                "one with each of the other. Leave one of them out, or do not read their effects singly."
            )


def products_of(covariates, encoded):
    """Return the sums over the rows of the products of all inputs and, as the last of them, a constant: (C + 1, C + 1).

    The inputs of all rows at once would be as many as rows and levels.
    """
    n_inputs = covariates.width + 1
    products = np.zeros((n_inputs, n_inputs))
    for part in minibatch_slices(len(encoded), n_inputs):
        inputs = covariates.inputs(encoded[part])
        inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
        products += inputs.T @ inputs
    return products


def are_confounded(products, one, other):
    """Return whether the inputs at some places, and at others, have a combination in common beside a constant."""
    rank_of_one, rank_of_other, rank_of_both = (
        rank(products[np.ix_([*places, -1], [*places, -1])]) for places in (one, other, [*one, *other])
    )
    return rank_of_both < rank_of_one + rank_of_other - 1


def rank(products):
    eigenvalues = np.linalg.eigvalsh(products)
    return (eigenvalues > MIN_SHARE * eigenvalues[-1]).sum()
