"""The metadata of rows: their batch and their weight, given directly and routed."""

import pickle

import numpy as np
import pandas as pd
import pytest
from models import SMALL, every_estimator
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, BetaVSC, LogNormalizer, make_single_cell_counts


@pytest.fixture(scope="module")
def batch():
    return np.array(["lab A", "lab B", "lab C"])[np.arange(120) % 3]


@pytest.fixture(scope="module")
def fitted(X, batch):
    return BetaVAE(**SMALL).fit(X, batch=batch)


def row_methods(estimator):
    """Return the methods whose value depends on the batch of a row, as functions of X and batch."""
    return {
        "score_samples": estimator.score_samples,
        "score": estimator.score,
        "log_likelihood": estimator.log_likelihood,
        "denoise": estimator.denoise,
        "inverse_transform": lambda X, batch=None: estimator.inverse_transform(X[:, :3], batch=batch),
    }


# Batches


@every_estimator
def test_fit_learns_the_batches(Estimator, X, batch):
    estimator = Estimator(**SMALL).fit(X, batch=batch)
    np.testing.assert_array_equal(estimator.batches_, ["lab A", "lab B", "lab C"])
    assert Estimator(**SMALL).fit(X).batches_ is None


@every_estimator
def test_labels_of_batches_do_not_matter_but_for_their_order(Estimator, X, batch):
    numbers = pd.Series(np.arange(120) % 3 * 10)
    Z = Estimator(**SMALL).fit_transform(X, batch=batch)
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(X, batch=numbers), Z)
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(X, batch=pd.Categorical(batch)), Z)


@pytest.mark.parametrize("method", ["score_samples", "score", "log_likelihood", "denoise", "inverse_transform"])
def test_the_decoder_needs_the_batch_and_uses_it(method, fitted, X, batch):
    function = row_methods(fitted)[method]
    X = X.toarray()
    with pytest.raises(ValueError, match="batch is None; expected the batch of each row, one of"):
        function(X)
    assert not np.array_equal(function(X, batch=batch), function(X, batch=np.roll(batch, 1)))


def test_the_encoder_needs_no_batch_unless_it_is_told(fitted, X, batch):
    np.testing.assert_array_equal(fitted.transform(X), fitted.transform(X, batch=batch))
    told = BetaVAE(**SMALL, encode_batch=True).fit(X, batch=batch)
    for method in (told.transform, told.posterior):
        with pytest.raises(ValueError, match="batch is None; expected the batch of each row"):
            method(X)
    assert not np.array_equal(told.transform(X, batch=batch), told.transform(X, batch=np.roll(batch, 1)))


@pytest.mark.parametrize("method", ["score_samples", "score", "log_likelihood", "denoise", "inverse_transform"])
def test_an_unknown_batch_is_the_mean_of_the_known_ones_with_a_warning_that_lists_them(method, fitted, X):
    function = row_methods(fitted)[method]
    message = r"batch holds \['lab D'\], first in row 0; expected one of \['lab A', 'lab B', 'lab C'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        of_new = function(X.toarray(), batch=["lab D"] * 120)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    each = [function(X.toarray(), batch=label) for label in ("lab A", "lab B", "lab C")]
    assert (of_new > np.min(each, axis=0) - 0.2).all()
    assert not any(np.array_equal(of_new, of_one) for of_one in each)


def test_denoise_moves_rows_to_another_batch(fitted, X, batch):
    moved = fitted.denoise(X, batch=batch, to_batch="lab B")
    there = batch == "lab B"
    own = fitted.denoise(X, batch=batch)
    np.testing.assert_allclose(moved[there], own[there])
    assert not np.isclose(moved[~there], own[~there]).all(axis=1).any()
    # from the same z, which the encoder finds without the batch
    back = fitted.inverse_transform(fitted.transform(X), batch="lab B")
    np.testing.assert_allclose(moved, back, rtol=1e-5, atol=1e-6)


def test_samples_are_of_a_batch():
    cells = make_single_cell_counts(400, 200, n_batches=2, batch_effect=0.5, random_state=0)
    vae = BetaVAE(likelihood="poisson", random_state=0).fit(cells.data, batch=cells.batch)
    low, high = (np.log(vae.sample(2000, batch=label, random_state=0).mean(axis=0) + 0.01) for label in (0, 1))
    true = [np.log(cells.data[cells.batch == label].mean(axis=0) + 0.01) for label in (0, 1)]
    assert np.corrcoef(high - low, true[1] - true[0])[0, 1] > 0.8
    with pytest.raises(ValueError, match=r"one of \[0, 1\]"):
        vae.sample(2)


def test_a_fit_with_bad_batches_leaves_the_last_fit(fitted, X, batch):
    Z = fitted.transform(X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.fit(X, batch=batch[:5])
    np.testing.assert_array_equal(fitted.transform(X), Z)


def neighbours_of_batches(Z, batch):
    return cross_val_score(KNeighborsClassifier(15), Z, batch, cv=5).mean()


def agreement(Z, types):
    return normalized_mutual_info_score(types, KMeans(9, n_init=5, random_state=0).fit_predict(Z))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_batches_are_mixed_and_types_kept(likelihood):
    vae = BetaVAE(likelihood=likelihood, random_state=0)
    known, alone, mixed = [], [], []
    for draw in range(4):  # a single draw of cells may be a twentieth better or worse by chance
        cells = make_single_cell_counts(2000, n_batches=2, random_state=draw)
        cells_alone = make_single_cell_counts(2000, random_state=draw)
        X, X_alone = (
            data.data if likelihood == "nb" else LogNormalizer().fit_transform(data.data)
            for data in (cells, cells_alone)
        )
        if draw == 0:
            assert neighbours_of_batches(vae.fit_transform(X), cells.batch) > 0.9
        Z = vae.fit_transform(X, batch=cells.batch)
        chance = np.bincount(cells.batch).max() / 2000
        mixed.append(neighbours_of_batches(Z, cells.batch) - chance)
        known.append(agreement(Z, cells.target))
        alone.append(agreement(vae.fit_transform(X_alone), cells_alone.target))
    assert np.mean(mixed) < 0.05
    assert np.mean(known) > 0.95 * np.mean(alone)


# Weights


@every_estimator
def test_integer_weights_are_copies_of_the_rows(Estimator, X, batch):
    weights = np.arange(120) % 4
    copies = np.repeat(np.arange(120), weights)
    weighted = Estimator(**SMALL).fit(X, batch=batch, sample_weight=weights)
    copied = Estimator(**SMALL).fit(X[copies], batch=batch[copies])
    np.testing.assert_array_equal(weighted.transform(X), copied.transform(X))
    np.testing.assert_array_equal(weighted.history_["loss"], copied.history_["loss"])
    np.testing.assert_array_equal(weighted.active_components_, copied.active_components_)


@every_estimator
def test_the_order_of_rows_does_not_matter(Estimator, X, batch):
    order = np.random.default_rng(0).permutation(120)
    Z = Estimator(**SMALL).fit(X, batch=batch).transform(X)
    np.testing.assert_array_equal(Estimator(**SMALL).fit(X[order], batch=batch[order]).transform(X), Z)


def test_pickles_hold_no_weights(X):
    vae = BetaVAE(**SMALL).fit(X, sample_weight=np.linspace(1, 2, 120))
    assert np.linspace(1, 2, 120).tobytes() not in pickle.dumps(vae)


def test_the_score_is_a_weighted_mean(fitted, X, batch):
    weights = np.linspace(0, 2, 120)
    expected = np.average(fitted.score_samples(X, batch=batch), weights=weights)
    assert fitted.score(X, batch=batch, sample_weight=weights) == pytest.approx(expected, rel=1e-6)


# Routing


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@every_estimator
def test_a_pipeline_routes_batches_and_weights(Estimator, cells, batch):
    weights = np.arange(120) % 3
    estimator = Estimator(**SMALL, encode_batch=True).set_fit_request(batch=True, sample_weight=True)
    estimator.set_transform_request(batch=True)
    pipeline = make_pipeline(LogNormalizer(), estimator)
    Z = pipeline.fit_transform(cells.data, batch=batch, sample_weight=weights)
    X = LogNormalizer().fit_transform(cells.data)
    expected = Estimator(**SMALL, encode_batch=True).fit_transform(X, batch=batch, sample_weight=weights)
    np.testing.assert_array_equal(Z, expected)
    np.testing.assert_array_equal(pipeline.transform(cells.data, batch=batch), expected)


@pytest.mark.usefixtures("routing")
def test_a_pipeline_routes_batches_on_the_way_to_tsne(cells, batch):
    vsc = BetaVSC(**SMALL).set_fit_request(batch=True, sample_weight=False).set_transform_request(batch=True)
    points = make_pipeline(LogNormalizer(), vsc, TSNE(random_state=0)).fit_transform(cells.data, batch=batch)
    assert points.shape == (120, 2)


@pytest.mark.usefixtures("routing")
def test_a_grid_search_routes_batches(X, batch):
    vae = BetaVAE(**SMALL).set_fit_request(batch=True).set_score_request(batch=True)
    search = GridSearchCV(vae, {"beta": [1.0, 4.0]}, cv=2).fit(X, batch=batch)
    assert np.isfinite(search.best_score_)
    np.testing.assert_array_equal(search.best_estimator_.batches_, np.unique(batch))


def test_without_routing_a_pipeline_gives_fit_its_parameters(cells, batch):
    pipeline = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    pipeline.fit(cells.data, betavae__batch=batch)
    np.testing.assert_array_equal(pipeline[-1].batches_, np.unique(batch))
