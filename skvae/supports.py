"""Supports: what x may be under a likelihood, and what follows from that elsewhere.

To add one, make it here and name it in the likelihood that needs it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class Support:
    """The values that a likelihood admits. Data only: `skvae.rows.checks` does the checking.

    Parameters
    ----------
    name : str
    usual : str
        What X usually is, for messages.
    is_nonnegative : bool
        Whether negative values are an error.
    most : float
        The largest value.
    has_fractions : bool
        False where values other than integers deserve a warning.
    suspects_counts : bool
        Whether X that looks like raw counts deserves a warning.
    has_library_size : bool
        Whether rows can be asked for at another total than their own.
    log_scale : bool
        Whether expected values are compared and drawn as log1p(E[x|z]), so that abundant features do not hide the rest.
    link : pair of callables or None
        The mean of a feature as a function of its logit or log rate, and the slope of that; None where it is linear.
    """

    name: str
    usual: str
    is_nonnegative: bool = False
    most: float = math.inf
    has_fractions: bool = True
    suspects_counts: bool = False
    has_library_size: bool = False
    log_scale: bool = False
    link: tuple[Callable, Callable] | None = None

    @property
    def quantity(self):
        """What is compared and drawn."""
        return "log1p(E[x|z])" if self.log_scale else "E[x|z]"


REAL = Support("real", "such as log1p-normalised counts", suspects_counts=True)
COUNTS = Support(
    "counts",
    "raw counts, which are integers",
    is_nonnegative=True,
    has_fractions=False,
    has_library_size=True,
    log_scale=True,
    link=(np.exp, np.exp),
)
BINARY = Support(
    "binary", "zeros and ones", is_nonnegative=True, most=1, link=(expit, lambda logit: expit(logit) * expit(-logit))
)
