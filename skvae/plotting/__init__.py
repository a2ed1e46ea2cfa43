"""Plots as functions of matplotlib Axes: each draws, and returns the artists it drew.

The only folder that imports matplotlib, and only when a figure is made.
"""

from typing import TYPE_CHECKING

from skvae.plotting.checks import plot_predictive_check
from skvae.plotting.curves import plot_history
from skvae.plotting.dimensions import plot_loadings, plot_stability, plot_traversal
from skvae.plotting.figures import FIXED, MAX_PAGE_POINTS, figure_to_svg, make_figure
from skvae.plotting.heat_maps import plot_activation, plot_programs, plot_scores
from skvae.plotting.labels import COLORS, MARKERS, MISSING, index_labels
from skvae.plotting.points import MAX_VECTOR_POINTS, check_points, plot_clusters, plot_embedding, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure

__all__ = [
    "COLORS",
    "FIXED",
    "MARKERS",
    "MAX_PAGE_POINTS",
    "MAX_VECTOR_POINTS",
    "MISSING",
    "check_points",
    "figure_to_svg",
    "index_labels",
    "make_figure",
    "plot_activation",
    "plot_clusters",
    "plot_embedding",
    "plot_history",
    "plot_loadings",
    "plot_predictive_check",
    "plot_programs",
    "plot_scores",
    "plot_stability",
    "plot_traversal",
    "style_of",
]
