"""Files of loom: a dense matrix of genes in rows, in HDF5, with attributes of its rows and columns."""

from scipy import sparse

from skvae.files import task_in_errors
from skvae.reading.cells import Axis, Contents
from skvae.reading.faults import whole_file
from skvae.reading.hdf5 import find_parts, open_hdf5, read_column
from skvae.reading.values import N_PEEKED

# Bytes of the dense block that is read at a time.
BLOCK_BYTES = 2**24

OF_GENES = ("Gene", "Accession", "gene_names", "var_names")
OF_CELLS = ("CellID", "obs_names", "cell_names")


def read_loom(path, layer, max_bytes):  # noqa: ARG001, all of it is read
    """Return the contents of a file of loom, or of one of its layers."""
    with task_in_errors(f"cannot read {path}"), open_hdf5(path) as file:
        matrix = find_layer(file, layer)
        rows, columns = find_parts(file, ("row_attrs", "col_attrs"), "the attributes of a file of loom")
        n_genes, n_cells = matrix.shape
        genes = read_axis(rows, OF_GENES, n_genes, may_repeat=True)
        cells = read_axis(columns, OF_CELLS, n_cells, may_repeat=False)
        return Contents(read_blocks(matrix), genes, cells, genes_in="rows")


def find_layer(file, layer):
    (matrix,) = find_parts(file, ("matrix",), "a file of loom")
    layers = file.get("layers", {})
    if layer is not None and layer not in layers:
        raise ValueError(f"layer == {layer!r}, must be None or one of {list(layers)}.")
    matrix = matrix if layer is None else layers[layer]
    if len(matrix.shape) != 2:
        raise ValueError(f"{matrix.name} has the shape {matrix.shape}; expected genes and cells.")
    return matrix


def read_axis(group, names, length, may_repeat):
    """Return names and one-dimensional attributes of rows or columns."""
    columns = {name: group[name] for name in group if getattr(group[name], "shape", None) == (length,)}
    about = {name: read_column(column) for name, column in columns.items()}
    found = next((about.pop(name) for name in names if name in about), None)
    return Axis(found, about, may_repeat)


def read_blocks(matrix):
    """Return a dense matrix on disk as CSR: whole rows of chunks at a time."""
    n_rows, n_columns = matrix.shape
    chunk = matrix.chunks[0] if matrix.chunks else 1
    step = max(1, BLOCK_BYTES // max(1, n_columns * matrix.dtype.itemsize * chunk)) * chunk
    with whole_file("a matrix of loom"):
        parts = [sparse.csr_matrix(matrix[start : start + step]) for start in range(0, n_rows, step)]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix(matrix.shape)


def peek_loom(path):
    """Return the first rows of each matrix of a file, by its layer."""
    with open_hdf5(path) as file:
        found = {None: file["matrix"], **file.get("layers", {})}
        return {layer: matrix[: max(1, N_PEEKED // max(1, matrix.shape[1]))] for layer, matrix in found.items()}
