"""Plots as functions of matplotlib Axes: each draws, and returns the artists it drew.

The only file that imports matplotlib, and only when a figure is made.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

# Paul Tol's "muted" scheme: distinct also for colour-blind readers. Labels beyond nine begin again.
COLORS = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")


def make_figure(n_rows, n_columns, *, size=4.0, projection=None):
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
    axes : ndarray of Axes of shape (n_rows, n_columns)
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size * n_columns, size * n_rows), layout="constrained", dpi=150)
    axes = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw={"projection": projection})
    return figure, axes


def plot_embedding(ax, Z, labels, names):
    """Draw embedded points coloured by label.

    Parameters
    ----------
    ax : Axes
        Three-dimensional if Z is.
    Z : ndarray of shape (n_samples, 2) or (n_samples, 3)
        Embedded points.
    labels : ndarray of int of shape (n_samples,)
        Label of each point, in [0, len(names)).
    names : sequence
        Names of the labels. The legend keeps their order, and colours follow it.

    Returns
    -------
    artists : list of PathCollection
        One a label, in the order of `names`.
    """
    if Z.shape[1] not in (2, 3):
        raise ValueError(f"Z has {Z.shape[1]} columns, must have 2 or 3.")
    artists = [
        ax.scatter(
            *Z[labels == label].T,
            s=4,
            color=COLORS[label % len(COLORS)],
            label=name,
            linewidths=0,
            alpha=0.8,
        )
        for label, name in enumerate(names)
    ]
    ax.set(xticks=[], yticks=[])
    if Z.shape[1] == 3:
        ax.set(zticks=[])
        ax.set_box_aspect(None, zoom=1.3)
    return artists


def plot_clusters(axes, Z, labels, names, clusters, centroids):
    """Draw the known types beside the clusters found, with the clusters' centroids.

    A cluster has the colour of the type it is matched with, one to one, so that the most points keep their colour.

    Parameters
    ----------
    axes : sequence of two Axes
        For the types and for the clusters.
    Z : ndarray of shape (n_samples, 2)
        The points that were clustered.
    labels : ndarray of int of shape (n_samples,)
        Known types.
    names : sequence of str
        Names of the types.
    clusters : ndarray of int of shape (n_samples,)
        Clusters.
    centroids : ndarray of shape (n_clusters, 2)
        Their centroids.

    Returns
    -------
    artists : list
        Points by type, points by matched type, centroids.
    """
    types_ax, clusters_ax = axes
    artists = plot_embedding(types_ax, Z, labels, names)
    types_ax.set(title="known types")
    n_colors = max(len(names), len(centroids))
    shared = np.zeros((n_colors, n_colors), dtype=int)
    np.add.at(shared, (clusters, labels), 1)
    _, matched_type = linear_sum_assignment(shared, maximize=True)
    artists += plot_embedding(clusters_ax, Z, matched_type[clusters], range(n_colors))
    artists.append(clusters_ax.scatter(*centroids.T, marker="X", s=70, color="black", edgecolor="white"))
    clusters_ax.set(title="k-means")
    return artists


def plot_scores(ax, scores, row_names, column_names):
    """Draw a heat map of scores with their values.

    Parameters
    ----------
    ax : Axes
    scores : ndarray of shape (n_rows, n_columns)
        In [0, 1].
    row_names, column_names : sequence of str

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


def plot_activation(ax, Z, labels, names):
    """Draw a heat map of the mean of each latent dimension over the samples of each label.

    Parameters
    ----------
    ax : Axes
    Z : ndarray of shape (n_samples, n_components)
        Embedded samples.
    labels : ndarray of int of shape (n_samples,)
        Label of each sample, in [0, len(names)).
    names : sequence of str
        Names of the labels, each of which some sample has.

    Returns
    -------
    image : AxesImage
        For a colour bar. Zero is white.
    """
    means = np.array([Z[labels == label].mean(axis=0) for label in range(len(names))])
    largest = np.abs(means).max()
    image = ax.imshow(means, vmin=-largest, vmax=largest, cmap="RdBu_r", aspect="auto")
    ax.set_yticks(range(len(names)), names)
    ax.set(xticks=range(Z.shape[1]), xlabel="latent dimension")
    return image


def plot_history(ax, history):
    """Draw the terms of the objective over epochs: reconstruction on the left axis, the latent's on the right.

    Parameters
    ----------
    ax : Axes
    history : dict of str to ndarray of shape (n_epochs,)
        An estimator's `history_`, in nats a sample.

    Returns
    -------
    artists : list of Line2D
        The curve of each term.
    """
    epochs = np.arange(1, len(history["reconstruction"]) + 1)
    artists = ax.plot(epochs, history["reconstruction"], color=COLORS[1], label="-log p(x|z)")
    ax.set(xlabel="epoch", ylabel="-log p(x|z), nats")
    kl_ax = ax.twinx()
    artists += kl_ax.plot(epochs, history["kl"], color=COLORS[0], label="KL(q || p)")
    kl_ax.set(ylabel="KL, nats", ylim=(0, None))
    ax.legend(handles=artists, loc="upper right")
    return artists
