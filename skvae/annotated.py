"""Embedding of AnnData objects."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skvae.names import align_features, check_unique, known_names, learn_names, steps_of
from skvae.warn import warn, without_warnings_of_names

if TYPE_CHECKING:
    from anndata import AnnData

NUMBERS = (bool, int, float, np.bool_, np.number)


def embed(
    adata: "AnnData",
    estimator: BaseEstimator,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    batch_key: str | Sequence[str] | None = None,
    missing: str = "error",
) -> None:
    """Embed the cells of an AnnData object, in memory or backed.

    An estimator that is not fitted is fitted first, and learns `adata.var_names`, in `feature_names_in_`; one that is
    fitted only transforms. The variables of its `adata` are put into the order of those names, so that their own order
    does not matter, and others may stand among them. `adata` changes once all is done: if this raises, `adata` is as it
    was, though the estimator may be fitted.

    Parameters
    ----------
    adata : AnnData of n_obs cells and n_vars genes
        Gets the embedding in `adata.obsm[key_added]`, (n_obs, n_components), and in `adata.uns[key_added]` the class of
        the estimator and those of its parameters that are not None.
    estimator : transformer
        One of skvae, or a pipeline that ends in one: what it does not get by itself, such as log1p-normalised counts,
        `adata` must hold.
    layer : str, default=None
        The layer to embed; None for X, and "raw", unless a layer has that name, for `adata.raw` and its variables. That
        of a backed `adata` anndata loads: give `RowStore(path, layer=...)` to the estimator itself where it must not.
    key_added : str, default=None
        None for `X_` and the name of the estimator's class, of a pipeline the last one's, in lower case.
    batch_key : str or list of str, default=None
        The column of `adata.obs` that holds the batch of each cell, or several: strings and categories are labels,
        floats measurements. A pipeline needs scikit-learn's metadata routing, with `set_fit_request(batch=True)` and
        `set_transform_request(batch=True)` of its last step.
    missing : {"error", "zero"}, default="error"
        What becomes of variables that a fitted estimator knows and `adata` lacks: an error, or zeros in their place.

    Raises
    ------
    KeyError
        If there is no such layer or column.
    TypeError
        If `adata` is no AnnData object.
    ValueError
        If names of variables are there more than once, or missing, or `adata` is a view of a backed object.

    Warns
    -----
    UserWarning
        If more than a fifth of the variables are filled with zeros, or a fitted estimator knows no names, so that their
        number alone is compared.

    Examples
    --------
    >>> import anndata
    >>> from sklearn.pipeline import make_pipeline
    >>> from skvae import BetaVSC, LogNormalizer, embed, make_single_cell_counts
    >>> adata = anndata.AnnData(make_single_cell_counts(300, 200, random_state=0).data)
    >>> embed(adata, make_pipeline(LogNormalizer(), BetaVSC(n_components=2, max_epochs=2, random_state=0)))
    >>> adata.obsm["X_betavsc"].shape
    (300, 2)
    """
    check_can_be_added_to(adata)
    X, names = find_matrix(adata, layer)
    metadata = {} if batch_key is None else {"batch": find_batch(adata.obs, batch_key)}
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        names = check_unique(names)
        learn_names(estimator.fit(X, **metadata), names)
    else:
        X = as_known(X, names, estimator, missing)
    with without_warnings_of_names():
        Z = estimator.transform(X, **metadata)
    last = steps_of(estimator)[-1]
    key = f"X_{type(last).__name__.lower()}" if key_added is None else key_added
    about = {
        "estimator": type(last).__name__,
        "params": plain_items(estimator.get_params()),
        **plain_items({"layer": layer, "batch_key": batch_key}),
    }
    # a data frame's index is not that of the cells
    adata.obsm[key] = Z.to_numpy() if hasattr(Z, "to_numpy") else Z
    adata.uns[key] = about


def check_can_be_added_to(adata):
    """Raise an error, before anything is fitted, for what no embedding can be added to."""
    if not hasattr(adata, "obsm") or not hasattr(adata, "X"):
        raise TypeError(
            f"adata is of the type {type(adata).__name__}; expected an AnnData object. A matrix is embedded by "
            "estimator.fit_transform(X)."
        )
    if adata.isbacked and adata.is_view:
        raise ValueError(
            "adata is a view of a backed object, to which anndata adds nothing; expected the object itself, or the "
            "view in memory, adata.to_memory()."
        )


def find_matrix(adata, layer):
    """Return X, a layer or the raw X, and the names of its variables."""
    if layer == "raw" and "raw" not in adata.layers and adata.raw is not None:
        return adata.raw.X, adata.raw.var_names
    X = adata.X if layer is None else find(adata.layers, layer, "layer")
    if X is None:
        raise ValueError("adata.X is None; expected counts, or the name of a layer that holds them.")
    return X, adata.var_names


def find_batch(obs, key):
    """Return the column of that name, or the table of columns of several names."""
    if isinstance(key, str):
        return find(obs, key, "batch_key")
    if len(key) == 0:
        raise ValueError(f"batch_key == {key!r}, must be the name of a column of adata.obs, or a list of some.")
    for name in key:
        find(obs, name, "batch_key")
    return obs[list(key)]


def as_known(X, names, estimator, missing):
    """Return X with the variables that a fitted estimator knows, in their order."""
    known = known_names(estimator)
    if known is not None:
        return align_features(X, names, known, missing=missing)
    warn(
        f"{type(estimator).__name__} was fitted without the names of its features, so that the variables of adata are "
        "taken in their order; expected an estimator that embed, or a data frame, was fitted with.",
    )
    return X


def find(table, name, what):
    """Return what stands under a name, or raise a KeyError that lists the names at hand."""
    if name not in table:
        raise KeyError(f"{what} == {name!r}, must be one of {list(table.keys())}.")
    return table[name]


def plain_items(items):
    """Return a dict that AnnData can write, without what is None: files with that older versions cannot read."""
    return {name: plain(value) for name, value in items.items() if value is not None}


def plain(value):
    """Return a value that AnnData can write: a number or string, an array of these, or the text of all else."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (*NUMBERS, str)):
        return value
    if isinstance(value, (list, tuple, np.ndarray)) and any(
        all(isinstance(item, kinds) for item in value) for kinds in (NUMBERS, str)
    ):
        return np.array(value)
    return repr(value)
