"""Diagnostics: the attributes that a fit learns, and the warnings that it deserves."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvae.training.history import KL_BY_COMPONENT, TERMS
from skvae.warn import warn

# Warn if the second half of training brought more than this share of the decrease of the loss.
MAX_LATE_GAIN = 0.2


def set_learned(estimator, net, covariates):
    """Set the attributes that a fit learned."""
    estimator.net_ = net
    estimator.batches_ = covariates.state
    estimator.n_epochs_ = len(net.history)
    # terms that every epoch has: some of a checkpoint, or of `fit` before `partial_fit`, may have had no rows held out
    names = {term: name for term, name in TERMS.items() if all(name in epoch for epoch in net.history)}
    estimator.history_ = {term: np.array(net.history[:, name]) for term, name in names.items()}
    projection = net.module_.projection
    estimator.explained_variance_ = estimator.explained_variance_ratio_ = None
    if projection is not None:
        estimator.explained_variance_ = projection.explained.numpy(force=True).copy()
        estimator.explained_variance_ratio_ = estimator.explained_variance_ / max(projection.total.item(), 1e-30)
    active = np.array([estimator._active(np.array(kl)) for kl in net.history[:, KL_BY_COMPONENT]])
    active &= is_above_noise(net.module_.projection, active.shape[1])
    estimator.history_["active"] = active.sum(axis=1)
    estimator.active_components_ = active[-1]
    estimator._n_features_out = active.shape[1]
    estimator.uses_network_ = net.module_.uses_network


def is_above_noise(projection, n_components):
    """Return which dimensions explain more than those of X with each column shuffled; all after a random start."""
    if projection is None:
        return np.ones(n_components, bool)
    return (projection.explained > projection.edges).numpy(force=True)


def warn_of_fit(estimator, gain):
    """Warn of a fit that left the network out, whose dimensions say nothing of X, or that ended early."""
    if gain <= 0:
        found = "it could not be tried on rows held out"
        if np.isfinite(gain):
            found = (
                f"on rows held out it added {gain:.3g} nats a row to the evidence lower bound, less twice the standard "
                "error; expected more than 0"
            )
        warn(
            f"the network was left out, and the fit is linear: {found}. Give more rows, or set max_epochs to train it "
            "all the same.",
            ConvergenceWarning,
        )
    if estimator.net_.module_.projection is None:
        warn_of_collapse(estimator)
        warn_of_early_end(estimator)
    elif not lacks_structure(estimator):
        warn_of_collapse(estimator)


def lacks_structure(estimator):
    """Warn of X that has no structure and return True; warn of latent dimensions that do not stand above noise."""
    n_components = len(estimator.active_components_)
    n_above = is_above_noise(estimator.net_.module_.projection, n_components).sum()
    if n_above == 0:
        warn(
            "X has no more structure than it has with each column shuffled: no latent dimension stands above noise. "
            "Expected rows that have something in common; select the features that vary, see VariableGeneSelector, "
            "normalise X, or give more rows.",
            ConvergenceWarning,
        )
    elif n_above < n_components:
        warn(
            f"{n_above} of {n_components} latent dimensions stand above noise, see explained_variance_; expected all. "
            f"Set n_components={n_above}, or give more rows.",
            ConvergenceWarning,
        )
    return n_above == 0


def warn_of_collapse(estimator):
    n_active, n_components = estimator.active_components_.sum(), len(estimator.active_components_)
    if n_active < min(2, n_components):
        warn(
            f"{n_active} of {n_components} latent dimensions are active, see active_components_; expected "
            f"{min(2, n_components)} or more. The others say nothing of X. Lower beta (latent_penalty), train longer, "
            "or scale X up.",
            ConvergenceWarning,
        )


def warn_of_early_end(estimator):
    """Warn if the loss of a random start still fell; from the linear model it has not far to fall."""
    loss = estimator.history_["reconstruction"] + estimator.net_.criterion_.beta * estimator.history_["kl"]
    half = loss[(len(loss) - 1) // 2]
    gain, total = half - loss[-1], loss[0] - loss[-1]
    if gain > MAX_LATE_GAIN * abs(total):
        warn(
            f"the loss still fell by {gain:.3g} nats a sample in the second half of {len(loss)} epochs, "
            f"{gain / total:.0%} of its fall since the first; expected less than {MAX_LATE_GAIN:.0%}. Raise "
            "max_epochs or learning_rate.",
            ConvergenceWarning,
        )


def warn_of_late_steps(net):
    """Warn if the learning rate of a net that is to be trained on has ended at 0."""
    if net.learning_rate_factor(net.n_steps_) == 0:
        warn(
            f"the learning rate is 0 since {net.n_steps_} gradient steps were taken: no further ones train. Set "
            "max_steps to the number of all steps, or learning_rate_schedule='constant', before the first call.",
            ConvergenceWarning,
        )
