import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.distributions import Normal

from skvae.latents import (
    GaussianLatent,
    GaussianPosterior,
    PointLatent,
    SpikeAndSlabLatent,
    SpikeAndSlabPosterior,
    gaussian_kl,
    soft_gate,
    spike_and_slab_kl,
    standard_normal,
)

FIRST = ([0.5, -1.0, 2.0], [0.0, -1.0, 0.5])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def logit(gamma):
    return torch.logit(tensor(gamma))


def heads(n_components=2):
    return lambda: nn.Linear(3, n_components)


def uniforms(q, n, n_components):
    return torch.rand(q.n_uniforms, n, n_components, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize(
    ("mu", "logvar", "kl"),
    [
        (*FIRST, [0.12500000, 0.68393972, 2.07436064]),
        ([0.1, 0.0, -0.3, 1.5], [-2.0, 0.0, 1.0, -4.0], [0.57266764, 0.0, 0.40414091, 2.63415782]),
    ],
)
def test_gaussian_kl_is_the_closed_form(mu, logvar, kl):
    torch.testing.assert_close(gaussian_kl(tensor(mu), tensor(logvar)), tensor(kl), atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("mu", "logvar", "gamma", "alpha", "kl"),
    [
        (*FIRST, [0.9, 0.2, 0.5], 0.5, [0.48056421, 0.32953270, 1.03718032]),
        (*FIRST, [0.9, 0.2, 0.5], 0.01, [3.93307523, 0.56545983, 2.65164340]),
        ([1.5], [-0.7], [0.03], 0.1, [0.07323386]),
        ([0.0, 0.0], [0.0, 0.0], [0.7, 0.001], 0.2, [0.58268530, 0.21662259]),
    ],
)
def test_spike_and_slab_kl_is_the_closed_form(mu, logvar, gamma, alpha, kl):
    actual = spike_and_slab_kl(tensor(mu), tensor(logvar), logit(gamma), alpha)
    torch.testing.assert_close(actual, tensor(kl), atol=1e-8, rtol=0)


def test_spike_and_slab_kl_is_zero_at_the_prior():
    kl = spike_and_slab_kl(tensor([0.0]), tensor([0.0]), logit([0.3]), 0.3)
    torch.testing.assert_close(kl, tensor([0.0]))


def test_an_open_gate_costs_the_gaussian_kl_and_the_log_prior():
    mu, logvar = map(tensor, FIRST)
    kl = spike_and_slab_kl(mu, logvar, tensor([40.0] * 3), 0.2)
    torch.testing.assert_close(kl, gaussian_kl(mu, logvar) - math.log(0.2))


def test_a_closed_gate_costs_the_same_whatever_its_slab():
    mu, logvar = map(tensor, FIRST)
    kl = spike_and_slab_kl(mu, logvar, tensor([-50.0] * 3), 0.2)
    torch.testing.assert_close(kl, tensor([-math.log(0.8)] * 3))


def test_kl_is_never_negative():
    mu, logvar, v = 3 * torch.randn(3, 10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (gaussian_kl(mu, logvar) >= 0).all()
    for alpha in (0.01, 0.5, 0.9):
        assert (spike_and_slab_kl(mu, logvar, v, alpha) >= -1e-12).all()


@pytest.mark.parametrize("v", [-200.0, -30.0, 30.0, 200.0])
def test_spike_and_slab_kl_and_its_gradient_are_finite_in_float32(v):
    q = [torch.tensor([value], requires_grad=True) for value in (1.0, -1.0, v)]
    kl = spike_and_slab_kl(*q, 0.01)
    kl.sum().backward()
    assert kl.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in q)


def test_spike_and_slab_kl_has_the_gradients_of_its_formula():
    mu, logvar, v = (
        tensor(values).requires_grad_() for values in ([0.5, -1.0, 2.0], [0.0, -1.0, 0.5], [2.0, -1.0, 0.1])
    )
    alpha = 0.1
    spike_and_slab_kl(mu, logvar, v, alpha).sum().backward()
    gamma = torch.sigmoid(v)
    torch.testing.assert_close(mu.grad, gamma * mu)
    torch.testing.assert_close(logvar.grad, gamma * (logvar.exp() - 1) / 2)
    logit_alpha = math.log(alpha / (1 - alpha))
    torch.testing.assert_close(v.grad, gamma * (1 - gamma) * (gaussian_kl(mu, logvar) + v - logit_alpha))


def test_kl_gradients_agree_with_finite_differences():
    q = [tensor(values).requires_grad_() for values in ([0.5, -1.0], [0.3, -1.0], [2.0, -1.0])]
    assert torch.autograd.gradcheck(gaussian_kl, q[:2])
    assert torch.autograd.gradcheck(lambda *q: spike_and_slab_kl(*q, 0.2), q)


def test_gaussian_kl_agrees_with_monte_carlo():
    mu, logvar = map(tensor, FIRST)
    n = 1_000_000
    q = GaussianPosterior(mu, logvar)
    z = q.sample(uniforms(q, n, 3))
    log_ratio = Normal(mu, (logvar / 2).exp()).log_prob(z) - Normal(0, 1).log_prob(z)
    standard_error = log_ratio.std(dim=0) / n**0.5
    assert ((log_ratio.mean(dim=0) - gaussian_kl(mu, logvar)).abs() < 4 * standard_error).all()


def test_spike_and_slab_kl_agrees_with_monte_carlo():
    mu, logvar = map(tensor, FIRST)
    gamma, alpha, n = tensor([0.9, 0.2, 0.5]), 0.1, 1_000_000
    q = SpikeAndSlabPosterior(mu, logvar, torch.logit(gamma), alpha)
    z = q.sample(uniforms(q, n, 3))
    slab = torch.log(gamma / alpha) + Normal(mu, (logvar / 2).exp()).log_prob(z) - Normal(0, 1).log_prob(z)
    log_ratio = torch.where(z != 0, slab, torch.log((1 - gamma) / (1 - alpha)))
    standard_error = log_ratio.std(dim=0) / n**0.5
    kl = spike_and_slab_kl(mu, logvar, torch.logit(gamma), alpha)
    assert ((log_ratio.mean(dim=0) - kl).abs() < 4 * standard_error).all()


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.0, 0.01386294), (0.01, 0.01948154), (0.1, 0.10013431), (0.5, 0.5), (1.0, 0.98613706)],
)
def test_soft_gate_has_its_closed_form_mean(gamma, expected):
    eta = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    assert soft_gate(eta, gamma).mean().item() == pytest.approx(expected, abs=1e-8)


def test_spike_and_slab_samples_are_active_with_probability_gamma():
    gamma, n = tensor([0.1, 0.5, 0.95]), 100_000
    zeros = torch.zeros(3, dtype=torch.float64)
    q = SpikeAndSlabPosterior(zeros + 1, zeros, torch.logit(gamma), 0.5)
    z = q.sample(uniforms(q, n, 3))
    standard_error = (gamma * (1 - gamma) / n).sqrt()
    assert (((z != 0).double().mean(dim=0) - gamma).abs() < 4 * standard_error).all()


def test_the_hard_gate_has_the_gradient_of_the_soft_one():
    parameters = [torch.tensor([value], requires_grad=True) for value in (2.0, -1.0, 0.1)]
    u = torch.tensor([[0.6], [0.47]])
    epsilon, eta = standard_normal(u[0]), u[1]
    z = SpikeAndSlabPosterior(*parameters, 0.5).sample(u)
    z.backward()
    mu, logvar, v = (parameter.detach() for parameter in parameters)
    slab, gamma = mu + (logvar / 2).exp() * epsilon, torch.sigmoid(v)
    soft = soft_gate(eta, gamma)
    assert 0.1 < soft < 0.9
    torch.testing.assert_close(z.detach(), slab * (eta + gamma > 1))
    torch.testing.assert_close(parameters[2].grad, 50 * soft * (1 - soft) * gamma * (1 - gamma) * slab)


def test_standard_normal_is_the_quantile_function_and_finite():
    u = torch.tensor([0.0, 0.001, 0.25, 0.5, 0.9, 1 - 2**-24])
    z = standard_normal(u)
    assert z.isfinite().all()
    torch.testing.assert_close(z[1:-1].double(), torch.from_numpy(scipy.stats.norm.ppf(u[1:-1])), atol=1e-4, rtol=1e-4)
    assert z[0] < -5
    assert z[-1] > 5


def posterior_of(latent, **parameters):
    """Return what a latent returns, with other parameters, those that it has: tensors of two dimensions."""
    q = latent(torch.zeros(1, 3))
    return replace(q, **{name: tensor([values]) for name, values in parameters.items() if name in vars(q)})


DISTRIBUTIONS = [GaussianLatent(heads()), SpikeAndSlabLatent(heads(), 0.3)]
OF_TWO = {"mu": [0.5, -1.5], "logvar": [-0.5, 0.7], "v": [0.4, -1.0]}
every_distribution = pytest.mark.parametrize("latent", DISTRIBUTIONS)


@every_distribution
def test_the_mean_is_that_of_the_samples(latent):
    q = posterior_of(latent, mu=[1.0, -2.0], logvar=[1.0, -2.0], v=[1.0, -2.0])
    n = 200_000
    z = q.sample(uniforms(q, n, 2))
    standard_error = z.std(dim=0) / n**0.5
    assert ((z.mean(dim=0) - q.mean()).abs() < 4 * standard_error).all()


@every_distribution
def test_the_moments_of_the_posterior_are_those_of_its_samples(latent):
    q = posterior_of(latent, **OF_TWO)
    n = 200_000
    z = q.sample(uniforms(q, n, 2))
    torch.testing.assert_close(q.std()[0], z.std(dim=0), rtol=0.01, atol=0)
    torch.testing.assert_close(q.activation()[0], (z != 0).double().mean(dim=0), rtol=0.02, atol=0)


@every_distribution
def test_the_mean_log_ratio_of_prior_and_posterior_of_samples_is_minus_the_kl(latent):
    q = posterior_of(latent, **OF_TWO)
    n = 200_000
    z = q.sample(uniforms(q, n, 2))
    log_prior = torch.from_numpy(scipy.stats.norm.logpdf(z.detach()))
    if isinstance(q, SpikeAndSlabPosterior):
        log_prior = torch.where(z == 0, math.log1p(-q.alpha), math.log(q.alpha) + log_prior)
    weights = log_prior - q.log_prob(z)
    standard_error = weights.std(dim=0) / n**0.5
    assert ((weights.mean(dim=0) + q.kl()[0]).abs() < 4 * standard_error).all()


@every_distribution
def test_quasi_random_samples_are_of_the_posterior_and_the_same_for_every_row(latent):
    q = posterior_of(latent, **OF_TWO)
    z = torch.cat(list(q.samples(2**14)))
    torch.testing.assert_close(z.mean(dim=0), q.mean()[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(z.std(dim=0), q.std()[0], rtol=3e-3, atol=0)
    rows = replace(q, **{name: value.expand(3, -1) for name, value in vars(q).items() if name in OF_TWO})
    for own, other in zip(rows.samples(4), q.samples(4), strict=True):
        assert torch.equal(own, other.expand(3, -1))


@every_distribution
def test_the_bound_is_the_mean_log_density_of_samples_less_the_kl(latent):
    q = posterior_of(latent, **OF_TWO)
    # E[-|z|^2 / 2] = -(mean^2 + std^2) / 2
    bound = q.bound(lambda z: -(z**2).sum(dim=1) / 2, 2**14)
    expected = -(q.mean() ** 2 + q.std() ** 2).sum(dim=1) / 2 - q.kl().sum(dim=1)
    torch.testing.assert_close(bound, expected, rtol=2e-3, atol=0)


@every_distribution
def test_a_posterior_has_a_shape_and_adds_what_a_linear_model_gives(latent):
    h, linear = torch.zeros(4, 3), torch.arange(8.0).reshape(4, 2)
    q, moved = latent(h), latent(h, linear)
    assert q.shape == q.sample(uniforms(q, 4, 2)).shape == (4, 2)
    torch.testing.assert_close(moved.mu - q.mu, linear)
    for name in set(vars(q)) - {"mu", "alpha"}:
        assert torch.equal(getattr(moved, name), getattr(q, name))


@every_distribution
def test_the_moments_of_the_positive_part_are_those_of_samples(latent):
    q = posterior_of(latent, **OF_TWO)
    z = q.sample(uniforms(q, 200_000, 2)).clamp(min=0)
    mean, square, probability = (part[0] for part in q.positive_part())
    torch.testing.assert_close(mean, z.mean(dim=0), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(square, (z**2).mean(dim=0), rtol=0.02, atol=1e-3)
    torch.testing.assert_close(probability, (z > 0).double().mean(dim=0), rtol=0.02, atol=1e-3)


def test_the_sparse_code_is_mu_where_the_dimension_is_more_likely_active():
    mu, v = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[-0.1, 0.1, 5.0]])
    code = SpikeAndSlabPosterior(mu, torch.zeros_like(mu), v, 0.5).sparse_code()
    assert code.tolist() == [[0.0, 2.0, 3.0]]


def test_gates_start_open():
    q = SpikeAndSlabLatent(heads(), 0.01)(torch.zeros(1, 3))
    assert (q.activation() > 0.9).all()


def test_a_point_is_its_own_sample_and_departs_from_a_standard_normal_by_its_log_density():
    q = PointLatent(heads(), nn.Identity())(torch.ones(4, 3))
    assert torch.equal(q.sample(uniforms(q, 4, 2)), q.mean())
    log_density = scipy.stats.norm.logpdf(q.z.detach())
    np.testing.assert_allclose(q.kl().detach(), scipy.stats.norm.logpdf(0) - log_density, rtol=1e-5, atol=1e-7)


def test_the_bound_of_a_point_is_the_log_likelihood_of_its_reconstruction():
    q = PointLatent(heads(), nn.Tanh())(torch.ones(4, 3), torch.full((4, 2), 0.5))
    assert q.shape == (4, 2)
    torch.testing.assert_close(q.bound(lambda z: -(z**2).sum(dim=1), 64), -(q.z**2).sum(dim=1))
