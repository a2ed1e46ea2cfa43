"""Sections of a document."""

from collections.abc import Sequence
from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.element import Element, render_all
from skvae.report.text import escape


@dataclass(frozen=True)
class Section:
    """A part of a document that its contents list.

    Parameters
    ----------
    title : str
        Its heading.
    elements : sequence of elements
        What it shows, from top to bottom.
    """

    title: str
    elements: Sequence[Element]

    def to_html(self, anchor: str, anchors: Anchors) -> str:
        """Return the section as HTML, with an id from the document."""
        heading = f'<h2 id="{anchor}-title"><a href="#{anchor}">{escape(self.title)}</a></h2>'
        inner = render_all(self.elements, anchors)
        return f'<section id="{anchor}" aria-labelledby="{anchor}-title">\n{heading}\n{inner}\n</section>'
