"""Names of features: the columns of a matrix in the order of the names that a model knows."""

from functools import partial

import numpy as np
from scipy import sparse

from skvae.stores import find_store
from skvae.warn import warn

# Share of the known features of which more are warned about where they are missing.
MAX_MISSING = 0.2

# Names that a message lists.
N_LISTED = 5


def align_features(X, names, known, missing="error"):
    """Return X with the columns of the known names, in their order.

    Parameters
    ----------
    X : {ndarray, sparse matrix, store} of shape (n_samples, n_columns)
        Rows of a store are put into order when they are read.
    names : array-like of str of shape (n_columns,)
        The names of the columns, each once.
    known : array-like of str of shape (n_features,)
        The names that are wanted. Other columns are left out.
    missing : {"error", "zero"}, default="error"
        What becomes of wanted names that no column has: an error, or a column of zeros, with a warning where it is more
        than a fifth of them.

    Returns
    -------
    aligned : {ndarray, sparse matrix, RowStore} of shape (n_samples, n_features)
        X itself where the order is the same.
    """
    names, known = check_unique(names), np.asarray(known, dtype=object)
    if missing not in ("error", "zero"):
        raise ValueError(f"missing == {missing!r}, must be 'error' or 'zero'.")
    n_columns = np.shape(X)[1]
    if len(names) != n_columns:
        raise ValueError(f"there are {len(names)} names for the {n_columns} features of X; expected one for each.")
    if np.array_equal(names, known):
        return X
    positions = dict(zip(names, range(len(names)), strict=True))
    columns = np.array([positions.get(name, -1) for name in known])
    check_missing(known[columns < 0], known, names, missing)
    store = find_store(X)
    return take_or_fill(X, columns) if store is None else store.map(partial(take_or_fill, columns=columns))


def check_unique(names):
    """Return names of features as an array of strings; raise a ValueError if one stands there twice."""
    names = np.asarray(names, dtype=object)
    unique, counts = np.unique(names.astype(str), return_counts=True)
    if len(unique) < len(names):
        raise ValueError(
            f"{len(names) - len(unique)} names of features are there more than once, such as "
            f"{listed(unique[counts > 1])}; expected each once: adata.var_names_make_unique() tells them apart."
        )
    return names


def check_missing(absent, known, names, missing):
    """Raise a ValueError for names that are absent, or warn of them where they are to be zeros."""
    if len(absent) == 0:
        return
    which = f"{len(absent)} of the {len(known)} features of fit are missing, such as {listed(absent)}"
    if missing == "error" or len(absent) == len(known):
        raise ValueError(
            f"{which}; got {len(names)} names, such as {listed(names)}, and expected all those of fit among them. "
            "missing='zero' fills in zeros for a few."
        )
    if len(absent) > MAX_MISSING * len(known):
        warn(f"{which}, and are filled with zeros; expected {MAX_MISSING:.0%} at most.")


def listed(names):
    return ", ".join(repr(str(name)) for name in names[:N_LISTED])


def take_or_fill(X, columns):
    """Return columns of X, zeros for -1, in X's format and its order in memory, on which last bits depend."""
    is_there = columns >= 0
    if not sparse.issparse(X):
        X = np.asarray(X)
        taken = np.zeros_like(X, shape=(X.shape[0], len(columns)))
        taken[:, is_there] = X[:, columns[is_there]]
        return taken
    X = X if X.format in ("csr", "csc") else X.tocsr()
    taken = X[:, columns[is_there]]
    if not is_there.all():
        taken = taken.tocoo()
        places = (taken.row, np.flatnonzero(is_there)[taken.col])
        taken = sparse.coo_array((taken.data, places), shape=(X.shape[0], len(columns))).asformat(X.format)
    taken.sort_indices()
    return taken


def steps_of(estimator):
    """Return the steps of a pipeline, without those that do nothing, or an estimator alone."""
    steps = getattr(estimator, "steps", [(None, estimator)])
    return [step for _, step in steps if step is not None and step != "passthrough"]


def first_of(estimator):
    """Return the first step of a pipeline that does something, or an estimator itself."""
    while hasattr(estimator, "steps"):
        estimator = steps_of(estimator)[0]
    return estimator


def known_names(estimator):
    """Return the names of the features that a fitted estimator, or pipeline, was given; None if it was given none."""
    return getattr(first_of(estimator), "feature_names_in_", None)


def learn_names(estimator, names):
    """Set the names of the features that a fitted estimator, or pipeline, was given, as `fit` does for a data frame.

    Of a pipeline the first step alone has them, to which the others' go back by `get_feature_names_out`: scikit-learn
    would warn of any other step that the matrices it is given have none.
    """
    first = first_of(estimator)
    if not hasattr(first, "transformer_list"):
        first.feature_names_in_ = names
        return
    for _, part in first.transformer_list:  # a union has those of its parts
        if not isinstance(part, str):
            learn_names(part, names)
