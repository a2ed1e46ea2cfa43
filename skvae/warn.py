"""Warnings: those that name a line of the user, and one of scikit-learn that would be wrong."""

import sys
import warnings
from contextlib import contextmanager

# Packages that stand between the user and what warns.
BETWEEN = {"skvae", "sklearn", "skorch", "joblib"}


def warn(message, category=UserWarning):
    """Warn as of the line that called into these packages."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def without_warnings_of_names():
    """Keep scikit-learn from warning that X has no valid names of features, where they have been compared."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        yield
