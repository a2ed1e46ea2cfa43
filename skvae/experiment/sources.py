"""Sources of cells: the data sets of the package, and a user's file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import sparse

from skvae.experiment import presets
from skvae.reading import check_counts, files_of, read_cells
from skvae.reading.faults import listed
from skvae.stores import RowStore

if TYPE_CHECKING:
    from anndata import AnnData

# Of data sets, for a person.
TITLES = {"simulated": "Simulated cells", "pbmc3k": "PBMC 3k"}

# Ends of the names of files that anndata reads.
ANNDATA = (".h5ad", ".zarr")


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of cells, and what is known of them.

    Parameters
    ----------
    values : {CSR matrix, RowStore} of shape (n_cells, n_genes)
    cells : ndarray of str of shape (n_cells,)
        Names.
    genes : ndarray of str of shape (n_genes,)
        Names.
    target : ndarray of int of shape (n_cells,) or None
        Index of the known type of each cell in `target_names`, -1 where it is not known.
    target_names : ndarray of str
    batch : ndarray of str of shape (n_cells,) or None
    notes : tuple of str
        Sentences that say what was decided while reading.
    """

    values: sparse.csr_matrix | RowStore
    cells: np.ndarray
    genes: np.ndarray
    target: np.ndarray | None
    target_names: np.ndarray
    batch: np.ndarray | None = None
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """Where cells come from."""

    @property
    def name(self) -> str:
        """What was read, for a person."""

    def read(self) -> Counts:
        """Read the counts."""

    def files(self) -> list[tuple[str, int, int]]:
        """Return the name, size and time of each file that is read: a changed one is read anew."""


@dataclass(frozen=True)
class DatasetSource:
    """A data set of the package, `simulated` or `pbmc3k`."""

    dataset: str

    @property
    def name(self) -> str:
        return TITLES.get(self.dataset, self.dataset)

    def files(self) -> list[tuple[str, int, int]]:
        return []

    def read(self) -> Counts:
        cells = presets.DATASETS[self.dataset]()
        return Counts(
            values=cells.data,
            cells=np.asarray(cells.cell_names, dtype=str),
            genes=np.asarray(cells.feature_names, dtype=str),
            target=cells.target,
            target_names=np.asarray(cells.target_names, dtype=str),
        )


@dataclass(frozen=True)
class FileSource:
    """A file or folder of a user.

    Parameters
    ----------
    path : str
    layer, genes_in : str or None
        See `skvae.reading.read_cells`.
    labels, batch : str or None
        Columns of its table of cells with known types and batches.
    """

    path: str
    layer: str | None = None
    genes_in: str | None = None
    labels: str | None = None
    batch: str | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name

    def files(self) -> list[tuple[str, int, int]]:
        there = [file.absolute() for file in files_of(Path(self.path)) if file.exists()]
        return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in there]

    def read(self) -> Counts:
        read = read_cells(self.path, layer=self.layer, genes_in=self.genes_in)  # type: ignore[arg-type]
        labels, batch = (self.column(read.obs, key) for key in ("labels", "batch"))
        check_counts(read)
        target_names, target = (np.array([], dtype=str), None) if labels is None else index_of(labels)
        return Counts(
            values=read.counts,
            cells=read.obs.index.to_numpy(dtype=str),
            genes=read.var.index.to_numpy(dtype=str),
            target=target,
            target_names=target_names,
            batch=None if batch is None else batch.astype(str).to_numpy(dtype=str),
            notes=read.notes,
        )

    def annotated(self, kept: np.ndarray) -> "AnnData":
        """Return the cells that were kept, in memory: of a file of anndata all that it holds, if it has such genes."""
        from anndata import AnnData, read_h5ad, read_zarr

        path = Path(self.path)
        if path.suffix in ANNDATA and self.layer != "raw" and self.genes_in is None:
            opened = read_h5ad(path, backed="r") if path.suffix == ".h5ad" else read_zarr(path)
            return (opened if kept.all() else opened[kept]).to_memory()
        cells = read_cells(path, layer=self.layer, genes_in=self.genes_in)  # type: ignore[arg-type]
        rows = np.flatnonzero(kept)
        return AnnData(cells.counts[rows], cells.obs.iloc[rows].copy(), cells.var.copy())

    def column(self, obs, option):
        """Return the column of the table of cells that an option names, None if it names none."""
        key = getattr(self, option)
        if key is None:
            return None
        if key not in obs:
            raise ValueError(
                f"--{option} {key}: {self.path} has no such column of its cells; expected one of those that it has, "
                f"{listed(obs.columns) or 'none'}."
            )
        if option == "batch" and obs[key].isna().any():
            raise ValueError(
                f"--batch {key}: {obs[key].isna().sum()} cells of {self.path} have none; expected one each."
            )
        return obs[key]


def index_of(labels):
    """Return the distinct labels, and the index of each cell's, -1 where it has none."""
    names, target = np.unique(labels.dropna().astype(str), return_inverse=True)
    index = np.full(len(labels), -1)
    index[labels.notna().to_numpy()] = target
    return names.astype(str), index
