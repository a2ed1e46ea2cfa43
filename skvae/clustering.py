"""Clusters of an embedding, whose number need not be known."""

import warnings
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN
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
# of these that is added to each Gaussian's, so that none shrinks to a few rows in a plane.
LEAST_SHARE = 0.01

# Numbers of Gaussians in a row that do not lower the BIC, after which no more are tried.
PATIENCE = 3

# Starts of each mixture, of which the likeliest is taken.
N_STARTS = 3

# Steps uphill from a mean to a mode, most of them; the last one is this share of the smallest standard deviation.
MAX_STEPS, LAST_STEP = 2000, 1e-6


class MixtureClustering(ClusterMixin, BaseEstimator):
    """Cluster by the modes of the density, which is that of the mixture of Gaussians with the lowest BIC.

    Each Gaussian has a covariance of its own. Their number is tried from 1 on, until three more in a row do not lower
    the Bayesian information criterion (BIC). Gaussians from whose means one comes uphill to the same mode are one
    cluster, so that a cluster may be skewed or have long tails. If the number of clusters is given, each is one
    Gaussian. Clusters are numbered by size: the largest is 0.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of clusters; None to choose it.
    max_clusters : int, default=30
        Largest number of Gaussians that is tried; never more than one for each two samples.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts of the mixtures, and of the 5000 samples from which they are learned where there are more.
        An int makes the clusters reproducible.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        The cluster of each sample, from 0, the largest, to `n_clusters_` - 1.
    n_clusters_ : int
        Number of clusters; less than that given where a Gaussian is the likeliest one of no sample.
    bic_ : ndarray
        BIC of the mixtures of 1, 2, ... Gaussians that were tried, lower is better; empty if the number was given.
    mixture_ : GaussianMixture
        The mixture, of `(Z - center_) @ axes_.T`.
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
    Samples without structure are one cluster; types that nearly touch may be one, too. The BIC asks for more evidence
    than a few samples can give: in Z of ten features that all vary, and of less than a hundred samples, expect fewer
    clusters than groups.

    References
    ----------
    Fraley & Raftery 2002, "Model-based clustering, discriminant analysis, and density estimation", JASA 97.
    Li, Ray & Lindsay 2007, "A nonparametric statistical approach to clustering via mode identification", JMLR 8.

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
            self.mixture_, self.bic_ = best_mixture(Y, self.max_clusters, seed)
            cluster_of = find_modes(self.mixture_)
        else:
            self.mixture_, self.bic_ = fit_mixture(Y, self.n_clusters, seed), np.empty(0)
            cluster_of = np.arange(self.n_clusters)
        self._members = np.eye(1 + cluster_of.max())[cluster_of]  # Gaussians x clusters
        sizes = np.bincount(self.predict(X), minlength=self._members.shape[1])
        order = np.argsort(-sizes, kind="stable")
        self._members = self._members[:, order[sizes[order] > 0]]
        self.n_clusters_ = self._members.shape[1]
        self.labels_ = self.predict(X)
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
        return (self.mixture_.predict_proba(self._project(Z)) @ self._members).argmax(axis=1)

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


def find_modes(mixture):
    """Return the mode of the density to which one comes uphill from the mean of each Gaussian, as a number from 0."""
    precisions = mixture.precisions_
    pulls = np.einsum("kij,kj->ki", precisions, mixture.means_)
    least = np.sqrt(mixture.reg_covar)  # no Gaussian has a smaller standard deviation, nor modes less distance
    points = mixture.means_
    for _ in range(MAX_STEPS):
        weights = mixture.predict_proba(points)
        before, points = points, solve(np.tensordot(weights, precisions, axes=1), weights @ pulls)
        if np.abs(points - before).max() < LAST_STEP * least:
            break
    return DBSCAN(eps=least, min_samples=1).fit_predict(points)


def solve(matrices, vectors):
    """Return x of A x = b for each A, (n, d, d), and b, (n, d)."""
    return np.linalg.solve(matrices, vectors[..., np.newaxis])[..., 0]
