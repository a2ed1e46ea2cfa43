"""Models: how they are asked what they make of rows, alone or at the end of a pipeline."""

from inspect import signature

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.utils import Bunch
from sklearn.utils.validation import has_fit_parameter

from skvae.metrics import given
from skvae.names import steps_of


def check_model(estimator):
    """Raise a TypeError unless an estimator, or the last step of a pipeline, has the methods that scores need."""
    model = steps_of(estimator)[-1]
    missing = [name for name in ("score_samples", "transform") if not hasattr(model, name)]
    if missing:
        raise TypeError(
            f"{model!r} has no {' and no '.join(missing)}; expected a model such as BetaVAE, or a pipeline that ends "
            "in one."
        )


def fit_metadata(estimator, metadata):
    """Return how `fit` of an estimator, or of the steps of a pipeline, is handed metadata, a dict without None."""
    steps = getattr(estimator, "steps", [(None, estimator)])
    arguments = {}
    for key, values in metadata.items():
        taking = [name for name, step in steps if has_fit_parameter(step, key)]
        if key == "sample_weight" and not taking:
            raise ValueError(f"sample_weight is given, which no fit of {estimator!r} takes; expected None.")
        is_routed = taking == [None] or get_config()["enable_metadata_routing"]
        names = [key] if taking and is_routed else [f"{name}__{key}" for name in taking]
        arguments.update(dict.fromkeys(names, values))
    return arguments


def until_model(estimator, X, batch):
    """Return rows as the last step of a fitted pipeline sees them, and that step; of another model, X and itself."""
    *before, model = steps_of(estimator)
    for step in before:
        X = call(step, "transform", X, batch)
    return X, model


def seen_by(estimator, X, batch):
    """Return what the model, at the end of a fitted pipeline or alone, makes of rows, and their totals as it sees them.

    These are `log_likelihood` and `totals`, of absolute values, (n_samples,), and `Z` (n_samples, n_components).
    """
    X, model = until_model(estimator, X, batch)
    log_likelihood, Z = (call(model, name, X, batch) for name in ("score_samples", "transform"))
    return Bunch(
        log_likelihood=np.asarray(log_likelihood, dtype=np.float64),
        Z=np.asarray(Z, dtype=np.float64),
        totals=totals_of(X),
    )


def call(step, name, X, batch):
    """Call a method of a fitted step with X, and with the batch if it takes that and was fitted with one."""
    method = getattr(step, name)
    knows_batch = "batch" in signature(method).parameters and getattr(step, "batches_", batch) is not None
    return method(X, **(given(batch=batch) if knows_batch else {}))


def totals_of(X):
    """Return the sum of absolute values of each row, (n_samples,)."""
    X = X if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
    return np.asarray(abs(X).sum(axis=1, dtype=np.float64)).ravel()
