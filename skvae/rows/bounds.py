"""Bounds of minibatches outside training: as many rows as the memory for their largest array admits."""

# Elements of the largest array of a minibatch outside training, unless the fewest rows have more: 2**22 float64 values
# are 32 MB.
MAX_MINIBATCH_ELEMENTS = 2**22

# The rows of a minibatch outside training are a multiple of this: BLAS and vector units round otherwise where there are
# few rows or the number is odd, so that the last bits of a row would depend on the rows beside it.
ROW_MULTIPLE = 64


def bounded_minibatches(rows, n_outputs=1):
    """Yield slices of rows such that no array of a minibatch, with `n_outputs` elements a row or fewer, is large."""
    return minibatch_slices(len(rows), max(rows.row_size, n_outputs))


def minibatch_slices(n_rows, row_size):
    """Yield slices of so many rows, each of that many elements, that a minibatch is not large."""
    size = max(1, int(MAX_MINIBATCH_ELEMENTS / row_size / ROW_MULTIPLE)) * ROW_MULTIPLE
    # scikit-learn's gen_batches would check its arguments for as long as a single row takes to be encoded
    return (slice(first, min(first + size, n_rows)) for first in range(0, n_rows, size))
