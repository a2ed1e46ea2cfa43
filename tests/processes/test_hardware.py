"""Threads and devices."""

import numpy as np
import pytest
import torch
from joblib import Parallel, cpu_count, delayed
from models import every_estimator
from scipy import sparse
from threadpoolctl import threadpool_limits

from skvae import BetaVAE

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def threads_of_a_fit(X):
    BetaVAE(**SMALL).fit(X)
    return torch.get_num_threads()


def test_fits_in_joblib_workers_share_the_cores(X):
    n_jobs = 2
    threads = Parallel(n_jobs)(delayed(threads_of_a_fit)(X) for _ in range(n_jobs))
    assert sum(threads) <= max(n_jobs, cpu_count())


def test_threadpoolctl_bounds_the_threads_of_a_fit(X):
    before = torch.get_num_threads()
    with threadpool_limits(1):
        assert threads_of_a_fit(X) == 1
    assert torch.get_num_threads() == before


def test_auto_is_a_device_at_hand(X):
    vae = BetaVAE(**SMALL, device="auto").fit(X)
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert next(vae.net_.module_.parameters()).device.type == expected


@needs_cuda
@every_estimator
@pytest.mark.parametrize("n_features", [200, 5000])  # dense and sparse batches
def test_cuda_trains_and_embeds_as_the_cpu_does(Estimator, n_features):
    X = sparse.random_array((120, n_features), density=0.05, format="csr", random_state=0, dtype=np.float32)
    models = [Estimator(**SMALL, device=device).fit(X) for device in ("cpu", "cuda")]
    for model in models:
        assert np.isfinite(model.history_["loss"]).all()
    # noise differs, so compare the same weights
    models[0].net_.module_.load_state_dict(models[1].net_.module_.cpu().state_dict())
    models[1].net_.module_.cuda()
    np.testing.assert_allclose(*(model.transform(X) for model in models), atol=1e-4)
