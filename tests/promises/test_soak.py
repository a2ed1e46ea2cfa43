"""A long life of fits, transforms, saves and loads leaves nothing behind."""

import gc
import os

import numpy as np
import psutil
import pytest
from models import ESTIMATORS

from skvae import RowStore

N_WARM, N_MORE = 30, 200

# Megabytes that the heap of 200 fits may grow by, where a single model and its gradients take more.
MAX_GROWTH = 8


def live(index, X, folder):
    """Fit, use, save and load a model, from memory or from a store."""
    rows = RowStore(np.load(folder / "X.npy", mmap_mode="r")) if index % 2 else X
    model = ESTIMATORS[index % 3](n_components=4, max_epochs=2, random_state=index).fit(rows)
    model.partial_fit(X)
    model.transform(rows, out=folder / "Z.npy")
    model.save(folder / "model")
    type(model).load(folder / "model").score(X)


def belongings(folder):
    gc.collect()
    process = psutil.Process()
    return process.num_fds(), process.num_threads(), sorted(os.listdir(folder))


@pytest.mark.slow
def test_two_hundred_lives_leave_nothing(cells, tmp_path):
    X = cells.data.log1p().toarray().astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    for index in range(N_WARM):
        live(index, X, tmp_path)
    before, memory = belongings(tmp_path), psutil.Process().memory_info().rss
    for index in range(N_WARM, N_WARM + N_MORE):
        live(index, X, tmp_path)
    assert belongings(tmp_path) == before
    assert psutil.Process().memory_info().rss - memory < MAX_GROWTH * 2**20
