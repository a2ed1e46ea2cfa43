"""Counts as small and as large as their type holds are normalised like any others."""

import numpy as np
import pytest
from scipy import sparse

from skvae import LogNormalizer

KINDS = [np.asarray, sparse.csr_array, sparse.csc_matrix]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "count"), [(np.float32, 1e-38), (np.float32, 1e-44), (np.float32, 3e38), (np.float64, 1e-300)]
)
def test_shares_of_tiny_and_huge_totals(kind, dtype, count):
    X = np.array([[count, 0, 0], [count, count, 0]], dtype=dtype)
    Z = LogNormalizer().fit_transform(kind(X))
    Z = Z.toarray() if sparse.issparse(Z) else Z
    assert Z.dtype == dtype
    np.testing.assert_allclose(Z, np.log1p([[1e4, 0, 0], [5e3, 5e3, 0]]), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_total_beyond_float64_is_an_error(kind):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="a row whose total is more"):
        LogNormalizer().fit_transform(kind(np.full((2, 3), 1e308)))
