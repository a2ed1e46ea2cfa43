"""The linear model that training starts from."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, LogNormalizer, RowStore, make_single_cell_counts
from skvae.factors import LINKS, choose_floor, factor_analysis, regress, shrink, shuffle_columns

ESTIMATORS = (AutoencoderEmbedding, BetaVAE, BetaVSC)
every_estimator = pytest.mark.parametrize("Estimator", ESTIMATORS)


def analyse(X, n_components, floor=None):
    return factor_analysis(X, np.zeros(X.shape[0], int), 0, n_components, floor=floor)


@pytest.fixture(scope="module")
def linear():
    """Rows of a linear Gaussian model with unit noise, its loadings (30, 3) and its factors."""
    rng = np.random.default_rng(0)
    loadings = np.linalg.qr(rng.normal(size=(30, 3)))[0] * [8, 5, 3]
    factors = rng.normal(size=(2000, 3))
    return factors @ loadings.T + rng.normal(size=(2000, 30)) + 7, loadings, factors


def test_the_axes_are_those_of_the_model_that_made_the_rows(linear):
    X, loadings, factors = linear
    axes = analyse(X, 5, floor=0.0)
    found = axes.loadings[:, :3] * np.sqrt(axes.strengths()[:3])
    np.testing.assert_allclose(np.abs(np.sum(found * loadings, axis=0)), [64, 25, 9], rtol=0.1)
    np.testing.assert_allclose(axes.noise, 1, atol=0.25)
    codes = (X - axes.mean) @ axes.encoding[:, :3]
    np.testing.assert_allclose(codes.std(axis=0), 1, rtol=1e-6)
    assert np.abs(np.corrcoef(codes.T, factors.T)[:3, 3:]).max(axis=1).min() > 0.9
    np.testing.assert_array_equal(axes.variances > axes.edges, [True, True, True, False, False])
    assert (np.diff(axes.variances) <= 0).all()


def test_sparse_and_dense_rows_have_the_same_axes():
    X = sparse.random_array((200, 80), density=0.2, format="csr", random_state=0)
    few, dense = analyse(X, 4), analyse(X.toarray(), 4)
    np.testing.assert_allclose(few.encoding, dense.encoding, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(few.variances, dense.variances)
    np.testing.assert_array_equal(shuffle_columns(X).toarray(), shuffle_columns(X.toarray()))


def test_shuffled_columns_keep_their_values_and_lose_what_they_share(linear):
    X, *_ = linear
    shuffled = shuffle_columns(X)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
    assert np.abs(np.corrcoef(shuffled.T) - np.eye(30)).max() < 0.15


def test_strengths_of_few_rows_are_those_of_new_ones():
    rng = np.random.default_rng(0)
    direction = np.linalg.qr(rng.normal(size=(400, 1)))[0]
    shares = []
    for _ in range(20):
        X = 5 * rng.normal(size=(100, 1)) @ direction.T + rng.normal(size=(100, 400))
        X = X - X.mean(axis=0)
        _, s, V = np.linalg.svd(X, full_matrices=False)
        new = 5 * rng.normal(size=(4000, 1)) @ direction.T + rng.normal(size=(4000, 400))
        shares.append([shrink(s[:1] ** 2 / 100, np.array([9.0]))[0], (new @ V[0]).var() - 1])
    told, true = np.mean(shares, axis=0)
    assert told == pytest.approx(true, rel=0.1)  # s^2 / n - 1 itself is a third too large


def test_features_of_unlike_units_need_no_floor(linear):
    X, *_ = linear
    assert choose_floor(X, 5) == 0.3
    assert choose_floor(X * 10.0 ** np.arange(-5, 10, 0.5), 5) == 0.0


@pytest.mark.parametrize("support", LINKS)
def test_loadings_of_a_generalised_linear_model_are_found(support):
    rng = np.random.default_rng(0)
    codes, loadings, intercepts = rng.normal(size=(3000, 2)), rng.normal(size=(6, 2)), np.linspace(-1, 1, 6)
    rates = LINKS[support][0](intercepts + codes @ loadings.T)
    X = rng.poisson(rates) if support == "counts" else rng.binomial(1, rates)
    found, constant, _, _ = regress(sparse.csr_array(X * 1.0), codes, np.zeros((3000, 1)), np.zeros(6), *LINKS[support])
    np.testing.assert_allclose(found, loadings, atol=0.15)
    np.testing.assert_allclose(constant, intercepts, atol=0.15)


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


def test_a_store_is_sampled_and_not_read_as_a_whole(tmp_path):
    X = np.memmap(tmp_path / "x", "float32", "w+", shape=(30_000, 20))
    X[:] = np.random.default_rng(0).normal(size=X.shape)
    from skvae.batching import Rows

    store = RowStore(X, block_size=500, buffer_size=2000)
    read = []
    sample = Rows(store.map(lambda rows: read.append(len(rows)) or rows), np.float32).sample(1000)
    assert len(sample) == 1000
    assert sum(read[1:]) <= 2 * 1024  # the first block says what the function returns
