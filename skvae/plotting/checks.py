"""Checks of a model: what it expects beside the data."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skvae.plotting.labels import COLORS
from skvae.types import Axes

AXES = {
    "zeros": "share of zeros of a feature",
    "means": "mean of a feature",
    "variances": "variance of a feature",
    "totals": "total of a row",
    "correlations": "correlation of two features",
}


def plot_predictive_check(ax: Axes, check: Bunch, statistic: str) -> list[Any]:
    """Draw a statistic of samples of the model against that of the data, each value with its interval.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    check : Bunch
        What `posterior_predictive_check` returned.
    statistic : {"zeros", "means", "variances", "totals", "correlations"}
        The statistic. Means, variances and totals of which none is negative have logarithmic axes, linear next to 0.

    Returns
    -------
    artists : list
        The intervals, the values inside their interval, those outside, and the line on which both would be the same.
    """
    if statistic not in AXES:
        raise ValueError(f"statistic == {statistic!r}, must be one of {list(AXES)}.")
    values, (inside_color, outside_color) = check[statistic], (COLORS[1], COLORS[0])
    colors = np.where(values.inside, inside_color, outside_color)
    artists = [ax.vlines(values.data, values.lower, values.upper, color=colors, linewidth=0.6, alpha=0.5)]
    for name, color, chosen in (("inside", inside_color, values.inside), ("outside", outside_color, ~values.inside)):
        label = f"{name} the interval ({np.mean(chosen):.0%})"
        artists.append(ax.scatter(values.data[chosen], values.expected[chosen], s=6, color=color, label=label))
    ends = np.array([values.data.min(), values.data.max()])
    artists += ax.plot(ends, ends, color="black", linewidth=0.8)
    if statistic in ("means", "variances", "totals") and values.data.min() >= 0 < values.data.max():
        least = values.data[values.data > 0].min()
        ax.set_xscale("symlog", linthresh=least)
        ax.set_yscale("symlog", linthresh=least)
        ax.set(xlim=(-least / 2, None), ylim=(-least / 2, None))
    ax.set(title=AXES[statistic], xlabel="data", ylabel=f"samples, with {check.level:.0%} intervals")
    ax.legend(frameon=False, markerscale=2)
    return artists
