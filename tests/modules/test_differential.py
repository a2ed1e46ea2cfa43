import numpy as np
import pandas as pd
import pytest
from models import SMALL
from scipy.stats import mannwhitneyu

from skvae import BetaVAE, LogNormalizer, differential_expression
from skvae.differential import Evidence, posterior, significant


def planted(n_rows=900, n_features=400, seed=0):
    """Return counts of three types, the types, and the log2 fold change of each feature in type 1 against type 0."""
    rng = np.random.default_rng(seed)
    change = np.zeros((3, n_features))
    chosen = rng.permutation(n_features)[:60]
    change[1, chosen] = rng.choice([-1, 1], size=60) * (0.5 + rng.gamma(2, 0.5, size=60))
    change[2] = 0.5 * rng.normal(size=n_features)
    types = rng.integers(3, size=n_rows)
    share = np.exp(1.5 * rng.normal(size=n_features) + np.log(2) * change[types])
    share /= share.sum(axis=1, keepdims=True)
    total = rng.lognormal(np.log(300), 0.4, size=(n_rows, 1))
    rate = total * share * rng.gamma(3, 1 / 3, size=share.shape)
    return rng.poisson(rate).astype(np.float32), types, change[1]


@pytest.fixture(scope="module")
def data():
    return planted()


@pytest.fixture(scope="module")
def model(data):
    return BetaVAE(**SMALL, likelihood="nb").fit(data[0])


@pytest.fixture(scope="module")
def found(data, model):
    return differential_expression(model, data[0], data[1], group1=1, group2=0)


def by_feature(found, name):
    return found[name][np.argsort(found.indices)]


def best_recall(score, differs, fdr=0.05):
    order = np.argsort(-score, kind="stable")
    rates = np.cumsum(~differs[order]) / np.arange(1, len(order) + 1)
    return differs[order[: 1 + np.flatnonzero(rates <= fdr)[-1]]].sum() / differs.sum()


def test_planted_fold_changes_are_found(data, found):
    X, types, change = data
    differs, called = change != 0, by_feature(found, "is_significant")
    assert (~differs[called]).mean() <= 0.1
    Y = LogNormalizer().fit_transform(X)
    p = mannwhitneyu(Y[types == 1], Y[types == 0], axis=0, method="asymptotic").pvalue
    assert best_recall(by_feature(found, "probability"), differs) >= best_recall(-np.nan_to_num(p, nan=1), differs)
    error = (by_feature(found, "lfc") - change) / by_feature(found, "std")
    assert np.mean(np.abs(error[called]) < 2) > 0.85


def test_shares_are_those_of_the_groups(data, found):
    X, types, _ = data
    for number, group in (("1", 1), ("2", 0)):
        rows = X[types == group]
        np.testing.assert_allclose(by_feature(found, f"mean{number}"), rows.sum(axis=0) / rows.sum(), rtol=1e-6)
        np.testing.assert_allclose(by_feature(found, f"share{number}"), (rows > 0).mean(axis=0), rtol=1e-6)
    assert pd.DataFrame(found).shape == (400, 12)
    assert (np.diff(found.is_significant.astype(int)) <= 0).all()


def test_of_groups_drawn_at_random_nothing_is_found(data, model):
    rng = np.random.default_rng(0)
    draws = [differential_expression(model, data[0], rng.permutation(data[1]), group1=1) for _ in range(20)]
    assert sum(draw.is_significant.any() for draw in draws) <= 1


def test_batches_that_differ_are_no_difference_of_groups():
    X, types, change = planted(seed=1)
    rng = np.random.default_rng(0)
    batch = np.where(rng.random(len(X)) < np.where(types == 1, 0.8, 0.2), "a", "b")
    factor = np.exp(0.8 * rng.normal(size=X.shape[1]))
    X = np.where((batch == "a")[:, None], rng.poisson(X * factor), X).astype(np.float32)
    model = BetaVAE(**SMALL, likelihood="nb").fit(X, batch=batch)
    options = {"group1": 1, "group2": 0}
    aware = by_feature(differential_expression(model, X, types, batch=batch, **options), "is_significant")
    unaware = by_feature(
        differential_expression(BetaVAE(**SMALL, likelihood="nb").fit(X), X, types, **options), "is_significant"
    )
    assert (change[aware] == 0).mean() <= 0.15
    assert (change[unaware] == 0).mean() > 0.3


def test_without_dispersion_the_evidence_is_that_of_the_counts():
    rng = np.random.default_rng(0)
    counts, exposures = rng.poisson(5.0, size=(2, 7)) + 1.0, np.array([[100.0], [300.0]]) * np.ones((2, 7))
    changes = np.array([-1.0, 0.0, 2.0])
    odds = exposures[0] / exposures[1] * 2 ** changes[:, None]
    expected = (counts[0] * np.log(odds) - counts.sum(axis=0) * np.log1p(odds)).T
    np.testing.assert_allclose(Evidence(counts, exposures).log_likelihood(changes), expected, rtol=1e-12)


def test_a_change_of_many_counts_is_told_from_delta():
    counts, exposures = np.array([[4000.0] * 30, [1000.0] * 15 + [4000.0] * 15]), np.ones((2, 30))
    found = posterior(Evidence(counts, exposures), 0.25)
    np.testing.assert_allclose(found["lfc"], [2.0] * 15 + [0.0] * 15, atol=0.1)
    np.testing.assert_allclose(found["probability"], [1.0] * 15 + [0.0] * 15, atol=1e-3)


def test_the_mean_probability_of_no_difference_is_held():
    probability = np.array([0.5, 0.99, 0.9, 0.97])
    np.testing.assert_array_equal(significant(probability, 0.05), [False, True, True, True])
    np.testing.assert_array_equal(significant(probability, 0.03), [False, True, False, True])
    assert not significant(probability, 0.001).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group1": 7}, r"group1 == 7 has 0 row\(s\), expected 2 or more; groups: \[0, 1, 2\]"),
        ({"group1": 1, "group2": 1}, "group1 and group2 are both 1"),
        ({"group1": 1, "delta": 0.001}, "delta == 0.001, must be 0 or at least 0.01"),
        ({"group1": 1, "batch": np.zeros(900)}, "must be None: fit was given none"),
    ],
)
def test_groups_that_cannot_be_compared_are_refused(options, message, data, model):
    with pytest.raises(ValueError, match=message):
        differential_expression(model, data[0], data[1], **options)


def test_a_likelihood_that_is_not_of_counts_is_refused(data):
    model = BetaVAE(**SMALL).fit(np.log1p(data[0]))
    with pytest.raises(ValueError, match="has the likelihood Gaussian; expected one of counts"):
        differential_expression(model, data[0], data[1], group1=1)
