"""Files that appear once they are whole or not at all, and errors that name them."""

import os
import uuid
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import numpy as np


@contextmanager
def task_in_errors(task):
    """Tell in the errors of reading or writing what was the task."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{task}: {error}") from error
    except (ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{task}: {error}") from error


@contextmanager
def replacing(path):
    """Give the name of a new file to write, which takes the place of `path` once it is whole.

    If the block raises, or the process is killed in it, an old file stays as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        with task_in_errors(f"cannot write {path}"):
            with open(part, "r+b") as file:
                os.fsync(file.fileno())  # before the name, which a loss of power could otherwise keep alone
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path):
    """Remove what processes that were killed have left of writing to `path`."""
    path = Path(path)
    for part in path.parent.glob(f".{escape(path.name)}.????????.part"):
        part.unlink(missing_ok=True)


@contextmanager
def open_output(out, shape, dtype):
    """Give an array to fill: `out` itself, or that of a new file of that name.

    The file, `.npy`, appears once it is whole: if the block raises, there is none, and an old one stays.
    """
    if isinstance(out, np.ndarray):
        if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
            kind = "writeable" if out.flags.writeable else "read-only"
            raise ValueError(
                f"out is {getattr(out, 'filename', None) or 'an array'}, {kind}, of shape {out.shape} and {out.dtype}; "
                f"expected a writeable one of shape {shape} and {np.dtype(dtype)}."
            )
        yield out
    else:
        with replacing(out) as part:
            with task_in_errors(f"cannot write {out}"):
                target = np.lib.format.open_memmap(part, "w+", dtype, shape)
                reserve(part)
            yield target
            with task_in_errors(f"cannot write {out}"):
                target.flush()


def reserve(path):
    """Take the room of a file on the disk: on a full one, writing to its memory map would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.path.getsize(path))
