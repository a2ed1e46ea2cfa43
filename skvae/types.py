"""Types of what the public functions take, for editors and type checkers."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from skvae.stores import RowStore

# Rows of data: in memory, dense or sparse, or on disk.
MatrixLike: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix | RowStore
# One value a row, a value for all rows, or None.
LabelsLike: TypeAlias = ArrayLike | None
# The batch of each row: a column, or a table of several, a data frame, a 2d array or a dict of columns; or None.
BatchLike: TypeAlias = LabelsLike | Mapping[str, Any]
PathLike: TypeAlias = str | os.PathLike[str]
RandomState: TypeAlias = int | np.random.RandomState | None
Names: TypeAlias = Sequence[Any] | np.ndarray | None
# Of matplotlib, whose types for two and three dimensions differ.
Axes: TypeAlias = Any
