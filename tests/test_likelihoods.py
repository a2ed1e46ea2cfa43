import numpy as np
import pytest
import scipy.stats
import torch

from skvae.likelihoods import LIKELIHOODS, Gaussian, UnitGaussian


def make(name="gaussian", n_hidden=4, n_features=7):
    torch.manual_seed(0)
    return LIKELIHOODS[name](n_hidden, n_features).double()


H = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4)
X = torch.linspace(0, 5, 21, dtype=torch.float64).reshape(3, 7)


@pytest.fixture(autouse=True)
def _keep_global_state():
    with torch.random.fork_rng():
        yield


def test_gaussian_log_prob_is_that_of_scipy():
    likelihood = make()
    likelihood.start(X.mean(dim=0), X.var(dim=0) * torch.arange(7))
    scale = likelihood.variance().detach().sqrt()
    expected = scipy.stats.norm.logpdf(X, loc=likelihood.mean(H).detach(), scale=scale).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, X).detach(), expected, rtol=1e-12)


def test_unit_gaussian_log_prob_is_that_of_scipy():
    likelihood = make("unit_gaussian")
    expected = scipy.stats.norm.logpdf(X, loc=likelihood.mean(H).detach(), scale=1).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, X).detach(), expected, rtol=1e-12)


def test_variances_start_at_those_of_the_features_and_stay_above_a_tenth_of_their_mean():
    likelihood = make(n_features=4)
    variance = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)
    likelihood.start(torch.zeros(4), variance)
    np.testing.assert_allclose(likelihood.variance().detach(), variance + 0.2, rtol=0.1)
    with torch.no_grad():
        likelihood.logvar.fill_(-100)
    np.testing.assert_allclose(likelihood.variance().detach(), 0.2)


def test_variances_of_constant_data_start_positive():
    likelihood = make()
    likelihood.start(torch.ones(7), torch.zeros(7))
    assert (likelihood.variance() > 0).all()
    assert likelihood.logvar.isfinite().all()


@pytest.mark.parametrize("name", ["gaussian", "unit_gaussian"])
def test_gaussian_mean_is_linear_in_the_hidden_features(name):
    likelihood = make(name)
    expected = H.numpy() @ likelihood.x_hat.weight.detach().numpy().T + likelihood.x_hat.bias.detach().numpy()
    np.testing.assert_allclose(likelihood.mean(H).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_has_a_value_a_sample_and_gradients_of_finite_differences(name):
    likelihood = make(name)
    h = H.clone().requires_grad_()
    assert likelihood.log_prob(h, X).shape == (3,)
    assert likelihood.mean(h).shape == (3, 7)
    assert torch.autograd.gradcheck(lambda h: likelihood.log_prob(h, X), h)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_start_makes_the_mean_that_of_the_features_where_the_hidden_features_are_zero(name):
    likelihood = make(name)
    likelihood.start(X.mean(dim=0), X.var(dim=0))
    np.testing.assert_allclose(likelihood.mean(torch.zeros_like(H))[0].detach(), X.mean(dim=0), rtol=1e-12)


def test_the_registry_has_both_gaussians():
    assert dict(LIKELIHOODS) == {"gaussian": Gaussian, "unit_gaussian": UnitGaussian}
