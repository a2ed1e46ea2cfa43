"""The prior that a trained model uses: a mixture fitted to q(z|x) over the data.

Training weighs q(z|x) against a simple p(z), which the mean of q(z|x) over the rows, the aggregate posterior, then does
not equal: rows are of types. Of all priors that mean has the largest evidence lower bound (Hoffman & Johnson 2016,
"ELBO surgery", NIPS workshop on advances in approximate Bayesian inference).
"""

import math

import torch
from torch import nn

from skvae.latents import standard_normal

# Kinds of rows, at most.
N_KINDS = 32

# Largest probability that a dimension is active for which that of 0 has a logarithm in float32.
MAX_ACTIVATION = 1 - 1e-7


class MixturePrior(nn.Module):
    """p(z) = sum_k w_k prod_j [a_kj N(m_kj, s_kj^2) + (1 - a_kj) delta_0]: rows are of kinds k. At first N(0, I).

    The logarithm of the total of a row is normal given its kind, with a mean and variance of its own.

    Parameters
    ----------
    n_components : int
        J.
    """

    weights: torch.Tensor
    activations: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor
    total_means: torch.Tensor
    total_variances: torch.Tensor

    def __init__(self, n_components):
        super().__init__()
        self.register_buffer("weights", torch.eye(N_KINDS)[0])
        self.register_buffer("activations", torch.ones(N_KINDS, n_components))
        self.register_buffer("means", torch.zeros(N_KINDS, n_components))
        self.register_buffer("variances", torch.ones(N_KINDS, n_components))
        self.register_buffer("total_means", torch.zeros(N_KINDS))
        self.register_buffer("total_variances", torch.zeros(N_KINDS))

    def log_prob(self, z):
        """Return log p(z), (B,), of z (B, J)."""
        return torch.logsumexp(self.log_prob_by_kind(z, (z != 0).to(z)), dim=1)

    def log_prob_by_kind(self, z, is_active):
        """Return log w_k p(z|k), (B, K), of z (B, J) and whether each of its elements is of the slab, 1 or 0."""
        normal = (self.means**2 / self.variances + torch.log(2 * math.pi * self.variances)) / 2
        closed = torch.log1p(-self.activations.clamp(max=MAX_ACTIVATION))  # finite, for products with 0
        return (
            torch.log(self.weights)
            + is_active @ (torch.log(self.activations) - normal).T
            + (1 - is_active) @ closed.T
            + z @ (self.means / self.variances).T
            - z**2 @ (1 / self.variances).T / 2
        )

    def sample(self, n_samples, generator):
        """Return z ~ p(z), (n, J), and the totals of rows of their kinds, (n, 1), drawn on the CPU."""
        kinds = torch.multinomial(self.weights.cpu(), n_samples, replacement=True, generator=generator)
        u = torch.rand(2, n_samples, self.means.shape[1], generator=generator)
        normal = torch.randn(n_samples, generator=generator)
        slab, gates = standard_normal(u[0]), u[1] < self.activations.cpu()[kinds]
        z = gates * (self.means.cpu()[kinds] + self.variances.cpu()[kinds].sqrt() * slab)
        log_totals = self.total_means.cpu()[kinds] + self.total_variances.cpu()[kinds].sqrt() * normal
        return z, torch.exp(log_totals)[:, None]
