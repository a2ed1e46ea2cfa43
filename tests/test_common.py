import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, LogNormalizer, VariableGeneSelector

SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "max_epochs": 3}


# the checks' data are positive for the likelihoods of counts, but no integers
@pytest.mark.filterwarnings("ignore:X holds .* expected counts")
@parametrize_with_checks(
    [
        AutoencoderEmbedding(**SMALL),
        BetaVAE(**SMALL),
        BetaVSC(**SMALL),
        BetaVSC(code="sparse", **SMALL),
        BetaVAE(likelihood="poisson", **SMALL),
        BetaVAE(likelihood="nb", **SMALL),
        BetaVAE(likelihood="zinb", **SMALL),
        LogNormalizer(),
        VariableGeneSelector(n_top=2),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)
