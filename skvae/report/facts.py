"""Key figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.text import escape


@dataclass(frozen=True)
class Facts:
    """Key figures, each with what it is.

    Parameters
    ----------
    pairs : sequence of (str, object)
        What it is, such as "cells", and the figure, of which the `str` is shown.
    """

    pairs: Sequence[tuple[str, object]]

    def to_html(self, anchors: Anchors) -> str:
        facts = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in self.pairs)
        return f'<dl class="facts">{"".join(facts)}</dl>'
