"""Likelihoods p(x|z): each owns its output layer.

A likelihood is a module built with `(n_hidden, n_features)`. It takes the decoder's hidden features h (B, H) and offers

- `start(mean)`: before training, set the parameters that the feature means (D,) tell;
- `log_prob(h, x)`: log p(x|z), summed over features, shape (B,);
- `mean(h)`: E[x|z], shape (B, D).

To add one, write the class and its line in `LIKELIHOODS`: the estimators' `likelihood` parameter follows.
"""

import math

import torch
from torch import nn


class Gaussian(nn.Module):
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

    def start(self, mean):
        with torch.no_grad():
            self.x_hat.bias.copy_(mean)

    def log_prob(self, h, x):
        squared_error = (x - self.x_hat(h)).square().sum(dim=1)
        return -(squared_error + x.shape[1] * math.log(2 * math.pi)) / 2

    def mean(self, h):
        return self.x_hat(h)


LIKELIHOODS = {"gaussian": Gaussian}
