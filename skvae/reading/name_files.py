"""Files of names beside a matrix, such as `features.tsv.gz` and `barcodes.tsv`."""

import re
from itertools import product

from skvae.files import find_file
from skvae.reading.cells import Axis
from skvae.reading.faults import whole_file

WORDS = {"genes": ("features", "genes"), "cells": ("barcodes", "cells")}
ENDINGS = tuple(map("".join, product((".tsv", ".txt", ".csv"), ("", ".gz"))))


def find_names(matrix, stem):
    """Return {"genes": file or None, "cells": file or None} beside the file of a matrix.

    Their names begin as that of the matrix does, wholly or without its last word, or with the word itself.
    """
    beginnings = [*(stem + mark for mark in "._-"), re.sub(r"[^._-]*$", "", stem), ""]
    files = {}
    for what, words in WORDS.items():
        places = (matrix.with_name("".join(parts)) for parts in product(beginnings, words, ENDINGS))
        files[what] = next((place for place in places if place.is_file()), None)
    return files


def read_names(file, what):
    """Return the names in a table without a header, an axis without names for None."""
    if file is None:
        return Axis()
    import pandas as pd

    find_file(file)
    separator = "," if ".csv" in file.suffixes else "\t"
    with whole_file(f"a list of names, {file.name},"):
        table = pd.read_csv(file, sep=separator, header=None, dtype=str, keep_default_na=False)
    return AXES[what]([table[name].to_numpy(dtype=object) for name in table], file)


def axis_of_cells(columns, file):  # noqa: ARG001
    return Axis(columns[0])


def axis_of_genes(columns, file):
    """Return symbols of genes, which stand after their ids and, since CellRanger 3, before their types."""
    if len(columns) == 1:
        return Axis(columns[0], may_repeat=True)
    about = {"gene_ids": columns[0]}
    if len(columns) > 2 and "features" in file.name:
        about["feature_types"] = columns[2]
    return Axis(columns[1], about, may_repeat=True)


AXES = {"cells": axis_of_cells, "genes": axis_of_genes}


def without_header(axis):
    return Axis(axis.names[1:], {name: column[1:] for name, column in axis.about.items()}, axis.may_repeat)
