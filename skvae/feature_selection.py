"""Selection of genes: those that vary more between cells than chance explains."""

from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import check_array, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from skvae.rows.checks import (
    check_is_matrix,
    check_output_of_store,
    check_size,
    check_structure,
    first_values,
    warn_of_fractions,
    without_duplicates,
)
from skvae.stores import RowStore, find_store
from skvae.types import MatrixLike

ACCEPTED = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}

# Elements of the blocks in which the residuals of zero counts are summed: 32 MB of float64.
MAX_BLOCK_ELEMENTS = 2**22


class VariableGeneSelector(SelectorMixin, BaseEstimator):
    """Select the genes whose analytic Pearson residuals vary most.

    With n_i the total of cell i and p_g the share of gene g in all counts, chance gives the count x_ig the mean
    mu_ig = n_i p_g and the variance v_ig = mu_ig + mu_ig^2 / theta. The residual (x_ig - mu_ig) / sqrt(v_ig), clipped
    to +-sqrt(n_samples), has variance near 1 for a gene that chance explains, whatever its mean, and more for a gene
    that types of cells express differently. It is fitted to counts, so that it comes before `LogNormalizer`.

    Parameters
    ----------
    n_top : int, default=2000
        Number of genes to select; all if there are fewer.
    theta : float > 0, default=100.0
        Inverse overdispersion of the counts of a gene that does not vary. `numpy.inf` is Poisson.

    Attributes
    ----------
    residual_variances_ : ndarray of shape (`n_features_in_`,)
        Variance of each gene's residuals, >= 0; 0 for a gene without counts.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.

    See Also
    --------
    LogNormalizer : The next step.

    Notes
    -----
    Zero counts, most of a sparse X, are not visited: their residuals depend on the cell by its total alone, so that a
    gene's sum over them takes one term for each distinct total.

    References
    ----------
    Lause, Berens & Kobak 2021, "Analytic Pearson residuals for normalization of single-cell RNA-seq UMI data", Genome
    Biology 22.

    Examples
    --------
    >>> from skvae import VariableGeneSelector, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=1000, random_state=0)
    >>> selector = VariableGeneSelector(n_top=50).fit(cells.data)
    >>> selector.transform(cells.data).shape
    (300, 50)
    >>> "CD14" in cells.feature_names[selector.get_support()]
    True
    """

    _parameter_constraints: ClassVar = {
        "n_top": [Interval(Integral, 1, None, closed="left")],
        "theta": [Interval(Real, 0, np.inf, closed="right")],
    }

    def __init__(self, n_top: int = 2000, *, theta: float = 100.0) -> None:
        self.n_top = n_top
        self.theta = theta

    def fit(self, X: MatrixLike, y: Any = None) -> Self:
        """Compute the variance of each gene's residuals.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Raw counts, >= 0.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For negative counts.

        Warns
        -----
        UserWarning
            If X holds fractions: normalised counts vary for other reasons.
        """
        self._validate_params()
        check_is_matrix(X)
        store = find_store(X, maps=False)
        if store is None:
            check_structure(X)
            X = validate_data(self, X, **ACCEPTED)
            check_size(X, "VariableGeneSelector")
            check_non_negative(X, "VariableGeneSelector, which expects counts")
            first, blocks = X, [X]
        else:
            validate_data(self, store, skip_check_array=True)
            X, blocks = store, store.map(check_block)
            first = blocks[: store.block_size]
        remedy = "so put VariableGeneSelector before a step that normalises them."
        warn_of_fractions(first_values(first), remedy)
        self.residual_variances_ = residual_variances(partial(read_counts, blocks), X.shape, self.theta)
        return self

    def transform(self, X: MatrixLike) -> Any:
        """Select the genes.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data with the genes of `fit`.

        Returns
        -------
        X_selected : {ndarray, CSR matrix, RowStore} of shape (n_samples, n_top)
            Of a store a store, whose genes are selected when its rows are read; but memory maps are loaded, unless in
            a `RowStore`.
        """
        check_is_matrix(X)
        store = find_store(X, maps=False)
        if store is None:
            check_structure(X)
            return super().transform(X)
        check_output_of_store(self)
        genes = np.flatnonzero(self._get_support_mask())
        validate_data(self, store, skip_check_array=True, reset=False)
        return store.map(partial(take_columns, columns=genes))

    def _get_support_mask(self):
        check_is_fitted(self)
        support = np.zeros(self.n_features_in_, dtype=bool)
        # stable, so that of genes that vary alike the first ones are taken
        support[np.argsort(-self.residual_variances_, kind="stable")[: self.n_top]] = True
        return support

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags


def check_block(counts):
    counts = check_array(counts, **ACCEPTED)
    check_size(counts, "VariableGeneSelector")
    check_non_negative(counts, "VariableGeneSelector, which expects counts")
    return counts


def read_counts(blocks):
    """Yield CSR counts without stored zeros, whose residuals are rounded otherwise, block by block."""
    for block in map(blocks.__getitem__, blocks.blocks()) if isinstance(blocks, RowStore) else blocks:
        counts = without_duplicates(sparse.csr_array(block))
        if not counts.data.all():
            counts = counts.copy()  # the caller's stays as it is
            counts.eliminate_zeros()
        yield counts


def take_columns(X, columns):
    return X[:, columns]


def residual_variances(read, shape, theta):
    """Return the variance of each gene's clipped Pearson residuals, (n_features,).

    Parameters
    ----------
    read : callable
        Returns an iterator over blocks of CSR counts; called twice.
    shape : (int, int)
        Of all blocks together.
    theta : float
    """
    n_samples, n_features = shape
    parts, gene_sums = [], np.zeros(n_features)
    for counts in read():
        parts.append(counts.sum(axis=1, dtype=np.float64))
        gene_sums += counts.sum(axis=0, dtype=np.float64)
    totals = np.concatenate(parts)
    shares = gene_sums / (totals.sum() or 1)
    clip = np.sqrt(n_samples)

    def at_zero(mu):  # -mu / sqrt(mu + mu^2 / theta) without 0 / 0
        return np.maximum(-np.sqrt(mu / (1 + mu / theta)), -clip)

    # As if all counts were zero, by distinct totals ...
    totals_seen, n_cells = np.unique(totals, return_counts=True)
    sums, sums_of_squares = np.zeros((2, n_features))
    block_size = max(1, MAX_BLOCK_ELEMENTS // len(totals_seen))
    for block in gen_batches(n_features, block_size):
        residuals = at_zero(np.outer(totals_seen, shares[block]))
        sums[block] = n_cells @ residuals
        sums_of_squares[block] = n_cells @ residuals**2

    # ... then the others in their place.
    first = 0
    for counts in read():
        genes = counts.indices
        mu = np.repeat(totals[first : first + counts.shape[0]], np.diff(counts.indptr)) * shares[genes]
        before = at_zero(mu)
        after = np.zeros_like(mu)  # mu of subnormal counts is 0
        np.divide(counts.data - mu, np.sqrt(mu + mu**2 / theta), out=after, where=mu > 0)
        np.clip(after, -clip, clip, out=after)
        sums += np.bincount(genes, after - before, minlength=n_features)
        sums_of_squares += np.bincount(genes, after**2 - before**2, minlength=n_features)
        first += counts.shape[0]
    return np.maximum(sums_of_squares / n_samples - (sums / n_samples) ** 2, 0)
