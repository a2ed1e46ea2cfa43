"""Faults of files in one sentence, whatever library found them."""

from contextlib import contextmanager

# Names of files, layers or genes that a message lists.
N_LISTED = 5


@contextmanager
def whole_file(kind):
    """Say in the errors of a library that the file may be cut short, or of another kind than its name says.

    Libraries raise whatever their parts do for a broken file. What the system says of a file, such as that it may not
    be read, stays as it is; so does the lack of a package.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except OSError as error:
        raise error if error.errno is not None else OSError(fault_of(error, kind)) from error
    except Exception as error:
        raise ValueError(fault_of(error, kind)) from error


def fault_of(error, kind):
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    words = (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{words}; expected {kind} that is whole. Was it cut short, or is it of another format?"


def listed(names):
    """Return the first names of many, quoted."""
    names = list(names)
    more = f" and {len(names) - N_LISTED} more" if len(names) > N_LISTED else ""
    return ", ".join(repr(str(name)) for name in names[:N_LISTED]) + more
