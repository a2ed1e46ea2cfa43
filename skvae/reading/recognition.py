"""Recognition: which of two lists of names are those of genes, and which those of cells."""

import re

import numpy as np

from skvae.reading.cells import Side

# Of human and mouse, as symbols and as ids; a genome may stand before them, as in hg19_ACTB.
GENE = re.compile(
    r"""(?:[A-Za-z0-9.]+_+)?
    (?: MT-(?:ND[1-6]L?|CO[123]|CYB|ATP[68]|RNR[12]|T[A-Z][12]?)
      | (?:M?RP[LS]\d+[AXYL]?\d*|ACTB|GAPDH|B2M|MALAT1|XIST|NEAT1|LINC\d{5}|(?:AC|AL|AP)\d{6}\.\d+)
      | ENS[A-Z]*G\d{6,}(?:\.\d+)? | FBgn\d{7} | WBGene\d{8} | AT[1-5MC]G\d{5}
      | GENE[ _.-]?\d+
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# A barcode may have a sample before it, and a number or an x after it.
CELL = re.compile(r"(?<![A-Za-z])[ACGT]{10,}x?(?![A-Za-z])|^cell[ _.-]?\d+$", re.IGNORECASE)

# Names by which cells are recognised, if most of them look like those of cells.
N_SEEN = 1000


def find_genes(rows, columns) -> Side | None:
    """Return where the genes are by the names of rows and columns, each a list or None; None if these do not tell."""
    of_rows, of_columns = kind_of(rows), kind_of(columns)
    if of_rows == of_columns:
        return None
    return "rows" if "gene" in of_rows or "cell" in of_columns else "columns"


def kind_of(names):
    """Return "cell" or "gene", or "" for names that are known as neither."""
    if names is None or len(names) == 0:
        return ""
    seen = np.linspace(0, len(names) - 1, min(N_SEEN, len(names)), dtype=int)
    if np.mean([CELL.search(names[place]) is not None for place in seen]) > 0.5:
        return "cell"
    return "gene" if any(GENE.fullmatch(name) for name in names) else ""
