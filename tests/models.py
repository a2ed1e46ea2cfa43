"""Estimators that many tests share, and settings with which they train in no time."""

from contextlib import contextmanager

import numpy as np
import pytest

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC

ESTIMATORS = (AutoencoderEmbedding, BetaVAE, BetaVSC)
VARIATIONAL = (BetaVAE, BetaVSC)
SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}

every_estimator = pytest.mark.parametrize("Estimator", ESTIMATORS)
every_variational = pytest.mark.parametrize("Estimator", VARIATIONAL)


@contextmanager
def unchanged(estimator, X):
    """Assert that the estimator keeps every attribute, parameters and fit, and its embedding of X."""
    attributes, Z = dict(vars(estimator)), estimator.transform(X)
    yield
    assert vars(estimator).keys() == attributes.keys()
    assert all(vars(estimator)[name] is value for name, value in attributes.items())
    np.testing.assert_array_equal(estimator.transform(X), Z)
