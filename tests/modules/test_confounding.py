"""Columns that say the same get a warning: as the ranks of explicit designs tell."""

import warnings

import numpy as np
import pytest

from skvae.rows import bounds
from skvae.rows.confounding import warn_of_columns
from skvae.rows.covariates import Covariates

N_ROWS = 240
ROWS = np.arange(N_ROWS)
RNG = np.random.default_rng(0)
AGES = RNG.uniform(20, 80, N_ROWS)
DONORS = ROWS % 6


def one_hot(column):
    return (column[:, np.newaxis] == np.unique(column)).astype(float)


def design(column):
    return column[:, np.newaxis] if column.dtype.kind == "f" else one_hot(column)


def overlap(one, other):
    """Return the dimensions that the spaces of two columns and a constant have in common beside the constant."""
    constant = np.ones((N_ROWS, 1))
    rank_of = np.linalg.matrix_rank
    both = rank_of(np.hstack([constant, design(one), design(other)]))
    return rank_of(np.hstack([constant, design(one)])) + rank_of(np.hstack([constant, design(other)])) - 1 - both


PAIRS = {
    "crossed": (DONORS, ROWS // 6 % 2),
    "crossed by chance": (DONORS, RNG.integers(4, size=N_ROWS)),
    "a label and a measurement": (DONORS, AGES),
    "measurements that go together": (AGES, AGES + RNG.normal(size=N_ROWS)),
    "the same": (DONORS, DONORS * 10),
    "nested": (DONORS, DONORS // 2),
    "one level in common": (DONORS, np.where(DONORS == 2, 9, ROWS // 6 % 3)),
    "two levels together in two": (DONORS, np.where(DONORS < 2, 9, np.where(ROWS % 12 < 6, 7, 8))),
    "disconnected": (DONORS, DONORS // 3 * 2 + ROWS // 6 % 2),
    "a measurement of donors": (DONORS, np.sqrt(DONORS + 1.0)),
    "measurements in other units": (AGES, 365.25 * AGES + 7),
    "a label without levels": (DONORS, np.zeros(N_ROWS, int)),
}


def warnings_of(batch):
    covariates = Covariates.learn(batch, N_ROWS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_columns(covariates, covariates.encode(batch, N_ROWS))
    return [str(warning.message) for warning in caught if "cannot be told apart" in str(warning.message)]


@pytest.mark.parametrize("n_elements", [2**22, 512])
@pytest.mark.parametrize("pair", PAIRS)
def test_the_warning_is_of_what_a_linear_model_cannot_tell_apart(pair, n_elements, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_MINIBATCH_ELEMENTS", n_elements)  # in blocks of 64 rows
    one, other = PAIRS[pair]
    assert bool(warnings_of({"one": one, "other": other})) == (overlap(one, other) > 0)


def test_pairs_are_named():
    batch = {"donor": DONORS, "age": AGES, "sample": np.char.add("s", DONORS.astype(str))}
    [message] = warnings_of(batch)
    assert message.startswith("batch, the column 'donor', and batch, the column 'sample' cannot be told apart")
    assert len(warnings_of({**batch, "days": 365 * AGES})) == 2


def test_a_single_column_is_confounded_with_nothing():
    for column in (DONORS, AGES):
        assert warnings_of(column) == []
