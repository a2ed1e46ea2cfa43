"""The detector of novel rows: a part of the rows is kept from the model, and new rows are compared with it."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, OutlierMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from skvae.metrics import given
from skvae.novelty.models import check_model, fit_metadata, seen_by
from skvae.novelty.nonconformity import Nonconformity
from skvae.novelty.rows import check_numbers, find_groups, labels_of, learn_groups, matrix_of, split_rows, take
from skvae.types import BatchLike, MatrixLike, RandomState
from skvae.warn import without_warnings_of_names

# Scores, whose unit is that of usual differences, that are no further apart are taken as equal: they may be of the same
# row, computed beside other rows.
ROUNDING = 1e-4


class NoveltyDetector(MetaEstimatorMixin, OutlierMixin, BaseEstimator):
    """Find rows unlike those that a model has seen, such as cells of a type that the reference lacks.

    A part of the rows, drawn at random, is kept from the model. The p-value of a new row is the share of these
    calibration rows, itself included, that are at least as unlike the others as the row is. If the row is drawn like
    those of `fit`, its p-value is at most a with probability at most a, for every a, whatever the model and the data:
    it is conformal. How many novel rows are found depends on the model.

    How unlike the others a row is, is told by three scores together, as each is blind to some types: its distance to
    the nearest rows, beside the distances that are usual there; its distance to the nearest cluster of rows, beside the
    spread within clusters; and its log-likelihood. The distances are in the latent space, with the log-likelihood as
    one more dimension. Log-likelihoods, and distances to clusters, are freed of their dependence on the total of the
    row.

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

    Notes
    -----
    With n calibration rows the p-value of a row is (1 + m) / (n + 1), where m of them are at least as unlike the others
    as it is, and cannot be less than 1 / (n + 1). With batches they are those of the row's own batch alone, so that
    false alarms are as rare in each; without, a batch that is unlike the others may have more than its share. The
    probability is that over draws of the calibration rows and of the row: of one fit, the share of false alarms at
    level a lies around a with a standard deviation of about sqrt(a (1 - a) / n). SciPy's `false_discovery_control`
    adjusts the p-values of many rows.

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
        estimator.fit(some, None, **fit_metadata(estimator, given(batch=some_batch)))
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
