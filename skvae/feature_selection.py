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
from skvae.rows.covariates import Covariates
from skvae.stores import RowStore, find_store
from skvae.types import BatchLike, MatrixLike
from skvae.warn import warn

ACCEPTED = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}

# Elements of the blocks in which the residuals of zero counts are summed: 32 MB of float64.
MAX_BLOCK_ELEMENTS = 2**22

# A variance below this is the rounding of none: what chance explains has one near 1.
LEAST_VARIANCE = 1e-8


class VariableGeneSelector(SelectorMixin, BaseEstimator):
    """Select the genes whose analytic Pearson residuals vary most.

    With n_i the total of cell i and p_g the share of gene g in all counts, chance gives the count x_ig the mean
    mu_ig = n_i p_g and the variance v_ig = mu_ig + mu_ig^2 / theta. The residual (x_ig - mu_ig) / sqrt(v_ig), clipped
    to +-sqrt(n_samples), has variance near 1 for a gene that chance explains, whatever its mean, and more for a gene
    that types of cells express differently. It is fitted to counts, so that it comes before `LogNormalizer`.

    With a `batch`, residuals are those within each batch, so that no gene is selected because batches differ in it.
    Each batch ranks the genes. Those that are among the `n_top` of more batches come first, and of those that are in as
    many, the ones of a higher median rank there.

    Parameters
    ----------
    n_top : int, default=2000
        Number of genes to select; all if there are fewer.
    theta : float > 0, default=100.0
        Inverse overdispersion of the counts of a gene that does not vary. `numpy.inf` is Poisson.

    Attributes
    ----------
    residual_variances_ : ndarray of shape (`n_features_in_`,)
        Variance of each gene's residuals, >= 0; 0 for a gene without counts. With a `batch`, the mean of the variances
        within each.
    ranks_ : ndarray of int of shape (`n_features_in_`,)
        Place of each gene in the order of selection, 0 for the first; those below `n_top` are selected.
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

    The genes are those of `scanpy.experimental.pp.highly_variable_genes` of scanpy 1.11, without a batch and with one.
    Of genes that vary exactly alike the first are taken; there it may be any. As there, the residuals of all batches
    are clipped to +-sqrt of the number of cells of one of them, the first in the order of the labels.

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

    Genes that vary within the batches:

    >>> cells = make_single_cell_counts(n_samples=300, n_features=1000, n_batches=2, random_state=0)
    >>> selector = VariableGeneSelector(n_top=50).fit(cells.data, batch=cells.batch)
    >>> selector.transform(cells.data).shape
    (300, 50)
    """

    _parameter_constraints: ClassVar = {
        "n_top": [Interval(Integral, 1, None, closed="left")],
        "theta": [Interval(Real, 0, np.inf, closed="right")],
    }

    def __init__(self, n_top: int = 2000, *, theta: float = 100.0) -> None:
        self.n_top = n_top
        self.theta = theta

    def fit(self, X: MatrixLike, y: Any = None, *, batch: BatchLike = None) -> Self:
        """Compute the variance of each gene's residuals, and rank the genes by it.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Raw counts, >= 0. A store on disk is read twice, in blocks.
        y : None
            Ignored.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            Label of each row's batch, such as its donor or laboratory; None if all rows are of one. Of a table, rows of
            one batch have the same labels in each column; measurements, floats, make no batches.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For negative counts, or a batch that is not a label for each row.

        Warns
        -----
        UserWarning
            If X holds fractions: normalised counts vary for other reasons. If fewer than `n_top` genes vary in a batch,
            of few cells, so that genes that do not are counted as well.
        """
        self._validate_params()
        shape, blocks = self._open(X)
        covariates = Covariates.learn(batch, shape[0])
        groups = covariates.groups(covariates.encode(batch, shape[0]))
        variances = residual_variances(partial(read_counts, blocks), groups, shape[1], self.theta)
        warn_of_few_cells(variances, np.bincount(groups), self.n_top)
        self.residual_variances_ = variances.mean(axis=0)
        self.ranks_ = merged_ranks(variances, self.n_top)
        return self

    def _open(self, X):
        """Return the shape of validated counts, and blocks of them."""
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
        return X.shape, blocks

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
        return self.ranks_ < self.n_top

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


def read_batches(read, groups):
    """Yield the number of a batch and CSR counts of rows of it, for each batch of each block."""
    first = 0
    for counts in read():
        here = groups[first : first + counts.shape[0]]
        first += counts.shape[0]
        for batch in np.unique(here):
            yield batch, counts if (here == batch).all() else counts[here == batch]


def residual_variances(read, groups, n_features, theta):
    """Return the variance of each gene's clipped Pearson residuals within each batch, (n_batches, n_features).

    Parameters
    ----------
    read : callable
        Returns an iterator over blocks of CSR counts; called twice.
    groups : ndarray of int of shape (n_samples,)
        The batch of each row, from 0.
    n_features : int
    theta : float
    """
    totals, gene_sums = sum_counts(partial(read_batches, read, groups), groups.max() + 1, n_features)
    clip = np.sqrt(len(totals[0]))  # of the first batch, as in scanpy
    residuals = [Residuals(*sums, theta, clip) for sums in zip(totals, gene_sums, strict=True)]
    for batch, counts in read_batches(read, groups):
        residuals[batch].add(counts)
    return np.array([of_batch.variances() for of_batch in residuals])


def sum_counts(read, n_batches, n_features):
    """Return the totals of the cells of each batch, a list of arrays, and the sums of its genes, in float64."""
    totals: list[list] = [[] for _ in range(n_batches)]
    gene_sums = np.zeros((n_batches, n_features))
    for batch, counts in read():
        totals[batch].append(counts @ np.ones(n_features))  # the sum of scipy is one of float32 for float32
        gene_sums[batch] += np.bincount(counts.indices, counts.data, minlength=n_features)
    return [np.concatenate(parts) for parts in totals], gene_sums


class Residuals:
    """Clipped Pearson residuals of a batch: sums of them and of their squares, to which counts are added as read.

    Parameters
    ----------
    totals : ndarray of shape (n_samples,)
        Sums of the batch's cells.
    gene_sums : ndarray of shape (n_features,)
    theta : float
    clip : float
    """

    def __init__(self, totals, gene_sums, theta, clip):
        self.totals, self.theta, self.clip = totals, theta, clip
        self.shares = gene_sums / (totals.sum() or 1)
        self.n_read = 0
        # As if all counts were zero, by distinct totals.
        totals_seen, n_cells = np.unique(totals, return_counts=True)
        self.sums, self.sums_of_squares = np.zeros((2, len(gene_sums)))
        for block in gen_batches(len(gene_sums), max(1, MAX_BLOCK_ELEMENTS // len(totals_seen))):
            residuals = self.at_zero(np.outer(totals_seen, self.shares[block]))
            self.sums[block] = n_cells @ residuals
            self.sums_of_squares[block] = n_cells @ residuals**2

    def at_zero(self, mu):
        """Return the residuals of zero counts: -mu / sqrt(mu + mu^2 / theta) without 0 / 0."""
        return np.maximum(-np.sqrt(mu / (1 + mu / self.theta)), -self.clip)

    def add(self, counts):
        """Put the residuals of the next rows' counts in the place of those of zeros."""
        genes, last = counts.indices, self.n_read + counts.shape[0]
        mu = np.repeat(self.totals[self.n_read : last], np.diff(counts.indptr)) * self.shares[genes]
        before = self.at_zero(mu)
        after = np.zeros_like(mu)  # mu of subnormal counts is 0
        np.divide(counts.data - mu, np.sqrt(mu + mu**2 / self.theta), out=after, where=mu > 0)
        np.clip(after, -self.clip, self.clip, out=after)
        self.sums += np.bincount(genes, after - before, minlength=len(self.sums))
        self.sums_of_squares += np.bincount(genes, after**2 - before**2, minlength=len(self.sums))
        self.n_read = last

    def variances(self):
        """Return the variance of each gene, (n_features,), when all rows are added."""
        n_samples = len(self.totals)
        return np.maximum(self.sums_of_squares / n_samples - (self.sums / n_samples) ** 2, 0)


def warn_of_few_cells(variances, n_cells, n_top):
    """Warn if in a batch, of several, too few genes vary to choose among them."""
    n_varying = (variances >= LEAST_VARIANCE).sum(axis=1)
    few = (n_varying < n_top) & (n_top < variances.shape[1]) & (len(variances) > 1)
    if few.any():
        least = n_varying.argmin()
        warn(
            f"in {few.sum()} of the {len(variances)} batches fewer than n_top = {n_top} genes vary, such as "
            f"{n_varying[least]} in one of {n_cells[least]} row(s), so that the first of the others count there too; "
            "expected more: leave such rows out, or give them the label of a batch that is alike."
        )


def merged_ranks(variances, n_top):
    """Return the place of each gene in the order of selection, from its variances (n_batches, n_features)."""
    ranks = places(np.where(variances < LEAST_VARIANCE, 0, -variances))
    is_top = ranks < n_top
    n_batches = is_top.sum(axis=0)
    # the median over the batches that count; of genes that count in none, which come last, over all
    counted = np.where(is_top | (n_batches == 0), ranks, np.nan)
    order = np.lexsort((np.nanmedian(counted, axis=0), -n_batches))
    return np.argsort(order)


def places(keys):
    """Return the place of each key in the order of its row; of equal ones the first comes first."""
    return np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1)
