"""Numbers of any type mean what the same numbers of Python mean, and parameters do not overrule each other silently."""

import numpy as np
import pytest
import torch
from models import every_estimator
from skorch.callbacks import LRScheduler

from skvae import BetaVAE
from skvae.embedding.parameters import with_plain_numbers

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 2, "random_state": 0}


@pytest.fixture
def X(cells):
    return cells.data.log1p()


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("max_epochs", np.uint8(20), 20),
        ("batch_size", np.uint8(50), 50),
        ("batch_size", 10**400, 10**9),
        ("max_steps", np.int8(100), 100),
        ("n_components", np.uint8(3), 3),
        ("kl_warmup", np.float16(0.5), 0.5),
        ("beta", np.float16(2), 2.0),
        ("beta", 2, 2.0),
        ("learning_rate", np.float16(0.0078125), 0.0078125),
        ("noise_floor", np.float32(0.5), 0.5),
        ("input_dropout", np.float32(0.5), 0.5),
        ("encode_batch", np.bool_(False), False),
        ("likelihood", np.str_("gaussian"), "gaussian"),
        ("random_state", np.uint8(7), 7),
    ],
)
def test_a_number_of_any_type_is_that_of_python(name, value, plain, X):
    given, expected = (BetaVAE(**{**SMALL, name: number}).fit(X) for number in (value, plain))
    np.testing.assert_array_equal(given.transform(X), expected.transform(X))
    np.testing.assert_array_equal(given.history_["kl_weight"], expected.history_["kl_weight"])
    assert getattr(given, name) is value  # parameters stay as they were given


def test_a_warmup_given_as_a_short_float_does_not_overflow():
    model = BetaVAE(kl_warmup=np.float16(0.4))
    objective = with_plain_numbers(model)._make_objective(200_000)
    assert objective.kl_weight(80_000) == 1
    assert objective.kl_weight(40_000) == pytest.approx(0.5, rel=1e-3)


def test_a_number_beyond_floats_is_an_error(X):
    with pytest.raises(ValueError, match="must be a number that float64 holds"):
        BetaVAE(**SMALL, beta=10**400).fit(X)


@every_estimator
def test_a_second_schedule_of_the_learning_rate_is_an_error(Estimator, X):
    scheduler = LRScheduler(torch.optim.lr_scheduler.ExponentialLR, gamma=0.1)
    with pytest.raises(ValueError, match="learning_rate_schedule='constant'"):
        Estimator(**SMALL, callbacks=[("schedule", scheduler)]).fit(X)
    model = Estimator(**SMALL, callbacks=[scheduler], learning_rate_schedule="constant").fit(X)
    assert not np.array_equal(
        model.transform(X), Estimator(**SMALL, learning_rate_schedule="constant").fit(X).transform(X)
    )
