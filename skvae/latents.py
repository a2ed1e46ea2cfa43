"""Latents: hidden features -> q(z|x), the posterior of z, and its prior p(z).

A latent is a module that is called with hidden features (B, H) and what a linear model adds to the location of z, zero
or (B, J), and returns a posterior. Its other methods:

- `start(strengths, beta)` makes q(z|x) that of a linear model alone, x = L z + noise, whose axes explain
  l2 = `strengths` (J,) in units of the noise: its optimum at a weight beta of the KL term. It returns the deviation
  that the mean of z is to have along each axis, (J,);
- `decoded(z)` is what the decoder sees of z, and `constrain(loadings)` is called after each gradient step.

The constructor's `head` makes, at each call, a new module from hidden features to one parameter of q, (B, H) -> (B, J).
What it adds to a linear model's mean is measured in deviations of that model's posterior: an axis that explains much is
known that much better.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, relu
from torch.quasirandom import SobolEngine

# Slope c of the soft gate, sigmoid(c (eta + gamma - 1)), in `soft_gate`.
GATE_SLOPE = 50.0

# Gates start open, near gamma = sigmoid(3) = .95: at one half they drop half of each code before there is anything to
# choose from, and training often ends in a worse optimum.
INITIAL_V = 3.0

# Gates start no further open than this, where they still have a gradient.
MAX_V = 8.0

# Least weight of the KL term for which a posterior's deviation is computed.
MIN_BETA = 1e-3

# Seed of the quasi-random samples of a posterior: each row of X, whenever it is scored, has the same ones.
SAMPLES_SEED = 0


class Posterior:
    """q(z|x) of a minibatch, whose methods return tensors (B, J) where nothing else is said."""

    @property
    def n_uniforms(self) -> int:
        """Uniform numbers that `sample` takes for each dimension of z."""
        raise NotImplementedError

    @property
    def shape(self):
        """B and J."""
        raise NotImplementedError

    def sample(self, u):
        """Return z ~ q, differentiable in the parameters of q, from u ~ U(0, 1) of shape (`n_uniforms`, B, J).

        The reparametrisation of Kingma & Welling 2014, arXiv:1312.6114.
        """
        raise NotImplementedError

    def samples(self, n_samples):
        """Yield quasi-random samples of z, one for all rows at a time."""
        mean, n_components = self.mean(), self.shape[1]
        engine = SobolEngine(self.n_uniforms * n_components, scramble=True, seed=SAMPLES_SEED)
        for u in engine.draw(n_samples):
            yield self.sample(u.reshape(self.n_uniforms, 1, n_components).to(mean))

    def mean(self):
        """Return E[z]."""
        raise NotImplementedError

    def std(self):
        """Return the standard deviation of z."""
        raise NotImplementedError

    def activation(self):
        """Return the probability that z_j is not zero."""
        raise NotImplementedError

    def kl(self):
        """Return KL(q(z_j|x) || p(z_j))."""
        raise NotImplementedError

    def log_prob(self, z):
        """Return log q(z_j|x)."""
        raise NotImplementedError

    def sparse_code(self):
        """Return a code of which many elements may be zero, where z may be zero."""
        raise NotImplementedError

    def positive_part(self):
        """Return E[max(0, z)], E[max(0, z)^2] and the probability that z > 0."""
        raise NotImplementedError

    def bound(self, log_prob, n_samples):
        """Return the evidence lower bound, (B,), of a model whose log p(x|z), (B,), is a function of z."""
        return sum(map(log_prob, self.samples(n_samples))) / n_samples - self.kl().sum(dim=1)


@dataclass(frozen=True, eq=False)
class PointPosterior(Posterior):
    """A point z, which has no divergence from a prior.

    Parameters
    ----------
    z : tensor of shape (B, J)
    """

    n_uniforms = 0
    z: Tensor

    @property
    def shape(self):
        return self.z.shape

    def sample(self, u):
        return self.z

    def mean(self):
        return self.z

    def positive_part(self):
        return relu(self.z), relu(self.z) ** 2, (self.z > 0).to(self.z)

    def kl(self):
        """Return -log p(z_j) for p(z_j) = N(0, 1), up to a constant."""
        return self.z**2 / 2

    def bound(self, log_prob, n_samples):
        """Return log p(x|z), that of the reconstruction."""
        return log_prob(self.z)


@dataclass(frozen=True, eq=False)
class GaussianPosterior(Posterior):
    """q(z_j|x) = N(mu_j, sigma_j^2) against p(z_j) = N(0, 1).

    Parameters
    ----------
    mu : tensor of shape (B, J)
    logvar : tensor of shape (B, J)
        log sigma^2.
    """

    n_uniforms = 1
    mu: Tensor
    logvar: Tensor

    @property
    def shape(self):
        return self.mu.shape

    def sample(self, u):
        return self.mu + torch.exp(self.logvar / 2) * standard_normal(u[0])

    def mean(self):
        return self.mu

    def std(self):
        return torch.exp(self.logvar / 2)

    def activation(self):
        return torch.ones_like(self.mu)

    def positive_part(self):
        return positive_gaussian(self.mu, self.logvar)

    def kl(self):
        return gaussian_kl(self.mu, self.logvar)

    def log_prob(self, z):
        return gaussian_log_prob(self.mu, self.logvar, z)


@dataclass(frozen=True, eq=False)
class SpikeAndSlabPosterior(Posterior):
    """q(z_j|x) = gamma_j N(mu_j, sigma_j^2) + (1 - gamma_j) delta_0, gamma = sigmoid(v), against a prior of this form.

    Parameters
    ----------
    mu, logvar, v : tensor of shape (B, J)
    alpha : float in (0, 1)
        gamma of the prior, p(z_j) = alpha N(0, 1) + (1 - alpha) delta_0.
    """

    n_uniforms = 2
    mu: Tensor
    logvar: Tensor
    v: Tensor
    alpha: float

    @property
    def shape(self):
        return self.mu.shape

    def sample(self, u):
        slab = self.mu + torch.exp(self.logvar / 2) * standard_normal(u[0])
        eta, gamma = u[1], torch.sigmoid(self.v)
        soft = soft_gate(eta, gamma)
        # Straight-through: the value of the hard gate, so that an inactive dimension carries nothing, with the
        # gradient of the soft one.
        gate = (eta + gamma > 1) + (soft - soft.detach())
        return gate * slab

    def mean(self):
        return torch.sigmoid(self.v) * self.mu

    def sparse_code(self):
        """Return mu where the dimension is more likely active than not, else 0."""
        return torch.where(self.v > 0, self.mu, 0)

    def std(self):
        gamma = torch.sigmoid(self.v)
        # E[z^2] - E[z]^2, without a difference of nearly equal numbers
        return torch.sqrt(gamma * (torch.exp(self.logvar) + torch.sigmoid(-self.v) * self.mu**2))

    def activation(self):
        return torch.sigmoid(self.v)

    def positive_part(self):
        gamma = torch.sigmoid(self.v)
        return tuple(gamma * part for part in positive_gaussian(self.mu, self.logvar))

    def kl(self):
        return spike_and_slab_kl(self.mu, self.logvar, self.v, self.alpha)

    def log_prob(self, z):
        slab = logsigmoid(self.v) + gaussian_log_prob(self.mu, self.logvar, z)
        return torch.where(z == 0, logsigmoid(-self.v), slab)


class Latent(nn.Module):
    """What a latent does where it does nothing else: see the top of this file."""

    def decoded(self, z):
        """Return what the decoder sees of z, of the shape of z: z itself."""
        return z

    def constrain(self, loadings):
        """After a gradient step, move the loadings (D, J) of a linear decoder, in place, to where they may be."""


class PointLatent(Latent):
    """z itself, the latent of an autoencoder.

    Parameters
    ----------
    head : callable
        Makes the module of z.
    activation : Module
        Applied to z.
    """

    def __init__(self, head, activation):
        super().__init__()
        self.z = head()
        self.activation = activation

    def forward(self, h, linear=0.0):
        return PointPosterior(self.activation(self.z(h) + linear))

    def start(self, strengths, beta):
        self.z.start(0.0, torch.exp(posterior_logvar(strengths, beta) / 2))
        return torch.ones_like(strengths)  # a point has no prior to fall back to


class GaussianLatent(Latent):
    """A Gaussian posterior and a standard normal prior.

    Parameters
    ----------
    head : callable
        Makes the modules of mu and logvar = log sigma^2.
    """

    def __init__(self, head):
        super().__init__()
        self.mu = head()
        self.logvar = head()

    def forward(self, h, linear=0.0):
        return GaussianPosterior(self.mu(h) + linear, self.logvar(h))

    def start(self, strengths, beta):
        logvar = posterior_logvar(strengths, beta)
        self.mu.start(0.0, torch.exp(logvar / 2))
        self.logvar.start(logvar)
        return torch.sqrt(1 - torch.exp(logvar))


class SpikeAndSlabLatent(Latent):
    """The sparse posterior and prior of variational sparse coding (Tonolini et al. 2019).

    Parameters
    ----------
    head : callable
        Makes the modules of mu, logvar and v.
    alpha : float in (0, 1)
        Prior probability that a dimension is active. Smaller is sparser.
    """

    def __init__(self, head, alpha):
        super().__init__()
        self.mu = head()
        self.logvar = head()
        self.v = head()
        self.alpha = alpha

    def forward(self, h, linear=0.0):
        mu, logvar = self.mu(h) + linear, self.logvar(h)
        return SpikeAndSlabPosterior(mu, logvar, self.gate_start(mu, logvar) + self.v(h), self.alpha)

    def gate_start(self, mu, logvar):
        """Return the logits of gates, (B, J) or a number, from which training moves."""
        return INITIAL_V

    def start(self, strengths, beta):
        """Open each gate as far as is best for rows of typical z.

        A closed gate costs l2 / (2 beta), less what the slab costs, and the gate itself moves gamma from alpha.
        """
        logvar = posterior_logvar(strengths, beta)
        self.mu.start(0.0, torch.exp(logvar / 2))
        self.logvar.start(logvar)
        best = math.log(self.alpha) - math.log1p(-self.alpha)
        best = best + (strengths / max(beta, MIN_BETA) - torch.log1p(strengths)) / 2
        self.v.start(best.clamp(0.0, MAX_V - INITIAL_V))
        return torch.sqrt(1 - torch.exp(logvar))


def posterior_logvar(strengths, beta):
    """Return log(beta / (beta + l2)), the variance of z given x in a linear model."""
    beta = max(beta, MIN_BETA)
    return math.log(beta) - torch.log(beta + strengths)


def standard_normal(u):
    """Return the standard normal quantiles of u in [0, 1)."""
    # Half a step of float32 upwards: the quantile of 0 is infinite.
    return math.sqrt(2) * torch.erfinv(2 * u - 1 + 2**-24)


def soft_gate(eta, gamma):
    """Return sigmoid(c (eta + gamma - 1)): with eta ~ U(0, 1), near 1 with probability gamma and near 0 otherwise."""
    return torch.sigmoid(GATE_SLOPE * (eta + gamma - 1))


def gaussian_kl(mu, logvar):
    """KL(N(mu, sigma^2) || N(0, 1)) = (mu^2 + sigma^2 - 1 - log sigma^2) / 2."""
    return (mu**2 + torch.exp(logvar) - 1 - logvar) / 2


def positive_gaussian(mu, logvar):
    """Return E[max(0, z)], E[max(0, z)^2] and the probability that z > 0, for z ~ N(mu, sigma^2)."""
    sigma = torch.exp(logvar / 2)
    above = torch.special.ndtr(mu / sigma)
    density = sigma * torch.exp(-((mu / sigma) ** 2) / 2) / math.sqrt(2 * math.pi)
    mean = (mu * above + density).clamp(min=0)
    return mean, ((mu**2 + sigma**2) * above + mu * density).clamp(min=0), above


def gaussian_log_prob(mu, logvar, z):
    """Return log N(z; mu, sigma^2)."""
    return -((z - mu) ** 2 / torch.exp(logvar) + logvar + math.log(2 * math.pi)) / 2


def spike_and_slab_kl(mu, logvar, v, alpha):
    """KL = gamma KL_Gaussian + gamma log(gamma / alpha) + (1 - gamma) log((1 - gamma) / (1 - alpha)).

    With log gamma = logsigmoid(v) and log(1 - gamma) = logsigmoid(-v) nothing needs clamping in float32.
    """
    slab = torch.sigmoid(v) * (gaussian_kl(mu, logvar) + logsigmoid(v) - math.log(alpha))
    spike = torch.sigmoid(-v) * (logsigmoid(-v) - math.log1p(-alpha))
    return slab + spike
