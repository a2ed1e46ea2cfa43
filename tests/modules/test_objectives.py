"""Objectives, the evidence lower bound and the importance-weighted one, by models whose likelihood is known."""

import numpy as np
import pytest
import scipy.stats
import torch
from models import SMALL, every_variational
from sklearn.base import clone
from sklearn.decomposition import PCA
from torch import nn

from skvae import AutoencoderEmbedding, BetaVAE
from skvae.autoencoder import Autoencoder
from skvae.latents import GaussianLatent
from skvae.likelihoods import Gaussian
from skvae.networks import Trunk
from skvae.objectives import BetaELBO, elbo, importance_weighted
from skvae.priors import MixturePrior

LOG_PROB = torch.tensor([-1.0, -3.0])
KL = torch.tensor([[1.0, 0.5], [0.0, 2.5]])


def test_beta_weighs_the_kl_summed_over_dimensions():
    assert BetaELBO(3.0, 0)(LOG_PROB, KL).item() == pytest.approx(2.0 + 3.0 * 2.0)


def test_beta_zero_is_the_mean_negative_log_likelihood():
    assert BetaELBO(0.0, 0)(LOG_PROB, KL).item() == 2.0


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.25), (10, 0.5), (20, 1.0), (1000, 1.0), (None, 1.0)])
def test_the_kl_weight_grows_linearly_over_the_warm_up(step, share):
    assert BetaELBO(2.0, 20)(LOG_PROB, KL, step).item() == pytest.approx(2.0 + share * 2.0 * 2.0)


def linear_gaussian_model(loadings, offset):
    """Return an autoencoder whose posterior is exact for x = W z + b + noise, with orthogonal columns of W."""
    n_features, n_components = loadings.shape
    model = Autoencoder(
        Trunk(n_features, (), "identity"),
        GaussianLatent(lambda: nn.Linear(n_features, n_components)),
        Trunk(n_components, (), "identity"),
        Gaussian(n_components, n_features),
        prior=MixturePrior(n_components),
    ).double()
    precision = 1 + (loadings**2).sum(dim=0)
    with torch.no_grad():
        model.likelihood.x_hat.weight.copy_(loadings)
        model.likelihood.x_hat.bias.copy_(offset)
        model.latent.mu.weight.copy_((loadings / precision).T)
        model.latent.mu.bias.copy_(-(loadings / precision).T @ offset)
        model.latent.logvar.weight.zero_()
        model.latent.logvar.bias.copy_(-precision.log())
    return model


@pytest.fixture
def linear_gaussian():
    columns, _ = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    loadings, offset = columns * torch.tensor([2.0, 0.7]), torch.arange(6, dtype=torch.float64)
    x = 2 * torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    covariance = (loadings @ loadings.T + torch.eye(6)).numpy()
    exact = scipy.stats.multivariate_normal(offset.numpy(), covariance).logpdf(x)
    return linear_gaussian_model(loadings, offset), x, exact


def none(x):
    """Return covariates of no columns."""
    return x.new_zeros(len(x), 0)


def elbo_samples(model, x, n):
    draw = torch.Generator().manual_seed(2)
    terms = (model(x, none(x), draw) for _ in range(n))
    return torch.stack([(log_prob - kl.sum(dim=1)).detach() for log_prob, kl in terms])


def test_the_elbo_of_the_exact_posterior_is_the_log_likelihood(linear_gaussian):
    model, x, exact = linear_gaussian
    samples = elbo_samples(model, x, 4000)
    standard_error = samples.std(dim=0) / 4000**0.5
    assert ((samples.mean(dim=0) - torch.as_tensor(exact)).abs() < 4 * standard_error).all()


def test_the_elbo_of_another_posterior_is_lower(linear_gaussian):
    model, x, exact = linear_gaussian
    with torch.no_grad():
        model.latent.mu.bias += 1
    samples = elbo_samples(model, x, 4000)
    assert (samples.mean(dim=0).numpy() < exact - 0.1).all()


def test_the_importance_weighted_bound_of_the_exact_posterior_is_the_log_likelihood(linear_gaussian):
    model, x, exact = linear_gaussian
    for n_samples in (1, 8):
        np.testing.assert_allclose(importance_weighted(model, x, none(x), n_samples).detach(), exact, rtol=1e-9)


def test_the_importance_weighted_bound_of_another_posterior_grows_to_the_log_likelihood(linear_gaussian):
    model, x, exact = linear_gaussian
    with torch.no_grad():
        model.latent.mu.bias += 0.7
    c = none(x)
    bounds = [importance_weighted(model, x, c, k).detach().numpy().mean() for k in (1, 16, 256, 4096)]
    assert elbo(model, x, c).detach().numpy().mean() < bounds[1] < bounds[2] < exact.mean() + 0.02
    assert bounds[3] == pytest.approx(exact.mean(), abs=0.02)


def test_under_a_mixture_it_is_a_bound_that_is_tight(linear_gaussian):
    model, x, _ = linear_gaussian
    prior, likelihood = model.prior, model.likelihood
    with torch.no_grad():
        prior.weights[:2] = torch.tensor([0.3, 0.7])
        prior.means[:2] = torch.tensor([[1.0, -0.5], [-0.4, 0.2]])
        prior.variances[:2] = torch.tensor([[0.5, 0.2], [0.8, 1.5]])
    W, b = likelihood.x_hat.weight.detach().numpy(), likelihood.x_hat.bias.detach().numpy()
    noise = np.diag(likelihood.variance().detach().numpy())
    kinds = zip(prior.weights[:2].numpy(), prior.means.numpy(), prior.variances.numpy(), strict=False)
    exact = np.log(
        sum(w * scipy.stats.multivariate_normal(b + W @ m, W @ np.diag(v) @ W.T + noise).pdf(x) for w, m, v in kinds)
    )
    c = none(x)
    bounds = [importance_weighted(model, x, c, k).detach().numpy().mean() for k in (1, 16, 4096)]
    assert bounds[0] < bounds[1] < exact.mean() + 0.02
    assert bounds[2] == pytest.approx(exact.mean(), abs=0.02)


# Of fitted estimators


def test_the_autoencoder_scores_the_log_likelihood_of_its_reconstruction(X):
    autoencoder = AutoencoderEmbedding(**SMALL).fit(X)
    residual = X.toarray() - autoencoder.inverse_transform(autoencoder.transform(X))
    scale = autoencoder.net_.module_.likelihood.variance().detach().sqrt()
    expected = scipy.stats.norm.logpdf(residual, scale=scale).sum(axis=1)
    np.testing.assert_allclose(autoencoder.score_samples(X), expected, rtol=1e-5)


def test_the_score_of_a_linear_model_is_close_to_and_below_the_log_likelihood_of_ppca():
    # Probabilistic PCA with unit noise is the best linear Gaussian model; its ELBO can be tight.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) @ (3 * rng.normal(size=(2, 6))) + rng.normal(size=(500, 6))
    settings = {"noise_floor": 0.0, "max_epochs": 300, "batch_size": 50, "learning_rate": 1e-2, "random_state": 0}
    vae = BetaVAE(2, hidden_layer_sizes=(), **settings).fit(X)
    ppca = PCA(2).fit(X).score(X)
    assert ppca - 0.3 < vae.score(X) < ppca + 0.1


@every_variational
def test_the_score_counts_the_kl_once_whatever_beta(Estimator, X):
    estimator = Estimator(**SMALL, beta=1.0).fit(X)
    other = clone(estimator).set_params(beta=7.0, kl_warmup=1.0).fit(X)
    other.net_.module_.load_state_dict(estimator.net_.module_.state_dict())
    assert other.score(X) == estimator.score(X)


@every_variational
@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_the_importance_weighted_bound_is_tighter_than_the_elbo(Estimator, likelihood, X, cells):
    data = cells.data if likelihood == "nb" else X
    settings = {**SMALL, "max_epochs": 40, "batch_size": 30, "likelihood": likelihood}
    model = Estimator(**settings).fit(data)
    few, many = (model.log_likelihood(data, n_samples=n).mean() for n in (1024, 4096))
    gain = few - model.score(data)
    assert gain > 0
    assert abs(many - few) < gain / 4  # four times the samples find little more
