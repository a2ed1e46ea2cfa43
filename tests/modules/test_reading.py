"""Files of cells: the same counts and names from every format, and one sentence for what is wrong with a file."""

import gzip
import os
import shutil
import sys
from contextlib import suppress

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
from scipy import sparse
from scipy.io import mmwrite

from skvae import RowStore, make_single_cell_counts
from skvae.reading import Cells, check_counts, read_cells
from skvae.reading.recognition import find_genes

N_CELLS, N_GENES = 40, 70


class Data:
    """Counts with names that are known as those of genes and of cells."""

    def __init__(self):
        simulated = make_single_cell_counts(N_CELLS, N_GENES, library_size=300, random_state=0)
        self.counts = sparse.csr_matrix(simulated.data)
        self.genes = [str(name) for name in simulated.feature_names]
        rng = np.random.default_rng(0)
        self.cells = ["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(N_CELLS)]
        self.ids = [f"ENSG{number:011d}" for number in range(N_GENES)]
        self.types = ["Gene Expression"] * N_GENES

    def change(self, row, column, value):
        counts = self.counts.tolil()
        counts[row, column] = value
        self.counts = counts.tocsr()

    @property
    def adata(self):
        return anndata.AnnData(
            self.counts.copy(), obs=pd.DataFrame(index=self.cells), var=pd.DataFrame(index=self.genes)
        )

    @property
    def frame(self):
        return pd.DataFrame(self.counts.toarray().astype(int), self.cells, self.genes)


@pytest.fixture
def data():
    return Data()


# Writers: each writes the data into a folder, and returns the name of the file


def write_h5ad(data, folder):
    data.adata.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def write_zarr(data, folder):
    data.adata.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


def write_dense_h5ad(data, folder):
    adata = data.adata
    adata.X = adata.X.toarray().astype(np.int64)
    adata.write_h5ad(folder / "dense.h5ad")
    return folder / "dense.h5ad"


def write_csc_h5ad(data, folder):
    adata = data.adata
    adata.X = adata.X.tocsc()
    adata.write_h5ad(folder / "csc.h5ad")
    return folder / "csc.h5ad"


def write_matrix_of_10x(group, data):
    stored = data.counts.astype(np.int32)
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(stored, name)
    group["shape"] = np.array(stored.shape[::-1], dtype=np.int32)
    group["barcodes"] = np.array(data.cells, dtype="S")


def write_10x_h5(data, folder):
    with h5py.File(folder / "matrix.h5", "w") as file:
        group = file.create_group("matrix")
        write_matrix_of_10x(group, data)
        features = {
            "id": data.ids,
            "name": data.genes,
            "feature_type": data.types,
            "genome": ["GRCh38"] * len(data.ids),
        }
        for name, values in features.items():
            group[f"features/{name}"] = np.array(values, dtype="S")
    return folder / "matrix.h5"


def write_10x_h5_of_version_2(data, folder):
    with h5py.File(folder / "matrix_v2.h5", "w") as file:
        group = file.create_group("hg19")
        write_matrix_of_10x(group, data)
        group["genes"] = np.array(data.ids, dtype="S")
        group["gene_names"] = np.array(data.genes, dtype="S")
    return folder / "matrix_v2.h5"


def write_lines(path, lines):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.writelines(f"{line}\n" for line in lines)


def write_10x_folder(data, folder, prefix="", features="features", gz=".gz"):
    folder = folder / "filtered"
    folder.mkdir(exist_ok=True)
    mmwrite(folder / "m.mtx", data.counts.T.astype(int))
    write_lines(folder / f"{prefix}matrix.mtx{gz}", (folder / "m.mtx").read_text().splitlines())
    (folder / "m.mtx").unlink()
    columns = [data.ids, data.genes] + ([data.types] if features == "features" else [])
    write_lines(folder / f"{prefix}{features}.tsv{gz}", map("\t".join, zip(*columns, strict=True)))
    write_lines(folder / f"{prefix}barcodes.tsv{gz}", data.cells)
    return folder


def write_10x_folder_of_version_2(data, folder):
    return write_10x_folder(data, folder, features="genes", gz="")


def write_10x_folder_of_geo(data, folder):
    return write_10x_folder(data, folder, prefix="GSM123_sample_")


def write_kallisto_folder(data, folder):
    folder = folder / "counts_unfiltered"
    folder.mkdir()
    mmwrite(folder / "cells_x_genes.mtx", data.counts.astype(int))
    write_lines(folder / "cells_x_genes.genes.txt", data.genes)
    write_lines(folder / "cells_x_genes.barcodes.txt", data.cells)
    return folder


def write_mtx(data, folder):
    return next(write_10x_folder(data, folder).glob("*.mtx.gz"))


def write_csv(data, folder):
    data.frame.to_csv(folder / "cells.csv")
    return folder / "cells.csv"


def write_csv_gz_of_genes(data, folder):
    data.frame.T.to_csv(folder / "genes.csv.gz")
    return folder / "genes.csv.gz"


def write_table_of_r(data, folder):
    """Write quoted names, and none above those of the rows, as write.table does."""
    header = " ".join(f'"{name}"' for name in data.cells)
    rows = (f'"{name}" {" ".join(map(str, values))}' for name, *values in data.frame.T.itertuples())
    write_lines(folder / "genes.txt", [header, *rows])
    return folder / "genes.txt"


def write_npz(data, folder):
    stored = data.counts.astype(np.int64)
    sparse.save_npz(folder / "plain.npz", stored)
    with np.load(folder / "plain.npz") as archive:
        np.savez(folder / "cells.npz", **archive, genes=np.array(data.genes), cells=np.array(data.cells))
    return folder / "cells.npz"


def write_npz_of_few_bits(data, folder):
    counts = data.counts
    np.savez_compressed(
        folder / "few.npz",
        data=counts.data.astype(np.uint16),
        indices=counts.indices.astype(np.uint16),
        indptr=counts.indptr,
        shape=counts.shape,
        var_names=np.array(data.genes),
        obs_names=np.array(data.cells),
    )
    return folder / "few.npz"


def write_loom(data, folder):
    with h5py.File(folder / "cells.loom", "w") as file:
        file.create_dataset("matrix", data=data.counts.T.toarray(), chunks=(16, 16), compression="gzip")
        file["row_attrs/Gene"] = data.genes
        file["row_attrs/Chromosome"] = ["1"] * len(data.genes)
        file["col_attrs/CellID"] = data.cells
        file["col_attrs/Age"] = np.arange(len(data.cells))
        file["col_attrs/Axes"] = np.zeros((len(data.cells), 2))
    return folder / "cells.loom"


SINGLE_FILES = {
    "h5ad": write_h5ad,
    "dense h5ad": write_dense_h5ad,
    "csc h5ad": write_csc_h5ad,
    "10x h5": write_10x_h5,
    "10x h5 of version 2": write_10x_h5_of_version_2,
    "mtx": write_mtx,
    "csv": write_csv,
    "csv.gz of genes in rows": write_csv_gz_of_genes,
    "table of R": write_table_of_r,
    "npz": write_npz,
    "npz of few bits": write_npz_of_few_bits,
    "loom": write_loom,
}
WRITERS = {
    **SINGLE_FILES,
    "zarr": write_zarr,
    "10x folder": write_10x_folder,
    "10x folder of version 2": write_10x_folder_of_version_2,
    "10x folder of GEO": write_10x_folder_of_geo,
    "kallisto folder": write_kallisto_folder,
}
every_format = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
every_file = pytest.mark.parametrize("write", SINGLE_FILES.values(), ids=SINGLE_FILES)


def assert_same_bits(counts, expected):
    """Assert that a CSR matrix of float32 has sorted columns, each once, no zeros stored, and the values expected."""
    fresh = sparse.csr_matrix((counts.data, counts.indices, counts.indptr), shape=counts.shape)
    assert isinstance(counts, sparse.csr_matrix)
    assert fresh.has_canonical_format
    assert counts.data.all()
    for part, dtype in (("data", np.float32), ("indices", np.int32), ("indptr", np.int32)):
        assert getattr(counts, part).dtype == dtype
        np.testing.assert_array_equal(getattr(counts, part), getattr(expected, part))


def failure_of(path, *arguments, **options):
    """Return the error of reading a file: of one of two types, in words that name the file and what is expected."""
    with pytest.raises((ValueError, OSError)) as caught:
        read_cells(path, *arguments, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "expected" in message or "must be" in message
    assert "\n" not in message
    return message


# The same of all formats


@every_format
def test_every_format_gives_the_same_counts_and_names(write, data, tmp_path):
    path = write(data, tmp_path)
    cells = read_cells(path)
    assert isinstance(cells, Cells)
    assert_same_bits(cells.counts, data.counts)
    assert cells.obs.index.tolist() == data.cells
    assert cells.var.index.tolist() == data.genes
    assert cells.path == path
    assert all(note.endswith(".") for note in cells.notes)
    check_counts(cells)


@every_format
def test_a_name_may_be_a_string(write, data, tmp_path, monkeypatch):
    path = write(data, tmp_path)
    monkeypatch.chdir(path.parent)
    assert_same_bits(read_cells(path.name).counts, data.counts)


@every_format
def test_the_user_decides_where_the_genes_are(write, data, tmp_path):
    path = write(data, tmp_path)
    sides = [read_cells(path, genes_in=side) for side in ("rows", "columns")]
    right, wrong = sorted(sides, key=lambda cells: cells.counts.shape)
    assert_same_bits(right.counts, data.counts)
    assert_same_bits(wrong.counts, sparse.csr_matrix(data.counts.T))
    assert (wrong.obs.index.tolist(), wrong.var.index.tolist()) == (data.genes, data.cells)
    assert not any("was followed" in note for note in right.notes)
    assert any("was followed" in note for note in wrong.notes)


@every_format
def test_other_ways_to_store_counts_are_the_same_bits(write, data, tmp_path):
    """Columns that are not sorted, there twice, or with zeros."""
    expected = data.counts.copy()
    rows = np.repeat(np.arange(N_CELLS), np.diff(expected.indptr))
    columns, values = expected.indices, expected.data
    twice = np.r_[rows, rows, rows[:5]], np.r_[columns, columns, (columns[:5] + 1) % N_GENES]
    order = np.random.default_rng(0).permutation(len(twice[0]))
    stored = np.r_[values, values, np.zeros(5, np.float32)][order]
    rows, columns = twice[0][order], twice[1][order]
    order = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[order], np.arange(N_CELLS + 1))
    data.counts = sparse.csr_matrix((stored[order], columns[order], indptr), shape=expected.shape)
    assert_same_bits(read_cells(write(data, tmp_path)).counts, expected * 2)


# Oracles


def test_10x_h5_is_read_as_scanpy_does(data, tmp_path):
    for write in (write_10x_h5, write_10x_h5_of_version_2):
        path = write(data, tmp_path)
        cells, expected = read_cells(path), scanpy.read_10x_h5(path)
        assert_same_bits(cells.counts, expected.X)
        pd.testing.assert_frame_equal(cells.var, expected.var, check_like=True, check_dtype=False)
        pd.testing.assert_frame_equal(cells.obs, expected.obs)


@pytest.mark.parametrize("write", [write_10x_folder, write_10x_folder_of_version_2])
def test_a_10x_folder_is_read_as_scanpy_does(write, data, tmp_path):
    data.genes[3:6] = ["TBCE", "TBCE", "TBCE"]
    path = write(data, tmp_path)
    cells, expected = read_cells(path), scanpy.read_10x_mtx(path)
    np.testing.assert_array_equal(cells.counts.toarray(), expected.X.toarray())
    pd.testing.assert_frame_equal(cells.var, expected.var, check_dtype=False)
    pd.testing.assert_frame_equal(cells.obs, expected.obs)
    assert cells.var.index[3:6].tolist() == ["TBCE", "TBCE-1", "TBCE-2"]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_symbols_that_repeat_are_made_unique_as_anndata_does(data, tmp_path):
    data.genes[:4] = ["TBCE", "TBCE-1", "TBCE", "TBCE"]
    for write in (write_10x_h5, write_10x_folder, write_10x_h5_of_version_2, write_loom):
        cells = read_cells(write(data, tmp_path))
        assert cells.var.index[:4].tolist() == ["TBCE", "TBCE-1", "TBCE-2", "TBCE-3"]
        assert any("2 names of genes are there more than once, such as 'TBCE'" in note for note in cells.notes)


def test_features_that_are_no_genes_are_left_out(data, tmp_path):
    data.types[10:13] = ["Antibody Capture"] * 3
    is_gene = np.array(data.types) == "Gene Expression"
    for write in (write_10x_h5, write_10x_folder):
        cells = read_cells(write(data, tmp_path))
        assert_same_bits(cells.counts, data.counts[:, is_gene])
        assert cells.var.index.tolist() == [gene for gene, keep in zip(data.genes, is_gene, strict=True) if keep]
        assert "3 features were left out, which are no genes but 'Antibody Capture'." in cells.notes
    expected = scanpy.read_10x_h5(tmp_path / "matrix.h5")
    assert cells.var.index.tolist() == expected.var_names.tolist()
    data.types = ["Peaks"] * N_GENES
    assert "of the types 'Peaks'; expected some of the type 'Gene Expression'" in failure_of(
        write_10x_folder(data, tmp_path)
    )


def test_a_genome_of_version_2_is_chosen_as_a_layer(data, tmp_path):
    path = write_10x_h5_of_version_2(data, tmp_path)
    with h5py.File(path, "r+") as file:
        file.copy("hg19", "mm10")
        file["mm10/data"][:] = file["mm10/data"][:] * 2
    assert "genomes ['hg19', 'mm10']; expected one, which layer chooses" in failure_of(path)
    assert "must be None or one of ['hg19', 'mm10']" in failure_of(path, layer="mm9")
    assert_same_bits(read_cells(path, layer="mm10").counts, data.counts * 2)


# Files of anndata


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_layers_and_raw_of_anndata(suffix, data, tmp_path):
    adata = data.adata
    adata.obs["type"] = pd.Categorical(["B", "NK"] * (N_CELLS // 2))
    adata.var["length"] = np.arange(N_GENES)
    adata.layers["doubled"] = adata.X * 2
    adata.raw = adata
    adata = adata[:, 5:].copy()
    path = tmp_path / f"cells.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    for layer, expected, genes in (
        (None, data.counts[:, 5:], data.genes[5:]),
        ("doubled", 2 * data.counts[:, 5:], data.genes[5:]),
        ("raw", data.counts, data.genes),
    ):
        cells = read_cells(path, layer=layer)
        assert_same_bits(cells.counts, sparse.csr_matrix(expected))
        assert cells.var.index.tolist() == genes
        pd.testing.assert_frame_equal(cells.obs, adata.obs, check_index_type=False)
        assert cells.var["length"].tolist() == list(range(N_GENES))[-len(genes) :]
    message = failure_of(path, layer="none")
    assert "layer == 'none', must be None or one of ['raw', 'doubled']." in message


@pytest.mark.parametrize("write", [write_h5ad, write_zarr, write_dense_h5ad])
def test_a_large_matrix_of_anndata_stays_on_disk(write, data, tmp_path):
    path = write(data, tmp_path)
    cells = read_cells(path, max_bytes=100)
    assert isinstance(cells.counts, RowStore)
    assert cells.counts.dtype == np.float32
    assert_same_bits(sparse.csr_matrix(cells.counts[:]), data.counts)
    assert cells.obs.index.tolist() == data.cells
    assert "The matrix is large and stays on disk; blocks of it are read." in cells.notes
    check_counts(cells)
    assert "too large to be transposed" in failure_of(path, max_bytes=100, genes_in="rows")


def test_a_large_column_major_matrix_is_an_error_that_says_how_to_convert_it(data, tmp_path):
    message = failure_of(write_csc_h5ad(data, tmp_path), max_bytes=100)
    assert "is column-major (CSC); expected row-major (CSR)" in message
    assert "adata.X = adata.X.tocsr()" in message


def test_a_store_with_a_value_that_is_not_finite_says_so_when_it_is_read(data, tmp_path):
    data.change(-1, 3, np.nan)
    path = write_h5ad(data, tmp_path)
    with pytest.raises(ValueError, match=r"cannot read .*cells\.h5ad/X: it holds nan; expected finite numbers"):
        read_cells(path, max_bytes=100).counts[:]


# Tables


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_tables_have_any_separator(separator, suffix, data, tmp_path):
    path = tmp_path / f"cells{suffix}"
    for frame, notes in ((data.frame, 0), (data.frame.T, 1)):
        frame.to_csv(path, sep=separator)
        cells = read_cells(path)
        assert_same_bits(cells.counts, data.counts)
        assert len(cells.notes) == notes


def test_quotes_bytes_of_order_fractions_and_blank_lines(tmp_path):
    path = tmp_path / "cells.csv"
    text = '\ufeff"","HLA-A, B","a ""b""",ACTB\r\n"cell, 1","1",2.0,0\r\n cell 2 ,0,3e0, 4\r\n\r\n'
    path.write_bytes(text.encode())
    cells = read_cells(path)
    assert cells.counts.toarray().tolist() == [[1, 2, 0], [0, 3, 4]]
    assert cells.var.index.tolist() == ["HLA-A, B", 'a "b"', "ACTB"]
    assert cells.obs.index.tolist() == ["cell, 1", "cell 2"]


def test_names_that_tell_nothing_leave_cells_in_rows_and_a_note(tmp_path):
    path = tmp_path / "cells.csv"
    pd.DataFrame(np.eye(2, 3, dtype=int), ["p", "q"], ["x", "y", "z"]).to_csv(path)
    cells = read_cells(path)
    assert cells.counts.toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    (note,) = cells.notes
    assert "rows were taken for cells. genes_in='rows' takes them for genes." in note
    transposed = read_cells(path, genes_in="rows")
    assert transposed.obs.index.tolist() == ["x", "y", "z"]
    assert transposed.notes == ()


GENES = (
    ["MT-ND1", "abc"],
    ["mt-Co1", "abc"],
    ["Actb", "abc"],
    ["GAPDH", "abc"],
    ["B2m", "abc"],
    ["Malat1", "abc"],
    ["RPL13A", "abc"],
    ["Rps27", "abc"],
    ["ENSG00000141510", "ENSG00000141511"],
    ["ENSMUSG00000059552.8", "abc"],
    ["hg19_ACTB", "mm10___Actb"],
)
CELLS = (
    ["AAACATACAACCAC", "AAACATTGAGCTAC"],
    ["AAACATACAACCAC-1", "AAACATTGAGCTAC-2"],
    ["sample:AAACATACAACCACx", "sample:AAACATTGAGCTACx"],
    ["donor1_AAACATACAACCAC.1", "donor1_AAACATTGAGCTAC.1"],
    ["Cell1", "Cell2"],
)
NEITHER = (["a", "b"], ["MT-1", "WT-1"], ["CAT", "TAC"], ["1", "2"])


@pytest.mark.parametrize("genes", GENES, ids=str)
def test_names_of_genes_are_known(genes):
    for cells in (*CELLS, *NEITHER):
        assert find_genes(genes, cells) == "rows"
        assert find_genes(cells, genes) == "columns"


@pytest.mark.parametrize("cells", CELLS, ids=str)
def test_names_of_cells_are_known(cells):
    for genes in (*NEITHER, None):
        assert find_genes(cells, genes) == "columns"
        assert find_genes(genes, cells) == "rows"


def test_names_that_contradict_each_other_tell_nothing():
    assert find_genes(GENES[0], GENES[1]) is None
    assert find_genes(CELLS[0], CELLS[1]) is None
    assert find_genes(NEITHER[0], None) is None


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_a_table_is_the_same_in_chunks_of_any_size(step, data, tmp_path, monkeypatch):
    monkeypatch.setattr("skvae.reading.tables.N_PARSED", step * N_GENES)
    assert_same_bits(read_cells(write_csv(data, tmp_path)).counts, data.counts)


# Archives, Matrix Market and loom


def test_labels_in_an_archive_are_columns(data, tmp_path):
    path = write_npz_of_few_bits(data, tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    kinds = np.arange(N_CELLS, dtype=np.int8) % 3
    np.savez(path, **arrays, type=kinds, type_names=["B", "NK", "T"], batch=kinds, length=np.arange(N_GENES))
    cells = read_cells(path)
    assert cells.obs["type"].tolist() == [["B", "NK", "T"][kind] for kind in kinds]
    assert cells.obs["batch"].tolist() == kinds.tolist()
    assert cells.obs.columns.tolist() == ["type", "batch"]
    assert cells.var["length"].tolist() == list(range(N_GENES))


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_archives_without_names_number_them(form, data, tmp_path):
    sparse.save_npz(tmp_path / "cells.npz", data.counts.asformat(form))
    cells = read_cells(tmp_path / "cells.npz")
    assert_same_bits(cells.counts, data.counts)
    assert cells.obs.index[[0, -1]].tolist() == ["cell 1", f"cell {N_CELLS}"]
    assert cells.var.index[[0, -1]].tolist() == ["gene 1", f"gene {N_GENES}"]
    assert cells.notes == (
        f"The file has no names of cells; they were named cell 1 to cell {N_CELLS}.",
        f"The file has no names of genes; they were named gene 1 to gene {N_GENES}.",
    )


def test_objects_in_an_archive_are_not_loaded(data, tmp_path):
    path = tmp_path / "cells.npz"
    counts = data.counts
    arrays = {name: getattr(counts, name) for name in ("data", "indices", "indptr", "shape")}
    np.savez(path, **arrays, genes=np.array(data.genes, dtype=object))
    assert "'genes' cannot be loaded" in failure_of(path)


def test_a_matrix_without_names_has_cells_in_rows_unless_the_user_says_so(data, tmp_path):
    mmwrite(tmp_path / "counts.mtx", data.counts.astype(int))
    cells = read_cells(tmp_path / "counts.mtx")
    assert_same_bits(cells.counts, data.counts)
    assert len(cells.notes) == 3
    cells = read_cells(tmp_path / "counts.mtx", genes_in="rows")
    assert cells.counts.shape == (N_GENES, N_CELLS)
    assert cells.obs.index[0] == "cell 1"


def test_files_of_names_may_have_a_header_or_be_missing_beside_a_matrix(data, tmp_path):
    mmwrite(tmp_path / "counts.mtx", data.counts.T.astype(int))
    write_lines(tmp_path / "counts_genes.csv", ["x", *data.genes])
    cells = read_cells(tmp_path / "counts.mtx")
    assert_same_bits(cells.counts, data.counts)
    assert cells.var.index.tolist() == data.genes
    assert cells.notes[0].startswith("The first line of counts_genes.csv was left out as a header")
    write_lines(tmp_path / "barcodes.tsv", data.cells[1:])
    message = failure_of(tmp_path / "counts.mtx")
    assert f"{N_GENES} names in counts_genes.csv and {N_CELLS - 1} names in barcodes.tsv for a matrix" in message


def test_attributes_and_layers_of_loom(data, tmp_path, monkeypatch):
    path = write_loom(data, tmp_path)
    with h5py.File(path, "r+") as file:
        file["layers/spliced"] = 2 * file["matrix"][:]
    monkeypatch.setattr("skvae.reading.loom.BLOCK_BYTES", 1)
    cells = read_cells(path, layer="spliced")
    assert_same_bits(cells.counts, 2 * data.counts)
    assert cells.obs["Age"].tolist() == list(range(N_CELLS))
    assert cells.obs.columns.tolist() == ["Age"]
    assert cells.var.columns.tolist() == ["Chromosome"]
    assert "must be None or one of ['spliced']" in failure_of(path, layer="unspliced")


# What is wrong with files


@every_file
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short_is_an_error(share, write, data, tmp_path):
    path = write(data, tmp_path)
    os.truncate(path, int(share * path.stat().st_size))
    message = failure_of(path)
    assert "cannot read" in message or "is empty" in message


@every_file
def test_a_file_without_its_last_byte_is_an_error_or_a_note(write, data, tmp_path):
    path = write(data, tmp_path)
    os.truncate(path, path.stat().st_size - 1)
    if path.suffix in (".csv", ".txt"):
        assert f"The last line of {path.name} has no end" in read_cells(path).notes[0]
    else:
        failure_of(path)


# changed bytes abort HDF5 itself at times
@pytest.mark.parametrize("write", [write_mtx, write_csv, write_csv_gz_of_genes, write_table_of_r, write_npz])
def test_bytes_that_were_changed_are_an_error_or_counts(write, data, tmp_path):
    path = write(data, tmp_path)
    original = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        changed = np.frombuffer(original, np.uint8).copy()
        changed[rng.integers(len(changed), size=3)] = rng.integers(256, size=3)
        path.write_bytes(changed.tobytes())
        with suppress(ValueError, OSError):
            cells = read_cells(path)
            assert (len(cells.obs), len(cells.var)) == cells.counts.shape


def test_parts_of_a_folder_that_were_cut_short_are_errors(data, tmp_path):
    folder = write_10x_folder(data, tmp_path)
    for path in folder.iterdir():
        original = path.read_bytes()
        for share in (0, 0.1, 0.5, 0.9):
            path.write_bytes(original[: int(share * len(original))])
            failure_of(folder)
        path.write_bytes(original)
    read_cells(folder)


def test_parts_of_a_zarr_that_were_cut_short_or_lost_are_errors(data, tmp_path):
    write_zarr(data, tmp_path)
    shutil.move(tmp_path / "cells.zarr", tmp_path / "whole")
    for lost in ("X", "obs", "var", "X/indices", "obs/_index", "var/_index", "X/indptr"):
        path = tmp_path / f"{lost.replace('/', '_')}.zarr"
        shutil.copytree(tmp_path / "whole", path)
        shutil.rmtree(path / lost)
        with pytest.raises((ValueError, OSError), match=f"cannot read .*{path.name}"):
            read_cells(path)
    for cut in (".zmetadata", "X/data/0", "X/indices/0", "X/indptr/0", "obs/_index/0", "var/_index/0"):
        path = tmp_path / f"cut_{cut.replace('/', '_')}.zarr"
        shutil.copytree(tmp_path / "whole", path)
        os.truncate(path / cut, (path / cut).stat().st_size // 2)
        with pytest.raises((ValueError, OSError), match=f"cannot read .*{path.name}"):
            read_cells(path)


@every_format
@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_names_that_repeat_are_an_error(write, data, tmp_path):
    data.cells[3] = data.cells[1]
    message = failure_of(write(data, tmp_path))
    assert f"1 names of cells are there more than once, such as '{data.cells[1]}'; expected each once" in message


@pytest.mark.parametrize(
    "write", [write_h5ad, write_zarr, write_csv, write_csv_gz_of_genes, write_npz, write_table_of_r]
)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_that_repeat_are_an_error_where_symbols_are_not_usual(write, data, tmp_path):
    data.genes[3] = data.genes[1]
    assert "1 names of genes are there more than once" in failure_of(write(data, tmp_path))


@pytest.mark.parametrize(
    "write", [write_h5ad, write_zarr, write_npz, write_npz_of_few_bits, write_10x_h5, write_10x_folder, write_loom]
)
def test_genes_in_the_place_of_cells_are_an_error_that_says_what_to_do(write, data, tmp_path):
    swapped = Data()
    swapped.counts = sparse.csr_matrix(data.counts.T)
    swapped.genes, swapped.cells = data.cells, data.genes
    swapped.ids, swapped.types = [f"id {cell}" for cell in data.cells], ["Gene Expression"] * N_CELLS
    path = write(swapped, tmp_path)
    message = failure_of(path)
    assert "genes and cells are swapped" in message
    side = "rows" if "genes_in='rows'" in message else "columns"
    assert_same_bits(read_cells(path, genes_in=side).counts, data.counts)


@pytest.mark.parametrize("write", [write_h5ad, write_csc_h5ad, write_zarr, write_loom])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(value, write, data, tmp_path):
    data.change(4, 2, value)
    message = failure_of(write(data, tmp_path))
    assert f"holds {value} for the cell {data.cells[4]!r} and the gene {data.genes[2]!r}; expected finite" in message


def test_text_among_the_numbers_is_named(data, tmp_path):
    path = write_csv(data, tmp_path)
    frame = data.frame.astype(object)
    for text in ("B cell", "NA", "", "1,5"):
        frame.iloc[4, 2] = text
        frame.to_csv(path, na_rep="NA")
        message = failure_of(path)
        assert f"its row {data.cells[4]!r} holds {text!r} in the column {data.genes[2]!r}; expected a number" in message
    frame.iloc[4, 2] = 1
    frame.to_csv(path, index=False, header=False)
    assert "its first line holds numbers" in failure_of(path)
    frame.to_csv(path, index=False)
    assert "its first column holds numbers that repeat" in failure_of(path)


def make_folder(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text("text")
    return folder


NO_FILES = {
    "unknown suffix": (
        "cells.rds",
        "is of no known format; expected a folder of 10x Genomics, or a name that ends in one of ['.h5ad'",
    ),
    "packed": ("cells.h5ad.gz", "Unpack it first"),
    "no suffix": ("cells", "is of no known format"),
    **{
        f"text as {suffix}": (f"cells{suffix}", "expected")
        for suffix in (".h5ad", ".h5", ".loom", ".npz", ".mtx", ".csv.gz")
    },
    "text as a table": ("cells.csv", "its first two lines begin with"),
    "text as zarr": ("cells.zarr", "expected"),
}


@pytest.mark.parametrize(("name", "expected"), NO_FILES.values(), ids=NO_FILES)
def test_a_file_of_another_format_says_what_is_expected(name, expected, tmp_path):
    (tmp_path / name).write_text("nothing of the kind\n")
    assert expected in failure_of(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["cells.h5ad", "cells.h5", "cells.csv", "cells.npz", "cells.mtx", "cells.zarr", "cells"]
)
def test_no_file_and_an_empty_one(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{name}: there is no such file or folder"):
        read_cells(tmp_path / name)
    (tmp_path / name).touch()
    if name != "cells":
        assert f"{name} is empty; expected" in failure_of(tmp_path / name)


def test_a_folder_without_what_is_needed_says_what_it_holds(data, tmp_path):
    assert "it is a folder that holds nothing; expected matrix.mtx" in failure_of(make_folder(tmp_path / "empty"))
    folder = make_folder(tmp_path / "other", "a.txt")
    assert "holds 'a.txt'; expected matrix.mtx" in failure_of(folder)
    whole = write_10x_folder(data, tmp_path)
    assert "There are matrices in 'filtered' below it: give the name" in failure_of(tmp_path)
    shutil.copy(whole / "matrix.mtx.gz", whole / "sample_matrix.mtx.gz")
    message = failure_of(whole)
    assert "several matrices, 'matrix.mtx.gz', 'sample_matrix.mtx.gz'; expected one" in message
    (whole / "sample_matrix.mtx.gz").unlink()
    (whole / "barcodes.tsv.gz").unlink()
    assert "but no names of cells; expected matrix.mtx, features.tsv" in failure_of(whole)


def test_a_file_of_anndata_that_is_named_as_one_of_10x(data, tmp_path):
    path = write_h5ad(data, tmp_path).rename(tmp_path / "cells.h5")
    message = failure_of(path)
    assert "and not 'matrix'; expected a matrix of 10x Genomics. Is it of another format" in message


@pytest.mark.parametrize("write", [write_csv, write_npz, write_mtx, write_10x_folder, write_10x_h5])
def test_a_layer_of_what_has_none_is_an_error(write, data, tmp_path):
    assert "one matrix alone; expected None" in failure_of(write(data, tmp_path), layer="counts")


def test_names_that_do_not_fit_are_errors(data, tmp_path):
    path = write_npz(data, tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive) | {"genes": np.array(data.genes[1:])}
    np.savez(path, **arrays)
    assert f"it has {N_GENES - 1} names for the {N_GENES} columns of its matrix" in failure_of(path)
    path = write_10x_h5(data, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["matrix/barcodes"]
        file["matrix/barcodes"] = data.cells[1:]
    assert f"it has {N_CELLS - 1} names for the {N_CELLS} columns of its matrix" in failure_of(path)


def test_a_count_beyond_float32_is_an_error(data, tmp_path):
    sparse.save_npz(tmp_path / "large.npz", sparse.csr_matrix([[2**24 + 1, 1], [0, 1]]))
    assert "it holds 16777217, which is no float32; expected counts of at most 16777216" in failure_of(
        tmp_path / "large.npz"
    )
    sparse.save_npz(tmp_path / "real.npz", sparse.csr_matrix([[0.1, 2.0**30], [0, 1]]))
    assert read_cells(tmp_path / "real.npz").counts.data.tolist() == np.array([0.1, 2**30, 1], np.float32).tolist()


def test_a_side_that_is_none_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="genes_in == 'columnar', must be None, 'rows' or 'columns'"):
        read_cells(tmp_path, genes_in="columnar")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("name", ["pipe.csv", "pipe.npz", "pipe.mtx", "pipe.loom", "pipe.h5"])
def test_a_pipe_is_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    assert "it is a folder, a device or a pipe; expected" in failure_of(tmp_path / name)


@pytest.mark.parametrize("package", ["pandas", "anndata", "h5py", "zarr"])
def test_a_missing_package_is_named_with_its_extra(package, data, tmp_path, monkeypatch):
    writers = {"pandas": write_csv, "anndata": write_h5ad, "h5py": write_10x_h5, "zarr": write_zarr}
    path = writers[package](data, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'read_cells needs {package}: pip install "skvae\[cells\]"'):
        read_cells(path)


# What are counts


def with_layers(X, data, folder, **layers):
    """Write a file of anndata, and read its X as a matrix and as a store."""
    adata = data.adata
    adata.layers.update(layers)
    adata.X = X
    path = folder / f"{len(layers)}.h5ad"
    adata.write_h5ad(path)
    return [read_cells(path, max_bytes=max_bytes) for max_bytes in (2**28, 0)]


def test_normalised_values_are_no_counts_and_layers_that_hold_them_are_named(data, tmp_path):
    logs = data.counts.log1p()
    for cells in with_layers(logs, data, tmp_path, logs=logs, counts=data.counts, dense=data.counts.toarray()):
        with pytest.raises(
            ValueError, match=r"holds \d\.\d+ for the cell '.*' and the gene '.*', no whole number"
        ) as caught:
            check_counts(cells)
        assert str(caught.value).endswith("Whole numbers are in layer='counts' and layer='dense'.")
    for cells in with_layers(logs, data, tmp_path):
        with pytest.raises(ValueError, match=r"No other matrix of the file holds them\.$"):
            check_counts(cells)
    adata = data.adata
    adata.raw = adata
    adata.X = logs
    adata.write_zarr(tmp_path / "cells.zarr")
    with pytest.raises(ValueError, match=r"Whole numbers are in layer='raw'\.$"):
        check_counts(read_cells(tmp_path / "cells.zarr"))


def test_a_fraction_at_the_end_of_a_file_is_found(data, tmp_path):
    data.change(-1, 3, 0.5)
    for cells in with_layers(data.counts, data, tmp_path):
        place = f"holds 0.5 for the cell '{data.cells[-1]}' and the gene '{data.genes[3]}', no whole number"
        with pytest.raises(ValueError, match=place):
            check_counts(cells)


def test_negative_values_are_no_counts(data, tmp_path):
    data.change(7, 3, -2)
    for cells in with_layers(data.counts, data, tmp_path):
        with pytest.raises(
            ValueError, match=f"holds -2 for the cell '{data.cells[7]}' .*, a negative number; expected"
        ):
            check_counts(cells)


def test_zeros_alone_are_no_counts(data, tmp_path):
    zeros = sparse.csr_matrix(data.counts.shape, dtype=np.float32)
    for cells in with_layers(zeros, data, tmp_path, counts=data.counts):
        with pytest.raises(
            ValueError, match=r"nothing but zeros; expected counts\. Whole numbers are in layer='counts'"
        ):
            check_counts(cells)


def test_one_cell_or_gene_is_too_few(tmp_path):
    for shape in ((1, 5), (5, 1), (1, 1)):
        sparse.save_npz(tmp_path / "few.npz", sparse.csr_matrix(np.ones(shape)))
        with pytest.raises(ValueError, match=rf"holds {shape[0]} cells and {shape[1]} genes; expected two of each"):
            check_counts(read_cells(tmp_path / "few.npz"))


def test_layers_of_loom_that_hold_counts_are_named(data, tmp_path):
    path = write_loom(data, tmp_path)
    with h5py.File(path, "r+") as file:
        file["layers/spliced"] = file["matrix"][:]
        file["matrix"][:] = file["matrix"][:] / 2
    with pytest.raises(ValueError, match=r"Whole numbers are in layer='spliced'\.$"):
        check_counts(read_cells(path))
