import os
from functools import partial
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scanpy
from models import SMALL
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skvae import (
    BetaVAE,
    LogNormalizer,
    RowStore,
    VariableGeneSelector,
    embed,
    fetch_pbmc3k,
    make_single_cell_counts,
)


@pytest.fixture(scope="module")
def counts():
    return make_single_cell_counts(n_samples=150, n_features=200, random_state=0).data


def dense_residual_variances(counts, theta):
    x = np.asarray(counts, dtype=float)
    mu = np.outer(x.sum(axis=1), x.sum(axis=0)) / x.sum()
    residuals = (x - mu) / np.sqrt(mu + mu**2 / theta)
    return np.clip(residuals, -np.sqrt(len(x)), np.sqrt(len(x))).var(axis=0)


@pytest.mark.parametrize("theta", [0.5, 100.0, np.inf])
def test_residual_variances_are_those_of_the_dense_formula(counts, theta):
    seen = counts[:, np.asarray(counts.sum(axis=0)) > 0]
    selector = VariableGeneSelector(theta=theta).fit(seen)
    np.testing.assert_allclose(selector.residual_variances_, dense_residual_variances(seen.toarray(), theta), rtol=1e-9)


def test_residuals_of_zero_counts_are_clipped_too():
    # of 4 cells: a deep one that lacks the gene that the others have
    counts = np.array([[1e6, 0], [10, 1e5], [10, 1e5], [10, 1e5]])
    selector = VariableGeneSelector().fit(counts)
    np.testing.assert_allclose(selector.residual_variances_, dense_residual_variances(counts, 100.0), rtol=1e-9)


def test_the_variance_is_near_one_for_genes_of_any_mean_that_chance_explains():
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.4, size=(5000, 1))
    counts = rng.poisson(depth * np.geomspace(0.05, 5, 300))
    variances = VariableGeneSelector(theta=np.inf).fit(counts).residual_variances_
    np.testing.assert_allclose(variances, 1, atol=0.15)


def test_marker_genes_are_selected():
    cells = make_single_cell_counts(n_samples=1000, n_features=5000, random_state=0)
    chosen = VariableGeneSelector(n_top=1000).fit(cells.data).get_support()
    markers = np.array([not name.startswith(("GENE", "RPL", "MT-")) for name in cells.feature_names])
    assert markers.sum() == 30
    assert chosen[markers].mean() > 0.8


def test_the_most_variable_genes_are_selected_in_their_order(counts):
    selector = VariableGeneSelector(n_top=5).fit(counts)
    support = selector.get_support()
    assert support.sum() == 5
    assert selector.residual_variances_[support].min() >= selector.residual_variances_[~support].max()
    np.testing.assert_array_equal(selector.transform(counts).toarray(), counts.toarray()[:, support])


def test_all_genes_are_kept_if_there_are_fewer(counts):
    assert VariableGeneSelector(n_top=1000).fit_transform(counts).shape == counts.shape


def test_of_genes_that_vary_alike_the_first_are_selected():
    counts = np.tile(np.array([[0], [3], [1]]), 6)
    np.testing.assert_array_equal(VariableGeneSelector(n_top=2).fit(counts).get_support(indices=True), [0, 1])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_dense_and_sparse_counts_give_the_same_variances(counts, make):
    expected = VariableGeneSelector().fit(counts).residual_variances_
    given = make(counts.toarray())
    np.testing.assert_array_equal(VariableGeneSelector().fit(given).residual_variances_, expected)


def test_duplicate_entries_are_summed_and_the_input_stays():
    counts = sparse.csr_array((np.ones(4), np.array([0, 0, 1, 2]), np.array([0, 3, 4])), shape=(2, 3))
    expected = VariableGeneSelector().fit(counts.toarray()).residual_variances_
    np.testing.assert_array_equal(VariableGeneSelector().fit(counts).residual_variances_, expected)
    assert counts.nnz == 4


def test_stored_zeros_are_zeros_and_the_input_stays():
    counts = np.array([[3, 0, 1], [0, 1, 1]])
    stored = sparse.csr_array(np.ones(counts.shape))
    stored.data = counts.ravel().astype(float)
    expected = VariableGeneSelector().fit(counts).residual_variances_
    np.testing.assert_array_equal(VariableGeneSelector().fit(stored).residual_variances_, expected)
    assert stored.nnz == 6


def test_counts_of_a_total_below_one_have_their_formula_too():
    counts = np.array([[0.1, 0.05], [0.2, 0.01], [0.02, 0.1]])
    with pytest.warns(UserWarning, match=r"X holds 0.1; expected counts"):
        variances = VariableGeneSelector().fit(counts).residual_variances_
    np.testing.assert_allclose(variances, dense_residual_variances(counts, 100.0), rtol=1e-9)


def test_cells_and_genes_without_counts_have_no_residuals():
    counts = np.array([[0, 0, 0], [2, 0, 1], [1, 0, 3]])
    variances = VariableGeneSelector().fit(counts).residual_variances_
    assert np.isfinite(variances).all()
    assert variances[1] == 0


def test_names_and_frames_pass_through(counts):
    frame = pd.DataFrame(counts.toarray(), columns=[f"gene{i}" for i in range(200)])
    chosen = VariableGeneSelector(n_top=3).set_output(transform="pandas").fit_transform(frame)
    pd.testing.assert_frame_equal(chosen, frame[list(chosen.columns)], check_dtype=False)


def test_negative_counts_are_an_error(counts):
    with pytest.raises(ValueError, match="Negative values in data passed to VariableGeneSelector"):
        VariableGeneSelector().fit(-counts)


def test_normalised_counts_warn(counts):
    with pytest.warns(UserWarning, match=r"X holds .*; expected counts, .* put VariableGeneSelector before") as caught:
        VariableGeneSelector().fit(LogNormalizer().fit_transform(counts))
    assert caught[0].filename == __file__


def test_log_normalised_selected_counts_stay_sparse(counts):
    assert sparse.issparse(LogNormalizer().fit_transform(VariableGeneSelector(n_top=100).fit_transform(counts)))


def test_sums_beyond_the_integers_of_float32_are_exact():
    counts = np.random.default_rng(0).integers(10**5, 10**6, size=(300, 6))
    assert counts.sum(axis=0).min() > 2**24
    expected = VariableGeneSelector().fit(counts).residual_variances_
    np.testing.assert_array_equal(VariableGeneSelector().fit(counts.astype(np.float32)).residual_variances_, expected)


# The genes of scanpy


def simulated():
    cells = make_single_cell_counts(1200, 5000, n_batches=3, random_state=0)
    return cells.data, {"batch": cells.batch, "type": cells.target}


def real(path):
    file = np.load(path)
    parts = file["data"].astype(float), file["indices"].astype(np.int32), file["indptr"]
    counts = sparse.csr_array(parts, shape=tuple(file["shape"]))
    return counts, {name: file[name] for name in ("batch", "type") if name in file}


CELLS = {"simulated": simulated}
if "SKVAE_CELLS" in os.environ:
    paths = Path(os.environ["SKVAE_CELLS"]).glob("*.npz")
    CELLS |= {path.stem: partial(real, path) for path in paths}

every_set = pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)


def genes_of_scanpy(counts, n_top, batch=None, *, stable):
    """Return the selection of scanpy, whose sort takes of equal genes the first if it is made `stable`."""
    adata = anndata.AnnData(sparse.csr_matrix(counts.astype(float)))
    adata.obs["batch"] = np.zeros(len(adata)) if batch is None else batch
    options = {"n_top_genes": n_top, "batch_key": None if batch is None else "batch", "inplace": False}
    with pytest.MonkeyPatch.context() as patch:
        if stable:
            patch.setattr(np, "argsort", partial(np.argsort, kind="stable"))
        return scanpy.experimental.pp.highly_variable_genes(adata, **options)


def assert_genes_are_those_of_scanpy(counts, batch, n_top, *, stable):
    selector = VariableGeneSelector(n_top).fit(counts, batch=batch)
    expected = genes_of_scanpy(counts, n_top, batch, stable=stable)
    np.testing.assert_array_equal(selector.get_support(), expected["highly_variable"])
    np.testing.assert_allclose(selector.residual_variances_, expected["residual_variances"], rtol=1e-9, atol=1e-12)


def few(counts):
    """Return a number of genes that there is a choice of."""
    return 2000 if counts.shape[1] > 3000 else 500


@every_set
def test_the_genes_are_those_of_scanpy(cells):
    counts, _ = cells()
    assert_genes_are_those_of_scanpy(counts, None, few(counts), stable=False)


@every_set
def test_the_genes_within_batches_at_random_are_those_of_scanpy(cells):
    counts, _ = cells()
    batch = np.random.default_rng(0).choice(["a", "b", "c"], counts.shape[0], p=[0.2, 0.3, 0.5])
    assert_genes_are_those_of_scanpy(counts, batch, few(counts), stable=False)


@pytest.mark.filterwarnings("ignore:in . of the . batches fewer than n_top")
@every_set
def test_the_genes_within_batches_and_types_are_those_of_scanpy_but_for_the_order_of_equal_ones(cells):
    counts, columns = cells()
    for column in columns.values():  # in small types many genes vary alike, such as those of a single count in a cell
        assert_genes_are_those_of_scanpy(counts, column, few(counts), stable=True)


@pytest.fixture(scope="module")
def pbmc3k():
    return fetch_pbmc3k()


@pytest.mark.pbmc
@pytest.mark.parametrize("kind", ["none", "random", "type"])
def test_the_genes_of_pbmc3k_are_those_of_scanpy(kind, pbmc3k):
    labels = np.random.default_rng(0).choice(["a", "b", "c"], 2638, p=[0.2, 0.3, 0.5])
    batch = {"none": None, "random": labels, "type": pbmc3k.target}[kind]
    assert_genes_are_those_of_scanpy(pbmc3k.data, batch, 2000, stable=kind == "type")


def test_of_genes_that_vary_alike_the_first_are_those_of_scanpy():
    counts = np.repeat(np.random.default_rng(0).poisson(1.0, size=(60, 4)), 40, axis=1)
    assert_genes_are_those_of_scanpy(counts, None, 60, stable=True)
    # as it is, scanpy takes as many of each gene, but others
    chosen, others = (genes_of_scanpy(counts, 60, stable=stable)["highly_variable"] for stable in (True, False))
    np.testing.assert_array_equal(*(taken.to_numpy().reshape(4, 40).sum(axis=1) for taken in (chosen, others)))


@pytest.mark.filterwarnings("ignore:in 1 of the 2 batches fewer than n_top")
@pytest.mark.parametrize("row", [0, 149])
def test_a_batch_of_a_row_counts_as_in_scanpy(counts, row):
    for label in (0, 2):  # the first batch and the last one
        batch = np.where(np.arange(150) == row, label, 1)
        assert_genes_are_those_of_scanpy(counts, batch, 50, stable=True)


# Batches


@pytest.fixture(scope="module")
def batch():
    return np.array(["a", "b", "c"])[np.arange(150) % 3]


def test_the_variance_is_the_mean_of_those_within_batches_that_are_as_large(counts, batch):
    variances = [VariableGeneSelector().fit(counts[batch == label]).residual_variances_ for label in "abc"]
    selector = VariableGeneSelector(20).fit(counts, batch=batch)
    np.testing.assert_allclose(selector.residual_variances_, np.mean(variances, axis=0), rtol=1e-12)


@pytest.mark.parametrize("one", [None, "a", 3, ["a"] * 150])
def test_a_single_batch_is_none(counts, one):
    expected = VariableGeneSelector(20).fit(counts)
    selector = VariableGeneSelector(20).fit(counts, batch=one)
    np.testing.assert_array_equal(selector.residual_variances_, expected.residual_variances_)
    np.testing.assert_array_equal(selector.ranks_, expected.ranks_)
    np.testing.assert_array_equal(selector.ranks_, np.argsort(np.argsort(-selector.residual_variances_, kind="stable")))


@pytest.mark.parametrize(
    "make", [list, pd.Series, pd.Categorical, lambda batch: np.unique(batch, return_inverse=True)[1]]
)
def test_labels_may_be_of_any_kind(counts, batch, make):
    expected = VariableGeneSelector(20).fit(counts, batch=batch).ranks_
    np.testing.assert_array_equal(VariableGeneSelector(20).fit(counts, batch=make(batch)).ranks_, expected)


def test_genes_are_not_selected_because_batches_differ_in_them():
    rng = np.random.default_rng(0)
    laboratory, kind = rng.integers(2, size=(2, 600))
    means = np.ones((600, 400))
    means[:, :10] += 4 * laboratory[:, np.newaxis]
    means[:, 10:20] += 2 * kind[:, np.newaxis]
    counts = rng.poisson(means)
    np.testing.assert_array_equal(VariableGeneSelector(10).fit(counts).get_support(indices=True), range(10))
    selector = VariableGeneSelector(10).fit(counts, batch=laboratory)
    np.testing.assert_array_equal(selector.get_support(indices=True), range(10, 20))


@pytest.mark.parametrize("make", [sparse.csc_array, sparse.coo_array, lambda counts: counts.toarray()])
def test_batches_of_any_matrix_give_the_same_genes(counts, batch, make):
    expected = VariableGeneSelector(20).fit(counts, batch=batch)
    selector = VariableGeneSelector(20).fit(make(counts), batch=batch)
    np.testing.assert_array_equal(selector.residual_variances_, expected.residual_variances_)


@pytest.mark.parametrize("order", [np.arange(150), np.argsort(np.arange(150) % 3, kind="stable")])
def test_a_store_is_read_twice_in_blocks(counts, batch, order):
    X = counts[order].toarray()
    store = RowStore(h5py.File.in_memory().create_dataset("X", data=X), block_size=16)
    read = []

    def seen(rows):
        read.append(len(rows))
        return rows

    watched = store.map(seen)
    read.clear()
    selector = VariableGeneSelector(20).fit(watched, batch=batch[order])
    assert max(read) <= 16
    assert sum(read) <= 2 * 150 + 2 * 16  # and the first block, for its type and for fractions
    expected = VariableGeneSelector(20).fit(X, batch=batch[order])
    np.testing.assert_allclose(selector.residual_variances_, expected.residual_variances_, rtol=1e-12)
    np.testing.assert_array_equal(selector.get_support(), expected.get_support())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["a", "b"], "batch and X have inconsistent numbers of samples, 2 and 150"),
        (["a"] * 149 + [None], "batch contains NaN, None or infinity in 1 of 150 rows, the first of them row 149"),
        ([1] * 149 + ["1"], "batch mixes types"),
        (np.arange(150), "batch has 150 levels in 150 rows"),
        (np.ones((150, 2)), r"batch, the column '0', holds 1.0 in each of 150 rows"),
        (np.ones((150, 2, 2)), r"batch has the shape \(150, 2, 2\)"),
    ],
)
def test_bad_batches_are_errors(counts, bad, message):
    with pytest.raises(ValueError, match=message):
        VariableGeneSelector().fit(counts, batch=bad)


def test_a_batch_in_which_too_few_genes_vary_is_warned_about(counts):
    batch = np.array(["a"] * 148 + ["b", "c"])
    message = (
        r"in 2 of the 3 batches fewer than n_top = 50 genes vary, such as 0 in one of 1 row\(s\), .* expected more"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        VariableGeneSelector(50).fit(counts, batch=batch)
    assert caught[0].filename == __file__
    VariableGeneSelector(200).fit(counts, batch=batch)  # takes all genes, so that there is nothing to warn of


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_a_pipeline_routes_batches_to_the_selection_and_to_the_model(counts, batch):
    vae = BetaVAE(**SMALL).set_fit_request(batch=True)
    pipeline = make_pipeline(VariableGeneSelector(100).set_fit_request(batch=True), LogNormalizer(), vae)
    Z = pipeline.fit(counts, batch=batch).transform(counts)
    expected = VariableGeneSelector(100).fit(counts, batch=batch)
    np.testing.assert_array_equal(pipeline[0].ranks_, expected.ranks_)
    np.testing.assert_array_equal(pipeline[-1].batches_, ["a", "b", "c"])
    X = LogNormalizer().fit_transform(expected.transform(counts))
    np.testing.assert_array_equal(Z, BetaVAE(**SMALL).fit_transform(X, batch=batch))
    np.testing.assert_array_equal(clone(pipeline).fit(counts, batch=batch).transform(counts), Z)


@pytest.mark.usefixtures("routing")
def test_embed_gives_the_selection_a_column(counts, batch):
    adata = anndata.AnnData(counts, obs=pd.DataFrame({"donor": batch}, index=[f"cell {row}" for row in range(150)]))
    vae = BetaVAE(**SMALL).set_fit_request(batch=True).set_transform_request(batch=True)
    pipeline = make_pipeline(VariableGeneSelector(100).set_fit_request(batch=True), LogNormalizer(), vae)
    embed(adata, pipeline, batch_key="donor")
    np.testing.assert_array_equal(pipeline[0].ranks_, VariableGeneSelector(100).fit(counts, batch=batch).ranks_)


def test_selecting_at_once_takes_a_batch_too(counts, batch):
    selector = VariableGeneSelector(20)
    chosen = selector.fit_transform(counts, batch=batch)
    np.testing.assert_array_equal(chosen.toarray(), counts.toarray()[:, selector.ranks_ < 20])
    assert not np.array_equal(chosen.toarray(), VariableGeneSelector(20).fit_transform(counts).toarray())
    assert not hasattr(clone(selector), "ranks_")
