"""Files of anndata, `.h5ad` and `.zarr`: the matrix stays on disk if it is large."""

import math
from contextlib import contextmanager

import numpy as np

from skvae.files import task_in_errors
from skvae.reading.cells import Axis, Contents
from skvae.reading.faults import listed, whole_file
from skvae.reading.values import N_PEEKED
from skvae.stores import RowStore
from skvae.stores.containers import OPENERS, close_file, places_of

KIND = "a file of anndata"


def read_annotated(path, layer, max_bytes):
    """Return the contents of a file of anndata; "raw" is the matrix of `raw`, with its own genes."""
    with task_in_errors(f"cannot read {path}"), open_group(path) as group:
        place = find_place(group, layer)
        with whole_file(KIND):
            obs, var = (read_axis(group[part]) for part in ("obs", "raw/var" if place == "raw/X" else "var"))
            is_large = bytes_of(group[place]) > max_bytes
            values = None if is_large else load_columns(group[place])
    if values is None:
        values = load_rows(path, layer, is_large)
    notes = ("The matrix is large and stays on disk; blocks of it are read.",) if is_large else ()
    return Contents(values, obs, var, genes_in="columns", notes=notes)


def find_place(group, layer):
    """Return where a layer is in a file, X for None."""
    places = places_of(group)
    there = [name for name, place in places.items() if place in group]
    if layer in there:
        return places[layer]
    if layer is None:
        raise ValueError(
            f"it holds {listed(sorted(group)) or 'nothing'}; expected X, or the name of a layer of {there}."
        )
    raise ValueError(f"layer == {layer!r}, must be None or one of {[name for name in there if name is not None]}.")


@contextmanager
def open_group(path):
    with whole_file(KIND):
        group = OPENERS[path.suffix](path)
    try:
        yield group
    finally:
        close_file(group)


def read_axis(group):
    from anndata.io import read_elem

    table = read_elem(group)
    return Axis(list(table.index), {str(name): table[name].array for name in table.columns})


def load_columns(element):
    """Return a column-major matrix in memory, None for any other: a store reads rows alone."""
    from anndata.io import read_elem

    return read_elem(element) if element.attrs.get("encoding-type") == "csc_matrix" else None


def load_rows(path, layer, is_large):
    """Return a RowStore, or what it reads, so that a chunk that is lost is found; it says how to convert columns."""
    store = RowStore(path, layer=layer)
    if is_large:
        return store
    try:
        return store[:]
    finally:
        store.close()


def bytes_of(element):
    parts = [element] if hasattr(element, "dtype") else [element["data"], element["indices"]]
    return sum(math.prod(part.shape) * np.dtype(part.dtype).itemsize for part in parts)


def peek_annotated(path):
    """Return the first rows of each matrix of a file, or the first values of a sparse one, by its layer."""
    with open_group(path) as group:
        found = {layer: group[place] for layer, place in places_of(group).items() if place in group}
        is_matrix = {layer: hasattr(element, "dtype") or "data" in element for layer, element in found.items()}
        return {layer: first_values(element) for layer, element in found.items() if is_matrix[layer]}


def first_values(element):
    """Return some values of an array, or of a group of a sparse matrix."""
    if hasattr(element, "dtype"):
        return np.asarray(element[: max(1, N_PEEKED // max(1, element.shape[-1]))])
    return np.asarray(element["data"][:N_PEEKED])
