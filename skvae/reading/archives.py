"""Archives of numpy, `.npz`: a sparse matrix of scipy, with arrays of names and labels beside its own."""

import zipfile

import numpy as np
from scipy import sparse

from skvae.files import find_file
from skvae.reading.cells import Axis, Contents
from skvae.reading.faults import listed, whole_file

OF_GENES = ("genes", "feature_names", "var_names", "gene_names")
OF_CELLS = ("cells", "obs_names", "cell_names", "barcodes")

MATRICES = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
OF_MATRIX = ("format", "shape", "data", "indices", "indptr", "row", "col", "_is_array")


def read_archive(path):
    """Return the contents of an archive: cells in rows, as scipy.sparse.save_npz writes them."""
    find_file(path)
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of arrays; expected one of scipy.sparse.save_npz. Was it cut short?")
    with whole_file("an archive of arrays"), np.load(path, allow_pickle=False) as archive:
        arrays = {name: read_array(archive, name) for name in archive.files}
    values = matrix_of(arrays)
    n_rows, n_columns = values.shape
    labels = with_levels({name: array for name, array in arrays.items() if name not in OF_MATRIX})
    cells = axis_of(labels, OF_CELLS, n_rows)
    genes = axis_of({name: array for name, array in labels.items() if name not in cells.about}, OF_GENES, n_columns)
    return Contents(values, cells, genes, genes_in="columns")


def read_array(archive, name):
    try:
        return archive[name]
    except ValueError as error:
        raise ValueError(
            f"the array {name!r} cannot be loaded ({error}), as where it holds objects: make it numpy.array({name}, "
            "dtype=str)"
        ) from error


def matrix_of(arrays):
    """Return the sparse matrix of an archive, CSR unless it says otherwise."""
    kind = arrays["format"].item() if "format" in arrays else b"csr"
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    names = ("row", "col") if kind == "coo" else ("indices", "indptr")
    missing = {"data", "shape", *names} - set(arrays)
    if missing or kind not in (*MATRICES, "coo"):
        raise ValueError(
            f"it holds the arrays {listed(arrays)} and a matrix of the format {kind!r}; expected a CSR matrix of cells "
            "in rows, as scipy.sparse.save_npz writes it."
        )
    data, shape = arrays["data"], tuple(map(int, arrays["shape"]))
    # scipy takes integers of at least 32 bits
    first, second = (arrays[name].astype(np.int64) for name in names)
    with whole_file("a sparse matrix"):
        if kind == "coo":
            return sparse.coo_matrix((data, (first, second)), shape=shape)
        matrix = MATRICES[kind]((data, first, second), shape=shape)
        matrix.check_format(full_check=True)
        return matrix


def with_levels(arrays):
    """Return arrays in which names stand for numbers of them, as those of type_names for the numbers in type."""
    labelled = dict(arrays)
    for name, numbers in arrays.items():
        names = arrays.get(f"{name}_names")
        if names is not None and is_index(numbers, len(names)):
            labelled[name] = names[numbers]
            del labelled[f"{name}_names"]
    return labelled


def is_index(numbers, length):
    return numbers.dtype.kind in "iu" and numbers.min(initial=0) >= 0 and numbers.max(initial=0) < length


def axis_of(arrays, names, length):
    """Return the names and the labels among arrays that are those of rows, or of columns, by their length."""
    found = next((arrays[name] for name in names if name in arrays), None)
    about = {
        name: array for name, array in arrays.items() if array.shape == (length,) and name not in (*OF_CELLS, *OF_GENES)
    }
    return Axis(found, about)
