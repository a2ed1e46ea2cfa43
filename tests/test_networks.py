import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from skvae.latents import Gaussian
from skvae.likelihoods import Gaussian as GaussianLikelihood
from skvae.networks import Autoencoder, CenteredLinear, Head, Linear, Trunk, initialize
from skvae.objectives import elbo, importance_weighted


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_trunk_has_the_widths_and_activations_asked_for():
    layers = Trunk(20, (8, 4), "relu", first_activation="identity").layers
    assert [(layer.in_features, layer.out_features) for layer in layers[::2]] == [(20, 8), (8, 4)]
    assert [type(layer) for layer in layers[1::2]] == [nn.Identity, nn.ReLU]


def test_a_centered_trunk_sees_the_input_less_its_mean():
    trunk = initialize(Trunk(5, (4,), "tanh", centered=True), generator(1)).double()
    x, mean = torch.randn(3, 5, dtype=torch.float64, generator=generator()), torch.arange(5.0, dtype=torch.float64)
    plain = trunk(x)
    torch.testing.assert_close(plain, torch.tanh(x @ trunk.layers[0].weight + trunk.layers[0].bias))
    trunk.start(mean, torch.zeros(1))
    torch.testing.assert_close(trunk(x + mean), plain)


def test_a_centered_trunk_sees_input_by_its_scale():
    trunk = initialize(Trunk(5, (4,), "tanh", centered=True), generator(1)).double()
    x, mean = torch.randn(3, 5, dtype=torch.float64, generator=generator()), torch.zeros(5)
    plain = trunk(x)
    trunk.start(mean, torch.tensor([100.0, 0, 0, 25, 0]))
    torch.testing.assert_close(trunk(5 * x), plain)
    trunk.start(mean, torch.full((5,), 0.01))
    torch.testing.assert_close(trunk(x / 10), plain)
    trunk.start(mean, torch.zeros(5))  # which has no scale: the last one stays
    torch.testing.assert_close(trunk(x / 10), plain)


def test_a_trunk_without_widths_is_the_identity():
    x = torch.ones(2, 3)
    trunk = Trunk(3, (), "relu")
    assert trunk.n_outputs == 3
    assert torch.equal(trunk(x), x)


def test_a_head_ends_linear():
    head = initialize(Head(8, (5,), "relu", 2), generator())
    h = torch.randn(3, 8, generator=generator())
    torch.testing.assert_close(head(h), torch.relu(head.trunk.layers[0](h)) @ head.output.weight.T + head.output.bias)


def test_initial_weights_depend_on_the_generator_alone():
    weights = [initialize(Linear(5, 4), generator(seed)).weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_building_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    initialize(Linear(5, 4), generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make_layer", [Linear, CenteredLinear])
def test_initial_weights_are_uniform_with_the_scale_of_their_fan_in(make_layer):
    layer = initialize(make_layer(100, 500), generator())
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().numpy().ravel()
        assert scipy.stats.kstest(values, scipy.stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3


def linear_gaussian_model(loadings, offset):
    """Return an autoencoder whose posterior is exact for x = W z + b + noise, with orthogonal columns of W."""
    n_features, n_components = loadings.shape
    model = Autoencoder(
        Trunk(n_features, (), "identity"),
        Gaussian(lambda: nn.Linear(n_features, n_components)),
        Trunk(n_components, (), "identity"),
        GaussianLikelihood(n_components, n_features),
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
    columns, _ = torch.linalg.qr(torch.randn(6, 2, generator=generator(), dtype=torch.float64))
    loadings, offset = columns * torch.tensor([2.0, 0.7]), torch.arange(6, dtype=torch.float64)
    x = 2 * torch.randn(5, 6, generator=generator(1), dtype=torch.float64)
    covariance = (loadings @ loadings.T + torch.eye(6)).numpy()
    exact = scipy.stats.multivariate_normal(offset.numpy(), covariance).logpdf(x)
    return linear_gaussian_model(loadings, offset), x, exact


def none(x):
    """Return covariates of no columns."""
    return x.new_zeros(len(x), 0)


def elbo_samples(model, x, n):
    draw = generator(2)
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
