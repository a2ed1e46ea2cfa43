"""Parameters as a fit uses them: plain numbers, whatever their types, and alike in all processes."""

from copy import copy
from numbers import Integral, Number

import numpy as np
from sklearn.utils._param_validation import Interval


def with_plain_numbers(estimator):
    """Return a copy of an estimator whose numbers are int, float and bool of Python.

    Those of numpy wrap around and lose digits: 12 * np.uint8(50) is 88.
    """
    plain = copy(estimator)
    for name, constraints in estimator._parameter_constraints.items():
        value = getattr(estimator, name)
        if isinstance(value, (bool, np.bool_)):
            setattr(plain, name, bool(value))
        elif isinstance(value, Number):
            setattr(plain, name, plain_number(name, value, constraints))
        elif isinstance(value, str):
            setattr(plain, name, str(value))
    return plain


def plain_number(name, value, constraints):
    """Return a number that is valid by scikit-learn's constraints as int, or as float where these say real."""
    is_integer = any(isinstance(interval, Interval) and interval.type is Integral for interval in constraints)
    try:
        return int(value) if is_integer or name in ("random_state", "verbose") else float(value)
    except OverflowError:
        raise ValueError(f"{name} == {value}, must be a number that float64 holds.") from None


def facts_of(estimator, rows, held_out=None):
    """Return what all processes that train together must have alike: parameters, shapes and covariates."""
    names = set(estimator.get_params(deep=False)) - {"callbacks", "random_state", "verbose"}
    return {
        "estimator": type(estimator).__name__,
        **{name: repr(getattr(estimator, name)) for name in sorted(names)},
        "random_state": repr(estimator.random_state) if isinstance(estimator.random_state, Number) else "",
        "the shape of X": rows.X.shape,
        "the batches": repr([(name, kind.expected) for name, kind in rows.covariates.columns.items()]),
        "the shape of X_val": None if held_out is None else held_out.X.shape,
    }
