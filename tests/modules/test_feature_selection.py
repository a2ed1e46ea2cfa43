import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from skvae import LogNormalizer, VariableGeneSelector, make_single_cell_counts


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
