"""Covariates: inputs of the decoder beside z, made of the `batch` that the estimators' methods are given.

Each kind of covariate, such as `Levels` for labels, says which columns are of that kind, what it learns from one, and
how it turns one into inputs. To add a kind, write its class and add it to `KINDS`: no other file depends on kinds.
"""

import reprlib
from numbers import Number
from typing import Any

import numpy as np

from skvae.maps import check_maps

# Levels, of which more must be at most half as many as the rows.
N_FEW = 10

# What a column of levels is to hold, for messages.
LABELS = (
    "labels, each of many rows, such as donors or laboratories. A measurement can be cut into groups: "
    "pandas.cut(column, 3).astype(str)."
)

# Names of the types that stand for a missing value in pandas.
MISSING = ("NAType", "NaTType")


class Levels:
    """A column of labels: each row has one of a number of levels, in one-hot form.

    Parameters
    ----------
    known : ndarray of shape (n_levels,)
        The distinct levels, sorted.
    """

    def __init__(self, known):
        self.known = known

    # kinds of numpy types that a column of this kind may have: all
    dtypes = np.typecodes["All"] + "iuT"

    @classmethod
    def learn(cls, column, name, n_rows):
        """Return what a column is of, which messages call `name`, and which so many rows will have."""
        try:
            known = np.unique(column)
        except TypeError:
            raise ValueError(f"{name} holds {column[0]!r}; expected strings or numbers.") from None
        check_labels(known, name, n_rows)
        return cls(known)

    @classmethod
    def from_state(cls, state):
        return cls(state)

    @property
    def state(self):
        """What was learned, which makes the same object again: an ndarray, or a dict of plain types."""
        return self.known

    @property
    def expected(self):
        """What a value is to be, for messages."""
        return f"one of {self.known.tolist()}"

    @property
    def width(self):
        """Number of inputs of the decoder."""
        return len(self.known)

    @property
    def n_groups(self):
        """Number of the groups of rows whose means are no structure of X; 1 where all rows are one."""
        return len(self.known)

    def encode(self, column, name):
        """Return a number for each row, (n_samples,), which `inputs` and `groups` take."""
        unknown = sorted(set(column.tolist()) - set(self.known.tolist()), key=str)
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise ValueError(
                f"{name} holds {unknown[:5]}{more}; expected {self.expected} for each row, the batches of fit."
            )
        return np.searchsorted(self.known, column)

    def inputs(self, encoded):
        """Return the covariates of rows, (n_samples, width)."""
        return encoded[:, np.newaxis] == np.arange(len(self.known))

    def groups(self, encoded):
        """Return the group of each row, integers from 0."""
        return encoded

    def effects(self, offsets):
        """Return by how much each input moves x, (width, D), from the means of the groups less that of all rows."""
        return offsets


# The kind of a column is the first whose `dtypes` have that of its values. A kind whose state is a dict, which `Levels`
# are not, has its key there under "kind", and is made of that by `from_state`.
KINDS: dict[str, Any] = {"levels": Levels}


class Covariates:
    """The covariates of an estimator whose `fit` was given a `batch`.

    Parameters
    ----------
    kind : object
        Of one of `KINDS`.
    """

    def __init__(self, kind):
        self.kind = kind

    @staticmethod
    def learn(batch, n_rows):
        """Return the covariates that a `batch` of rows, or None, is of."""
        if batch is None:
            return NONE
        return Covariates.of(check_column(batch, n_rows, "batch"), called(batch, "batch"), n_rows)

    @staticmethod
    def listed(levels):
        """Return the covariates of any number of rows that will have these levels."""
        return Covariates.of(check_column(levels, np.size(levels), "batches"), called(levels, "batches"), np.inf)

    @staticmethod
    def of(column, name, n_rows):
        """Return the covariates of a checked column, of which there will be so many rows."""
        kind = next((kind for kind in KINDS.values() if column.dtype.kind in kind.dtypes), None)
        if kind is None:
            raise ValueError(f"{name} is of the type {column.dtype}; expected strings or numbers.")
        return Covariates(kind.learn(column, name, n_rows))

    @staticmethod
    def from_state(state):
        """Return the covariates of that `state`."""
        if state is None:
            return NONE
        return Covariates(KINDS[state["kind"] if isinstance(state, dict) else "levels"].from_state(state))

    @property
    def state(self):
        """The estimators' `batches_`."""
        return self.kind.state

    @property
    def width(self):
        """C, the inputs of the decoder."""
        return self.kind.width

    @property
    def n_groups(self):
        return self.kind.n_groups

    def encode(self, batch, n_rows, *, required=True, name="batch"):
        """Return a number for each row, (n_rows,); zeros for None, which is an error where a batch is required.

        In messages `batch` has the name that the user knows it by.
        """
        if batch is None and required:
            raise ValueError(
                f"{name} is None; expected the batch of each row, {self.kind.expected}, as in fit. Pipelines and "
                "searches pass it on by scikit-learn's metadata routing alone."
            )
        if batch is None:
            return np.broadcast_to(0, n_rows)
        return self.kind.encode(check_column(batch, n_rows, name), called(batch, name))

    def ignore(self, batch, n_rows):
        """Return None in the place of a `batch` that nobody reads, so that its labels may be new; its length counts."""
        if np.ndim(batch) > 0:
            check_length(batch, n_rows, called(batch, "batch"))

    def inputs(self, encoded):
        return self.kind.inputs(encoded)

    def groups(self, encoded):
        return self.kind.groups(encoded)

    def effects(self, offsets):
        return self.kind.effects(offsets)


class NoCovariates:
    """The covariates of an estimator whose `fit` was given no `batch`: no inputs, and all rows in one group."""

    state = None
    width = 0
    n_groups = 1

    def encode(self, batch, n_rows, *, required=True, name="batch"):
        if batch is not None:
            raise ValueError(f"{name} == {reprlib.repr(batch)}, must be None: fit was given none.")
        return np.broadcast_to(0, n_rows)

    def ignore(self, batch, n_rows):
        return batch  # which `encode` refuses

    def inputs(self, encoded):
        return np.empty((len(encoded), 0))

    def groups(self, encoded):
        return np.zeros(len(encoded), int)

    def effects(self, offsets):
        return offsets[:0]


NONE = NoCovariates()


def check_same_levels(levels, state):
    """Raise a ValueError if levels, or None, are not those that the first call of `partial_fit` was given."""
    if levels is None:
        return
    if not np.array_equal(Covariates.listed(levels).state, state):
        raise ValueError(f"batches == {levels!r}, must be those of the first call, or None.")


def called(batch, name):
    """Return what messages call a `batch`, with the name of the column that it is, if it has one."""
    column = getattr(batch, "name", None)
    return f"{name}, the column {column!r}," if isinstance(column, str) and column else name


def check_column(batch, n_rows, name):
    """Return a value for each row, (n_rows,), numbers as such; a single one is that of all rows."""
    if np.ndim(batch) == 0:
        return np.repeat(check_column([batch], 1, name), n_rows)
    check_maps(batch)
    name = called(batch, name)
    is_list = isinstance(batch, (list, tuple))
    # as objects, since numpy would make strings of what a list mixes, such as "nan"
    column = np.array(batch, dtype=object) if is_list else np.asarray(batch)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column.ravel()
    if column.ndim != 1:
        raise ValueError(f"{name} has the shape {column.shape}; expected a 1d array, a value for each row.")
    check_length(column, n_rows, name)
    check_present(column, name)
    if column.dtype == object and check_one_type(column, name) is Number:
        return np.array(column.tolist())
    return np.asarray(batch).ravel() if is_list else column


def check_length(column, n_rows, name):
    if len(column) != n_rows:
        raise ValueError(
            f"{name} and X have inconsistent numbers of samples, {len(column)} and {n_rows}; expected a value for each "
            "row."
        )


def check_present(column, name):
    """Raise a ValueError if a row has no value, or an infinite one."""
    if column.dtype == object:
        absent = [is_missing(value) for value in column]
    else:
        absent = ~np.isfinite(column) if column.dtype.kind in "fcmM" else []
    rows = np.flatnonzero(absent)
    if len(rows):
        raise ValueError(
            f"{name} contains NaN, None or infinity in {len(rows)} of {len(column)} rows, the first of them row "
            f"{rows[0]}; expected a value for each row: give a name to what is unknown, as fillna('unknown') does, or "
            "leave these rows out."
        )


def is_missing(value):
    is_nan = isinstance(value, Number) and (value != value or value in (np.inf, -np.inf))
    return is_nan or value is None or type(value).__name__ in MISSING


def check_one_type(column, name):
    """Return the type of a column of objects, `Number` for all numbers; raise a ValueError if there are several."""
    types = set(map(type, column))
    found = {common_type(kind) for kind in types}
    if len(found) > 1:
        names = sorted(kind.__name__ for kind in types)
        raise ValueError(f"{name} mixes types, {names}; expected strings or numbers alone, as astype(str) makes them.")
    return found.pop()


def common_type(kind):
    """Return a type that those of Python and of numpy have in common."""
    if issubclass(kind, (Number, np.bool_)):
        return Number
    return str if issubclass(kind, str) else kind


def check_labels(levels, name, n_rows):
    """Raise a ValueError if the levels of so many rows are a measurement, or names of the rows."""
    fractions = levels[levels != np.rint(levels)] if levels.dtype.kind in "fc" else []
    if len(fractions):
        raise ValueError(f"{name} holds {fractions[0]}, which is no integer; expected {LABELS}")
    if len(levels) > max(N_FEW, n_rows / 2):
        raise ValueError(
            f"{name} has {len(levels)} levels in {n_rows} rows, so that most rows would be a batch of their own; "
            f"expected {LABELS}"
        )
