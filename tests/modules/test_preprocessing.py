import warnings

import numpy as np
import pytest
from scipy import sparse

from skvae import LogNormalizer, make_single_cell_counts, quality_control

COUNTS = np.array([[1, 0, 3, 0], [0, 2, 0, 0], [5, 5, 5, 5]])
EXPECTED = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8, bool])
@pytest.mark.parametrize(
    "container", [np.asarray, sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array]
)
def test_log_normalization_is_its_formula_for_every_container_and_type(container, dtype):
    counts = container(COUNTS.astype(dtype))
    expected = EXPECTED if dtype is not bool else np.log1p((COUNTS > 0) / (COUNTS > 0).sum(axis=1, keepdims=True) * 1e4)
    result = LogNormalizer().fit_transform(counts)
    assert sparse.issparse(result) == sparse.issparse(counts)
    assert result.dtype == (np.float32 if dtype is np.float32 else np.float64)
    dense = result.toarray() if sparse.issparse(result) else result
    np.testing.assert_allclose(dense, expected, rtol=1e-6)


def test_target_sum_is_the_total_before_the_logarithm():
    result = LogNormalizer(target_sum=100).fit_transform(COUNTS)
    np.testing.assert_allclose(np.expm1(result).sum(axis=1), 100)


@pytest.mark.parametrize("container", [np.array, sparse.csr_array])
def test_input_is_not_changed(container):
    counts = container(COUNTS.astype(np.float64))
    LogNormalizer().fit_transform(counts)
    np.testing.assert_array_equal(counts.toarray() if sparse.issparse(counts) else counts, COUNTS)


def test_it_transforms_without_a_fit():
    np.testing.assert_allclose(LogNormalizer().transform(COUNTS), EXPECTED)


@pytest.mark.parametrize("container", [np.array, sparse.csr_array])
def test_empty_cells_stay_zero_with_one_warning(container):
    counts = container(np.vstack([COUNTS, np.zeros((2, 4))]))
    with pytest.warns(UserWarning, match="2 of 5 rows of X have no counts and stay zero") as caught:
        result = LogNormalizer().fit_transform(counts)
    assert len(caught) == 1
    assert not result[3:].sum()


@pytest.mark.parametrize("container", [np.array, sparse.csr_array])
def test_negative_counts_are_an_error(container):
    with pytest.raises(ValueError, match="Negative values in data passed to LogNormalizer"):
        LogNormalizer().fit(container(-COUNTS))


def test_a_target_sum_of_zero_is_an_error():
    with pytest.raises(ValueError, match=r"'target_sum' parameter of LogNormalizer .* Got 0"):
        LogNormalizer(target_sum=0).fit(COUNTS)


@pytest.mark.parametrize(
    "function", [LogNormalizer().fit_transform, lambda X: quality_control(X, list("abcd"), min_genes=1)]
)
def test_duplicate_entries_count_as_their_sum_and_stay(function):
    duplicated = sparse.csr_array(([1.0, 1.0, 2.0, 3.0], [0, 0, 1, 3], [0, 3, 4]), shape=(2, 4))
    plain = sparse.csr_array(duplicated.toarray())
    expected, result = function(plain), function(duplicated)
    assert duplicated.nnz == 4
    for one, other in zip(expected, result, strict=True):
        np.testing.assert_array_equal(*(part.toarray() if sparse.issparse(part) else part for part in (one, other)))


# Quality control: 6 cells x 5 genes, the last two mitochondrial, with bounds fit for so few.
NAMES = ["A", "B", "RARE", "MT-1", "MT-2"]
BOUNDS = {"min_cells": 3, "min_genes": 1, "max_genes": 4, "max_mitochondrial": 0.5}
QC_COUNTS = np.array(
    [
        [9, 9, 0, 0, 0],
        [9, 9, 9, 1, 0],  # three genes but the rare one
        [9, 0, 0, 0, 0],  # one gene
        [9, 9, 0, 1, 1],  # four genes
        [1, 9, 0, 0, 9],  # 9 of 19 mitochondrial
        [0, 9, 0, 9, 0],  # 9 of 18 mitochondrial
    ]
)


@pytest.mark.parametrize("container", [np.array, sparse.csr_array, sparse.csc_matrix])
def test_quality_control_keeps_what_meets_every_criterion(container):
    cells, genes = quality_control(container(QC_COUNTS), NAMES, **{**BOUNDS, "min_cells": 2})
    assert genes.tolist() == [True, True, False, True, True]
    assert cells.tolist() == [True, True, False, False, True, False]


def test_quality_control_has_the_bounds_of_the_report():
    rng = np.random.default_rng(0)
    counts = np.zeros((6, 4000))
    for cell, n_genes in enumerate([200, 201, 2499, 2500, 300, 300]):
        counts[cell, rng.permutation(3000)[:n_genes]] = 1
    counts[4, 3000:3015] = 1  # mitochondrial: 15 of 315 counts, 4.8%
    counts[5, 3000:3016] = 1  # 16 of 316, 5.06%
    names = [f"G{i}" for i in range(3000)] + [f"MT-{i}" for i in range(1000)]
    cells, genes = quality_control(counts, names, min_cells=1)
    assert cells.tolist() == [False, True, True, False, True, False]
    assert genes.tolist() == ((counts > 0).sum(axis=0) >= 1).tolist()


def test_quality_control_of_simulated_cells_keeps_most():
    simulated = make_single_cell_counts(n_samples=200, n_features=13714, random_state=0)
    cells, genes = quality_control(simulated.data, simulated.feature_names)
    assert cells.mean() > 0.9
    assert 0.3 < genes.mean() < 1


def test_quality_control_names_wrong_feature_names():
    with pytest.raises(ValueError, match=r"feature_names has shape \(4,\), must be \(5,\)"):
        quality_control(QC_COUNTS, NAMES[:4])


def test_quality_control_rejects_negative_counts():
    with pytest.raises(ValueError, match="Negative values in data passed to quality_control"):
        quality_control(-QC_COUNTS, NAMES)


def test_no_warning_for_ordinary_counts():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LogNormalizer().fit_transform(COUNTS)
