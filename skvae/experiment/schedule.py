"""The order of steps: each after those that it needs, independent ones side by side."""

from collections.abc import Iterable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, cpu_count, delayed

from skvae.experiment.log import Log, Progress
from skvae.experiment.steps import Step

# Seconds after which a process ends that has nothing to do, as one has whose parent was killed.
MAX_IDLE = 10


def perform_all(
    steps: Iterable[Step], folder: Path, *, log: Log, n_jobs: int | None = None, verbose: bool = False
) -> None:
    """Do all steps, and those that they need, that have no result in the folder yet.

    Each is done on one thread by one process, so that the cores are never asked for more than they have.

    Parameters
    ----------
    steps : iterable of Step
    folder : Path
        Of the results.
    log : Log
    n_jobs : int, default=None
        Steps done at a time, each in a process of its own; 1 for one after the other in this one. None for as many as
        there are cores.
    verbose : bool, default=False
        Tell on stderr what is done.
    """
    missing = {step.key: step for step in with_needs(steps) if not step.is_done(folder)}
    progress = Progress(missing.values(), verbose)
    while missing:
        ready = [step for step in missing.values() if all(need.is_done(folder) for need in step.needs)]
        ready.sort(key=lambda step: -step.cost)  # the longest first, so that the cores are done at the same time
        n_side_by_side = min(n_jobs or cpu_count(), len(ready))
        progress.begin(ready[:n_side_by_side])
        if n_side_by_side == 1:
            done = (perform(step, folder, log) for step in ready)
        else:
            parallel = Parallel(
                n_side_by_side,
                return_as="generator_unordered",
                pre_dispatch=n_side_by_side,
                idle_worker_timeout=MAX_IDLE,
            )
            done = parallel(delayed(perform)(step, folder, log) for step in ready)
        waiting = {step.key: step for step in ready}
        with memory_in_errors():
            for key in done:
                del missing[key]
                progress.end(waiting.pop(key), list(waiting.values())[:n_side_by_side])


@contextmanager
def memory_in_errors():
    """Say in the error of a process that the system has killed what to do about it."""
    try:
        yield
    except BrokenExecutor as error:
        raise MemoryError(
            "a process was killed, as systems do where memory is short; --n-jobs 1 takes the least, and the same "
            "command goes on from what is done."
        ) from error


def perform(step, folder, log):
    """Do a step; return its key, as the step itself would be copied between processes once more."""
    step.perform(folder, log)
    return step.key


def with_needs(steps: Iterable[Step]) -> Sequence[Step]:
    """Return the steps and all that they need, each once."""
    found: dict[str, Step] = {}
    for step in steps:
        found |= {need.key: need for need in with_needs(step.needs)} | {step.key: step}
    return list(found.values())
