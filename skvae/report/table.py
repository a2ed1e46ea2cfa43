"""Tables."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from skvae.report.anchors import Anchors
from skvae.report.element import render_caption
from skvae.report.text import escape

# A number, perhaps after a bound such as "<", with a deviation after it, a percent sign, or separators of thousands.
NUMBER = re.compile(r"[<>≤≥≈~]?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[+-]?\d+)?)\s*%?(?:\s*±.*)?", re.I)
# What may stand in a column of numbers where there is none.
BLANK = {"", "-", "\N{EN DASH}", "\N{EM DASH}"}


@dataclass(frozen=True)
class Table:
    """A table that scrolls sideways by itself, and that the reader can sort by each column.

    Parameters
    ----------
    header : sequence of str
        The names of the columns.
    rows : sequence of sequences
        Of as many cells, of which the `str` is shown. The first one names its row. A column is right-aligned if it has
        numbers alone, such as "1,234", "<1e-300", "0.72 ± 0.01" or "12%"; "", "-" and dashes stand for missing ones.
    caption : str, default=""
        Prose above the table, as in `Paragraph`.

    Raises
    ------
    ValueError
        If a row has another number of cells than the header.

    Examples
    --------
    >>> from skvae.report import Table
    >>> table = Table(["type", "cells"], [["B", 344], ["NK", 155]])
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def __post_init__(self):
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(f"row {number} has {len(row)} cells, expected {len(self.header)} as in the header.")

    def to_html(self, anchors: Anchors) -> str:
        rows = [[str(cell) for cell in row] for row in self.rows]
        numeric = [is_numeric([row[place] for row in rows]) for place in range(len(self.header))]
        head = "".join(render_cell('th scope="col"', *cell) for cell in zip(self.header, numeric, strict=True))
        body = "\n".join(f"<tr>{render_row(row, numeric)}</tr>" for row in rows)
        return (
            f'<figure class="table">{render_caption(self.caption)}<div class="scroll"><table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div></figure>"
        )


def number_in(text: str) -> float | None:
    """Return the number that a cell shows, None if it shows none."""
    match = NUMBER.fullmatch(text.strip().replace("\N{MINUS SIGN}", "-"))
    digits = match[1].replace(",", "") if match else ""
    try:
        return float(digits)
    except ValueError:  # nothing but a sign or an exponent
        return None


def is_numeric(cells: Sequence[str]) -> bool:
    """Return whether a column has numbers alone, and at least one."""
    filled = [cell for cell in cells if cell.strip() not in BLANK]
    return bool(filled) and all(number_in(cell) is not None for cell in filled)


def render_row(cells, numeric):
    """Return the cells of a row, the first as its heading."""
    first, *others = zip(cells, numeric, strict=True)
    return render_cell('th scope="row"', *first) + "".join(render_cell("td", *cell) for cell in others)


def render_cell(start, text, numeric):
    """Return a cell of that start tag; the number in it, by which the page sorts, is its value."""
    number = number_in(text) if numeric else None
    inner = escape(text) if number is None else f'<data value="{number!r}">{escape(text)}</data>'
    place = ' class="number"' if numeric else ""
    return f"<{start}{place}>{inner}</{start[:2]}>"
