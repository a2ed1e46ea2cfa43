"""The command line: what it makes of good cells and of bad ones, and where it goes on after an interrupt."""

import csv
import functools
import html
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
import skops.io
from scipy import sparse
from scipy.io import mmwrite
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_limits

from skvae import LogNormalizer, RowStore, make_single_cell_counts
from skvae.__main__ import main
from skvae.experiment import commands, output, sources, stages
from skvae.experiment.presets import PROTOCOLS
from skvae.experiment.quality import Bounds, control
from skvae.experiment.workplace import working_in
from skvae.markers import find_markers

N_CELLS, N_GENES = 150, 100
FAST = ("--n-jobs", "1", "--max-epochs", "1")
PCA_ALONE = ("--models", "pca", "--n-clusters", "4")
TABLES = ("embedding.csv", "clusters.csv", "markers.csv")


@dataclass(frozen=True)
class Outcome:
    """What a command returns and says."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """The last line on stderr, which is not about progress."""
        return self.err.splitlines()[-1]

    @property
    def progress(self):
        """Percentages, and the lines that they stand in."""
        return [(int(line[:4].rstrip(" %")), line) for line in self.err.splitlines() if re.match(r" *\d+%  ", line)]


def call(*arguments):
    """Run a command in this process; only `SystemExit` may leave it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    return Outcome(code, out.getvalue(), err.getvalue())


def embed(path, folder, *options):
    outcome = call(path, *FAST, *options, "--output-dir", folder)
    assert outcome.code == 0, outcome.err
    return outcome


def check_refused(outcome, *words):
    """Check that a command ended with one sentence that has some words, and without a traceback."""
    assert outcome.code == 2
    assert outcome.sentence.startswith("skvae: error: ")
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.sentence


def begun(folder):
    """Return what began to be done in a folder, by its log."""
    lines = (folder / "log.txt").read_text().splitlines()
    return [line.split("  ", 1)[1].removesuffix(": begins") for line in lines if line.endswith(": begins")]


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tables_in(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def read_columns(path):
    return pd.read_csv(path, keep_default_na=False, float_precision="round_trip")


def text_of(page):
    """Return what a reader sees of a page."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", body)).split())


# Cells


def simulate():
    return make_single_cell_counts(n_samples=N_CELLS, n_features=N_GENES, library_size=500, random_state=0)


def make_adata():
    """Return cells with all that a file may hold; one expresses three genes, one is full of mitochondria."""
    cells = simulate()
    counts = cells.data.toarray()
    genes = [str(name) for name in cells.feature_names]
    counts[10, 3:] = 0
    counts[10, :3] = 1
    counts[20, [name.startswith("MT-") for name in genes]] += 40
    barcodes = np.random.default_rng(0).choice(list("ACGT"), size=(N_CELLS, 16))
    names = ["".join(letters) + "-1" for letters in barcodes]
    types = np.array(cells.target_names, dtype=object)[cells.target]
    types[100:110] = None
    adata = anndata.AnnData(
        sparse.csr_matrix(counts),
        pd.DataFrame(
            {"type": pd.Categorical(types), "donor": ["x", "y", "z"] * 50, "score": np.linspace(0, 1, N_CELLS)}, names
        ),
        pd.DataFrame({"length": np.arange(N_GENES)}, genes),
    )
    rng = np.random.default_rng(1)
    adata.obs.loc[names[5], "score"] = np.nan
    adata.raw = anndata.AnnData(sparse.hstack([adata.X, adata.X], format="csr"), adata.obs[[]], raw_genes(genes))
    adata.layers["spliced"] = sparse.csr_matrix(counts // 2)
    adata.obsm["X_umap"], adata.varm["weights"] = rng.normal(size=(N_CELLS, 2)), rng.normal(size=(N_GENES, 3))
    adata.obsp["near"] = sparse.random(N_CELLS, N_CELLS, 0.1, "csr", random_state=rng)
    adata.uns["study"] = {"year": 2026, "names": np.array(["a", "b"]), "nested": {"empty": np.empty(0)}}
    return adata


def raw_genes(genes):
    return pd.DataFrame(index=[*genes, *(f"other {name}" for name in genes)])


def plain(adata):
    """Return the counts and names alone, which every format holds."""
    return anndata.AnnData(adata.X.copy(), adata.obs[[]], adata.var[[]])


def write_h5ad(adata, folder):
    adata.write_h5ad(folder / "cells of mine.h5ad")
    return folder / "cells of mine.h5ad"


def write_zarr(adata, folder):
    adata.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


def write_10x_folder(adata, folder):
    folder = folder / "filtered"
    folder.mkdir()
    mmwrite(folder / "matrix.mtx", adata.X.T.astype(int))
    lines = [f"ENSG{number:011d}\t{name}\tGene Expression\n" for number, name in enumerate(adata.var_names)]
    (folder / "features.tsv").write_text("".join(lines))
    (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in adata.obs_names))
    return folder


def write_10x_h5(adata, folder):
    counts = adata.X.astype(np.int32)
    parts = {
        **{name: getattr(counts, name) for name in ("data", "indices", "indptr")},
        "shape": np.array(counts.shape[::-1]),
        "barcodes": np.array(adata.obs_names, dtype="S"),
        "features/id": np.array([f"ENSG{number:011d}" for number in range(adata.n_vars)], dtype="S"),
        "features/name": np.array(adata.var_names, dtype="S"),
    }
    with h5py.File(folder / "matrix.h5", "w") as file:
        for name, values in parts.items():
            file[f"matrix/{name}"] = values
    return folder / "matrix.h5"


def write_csv_gz(adata, folder):
    adata.to_df().astype(int).to_csv(folder / "cells.csv.gz")
    return folder / "cells.csv.gz"


def write_csv_gz_of_genes(adata, folder):
    adata.to_df().astype(int).T.to_csv(folder / "genes.csv.gz")
    return folder / "genes.csv.gz"


def write_npz(adata, folder):
    names = {"genes": np.array(adata.var_names, dtype=str), "cells": np.array(adata.obs_names, dtype=str)}
    parts = {name: getattr(adata.X, name) for name in ("data", "indices", "indptr", "shape")}
    np.savez(folder / "cells.npz", **parts, **names, format=b"csr")
    return folder / "cells.npz"


def write_loom(adata, folder):
    with h5py.File(folder / "cells.loom", "w") as file:
        file["matrix"] = adata.X.T.toarray().astype(np.uint16)
        file["row_attrs/Gene"] = np.array(adata.var_names, dtype="S")
        file["col_attrs/CellID"] = np.array(adata.obs_names, dtype="S")
    return folder / "cells.loom"


WRITERS = (write_zarr, write_10x_folder, write_10x_h5, write_csv_gz, write_csv_gz_of_genes, write_npz, write_loom)


# Fixtures


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Let t-SNE take few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "default", replace(PROTOCOLS["default"], max_iter={2: 250, 3: 250}))
        yield


def leave_out_figures(patch):
    patch.setattr(output, "draw", lambda experiment: {})
    patch.setattr(commands, "write_page", lambda *_: None)


@pytest.fixture
def no_figures(monkeypatch):
    """Let commands write neither figures nor the page, which take most of the time."""
    leave_out_figures(monkeypatch)


def axes_as_map(latent, n_dimensions, *_):
    return latent[:, :n_dimensions].astype(np.float32)


@pytest.fixture
def no_maps(no_figures, monkeypatch):
    """Let them map by the first axes, too, instead of t-SNE."""
    monkeypatch.setattr(stages, "map_latent", axes_as_map)


@pytest.fixture(scope="module")
def adata():
    return make_adata()


@pytest.fixture(scope="module")
def path(adata, tmp_path_factory):
    return write_h5ad(adata, tmp_path_factory.mktemp("input"))


@dataclass(frozen=True)
class Finished:
    folder: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def finished(path, tmp_path_factory):
    """Embed the cells by both models, into four clusters."""
    folder = tmp_path_factory.mktemp("finished") / "results"
    return Finished(folder, embed(path, folder, "--n-clusters", "4"))


@pytest.fixture(scope="module")
def written(finished):
    return anndata.read_h5ad(finished.folder / "cells.h5ad")


@pytest.fixture(scope="module")
def model(finished):
    return finished.folder / "models" / "beta-vae.skops"


@pytest.fixture(scope="module")
def first_of_pca(path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pca") / "results"
    with pytest.MonkeyPatch.context() as patch:
        leave_out_figures(patch)
        patch.setattr(stages, "map_latent", axes_as_map)
        embed(path, folder, *PCA_ALONE)
    return folder


@pytest.fixture
def of_pca(first_of_pca, no_maps, tmp_path):
    """Give a folder in which the cells were embedded by PCA alone."""
    return shutil.copytree(first_of_pca, tmp_path / "pca")


# Formats


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_counts_give_the_same_bytes_in_every_format(write, adata, of_pca, tmp_path):
    embed(write(plain(adata), tmp_path), tmp_path / "results", *PCA_ALONE)
    assert tables_in(tmp_path / "results") == tables_in(of_pca)
    ours, theirs = (anndata.read_h5ad(folder / "cells.h5ad") for folder in (tmp_path / "results", of_pca))
    assert (ours.X != theirs.X).nnz == 0
    np.testing.assert_array_equal(ours.obsm["X_skvae_pca"], theirs.obsm["X_skvae_pca"])


def test_a_matrix_that_stays_on_disk_gives_the_same_bytes(path, of_pca, tmp_path, monkeypatch):
    read = functools.partial(sources.read_cells, max_bytes=0)
    assert isinstance(read(path).counts, RowStore)
    monkeypatch.setattr(sources, "read_cells", read)
    embed(path, tmp_path / "results", *PCA_ALONE)
    assert tables_in(tmp_path / "results") == tables_in(of_pca)


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float64])
def test_whole_numbers_of_any_type_give_the_same_bytes(dtype, adata, of_pca, tmp_path):
    cells = plain(adata)
    cells.X = cells.X.toarray().astype(dtype)
    embed(write_h5ad(cells, tmp_path), tmp_path / "results", *PCA_ALONE)
    assert tables_in(tmp_path / "results") == tables_in(of_pca)


def test_any_name_of_a_file_is_taken(path, of_pca, tmp_path, monkeypatch):
    for number, name in enumerate(
        ["ä b 文.h5ad", "a\nb.h5ad", "'\"<b>`$x$`.h5ad", os.fsdecode(b"\xff.h5ad"), 240 * "x"]
    ):
        link = tmp_path / f"{name.removesuffix('.h5ad')}.h5ad"
        link.symlink_to(path)
        folder = tmp_path / os.fsdecode(b"\xff") / str(number)
        assert os.fsdecode(b"\xff") not in embed(link, folder, *PCA_ALONE).out
        assert tables_in(folder) == tables_in(of_pca)
    monkeypatch.chdir(path.parent)
    embed(path.name, Path("results"), *PCA_ALONE)
    assert tables_in(path.parent / "results") == tables_in(of_pca)


# Results


def same(ours, theirs):
    if sparse.issparse(theirs):
        assert ours.format == theirs.format
        return ours.shape == theirs.shape and (ours != theirs).nnz == 0
    if isinstance(theirs, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs)
        return True
    return np.array_equal(ours, theirs)


def test_cells_h5ad_holds_all_that_the_input_does(written, path):
    adata = anndata.read_h5ad(path)
    dropped = [place for place, name in enumerate(adata.obs_names) if name not in written.obs_names]
    assert {10, 20} <= set(dropped)
    assert len(dropped) < 5
    kept = adata[written.obs_names].copy()
    assert same(written.X, kept.X)
    assert written.X.dtype == adata.X.dtype
    assert same(written.obs[adata.obs.columns], kept.obs)
    assert same(written.var[adata.var.columns], kept.var)
    for part in ("layers", "obsm", "varm", "obsp"):
        for key, values in getattr(kept, part).items():
            assert same(getattr(written, part)[key], values), key
    assert written.uns["study"]["year"] == 2026
    assert written.uns["study"]["names"].tolist() == ["a", "b"]
    assert written.uns["study"]["nested"]["empty"].shape == (0,)
    assert same(written.raw.X, kept.raw.X)
    assert written.raw.var_names.equals(adata.raw.var_names)


def test_cells_h5ad_is_one_without_raw_if_there_was_none(of_pca, adata, tmp_path):
    embed(write_h5ad(plain(adata), tmp_path), tmp_path / "results", *PCA_ALONE)
    with h5py.File(tmp_path / "results" / "cells.h5ad") as file:
        assert "raw" not in file
    embed(tmp_path / "results" / "cells.h5ad", tmp_path / "again", "--no-qc", *PCA_ALONE)


def test_cells_h5ad_and_the_tables_hold_the_same(written, finished):
    embedding, clusters = (read_columns(finished.folder / name) for name in TABLES[:2])
    assert embedding["cell"].tolist() == clusters["cell"].tolist() == written.obs_names.tolist()
    for key, n in (("beta_vae", 10), ("beta_vae_tsne", 2), ("pca", 10)):
        values = embedding[[f"{key}_{j + 1}" for j in range(n)]].to_numpy()
        np.testing.assert_array_equal(values, written.obsm["X_skvae_tsne" if "tsne" in key else f"X_skvae_{key}"])
    assert written.obsm["X_skvae_tsne_3d"].shape == (written.n_obs, 3)
    assert written.obs["skvae_cluster"].tolist() == [str(cluster) for cluster in clusters["cluster"]]
    assert clusters["cluster"].equals(clusters["cluster_beta_vae"])
    assert set(clusters["cluster_pca"]) == {1, 2, 3, 4}
    selected = written.var["skvae_selected"].to_numpy()
    for key in ("beta_vae", "pca"):
        loadings = written.varm[f"skvae_{key}"]
        assert loadings.shape == (N_GENES, 10)
        np.testing.assert_array_equal(np.isfinite(loadings).all(axis=1), selected)
    assert list(written.uns["skvae"]["models"]) == ["beta-vae", "pca"]


def test_markers_are_those_of_find_markers(written, finished):
    rows = read_columns(finished.folder / "markers.csv")
    seen = np.asarray((written.X > 0).sum(axis=0)).ravel() + 3  # of dropped cells one has the first genes
    kept = seen >= 3
    assert kept.all()
    X = LogNormalizer().fit_transform(written.X)
    found = find_markers(X, written.obs["skvae_cluster"].to_numpy(), feature_names=written.var_names, n_top=100)
    assert rows["cluster"].tolist() == [int(name) for name in found.clusters.repeat(100)]
    assert rows["rank"].tolist() == [*range(1, 101)] * 4
    assert rows["gene"].tolist() == found.names.ravel().tolist()
    for name in ("z", "p_adjusted", "share_in", "share_out", "log2_fold_change"):
        np.testing.assert_allclose(rows[name], found[name].ravel(), rtol=1e-12, err_msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # scanpy's own, of matplotlib
def test_scanpy_goes_on_with_the_cells(finished):
    import scanpy

    cells = scanpy.read_h5ad(finished.folder / "cells.h5ad")
    axes = scanpy.pl.embedding(cells, "X_skvae_tsne", color="skvae_cluster", show=False)
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), cells.obsm["X_skvae_tsne"])


def test_the_page_says_how_many_cells_and_genes_there_were(finished, written):
    text = text_of(finished.folder / "report.html")
    n_selected = written.var["skvae_selected"].sum()
    assert f"holds {N_CELLS} cells and {N_GENES} genes" in text
    assert f"{written.n_obs} cells and {n_selected} genes were kept" in text
    for size in np.bincount(written.obs["skvae_cluster"].cat.codes):
        assert f"{size / written.n_obs:.1%}" in text
    for gene in read_columns(finished.folder / "markers.csv")["gene"][:5]:
        assert gene in text


# New cells


def query(adata, folder):
    """Write the cells with their genes in another order, and others among them."""
    order = np.random.default_rng(0).permutation(2 * N_GENES)
    X = sparse.hstack([adata.X, adata.X[:, ::-1]], format="csr")[:, order]
    cells = anndata.AnnData(X, adata.obs[[]], raw_genes(adata.var_names).iloc[order])
    return write_h5ad(cells, folder)


def test_new_cells_are_embedded_by_the_model_bit_by_bit(model, written, adata, tmp_path):
    outcome = call("transform", model, query(adata, tmp_path), "--output-dir", tmp_path / "new")
    assert outcome.code == 0
    assert f"{N_CELLS} cells in 10 dimensions" in outcome.out
    assert sorted(os.listdir(tmp_path / "new")) == ["cells.h5ad", "embedding.csv"]
    new = anndata.read_h5ad(tmp_path / "new" / "cells.h5ad")
    Z = new[written.obs_names].obsm["X_skvae_beta_vae"]
    np.testing.assert_array_equal(Z, written.obsm["X_skvae_beta_vae"])
    rows = read_columns(tmp_path / "new" / "embedding.csv")
    assert rows["cell"].tolist() == adata.obs_names.tolist()
    np.testing.assert_array_equal(rows.drop(columns="cell"), new.obsm["X_skvae_beta_vae"])


def test_genes_that_new_cells_lack_are_an_error_or_zeros(model, adata, tmp_path):
    few = plain(adata)[:, :90].copy()
    new = write_h5ad(few, tmp_path)
    check_refused(call("transform", model, new, "--output-dir", tmp_path / "new"), "10 of the", adata.var_names[90])
    assert not (tmp_path / "new").exists()
    assert call("transform", model, new, "--missing", "zero", "--output-dir", tmp_path / "new").code == 0
    X = adata.X.copy().tolil()
    X[:, 90:] = 0
    full = anndata.AnnData(sparse.csr_matrix(X), adata.obs[[]], adata.var[[]])
    assert call("transform", model, write_h5ad(full, tmp_path), "--output-dir", tmp_path / "full").code == 0
    expected = (tmp_path / "full" / "embedding.csv").read_bytes()
    assert (tmp_path / "new" / "embedding.csv").read_bytes() == expected


def test_many_missing_genes_are_warned_about_in_one_line(model, adata, tmp_path):
    warnings.simplefilter("always")
    new = write_h5ad(plain(adata)[:, :50].copy(), tmp_path)
    outcome = call("transform", model, new, "--missing", "zero", "--output-dir", tmp_path / "new")
    assert outcome.code == 0
    assert outcome.err.startswith("skvae: warning: 50 of the 100 features")
    assert outcome.err.count("\n") == 1


def test_the_results_of_an_experiment_are_not_overwritten_by_new_cells(finished, model, path):
    before = files_in(finished.folder)
    outcome = call("transform", model, path, "--output-dir", finished.folder)
    check_refused(outcome, str(finished.folder), "expected another folder")
    assert files_in(finished.folder) == before
    assert commands.parse_transform([str(model), str(path)]).folder != commands.parse([str(path)]).folder


class Forged:
    """What a pickle would run."""

    def __reduce__(self):
        return os.mkdir, ("run",)


FORGED = {
    "a call": lambda: skops.io.dumps({"a": functools.partial(os.mkdir, "run")}),
    "a step that calls": lambda: skops.io.dumps(make_pipeline(FunctionTransformer(os.mkdir))),
    "another type": lambda: skops.io.dumps(make_pipeline(sparse.csr_matrix([[1]]), Finished(Path("a"), None))),
    "a pickle": lambda: pickle.dumps(Forged()),
    "an estimator alone": lambda: skops.io.dumps(PCA(2).fit(np.eye(3))),
    "a pipeline without names": lambda: skops.io.dumps(make_pipeline(PCA(2)).fit(np.eye(3))),
    "a dict": lambda: skops.io.dumps({"a": 1}),
    "a text": lambda: b"text",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_file_that_is_no_model_is_refused_and_nothing_in_it_is_run(name, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("forged.skops").write_bytes(FORGED[name]())
    check_refused(call("transform", "forged.skops", path, "--output-dir", "new"), "forged.skops", "skvae has written")
    assert os.listdir() == ["forged.skops"]


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_model_that_was_cut_short_or_changed_is_refused(part, model, path, tmp_path):
    content = bytearray(model.read_bytes())
    place = int(part * len(content))
    (tmp_path / "cut.skops").write_bytes(content[:place])
    content[place] ^= 0xFF
    (tmp_path / "changed.skops").write_bytes(content)
    check_refused(call("transform", tmp_path / "cut.skops", path, "--output-dir", tmp_path / "new"), "cut.skops")
    outcome = call("transform", tmp_path / "changed.skops", path, "--output-dir", tmp_path / "new")
    if outcome.code:
        check_refused(outcome, "changed.skops")


@pytest.mark.parametrize("name", ["none.skops", "cells of mine.h5ad", "."])
def test_what_is_no_model_is_named(name, path):
    check_refused(call("transform", path.parent / name, path, "--output-dir", path.parent / "new"), str(path.parent))


# Quality control


def count_matrix(rng, n_genes_of_cells, n_mitochondrial=5):
    """Return counts of 400 genes, of which each cell expresses a given number, and their names."""
    counts = np.zeros((len(n_genes_of_cells), 400), dtype=np.float32)
    for row, n in zip(counts, n_genes_of_cells, strict=True):
        row[rng.choice(400, n, replace=False)] = rng.integers(1, 10, n)
    names = np.array([f"MT-{g}" if g < n_mitochondrial else f"gene {g}" for g in range(400)])
    return counts, names


def expected_bounds(counts, names):
    """Return what bounds follow from cells, all of whose genes are kept, and the measures that they are of."""
    n_genes = (counts > 0).sum(axis=1)
    shares = counts[:, np.char.startswith(names, "MT-")].sum(axis=1) / counts.sum(axis=1)
    logs = np.log(1 + n_genes)
    reach = 5 * 1.4826 * np.median(np.abs(logs - np.median(logs)))
    far = np.median(shares) + 5 * 1.4826 * np.median(np.abs(shares - np.median(shares)))
    low, high = np.exp(np.median(logs) - reach) - 1, np.exp(np.median(logs) + reach) - 1
    return n_genes, shares, (min(200, np.floor(low)), np.ceil(high), max(0.05, far))


@pytest.mark.parametrize(("typical", "spread"), [(60, 5), (250, 8), (300, 60)])
def test_bounds_follow_from_the_cells(typical, spread):
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.normal(typical, spread, 80).astype(int), 5, 390)
    sizes[:4] = [6, 12, 395, 398]
    counts, names = count_matrix(rng, sizes)
    counts[7, :5] += 100
    n_genes, shares, (low, high, far) = expected_bounds(counts, names)
    found = control(sparse.csr_matrix(counts), names, Bounds(min_cells=1))
    assert (found["min_genes"], found["max_genes"]) == (low, high)
    np.testing.assert_allclose(found["max_mitochondrial"], far)
    kept = (n_genes >= low) & (n_genes <= high) & (shares <= far)
    assert not kept[7]
    np.testing.assert_array_equal(found["kept_cells"], kept)
    np.testing.assert_array_equal(found["n_genes"], n_genes)
    np.testing.assert_allclose(found["mitochondrial"], shares)
    np.testing.assert_array_equal(found["totals"], counts.sum(axis=1))


def test_cells_that_are_all_alike_are_kept():
    counts = np.ones((50, 31), dtype=np.float32)
    names = np.array([f"mt-{g}" if g < 3 else f"g{g}" for g in range(31)])
    found = control(sparse.csr_matrix(counts), names, Bounds())
    assert found["kept_cells"].all()
    assert found["kept_genes"].all()


def test_bounds_that_are_given_hold(adata):
    counts, genes = adata.X, np.array(adata.var_names, dtype=str)
    seen = np.asarray((counts > 0).sum(axis=0)).ravel()
    few = seen >= 60
    n_genes = np.asarray((counts[:, few] > 0).sum(axis=1)).ravel()
    totals = np.asarray(counts[:, few].sum(axis=1)).ravel()
    mitochondrial = np.char.startswith(genes, "MT-") & few
    shares = np.asarray(counts[:, mitochondrial].sum(axis=1)).ravel() / totals
    found = control(counts, genes, Bounds(60, 20, 35, 0.1))
    np.testing.assert_array_equal(found["kept_genes"], few)
    np.testing.assert_array_equal(found["kept_cells"], (n_genes >= 20) & (n_genes <= 35) & (shares <= 0.1))
    assert 0 < found["kept_cells"].sum() < N_CELLS


def test_quality_control_of_a_file_is_that_of_a_matrix(path, adata):
    genes = np.array(adata.var_names, dtype=str)
    in_memory = control(adata.X, genes, Bounds())
    store = RowStore(path)
    of_file = control(store, genes, Bounds())
    store.close()
    assert in_memory.keys() == of_file.keys()
    for name, values in in_memory.items():
        np.testing.assert_array_equal(of_file[name], values, err_msg=name)


@pytest.mark.parametrize(
    "options", [["--no-qc"], ["--min-cells", "40", "--min-genes", "20"], ["--max-genes", "60"], ["--genes", "30"]]
)
def test_options_of_quality_control_are_followed(options, path, adata, no_maps, tmp_path):
    embed(path, tmp_path / "results", *PCA_ALONE, *options)
    written = anndata.read_h5ad(tmp_path / "results" / "cells.h5ad")
    design = commands.parse([str(path), *options]).design
    genes = np.array(adata.var_names, dtype=str)
    everything = {"kept_cells": np.ones(N_CELLS, bool), "kept_genes": np.ones(N_GENES, bool)}
    quality = everything if design.bounds is None else control(adata.X, genes, design.bounds)
    assert written.obs_names.tolist() == adata.obs_names[quality["kept_cells"]].tolist()
    n_selected = min(quality["kept_genes"].sum(), design.n_genes)
    assert written.var["skvae_selected"].sum() == n_selected
    assert not written.var["skvae_selected"][~quality["kept_genes"]].any()


# Bad input


def changed(adata, change):
    cells = plain(adata)
    cells.obs["donor"] = [None, *["x"] * (N_CELLS - 1)]
    cells.obs["nothing"] = np.nan
    cells.obs["own"] = [f"label {number}" for number in range(N_CELLS)]
    return change(cells) or cells


def values(function):
    """Return a change of the values of cells."""

    def change(cells):
        cells.X = sparse.csr_matrix(function(cells.X.toarray()))

    return change


def transposed(cells):
    return cells.T.copy()


def with_names(names):
    def change(cells):
        setattr(cells, names, ["one"] * len(getattr(cells, names)))

    return change


def first(value):
    def change(X):
        X[0, 0] = value
        return X

    return change


def none(cells):
    return None


OF_CELLS = {
    "swapped": (transposed, [], ["genes and cells are swapped"]),
    "normalised": (values(np.log1p), [], ["no whole number", "expected counts"]),
    "negative": (values(first(-1)), [], ["negative"]),
    "infinite": (values(first(np.inf)), [], ["expected finite"]),
    "zeros": (values(np.zeros_like), [], ["nothing but zeros"]),
    "names of genes": (with_names("var_names"), [], ["more than once"]),
    "names of cells": (with_names("obs_names"), [], ["more than once"]),
    "no such labels": (none, ["--labels", "kind"], ["--labels kind", "'donor', 'nothing', 'own'"]),
    "no such batch": (none, ["--batch", "kind"], ["--batch kind", "'donor'"]),
    "no such layer": (none, ["--layer", "kind"], ["layer == 'kind'"]),
    "a batch that lacks": (none, ["--batch", "donor"], ["1 cells of", "have none"]),
    "labels that all lack": (none, ["--labels", "nothing"], ["has a known type"]),
    "all dropped": (none, ["--min-genes", "90"], ["keeps 0 of the 150 cells", "--min-genes 90", "--no-qc"]),
    "all genes dropped": (none, ["--min-cells", "151"], ["0 of the 100 genes", "--min-cells 151"]),
}


@pytest.mark.parametrize("name", OF_CELLS)
def test_bad_cells_are_one_sentence_and_nothing_else(name, adata, tmp_path):
    change, options, words = OF_CELLS[name]
    path = write_h5ad(changed(adata, change), tmp_path)
    check_refused(call(path, *FAST, *options, "--output-dir", tmp_path / "new" / "results"), *words)
    assert os.listdir(tmp_path) == [path.name]
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    check_refused(call(path, *FAST, *options, "--output-dir", folder), *words)
    assert files_in(folder) == {Path("mine.txt"): b"mine"}


BAD_FILES = {
    "empty.h5ad": lambda whole: b"",
    "cut.h5ad": lambda whole: whole[: len(whole) // 2],
    "text.h5ad": lambda whole: b"text",
    "text.zarr": lambda whole: b"text",
    "text.h5": lambda whole: b"text",
    "text.loom": lambda whole: b"text",
    "text.npz": lambda whole: b"text",
    "text.csv": lambda whole: b"text",
    "text.csv.gz": lambda whole: b"text",
    "text.mtx": lambda whole: b"text",
    "text.docx": lambda whole: b"text",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(name, path, tmp_path):
    (tmp_path / name).write_bytes(BAD_FILES[name](path.read_bytes()))
    check_refused(call(tmp_path / name, "--output-dir", tmp_path / "new"), name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["none.h5ad", "none"])
def test_a_file_that_is_not_there_is_named(name, tmp_path):
    check_refused(call(tmp_path / name, "--output-dir", tmp_path / "new"), name, "no such file")
    assert not os.listdir(tmp_path)


def test_more_clusters_than_half_the_cells_are_refused(path, adata, tmp_path):
    outcome = call(path, *FAST, "--n-clusters", "100", "--output-dir", tmp_path / "results")
    check_refused(outcome, "100 clusters of 14", "--n-clusters")
    cells = write_h5ad(changed(adata, none), tmp_path)
    outcome = call(cells, *FAST, "--labels", "own", "--output-dir", tmp_path / "results")
    check_refused(outcome, "known types of 14", "--labels")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "-1"], "-1, must be >= 0"),
        (["--seeds", "x"], "invalid int value: 'x'"),
        (["--seeds", str(2**32)], "must be >= 0 and <= 4294967295"),
        (["--genes", "1"], "1, must be >= 2"),
        (["--genes", "few"], "invalid"),
        (["--n-clusters", "0"], "0, must be >= 1"),
        (["--n-jobs", "0"], "0, must be >= 1"),
        (["--max-mitochondrial", "5"], "5.0, must be >= 0 and <= 1"),
        (["--max-genes", "nan"], "nan, must be >= 0"),
        (["--no-qc", "--min-genes", "5"], "--no-qc and --min-genes: expected --no-qc or bounds"),
        (["--dataset", "simulated"], "expected one of them"),
        (["--models", "umap"], "invalid choice: 'umap'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, words, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(call(path, *options), words)
    assert not os.listdir()


@pytest.mark.parametrize("option", ["--labels", "--batch", "--layer", "--min-genes"])
def test_options_of_a_file_need_one(option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_refused(call(option, "5"), f"{option} without INPUT")
    assert not os.listdir()


def test_an_output_folder_that_cannot_be_is_refused(path, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for folder in ("file", "file/results", "link", "link/results"):
        check_refused(call(path, "--output-dir", tmp_path / folder), "--output-dir", folder.split("/")[0])
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.parametrize("is_link", [False, True])
def test_the_input_is_never_overwritten(is_link, adata, tmp_path, monkeypatch):
    path = write_h5ad(adata, tmp_path)
    if is_link:
        (tmp_path / "cells.h5ad").symlink_to(path)
    else:
        path = path.rename(tmp_path / "cells.h5ad")
    before = files_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    check_refused(call(path.name, "--output-dir", "."), path.name, "would be overwritten")
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("arguments", [[], ["transform", "model.skops"]])
def test_a_missing_package_is_named_before_anything_is_done(arguments, path, tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "find_spec", lambda package: None)
    outcome = call(*arguments, path, "--output-dir", tmp_path / "new")
    check_refused(outcome, "anndata and skops must be installed", 'pip install "skvae[cells]"')
    assert not os.listdir(tmp_path)


@pytest.fixture
def room():
    """Give a function that limits how long a file may become, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# numpy 1.26 leaves the archive open that it could not write
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function ZipFile:pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_told_of_and_leaves_no_part_of_a_file(adata, room, no_maps, tmp_path):
    cells = plain(adata)
    cells.obsm["large"] = np.random.default_rng(0).normal(size=(N_CELLS, 3000))
    path, folder = write_h5ad(cells, tmp_path), tmp_path / "results"
    for n_bytes, file in ((10, "log.txt"), (20_000, "read"), (2_000_000, "cells.h5ad")):
        room(n_bytes)
        check_refused(call(path, *FAST, *PCA_ALONE, "--output-dir", folder), "cannot write", file)
        assert not list(tmp_path.rglob(".*"))
        assert folder.exists() == (n_bytes > 20_000)
    room(10**9)
    embed(path, folder, *PCA_ALONE)
    assert begun(folder).count("pca, seed 0: fit") == 1


# Interrupts


def interrupt(*arguments, **settings):
    raise KeyboardInterrupt


def test_an_interrupt_is_told_of_and_the_same_command_goes_on(path, of_pca, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    for place in ("map_latent", "k_means"):
        with monkeypatch.context() as patch:
            patch.setattr(stages, place, interrupt)
            outcome = call(path, *FAST, *PCA_ALONE, "--output-dir", folder)
        assert outcome.code == 130
        assert outcome.sentence == f"Stopped. What is done is in {folder}: the same command goes on from there."
    assert not set(TABLES) & set(os.listdir(folder))
    embed(path, folder, *PCA_ALONE)
    assert tables_in(folder) == tables_in(of_pca)
    again = {step: begun(folder).count(step) for step in begun(folder)}
    assert {step for step, n in again.items() if n > 1} == {"pca, seed 0: t-SNE 3-D", "pca, seed 0: clusters"}
    assert (folder / "log.txt").read_text().count("stopped by KeyboardInterrupt") == 2


def test_an_interrupt_before_anything_is_done_leaves_nothing(path, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "read_cells", interrupt)
    outcome = call(path, "--output-dir", tmp_path / "new" / "results")
    assert (outcome.code, outcome.sentence) == (130, "Stopped.")
    assert not os.listdir(tmp_path)


TORN = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[:-30],
    "changed": lambda whole: whole[:200] + bytes([whole[200] ^ 0xFF]) + whole[201:],
    "text": lambda whole: b"text",
    "an array": lambda whole: b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_file_of_a_step_is_named(name, path, of_pca):
    expected = tables_in(of_pca)
    for step in ("read", "seed-0-fit", "t-sne-2-d"):
        (file,) = (of_pca / "steps").glob(f"*{step}.*.npz")
        whole = file.read_bytes()
        file.write_bytes(TORN[name](whole))
        check_refused(call(path, *FAST, *PCA_ALONE, "--output-dir", of_pca), str(file), "remove it")
        file.unlink()
        embed(path, of_pca, *PCA_ALONE)
        assert tables_in(of_pca) == expected


def test_two_commands_do_not_work_in_one_folder(path, of_pca):
    before = files_in(of_pca)
    with working_in(of_pca):
        check_refused(call(path, *FAST, *PCA_ALONE, "--output-dir", of_pca), "another command", str(of_pca))
    assert files_in(of_pca) == before
    embed(path, of_pca, *PCA_ALONE)


def test_bad_input_leaves_the_results_of_an_earlier_command(path, of_pca):
    before = files_in(of_pca)
    check_refused(call(path, *FAST, "--labels", "none", "--output-dir", of_pca))
    after = files_in(of_pca)
    log = Path("log.txt")
    assert after.pop(log).startswith(before.pop(log))
    assert after == before


def test_what_is_done_is_not_done_again_but_what_depends_on_an_option_is(path, of_pca):
    def new_steps(*options):
        n_before = len(begun(of_pca))
        embed(path, of_pca, *options)
        return {step.removeprefix("pca, ") for step in begun(of_pca)[n_before:]}

    of_fit = {f"seed 0: {what}" for what in ("fit", "t-SNE 2-D", "t-SNE 3-D", "clusters", "clusters of the map")}
    of_clusters = {"seed 0: clusters", "seed 0: clusters of the map", "pca: markers"}
    assert new_steps(*PCA_ALONE) == set()
    assert new_steps("--models", "pca", "--n-clusters", "5") == of_clusters
    assert new_steps("--models", "pca", "--n-clusters", "5", "--seeds", "0", "1") == {
        step.replace("0", "1") for step in of_fit if "3-D" not in step
    }
    assert new_steps("--models", "pca", "--n-clusters", "5", "--genes", "30") == {
        f"{path.name}: read",
        *of_fit,
        "pca: markers",
    }
    assert len(list((of_pca / "steps").glob("*.npz"))) == 7


def test_a_file_of_the_same_name_that_has_changed_is_read_anew(adata, no_maps, tmp_path):
    folder, beside = tmp_path / "results", tmp_path / "beside"
    path = write_10x_folder(plain(adata), tmp_path)
    embed(path, folder, *PCA_ALONE)
    assert files_in(path).keys() == {Path("matrix.mtx"), Path("features.tsv"), Path("barcodes.tsv")}
    embed(path / "matrix.mtx", beside, *PCA_ALONE)
    names = [f"new {line}" for line in (path / "barcodes.tsv").read_text().splitlines()]
    (path / "barcodes.tsv").write_text("\n".join(names))
    for source, results in ((path, folder), (path / "matrix.mtx", beside)):
        embed(source, results, *PCA_ALONE)
        assert read_columns(results / "clusters.csv")["cell"].str.startswith("new ").all()


def test_results_within_a_folder_that_is_read_are_none_of_its_cells(adata, of_pca, tmp_path, monkeypatch):
    monkeypatch.chdir(write_10x_folder(plain(adata), tmp_path))
    for _ in range(2):
        embed(".", "results", *PCA_ALONE)
    assert len(begun(Path("results"))) == 7
    assert tables_in(Path("results")) == tables_in(of_pca)


def test_files_of_other_people_stay(path, of_pca):
    mine = {"steps/mine.npz": b"mine", "models/mine.skops": b"mine", "mine.png": b"mine"}
    (of_pca / "models").mkdir(exist_ok=True)
    for name, content in mine.items():
        (of_pca / name).write_bytes(content)
    embed(path, of_pca, "--models", "pca", "--n-clusters", "3")
    assert {name: (of_pca / name).read_bytes() for name in mine} == mine


def test_figures_and_models_of_an_earlier_command_go(path, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "map_latent", axes_as_map)
    monkeypatch.setattr(commands, "write_page", lambda *_: None)
    embed(path, tmp_path, "--labels", "type", "--models", "beta-vae", "pca")
    assert {"scores.png", "clusters.png", "history.png"} < set(os.listdir(tmp_path))
    embed(path, tmp_path, *PCA_ALONE)
    assert {name for name in os.listdir(tmp_path) if name.endswith(".png")} == {"tsne_2d.png", "tsne_3d.png"}
    assert os.listdir(tmp_path / "models") == ["pca.skops"]


# Options


def test_seeds_models_labels_batches_and_likelihoods(path, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "map_latent", axes_as_map)
    options = ["--labels", "type", "--batch", "donor", "--seeds", "3", "4", "--likelihood", "nb"]
    outcome = embed(path, tmp_path, *options, "--models", "beta-vsc", "pca")
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(run["model"], run["seed"]) for run in results["runs"]] == [
        (model, seed) for model in ("beta-vsc", "pca") for seed in (3, 4)
    ]
    assert results["runs"][0]["parameters"]["likelihood"] == "nb"
    with open(tmp_path / "scores.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 2 * 2
    assert "±" in outcome.out
    clusters = read_columns(tmp_path / "clusters.csv")
    written = anndata.read_h5ad(tmp_path / "cells.h5ad")
    types = written.obs["type"].astype(object).where(written.obs["type"].notna(), "")
    assert clusters["known_type"].tolist() == types.tolist()
    assert clusters["cluster"].nunique() == written.obs["type"].nunique()
    assert written.uns["skvae"]["seed"] == 3
    text = text_of(tmp_path / "report.html")
    assert "known type" in text
    assert "homogeneity" in text.lower() or "HOM" in text


def test_the_preset_of_the_report_maps_and_clusters_as_it_says(path, no_figures, tmp_path):
    embed(path, tmp_path, *PCA_ALONE, "--preset", "report")
    written = anndata.read_h5ad(tmp_path / "cells.h5ad")
    Z = written.obsm["X_skvae_pca"]
    assert Z.shape == (written.n_obs, 6)
    with threadpool_limits(1):
        points = TSNE(2, perplexity=40, init="pca", random_state=0).fit_transform(Z)
        np.testing.assert_array_equal(written.obsm["X_skvae_tsne"], points)
        labels = KMeans(4, n_init=100, random_state=0).fit_predict(Z)
    pairs = set(zip(labels.tolist(), written.obs["skvae_cluster"], strict=True))
    assert len(pairs) == 4


def test_of_many_cells_some_are_mapped_and_others_lie_among_their_neighbours(path, no_figures, tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "default", replace(PROTOCOLS["default"], n_mapped=60))
    embed(path, tmp_path, *PCA_ALONE)
    written = anndata.read_h5ad(tmp_path / "cells.h5ad")
    Z, points = written.obsm["X_skvae_pca"], written.obsm["X_skvae_tsne"]
    mapped = np.sort(np.random.RandomState(0).permutation(len(Z))[:60])
    start = Z[mapped, :2] / Z[mapped, 0].std() * 1e-4
    with threadpool_limits(1):
        tsne = TSNE(2, perplexity=59 / 3, init=start, max_iter=250, random_state=0)
        np.testing.assert_array_equal(points[mapped], tsne.fit_transform(Z[mapped]))
    others = np.setdiff1d(np.arange(len(Z)), mapped)
    near = points[mapped][NearestNeighbors(n_neighbors=10).fit(Z[mapped]).kneighbors(Z[others])[1]]
    assert (near.min(axis=1) - 1e-4 <= points[others]).all()
    assert (points[others] <= near.max(axis=1) + 1e-4).all()


@pytest.mark.parametrize(
    ("n", "options"),
    [
        (2, ["--n-clusters", "2"]),
        (2, []),
        (5, ["--n-clusters", "3"]),
        (5, ["--labels", "type"]),
        (100, ["--n-clusters", "1"]),
    ],
)
def test_few_cells_or_clusters_are_enough(n, options, adata, tmp_path):
    path = write_h5ad(adata[30 : 30 + n].copy(), tmp_path)
    embed(path, tmp_path / "results", "--no-qc", "--models", "beta-vae", *options)
    written = anndata.read_h5ad(tmp_path / "results" / "cells.h5ad")
    assert written.n_obs == n
    assert np.isfinite(written.obsm["X_skvae_tsne"]).all()
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000


def test_labels_of_one_type_and_types_of_dropped_cells(adata, no_maps, tmp_path):
    cells = plain(adata)
    cells.obs["one"] = "B"
    cells.obs["two"] = ["rare" if place in (10, 20) else "A" if place % 2 else "B" for place in range(N_CELLS)]
    path = write_h5ad(cells, tmp_path)
    for key, names in (("one", {"B"}), ("two", {"A", "B"})):
        embed(path, tmp_path / key, "--labels", key, "--models", "pca")
        clusters = read_columns(tmp_path / key / "clusters.csv")
        assert set(clusters["known_type"]) == names
        assert clusters["cluster"].nunique() == len(names)


def test_without_labels_clusters_are_found(path, no_maps, tmp_path):
    embed(path, tmp_path, "--models", "beta-vae")
    clusters = read_columns(tmp_path / "clusters.csv")["cluster"]
    assert sorted(set(clusters)) == [*range(1, clusters.max() + 1)]


NAMES = ["a,b", 'say "a"', "<script>alert(1)</script>", "文", "new\nline", "=1+1", "`x`", "[a](b)", "%s", "{0}", "&lt;"]


def test_names_of_any_letters_are_written_as_they_are(adata, tmp_path):
    cells = plain(adata)
    cells.var_names = [*NAMES, *adata.var_names[len(NAMES) :]]
    cells.obs_names = [*NAMES, *adata.obs_names[len(NAMES) :]]
    cells.obs["<b>"] = ["<script>alert(2)</script>", "a, b", 'c "d"'] * 50
    embed(write_h5ad(cells, tmp_path), tmp_path / "results", "--no-qc", "--labels", "<b>", "--models", "beta-vae")
    assert set(read_columns(tmp_path / "results" / "markers.csv")["gene"]) == set(cells.var_names)
    clusters = read_columns(tmp_path / "results" / "clusters.csv")
    assert clusters["cell"].tolist() == cells.obs_names.tolist()
    assert clusters["known_type"].tolist() == cells.obs["<b>"].tolist()
    page = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<script>alert(2)</script>" in text_of(tmp_path / "results" / "report.html")


# Progress


def test_progress_rises_to_all_and_foretells_the_rest_once_it_can(finished):
    shares, lines = zip(*finished.outcome.progress, strict=True)
    assert shares[0] == 0
    assert shares[-1] == 100
    assert list(shares) == sorted(shares)
    told = [share for share, line in finished.outcome.progress if " left" in line]
    assert told
    assert min(told) >= 10
    assert "left" not in lines[-1]
    assert [line for line in finished.outcome.err.splitlines() if line not in lines] == []


def test_the_log_has_a_line_an_event(finished, path):
    lines = (finished.folder / "log.txt").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    assert {step for step in begun(finished.folder) if "seed" not in step} == {
        f"{path.name}: read",
        "beta-vae: markers",
    }
    for step in begun(finished.folder):
        assert len([line for line in lines if f"  {step}: done in " in line]) == 1


# Processes


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Give a function that starts a command in a process of its own; what it says on stderr is in a file."""
    processes = []

    def start_command(*arguments):
        said = tmp_path_factory.mktemp("process") / "stderr"
        line = [sys.executable, "-m", "skvae", *map(str, arguments)]
        with open(said, "w") as file:
            process = subprocess.Popen(line, stderr=file, stdout=subprocess.DEVNULL, start_new_session=True)
        processes.append(process)
        return process, said

    yield start_command
    for process in processes:
        process.kill()
        process.wait()


def wait_for(process, folder, event):
    while not (folder / "log.txt").exists() or event not in (folder / "log.txt").read_text():
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture(scope="module")
def more(start, tmp_path_factory):
    """Write cells that take a while, and embed them in peace."""
    folder = tmp_path_factory.mktemp("more")
    cells = make_single_cell_counts(n_samples=600, n_features=200, library_size=500, random_state=0)
    adata = anndata.AnnData(cells.data, var=pd.DataFrame(index=cells.feature_names.astype(str)))
    path = write_h5ad(adata, folder)
    process, said = start(path, "--n-clusters", "4", "--n-jobs", "2", "--output-dir", folder / "results")
    assert process.wait(300) == 0, said.read_text()
    return path, tables_in(folder / "results")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "event", "send"),
    [
        (signal.SIGINT, "beta-vae, seed 0: fit: begins", os.kill),
        (signal.SIGINT, "beta-vae, seed 0: t-SNE 3-D: begins", os.killpg),
        (signal.SIGKILL, "beta-vae, seed 0: fit: begins", os.killpg),
        (signal.SIGKILL, "beta-vae, seed 0: t-SNE 3-D: begins", os.kill),
    ],
)
def test_a_command_that_is_stopped_goes_on(number, event, send, start, more, tmp_path):
    path, expected = more
    folder = tmp_path / "results"
    arguments = (path, "--n-clusters", "4", "--n-jobs", "2", "--output-dir", folder)
    process, said = start(*arguments)
    wait_for(process, folder, event)
    time.sleep(0.3)
    workers = psutil.Process(process.pid).children(recursive=True)
    send(process.pid, number)
    process.wait(60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on from there" in said.read_text()
        assert "Traceback" not in said.read_text()
        assert psutil.wait_procs(workers, timeout=10)[1] == []
    done = {file: file.stat().st_mtime_ns for file in (folder / "steps").glob("*.npz")}
    process, said = start(*arguments)
    assert process.wait(300) == 0, said.read_text()
    assert tables_in(folder) == expected
    assert {file: file.stat().st_mtime_ns for file in done} == done
    assert not list(folder.rglob(".*"))
    assert psutil.wait_procs(workers, timeout=120)[1] == []  # what a killed command leaves ends by itself


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_of(start, more, tmp_path):
    process, said = start(more[0], "--n-clusters", "4", "--n-jobs", "2", "--output-dir", tmp_path / "results")
    wait_for(process, tmp_path / "results", "t-SNE 3-D: begins")
    workers = [child for child in psutil.Process(process.pid).children() if "--process-name" in child.cmdline()]
    workers[0].kill()
    assert process.wait(60) == 2
    assert said.read_text().splitlines()[-1].startswith("skvae: error: a process was killed")
    assert "Traceback" not in said.read_text()


@pytest.mark.slow
def test_of_two_commands_at_a_time_one_works(start, more, tmp_path):
    arguments = (more[0], "--n-clusters", "4", "--n-jobs", "1", "--output-dir", tmp_path / "results")
    first, _ = start(*arguments)
    wait_for(first, tmp_path / "results", "read: begins")
    second, said = start(*arguments)
    assert (second.wait(60), first.wait(300)) == (2, 0)
    assert "another command works in" in said.read_text()
    assert tables_in(tmp_path / "results") == more[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONWARNINGS": "error"},
        {"HOME": "/nowhere", "MPLCONFIGDIR": "/nowhere"},
    ],
)
def test_any_environment_is_lived_in(environment, path, tmp_path):
    link = tmp_path / "ä.h5ad"
    link.symlink_to(path)
    options = [link, *FAST, *PCA_ALONE[:2], "--labels", "type", "--seeds", "0", "1", "--output-dir", tmp_path / "ö"]
    outcome = subprocess.run(
        [sys.executable, "-m", "skvae", *map(str, options)],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert (tmp_path / "ö" / "report.html").exists()
