"""Rows and their batches: which are kept from the model, and which are compared with one another."""

import math

import numpy as np
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples

from skvae.rows.checks import check_is_matrix, check_structure
from skvae.rows.columns import check_column, is_category, named, table_of
from skvae.stores import find_store


def matrix_of(X):
    """Return rows that can be taken by their numbers; values are left to the model to check."""
    check_is_matrix(X)
    if find_store(X, maps=False) is not None:
        raise TypeError(f"X is of the type {type(X).__name__}, a store; expected rows in memory, such as store[:].")
    check_structure(X)
    X = indexable(X)[0]
    if len(np.shape(X)) != 2:
        raise ValueError(
            f"X has the shape {np.shape(X)}; expected samples and features. Reshape your data: X.reshape(1, -1) is a "
            "single sample."
        )
    return X


def take(X, batch, rows):
    """Return some rows, and their batch."""
    table = {} if batch is None else table_of(batch, "batch")[0]
    taken = {name: _safe_indexing(column, rows) if np.ndim(column) else column for name, column in table.items()}
    return _safe_indexing(X, rows), taken.get(None, taken or None)


def labels_of(batch, X):
    """Return the label of each row's batch, (n_samples,), or None without one: of a table those of all columns.

    Measurements are no labels.
    """
    table = {} if batch is None else table_of(batch, "batch")[0]
    columns = {name: check_column(column, _num_samples(X), named("batch", name)) for name, column in table.items()}
    labels = [column for name, column in columns.items() if column.dtype.kind != "f" or is_category(table[name])]
    if len(labels) <= 1:
        return labels[0] if labels else None
    return np.array([", ".join(map(str, row)) for row in zip(*labels, strict=True)])


def learn_groups(batch, n_rows):
    """Return the labels of a batch, sorted, and the number of each row's; None and zeros without one."""
    return (None, np.zeros(n_rows, dtype=int)) if batch is None else np.unique(batch, return_inverse=True)


def find_groups(batch, batches, n_rows):
    """Return the number of each row's batch among those of `fit`."""
    if (batch is None) != (batches is None):
        expected = "None, as in fit" if batches is None else f"one of {batches.tolist()} for each row, as in fit"
        raise ValueError(f"batch is {'None' if batch is None else 'given'}; expected {expected}.")
    if batches is None:
        return np.zeros(n_rows, dtype=int)
    unknown = sorted(set(batch.tolist()) - set(batches.tolist()), key=str)
    if unknown:
        raise ValueError(f"batch holds {unknown[:5]}; expected one of {batches.tolist()}, the batches of fit.")
    return np.searchsorted(batches, batch)


def draw_part(groups, share, rng, *, least=0):
    """Return the numbers of some rows, sorted: a share of each group, and so many of its rows at least."""
    order = rng.permutation(len(groups))
    parts = [order[groups[order] == group] for group in np.unique(groups)]
    return np.sort(np.concatenate([rows[: max(least, round(share * len(rows)))] for rows in parts]))


def split_rows(groups, share, rng):
    """Return the numbers of the training rows and of the calibration rows, that share of each group."""
    calibration = draw_part(groups, share, rng)
    return np.setdiff1d(np.arange(len(groups)), calibration), calibration


def check_numbers(training, calibration, batches, level):
    """Raise a ValueError if a group has too few calibration rows for a level, or too few rows are left for training."""
    needed = math.ceil(1 / level) - 1
    for group in range(1 if batches is None else len(batches)):
        n_rows = (calibration == group).sum()
        if n_rows < needed:
            where = "" if batches is None else f" in the batch {batches.tolist()[group]!r}"
            raise ValueError(
                f"there are {n_rows} calibration row(s){where} of {n_rows + (training == group).sum()} sample(s); "
                f"expected {needed} or more for contamination == {level}: give more rows, or set calibration or "
                "contamination larger."
            )
    if len(training) < 2:
        raise ValueError(
            f"there are {len(training)} training row(s) of {len(training) + len(calibration)} sample(s); expected 2 or "
            "more: give more rows, or set calibration smaller."
        )
