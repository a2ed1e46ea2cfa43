"""Functions of numbers that are easily wrong in float32, and of features of a minibatch."""

import numpy as np
import torch
from torch.linalg import vecdot
from torch.nn import functional as F

from skvae.sparse import at_rows, power_sums, totals, with_entries

# Largest sum of the features' squared means, in sums of their variances, at which sparse squared errors are precise.
MAX_OFFSET = 9


def row_dots(a, b):
    """Return the dot product of each row of a, (B, D), with b, or with its row of b: (B,).

    Those of a row do not depend on the number of threads, nor on the rows beside it.
    """
    if a.device.type != "cpu":
        return vecdot(a, b)
    # torch would write the products to memory
    return torch.from_numpy(
        np.einsum("bd,d->b" if b.ndim == 1 else "bd,bd->b", a.numpy(force=True), b.numpy(force=True))
    )


def is_offset(mean, variance):
    """Return whether what varies is small beside the means of the features."""
    return bool(mean.square().sum() > MAX_OFFSET * variance.sum())


def variances(x):
    """Return the variance of each feature of x (B, D), (D,) in float64."""
    sums, squares = power_sums(x, torch.ones(len(x), dtype=torch.float64))
    return (squares / len(x) - (sums / len(x)).square()).clamp(min=0)


def log_normalized(x, target):
    """Return log1p of the counts after each row is scaled to a total of `target`."""
    total = at_rows(x, totals(x)[:, 0])
    # the share first: target / total may be more than float32 holds
    return with_entries(x, lambda counts: torch.log1p(counts / total * target))


def log1p_exp(x):
    """Return log(1 + exp(x)), exact for any x.

    The last bits of torch's softplus and sigmoid depend on where a number stands, and on the number of threads.
    """
    return -F.logsigmoid(-x)


def log_coefficient(theta, counts):
    """Return log Gamma(theta + x) - log Gamma(theta) - log Gamma(x + 1), where float32 would lose the difference."""
    dtype = counts.dtype
    theta, counts = theta.double(), counts.double()
    return (torch.lgamma(theta + counts) - torch.lgamma(theta) - torch.lgamma(counts + 1)).to(dtype)
