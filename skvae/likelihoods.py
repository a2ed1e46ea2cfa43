"""Likelihoods p(x|z): each owns its output layer, a linear map of the decoder's hidden features.

To add one, write the class and its line in `LIKELIHOODS`: the estimators' `likelihood` parameter follows.
"""

import math
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skvae.networks import Linear
from skvae.numerics import is_offset, log1p_exp, log_coefficient, log_normalized, variances
from skvae.rates import NegativeBinomialCounts, NegativeBinomialLogProb, PoissonCounts, PoissonLogProb
from skvae.sparse import MIN_TOTAL, at_entries, entries, sum_entries, totals, with_entries
from skvae.squared_error import squared_error_given
from skvae.supports import BINARY, COUNTS, REAL

# Least variance of a feature in `Gaussian`, as a share of the features' mean variance where no other is asked for, and
# as a share of the feature's, so that no feature is explained to the last digit.
VARIANCE_FLOOR = 0.1
MIN_NOISE = 0.01

# Total to which the encoder's input is normalised for counts, before `measure` makes it that of a typical row.
TARGET_SUM = 1e4

# Where the dispersions of `NegativeBinomial` start, and how much faster their logarithms move than other parameters:
# Adam's steps are as long as the learning rate at most, and from nearly Poisson to what data show it is a long way.
# The moments of a feature are no better start: they count what sets the samples apart as dispersion.
INITIAL_DISPERSION = 10.0
DISPERSION_SPEED = 20.0

# Beyond it a distribution is as good as Poisson's, and the gamma functions of float64 differ by rounding alone.
MAX_LOG_DISPERSION = 23.0

DROPOUT_LOGIT = -2.0  # that `ZeroInflatedNegativeBinomial` starts from: omega is about 0.12
MIN_SHARE = 1e-4  # least share of ones, and of zeros, that `Bernoulli` starts from


class Likelihood(nn.Module):
    """What a likelihood offers.

    Parameters
    ----------
    n_hidden : int
        Width H of the decoder's hidden features h.
    n_features : int
        Number D of features of x.
    """

    # what x may be
    support = REAL

    # what `measure` finds; no buffer, which would follow the moments of later chunks of the data
    unit = 1.0
    spread: torch.Tensor

    def __init__(self):
        super().__init__()
        # the unit of each feature, in that unit: (D,) or ()
        self.register_buffer("spread", torch.ones(()))

    def get_extra_state(self):
        return torch.tensor(self.unit, dtype=torch.float64)

    def set_extra_state(self, state):
        self.unit = state.item()

    @property
    def output(self):
        """The layer behind the mean of x, a `Linear` of D outputs."""
        raise NotImplementedError

    def measure(self, x):
        """Before training, find from some rows x (B, D) the unit of x: what is large and what is small in it."""

    def set_floor(self, x, share=None):
        """Before training, set the least variance of a feature, as a share of the mean variance, if it matters.

        With it, and from some rows x (B, D), the unit of each feature. None for the usual share.
        """

    def encoder_input(self, x):
        """Return what the encoder sees of a minibatch x (B, D), a tensor or a `SparseBatch`, in those units."""
        return x

    def offsets(self, totals):
        """Return what is added to the logits or log rates of rows of some totals, (B, 1): nothing."""
        return 0 * totals

    def start(self, mean, variance):
        """Before training, set parameters from the mean and variance of the features, (D,) each."""
        raise NotImplementedError

    def start_noise(self, noise):
        """Before training, set the noise of the features that a linear model leaves, (D,), if it is learned.

        Of real data their variances in the squared unit, of counts their dispersions, 1 / theta.
        """

    def start_linear(self, loadings, intercepts):
        """Before training, make the mean of x a linear function, or one through its link, of the last columns of h.

        Parameters
        ----------
        loadings : tensor of shape (D, K)
            Of the last K of the H columns; the others, of a network, add nothing yet.
        intercepts : tensor of shape (D,)
        """
        with torch.no_grad():
            self.output.weight.zero_()
            self.output.weight[:, self.output.in_features - loadings.shape[1] :] = loadings
            self.output.bias.copy_(intercepts)

    def scaled(self, loadings):
        """Return the slopes of the mean of x, or of its link, in units of x, of some columns of `output`, (D, K)."""
        return loadings

    def log_prob(self, h, x):
        """Return log p(x|z), (B,), summed over the features of x (B, D), from the hidden features h (B, H)."""
        raise NotImplementedError

    def given(self, x):
        """Return `log_prob` of the same rows x (B, D) as a function of h: what h does not change may be found once."""
        return lambda h: self.log_prob(h, x)

    def mean(self, h, total=None):
        """Return E[x|z], shape (B, D); of counts in rows of a total (B, 1), by default the mean one of the data."""
        raise NotImplementedError

    def denoised(self, h, total=None):
        """Return E[x|z] without technical zeros (the dropout of "zinb"), shape (B, D); see `mean`."""
        return self.mean(h, total)

    def sample(self, h, random_state, total=None):
        """Return x ~ p(x|z), an ndarray (B, D), drawn with numpy's RandomState or Generator; totals as in `mean`."""
        raise NotImplementedError


class Gaussian(Likelihood):
    """p(x_d|z) = N(x_hat_d, sigma_d^2) with x_hat_d = u_d (W_d h + b_d) and a learned variance of each feature.

    sigma_d^2 = u_d^2 (exp(logvar_d) + floor_d) weighs the features as z-scoring would, but by what z leaves
    unexplained. The floor, a share of the mean variance of the data, keeps features that hardly ever vary from
    outweighing all others. The unit u_d, in which encoder and decoder see a feature, is the deviation that it would
    have with the floor, so that nothing depends on the units of the data.
    """

    floor: torch.Tensor

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.x_hat = LinearMean(n_hidden, n_features)
        self.logvar = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("floor", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(n_features))
        self.floor_share = VARIANCE_FLOOR

    @property
    def output(self):
        return self.x_hat

    @property
    def units(self):
        """u_d, shape (D,)."""
        return self.unit * self.spread

    def get_extra_state(self):
        return torch.tensor([self.unit, self.floor_share], dtype=torch.float64)

    def set_extra_state(self, state):
        self.unit, self.floor_share = state.tolist()

    def measure(self, x):
        self.unit = variances(x).mean().sqrt().item() or 1.0  # constant data have none

    def set_floor(self, x, share=None):
        self.floor_share = VARIANCE_FLOOR if share is None else float(share)
        variance = variances(x) / self.unit**2
        spread = torch.sqrt(variance + self.floor_share * variance.mean())
        self.spread.copy_(torch.where(spread > 0, spread, 1.0))

    def encoder_input(self, x):
        units = self.units
        return with_entries(x, lambda values: values / at_entries(x, units))

    def start(self, mean, variance):
        variance, spread = variance / self.unit**2, self.spread.double()
        least, variance = self.floor_share * variance.mean() / spread**2, variance / spread**2
        self.x_hat.start(mean / self.unit / spread, variance)
        floor = torch.maximum(least, MIN_NOISE * variance)
        with torch.no_grad():
            self.floor.copy_(torch.where(floor > 0, floor, 1.0))
            self.logvar.copy_(torch.log(variance + MIN_NOISE * self.floor))

    def start_noise(self, noise):
        with torch.no_grad():
            beyond = noise / self.spread**2 - self.floor
            self.logvar.copy_(torch.log(beyond.clamp(min=0) + MIN_NOISE * self.floor))

    def start_linear(self, loadings, intercepts):
        super().start_linear(loadings / self.spread[:, None], intercepts / self.spread)

    def scaled(self, loadings):
        return self.units[:, None] * loadings

    def relative_variance(self):
        """Return (sigma_d / u_d)^2, shape (D,)."""
        return torch.exp(self.logvar) + self.floor

    def variance(self):
        """Return sigma^2, shape (D,)."""
        return self.relative_variance() * self.spread**2 * self.unit**2

    def log_prob(self, h, x):
        return self.given(x)(h)

    def given(self, x):
        variance = self.relative_variance()
        error = self.x_hat.squared_error_given(self.encoder_input(x), 1 / variance)
        constant = (torch.log(2 * math.pi * variance) / 2 + torch.log(self.spread)).sum()
        return lambda h: -error(h) / 2 - constant - x.shape[1] * math.log(self.unit)

    def mean(self, h, total=None):
        return self.units * self.x_hat(h)

    def sample(self, h, random_state, total=None):
        return random_state.normal(self.mean(h).numpy(force=True), self.variance().sqrt().numpy(force=True))


class UnitGaussian(Likelihood):
    """p(x_d|z) = N(x_hat_d, 1) with x_hat = u (W h + b): half the squared error, up to a constant.

    Its noise is 1 in the unit of the data, on which all depends. The unit u, of what is computed, is the features' mean
    deviation where that is above 1: W would be long to reach it.
    """

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.x_hat = LinearMean(n_hidden, n_features)

    @property
    def output(self):
        return self.x_hat

    def measure(self, x):
        self.unit = max(1.0, variances(x).mean().sqrt().item())

    def encoder_input(self, x):
        return with_entries(x, lambda values: values / self.unit)

    def start(self, mean, variance):
        self.x_hat.start(mean / self.unit, variance / self.unit**2)

    def scaled(self, loadings):
        return self.unit * loadings

    def log_prob(self, h, x):
        return self.given(x)(h)

    def given(self, x):
        error = self.x_hat.squared_error_given(self.encoder_input(x))
        return lambda h: -(self.unit**2 * error(h) + x.shape[1] * math.log(2 * math.pi)) / 2

    def mean(self, h, total=None):
        return self.unit * self.x_hat(h)

    def sample(self, h, random_state, total=None):
        return random_state.normal(self.mean(h).numpy(force=True))


class WithTotal(Likelihood):
    """A likelihood that takes the total t of a row as given: the unit of x is a typical total."""

    unit = TARGET_SUM

    def measure(self, x):
        self.unit = totals(x).double().mean().item()

    def encoder_input(self, x):
        return log_normalized(x, self.unit)

    def offsets(self, totals):
        return np.log(np.maximum(totals, MIN_TOTAL) / self.unit)


class Poisson(WithTotal):
    """p(x_d|z) = Poisson(t pi_d) with pi = softmax(W h + b) and t the total of x, its library size.

    Given t it is the multinomial distribution of the counts over the features, up to a term without z.
    """

    support = COUNTS

    @property
    def output(self):
        return self.proportions.logits

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.proportions = Proportions(n_hidden, n_features)

    def start(self, mean, variance):
        self.proportions.start(mean)

    def log_prob(self, h, x):
        return self.given(x)(h)

    def given(self, x):
        log_prob = partial(PoissonLogProb.apply, x) if torch.is_grad_enabled() else PoissonCounts(x)
        return lambda h: log_prob(self.proportions.logits(h))

    def mean(self, h, total=None):
        return self.proportions.mean(h, total)

    def sample(self, h, random_state, total=None):
        return random_state.poisson(self.mean(h, total).numpy(force=True))


class NegativeBinomial(WithTotal):
    """p(x_d|z) = NB with mean t pi_d, pi = softmax(W h + b), t the total of x, and a learned dispersion theta_d.

    Its variance is mu + mu^2 / theta; a large theta is nearly a Poisson distribution.
    """

    support = COUNTS

    @property
    def output(self):
        return self.proportions.logits

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.proportions = Proportions(n_hidden, n_features)
        slow_log_theta = math.log(INITIAL_DISPERSION) / DISPERSION_SPEED
        self.slow_log_theta = nn.Parameter(torch.full((n_features,), slow_log_theta))

    @property
    def log_theta(self):
        """The logarithm of the dispersions, (D,)."""
        return (DISPERSION_SPEED * self.slow_log_theta).clamp(-MAX_LOG_DISPERSION, MAX_LOG_DISPERSION)

    def start(self, mean, variance):
        self.proportions.start(mean)

    def start_noise(self, noise):
        with torch.no_grad():
            self.slow_log_theta.copy_(-torch.log(noise) / DISPERSION_SPEED)

    def log_prob(self, h, x):
        return self.given(x)(h)

    def given(self, x):
        log_theta = self.log_theta
        if torch.is_grad_enabled():
            return lambda h: NegativeBinomialLogProb.apply(x, self.proportions.logits(h), log_theta)
        log_prob = NegativeBinomialCounts(x, log_theta)
        return lambda h: log_prob(self.proportions.logits(h))

    def log_prob_of_zero(self, h, x):
        """Return log p(x_d = 0|z), (B, D), and what log p(x_d|z) has beyond it at the entries of x."""
        log_rate, _ = self.proportions(h, x)
        log_thetas = self.log_theta
        log_zero = -log_thetas.exp() * log1p_exp(log_rate - log_thetas)
        counts, log_theta = entries(x), at_entries(x, log_thetas)
        # x log(mu / (mu + theta)) + log Gamma(theta + x) / (Gamma(theta) x!)
        log_share = -log1p_exp(log_theta - at_entries(x, log_rate))
        return log_zero, counts * log_share + log_coefficient(log_theta.exp(), counts)

    def mean(self, h, total=None):
        return self.proportions.mean(h, total)

    def sample(self, h, random_state, total=None):
        theta = self.log_theta.exp().numpy(force=True)
        # a Poisson distribution whose rate has a gamma distribution
        gamma = random_state.standard_gamma(theta, size=(len(h), len(theta)))
        return random_state.poisson(self.mean(h, total).numpy(force=True) / theta * gamma)


class ZeroInflatedNegativeBinomial(WithTotal):
    """p(x_d|z) = omega_d [x_d = 0] + (1 - omega_d) NB(x_d), NB as in `NegativeBinomial`, omega = sigmoid(V h + c)."""

    support = COUNTS

    @property
    def output(self):
        return self.counts.output

    def start_noise(self, noise):
        self.counts.start_noise(noise)

    def start_linear(self, loadings, intercepts):
        super().start_linear(loadings, intercepts)
        with torch.no_grad():
            self.dropout.weight.zero_()

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.counts = NegativeBinomial(n_hidden, n_features)
        self.dropout = Linear(n_hidden, n_features)

    def start(self, mean, variance):
        self.counts.start(mean, variance)
        with torch.no_grad():
            self.dropout.bias.fill_(DROPOUT_LOGIT)

    def log_prob(self, h, x):
        logit = self.dropout(h)
        log_zero, rest = self.counts.log_prob_of_zero(h, x)
        inflated = logit + log1p_exp(log_zero - logit)
        # log(1 - omega) = -log(1 + exp(logit)) is in all terms; beyond it zeros have `inflated`, others log NB
        beyond = torch.where(entries(x) > 0, at_entries(x, log_zero - inflated) + rest, 0)
        return (inflated - log1p_exp(logit)).sum(dim=1) + sum_entries(x, beyond)

    def mean(self, h, total=None):
        return torch.sigmoid(-self.dropout(h)) * self.counts.mean(h, total)

    def denoised(self, h, total=None):
        return self.counts.mean(h, total)

    def sample(self, h, random_state, total=None):
        dropout = torch.sigmoid(self.dropout(h)).numpy(force=True)
        return self.counts.sample(h, random_state, total) * (random_state.uniform(size=dropout.shape) > dropout)


class Bernoulli(WithTotal):
    """p(x_d = 1|z) = sigmoid(W h + b + log(t / u)), for binary x; of x between 0 and 1, minus the cross-entropy.

    t is the total of x, taken as given like that of counts, and u a typical one: z need not describe how many ones a
    row has, which in sparse rows would be most of its information.
    """

    support = BINARY

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.logits = Linear(n_hidden, n_features)

    @property
    def output(self):
        return self.logits

    def start(self, mean, variance):
        with torch.no_grad():
            self.logits.bias.copy_(torch.logit(mean, eps=MIN_SHARE))

    def log_prob(self, h, x):
        logits = self.logits(h) + torch.log(totals(x) / self.unit)
        return sum_entries(x, entries(x) * at_entries(x, logits)) - log1p_exp(logits).sum(dim=1)

    def mean(self, h, total=None):
        logits = self.logits(h)
        return torch.sigmoid(logits if total is None else logits + torch.log(total / self.unit))

    def sample(self, h, random_state, total=None):
        return random_state.binomial(1, self.mean(h, total).numpy(force=True))


class LinearMean(Linear):
    """x_hat = W h + b, and the squared error of x around it."""

    # whether sparse x is made dense a minibatch at a time: in float32 the sparse squared error would lose what varies
    # beside a much larger mean
    makes_dense = False

    def get_extra_state(self):
        return torch.tensor(self.makes_dense)

    def set_extra_state(self, state):
        self.makes_dense = bool(state)

    def start(self, mean, variance):
        self.makes_dense = is_offset(mean, variance)
        with torch.no_grad():
            self.bias.copy_(mean)

    def squared_error_given(self, x, precision=None):
        """Return sum_d p_d (x_d - x_hat_d)^2, shape (B,), as a function of h."""
        return squared_error_given(x.to_dense() if self.makes_dense else x, self.weight, self.bias, precision)


class Proportions(nn.Module):
    """Rates of counts: the softmax of a linear map of the hidden features, times the total of the row."""

    mean_total: torch.Tensor

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.logits = Linear(n_hidden, n_features)
        self.register_buffer("mean_total", torch.ones(()))

    def start(self, mean):
        with torch.no_grad():
            self.mean_total.copy_(mean.sum())
            # features that never occur start a thousand times rarer than the rarest
            least = mean[mean > 0].min() / 1000 if (mean > 0).any() else 1.0
            self.logits.bias.copy_(mean.clamp(min=least).log())

    def forward(self, h, x):
        """Return log(t pi), (B, D), and t, (B, 1)."""
        total = totals(x)
        return F.log_softmax(self.logits(h), dim=1) + total.log(), total

    def mean(self, h, total=None):
        """Return the rates of rows of that total, (B, 1), or of the mean total of the data."""
        return (self.mean_total if total is None else total) * F.softmax(self.logits(h), dim=1)


LIKELIHOODS = {
    "gaussian": Gaussian,
    "unit_gaussian": UnitGaussian,
    "poisson": Poisson,
    "nb": NegativeBinomial,
    "zinb": ZeroInflatedNegativeBinomial,
    "bernoulli": Bernoulli,
}
