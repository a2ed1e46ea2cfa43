"""Matrices of Matrix Market, `.mtx`, with files of names beside them: those of 10x Genomics, STARsolo or kallisto."""

import re

from skvae.files import find_file
from skvae.reading.cells import Contents
from skvae.reading.faults import listed, whole_file
from skvae.reading.name_files import find_names, read_names, without_header
from skvae.reading.tenx import only_expression
from skvae.reading.text import notes_of_end

SUFFIX = re.compile(r"\.mtx(\.gz)?$")
EXPECTED = (
    "matrix.mtx, features.tsv or genes.tsv, and barcodes.tsv, each plain or .gz, with the same beginning of names"
)


def read_folder(path):
    """Return the contents of a folder that holds one matrix, and the names of its genes and cells."""
    matrix = find_matrix(path)
    files = find_names(matrix, stem_of(matrix))
    missing = [what for what, file in files.items() if file is None]
    if missing:
        raise ValueError(f"it holds {held(path)}, but no names of {' or '.join(missing)}; expected {EXPECTED}.")
    return read_named(matrix, files)


def read_market(path):
    """Return the contents of a matrix, with the names that are found beside it."""
    return read_named(path, find_names(path, stem_of(path)))


def stem_of(matrix):
    return SUFFIX.sub("", matrix.name)


def held(folder):
    return listed(sorted(file.name for file in folder.iterdir())) or "nothing"


def find_matrix(folder):
    """Return the only matrix of a folder; one named matrix.mtx comes before others."""
    found = {stem_of(file): file for file in sorted(folder.iterdir(), reverse=True) if SUFFIX.search(file.name)}
    named = [file for stem, file in found.items() if stem.endswith("matrix")] or list(found.values())
    if len(named) == 1:
        return named[0]
    if named:
        names = listed(sorted(file.name for file in named))
        raise ValueError(f"it holds several matrices, {names}; expected one. Give the name of one of these files.")
    below = sorted({file.parent.name for file in folder.glob("*/*.mtx*")})
    hint = f" There are matrices in {listed(below)} below it: give the name of one of these folders." if below else ""
    raise ValueError(f"it is a folder that holds {held(folder)}; expected {EXPECTED}.{hint}")


def read_named(path, files):
    """Return the contents of a matrix and of its files of names, {"genes": file or None, "cells": file or None}."""
    from scipy.io import mmread

    find_file(path)
    with whole_file("a matrix in the format Matrix Market"):
        values = mmread(path)
    notes = list(notes_of_end(path))
    axes = {what: read_names(file, what) for what, file in files.items()}
    for what in lengths_of(axes):
        length = len(axes[what].names)
        if length not in values.shape and length - 1 in values.shape:
            axes[what] = without_header(axes[what])
            notes.append(f"The first line of {files[what].name} was left out as a header: it has one more than {what}.")
    side = find_side(values.shape, lengths_of(axes), files)
    rows, columns = (axes["cells"], axes["genes"]) if side == "columns" else (axes["genes"], axes["cells"])
    return only_expression(Contents(values, rows, columns, side, tuple(notes)))


def lengths_of(axes):
    return {what: len(axis.names) for what, axis in axes.items() if axis.names is not None}


def find_side(shape, lengths, files):
    """Return where the genes are: in rows, as 10x has them, if the names fit so; None without any names."""
    if not lengths:
        return None
    orders = {"rows": ("genes", "cells"), "columns": ("cells", "genes")}
    for side, order in orders.items():
        if all(lengths.get(what, size) == size for what, size in zip(order, shape, strict=True)):
            return side
    found = " and ".join(f"{length} names in {files[what].name}" for what, length in lengths.items())
    raise ValueError(f"there are {found} for a matrix of shape {tuple(shape)}; expected one for each row and column.")
