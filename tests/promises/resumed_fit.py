"""A fit that test_resume.py kills: it logs its epochs, and goes on from its checkpoint when it is called again."""

import os
from pathlib import Path

import numpy as np
from skorch.callbacks import Callback

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, FitCheckpoint, make_single_cell_counts

EVERY = 2
ESTIMATORS = (
    BetaVSC(max_epochs=40, random_state=0),
    BetaVAE(max_epochs=40, likelihood="nb", input_dropout=0.5, random_state=0),
    AutoencoderEmbedding(max_epochs=40, likelihood="poisson", random_state=0),
)


class LogResumed(Callback):
    """Append "resumed N" to a file, after the epochs that a checkpoint brought."""

    def __init__(self, path):
        self.path = path

    def on_train_begin(self, net, **kwargs):
        append(self.path, "resumed", net)


class LogEpoch(LogResumed):
    """Append "epoch N" to a file, before a checkpoint is written."""

    def on_train_begin(self, net, **kwargs):
        pass

    def on_epoch_end(self, net, **kwargs):
        append(self.path, "epoch", net)


def append(path, event, net):
    with open(path, "ab", buffering=0) as file:
        file.write(f"{event} {len(net.history)}\n".encode())


def make_data():
    return make_single_cell_counts(n_samples=500, n_features=300, n_batches=2, random_state=0)


def learned(estimator, X):
    """Return all that a fit learned, as arrays."""
    weights = {name: tensor.numpy() for name, tensor in estimator.net_.module_.state_dict().items()}
    return weights | estimator.history_ | {"Z": estimator.transform(X)}


def fit(folder, number):
    """Fit with a checkpoint in a folder, and write what was learned there."""
    folder, cells = Path(folder), make_data()
    checkpoint = FitCheckpoint(folder / "fit", every=EVERY)
    callbacks = [LogEpoch(folder / "log"), checkpoint, LogResumed(folder / "log")]
    estimator = ESTIMATORS[number].set_params(callbacks=callbacks).fit(cells.data, batch=cells.batch)
    np.savez(folder / "part.npz", **learned(estimator, cells.data))
    os.replace(folder / "part.npz", folder / "learned.npz")
