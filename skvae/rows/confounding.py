"""Covariates that say the same: a warning, since what the one does cannot be told from what the other does."""

from itertools import combinations

import numpy as np

from skvae.rows.columns import column_of
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
    columns = covariates.columns
    names = ["batch" if name is None else column_of("batch", name) for name in columns]
    for name, kind, numbers in zip(names, columns.values(), encoded.T, strict=True):
        kind.warn_of(numbers, name)
    inputs = [kind.inputs(numbers) for kind, numbers in zip(columns.values(), encoded.T, strict=True)]
    for one, other in combinations(range(len(names)), 2):
        if are_confounded(inputs[one], inputs[other]):
            warn(
                f"{names[one]} and {names[other].rstrip(',')} cannot be told apart: in these rows some of the one "
                "follows from the other, so that an effect may be that of either; expected rows of each level of the "
                "one with each of the other. Leave one of them out, or do not read their effects singly."
            )


def are_confounded(one, other):
    """Return whether the inputs of two columns have a combination in common beside a constant."""
    constant = np.ones((len(one), 1))
    alone = [rank(np.hstack([constant, inputs])) for inputs in (one, other)]
    return rank(np.hstack([constant, one, other])) < sum(alone) - 1


def rank(inputs):
    eigenvalues = np.linalg.eigvalsh(inputs.T @ inputs)
    return (eigenvalues > MIN_SHARE * eigenvalues[-1]).sum()
