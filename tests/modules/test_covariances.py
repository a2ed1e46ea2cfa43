"""Covariances of rows: their products are those of matrices, and axes of one group alone come behind shared ones."""

import numpy as np
import pytest
from scipy import sparse

from skvae.covariances import N_SHARED, SharedCovariance, Whitened, covariance_of
from skvae.factors import design_of, factor_analysis, moments

GROUPS = np.repeat([0, 1, 2], [90, 60, 10])  # the last has too few rows for a covariance of its own


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.poisson(rng.gamma(2, 1, size=(160, 12)) + GROUPS[:, np.newaxis]).astype(float)


def whiten(X, **options):
    design = design_of(GROUPS[:, np.newaxis] == np.arange(3))
    effects, variance = moments(X, design)
    return Whitened(X, design, effects, variance, **options)


def matrix(X):
    """Return Y' Y / n of rows within their groups, weighted as by `whiten`."""
    means = np.array([X[group == GROUPS].mean(axis=0) for group in range(3)])
    left = X - means[GROUPS]
    Y = left / left.std(axis=0)
    return Y, Y.T @ Y / len(Y)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_products_are_those_of_the_covariance_within_groups(make, rows):
    V = np.random.default_rng(1).normal(size=(12, 4))
    np.testing.assert_allclose(whiten(make(rows)).covariance_times(V), matrix(rows)[1] @ V, rtol=1e-8)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_shared_products_leave_out_those_of_a_group_with_itself(make, rows):
    Y, pooled = matrix(rows)
    covariances, shares = [], []
    for group, n_rows in ((0, 90), (1, 60)):
        own = n_rows / (n_rows + N_SHARED)
        within = Y[group == GROUPS].T @ Y[group == GROUPS] / n_rows
        covariances.append(own * within + (1 - own) * pooled)
        shares.append(n_rows / 160)
    total = sum(share * of_group for share, of_group in zip(shares, covariances, strict=True)) + 10 / 160 * pooled
    own = sum(share**2 * of_group @ of_group for share, of_group in zip(shares, covariances, strict=True))
    V = np.random.default_rng(1).normal(size=(12, 4))
    shared = covariance_of(whiten(make(rows)), GROUPS, 3)
    assert isinstance(shared, SharedCovariance)
    np.testing.assert_allclose(shared.times(V), (total @ total - own) @ V, rtol=1e-8)


def test_with_one_group_that_is_large_enough_all_rows_have_one_covariance(rows):
    whole = whiten(rows)
    assert covariance_of(whole, np.zeros(160, int), 3) is whole
    assert covariance_of(whole, np.r_[np.zeros(140, int), np.ones(20, int)], 3) is whole


def test_axes_of_one_group_come_behind_those_that_groups_share():
    rng = np.random.default_rng(0)
    groups, types = np.arange(600) % 2, rng.integers(2, size=600) * 2 - 1
    X = rng.normal(size=(600, 40))
    X[:, :5] += 2 * types[:, np.newaxis]  # tells types apart in both groups
    X[:, 5:20] += 1.5 * rng.choice([-1, 1], size=(600, 1)) * (groups == 0)[:, np.newaxis]  # varies in one alone
    of_labels = groups[:, np.newaxis] == np.arange(2)
    codes = [
        (X @ factor_analysis(X, of_labels, told, 1, floor=0.3).encoding)[:, 0] for told in (np.zeros(600, int), groups)
    ]
    unaware, aware = (abs(np.corrcoef(code, types)[0, 1]) for code in codes)
    assert unaware < 0.2
    assert aware > 0.9
