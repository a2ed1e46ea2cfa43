"""Factor analysis, and the loadings of a generalised linear model."""

import numpy as np
import pytest
from scipy import sparse

from skvae.factors import choose_floor, factor_analysis, regress, shrink, shuffle_columns, signs_of_largest
from skvae.supports import BINARY, COUNTS


def analyse(X, n_components, floor=None):
    return factor_analysis(X, np.empty((X.shape[0], 0)), np.zeros(X.shape[0]), n_components, floor=floor)


def test_the_axes_are_those_of_the_model_that_made_the_rows(linear):
    X, loadings, factors = linear
    axes = analyse(X, 5, floor=0.0)
    found = axes.loadings[:, :3] * np.sqrt(axes.strengths()[:3])
    np.testing.assert_allclose(np.abs(np.sum(found * loadings, axis=0)), [64, 25, 9], rtol=0.1)
    np.testing.assert_allclose(axes.noise, 1, atol=0.25)
    codes = (X - axes.mean) @ axes.encoding[:, :3]
    np.testing.assert_allclose(codes.std(axis=0), 1, rtol=1e-6)
    assert np.abs(np.corrcoef(codes.T, factors.T)[:3, 3:]).max(axis=1).min() > 0.9
    np.testing.assert_array_equal(axes.variances > axes.edges, [True, True, True, False, False])
    assert (np.diff(axes.variances) <= 0).all()


def test_sparse_and_dense_rows_have_the_same_axes():
    X = sparse.random_array((200, 80), density=0.2, format="csr", random_state=0)
    few, dense = analyse(X, 4), analyse(X.toarray(), 4)
    np.testing.assert_allclose(few.encoding, dense.encoding, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(few.variances, dense.variances)
    np.testing.assert_array_equal(shuffle_columns(X).toarray(), shuffle_columns(X.toarray()))


def test_shuffled_columns_keep_their_values_and_lose_what_they_share(linear):
    X, *_ = linear
    shuffled = shuffle_columns(X)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
    assert np.abs(np.corrcoef(shuffled.T) - np.eye(30)).max() < 0.15


def test_strengths_of_few_rows_are_those_of_new_ones():
    rng = np.random.default_rng(0)
    direction = np.linalg.qr(rng.normal(size=(400, 1)))[0]
    shares = []
    for _ in range(20):
        X = 5 * rng.normal(size=(100, 1)) @ direction.T + rng.normal(size=(100, 400))
        X = X - X.mean(axis=0)
        _, s, V = np.linalg.svd(X, full_matrices=False)
        new = 5 * rng.normal(size=(4000, 1)) @ direction.T + rng.normal(size=(4000, 400))
        shares.append([shrink(s[:1] ** 2 / 100, np.array([9.0]))[0], (new @ V[0]).var() - 1])
    told, true = np.mean(shares, axis=0)
    assert told == pytest.approx(true, rel=0.1)  # s^2 / n - 1 itself is a third too large


def test_features_of_unlike_units_need_no_floor(linear):
    X, *_ = linear
    assert choose_floor(X, 5) == 0.3
    assert choose_floor(X * 10.0 ** np.arange(-5, 10, 0.5), 5) == 0.0


@pytest.mark.parametrize("support", [COUNTS, BINARY], ids=lambda support: support.name)
def test_loadings_of_a_generalised_linear_model_are_found(support):
    rng = np.random.default_rng(0)
    codes, loadings, intercepts = rng.normal(size=(3000, 2)), rng.normal(size=(6, 2)), np.linspace(-1, 1, 6)
    rates = support.link[0](intercepts + codes @ loadings.T)
    X = rng.poisson(rates) if support is COUNTS else rng.binomial(1, rates)
    found, constant, _, _ = regress(sparse.csr_array(X * 1.0), codes, np.zeros((3000, 1)), np.zeros(6), *support.link)
    np.testing.assert_allclose(found, loadings, atol=0.15)
    np.testing.assert_allclose(constant, intercepts, atol=0.15)


def test_the_sign_of_an_axis_does_not_depend_on_rounding():
    V = np.array([[1.0, 0.0], [-1.0, -2.0], [0.5, 1.0]])
    rounded = V * (1 + 1e-12 * np.array([[-1], [1], [0]]))
    np.testing.assert_array_equal(signs_of_largest(V), [1, -1])
    np.testing.assert_array_equal(signs_of_largest(rounded), [1, -1])


@pytest.mark.parametrize("constant", [1.0, 3.45584192e29, 1e150])
def test_what_a_constant_feature_leaves_by_rounding_is_no_structure(linear, constant):
    X, *_ = linear
    with_constant = np.hstack([np.full((len(X), 1), constant), X[:, 1:]])
    axes, expected = analyse(with_constant, 3), analyse(np.hstack([np.zeros((len(X), 1)), X[:, 1:]]), 3)
    assert not axes.encoding[0].any()
    np.testing.assert_allclose(axes.encoding, expected.encoding, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(axes.variances, expected.variances)


def test_axes_of_constant_features_explain_nothing_and_overflow_nowhere():
    X = np.full((7, 8), 1.78894585)
    X[2, 6] = -0.0
    axes = analyse(X, 9)
    assert np.isfinite(axes.edges).all()
    assert (axes.variances[1:] <= axes.edges[1:]).all()
    np.testing.assert_array_equal(np.flatnonzero(axes.encoding[:, 0]), [6])
