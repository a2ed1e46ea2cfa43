"""Conventions of scikit-learn."""

import pytest
from models import SMALL, every_estimator
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, LogNormalizer, VariableGeneSelector

CHECKED = {"n_components": 2, "hidden_layer_sizes": (8,), "max_epochs": 3}


# the checks' data are positive for the likelihoods of counts, but no integers
@pytest.mark.filterwarnings("ignore:X holds .* expected counts")
@parametrize_with_checks(
    [
        AutoencoderEmbedding(**CHECKED),
        BetaVAE(**CHECKED),
        BetaVSC(**CHECKED),
        BetaVSC(code="sparse", **CHECKED),
        BetaVAE(likelihood="poisson", **CHECKED),
        BetaVAE(likelihood="nb", **CHECKED),
        BetaVAE(likelihood="zinb", **CHECKED),
        LogNormalizer(),
        VariableGeneSelector(n_top=2),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@every_estimator
def test_clone_keeps_parameters_and_drops_the_fit(Estimator, X):
    estimator = Estimator(**{**SMALL, "hidden_layer_sizes": [8, 4]})
    twin = clone(estimator.fit(X))
    assert twin.get_params() == estimator.get_params()
    assert not hasattr(twin, "net_")
