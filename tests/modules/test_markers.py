import time
import tracemalloc
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import false_discovery_control, mannwhitneyu, norm

from skvae import LogNormalizer, RowStore, find_markers, make_single_cell_counts, markers

LABELS = np.array(["B", "NK", "T"])
ARRAYS = ("z", "auc", "p_adjusted", "log2_fold_change", "share_in", "share_out")


def tied_values(kind, n_samples=60, n_features=12):
    """Return values of which many tie, and the clusters of the samples."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 6, size=(n_samples, n_features)) * (rng.random((n_samples, n_features)) < 0.4)
    shift = {"counts": 0, "negative": -2, "no zeros": 1}[kind]
    values = values + shift * (rng.random(values.shape) < 0.7) if kind == "negative" else values + shift
    return values.astype(float), LABELS[rng.integers(3, size=n_samples)]


def by_feature(found, name):
    """Return an array of markers in the order of the columns of X, (n_clusters, n_features)."""
    values = np.empty(found.indices.shape)
    np.put_along_axis(values, found.indices, found[name], axis=1)
    return values


@pytest.fixture(scope="module")
def cells():
    return make_single_cell_counts(n_samples=400, n_features=300, random_state=3)


@pytest.fixture(scope="module")
def X(cells):
    return LogNormalizer().fit_transform(cells.data)


@pytest.fixture(scope="module")
def found(cells, X):
    return find_markers(X, cells.target)


# Against scipy and scanpy


@pytest.mark.parametrize("kind", ["counts", "negative", "no zeros"])
def test_each_test_is_that_of_scipy(kind):
    values, clusters = tied_values(kind)
    X = sparse.csr_array(values / 8)  # no counts
    found = find_markers(X, clusters)
    for row, name in enumerate(LABELS):
        inside, outside = X.toarray()[clusters == name], X.toarray()[clusters != name]
        expected = mannwhitneyu(inside, outside, method="asymptotic", use_continuity=False)
        auc = expected.statistic / (len(inside) * len(outside))
        np.testing.assert_allclose(by_feature(found, "auc")[row], auc, rtol=1e-12)
        z = norm.isf(expected.pvalue / 2) * np.sign(auc - 0.5)
        np.testing.assert_allclose(by_feature(found, "z")[row], z, rtol=1e-9, atol=1e-9)
        adjusted = false_discovery_control(expected.pvalue)
        np.testing.assert_allclose(by_feature(found, "p_adjusted")[row], adjusted, rtol=1e-9)
        np.testing.assert_allclose(by_feature(found, "share_in")[row], (inside > 0).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(by_feature(found, "share_out")[row], (outside > 0).mean(axis=0), rtol=1e-12)


def test_all_but_the_order_is_that_of_scanpy(cells, X, found):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scanpy

        adata = anndata.AnnData(sparse.csr_matrix(X), obs=pd.DataFrame({"type": cells.target.astype(str)}, dtype="str"))
        adata.obs_names, adata.obs["type"] = adata.obs_names.astype(str), adata.obs["type"].astype("category")
        scanpy.tl.rank_genes_groups(adata, "type", method="wilcoxon", tie_correct=True, pts=True)
        tables = [scanpy.get.rank_genes_groups_df(adata, str(name)).set_index("names") for name in found.clusters]
    for row, table in enumerate(tables):
        table = table.loc[found.indices[row].astype(str)]
        for ours, theirs in {
            "z": "scores",
            "p_adjusted": "pvals_adj",
            "log2_fold_change": "logfoldchanges",
            "share_in": "pct_nz_group",
            "share_out": "pct_nz_reference",
        }.items():
            np.testing.assert_allclose(found[ours][row], table[theirs], rtol=2e-5, atol=2e-6)


def test_what_a_cluster_expresses_more_comes_first():
    rng = np.random.default_rng(0)
    clusters = rng.choice(4, size=600, p=[0.6, 0.3, 0.08, 0.02])
    rate = np.full((4, 200), 0.3)
    for cluster, own in enumerate(rate):
        own[5 * cluster : 5 * cluster + 5] *= 10
    X = LogNormalizer().fit_transform(rng.poisson(rate[clusters] * rng.lognormal(0, 0.3, size=(600, 1))))
    found = find_markers(X, clusters, n_top=5)
    np.testing.assert_array_equal(np.sort(found.indices, axis=1), np.arange(20).reshape(4, 5))
    assert (found.p_adjusted < 1e-6).all()
    assert (found.log2_fold_change > 2).all()


# The result


def test_features_are_in_the_order_of_the_area_with_their_own_numbers(X, cells, found):
    assert (np.diff(found.auc, axis=1) <= 0).all()
    assert (np.sort(found.indices, axis=1) == np.arange(X.shape[1])).all()
    np.testing.assert_array_equal(found.clusters, np.arange(9))
    np.testing.assert_array_equal(found.n_samples, np.bincount(cells.target))
    assert {found[name].shape for name in (*ARRAYS, "names", "indices")} == {(9, 300)}


def test_the_first_of_all_are_found_alone(X, cells, found):
    few = find_markers(X, cells.target, n_top=4)
    for name in (*ARRAYS, "names", "indices"):
        np.testing.assert_array_equal(few[name], found[name][:, :4])
    assert find_markers(X, cells.target, n_top=10**6).z.shape == (9, 300)


def test_of_features_that_tell_as_much_the_first_is_first():
    values = np.repeat([[1.5], [0.0], [1.5], [0.0]], 5, axis=1)
    found = find_markers(values, [1, 2, 1, 2])
    np.testing.assert_array_equal(found.indices, [range(5)] * 2)
    np.testing.assert_array_equal(found.auc, [[1] * 5, [0] * 5])


@pytest.mark.parametrize("value", [0.0, 3.5, -1.5])
def test_a_constant_feature_tells_nothing(value):
    values = np.c_[np.full(30, value), np.linspace(-1, 1, 30)]
    found = find_markers(values, np.arange(30) % 2)
    assert (by_feature(found, "z")[:, 0] == 0).all()
    assert (by_feature(found, "p_adjusted")[:, 0] == 1).all()
    assert (by_feature(found, "auc")[:, 0] == 0.5).all()


def test_many_ties_and_large_ranks_are_exact():
    # one sample of 2 million expresses the feature: U = n - 1 of n - 1
    n_samples = 2 * 10**6
    X = sparse.csc_array(([1.0], ([5], [1])), shape=(n_samples, 2))
    found = find_markers(X, np.arange(n_samples) < 10, n_top=1)
    inside = 10
    assert found.auc[1, 0] == pytest.approx(0.5 + 0.5 / inside, rel=1e-12)
    # the variance of the number of n1 samples drawn at random that are the one
    share = inside / n_samples
    assert found.z[1, 0] == pytest.approx((1 - share) / np.sqrt(share * (1 - share)), rel=1e-9)


def test_fold_changes_are_finite_where_a_cluster_has_none_and_nan_where_a_mean_is_negative():
    values = np.array([[1.0, -1.0, 900.0], [2.0, -2.0, 1000.0], [0.0, 0.5, 800.0], [0.0, 0.5, 900.0]])
    fold_change = by_feature(find_markers(values, [0, 0, 1, 1]), "log2_fold_change")
    expected = np.log2((np.expm1(1.5) + 1e-9) / 1e-9)
    np.testing.assert_allclose(fold_change[:, 0], [expected, -expected])
    assert np.isnan(fold_change[:, 1:]).all()


# What X and clusters may be


FORMATS = {
    "array": np.asarray,
    "list": np.ndarray.tolist,
    "frame": pd.DataFrame,
    "fortran": np.asfortranarray,
    **{name: getattr(sparse, f"{name}_array") for name in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")},
    "csr_matrix": sparse.csr_matrix,
}


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_all_formats_give_the_same(make):
    values, clusters = tied_values("negative")
    values /= 8
    expected, found = find_markers(values, clusters), find_markers(make(values), clusters)
    for name in (*ARRAYS, "indices"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array])
def test_stored_zeros_and_duplicates_are_taken_for_what_they_are(make):
    values, clusters = tied_values("negative")
    values /= 8
    positions = np.nonzero(np.ones(values.shape))
    halves = np.tile(values.ravel() / 2, 2), tuple(np.tile(index, 2) for index in positions)
    X = make((sparse.coo_array(halves, shape=values.shape)).asformat("coo"))
    X = make((np.r_[X.data], X.indices, X.indptr), shape=X.shape)  # all values are stored
    before = X.copy()
    expected, found = find_markers(values, clusters), find_markers(X, clusters)
    for name in (*ARRAYS, "indices"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert X.nnz == values.size
    np.testing.assert_array_equal(X.data, before.data)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array])
def test_values_that_stand_twice_are_summed(make):
    parts = (np.array([1.0, 1.0, 0.5, 0.25]), np.array([0, 0, 1, 0]), np.array([0, 2, 3, 4]))
    X = make(parts, shape=(3, 3))
    clusters = [0, 1, 1]
    expected = find_markers(X.toarray(), clusters)
    for name in ARRAYS:
        np.testing.assert_array_equal(find_markers(X, clusters)[name], expected[name])
    assert X.nnz == 4


@pytest.mark.parametrize("make", [sparse.csr_array.toarray, sparse.csr_array, sparse.csc_array])
def test_blocks_of_any_size_give_the_same(make, X, cells, found, monkeypatch):
    for held, ranked in ((1, 1), (500, 100), (2000, 2000)):
        monkeypatch.setattr(markers, "MAX_HELD", held)
        monkeypatch.setattr(markers, "MAX_RANKED", ranked)
        in_blocks = find_markers(make(X), cells.target)
        for name in (*ARRAYS, "indices"):
            np.testing.assert_array_equal(in_blocks[name], found[name])


@pytest.mark.parametrize("n_clusters", [2, 3, 60])
def test_clusters_may_be_of_any_number(n_clusters, X):
    clusters = np.arange(400) % n_clusters
    found = find_markers(X, clusters, n_top=1)
    assert found.names.shape == (n_clusters, 1)
    best = found.indices[0, 0]
    column = X[:, [best]].toarray().ravel()
    expected = mannwhitneyu(column[clusters == 0], column[clusters != 0]).statistic
    assert found.auc[0, 0] == pytest.approx(expected / (clusters == 0).sum() / (clusters != 0).sum())


def test_a_cluster_of_one_sample_has_markers():
    found = find_markers([[2.0, 0.5], [0.0, 1.0], [0.5, 2.0]], ["a", "b", "b"])
    np.testing.assert_array_equal(found.auc, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(found.indices, [[0, 1], [1, 0]])


CLUSTERS = {
    "strings": LABELS[np.arange(60) % 3],
    "list": LABELS[np.arange(60) % 3].tolist(),
    "categories": pd.Series(LABELS[np.arange(60) % 3], dtype="category"),
    "integers": np.arange(60) % 3 - 1,
    "floats": np.arange(60) % 3 / 2,
    "Int64": pd.Series(np.arange(60) % 3, dtype="Int64"),
    "objects": np.array([5, 7, 9], dtype=object)[np.arange(60) % 3],
}


@pytest.mark.parametrize("clusters", CLUSTERS.values(), ids=CLUSTERS)
def test_clusters_may_be_numbers_or_strings(clusters):
    values = tied_values("counts")[0] / 8
    expected, found = find_markers(values, np.arange(60) % 3), find_markers(values, clusters)
    np.testing.assert_array_equal(found.clusters, sorted(set(clusters)))
    np.testing.assert_array_equal(found.z, expected.z)


def test_names_are_those_given_or_of_the_frame_or_numbered():
    values, clusters = tied_values("counts")
    values /= 8
    names = [f"gene{index}" for index in range(12)]
    for found in (
        find_markers(values, clusters, feature_names=names),
        find_markers(pd.DataFrame(values, columns=names), clusters),
        find_markers(pd.DataFrame(values, columns=names[::-1]), clusters, feature_names=pd.Index(names)),
    ):
        np.testing.assert_array_equal(found.names, np.array(names)[found.indices])
    found = find_markers(values, clusters)
    np.testing.assert_array_equal(found.names, np.array([f"x{index}" for index in range(12)])[found.indices])


# Stores


def mapped(values, path):
    copied = np.memmap(path, values.dtype, "w+", shape=values.shape)
    copied[...] = values
    copied.flush()
    return np.memmap(path, values.dtype, "r", shape=values.shape)


def mapped_csr(X, folder):
    parts = [mapped(getattr(X, part), folder / part) for part in ("data", "indices", "indptr")]
    return sparse.csr_matrix(tuple(parts), shape=X.shape)


def h5ad(X, folder):
    anndata.AnnData(sparse.csr_matrix(X)).write_h5ad(folder / "cells.h5ad")
    return RowStore(folder / "cells.h5ad", block_size=70)


STORES = {
    "csr": mapped_csr,
    "dense": lambda X, folder: mapped(X.toarray(), folder / "dense"),
    "blocks": lambda X, folder: RowStore(mapped_csr(X, folder), block_size=70),
    "h5ad": h5ad,
}


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
@pytest.mark.parametrize("held", [1000, 2**23])
def test_a_store_gives_what_memory_gives(make, held, X, cells, found, tmp_path, monkeypatch):
    monkeypatch.setattr(markers, "MAX_HELD", held)
    of_store = find_markers(make(X, tmp_path), cells.target)
    for name in (*ARRAYS, "indices"):
        np.testing.assert_array_equal(of_store[name], found[name])


def test_a_store_of_counts_is_normalised_when_it_is_read(cells, X, found, tmp_path):
    normalised = LogNormalizer().fit_transform(RowStore(mapped_csr(cells.data, tmp_path), block_size=100))
    np.testing.assert_array_equal(find_markers(normalised, cells.target).z, found.z)


def test_a_store_is_read_once_to_count_and_once_for_each_part(X, cells, tmp_path, monkeypatch):
    monkeypatch.setattr(markers, "MAX_HELD", int(X.nnz / 2.5))
    read = []
    store = RowStore(mapped_csr(X, tmp_path), block_size=100)
    find_markers(store.map(lambda rows: [read.append(rows.shape[0]), rows][1]), cells.target)
    assert sum(read) <= (1 + 4) * 400 + 4 * 100  # and its first block for the type of its values


def test_memory_is_that_of_a_part_not_of_a_store(tmp_path, monkeypatch):
    X = sparse.random_array((20_000, 500), density=0.1, format="csr", dtype=np.float32, random_state=0)
    clusters = np.arange(20_000) % 4
    peaks = []
    for held in (2**15, 2**23):
        monkeypatch.setattr(markers, "MAX_HELD", held)
        monkeypatch.setattr(markers, "MAX_RANKED", 2**14)
        store = RowStore(mapped_csr(X, tmp_path), block_size=2000)
        tracemalloc.start()
        find_markers(store, clusters, n_top=3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 0.4 * X.nnz * 8 < peaks[1]


# Errors and warnings

VALUES, OF_THREE = tied_values("counts")
VALUES /= 8


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_cluster_is_an_error_with_its_row(missing):
    clusters = OF_THREE.astype(object)
    clusters[7] = missing
    with pytest.raises(ValueError, match=r"^clusters contains NaN, None or infinity in 1 of 60 rows, .* row 7"):
        find_markers(VALUES, clusters)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (["T"] * 60, r"clusters holds \['T'\] alone; expected two clusters or more"),
        (OF_THREE[:5], "clusters and X have inconsistent numbers of samples, 5 and 60"),
        ("T", r"clusters == 'T', must have the shape \(60,\)"),
        (np.arange(60), "clusters has 60 values for 60 samples; expected clusters of several"),
        (np.c_[OF_THREE, OF_THREE], r"clusters has the shape \(60, 2\); expected a 1d array"),
        ([1, "a"] * 30, r"clusters mixes types, \['int', 'str'\]"),
    ],
    ids=["one", "short", "scalar", "all different", "two columns", "mixed"],
)
def test_what_are_no_clusters_is_an_error(clusters, message):
    with pytest.raises(ValueError, match=message):
        find_markers(VALUES, clusters)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.where(VALUES == 0.5, np.nan, VALUES), ValueError, "Input X contains NaN"),
        (sparse.csr_array(np.where(VALUES == 0.5, np.inf, VALUES)), ValueError, "Input X contains infinity"),
        (anndata.AnnData(VALUES), TypeError, r"adata\.X"),
        (VALUES[:, 0], ValueError, "Expected 2D array, got 1D array"),
        (VALUES[:0], ValueError, r"Found array with 0 sample\(s\)"),
    ],
    ids=["NaN", "infinity", "AnnData", "one column", "empty"],
)
def test_what_is_no_matrix_is_an_error(X, error, message):
    with pytest.raises(error, match=message):
        find_markers(X, OF_THREE)


def test_nan_in_a_store_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="Input X contains NaN"):
        find_markers(mapped(np.where(VALUES == 0.5, np.nan, VALUES), tmp_path / "x"), OF_THREE)


def test_wrong_parameters_are_errors():
    with pytest.raises(ValueError, match=r"feature_names has the shape \(2,\), must have \(12,\)"):
        find_markers(VALUES, OF_THREE, feature_names=["a", "b"])
    with pytest.raises(ValueError, match="The 'n_top' parameter"):
        find_markers(VALUES, OF_THREE, n_top=0)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csc_array])
def test_raw_counts_warn_in_the_line_of_the_user(make):
    with pytest.warns(UserWarning, match="X looks like raw counts.*LogNormalizer") as caught:
        find_markers(make(VALUES * 8), OF_THREE)
    assert caught[0].filename == __file__


def test_raw_counts_in_a_store_warn(tmp_path):
    with pytest.warns(UserWarning, match="X looks like raw counts"):
        find_markers(mapped(VALUES * 8, tmp_path / "x"), OF_THREE)


# Size


@pytest.mark.slow
def test_three_million_values_are_ranked_in_seconds():
    rng = np.random.default_rng(0)
    X = sparse.csr_array(np.maximum(rng.random((20_000, 5000), dtype=np.float32) - 0.97, 0))
    assert X.nnz > 2.9e6
    start = time.perf_counter()
    find_markers(X, np.arange(20_000) % 20, n_top=50)
    assert time.perf_counter() - start < 6
