import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from scipy import sparse

from skvae.likelihoods import DISPERSION_SPEED, LIKELIHOODS
from skvae.networks import initialize
from skvae.sparse import SparseBatch


def make(name="gaussian", n_hidden=4, n_features=7):
    return initialize(LIKELIHOODS[name](n_hidden, n_features), torch.Generator().manual_seed(0)).double()


H = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 4)
X = torch.linspace(0, 5, 21, dtype=torch.float64).reshape(3, 7)


def test_gaussian_log_prob_is_that_of_scipy():
    likelihood = make()
    likelihood.start(X.mean(dim=0), X.var(dim=0) * torch.arange(7))
    scale = likelihood.variance().detach().sqrt()
    expected = scipy.stats.norm.logpdf(X, loc=likelihood.mean(H).detach(), scale=scale).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, X).detach(), expected, rtol=1e-12)


def test_unit_gaussian_log_prob_is_that_of_scipy():
    likelihood = make("unit_gaussian")
    expected = scipy.stats.norm.logpdf(X, loc=likelihood.mean(H).detach(), scale=1).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, X).detach(), expected, rtol=1e-12)


def test_variances_start_at_those_of_the_features_and_stay_above_a_tenth_of_their_mean():
    likelihood = make(n_features=4)
    variance = torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)
    likelihood.start(torch.zeros(4), variance)
    np.testing.assert_allclose(likelihood.variance().detach(), variance + 0.2, rtol=0.1)
    with torch.no_grad():
        likelihood.logvar.fill_(-100)
    np.testing.assert_allclose(likelihood.variance().detach(), 0.2)


def test_variances_of_constant_data_start_positive():
    likelihood = make()
    likelihood.start(torch.ones(7), torch.zeros(7))
    assert (likelihood.variance() > 0).all()
    assert likelihood.logvar.isfinite().all()


@pytest.mark.parametrize("name", ["gaussian", "unit_gaussian"])
def test_gaussian_mean_is_linear_in_the_hidden_features(name):
    likelihood = make(name)
    expected = H.numpy() @ likelihood.x_hat.weight.detach().numpy().T + likelihood.x_hat.bias.detach().numpy()
    np.testing.assert_allclose(likelihood.mean(H).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_has_a_value_a_sample_and_gradients_of_finite_differences(name):
    likelihood = make(name)
    h = H.clone().requires_grad_()
    assert likelihood.log_prob(h, X).shape == (3,)
    assert likelihood.mean(h).shape == (3, 7)
    assert torch.autograd.gradcheck(lambda h: likelihood.log_prob(h, X), h)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_start_makes_the_mean_that_of_the_features_where_the_hidden_features_are_zero(name):
    likelihood = make(name)
    mean = X.mean(dim=0) / (10 if name == "bernoulli" else 1)
    likelihood.start(mean, X.var(dim=0))
    kept = torch.sigmoid(torch.tensor(2.0)).item() if name == "zinb" else 1.0
    np.testing.assert_allclose(likelihood.mean(torch.zeros_like(H))[0].detach(), kept * mean, rtol=1e-7)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sparse_rows_have_the_log_prob_and_gradients_of_dense_ones(name):
    likelihood = make(name)
    counts = sparse.random_array((3, 7), density=0.4, format="csr", random_state=0).ceil() * 3
    few, dense = SparseBatch.from_scipy(counts, trains=True), torch.from_numpy(counts.toarray())
    results = [likelihood.log_prob(H, x) for x in (few, dense)]
    torch.testing.assert_close(*results)
    parameters = list(likelihood.parameters())
    for own, other in zip(*(torch.autograd.grad(result.sum(), parameters) for result in results), strict=True):
        torch.testing.assert_close(own, other)


def negative_binomial_variance(mean, likelihood):
    return mean + mean**2 / likelihood.log_theta.exp().detach().numpy()


def zero_inflated_variance(likelihood, h):
    kept = 1 - torch.sigmoid(likelihood.dropout(h))[0].detach().numpy()
    mean = likelihood.counts.mean(h)[0].detach().numpy()
    return kept * negative_binomial_variance(mean, likelihood.counts) + kept * (1 - kept) * mean**2


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_have_the_mean_and_the_variance_of_the_distribution(name):
    likelihood = make(name, n_features=3)
    scale = 0.01 if name == "bernoulli" else 1.0
    likelihood.start(scale * torch.tensor([1.0, 4.0, 20.0]), torch.tensor([2.0, 9.0, 90.0]))
    h = H[:1].expand(40_000, -1) / 4
    x = likelihood.sample(h, np.random.RandomState(0))
    mean = likelihood.mean(h[:1])[0].detach().numpy()
    np.testing.assert_allclose(x.mean(axis=0), mean, rtol=0.05, atol=0.02)
    expected = {
        "gaussian": lambda: likelihood.variance().detach().numpy(),
        "unit_gaussian": lambda: np.ones(3),
        "poisson": lambda: mean,
        "nb": lambda: negative_binomial_variance(mean, likelihood),
        "zinb": lambda: zero_inflated_variance(likelihood, h[:1]),
        "bernoulli": lambda: mean * (1 - mean),
    }[name]()
    np.testing.assert_allclose(x.var(axis=0), expected, rtol=0.05)


# Counts

COUNTS = torch.tensor([[0.0, 1, 2, 0, 5, 40, 3], [0, 0, 0, 0, 0, 0, 1], [900, 0, 7, 1, 1, 0, 30]], dtype=torch.float64)


def rates(likelihood):
    return (COUNTS.sum(dim=1, keepdim=True) * torch.softmax(likelihood.proportions.logits(H), dim=1)).detach().numpy()


def test_poisson_log_prob_is_that_of_scipy():
    likelihood = make("poisson")
    expected = scipy.stats.poisson.logpmf(COUNTS, rates(likelihood)).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, COUNTS).detach(), expected, rtol=1e-10)


# Rows of two counts and the mean of the first: from almost never to a million, for counts near it and far from it.
GRID_X = torch.tensor(
    [[x, rest] for x in (0.0, 1.0, 7.0, 1e3, 1e6) for rest in (1.0, 50.0, 2e6)], dtype=torch.float64
).repeat(8, 1)
GRID_MEAN = torch.logspace(-8, 6, 8, dtype=torch.float64).repeat_interleave(15)
GRID_POSSIBLE = GRID_X.sum(dim=1) > GRID_MEAN  # the mean of both is the total
GRID_X, GRID_MEAN = GRID_X[GRID_POSSIBLE], GRID_MEAN[GRID_POSSIBLE]


def on_grid(name, theta=1.0):
    """Return a likelihood and hidden features that give the first counts of the grid their means, and the rates."""
    likelihood = make(name, 1, 2)
    counts = likelihood.counts if name == "zinb" else likelihood
    share = GRID_MEAN / GRID_X.sum(dim=1)
    with torch.no_grad():
        counts.proportions.logits.weight.copy_(torch.tensor([[1.0], [0.0]]))
        counts.proportions.logits.bias.zero_()
        if name != "poisson":
            counts.slow_log_theta.fill_(np.log(theta) / DISPERSION_SPEED)
        if name == "zinb":
            likelihood.dropout.weight.zero_()
            likelihood.dropout.bias.copy_(torch.tensor([-1.0, 2.0]))
    h = torch.log(share / (1 - share))[:, None]
    return likelihood, h, np.stack([GRID_MEAN, GRID_X.sum(dim=1) - GRID_MEAN], axis=1)


def gradients_are_finite(likelihood, h, x):
    inputs = [h.clone().requires_grad_(), *likelihood.parameters()]
    return all(part.isfinite().all() for part in torch.autograd.grad(likelihood.log_prob(inputs[0], x).sum(), inputs))


def test_poisson_log_prob_is_that_of_scipy_over_an_extreme_grid():
    likelihood, h, rate = on_grid("poisson")
    expected = scipy.stats.poisson.logpmf(GRID_X, rate).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(h, GRID_X).detach(), expected, rtol=1e-6, atol=1e-6)
    assert gradients_are_finite(likelihood, h, GRID_X)
    assert gradients_are_finite(likelihood.float(), h.float(), GRID_X.float())


@pytest.mark.parametrize("name", ["nb", "zinb"])
@pytest.mark.parametrize("theta", np.logspace(-4, 6, 6))
def test_negative_binomial_log_prob_is_that_of_scipy_over_an_extreme_grid(name, theta):
    likelihood, h, rate = on_grid(name, theta)
    x = GRID_X.numpy()
    log_p, log_q = -np.log1p(rate / theta), np.log(rate) - np.log(theta + rate)
    expected = theta * log_p + x * log_q - np.log(x + theta) - scipy.special.betaln(theta, x + 1)
    # scipy.stats has p alone, and would lose the digits of a small 1 - p
    sure = rate > 1e-3 * theta
    reference = scipy.stats.nbinom.logpmf(x[sure], theta, theta / (theta + rate[sure]))
    np.testing.assert_allclose(expected[sure], reference, rtol=1e-6, atol=1e-6)
    if name == "zinb":
        logit = np.array([-1.0, 2.0])
        inflated = np.where(GRID_X == 0, np.logaddexp(logit, expected), expected)
        expected = inflated - np.logaddexp(0, logit)
    np.testing.assert_allclose(likelihood.log_prob(h, GRID_X).detach(), expected.sum(axis=1), rtol=1e-6, atol=1e-6)
    assert gradients_are_finite(likelihood, h, GRID_X)
    single = likelihood.float().log_prob(h.float(), GRID_X.float()).detach()
    # terms of a million nats cancel, which float32 holds to a tenth
    np.testing.assert_allclose(single, expected.sum(axis=1), rtol=1e-4, atol=0.3)
    assert gradients_are_finite(likelihood, h.float(), GRID_X.float())


def test_zero_inflated_negative_binomial_log_prob_is_that_of_scipy():
    likelihood = make("zinb")
    theta = likelihood.counts.log_theta.exp().detach().numpy()
    omega = torch.sigmoid(likelihood.dropout(H)).detach().numpy()
    pmf = scipy.stats.nbinom.pmf(COUNTS, theta, theta / (theta + rates(likelihood.counts)))
    expected = np.log(omega * (COUNTS.numpy() == 0) + (1 - omega) * pmf).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, COUNTS).detach(), expected, rtol=1e-8)


def test_bernoulli_log_prob_is_that_of_scipy():
    likelihood, ones = make("bernoulli"), (COUNTS > 0).double()
    likelihood.measure(ones)
    total = ones.sum(dim=1, keepdim=True)
    expected = scipy.stats.bernoulli.logpmf(ones, likelihood.mean(H, total).detach()).sum(axis=1)
    np.testing.assert_allclose(likelihood.log_prob(H, ones).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["poisson", "nb"])
def test_rates_far_out_have_finite_log_probs_and_gradients(name):
    likelihood = make(name).float()
    with torch.no_grad():
        likelihood.proportions.logits.bias.copy_(torch.linspace(-60, 60, 7))
    log_prob = likelihood.log_prob(H.float(), COUNTS.float())
    assert log_prob.isfinite().all()
    assert all(part.isfinite().all() for part in torch.autograd.grad(log_prob.sum(), list(likelihood.parameters())))


@pytest.mark.parametrize("log_theta", [-500.0, 500.0])
def test_dispersions_far_out_have_finite_log_probs_and_gradients(log_theta):
    likelihood = make("nb").float()
    with torch.no_grad():
        likelihood.slow_log_theta.fill_(log_theta)
    log_prob = likelihood.log_prob(H.float(), COUNTS.float())
    assert log_prob.isfinite().all()
    assert all(part.isfinite().all() for part in torch.autograd.grad(log_prob.sum(), list(likelihood.parameters())))


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_log_probs_of_the_same_rows_are_a_function_of_the_hidden_features(name):
    likelihood, x = make(name), (COUNTS > 0).double()
    expected = [likelihood.log_prob(h, x).detach() for h in (H, 2 * H)]
    with torch.no_grad():
        log_prob = likelihood.given(x)
        torch.testing.assert_close([log_prob(h) for h in (H, 2 * H)], expected)


@pytest.mark.parametrize("name", ["poisson", "nb"])
def test_a_row_without_counts_is_certain(name):
    assert likelihood_of_empty_row(name) == pytest.approx(0, abs=1e-6)


def likelihood_of_empty_row(name):
    return make(name).log_prob(H[:1], torch.zeros(1, 7, dtype=torch.float64)).item()


@pytest.mark.parametrize("name", ["poisson", "nb"])
def test_the_encoder_of_counts_sees_log1p_of_normalised_counts(name):
    expected = np.log1p(1e4 * COUNTS.numpy() / COUNTS.numpy().sum(axis=1, keepdims=True))
    likelihood = make(name)
    np.testing.assert_allclose(likelihood.encoder_input(COUNTS), expected)
    few = likelihood.encoder_input(SparseBatch.from_scipy(sparse.csr_array(COUNTS.numpy()), trains=True))
    np.testing.assert_allclose(few.to_dense(), expected)
    np.testing.assert_allclose(few.columns.sums(torch.eye(3, dtype=torch.float64)).T, expected)


def test_rows_of_totals_far_apart_are_seen_by_the_encoder():
    counts = torch.tensor([[1e-3, 0.0], [0.0, 1e38]])
    likelihood = make("poisson").float()
    likelihood.measure(counts)
    assert likelihood.encoder_input(counts).isfinite().all()


def test_the_registry_has_the_names_of_the_documentation():
    assert list(LIKELIHOODS) == ["gaussian", "unit_gaussian", "poisson", "nb", "zinb", "bernoulli"]
