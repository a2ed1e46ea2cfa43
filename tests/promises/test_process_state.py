"""What the caller has set in the process changes no bit of a fit, and is as it was afterwards."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from models import every_estimator

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device().type == device
    finally:
        torch.set_default_device(None)


STATES = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "another device by default": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "numpy's errors raise": lambda: np.errstate(all="raise"),
}


def use(Estimator, X, tmp_path, **options):
    """Return what an estimator returns in all that it does."""
    model = Estimator(**SMALL, **options).fit(X)
    Z = model.transform(X)
    path = tmp_path / "model"
    model.save(path)
    results = [
        Z,
        model.transform(X.astype(np.float64)),
        model.inverse_transform(Z),
        model.denoise(X),
        model.score_samples(X),
        model.component_features(X).loadings,
        Estimator.load(path).transform(X),
        model.set_params(learning_rate_schedule="constant").partial_fit(X).transform(X),
    ]
    if hasattr(model, "sample"):
        results += [model.sample(3, random_state=0), model.log_likelihood(X, n_samples=4), model.posterior(X).std]
    return results


@pytest.mark.parametrize("state", STATES)
@every_estimator
@pytest.mark.parametrize(("likelihood", "init"), [("gaussian", "linear"), ("nb", "random")])
def test_the_bits_are_those_of_a_fresh_process(state, Estimator, likelihood, init, cells, tmp_path):
    X = cells.data.astype(np.float32)
    X = X if likelihood == "nb" else X.log1p()
    options = {"likelihood": likelihood, "init": init}
    expected = use(Estimator, X, tmp_path, **options)
    with STATES[state]():
        found = use(Estimator, X, tmp_path, **options)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)
