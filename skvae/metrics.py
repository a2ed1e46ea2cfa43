"""Metrics of an embedding, and scorers for model selection."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_rand_score,
    cluster,
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
)
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import UNUSED, _MetadataRequester

from skvae.names import steps_of
from skvae.rows.checks import without_duplicates
from skvae.types import BatchLike, LabelsLike, MatrixLike, RandomState


def clustering_report(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[str, float]:
    """Compare clusters with known types, by the metrics of the report.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Known types.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    scores : dict of str to float
        Higher is better, 1 is perfect:

        - `"nmi"`: normalised mutual information in [0, 1], with the arithmetic mean of the entropies (scikit-learn's
          default);
        - `"nmi_geometric"`: the same with the geometric mean, as in the report;
        - `"ari"`: adjusted Rand index in [-0.5, 1], 0 for random clusters;
        - `"homogeneity"`: in [0, 1], 1 if each cluster holds one type only;
        - `"completeness"`: in [0, 1], 1 if each type lies in one cluster only.

    Raises
    ------
    ValueError
        If the two differ in length.

    References
    ----------
    Vinh, Epps & Bailey 2010, "Information theoretic measures for clusterings comparison", JMLR 11 (NMI, ARI).
    Rosenberg & Hirschberg 2007, "V-measure", EMNLP-CoNLL (homogeneity, completeness).

    Examples
    --------
    >>> from skvae import clustering_report
    >>> round(clustering_report(["B", "B", "NK", "NK"], [0, 0, 1, 2])["completeness"], 2)
    0.67
    """
    pair = labels_true, labels_pred
    return {
        "nmi": float(normalized_mutual_info_score(*pair)),
        "nmi_geometric": float(normalized_mutual_info_score(*pair, average_method="geometric")),
        "ari": float(adjusted_rand_score(*pair)),
        "homogeneity": float(homogeneity_score(*pair)),
        "completeness": float(completeness_score(*pair)),
    }


def sparsity(Z: MatrixLike) -> dict[str, float]:
    """Measure how sparse the codes of samples are.

    Parameters
    ----------
    Z : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, such as those of `BetaVSC(code="sparse")`, whose inactive dimensions are exactly zero.

    Returns
    -------
    scores : dict of str to float
        Means over samples:

        - `"active"`: number of dimensions that are not zero, in [0, n_components], lower is sparser;
        - `"hoyer"`: Hoyer's measure (sqrt(J) - ||z||_1 / ||z||_2) / (sqrt(J) - 1) with J dimensions, in [0, 1], higher
          is sparser: 0 if all are equal in size, 1 if at most one is not zero, as in a sample that is zero throughout.

    Raises
    ------
    ValueError
        If Z has fewer than two columns: one dimension is neither sparse nor dense.

    References
    ----------
    Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", JMLR 5.

    Examples
    --------
    >>> from skvae import sparsity
    >>> sparsity([[1.0, -1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])["active"]
    1.5
    """
    Z = check_array(Z, accept_sparse="csr", dtype=np.float64, ensure_min_features=2, input_name="Z")
    size = abs(without_duplicates(sparse.csr_array(Z)))
    root = np.sqrt(Z.shape[1])
    l1, l2 = size.sum(axis=1), np.sqrt(size.power(2).sum(axis=1))
    # the ratio of a zero row, 0 / 0, is that of a row with one active dimension
    ratio = np.divide(l1, l2, out=np.ones_like(l1), where=l2 > 0)
    return {
        "active": float((size > 0).sum() / len(l1)),
        "hoyer": float(np.mean((root - ratio) / (root - 1))),
    }


class ElboScorer(_MetadataRequester):
    """Score a model by the evidence lower bound of log p(x) at beta = 1 of X: a scorer that needs no labels.

    Unlike the default score of a pipeline that ends in a clusterer, it judges the embedding step, and not a distance in
    a latent space of another scale. It compares models of the same features, so that the steps before the embedding
    must stay as they are. It is called as a function.

    Parameters
    ----------
    estimator : fitted estimator
        An embedding, or a pipeline with one for a step; what follows the first step with `score_samples` is left out.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows held out.
    y : None
        Ignored.
    batch : {array-like, data frame, dict} of n_samples rows, default=None
        The batch of each row, if `fit` was given batches.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the mean.

    Returns
    -------
    score : float
        In nats a row. Higher is better.

    Raises
    ------
    ValueError
        If no step has `score_samples`.

    See Also
    --------
    embedding_scorer : A scorer by labels.

    Notes
    -----
    A model of batches needs the batch of the rows that it scores. A search hands it on by scikit-learn's metadata
    routing alone: with `enable_metadata_routing=True`, `elbo_scorer.set_score_request(batch=True)` asks for it, and a
    search that is not told whether the scorer is to have the batch raises an error. Without routing each score fails,
    which a search takes for NaN: set its `error_score="raise"`.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from skvae import BetaVAE, elbo_scorer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=100, n_features=100, random_state=0)
    >>> pipeline = make_pipeline(BetaVAE(likelihood="poisson", max_epochs=5, random_state=0), KMeans(9))
    >>> search = GridSearchCV(pipeline, {"betavae__beta": [1, 4]}, scoring=elbo_scorer, cv=2).fit(cells.data)
    >>> bool(search.best_score_ < 0)
    True
    """

    __metadata_request__score: ClassVar = {"estimator": UNUSED}  # which is no metadata of rows

    def score(
        self,
        estimator: BaseEstimator,
        X: MatrixLike,
        y: ArrayLike | None = None,
        *,
        batch: BatchLike = None,
        sample_weight: LabelsLike = None,
    ) -> float:
        metadata = given(batch=batch, sample_weight=sample_weight)
        for step in steps_of(estimator):
            if hasattr(step, "score_samples"):
                return step.score(X, **metadata)
            X = step.transform(X)
        raise ValueError(f"{estimator!r} has no step with score_samples; expected one such as BetaVAE.")

    __call__ = score

    def __repr__(self):
        return "elbo_scorer"

    def _routing_repr(self):  # in errors of scikit-learn
        return repr(self)

    def _accept_sample_weight(self):  # a search without metadata routing asks
        return True


elbo_scorer = ElboScorer()


def embedding_scorer(
    metric: str | Callable[..., float] = "normalized_mutual_info_score",
    n_clusters: int | None = None,
    *,
    random_state: RandomState = 0,
) -> "EmbeddingScorer":
    """Make a scorer of embeddings: the agreement of the labels with the k-means clusters of the embedded rows.

    For bare embeddings and for pipelines that end in none, such as t-SNE, instead of a clusterer.

    Parameters
    ----------
    metric : str or callable, default="normalized_mutual_info_score"
        Name of a metric in `sklearn.metrics.cluster`, or a function of the labels and the clusters, higher better.
    n_clusters : int, default=None
        Number of clusters; None for the number of distinct labels.
    random_state : int, RandomState instance or None, default=0
        Seed of k-means.

    Returns
    -------
    scorer : callable
        `scorer(estimator, X, y, *, batch=None)`, as `GridSearchCV` takes it. A last step without `transform` is left
        out.

    Raises
    ------
    ValueError
        If `metric` is neither.

    See Also
    --------
    elbo_scorer : A scorer without labels.

    Notes
    -----
    A model with `encode_batch=True` needs the batch of the rows that it embeds. A search hands it on by scikit-learn's
    metadata routing alone: with `enable_metadata_routing=True` set `embedding_scorer().set_score_request(batch=True)`.
    Without routing each score fails, which a search takes for NaN: set its `error_score="raise"`.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skvae import BetaVAE, embedding_scorer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=100, n_features=100, random_state=0)
    >>> vae = BetaVAE(likelihood="poisson", max_epochs=5, random_state=0)
    >>> scoring = embedding_scorer("adjusted_rand_score", n_clusters=9)
    >>> search = GridSearchCV(vae, {"beta": [1, 4]}, scoring=scoring, cv=2).fit(cells.data, cells.target)
    >>> bool(-0.5 <= search.best_score_ <= 1)
    True
    """
    function = getattr(cluster, metric, None) if isinstance(metric, str) else metric
    if not callable(function):
        raise ValueError(f"metric == {metric!r}, must be a callable or a name in sklearn.metrics.cluster.")
    return EmbeddingScorer(function, n_clusters, random_state)


@dataclass
class EmbeddingScorer(_MetadataRequester):
    """What `embedding_scorer` makes: unlike a closure it can be pickled, which parallel searches need."""

    metric: Callable
    n_clusters: int | None
    random_state: int | np.random.RandomState | None

    __metadata_request__score: ClassVar = {"estimator": UNUSED}  # see `ElboScorer`

    def score(self, estimator, X, y, *, batch=None):
        steps = steps_of(estimator)
        for step in steps if hasattr(steps[-1], "transform") else steps[:-1]:
            takes_batch = "batch" in signature(step.transform).parameters
            X = step.transform(X, **(given(batch=batch) if takes_batch else {}))
        n_clusters = len(np.unique(y)) if self.n_clusters is None else self.n_clusters
        clusters = KMeans(n_clusters, n_init=10, random_state=self.random_state).fit_predict(X)
        return float(self.metric(y, clusters))

    __call__ = score

    def _accept_sample_weight(self):  # a search without metadata routing asks
        return False


def given(**metadata):
    """Return the metadata that are not None."""
    return {name: value for name, value in metadata.items() if value is not None}
