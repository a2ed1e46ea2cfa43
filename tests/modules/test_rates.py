import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.special import digamma, gammaln, log_softmax

from skvae.rates import GammaRatios, NegativeBinomialCounts, NegativeBinomialLogProb, PoissonCounts, PoissonLogProb
from skvae.sparse import SparseBatch

COUNTS = np.array([[0, 3, 0, 1, 12], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 13, 0, 250]], float)
BATCHES = {
    "dense": torch.from_numpy(COUNTS),
    "sparse": SparseBatch.from_scipy(sparse.csr_array(COUNTS), trains=True),
}


@pytest.fixture
def logits():
    return torch.from_numpy(np.random.default_rng(0).normal(size=COUNTS.shape)).requires_grad_()


@pytest.fixture
def log_theta():
    return torch.from_numpy(np.random.default_rng(1).normal(size=COUNTS.shape[1])).requires_grad_()


def rates_of(logits):
    """Return the rates of rows with counts."""
    return COUNTS.sum(axis=1, keepdims=True) * np.exp(log_softmax(logits.detach().numpy(), axis=1))


@pytest.mark.parametrize("x", BATCHES.values(), ids=BATCHES)
def test_log_probabilities_are_those_of_scipy(x, logits, log_theta):
    has_counts = COUNTS.sum(axis=1) > 0
    rates, theta = rates_of(logits), log_theta.exp().detach().numpy()
    of_poisson = stats.poisson.logpmf(COUNTS, rates).sum(axis=1)[has_counts]
    of_nb = stats.nbinom.logpmf(COUNTS, theta, theta / (theta + rates)).sum(axis=1)[has_counts]
    with torch.no_grad():
        for own in (PoissonCounts(x)(logits), PoissonLogProb.apply(x, logits)):
            np.testing.assert_allclose(own[has_counts], of_poisson, rtol=1e-10)
        for own in (NegativeBinomialCounts(x, log_theta)(logits), NegativeBinomialLogProb.apply(x, logits, log_theta)):
            np.testing.assert_allclose(own[has_counts], of_nb, rtol=1e-10)


@pytest.mark.parametrize("x", BATCHES.values(), ids=BATCHES)
def test_gradients_are_those_of_finite_differences(x, logits, log_theta):
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)  # rows need not weigh alike
    assert torch.autograd.gradcheck(lambda a: PoissonLogProb.apply(x, a) * weights, (logits,))
    assert torch.autograd.gradcheck(lambda a, b: NegativeBinomialLogProb.apply(x, a, b) * weights, (logits, log_theta))


def test_gamma_functions_are_those_of_scipy():
    x = np.array([[0.5, 0, 1, 12, 13, 12.5], [1e6, 2, 3, 0, 1e9, 7]])
    theta = np.array([1e-9, 0.3, 2.0, 50.0, 1e4, 1e9])
    for batch in (torch.from_numpy(x), SparseBatch.from_scipy(sparse.csr_array(x), trains=False)):
        gammas = GammaRatios(batch, torch.from_numpy(theta))
        kept = slice(None) if isinstance(batch, torch.Tensor) else x > 0
        expected = (gammaln(theta + x) - gammaln(theta) - gammaln(x + 1))[kept]
        np.testing.assert_allclose(gammas.log_ways(), expected, rtol=1e-6, atol=1e-6)  # scipy's differences are inexact
        np.testing.assert_allclose(gammas.slopes(), (digamma(theta + x) - digamma(theta))[kept], rtol=1e-6, atol=1e-14)
