"""Formats: the readers of files, by the end of their names."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from skvae.files import task_in_errors
from skvae.reading.annotated import read_annotated
from skvae.reading.archives import read_archive
from skvae.reading.assembly import assemble
from skvae.reading.cells import Cells, Contents, Side
from skvae.reading.loom import read_loom
from skvae.reading.matrix_market import SUFFIX, read_folder, read_market, stem_of
from skvae.reading.name_files import find_names
from skvae.reading.tables import read_table
from skvae.reading.tenx import read_tenx
from skvae.types import PathLike

# Of a matrix as it is stored, from which it stays on disk where its format admits.
MAX_BYTES = 2**28


def without_layers(read) -> Callable[[Path, str | None, int], Contents]:
    """Return a reader of a format that holds one matrix, which is loaded."""

    def read_only_matrix(path, layer, max_bytes):  # noqa: ARG001
        if layer is not None:
            raise ValueError(f"layer == {layer!r}, but {path} holds one matrix alone; expected None.")
        with task_in_errors(f"cannot read {path}"):
            return read(path)

    return read_only_matrix


# Of the path, the layer or None, and the bytes from which a matrix stays on disk.
READERS: dict[str, Callable[[Path, str | None, int], Contents]] = {
    ".h5ad": read_annotated,
    ".zarr": read_annotated,
    ".h5": read_tenx,
    ".loom": read_loom,
    ".npz": without_layers(read_archive),
    **{f"{suffix}{gz}": without_layers(read_market) for suffix in (".mtx",) for gz in ("", ".gz")},
    **{f"{suffix}{gz}": without_layers(read_table) for suffix in (".csv", ".tsv", ".txt") for gz in ("", ".gz")},
}
OF_FOLDER = without_layers(read_folder)


def read_cells(
    path: PathLike, *, layer: str | None = None, genes_in: Side | None = None, max_bytes: int = MAX_BYTES
) -> Cells:
    r"""Read the cells of a file.

    The end of its name tells the format:

    - `.h5ad`, `.zarr`: of anndata
    - `.h5`: of 10x Genomics, from CellRanger 2 on
    - a folder: of 10x Genomics or STARsolo, with `matrix.mtx`, `features.tsv` or `genes.tsv`, and `barcodes.tsv`, each
      plain or `.gz`, which may have a common beginning of their names
    - `.mtx`: of Matrix Market, with such files of names beside it, or without
    - `.loom`
    - `.csv`, `.tsv`, `.txt`: names in the first line and the first column, in either orientation
    - `.npz`: of `scipy.sparse.save_npz`, cells in rows, with arrays `genes` and `cells` of names if there are any, and
      others of labels

    `.mtx` and tables of text may end in `.gz`. The same counts are the same bits in all formats.

    Parameters
    ----------
    path : str or path-like
        The file or folder.
    layer : str, default=None
        The matrix to read where a file holds several: a layer, "raw" for that of `adata.raw` with its own genes, or of
        CellRanger 2 the genome.
    genes_in : {"rows", "columns"}, default=None
        Where the genes are in the matrix of the file, which for 10x and loom has them in rows. None goes by the format,
        and for tables of text and a lone `.mtx` by the names of both sides.
    max_bytes : int, default=2**28
        A matrix of anndata that takes more than this stays on disk: the counts are a `RowStore`.

    Returns
    -------
    cells : Cells
        With the notes that say what was decided.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If a package is missing: `pip install "skvae[cells]"`.
    OSError
        If the file cannot be read.
    ValueError
        If it is of no known format, empty or cut short; has no such layer; has genes where cells should be; has names
        that do not fit, or that stand there more than once, but for symbols of genes of 10x and loom, which are made
        unique; or holds text, NaN or infinite values among the counts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.reading import read_cells
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "counts.csv")
    ...     _ = path.write_text("gene,AAACATACAACCAC,AAACATTGAGCTAC\nACTB,5,0\nCD3D,0,2\nMS4A1,1,0\n")
    ...     cells = read_cells(path)
    >>> cells.counts.toarray().tolist()
    [[5.0, 0.0, 1.0], [0.0, 2.0, 0.0]]
    >>> cells.notes
    ('The file has genes in rows, as names show; it was transposed.',)
    """
    if genes_in not in (None, "rows", "columns"):
        raise ValueError(f"genes_in == {genes_in!r}, must be None, 'rows' or 'columns'.")
    path = Path(path)
    read = find_reader(path)
    with extra_in_errors():
        return assemble(path, read(path, layer, max_bytes), genes_in)


def files_of(path: Path) -> list[Path]:
    """Return the files that `read_cells` reads for a path: of a folder, or beside a matrix, not all."""
    if path.suffix == ".zarr" and path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    files = [file for file in sorted(path.iterdir()) if SUFFIX.search(file.name)] if path.is_dir() else [path]
    matrices = [file for file in files if SUFFIX.search(file.name)]
    named = {file for matrix in matrices for file in find_names(matrix, stem_of(matrix)).values() if file is not None}
    return [*files, *sorted(named)]


def find_reader(path):
    """Return the reader of a file or folder that is there and not empty."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder.")
    reader = next((read for suffix, read in READERS.items() if path.name.endswith(suffix)), None)
    if path.is_dir() and path.suffix != ".zarr":
        return OF_FOLDER
    if reader is None:
        packed = " Unpack it first: gunzip keeps the name without .gz." if path.suffix == ".gz" else ""
        raise ValueError(
            f"{path} is of no known format; expected a folder of 10x Genomics, or a name that ends in one of "
            f"{list(READERS)}.{packed}"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(
            f"{path} is empty; expected a file of the format {path.suffix}. Was it written, or copied, in full?"
        )
    return reader


@contextmanager
def extra_in_errors():
    """Say what to install in the errors of packages that are missing."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'read_cells needs {error.name or error}: pip install "skvae[cells]"') from error
