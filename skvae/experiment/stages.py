"""The stages of an experiment, as functions of arrays: fit, map, cluster. Each is a step, or a call of its own."""

import json
import time
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline

from skvae.clustering import MixtureClustering
from skvae.experiment.presets import PROTOCOLS, Protocol, bound_components, make_model, takes_counts
from skvae.names import learn_names
from skvae.preprocessing import LogNormalizer
from skvae.warn import warn

# Neighbours among which a cell is put that was not mapped itself, and the deviation of the points from which t-SNE
# starts, along the first axis: that of scikit-learn.
N_NEIGHBOURS, START_DEVIATION = 10, 1e-4


@dataclass(frozen=True)
class Clusters:
    """Clusters of points.

    Parameters
    ----------
    labels : ndarray of int of shape (n_samples,)
        From 0 on.
    centers : ndarray of shape (n_clusters, n_dimensions)
    """

    labels: np.ndarray
    centers: np.ndarray

    @classmethod
    def by_size(cls, labels, centers):
        """Return clusters numbered by their sizes, the largest first."""
        order = np.argsort(-np.bincount(labels, minlength=len(centers)), kind="stable")
        return cls(np.argsort(order)[labels], centers[order])


def fit(data, *, model, preset, likelihood, max_epochs, seed):
    """Fit a model to the counts that were prepared; return its embedding, what it learned, and itself as a file."""
    counts, batch = matrix_of(data), data.get("batch")
    estimator = make_model(model, preset, max_epochs=max_epochs, likelihood=likelihood, random_state=seed)
    steps = [] if takes_counts(estimator.get_params()) else [LogNormalizer()]
    X = steps[0].fit_transform(counts) if steps else counts
    bound_components(estimator, X.shape)
    has_batches = batch is not None and hasattr(estimator, "encode_batch")
    fitted = fit_model(estimator, X, batch if has_batches else None)
    if not np.ptp(fitted["latent"], axis=0).any():
        warn("all dimensions of the latent collapsed, every cell has the same one.")
    shares = getattr(estimator, "explained_variance_ratio_", None)  # None after a random start
    pipeline = make_pipeline(*steps, estimator)
    learn_names(pipeline, data["genes"].astype(object))
    return {
        **fitted,
        "loadings": loadings_of(estimator, X, batch if has_batches else None),
        "shares": np.empty(0) if shares is None else shares,
        "model_file": as_file(pipeline),
    }


def fit_model(model, X, batch=None):
    """Fit a model, and return its embedding of the same rows, its parameters, its history, and how long it took."""
    began = time.perf_counter()
    model.fit(X, **({} if batch is None else {"batch": batch}))
    seconds = time.perf_counter() - began
    latent = model.transform(X)
    history = {term: values.tolist() for term, values in getattr(model, "history_", {}).items()}
    return {
        "latent": latent.toarray() if sparse.issparse(latent) else latent,
        "fit_seconds": np.array(seconds),
        "history": np.array(json.dumps(history)),
        "parameters": np.array(json.dumps(model.get_params(), default=repr)),
    }


def matrix_of(arrays):
    """Return the CSR matrix whose parts are among some arrays."""
    return sparse.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))


def parts_of(matrix):
    """Return the parts of a CSR matrix, and its shape."""
    names = ("data", "indices", "indptr", "shape")
    return {name: np.asarray(getattr(matrix, name)) for name in names}


def loadings_of(estimator, X, batch):
    """Return how much each feature changes along each dimension of the embedding, (n_components, n_features)."""
    if not hasattr(estimator, "component_features"):
        return estimator.components_
    features = estimator.component_features(X, X.shape[1], batch=batch)
    loadings = np.empty_like(features.loadings)
    np.put_along_axis(loadings, features.indices, features.loadings, axis=1)
    return loadings


def as_file(pipeline):
    """Return the bytes of a file with the fitted pipeline, without pickle; none where skops is not installed."""
    try:
        from skops.io import dumps
    except ImportError:
        return np.empty(0, dtype=np.uint8)
    return np.frombuffer(dumps(pipeline), dtype=np.uint8)


def draw_map(fitted, *, n_dimensions, preset, seed):
    """Map an embedding to two or three dimensions."""
    return {"points": map_latent(fitted["latent"], n_dimensions, PROTOCOLS[preset], seed)}


def map_latent(latent: np.ndarray, n_dimensions: int, protocol: Protocol, seed: int) -> np.ndarray:
    """Map an embedding by t-SNE.

    Parameters
    ----------
    latent : ndarray of shape (n_samples, n_components)
    n_dimensions : {2, 3}
    protocol : Protocol
    seed : int

    Returns
    -------
    points : ndarray of shape (n_samples, n_dimensions)
        Of cells beyond `protocol.n_mapped`, the mean of their nearest neighbours among those that t-SNE mapped.
    """
    rng = np.random.RandomState(seed)
    n_samples = len(latent)
    mapped = np.sort(rng.permutation(n_samples)[: protocol.n_mapped])
    few = latent[mapped]
    tsne = TSNE(
        n_dimensions,
        perplexity=min(protocol.perplexity, (len(few) - 1) / 3),
        init=start_of_map(few, n_dimensions, protocol),
        max_iter=protocol.max_iter[n_dimensions],
        angle=protocol.angle[n_dimensions],
        random_state=seed,
    )
    points = tsne.fit_transform(few)
    if len(few) == n_samples:
        return points
    distances, neighbours = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(few).kneighbors(latent)
    weights = 1 / np.maximum(distances, np.finfo(np.float32).tiny)
    placed = np.einsum("ij,ijk->ik", weights / weights.sum(axis=1, keepdims=True), points[neighbours])
    placed[mapped] = points
    return placed.astype(np.float32)


def start_of_map(latent, n_dimensions, protocol):
    """Return the points from which t-SNE starts, or the name of what scikit-learn starts from."""
    if not np.ptp(latent, axis=0).any() or latent.shape[1] < n_dimensions:
        return "random"  # there are not so many principal components, and those of a constant are NaN
    if not protocol.starts_at_axes:
        return "pca"
    axes = latent[:, :n_dimensions]
    return (axes / axes[:, 0].std() * START_DEVIATION).astype(np.float32) if axes[:, 0].std() > 0 else "pca"


def k_means(points, n_clusters, protocol, seed):
    kmeans = KMeans(n_clusters, n_init=protocol.n_init, random_state=seed).fit(points)
    return Clusters.by_size(kmeans.labels_, kmeans.cluster_centers_)


def cluster_latent(fitted, data, *, n_clusters, preset, seed):
    """Cluster an embedding, into as many clusters as there are known types, or are asked for, or are found."""
    if n_clusters is None and "target" in data:
        n_clusters = len(data["target_names"])
    found = cluster(fitted["latent"], n_clusters, PROTOCOLS[preset], seed)
    return {"labels": found.labels, "centers": found.centers}


def cluster_map(drawn, clustered, *, preset, seed):
    """Cluster a map, into as many clusters as its embedding was."""
    found = k_means(drawn["points"], len(clustered["centers"]), PROTOCOLS[preset], seed)
    return {"labels": found.labels, "centers": found.centers}


def cluster(points, n_clusters, protocol, seed):
    """Cluster points by k-means, or by a mixture whose number of components is found."""
    if n_clusters is not None:
        return k_means(points, min(n_clusters, len(np.unique(points, axis=0))), protocol, seed)
    labels = MixtureClustering(random_state=seed).fit_predict(points)
    return Clusters(labels, np.array([points[labels == label].mean(axis=0) for label in range(labels.max() + 1)]))
