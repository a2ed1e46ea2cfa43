"""Names of features: the columns of a matrix in the order of the names that a model knows."""

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skvae.stores import RowStore, find_store
from skvae.warn import warn

# Share of the known features of which more are warned about where they are missing.
MAX_MISSING = 0.2

# Names that a message lists.
N_LISTED = 5


def align_features(
    X: Any, names: ArrayLike | None, estimator: BaseEstimator | ArrayLike, *, missing: str = "error"
) -> Any:
    """Return X with the columns that a fitted estimator knows, in their order.

    Columns are found by their names, so that a query may have them in any order, and others among them.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame, AnnData, store, path} of shape (n_samples, n_columns)
        Of an AnnData object its X. A path names an `.h5ad` file or a `.zarr` folder. Rows of a store, or of a path, are
        put into order when they are read.
    names : array-like of str of shape (n_columns,) or None
        The names of the columns, each once. None for those that a data frame or an AnnData object has itself.
    estimator : {estimator, array-like of str of shape (n_features,)}
        A fitted estimator or pipeline that has learned `feature_names_in_`; or the names that are wanted. Other columns
        are left out.
    missing : {"error", "zero"}, default="error"
        What becomes of wanted names that no column has: an error, or a column of zeros, with a warning where it is more
        than a fifth of them.

    Returns
    -------
    aligned : {ndarray, sparse matrix, data frame, RowStore} of shape (n_samples, n_features)
        X itself where the order is the same. Of a data frame of pandas a data frame, of a store or a path a `RowStore`.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If names are there more than once, or missing, or are not as many as columns; or the estimator was fitted
        without names.

    Warns
    -----
    UserWarning
        If more than a fifth of the columns are filled with zeros.

    See Also
    --------
    embed : Does this for the variables of an AnnData object.

    Notes
    -----
    A matrix and a store have no names: some steps of a pipeline warn that X does not have valid feature names, which
    have been compared here.

    Examples
    --------
    >>> import pandas as pd
    >>> from skvae import BetaVAE, align_features, make_single_cell_counts
    >>> cells = make_single_cell_counts(300, 200, random_state=0)
    >>> reference = pd.DataFrame(cells.data.toarray(), columns=cells.feature_names)
    >>> vae = BetaVAE(n_components=2, likelihood="nb", max_epochs=2, random_state=0).fit(reference)
    >>> query, names = cells.data[:100, ::-1], cells.feature_names[::-1]
    >>> vae.transform(align_features(query, names, vae)).shape
    (100, 2)
    """
    given = names_of(X) if names is None else names
    X = matrix_of(X)
    check_names(X, given, missing)
    given, known = check_unique(given), wanted_names(estimator)
    if np.array_equal(given, known):
        return X
    positions = dict(zip(given, range(len(given)), strict=True))
    columns = np.array([positions.get(name, -1) for name in known])
    check_missing(known[columns < 0], known, given, missing)
    if hasattr(type(X), "reindex"):  # of pandas
        return X.reindex(columns=known, fill_value=X.iloc[:0].to_numpy().dtype.type(0))
    store = find_store(X)
    return take_or_fill(X, columns) if store is None else store.map(partial(take_or_fill, columns=columns))


def names_of(X):
    """Return the names of the columns that a data frame or an AnnData object has itself, else None."""
    # attributes of the type, since those of a data frame may be named by the user
    return next((getattr(X, name) for name in ("var_names", "columns") if hasattr(type(X), name)), None)


def matrix_of(X):
    """Return the matrix of an AnnData object, the store of a path, or X itself."""
    if isinstance(X, (str, os.PathLike)):
        return RowStore(X)
    return X.X if hasattr(type(X), "var_names") else X


def wanted_names(estimator):
    """Return the names that a fitted estimator knows, or those that are given in its place."""
    if not hasattr(estimator, "fit"):
        wanted = np.asarray(estimator, dtype=object)
        if wanted.ndim != 1:
            raise ValueError(f"estimator == {estimator!r}, must be a fitted estimator, or the names of its features.")
        return wanted
    check_is_fitted(estimator)
    known = known_names(estimator)
    if known is None:
        raise ValueError(
            f"{type(estimator).__name__} was fitted without the names of its features; expected an estimator that "
            "embed, or a data frame, was fitted with, or the names themselves."
        )
    return known


def check_names(X, names, missing):
    """Raise a ValueError unless there is a name for each column of a matrix."""
    if missing not in ("error", "zero"):
        raise ValueError(f"missing == {missing!r}, must be 'error' or 'zero'.")
    shape = np.shape(X)
    if len(shape) != 2:
        raise ValueError(f"X is of the type {type(X).__name__} and has the shape {shape}; expected a matrix.")
    n_columns = shape[1]
    if names is None:
        raise ValueError(
            f"names is None; expected a name for each of the {n_columns} features of X: only data frames and AnnData "
            "objects have names themselves."
        )
    if np.shape(names) != (n_columns,):
        raise ValueError(f"there are {np.size(names)} names for the {n_columns} features of X; expected one for each.")


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
