"""Warnings that name a line of the user."""

import sys
import warnings

# Packages that stand between the user and what warns.
BETWEEN = {"skvae", "sklearn", "skorch", "joblib"}


def warn(message, category=UserWarning):
    """Warn as of the line that called into these packages."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
