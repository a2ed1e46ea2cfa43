"""A search never ranks scores that could not be computed: scorers take the batch, or the search does not begin."""

import re
from copy import deepcopy

import numpy as np
import pytest
from models import SMALL, every_estimator
from scipy import sparse
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from skvae import BetaVAE, LogNormalizer, elbo_scorer, embedding_scorer, sparsity

GRID = {"beta": [1.0, 4.0]}
FOLDS = list(KFold(2, shuffle=True, random_state=0).split(np.zeros(120)))


class Unexpected(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training began")


@pytest.fixture(scope="module")
def batch():
    return np.array(["lab A", "lab B", "lab C"])[np.arange(120) % 3]


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).uniform(0.5, 2, size=120)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def elbo():
    """Return the scorer, as one that other tests do not see change."""
    return deepcopy(elbo_scorer)


def asking(**parameters):
    """Return a model that asks for the batch in `fit`, and may be trained."""
    return BetaVAE(**{**SMALL, **parameters}).set_fit_request(batch=True, sample_weight=True)


def by_hand(score, X, **metadata):
    """Return the mean score of each value of beta over the folds."""
    means = []
    for beta in GRID["beta"]:
        scores = []
        for train, test in FOLDS:
            model = BetaVAE(**SMALL, encode_batch=True, beta=beta)
            model.fit(X[train], **{name: value[train] for name, value in metadata.items()})
            scores.append(score(model, test))
        means.append(np.mean(scores))
    return means


@pytest.mark.usefixtures("routing")
def test_a_search_hands_batch_and_weight_to_the_elbo_scorer(elbo, X, batch, weights):
    elbo.set_score_request(batch=True, sample_weight=True)
    search = GridSearchCV(asking(encode_batch=True), GRID, scoring=elbo, cv=FOLDS)
    search.fit(X, batch=batch, sample_weight=weights)
    expected = by_hand(
        lambda model, test: model.score(X[test], batch=batch[test], sample_weight=weights[test]),
        X,
        batch=batch,
        sample_weight=weights,
    )
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected, rtol=1e-6)


@pytest.mark.usefixtures("routing")
def test_a_search_hands_the_batch_to_the_embedding_scorer(X, cells, batch):
    scorer = embedding_scorer(n_clusters=9).set_score_request(batch=True)
    search = GridSearchCV(
        asking(encode_batch=True).set_fit_request(sample_weight=False), GRID, scoring=scorer, cv=FOLDS
    )
    search.fit(X, cells.target, batch=batch)

    def score(model, test):
        clusters = KMeans(9, n_init=10, random_state=0).fit_predict(model.transform(X[test], batch=batch[test]))
        return scorer.metric(cells.target[test], clusters)

    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], by_hand(score, X, batch=batch))


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_several_scorers_of_a_pipeline_get_the_batch(n_jobs, elbo, cells, batch):
    model = asking(encode_batch=True).set_transform_request(batch=True)
    scoring = {"elbo": elbo.set_score_request(batch=True), "nmi": embedding_scorer().set_score_request(batch=True)}
    search = GridSearchCV(
        Pipeline([("log", LogNormalizer()), ("no", "passthrough"), ("vae", model)]),
        {"vae__beta": [1.0, 4.0]},
        scoring=scoring,
        refit="elbo",
        cv=FOLDS,
        n_jobs=n_jobs,
    ).fit(cells.data, cells.target, batch=batch)
    for name in scoring:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("scoring", [None, elbo_scorer, embedding_scorer()], ids=["own", "elbo", "embedding"])
def test_a_search_whose_scorer_is_not_said_to_have_the_batch_does_not_begin(scoring, X, cells, batch):
    search = GridSearchCV(asking(callbacks=[Unexpected()]), GRID, scoring=scoring, cv=FOLDS, refit=False)
    with pytest.raises(UnsetMetadataPassedError, match=r"\[batch\] are passed but are not explicitly set"):
        search.fit(X, cells.target, batch=batch)
    assert not hasattr(search, "cv_results_")


@pytest.mark.usefixtures("routing")
def test_neither_does_one_of_several_scorers_or_a_cross_validation_end(X, cells, batch):
    scoring = {"elbo": elbo_scorer, "nmi": embedding_scorer()}
    search = GridSearchCV(asking(), GRID, scoring=scoring, cv=FOLDS, refit=False)
    with pytest.raises(UnsetMetadataPassedError, match=r"\[batch\] are passed but are not explicitly set"):
        search.fit(X, cells.target, batch=batch)
    for scorer in scoring.values():
        with pytest.raises(UnsetMetadataPassedError, match=r"\[batch\] are passed but are not explicitly set"):
            cross_val_score(asking(), X, cells.target, scoring=scorer, cv=FOLDS, params={"batch": batch})


@pytest.mark.parametrize("scoring", [None, elbo_scorer, {"elbo": elbo_scorer}], ids=["own", "elbo", "one of several"])
def test_without_routing_the_error_says_what_is_missing(scoring, X, batch):
    message = "batch is None; expected the batch of each row.* by scikit-learn's metadata routing alone"
    search = GridSearchCV(BetaVAE(**SMALL), GRID, scoring=scoring, cv=FOLDS, refit=False, error_score="raise")
    with pytest.raises(ValueError, match=message):
        search.fit(X, batch=batch)
    with pytest.warns(UserWarning, match=r"Scoring failed|non-finite") as caught:
        search.set_params(error_score=np.nan).fit(X, batch=batch)
    assert any(re.search(message, str(warning.message), flags=re.DOTALL) for warning in caught)


@pytest.mark.filterwarnings("ignore:The scoring .* does not support sample_weight")
def test_without_routing_weights_reach_the_scorers_that_take_them(X, cells, weights):
    scoring = {"elbo": elbo_scorer, "nmi": embedding_scorer()}
    search = GridSearchCV(BetaVAE(**SMALL), GRID, scoring=scoring, cv=FOLDS, refit=False, error_score="raise")
    search.fit(X, cells.target, sample_weight=weights)
    assert np.isfinite(search.cv_results_["mean_test_nmi"]).all()


def test_a_request_of_one_scorer_is_not_that_of_another(elbo):
    with config_context(enable_metadata_routing=True):
        elbo.set_score_request(batch=True)
        assert elbo_scorer.get_metadata_routing().score.requests == {"batch": None, "sample_weight": None}
        assert elbo.get_metadata_routing().score.requests == {"batch": True, "sample_weight": None}


def test_the_scorers_give_the_batch_to_the_steps_that_take_it(X, cells, batch, weights):
    vae = BetaVAE(**SMALL, encode_batch=True).fit(X, batch=batch)
    pipeline = Pipeline([("log", LogNormalizer()), ("no", None), ("vae", vae), ("tsne", TSNE())])
    expected = vae.score(X, batch=batch, sample_weight=weights)
    assert elbo_scorer(pipeline, cells.data, batch=batch, sample_weight=weights) == expected
    nmi = embedding_scorer()
    assert nmi(pipeline, cells.data, cells.target, batch=batch) == nmi(vae, X, cells.target, batch=batch)


# Weights of a score


@every_estimator
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(120, np.nan), "sample_weight contains NaN"),
        (np.zeros(120), "zero"),
        (np.r_[np.ones(119), -1], "Negative values"),
        (np.ones(5), r"\(5,\)"),
        (np.ones((120, 2)), "1D"),
    ],
    ids=["nan", "zeros", "negative", "short", "two columns"],
)
def test_bad_weights_are_the_errors_of_fit(Estimator, weight, message, X):
    model = Estimator(**SMALL).fit(X)
    for method in (model.fit, model.score):
        with pytest.raises(ValueError, match=message):
            method(X, sample_weight=weight)


def test_small_weights_make_a_mean(X):
    model = BetaVAE(**SMALL).fit(X)
    assert model.score(X, sample_weight=np.full(120, 1e-9)) == pytest.approx(model.score(X), rel=1e-6)
    one = np.zeros(120)
    one[3] = 0.1
    assert model.score(X, sample_weight=one) == pytest.approx(model.score(X[3:4]), rel=1e-6)


def test_duplicates_of_a_sparse_code_are_one_value():
    code = sparse.csr_array(([1.0, -1.0, 2.0], [0, 0, 1], [0, 3]), shape=(1, 3))
    assert sparsity(code) == sparsity(code.toarray())
