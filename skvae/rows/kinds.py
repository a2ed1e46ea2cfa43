"""Kinds of covariates: what a column of labels, and one of measurements, tells the decoder.

To add a kind, write its class and add it to `KINDS`: no other file depends on kinds.
"""

from typing import Any

import numpy as np

from skvae.rows.columns import common_type
from skvae.warn import warn

# Levels, of which more must be at most half as many as the rows.
N_FEW = 10

# What a column of levels is to hold, for messages.
LABELS = (
    "labels, each of many rows, such as donors or laboratories. A measurement is a column of floats, as astype(float) "
    "makes it, or is cut into groups: pandas.cut(column, 3).astype(str)."
)

# Share of the largest magnitude below which a deviation is the rounding of none.
MIN_DEVIATION = 1e-7

# Digits of a mean and a deviation: more would depend on the order of the rows, and on copies of a row in the place of
# its weight.
N_DIGITS = 12

# What stands for each of the levels.
ALL = "all"

# The number of a row whose level is not known.
UNKNOWN = -1


class Levels:
    """A column of labels: each row has one of a number of levels, in one-hot form.

    Parameters
    ----------
    known : ndarray of shape (n_levels,)
        The distinct levels: those of `fit`, sorted, then those of each `adapt`.
    """

    # kinds of numpy types that a column of this kind may have: all that have an order and can be looked up
    dtypes = "biufSUTOMm"

    def __init__(self, known):
        self.known = known

    @classmethod
    def learn(cls, column, name, n_rows, weights=None):  # noqa: ARG003
        """Return what a column is of, which messages call `name`, and which so many rows will have.

        A row may count as often as one of the `weights` says.
        """
        known = distinct(column, name)
        check_levels(known, name, n_rows)
        return cls(known)

    @classmethod
    def from_state(cls, state):
        if not isinstance(state, np.ndarray) or state.ndim != 1:
            raise ValueError(f"levels of the shape {np.shape(state)}; expected those of a column")
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

    def encode(self, column, name):
        """Return a number for each row, (n_samples,), which `inputs` takes: -1 for a level that is not known."""
        places = {level: place for place, level in enumerate(self.known.tolist())}
        levels, rows = np.unique(column, return_inverse=True) if column.dtype != object else factorize(column)
        return np.array([places.get(level, UNKNOWN) for level in levels.tolist()], dtype=float)[rows]

    def new_rows(self, encoded):
        """Return the rows whose level is not known."""
        return np.flatnonzero(encoded == UNKNOWN)

    def groups(self, encoded):
        """Return the group of each row, integers: of labels, not of measurements."""
        return encoded.astype(int)

    def warn_of(self, encoded, name):
        """Warn of levels of which too little can be learned, or nothing."""
        counts = np.bincount(encoded.astype(int), minlength=len(self.known))
        if len(counts) == 1 and len(encoded) > 1:
            warn(
                f"{name} holds {self.known.tolist()[0]!r} in each of {len(encoded)} rows; expected two levels or more: "
                "leave it out."
            )
        alone = np.flatnonzero(counts == 1)
        if len(alone) and len(encoded) > len(counts):
            warn(
                f"{name} has {len(alone)} level(s) of a single row, such as {self.known.tolist()[alone[0]]!r} of row "
                f"{np.flatnonzero(encoded == alone[0])[0]}; expected many rows of each: give them the label of a batch "
                "that is alike, or leave them out."
            )

    def inputs(self, encoded):
        """Return what the decoder is told, (n_samples, width): of a level that is not known the mean of all."""
        one_hot = encoded[:, np.newaxis] == np.arange(len(self.known))
        return np.where(encoded[:, np.newaxis] == UNKNOWN, 1 / len(self.known), one_hot)

    def choices(self, wanted, name):
        """Return the numbers of the levels that a user asks for: one, a list of some, or "all"."""
        if is_all(wanted) and ALL not in self.known.tolist():
            return np.arange(len(self.known), dtype=float)
        known, levels = self.known.tolist(), np.atleast_1d(np.asarray(wanted, dtype=object)).tolist()
        missing = [level for level in levels if level not in known]
        if missing or not levels:
            raise ValueError(f"{name} holds {missing[:5]}; expected {self.expected}, a list of these, or 'all'.")
        return np.array([known.index(level) for level in levels], dtype=float)

    def extended(self, column, name):
        """Return the same with the levels of a column, of further rows, that are new."""
        is_new = self.encode(column, name) == UNKNOWN
        if not is_new.any():
            return self
        if common_type(type(column[0])) is not common_type(type(self.known[0])):
            raise ValueError(
                f"{name} holds {column[is_new].tolist()[0]!r}; expected levels of the type {self.known.dtype}, like "
                f"those of fit, {self.known.tolist()[:5]}."
            )
        return Levels(np.concatenate([self.known, distinct(column[is_new], name)]))


class Numbers:
    """A column of measurements: one input, in deviations from the mean of the rows of `fit`.

    Parameters
    ----------
    mean, deviation : float
    """

    dtypes = "f"
    expected = "a number"
    width = 1

    def __init__(self, mean, deviation):
        self.mean = mean
        self.deviation = deviation

    @classmethod
    def learn(cls, column, name, n_rows, weights=None):
        values = column.astype(np.float64)
        mean, deviation = mean_and_deviation(values, weights)
        largest = np.abs(values).max()
        if deviation <= MIN_DEVIATION * largest:
            raise ValueError(
                f"{name} holds {column[0]} in each of {len(column)} rows, or nearly so; expected a measurement that "
                "varies: subtract what all rows have in common, or leave the column out."
            )
        if not np.isfinite(deviation):
            raise ValueError(f"{name} holds {largest:.3g}; expected numbers whose squares are finite: rescale them.")
        levels = np.unique(values)
        if len(levels) <= min(N_FEW, n_rows / 2) and (levels == np.rint(levels)).all():
            warn(
                f"{name} holds {len(levels)} integers as floats, such as {levels[0]:g} in row 0, and is taken for a "
                "measurement; expected fractions, or labels: astype(int) or astype(str) makes labels of them."
            )
        return cls(mean, deviation)

    @classmethod
    def from_state(cls, state):
        mean, deviation = state["mean"], state["deviation"]
        if not (isinstance(mean, float) and isinstance(deviation, float) and 0 < deviation < np.inf > abs(mean)):
            raise ValueError(f"a mean of {mean!r} and a deviation of {deviation!r}; expected those of measurements")
        return cls(mean, deviation)

    @property
    def state(self):
        return {"kind": "numbers", "mean": self.mean, "deviation": self.deviation}

    def encode(self, column, name):
        if column.dtype.kind not in "fiu":
            raise ValueError(f"{name} holds {column.tolist()[0]!r}; expected {self.expected} for each row, as in fit.")
        return (column.astype(np.float64) - self.mean) / self.deviation

    def new_rows(self, encoded):
        return []

    def groups(self, encoded):
        return np.zeros(len(encoded), int)

    def warn_of(self, encoded, name):
        pass

    def inputs(self, encoded):
        return encoded[:, np.newaxis]

    def choices(self, wanted, name):
        if is_all(wanted):
            return np.array([np.nan])  # the rows' own: there is no end of numbers
        wanted = np.atleast_1d(np.asarray(wanted))
        if len(wanted) == 0 or wanted.dtype.kind not in "fiu" or not np.isfinite(wanted).all():
            raise ValueError(f"{name} == {wanted.tolist()!r}, must be a number, or a list of some.")
        return self.encode(wanted, name)

    def extended(self, column, name):
        self.encode(column, name)
        return self


# The kind of a column is the first whose `dtypes` have that of its values. A kind whose state is a dict, which `Levels`
# are not, has its key there under "kind", and is made of that by `from_state`.
KINDS: dict[str, Any] = {"numbers": Numbers, "levels": Levels}


def learn_kind(column, name, n_rows, weights=None, *, is_category=False):
    """Return what is learned of a column, of which there will be so many rows; a category is one of labels always."""
    kinds = [Levels] if is_category else KINDS.values()
    kind = next((kind for kind in kinds if column.dtype.kind in kind.dtypes), None)
    if kind is None:
        raise ValueError(f"{name} is of the type {column.dtype}; expected strings or numbers.")
    return kind.learn(column, name, n_rows, weights)


def kind_from_state(state):
    return KINDS[state["kind"] if isinstance(state, dict) else "levels"].from_state(state)


def mean_and_deviation(values, weights):
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.average(values, weights=weights)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    return tuple(float(f"{number:.{N_DIGITS}g}") for number in (mean, deviation))


def is_all(wanted):
    return isinstance(wanted, str) and wanted == ALL


def distinct(column, name):
    """Return the sorted levels of a column."""
    try:
        return np.unique(column)
    except TypeError:
        raise ValueError(f"{name} holds {column[0]!r}; expected strings or numbers.") from None


def factorize(column):
    """Return the levels of a column of objects, in any order, and the number of each row's."""
    numbers: dict[Any, int] = {}
    rows = np.array([numbers.setdefault(value, len(numbers)) for value in column.tolist()], dtype=int)
    levels = np.empty(len(numbers), dtype=object)
    levels[:] = list(numbers)
    return levels, rows


def check_levels(levels, name, n_rows):
    """Raise a ValueError if the levels of so many rows are names of the rows."""
    if len(levels) > max(N_FEW, n_rows / 2):
        raise ValueError(
            f"{name} has {len(levels)} levels in {n_rows} rows, so that most rows would be a batch of their own; "
            f"expected {LABELS}"
        )
