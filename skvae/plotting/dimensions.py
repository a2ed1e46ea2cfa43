"""Latent dimensions: what changes along them, and how often they come back."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skvae.plotting.labels import COLORS, MISSING, check_dense
from skvae.rows.checks import check_feature_names
from skvae.types import Axes, MatrixLike, Names

if TYPE_CHECKING:
    from matplotlib.container import BarContainer


def plot_loadings(ax: Axes, features: Bunch, component: int) -> "BarContainer":
    """Draw the features that change most along a latent dimension, as bars.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    features : Bunch
        What an estimator's `component_features` returned.
    component : int
        The latent dimension.

    Returns
    -------
    bars : BarContainer
        The largest on top.
    """
    loadings = features.loadings[component]
    bars = ax.barh(range(len(loadings)), loadings, color=np.where(loadings < 0, COLORS[1], COLORS[0]))
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(range(len(loadings)), features.names[component])
    ax.invert_yaxis()
    ax.set(title=f"latent dimension {component}", xlabel=f"change of {features.quantity} per unit of z")
    return bars


def plot_traversal(
    ax: Axes,
    model: BaseEstimator,
    Z: MatrixLike,
    component: int,
    *,
    batch: Any = None,
    feature_names: Names = None,
    n_top: int = 6,
) -> list[Any]:
    """Draw how the expected values of features change along a latent dimension, with the others at their mean.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    model : estimator
        A fitted one of skvae.
    Z : array-like of shape (n_samples, n_components)
        Embedded samples. The way goes from the first to the 99th percentile of the dimension.
    component : int
        The latent dimension.
    batch : str, number or dict, default=None
        The batch that is decoded to, if `fit` was given batches; of a table a dict by column.
    feature_names : array-like of str of shape (n_features,), default=None
        None for those of `fit`, or x0, x1, ...
    n_top : int, default=6
        Number of features: those that change most.

    Returns
    -------
    lines : list of Line2D
        The feature that changes most first; of counts by log1p of the expected value, as in `component_features`. The
        value at the mean of the dimension is zero.
    """
    check_is_fitted(model)
    Z = check_dense(Z)
    names = check_feature_names(model, feature_names)
    low, high = np.percentile(Z[:, component], [1, 99])
    way = np.linspace(low, high, 30)
    points = np.repeat(Z.mean(axis=0, keepdims=True), len(way) + 1, axis=0)
    points[1:, component] = way
    values = model.inverse_transform(points, batch=batch)
    support = model.net_.module_.likelihood.support
    mean, *values = np.log1p(values) if support.log_scale else values
    changes = np.array(values) - mean
    top = np.argsort(-np.ptp(changes, axis=0))[:n_top]
    lines = [
        ax.plot(way, changes[:, feature], label=names[feature], color=COLORS[place % len(COLORS)])[0]
        for place, feature in enumerate(top)
    ]
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel=f"z, dimension {component}", ylabel=f"change of {support.quantity}")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return lines


def plot_stability(ax: Axes, consensus: BaseEstimator) -> "BarContainer":
    """Draw how well each dimension of a consensus recurs, with a line at the least that is kept.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    consensus : ConsensusEmbedding
        Fitted.

    Returns
    -------
    bars : BarContainer
        In the order of `stability_`. Those of dimensions that are not kept are grey.
    """
    check_is_fitted(consensus)
    stability = consensus.stability_
    is_kept = stability >= consensus.match
    bars = ax.bar(range(len(stability)), stability, color=np.where(is_kept, COLORS[1], MISSING))
    ax.axhline(consensus.match, color=COLORS[0], linestyle="--")
    title = f"{is_kept.sum()} of {len(stability)} dimensions are stable"
    ax.set(xlabel="dimension of the reference", ylabel="median |r| with other runs", ylim=(0, 1), title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return bars
