"""Matching: which dimensions of several embeddings of the same rows are the same, up to their order and sign."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

# Share of its mean below which the deviation of a dimension is the rounding of none.
LEAST_DEVIATION = 1e-9


@dataclass(frozen=True, eq=False)
class Matches:
    """The dimensions of each run that are matched, one to one, with those of a reference.

    Parameters
    ----------
    reference : int
        The run that agrees best with the others.
    partners : ndarray of int of shape (n_runs, n_components)
        The dimension of each run that is matched with each of the reference; 0 where a run has too few.
    agreement : ndarray of shape (n_runs, n_components)
        Their correlation; 0 where a run has too few dimensions.
    """

    reference: int
    partners: np.ndarray
    agreement: np.ndarray

    @property
    def stability(self):
        """The median over the other runs of absolute correlations, (n_components,)."""
        return np.median(np.abs(np.delete(self.agreement, self.reference, axis=0)), axis=0)

    def signs(self, least, sizes):
        """Return, for each run, what puts its dimensions in the order and sign of the stable ones of the reference.

        Parameters
        ----------
        least : float
            The correlation from which two dimensions are the same.
        sizes : list of int
            The number of dimensions of each run.

        Returns
        -------
        signs : list of ndarray of shape (size, n_stable)
            Of 1, -1 and 0. A column has one value at most, and none if the run does not agree.
        """
        stable = np.flatnonzero(self.stability >= least)
        places = np.arange(len(stable))
        signs = [np.zeros((size, len(stable))) for size in sizes]
        for own, partners, agreement in zip(signs, self.partners[:, stable], self.agreement[:, stable], strict=True):
            own[partners, places] = np.where(np.abs(agreement) >= least, np.sign(agreement), 0)
        return signs


def match_runs(codes):
    """Return the `Matches` of several runs.

    Parameters
    ----------
    codes : list of ndarray of shape (n_samples, n_components)
        Standardised; runs may differ in their number of components.
    """
    pairs = [[match(first.T @ second / len(first)) for second in codes] for first in codes]
    agreed = np.array([[np.abs(agreement).sum() for _, agreement in row] for row in pairs])
    np.fill_diagonal(agreed, 0)
    reference = int(agreed.sum(axis=1).argmax())
    partners, agreement = zip(*pairs[reference], strict=True)
    return Matches(reference, np.array(partners), np.array(agreement))


def match(correlations):
    """Return the column that is matched with each row, and their correlation; 0 and 0 of rows that are left over."""
    rows, columns = linear_sum_assignment(np.abs(correlations), maximize=True)
    partners, agreement = np.zeros(len(correlations), dtype=int), np.zeros(len(correlations))
    partners[rows], agreement[rows] = columns, correlations[rows, columns]
    return partners, agreement


def moments(Z):
    """Return the mean and the standard deviation of each dimension; the latter is 1 where all values are equal."""
    Z = dense(Z)
    means, deviations = Z.mean(axis=0), Z.std(axis=0)
    varies = deviations > LEAST_DEVIATION * np.abs(means)
    return means, np.where(varies, deviations, 1)


def standardised(Z):
    """Return codes, dense, with mean 0 and deviation 1 in each dimension that varies."""
    means, deviations = moments(Z)
    return (dense(Z) - means) / deviations


def orientation(Z):
    """Return the sign that puts the longer tail of each dimension on the positive side, 1 where nothing is negative."""
    is_mirrored = (standardised(Z) ** 3).sum(axis=0) < 0
    return np.where(is_mirrored & (dense(Z) < 0).any(axis=0), -1, 1)


def dense(Z):
    return np.asarray(Z.toarray() if sparse.issparse(Z) else Z, dtype=np.float64)


def combine(codes, weights):
    """Return the sum over runs of codes @ weights.

    Sparse codes give a CSR matrix, which is zero where fewer than half of the runs that have a weight are not.

    Parameters
    ----------
    codes : list of {ndarray, CSR matrix} of shape (n_samples, n_components)
    weights : list of ndarray of shape (n_components, n_stable)
        A column of each has one value that is not zero, at most.
    """
    weights = [own.astype(Z.dtype) for Z, own in zip(codes, weights, strict=True)]
    if not all(map(sparse.issparse, codes)):
        return sum(np.asarray(Z @ own) for Z, own in zip(codes, weights, strict=True))
    pairs = [(Z, sparse.csr_matrix(own)) for Z, own in zip(codes, weights, strict=True)]
    total = sum(Z @ own for Z, own in pairs)
    active = sparse.csr_matrix(sum((Z != 0).astype(int) @ (own != 0).astype(int) for Z, own in pairs))
    n_runs = np.sum([(own != 0).any(axis=0) for own in weights], axis=0)
    active.data = 2 * active.data >= n_runs[active.indices]
    agreed = sparse.csr_matrix(total.multiply(active))
    agreed.eliminate_zeros()
    return agreed


def mean_of(loadings, means, places, n_features):
    """Return the mean loadings of the programs, (n_stable, n_features), 0 for a feature that a run does not see.

    Parameters
    ----------
    loadings : list of ndarray of shape (n_components, n_features of the run)
    means : list of ndarray of shape (n_components, n_stable)
        Sign and share of each run's dimensions.
    places : list of ndarray of int of shape (n_features of the run,)
        Where its features are among all.
    n_features : int
    """
    total = np.zeros((means[0].shape[1], n_features))
    for own, mean, place in zip(loadings, means, places, strict=True):
        total[:, place] += mean.T @ own
    return total
