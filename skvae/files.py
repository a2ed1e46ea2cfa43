"""Files that appear once they are whole, and errors that name them."""

import os
import uuid
from contextlib import contextmanager
from glob import escape
from pathlib import Path


@contextmanager
def naming(task):
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
        with naming(f"cannot write {path}"):
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
