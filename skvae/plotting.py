"""Plots as functions of matplotlib Axes: each draws, and returns the artists it drew.

The only file that imports matplotlib, and only when a figure is made.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from skvae.rows.checks import check_feature_names
from skvae.types import Axes, LabelsLike, MatrixLike, Names

if TYPE_CHECKING:
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Paul Tol's "muted" scheme: distinct also for colour-blind readers. Labels beyond nine begin again, with other markers.
COLORS = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
MARKERS = "o^sDv*PX"
MISSING = "lightgray"

# Points up to which those of a vector graphic are drawn one by one; in a page, where each is an element.
MAX_VECTOR_POINTS = 20_000
MAX_PAGE_POINTS = 2_000

# What `figure_to_svg` draws with. Texts stay texts, of the page's font, which is not wider than this one.
SVG_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "skvae", "font.sans-serif": ["DejaVu Sans"]}
SVG_OPTIONS = {"format": "svg", "dpi": 200, "bbox_inches": "tight", "pad_inches": 0.05, "metadata": {"Date": None}}
# The id of the groups of texts whose colour suits the image below them, whatever the colour of the page.
FIXED = "fixed"


def make_figure(
    n_rows: int, n_columns: int, *, size: float = 4.0, projection: str | None = None
) -> tuple["Figure", np.ndarray]:
    """Make a figure with a grid of Axes, without touching pyplot's global state.

    Parameters
    ----------
    n_rows, n_columns : int
        Shape of the grid.
    size : float, default=4.0
        Height and width of each Axes, in inches.
    projection : str, default=None
        "3d" for three-dimensional Axes.

    Returns
    -------
    figure : Figure
        Not known to pyplot: save it with its `savefig`.
    axes : ndarray of Axes of shape (n_rows, n_columns)
        Those of the grid.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size * n_columns, size * n_rows), layout="constrained", dpi=150)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw={"projection": projection})
    return figure, axes


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


def check_dense(Z, ensure_min_samples=1):
    """Return an array of the embedded samples, which may be sparse."""
    Z = check_array(Z, accept_sparse=True, ensure_min_samples=ensure_min_samples, input_name="Z")
    return Z.toarray() if issparse(Z) else Z


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


def categories_of(labels):
    """Return the categories of a pandas Categorical or a Series of one, None of other labels."""
    return getattr(getattr(labels, "cat", labels), "categories", None)


def index_labels(labels, names, Z):
    """Return the index of each label among the names, -1 for a missing one, and the names; see `plot_embedding`."""
    if names is None:
        names = categories_of(labels)
    labels = column_or_1d(labels)
    check_consistent_length(Z, labels)
    present = np.array([not is_missing(label) for label in labels.tolist()], dtype=bool)
    index = np.full(len(labels), -1)
    labels = labels[present]
    if names is None:
        names, index[present] = np.unique(labels, return_inverse=True)
    elif labels.dtype.kind in "iu" and np.asarray(names).dtype.kind not in "iu":
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise ValueError(f"labels has {labels.min()} to {labels.max()}, must be indices of the {len(names)} names.")
        index[present] = labels
    else:
        places = {name: index for index, name in enumerate(names)}
        unknown = sorted(set(labels.tolist()) - set(places), key=str)
        if unknown:
            raise ValueError(f"labels has {unknown}, must be among the names {list(names)}.")
        index[present] = [places[label] for label in labels.tolist()]
    return index, names


def is_missing(label):
    """Return whether a label is None, NaN, or pandas' NA, of which not even this is known."""
    same = label == label
    return label is None or not isinstance(same, (bool, np.bool_)) or not same


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


def plot_scores(ax: Axes, scores: ArrayLike, row_names: Sequence[str], column_names: Sequence[str]) -> list[Any]:
    """Draw a heat map of scores with their values.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    scores : ndarray of shape (n_rows, n_columns)
        In [0, 1].
    row_names, column_names : sequence of str
        What the rows, such as models, and the columns, such as metrics, are called.

    Returns
    -------
    artists : list
        The image, then the texts row by row.
    """
    image = ax.imshow(scores, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    ax.set_xticks(range(len(column_names)), column_names, rotation=30, ha="right")
    ax.set_yticks(range(len(row_names)), row_names)
    texts = [
        ax.text(column, row, f"{score:.2f}", ha="center", va="center", color="black" if score > 0.6 else "white")
        for (row, column), score in np.ndenumerate(scores)
    ]
    return [image, *texts]


def plot_activation(ax: Axes, Z: MatrixLike, labels: ArrayLike, names: Names = None) -> "AxesImage":
    """Draw a heat map of the mean of each latent dimension over the samples of each label.

    Of `posterior(X).activation`, which are probabilities, it shows which gates of a `BetaVSC` the samples open.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    Z : {array-like, sparse matrix} of shape (n_samples, n_components)
        Embedded samples, or their activations.
    labels : array-like of shape (n_samples,)
        Category of each sample, see `plot_embedding`. Samples without one are left out.
    names : sequence, default=None
        The categories from top to bottom.

    Returns
    -------
    image : AxesImage
        For a colour bar. Zero is white; where nothing is negative, all colours are for what is positive.
    """
    Z = check_dense(Z)
    index, names = index_labels(labels, names, Z)
    present = np.unique(index[index >= 0])
    means = np.full((len(names), Z.shape[1]), np.nan)
    means[present] = [Z[index == label].mean(axis=0) for label in present]
    largest = np.nanmax(np.abs(means))
    if np.nanmin(means) < 0:
        colors = {"vmin": -largest, "vmax": largest, "cmap": "RdBu_r"}
    else:
        colors = {"vmin": 0, "vmax": largest, "cmap": "Blues"}
    image = ax.imshow(means, aspect="auto", **colors)
    ax.set_yticks(range(len(names)), names)
    ax.set(xticks=range(Z.shape[1]), xlabel="latent dimension")
    return image


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


def plot_history(ax: Axes, history: Mapping[str, ArrayLike]) -> list[Any]:
    """Draw the terms of the objective over epochs: reconstruction on the left axis, the latent's on the right.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    history : dict of str to ndarray of shape (n_epochs,)
        An estimator's `history_`, in nats a sample; its docstring says what the terms are.

    Returns
    -------
    artists : list
        The curves of reconstruction, of held-out rows if there are any, of KL and of the number of active dimensions,
        and the shaded span of the warm-up, if there is one.
    """
    epochs = np.arange(1, np.size(history["reconstruction"]) + 1)
    marker = "o" if len(epochs) == 1 else None  # a line of one point is none
    artists = ax.plot(epochs, history["reconstruction"], color=COLORS[1], label="-log p(x|z)", marker=marker)
    ax.set(xlabel="epoch", ylabel="-log p(x|z), nats")
    if "validation" in history:
        artists += ax.plot(epochs, history["validation"], color=COLORS[4], label="held out", marker=marker)
    latent_ax = ax.twinx()
    artists += latent_ax.plot(epochs, history["kl"], color=COLORS[0], label="KL", marker=marker)
    artists += latent_ax.step(
        epochs, history["active"], color=COLORS[3], where="mid", linestyle="--", label="active dimensions"
    )
    latent_ax.set(ylabel="KL, nats; active dimensions", ylim=(0, None))
    weight = np.asarray(history["kl_weight"])
    if weight[0] < weight[-1]:
        n_warm = np.count_nonzero(weight < weight[-1])
        artists.append(ax.axvspan(0.5, n_warm + 0.5, color="black", alpha=0.08, linewidth=0, label="warm-up of KL"))
    ax.legend(handles=artists, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
    return artists


def figure_to_svg(figure: "Figure") -> str:
    """Return a figure as the text of an SVG file, without a background, for a page of any colour.

    Parameters
    ----------
    figure : Figure
        Stays as it is. Points of Axes with more than 2,000 of them become a bitmap within the SVG.

    Returns
    -------
    svg : str
        The same for the same figure: it has no date. Texts are text elements. Those that are drawn in Axes with an
        image, such as the values of a heat map, are in groups whose id is "fixed": they need the colour they have.

    Examples
    --------
    >>> from skvae.plotting import figure_to_svg, make_figure
    >>> figure, [[ax]] = make_figure(1, 1)
    >>> title = ax.set_title("a map")
    >>> "a map</text>" in figure_to_svg(figure)
    True
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(SVG_STYLE), warnings.catch_warnings(), as_it_was(figure):
        # the browser has other fonts; points in three dimensions do become a bitmap
        warnings.filterwarnings("ignore", "Glyph .* missing from|Rasterization of .*3D", UserWarning)
        for ax in figure.axes:
            if sum(len(np.asarray(collection.get_offsets())) for collection in ax.collections) > MAX_PAGE_POINTS:
                for collection in ax.collections:
                    collection.set_rasterized(True)
            for text in ax.texts if ax.images else ():
                text.set_gid(FIXED)
        figure.savefig(file, transparent=True, **SVG_OPTIONS)
    return file.getvalue()


@contextmanager
def as_it_was(figure):
    """Restore what drawing for a page changes in a figure: a layout begins where the last one has put the Axes."""
    axes = [(ax, ax.get_position(original=True), ax.get_position(), ax.get_in_layout()) for ax in figure.axes]
    rasterized = [(artist, artist.get_rasterized()) for ax in figure.axes for artist in ax.collections]
    gids = [(text, text.get_gid()) for ax in figure.axes for text in ax.texts]
    try:
        yield
    finally:
        for ax, original, active, in_layout in axes:
            ax.set_position(original, which="original")
            ax.set_position(active, which="active")
            ax.set_in_layout(in_layout)
        for artist, value in rasterized:
            artist.set_rasterized(value)
        for text, gid in gids:
            text.set_gid(gid)
