"""Groups of points, such as clusters and types of cells, and their colours."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skvae.plotting import COLORS, index_labels
from skvae.types import Names

# Of points without a label: "lightgray", as in the figures.
MISSING = "#d3d3d3"


@dataclass(frozen=True, eq=False)
class Group:
    """Points of one colour.

    Parameters
    ----------
    name : str
        What the legend calls them.
    colour : str
        Such as "#CC6677". Groups of the same colour differ in their markers.
    members : array-like of int
        The indices of the points.

    Raises
    ------
    ValueError
        If the colour has another form.
    """

    name: str
    colour: str
    members: ArrayLike

    def __post_init__(self):
        if not re.fullmatch("#[0-9A-Fa-f]{6}", self.colour):
            raise ValueError(f"colour is {self.colour!r}, expected six hexadecimal digits such as '#CC6677'.")


def make_groups(labels: ArrayLike, names: Names = None) -> list[Group]:
    """Return the points of each label as a group, in the colours of `skvae.plotting.plot_embedding`.

    Parameters
    ----------
    labels : array-like of shape (n_points,)
        Strings, a pandas categorical, or integers. Points whose label is missing (None, NaN) are a last group, in grey.
    names : sequence, default=None
        The labels in the order of legend and colours; integers are indices into them. None for the order of a pandas
        categorical, else for the sorted labels.

    Returns
    -------
    groups : list of Group
        One a name, whether points have it or not.

    Examples
    --------
    >>> from skvae.report import make_groups
    >>> [(group.name, group.colour, group.members) for group in make_groups(["NK", "B", "NK"])]
    [('B', '#CC6677', array([1])), ('NK', '#332288', array([0, 2]))]
    """
    index, names = index_labels(labels, names, labels)
    groups = [
        Group(str(name), COLORS[label % len(COLORS)], np.flatnonzero(index == label))
        for label, name in enumerate(names)
    ]
    missing = np.flatnonzero(index < 0)
    return [*groups, Group("missing", MISSING, missing)] if len(missing) else groups


def code_groups(groups: Sequence[Group], n_points: int) -> tuple[list[Group], np.ndarray]:
    """Return the groups, and the number of each point's one among them.

    Points of no group are a last one, in grey.
    """
    codes = np.full(n_points, len(groups))
    for code, group in enumerate(groups):
        members = np.asarray(group.members)
        if members.size and members.dtype.kind not in "iu":
            raise ValueError(f"the members of {group.name!r} are of type {members.dtype}, expected indices of points.")
        members = members.astype(int)
        if members.size and not 0 <= members.min() <= members.max() < n_points:
            raise ValueError(
                f"the members of {group.name!r} go from {members.min()} to {members.max()}, must be indices of "
                f"{n_points} points."
            )
        if (codes[members] < len(groups)).any() or len(np.unique(members)) < len(members):
            raise ValueError(f"{group.name!r} has a point twice or one of another group, expected each point once.")
        codes[members] = code
    others = np.flatnonzero(codes == len(groups))
    return [*groups, Group("other", MISSING, others)] if len(others) else list(groups), codes
