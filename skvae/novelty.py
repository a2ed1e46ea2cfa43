"""Novelty: rows unlike those that a model has seen, with p-values that hold whatever the model."""

import math
from inspect import signature
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.utils import Bunch, _safe_indexing, check_random_state, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples, check_is_fitted, has_fit_parameter, validate_data

from skvae.metrics import given
from skvae.names import steps_of
from skvae.rows.checks import check_is_matrix, check_structure
from skvae.rows.columns import check_column, column_of, is_category, table_of
from skvae.stores import find_store
from skvae.types import BatchLike, MatrixLike, RandomState
from skvae.warn import without_warnings_of_names

# Nearest training rows: the mean distance to them is that of a row, and theirs are what is usual around it.
N_NEIGHBORS = 10

# How much of what is usual around a row its distance is freed of: 0 compares distances, 1 ratios of densities. Ratios
# find rare types beside dense ones, and lose those that lie where few rows are.
LOCAL = 0.75

# Weight of the distance beside the log-likelihood, which is noisier.
WEIGHT = 3.0

# Curves of the log-likelihood over the total of a row, straight beyond those that were seen; penalties to choose from.
CURVE = {"n_knots": 4, "degree": 2, "extrapolation": "linear"}
PENALTIES = np.logspace(-4, 2, 7)

# Scores, whose unit is that of usual differences, that are no further apart are taken as equal: they may be of the same
# row, computed beside other rows.
ROUNDING = 1e-4


class NoveltyDetector(MetaEstimatorMixin, OutlierMixin, BaseEstimator):
    """Find rows unlike those that a model has seen, such as cells of a type that the reference lacks.

    A part of the rows, drawn at random, is kept from the model. The p-value of a new row is the share of these
    calibration rows, itself included, that are at least as unlike the others as the row is. If the row is drawn like
    those of `fit`, its p-value is at most a with probability at most a, for every a, whatever the model and the data:
    it is conformal. How many novel rows are found depends on the model.

    How unlike the others a row is, is told by two scores together, as either is blind to some types: its
    log-likelihood, freed of its dependence on the total of the row; and its distance to the nearest rows in the latent
    space, beside the distances that are usual there.

    Parameters
    ----------
    estimator : estimator
        A model of this package, or another one with `score_samples` and `transform` such as PCA, or a pipeline that
        ends in one. It is cloned and fitted; a model that is fitted already is used as it is in scikit-learn's
        `FrozenEstimator(model)`, and `fit` then needs rows that it has not seen.
    contamination : float in (0, 0.5], default=0.05
        Level of `predict`: the largest share of false alarms, in expectation, among rows like those of `fit`.
    calibration : float in (0, 1), default=0.2
        Share of the rows, in each batch if there are batches, that the model is not fitted to. At least
        1 / `contamination` - 1 of them are needed, and more make the level more exact.
    random_state : int, RandomState instance or None, default=None
        Seed that draws the calibration rows. The model has a seed of its own.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model.
    batches_ : ndarray of shape (n_batches,) or None
        The batches that `fit` was given, sorted.
    calibration_scores_ : list of ndarray
        For each batch, or for all rows, how unlike the others its calibration rows are, sorted; larger is more unlike.
    nonconformity_ : object
        What tells how unlike the others a row is.
    offset_ : float
        What `decision_function` takes from `score_samples`: the least number above `contamination`.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.

    See Also
    --------
    skvae.elbo_scorer : Judges a model on held-out rows as a whole.
    scipy.stats.false_discovery_control : Adjusts the p-values of many rows.

    Notes
    -----
    With n calibration rows the p-value of a row is (1 + m) / (n + 1), where m of them are at least as unlike the others
    as it is, and cannot be less than 1 / (n + 1). With batches they are those of the row's own batch alone, so that
    false alarms are as rare in each; without, a batch that is unlike the others may have more than its share. The
    probability is that over draws of the calibration rows and of the row: of one fit, the share of false alarms at
    level a lies around a with a standard deviation of about sqrt(a (1 - a) / n).

    The rows of `fit` are no new ones, which p-values are of, so that there is no `fit_predict`: as of scikit-learn's
    `LocalOutlierFactor(novelty=True)`.

    References
    ----------
    Vovk, Gammerman & Shafer 2005, "Algorithmic learning in a random world", Springer (conformal p-values, and those by
    category).
    Bates, Candes, Lei, Romano & Sesia 2023, "Testing for outliers with conformal p-values", Annals of Statistics 51.

    Examples
    --------
    >>> from skvae import BetaVAE, NoveltyDetector, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=600, n_features=300, random_state=0)
    >>> is_b = cells.target_names[cells.target] == "B"
    >>> detector = NoveltyDetector(BetaVAE(likelihood="poisson", random_state=0), random_state=0)
    >>> p_values = detector.fit(cells.data[~is_b]).p_values(cells.data[is_b])
    >>> bool((p_values <= 0.05).mean() > 0.5)
    True
    """

    # as of LocalOutlierFactor: predictions are of new rows, and of those of `fit` no given share is an outlier
    novelty: ClassVar = True

    _parameter_constraints: ClassVar = {
        "estimator": [HasMethods(["fit"])],
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "calibration": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        contamination: float = 0.05,
        calibration: float = 0.2,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.calibration = calibration
        self.random_state = random_state

    def fit(self, X: MatrixLike, y: Any = None, *, batch: BatchLike = None) -> Self:
        """Fit the model to a part of the rows, and learn from the others what is usual.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that are not novel, as the model, or the first step of the pipeline, takes them.
        y : None
            Ignored.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row: labels, of which a table has several columns; measurements, floats, are for the model
            alone. The model, and each step of a pipeline, is handed it where its `fit` takes it; with
            scikit-learn's metadata routing those steps of a pipeline are that ask for it.

        Returns
        -------
        self : object
            The fitted estimator. If `fit` raises, it is as it was before.

        Raises
        ------
        TypeError
            If the estimator has no `score_samples` or no `transform`, or X is no matrix.
        ValueError
            For invalid parameters or data, or if there are too few calibration rows for `contamination`.
        """
        self._validate_params()
        check_model(self.estimator)
        X = matrix_of(X)
        batches, groups = learn_groups(labels_of(batch, X), _num_samples(X))
        training, calibration = split_rows(groups, self.calibration, check_random_state(self.random_state))
        check_numbers(groups[training], groups[calibration], batches, self.contamination)
        estimator = clone(self.estimator)
        some, some_batch = take(X, batch, training)
        estimator.fit(some, None, **fit_metadata(estimator, some_batch))
        nonconformity = Nonconformity(seen_by(estimator, some, some_batch))
        scores = nonconformity(seen_by(estimator, *take(X, batch, calibration)))
        validate_data(self, X, skip_check_array=True)
        self.estimator_, self.nonconformity_, self.batches_ = estimator, nonconformity, batches
        self.calibration_scores_ = [np.sort(scores[groups[calibration] == group]) for group in np.unique(groups)]
        self.offset_ = np.nextafter(self.contamination, 1)
        return self

    def p_values(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Return the conformal p-value of each row under the hypothesis that it is drawn like those of `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows: those of `fit` have p-values that are too large or, in calibration, mean nothing.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            In [1 / (n + 1), 1] with n calibration rows. Lower is more novel.

        Raises
        ------
        ValueError
            If X is not like that of `fit`, or a batch is unknown, missing, or given though `fit` was given none.
        """
        return self._compare(X, batch)[0]

    def score_samples(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Return the p-value of each row, made smaller where the row is more unlike the others than all calibration.

        So rows are ranked among which p-values are equal, as few calibration rows can tell.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In (0, 1]. Lower is more novel.
        """
        p_values, excess = self._compare(X, batch)
        return p_values / (1 + excess)

    def decision_function(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Return `score_samples` less `offset_`: negative for the rows that `predict` calls novel.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        decisions : ndarray of shape (n_samples,)
            Lower is more novel.
        """
        return self.score_samples(X, batch=batch) - self.offset_

    def predict(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Return which rows are novel: those whose p-value is at most the `contamination` that `fit` had.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            New rows.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            -1 for novel rows, 1 for the others.
        """
        return np.where(self.decision_function(X, batch=batch) < 0, -1, 1)

    @property
    def fit_predict(self) -> Any:
        raise AttributeError("NoveltyDetector has no fit_predict: p-values are those of rows that are not of fit.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    def _compare(self, X, batch):
        """Return the p-value of each row, and by how much it is more unlike the others than all calibration rows."""
        check_is_fitted(self)
        X = matrix_of(X)
        with without_warnings_of_names():  # the model gives its own
            validate_data(self, X, skip_check_array=True, reset=False)
        groups = find_groups(labels_of(batch, X), self.batches_, _num_samples(X))
        scores = self.nonconformity_(seen_by(self.estimator_, X, batch)) - ROUNDING
        p_values, excess = np.empty((2, len(scores)))
        for group, known in enumerate(self.calibration_scores_):
            rows = groups == group
            n_as_unlike = len(known) - np.searchsorted(known, scores[rows], side="left")
            p_values[rows] = (1 + n_as_unlike) / (len(known) + 1)
            excess[rows] = np.maximum(scores[rows] - known[-1], 0)
        return p_values, excess


# How unlike the others a row is


class Nonconformity:
    """How unlike the training rows a row is: larger is more unlike.

    The sum of two scores, each in units of its differences among the training rows. A score counts little where it is
    below the median, so that a row that is likely may be far from all others, and the other way round.

    Parameters
    ----------
    training : Bunch
        What `seen_by` returns of the training rows.
    """

    def __init__(self, training):
        self.likelihood = FreedLikelihood(training.totals, training.log_likelihood)
        self.neighborhood = Neighborhood(training.Z)
        unlikely = -self.likelihood(training.totals, training.log_likelihood)
        self.quantiles = [np.quantile(values, [0.5, 0.9]) for values in (unlikely, self.neighborhood.own)]

    def __call__(self, rows):
        scores = -self.likelihood(rows.totals, rows.log_likelihood), self.neighborhood(rows.Z)
        unlikely, remote = (
            np.logaddexp(0, 2 * (values - median) / (upper - median or 1))
            for values, (median, upper) in zip(scores, self.quantiles, strict=True)
        )
        return unlikely + WEIGHT * remote


class FreedLikelihood:
    """Log-likelihoods freed of their dependence on the total of a row, in units of what is left at that total.

    Parameters
    ----------
    totals : ndarray of shape (n_samples,)
        Those of the training rows.
    log_likelihood : ndarray of shape (n_samples,)
    """

    def __init__(self, totals, log_likelihood):
        self.least = min(totals[totals > 0], default=1) / 2
        sizes = self._sizes(totals)
        self.level = fit_curve(sizes, log_likelihood)
        left = np.abs(log_likelihood - self.level.predict(sizes))
        self.spread = fit_curve(sizes, np.log(left + (1e-3 * left.mean() or 1)))

    def _sizes(self, totals):
        return np.log(np.maximum(totals, self.least))[:, np.newaxis]

    def __call__(self, totals, log_likelihood):
        sizes = self._sizes(totals)
        return (log_likelihood - self.level.predict(sizes)) / np.exp(self.spread.predict(sizes))


def fit_curve(sizes, values):
    """Return a smooth regression of values on sizes, (n_samples, 1)."""
    return make_pipeline(StandardScaler(), SplineTransformer(**CURVE), RidgeCV(PENALTIES)).fit(sizes, values)


class Neighborhood:
    """Logarithm of the distance to the nearest training rows in the latent space, beside those that are usual there.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_components)
        The training rows, of which `own` has that to the others.
    """

    def __init__(self, Z):
        self.nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(Z) - 1)).fit(Z)
        distances, rows = self.nearest.kneighbors()
        self.usual = distances.mean(axis=1)
        self.floor = 1e-6 * self.usual.mean() or 1  # copies of a row have no distance
        self.own = self._compare(distances, rows)

    def _compare(self, distances, rows):
        distance, usual = distances.mean(axis=1), self.usual[rows].mean(axis=1)
        return np.log(distance + self.floor) - LOCAL * np.log(usual + self.floor)

    def __call__(self, Z):
        return self._compare(*self.nearest.kneighbors(Z))


# Models


def check_model(estimator):
    """Raise a TypeError unless an estimator, or the last step of a pipeline, can be asked for both scores."""
    model = steps_of(estimator)[-1]
    missing = [name for name in ("score_samples", "transform") if not hasattr(model, name)]
    if missing:
        raise TypeError(
            f"{model!r} has no {' and no '.join(missing)}; expected a model such as BetaVAE, or a pipeline that ends "
            "in one."
        )


def fit_metadata(estimator, batch):
    """Return how `fit` of an estimator, or of the steps of a pipeline, is handed the batch."""
    steps = getattr(estimator, "steps", [(None, estimator)])
    taking = [name for name, step in steps if has_fit_parameter(step, "batch")]
    if batch is None or not taking:
        return {}
    is_routed = taking == [None] or get_config()["enable_metadata_routing"]
    return {"batch": batch} if is_routed else {f"{name}__batch": batch for name in taking}


def seen_by(estimator, X, batch):
    """Return what the model, at the end of a fitted pipeline or alone, makes of rows, and their totals as it sees them.

    These are `log_likelihood` and `totals`, of absolute values, (n_samples,), and `Z` (n_samples, n_components).
    """
    *before, model = steps_of(estimator)
    for step in before:
        X = call(step, "transform", X, batch)
    log_likelihood, Z = (call(model, name, X, batch) for name in ("score_samples", "transform"))
    return Bunch(
        log_likelihood=np.asarray(log_likelihood, dtype=np.float64),
        Z=np.asarray(Z, dtype=np.float64),
        totals=totals_of(X),
    )


def call(step, name, X, batch):
    """Call a method of a fitted step with X, and with the batch if it takes that and was fitted with one."""
    method = getattr(step, name)
    knows_batch = "batch" in signature(method).parameters and getattr(step, "batches_", batch) is not None
    return method(X, **(given(batch=batch) if knows_batch else {}))


def totals_of(X):
    """Return the sum of absolute values of each row, (n_samples,)."""
    X = X if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
    return np.asarray(abs(X).sum(axis=1, dtype=np.float64)).ravel()


# Rows


def matrix_of(X):
    """Return rows that can be taken by their numbers; values are left to the model to check."""
    check_is_matrix(X)
    if find_store(X, maps=False) is not None:
        raise TypeError(f"X is of the type {type(X).__name__}, a store; expected rows in memory, such as store[:].")
    check_structure(X)
    X = indexable(X)[0]
    if len(np.shape(X)) != 2:
        raise ValueError(
            f"X has the shape {np.shape(X)}; expected samples and features. Reshape your data: X.reshape(1, -1) is a "
            "single sample."
        )
    return X


def take(X, batch, rows):
    """Return some rows, and their batch."""
    table = {} if batch is None else table_of(batch, "batch")[0]
    taken = {name: _safe_indexing(column, rows) if np.ndim(column) else column for name, column in table.items()}
    return _safe_indexing(X, rows), taken.get(None, taken or None)


def labels_of(batch, X):
    """Return the label of each row's batch, (n_samples,), or None without one: of a table those of all columns.

    Measurements are no labels.
    """
    table = {} if batch is None else table_of(batch, "batch")[0]
    columns = {
        name: check_column(column, _num_samples(X), "batch" if name is None else column_of("batch", name))
        for name, column in table.items()
    }
    labels = [column for name, column in columns.items() if column.dtype.kind != "f" or is_category(table[name])]
    if len(labels) <= 1:
        return labels[0] if labels else None
    return np.array([", ".join(map(str, row)) for row in zip(*labels, strict=True)])


def learn_groups(batch, n_rows):
    """Return the labels of a batch, sorted, and the number of each row's; None and zeros without one."""
    return (None, np.zeros(n_rows, dtype=int)) if batch is None else np.unique(batch, return_inverse=True)


def find_groups(batch, batches, n_rows):
    """Return the number of each row's batch among those of `fit`."""
    if (batch is None) != (batches is None):
        expected = "None, as in fit" if batches is None else f"one of {batches.tolist()} for each row, as in fit"
        raise ValueError(f"batch is {'None' if batch is None else 'given'}; expected {expected}.")
    if batches is None:
        return np.zeros(n_rows, dtype=int)
    unknown = sorted(set(batch.tolist()) - set(batches.tolist()), key=str)
    if unknown:
        raise ValueError(f"batch holds {unknown[:5]}; expected one of {batches.tolist()}, the batches of fit.")
    return np.searchsorted(batches, batch)


def split_rows(groups, share, rng):
    """Return the numbers of the training rows and of the calibration rows, that share of each group."""
    order = rng.permutation(len(groups))
    is_calibration = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        rows = order[groups[order] == group]
        is_calibration[rows[: round(share * len(rows))]] = True
    return np.flatnonzero(~is_calibration), np.flatnonzero(is_calibration)


def check_numbers(training, calibration, batches, level):
    """Raise a ValueError if a group has too few calibration rows for a level, or too few rows are left for training."""
    needed = math.ceil(1 / level) - 1
    for group in range(1 if batches is None else len(batches)):
        n_rows = (calibration == group).sum()
        if n_rows < needed:
            where = "" if batches is None else f" in the batch {batches.tolist()[group]!r}"
            raise ValueError(
                f"there are {n_rows} calibration row(s){where} of {n_rows + (training == group).sum()} sample(s); "
                f"expected {needed} or more for contamination == {level}: give more rows, or set calibration or "
                "contamination larger."
            )
    if len(training) < 2:
        raise ValueError(
            f"there are {len(training)} training row(s) of {len(training) + len(calibration)} sample(s); expected 2 or "
            "more: give more rows, or set calibration smaller."
        )
