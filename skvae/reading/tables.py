"""Tables of text, `.csv`, `.tsv` and `.txt`: names in the first line and the first column, numbers in the others."""

import csv
from itertools import chain, islice

import numpy as np
from scipy import sparse

from skvae.reading.cells import Axis, Contents
from skvae.reading.faults import listed
from skvae.reading.text import lines_of, notes_of_end

SEPARATORS = ("\t", ",", ";", " ")

# Numbers that are parsed at a time, dense.
N_PARSED = 2**20

NAMES = "names in its first line and its first column, and numbers in the others"


def read_table(path):
    """Return the contents of a table, which is sparse in memory while it is read."""
    lines = lines_of(path, "a table of text")
    header, first = next(lines, ""), next(lines, "")
    separator = find_separator(header, first)
    columns = names_of_columns(fields_of(header, separator), len(fields_of(first, separator)) - 1)
    names, parts = [], []
    n_lines = max(1, N_PARSED // len(columns))
    lines = chain([first], lines)
    while batch := list(islice(lines, n_lines)):
        of_rows, values = parse(batch, separator, columns)
        names += of_rows
        parts.append(values)
    if len(set(names)) < len(names) and all(map(is_number, names)):
        raise ValueError(f"its first column holds numbers that repeat, {listed(names)}; expected {NAMES}.")
    matrix = sparse.vstack(parts, format="csr")
    return Contents(matrix, Axis(names), Axis(columns), notes=notes_of_end(path))


def find_separator(header, first):
    """Return what separates the fields of the first two lines, the first of which may lack the one above the names."""
    for separator in SEPARATORS:
        n_names, n_fields = (len(fields_of(line, separator)) for line in (header, first))
        if n_fields > 1 and n_names in (n_fields, n_fields - 1):
            return separator
    raise ValueError(
        f"its first two lines begin with {header[:40]!r} and {first[:40]!r}; expected {NAMES}, with as many fields in "
        f"each line, parted by one of {list(SEPARATORS)}. Was the file cut short?"
    )


def fields_of(line, separator):
    """Return the fields of a line, of which some may be quoted."""
    text = line.rstrip("\r\n")
    return next(csv.reader([text], delimiter=separator), []) if '"' in text else text.split(separator)


def names_of_columns(header, n_columns):
    """Return the names in the first line, without what stands above those of the rows."""
    if len(header) > n_columns and all(map(is_number, header)):
        raise ValueError(f"its first line holds numbers, {listed(header)}; expected {NAMES}.")
    return [name.strip() for name in header[len(header) - n_columns :]]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def parse(batch, separator, columns):
    """Return the names of some rows, and their values as CSR."""
    names, numbers = zip(*(split_name(line, separator) for line in batch), strict=True)
    try:
        if not all(map(str.strip, numbers)):
            raise ValueError("a row without values")
        values = np.loadtxt(numbers, delimiter=separator, quotechar='"', comments=None, ndmin=2)
        if values.shape != (len(batch), len(columns)):
            raise ValueError("rows of other lengths")
    except ValueError as error:
        raise ValueError(find_fault(batch, separator, columns) or str(error)) from error
    return names, sparse.csr_matrix(values)


def split_name(line, separator):
    """Return the first field of a line, which may be quoted, and the rest."""
    line = line.rstrip("\r\n")
    end = line.find(f'"{separator}', 1) if line.startswith('"') else -1
    if end > 0:
        return line[1:end].strip().replace('""', '"'), line[end + 2 :]
    name, _, rest = line.partition(separator)
    return name.strip(), rest


def find_fault(batch, separator, columns):
    """Return what is wrong with the first row of some that cannot be parsed, or None."""
    for line in batch:
        name, *fields = fields_of(line, separator)
        if len(fields) != len(columns):
            return (
                f"its row {name!r} holds {len(fields)} values; expected {len(columns)}, as in the first. Was the file "
                "cut short?"
            )
        for column, text in zip(columns, fields, strict=True):
            if not is_number(text):
                return (
                    f"its row {name!r} holds {text!r} in the column {column!r}; expected a number. Leave columns of "
                    "labels out, and fill in what is missing."
                )
    return None
