"""Quality control of a user's cells: what each measures, the bounds, and what is kept."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skvae.preprocessing import measure_cells

# How names of mitochondrial genes begin, in man and mouse.
MITOCHONDRIAL = ("MT-", "mt-", "Mt-")

# Deviations from the median, by the median absolute deviation, beyond which a cell is unlike the others; and bounds
# that are not narrowed further: genes of a cell at least, and the mitochondrial share at most.
N_DEVIATIONS = 5.0
FEW_GENES, LARGE_SHARE = 200.0, 0.05

# The factor from the median absolute deviation to the standard deviation of a normal distribution.
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Bounds:
    """Bounds of quality control. None is a bound that follows from the cells.

    Parameters
    ----------
    min_cells : int
        Least number of cells that a gene is seen in.
    min_genes, max_genes : float or None
        Of the genes that a cell expresses. None for five deviations from the median of their logarithms, as the median
        absolute deviation measures them, in whole genes outwards; the lower one is 200 at most.
    max_mitochondrial : float or None
        Largest mitochondrial share of the counts of a cell. None for five deviations above the median, 5% at least.
    """

    min_cells: int = 3
    min_genes: float | None = None
    max_genes: float | None = None
    max_mitochondrial: float | None = None

    names: ClassVar = ("min_cells", "min_genes", "max_genes", "max_mitochondrial")


def control(counts, genes, bounds):
    """Measure cells and judge them.

    Parameters
    ----------
    counts : {CSR matrix, RowStore} of shape (n_cells, n_genes)
    genes : ndarray of str of shape (n_genes,)
    bounds : Bounds

    Returns
    -------
    quality : dict of ndarray
        `n_genes`, `totals` and `mitochondrial`, a share, of each cell; the bounds by their names; `kept_cells` and
        `kept_genes`, of bool.
    """
    begins = max(MITOCHONDRIAL, key=lambda start: np.char.startswith(genes.astype(str), start).sum())
    measured = measure_cells(counts, genes, min_cells=bounds.min_cells, mitochondrial=begins)
    shares = measured.mitochondrial / np.maximum(measured.totals, 1)
    logs = np.log1p(measured.n_genes)
    low, high = deviate(logs, -1), deviate(logs, 1)
    chosen = {
        "min_cells": float(bounds.min_cells),
        # whole genes outwards, as rounding would drop all cells where they are alike
        "min_genes": chosen_or(bounds.min_genes, min(FEW_GENES, np.floor(np.expm1(low)))),
        "max_genes": chosen_or(bounds.max_genes, np.ceil(np.expm1(high))),
        "max_mitochondrial": chosen_or(bounds.max_mitochondrial, max(LARGE_SHARE, deviate(shares, 1))),
    }
    kept = (
        (measured.n_genes > 0) & (chosen["min_genes"] <= measured.n_genes) & (measured.n_genes <= chosen["max_genes"])
    )
    return {
        "n_genes": measured.n_genes,
        "totals": measured.totals,
        "mitochondrial": shares,
        **{name: np.array(value) for name, value in chosen.items()},
        "kept_cells": kept & (shares <= chosen["max_mitochondrial"]),
        "kept_genes": measured.genes,
    }


def chosen_or(bound, otherwise):
    return float(otherwise if bound is None else bound)


def deviate(values, sign):
    """Return the value so many robust deviations above or below the median, or the extreme if most are the same."""
    median = np.median(values)
    deviation = MAD_TO_SD * np.median(np.abs(values - median))
    return median + sign * N_DEVIATIONS * deviation if deviation > 0 else sign * (sign * values).max()
