"""What the elements of a report have in common."""

from collections.abc import Iterable
from typing import Protocol

from skvae.report.anchors import Anchors
from skvae.report.text import render_prose


class Element(Protocol):
    """A part of a section that knows its own HTML."""

    def to_html(self, anchors: Anchors) -> str:
        """Return the element as HTML, with ids from `anchors`."""


def render_all(elements: Iterable[Element], anchors: Anchors) -> str:
    """Return elements as HTML, one after the other."""
    return "\n".join(element.to_html(anchors) for element in elements)


def render_caption(caption: str) -> str:
    """Return prose as the caption of a figure, nothing if it is empty."""
    return f"<figcaption>{render_prose(caption)}</figcaption>" if caption else ""
