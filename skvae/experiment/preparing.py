"""Preparing: from a source to the counts that all models see, of the cells that are kept and the genes that vary."""

from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import sparse

from skvae.experiment.quality import Bounds, control
from skvae.experiment.sources import Counts, DatasetSource, FileSource
from skvae.experiment.stages import parts_of
from skvae.feature_selection import VariableGeneSelector
from skvae.stores import RowStore

SOURCES = {source.__name__: source for source in (DatasetSource, FileSource)}

# Of rows that are loaded at a time from a file that is too large for memory.
MAX_BYTES = 2**27


def settings_of(source, bounds: Bounds | None, n_genes: int | None) -> dict[str, Any]:
    """Return the settings of `prepare` as plain values, those of the files that it reads among them."""
    return {
        "source": [type(source).__name__, asdict(source)],
        "files": source.files(),
        "bounds": None if bounds is None else asdict(bounds),
        "n_genes": n_genes,
    }


def prepare(*, source, files, bounds, n_genes):  # noqa: ARG001, the result depends on what is in the files
    """Read counts, drop cells and genes by quality control, and select genes.

    Parameters
    ----------
    source : (str, dict)
        Key of `SOURCES`, and settings.
    files : list
        Sizes and times of the files that are read.
    bounds : dict or None
        Of quality control; None keeps all.
    n_genes : int or None
        Number of genes to select; None for all.

    Returns
    -------
    arrays : dict of ndarray
        The parts of the CSR matrix; `cells`, `genes`, `target`, `target_names` and `batch` of it; `selected`, the genes
        of the source; `is_large`, whether its matrix stays on disk; and what `control` returns.
    """
    name, settings = source
    counts = read(source)
    quality = keep_all(counts) if bounds is None else control(counts.values, counts.genes, Bounds(**bounds))
    kept = quality["kept_cells"]
    check_kept(counts, quality, settings.get("path", name))
    selected = quality["kept_genes"].copy()
    if n_genes is not None and selected.sum() > n_genes:
        few = load_some(counts, kept, np.flatnonzero(selected))
        selected[selected] = VariableGeneSelector(n_genes).fit(few).get_support()
    target, target_names = types_of(counts, kept)
    return {
        **parts_of(load(counts.values, np.flatnonzero(kept), np.flatnonzero(selected))),
        **quality,
        "cells": counts.cells[kept],
        "genes": counts.genes[selected],
        "selected": selected,
        "is_large": np.array(isinstance(counts.values, RowStore)),
        "target_names": target_names,
        "notes": np.array(counts.notes, dtype=str),
        **({} if target is None else {"target": target}),
        **({} if counts.batch is None else {"batch": counts.batch[kept]}),
    }


def read(source) -> Counts:
    """Read a source, given as the key of `SOURCES` and its settings."""
    name, settings = source
    return SOURCES[name](**settings).read()


def keep_all(counts):
    n_cells, n_genes = counts.values.shape
    return {"kept_cells": np.ones(n_cells, bool), "kept_genes": np.ones(n_genes, bool)}


def check_kept(counts: Counts, quality, path):
    n_cells, n_genes = quality["kept_cells"].sum(), quality["kept_genes"].sum()
    if min(n_cells, n_genes) < 2:
        bounds = ", ".join(
            f"--{name.replace('_', '-')} {quality[name]:.4g}" for name in Bounds.names if name in quality
        )
        raise ValueError(
            f"quality control keeps {n_cells} of the {len(counts.cells)} cells and {n_genes} of the "
            f"{len(counts.genes)} genes of {path}, with {bounds or 'all bounds off'}; expected two of each or more. "
            "--no-qc keeps all; --min-genes, --max-genes, --max-mitochondrial and --min-cells set the bounds."
        )


def types_of(counts: Counts, kept):
    """Return the index of the known type of each cell that is kept, and the names of the types that these have."""
    if counts.target is None:
        return None, counts.target_names
    there = np.unique(counts.target[kept])
    there = there[there >= 0]
    if len(there) == 0:
        raise ValueError(f"none of the {kept.sum()} cells that are kept has a known type; expected some that have.")
    index = np.full(len(counts.target_names) + 1, -1)  # the last one, -1, stands for no type
    index[there] = np.arange(len(there))
    return index[counts.target[kept]], counts.target_names[there]


def load(values, rows, columns):
    """Return some rows and columns as a CSR matrix; of a store, block by block."""
    if not isinstance(values, RowStore):
        return sparse.csr_matrix(values[rows][:, columns])
    parts = []
    for block in values.blocks():
        wanted = rows[slice(*np.searchsorted(rows, [block.start, block.stop]))]
        if len(wanted):
            parts.append(sparse.csr_matrix(values[block][wanted - block.start][:, columns]))
    return sparse.vstack(parts, format="csr")


def load_some(counts: Counts, kept, columns):
    """Return the columns of all kept rows, or of as many as memory is for, evenly drawn."""
    rows = np.flatnonzero(kept)
    return load(counts.values, rows[evenly(len(rows), rows_in_memory(counts.values))], columns)


def rows_in_memory(values):
    """Return how many rows may be loaded at a time."""
    return values.rows_in(MAX_BYTES) if isinstance(values, RowStore) else values.shape[0]


def evenly(n, n_taken):
    """Return so many of n indices, in order."""
    return np.arange(n) if n_taken >= n else np.linspace(0, n - 1, n_taken, dtype=int)
