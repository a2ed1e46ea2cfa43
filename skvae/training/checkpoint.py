"""Checkpoints, from which a fit that was killed goes on."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import check_scalar
from skorch.callbacks import Callback, EpochTimer, PrintLog

from skvae.persistence import errors_of_file, read, write
from skvae.rows.rows import digest, exact_digest
from skvae.training.progress import ProgressBar
from skvae.training.states import check_state, expect, generator_state
from skvae.types import PathLike
from skvae.warn import warn

KIND = "checkpoint of a fit"

# Of a fit what older files do not hold. The checksums of these, of one projection of each row, miss what one large
# column hides.
EXACT = "exact_"
ADDED = {"estimator", "objective", f"{EXACT}data", f"{EXACT}held_out"}


class FitCheckpoint(Callback):
    """Write the state of a fit to a file, so that the same fit, called again, goes on from there.

    The file holds the model, the optimiser, the states of the random generators and the history. A fit that was killed
    and called again, with the same parameters and data, in the same process or another, gives the same bits as one
    that was never stopped. A fit that had ended is not trained again: its result is read from the file. Delete the
    file to train afresh.

    Parameters
    ----------
    path : str or path-like
        The file. It is replaced as a whole: a kill, a full disk or a loss of power leaves the last whole one.
    every : int >= 1, default=1
        Epochs between two writings. No more than so many are lost. The last epoch is always written.

    Raises
    ------
    ImportError
        In `fit`, if safetensors is missing: `pip install "skvae[persistence]"`.
    ValueError
        In `fit`, if the file is of a fit with other parameters or data, if it cannot be understood or was changed, and
        in `partial_fit`, between whose calls an estimator can be saved.
    OSError
        In `fit`, if the file cannot be read or written.

    Notes
    -----
    Put it last among the callbacks, so that it keeps what the others record in the history. What these keep in
    themselves, as `EarlyStopping` does, is not in the file: they begin anew, with a warning. With
    `distributed=True` one process writes; all must see the file. A file is of one fit: in a search, whose fits would
    share it, all but the first would fail.

    Examples
    --------
    >>> from skvae import BetaVAE, FitCheckpoint, LogNormalizer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "fit.safetensors")
    >>> vae = BetaVAE(max_epochs=5, callbacks=[FitCheckpoint(path, every=2)], random_state=0)
    >>> vae.fit(X).transform(X).shape
    (300, 10)
    >>> os.path.exists(path)
    True
    """

    def __init__(self, path: PathLike, every: int = 1) -> None:
        self.path = path
        self.every = every

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        check_scalar(self.every, "every", Integral, min_val=1)
        if len(net.history):
            raise ValueError(
                f"FitCheckpoint({str(self.path)!r}) is in the callbacks of an estimator that was trained before; "
                "expected it in fit alone. Between calls of partial_fit, save the estimator."
            )
        plan, processes, held_out = net.session.plan, net.session.processes, net.session.held_out
        self.fit_ = {
            **{name: value for name, value in net.settings.items() if name != "params"},
            **net.settings["params"],
            "n_epochs": plan.n_epochs,
            "n_batches": plan.steps_per_epoch,
            "last_step": plan.last_step,
            "n_processes": processes.count,
            "data": processes.gather(np.array([digest(X)])),
            "held_out": None if held_out is None else digest(held_out),
            "estimator": net.estimator,
            "objective": type(net.criterion_).__name__,
            f"{EXACT}data": processes.gather(np.array([exact_digest(X)])),
            f"{EXACT}held_out": None if held_out is None else exact_digest(held_out),
        }
        if Path(self.path).exists():
            self._resume(net)
        else:
            self._write(net, is_finished=False)  # so that what hinders writing is known before training

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if len(net.history) % self.every == 0:
            self._write(net, is_finished=False)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self._write(net, is_finished=True)

    def _resume(self, net):
        saved = read(self.path, KIND)
        with errors_of_file(self.path, KIND):
            changes = differences(saved["fit"], self.fit_)
        if changes:
            raise ValueError(
                f"{self.path} is the checkpoint of another fit, in which {', '.join(changes)} differed; expected "
                "the same parameters and data. Name another file, or delete this one to train afresh."
            )
        generators = generators_of(net.session)
        with errors_of_file(self.path, KIND):
            check_state({**saved["net"], "settings": net.settings}, net.module_)
            expect(isinstance(saved["is_finished"], bool), "is_finished")
            states = {
                name: generator_state(saved["generators"][name][net.session.processes.index], generator)
                for name, generator in generators.items()
            }
            net.restore(saved["net"])
            for name, generator in generators.items():
                generator.set_state(states[name])
        others = [type(callback).__name__ for _, callback in net.callbacks_ if not isinstance(callback, OWN)]
        if saved["is_finished"]:
            net.max_epochs = len(net.history)
        elif others:
            warn(
                f"the fit goes on from {self.path} after {len(net.history)} epochs, but what the callbacks {others} "
                "learned in these is lost; expected none that decide by earlier epochs.",
            )

    def _write(self, net, is_finished):
        state = {
            "fit": self.fit_,
            "is_finished": is_finished,
            "net": net.state(),
            "generators": {
                name: net.session.processes.gather(generator.get_state().numpy()[np.newaxis])
                for name, generator in generators_of(net.session).items()
            },
        }
        with net.session.processes.together():
            if net.session.processes.index == 0:
                write(self.path, KIND, state)


# Callbacks that keep nothing in themselves that a fit which goes on would miss.
OWN = (ProgressBar, FitCheckpoint, EpochTimer, PrintLog)


def generators_of(session):
    return {"shuffle": session.shuffle_generator, "noise": session.noise_generator}


def differences(old, new):
    """Return the names of what two fits do not have alike, of which the first may be of an older file."""
    names = [name for name in {**new, **old} if name in old or name not in ADDED]
    changed = [name for name in names if not np.array_equal(old.get(name), new.get(name))]
    words = {"estimator": f"estimator ({old.get('estimator')}, not {new['estimator']})"}
    return list(dict.fromkeys(words.get(name, name.removeprefix(EXACT)) for name in changed))
