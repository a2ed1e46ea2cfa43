"""Covariates: the columns of a batch as inputs of the decoder, none, and what a new kind needs."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from models import SMALL, every_estimator
from scipy import sparse

from skvae.rows.covariates import NONE, Covariates, Moved, check_same_levels
from skvae.rows.kinds import KINDS, Levels, Numbers

KNOWN = Covariates.from_state(np.array(["a", "b"]))
DONORS, CHEMISTRY, AGES = np.array(["d", "e", "f", "d"]), np.array([3, 2, 3, 2]), np.array([20.5, 30, 40, 50])
TABLE = {"donor": DONORS, "chemistry": CHEMISTRY, "age": AGES}


@pytest.fixture
def table():
    return Covariates.learn(TABLE, 4)


# One column


def test_batches_are_sorted_and_indexed():
    learned = Covariates.learn(["b", "a", "b"], 3)
    np.testing.assert_array_equal(learned.state, ["a", "b"])
    np.testing.assert_array_equal(learned.encode(["b", "a", "b"], 3), [[1], [0], [1]])


def test_one_label_is_that_of_all_rows():
    for label in ("b", np.str_("b"), np.array("b"), ["b"] * 3, [["b"]] * 3):
        np.testing.assert_array_equal(KNOWN.encode(label, 3), [[1], [1], [1]])


def test_labels_are_inputs_in_one_hot_form_and_make_groups():
    of_three = Covariates.learn([30, 10, 20], 3)
    encoded = of_three.encode([20, 20, 10, 30], 4)
    np.testing.assert_array_equal(of_three.inputs(encoded), [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(of_three.groups(encoded), [1, 1, 0, 2])
    assert of_three.width == 3


@pytest.mark.parametrize("batch", [["b", "a"], [3, 1], [True, False], [2.5, 1.0], TABLE, {"kind": DONORS}], ids=str)
def test_the_state_makes_the_same_covariates_again(batch):
    n_rows = 4 if isinstance(batch, dict) else 2
    learned = Covariates.learn(batch, n_rows)
    again = Covariates.from_state(learned.state)
    np.testing.assert_array_equal(again.encode(batch, n_rows), learned.encode(batch, n_rows))
    np.testing.assert_equal(again.state, learned.state)


def test_columns_may_have_the_names_of_what_states_are_made_of():
    for name in ("kind", "mean", "columns", "None"):
        batch = {name: DONORS, "age": AGES}
        again = Covariates.from_state(Covariates.learn(batch, 4).state)
        assert list(again.columns) == [name, "age"]
        assert again.width == 4


def test_an_unknown_batch_is_an_error_or_the_mean_of_the_known_ones_with_a_warning():
    message = r"batch holds \['c', 'd'\], first in row 0; expected one of \['a', 'b'\] for each row"
    with pytest.raises(ValueError, match=message):
        KNOWN.encode(["d", "a", "c"], 3, required=False)
    with pytest.warns(UserWarning, match=message) as caught:
        encoded = KNOWN.encode(["d", "a", "c"], 3, admits_new=True)
    assert len(caught) == 1
    np.testing.assert_array_equal(KNOWN.inputs(encoded), [[0.5, 0.5], [1, 0], [0.5, 0.5]])


def test_a_missing_batch_is_an_error_where_it_is_required_alone():
    with pytest.raises(ValueError, match=r"batch is None; expected the batch of each row, one of \['a', 'b'\]"):
        KNOWN.encode(None, 3)
    np.testing.assert_array_equal(KNOWN.encode(None, 3, required=False), np.zeros((3, 1)))


def test_errors_call_the_batch_what_the_user_does():
    for batch, message in ((None, "batch_val is None"), (["c"], r"batch_val holds \['c'\]"), ([np.nan], "batch_val")):
        with pytest.raises(ValueError, match=message):
            KNOWN.encode(batch, 1, name="batch_val")
    with pytest.raises(ValueError, match="batch_val == 'a', must be None"):
        NONE.encode("a", 1, name="batch_val")


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (["a", "b"], "batch and X have inconsistent numbers of samples, 2 and 3"),
        ([["a"], ["b", "c"], ["d"]], "batch holds lists of unlike lengths; expected a value for each row"),
        ([0.0, np.nan, 1.0], "batch contains NaN, None or infinity in 1 of 3 rows, the first of them row 1"),
        (np.array(["a", 1, "b"], dtype=object), r"batch mixes types, \['int', 'str'\]"),
        (np.zeros((3, 2, 2)), r"batch has the shape \(3, 2, 2\)"),
        (np.zeros((3, 0)), r"batch has the shape \(3, 0\)"),
        (sparse.eye_array(3), "batch is a sparse matrix; expected a column"),
        ({"a": sparse.eye_array(3)}, "batch, the column 'a', is a sparse matrix"),
        ({"a", "b"}, "batch holds values of the type set; expected strings or numbers"),
        ({}, "batch is an empty dict; expected a column, or a table"),
        ({0: "abc", "0": "abc"}, "batch has the column '0' more than once"),
        (pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"]), "batch has the column 'a' more than once"),
        (np.array([("a", 1)] * 3, "U1,i4"), "batch is of the type .*; expected strings or numbers"),
        (np.arange(3) + 1j, "batch is of the type complex128; expected strings or numbers"),
        ({"a": ["x"] * 3, "b": ["y"] * 2}, "batch, the column 'b', and X have inconsistent .* 2 and 3"),
        ({"a": ["x"] * 3, "b": ["y", None, "y"]}, "batch, the column 'b', contains NaN.* first of them row 1"),
        ({"a": ["x"] * 3, "b": np.ones(3)}, "batch, the column 'b', holds 1.0 in each of 3 rows"),
        ({"a": ["x"] * 3, "b": 30.0}, "batch, the column 'b', holds 30.0 in each of 3 rows"),
    ],
)
def test_what_is_no_column_or_table_is_an_error(batch, message):
    with pytest.raises(ValueError, match=message):
        Covariates.learn(batch, 3)


# Tables


def by_hand():
    """Return the inputs of the table: labels in one-hot form in their order, beside standardised numbers."""
    donors = (DONORS[:, np.newaxis] == ["d", "e", "f"]).astype(float)
    chemistry = (CHEMISTRY[:, np.newaxis] == [2, 3]).astype(float)
    return np.c_[donors, chemistry, (AGES - AGES.mean()) / AGES.std()]


FRAME = pd.DataFrame(TABLE)

TABLES = {
    "dict": TABLE,
    "dict of lists": {name: column.tolist() for name, column in TABLE.items()},
    "frame": FRAME,
    "frame of categories": FRAME.astype({"donor": "category", "chemistry": "category"}),
    "frame of nullable types": FRAME.convert_dtypes(),
    "frame with an index": FRAME.set_axis([7, 7, 1, 0]),
    "polars": pl.DataFrame(TABLE),
    "polars of categories": pl.DataFrame(TABLE).with_columns(pl.col("donor").cast(pl.Categorical)),
    "object array": np.array([DONORS, CHEMISTRY, AGES], object).T,
    "lists of lists": [[donor, label, age] for donor, label, age in zip(DONORS, CHEMISTRY, AGES, strict=True)],
}


@pytest.mark.parametrize("form", TABLES)
def test_the_inputs_of_a_table_are_one_hot_labels_beside_standardised_numbers(form):
    learned = Covariates.learn(TABLES[form], 4)
    assert learned.width == 6
    assert list(learned.columns) == (["0", "1", "2"] if "object" in form or "lists of" in form[:8] else list(TABLE))
    np.testing.assert_allclose(learned.inputs(learned.encode(TABLES[form], 4)), by_hand(), rtol=1e-10)


def test_integer_names_of_columns_become_strings():
    for batch in ({0: DONORS, 1: AGES}, pd.DataFrame({0: DONORS, 1: AGES})):
        learned = Covariates.learn(batch, 4)
        assert list(learned.columns) == ["0", "1"]
        np.testing.assert_array_equal(learned.encode(batch, 4)[:, 0], [0, 1, 2, 0])


def test_scalars_are_the_values_of_all_rows(table):
    row = {"donor": "f", "chemistry": np.int8(2), "age": np.array(40)}
    np.testing.assert_array_equal(table.encode(row, 1), table.encode({**TABLE, "chemistry": 2}, 4)[[2]])
    np.testing.assert_array_equal(table.encode(row, 3), np.repeat(table.encode(row, 1), 3, axis=0))
    np.testing.assert_array_equal(table.encode([["f", 2, 40.0]], 1), table.encode(row, 1))


@pytest.mark.parametrize("batch", [DONORS, CHEMISTRY, AGES], ids=["strings", "integers", "floats"])
def test_a_table_of_one_column_is_that_column(batch):
    alone = Covariates.learn(batch, 4)
    expected = alone.inputs(alone.encode(batch, 4))
    forms = [batch, batch[:, np.newaxis], {"a": batch}, pd.DataFrame({"a": batch}), pd.Series(batch, name="a")]
    for form in forms:
        learned = Covariates.learn(form, 4)
        for other in forms:  # whichever of them later ones are
            np.testing.assert_array_equal(learned.inputs(learned.encode(other, 4)), expected)


def test_categories_of_floats_are_labels_in_every_form():
    column = pd.Categorical([0.5, 2.5, 0.5, 2.5])
    for form in (column, pd.Series(column), pd.DataFrame({"a": column}), {"a": column}):
        (kind,) = Covariates.learn(form, 4).columns.values()
        np.testing.assert_array_equal(kind.state, [0.5, 2.5])
    (*_, kind) = Covariates.learn(pd.DataFrame({"a": DONORS, "b": column}), 4).columns.values()
    assert type(kind) is Levels


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (FRAME[["chemistry", "donor", "age"]], r"batch has the columns \['chemistry', 'donor', 'age'\]; .* this order"),
        (FRAME[["donor", "chemistry"]], r"batch has the columns \['donor', 'chemistry'\]; expected .*'age'\]"),
        ({**TABLE, "sex": DONORS}, r"batch has the columns .*'sex'\]"),
        (dict(reversed(TABLE.items())), r"batch has the columns \['age', .*'donor'\]"),
        (DONORS, "batch has a single column; expected the columns"),
        ("d", "batch has a single column; expected the columns"),
        (np.array([DONORS, AGES], object).T, r"batch has the columns \['0', '1'\]"),
        ({**TABLE, "age": DONORS}, "batch, the column 'age', holds 'd'; expected a number for each row"),
        ({**TABLE, "age": [True] * 4}, "batch, the column 'age', holds True; expected a number"),
        ({**TABLE, "age": [20, np.inf, 2, 1]}, "batch, the column 'age', contains NaN.* first of them row 1"),
        ({**TABLE, "donor": ["d", "d", "x", "y"]}, r"batch, the column 'donor', holds \['x', 'y'\], first in row 2"),
        ({**TABLE, "donor": DONORS[:2]}, "batch, the column 'donor', and X have inconsistent .* 2 and 4"),
    ],
)
def test_tables_unlike_that_of_fit_are_errors(batch, message, table):
    with pytest.raises(ValueError, match=message):
        table.encode(batch, 4)


def test_rows_of_the_same_labels_are_a_group_whatever_their_numbers(table):
    encoded = table.encode({**TABLE, "donor": ["d", "e", "d", "d"], "chemistry": [2, 2, 2, 3]}, 4)
    groups = table.groups(encoded)
    assert groups[0] == groups[2]
    assert len({*groups}) == 3
    np.testing.assert_array_equal(Covariates.learn(AGES, 4).groups(encoded[:, 2:]), np.zeros(4))


def test_the_order_of_rows_does_not_change_what_is_learned():
    rng = np.random.default_rng(0)
    ages = rng.lognormal(5, 3, size=1001)
    for _ in range(5):
        order = rng.permutation(1001)
        assert Covariates.learn(ages[order], 1001).state == Covariates.learn(ages, 1001).state


def test_weights_are_copies_of_the_rows():
    rng = np.random.default_rng(0)
    batch, weights = {"lab": np.arange(101) % 3, "age": rng.lognormal(size=101)}, np.arange(101) % 4
    copies = {name: np.repeat(column, weights) for name, column in batch.items()}
    learned = Covariates.learn(batch, 101, weights=weights.astype(float))
    np.testing.assert_equal(learned.state, Covariates.learn(copies, weights.sum()).state)


# What is asked for of rows


def test_targets_are_all_combinations_of_what_is_asked_for(table):
    nan = np.nan
    wanted = {
        "chemistry of one": ({"chemistry": 3}, [[nan, 1, nan]]),
        "two donors": ({"donor": ["f", "d"]}, [[2, nan, nan], [0, nan, nan]]),
        "all": ("all", [[donor, label, nan] for donor in range(3) for label in range(2)]),
        "both": ({"chemistry": "all", "donor": np.array("e")}, [[1, 0, nan], [1, 1, nan]]),
    }
    for asked, targets in wanted.values():
        np.testing.assert_array_equal(table.targets(asked), targets)
    [[age]] = Covariates.learn(AGES, 4).targets(AGES.mean())
    assert abs(age) < 1e-10
    np.testing.assert_array_equal(KNOWN.targets("all"), [[0], [1]])
    np.testing.assert_array_equal(Covariates.learn(["all", "b"], 2).targets("all"), [[0]])  # a level of that name


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"chemistry": 9}, r"to_batch, the column 'chemistry', holds \[9\]; expected one of \[2, 3\], a list of these"),
        ({"donor": ["d", "x"]}, r"to_batch, the column 'donor', holds \['x'\]"),
        ({"donor": []}, r"to_batch, the column 'donor', holds \[\]"),
        ({"donor": None}, r"to_batch, the column 'donor', holds \[None\]"),
        ({"donor": {"d": 1}}, "to_batch, the column 'donor', holds"),
        ({"donor": [["d"], "e"]}, "to_batch, the column 'donor', holds"),
        ({"age": "old"}, "to_batch, the column 'age', == .*must be a number"),
        ({"age": [1.0, np.nan]}, "to_batch, the column 'age', == .*must be a number"),
        ({"age": []}, "to_batch, the column 'age', == .*must be a number"),
        ({"sex": "m"}, r"to_batch has the columns \['sex'\]; expected some of the columns \['donor'"),
        ({}, r"to_batch == \{\}, must be a dict with some of the columns"),
        ("d", "to_batch == 'd', must be a dict with some of the columns"),
    ],
)
def test_targets_that_are_not_known_are_errors(wanted, message, table):
    with pytest.raises(ValueError, match=message):
        table.targets(wanted)


def test_moved_rows_have_their_own_inputs_beside_those_that_are_asked_for(table):
    encoded = table.encode(TABLE, 4)
    (target,) = table.targets({"chemistry": 3})
    there = table.encode({**TABLE, "chemistry": 3}, 4)
    moved = Moved(table, target).inputs(encoded)
    np.testing.assert_array_equal(moved, np.hstack([table.inputs(encoded), table.inputs(there)]))
    np.testing.assert_array_equal(Moved(table).inputs(encoded)[:, :6], Moved(table).inputs(encoded)[:, 6:])


# What is learned later


def test_inputs_that_came_later_stand_behind_all_others(table):
    query = {"donor": ["x", "d"], "chemistry": [3, 2], "age": [20.0, 25.0]}
    once = table.extended(query, 2)
    twice = once.extended({**query, "chemistry": [7, 5], "donor": "b"}, 2)
    assert (table.widths_then, once.widths_then, twice.widths_then) == ([6], [6, 7], [6, 7, 10])
    np.testing.assert_array_equal(twice.state["donor"], ["d", "e", "f", "x", "b"])
    np.testing.assert_array_equal(twice.state["chemistry"], [2, 3, 5, 7])
    assert twice.state["age"] == table.state["age"]
    for known in (table, once, twice):
        inputs = known.inputs(known.encode(TABLE, 4))
        np.testing.assert_allclose(inputs[:, :6], by_hand(), rtol=1e-10)
        assert not inputs[:, 6:].any()
        again = Covariates.from_state(known.state, known.earlier)
        np.testing.assert_array_equal(again.inputs(again.encode(TABLE, 4)), inputs)
    new = twice.inputs(twice.encode({"donor": ["x", "b", "d"], "chemistry": [2, 5, 7], "age": AGES.mean()}, 3))
    expected = [[0, 0, 0, 1, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(new, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("known", "new", "message"),
    [
        (["a", "b"], [1], "batch holds 1; expected levels of the type"),
        ([1, 2], ["a"], "batch holds 'a'; expected levels of the type int64, like those of fit"),
        (["a", "b"], np.array([b"a"]), "expected levels of the type"),
        (np.array(["2020-01-01"], "M8[D]"), ["a"], "expected levels of the type"),
        (["a", "b"], [None], "batch contains NaN"),
        (["a", "b"], None, "batch is None; expected the batch of each row"),
    ],
)
def test_new_levels_are_of_the_type_of_the_known_ones(known, new, message):
    covariates = Covariates.learn(known, len(known))
    with pytest.raises(ValueError, match=message):
        covariates.extended(new, 1)


def test_later_levels_are_those_of_the_first_call_in_any_order():
    for levels in (None, ["b", "a"], ["a", "b", "a"]):
        check_same_levels(levels, KNOWN)
    for levels in ("a", ["a", "b", "c"], [0, 1], {"lab": ["a", "b"]}):
        with pytest.raises(ValueError, match=r"batches == .*, must be those of the first call, or None"):
            check_same_levels(levels, KNOWN)
    later = KNOWN.extended(["A"], 1)
    check_same_levels(["A", "a", "b"], later)


def test_later_levels_of_a_table_are_named_by_column(table):
    for levels in ({"donor": ["f", "e", "d"]}, {"chemistry": [2, 3], "donor": list("def")}):
        check_same_levels(levels, table)
    for levels in ({"donor": ["f", "e"]}, {"sex": ["m"]}, {"age": [20.0]}, ["d", "e", "f"]):
        with pytest.raises(ValueError, match=r"batches == .*, must be those of the first call, or None"):
            check_same_levels(levels, table)


def test_columns_whose_levels_are_listed_are_of_labels():
    learned = Covariates.learn(TABLE, 4, {"donor": list("hgfed"), "chemistry": [2.5, 3, 2]})
    np.testing.assert_array_equal(learned.state["donor"], list("defgh"))
    np.testing.assert_array_equal(learned.state["chemistry"], [2, 2.5, 3])
    assert type(learned.columns["age"]) is Numbers
    np.testing.assert_array_equal(Covariates.learn([0.5, 1.5], 2, [0.5, 1.0, 1.5]).state, [0.5, 1, 1.5])
    for levels, message in (
        (["d"], "batches is for a single column, and batch has the columns"),
        ({"sex": ["m"]}, r"batches is for the columns \['sex'\], and batch has the columns"),
        ({"donor": [None]}, "batches, the column 'donor', contains NaN"),
        ([["d"], [2, 3]], "batches holds lists of unlike lengths"),
    ):
        with pytest.raises(ValueError, match=message):
            Covariates.learn(TABLE, 4, levels)


# What nobody reads


def test_a_batch_that_nobody_reads_may_hold_anything_but_too_few_rows(table):
    for batch in (None, "x", TABLE, {"sex": ["m"] * 4}, FRAME, [["x", 1]] * 4, {"age": "x"}):
        assert table.ignore(batch, 4) is None
    for batch, message in (
        (DONORS[:2], "batch and X have inconsistent numbers of samples, 2 and 4"),
        ({"donor": DONORS[:2]}, "batch, the column 'donor', and X have inconsistent numbers"),
        (FRAME[:2], "batch, the column 'donor', and X have inconsistent numbers"),
        (sparse.eye_array(4), "batch is a sparse matrix"),
    ):
        with pytest.raises(ValueError, match=message):
            table.ignore(batch, 4)


# None


def test_without_labels_there_are_no_batches():
    assert Covariates.learn(None, 3) is NONE
    assert Covariates.from_state(None) is NONE
    assert NONE.state is None
    assert NONE.encode(None, 3).shape == (3, 0)


def test_without_labels_there_are_no_inputs_and_all_rows_are_one_group():
    encoded = NONE.encode(None, 3)
    assert (NONE.width, NONE.widths_then) == (0, [0])
    assert NONE.inputs(encoded).shape == (3, 0)
    np.testing.assert_array_equal(NONE.groups(encoded), [0, 0, 0])


def test_a_batch_that_fit_was_not_given_is_an_error():
    for batch in ("a", {"donor": "a"}):
        with pytest.raises(ValueError, match=r"batch == .*'a'.*, must be None: fit was given none"):
            NONE.encode(batch, 3, required=False)
    with pytest.raises(ValueError, match="to_batch == 'a', must be None: fit was given no batch"):
        NONE.targets("a")
    with pytest.raises(ValueError, match="fit was given no batch, so that there are no levels to learn"):
        NONE.extended("a", 3)


# A new kind is a class and its place in KINDS


class Hours:
    """A column of times of day, which end where they begin: their place on a circle.

    Parameters
    ----------
    day : float
        Seconds of a day.
    """

    dtypes = "m"
    expected = "a time of day"
    width = 2

    def __init__(self, day):
        self.day = day

    @classmethod
    def learn(cls, *_):
        return cls(86_400.0)

    @classmethod
    def from_state(cls, state):
        return cls(state["day"])

    @property
    def state(self):
        return {"kind": "hours", "day": self.day}

    def encode(self, column, name):
        if column.dtype.kind != "m":
            raise ValueError(f"{name} holds {column[0]!r}; expected {self.expected}")
        return column / np.timedelta64(1, "s")

    def new_rows(self, encoded):
        return []

    def groups(self, encoded):
        return np.zeros(len(encoded), int)

    def warn_of(self, encoded, name):
        pass

    def inputs(self, encoded):
        angles = 2 * np.pi * encoded / self.day
        return np.column_stack([np.cos(angles), np.sin(angles)])

    def choices(self, wanted, name):
        return self.encode(np.atleast_1d(wanted), name)

    def extended(self, column, name):
        return self


@pytest.fixture
def _times_are_on_a_circle(monkeypatch):
    # in place, since that is how others add theirs
    levels = KINDS.pop("levels")
    monkeypatch.setitem(KINDS, "hours", Hours)
    KINDS["levels"] = levels


@pytest.fixture
def hours():
    return np.random.default_rng(0).integers(86_400, size=120).astype("m8[s]")


@pytest.mark.usefixtures("_times_are_on_a_circle")
def test_the_kind_of_a_column_is_the_first_of_its_type(hours):
    columns = {"time": hours[:2], "half": [0.5, 1.5], "number": [1, 2], "text": ["a", "b"], "truth": [True, False]}
    learned = Covariates.learn(columns, 2)
    expected = [Hours, Numbers, Levels, Levels, Levels]
    assert [*map(type, learned.columns.values())] == expected
    assert [*map(type, Covariates.from_state(learned.state).columns.values())] == expected


@pytest.mark.usefixtures("_times_are_on_a_circle")
@every_estimator
@pytest.mark.parametrize("settings", [{}, {"likelihood": "nb"}, {"encode_batch": True, "init": "random"}], ids=str)
def test_a_new_kind_is_fitted_used_adapted_saved_and_loaded(Estimator, settings, X, cells, hours, tmp_path):
    data, batch = cells.data if "likelihood" in settings else X, {"lab": np.arange(120) % 3, "time": hours}
    model = Estimator(**SMALL, **settings, max_steps=6).fit(data, batch=batch, X_val=data, batch_val=batch)
    assert model.batches_["time"] == {"kind": "hours", "day": 86_400.0}
    model.save(tmp_path / "model")
    for copy in (Estimator.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), model):
        for method in ("transform", "score_samples", "denoise"):
            found = getattr(copy, method)(data, batch=batch)
            np.testing.assert_array_equal(found, getattr(model, method)(data, batch=batch))
            assert np.isfinite(found).all()
    noon, midnight, again = (
        model.denoise(data, batch=batch, to_batch={"time": np.timedelta64(hour, "h")}) for hour in (12, 0, 24)
    )
    np.testing.assert_allclose(again, midnight, rtol=1e-5, atol=1e-6)
    assert not np.allclose(noon, midnight, rtol=1e-3)
    with pytest.raises(ValueError, match=r"batch, the column 'time', holds .*; expected a time of day"):
        model.score(data, batch={**batch, "time": 3.0})
    adapted = model.adapt(data, batch={**batch, "lab": 7}, max_steps=2)
    np.testing.assert_array_equal(adapted.transform(data, batch=batch), model.transform(data, batch=batch))
    model.partial_fit(data, batch=batch)
