"""Columns: what the user gives as the batch of rows, a column or a table of several, as arrays without gaps."""

from collections.abc import Mapping
from numbers import Number

import numpy as np
from scipy import sparse

from skvae.maps import check_maps

# Names of the types that stand for a missing value in pandas.
MISSING = ("NAType", "NaTType")


def named(name, key):
    """Return what messages call a column of a batch that they call `name`; a single one has no key."""
    return name if key is None else f"{name}, the column {key!r},"


def table_of(batch, name):
    """Return the columns of a batch as they are, a dict, and whether their names are the user's.

    A single column, or a value for all rows, has the name None; columns of an array without names have their numbers.

    Parameters
    ----------
    batch : object
        A column, a value for all rows, or a table: a data frame, a 2d array or a dict of columns.
    name : str
        What messages call it.
    """
    if isinstance(batch, Mapping):
        if not batch:
            raise ValueError(f"{name} is an empty dict; expected a column, or a table of one or more.")
        return {key: batch[own] for key, own in keys_of(batch, name).items()}, True
    shape = shape_of(batch, name)
    # an attribute of the type, since those of a data frame may be named by the user
    is_frame = hasattr(type(batch), "columns")
    if len(shape) != 2 or shape[1] < 2:
        return {None: batch[batch.columns[0]] if is_frame and shape[1] else batch}, False
    if is_frame:
        return {key: batch[own] for key, own in keys_of(batch.columns, name).items()}, True
    check_maps(batch)
    if isinstance(batch, (list, tuple)):
        return {str(place): [row[place] for row in batch] for place in range(shape[1])}, False
    array = np.asarray(batch)
    return {str(place): array[:, place] for place in range(shape[1])}, False


def keys_of(names, name):
    """Return the names of columns, of any type, by what they are as strings; raise a ValueError if two are alike."""
    strings = [str(own) for own in names]
    twice = sorted({key for key in strings if strings.count(key) > 1})
    if twice:
        raise ValueError(f"{name} has the column {twice[0]!r} more than once; expected each once.")
    return dict(zip(strings, names, strict=True))


def shape_of(batch, name):
    """Return the shape of a column or table, or raise a ValueError for what has none."""
    if sparse.issparse(batch):
        raise ValueError(f"{name} is a sparse matrix; expected a column, a data frame, or an array.")
    try:
        return np.shape(batch)
    except ValueError:
        raise ValueError(
            f"{name} holds lists of unlike lengths; expected a value for each row, or as many values in each row."
        ) from None


def called(batch, name):
    """Return what messages call a `batch`, with the name of the column that it is, if it has one."""
    column = getattr(batch, "name", None)
    return named(name, column) if isinstance(column, str) and column and "the column" not in name else name


def check_column(batch, n_rows, name):
    """Return a value for each row, (n_rows,), numbers as such; a single one is that of all rows."""
    if shape_of(batch, name) == ():
        return np.repeat(check_column([np.asarray(batch)[()]], 1, name), n_rows)
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


def is_category(column):
    """Return whether a column's own type says that it holds labels, as the categories of pandas may be floats."""
    return hasattr(getattr(column, "dtype", None), "categories")


def check_length(column, n_rows, name):
    found = np.shape(column)[0]
    if found != n_rows:
        raise ValueError(
            f"{name} and X have inconsistent numbers of samples, {found} and {n_rows}; expected a value for each row."
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
    unhashable = sorted(kind.__name__ for kind in types if kind.__hash__ is None)
    if unhashable:
        raise ValueError(f"{name} holds values of the type {unhashable[0]}; expected strings or numbers.")
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
