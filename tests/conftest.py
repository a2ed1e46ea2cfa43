import os
from pathlib import Path

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
