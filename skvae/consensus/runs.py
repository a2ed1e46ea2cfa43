"""Runs: an estimator with a seed of its own, fitted to a part of the rows, and what it makes of all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples
from threadpoolctl import threadpool_limits

from skvae.consensus.loadings import Loadings
from skvae.novelty.models import call, fit_metadata, until_model
from skvae.novelty.rows import matrix_of, take
from skvae.rows.checks import check_is_matrix
from skvae.stores import RowStore, find_store


@dataclass(frozen=True, eq=False)
class Run:
    """A fitted estimator, and its codes of all rows with their loadings.

    Parameters
    ----------
    estimator : estimator
    Z : {ndarray, CSR matrix} of shape (n_samples, n_components)
    loadings : Loadings
    """

    estimator: BaseEstimator
    Z: Any
    loadings: Loadings


class SomeRows:
    """Some rows of a store, which are read when they are needed: what a `RowStore` takes.

    Parameters
    ----------
    store : RowStore
    rows : ndarray of int
        Sorted.
    """

    def __init__(self, store, rows):
        self.store, self.rows = store, rows
        self.shape = (len(rows), store.shape[1])
        self.dtype = store.dtype
        self.filename = store.name

    def __getitem__(self, part):
        rows = self.rows[part]
        if len(rows) == 0:
            return self.store[:0]
        return self.store.part(rows[0], rows[-1] + 1)[rows - rows[0]]


def rows_in(X):
    """Return rows in memory, or a `RowStore`; values are left to the estimator to check."""
    check_is_matrix(X)
    store = find_store(X, maps=False)
    if store is not None:
        return store
    X = matrix_of(X)
    return X if hasattr(X, "shape") else np.asarray(X)


def with_seed(estimator, rng):
    """Return a clone of an estimator whose random states, its own and those of its parts, are drawn."""
    estimator = clone(estimator)
    names = [name for name in sorted(estimator.get_params()) if name.rpartition("__")[2] == "random_state"]
    return estimator.set_params(**{name: rng.randint(np.iinfo(np.int32).max) for name in names})


def some_of(X, y, metadata, rows):
    """Return some rows of X and y, and their metadata."""
    _, batch = take(np.arange(_num_samples(X)), metadata.get("batch"), rows)
    X = RowStore(SomeRows(X, rows)) if isinstance(X, RowStore) else _safe_indexing(X, rows)
    some = {key: batch if key == "batch" else _safe_indexing(values, rows) for key, values in metadata.items()}
    return X, None if y is None else _safe_indexing(indexable(y)[0], rows), some


def fit_run(estimator, X, y, metadata, rows):
    """Return the `Run` of an estimator that is fitted to some rows, on one thread.

    So its bits are the same however many runs are fitted at a time.
    """
    with threadpool_limits(limits=1):
        some, some_y, some_metadata = some_of(X, y, metadata, rows)
        estimator.fit(some, some_y, **fit_metadata(estimator, some_metadata))
        seen, Z = embed(estimator, X, metadata.get("batch"))
        return Run(estimator, Z, Loadings.of(estimator, seen, Z, X.shape[1]))


def embed(estimator, X, batch):
    """Return rows as the last step of a fitted pipeline sees them, and their codes, an ndarray or a CSR matrix."""
    X, model = until_model(estimator, X, batch)
    Z = call(model, "transform", X, batch)
    Z = sparse.csr_matrix(Z) if sparse.issparse(Z) else np.asarray(Z)
    if Z.ndim != 2:
        raise ValueError(f"transform of {model!r} gives the shape {Z.shape}; expected samples and components.")
    return X, Z if Z.dtype.kind == "f" else Z.astype(np.float64)
