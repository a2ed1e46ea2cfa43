"""Heat maps: a colour for each row and column."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skvae.plotting.labels import check_dense, index_labels
from skvae.types import Axes, BatchLike, MatrixLike, Names

if TYPE_CHECKING:
    from matplotlib.image import AxesImage


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


def plot_programs(
    ax: Axes,
    consensus: BaseEstimator,
    X: MatrixLike,
    groups: ArrayLike,
    names: Names = None,
    *,
    batch: BatchLike = None,
    feature_names: Names = None,
    n_top: int = 2,
) -> "AxesImage":
    """Draw a heat map of the mean code of each program over the samples of each group.

    The means of a program are shares of the largest of them: one of few rows has large codes there, which would hide
    all others.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    consensus : ConsensusEmbedding
        Fitted.
    X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
        Data like that of `fit`.
    groups : array-like of shape (n_samples,)
        Category of each sample, such as its type or cluster, see `plot_embedding`. Samples without one are left out.
    names : sequence, default=None
        The categories from top to bottom.
    batch : {array-like, data frame, dict} of n_samples rows, default=None
        The batch of each row, if the estimators need it.
    feature_names : array-like of str, default=None
        Names for `program_features`.
    n_top : int >= 0, default=2
        Number of features that stand behind the number of a program, which is its column in `transform`.

    Returns
    -------
    image : AxesImage
        For a colour bar, from 0 to 1, or from -1 where codes are negative.

    Raises
    ------
    ValueError
        If no program is stable.
    """
    image = plot_activation(ax, consensus.transform(X, batch=batch), groups, names)
    means = np.asarray(image.get_array())
    image.set_data(means / np.maximum(np.nanmax(np.abs(means), axis=0), np.finfo(float).tiny))
    image.set_clim(-1 if np.nanmin(means) < 0 else 0, 1)
    features = consensus.program_features(max(1, n_top), feature_names=feature_names).names[:, :n_top]
    labels = [f"{number}: {', '.join(map(str, top))}" if n_top else str(number) for number, top in enumerate(features)]
    ax.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    ax.set(xlabel="program")
    return image
