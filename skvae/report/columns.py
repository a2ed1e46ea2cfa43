"""Elements side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.element import Element, render_all


@dataclass(frozen=True)
class Columns:
    """Elements side by side, two in a row where the window is wide enough for it.

    Parameters
    ----------
    elements : sequence of elements
        Such as maps that readers compare.
    """

    elements: Sequence[Element]

    def to_html(self, anchors: Anchors) -> str:
        return f'<div class="columns">\n{render_all(self.elements, anchors)}\n</div>'
