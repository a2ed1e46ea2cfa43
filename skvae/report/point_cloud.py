"""Maps of points that the reader turns, zooms and filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from skvae.plotting import MARKERS, check_points, figure_to_svg, make_figure, style_of
from skvae.report.anchors import Anchors
from skvae.report.element import render_caption
from skvae.report.groups import Group, code_groups
from skvae.report.packing import dump_json, pack_codes, pack_points
from skvae.report.svg import embed_svg
from skvae.report.text import escape


@dataclass(frozen=True, eq=False)
class PointCloud:
    """A map of points, in two dimensions or in three, coloured by groups.

    The page draws it: readers zoom, turn it if it has three dimensions, choose the colouring, and hide groups.
    Without scripts it is a picture in the first colouring.

    Parameters
    ----------
    points : array-like of shape (n_points, 2) or (n_points, 3)
        Finite numbers. They are packed as 16-bit integers, with an error of at most 1/131070 of a column's range.
    colourings : dict of str to sequence of Group
        By name, such as "cluster", at least one; see `make_groups`. Points of no group are grey.
    alt : str
        What the map shows, for those who do not see it.
    caption : str, default=""
        Prose below it, as in `Paragraph`.

    Raises
    ------
    ValueError
        If the points have another shape or are not finite, there is no colouring, or a colouring has a point twice or
        an index that no point has.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.report import PointCloud, make_groups
    >>> cloud = PointCloud(np.eye(3), {"known type": make_groups(["B", "NK", "B"])}, "Three cells of two types")
    """

    points: ArrayLike
    colourings: Mapping[str, Sequence[Group]]
    alt: str
    caption: str = ""

    def __post_init__(self):
        points = check_array(self.points, dtype=np.float64, input_name="points")
        if points.shape[1] not in (2, 3):
            raise ValueError(f"points has the shape {points.shape}, must have 2 or 3 columns.")
        if not self.colourings:
            raise ValueError("colourings is empty, must have at least one colouring.")
        for groups in self.colourings.values():
            code_groups(groups, len(points))

    def to_html(self, anchors: Anchors) -> str:
        points = np.asarray(self.points, dtype=np.float64)
        colourings = {name: code_groups(groups, len(points)) for name, groups in self.colourings.items()}
        data = {
            "label": str(self.alt),
            "points": pack_points(points),
            "colourings": [
                {"name": str(name), "groups": describe(groups), **pack_codes(codes)}
                for name, (groups, codes) in colourings.items()
            ],
        }
        first, _ = next(iter(colourings.values()))
        svg = embed_svg(figure_to_svg(draw(points, first)), anchors.make("map"), self.alt)
        return (
            f'<figure class="cloud"><script type="application/json">{dump_json(data)}</script>'
            f'<noscript>{svg}<ul class="legend">{render_legend(first)}</ul></noscript>'
            f"{render_caption(self.caption)}</figure>"
        )


def describe(groups):
    """Return what the legend tells of groups; of those of one colour, each has the next marker."""
    colours = [group.colour.lower() for group in groups]
    return [
        {
            "name": str(group.name),
            "colour": colour,
            "marker": MARKERS[colours[:place].count(colour) % len(MARKERS)],
            "size": np.size(group.members),
        }
        for place, (group, colour) in enumerate(zip(groups, colours, strict=True))
    ]


def draw(points, groups):
    """Return the figure that stands in where no script runs, with the markers of the page."""
    figure, [[ax]] = make_figure(1, 1, size=5, projection="3d" if points.shape[1] == 3 else None)
    points = check_points(ax, points)
    for group, look in zip(groups, describe(groups), strict=True):
        members = np.asarray(group.members, dtype=int)
        ax.scatter(*points[members].T, color=group.colour, marker=look["marker"], **style_of(points))
    return figure


def render_legend(groups):
    return "".join(
        f'<li><span class="mark" style="background:var(--hue-{group.colour[1:].lower()},{group.colour})"></span> '
        f"{escape(group.name)}</li>"
        for group in groups
    )
