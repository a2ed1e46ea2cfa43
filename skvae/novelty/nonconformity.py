"""Nonconformity: how unlike the rows that a model has seen a row is."""

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from threadpoolctl import threadpool_limits

# Weights of the scores. Each finds types that the others do not; the log-likelihood is the noisiest.
WEIGHTS = {"remote": 1.0, "outlying": 0.6, "unlikely": 0.3}

# Standard deviation of the log-likelihood as a dimension beside the latent ones, as a share of theirs; and its bounds
# in standard deviations, so that a few rows that the model fits badly do not stretch it.
LIKELIHOOD_SHARE = 0.5
LIKELIHOOD_BOUNDS = (-4, 8)

# Nearest training rows: the mean distance to them is that of a row, and theirs are what is usual around it.
N_NEIGHBORS = 10

# How much of what is usual around a row its distance is freed of: 0 compares distances, 1 ratios of densities. Ratios
# find rare types beside dense ones, and lose those that lie where few rows are.
LOCAL = 0.75

# Clusters, which are small parts of types rather than types; training rows for each at least; and the share of the mean
# variance within them that is added to each, so that none vanishes.
N_CLUSTERS = 60
LEAST_ROWS = 8
RIDGE = 0.02

# Share of a standard deviation within clusters that is added to distances to them: a mean itself has none.
FLOOR = 1e-3

# Curves of a score over the total of a row, straight beyond those that were seen; penalties to choose from.
CURVE = {"n_knots": 4, "degree": 2, "extrapolation": "linear"}
PENALTIES = np.logspace(-4, 2, 7)


class Nonconformity:
    """How unlike the training rows a row is: larger is more unlike.

    The weighted sum of three scores, each in units of its differences among the training rows. A score counts little
    where it is below the median, so that a row that is likely may be far from all others, and the other way round.

    Parameters
    ----------
    training : Bunch
        What `seen_by` returns of the training rows.
    """

    def __init__(self, training):
        self.likelihood = FreedOfTotals(training.totals, training.log_likelihood)
        self.deviation = np.std(self._unlikely(training)) or 1
        self.unit = LIKELIHOOD_SHARE * training.Z.std(axis=0).mean() or 1
        points = self._points(training)
        self.neighborhood = Neighborhood(points)
        self.clusters = Clusters(points)
        self.outlying = FreedOfTotals(training.totals, self.clusters.own)  # noise takes rows of low totals far
        own = self._scores(training, self.neighborhood.own, self.clusters.own)
        self.quantiles = {name: np.quantile(values, [0.5, 0.9]) for name, values in own.items()}

    def _unlikely(self, rows):
        return -self.likelihood(rows.totals, rows.log_likelihood)

    def _points(self, rows):
        """Return rows in the latent space, with the log-likelihood as one more dimension."""
        unlikely = np.clip(self._unlikely(rows) / self.deviation, *LIKELIHOOD_BOUNDS)
        return np.column_stack([rows.Z, self.unit * unlikely])

    def _scores(self, rows, remote, outlying):
        return {
            "remote": remote,
            "outlying": self.outlying(rows.totals, outlying),
            "unlikely": self._unlikely(rows),
        }

    def __call__(self, rows):
        points = self._points(rows)
        scores = self._scores(rows, self.neighborhood(points), self.clusters(points))
        return sum(weight * bent(scores[name], *self.quantiles[name]) for name, weight in WEIGHTS.items())


def bent(values, median, upper):
    """Return values in half the distance from a median to an upper quantile: near 0 below the median."""
    return np.logaddexp(0, 2 * (values - median) / (upper - median or 1))


class FreedOfTotals:
    """Values freed of their dependence on the total of a row, in units of what is left at that total.

    Parameters
    ----------
    totals : ndarray of shape (n_samples,)
        Those of the training rows.
    values : ndarray of shape (n_samples,)
        Such as their log-likelihoods.
    """

    def __init__(self, totals, values):
        self.least = min(totals[totals > 0], default=1) / 2
        sizes = self._sizes(totals)
        self.level = fit_curve(sizes, values)
        left = np.abs(values - self.level.predict(sizes))
        self.spread = fit_curve(sizes, np.log(left + (1e-3 * left.mean() or 1)))

    def _sizes(self, totals):
        return np.log(np.maximum(totals, self.least))[:, np.newaxis]

    def __call__(self, totals, values):
        sizes = self._sizes(totals)
        return (values - self.level.predict(sizes)) / np.exp(self.spread.predict(sizes))


def fit_curve(sizes, values):
    """Return a smooth regression of values on sizes, (n_samples, 1)."""
    return make_pipeline(StandardScaler(), SplineTransformer(**CURVE), RidgeCV(PENALTIES)).fit(sizes, values)


class Neighborhood:
    """Logarithm of the distance to the nearest training rows, beside those that are usual there.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_dimensions)
        The training rows, of which `own` has that to the others.
    """

    def __init__(self, points):
        self.nearest = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(points) - 1)).fit(points)
        distances, rows = self.nearest.kneighbors()
        self.usual = distances.mean(axis=1)
        self.floor = 1e-6 * self.usual.mean() or 1  # copies of a row have no distance
        self.own = self._compare(distances, rows)

    def _compare(self, distances, rows):
        distance, usual = distances.mean(axis=1), self.usual[rows].mean(axis=1)
        return np.log(distance + self.floor) - LOCAL * np.log(usual + self.floor)

    def __call__(self, points):
        return self._compare(*self.nearest.kneighbors(points))


class Clusters:
    """Logarithm of the Mahalanobis distance to the nearest cluster of training rows.

    The covariance is that within clusters, the same of all: few rows of each would not tell one of its own.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_dimensions)
        The training rows, of which `own` has that to clusters without the row itself.
    """

    def __init__(self, points):
        labels = cluster(points, min(N_CLUSTERS, max(1, len(points) // LEAST_ROWS)))
        self.means = np.array([points[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
        within = np.cov((points - self.means[labels]).T, bias=True)
        ridge = RIDGE * np.trace(within) / len(within) or 1
        self.factor = np.linalg.cholesky(within + ridge * np.eye(len(within)))
        self.own = self._nearest(self._without_own(self._distances(points), labels))

    def _distances(self, points):
        points, means = (solve_triangular(self.factor, rows.T, lower=True).T for rows in (points, self.means))
        return cdist(points, means)

    def _without_own(self, distances, labels):
        """Return distances to means without the row itself, which draws its own towards it, or is all of it."""
        sizes = np.bincount(labels)
        growth = np.divide(sizes, sizes - 1, out=np.ones(len(sizes)), where=sizes > 1)
        is_own = labels[:, np.newaxis] == np.arange(len(sizes))
        return np.where(is_own & (sizes == 1), np.inf, np.where(is_own, growth, 1) * distances)

    def _nearest(self, distances):
        return np.log(distances.min(axis=1) + FLOOR)

    def __call__(self, points):
        return self._nearest(self._distances(points))


def cluster(points, n_clusters):
    """Return the cluster of each point, from 0 on; fewer clusters where fewer points differ."""
    # one thread, as several would add up a mean in any order
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of copies of a row, which are fewer clusters
        labels = KMeans(n_clusters, n_init=2, random_state=0).fit_predict(points)
    return np.unique(labels, return_inverse=True)[1]
