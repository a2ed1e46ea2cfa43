"""Run by `torchrun` in test_unlike_processes.py: two processes that differ, and what each of them gets."""

import json
import os
import sys
from pathlib import Path

import numpy as np

from skvae import BetaVAE, BetaVSC

rank = int(os.environ.get("RANK", 0))
X = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
batch = np.repeat(["a", "b"], 30)
SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0, "distributed": True}

CASES = {
    "rows": lambda: BetaVAE(**SMALL).fit(X[: 60 - 20 * rank]),
    "columns": lambda: BetaVAE(**SMALL).fit(X[:, : 8 - rank]),
    "max_epochs": lambda: BetaVAE(**{**SMALL, "max_epochs": 2 + rank}).fit(X),
    "beta": lambda: BetaVAE(**SMALL, beta=1.0 + rank).fit(X),
    "random_state": lambda: BetaVAE(**{**SMALL, "random_state": rank}).fit(X),
    "estimator": lambda: (BetaVAE if rank else BetaVSC)(**SMALL).fit(X),
    "batches": lambda: BetaVAE(**SMALL).fit(X, batch=np.char.add(batch, "z" * rank)),
    "rows held out": lambda: BetaVAE(**SMALL).fit(X, X_val=X[: 5 + rank]),
    "invalid rows": lambda: BetaVAE(**SMALL).fit(np.where(rank, np.nan, X)),
    "rows of partial_fit": lambda: BetaVAE(**SMALL).partial_fit(X[: 60 - 20 * rank]),
    "rows of transform": lambda: BetaVAE(**SMALL).fit(X).transform(X[: 60 - 20 * rank]),
}


def outcome(case):
    try:
        case()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def main(folder):
    found = {name: outcome(case) for name, case in CASES.items()}
    # other states of other generators draw other seeds: those of the first process are the seeds of all
    unseeded = BetaVAE(**{**SMALL, "random_state": np.random.RandomState(rank)}).fit(X)
    found["weights"] = float(sum(part.abs().sum() for part in unseeded.net_.module_.parameters()))
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
