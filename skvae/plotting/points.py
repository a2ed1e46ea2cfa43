"""Embedded points, coloured by what is known of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_consistent_length, column_or_1d

from skvae.plotting.labels import COLORS, MARKERS, MISSING, categories_of, check_dense, index_labels
from skvae.types import Axes, LabelsLike, MatrixLike, Names

# Points up to which those of a vector graphic are drawn one by one.
MAX_VECTOR_POINTS = 20_000


def plot_embedding(
    ax: Axes, Z: MatrixLike, labels: LabelsLike = None, names: Names = None, *, legend: bool = True
) -> list[Any]:
    """Draw embedded points, coloured by categories or by numbers.

    Parameters
    ----------
    ax : Axes
        Three-dimensional if Z is.
    Z : {array-like, sparse matrix} of shape (n_samples, 2) or (n_samples, 3)
        Embedded points. Above 20,000 they are one bitmap in PDF and SVG files too.
    labels : array-like of shape (n_samples,), default=None
        The category of each point: strings, a pandas categorical, or integers. Floats are numbers on a colour scale,
        where the largest come on top. Points whose label is missing (None, NaN) are grey. None for one colour.
    names : sequence, default=None
        The categories in the order of legend and colours, which are theirs whether a point has them or not: so a type
        keeps its colour from plot to plot. Integers are indices into them. None for the order of a pandas categorical,
        else for the sorted labels.
    legend : bool, default=True
        Draw the legend of the categories, or the colour bar of the numbers, beside the Axes.

    Returns
    -------
    artists : list of PathCollection
        One a category, in the order of the legend, and a last one of points without a label, if there are any; of
        numbers a single one.

    Raises
    ------
    ValueError
        If Z has neither 2 nor 3 columns, Axes and Z differ in their dimensions, labels and Z in their length, or a
        label is none of `names`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.plotting import make_figure, plot_embedding
    >>> figure, [[ax]] = make_figure(1, 1)
    >>> artists = plot_embedding(ax, np.eye(3, 2), ["B", "NK", "B"])
    >>> [artist.get_label() for artist in artists]
    ['B', 'NK']
    """
    Z = check_points(ax, Z)
    if labels is None:
        artists = [ax.scatter(*Z.T, color=COLORS[1], **style_of(Z))]
    elif categories_of(labels) is None and column_or_1d(labels).dtype.kind == "f":
        from matplotlib import colormaps

        values = column_or_1d(labels)
        check_consistent_length(Z, values)
        order = np.argsort(np.where(np.isnan(values), -np.inf, values))
        colors = {"c": values[order], "cmap": colormaps["viridis"].with_extremes(bad=MISSING), "plotnonfinite": True}
        artists = [ax.scatter(*Z[order].T, **colors, **style_of(Z))]
        if legend:
            ax.figure.colorbar(artists[0], ax=ax)
    else:
        artists = draw_categories(ax, Z, *index_labels(labels, names, Z))
        if legend:
            add_legend(ax, artists)
    return artists


def plot_clusters(
    axes: Sequence[Axes],
    Z: MatrixLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    centroids: ArrayLike | None = None,
    names: Names = None,
    *,
    legend: bool = True,
) -> list[Any]:
    """Draw the known types beside the clusters found, with the clusters' centroids.

    A cluster has the colour of the type it is matched with, one to one, so that the most points keep their colour.

    Parameters
    ----------
    axes : sequence of two Axes
        For the types and for the clusters.
    Z : {array-like, sparse matrix} of shape (n_samples, 2) or (n_samples, 3)
        Embedded points.
    labels : array-like of shape (n_samples,)
        Known types, see `plot_embedding`.
    clusters : array-like of int of shape (n_samples,)
        Clusters, such as the `labels_` of k-means.
    centroids : array-like of shape (n_clusters, 2) or (n_clusters, 3), default=None
        Their centroids, if the points drawn are those that were clustered.
    names : sequence, default=None
        The types in the order of legend and colours.
    legend : bool, default=True
        Draw the legend of the types beside the second Axes.

    Returns
    -------
    artists : list
        Points by type, points by matched type, and centroids if there are any.
    """
    types_ax, clusters_ax = axes
    Z = check_points(types_ax, Z)
    check_points(clusters_ax, Z)
    check_consistent_length(Z, clusters)
    types, names = index_labels(labels, names, Z)
    _, clusters = np.unique(column_or_1d(clusters), return_inverse=True)
    artists = draw_categories(types_ax, Z, types, names)
    types_ax.set(title="known types")
    n_colors = max(len(names), clusters.max() + 1)
    shared = np.zeros((n_colors, n_colors), dtype=int)
    known = types >= 0
    np.add.at(shared, (clusters[known], types[known]), 1)
    _, matched_type = linear_sum_assignment(shared, maximize=True)
    matched_names = [names[type_] if type_ < len(names) else "" for type_ in range(n_colors)]
    matched = draw_categories(clusters_ax, Z, matched_type[clusters], matched_names)
    if legend:
        add_legend(clusters_ax, artists)
    artists += matched
    if centroids is not None:
        artists.append(
            clusters_ax.scatter(*np.transpose(centroids), marker="X", s=70, color="black", edgecolor="white")
        )
    clusters_ax.set(title="clusters")
    return artists


def check_points(ax, Z):
    """Return points, dense, that suit the Axes, and take the ticks off these."""
    Z = check_dense(Z, ensure_min_samples=0)
    if Z.shape[1] not in (2, 3):
        raise ValueError(f"Z has the shape {Z.shape}, must have 2 or 3 columns.")
    if (ax.name == "3d") != (Z.shape[1] == 3):
        raise ValueError(f"Z has {Z.shape[1]} columns, but the Axes are {ax.name}; expected 3d for 3 columns alone.")
    ax.set(xticks=[], yticks=[])
    if Z.shape[1] == 3:
        ax.set(zticks=[])
        ax.set_box_aspect(None, zoom=1.3)
    return Z


def style_of(Z):
    """Return how points are drawn: the smaller, the more there are."""
    return {
        "s": np.clip(200 / np.sqrt(len(Z) + 1), 0.5, 12),
        "linewidths": 0,
        "alpha": 0.8,
        "rasterized": len(Z) > MAX_VECTOR_POINTS,
    }


def draw_categories(ax, Z, index, names):
    """Draw the points of each category, and in grey those of none, whose index is -1."""
    looks = [(label, name, COLORS[label % len(COLORS)], label // len(COLORS)) for label, name in enumerate(names)]
    if (index < 0).any():
        looks.append((-1, "missing", MISSING, 0))
    return [
        ax.scatter(*Z[index == label].T, color=color, marker=MARKERS[round_ % len(MARKERS)], label=name, **style_of(Z))
        for label, name, color, round_ in looks
    ]


def add_legend(ax, artists):
    """Draw the legend of categories beside the Axes, with points of a size that shows their colour."""
    legend = ax.legend(handles=artists, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([30])
