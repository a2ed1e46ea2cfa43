"""How long training takes: epochs, and gradient steps of each."""

import math

import numpy as np
import pytest

from skvae import BetaVAE
from skvae.rows.covariates import Covariates
from skvae.rows.kinds import Levels
from skvae.rows.rows import Rows
from skvae.training.plan import Plan


def rows_of(n_rows, **options):
    return Rows(np.zeros((n_rows, 2), np.float32), np.float32, **options)


def make(rows, *, batch_size=128, max_epochs="auto", max_steps=None, init="linear"):
    return Plan.make(rows, batch_size=batch_size, max_epochs=max_epochs, max_steps=max_steps, init=init)


@pytest.mark.parametrize(("n_rows", "n_steps"), [(1, 1), (128, 1), (129, 2), (256, 2), (1000, 8)])
def test_an_epoch_has_a_step_for_each_full_minibatch_and_one_for_the_rest(n_rows, n_steps):
    assert make(rows_of(n_rows), max_epochs=3) == Plan(3, n_steps, 3 * n_steps, 3 * n_steps)


def test_rows_count_by_their_weights():
    weighted = rows_of(100, weights=np.full(100, 2.5))
    assert make(weighted, batch_size=50) == make(rows_of(250), batch_size=50)


def test_a_number_of_steps_takes_as_many_epochs_as_it_needs_and_stops_in_the_last():
    assert make(rows_of(250), max_steps=5) == Plan(n_epochs=3, steps_per_epoch=2, n_steps=5, last_step=5)
    assert make(rows_of(250), max_steps=6).n_epochs == 3
    assert make(rows_of(250), max_steps=1, max_epochs=7) == Plan(n_epochs=1, steps_per_epoch=2, n_steps=1, last_step=1)


@pytest.mark.parametrize("n_rows", [50, 1000, 1500, 2000, 50_000])
def test_by_default_there_are_40_epochs_of_1000_rows_and_with_their_square_fewer_of_more(n_rows):
    expected = min(40, max(8, round(40 * (1000 / n_rows) ** 2)))
    assert make(rows_of(n_rows)).n_epochs == expected


@pytest.mark.parametrize(
    ("n_rows", "n_epochs"), [(150_000, 8), (200_000, 6), (300_000, 4), (600_000, 2), (2_000_000, 2)]
)
@pytest.mark.parametrize("init", ["linear", "random"])
def test_of_very_many_rows_two_epochs_or_1_200_000_rows_are_enough(n_rows, n_epochs, init):
    assert make(rows_of(n_rows), init=init).n_epochs == n_epochs


@pytest.mark.parametrize(("n_rows", "n_epochs"), [(50, 40), (2250, 40), (4500, 20), (9000, 10), (90_000, 8)])
def test_with_batches_the_epochs_visit_90_000_rows(n_rows, n_epochs):
    rows = rows_of(n_rows, covariates=Covariates({None: Levels(np.arange(2))}))
    assert make(rows).n_epochs == n_epochs


@pytest.mark.parametrize("n_rows", [10, 500, 3333, 5000, 20_000, 90_000])
@pytest.mark.parametrize("batch_size", [32, 128, 4096])
def test_from_random_weights_the_epochs_visit_200_000_rows_in_250_steps_or_more(n_rows, batch_size):
    plan = make(rows_of(n_rows), init="random", batch_size=batch_size)
    assert plan.n_epochs == max(8, min(60, 200_000 // n_rows), math.ceil(250 / plan.steps_per_epoch))


def test_the_shortest_plan_has_eight_epochs():
    assert make(rows_of(1000)).shortest() == Plan(n_epochs=8, steps_per_epoch=8, n_steps=64, last_step=64)


@pytest.mark.parametrize("options", [{"max_epochs": 7}, {"max_steps": 5}], ids=str)
def test_one_epoch_is_whole_and_keeps_the_schedules(options):
    plan = make(rows_of(250), **options)
    assert plan.one_epoch() == Plan(n_epochs=1, steps_per_epoch=2, n_steps=plan.n_steps, last_step=None)


@pytest.mark.parametrize(
    ("init", "n_samples", "batch_size", "n_epochs"),
    [
        ("random", 40, 40, 250), ("random", 40, 20, 125), ("random", 40, 4, 60), ("random", 4000, 500, 50),
        ("random", 30_000, 900, 8), ("linear", 40, 40, 8), ("linear", 2100, 500, 9), ("linear", 30_000, 900, 8),
    ],
)  # fmt: skip
def test_by_default_the_epochs_follow_the_number_of_rows(init, n_samples, batch_size, n_epochs):
    X = np.random.default_rng(0).normal(size=(n_samples, 2))
    vae = BetaVAE(1, init=init, hidden_layer_sizes=(2,), batch_size=batch_size, random_state=0).fit(X)
    assert vae.n_epochs_ == n_epochs
