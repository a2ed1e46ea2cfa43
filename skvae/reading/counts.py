"""Whether cells hold counts, and which matrix of their file does if they do not."""

import numpy as np
from scipy import sparse

from skvae.reading.annotated import peek_annotated
from skvae.reading.cells import Cells
from skvae.reading.loom import peek_loom
from skvae.reading.values import find_first
from skvae.stores import RowStore

PEEKERS = {".h5ad": peek_annotated, ".zarr": peek_annotated, ".loom": peek_loom}

# Blocks of a store, evenly spread, by which it is judged.
N_JUDGED = 32

WRONG = {
    "a negative number": lambda values: values < 0,
    "no whole number": lambda values: values != np.rint(values),
}


def check_counts(cells: Cells) -> None:
    r"""Raise a ValueError for cells whose values are no counts.

    Of a store some blocks are read, from its beginning to its end.

    Parameters
    ----------
    cells : Cells
        Of `read_cells`.

    Raises
    ------
    ValueError
        If there are fewer than two cells or genes, all values are 0, or some are negative or no whole numbers, as after
        a normalisation. The message names other matrices of the file that hold whole numbers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.reading import check_counts, read_cells
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "logs.csv")
    ...     _ = path.write_text("cell,ACTB,GAPDH\ncell 1,0.69,0\ncell 2,0,1.1\n")
    ...     cells = read_cells(path)
    >>> check_counts(cells)
    Traceback (most recent call last):
        ...
    ValueError: ...logs.csv holds 0.69 for the cell 'cell 1' and the gene 'ACTB', no whole number; expected counts...
    """
    n_cells, n_genes = cells.counts.shape
    if min(n_cells, n_genes) < 2:
        raise ValueError(f"{cells.path} holds {n_cells} cells and {n_genes} genes; expected two of each or more.")
    for start, rows in read_blocks(cells.counts, N_JUDGED):
        check_block(cells, start, rows)
    if not any(rows.nnz for _, rows in read_blocks(cells.counts)):
        raise ValueError(f"{cells.path} holds nothing but zeros; expected counts.{remedy(cells)}")


def read_blocks(counts, n_blocks=None):
    """Give the first row of each block and the block as CSR: a matrix in memory is one; None for all of a store."""
    if not isinstance(counts, RowStore):
        yield 0, counts
        return
    blocks = counts.blocks()
    for place in np.linspace(0, len(blocks) - 1, min(n_blocks or len(blocks), len(blocks)), dtype=int):
        yield blocks[place].start, sparse.csr_matrix(counts[blocks[place]])


def check_block(cells, start, rows):
    """Raise a ValueError for the first value of some rows, from the cell at `start`, that is no count."""
    for what, is_wrong in WRONG.items():
        fault = find_first(rows, is_wrong)
        if fault is not None:
            value, row, column = fault
            raise ValueError(
                f"{cells.path} holds {value:g} for the cell {cells.obs.index[start + row]!r} and the gene "
                f"{cells.var.index[column]!r}, {what}; expected counts, before any normalisation or scaling."
                f"{remedy(cells)}"
            )


def remedy(cells):
    """Return a sentence that names matrices of the file that hold counts, if there can be any."""
    if cells.path.suffix not in PEEKERS:
        return ""
    matrices = PEEKERS[cells.path.suffix](cells.path)
    names = [f"layer={layer!r}" for layer, values in matrices.items() if are_counts(values)]
    return f" Whole numbers are in {' and '.join(names)}." if names else " No other matrix of the file holds them."


def are_counts(values):
    """Return whether some values are whole numbers, none negative and not all 0."""
    if values.dtype.kind not in "biuf":
        return False
    return bool((values >= 0).all() and (values == np.rint(values)).all() and values.any())
