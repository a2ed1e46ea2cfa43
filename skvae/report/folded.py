"""What unfolds at a click."""

from collections.abc import Sequence
from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.element import Element, render_all
from skvae.report.text import escape


@dataclass(frozen=True)
class Folded:
    """Elements that are hidden until the reader unfolds them; in print they are shown.

    Parameters
    ----------
    summary : str
        What stands in their place.
    elements : sequence of elements
        What is folded.
    """

    summary: str
    elements: Sequence[Element]

    def to_html(self, anchors: Anchors) -> str:
        inner = render_all(self.elements, anchors)
        return f'<details class="folded"><summary>{escape(self.summary)}</summary>\n{inner}\n</details>'
