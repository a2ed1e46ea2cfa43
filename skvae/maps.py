"""Memory maps: arrays in memory that are files, and what has to be known of a file before its pages are touched."""

import mmap

import numpy as np
from scipy import sparse


def memory_map(array):
    """Return the memmap whose memory an array shares, or None."""
    while array is not None:
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename is not None:
            return array
        array = getattr(array, "base", None)
    return None


def arrays_of(X):
    """Return X if it is an array, and the arrays of a sparse matrix."""
    parts = [getattr(X, name, None) for name in ("data", "indices", "indptr", "coords")] if sparse.issparse(X) else [X]
    arrays = [array for part in parts for array in (part if isinstance(part, tuple) else [part])]
    return [array for array in arrays if isinstance(array, np.ndarray)]


def memory_maps(X):
    """Return the memmaps whose memory an array, or the parts of a sparse matrix, share."""
    return [mapped for mapped in map(memory_map, arrays_of(X)) if mapped is not None]


def check_maps(X, task="cannot read"):
    """Raise an OSError if a file ends before the memory map of it: to touch a page beyond would kill the process."""
    for mapped in memory_maps(X):
        expected = mapped.offset + mapped.nbytes
        size = mapped.base.size()  # of the file that was mapped, even if its name is another's now
        if size < expected:
            raise OSError(
                f"{task} {mapped.filename}: it ends after {size} of the {expected} bytes that were mapped; was it "
                "truncated?"
            )


def is_of_joblib(mapped):
    """Return whether joblib made a memory map, of what was an array in memory where its workers were started."""
    return "joblib_memmapping_folder" in str(mapped.filename)


def read_array(array, start, stop):
    """Return a part of an array, copied to memory."""
    check_maps(array)
    part = np.array(array[start:stop])
    release(array)
    return part


def release(array):
    """Let go of the pages of a memory map, which would count as memory of this process; they stay cached."""
    mapped = memory_map(array)
    # what was written to a copy on write is nowhere else
    if mapped is not None and mapped.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        mapped.base.madvise(mmap.MADV_DONTNEED)
