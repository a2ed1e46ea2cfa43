"""Training: from a start that the data suggest to a net that minimises an objective."""

from skvae.training.stopping import DivergenceError

__all__ = ["DivergenceError"]
