"""The generative model: posterior, samples, and expected values without noise."""

import numpy as np
import pytest
from models import SMALL, every_estimator, every_variational

from skvae import AutoencoderEmbedding


@every_variational
def test_the_posterior_has_the_mean_that_transform_returns(Estimator, X):
    model = Estimator(**SMALL).fit(X)
    posterior = model.posterior(X)
    np.testing.assert_array_equal(posterior.mean, model.transform(X))
    assert posterior.std.shape == posterior.activation.shape == (120, 3)
    assert (posterior.std > 0).all()
    assert ((posterior.activation > 0) & (posterior.activation <= 1)).all()


@every_variational
@pytest.mark.parametrize("likelihood", ["gaussian", "unit_gaussian", "poisson", "nb"])
def test_samples_are_like_the_data(Estimator, likelihood, cells):
    X = cells.data.toarray().astype(np.float64)
    model = Estimator(**{**SMALL, "max_epochs": 60, "batch_size": 30, "likelihood": likelihood}).fit(X)
    drawn = model.sample(3000, random_state=0)
    assert drawn.shape == (3000, 80)
    assert np.corrcoef(drawn.mean(axis=0), X.mean(axis=0))[0, 1] > 0.9
    if likelihood in ("poisson", "nb"):
        np.testing.assert_array_equal(drawn, np.abs(np.rint(drawn)))
        assert drawn.sum(axis=1).mean() == pytest.approx(X.sum(axis=1).mean(), rel=0.1)
    np.testing.assert_array_equal(model.sample(5, random_state=1), model.sample(5, random_state=1))


def test_an_autoencoder_has_no_posterior_and_no_prior(X):
    autoencoder = AutoencoderEmbedding(**SMALL).fit(X)
    for method in ("posterior", "sample", "log_likelihood"):
        assert not hasattr(autoencoder, method)


@every_estimator
@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb", "gaussian"])
def test_denoised_rows_are_expected_values_at_their_own_or_a_given_total(Estimator, likelihood, cells):
    X = cells.data.astype(np.float64)
    model = Estimator(**SMALL, likelihood=likelihood).fit(X)
    decoded, denoised = model.inverse_transform(model.transform(X)), model.denoise(X)
    if likelihood == "gaussian":
        np.testing.assert_allclose(denoised, decoded, rtol=1e-12)
        with pytest.raises(ValueError, match="library_size == 5, must be None for a likelihood that is not one of"):
            model.denoise(X, library_size=5)
    else:
        np.testing.assert_allclose(denoised.sum(axis=1), X.sum(axis=1), rtol=1e-10)
        np.testing.assert_allclose(model.denoise(X, library_size=70).sum(axis=1), 70, rtol=1e-10)
        assert (decoded.sum(axis=1) < X.sum(axis=1).mean() * 0.99).all() == (likelihood == "zinb")  # dropout is in it
    if likelihood in ("poisson", "nb"):
        np.testing.assert_allclose(
            denoised / denoised.sum(axis=1, keepdims=True), decoded / decoded.sum(axis=1)[:, None]
        )
