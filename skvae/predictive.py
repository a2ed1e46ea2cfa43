"""Predictive checks: whether rows drawn from a model are like the rows that it is asked about."""

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from skvae.embedding.drawing import draw_row, draw_rows
from skvae.rows.bounds import bounded_minibatches
from skvae.rows.checks import check_feature_names
from skvae.types import BatchLike, MatrixLike, Names, RandomState

# Statistics of the features, whose samples do not show that the parameters were found from other rows.
OF_FEATURES = frozenset({"zeros", "means", "variances", "correlations"})

NO_FEATURES = np.zeros(0, dtype=int)

# By how much two sums of the same numbers may differ, as a share of them.
ROUNDING = 1e-9


@validate_params(
    {
        "estimator": [BaseEstimator],
        "n_samples": [Interval(Integral, 2, None, closed="left")],
        "n_correlated": [Interval(Integral, 2, None, closed="left")],
        "n_fit": [Interval(Integral, 1, None, closed="left"), None],
        "level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def posterior_predictive_check(
    estimator: BaseEstimator,
    X: MatrixLike,
    *,
    batch: BatchLike = None,
    n_samples: int = 100,
    n_correlated: int = 30,
    n_fit: int | None = None,
    level: float = 0.9,
    feature_names: Names = None,
    random_state: RandomState = None,
) -> Bunch:
    """Compare rows with such as the model draws in their place: zeros, means, variances, totals and correlations.

    Each sample is a data set like X: for each row z ~ q(z|x), then x ~ p(x|z), of counts at the row's total. A
    statistic of X that lies within the interval of the samples is one that the model explains. Samples are drawn some
    rows at a time, and their sums alone are kept.

    Parameters
    ----------
    estimator : BetaVAE or BetaVSC
        Fitted.
    X : {array-like, sparse matrix, store} of shape (n_rows, n_features)
        Two rows or more, better such as `fit` did not see: what a model says of its own data is too good.
    batch : {array-like, data frame, dict} of n_rows rows, default=None
        The batch of each row, as in `fit`, if that was given batches.
    n_samples : int >= 2, default=100
        Samples. Fewer make intervals uncertain and too short: the ends of that of 90% are those of the outermost tenth.
    n_correlated : int >= 2, default=30
        The correlations are those between so many features, the ones that vary most in X.
    n_fit : int, default=None
        Number of rows of `fit`, where X are others. What `fit` found of a feature has an error of its own, which rows
        drawn from the model do not show: it is that of a mean over `n_fit` rows, and X a mean over n_rows of them. The
        samples of the features' statistics are moved away from their mean, by sqrt(1 + n_rows / n_fit) times their
        distance to it. None leaves that out, as for X of `fit`.
    level : float in (0, 1), default=0.9
        Probability of the intervals.
    feature_names : array-like of str of shape (n_features,), default=None
        None for those of `fit`, or x0, x1, ...
    random_state : int, RandomState instance or None, default=None
        Seed of the samples, as in `predictive_sample`.

    Returns
    -------
    check : Bunch
        - zeros, means, variances : Bunches of the features, (n_features,) each
        - totals : Bunch of the rows, (n_rows,)
        - correlations : Bunch of pairs of features, (n_pairs,), first by first
        - names : ndarray of str of shape (n_features,)
        - pairs : ndarray of str of shape (n_pairs, 2), the features of the correlations
        - coverage : dict of str to float, for each statistic the share of its values that lie within their interval
        - level : float

        The Bunch of a statistic has `data`, its values in X, `expected`, their mean over the samples, `lower` and
        `upper`, the ends of the interval, and `inside`, whether it holds the value: `pd.DataFrame(check.zeros,
        index=check.names)` is a table.

    Raises
    ------
    TypeError
        If the estimator has no posterior to draw from.
    ValueError
        If X is not like that of `fit`, or is one row.

    Notes
    -----
    The total of a row of counts is part of what its sample is drawn from, and z is of the row itself: totals lie within
    their intervals more often than the level says, and so do the means of features that z describes. Coverage below the
    level tells of a misfit, above it of nothing.

    A single count far beyond all others of its feature, as chemistries with short barcodes make them, is explained by
    no dispersion: it makes means and variances of held-out rows leave their intervals, and the dispersion that is
    fitted to it makes more zeros than there are.

    References
    ----------
    Gelman, Meng & Stern 1996, "Posterior predictive assessment of model fitness via realized discrepancies",
    Statistica Sinica 6.

    Examples
    --------
    >>> from skvae import BetaVAE, make_single_cell_counts, posterior_predictive_check
    >>> X = make_single_cell_counts(n_samples=300, n_features=200, random_state=0).data
    >>> vae = BetaVAE(n_components=2, likelihood="nb", max_epochs=5, random_state=0).fit(X)
    >>> check = posterior_predictive_check(vae, X, n_samples=20, random_state=0)
    >>> check.zeros.data.shape
    (200,)
    >>> sorted(check.coverage)
    ['correlations', 'means', 'totals', 'variances', 'zeros']
    """
    check_has_posterior(estimator)
    names = check_feature_names(estimator, feature_names)
    rows = estimator._rows(X, batch)
    if len(rows) < 2:
        raise ValueError("X has 1 row; expected 2 or more, as variances are those of rows.")
    center = means_of(rows)
    chosen = most_variable(rows, center, n_correlated)
    data, drawn = sums_of(rows, center, chosen), Sums(n_samples, len(rows), center, chosen)
    draw_rows(estimator, draw_row, rows, len(center), n_samples, random_state, drawn.add)
    stretch = 1.0 if n_fit is None else np.sqrt(1 + len(rows) / n_fit)
    samples = drawn.statistics()
    found = {
        name: compare(values[0], samples[name], level, stretch if name in OF_FEATURES else 1.0)
        for name, values in data.statistics().items()
    }
    coverage = {name: float(np.mean(statistic.inside)) for name, statistic in found.items()}
    pairs = names[chosen[np.transpose(pairs_of(chosen))]]
    return Bunch(**found, names=names, pairs=pairs, coverage=coverage, level=level)


def check_has_posterior(estimator):
    """Raise a TypeError unless an estimator is one that rows can be drawn from, and an error unless it is fitted."""
    if not hasattr(estimator, "predictive_sample"):
        raise TypeError(f"{estimator!r} has no predictive_sample; expected a fitted BetaVAE or BetaVSC.")
    check_is_fitted(estimator)


# Statistics


class Sums:
    """Sums over the rows of some data sets of the same shape, from which their statistics come.

    Parameters
    ----------
    n_sets : int
    n_rows : int
    center : ndarray of shape (n_features,)
        What is subtracted before values are squared, so that large means do not hide small variances.
    chosen : ndarray of int of shape (n_chosen,)
        The features between which correlations are taken.
    """

    def __init__(self, n_sets, n_rows, center, chosen):
        self.n_rows, self.center, self.chosen = n_rows, center, chosen
        self.totals = np.empty((n_sets, n_rows))
        self.zeros, self.values, self.squares = np.zeros((3, n_sets, len(center)))
        self.products = np.zeros((n_sets, len(chosen), len(chosen)))

    def add(self, number, part, x):
        """Add some rows, (B, n_features), of one of the sets."""
        x = np.asarray(x.toarray() if sparse.issparse(x) else x, dtype=np.float64)
        self.totals[number, part] = x.sum(axis=1)
        self.zeros[number] += (x == 0).sum(axis=0)
        x -= self.center
        self.values[number] += x.sum(axis=0)
        self.squares[number] += np.einsum("id,id->d", x, x)
        few = x[:, self.chosen]
        self.products[number] += few.T @ few

    def statistics(self):
        """Return each statistic of each set, a dict of ndarrays (n_sets, n_values)."""
        shift, few = self.values / self.n_rows, self.values[:, self.chosen] / self.n_rows
        covariances = self.products / self.n_rows - few[:, :, np.newaxis] * few[:, np.newaxis]
        # what is left of the moment of a constant feature is rounding, of either sign
        moments = np.diagonal(self.products, axis1=1, axis2=2) / self.n_rows
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        deviations = np.sqrt(np.where(variances > ROUNDING * moments, variances, 0))
        first, second = pairs_of(self.chosen)
        scale = deviations[:, first] * deviations[:, second]
        correlations = np.divide(covariances[:, first, second], scale, out=np.zeros_like(scale), where=scale > 0)
        return {
            "zeros": self.zeros / self.n_rows,
            "means": self.center + shift,
            "variances": np.maximum(self.squares / self.n_rows - shift**2, 0),
            "totals": self.totals,
            "correlations": correlations,
        }


def sums_of(rows, center, chosen):
    """Return the `Sums` of rows, a single set."""
    sums = Sums(1, len(rows), center, chosen)
    for part in bounded_minibatches(rows, len(center)):
        sums.add(0, part, rows.X[part])
    return sums


def means_of(rows):
    """Return the mean of each feature over the rows, float64."""
    n_features = rows.X.shape[1]
    return sums_of(rows, np.zeros(n_features), NO_FEATURES).statistics()["means"][0]


def most_variable(rows, center, n_features):
    """Return the features with the largest variances over the rows, in rising order of their indices."""
    variances = sums_of(rows, center, NO_FEATURES).statistics()["variances"][0]
    return np.sort(np.argsort(-variances, kind="stable")[:n_features])


def pairs_of(chosen):
    """Return the places of the first and of the second of each pair of features."""
    return np.triu_indices(len(chosen), 1)


def compare(value, samples, level, stretch):
    """Return a statistic of data beside those of samples, (n_samples, n_values), which are stretched about their mean.

    The ends of the interval are those between which one more sample would lie with the probability `level`.
    """
    expected = samples.mean(axis=0)
    tails = (1 - level) / 2, (1 + level) / 2
    lower, upper = np.quantile(expected + stretch * (samples - expected), tails, axis=0, method="weibull")
    rounding = ROUNDING * np.maximum(np.abs(lower), np.abs(upper))
    inside = (value >= lower - rounding) & (value <= upper + rounding)
    return Bunch(data=value, expected=expected, lower=lower, upper=upper, inside=inside)
