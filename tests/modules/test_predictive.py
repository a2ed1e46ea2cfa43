import numpy as np
import pandas as pd
import pytest
from models import SMALL

from skvae import AutoencoderEmbedding, BetaVAE, make_single_cell_counts, posterior_predictive_check
from skvae.plotting import make_figure, plot_predictive_check
from skvae.predictive import Sums, compare


@pytest.fixture(scope="module")
def counts():
    return make_single_cell_counts(n_samples=150, n_features=80, library_size=300, random_state=0)


@pytest.fixture(scope="module")
def model(counts):
    return BetaVAE(**SMALL, likelihood="nb").fit(counts.data)


@pytest.fixture(scope="module")
def check(model, counts):
    return posterior_predictive_check(model, counts.data, n_samples=30, n_correlated=5, random_state=0)


def test_statistics_are_those_of_numpy(model, counts, check):
    x, drawn = counts.data.toarray(), model.predictive_sample(counts.data, 30, random_state=0).astype(float)
    for name, of in (
        ("zeros", lambda a: (a == 0).mean(axis=-2)),
        ("means", lambda a: a.mean(axis=-2)),
        ("variances", lambda a: a.var(axis=-2)),
        ("totals", lambda a: a.sum(axis=-1)),
    ):
        np.testing.assert_allclose(check[name].data, of(x.astype(float)), rtol=1e-9)
        np.testing.assert_allclose(check[name].expected, of(drawn).mean(axis=0), rtol=1e-9)
        lower, upper = np.quantile(of(drawn), [0.05, 0.95], axis=0, method="weibull")
        np.testing.assert_allclose([check[name].lower, check[name].upper], [lower, upper], rtol=1e-9, atol=1e-12)
    chosen = np.sort(np.argsort(-x.var(axis=0))[:5])
    np.testing.assert_allclose(check.correlations.data, np.corrcoef(x[:, chosen].T)[np.triu_indices(5, 1)], atol=1e-9)
    assert check.pairs[0].tolist() == [f"x{chosen[0]}", f"x{chosen[1]}"]
    assert pd.DataFrame(check.zeros, index=check.names).shape == (80, 5)


def test_features_that_are_constant_in_a_sample_have_no_correlation():
    rng = np.random.default_rng(0)
    x = rng.random((37, 6))
    x[:, 2:5] = [0.1, 1 / 3, 0.7]
    center = rng.random(6)  # not their means: what is left of the variances of constants is rounding
    sums = Sums(1, 37, center, np.arange(6))
    sums.add(0, slice(None), x)
    correlations = sums.statistics()["correlations"][0]
    first, second = np.triu_indices(6, 1)
    vary = np.isin(first, (0, 1, 5)) & np.isin(second, (0, 1, 5))
    assert np.all(correlations[~vary] == 0)
    np.testing.assert_allclose(correlations[vary], np.corrcoef(x.T)[first, second][vary], rtol=1e-9)


def test_rows_of_the_model_lie_within_their_intervals_as_often_as_the_level_says(model, counts):
    rows = model.predictive_sample(counts.data, random_state=5)[0]
    check = posterior_predictive_check(model, rows, n_samples=60, level=0.8, random_state=0)
    assert 0.7 < check.coverage["means"] < 0.95
    assert 0.7 < check.coverage["zeros"] < 0.95


def test_a_wrong_model_is_found_out(counts):
    poisson = BetaVAE(**SMALL, likelihood="poisson").fit(counts.data)
    x = counts.data.toarray()
    x[::5] *= np.random.default_rng(0).integers(0, 2, size=(30, 80))  # zeros that no total explains
    assert posterior_predictive_check(poisson, x, n_samples=40, random_state=0).coverage["variances"] < 0.8


def test_an_interval_holds_one_more_sample_with_the_probability_of_its_level():
    rng = np.random.default_rng(0)
    samples, more = rng.normal(size=(200, 20_000)), rng.normal(size=20_000)
    assert compare(more, samples, 0.9, 1.0).inside.mean() == pytest.approx(0.9, abs=0.01)
    # parameters with an error of their own, as large as that of the data
    assert compare(more + rng.normal(size=20_000), samples, 0.9, np.sqrt(2)).inside.mean() == pytest.approx(
        0.9, abs=0.01
    )


def test_rows_of_fit_widen_the_intervals_of_features_alone(model, counts, check):
    wide = posterior_predictive_check(model, counts.data, n_samples=30, n_correlated=5, n_fit=50, random_state=0)
    width = [found.means.upper - found.means.lower for found in (check, wide)]
    np.testing.assert_allclose(width[1], 2 * width[0], rtol=1e-9)
    np.testing.assert_array_equal(wide.totals.lower, check.totals.lower)


def test_what_cannot_be_checked_is_refused(model, counts):
    with pytest.raises(ValueError, match="X has 1 row; expected 2 or more"):
        posterior_predictive_check(model, counts.data[:1])
    with pytest.raises(TypeError, match="has no predictive_sample; expected a fitted BetaVAE or BetaVSC"):
        posterior_predictive_check(AutoencoderEmbedding(**SMALL, likelihood="nb").fit(counts.data), counts.data)


def test_the_plot_shows_each_value_once(check):
    _, [[ax]] = make_figure(1, 1)
    _, inside, outside, _ = plot_predictive_check(ax, check, "zeros")
    assert len(inside.get_offsets()) + len(outside.get_offsets()) == 80
    with pytest.raises(ValueError, match="statistic == 'medians', must be one of"):
        plot_predictive_check(ax, check, "medians")
