"""The folder of an experiment: its log, and the results of its steps; one command at a time works in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skvae.experiment.log import Log

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

STEPS_FOLDER, LOG_FILE, LOCK_FILE = "steps", "log.txt", "lock"


@contextmanager
def working_in(folder: Path) -> Iterator[tuple[Path, Log]]:
    """Give the folder for the results of steps, and the log.

    If the block raises, the log says why. If it is the first one in this folder and no step was done, all is left as it
    was before.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    OSError
        If another command works in the folder.
    """
    steps_folder, log_file = folder / STEPS_FOLDER, folder / LOG_FILE
    new = [path for path in (steps_folder, log_file, folder, *folder.parents) if not path.exists()]
    steps_folder.mkdir(parents=True, exist_ok=True)
    log = Log(log_file)
    with locked(steps_folder / LOCK_FILE, f"another command works in {folder}; wait for its end, or name another one."):
        try:
            yield steps_folder, log
        except BaseException as error:
            with suppress(OSError):  # of a full disk
                if steps_folder in new and not any(steps_folder.glob("*.npz")):
                    remove(new)
                else:
                    log.write(f"stopped by {type(error).__name__}: {error}")
            raise


@contextmanager
def locked(path, otherwise):
    """Lock a file until the block ends, or the process dies; raise an OSError if another one has locked it."""
    with open(path, "ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(otherwise) from None
        except OSError:
            pass  # a file system without locks
        yield


def remove(paths):
    """Remove folders, a file among them, the inner ones first."""
    for path in paths:
        if path.name == STEPS_FOLDER:
            shutil.rmtree(path)
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
