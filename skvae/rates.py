"""Log-probabilities of counts whose rates are a softmax over the features, with gradients written by hand.

Of the arrays (B, D) on the way, automatic differentiation would make and keep some twenty; these keep two.
"""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from skvae.numerics import log1p_exp, row_dots
from skvae.sparse import add_entries, at_entries, at_rows, entries, sum_columns, sum_entries, totals

# Counts up to which gamma functions are looked up.
N_FACTORS = 12


def softmax_rates(x, logits):
    """Return mu = t softmax(logits), (B, D), with t the totals of x, and log mu at the entries of x.

    The latter are float64, as large counts multiply them.
    """
    total, largest = totals(x), logits.amax(dim=1, keepdim=True)
    rates = (logits - largest).exp_()
    sums = rates.sum(dim=1, keepdim=True)
    rates.mul_(total / sums)
    offsets = total.double().log() - sums.double().log() - largest
    return rates, at_entries(x, logits) + at_rows(x, offsets[:, 0])


class PoissonCounts:
    """sum_d log Poisson(x_d; mu_d), (B,), of the same x, with mu = t softmax(logits) and t the total of x."""

    def __init__(self, x):
        self.x = x
        self.counts = entries(x)
        self.ways = torch.lgamma(self.counts.double() + 1)

    def __call__(self, logits):
        return self.terms(logits)[0]

    def terms(self, logits):
        """Return the log-probabilities and mu."""
        rates, log_rate = softmax_rates(self.x, logits)
        beyond = (self.counts * log_rate - self.ways).to(rates.dtype)
        return sum_entries(self.x, beyond) - totals(self.x)[:, 0], rates


class PoissonLogProb(Function):
    """`PoissonCounts` with its gradient in the logits, x - mu, times the sum of x over t: one but for empty rows."""

    @staticmethod
    def forward(ctx, x, logits):
        log_prob, rates = PoissonCounts(x).terms(logits)
        ctx.x = x
        ctx.save_for_backward(rates)
        return log_prob

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, (rates,) = ctx.x, ctx.saved_tensors
        counts = entries(x)
        weights = -grad * sum_entries(x, counts) / totals(x)[:, 0]
        return None, add_entries(x, rates * weights[:, None], counts * at_rows(x, grad))


class GammaRatios:
    """Gamma functions of counts x and dispersions theta at the entries of x: of most, small integers, from tables.

    Gamma(theta + x) / Gamma(theta) is a product of x factors. All is float64: float32 would lose the differences.
    """

    def __init__(self, x, theta):
        self.theta, counts = theta.double(), entries(x).double()
        is_small = counts == counts.clamp(0, N_FACTORS).floor()
        # to look for the others would make the CPU wait for an accelerator, which computes them all as fast
        few = ~is_small if theta.device.type == "cpu" else torch.ones_like(is_small)
        self.others = few.flatten().nonzero()[:, 0]
        features = at_entries(x, torch.arange(len(theta), device=theta.device)).expand_as(counts)
        self.places = features * (N_FACTORS + 1) + torch.where(is_small, counts, 0).long()
        self.feature, self.count = (part.flatten()[self.others] for part in (features, counts))
        self.factors = torch.arange(N_FACTORS, dtype=torch.float64, device=theta.device)

    def log_ways(self):
        """Return log Gamma(theta + x) - log Gamma(theta) - log Gamma(x + 1)."""
        theta = self.theta[self.feature]
        others = torch.lgamma(theta + self.count) - torch.lgamma(theta) - torch.lgamma(self.count + 1)
        return self.filled((self.theta[:, None] + self.factors).log_() - torch.log(self.factors + 1), others)

    def slopes(self):
        """Return the slopes of `log_ways` in theta."""
        theta = self.theta[self.feature]
        others = torch.digamma(theta + self.count) - torch.digamma(theta)
        return self.filled((self.theta[:, None] + self.factors).reciprocal_(), others)

    def filled(self, factors, others):
        """Return sums of the first x of (D, N) terms, and others where x is no small integer."""
        table = F.pad(factors.cumsum_(dim=1), (1, 0))
        found = table.flatten().index_select(0, self.places.flatten())
        return found.index_copy_(0, self.others, others).view(self.places.shape)


class NegativeBinomialCounts:
    """sum_d log NB(x_d; mu_d, theta_d), (B,), of the same x, with mu = t softmax(logits) and t the total of x.

    With q = mu / theta it is

        sum_d [ -theta log(1 + q) + x log(q / (1 + q)) + log Gamma(theta + x) - log Gamma(theta) - log Gamma(x + 1) ]

    where all but the first term vanish at zeros.
    """

    def __init__(self, x, log_theta):
        self.x = x
        self.theta = log_theta.exp()
        self.inverse = torch.exp(-log_theta)
        self.counts, self.log_theta = entries(x), at_entries(x, log_theta)
        self.gammas = GammaRatios(x, self.theta)
        self.ways = self.gammas.log_ways().to(self.counts.dtype)

    def __call__(self, logits):
        return self.terms(logits)[0]

    def terms(self, logits):
        """Return the log-probabilities, q and log(1 + q), (B, D), and log(1 / q) at the entries of x."""
        rates, log_rate = softmax_rates(self.x, logits)
        ratios = rates.mul_(self.inverse)
        log_sums = torch.log1p(ratios)
        below = (self.log_theta - log_rate).to(ratios.dtype)
        of_entries = sum_entries(self.x, self.ways - self.counts * log1p_exp(below))
        return of_entries - row_dots(log_sums, self.theta), ratios, log_sums, below


class NegativeBinomialLogProb(Function):
    """`NegativeBinomialCounts` with its gradients: with s = q / (1 + q) that in log mu is (1 - s) x - theta s."""

    @staticmethod
    def forward(ctx, x, logits, log_theta):
        given = NegativeBinomialCounts(x, log_theta)
        log_prob, *terms = given.terms(logits)
        ctx.x, ctx.gammas = x, given.gammas
        ctx.save_for_backward(*terms, given.theta)
        return log_prob

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, (ratios, log_sums, below, theta) = ctx.x, ctx.saved_tensors
        counts, grads = entries(x), at_rows(x, grad)
        shares = 1 + ratios
        torch.div(ratios, shares, out=shares)
        missing = grads * counts * torch.sigmoid(below)  # of x (1 - s)
        of_theta = at_entries(x, theta) * ctx.gammas.slopes().to(counts.dtype) * grads - missing
        theta_grad = theta * (grad @ shares - grad @ log_sums) + sum_columns(x, of_theta)
        # the gradients of a row's logits are those in log mu, less the softmax times their sum
        beyond = (sum_entries(x, missing) - grad * row_dots(shares, theta)) / totals(x)[:, 0]
        dense = shares.mul_(grad[:, None]).addcmul_(ratios, beyond[:, None]).mul_(-theta)
        return None, add_entries(x, dense, missing), theta_grad
