"""Text as HTML: escaped, and in prose with code and links."""

import html
import re

# What HTML cannot hold: control characters, and halves of surrogate pairs.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

# A character after a backslash, `code`, and [words](address). An address that runs a script is none of these.
MARKUP = re.compile(
    r"\\(?P<literal>[\\`\[\]])"
    r"|`(?P<code>[^`]+)`"
    r"|\[(?P<words>(?:\\.|[^\\\[\]])+)\]\((?P<address>(?:https?://|mailto:|#)[^\s()]+)\)"
)


def escape(text: object) -> str:
    """Return a text as HTML that shows it, in an element or in a quoted attribute."""
    return html.escape(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text)))


def literal(text: object) -> str:
    r"""Return a text as markup that shows it, such as the name of a gene within a paragraph.

    Parameters
    ----------
    text : object
        Its `str` is shown.

    Returns
    -------
    markup : str
        For `Paragraph`, `Note` and captions.

    Examples
    --------
    >>> from skvae.report import literal
    >>> print(literal("[CD4]"))
    \[CD4\]
    """
    return re.sub(r"[\\`\[\]]", r"\\\g<0>", str(text))


def render_prose(markup: str) -> str:
    """Return prose as HTML: `code` between backticks, links as [words](address), a backslash before literal ones."""
    pieces, end = [], 0
    for match in MARKUP.finditer(markup):
        pieces += [escape(markup[end : match.start()]), RENDERERS[str(match.lastgroup)](match)]
        end = match.end()
    return "".join([*pieces, escape(markup[end:])])


def render_link(match):
    return f'<a href="{escape(match["address"])}" rel="noreferrer">{render_prose(match["words"])}</a>'


# By the last group of MARKUP that matched.
RENDERERS = {
    "literal": lambda match: escape(match["literal"]),
    "code": lambda match: f"<code>{escape(match['code'])}</code>",
    "address": render_link,
}
