"""Embedding of AnnData objects."""

from typing import TYPE_CHECKING

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from anndata import AnnData


def embed(
    adata: "AnnData",
    estimator: BaseEstimator,
    *,
    layer: str | None = None,
    key_added: str | None = None,
    batch_key: str | None = None,
) -> None:
    """Embed the cells of an AnnData object, in memory or backed.

    An estimator that is not fitted is fitted first, one that is only transforms. `adata` changes once all is done: if
    this raises, `adata` is as it was, though the estimator may be fitted.

    Parameters
    ----------
    adata : AnnData of n_obs cells and n_vars genes
        Gets the embedding in `adata.obsm[key_added]`, (n_obs, n_components), and in `adata.uns[key_added]` the class of
        the estimator and its parameters.
    estimator : transformer
        One of skvae, or a pipeline that ends in one: what it does not get by itself, such as log1p-normalised counts,
        `adata` must hold.
    layer : str, default=None
        The layer to embed; None for X. That of a backed `adata` anndata loads: give `RowStore(path, layer=...)` to the
        estimator itself where it must not.
    key_added : str, default=None
        None for `X_` and the name of the estimator's class, of a pipeline the last one's, in lower case.
    batch_key : str, default=None
        The column of `adata.obs` that holds the batch of each cell. A pipeline needs scikit-learn's metadata routing,
        with `set_fit_request(batch=True)` and `set_transform_request(batch=True)` of its last step.

    Raises
    ------
    KeyError
        If there is no such layer or column.

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
    X = adata.X if layer is None else find(adata.layers, layer, "layer")
    metadata = {} if batch_key is None else {"batch": find(adata.obs, batch_key, "batch_key")}
    if X is None:
        raise ValueError("adata.X is None; expected counts, or the name of a layer that holds them.")
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        estimator.fit(X, **metadata)
    Z = estimator.transform(X, **metadata)
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    key = f"X_{type(last).__name__.lower()}" if key_added is None else key_added
    about = {
        "estimator": type(last).__name__,
        "params": {name: plain(value) for name, value in estimator.get_params().items()},
        "layer": plain(layer),
        "batch_key": plain(batch_key),
    }
    # a data frame's index is not that of the cells
    adata.obsm[key] = Z.to_numpy() if hasattr(Z, "to_numpy") else Z
    adata.uns[key] = about


def find(table, name, what):
    """Return what stands under a name, or raise a KeyError that lists the names at hand."""
    if name not in table:
        raise KeyError(f"{what} == {name!r}, must be one of {list(table.keys())}.")
    return table[name]


def plain(value):
    """Return a value that AnnData can write: a number, or a string."""
    return value if isinstance(value, (bool, int, float, str)) else repr(value)
