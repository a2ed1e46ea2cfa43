"""Files that appear once they are whole or not at all, and errors that name them."""

import os
import stat
import uuid
import zlib
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import numpy as np

from skvae.maps import check_maps

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

# What libraries raise, beside an OSError, for a file that is not as it should be.
FAULTS_OF_FILES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    zlib.error,
)

# Characters of a file's name by which its part is known: a system limits the length of names.
N_NAMED = 40


@contextmanager
def task_in_errors(task):
    """Tell in the errors of reading or writing what was the task, in one of two types whatever library raised them."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{task}: {error}") from error
    except FAULTS_OF_FILES as error:
        raise ValueError(f"{task}: {error}") from error


def find_file(path):
    """Return the file that a name, which may be a symbolic link, stands for, and its status, None if there is none.

    Raises an OSError for what is there and no regular file, such as a folder, a device or a pipe.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise OSError("it is a folder, a device or a pipe; expected the name of a file.")
    return Path(os.path.realpath(path)), status


@contextmanager
def replacing(path):
    """Give the name of a new file to write, which takes the place of `path` once it is whole.

    If the block raises, or the process is killed in it, an old file stays as it was. A symbolic link stays, and what it
    leads to is replaced; a new file has the permissions of the old one.
    """
    with task_in_errors(f"cannot write {path}"):
        target, old = find_file(path)
        remove_parts(target)
        part, lock = open_part(target, is_private=old is not None)
    try:
        yield part
        with task_in_errors(f"cannot write {path}"):
            with open(part, "r+b") as file:
                os.fsync(file.fileno())  # before the name, which a loss of power could otherwise keep alone
            if old is not None:
                restore_permissions(part, old)
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
        lock.close()


@contextmanager
def writing(path):
    """Give the name of a new file to write, as `replacing` does, and name `path` in errors of what writes it."""
    with replacing(path) as part, task_in_errors(f"cannot write {path}"):
        yield part


def open_part(path, *, is_private):
    """Return the name of a new file beside `path`, and the file, locked until its writer closes it or dies."""
    while True:
        part = path.with_name(f".{path.name[:N_NAMED]}.{uuid.uuid4().hex[:8]}.part")
        lock = open(part, "xb", opener=open_private if is_private else None)  # noqa: SIM115, its writer closes it
        if fcntl is None:
            lock.close()  # Windows renames no open file
        else:
            with suppress(OSError):  # of a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        if part.exists():
            return part, lock
        lock.close()  # another writer took it for a dead one's before it was locked


def open_private(name, flags):
    return os.open(name, flags, 0o600)


def restore_permissions(part, old):
    """Give a file the owner, as far as this process may, and the mode of the one that it replaces."""
    if hasattr(os, "chown"):
        with suppress(PermissionError):
            os.chown(part, old.st_uid, old.st_gid)
    os.chmod(part, stat.S_IMODE(old.st_mode))


def remove_parts(path):
    """Remove what processes that were killed have left of writing to `path`.

    A writer locks its part: the lock goes with the process, so that who gets it knows that the writer is dead. Where
    there are no such locks, nothing is removed.
    """
    for part in path.parent.glob(f".{escape(path.name[:N_NAMED])}.????????.part") if fcntl is not None else ():
        with suppress(OSError), open(part, "r+b") as file:  # a living writer's, or another user's
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()


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
        check_maps(out, "cannot write")
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
