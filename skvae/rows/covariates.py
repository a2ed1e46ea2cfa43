"""Covariates: inputs of the decoder beside z, made of the `batch` that the estimators' methods are given."""

import reprlib
from functools import cached_property
from itertools import product

import numpy as np

from skvae.rows.columns import called, check_column, check_length, is_category, named, shape_of, table_of
from skvae.rows.kinds import ALL, is_all, kind_from_state, learn_kind
from skvae.warn import warn


class Covariates:
    """The covariates of an estimator: one for each column of the `batch` that `fit` was given, or none.

    Parameters
    ----------
    columns : dict of str or None to object
        Of each column, by its name, what was learned, of one of `skvae.rows.kinds.KINDS`. A single column has the name
        None.
    earlier : sequence of sequence of int, default=()
        Before each `adapt`, the width of each column then: inputs that came later stand behind all others.
    """

    def __init__(self, columns, earlier=()):
        self.columns = columns
        self.earlier = earlier

    @classmethod
    def learn(cls, batch, n_rows, levels=None, weights=None):
        """Return the covariates that a `batch` of rows, or None, is of.

        `levels` are all that it will ever hold: of a single column a list, of a table a dict of these by column. A row
        counts as often as one of the `weights` says.
        """
        if batch is None and levels is None:
            return NONE
        if batch is None:
            raise ValueError("batch is None, and batches is given; expected the batch of each row, or neither.")
        table, _ = table_of(batch, "batch")
        listed = {} if levels is None else table_of(levels, "batches")[0]
        unknown = [name for name in listed if name not in table]
        if unknown:
            raise ValueError(
                f"batches is for {listed_names(unknown)}, and batch has {listed_names(table)}; expected the same "
                "columns, of labels."
            )
        columns = {
            name: learn_levels(listed[name], name) if name in listed else learn_column(column, name, n_rows, weights)
            for name, column in table.items()
        }
        return cls(columns)

    @classmethod
    def from_state(cls, state, earlier=()):
        """Return the covariates of that `state`."""
        if state is None:
            return NONE
        # a column may be called "kind" too
        is_table = isinstance(state, dict) and not isinstance(state.get("kind"), str)
        table = state if is_table else {None: state}
        return cls({name: kind_from_state(kind) for name, kind in table.items()}, earlier)

    @property
    def state(self):
        """The estimators' `batches_`: what was learned of the column, or a dict of this by column; None for none."""
        states = {name: kind.state for name, kind in self.columns.items()}
        return states.get(None, states or None)

    @property
    def expected(self):
        """What a value is to be, for messages."""
        if None in self.columns:
            return self.columns[None].expected
        return "the columns " + "; ".join(f"{name!r}, {kind.expected}" for name, kind in self.columns.items())

    @property
    def widths(self):
        """Number of inputs of each column."""
        return [kind.width for kind in self.columns.values()]

    @property
    def width(self):
        """C, the inputs of the decoder."""
        return sum(self.widths)

    @property
    def widths_then(self):
        """C after `fit`, and after each `adapt`."""
        return [sum(widths) for widths in (*self.earlier, self.widths)]

    @cached_property
    def places(self):
        """The inputs of each column, a list of arrays: first all of `fit`, then those of each `adapt`."""
        places: list[list[int]] = [[] for _ in self.columns]
        end = 0
        for widths in (*self.earlier, self.widths):
            for inputs, width in zip(places, widths, strict=True):
                start, end = end, end + width - len(inputs)
                inputs.extend(range(start, end))
        return [np.array(inputs, dtype=int) for inputs in places]

    def encode(self, batch, n_rows, *, required=True, name="batch", admits_new=False):
        """Return a number for each row and column, (n_rows, n_columns); zeros for None, an error where it is required.

        In messages `batch` has the name that the user knows it by. Levels that are not known are an error, unless they
        are admitted with a warning.
        """
        if required and self.columns:
            self._check_given(batch, name)
        if batch is None:
            return np.broadcast_to(0.0, (n_rows, len(self.columns)))
        encoded = np.empty((n_rows, len(self.columns)))
        for place, (key, column, kind) in enumerate(self._matched(batch, name)):
            what = named(name, key)
            values = check_column(column, n_rows, what)
            encoded[:, place] = kind.encode(values, called(column, what))
            self._judge(encoded[:, place], values, kind, called(column, what), admits_new=admits_new)
        return encoded

    def _check_given(self, batch, name):
        if batch is None:
            raise ValueError(
                f"{name} is None; expected the batch of each row, {self.expected}, as in fit. Pipelines and searches "
                "pass it on by scikit-learn's metadata routing alone."
            )

    def _matched(self, batch, name):
        """Return the name, the values and the kind of each column, or raise a ValueError for columns unlike fit's."""
        if not self.columns:
            raise ValueError(f"{name} == {reprlib.repr(batch)}, must be None: fit was given none.")
        table, has_names = table_of(batch, name)
        known = list(self.columns)
        # of a table without names the places of the columns count, and a single one is that of `fit`
        is_alike = len(table) == len(known) and (not has_names or None in known)
        if list(table) != known and not is_alike:
            order = "" if None in known else ", in this order"
            raise ValueError(f"{name} has {listed_names(table)}; expected {listed_names(known)}{order}, as in fit.")
        return zip(known, table.values(), self.columns.values(), strict=True)

    def _judge(self, encoded, values, kind, name, *, admits_new):
        """Raise a ValueError for levels that are not known, or warn of them."""
        rows = kind.new_rows(encoded)
        if len(rows) == 0:
            return
        levels = sorted(set(values[rows].tolist()), key=str)
        more = f" and {len(levels) - 5} more" if len(levels) > 5 else ""
        found = f"{name} holds {levels[:5]}{more}, first in row {rows[0]}; expected {kind.expected} for each row"
        if not admits_new:
            raise ValueError(f"{found}, the batches of fit.")
        warn(f"{found}: these are taken as the mean of the known ones. See adapt, which learns them.")

    def ignore(self, batch, n_rows):
        """Return None in the place of a `batch` that nobody reads, so that its labels may be new; its length counts."""
        if not self.columns:
            return batch  # which `encode` refuses
        for key, column in table_of(batch, "batch")[0].items():
            if shape_of(column, named("batch", key)):
                check_length(column, n_rows, called(column, named("batch", key)))
        return None

    def inputs(self, encoded):
        """Return what the decoder is told of rows, (n_samples, width)."""
        inputs = np.empty((len(encoded), self.width))
        for column, places, kind in zip(encoded.T, self.places, self.columns.values(), strict=True):
            inputs[:, places] = kind.inputs(column)
        return inputs

    def groups(self, encoded):
        """Return the group of each row, integers from 0: rows of one have the same levels in all columns of labels."""
        groups = [kind.groups(column) for column, kind in zip(encoded.T, self.columns.values(), strict=True)]
        if not groups:
            return np.zeros(len(encoded), int)
        return np.unique(np.array(groups), axis=1, return_inverse=True)[1].reshape(-1)

    def targets(self, wanted, name="to_batch"):
        """Return what rows are to be had they been of other batches: numbers as of `encode`, NaN where it is their own.

        Parameters
        ----------
        wanted : object
            A value of the single column, a list of some, or "all"; of a table a dict of these by column, or "all".

        Returns
        -------
        targets : list of ndarray of shape (n_columns,)
            All combinations of the values that are asked for.
        """
        if not self.columns:
            raise ValueError(f"{name} == {reprlib.repr(wanted)}, must be None: fit was given no batch.")
        by_column = self._by_column(wanted, name)
        choices = [
            kind.choices(by_column[key], named(name, key)) if key in by_column else [np.nan]
            for key, kind in self.columns.items()
        ]
        return [np.array(target) for target in product(*choices)]

    def _by_column(self, wanted, name):
        if None in self.columns:
            return {None: wanted}
        if is_all(wanted):
            return dict.fromkeys(self.columns, ALL)
        if not isinstance(wanted, dict) or not wanted:
            raise ValueError(
                f"{name} == {wanted!r}, must be a dict with some of {listed_names(self.columns)} for keys, or 'all'."
            )
        unknown = [key for key in wanted if str(key) not in self.columns]
        if unknown:
            raise ValueError(f"{name} has {listed_names(unknown)}; expected some of {listed_names(self.columns)}.")
        return {str(key): value for key, value in wanted.items()}

    def extended(self, batch, n_rows):
        """Return the covariates that know the new levels of a `batch` of further rows too."""
        if not self.columns:
            raise ValueError("fit was given no batch, so that there are no levels to learn; expected one in fit.")
        self._check_given(batch, "batch")
        columns = {}
        for key, column, kind in self._matched(batch, "batch"):
            name = named("batch", key)
            columns[key] = kind.extended(check_column(column, n_rows, name), called(column, name))
        return Covariates(columns, [*self.earlier, self.widths])


NONE = Covariates({})


class Moved:
    """The covariates of rows, and beside them those that the rows are to have, (n_samples, (1 + T) C).

    Parameters
    ----------
    covariates : Covariates
    *targets : T ndarrays of shape (n_columns,), or None
        Some of `Covariates.targets`; None, or none at all, for their own.
    """

    def __init__(self, covariates, *targets):
        self.covariates = covariates
        self.targets = targets or (None,)

    @property
    def widths_then(self):
        return self.covariates.widths_then

    def inputs(self, encoded):
        moved = (encoded if target is None else np.where(np.isnan(target), encoded, target) for target in self.targets)
        return np.hstack([self.covariates.inputs(part) for part in (encoded, *moved)])


def learn_column(column, key, n_rows, weights):
    """Return what is learned of a column of a `batch`, whose name is the key."""
    name = named("batch", key)
    values = check_column(column, n_rows, name)
    return learn_kind(values, called(column, name), n_rows, weights, is_category=is_category(column))


def learn_levels(levels, key):
    """Return what a column of a `batch` is whose levels are listed: one of labels, though they be fractions."""
    name = named("batches", key)
    return learn_kind(check_column(levels, np.size(levels), name), name, np.inf, is_category=True)


def listed_names(names):
    """Return the names of columns for a message."""
    return "a single column" if None in names else f"the columns {list(names)}"


def check_same_levels(levels, covariates):
    """Raise a ValueError if levels, or None, are not those that the first call of `partial_fit` was given."""
    if levels is None:
        return
    listed = table_of(levels, "batches")[0]
    for name, column in listed.items():
        known = covariates.columns[name].state if name in covariates.columns else None
        if not isinstance(known, np.ndarray) or set(learn_levels(column, name).state.tolist()) != set(known.tolist()):
            raise ValueError(f"batches == {levels!r}, must be those of the first call, or None.")
