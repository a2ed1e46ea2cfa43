"""Markers of clusters: the features that the samples of a cluster express more than all others."""

from itertools import pairwise
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import ndtr
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch, check_array, gen_batches
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import _get_feature_names

from skvae.rows.bounds import minibatch_slices
from skvae.rows.checks import (
    FLOATS,
    check_is_matrix,
    check_structure,
    first_values,
    looks_like_counts,
    without_duplicates,
)
from skvae.rows.columns import check_column
from skvae.stores import find_store, stack
from skvae.types import MatrixLike, Names
from skvae.warn import warn

# Non-zeros of the features that are held in memory at a time, by column, unless one feature has more: 64 MB, and three
# times that while they are put together. Each time all rows are read.
MAX_HELD = 2**23

# Non-zeros of the features that are ranked at a time: about 60 MB with their ranks.
MAX_RANKED = 2**20

# Clusters of which more must be at most half as many as the samples.
N_FEW = 10

# Added to both means before the fold change, so that none is divided by 0: that of scanpy.
LEAST_MEAN = 1e-9


@validate_params(
    {"n_top": [Interval(Integral, 1, None, closed="left"), None]},
    prefer_skip_nested_validation=True,
)
def find_markers(X: MatrixLike, clusters: ArrayLike, *, feature_names: Names = None, n_top: int | None = None) -> Bunch:
    """Find the features that the samples of each cluster express more than all other samples.

    Each feature of each cluster is tested by the Wilcoxon rank-sum test, also called the Mann-Whitney U test: the z
    score says by how many standard deviations the ranks of the cluster's samples among all samples are higher than
    those of samples drawn at random. Features are ordered by the area under the ROC curve, the same statistic as a
    probability: of a small cluster, z scores would favour what nobody else expresses, however few of its own samples
    do. Ties have their average rank, and the standard deviation is that of the ties. The p values are two-sided, from
    the normal distribution, and adjusted by Benjamini and Hochberg's method over the features of a cluster.

    Parameters
    ----------
    X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
        log1p-normalised counts, as `LogNormalizer` makes them. Sparse X is not made dense, as only its non-zeros are
        ranked. A store on disk is read in blocks, once to count the non-zeros, and then once for each 2**23 of them;
        memory is that of these, about 300 MB, and not that of X.
    clusters : array-like of shape (n_samples,)
        The cluster of each sample, numbers or strings. Each distinct value is a cluster, -1 too.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the features. None for the columns of a data frame, else x0, x1, ...
    n_top : int, default=None
        Number of features of each cluster, those of the largest areas; None, or more than there are, for all.

    Returns
    -------
    markers : Bunch
        - clusters : ndarray of shape (n_clusters,), the distinct values of `clusters`, sorted
        - n_samples : ndarray of int of shape (n_clusters,), their numbers of samples

        and arrays of shape (n_clusters, n_top), whose rows are the clusters, each with its largest area first:

        - names : the features
        - indices : their columns in X
        - auc : area under the ROC curve, in [0, 1]: the probability that a sample of the cluster has a larger value
          than one of the others, a tie counting half; 0.5 for a feature that tells nothing
        - z : z scores, positive where the cluster expresses the feature more than others, 0 for a constant feature
        - p_adjusted : adjusted p values, in [0, 1]
        - log2_fold_change : log2 of the ratio of `expm1(mean of X)` in the cluster to that outside it, as in scanpy,
          with 1e-9 added to both; NaN where one of these is negative
        - share_in, share_out : shares of the samples in the cluster, and outside it, whose value is above 0

    Raises
    ------
    ValueError
        If a cluster is missing, None or NaN; if there is one cluster alone, or one for most samples; if there is not
        one cluster for each sample and one name for each feature; or if X holds NaN or infinity.

    Warns
    -----
    UserWarning
        If X looks like raw counts: their ranks are those of the totals of the samples, too.

    Notes
    -----
    The clusters were found in the same X that is tested, so that the p values of features that had a part in that are
    too small. They order features, and say nothing of whether a cluster is one.

    References
    ----------
    Mann & Whitney 1947, "On a test of whether one of two random variables is stochastically larger than the other",
    Annals of Mathematical Statistics 18.
    Benjamini & Hochberg 1995, "Controlling the false discovery rate: a practical and powerful approach to multiple
    testing", JRSS B 57.

    Examples
    --------
    >>> from skvae import LogNormalizer, find_markers, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=500, n_features=1000, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> types = cells.target_names[cells.target]
    >>> markers = find_markers(X, types, feature_names=cells.feature_names, n_top=3)
    >>> markers.names[markers.clusters.tolist().index("NK")].tolist()
    ['GNLY', 'GENE00396', 'GENE00778']

    As a table, a row for each feature of each cluster:

    >>> import pandas as pd
    >>> columns = {name: markers[name].ravel() for name in ("names", "z", "p_adjusted", "share_in", "share_out")}
    >>> table = pd.DataFrame({"cluster": markers.clusters.repeat(3), **columns})
    >>> table.shape
    (27, 6)
    """
    names = _get_feature_names(X)
    shape, read = open_rows(X)
    names = check_names(names if feature_names is None else feature_names, shape[1])
    known, codes = check_clusters(clusters, shape[0])
    sizes = np.bincount(codes)
    sums = sums_of_clusters(read, shape, codes)
    z = z_scores(sums, sizes)
    p = false_discovery_control(2 * ndtr(-np.abs(z)), axis=1)
    found = {"auc": areas(sums, sizes), "z": z, "p_adjusted": p, **compare(sums, sizes)}
    order = np.argsort(-found["auc"], axis=1, kind="stable")[:, :n_top]
    top = {name: np.take_along_axis(values, order, axis=1) for name, values in found.items()}
    return Bunch(clusters=known, n_samples=sizes, names=names[order], indices=order, **top)


# Input


def open_rows(X):
    """Return the shape of X, and a function that yields its rows validated, block by block, each time it is called."""
    check_is_matrix(X)
    store = find_store(X)
    if store is None:
        check_structure(X)
        X = check_block(X)
        warn_of_counts(X)
        # a sparse matrix as a whole, and views of a dense one
        blocks = [X] if sparse.issparse(X) else [X[rows] for rows in minibatch_slices(*X.shape)]
        return X.shape, lambda: blocks
    if min(store.shape) < 1:
        raise ValueError(f"{store.name} has the shape {store.shape}; expected samples and features.")
    checked = store.map(check_block)
    warn_of_counts(checked[: checked.block_size])
    return checked.shape, lambda: map(checked.__getitem__, checked.blocks())


def check_block(X):
    return without_duplicates(check_array(X, accept_sparse=("csr", "csc"), dtype=FLOATS, input_name="X"))


def warn_of_counts(X):
    if looks_like_counts(X, first_values(X)):
        warn(
            "X looks like raw counts: integers >= 0, most of them 0. Expected log1p of normalised counts, which "
            "LogNormalizer makes."
        )


def check_names(names, n_features):
    """Return a name for each feature, an array of objects."""
    names = [f"x{index}" for index in range(n_features)] if names is None else names
    if np.shape(names) != (n_features,):
        raise ValueError(f"feature_names has the shape {np.shape(names)}, must have {(n_features,)}.")
    return np.asarray(names, dtype=object)


def check_clusters(clusters, n_samples):
    """Return the distinct clusters, sorted, and the number of each sample's among these."""
    if np.ndim(clusters) == 0:
        raise ValueError(f"clusters == {clusters!r}, must have the shape ({n_samples},), the cluster of each sample.")
    known, codes = np.unique(check_column(clusters, n_samples, "clusters"), return_inverse=True)
    if len(known) == 1:
        raise ValueError(f"clusters holds {known.tolist()} alone; expected two clusters or more, to compare each.")
    if len(known) > max(N_FEW, n_samples / 2):
        raise ValueError(f"clusters has {len(known)} values for {n_samples} samples; expected clusters of several.")
    return known, codes


# Sums over the samples of clusters


def sums_of_clusters(read, shape, codes):
    """Return sums over the samples of each cluster, from the non-zeros of X.

    Parameters
    ----------
    read : callable
        Returns an iterator over blocks of the rows of X; called once, and once for each part of the features.
    shape : (int, int)
        Of all blocks together.
    codes : ndarray of int of shape (n_samples,)

    Returns
    -------
    sums : Bunch
        - ranks, totals, positives : ndarrays of shape (n_clusters, n_features), of the ranks less those in the middle,
          (n_samples + 1) / 2, of the values, and of whether they are above 0
        - ties : ndarray of shape (n_features,), of t^3 - t over the groups of t samples of the same value
    """
    n_features, n_clusters = shape[1], 1 + codes.max()
    n_nonzero = sum(count_by_feature(block) for block in read())
    sums = Bunch(**{name: np.empty((n_clusters, n_features)) for name in ("ranks", "totals", "positives")})
    sums.ties = np.empty(n_features)
    for part in slices_of(n_nonzero, MAX_HELD):
        columns = stack([as_sparse(block[:, part]) for block in read()]).tocsc()
        for few in slices_of(n_nonzero[part], MAX_RANKED):
            found = sums_of_ranks(columns[:, few], codes, n_clusters)
            for name, values in found.items():
                sums[name][..., part.start + few.start : part.start + few.stop] = values
    return sums


def as_sparse(block):
    return block if sparse.issparse(block) else sparse.csr_array(block)


def count_by_feature(block):
    """Return the number of values of each feature that a sparse block stores, or that are not 0 in a dense one."""
    if not sparse.issparse(block):
        return np.count_nonzero(block, axis=0)
    if block.format == "csc":
        return np.diff(block.indptr)
    # some at a time, as bincount makes longer integers of them
    parts = [block.indices[part] for part in gen_batches(len(block.indices), MAX_RANKED)]
    return sum((np.bincount(part, minlength=block.shape[1]) for part in parts), np.zeros(block.shape[1], dtype=int))


def slices_of(n_nonzero, most):
    """Yield slices of features that have at most so many non-zeros together, or are one feature."""
    ends = np.cumsum(n_nonzero)
    start = before = 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start, before = stop, ends[stop - 1]


def sums_of_ranks(columns, codes, n_clusters):
    """Return the sums of `sums_of_clusters` for a few features, a CSC matrix; zeros, which all tie, are not visited."""
    n_samples, n_features = columns.shape
    values, samples, features = nonzeros_in_order(columns)
    n_nonzero = np.bincount(features, minlength=n_features)
    n_zero = n_samples - n_nonzero
    # runs of the same value of a feature
    is_first = np.ones(len(values), dtype=bool)
    is_first[1:] = (values[1:] != values[:-1]) | (features[1:] != features[:-1])
    first = np.flatnonzero(is_first)
    lengths = np.diff(first, append=len(values))
    of_run = features[first]
    # the mean rank of each run, as if there were no zeros, which lie between negative and positive values
    before = np.cumsum(n_nonzero) - n_nonzero
    ranks = first - before[of_run] + (lengths + 1) / 2 + n_zero[of_run] * (values[first] > 0)
    rank_of_zeros = np.bincount(features, values < 0, minlength=n_features) + (n_zero + 1) / 2

    cells = codes[samples] * n_features + features

    def sum_by_cluster(weights):
        return np.bincount(cells, weights, minlength=n_clusters * n_features).reshape(n_clusters, n_features)

    sizes = np.bincount(codes, minlength=n_clusters)
    return {
        "ranks": sum_by_cluster(np.repeat(ranks - rank_of_zeros[of_run], lengths))
        + np.outer(sizes, rank_of_zeros - (n_samples + 1) / 2),
        "totals": sum_by_cluster(values),
        "positives": sum_by_cluster(values > 0),
        "ties": np.bincount(of_run, excess(lengths), minlength=n_features) + excess(n_zero),
    }


def nonzeros_in_order(columns):
    """Return the values of a CSC matrix that are not 0, their rows and their columns; each column's in rising order."""
    ends = columns.indptr
    order = np.concatenate([start + np.argsort(columns.data[start:stop]) for start, stop in pairwise(ends)])
    values = columns.data[order]
    order, values = order[values != 0], values[values != 0]  # zeros may be stored
    return values, columns.indices[order], np.searchsorted(ends, order, side="right") - 1


def excess(n_tied):
    """Return t^3 - t, by which t samples of the same value lower the variance of their ranks."""
    n_tied = n_tied.astype(np.float64)  # whose powers do not overflow
    return n_tied**3 - n_tied


# What is found


def z_scores(sums, sizes):
    """Return z scores, (n_clusters, n_features); 0 for features that are constant."""
    n_samples = sizes.sum()
    spread = np.maximum(n_samples + 1 - sums.ties / (n_samples * (n_samples - 1)), 0)
    deviation = np.sqrt(np.outer(sizes * (n_samples - sizes), spread) / 12)
    return np.divide(sums.ranks, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def areas(sums, sizes):
    """Return areas under the ROC curve, (n_clusters, n_features), which are the rank sums in other units."""
    return 0.5 + sums.ranks / (sizes * (sizes.sum() - sizes))[:, np.newaxis]


def compare(sums, sizes):
    """Return fold changes and shares of samples, (n_clusters, n_features) each."""
    inside, outside = sizes[:, np.newaxis], sizes.sum() - sizes[:, np.newaxis]

    def inside_and_outside(total):
        return total / inside, (total.sum(axis=0) - total) / outside

    mean, other_mean = inside_and_outside(sums.totals)
    share, other_share = inside_and_outside(sums.positives)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of what are no log1p of counts
        ratio = (np.expm1(mean) + LEAST_MEAN) / (np.expm1(other_mean) + LEAST_MEAN)
        fold_change = np.log2(ratio)
    return {"log2_fold_change": fold_change, "share_in": share, "share_out": other_share}
