"""Figures of matplotlib."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skvae.plotting import figure_to_svg
from skvae.report.anchors import Anchors
from skvae.report.element import render_caption
from skvae.report.svg import embed_svg

if TYPE_CHECKING:
    from skvae.plotting import Figure


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of matplotlib, in the colours of the page; where the window is narrow it scrolls sideways by itself.

    Parameters
    ----------
    figure : Figure
        Such as one of `skvae.plotting.make_figure`.
    alt : str
        What it shows, for those who do not see it.
    caption : str, default=""
        Prose below it, as in `Paragraph`.
    """

    figure: "Figure"
    alt: str
    caption: str = ""

    def to_html(self, anchors: Anchors) -> str:
        svg = embed_svg(figure_to_svg(self.figure), anchors.make("picture"), self.alt)
        caption = render_caption(self.caption)
        kind = "picture flat" if is_flat(self.figure) else "picture"
        return f'<figure class="{kind}"><div class="scroll">{svg}</div>{caption}</figure>'


def is_flat(figure):
    """Return whether bitmaps in a figure have but colours of categories, which are lighter on a dark page."""
    collections = [collection for ax in figure.axes for collection in ax.collections]
    return not any(ax.images for ax in figure.axes) and all(one.get_array() is None for one in collections)
