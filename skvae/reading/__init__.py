"""Reading: cells of a user's file, as counts and tables of the names of cells and genes, whatever its format."""

from skvae.reading.cells import Cells
from skvae.reading.counts import check_counts
from skvae.reading.formats import files_of, read_cells

__all__ = ["Cells", "check_counts", "files_of", "read_cells"]
