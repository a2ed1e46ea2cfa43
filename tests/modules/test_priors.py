"""The mixture prior, and its fit to what data use."""

import numpy as np
import pytest
import scipy.stats
import torch
from models import SMALL, every_variational

from skvae.priors import MixturePrior
from skvae.training.prior import fit_mixture


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def prior():
    mixture = MixturePrior(2).double()
    mixture.weights[:2] = torch.tensor([0.25, 0.75])
    mixture.activations[:2] = torch.tensor([[0.5, 1.0], [0.1, 0.8]])
    mixture.means[:2] = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    mixture.variances[:2] = torch.tensor([[0.25, 1.0], [4.0, 0.5]])
    mixture.total_means[:2] = torch.tensor([3.0, 5.0])
    mixture.total_variances[:2] = torch.tensor([0.04, 0.01])
    return mixture


def test_at_first_it_is_standard_normal():
    z = torch.tensor([[0.3, -2.0], [4.0, 0.1]], dtype=torch.float64)
    expected = scipy.stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(MixturePrior(2).double().log_prob(z), expected, rtol=1e-12)
    drawn, _ = MixturePrior(2).sample(20_000, generator())
    assert scipy.stats.kstest(drawn.flatten(), "norm").pvalue > 1e-3


def test_the_density_is_that_of_the_mixture(prior):
    z = np.array([[0.7, -1.0], [0.0, 2.5], [0.0, 0.0], [-1.0, 0.0]])
    expected = 0.0
    for kind in range(2):
        parts = [prior.activations, prior.means, prior.variances]
        active, mean, variance = (part[kind].numpy() for part in parts)
        density = np.where(z == 0, 1 - active, active * scipy.stats.norm(mean, np.sqrt(variance)).pdf(z))
        expected = expected + prior.weights[kind].item() * density.prod(axis=1)
    np.testing.assert_allclose(prior.log_prob(torch.from_numpy(z)).exp(), expected, rtol=1e-5, atol=1e-7)


def test_samples_have_the_moments_of_the_mixture(prior):
    z, totals = prior.sample(200_000, generator())
    weights = prior.weights[:2]
    active = (weights[:, None] * prior.activations[:2]).sum(dim=0)
    mean = (weights[:, None] * prior.activations[:2] * prior.means[:2]).sum(dim=0)
    torch.testing.assert_close((z != 0).double().mean(dim=0), active, rtol=0, atol=0.01)
    torch.testing.assert_close(z.double().mean(dim=0), mean, rtol=0.02, atol=0.01)
    log_totals = torch.log(totals[:, 0]).double()
    assert log_totals.mean().item() == pytest.approx(0.25 * 3 + 0.75 * 5, abs=0.01)
    # z and the total are of one kind
    assert log_totals[z[:, 1] < -1].mean().item() == pytest.approx(3.0, abs=0.05)


def test_a_fit_finds_the_kinds_and_what_is_active_of_them():
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=6000)
    means = np.array([[4.0, 0.0], [-4.0, 2.0], [0.5, -3.0]])
    active = rng.random((6000, 2)) < np.array([[1.0, 0.3], [1.0, 0.9], [1.0, 0.6]])[kind]
    values = torch.from_numpy(np.where(active, means[kind] + 0.5 * rng.normal(size=(6000, 2)), 0))
    fitted = fit_mixture(values, torch.from_numpy(active).double(), 3)
    order = fitted.means[:3, 0].argsort()
    np.testing.assert_allclose(fitted.weights[:3], 1 / 3, atol=0.03)
    np.testing.assert_allclose(fitted.means[order], means[[1, 2, 0]], atol=0.1)
    np.testing.assert_allclose(fitted.activations[order], [[1, 0.9], [1, 0.6], [1, 0.3]], atol=0.03)
    np.testing.assert_allclose(fitted.variances[order], 0.25, atol=0.05)
    assert (fitted.weights[3:] == 0).all()


def test_more_kinds_never_have_a_likelihood_that_is_less_than_that_of_one():
    rng = np.random.default_rng(1)
    values = torch.from_numpy(rng.normal(size=(2000, 3)) + 3 * rng.integers(2, size=(2000, 1)))
    one, many = (fit_mixture(values, torch.ones_like(values), k).log_prob(values).mean() for k in (1, 8))
    assert many > one + 0.3


@every_variational
def test_a_constant_total_and_few_rows_have_a_prior_too(Estimator, cells):
    X = cells.data.toarray()[:12]
    X[:, -1] += X.sum(axis=1).max() + 1 - X.sum(axis=1)
    model = Estimator(**SMALL, likelihood="poisson").fit(X)
    assert model.net_.module_.prior.weights[0] == 1
    drawn = model.sample(500, random_state=0)
    assert drawn.sum(axis=1).mean() == pytest.approx(X[0].sum(), rel=0.05)
    assert np.isfinite(model.log_likelihood(X)).all()


@every_variational
def test_totals_of_samples_are_spread_as_those_of_the_data(Estimator, cells):
    model = Estimator(**{**SMALL, "max_epochs": 20}, likelihood="nb").fit(cells.data)
    totals, drawn = (np.asarray(X.sum(axis=1)).ravel() for X in (cells.data, model.sample(5000, random_state=0)))
    assert drawn.mean() == pytest.approx(totals.mean(), rel=0.05)
    assert drawn.std() / drawn.mean() == pytest.approx(totals.std() / totals.mean(), rel=0.25)


@every_variational
def test_after_partial_fit_the_prior_is_that_of_the_last_chunk_that_is_not_small(Estimator, cells):
    X = cells.data
    model = Estimator(**SMALL, likelihood="nb").partial_fit(X)
    means = [model.sample(2000, random_state=0).sum() / 2000]
    for chunk in (4 * X, 16 * X[:60]):
        model.partial_fit(chunk)
        means.append(model.sample(2000, random_state=0).sum() / 2000)
    assert means[1] == pytest.approx(4 * X.sum() / X.shape[0], rel=0.1)
    assert means[2] == pytest.approx(means[1], rel=0.1)
