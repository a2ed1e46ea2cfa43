"""Values: numbers of a file as float32, in CSR matrices that are the same bits whatever format they came in."""

import numpy as np
from scipy import sparse

from skvae.stores import RowStore
from skvae.stores.sources import canonical, check_numbers

# Values by which is judged whether a matrix holds whole numbers.
N_PEEKED = 2**18


def as_matrix(values):
    """Return a sparse or a dense matrix as CSR in float32, with sorted columns, each once, and without zeros stored."""
    matrix = sparse.csr_matrix(values)
    check_numbers("the matrix", matrix)
    matrix.check_format(full_check=True)
    matrix = canonical(matrix)
    data = as_float32(matrix.data)
    index_dtype = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    indices, indptr = (array.astype(index_dtype, copy=False) for array in (matrix.indices, matrix.indptr))
    counts = sparse.csr_matrix((data, indices, indptr), shape=matrix.shape)
    counts.eliminate_zeros()
    return counts


def as_float32(values):
    """Return values in float32; raise a ValueError for whole numbers that it would round."""
    with np.errstate(over="ignore"):  # to infinity, which is told of later
        rounded = values.astype(np.float32, copy=False)
    if values.dtype != np.float32 and not np.array_equal(rounded, values, equal_nan=values.dtype.kind == "f"):
        changed = values[(rounded != values) & (values == np.rint(values)) & np.isfinite(values)]
        if len(changed):
            raise ValueError(f"it holds {changed[0]}, which is no float32; expected counts of at most {2**24}.")
    return rounded


def as_store(store: RowStore) -> RowStore:
    """Return a store whose blocks have values as `as_matrix` makes them, and none that are not finite."""
    return store.map(block_of_counts)


def block_of_counts(rows):
    block = as_matrix(rows) if sparse.issparse(rows) else as_float32(rows)
    values = block.data if sparse.issparse(block) else block
    if not np.isfinite(values).all():
        fault = values[~np.isfinite(values)][0]
        raise ValueError(f"it holds {fault}; expected finite numbers. Leave such cells out, or fill in the counts.")
    return block


def find_first(counts, is_wanted):
    """Return the value, row and column of the first value of a CSR matrix that is wanted, or None."""
    places = np.flatnonzero(is_wanted(counts.data))
    if len(places) == 0:
        return None
    row = int(np.searchsorted(counts.indptr, places[0], side="right")) - 1
    return counts.data[places[0]], row, int(counts.indices[places[0]])
