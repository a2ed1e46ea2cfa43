"""Assembly: cells in rows and genes in columns, with names that fit, of what a file holds in its own order."""

import warnings

import numpy as np

from skvae.files import task_in_errors
from skvae.reading.cells import Axis, Cells, Contents
from skvae.reading.faults import listed
from skvae.reading.recognition import find_genes
from skvae.reading.values import as_matrix, as_store, find_first
from skvae.stores import RowStore

OTHER = {"rows": "columns", "columns": "rows"}


def assemble(path, contents: Contents, genes_in) -> Cells:
    """Return the cells of a file.

    Parameters
    ----------
    path : Path
    contents : Contents
    genes_in : {"rows", "columns"} or None
        What the user says, who is right.
    """
    values, rows, columns = contents.values, as_text(contents.rows), as_text(contents.columns)
    with task_in_errors(f"cannot read {path}"):
        check_fit(values.shape, rows, columns)
        side, of_side = orient(contents.genes_in, find_genes(rows.names, columns.names), genes_in)
        if side == "rows":
            values, rows, columns = transpose(values), columns, rows
        obs, of_obs = table_of(rows, values.shape[0], "cell")
        var, of_var = table_of(columns, values.shape[1], "gene")
        counts = None if isinstance(values, RowStore) else counts_of(values, obs, var)
    if counts is None:
        counts = as_store(values)  # which names the file in its errors itself
    return Cells(counts, obs, var, path, (*contents.notes, *of_side, *of_obs, *of_var))


def as_text(axis):
    names = None if axis.names is None else [str(name) for name in axis.names]
    return Axis(names, axis.about, axis.may_repeat)


def check_fit(shape, *axes):
    for length, axis, what in zip(shape, axes, OTHER, strict=True):
        if axis.names is not None and len(axis.names) != length:
            raise ValueError(
                f"it has {len(axis.names)} names for the {length} {what} of its matrix of shape {tuple(shape)}; "
                "expected a name for each. Write names and matrix anew, from the same data."
            )


def orient(of_format, of_names, wanted):
    """Return where the genes are, and notes: the user is right, then the format, then the names."""
    if wanted is not None:
        note = f"By their names genes are in {of_names}, but genes_in={wanted!r} was followed."
        return wanted, (note,) if of_names not in (None, wanted) else ()
    if of_format is not None:
        if of_names not in (None, of_format):
            raise ValueError(
                f"genes and cells are swapped: by their names genes are in {of_names}; expected them in {of_format}. "
                f"Read it with genes_in={of_names!r}, or write it anew: of an AnnData object, adata.T."
            )
        return of_format, ()
    if of_names is not None:
        note = "The file has genes in rows, as names show; it was transposed."
        return of_names, (note,) if of_names == "rows" else ()
    return "columns", (
        "The names of neither rows nor columns are known as those of genes or cells; rows were taken for cells. "
        "genes_in='rows' takes them for genes.",
    )


def transpose(values):
    if isinstance(values, RowStore):
        raise ValueError(
            f"it has genes in rows, and at {values.shape} is too large to be transposed while it is read; expected "
            "cells in rows. Write adata.T anew, or give a larger max_bytes."
        )
    return values.T


def table_of(axis, length, what):
    """Return a data frame with the names of cells or genes as its index, and notes."""
    import pandas as pd

    if axis.names is None:
        names, notes = (
            [f"{what} {number}" for number in range(1, length + 1)],
            (f"The file has no names of {what}s; they were named {what} 1 to {what} {length}.",),
        )
    else:
        names, notes = unique_names(axis, what)
    index, columns = (pd.Index(labels, dtype=object) for labels in (names, list(axis.about)))
    return pd.DataFrame(dict(axis.about), index=index, columns=columns), notes


def unique_names(axis, what):
    """Return names that stand there once each, and notes."""
    import pandas as pd

    index = pd.Index(axis.names, dtype=object)
    if index.is_unique:
        return index, ()
    repeated = index[index.duplicated()]
    found = f"{len(repeated)} names of {what}s are there more than once, such as {listed(repeated.unique())}"
    if not axis.may_repeat:
        raise ValueError(
            f"{found}; expected each once. Make them unique, as adata.{'obs' if what == 'cell' else 'var'}_names_make_"
            "unique() does, and write the file anew."
        )
    from anndata.utils import make_index_unique

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Suffix used")  # of names that end in numbers themselves
        return make_index_unique(index), (f"{found}; they were made unique by -1, -2 and so on.",)


def counts_of(values, obs, var):
    """Return a matrix in memory as counts, all of them finite."""
    counts = as_matrix(values)
    fault = find_first(counts, lambda data: ~np.isfinite(data))
    if fault is not None:
        value, row, column = fault
        raise ValueError(
            f"it holds {value} for the cell {obs.index[row]!r} and the gene {var.index[column]!r}; expected finite "
            "numbers. Leave such cells out, or fill in the counts."
        )
    return counts
