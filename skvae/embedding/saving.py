"""Saving: the state of an estimator in plain types, for `pickle`, `skops`, and files without code."""

import numpy as np
from sklearn import config_context
from sklearn.utils.validation import check_is_fitted

from skvae.embedding.building import restore_net
from skvae.files import task_in_errors
from skvae.persistence import check_random_state, errors_of_file, read, write
from skvae.rows.covariates import Covariates
from skvae.state import training_state, usual_state
from skvae.training.states import check_state, expect
from skvae.version import VERSION
from skvae.warn import warn

# Attributes that are None after a random start.
EXPLAINED = ("explained_variance_", "explained_variance_ratio_")

# What a saved estimator holds beside its parameters.
LEARNED = {
    "net_",
    "n_features_in_",
    "batches_",
    "n_epochs_",
    "history_",
    "active_components_",
    *EXPLAINED,
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
    unsound = f"what was saved of a {type(estimator).__name__} is unsound"
    with task_in_errors(unsound):
        check_seed(state.get("random_state"))
        if net is not None:
            check_sizes(state, net)
    estimator.__dict__.update(state)
    with config_context(enable_metadata_routing=True):
        for name, request in (requests or {}).items():
            getattr(estimator, f"set_{name}_request")(**request)
    if net is not None:
        with task_in_errors(unsound), training_state():
            estimator.net_ = restore_net(estimator, net)
            check_state(net, estimator.net_.module_)


def check_seed(random_state):
    """Raise a ValueError for a RandomState that pickle or skops made with a state that reads foreign memory."""
    if isinstance(random_state, np.random.RandomState):
        state = random_state.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":  # whose state alone numpy does not check
            check_random_state(state)


def check_sizes(state, net):
    """Raise a ValueError unless the sizes of a fitted estimator are those of arrays that were saved with it.

    A file of a few bytes could ask for any amount of memory otherwise.
    """
    settings, names = net["settings"], state.get("feature_names_in_")
    n_features, n_components, n_epochs = settings["n_features"], settings["params"]["n_components"], len(net["history"])
    lengths = [
        ("n_features", net["moments"]["sums"], n_features, "f"),
        ("n_components", state["active_components_"], n_components, "b"),
        *((name, state[name], n_components, "f") for name in EXPLAINED if state[name] is not None),
        *((name, values, n_epochs, "fiu") for name, values in state["history_"].items()),
        *([] if names is None else [("feature_names_in_", names, n_features, "OU")]),
    ]
    for name, values, length, kinds in lengths:
        expect(isinstance(values, np.ndarray) and values.shape == (length,) and values.dtype.kind in kinds, name)
    numbers = {"n_features_in_": n_features, "_n_features_out": n_components, "n_epochs_": n_epochs}
    for name, number in numbers.items():
        expect(state[name] == number, name)
    covariates = Covariates.from_state(state["batches_"], settings.get("earlier", ()))
    expect(all(is_increasing(widths) for widths in zip(*covariates.earlier, covariates.widths, strict=True)), "earlier")
    expect(len(set(covariates.widths_then)) == 1 + len(covariates.earlier), "earlier")
    expect(covariates.width == settings["n_categories"], "batches_")
    widths = {*settings["params"]["hidden_layer_sizes"], *settings["params"]["head_layer_sizes"]}
    expect(widths <= {length for weight in net["weights"].values() for length in weight.shape}, "widths of layers")


def is_increasing(numbers):
    return all(isinstance(number, int) for number in numbers) and numbers[0] > 0 and list(numbers) == sorted(numbers)


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
