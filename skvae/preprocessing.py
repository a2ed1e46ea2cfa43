"""Preprocessing of counts: log-normalisation, and the quality control of the report."""

import warnings
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Bunch, check_array
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_non_negative, validate_data

from skvae.rows.checks import check_is_matrix, check_output_of_store, check_structure, without_duplicates
from skvae.stores import find_store
from skvae.types import MatrixLike
from skvae.warn import warn


class LogNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Turn counts into log1p(count / total of the cell * target_sum).

    The totals of the cells, which measure the sequencing more than the cell, become equal; the logarithm tempers the
    few genes that dominate. A total is that of the columns given. It learns nothing from the data: `fit` only
    validates. Sparse in, sparse out.

    Parameters
    ----------
    target_sum : float > 0, default=1e4
        Total of each cell before the logarithm. The default, counts per ten thousand, is that of Seurat's
        LogNormalize.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.

    See Also
    --------
    quality_control : Choose the cells and genes to keep.

    References
    ----------
    Butler et al. 2018, "Integrating single-cell transcriptomic data across different conditions, technologies, and
    species", Nature Biotechnology 36.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import LogNormalizer
    >>> LogNormalizer().fit_transform(np.array([[0, 1, 1], [0, 0, 4]])).round(2)
    array([[0.  , 8.52, 8.52],
           [0.  , 0.  , 9.21]])
    """

    _parameter_constraints: ClassVar = {"target_sum": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, *, target_sum: float = 1e4) -> None:
        self.target_sum = target_sum

    def fit(self, X: MatrixLike, y: Any = None) -> Self:
        """Validate the parameters and X.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Counts, >= 0. A store on disk is not read.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The estimator.
        """
        self._validate_params()
        check_is_matrix(X)
        store = find_store(X, maps=False)
        if store is None:
            check_structure(X)
            check_counts(without_duplicates(check_array(X, **ACCEPTED, estimator=self, input_name="X")))
        validate_data(self, X if store is None else store, skip_check_array=True)
        return self

    def transform(self, X: MatrixLike) -> Any:
        """Log-normalise X.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Counts, >= 0. A cell without counts stays zero, with a warning where X is in memory.

        Returns
        -------
        X_normalized : {ndarray, CSR matrix, RowStore} of shape (n_samples, n_features)
            The log1p of counts per `target_sum`; float32 for float32 input, else float64. Of a store a store, whose
            rows are normalised when they are read; but memory maps are loaded, unless in a `RowStore`.

        Raises
        ------
        ValueError
            For negative counts.
        """
        self._validate_params()
        check_is_matrix(X)
        store = find_store(X, maps=False)
        if store is not None:
            check_output_of_store(self)
            validate_data(self, store, skip_check_array=True, reset=False)
            return store.map(partial(normalize_block, target_sum=self.target_sum))
        check_structure(X)
        return log_normalize(validate_data(self, X, **ACCEPTED, copy=True, reset=False), self.target_sum)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


ACCEPTED = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}


def normalize_block(X, target_sum):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty cells, again in every pass
        return log_normalize(check_array(X, **ACCEPTED), target_sum)


def log_normalize(X, target_sum):
    """Return log1p of counts per `target_sum`, in the place of validated X."""
    if sparse.issparse(X):
        X = without_duplicates(X)
    check_counts(X)
    totals = row_sums(X)
    if np.isinf(totals).any():
        raise ValueError("X of LogNormalizer holds a row whose total is more than 1.8e+308; expected counts.")
    empty = totals == 0
    if empty.any():
        warn(
            f"{empty.sum()} of {len(totals)} rows of X have no counts and stay zero; expected a positive total. "
            "quality_control drops such cells.",
        )
    totals = np.where(empty, 1, totals)
    values, divisors = (X.data, np.repeat(totals, np.diff(X.indptr))) if sparse.issparse(X) else (X, totals[:, None])
    values /= divisors  # first, and by float64: target_sum / total may be more than float32 holds
    values *= target_sum
    np.log1p(values, out=values)
    return X


def check_counts(X):
    check_non_negative(X, "LogNormalizer, which expects counts")


def quality_control(
    counts: MatrixLike,
    feature_names: ArrayLike,
    *,
    min_cells: int = 3,
    min_genes: int = 200,
    max_genes: int = 2500,
    max_mitochondrial: float = 0.05,
    mitochondrial: str = "MT-",
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the cells and genes to keep, by the criteria of the report.

    A gene is kept if at least `min_cells` cells express it. A cell is kept if, of those genes, it expresses more than
    `min_genes` (fewer: an empty droplet) and fewer than `max_genes` (more: a doublet), and if less than
    `max_mitochondrial` of its counts are mitochondrial (more: a dying cell).

    Parameters
    ----------
    counts : {array-like, sparse matrix, store} of shape (n_samples, n_features)
        Raw counts, cells x genes. A store on disk is read twice, in blocks.
    feature_names : array-like of str of shape (n_features,)
        Names of the genes.
    min_cells : int, default=3
        Least number of cells a gene is seen in.
    min_genes, max_genes : int, default=200 and 2500
        Bounds of the number of genes of a cell, both excluded.
    max_mitochondrial : float, default=0.05
        Bound of the mitochondrial share of a cell's counts, excluded.
    mitochondrial : str, default="MT-"
        How the names of mitochondrial genes begin ("MT-" human, "mt-" mouse).

    Returns
    -------
    cells : ndarray of bool of shape (n_samples,)
        The cells to keep.
    genes : ndarray of bool of shape (n_features,)
        The genes to keep.

    Raises
    ------
    ValueError
        If there are not as many names as genes, or counts are negative.

    Examples
    --------
    >>> from skvae import make_single_cell_counts, quality_control
    >>> cells = make_single_cell_counts(n_samples=100, n_features=13714, random_state=0)
    >>> kept, genes = quality_control(cells.data, cells.feature_names)
    >>> X = cells.data[kept][:, genes]
    """
    measured = measure_cells(counts, feature_names, min_cells=min_cells, mitochondrial=mitochondrial)
    n_genes, totals = measured.n_genes, measured.totals
    cells = (min_genes < n_genes) & (n_genes < max_genes) & (measured.mitochondrial < max_mitochondrial * totals)
    return cells, measured.genes


def measure_cells(counts: MatrixLike, feature_names: ArrayLike, *, min_cells: int, mitochondrial: str) -> Bunch:
    """Measure what `quality_control` judges, of the genes that it keeps.

    Parameters
    ----------
    counts : {array-like, sparse matrix, store} of shape (n_samples, n_features)
        Raw counts, cells x genes. A store on disk is read twice, in blocks.
    feature_names : array-like of str of shape (n_features,)
        Names of the genes.
    min_cells : int
        Least number of cells a gene is seen in.
    mitochondrial : str
        How the names of mitochondrial genes begin.

    Returns
    -------
    measured : Bunch
        `genes`, the genes to keep, and of each cell `n_genes` that it expresses, its counts, `totals`, and those of
        mitochondrial genes, `mitochondrial`.
    """
    shape, read = open_counts(counts)
    names = np.asarray(feature_names, dtype=str)
    if names.shape != shape[1:]:
        raise ValueError(f"feature_names has shape {names.shape}, must be ({shape[1]},), one name a gene.")
    genes = sum(count_true(block > 0, axis=0) for block in read()) >= min_cells
    from_mitochondria = genes & np.char.startswith(names, mitochondrial)
    n_genes, totals, mitochondrial_totals = np.hstack(
        [
            (count_true(block[:, genes] > 0, axis=1), row_sums(block[:, genes]), row_sums(block[:, from_mitochondria]))
            for block in read()
        ]
    )
    return Bunch(genes=genes, n_genes=n_genes, totals=totals, mitochondrial=mitochondrial_totals)


def open_counts(counts):
    """Return the shape of counts, and a function that yields them validated, block by block, each time it is called."""
    check_is_matrix(counts)
    store = find_store(counts)
    if store is None:
        check_structure(counts)
        counts = check_cells(counts)
        return counts.shape, lambda: [counts]
    blocks = store.map(check_cells)
    return blocks.shape, lambda: map(blocks.__getitem__, blocks.blocks())


def check_cells(counts):
    counts = without_duplicates(check_array(counts, **ACCEPTED, input_name="counts"))
    check_non_negative(counts, "quality_control")
    return counts


def count_true(mask, axis):
    return np.asarray(mask.sum(axis=axis)).ravel()


def row_sums(counts):
    if sparse.issparse(counts):
        return counts @ np.ones(counts.shape[1])  # the sum of scipy is one of float32 for float32
    return counts.sum(axis=1, dtype=np.float64)
