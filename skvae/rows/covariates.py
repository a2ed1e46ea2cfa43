"""Covariates: inputs of the decoder beside z, made of the `batch` that the estimators' methods are given.

Each kind of covariate, such as `Levels` for labels, says which columns are of that kind, what it learns from one, and
how it turns one into inputs. To add a kind, write its class and add it to `KINDS`: no other file depends on kinds.
"""

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d


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
    def learn(cls, column):
        try:
            return cls(np.unique(column))
        except TypeError:
            mixed = set(map(type, column))
            raise ValueError(f"batch mixes types, such as {mixed}; expected strings or numbers.") from None

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
            raise ValueError(f"{name} holds {unknown}; expected {self.expected} for each row, the batches of fit.")
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
KINDS = {"levels": Levels}


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
        column = check_column(batch, n_rows, "batch")
        return Covariates(next(kind for kind in KINDS.values() if column.dtype.kind in kind.dtypes).learn(column))

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
            raise ValueError(f"{name} is None; expected the batch of each row, {self.kind.expected}, as in fit.")
        if batch is None:
            return np.broadcast_to(0, n_rows)
        return self.kind.encode(check_column(batch, n_rows, name), name)

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
            raise ValueError(f"{name} == {batch!r}, must be None: fit was given none.")
        return np.broadcast_to(0, n_rows)

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
    column = np.atleast_1d(levels)
    if not np.array_equal(Covariates.learn(column, len(column)).state, state):
        raise ValueError(f"batches == {levels!r}, must be those of the first call, or None.")


def check_column(batch, n_rows, name):
    """Return a value for each row, (n_rows,); a single one is that of all rows."""
    if np.ndim(batch) == 0:
        batch = np.full(n_rows, batch)
    column = column_or_1d(check_array(batch, ensure_2d=False, dtype=None, input_name=name))
    check_consistent_length(np.broadcast_to(0, n_rows), column)
    return column
