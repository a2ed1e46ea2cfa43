"""Markers of clusters, among all genes that quality control kept."""

import numpy as np

from skvae.experiment.preparing import load, read, rows_in_memory
from skvae.markers import find_markers
from skvae.preprocessing import LogNormalizer

# Markers of each cluster that are kept, and the cells of a cluster that are tested at least, where not all are.
N_MARKERS, MIN_TESTED = 100, 200


def mark(clustered, data, *, source, files):  # noqa: ARG001, the result depends on what is in the files
    """Find the markers of clusters, and the mean of log-normalised counts of each of them in each cluster."""
    labels = clustered["labels"]
    if len(np.unique(labels)) < 2:
        return {}
    counts = read(source)
    rows, columns = np.flatnonzero(data["kept_cells"]), np.flatnonzero(data["kept_genes"])
    tested = some_of_each(labels, rows_in_memory(counts.values))
    X = LogNormalizer().fit_transform(load(counts.values, rows[tested], columns))
    found = find_markers(X, labels[tested], feature_names=counts.genes[columns], n_top=N_MARKERS)
    means = means_of_clusters(X[:, found.indices.ravel()], labels[tested], len(found.clusters))
    return {
        **{name: np.asarray(value) for name, value in found.items()},
        "names": found.names.astype(str),
        "means": means.reshape(-1, *found.indices.shape),
        "n_tested": np.array(len(tested)),
    }


def some_of_each(labels, n):
    """Return the indices of at most about n samples, in order: all, or an even share of each cluster."""
    if n >= len(labels):
        return np.arange(len(labels))
    sizes = np.bincount(labels)
    rng = np.random.RandomState(0)
    drawn = [
        rng.permutation(np.flatnonzero(labels == label))[: max(MIN_TESTED, int(n * size / len(labels)))]
        for label, size in enumerate(sizes)
    ]
    return np.sort(np.concatenate(drawn))


def means_of_clusters(X, labels, n_clusters):
    """Return the mean of each column in each cluster, (n_clusters, n_features)."""
    indicators = np.eye(n_clusters)[labels]
    return (X.T @ indicators).T / np.maximum(indicators.sum(axis=0), 1)[:, np.newaxis]
