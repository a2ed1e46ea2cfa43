"""Differential expression: the features of which two groups of rows have different shares, and by how much."""

from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from skvae.autoencoder import Autoencoder
from skvae.embedding.mapping import apply_model
from skvae.rows.bounds import MAX_MINIBATCH_ELEMENTS, bounded_minibatches
from skvae.rows.checks import check_feature_names
from skvae.rows.columns import check_column
from skvae.types import BatchLike, MatrixLike, Names, RandomState

# Rows of each group, at most, whose denoised shares are averaged.
MAX_DENOISED = 2000

# Log2 fold changes that are told apart: so far from 0, and in steps of about this width.
LARGEST_CHANGE = 10.0
STEP = 0.05
LEAST_DELTA = 0.01

# Deviations of the log2 fold changes of features that differ.
SPREADS = np.geomspace(STEP, 4.0, 14)

# Features without a difference that are added in the estimate of how many there are, which makes it cautious.
EXTRA_NULL = 10.0
N_ITERATIONS = 300

# Counts at which the dispersion of one group weighs as much as that of both together.
POOLED_COUNTS = 20.0

# Where a number of counts is divided by, that is at least so large.
LEAST_COUNT = 1e-12

# Spread of fold changes, in nats, beside which the sampling error of a feature does not matter for the typical one.
TYPICAL_SPREAD = 0.35


@validate_params(
    {
        "estimator": [BaseEstimator],
        "delta": [Interval(Real, 0, LARGEST_CHANGE / 2, closed="both")],
        "fdr": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def differential_expression(
    estimator: BaseEstimator,
    X: MatrixLike,
    groups: ArrayLike,
    *,
    group1: Any,
    group2: Any = "rest",
    batch: BatchLike = None,
    delta: float = 0.25,
    fdr: float = 0.05,
    feature_names: Names = None,
    random_state: RandomState = None,
) -> Bunch:
    """Find the features whose share of the counts differs between two groups of rows, and by how much.

    The log2 fold change of a feature compares its share of all counts of the first group with that in the second. What
    the model expects of the rows, denoised, is given beside it; but its loadings were fitted to the same rows, so that
    it follows their noise, and it smooths: it is not what is tested. Expected counts that are corrected by what the
    groups' counts have beyond them are the groups' counts. Their sampling error is that of the rows, of which a few may
    hold most of a feature's counts.

    How the fold changes of all features are distributed is estimated first, among others how many are 0. With this for
    a prior, the posterior of each feature says how probable it is that its fold change exceeds `delta`, and what it is:
    of a feature with few counts it is drawn towards 0.

    Parameters
    ----------
    estimator : AutoencoderEmbedding, BetaVAE or BetaVSC
        Fitted, with a likelihood of counts.
    X : {array-like, sparse matrix, store} of shape (n_rows, n_features)
        Raw counts like those of `fit`. They are read twice, in blocks.
    groups : array-like of shape (n_rows,)
        The group of each row, such as its cell type.
    group1 : str or number
        One of the groups.
    group2 : str or number, default="rest"
        Another one, or "rest" for all rows outside the first.
    batch : {array-like, data frame, dict} of n_rows rows, default=None
        The batch of each row, as in `fit`, if that was given batches. Groups are then compared within batches of the
        same labels, and these weigh alike in both; batches without rows of both groups are left out.
    delta : float, default=0.25
        Log2 fold changes up to this size do not count: 0, or from 0.01 to 5.
    fdr : float in (0, 1), default=0.05
        The false discovery rate: of the features found significant, the share that is expected not to differ by
        `delta`.
    feature_names : array-like of str of shape (n_features,), default=None
        None for those of `fit`, or x0, x1, ...
    random_state : int, RandomState instance or None, default=None
        Seed that draws the rows, 2000 of each group, whose denoised shares are averaged. Nothing else is random.

    Returns
    -------
    differences : Bunch
        Arrays of shape (n_features,), the significant features first, and of these, as of the others, the largest fold
        changes, up or down; `pd.DataFrame(differences)` is a table.

        - names : the features
        - indices : their columns in X
        - lfc : posterior mean of the log2 fold change, positive where the first group has more. It is relative to the
          typical feature's: where a few rise, the shares of all others fall
        - std : its posterior standard deviation
        - probability : that the fold change is larger than `delta`, up or down
        - is_significant : bool
        - lfc_counts : log2 fold change of the counts themselves, without a prior; infinite where a group has none, NaN
          where both have none
        - lfc_denoised : that of the model's expected counts, both relative to the typical feature too
        - mean1, mean2 : shares of the counts in the groups
        - share1, share2 : shares of the groups' rows in which the feature is not 0

    Raises
    ------
    ValueError
        If the likelihood is not one of counts, a group has fewer than two rows, no batch has rows of both, or X is not
        like that of `fit`.

    Notes
    -----
    Counts are taken as overdispersed: the likelihood of a fold change is that of a binomial distribution of the
    feature's counts over the groups, with as many counts as would be as uncertain if they were independent. The prior
    is a mixture of normal distributions around 0 and a point there (Stephens 2017). Rows count as independent: where
    those of a donor are alike, a difference of donors is found as one of groups. Groups that are clusters of the same
    data differ by construction.

    References
    ----------
    Stephens 2017, "False discovery rates: a new deal", Biostatistics 18.
    Boyeau et al. 2023, "An empirical Bayes method for differential expression analysis of single cells with deep
    generative models", PNAS 120.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import BetaVAE, differential_expression, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=500, n_features=500, random_state=0)
    >>> vae = BetaVAE(n_components=5, likelihood="nb", max_epochs=5, random_state=0).fit(cells.data)
    >>> types = cells.target_names[cells.target]
    >>> found = differential_expression(vae, cells.data, types, group1="NK", feature_names=cells.feature_names)
    >>> found.names.shape
    (500,)
    >>> bool(found.is_significant[0])
    True
    """
    check_counts_model(estimator)
    if 0 < delta < LEAST_DELTA:
        raise ValueError(f"delta == {delta}, must be 0 or at least {LEAST_DELTA}.")
    names = check_feature_names(estimator, feature_names)
    rows = estimator._rows(X, batch)
    sides = sides_of(groups, group1, group2, len(rows))
    strata = Strata.make(sides, rows.covariates.groups(rows.encoded))
    drawn = draw_of_each(strata.cells, check_random_state(random_state))
    sums = sums_of_cells(partial(denoise, estimator), rows, strata.cells, drawn, strata.n_cells)
    shares, evidence = shares_of_groups(sums, strata), Evidence.make(sums, strata)
    typical = evidence.typical_change()
    found = posterior(evidence.less(typical), delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw, denoised = (np.log2(one / two) - typical / np.log(2) for one, two in (shares.counts, shares.denoised))
    found.update(is_significant=significant(found["probability"], fdr), lfc_counts=raw, lfc_denoised=denoised)
    found.update(mean1=shares.counts[0], mean2=shares.counts[1], share1=shares.rows[0], share2=shares.rows[1])
    order = np.lexsort((-np.abs(found["lfc"]), ~found["is_significant"]))
    return Bunch(names=names[order], indices=order, **{name: values[order] for name, values in found.items()})


# Input


def check_counts_model(estimator):
    """Raise an error unless an estimator is a fitted one of counts."""
    if not hasattr(estimator, "denoise"):
        raise TypeError(f"{estimator!r} has no denoise; expected a fitted BetaVAE, BetaVSC or AutoencoderEmbedding.")
    check_is_fitted(estimator)
    likelihood = estimator.net_.module_.likelihood
    if not likelihood.support.has_library_size:
        raise ValueError(
            f"the estimator has the likelihood {type(likelihood).__name__}; expected one of counts, such as "
            "likelihood='nb': fold changes are those of shares of counts."
        )


def sides_of(groups, group1, group2, n_rows):
    """Return the side of each row, (n_rows,): 0 in the first group, 1 in the second, -1 in neither."""
    groups = check_column(groups, n_rows, "groups")
    is_first = np.asarray(groups == group1)
    rest = isinstance(group2, str) and group2 == "rest"
    is_second = ~is_first if rest else np.asarray(groups == group2)
    for name, group, members in (("group1", group1, is_first), ("group2", group2, is_second)):
        if np.sum(members) < 2:
            known = np.unique(groups)[:10].tolist()
            raise ValueError(f"{name} == {group!r} has {np.sum(members)} row(s), expected 2 or more; groups: {known}.")
    if (is_first & is_second).any():
        raise ValueError(f"group1 and group2 are both {group1!r}; expected two groups, or group2='rest'.")
    return np.select([is_first, is_second], [0, 1], -1)


@dataclass(frozen=True)
class Strata:
    """Rows of one group and one stratum, such as a batch, are a cell; both groups have the same strata.

    Parameters
    ----------
    cells : ndarray of int of shape (n_rows,)
        The stratum of each row, in the second group behind all those of the first; -1 for rows that are left out.
    weights : ndarray of shape (n_strata,)
        Of each stratum in both groups, of sum 1.
    """

    cells: np.ndarray
    weights: np.ndarray

    @classmethod
    def make(cls, sides, strata):
        """Return the strata that have rows of both sides, from the side, or -1, and the stratum of each row."""
        sizes = np.stack([np.bincount(strata[sides == side], minlength=strata.max() + 1) for side in (0, 1)])
        shared = sizes.min(axis=0) > 0
        if not shared.any():
            raise ValueError("no batch has rows of both groups; expected one at least, as groups are compared in each.")
        place = np.cumsum(shared) - 1
        used = (sides >= 0) & shared[strata]
        cells = np.where(used, sides * shared.sum() + place[strata], -1)
        weights = sizes[0, shared] * sizes[1, shared] / sizes[:, shared].sum(axis=0)
        return cls(cells, weights / weights.sum())

    @property
    def n_cells(self):
        return 2 * len(self.weights)

    def by_group(self, sums):
        """Return sums over cells, (n_cells, ...), as (2, n_strata, ...)."""
        return sums.reshape(2, len(self.weights), *sums.shape[1:])

    def mean(self, values, power=1):
        """Return the weighted sum over strata of values of each cell, (n_cells, D), in each group: (2, D)."""
        return np.einsum("s,gsd->gd", self.weights**power, self.by_group(values))


def draw_of_each(cells, random_state):
    """Return which rows are denoised, (n_rows,) of bool: of each cell a share, such that there are not too many."""
    order = random_state.permutation(np.flatnonzero(cells >= 0))
    n_cells = cells.max() + 1
    most = max(1, 2 * MAX_DENOISED // n_cells)
    drawn = np.zeros(len(cells), dtype=bool)
    for cell in range(n_cells):
        drawn[order[cells[order] == cell][:most]] = True
    return drawn


def denoise(estimator, rows):
    """Return the expected counts of rows, (n_rows, n_features)."""
    return apply_model(estimator, Autoencoder.denoise, rows.moved(None), rows.X.shape[1])


# Sums over cells of rows


def sums_of_cells(expect, rows, cells, drawn, n_cells):
    """Return sums over the rows of each cell, a Bunch of arrays (n_cells, n_features) or, of totals, (n_cells, 1).

    Parameters
    ----------
    expect : callable
        Returns the expected counts of some rows.
    rows : Rows
    cells : ndarray of int of shape (n_rows,)
    drawn : ndarray of bool of shape (n_rows,)
        The rows that are asked for their expected counts.
    n_cells : int
    """
    sums = Bunch()

    def add(name, members, values):
        values = members @ values
        values = values.toarray() if sparse.issparse(values) else values
        sums[name] = sums.get(name, 0) + values

    for part in bounded_minibatches(rows, rows.X.shape[1]):
        held, few = cells[part], drawn[part]
        block = rows.take(part)
        x = sparse.csr_array(block.X).astype(np.float64)
        totals = np.asarray(x.sum(axis=1)).reshape(-1, 1)
        members, of_few = indicators(held, n_cells), indicators(held[few], n_cells)
        add("n_rows", members, np.ones_like(totals))
        add("totals", members, totals)
        add("squared_totals", members, totals**2)
        add("counts", members, x)
        add("squares", members, x.multiply(x).tocsr())
        add("products", members, x.multiply(totals).tocsr())
        add("nonzeros", members, (x > 0).astype(np.float64))
        if few.any():
            add("denoised", of_few, expect(block.take(np.flatnonzero(few))).astype(np.float64))
            add("denoised_totals", of_few, totals[few])
    return sums


def indicators(cells, n_cells):
    """Return a sparse matrix (n_cells, n_rows) that adds up the rows of each cell."""
    used = np.flatnonzero(cells >= 0)
    return sparse.csr_array((np.ones(len(used)), (cells[used], used)), shape=(n_cells, len(cells)))


def shares_of_groups(sums, strata):
    """Return the shares of the features in both groups, (2, n_features) each.

    Of `counts`, of `denoised` ones, and of `rows` that have the feature.
    """
    over = {"counts": sums.totals, "denoised": sums.denoised_totals, "rows": sums.n_rows}
    values = {"counts": sums.counts, "denoised": sums.denoised, "rows": sums.nonzeros}
    return Bunch(**{name: strata.mean(values[name] / np.maximum(total, 1)) for name, total in over.items()})


@dataclass(frozen=True)
class Evidence:
    """What the rows say of the features' shares in both groups: as much as independent counts would.

    Parameters
    ----------
    counts : ndarray of shape (2, n_features)
    exposures : ndarray of shape (2, n_features)
        By which the counts are divided for the share.
    """

    counts: np.ndarray
    exposures: np.ndarray

    @classmethod
    def make(cls, sums, strata):
        totals, n_rows = np.maximum(sums.totals, 1), sums.n_rows
        share = sums.counts / totals
        squared = sums.squares - 2 * share * sums.products + share**2 * sums.squared_totals
        variance = np.maximum(squared, 0) * n_rows / np.maximum(n_rows - 1, 1) / totals**2
        mean = strata.mean(share)
        exposures = 1 / strata.mean(1 / totals, power=2)
        counts, squares = mean * exposures, strata.mean(variance, power=2) * exposures**2
        # the factor by which the variance is that of more than chance: of few counts that of both groups
        pooled = np.maximum(squares.sum(axis=0) / np.maximum(counts.sum(axis=0), LEAST_COUNT), 1)
        dispersion = np.maximum((squares + POOLED_COUNTS * pooled) / (counts + POOLED_COUNTS), 1)
        return cls(counts / dispersion, exposures / dispersion)

    def typical_change(self):
        """Return the log fold change of the typical feature, in nats: a weighted median."""
        counts = self.counts + 0.5
        changes = np.log(counts[0] / self.exposures[0]) - np.log(counts[1] / self.exposures[1])
        weights = 1 / ((1 / counts).sum(axis=0) + TYPICAL_SPREAD**2)
        order = np.argsort(changes, kind="stable")
        ends = np.cumsum(weights[order])
        return changes[order[np.searchsorted(ends, ends[-1] / 2)]]

    def less(self, change):
        """Return the evidence of fold changes relative to one, in nats."""
        return Evidence(self.counts, self.exposures * np.exp([[change], [0.0]]))

    def log_likelihood(self, changes):
        """Return the log-likelihood of each feature's log2 fold change, (n_features, n_changes), up to a constant."""
        (first, second), (one, two) = self.counts, self.exposures
        # as certain as the steps between fold changes admit
        certain = (STEP * np.log(2)) ** 2 * first * second / np.maximum(first + second, LEAST_COUNT)
        scale = 1 / np.maximum(certain, 1)
        odds = np.log(np.maximum(one, LEAST_COUNT) / np.maximum(two, LEAST_COUNT))[:, np.newaxis]
        change = odds + np.log(2) * changes
        first, second = (scale * first)[:, np.newaxis], (scale * second)[:, np.newaxis]
        return -first * np.logaddexp(0, -change) - second * np.logaddexp(0, change)

    def part(self, features):
        return Evidence(self.counts[:, features], self.exposures[:, features])


# Posterior


def posterior(evidence, delta):
    """Return what is known of the log2 fold changes: a dict of `lfc`, `std` and `probability`, (n_features,) each."""
    step = STEP if delta == 0 else delta / np.ceil(delta / STEP)  # such that delta lies between two changes
    n_steps = int(np.ceil(LARGEST_CHANGE / step))
    changes = np.append((np.arange(-n_steps, n_steps) + 0.5) * step, 0.0)
    components = prior_components(changes)
    n_features = evidence.counts.shape[1]
    parts = list(gen_batches(n_features, max(1, MAX_MINIBATCH_ELEMENTS // len(changes))))
    likelihoods = np.concatenate([scaled_likelihood(evidence.part(part), changes) @ components.T for part in parts])
    prior = mixture_weights(likelihoods) @ components
    is_large, found = np.abs(changes) > delta, []
    for part in parts:
        weights = scaled_likelihood(evidence.part(part), changes) * prior
        weights /= weights.sum(axis=1, keepdims=True)
        mean = weights @ changes
        variance = np.einsum("dc,dc->d", weights, (changes - mean[:, np.newaxis]) ** 2)
        found.append((mean, np.sqrt(variance + step**2 / 12), weights[:, is_large].sum(axis=1)))
    return dict(zip(("lfc", "std", "probability"), map(np.concatenate, zip(*found, strict=True)), strict=True))


def scaled_likelihood(evidence, changes):
    """Return the likelihood of each change, (n_features, n_changes), as a share of the largest of the feature."""
    log_likelihood = evidence.log_likelihood(changes)
    return np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True))


def prior_components(changes):
    """Return the probabilities of the changes, of which the last is 0, in each component of the prior: that is last."""
    normal = np.exp(-((changes[:-1] / SPREADS[:, np.newaxis]) ** 2) / 2)
    components = np.zeros((len(SPREADS) + 1, len(changes)))
    components[:-1, :-1] = normal / normal.sum(axis=1, keepdims=True)
    components[-1, -1] = 1
    return components


def mixture_weights(likelihoods):
    """Return the weights of the components, of which the last has no difference: the most probable, given that."""
    weights = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    extra = np.zeros_like(weights)
    extra[-1] = EXTRA_NULL
    for _ in range(N_ITERATIONS):
        shares = likelihoods * weights
        shares /= shares.sum(axis=1, keepdims=True)
        weights = shares.sum(axis=0) + extra
        weights /= weights.sum()
    return weights


def significant(probability, fdr):
    """Return the largest set of the most probable features whose mean probability of no difference is `fdr` at most."""
    order = np.argsort(-probability, kind="stable")
    rates = np.cumsum(1 - probability[order]) / np.arange(1, len(order) + 1)
    found = np.zeros(len(order), dtype=bool)
    found[order[: np.searchsorted(rates, fdr, side="right")]] = True
    return found
