"""The former place of `FitCheckpoint`, which pickled estimators name."""

from skvae.training.checkpoint import FitCheckpoint

__all__ = ["FitCheckpoint"]
