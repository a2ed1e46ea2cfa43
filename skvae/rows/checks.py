"""Checks of rows and of what comes with them, beyond those of scikit-learn."""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_sample_weight, check_non_negative, validate_data

from skvae.maps import check_maps
from skvae.stores import RowStore, find_store
from skvae.warn import warn, without_warnings_of_names

FLOATS = (np.float64, np.float32)

# Values of X that are looked at for fractions.
N_CHECKED = 2**20

# What numpy, scikit-learn and stores make a matrix of, beside lists: an object with one of these attributes.
OF_ARRAYS = ("__array__", "__array_interface__", "__dataframe__", "__arrow_c_stream__", "dtype")


def check_widths(name, widths):
    """Raise a ValueError unless a parameter holds widths of layers."""
    if not all(isinstance(width, Integral) and int(width) >= 1 for width in widths):
        raise ValueError(f"{name} == {widths!r}, must hold only integers >= 1.")


def check_is_matrix(X):
    """Raise a TypeError for what is no matrix, but holds or names one, and a ValueError for one of unknown length.

    It says what to give instead, at once: numpy would take some of these apart, value by value, for minutes.
    """
    check_maps(X)
    expected = matrix_in(X)
    if expected is not None:
        raise TypeError(f"X is of the type {type(X).__name__}; expected a matrix: {expected}.")
    shape = getattr(X, "shape", ())
    if any(isinstance(length, float) for length in shape):
        raise ValueError(f"X has the shape {shape}; expected known numbers: call X.compute_chunk_sizes() first.")


def matrix_in(X):
    """Return where the matrix is that X holds or names, in words; None if X may be one itself."""
    if issparse(X):  # a dict too, in one format
        return None
    kind = type(X)  # whose attributes, unlike those of a data frame, are not named by the user
    if isinstance(X, (str, bytes, os.PathLike)):
        return "RowStore(path) reads that of a file"
    if hasattr(kind, "obs_names"):  # of anndata
        return "adata.X, or embed(adata, estimator)"
    if hasattr(kind, "coords") and hasattr(kind, "dims"):  # of xarray, whose axes may be in any order
        return "the values of an array of samples and features, such as array.transpose(samples, features).values"
    if isinstance(X, Mapping):
        return f"one of its values, which have the names {list(X)[:5]}, or a data frame of them"
    # numpy asks anything else that has items for one after the other
    has_items = hasattr(kind, "__getitem__") and not isinstance(X, Sequence)
    return "the array that it holds" if has_items and not any(hasattr(X, name) for name in OF_ARRAYS) else None


def check_output_of_store(estimator):
    """Raise a ValueError if a data frame is asked for of what an estimator makes of a store, which is a store."""
    output = _get_output_config("transform", estimator)["dense"]
    if output != "default":
        name = type(estimator).__name__
        raise ValueError(
            f"transform_output == {output!r}, and X of {name} is a store, of which it makes a store that is read in "
            f"blocks, not a data frame; expected set_output(transform='default') of {name}, or X in memory, store[:]."
        )


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
        try:
            X = X.tocsr()
        except KeyError:  # of some types, in some versions of scipy
            raise TypeError(f"X is a LIL matrix of {X.dtype}, must be one of float32 or float64.") from None
        check_structure(X)


def without_duplicates(X):
    """Return X, or a copy of a CSR matrix where entries of the same position are summed."""
    if not issparse(X):
        return X
    # another matrix of the same arrays: what scipy remembers of X may have been true of former indices alone
    fresh = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
    if fresh.has_canonical_format:
        return X
    summed = fresh.copy()  # the caller's stays as it is
    summed.sum_duplicates()
    return summed


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
    check_is_matrix(X)
    store = find_store(X)
    least = 2 if reset else 1
    if store is None:
        check_structure(X)
        with names_expected_of(X, estimator):
            X = validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=FLOATS, ensure_min_features=least)
        X = without_duplicates(X)
        check_support(X, support, type(estimator).__name__)
        warn_of_values(X, support)
        return X
    with names_expected_of(store, estimator):
        validate_data(estimator, store, skip_check_array=True, reset=reset)
    if store.shape[0] < 1 or store.shape[1] < least:
        raise ValueError(f"{store.name} has the shape {store.shape}; expected 1 row and {least} feature(s) or more.")

    def check_block(block):
        block = check_array(block, accept_sparse="csr", dtype=FLOATS, ensure_min_samples=0, estimator=estimator)
        block = without_duplicates(block)
        check_support(block, support, type(estimator).__name__)
        return block

    checked = store.map(check_block)
    warn_of_values(checked[: store.block_size], support)
    return checked


@contextmanager
def names_expected_of(X, estimator):
    """Let sparse rows and stores, which cannot have names of features, pass without scikit-learn's warning of that."""
    if not hasattr(estimator, "feature_names_in_") or not (issparse(X) or isinstance(X, RowStore)):
        yield
        return
    with without_warnings_of_names():
        yield


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
    """Return how often an epoch visits each row, float64, ones for None."""
    weights = check_shares(sample_weight, X)
    if sample_weight is not None and weights.sum() < 1:
        raise ValueError(
            f"sample_weight has the sum {weights.sum():.3g}, must be 1 or more: a weight is the number of times that "
            "an epoch visits the row. Zero weights alone leave none."
        )
    return weights


def check_shares(sample_weight, X):
    """Return the weight of each row in a mean, float64, ones for None."""
    if sample_weight is None:
        return np.broadcast_to(1.0, X.shape[:1])
    check_maps(sample_weight)
    X = np.broadcast_to(0.0, X.shape[:1])  # its length is all that counts, and X may be a store
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if weights.sum() == 0:
        raise ValueError("sample_weight holds zeros alone, must have a positive sum.")
    return weights
