"""Chunks of arrays on disk that are not there: whether they were left out or lost."""

import math


def check_chunks(array, name):
    """Return an array on disk, such that a chunk that is lost later on is an error, and a warning if one is absent now.

    An absent chunk reads as the fill value, most often 0: zarr leaves out those that hold nothing else, unless it was
    told not to, and HDF5 those that nobody wrote. A lost one cannot be told from these, so that absent chunks are no
    more than a warning. They are an OSError only where zarr is configured to write all, `array.write_empty_chunks`, or
    where there is no fill value.

    Parameters
    ----------
    array : array of zarr, dataset of h5py, or any other, which is taken to be whole
    name : str
        Of the matrix that it is, or is a part of.

    Returns
    -------
    array : array
    warning : str or None
    """
    package = type(array).__module__.partition(".")[0]
    if package == "zarr":
        from skvae.stores.whole import leaves_out_zeros, open_whole

        array, n_there, n_chunks = open_whole(array)
        fill, may_be_absent = array.fill_value, array.fill_value is not None and leaves_out_zeros()
    elif package == "h5py":
        n_there, n_chunks = count_chunks(array)
        fill, may_be_absent = array.fillvalue, True
    else:
        return array, None
    are_there = f"{n_there} of {n_chunks} chunks of {array.name} are there"
    if n_there == n_chunks:
        return array, None
    if not may_be_absent:
        raise OSError(f"{are_there}; was it truncated?")
    return array, (
        f"{name}: {are_there}, and the others read as {fill}. They were left out when it was written, as zarr does "
        "with those that hold nothing else, or are lost, which looks the same. Expected all: to write all, set "
        "zarr.config.set({'array.write_empty_chunks': True}) before."
    )


def count_chunks(dataset):
    """Return how many chunks of a dataset of HDF5 were written, and how many it has; one if it is in a single piece."""
    if dataset.is_virtual:  # parts of other files
        return 1, 1
    if dataset.chunks is None:
        return int(dataset.id.get_storage_size() > 0), int(dataset.size > 0)
    n_chunks = math.prod(math.ceil(length / size) for length, size in zip(dataset.shape, dataset.chunks, strict=True))
    return dataset.id.get_num_chunks(), n_chunks
