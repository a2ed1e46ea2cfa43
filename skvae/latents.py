"""Latents: hidden features -> q(z|x), its sample, its mean and its divergence from the prior p(z).

A latent is a module that is called with hidden features (B, H) and what a linear model adds to the location of z, zero
or (B, J). It returns the parameters of q(z|x) as a tuple `q` of tensors (B, J). Its other methods take that tuple:

- `sample(q, u)`: z = g(q, u) ~ q, differentiable in q, with u ~ U(0, 1) of shape (`n_uniforms`, B, J)
  (reparametrisation: Kingma & Welling 2014, arXiv:1312.6114);
- `mean(q)`: E[z];
- `kl(q)`: KL(q(z_j|x) || p(z_j)) per sample and dimension; for a point -log p(z_j), up to a constant.

And where q(z|x) is a distribution,

- `std(q)` and `activation(q)`: the standard deviation of z, and the probability that z_j is not zero;
- `log_weight(q, z)`: log p(z_j) - log q(z_j|x), the weight of z in importance sampling;
- `sample_prior(u)`: z ~ p(z) from such u, of shape (`n_uniforms`, n, J).

`start(strengths, beta)` makes q(z|x) that of a linear model alone, x = L z + noise, whose axes explain l2 = `strengths`
(J,) in units of the noise: its optimum at a weight beta of the KL term. It returns the deviation that the mean of z is
to have along each axis, (J,).

z and all these have shape (B, J). The constructor's `head` makes, at each call, a new module from hidden features to
one parameter of q, (B, H) -> (B, J). What it adds to a linear model's mean is measured in deviations of that model's
posterior: an axis that explains much is known that much better.
"""

import math

import torch
from torch import nn
from torch.nn.functional import logsigmoid

# Slope c of the soft gate, sigmoid(c (eta + gamma - 1)), in `soft_gate`.
GATE_SLOPE = 50.0

# Gates start open, near gamma = sigmoid(3) = .95: at one half they drop half of each code before there is anything to
# choose from, and training often ends in a worse optimum.
INITIAL_V = 3.0


# Gates start no further open than this, where they still have a gradient.
MAX_V = 8.0

# Least weight of the KL term for which a posterior's deviation is computed.
MIN_BETA = 1e-3


class Point(nn.Module):
    """q(z|x) is a point z against p(z_j) = N(0, 1): the latent of an autoencoder.

    Parameters
    ----------
    head : callable
        Makes the module of z.
    activation : Module
        Applied to z.
    """

    n_uniforms = 0

    def __init__(self, head, activation):
        super().__init__()
        self.z = head()
        self.activation = activation

    def forward(self, h, linear=0.0):
        return (self.activation(self.z(h) + linear),)

    def start(self, strengths, beta):
        self.z.start(0.0, torch.exp(posterior_logvar(strengths, beta) / 2))
        return torch.ones_like(strengths)  # a point has no prior to fall back to

    def sample(self, q, u):
        (z,) = q
        return z

    def mean(self, q):
        (z,) = q
        return z

    def kl(self, q):
        (z,) = q
        return z**2 / 2


class Gaussian(nn.Module):
    """q(z_j|x) = N(mu_j, sigma_j^2) against p(z_j) = N(0, 1); q is (mu, logvar).

    Parameters
    ----------
    head : callable
        Makes the modules of mu and logvar = log sigma^2.
    """

    n_uniforms = 1

    def __init__(self, head):
        super().__init__()
        self.mu = head()
        self.logvar = head()

    def forward(self, h, linear=0.0):
        return self.mu(h) + linear, self.logvar(h)

    def start(self, strengths, beta):
        logvar = posterior_logvar(strengths, beta)
        self.mu.start(0.0, torch.exp(logvar / 2))
        self.logvar.start(logvar)
        return torch.sqrt(1 - torch.exp(logvar))

    def sample(self, q, u):
        mu, logvar = q
        return mu + torch.exp(logvar / 2) * standard_normal(u[0])

    def mean(self, q):
        mu, _ = q
        return mu

    def kl(self, q):
        return gaussian_kl(*q)

    def std(self, q):
        _, logvar = q
        return torch.exp(logvar / 2)

    def activation(self, q):
        mu, _ = q
        return torch.ones_like(mu)

    def log_weight(self, q, z):
        mu, logvar = q
        return gaussian_log_weight(mu, logvar, z)

    def sample_prior(self, u):
        return standard_normal(u[0])


class SpikeAndSlab(nn.Module):
    """Variational sparse coding (Tonolini et al. 2019); q is (mu, logvar, v) with gamma = sigmoid(v).

    q(z_j|x) = gamma_j N(mu_j, sigma_j^2) + (1 - gamma_j) delta_0, against
    p(z_j)   = alpha N(0, 1) + (1 - alpha) delta_0.

    Parameters
    ----------
    head : callable
        Makes the modules of mu, logvar and v.
    alpha : float in (0, 1)
        Prior probability that a dimension is active. Smaller is sparser.
    """

    n_uniforms = 2

    def __init__(self, head, alpha):
        super().__init__()
        self.mu = head()
        self.logvar = head()
        self.v = head()
        self.alpha = alpha

    def forward(self, h, linear=0.0):
        return self.mu(h) + linear, self.logvar(h), INITIAL_V + self.v(h)

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

    def sample(self, q, u):
        mu, logvar, v = q
        slab = mu + torch.exp(logvar / 2) * standard_normal(u[0])
        eta, gamma = u[1], torch.sigmoid(v)
        soft = soft_gate(eta, gamma)
        # Straight-through: the value of the hard gate, so that an inactive dimension carries nothing, with the
        # gradient of the soft one.
        gate = (eta + gamma > 1) + (soft - soft.detach())
        return gate * slab

    def mean(self, q):
        mu, _, v = q
        return torch.sigmoid(v) * mu

    def sparse_code(self, q):
        """Return mu where the dimension is more likely active than not, else 0; shape (B, J)."""
        mu, _, v = q
        return torch.where(v > 0, mu, 0)

    def kl(self, q):
        mu, logvar, v = q
        return spike_and_slab_kl(mu, logvar, v, self.alpha)

    def std(self, q):
        mu, logvar, v = q
        gamma = torch.sigmoid(v)
        # E[z^2] - E[z]^2, without a difference of nearly equal numbers
        return torch.sqrt(gamma * (torch.exp(logvar) + torch.sigmoid(-v) * mu**2))

    def activation(self, q):
        _, _, v = q
        return torch.sigmoid(v)

    def log_weight(self, q, z):
        mu, logvar, v = q
        slab = math.log(self.alpha) - logsigmoid(v) + gaussian_log_weight(mu, logvar, z)
        return torch.where(z == 0, math.log1p(-self.alpha) - logsigmoid(-v), slab)

    def sample_prior(self, u):
        return (u[1] < self.alpha) * standard_normal(u[0])


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


def gaussian_log_weight(mu, logvar, z):
    """Return log N(z; 0, 1) - log N(z; mu, sigma^2)."""
    return ((z - mu) ** 2 / torch.exp(logvar) + logvar - z**2) / 2


def spike_and_slab_kl(mu, logvar, v, alpha):
    """KL = gamma KL_Gaussian + gamma log(gamma / alpha) + (1 - gamma) log((1 - gamma) / (1 - alpha)).

    With log gamma = logsigmoid(v) and log(1 - gamma) = logsigmoid(-v) nothing needs clamping in float32.
    """
    slab = torch.sigmoid(v) * (gaussian_kl(mu, logvar) + logsigmoid(v) - math.log(alpha))
    spike = torch.sigmoid(-v) * (logsigmoid(-v) - math.log1p(-alpha))
    return slab + spike
