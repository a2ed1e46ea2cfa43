"""Clusters of an embedding, whose number need not be known."""

import warnings
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skvae.rows.checks import check_is_matrix
from skvae.types import RandomState
from skvae.warn import warn

# Rows from which mixtures are learned, drawn if there are more.
MAX_ROWS = 5000

# Share of the variance of the first principal axis that an axis needs to be looked at, and share of the mean variance
# of these that is added to each component's, so that none shrinks to a few rows in a plane.
LEAST_SHARE = 0.01

# Numbers of clusters in a row that do not lower the BIC, after which no more are tried.
PATIENCE = 3

# Starts of each mixture, of which the likeliest is taken.
N_STARTS = 3


class MixtureClustering(ClusterMixin, BaseEstimator):
    """Cluster by the mixture of Gaussians, each with a covariance of its own, whose number has the lowest BIC.

    Numbers are tried from 1 on, until three more in a row do not lower the Bayesian information criterion (BIC). A
    number that is given is taken instead. Clusters are numbered by size, the largest is 0.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of clusters; None for that of the lowest BIC.
    max_clusters : int, default=30
        Largest number that is tried, and never more than one for each two samples.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts of the mixtures, and of the 5000 rows from which they are learned where there are more. An
        int makes the clusters reproducible.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        The cluster of each sample, from 0, the largest, to `n_clusters_` - 1.
    n_clusters_ : int
        Number of clusters: at most that given, as a component in which no sample is likeliest is none.
    bic_ : ndarray
        BIC of the mixtures of 1, 2, ... components that were tried; empty if the number was given. Lower is better.
    mixture_ : GaussianMixture
        Its components are the clusters, of `(Z - center_) @ axes_.T`.
    center_ : ndarray of shape (`n_features_in_`,)
        Mean of Z.
    axes_ : ndarray of shape (n_axes, `n_features_in_`)
        Principal axes of Z, in units of the standard deviation on the first, without those that have less than a
        hundredth of its variance: what does not vary, such as an inactive component of an embedding, would count as
        parameters of each Gaussian.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if Z has string column names.

    See Also
    --------
    skvae.markers.find_markers : What the clusters express.
    clustering_report : Compare clusters with known types.

    Notes
    -----
    A cluster is a group that is about Gaussian in Z. Long gradients are cut into several, and types that nearly touch
    may be one. The BIC asks for more evidence than a few samples can give: of groups of less than about ten samples,
    or in Z of ten noisy features and less than a hundred samples, expect fewer clusters than groups. Samples that have
    no structure are one cluster.

    References
    ----------
    Fraley & Raftery 2002, "Model-based clustering, discriminant analysis, and density estimation", JASA 97.

    Examples
    --------
    >>> from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
    >>> from skvae.clustering import MixtureClustering
    >>> cells = make_single_cell_counts(n_samples=600, n_features=500, random_state=0)
    >>> Z = BetaVAE(max_epochs=20, random_state=0).fit_transform(LogNormalizer().fit_transform(cells.data))
    >>> clustering = MixtureClustering(random_state=0).fit(Z)
    >>> clustering.labels_.shape
    (600,)
    >>> bool(1 < clustering.n_clusters_ < 10)
    True
    """

    _parameter_constraints: ClassVar = {
        "n_clusters": [Interval(Integral, 1, None, closed="left"), None],
        "max_clusters": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self, n_clusters: int | None = None, *, max_clusters: int = 30, random_state: RandomState = None
    ) -> None:
        self.n_clusters = n_clusters
        self.max_clusters = max_clusters
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Z, the embedding of the samples.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If there are fewer samples than clusters, or than two, or Z holds NaN or infinity.

        Warns
        -----
        UserWarning
            If the BIC still falls at `max_clusters`.
        """
        self._validate_params()
        check_is_matrix(X)
        Z = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        rng = check_random_state(self.random_state)
        seed = rng.randint(np.iinfo(np.int32).max)
        rows = Z if len(Z) <= MAX_ROWS else Z[np.sort(rng.choice(len(Z), MAX_ROWS, replace=False))]
        self.center_, self.axes_ = principal_axes(rows)
        Y = self._project(rows)
        if self.n_clusters is None:
            mixture, self.bic_ = best_mixture(Y, self.max_clusters, seed)
        else:
            mixture, self.bic_ = fit_mixture(Y, self.n_clusters, seed), np.empty(0)
        found = mixture.predict(self._project(Z))
        sizes = np.bincount(found, minlength=mixture.n_components)
        order = np.argsort(-sizes, kind="stable")
        self.mixture_ = take_components(mixture, order[sizes[order] > 0])
        self.n_clusters_ = self.mixture_.n_components
        self.labels_ = np.argsort(order)[found]
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return the cluster of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Z, embedded by the same model as in `fit`.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            Those that `labels_` has, which it is for the samples of `fit`.
        """
        check_is_fitted(self)
        check_is_matrix(X)
        Z = validate_data(self, X, dtype=np.float64, reset=False)
        return self.mixture_.predict(self._project(Z))

    def _project(self, Z):
        return (Z - self.center_) @ self.axes_.T


def principal_axes(Z):
    """Return the mean of Z, and its principal axes that vary, in units of the standard deviation on the first."""
    center = Z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(Z - center, full_matrices=False)
    varies = sizes >= np.sqrt(LEAST_SHARE) * sizes[0]
    return center, axes[varies] / (sizes[0] / np.sqrt(len(Z)) or 1)


def best_mixture(Y, max_clusters, seed):
    """Return the mixture of the lowest BIC, and the BICs of those that were tried."""
    most = min(max_clusters, len(Y) // 2, len(np.unique(Y, axis=0)))
    bics: list[float] = []
    while len(bics) < most and len(bics) - np.argmin([*bics, np.inf]) <= PATIENCE:
        mixture = fit_mixture(Y, 1 + len(bics), seed)
        bics.append(mixture.bic(Y))
        if bics[-1] == min(bics):
            best = mixture
    if best.n_components == max_clusters:
        warn(f"the BIC still falls at max_clusters == {max_clusters}; expected it to rise before: set it higher.")
    return best, np.array(bics)


def fit_mixture(Y, n_components, seed):
    added = LEAST_SHARE * Y.var(axis=0).mean() or 1  # 1 for samples that are all the same
    mixture = GaussianMixture(n_components, n_init=N_STARTS, reg_covar=added, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # to the last digit, which no cluster depends on
        return mixture.fit(Y)


def take_components(mixture, order):
    """Return a mixture of some components of another, in that order."""
    taken = clone(mixture).set_params(n_components=len(order))
    for name in ("means_", "covariances_", "precisions_", "precisions_cholesky_"):
        setattr(taken, name, getattr(mixture, name)[order])
    taken.weights_ = mixture.weights_[order] / mixture.weights_[order].sum()
    return taken
