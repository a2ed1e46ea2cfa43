"""Covariates: labels, none, and what a new kind needs."""

import pickle

import numpy as np
import pytest
from models import SMALL, every_estimator

from skvae.rows import covariates
from skvae.rows.covariates import KINDS, NONE, Covariates, Levels, check_same_levels

KNOWN = np.array(["a", "b"])


# Levels


def test_batches_are_sorted_and_indexed():
    learned = Covariates.learn(["b", "a", "b"], 3)
    np.testing.assert_array_equal(learned.state, ["a", "b"])
    np.testing.assert_array_equal(learned.encode(["b", "a", "b"], 3), [1, 0, 1])


def test_one_label_is_that_of_all_rows():
    np.testing.assert_array_equal(Covariates.from_state(KNOWN).encode("b", 3), [1, 1, 1])
    np.testing.assert_array_equal(Covariates.learn("b", 3).state, ["b"])


def test_labels_are_inputs_in_one_hot_form_and_make_groups():
    of_three = Covariates.learn([30, 10, 20], 3)
    assert (of_three.width, of_three.n_groups) == (3, 3)
    encoded = of_three.encode([20, 20, 10, 30], 4)
    np.testing.assert_array_equal(of_three.inputs(encoded), [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(of_three.groups(encoded), [1, 1, 0, 2])


def test_the_input_of_a_label_moves_x_by_the_mean_of_its_group():
    offsets = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(Covariates.from_state(KNOWN).effects(offsets), offsets)


@pytest.mark.parametrize("batch", [["b", "a"], [3, 1], [2.0, 1.0], [True, False]], ids=str)
def test_the_state_makes_the_same_covariates_again(batch):
    learned = Covariates.learn(batch, 2)
    again = Covariates.from_state(learned.state)
    assert type(again.kind) is type(learned.kind) is Levels
    np.testing.assert_array_equal(again.encode(batch, 2), [1, 0])
    np.testing.assert_array_equal(again.state, learned.state)


def test_an_unknown_batch_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"batch holds \['c', 'd'\]; expected one of \['a', 'b'\] for each row"):
        Covariates.from_state(KNOWN).encode(["d", "a", "c"], 3, required=False)


def test_a_missing_batch_is_an_error_where_it_is_required_alone():
    with pytest.raises(ValueError, match=r"batch is None; expected the batch of each row, one of \['a', 'b'\]"):
        Covariates.from_state(KNOWN).encode(None, 3)
    np.testing.assert_array_equal(Covariates.from_state(KNOWN).encode(None, 3, required=False), [0, 0, 0])


def test_errors_call_the_batch_what_the_user_does():
    for batch, message in ((None, "batch_val is None"), (["c"], r"batch_val holds \['c'\]"), ([np.nan], "batch_val")):
        with pytest.raises(ValueError, match=message):
            Covariates.from_state(KNOWN).encode(batch, 1, name="batch_val")
    with pytest.raises(ValueError, match="batch_val == 'a', must be None"):
        NONE.encode("a", 1, name="batch_val")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (["a", "b"], "inconsistent numbers of samples"),
        ([["a", "b"]] * 3, "1d array"),
        ([0.0, np.nan, 1.0], "batch contains NaN"),
        (np.array(["a", 1, "b"], dtype=object), "batch mixes types"),
    ],
)
def test_labels_of_the_wrong_kind_are_errors(batch, message):
    with pytest.raises(ValueError, match=message):
        Covariates.learn(batch, 3)


def test_later_levels_are_those_of_the_first_call_in_any_order():
    for levels in (None, ["b", "a"], ["a", "b", "a"]):
        check_same_levels(levels, KNOWN)
    for levels in ("a", ["a", "b", "c"], [0, 1]):
        with pytest.raises(ValueError, match=r"batches == .*, must be those of the first call, or None"):
            check_same_levels(levels, KNOWN)


# None


def test_without_labels_there_are_no_batches():
    assert Covariates.learn(None, 3) is NONE
    assert Covariates.from_state(None) is NONE
    assert NONE.state is None
    np.testing.assert_array_equal(NONE.encode(None, 3), [0, 0, 0])


def test_without_labels_there_are_no_inputs_and_all_rows_are_one_group():
    encoded = NONE.encode(None, 3)
    assert (NONE.width, NONE.n_groups) == (0, 1)
    assert NONE.inputs(encoded).shape == (3, 0)
    np.testing.assert_array_equal(NONE.groups(encoded), [0, 0, 0])
    assert NONE.effects(np.zeros((1, 4))).shape == (0, 4)


def test_a_batch_that_fit_was_not_given_is_an_error():
    with pytest.raises(ValueError, match=r"batch == 'a', must be None: fit was given none"):
        NONE.encode("a", 3, required=False)


# A new kind is a class and its place in KINDS


class Standardised:
    """A column of fractional numbers, in deviations from their mean, of groups below and above it."""

    dtypes = "f"
    expected = "a number"
    width = 1
    n_groups = 2

    def __init__(self, mean, deviation):
        self.mean = mean
        self.deviation = deviation

    @classmethod
    def learn(cls, column, *_):
        return cls(float(column.mean()), float(column.std()))

    @classmethod
    def from_state(cls, state):
        return cls(state["mean"], state["deviation"])

    @property
    def state(self):
        return {"kind": "standardised", "mean": self.mean, "deviation": self.deviation}

    def encode(self, column, name):
        return (column - self.mean) / self.deviation

    def inputs(self, encoded):
        return encoded[:, np.newaxis]

    def groups(self, encoded):
        return (encoded > 0).astype(int)

    def effects(self, offsets):
        return np.diff(offsets, axis=0) / 3**0.5  # between the means of halves of a uniform distribution


@pytest.fixture
def _floats_are_numbers(monkeypatch):
    monkeypatch.setattr(covariates, "KINDS", {"standardised": Standardised, **KINDS})


@pytest.fixture
def ages():
    return np.random.default_rng(0).uniform(20, 80, size=120)


@pytest.mark.usefixtures("_floats_are_numbers")
def test_the_kind_of_a_column_is_the_first_of_its_type():
    for column, kind in (([0.5, 1.5], Standardised), ([1, 2], Levels), (["a", "b"], Levels), ([True, False], Levels)):
        learned = Covariates.learn(column, 2)
        assert type(learned.kind) is kind
        assert type(Covariates.from_state(learned.state).kind) is kind


@pytest.mark.usefixtures("_floats_are_numbers")
@every_estimator
@pytest.mark.parametrize("settings", [{}, {"likelihood": "nb"}, {"encode_batch": True}, {"init": "random"}], ids=str)
def test_a_new_kind_is_fitted_used_saved_and_loaded(Estimator, settings, X, cells, ages, tmp_path):
    data = cells.data if "likelihood" in settings else X
    model = Estimator(**SMALL, **settings, max_steps=6).fit(data, batch=ages, X_val=data, batch_val=ages)
    assert model.batches_ == {"kind": "standardised", "mean": ages.mean(), "deviation": ages.std()}
    model.save(tmp_path / "model")
    for copy in (Estimator.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), model):
        for method in ("transform", "score_samples", "denoise"):
            found = getattr(copy, method)(data, batch=ages)
            np.testing.assert_array_equal(found, getattr(model, method)(data, batch=ages))
            assert np.isfinite(found).all()
        assert not np.array_equal(*(copy.denoise(data, batch=ages, to_batch=age) for age in (20.0, 80.0)))
        with pytest.raises(ValueError, match="batch is None; expected the batch of each row, a number, as in fit"):
            copy.score(data)
        copy.partial_fit(data, batch=ages)


@pytest.mark.usefixtures("_floats_are_numbers")
@every_estimator
def test_the_decoder_learns_what_a_number_adds(Estimator):
    rng = np.random.default_rng(0)
    ages, slopes = rng.uniform(20, 80, size=600), np.linspace(-0.1, 0.1, 12)
    X = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 12)) + np.outer(ages, slopes) + 0.3 * rng.normal(size=(600, 12))
    model = Estimator(3, random_state=0).fit(X, batch=ages)
    older, younger = (model.denoise(X, batch=ages, to_batch=age).mean(axis=0) for age in (60.0, 40.0))
    np.testing.assert_allclose((older - younger) / 20, slopes, atol=0.03)
