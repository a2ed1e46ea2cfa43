import pytest
import torch

from skvae.objectives import BetaELBO

LOG_PROB = torch.tensor([-1.0, -3.0])
KL = torch.tensor([[1.0, 0.5], [0.0, 2.5]])


def test_beta_weighs_the_kl_summed_over_dimensions():
    assert BetaELBO(3.0, 0)(LOG_PROB, KL).item() == pytest.approx(2.0 + 3.0 * 2.0)


def test_beta_zero_is_the_mean_negative_log_likelihood():
    assert BetaELBO(0.0, 0)(LOG_PROB, KL).item() == 2.0


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (5, 0.25), (10, 0.5), (20, 1.0), (1000, 1.0), (None, 1.0)])
def test_the_kl_weight_grows_linearly_over_the_warm_up(step, share):
    assert BetaELBO(2.0, 20)(LOG_PROB, KL, step).item() == pytest.approx(2.0 + share * 2.0 * 2.0)
