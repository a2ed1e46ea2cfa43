"""What is read: the matrix that a file holds, as it stands there, and the cells that are made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scipy import sparse

from skvae.stores import RowStore

if TYPE_CHECKING:
    import pandas

# Where the genes are in the matrix of a file; the cells are in the other.
Side = Literal["rows", "columns"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Counts of cells, with their names and those of the genes.

    Attributes
    ----------
    counts : CSR matrix or RowStore of shape (n_cells, n_genes)
        float32. A matrix has sorted columns, each once, and stores no zeros. Blocks of a store are the same when they
        are read, but those of a dense matrix, which stay dense.
    obs : pandas.DataFrame of n_cells rows
        What the file tells of the cells; its index are their names, str, each once.
    var : pandas.DataFrame of n_genes rows
        The same of the genes.
    path : Path
        The file or folder.
    notes : tuple of str
        Sentences that say what was decided while reading.
    """

    counts: sparse.csr_matrix | RowStore
    obs: "pandas.DataFrame"
    var: "pandas.DataFrame"
    path: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Axis:
    """The rows or the columns of the matrix in a file.

    Parameters
    ----------
    names : sequence of str or None
        None if the file has none.
    about : mapping of str to array-like
        Columns of a table: a value for each row, or column, of the matrix.
    may_repeat : bool
        Whether names may stand there more than once, as symbols of genes do that have an id besides.
    """

    names: Any = None
    about: Mapping[str, Any] = field(default_factory=dict)
    may_repeat: bool = False


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file holds, in its own order.

    Parameters
    ----------
    values : sparse matrix or RowStore of shape (n_rows, n_columns)
    rows, columns : Axis
    genes_in : {"rows", "columns"} or None
        Where genes are by the rules of the format; None if it has none, so that their names tell.
    notes : tuple of str
    """

    values: Any
    rows: Axis
    columns: Axis
    genes_in: Side | None = None
    notes: tuple[str, ...] = ()
