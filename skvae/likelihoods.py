"""Likelihoods p(x|z): each owns its output layer.

A likelihood is a module built with `(n_hidden, n_features)`. It takes the decoder's hidden features h (B, H) and offers

- `start(mean, variance)`: before training, set the parameters that the moments of the features, (D,) each, tell;
- `log_prob(h, x)`: log p(x|z), summed over features, shape (B,), for a tensor or a `SparseBatch` x (B, D);
- `mean(h)`: E[x|z], shape (B, D).

To add one, write the class and its line in `LIKELIHOODS`: the estimators' `likelihood` parameter follows.
"""

import math

import torch
from torch import nn

from skvae.sparse import squared_error

# Least variance of a feature in `Gaussian`, as a share of the features' mean variance.
VARIANCE_FLOOR = 0.1


class Gaussian(nn.Module):
    """p(x_d|z) = N(x_hat_d, sigma_d^2) with x_hat = W h + b and a learned variance of each feature.

    sigma_d^2 = exp(logvar_d) + floor weighs the features as z-scoring would, but by what z leaves unexplained. The
    floor, a share of the mean variance of the data, keeps features that hardly ever vary from outweighing all others.

    Parameters
    ----------
    n_hidden : int
        Width of the decoder's hidden features.
    n_features : int
        Number of features of x.
    """

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.x_hat = nn.Linear(n_hidden, n_features)
        self.logvar = nn.Parameter(torch.empty(n_features))
        self.register_buffer("floor", torch.empty(()))
        self.reset_constants()

    def reset_constants(self):
        nn.init.zeros_(self.logvar)
        nn.init.zeros_(self.floor)

    def start(self, mean, variance):
        floor = VARIANCE_FLOOR * (variance.mean() or 1.0)  # 1 for constant data, which have no scale
        with torch.no_grad():
            self.x_hat.bias.copy_(mean)
            self.floor.copy_(floor)
            self.logvar.copy_(torch.log(variance + VARIANCE_FLOOR * floor))

    def variance(self):
        """Return sigma^2, shape (D,)."""
        return torch.exp(self.logvar) + self.floor

    def log_prob(self, h, x):
        variance = self.variance()
        error = squared_error(x, h, self.x_hat.weight, self.x_hat.bias, 1 / variance)
        return -(error + torch.log(2 * math.pi * variance).sum()) / 2

    def mean(self, h):
        return self.x_hat(h)


class UnitGaussian(nn.Module):
    """p(x_d|z) = N(x_hat_d, 1) with x_hat = W h + b: half the squared error, up to a constant.

    Parameters
    ----------
    n_hidden : int
        Width of the decoder's hidden features.
    n_features : int
        Number of features of x.
    """

    def __init__(self, n_hidden, n_features):
        super().__init__()
        self.x_hat = nn.Linear(n_hidden, n_features)

    def start(self, mean, variance):
        with torch.no_grad():
            self.x_hat.bias.copy_(mean)

    def log_prob(self, h, x):
        error = squared_error(x, h, self.x_hat.weight, self.x_hat.bias, torch.ones_like(self.x_hat.bias))
        return -(error + x.shape[1] * math.log(2 * math.pi)) / 2

    def mean(self, h):
        return self.x_hat(h)


LIKELIHOODS = {"gaussian": Gaussian, "unit_gaussian": UnitGaussian}
