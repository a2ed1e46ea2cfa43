"""Codes that are not negative: latents of which the decoder sees max(0, z).

The model is that of another latent with a decoder that begins with a rectifier, so that prior, KL and bounds are the
same. What differs is the code, whose moments are those of max(0, z): it is zero with a probability of its own.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import relu

from skvae.latents import Latent, Posterior, SpikeAndSlabLatent

# Logits of gates further from 0 are as good as certain, and would leave a gate without a gradient.
MAX_EVIDENCE = 6.0


@dataclass(frozen=True, eq=False)
class RectifiedPosterior(Posterior):
    """q(z|x), whose code is max(0, z).

    Parameters
    ----------
    q : Posterior
    """

    q: Posterior

    @property
    def shape(self):
        return self.q.shape

    @property
    def n_uniforms(self):
        return self.q.n_uniforms

    def sample(self, u):
        return self.q.sample(u)

    def mean(self):
        return self.q.positive_part()[0]

    def std(self):
        mean, square, _ = self.q.positive_part()
        return torch.sqrt((square - mean**2).clamp(min=0))

    def activation(self):
        return self.q.positive_part()[2]

    def sparse_code(self):
        return relu(self.q.sparse_code())

    def kl(self):
        return self.q.kl()

    def log_prob(self, z):
        return self.q.log_prob(z)

    def bound(self, log_prob, n_samples):
        return self.q.bound(log_prob, n_samples)


class NonnegativeLatent(Latent):
    """Another latent, of which the decoder sees max(0, z), through loadings that are not negative.

    Parameters
    ----------
    latent : Latent
    """

    def __init__(self, latent):
        super().__init__()
        self.latent = latent

    def forward(self, h, linear=0.0):
        return RectifiedPosterior(self.latent(h, linear))

    def start(self, strengths, beta):
        return self.latent.start(strengths, beta)

    def decoded(self, z):
        return torch.where(z < 0, 0, z)  # with a slope at 0, where a closed gate has to learn that it should open

    def constrain(self, loadings):
        loadings.clamp_(min=0)


class EvidenceGatedLatent(SpikeAndSlabLatent):
    """A spike-and-slab latent whose gates start where they are best for a linear model, given the slab.

    There the odds of an active dimension are alpha / (1 - alpha) times what the dimension gains: with a posterior
    N(mu, sigma^2) of the slab, sigma exp(mu^2 / (2 sigma^2)). Training moves each gate from there.
    """

    def start(self, strengths, beta):
        deviations = super().start(strengths, beta)
        self.v.start(torch.zeros_like(strengths))
        return deviations

    def gate_start(self, mu, logvar):
        mu, logvar = mu.detach(), logvar.detach()  # where the gate is best, it has no slope
        evidence = (relu(mu) ** 2 / torch.exp(logvar) + logvar) / 2
        prior = math.log(self.alpha) - math.log1p(-self.alpha)
        return (prior + evidence).clamp(-MAX_EVIDENCE, MAX_EVIDENCE)
