"""Checks of rows and of what comes with them, beyond those of scikit-learn."""

from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_non_negative, validate_data

from skvae.stores import find_store
from skvae.warn import warn

FLOATS = (np.float64, np.float32)

# Values of X that are looked at for fractions.
N_CHECKED = 2**20


def check_widths(name, widths):
    """Raise a ValueError unless a parameter holds widths of layers."""
    if not all(isinstance(width, Integral) and int(width) >= 1 for width in widths):
        raise ValueError(f"{name} == {widths!r}, must hold only integers >= 1.")


def check_structure(X):
    """Raise a ValueError if a sparse matrix has indices beyond its shape, which would read foreign memory."""
    if not issparse(X) or X.ndim != 2:
        return
    # each of another matrix of the same arrays, as a check may change it
    if X.format in ("csr", "csc", "bsr"):
        type(X)((X.data, X.indices, X.indptr), shape=X.shape).check_format(full_check=True)
    elif X.format == "coo":
        type(X)((X.data, (X.row, X.col)), shape=X.shape)
    elif X.format == "lil":
        check_structure(X.tocsr())


def without_duplicates(X):
    """Return X, or a copy of a CSR matrix where entries of the same position are summed."""
    if not issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()  # the caller's stays as it is
    X.sum_duplicates()
    return X


def check_rows(estimator, X, support, *, reset=True):
    """Return X validated for an estimator, with values that a likelihood of that support admits.

    Parameters
    ----------
    estimator : BaseEmbedding
        Learns the number and names of features, of which it needs two, or with `reset=False` expects them.
    X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
    support : Support
    reset : bool, default=True

    Returns
    -------
    X : ndarray, CSR matrix or RowStore
        float32 or float64; CSR without duplicates. Blocks of a store are checked when they are read.
    """
    store = find_store(X)
    least = 2 if reset else 1
    if store is None:
        check_structure(X)
        X = validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=FLOATS, ensure_min_features=least)
        X = without_duplicates(X)
        check_support(X, support, type(estimator).__name__)
        warn_of_values(X, support)
        return X
    validate_data(estimator, store, skip_check_array=True, reset=reset)
    if store.shape[0] < 1 or store.shape[1] < least:
        raise ValueError(f"{store.name} has the shape {store.shape}; expected 1 row and {least} feature(s) or more.")

    def check_block(block):
        block = check_array(block, accept_sparse="csr", dtype=FLOATS, ensure_min_samples=0, estimator=estimator)
        check_support(block, support, type(estimator).__name__)
        return block

    checked = store.map(check_block)
    warn_of_values(checked[: store.block_size], support)
    return checked


def check_size(X, estimator):
    """Raise a ValueError for values beyond those of float32, in which networks train."""
    values = X.data if issparse(X) else X
    largest = max(values.max(initial=0), -values.min(initial=0))
    if largest > np.finfo(np.float32).max:
        raise ValueError(f"X of {estimator} holds {largest:.3g} or its negative; expected values of at most 3.4e+38.")


def check_support(X, support, estimator):
    """Raise a ValueError unless a likelihood of that support admits X."""
    check_size(X, estimator)
    if support.is_nonnegative:
        check_non_negative(X, estimator)
    values = X.data if issparse(X) else X
    if support.most < np.inf and values.max(initial=0) > support.most:
        raise ValueError(f"X of {estimator} holds {values.max()}; expected {support.usual}, {support.most} at most.")


def warn_of_values(X, support):
    """Warn if the first values of X look like counts where real numbers are expected, or the other way round."""
    values = first_values(X)
    if not support.has_fractions:
        warn_of_fractions(values, "for a likelihood of counts. Normalised data suit 'gaussian'.")
    elif support.suspects_counts and looks_like_counts(X, values):
        warn(
            "X looks like raw counts: integers >= 0, most of them 0. A Gaussian likelihood expects real numbers of "
            "similar scale: put LogNormalizer() before, or set likelihood='nb'.",
        )


def warn_of_fractions(values, remedy):
    """Warn unless the values are counts."""
    fractions = values[values != np.rint(values)]
    if len(fractions):
        warn(f"X holds {fractions[0]}; expected counts, integers >= 0, {remedy}")


def looks_like_counts(X, values):
    """Return whether most of X is zero, and the rest positive integers, not all of them 1."""
    share = values.astype(bool).mean() if len(values) else 0
    if issparse(X):
        share *= X.nnz / (X.shape[0] * X.shape[1])
    return share < 0.5 and values.max(initial=0) > 1 and (values >= 0).all() and (values % 1 == 0).all()


def first_values(X):
    """Return about the first `N_CHECKED` values of X, without those that a sparse one does not store."""
    return X.data[:N_CHECKED] if issparse(X) else X[: 1 + N_CHECKED // X.shape[1]].ravel()


def check_feature_names(estimator, feature_names):
    """Return a name for each feature of a fitted estimator: those given, those of `fit`, or x0, x1, ..."""
    n_features = estimator.n_features_in_
    if feature_names is not None and np.shape(feature_names) != (n_features,):
        raise ValueError(f"feature_names has the shape {np.shape(feature_names)}, must have {(n_features,)}.")
    if feature_names is None:
        feature_names = getattr(estimator, "feature_names_in_", [f"x{index}" for index in range(n_features)])
    return np.asarray(feature_names, dtype=object)


def check_weights(sample_weight, X):
    """Return the weight of each row, float64, ones for None."""
    if sample_weight is None:
        return np.broadcast_to(1.0, X.shape[:1])
    X = np.broadcast_to(0.0, X.shape[:1])  # its length is all that counts, and X may be a store
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if weights.sum() < 1:
        raise ValueError(
            f"sample_weight has the sum {weights.sum():.3g}, must be 1 or more: a weight is the number of times that "
            "an epoch visits the row. Zero weights alone leave none."
        )
    return weights
