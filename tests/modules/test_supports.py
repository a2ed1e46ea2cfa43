"""Supports: those of the likelihoods, and what a new one needs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import SMALL, every_estimator
from scipy import sparse

from skvae import BetaVAE
from skvae.likelihoods import LIKELIHOODS, WithTotal
from skvae.networks import Linear
from skvae.plotting import make_figure, plot_traversal
from skvae.supports import BINARY, COUNTS, REAL, Support


@pytest.mark.parametrize("support", [COUNTS, BINARY], ids=lambda support: support.name)
def test_a_link_has_its_slope(support):
    mean, slope = support.link
    eta = np.linspace(-3, 3, 13)
    np.testing.assert_allclose(slope(eta), (mean(eta + 1e-6) - mean(eta - 1e-6)) / 2e-6, rtol=1e-8)


def test_counts_are_compared_by_their_logarithms():
    assert [support.quantity for support in (REAL, COUNTS, BINARY)] == ["E[x|z]", "log1p(E[x|z])", "E[x|z]"]


# A new support is named by the likelihood that needs it

POSITIVE = Support(
    "positive", "positive intensities", is_nonnegative=True, most=1e6, log_scale=True, link=(np.exp, np.exp)
)


class Exponential(WithTotal):
    """p(x_d|z) = Exponential with mean exp(W h + b) t / u, with t the total of x and u a typical one."""

    support = POSITIVE

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.log_means = Linear(n_hidden, n_features)

    @property
    def output(self):
        return self.log_means

    def start(self, mean, variance):
        with torch.no_grad():
            self.log_means.bias.copy_(mean.clamp(min=1e-3).log())

    def log_prob(self, h, x):
        x = x.to_dense()
        eta = self.log_means(h) + torch.log(x.sum(dim=1, keepdim=True) / self.unit)
        return -(eta + x * torch.exp(-eta)).sum(dim=1)

    def mean(self, h, total=None):
        return torch.exp(self.log_means(h)) * (1 if total is None else total / self.unit)

    def sample(self, h, random_state):
        return random_state.exponential(self.mean(h).numpy(force=True))


@pytest.fixture(autouse=True)
def _likelihood(monkeypatch):
    monkeypatch.setitem(LIKELIHOODS, "exponential", Exponential)


@pytest.fixture(scope="module")
def intensities():
    """Rows of two latent dimensions, and their expected values."""
    rng = np.random.default_rng(0)
    expected = np.exp(rng.normal(size=(300, 2)) @ rng.normal(size=(2, 100)) / 2)
    return rng.exponential(expected), expected


@every_estimator
def test_expected_values_of_a_new_support_are_found(Estimator, intensities):
    X, expected = intensities
    model = Estimator(2, likelihood="exponential", random_state=0).fit(X)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.score(X))
    denoised = model.denoise(X)
    assert (denoised > 0).all()
    by_totals = X.sum(axis=1, keepdims=True) * X.mean(axis=0) / X.sum(axis=1).mean()
    error, usual = (np.square(np.log(values / expected)).mean() for values in (denoised, by_totals))
    assert error < 0.15 * usual


@every_estimator
@pytest.mark.parametrize("log_scale", [True, False])
def test_loadings_of_a_new_support_are_slopes_on_its_scale(Estimator, log_scale, intensities, monkeypatch):
    monkeypatch.setattr(Exponential, "support", replace(POSITIVE, log_scale=log_scale))
    X, _ = intensities
    model = Estimator(**{**SMALL, "likelihood": "exponential"}).fit(X)
    features = model.component_features(X, 100)
    scale, quantity = (np.log1p, "log1p(E[x|z])") if log_scale else (np.array, "E[x|z]")
    assert features.quantity == quantity
    Z, step = model.transform(X), 1e-5
    for j, direction in enumerate(np.eye(3)):
        there, back = (scale(model.inverse_transform(Z + sign * step * direction)).mean(axis=0) for sign in (1, -1))
        slopes = ((there - back) / (2 * step))[features.indices[j]]
        np.testing.assert_allclose(features.loadings[j], slopes, rtol=1e-3, atol=1e-5 * np.abs(slopes).max())
    [[ax]] = make_figure(1, 1)[1]
    plot_traversal(ax, model, Z, 0)
    assert ax.get_ylabel() == f"change of {quantity}"


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_values_outside_a_new_support_are_errors(container, intensities):
    X, _ = intensities
    vae = BetaVAE(**SMALL, likelihood="exponential").fit(container(X))
    for value, message in (
        (-1.0, "Negative values in data"),
        (2e6, r"holds 2000000\.0; expected positive intensities"),
    ):
        outside = X.copy()
        outside[3, 4] = value
        for method in (vae.fit, vae.partial_fit, vae.transform, vae.denoise, vae.score):
            with pytest.raises(ValueError, match=message):
                method(container(outside))


def test_a_new_support_warns_as_it_says(intensities, monkeypatch):
    X, _ = intensities
    counts = np.random.default_rng(0).poisson(0.4, size=(60, 30)) + np.eye(60, 30)
    for data in (X, counts):  # which are errors if they warn
        BetaVAE(**SMALL, likelihood="exponential").fit(data)
    monkeypatch.setattr(Exponential, "support", replace(POSITIVE, suspects_counts=True))
    with pytest.warns(UserWarning, match="looks like raw counts"):
        BetaVAE(**SMALL, likelihood="exponential").fit(counts)
    monkeypatch.setattr(Exponential, "support", replace(POSITIVE, has_fractions=False))
    with pytest.warns(UserWarning, match="expected counts, integers >= 0"):
        BetaVAE(**SMALL, likelihood="exponential").fit(X)


def test_totals_can_be_asked_for_where_a_support_has_them(intensities, monkeypatch):
    X, _ = intensities
    vae = BetaVAE(**SMALL, likelihood="exponential").fit(X)
    with pytest.raises(ValueError, match="library_size == 5, must be None"):
        vae.denoise(X, library_size=5)
    monkeypatch.setattr(Exponential, "support", replace(POSITIVE, has_library_size=True))
    np.testing.assert_allclose(vae.denoise(X, library_size=10), 2 * vae.denoise(X, library_size=5))


def test_a_model_of_a_new_support_is_saved_and_loaded(intensities, tmp_path):
    X, _ = intensities
    vae = BetaVAE(**SMALL, likelihood="exponential").fit(X)
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(BetaVAE.load(tmp_path / "model").denoise(X), vae.denoise(X))
