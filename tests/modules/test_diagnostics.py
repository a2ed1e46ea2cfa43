"""What a fit tells of itself: active dimensions, and warnings of a fit that went wrong."""

import warnings

import numpy as np
import pytest
import torch
from models import SMALL, VARIATIONAL, every_estimator, every_variational
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skvae import AutoencoderEmbedding, LogNormalizer, make_single_cell_counts


@every_estimator
def test_active_components_are_those_that_tell_of_x(Estimator):
    # data of two dimensions, and ten to describe them
    Z = np.random.default_rng(0).normal(size=(300, 2))
    low_rank = Z @ np.random.default_rng(1).normal(size=(2, 30)) + 0.5 * np.random.default_rng(2).normal(size=(300, 30))
    model = Estimator(random_state=0).fit(low_rank)
    module = model.net_.module_
    x = torch.as_tensor(low_rank, dtype=torch.float32)
    kl = module.encode(x, torch.zeros(300, 0)).kl().detach().mean(dim=0)
    above_noise = module.projection.explained > module.projection.edges
    informative = kl > (0.01 if Estimator in VARIATIONAL else 0.01 * kl.max())
    np.testing.assert_array_equal(model.active_components_, informative & above_noise)
    np.testing.assert_array_equal(model.active_components_, np.arange(10) < 2)


@every_variational
def test_a_posterior_that_is_the_same_for_all_rows_is_not_active(Estimator):
    # without input dropout the encoder sees twice as much, and its constant posterior is not quite the prior
    X = LogNormalizer().fit_transform(make_single_cell_counts(600, 500, random_state=0).data)
    model = Estimator(init="random", beta=64, kl_warmup=0.4, max_epochs=30, random_state=0).fit(X)
    assert model.posterior(X).mean.std(axis=0).max() < 0.1
    assert not model.active_components_.any()


def test_the_scale_of_the_code_does_not_make_an_autoencoder_look_collapsed():
    X = np.random.default_rng(0).normal(size=(300, 3)) @ np.random.default_rng(1).normal(size=(3, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AutoencoderEmbedding(3, latent_penalty=20.0, max_epochs=100, random_state=0).fit(X)
    assert model.active_components_.all()


@every_variational
def test_a_collapsed_fit_warns_and_says_what_to_change(Estimator, X):
    with pytest.warns(
        ConvergenceWarning, match=r"0 of 3 latent dimensions are active, .* expected 2 or more.* Lower beta"
    ):
        model = Estimator(**{**SMALL, "max_epochs": 60, "batch_size": 10}, init="random", beta=1e4).fit(X)
    assert not model.active_components_.any()


@every_estimator
def test_a_fit_that_ends_too_early_warns_and_says_what_to_change(Estimator, X):
    with pytest.warns(ConvergenceWarning, match=r"still fell by .* second half of 3 epochs, .* Raise max_epochs"):
        Estimator(**{**SMALL, "batch_size": 30}, init="random").fit(X)


@every_estimator
def test_a_fit_as_constructed_to_what_stands_above_noise_does_not_warn(Estimator):
    X = load_digits().data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Estimator(random_state=0).fit(X)
