"""Steps: pieces of work whose results are files, so that what was done once is found again."""

import hashlib
import json
import re
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from skvae.experiment.log import Log
from skvae.files import FAULTS_OF_FILES, writing
from skvae.version import VERSION

# Characters of a key that tell files apart, and of what is done, as a system limits the length of names.
N_KEY, N_WHAT = 16, 80


@dataclass(frozen=True)
class Step:
    """A function of the results of other steps, done once in a folder.

    Its file is named by all that the result depends on, so that it is found again by an experiment with the same
    settings, and by no other.

    Parameters
    ----------
    what : str
        What is done, for the log.
    function : callable
        Of a module. Takes the results of `needs`, in their order, and `settings` by name; returns a dict of arrays.
    settings : mapping of str to plain value
        What JSON can write.
    needs : tuple of Step
    cost : float
        Seconds that it may take on one core, to foretell how long all will.
    """

    what: str
    function: Callable[..., dict[str, np.ndarray]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple["Step", ...] = ()
    cost: float = 1.0

    @cached_property
    def key(self) -> str:
        function = f"{self.function.__module__}.{self.function.__qualname__}"
        about = [VERSION, function, dict(self.settings), [need.key for need in self.needs]]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:N_KEY]

    def path(self, folder: Path) -> Path:
        what = re.sub("[^a-z0-9]+", "-", self.what[-N_WHAT:].lower()).strip("-")
        return folder / f"{what}.{self.key}.npz"

    def is_done(self, folder: Path) -> bool:
        return self.path(folder).exists()

    def perform(self, folder: Path, log: Log) -> None:
        """Compute the result and write it to the folder, on one thread: the bits do not depend on how many there are.

        Warnings are part of it, as they may arise in another process.
        """
        log.write(f"{self.what}: begins")
        inputs = [need.result(folder) for need in self.needs]
        began = time.perf_counter()
        with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            arrays = self.function(*inputs, **self.settings)
        seconds = time.perf_counter() - began
        said = list(dict.fromkeys(str(warning.message) for warning in caught if is_for_users(warning.category)))
        with writing(self.path(folder)) as part, open(part, "wb") as file:
            np.savez(file, step_seconds=np.array(seconds), step_warnings=np.array(said, dtype=str), **arrays)  # type: ignore[arg-type]
        log.write(f"{self.what}: done in {seconds:.1f} s", *(f"{self.what}: {text}" for text in said))

    def result(self, folder: Path) -> dict[str, np.ndarray]:
        """Return the arrays, with `step_seconds` and `step_warnings`, of a step that is done."""
        path = self.path(folder)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            if "step_seconds" not in arrays:  # of a file that was cut, an archive within it may be found
                raise ValueError("it is no result of a step")
            return arrays
        except (*FAULTS_OF_FILES, zipfile.BadZipFile) as error:
            raise OSError(f"cannot read {path}: {error}; remove it, and it is computed again.") from error


def is_for_users(category):
    return not issubclass(category, DeprecationWarning | FutureWarning)


def remove_others(folder, steps):
    """Remove the results of other experiments from the folder."""
    mine = {step.path(folder) for step in steps}
    for path in folder.glob(f"*.{'[0-9a-f]' * N_KEY}.npz"):
        if path not in mine:
            path.unlink()
