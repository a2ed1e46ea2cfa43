"""Covariances of rows, without their matrices: of all rows, and what those of several groups have in common."""

from copy import copy

import numpy as np

# Share of the longest direction in which covariates move the mean under which one is rounding.
MIN_LENGTH = 1e-9

# Rows of all groups that the covariance of a group is found from beside its own, and the rows of the smallest group
# that has one of its own.
N_SHARED = 30


class Whitened:
    """Y = (X - m) / sqrt(psi), of which only products are computed; m is the mean that the covariates let expect.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, D), float64
    design : CSR matrix of shape (n_samples, 1 + C)
        A constant, and the covariates.
    effects : ndarray of shape (1 + C, D)
        m is `design @ effects`.
    weights : ndarray of shape (D,)
        psi, or another variance of each feature.
    keeps_effects : bool, default=True
        Whether Y contains the directions in which the covariates move m.
    """

    def __init__(self, X, design, effects, weights, *, keeps_effects=True):
        self.X = X
        self.design = design
        self.weights = np.sqrt(inverse(weights))
        self.effects = effects * self.weights
        self.left_out = None
        if not keeps_effects and len(effects) > 1:
            _, lengths, directions = np.linalg.svd(self.effects[1:], full_matrices=False)
            self.left_out = directions[lengths > MIN_LENGTH * lengths[0]].T

    def times(self, V):
        """Return Y V."""
        return self.X @ (self.weights[:, np.newaxis] * V) - self.design @ (self.effects @ V)

    def transposed_times(self, U):
        """Return Y' U."""
        product = self.weights[:, np.newaxis] * (self.X.T @ U) - self.effects.T @ (self.design.T @ U)
        return product if self.left_out is None else product - self.left_out @ (self.left_out.T @ product)

    def leading(self, V, n_iter):
        """Return lambda, (K,), and V, (D, K), after some iterations of the subspace that V spans."""
        for _ in range(n_iter):
            V, _ = np.linalg.qr(self.covariance_times(V))
        return self.principal(V)

    def covariance_times(self, V):
        """Return S V, with S = Y' Y / n."""
        return self.transposed_times(self.times(V)) / max(1, self.X.shape[0])

    def principal(self, V):
        """Return lambda, (K,), and V, (D, K), turned within the subspace that it spans."""
        product = self.times(V)
        variances, rotation = np.linalg.eigh(product.T @ product / max(1, self.X.shape[0]))
        return np.maximum(variances[::-1], 0), V @ rotation[:, ::-1]

    def part(self, rows):
        """Return that of some of the rows."""
        part = copy(self)
        part.X, part.design = self.X[rows], self.design[rows]
        return part


class SharedCovariance:
    """What the covariances of groups have in common: P = T T - sum over b of w_b w_b S_b S_b, with T = sum of w_b S_b.

    Where a feature sets a type apart in one group alone, the axis of that feature sets this type apart from the same
    one in other groups, though the groups' means are the same. It is long in the covariance of all rows, S, and short
    in P, to which no group contributes by itself. w_b is a group's share of the rows, and its covariance S_b is taken
    as if S had been found in `N_SHARED` rows more: few rows do not show all types. Groups of fewer have S.

    Parameters
    ----------
    whole : Whitened
        All rows.
    parts : list of Whitened
        The rows of each group that is large enough.
    n_components : int
        J, the axes to be found.
    """

    def __init__(self, whole, parts, n_components):
        self.whole = whole
        self.parts = parts
        self.n_components = n_components
        sizes = np.array([part.X.shape[0] for part in parts])
        self.shares = sizes / whole.X.shape[0]
        self.own = sizes / (sizes + N_SHARED)

    def times(self, V):
        """Return P V."""
        groups = list(zip(self.parts, self.shares, self.own, strict=True))
        pooled = self.whole.covariance_times(V)
        products = [share * (own * part.covariance_times(V) + (1 - own) * pooled) for part, share, own in groups]
        rest = 1 - self.shares.sum()
        total = sum(products) + rest * pooled
        result, of_whole = 0.0, rest * total
        for (part, share, own), product in zip(groups, products, strict=True):
            others = share * (total - product)
            result = result + own * part.covariance_times(others)
            of_whole = of_whole + (1 - own) * others
        return result + self.whole.covariance_times(of_whole)

    def leading(self, V, n_iter):
        """Return lambda of all rows, (J,), and V, (D, K), of which the first J columns are the axes of P."""
        for _ in range(n_iter):
            V, _ = np.linalg.qr(self.times(V))
        product = V.T @ self.times(V)
        V = V @ np.linalg.eigh((product + product.T) / 2)[1][:, ::-1]
        variances, axes = self.whole.principal(V[:, : self.n_components])
        return variances, np.hstack([axes, V[:, self.n_components :]])


def covariance_of(whole, groups, n_components):
    """Return the `SharedCovariance` of groups, integers (n_samples,), or that of all rows where one is large enough."""
    numbers, sizes = np.unique(groups, return_counts=True)
    parts = [whole.part(np.flatnonzero(groups == number)) for number in numbers[sizes >= N_SHARED]]
    return SharedCovariance(whole, parts, n_components) if len(parts) > 1 else whole


def inverse(values):
    """Return 1 / values, 0 where they are 0: there is nothing to weigh."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
