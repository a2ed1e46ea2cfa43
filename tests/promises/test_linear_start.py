"""The linear model that training starts from, and what the network adds to it."""

import numpy as np
import pytest
from models import every_estimator
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts


@every_estimator
def test_the_unit_of_gaussian_data_does_not_matter(Estimator, X):
    settings = {"n_components": 3, "max_epochs": 5, "random_state": 0}
    Z = Estimator(**settings).fit_transform(X)
    for power in (-20, 3, 40):
        np.testing.assert_array_equal(Estimator(**settings).fit_transform(2.0**power * X), Z)
    for unit in (1e-3, 0.1, 300.0):
        np.testing.assert_allclose(Estimator(**settings).fit_transform(unit * X.astype(float)), Z, rtol=0.05, atol=0.05)


@every_estimator
def test_without_a_floor_each_feature_may_have_a_unit_of_its_own(Estimator, linear):
    X, *_ = linear
    units = 10.0 ** np.linspace(-4, 4, 30)
    settings = {"n_components": 3, "noise_floor": 0.0, "random_state": 0}
    same, unlike = (Estimator(**settings).fit(data) for data in (X, X * units))
    np.testing.assert_allclose(unlike.transform(X * units), same.transform(X), atol=0.05)
    assert unlike.score(X * units) + np.log(units).sum() == pytest.approx(same.score(X), abs=0.05)


@every_estimator
def test_axes_are_ordered_and_agree_over_seeds(Estimator):
    X = LogNormalizer().fit_transform(make_single_cell_counts(600, 500, random_state=0).data)
    fits = [Estimator(4, random_state=seed).fit(X) for seed in range(3)]
    for model in fits:
        assert (np.diff(model.explained_variance_) <= 0).all()
        assert 0 < model.explained_variance_ratio_.sum() < 1
    Z = [model.transform(X) for model in fits]
    for other in Z[1:]:
        correlations = [np.corrcoef(Z[0][:, j], other[:, j])[0, 1] for j in range(4)]
        assert min(correlations) > 0.95


@every_estimator
def test_few_rows_stay_linear_and_a_number_of_epochs_trains_the_network(Estimator):
    X = np.random.default_rng(0).normal(size=(40, 300)) + 3 * np.repeat(np.eye(4, 300), 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="the network was left out"):
        model = Estimator(3, random_state=0).fit(X)
    assert not model.uses_network_
    centred = X - X.mean(axis=0)
    linear = centred @ np.linalg.lstsq(centred, model.transform(X), rcond=None)[0]
    np.testing.assert_allclose(
        model.transform(X), linear - linear.mean(axis=0) + model.transform(X).mean(axis=0), atol=1e-3
    )
    assert Estimator(3, max_epochs=2, random_state=0).fit(X).uses_network_


@every_estimator
def test_noise_is_said_to_be_noise(Estimator):
    X = np.random.default_rng(0).normal(size=(300, 40))
    with pytest.warns(ConvergenceWarning, match="no more structure than it has with each column shuffled"):
        model = Estimator(5, random_state=0).fit(X)
    assert not model.active_components_.any()


@every_estimator
def test_more_components_than_stand_above_noise_are_a_warning(Estimator, linear):
    X, *_ = linear
    with pytest.warns(ConvergenceWarning, match=r"3 of 6 latent dimensions stand above noise, .* n_components=3"):
        model = Estimator(6, random_state=0).fit(X)
    np.testing.assert_array_equal(model.active_components_, np.arange(6) < 3)


@every_estimator
def test_dimensions_of_noise_are_short(Estimator):
    rng = np.random.default_rng(0)
    types = rng.integers(3, size=150)
    counts = rng.poisson(20 * rng.gamma(5, 0.2, size=(150, 400)) * (1 + 4 * (rng.random((3, 400)) < 0.1))[types])
    model = Estimator(6, likelihood="poisson", max_epochs=40, random_state=0)
    with pytest.warns(ConvergenceWarning, match="2 of 6 latent dimensions stand above noise"):
        deviations = model.fit_transform(counts).std(axis=0)
    # what the noise of each row has by chance is learned, as Poisson noise is less
    assert deviations[2:].max() < 0.6 * deviations[:2].min()


def test_batches_always_have_the_network():
    cells = make_single_cell_counts(300, 200, n_batches=2, random_state=0)
    assert BetaVAE(3, likelihood="nb", random_state=0).fit(cells.data, batch=cells.batch).uses_network_


def test_a_linear_start_is_as_good_as_pca_on_documents_and_samples():
    rng = np.random.default_rng(0)
    types = np.arange(200) % 5
    X = rng.poisson(0.05 + 0.6 * (rng.random((5, 900)) < 0.05)[types]).astype(float)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1)  # as tf-idf has
    model = BetaVAE(4, random_state=0).fit(sparse.csr_array(X))
    linear = PCA(4).fit_transform(X)
    own, best = (separation(Z, types) for Z in (model.transform(X), linear))
    assert own > 0.95 * best


def separation(Z, types):
    """Return the share of the variance of Z that lies between the types, of whitened axes."""
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    means = np.array([Z[types == label].mean(axis=0) for label in np.unique(types)])
    return means.var(axis=0).mean()
