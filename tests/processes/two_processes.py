"""Run by `torchrun` in test_processes.py: each process fits, transforms, and writes what it saw and learned."""

import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from skorch.callbacks import Callback, Checkpoint

from skvae import BetaVSC, FitCheckpoint, LogNormalizer, RowStore, make_single_cell_counts


def fingerprints(X):
    """Return a number for each row that tells it from others."""
    return (X.astype(np.float64) @ np.arange(X.shape[1])).round(6)


class RowsSeen(Callback):
    """The rows that this process saw, by epoch."""

    def on_train_begin(self, net, **kwargs):
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append([])

    def on_batch_begin(self, net, batch=None, **kwargs):
        self.epochs[-1].append(fingerprints(batch[1].to_dense().numpy()))


class Stop(Callback):
    """End a fit in the fifth epoch, as an error would."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 5:
            raise RuntimeError("stopped")


def main(folder):
    rank = os.environ["RANK"]
    X = LogNormalizer().fit_transform(make_single_cell_counts(300, 1200, random_state=0).data.astype(np.float32))
    batch = np.arange(300) % 2
    options = {"distributed": True, "max_epochs": 10, "random_state": 0}

    seen = RowsSeen()
    files = {"dirname": str(folder), "f_optimizer": None, "f_criterion": None, "f_history": None}
    vsc = BetaVSC(**options, callbacks=[seen, Checkpoint("train_loss_best", **files)]).fit(X, batch=batch)
    results = {f"seen{i}": np.concatenate(epoch) for i, epoch in enumerate(seen.epochs)}
    results |= {f"weights.{name}": value.numpy() for name, value in vsc.net_.module_.state_dict().items()}
    results |= {"loss": vsc.history_["loss"], "active": vsc.active_components_}
    results |= {"Z": vsc.transform(X), "score": vsc.score(X, batch=batch)}
    results["expected"] = fingerprints(X)
    results["alone"] = pickle.loads(pickle.dumps(vsc)).set_params(distributed=False).transform(X)
    try:
        vsc.transform(X, out=folder / "absent" / "z.npy")
    except (OSError, RuntimeError) as error:
        results["failure"] = str(error)
    results["written"] = vsc.transform(X, out=folder / "z.npy")

    checkpoint = FitCheckpoint(folder / "fit", every=2)
    with suppress(RuntimeError):
        BetaVSC(**options, callbacks=[checkpoint, Stop()]).fit(X, batch=batch)
    results["resumed"] = BetaVSC(**options, callbacks=[checkpoint]).fit(X, batch=batch).transform(X)

    weights = np.arange(300) % 3  # unequal in the two halves if rows are sorted by it
    order = np.argsort(weights, kind="stable")
    weighted = BetaVSC(**options).fit(X[order], sample_weight=weights[order])
    results["weighted_score"] = weighted.score(X, sample_weight=weights)

    path = folder / f"x{rank}.dat"
    stored = np.memmap(path, np.float32, "w+", shape=X.shape)
    stored[:] = X.toarray()
    of_store = BetaVSC(**options).fit(RowStore(stored, block_size=16, buffer_size=64))
    results["store_score"] = of_store.score(stored)

    for _ in range(2):
        of_store.partial_fit(X)
    results["later_weight"] = of_store.net_.module_.likelihood.x_hat.weight.detach().numpy()
    pickle.loads(pickle.dumps(of_store))
    np.savez(folder / f"rank{rank}.npz", **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
