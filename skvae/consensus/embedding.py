"""The embedding whose dimensions are those that come back when an estimator is fitted again and again."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, MetaEstimatorMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch, check_random_state, check_scalar, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from skvae.consensus.loadings import default_names, place_together
from skvae.consensus.matching import combine, match_runs, mean_of, moments, orientation, standardised
from skvae.consensus.runs import embed, fit_run, rows_in, with_seed
from skvae.metrics import given
from skvae.novelty.rows import draw_part, labels_of, learn_groups
from skvae.rows.checks import check_shares
from skvae.types import BatchLike, LabelsLike, MatrixLike, Names, RandomState
from skvae.warn import warn, without_warnings_of_names


class ConsensusEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, MetaEstimatorMixin, BaseEstimator):
    """Embed with what recurs: the latent dimensions that several fits of an estimator have in common.

    Each run fits the estimator to another part of the rows, drawn at random, with another seed, and embeds all rows.
    Dimensions of two runs are matched one to one, such that the absolute correlations of their codes have the largest
    sum. The run that agrees best with the others is the reference. A dimension of it is stable, a program, if the
    median of its correlations with the other runs is at least `match`. `transform` returns the mean code of each
    program over the runs that have it.

    Parameters
    ----------
    estimator : estimator
        A transformer whose columns are dimensions, such as a model of this package, or NMF, FastICA or FactorAnalysis
        of scikit-learn, or a pipeline that ends in one. It is cloned and fitted; each `random_state` within it is set.
    n_runs : int >= 2, default=5
        Number of fits.
    match : float in [0, 1], default=0.7
        Least absolute correlation of two dimensions that are the same. 0 keeps all dimensions of the reference.
    max_samples : float in (0, 1], default=0.8
        Share of the rows, in each batch if there are batches, that each run is fitted to. With 1.0 all runs see the
        same rows, so that anything is stable if the estimator does not depend on its seed.
    n_jobs : int, default=None
        Number of runs that are fitted at a time, as in scikit-learn; None is one, and -1 as many as there are
        processors. Each run has one thread, so that the result is the same to the last bit.
    random_state : int, RandomState instance or None, default=None
        Seed that draws the rows and the seed of each run.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted estimator of each run.
    reference_ : int
        The run that agrees best with the others.
    stability_ : ndarray of shape (n_components,)
        How well each dimension of the reference recurs, those included that are not kept: the median of its absolute
        correlations with the dimensions that it is matched with. In the order of the reference.
    programs_ : ndarray of shape (n_stable, n_program_features)
        The loadings of each program, in the order of the reference: how much a feature changes with one standard
        deviation of the code, the others held. They are the `components_` of the estimators, and so not negative where
        these are not; of estimators without, regression coefficients of X, as the last step sees it, on the codes.
        The mean over the runs that have the program; of a feature that a run does not see it is 0.
    correlations_ : ndarray of shape (n_stable, n_program_features)
        Correlation of each feature with the code of each program, the mean over the same runs.
    program_feature_names_ : ndarray of shape (n_program_features,)
        Names of the features in the columns of `programs_`: all those of X, even if steps of a pipeline select some,
        unless steps make other features.
    weights_ : list of ndarray of shape (n_components, n_stable)
        What the codes of each run are multiplied by before they are summed.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.

    See Also
    --------
    skvae.plotting.plot_stability : Draws `stability_`.
    skvae.plotting.plot_programs : Draws which groups of rows use which programs.

    Notes
    -----
    Codes have a standard deviation of 1 over the rows of `fit`. They are not centred, so that codes that are not
    negative stay so; those of either sign have their longer tail on the positive side. Of sparse codes the mean is
    sparse too: it is zero where fewer than half of the runs are not.

    Runs share most of their rows, so that what is stable in them may be noise that these rows have in common: of a few
    hundred rows, the largest axes of a PCA of noise are, and of an NMF more. Rows that were held out of the fit show
    what is more than that.

    References
    ----------
    Kotliar et al. 2019, "Identifying gene expression programs of cell-type identity and cellular activity with
    single-cell RNA-seq", eLife 8 (consensus of matrix factorisations).
    Meinshausen & Buehlmann 2010, "Stability selection", Journal of the Royal Statistical Society B 72.
    Kuhn 1955, "The Hungarian method for the assignment problem", Naval Research Logistics Quarterly 2.

    Examples
    --------
    >>> from sklearn.decomposition import NMF
    >>> from skvae import ConsensusEmbedding, LogNormalizer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> consensus = ConsensusEmbedding(NMF(4, max_iter=500), n_runs=3, random_state=0).fit(X)
    >>> consensus.stability_.shape
    (4,)
    >>> n_stable = int((consensus.stability_ >= 0.7).sum())
    >>> consensus.transform(X).shape == (300, n_stable)
    True
    >>> consensus.program_features(n_top=5, feature_names=cells.feature_names).names.shape == (n_stable, 5)
    True
    """

    _parameter_constraints: ClassVar = {
        "estimator": [HasMethods(["fit", "transform"])],
        "n_runs": [Interval(Integral, 2, None, closed="left")],
        "match": [Interval(Real, 0, 1, closed="both")],
        "max_samples": [Interval(Real, 0, 1, closed="right")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        n_runs: int = 5,
        *,
        match: float = 0.7,
        max_samples: float = 0.8,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.n_runs = n_runs
        self.match = match
        self.max_samples = max_samples
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: MatrixLike, y: Any = None, *, batch: BatchLike = None, sample_weight: LabelsLike = None) -> Self:
        """Fit the runs, and find what they have in common.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Rows as the estimator, or the first step of the pipeline, takes them. Of a store each run reads its part.
        y : array-like of shape (n_samples,), default=None
            Handed to the estimator, most of which ignore it.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row. The estimator, and each step of a pipeline, is handed it where its `fit` takes it;
            with scikit-learn's metadata routing those steps of a pipeline are that ask for it.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 for `fit` of the estimator, handed on like `batch`. Parts of the rows are drawn, and dimensions
            matched, regardless of weights.

        Returns
        -------
        self : object
            The fitted estimator. If `fit` raises, it is as it was before.

        Raises
        ------
        TypeError
            If X is no matrix.
        ValueError
            For invalid parameters or data, or weights that no step takes.

        Warns
        -----
        ConvergenceWarning
            If no dimension is stable. `transform` then raises an error.
        """
        self._validate_params()
        X, rng = rows_in(X), check_random_state(self.random_state)
        _, groups = learn_groups(labels_of(batch, X), _num_samples(X))
        weights = None if sample_weight is None else check_shares(sample_weight, X)
        metadata = given(batch=batch, sample_weight=weights)
        parts = [
            (with_seed(self.estimator, rng), draw_part(groups, self.max_samples, rng, least=1))
            for _ in range(self.n_runs)
        ]
        # runs may be threads of this process, each of which restores what it finds
        with threadpool_limits(limits=1):
            runs = Parallel(n_jobs=self.n_jobs)(
                delayed(fit_run)(estimator, X, y, metadata, rows) for estimator, rows in parts
            )
        matches = match_runs([standardised(run.Z) for run in runs])
        validate_data(self, X, skip_check_array=True)
        self._set_consensus(runs, matches)
        if not len(self.programs_):
            warn(self._why_nothing_is_stable(), ConvergenceWarning)
        return self

    def fit_transform(
        self, X: MatrixLike, y: Any = None, *, batch: BatchLike = None, sample_weight: LabelsLike = None
    ) -> np.ndarray | sparse.csr_matrix:
        """Fit the runs and embed X: `fit`, then `transform`.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            See `fit`.
        y : array-like of shape (n_samples,), default=None
            See `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            See `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.

        Returns
        -------
        Z : {ndarray, CSR matrix} of shape (n_samples, n_stable)
            See `transform`.
        """
        return self.fit(X, y, batch=batch, sample_weight=sample_weight).transform(X, batch=batch)

    def transform(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray | sparse.csr_matrix:
        """Embed X: return the code of each program, the mean over the runs that have it.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, if the estimators need it.

        Returns
        -------
        Z : {ndarray, CSR matrix} of shape (n_samples, n_stable)
            A CSR matrix if the codes of the estimators are one.

        Raises
        ------
        ValueError
            If no dimension is stable, or X is not like that of `fit`.
        """
        check_is_fitted(self)
        if not len(self.programs_):
            raise ValueError(self._why_nothing_is_stable())
        X = rows_in(X)
        with without_warnings_of_names():  # the estimators give their own
            validate_data(self, X, skip_check_array=True, reset=False)
        return combine([embed(estimator, X, batch)[1] for estimator in self.estimators_], self.weights_)

    def program_features(self, n_top: int = 10, *, feature_names: Names = None) -> Bunch:
        """Return the features of each program: those that are most correlated with its code.

        Features are ranked by correlation, not by loading, since the largest loadings are those of features that are
        large in all rows. A feature whose loading is negative ranks by its negative correlation, so that a program
        whose loadings are not negative has features that rise with it alone.

        Parameters
        ----------
        n_top : int, default=10
            Number of features of each program; all if there are fewer.
        feature_names : array-like of str of shape (n_program_features,), default=None
            None for `program_feature_names_`.

        Returns
        -------
        features : Bunch
            `names`, `loadings` and `indices` of the features: ndarrays of shape (n_stable, n_top), the feature that is
            most correlated first. Loadings and indices are those of `programs_`.
        """
        check_is_fitted(self)
        check_scalar(n_top, "n_top", Integral, min_val=1)
        known = self.program_feature_names_
        names = known if feature_names is None else np.asarray(feature_names, dtype=object)
        if names.shape != known.shape:
            raise ValueError(f"feature_names has the shape {names.shape}, must have {known.shape}.")
        specificity = self.correlations_ * np.sign(self.programs_)
        indices = np.argsort(-specificity, axis=1, kind="stable")[:, :n_top]
        return Bunch(
            names=names[indices], loadings=np.take_along_axis(self.programs_, indices, axis=1), indices=indices
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        of_estimator = get_tags(self.estimator)
        tags.input_tags, tags.target_tags = of_estimator.input_tags, of_estimator.target_tags
        return tags

    def _set_consensus(self, runs, matches):
        """Set the attributes that a fit learned."""
        codes, loadings = [run.Z for run in runs], [run.loadings for run in runs]
        signs = matches.signs(self.match, [Z.shape[1] for Z in codes])
        n_agreeing = np.maximum(sum(np.abs(own).sum(axis=0) for own in signs), 1)
        scales = [moments(Z)[1][:, np.newaxis] for Z in codes]
        Z = combine(codes, [own / n_agreeing / scale for own, scale in zip(signs, scales, strict=True)])
        means = [own * orientation(Z) / n_agreeing for own in signs]
        names_in = getattr(self, "feature_names_in_", default_names(self.n_features_in_))
        names, places = place_together([own.names for own in loadings], names_in)
        self.estimators_ = [run.estimator for run in runs]
        self.reference_, self.stability_ = matches.reference, matches.stability
        self.weights_ = [own / scale / moments(Z)[1] for own, scale in zip(means, scales, strict=True)]
        self.programs_ = mean_of([own.slopes for own in loadings], means, places, len(names))
        self.correlations_ = mean_of([own.correlations for own in loadings], means, places, len(names))
        self.program_feature_names_ = names
        self._n_features_out = len(self.programs_)

    def _why_nothing_is_stable(self):
        return (
            f"no dimension is stable over {len(self.estimators_)} runs: the largest stability_ is "
            f"{self.stability_.max():.3g}; expected match == {self.match} or more. Set fewer components or a lower "
            "match, or give more rows."
        )
