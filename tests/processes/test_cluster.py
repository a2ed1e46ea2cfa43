"""Search and transformation on a real cluster of dask workers, processes of this machine."""

import os
import signal
import threading
import time
from itertools import chain

import numpy as np
import pytest
from dask import array
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, RowStore, make_single_cell_counts

pytestmark = pytest.mark.slow


@pytest.fixture
def client(tmp_path):
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        Client(cluster) as client,
    ):
        client.amm.stop()
        yield client


@pytest.fixture(scope="module")
def cells():
    return make_single_cell_counts(400, 300, library_size=2000, random_state=0)


@pytest.fixture(scope="module")
def X(cells):
    return LogNormalizer().fit_transform(cells.data)


@pytest.fixture(scope="module")
def folds(X):
    return list(KFold(3).split(X))


def search(folds):
    pipeline = make_pipeline(BetaVSC(n_components=4, max_epochs=20, random_state=0), KMeans(9, random_state=0))
    grid = {"betavsc__beta": [0.5, 1, 2, 4]}
    return GridSearchCV(pipeline, grid, scoring="normalized_mutual_info_score", cv=folds)


def scores(fitted):
    return {name: value for name, value in fitted.cv_results_.items() if "score" in name and "time" not in name}


def test_a_search_on_the_cluster_gives_the_serial_results(client, X, cells, folds):
    serial = scores(search(folds).fit(X, cells.target))
    with parallel_config("dask", scatter=[X, cells.target, *chain(*folds)]):
        clustered = scores(search(folds).fit(X, cells.target))
    assert clustered.keys() == serial.keys()
    for name, value in serial.items():
        np.testing.assert_array_equal(clustered[name], value, err_msg=name)


def test_a_search_survives_the_death_of_a_worker(client, X, cells, folds):
    serial = scores(search(folds).fit(X, cells.target))
    victim = next(iter(client.run(os.getpid).values()))

    def kill():
        # once the worker has work
        while not any(client.processing().values()):
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with parallel_config("dask", scatter=[X, cells.target, *chain(*folds)]):
        survived = scores(search(folds).fit(X, cells.target))
    killer.join()
    assert victim not in client.run(os.getpid).values()
    for name, value in serial.items():
        np.testing.assert_array_equal(survived[name], value, err_msg=name)


def test_a_dask_array_is_transformed_block_by_block_on_the_cluster(client, X):
    vsc = BetaVSC(n_components=4, max_epochs=2, random_state=0).fit(X)
    blocks = array.from_array(X.toarray(), chunks=(100, -1))
    Z = blocks.map_blocks(vsc.transform, dtype=X.dtype, chunks=(blocks.chunks[0], (4,)), meta=np.empty((0, 0), X.dtype))
    np.testing.assert_allclose(Z.compute(), vsc.transform(X), rtol=1e-5, atol=1e-6)


def embed_part(estimator, name, part):
    return estimator.transform(RowStore(name)[part])


def test_a_file_is_transformed_part_by_part_on_the_cluster(client, X, tmp_path):
    import anndata

    anndata.AnnData(X).write_zarr(tmp_path / "cells.zarr")
    vsc = BetaVSC(n_components=4, max_epochs=2, random_state=0).fit(X)
    store = RowStore(tmp_path / "cells.zarr", block_size=100)
    parts = client.map(lambda part: embed_part(vsc, tmp_path / "cells.zarr", part), store.blocks())
    np.testing.assert_allclose(np.concatenate(client.gather(parts)), vsc.transform(X), rtol=1e-5, atol=1e-6)
