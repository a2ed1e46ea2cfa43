"""The same random_state gives the same bits, however and beside whatever it runs."""

import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from models import SMALL, every_estimator
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvae import AutoencoderEmbedding, BetaVSC, LogNormalizer, make_single_cell_counts


@every_estimator
def test_another_seed_gives_other_bits(Estimator, X):
    first, second, other = (Estimator(**{**SMALL, "random_state": seed}).fit_transform(X) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@every_estimator
def test_global_random_states_are_neither_used_nor_changed(Estimator, X):
    def draws():
        return torch.rand(1).item(), np.random.random(), random.random()  # noqa: NPY002

    def seed():
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        random.seed(5)

    seed()
    expected = draws()
    seed()
    first = Estimator(**SMALL).fit(X)
    first.score(X)
    if Estimator is not AutoencoderEmbedding:
        first.sample(3, random_state=0)
    assert draws() == expected
    np.testing.assert_array_equal(first.transform(X), Estimator(**SMALL).fit_transform(X))


MODELS = {
    "normalised": "make_pipeline(LogNormalizer(), BetaVSC(max_epochs=10, random_state=0))",
    "counts": "AutoencoderEmbedding(likelihood='nb', max_epochs=3, random_state=0)",
    "zero-inflated counts": "BetaVSC(likelihood='zinb', max_epochs=2, random_state=0)",
    "deep": "BetaVAE(hidden_layer_sizes=(300, 77), head_layer_sizes=(20,), max_epochs=4, random_state=0)",
}


@pytest.mark.parametrize("names", [["normalised"], pytest.param([*MODELS], marks=pytest.mark.slow)], ids=["one", "all"])
def test_processes_of_one_and_two_threads_give_the_same_bits(names, tmp_path, record_property):
    # At the default widths: smaller products are not split over threads.
    code = f"""
import sys, numpy as np, torch, warnings
from sklearn.pipeline import make_pipeline
from skvae import *
warnings.simplefilter("ignore")
torch.set_num_threads(int(sys.argv[1]))
cells = make_single_cell_counts(n_samples=530, random_state=0)
models = { {name: MODELS[name] for name in names} }
np.savez(sys.argv[2], **{{name: eval(model).fit_transform(cells.data) for name, model in models.items()}})
"""
    runs = []
    for name, n_threads in (("a", "1"), ("b", "2"), ("c", "2")):
        subprocess.run([sys.executable, "-c", code, n_threads, tmp_path / f"{name}.npz"], check=True)
        runs.append(dict(np.load(tmp_path / f"{name}.npz")))
    one, two, again = runs
    np.testing.assert_equal(two, again)
    np.testing.assert_equal(one, two)
    record_property("runs", len(runs) * len(names))


@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_fits_in_four_threads_give_the_bits_of_four_after_another(likelihood, cells, record_property):
    def fit(seed):
        # of different lengths, so that one ends while others train
        vae = BetaVSC(**{**SMALL, "max_epochs": 2 + 2 * seed, "likelihood": likelihood, "random_state": seed})
        results[seed] = vae.fit_transform(cells.data)

    results = {}
    for seed in range(4):
        fit(seed)
    expected, results = results, {}
    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_equal(results, expected)
    record_property("runs", 4)


def test_searches_of_one_and_two_jobs_give_the_same_bits(cells):
    pipeline = make_pipeline(LogNormalizer(), BetaVSC(**SMALL), KMeans(3, random_state=0))
    grid = {"betavsc__beta": [0.5, 4.0]}
    searches = [
        GridSearchCV(pipeline, grid, scoring="adjusted_rand_score", cv=2, n_jobs=n_jobs).fit(cells.data, cells.target)
        for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["split0_test_score"] for search in searches)
    np.testing.assert_array_equal(one, two)
    one, two = (search.best_estimator_[:-1].transform(cells.data) for search in searches)
    np.testing.assert_array_equal(one, two)


@pytest.fixture(scope="module")
def rows():
    return make_single_cell_counts(n_samples=200, n_features=1500, random_state=0).data


@pytest.mark.filterwarnings("ignore:X looks like raw counts")
@every_estimator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "settings", [{}, {"likelihood": "nb", "hidden_layer_sizes": (64, 32), "n_components": 3}], ids=["default", "other"]
)
@pytest.mark.parametrize("container", [sparse.csr_array, np.asarray])
def test_the_bits_of_a_row_depend_on_no_other(Estimator, dtype, settings, container, rows, record_property):
    X = container(rows.toarray().astype(dtype))
    estimator = Estimator(**{"max_epochs": 1, "random_state": 0, **settings}).fit(X)
    sizes = (1, 13, 64)
    for method in (estimator.transform, lambda X: estimator.inverse_transform(estimator.transform(X))):
        expected = method(X)
        for size in sizes:
            parts = [method(X[start : start + size]) for start in range(0, 20, size)]
            np.testing.assert_array_equal(np.concatenate(parts)[:20], expected[:20])
    record_property("runs", 2 * len(sizes))


@every_estimator
def test_with_layers_of_any_width_a_row_depends_on_no_other_within_rounding(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    dense = X.toarray().astype(np.float64)
    np.testing.assert_allclose(estimator.transform(dense[7:8])[0], estimator.transform(dense)[7], rtol=1e-12)
