"""Curves of training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skvae.plotting.labels import COLORS
from skvae.types import Axes


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
