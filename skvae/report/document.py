"""A document, and the page around its sections."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import quote

from skvae.report.anchors import Anchors
from skvae.report.section import Section
from skvae.report.text import escape
from skvae.version import VERSION

# One script: what a file declares, the next ones know, and nothing else does.
SCRIPTS = ("report.js", "points.js", "painter.js", "cloud.js")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><g fill="#665aa6"><circle cx="9" cy="8" r="4"/>'
    '<circle cx="17" cy="13" r="4"/><circle cx="7" cy="17" r="4"/></g><g fill="#cc6677"><circle cx="23" cy="20" r="4"/>'
    '<circle cx="15" cy="25" r="4"/><circle cx="25" cy="28" r="4"/></g></svg>'
)


@dataclass(frozen=True)
class Document:
    """A report, one HTML file that loads nothing.

    Parameters
    ----------
    title : str
        What it is about.
    subtitle : str
        A sentence below the title.
    sections : sequence of Section
        From top to bottom.

    Examples
    --------
    >>> from skvae.report import Document, Paragraph, Section
    >>> document = Document("PBMC 3k", "Nine types of cells", [Section("Data", [Paragraph("2,638 cells.")])])
    >>> "<h1>PBMC 3k</h1>" in document.to_html()
    True
    """

    title: str
    subtitle: str
    sections: Sequence[Section]

    def to_html(self) -> str:
        """Return the document as the text of an HTML file, to be written as UTF-8; the same at each call."""
        anchors = Anchors()
        # headings have an id of their own
        names = [anchors.make(section.title) for section in self.sections]
        inner = "\n".join(section.to_html(name, anchors) for section, name in zip(self.sections, names, strict=True))
        contents = render_contents(self.sections, names)
        return f"""<!doctype html>
<html lang="en">
<head>
{render_head(self.title)}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<details class="contents-fold"><summary>Contents</summary>{contents}</details>
<div class="page">
<header><h1>{escape(self.title)}</h1><p class="subtitle">{escape(self.subtitle)}</p></header>
<div class="contents-side">{contents}</div>
<main id="main" tabindex="-1">
{inner}
</main>
<footer>Made with skvae {escape(VERSION)}.</footer>
</div>
<script>{read_scripts()}</script>
</body>
</html>
"""


def read(name: str) -> str:
    """Return the text of a file of this folder."""
    return files("skvae.report").joinpath(name).read_text(encoding="utf-8")


def read_scripts() -> str:
    """Return the script of the page."""
    return '"use strict";\n{\n' + "\n".join(map(read, SCRIPTS)) + "}"


def render_contents(sections, names):
    links = (
        f'<li><a href="#{name}">{escape(section.title)}</a></li>' for section, name in zip(sections, names, strict=True)
    )
    return f'<nav aria-label="Contents"><ol>{"".join(links)}</ol></nav>'


def render_head(title):
    """Return the head of the page, whose policy lets no other script run and nothing be loaded."""
    digest = base64.b64encode(hashlib.sha256(read_scripts().encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    return f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:image/svg+xml,{quote(ICON)}">
<style>{read("report.css")}</style>"""
