"""Figures: where plots are drawn, and how they are written into a page."""

import io
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Points up to which those of a vector graphic in a page are drawn one by one, where each is an element.
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
