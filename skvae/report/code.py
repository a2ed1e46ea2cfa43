"""Program text."""

from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.text import escape


@dataclass(frozen=True)
class Code:
    """Program text, with a button that copies it.

    Parameters
    ----------
    text : str
        The program.
    language : str, default="python"
        What it is written in.
    """

    text: str
    language: str = "python"

    def to_html(self, anchors: Anchors) -> str:
        # a parser drops the first line feed of a pre
        return (
            f'<div class="code"><p class="language">{escape(self.language)}</p>'
            f'<pre class="scroll">\n<code>{escape(self.text)}</code></pre></div>'
        )
