"""Clusters of an embedding, whose number need not be known."""

import warnings
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import cut_tree, ward
from scipy.spatial.distance import pdist
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

# Samples for each parameter of a Gaussian that the BIC takes it to have at least.
LEAST_OWN = 2

# Numbers of Gaussians in a row that do not lower the BIC, after which no more are tried.
PATIENCE = 3

# Steps uphill from a mean to a mode, most of them; the last one is this share of the smallest standard deviation.
MAX_STEPS, LAST_STEP = 2000, 1e-6


class MixtureClustering(ClusterMixin, BaseEstimator):
    """Cluster by the modes of the density, which is that of the mixture of Gaussians with the lowest BIC.

    Each Gaussian has a covariance of its own, and begins as a cluster of Ward's tree. Their number is tried from 1 on,
    until three more in a row do not lower the Bayesian information criterion (BIC). Gaussians from whose means one
    comes uphill to the same mode are one cluster, so that a cluster may be skewed or have long tails. If the number of
    clusters is given, each is one Gaussian. Clusters are numbered by size: the largest is 0.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of clusters; None to choose it.
    max_clusters : int, default=30
        Largest number of Gaussians that is tried; never more than one for each two samples.
    random_state : int, RandomState instance or None, default=None
        Seed that draws the 5000 samples from which mixtures are learned where there are more; else nothing is random.

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
    skvae.find_markers : What the clusters express.
    skvae.clustering_report : Compare clusters with known types.

    Notes
    -----
    The BIC of a mixture is -2 log p(Z) and, for each parameter, the logarithm of a number of samples: for the weights
    of all, for the mean and covariance of a Gaussian of its own, from which alone they are learned, though of two for
    each of these parameters at least. With all samples for each parameter, as is usual, well separated groups of a
    hundred samples in ten axes would be put together.

    Samples without structure are one cluster; types that nearly touch may be one, too. Few samples give little
    evidence: of less than a hundred, and in Z of ten features that all vary, expect fewer clusters than groups.

    References
    ----------
    Fraley & Raftery 2002, "Model-based clustering, discriminant analysis, and density estimation", JASA 97 (BIC, and
    trees to begin with).
    Figueiredo & Jain 2002, "Unsupervised learning of finite mixture models", IEEE TPAMI 24 (parameters by the samples
    of their Gaussian).
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
        rows = some_of(Z, check_random_state(self.random_state))
        center, axes = principal_axes(rows)
        Y = (rows - center) @ axes.T
        chosen = best_mixture(Y, self.max_clusters) if self.n_clusters is None else given_mixture(Y, self.n_clusters)
        mixture, cluster_of, bic = chosen
        self.center_, self.axes_, self.mixture_, self.bic_ = center, axes, mixture, bic
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
        Y = (Z - self.center_) @ self.axes_.T
        return (self.mixture_.predict_proba(Y) @ self._members).argmax(axis=1)


def some_of(Z, rng):
    """Return at most `MAX_ROWS` rows of Z."""
    return Z if len(Z) <= MAX_ROWS else Z[rng.choice(len(Z), MAX_ROWS, replace=False)]


def principal_axes(Z):
    """Return the mean of Z, and its principal axes that vary, in units of the standard deviation on the first."""
    center = Z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(Z - center, full_matrices=False)
    varies = sizes >= np.sqrt(LEAST_SHARE) * sizes[0]
    return center, axes[varies] / (sizes[0] / np.sqrt(len(Z)) or 1)


def best_mixture(Y, max_clusters):
    """Return the mixture of the lowest BIC, the cluster of each Gaussian, and the BICs of those that were tried."""
    most = min(max_clusters, len(Y) // 2, len(np.unique(Y, axis=0)))
    starts = cut_tree(ward(pdist(Y)), range(1, most + 1)).T
    bics: list[float] = []
    for start in starts:
        mixture = fit_mixture(Y, start)
        bics.append(bic_of(mixture, Y))
        if bics[-1] == min(bics):
            best = mixture
        if len(bics) - best.n_components == PATIENCE:
            break
    if best.n_components == max_clusters > 1:
        warn(f"the BIC still falls at max_clusters == {max_clusters}; expected it to rise before: set it higher.")
    return best, find_modes(best), np.array(bics)


def given_mixture(Y, n_clusters):
    """Return what `best_mixture` does for a number of Gaussians that are clusters, without a BIC."""
    if n_clusters > len(Y):
        raise ValueError(f"n_clusters == {n_clusters}, must be at most {len(Y)}, the number of samples to learn from.")
    mixture = fit_mixture(Y, cut_tree(ward(pdist(Y)), n_clusters).ravel())
    return mixture, np.arange(n_clusters), np.empty(0)


def fit_mixture(Y, start):
    """Return the mixture that the EM algorithm finds from clusters, numbers from 0."""
    added = LEAST_SHARE * Y.var(axis=0).mean() or 1  # 1 for samples that are all the same
    groups = [Y[start == cluster] for cluster in range(1 + start.max())]
    covariances = [np.cov(group.T, bias=True) + added * np.eye(Y.shape[1]) for group in groups]
    mixture = GaussianMixture(
        len(groups),
        reg_covar=added,
        weights_init=np.array([len(group) / len(Y) for group in groups]),
        means_init=[group.mean(axis=0) for group in groups],
        precisions_init=np.linalg.inv(covariances),
        init_params="random_from_data",  # at once, and replaced by these three
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # to the last digit, which no cluster depends on
        return mixture.fit(Y)


def bic_of(mixture, Y):
    """Return the BIC in which the parameters of a Gaussian are those of its own samples, `LEAST_OWN` each at least."""
    n_samples, n_axes = Y.shape
    n_parameters = n_axes + n_axes * (n_axes + 1) / 2
    own = np.minimum(np.maximum(mixture.weights_ * n_samples, LEAST_OWN * n_parameters), n_samples)
    penalty = n_parameters * np.log(own).sum() + (mixture.n_components - 1) * np.log(n_samples)
    return penalty - 2 * n_samples * mixture.score(Y)


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
