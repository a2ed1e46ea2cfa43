import numpy as np
import pytest
from models import every_estimator
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

from skvae import (
    BetaVAE,
    BetaVSC,
    LogNormalizer,
    elbo_scorer,
    embedding_scorer,
    make_single_cell_counts,
)

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 5, "random_state": 0}
CLUSTERING_SCORERS = [
    "adjusted_mutual_info_score",
    "adjusted_rand_score",
    "completeness_score",
    "fowlkes_mallows_score",
    "homogeneity_score",
    "mutual_info_score",
    "normalized_mutual_info_score",
    "rand_score",
    "v_measure_score",
]


def search_over_beta(scoring, n_jobs):
    pipeline = make_pipeline(LogNormalizer(), BetaVSC(**SMALL), KMeans(9, n_init=2, random_state=0))
    return GridSearchCV(pipeline, {"betavsc__beta": [0.5, 4.0]}, scoring=scoring, cv=2, n_jobs=n_jobs)


@every_estimator
def test_a_pipeline_ends_in_tsne(Estimator, cells):
    pipeline = make_pipeline(LogNormalizer(), Estimator(**SMALL), TSNE(perplexity=20, random_state=0))
    points = pipeline.fit_transform(cells.data)
    assert points.shape == (120, 2)
    assert np.isfinite(points).all()


@every_estimator
def test_a_pipeline_ends_in_kmeans(Estimator, cells):
    pipeline = make_pipeline(LogNormalizer(), Estimator(**SMALL), KMeans(9, n_init=2, random_state=0))
    assert pipeline.fit(cells.data).predict(cells.data).shape == (120,)


def test_a_sparse_code_feeds_the_next_step(cells):
    pipeline = make_pipeline(LogNormalizer(), BetaVSC(**SMALL, code="sparse"), LogisticRegression(max_iter=1000))
    assert pipeline.fit(cells.data, cells.target).predict(cells.data).shape == (120,)


@pytest.mark.filterwarnings("ignore:The least populated class in y has only")
@pytest.mark.parametrize("scoring", CLUSTERING_SCORERS)
def test_grid_search_over_beta_with_a_clustering_scorer(scoring, cells):
    parallel, serial = (search_over_beta(scoring, n_jobs).fit(cells.data, cells.target) for n_jobs in (2, 1))
    assert np.isfinite(parallel.best_score_)
    np.testing.assert_array_equal(parallel.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])


@pytest.mark.slow
def test_grid_search_at_default_widths_does_not_depend_on_n_jobs():
    cells = make_single_cell_counts(n_samples=600, random_state=0)
    pipeline = Pipeline([("norm", LogNormalizer()), ("vsc", BetaVSC(max_epochs=40, random_state=0)),
                         ("kmeans", KMeans(9, n_init=3, random_state=0))])  # fmt: skip
    parallel, serial = (
        GridSearchCV(pipeline, {"vsc__beta": [1, 4]}, scoring="normalized_mutual_info_score", cv=2, n_jobs=n_jobs).fit(
            cells.data, cells.target
        )
        for n_jobs in (2, 1)
    )
    np.testing.assert_array_equal(parallel.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    assert parallel.best_score_ == serial.best_score_


@every_estimator
def test_cross_validation_uses_the_own_score_without_labels(Estimator, X):
    scores = cross_val_score(Estimator(**SMALL), X, cv=3)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


def test_the_own_score_prefers_enough_components():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) @ (2 * rng.normal(size=(3, 10))) + rng.normal(size=(400, 10))
    linear = BetaVAE(hidden_layer_sizes=(), max_epochs=150, batch_size=50, learning_rate=1e-2, random_state=0)
    search = GridSearchCV(linear, {"n_components": [1, 3]}, cv=2).fit(X)
    assert search.best_params_ == {"n_components": 3}


def test_the_elbo_scorer_is_the_score_of_the_embedding_step(cells):
    pipeline = make_pipeline(LogNormalizer(), BetaVAE(**SMALL), KMeans(9, n_init=2, random_state=0)).fit(cells.data)
    X = pipeline[0].transform(cells.data)
    assert elbo_scorer(pipeline, cells.data) == pipeline[1].score(X)
    assert elbo_scorer(pipeline[1], X) == pipeline[1].score(X)
    with pytest.raises(ValueError, match=r"LogNormalizer\(\) has no step with score_samples"):
        elbo_scorer(pipeline[0], X)


@pytest.mark.parametrize("end", [[], [TSNE(perplexity=20, random_state=0)]], ids=["embedding", "t-SNE"])
def test_the_embedding_scorer_clusters_what_the_embedding_gives(end, cells):
    pipeline = make_pipeline(LogNormalizer(), BetaVAE(**SMALL), *end).fit(cells.data)
    for n_clusters, given in ((len(np.unique(cells.target)), None), (5, 5)):
        clusters = KMeans(n_clusters, n_init=10, random_state=0).fit_predict(pipeline[:2].transform(cells.data))
        expected = normalized_mutual_info_score(cells.target, clusters)
        assert embedding_scorer(n_clusters=given)(pipeline, cells.data, cells.target) == expected


@pytest.mark.parametrize("metric", ["adjusted_rand_score", normalized_mutual_info_score])
def test_the_scorers_serve_a_parallel_grid_search(metric, cells):
    pipeline = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    scoring = {"elbo": elbo_scorer, "clusters": embedding_scorer(metric, 3)}
    search = GridSearchCV(
        pipeline, {"betavae__beta": [0.5, 4.0]}, scoring=scoring, refit="clusters", cv=2, n_jobs=2, error_score="raise"
    ).fit(cells.data, cells.target)
    assert (search.cv_results_["mean_test_elbo"] < 0).all()
    assert (abs(search.cv_results_["mean_test_clusters"]) <= 1).all()


@pytest.mark.parametrize("metric", ["accuracy_score", None])
def test_an_embedding_scorer_of_no_metric_of_clusters_is_an_error(metric):
    with pytest.raises(ValueError, match="must be a callable or a name"):
        embedding_scorer(metric)
