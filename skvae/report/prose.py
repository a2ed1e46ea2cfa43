"""Paragraphs and notes."""

from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.text import escape, render_prose


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Parameters
    ----------
    text : str
        Shown as it is, but for `code` between backticks and links, [words](address). `literal` makes such markup of a
        text that may have backticks and brackets of its own.

    Examples
    --------
    >>> from skvae.report import Paragraph
    >>> from skvae.report.anchors import Anchors
    >>> Paragraph("Fitted with `BetaVAE`, see [QC](#qc).").to_html(Anchors())
    '<p>Fitted with <code>BetaVAE</code>, see <a href="#qc" rel="noreferrer">QC</a>.</p>'
    """

    text: str

    def to_html(self, anchors: Anchors) -> str:
        return f"<p>{render_prose(self.text)}</p>"


@dataclass(frozen=True)
class Note:
    """A paragraph that stands out, such as a warning.

    Parameters
    ----------
    text : str
        As in `Paragraph`.
    title : str, default="Note"
        What stands above it.
    """

    text: str
    title: str = "Note"

    def to_html(self, anchors: Anchors) -> str:
        title = escape(self.title)
        return f'<div class="note" role="note"><p class="note-title">{title}</p><p>{render_prose(self.text)}</p></div>'
