"""Fits leave no memory behind, and nothing keeps X alive."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from models import every_estimator
from scipy import sparse
from skorch.callbacks import Callback

from skvae import BetaVAE

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}


@pytest.fixture
def without_collection():
    """Free what reference counts free, and no cycles."""
    BetaVAE(**SMALL).fit(np.eye(4))  # torch imports its compiler in the first fit, which leaves frames in a cycle
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Fails(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("failed")


def make_dense():
    X = np.random.default_rng(0).normal(size=(50, 20))
    return X, weakref.ref(X)


def make_sparse():
    X = sparse.random_array((50, 2000), density=0.1, format="csr")
    return X, weakref.ref(X.data)


@every_estimator
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("make", [make_dense, make_sparse])
@pytest.mark.parametrize("method", ["fit", "fit_transform", "partial_fit"])
def test_no_cycle_keeps_x_alive_after_fit(Estimator, make, method):
    X, alive = make()
    estimator = Estimator(**SMALL)
    getattr(estimator, method)(X)
    estimator.transform(X)
    estimator.score(X)
    del X
    assert alive() is None


@every_estimator
@pytest.mark.usefixtures("without_collection")
def test_no_cycle_keeps_x_alive_after_a_fit_that_failed(Estimator):
    X, alive = make_dense()
    estimator = Estimator(**SMALL, callbacks=[Fails()])
    with pytest.raises(RuntimeError, match="failed"):
        estimator.fit(X)
    del X
    assert alive() is None


@pytest.mark.slow
@every_estimator
def test_fifty_fits_take_no_more_memory_than_ten(Estimator, record_property):
    code = f"""
import psutil, warnings
from skvae import {Estimator.__name__}, make_single_cell_counts
warnings.simplefilter("ignore")
cells = make_single_cell_counts(n_samples=1000, random_state=0)
sizes = []
for _ in range(60):
    {Estimator.__name__}(max_epochs=1, likelihood="nb").fit_transform(cells.data)
    sizes.append(psutil.Process().memory_info().rss)
print((min(sizes[-5:]) - min(sizes[5:10])) / 1e6)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(output) < 5
    record_property("fits", 50)
