"""Parts of HDF5 files that are none of anndata."""

from contextlib import contextmanager

from skvae.files import find_file
from skvae.reading.faults import listed, whole_file


@contextmanager
def open_hdf5(path):
    import h5py

    find_file(path)
    with whole_file("a file of HDF5"):
        file = h5py.File(path)
    with file:
        yield file


def find_parts(group, names, kind):
    """Return parts of a group, or raise a ValueError that lists what it holds."""
    missing = [name for name in names if name not in group]
    if missing:
        raise ValueError(
            f"{group.name} holds {listed(sorted(group)) or 'nothing'}, and not {listed(missing)}; expected {kind}. Is "
            "it of another format than its name says?"
        )
    return [group[name] for name in names]


def read_column(dataset):
    """Return a dataset of one dimension, its strings as str."""
    import h5py

    with whole_file("a file of HDF5"):
        return dataset[:] if h5py.check_string_dtype(dataset.dtype) is None else dataset.asstr()[:]
