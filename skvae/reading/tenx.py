"""Matrices of 10x Genomics in HDF5, `.h5`, of CellRanger 3 and later, and of version 2."""

from dataclasses import replace

import numpy as np
from scipy import sparse

from skvae.files import task_in_errors
from skvae.reading.cells import Axis, Contents
from skvae.reading.faults import listed, whole_file
from skvae.reading.hdf5 import find_parts, open_hdf5, read_column

KIND = "a matrix of 10x Genomics"
EXPRESSION = "Gene Expression"


def read_tenx(path, layer, max_bytes):  # noqa: ARG001, all of it is read
    """Return the contents of a file of 10x, of which `layer` names the genome if it holds several."""
    with task_in_errors(f"cannot read {path}"), open_hdf5(path) as file:
        group = find_matrix(file, layer)
        features = group.get("features", group)
        names = ("id", "name") if "features" in group else ("genes", "gene_names")
        ids, symbols = find_parts(features, names, KIND)
        about = {"gene_ids": read_column(ids)}
        for name, column in (("feature_type", "feature_types"), ("genome", "genome")):
            if name in features:
                about[column] = read_column(features[name])
        genes = Axis(read_column(symbols), about, may_repeat=True)
        cells = Axis(read_column(*find_parts(group, ("barcodes",), KIND)))
        return only_expression(Contents(read_values(group), genes, cells, genes_in="rows"))


def find_matrix(file, layer):
    """Return the group of the matrix: one of that name, or in version 2 one for each genome."""
    if "matrix" in file:
        if layer is not None:
            raise ValueError(f"layer == {layer!r}, but the file holds one matrix alone; expected None.")
        return file["matrix"]
    genomes = [name for name in file if hasattr(file[name], "keys") and "gene_names" in file[name]]
    if not genomes:
        find_parts(file, ("matrix",), KIND)
    if layer is None and len(genomes) > 1:
        raise ValueError(f"it holds a matrix for each of the genomes {genomes}; expected one, which layer chooses.")
    if layer is not None and layer not in genomes:
        raise ValueError(f"layer == {layer!r}, must be None or one of {genomes}.")
    return file[layer or genomes[0]]


def read_values(group):
    """Return the matrix, genes in rows, which is stored column by column."""
    names = ("data", "indices", "indptr", "shape")
    data, indices, indptr, shape = map(read_column, find_parts(group, names, KIND))
    with whole_file("a matrix"):
        matrix = sparse.csc_matrix((data, indices, indptr), shape=tuple(map(int, shape)))
        matrix.check_format(full_check=True)
    return matrix


def only_expression(contents):
    """Return contents without features of other types than expression, such as antibodies."""
    genes = contents.columns if contents.genes_in == "columns" else contents.rows
    if "feature_types" not in genes.about:
        return contents
    types = np.asarray(genes.about["feature_types"], dtype=object)
    is_kept = types == EXPRESSION
    if is_kept.all():
        return contents
    others = sorted(set(types[~is_kept]))
    if not is_kept.any():
        raise ValueError(f"its features are of the types {listed(others)}; expected some of the type '{EXPRESSION}'.")
    kept = Axis(
        np.asarray(genes.names, dtype=object)[is_kept],
        {name: np.asarray(column)[is_kept] for name, column in genes.about.items()},
        genes.may_repeat,
    )
    notes = (*contents.notes, f"{(~is_kept).sum()} features were left out, which are no genes but {listed(others)}.")
    values = sparse.csr_matrix(contents.values)
    if contents.genes_in == "columns":
        return replace(contents, values=values[:, is_kept], columns=kept, notes=notes)
    return replace(contents, values=values[is_kept], rows=kept, notes=notes)
