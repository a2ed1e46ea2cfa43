"""Codes that are not negative, against samples and numerical optima."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar, nnls
from torch import nn

from skvae.latents import GaussianLatent, PointLatent, SpikeAndSlabLatent
from skvae.nonnegative import EvidenceGatedLatent, NonnegativeLatent
from skvae.programs import modes, nonnegative_loadings, sparse_rotation

H = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.5, -0.7]])


def head():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


LATENTS = {
    "point": PointLatent(head, nn.Identity()),
    "gaussian": GaussianLatent(head),
    "spike and slab": SpikeAndSlabLatent(head, 0.3),
}


@pytest.mark.parametrize("name", LATENTS)
def test_the_moments_of_the_code_are_those_of_what_the_decoder_sees(name):
    latent = NonnegativeLatent(LATENTS[name])
    q = latent(H)
    u = torch.rand(q.n_uniforms, 100_000, 2, 2, generator=torch.Generator().manual_seed(0))
    z = latent.decoded(q.sample(u).expand(100_000, 2, 2))
    torch.testing.assert_close(q.mean(), z.mean(dim=0), rtol=0.02, atol=3e-3)
    torch.testing.assert_close(q.std(), z.std(dim=0), rtol=0.02, atol=5e-3)
    torch.testing.assert_close(q.activation(), (z > 0).float().mean(dim=0), rtol=0, atol=0.01)
    assert (z >= 0).all()
    torch.testing.assert_close(q.kl(), LATENTS[name](H).kl())


def test_a_closed_gate_has_a_slope_where_a_negative_slab_has_none():
    z = torch.tensor([0.0, -1.0, 2.0], requires_grad=True)
    NonnegativeLatent(LATENTS["gaussian"]).decoded(z).sum().backward()
    assert z.grad.tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("alpha", [0.1, 0.6])
@pytest.mark.parametrize("residual", [0.5, 1.5, 2.5])
def test_gates_start_where_the_bound_of_a_linear_model_is_largest(alpha, residual):
    # x = w z + noise of variance 1, whose slab has the best posterior
    w = 1.5
    logvar = torch.tensor(-np.log1p(w**2))
    mu = torch.tensor(w * residual / (1 + w**2))
    latent = EvidenceGatedLatent(lambda: nn.Linear(3, 1), alpha)

    def loss(v):
        gamma, sigma2 = 1 / (1 + np.exp(-v)), float(torch.exp(logvar))
        open_error = (residual - w * float(mu)) ** 2 + w**2 * sigma2
        kl = (float(mu) ** 2 + sigma2 - 1 - float(logvar)) / 2
        odds = gamma * np.log(gamma / alpha) + (1 - gamma) * np.log((1 - gamma) / (1 - alpha))
        return gamma * (open_error / 2 + kl) + (1 - gamma) * residual**2 / 2 + odds

    best = minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-8}).x
    assert latent.gate_start(mu, logvar).item() == pytest.approx(best, abs=1e-3)


def test_the_rotation_finds_the_axes_of_sparse_codes_and_their_tails():
    rng = np.random.default_rng(0)
    codes = rng.gamma(2, size=(4000, 4)) * (rng.random((4000, 4)) < 0.2)
    codes = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    other, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    turned = codes @ other
    rotation = sparse_rotation(turned)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-10)
    correlations = np.corrcoef((turned @ rotation).T, codes.T)[:4, 4:]
    assert np.sort(correlations.max(axis=1))[0] > 0.99
    assert sorted(correlations.argmax(axis=1)) == [0, 1, 2, 3]


def test_modes_are_where_most_rows_lie():
    rng = np.random.default_rng(0)
    inactive, active = rng.normal([1.0, -2.0], 0.1, size=(600, 2)), rng.normal(5.0, 1.0, size=(400, 2))
    np.testing.assert_allclose(modes(np.vstack([active, inactive])), [1.0, -2.0], atol=0.1)
    assert modes(np.array([[3.0], [4.0]])).tolist() == [3.5]
    assert modes(np.array([[3.0]])).tolist() == [3.0]


def test_loadings_are_the_non_negative_least_squares_of_each_feature():
    rng = np.random.default_rng(0)
    codes = rng.gamma(2, size=(200, 3))
    X = codes @ rng.normal(size=(3, 6)) + rng.normal(size=(200, 6)) + 5
    centered = codes - codes.mean(axis=0)
    found = nonnegative_loadings(centered.T @ centered / 200, X.T @ centered / 200)
    expected = [nnls(centered, feature - feature.mean())[0] for feature in X.T]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found == 0).any()
