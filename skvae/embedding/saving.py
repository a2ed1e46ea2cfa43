"""Saving: the state of an estimator in plain types, for `pickle`, `skops`, and files without code."""

from sklearn import config_context
from sklearn.utils.validation import check_is_fitted

from skvae.embedding.building import restore_net
from skvae.persistence import errors_of_file, read, write
from skvae.state import training_state, usual_state
from skvae.version import VERSION
from skvae.warn import warn

# What a saved estimator holds beside its parameters.
LEARNED = {
    "net_",
    "n_features_in_",
    "batches_",
    "n_epochs_",
    "history_",
    "active_components_",
    "explained_variance_",
    "explained_variance_ratio_",
    "uses_network_",
    "_n_features_out",
    "_version",
}


def plain_state(estimator):
    """Return the parameters and what was learned in plain types."""
    state = {**vars(estimator), "_version": VERSION}
    if "net_" in state:
        with usual_state():
            state["net_"] = estimator.net_.state()
    request = state.pop("_metadata_request", None)
    if request is not None:
        state["_requests"] = {
            name: dict(of_method.requests)
            for name, of_method in vars(request).items()
            if hasattr(estimator, f"set_{name}_request")
        }
    return state


def set_state(estimator, state):
    """Set what `plain_state` returned."""
    state = dict(state)
    version, requests, net = (state.pop(name, None) for name in ("_version", "_requests", "net_"))
    if version != VERSION:
        warn(
            f"this {type(estimator).__name__} was saved by skvae {version}, and this is {VERSION}: what it returns "
            "may differ. Expected the same version.",
        )
    estimator.__dict__.update(state)
    with config_context(enable_metadata_routing=True):
        for name, request in (requests or {}).items():
            getattr(estimator, f"set_{name}_request")(**request)
    if net is not None:
        with training_state():
            estimator.net_ = restore_net(estimator, net)


def write_estimator(path, estimator):
    check_is_fitted(estimator)
    state = {**plain_state(estimator), "callbacks": None}
    check_names(type(estimator), state)
    write(path, type(estimator).__name__, state)


def read_estimator(path, Estimator):
    state = read(path, Estimator.__name__)
    estimator = Estimator.__new__(Estimator)
    with errors_of_file(path, Estimator.__name__):
        check_names(Estimator, state)
        estimator.__setstate__(state)
    return estimator


def check_names(Estimator, state):
    """Raise a ValueError if a saved state lacks an attribute, or has one that would take the place of a method."""
    known = {*Estimator._get_param_names(), *LEARNED}
    missing, forbidden = known - set(state), {name for name in set(state) - known if hasattr(Estimator, name)}
    if missing or forbidden:
        raise ValueError(f"a saved {Estimator.__name__} lacks {sorted(missing)}, or must not have {sorted(forbidden)}")
