import os
from pathlib import Path

import numpy as np
import pytest

from skvae import LogNormalizer, make_single_cell_counts


def pytest_collection_modifyitems(items):
    folder = os.environ.get("SKVAE_DATA")
    if folder and Path(folder, "pbmc3k").is_dir():
        return
    absent = pytest.mark.skip(reason="SKVAE_DATA names no folder with pbmc3k/")
    for item in items:
        if "pbmc" in item.keywords:
            item.add_marker(absent)


@pytest.fixture(scope="session")
def cells():
    return make_single_cell_counts(n_samples=120, n_features=80, library_size=400, random_state=0)


@pytest.fixture(scope="session")
def X(cells):
    """log1p-normalised counts, CSR float32 (120, 80)."""
    return LogNormalizer().fit_transform(cells.data)


@pytest.fixture(scope="session")
def linear():
    """Rows of a linear Gaussian model with unit noise, its loadings (30, 3) and its factors."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(30, 3)))[0] * [8, 5, 3]
    factors = rng.normal(size=(2000, 3))
    return factors @ loadings.T + rng.normal(size=(2000, 30)) + 7, loadings, factors
