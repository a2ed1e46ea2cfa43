"""False alarms are as rare as was asked for, whatever the model and the data; novel types are found."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from models import ESTIMATORS, SMALL
from scipy import sparse
from scipy.spatial.distance import mahalanobis
from scipy.stats import betabinom, kstest, rankdata
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import NMF, PCA, FactorAnalysis
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from skvae import BetaVAE, BetaVSC, LogNormalizer, RowStore, VariableGeneSelector, make_single_cell_counts
from skvae.novelty import NoveltyDetector
from skvae.novelty.nonconformity import Clusters, FreedOfTotals, Neighborhood
from skvae.novelty.rows import split_rows

FAST = {"contamination": 0.2, "calibration": 0.3, "random_state": 0}
CHECKED = {**FAST, "contamination": 0.3}  # some checks have ten rows


@pytest.fixture(scope="module")
def batches():
    """Return the batch of each of 120 rows, of two that differ in size."""
    return np.where(np.arange(120) % 3 == 0, "late", "early")


@pytest.fixture(scope="module")
def fitted(cells):
    """Return a detector that knows the first 90 of 120 cells."""
    return NoveltyDetector(BetaVAE(likelihood="nb", **SMALL), **FAST).fit(cells.data[:90])


@pytest.mark.filterwarnings("ignore:X holds .* expected counts")
@parametrize_with_checks(
    [NoveltyDetector(BetaVAE(n_components=2, hidden_layer_sizes=(8,), max_epochs=3, random_state=0), **CHECKED)]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# Validity


def gaussian(rng, n_samples):
    return rng.normal(size=(n_samples, 6)) * [5, 3, 1, 1, 1, 1]


def long_tailed(rng, n_samples):
    return rng.standard_t(2, size=(n_samples, 6)) * [5, 3, 1, 1, 1, 1]


def groups(rng, n_samples):
    """Return rows of three groups, one of them rare and far from the others."""
    return rng.normal(size=(n_samples, 6)) + 20 * rng.choice(3, size=(n_samples, 1), p=[0.6, 0.37, 0.03])


def counts(rng, n_samples):
    """Return counts whose total varies by orders of magnitude, with empty rows and copies among them."""
    means = rng.lognormal(0, 1.5, size=(n_samples, 1)) * np.arange(1, 7) / 7
    return rng.poisson(means).astype(float)


@pytest.mark.parametrize(
    "draw", [gaussian, counts, *(pytest.param(draw, marks=pytest.mark.slow) for draw in (long_tailed, groups))]
)
def test_false_alarms_are_within_their_bound(draw):
    # of 50 fits with n calibration rows each, the number of false alarms among m new rows is at most beta-binomial:
    # the level that the calibration rows give is itself drawn
    n_new, alarms = 200, {level: [] for level in (0.01, 0.05, 0.2)}
    for seed in range(50):
        rng = np.random.default_rng(seed)
        detector = NoveltyDetector(PCA(2), calibration=0.5, contamination=0.01, random_state=seed)
        p_values = detector.fit(draw(rng, 400)).p_values(draw(rng, n_new))
        for level, numbers in alarms.items():
            numbers.append((p_values <= level).sum())
    for level, numbers in alarms.items():
        n_levels = int(level * 201 + 1e-9)  # the p-values k / 201 up to the level
        of_one = betabinom(n_new, n_levels, 201 - n_levels)
        assert np.mean(numbers) < level * n_new + 4 * of_one.std() / np.sqrt(50)
        assert max(numbers) <= of_one.ppf(1 - 1e-6)
        if draw is not counts:  # whose copies of rows have equal scores, where p-values err on the safe side
            assert np.mean(numbers) > of_one.mean() - 4 * of_one.std() / np.sqrt(50)


def test_false_alarms_are_as_rare_in_each_batch_though_one_is_unlike_the_others():
    def draw(rng, n_samples):
        batch = rng.choice(["large", "odd"], size=n_samples, p=[0.8, 0.2])
        return gaussian(rng, n_samples) * np.where(batch == "odd", 3, 1)[:, np.newaxis], batch

    alarms = {"large": [], "odd": []}
    unaware = []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        (X, batch), (new, new_batch) = draw(rng, 500), draw(rng, 300)
        detector = NoveltyDetector(PCA(2), calibration=0.4, contamination=0.1, random_state=0)
        found = detector.fit(X, batch=batch).predict(new, batch=new_batch) == -1
        for label, shares in alarms.items():
            shares.append(found[new_batch == label].mean())
        unaware.append((detector.fit(X).predict(new[new_batch == "odd"]) == -1).mean())
    for shares in alarms.values():
        assert np.mean(shares) <= 0.1 + 3 * np.std(shares) / np.sqrt(15)
        assert np.mean(shares) >= 0.06
    assert np.mean(unaware) > 0.25


def test_p_values_of_new_rows_are_uniform_and_those_of_cells_too():
    cells = make_single_cell_counts(n_samples=900, n_features=100, random_state=0)
    vae = BetaVAE(3, likelihood="poisson", hidden_layer_sizes=(), max_epochs=1, random_state=0)
    detector = NoveltyDetector(vae, calibration=0.5, random_state=0).fit(cells.data[:600])
    assert kstest(detector.p_values(cells.data[600:]), "uniform").pvalue > 0.01


def test_a_p_value_is_the_rank_of_a_row_among_the_calibration_rows(fitted, cells):
    p_values = fitted.p_values(cells.data[90:])
    (known,) = fitted.calibration_scores_
    assert len(known) == 27
    assert (np.diff(known) >= 0).all()
    np.testing.assert_allclose(p_values * 28, np.rint(p_values * 28))
    assert p_values.min() >= 1 / 28
    assert p_values.max() <= 1
    # the calibration rows themselves, each of which is as unlike the others as itself
    _, calibration = split_rows(np.zeros(90), 0.3, np.random.RandomState(0))
    np.testing.assert_allclose(np.sort(fitted.p_values(cells.data[calibration])), np.arange(2, 29) / 28)


def test_copies_of_a_row_are_never_novel():
    X = np.tile([[1.0, 2.0, 0.0]], (60, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = NoveltyDetector(FactorAnalysis(1), random_state=0, contamination=0.1).fit(X)
        assert (detector.p_values(X[:5]) == 1).all()


# What is found


@pytest.mark.parametrize("Estimator", ESTIMATORS)
@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_a_type_that_is_left_out_is_found(Estimator, likelihood):
    cells = make_single_cell_counts(n_samples=600, n_features=200, library_size=1000, random_state=0)
    is_new = np.isin(cells.target_names[cells.target], ["CD14+ Mono", "FCGR3A+ Mono", "DC"])
    vae = Estimator(5, likelihood=likelihood, max_epochs=5, random_state=0)
    model = vae if likelihood == "poisson" else make_pipeline(LogNormalizer(), vae)
    known, new = cells.data[~is_new], cells.data[is_new]
    detector = NoveltyDetector(model, contamination=0.05, random_state=0).fit(known[100:])
    scores = np.r_[detector.score_samples(known[:100]), detector.score_samples(new)]
    assert roc_auc_score(np.repeat([1, 0], [100, is_new.sum()]), scores) > 0.9
    assert (detector.predict(new) == -1).mean() > 0.7


def test_the_level_of_sequencing_is_no_novelty():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(50))
    totals = rng.lognormal(6, 0.5, size=800)
    X = rng.poisson(totals[:, np.newaxis] * shares).astype(float)
    vae = BetaVAE(2, likelihood="poisson", hidden_layer_sizes=(), max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        detector = NoveltyDetector(vae, calibration=0.4, random_state=0).fit(X[:600])
    likelihood = detector.estimator_.score_samples(X[600:])
    assert abs(np.corrcoef(rankdata(likelihood), rankdata(totals[600:]))[0, 1]) > 0.9
    scores = detector.score_samples(X[600:])
    assert abs(np.corrcoef(rankdata(scores), rankdata(totals[600:]))[0, 1]) < 0.3


def test_scores_are_ranked_beyond_all_calibration_rows_and_agree_with_predictions():
    rng = np.random.default_rng(0)
    detector = NoveltyDetector(PCA(2), contamination=0.1, random_state=0).fit(gaussian(rng, 200))
    direction = np.ones(6)
    X = np.r_[gaussian(rng, 200), [direction * far for far in (10, 100, 1e4, 1e8)]]
    scores, p_values, labels = detector.score_samples(X), detector.p_values(X), detector.predict(X)
    assert (np.diff(scores[200:]) < 0).all()
    assert (scores > 0).all()
    assert (p_values[200:] == 1 / 41).all()
    assert (scores <= p_values).all()
    is_less = p_values[:, np.newaxis] < p_values
    assert (scores[:, np.newaxis] < scores)[is_less].all()
    np.testing.assert_array_equal(labels == -1, p_values <= 0.1)
    np.testing.assert_array_equal(detector.decision_function(X), scores - detector.offset_)


def test_a_p_value_that_equals_the_level_is_an_alarm():
    # 19 calibration rows: the least p-value is 1 / 20
    detector = NoveltyDetector(PCA(2), contamination=0.05, random_state=0).fit(gaussian(np.random.default_rng(0), 95))
    assert detector.p_values(np.full((1, 6), 1e3)) == [0.05]
    assert detector.predict(np.full((1, 6), 1e3)) == [-1]


# The scores


def test_freed_likelihoods_depend_on_totals_neither_in_level_nor_in_spread():
    rng = np.random.default_rng(0)
    totals = rng.lognormal(7, 0.5, size=4000)
    log_likelihood = -3 * totals**0.8 + np.sqrt(totals) * rng.normal(size=4000)
    freed = FreedOfTotals(totals, log_likelihood)(totals, log_likelihood)
    for quarter in np.array_split(np.argsort(totals), 4):
        assert abs(np.median(freed[quarter])) < 0.3 * freed.std()
        assert 0.7 < freed[quarter].std() / freed.std() < 1.4


def test_rows_of_one_total_keep_the_order_of_their_likelihoods():
    rng = np.random.default_rng(0)
    totals, log_likelihood = np.full(50, 7.0), rng.normal(size=50)
    freed = FreedOfTotals(totals, log_likelihood)(totals, log_likelihood)
    np.testing.assert_array_equal(np.argsort(freed), np.argsort(log_likelihood))


def test_a_neighborhood_compares_the_ten_nearest_with_theirs():
    rng = np.random.default_rng(0)
    Z, new = rng.normal(size=(80, 3)), rng.normal(size=(7, 3))
    distances = np.linalg.norm(Z[:, np.newaxis] - Z, axis=2)
    usual = np.sort(distances, axis=1)[:, 1:11].mean(axis=1)
    from_new = np.linalg.norm(new[:, np.newaxis] - Z, axis=2)
    nearest = np.argsort(from_new, axis=1)[:, :10]
    expected = np.log(np.take_along_axis(from_new, nearest, 1).mean(axis=1)) - 0.75 * np.log(
        usual[nearest].mean(axis=1)
    )
    neighborhood = Neighborhood(Z)
    np.testing.assert_allclose(neighborhood(new), expected, atol=1e-5)
    # each training row to the others
    np.testing.assert_allclose(neighborhood.own[3], Neighborhood(Z).own[3])
    assert isinstance(neighborhood.nearest, NearestNeighbors)
    assert neighborhood.own.min() > np.log(neighborhood.floor)


def test_distances_to_clusters_are_those_of_mahalanobis_to_the_nearest():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [7, 12])  # 19 rows have two clusters
    points = rng.normal(size=(19, 3)) * [1, 3, 0.5] + 30 * label[:, np.newaxis]
    new = rng.normal(size=(9, 3)) * [1, 3, 0.5] + rng.choice([-10, 0, 30, 50], size=(9, 1))
    means = [points[label == k].mean(axis=0) for k in (0, 1)]
    within = sum((points[label == k] - means[k]).T @ (points[label == k] - means[k]) for k in (0, 1)) / 19
    inverse = np.linalg.inv(within + 0.02 * np.trace(within) / 3 * np.eye(3))
    clusters = Clusters(points)
    expected = [min(mahalanobis(row, mean, inverse) for mean in means) for row in new]
    np.testing.assert_allclose(clusters(new), np.log(np.array(expected) + 1e-3))
    # of a training row to the mean of the others of its cluster
    for row in (3, 11):
        others = points[(label == label[row]) & (np.arange(19) != row)].mean(axis=0)
        np.testing.assert_allclose(clusters.own[row], np.log(mahalanobis(points[row], others, inverse) + 1e-3))


def test_of_its_own_a_row_is_no_cluster():
    points = np.random.default_rng(0).normal(size=(19, 2))
    points[4] = 100
    clusters = Clusters(points)
    assert clusters.own[4] == clusters.own.max()
    assert clusters(points[[4]]) == pytest.approx(np.log(1e-3))


@pytest.mark.parametrize("noise", [0, 1e-14, 1e-3])
@pytest.mark.parametrize("n_rows", [2, 9, 100])
def test_rows_that_hardly_differ_have_clusters_too(noise, n_rows):
    points = 1 + noise * np.random.default_rng(0).normal(size=(n_rows, 3))
    clusters = Clusters(points)
    assert np.isfinite(clusters.own).all()
    near, far = clusters(np.array([[1, 1, 1], [3, 1, 1]]))
    assert near < far


def test_clusters_do_not_depend_on_the_number_of_threads():
    points = np.random.default_rng(0).normal(size=(3000, 4))
    means = []
    for n_threads in (1, 2, 2):
        with threadpool_limits(n_threads):
            means.append(Clusters(points).means)
    np.testing.assert_array_equal(means[1:], means[:1] * 2)


def test_rows_are_split_by_share_in_each_group_and_all_used():
    group = np.repeat([0, 1], [100, 10])
    training, calibration = split_rows(group, 0.2, np.random.RandomState(0))
    assert np.bincount(group[calibration]).tolist() == [20, 2]
    np.testing.assert_array_equal(np.sort(np.r_[training, calibration]), np.arange(110))


# What it takes


FORMS = {
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "dense": lambda X: X.toarray(),
    "list": lambda X: X.toarray().tolist(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_the_same_rows_have_the_same_p_values(form, fitted, cells):
    detector = clone(fitted).fit(form(cells.data[:90]))
    np.testing.assert_allclose(detector.p_values(form(cells.data[90:])), fitted.p_values(cells.data[90:]), atol=0.05)


def test_data_frames_reach_the_model_with_their_names(cells):
    frame = pd.DataFrame(cells.data.toarray(), columns=cells.feature_names)
    detector = NoveltyDetector(BetaVAE(likelihood="nb", **SMALL), **FAST).fit(frame[:90])
    np.testing.assert_array_equal(detector.feature_names_in_, cells.feature_names)
    np.testing.assert_array_equal(detector.estimator_.feature_names_in_, cells.feature_names)
    assert detector.p_values(frame[90:]).shape == (30,)
    with pytest.raises(ValueError, match="feature names"):
        detector.p_values(frame[frame.columns[::-1]])


def test_a_pipeline_is_fitted_to_training_rows_alone(cells, batches):
    model = Pipeline([("genes", VariableGeneSelector(40)), ("norm", LogNormalizer()), ("vae", BetaVSC(**SMALL))])
    detector = NoveltyDetector(model, **FAST).fit(cells.data)
    training, _ = split_rows(np.zeros(120), 0.3, np.random.RandomState(0))
    alone = clone(model).fit(cells.data[training])
    np.testing.assert_array_equal(detector.estimator_["genes"].ranks_, alone["genes"].ranks_)
    np.testing.assert_array_equal(detector.estimator_.transform(cells.data), alone.transform(cells.data))
    with pytest.raises(NotFittedError):
        model.transform(cells.data)


def test_a_frozen_model_is_used_as_it_is(cells):
    vae = BetaVAE(likelihood="nb", **SMALL).fit(cells.data[:50])
    for model in (vae, make_pipeline(VariableGeneSelector(40), BetaVAE(likelihood="nb", **SMALL)).fit(cells.data[:50])):
        Z = model.transform(cells.data)
        detector = NoveltyDetector(FrozenEstimator(model), **FAST).fit(cells.data[50:110])
        np.testing.assert_array_equal(detector.estimator_.transform(cells.data), Z)
        np.testing.assert_array_equal(model.transform(cells.data), Z)
        assert detector.p_values(cells.data[110:]).shape == (10,)


def test_batches_reach_the_steps_that_take_them(cells, batches):
    vae = BetaVAE(likelihood="nb", encode_batch=True, **SMALL)
    known, new = (cells.data[:100], batches[:100]), (cells.data[100:], batches[100:])
    alone = NoveltyDetector(vae, **FAST).fit(known[0], batch=known[1])
    assert alone.batches_.tolist() == alone.estimator_.batches_.tolist() == ["early", "late"]
    model = make_pipeline(VariableGeneSelector(80), vae)
    piped = NoveltyDetector(model, **FAST).fit(known[0], batch=known[1])
    np.testing.assert_array_equal(alone.p_values(new[0], batch=new[1]), piped.p_values(new[0], batch=new[1]))
    with config_context(enable_metadata_routing=True):
        asking = make_pipeline(
            VariableGeneSelector(80).set_fit_request(batch=True),
            clone(vae).set_fit_request(batch=True),
        )
        routed = NoveltyDetector(asking, **FAST).fit(known[0], batch=known[1])
    np.testing.assert_array_equal(routed.p_values(new[0], batch=new[1]), piped.p_values(new[0], batch=new[1]))


def test_of_a_table_the_labels_of_all_columns_make_the_batches(cells, batches):
    table = pd.DataFrame({"when": batches, "where": np.tile(["here", "there"], 60), "percent": np.linspace(0, 9, 120)})
    detector = NoveltyDetector(BetaVAE(likelihood="nb", **SMALL), **FAST).fit(cells.data[:100], batch=table[:100])
    assert detector.batches_.tolist() == ["early, here", "early, there", "late, here", "late, there"]
    assert list(detector.estimator_.batches_) == ["when", "where", "percent"]
    p_values = detector.p_values(cells.data[100:], batch=table[100:])
    columns = {name: column.to_numpy() for name, column in table[100:].items()}
    np.testing.assert_array_equal(detector.p_values(cells.data[100:], batch=columns), p_values)
    measured = NoveltyDetector(BetaVAE(likelihood="nb", **SMALL), **FAST).fit(cells.data, batch=table[["percent"]])
    assert measured.batches_ is None
    assert list(measured.estimator_.batches_) == ["kind", "mean", "deviation"]


def test_a_model_that_knows_no_batch_is_calibrated_by_batch(cells, batches):
    vae = BetaVAE(likelihood="nb", **SMALL).fit(cells.data[:30])
    detector = NoveltyDetector(FrozenEstimator(vae), **FAST).fit(cells.data[30:], batch=batches[30:])
    assert [len(known) for known in detector.calibration_scores_] == [18, 9]
    p_values = detector.p_values(cells.data[30:], batch=batches[30:])
    assert p_values[batches[30:] == "late"].min() >= 1 / 10


def test_searches_hand_the_batch_on_where_it_is_asked_for(cells, batches):
    def share_found(detector, X, y=None, **metadata):
        return (detector.predict(X, **metadata) == -1).mean()

    with config_context(enable_metadata_routing=True):
        detector = NoveltyDetector(BetaVAE(likelihood="nb", **SMALL), **FAST).set_fit_request(batch=True)
        piped = make_pipeline(detector.set_predict_request(batch=True))
        piped.fit(cells.data, batch=batches)
        assert piped.predict(cells.data, batch=batches).shape == (120,)
    search = GridSearchCV(clone(detector), {"estimator__beta": [1, 4]}, scoring=share_found, cv=2)
    assert search.fit(cells.data).best_estimator_.estimator_.beta in (1, 4)


def test_an_integer_gives_the_same_bits_and_global_states_stay(fitted, cells):
    before = np.random.get_state()  # noqa: NPY002
    again = clone(fitted).fit(cells.data[:90])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    np.testing.assert_array_equal(again.score_samples(cells.data), fitted.score_samples(cells.data))
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.score_samples(cells.data), fitted.score_samples(cells.data))


# What it refuses


def test_too_few_calibration_rows_are_an_error_with_the_number(cells, batches):
    detector = NoveltyDetector(PCA(2), contamination=0.05, calibration=0.2, random_state=0)
    X = cells.data.toarray()
    with pytest.raises(ValueError, match=r"18 calibration row\(s\) of 90 sample\(s\); expected 19 or more"):
        detector.fit(X[:90])
    detector.fit(X[:95])
    with pytest.raises(ValueError, match=r"8 calibration row\(s\) in the batch 'late' .*; expected 19 or more"):
        clone(detector).set_params(contamination=0.05).fit(np.r_[X, X], batch=["early"] * 200 + ["late"] * 40)
    with pytest.raises(ValueError, match="expected 99 or more"):
        clone(detector).set_params(contamination=0.01).fit(X)


def test_a_failed_fit_changes_nothing(fitted, cells):
    detector = clone(fitted).fit(cells.data[:90])
    before = detector.p_values(cells.data)
    with pytest.raises(ValueError, match="Negative"):
        detector.fit(-cells.data[:90])
    with pytest.raises(ValueError, match="calibration"):
        detector.fit(cells.data[:9, :40])
    np.testing.assert_array_equal(detector.p_values(cells.data), before)


def test_a_batch_is_given_to_fit_and_to_what_follows_or_to_neither(fitted, cells, batches):
    by_batch = clone(fitted).fit(cells.data, batch=batches)
    with pytest.raises(ValueError, match=r"batch is None; expected one of \['early', 'late'\]"):
        by_batch.p_values(cells.data)
    with pytest.raises(ValueError, match="batch is given; expected None"):
        fitted.predict(cells.data, batch=batches)
    with pytest.raises(ValueError, match=r"batch holds \['never'\]; expected one of \['early', 'late'\]"):
        by_batch.score_samples(cells.data, batch=np.repeat(["early", "never"], 60))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        by_batch.p_values(cells.data, batch=batches[:5])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clone(fitted).fit(cells.data, batch=batches[:5])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"contamination": 0.0}, "contamination"),
        ({"contamination": 0.6}, "contamination"),
        ({"calibration": 0.0}, "calibration"),
        ({"calibration": 1.0}, "calibration"),
        ({"estimator": "PCA"}, "estimator"),
        ({"random_state": "a"}, "random_state"),
    ],
)
def test_parameters_are_checked(params, name, cells):
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        NoveltyDetector(**{"estimator": PCA(2), **params}).fit(cells.data.toarray())


def test_too_few_training_rows_are_an_error():
    with pytest.raises(ValueError, match=r"1 training row\(s\) of 20 sample\(s\); expected 2"):
        NoveltyDetector(PCA(1), calibration=0.95).fit(gaussian(np.random.default_rng(0), 20))


class Scorer(BaseEstimator):
    def fit(self, X, y=None):
        return self

    def score_samples(self, X):
        return X.sum(axis=1)


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        (NMF(2), "no score_samples"),
        (Scorer(), "no transform"),
        (make_pipeline(PCA(2), NMF(2)), "no score_samples"),
        (FrozenEstimator(NMF(2)), "no score_samples"),
    ],
)
def test_a_model_without_a_score_is_named(model, missing, cells):
    with pytest.raises(TypeError, match=f"(NMF|Scorer).* has {missing}; expected a model such as BetaVAE"):
        NoveltyDetector(model).fit(cells.data.toarray())


def test_stores_and_what_is_no_matrix_are_named(fitted, cells, tmp_path):
    memory_map = np.memmap(tmp_path / "x.dat", dtype="float32", mode="w+", shape=cells.data.shape)
    memory_map[:] = cells.data.toarray()
    with pytest.raises(TypeError, match="RowStore, a store; expected rows in memory"):
        fitted.p_values(RowStore(memory_map))
    with pytest.raises(TypeError, match="expected a matrix"):
        NoveltyDetector(PCA(2)).fit({"a": [1, 2]})
    with pytest.raises(ValueError, match="Reshape your data"):
        fitted.p_values(np.ones(80))
    with pytest.raises(ValueError, match="80 features"):
        fitted.p_values(cells.data[:, :40])
    assert not hasattr(fitted, "fit_predict")
    with pytest.raises(NotFittedError):
        NoveltyDetector(PCA(2)).p_values(cells.data)


@pytest.mark.pbmc
@pytest.mark.slow
def test_types_of_pbmc3k_that_are_left_out_are_found():
    from skvae import fetch_pbmc3k

    cells = fetch_pbmc3k()
    names = cells.target_names[cells.target]
    for left_out in ("B", "Platelet"):
        known, new = cells.data[names != left_out], cells.data[names == left_out]
        model = make_pipeline(VariableGeneSelector(1000), LogNormalizer(), BetaVAE(random_state=0))
        detector = NoveltyDetector(model, random_state=0).fit(known)
        assert (detector.p_values(new) <= 0.05).mean() > 0.8
