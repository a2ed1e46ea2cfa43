"""Kinds of covariates: labels and measurements, each as one column, and what of it is warned of."""

import numpy as np
import pytest

from skvae.rows.kinds import Levels, Numbers, kind_from_state, learn_kind

LETTERS = Levels(np.array(["a", "b", "c"]))


def numbers(values, n_rows=None):
    values = np.asarray(values, dtype=float)
    return Numbers.learn(values, "batch", len(values) if n_rows is None else n_rows)


# Which kind a column is


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (np.array(["a", "b"]), Levels),
        (np.array(["a", "b"], object), Levels),
        # of numpy 2
        *([(np.array(["a", "b"], "T"), Levels)] if hasattr(np.dtypes, "StringDType") else []),
        (np.array([b"a", b"b"]), Levels),
        (np.array([1, 2], np.uint8), Levels),
        (np.array([True, False]), Levels),
        (np.array(["2020-01-01", "2021-01-01"], "M8[D]"), Levels),
        (np.array([0.5, 1.5], np.float16), Numbers),
        (np.array([0.5, 1.5], np.float32), Numbers),
        (np.array([0.5, 1.5], np.longdouble), Numbers),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_strings_integers_and_truths_are_labels_and_floats_are_measurements(column, kind):
    learned = learn_kind(column, "batch", 2)
    assert type(learned) is kind
    encoded = learned.encode(column, "batch")
    np.testing.assert_allclose(encoded, [0, 1] if kind is Levels and column.dtype != bool else encoded)
    assert type(kind_from_state(learned.state)) is kind


def test_a_category_is_of_labels_whatever_its_values_are():
    assert type(learn_kind(np.array([0.5, 1.5]), "batch", 2, is_category=True)) is Levels


@pytest.mark.parametrize("column", [np.array([1j, 2j]), np.array([(1, 2)], "i4,i4")], ids=["complex", "records"])
def test_a_column_of_no_kind_is_an_error(column):
    with pytest.raises(ValueError, match=r"batch is of the type .*; expected strings or numbers"):
        learn_kind(column, "batch", 2)


# Levels


def test_levels_are_found_whatever_type_they_come_in():
    for known, column in (
        (np.array([0, 1, 2]), np.array([2.0, 0.0])),
        (np.array([0, 1, 2]), np.array([2, 0], object)),
        (np.array([0.0, 0.5, 1.0]), np.array([1, 0])),
        (np.array(["a", "b", "c"]), np.array(["c", "a"], object)),
        (np.array(["a", "b", "c"], object), np.array(["c", "a"])),
    ):
        np.testing.assert_array_equal(Levels(known).encode(column, "batch"), [2, 0])


def test_levels_that_are_not_known_are_rows_of_their_own_and_the_mean_of_the_known():
    encoded = LETTERS.encode(np.array(["c", "z", "a", "y"]), "batch")
    np.testing.assert_array_equal(LETTERS.new_rows(encoded), [1, 3])
    np.testing.assert_allclose(LETTERS.inputs(encoded), [[0, 0, 1], [1 / 3] * 3, [1, 0, 0], [1 / 3] * 3])
    # a number among strings, and a string among numbers
    assert (LETTERS.encode(np.array([1, 2]), "batch") == -1).all()
    assert (Levels(np.array([1, 2])).encode(np.array(["1", "2"]), "batch") == -1).all()


@pytest.mark.parametrize(("n_levels", "n_rows"), [(10, 10), (60, 120), (10, 3)])
def test_few_levels_and_half_as_many_as_rows_are_labels(n_levels, n_rows):
    column = np.arange(n_rows) % n_levels
    np.testing.assert_array_equal(Levels.learn(column, "batch", n_rows).state, np.unique(column))


@pytest.mark.parametrize(("n_levels", "n_rows"), [(11, 11), (61, 120)])
def test_more_levels_are_names_of_the_rows(n_levels, n_rows):
    message = rf"batch has {n_levels} levels in {n_rows} rows, .* expected labels, .*astype\(float\).*pandas\.cut"
    with pytest.raises(ValueError, match=message):
        Levels.learn(np.arange(n_rows) % n_levels, "batch", n_rows)


def test_choices_are_numbers_of_levels():
    for wanted, chosen in (("b", [1]), (["c", "a"], [2, 0]), (("b",), [1]), (np.array(["c"]), [2]), ("all", [0, 1, 2])):
        np.testing.assert_array_equal(LETTERS.choices(wanted, "to_batch"), chosen)
    np.testing.assert_array_equal(Levels(np.array([3, 5])).choices(np.int64(5), "to_batch"), [1])
    for wanted in ("z", ["a", "z"], [], None, {"a": 1}, {"a"}, [["a"], "b"], ["all"]):
        with pytest.raises(ValueError, match=r"to_batch holds \[.*\]; expected one of \['a', 'b', 'c'\], a list of"):
            LETTERS.choices(wanted, "to_batch")


def test_new_levels_stand_behind_the_known_ones_in_their_order():
    extended = LETTERS.extended(np.array(["zoë", "b", "A", "zoë"]), "batch")
    np.testing.assert_array_equal(extended.state, ["a", "b", "c", "A", "zoë"])
    np.testing.assert_array_equal(LETTERS.state, ["a", "b", "c"])
    assert LETTERS.extended(np.array(["b", "a"]), "batch") is LETTERS
    np.testing.assert_array_equal(Levels(np.array([1, 2])).extended(np.array([2.5]), "batch").state, [1, 2, 2.5])
    np.testing.assert_array_equal(Levels(np.array([False, True])).extended(np.array([7]), "batch").state, [0, 1, 7])


def test_levels_of_which_little_can_be_learned_are_a_warning():
    encoded = np.array([0.0, 0, 1, 0, 2])
    with pytest.warns(UserWarning, match=r"batch has 2 level\(s\) of a single row, such as 'b' of row 2; expected"):
        LETTERS.warn_of(encoded, "batch")
    with pytest.warns(UserWarning, match=r"batch holds 'a' in each of 4 rows; expected two levels or more"):
        Levels(np.array(["a"])).warn_of(np.zeros(4), "batch")
    LETTERS.warn_of(np.array([0.0, 0, 1, 1, 2, 2]), "batch")
    LETTERS.warn_of(np.array([0.0, 1, 2]), "batch")  # few rows, as of an example


# Numbers


def test_numbers_are_standardised():
    rng = np.random.default_rng(0)
    for values in (rng.normal(3, 2, 50), rng.uniform(-1e-9, 1e-9, 50), 1e12 + 1e6 * rng.normal(size=50)):
        kind = numbers(values)
        inputs = kind.inputs(kind.encode(values, "batch"))
        assert inputs.shape == (50, 1)
        np.testing.assert_allclose(inputs[:, 0], (values - values.mean()) / values.std(), rtol=1e-5, atol=1e-5)


def test_weights_count_rows():
    values, weights = np.array([1.0, 2, 7, 9]), np.array([2.0, 0, 1, 1])
    kind = Numbers.learn(values, "batch", 4, weights)
    copies = np.repeat(values, weights.astype(int))
    assert kind.mean == pytest.approx(copies.mean())
    assert kind.deviation == pytest.approx(copies.std())


def test_integers_may_follow_floats_and_strings_may_not():
    kind = numbers([1.5, 2, 5])
    np.testing.assert_array_equal(kind.encode(np.array([2, 5]), "batch"), kind.encode(np.array([2.0, 5]), "batch"))
    for column in (["a"], [True], [1j]):
        with pytest.raises(ValueError, match=r"batch holds .*; expected a number for each row, as in fit"):
            kind.encode(np.array(column), "batch")


@pytest.mark.parametrize("values", [[3.0] * 5, [0.0] * 5, [0.1 + 0.2, 0.3, 0.3], [1e9 + 1, 1e9]], ids=str)
def test_what_does_not_vary_is_no_measurement(values):
    message = rf"age holds {values[0]} in each of {len(values)} rows, or nearly so; expected a measurement that varies"
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        Numbers.learn(np.array(values), "age", len(values))


def test_numbers_beyond_their_squares_are_an_error():
    with pytest.raises(ValueError, match=r"batch holds 1e\+200; expected numbers whose squares are finite"):
        numbers([1e200, -1e199])


def test_integers_as_floats_are_a_warning_if_they_are_few():
    with pytest.warns(UserWarning, match=r"batch holds 3 integers as floats, such as 0 in row 0, and is taken for a"):
        kind = numbers([0, 1, 2] * 5)
    assert kind.mean == 1
    numbers(np.arange(40))  # ages in years
    numbers([0, 0.5, 1] * 5)


def test_choices_of_numbers_are_standardised_and_all_is_their_own():
    kind = Numbers(10.0, 2.0)
    np.testing.assert_array_equal(kind.choices([10, 14.0], "to_batch"), [0, 2])
    np.testing.assert_array_equal(kind.choices(np.float32(6), "to_batch"), [-2])
    np.testing.assert_array_equal(kind.choices("all", "to_batch"), [np.nan])
    for wanted in ("old", [], np.nan, [1, np.inf], None, True, {"a": 1}):
        with pytest.raises(ValueError, match=r"to_batch == .*, must be a number, or a list of some"):
            kind.choices(wanted, "to_batch")


def test_numbers_are_never_new_and_of_one_group():
    kind = Numbers(10.0, 2.0)
    encoded = kind.encode(np.array([1e6, -3]), "batch")
    assert len(kind.new_rows(encoded)) == 0
    np.testing.assert_array_equal(kind.groups(encoded), [0, 0])
    assert kind.extended(np.array([5.0]), "batch") is kind
    with pytest.raises(ValueError, match="expected a number"):
        kind.extended(np.array(["a"]), "batch")


# States


@pytest.mark.parametrize(
    "state",
    [
        {"kind": "numbers", "mean": 0.0, "deviation": 0.0},
        {"kind": "numbers", "mean": 0.0, "deviation": -1.0},
        {"kind": "numbers", "mean": np.nan, "deviation": 1.0},
        {"kind": "numbers", "mean": 0.0, "deviation": np.inf},
        {"kind": "numbers", "mean": "0", "deviation": 1.0},
        np.zeros((2, 2)),
        np.zeros(()),
        ["a", "b"],
        "ab",
    ],
    ids=str,
)
def test_a_state_that_no_column_has_is_an_error(state):
    with pytest.raises(ValueError, match="expected those of"):
        kind_from_state(state)
