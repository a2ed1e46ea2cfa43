"""The ids of a document, each of which it has once."""

import re


class Anchors:
    """Give ids that a document does not have yet.

    Examples
    --------
    >>> from skvae.report.anchors import Anchors
    >>> anchors = Anchors()
    >>> anchors.make("Quality control"), anchors.make("Quality control")
    ('quality-control', 'quality-control-2')
    """

    def __init__(self):
        self._used = {"main"}

    def make(self, text: str) -> str:
        """Return a new id, of letters, digits and hyphens, that reads like the text."""
        stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "part"
        anchor, number = stem, 1
        while anchor in self._used:
            number += 1
            anchor = f"{stem}-{number}"
        self._used.add(anchor)
        return anchor
