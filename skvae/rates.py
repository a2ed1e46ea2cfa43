"""Log-probabilities of counts whose rates are a softmax over the features, with gradients written by hand.

Of the arrays (B, D) on the way, automatic differentiation would make and keep some twenty; these keep two.
"""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from skvae.numerics import log1p_exp, row_dots
from skvae.sparse import add_entries, at_entries, at_rows, entries, sum_columns, sum_entries, totals

# Largest 1 / theta that is computed: so small a theta leaves no probability to other counts than zero.
MAX_INVERSE = 1e25


def softmax_rates(x, logits):
    """Return mu = t softmax(logits), (B, D), the totals t of the rows, (B, 1), and log mu at the entries of x.

    The latter are float64, as large counts multiply them.
    """
    total, largest = totals(x), logits.amax(dim=1, keepdim=True)
    rates = (logits - largest).exp_()
    sums = rates.sum(dim=1, keepdim=True)
    rates.mul_(total / sums)
    offsets = total.double().log() - sums.double().log() - largest
    return rates, total, at_entries(x, logits) + at_rows(x, offsets[:, 0])


class PoissonLogProb(Function):
    """sum_d log Poisson(x_d; mu_d), (B,), with mu = t softmax(logits) and t the total of x.

    The gradient in the logits is x - mu, times the sum of x over t, which is one but for empty rows.
    """

    @staticmethod
    def forward(ctx, x, logits):
        rates, total, log_rate = softmax_rates(x, logits)
        counts = entries(x)
        ctx.x = x
        ctx.save_for_backward(rates, total)
        beyond = counts * log_rate - torch.lgamma(counts.double() + 1)
        return sum_entries(x, beyond.to(rates.dtype)) - total[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, (rates, total) = ctx.x, ctx.saved_tensors
        counts = entries(x)
        weights = -grad * sum_entries(x, counts) / total[:, 0]
        return None, add_entries(x, rates * weights[:, None], counts * at_rows(x, grad))


class NegativeBinomialLogProb(Function):
    """sum_d log NB(x_d; mu_d, theta_d), (B,), with mu = t softmax(logits) and t the total of x.

    With q = mu / theta it is

        sum_d [ -theta log(1 + q) + x log(q / (1 + q)) + log Gamma(theta + x) - log Gamma(theta) - log Gamma(x + 1) ]

    where all but the first term vanish at zeros. The gradient of the first in log mu is -theta s, with s = q / (1 + q).
    """

    @staticmethod
    def forward(ctx, x, logits, log_theta):
        rates, total, log_rate = softmax_rates(x, logits)
        theta = log_theta.exp()
        ratios = rates.mul_(torch.exp(-log_theta).clamp(max=MAX_INVERSE))
        log_sums = torch.log1p(ratios)
        counts, below = entries(x), (at_entries(x, log_theta) - log_rate).to(theta.dtype)
        # in float64: float32 would lose the difference
        counts_64, theta_64 = counts.double(), theta.double()
        ways = torch.lgamma(at_entries(x, theta_64) + counts_64) - torch.lgamma(counts_64 + 1)
        ways = (ways - at_entries(x, torch.lgamma(theta_64))).to(counts.dtype)
        ctx.x = x
        ctx.save_for_backward(ratios, log_sums, below, theta, total)
        return sum_entries(x, ways - counts * log1p_exp(below)) - row_dots(log_sums, theta)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, (ratios, log_sums, below, theta, total) = ctx.x, ctx.saved_tensors
        counts, grads = entries(x), at_rows(x, grad)
        shares = 1 + ratios
        torch.div(ratios, shares, out=shares)
        missing = grads * counts * torch.sigmoid(below)  # of x (1 - s)
        theta_64 = theta.double()
        ways = torch.digamma(at_entries(x, theta_64) + counts.double()) - at_entries(x, torch.digamma(theta_64))
        of_theta = at_entries(x, theta) * ways.to(counts.dtype) * grads - missing
        theta_grad = theta * (grad @ shares - grad @ log_sums) + sum_columns(x, of_theta)
        beyond = sum_entries(x, missing) - grad * row_dots(shares, theta)
        dense = shares.mul_(grad[:, None]).addcmul_(ratios, (beyond / total[:, 0])[:, None]).mul_(-theta)
        return None, add_entries(x, dense, missing), theta_grad
