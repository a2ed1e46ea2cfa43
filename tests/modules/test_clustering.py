import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skvae import (
    BetaVAE,
    LogNormalizer,
    VariableGeneSelector,
    clustering,
    fetch_pbmc3k,
    find_markers,
    make_single_cell_counts,
)
from skvae.clustering import MixtureClustering, find_modes

SIZES = [400, 150, 60, 20]


def groups(sizes=SIZES, n_features=5, *, distance=8.0, seed=0):
    """Return groups of those sizes in a random order, each Gaussian with a covariance of its own, and their labels."""
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = rng.normal(size=(len(sizes), n_features))
    centers *= distance / np.linalg.norm(centers, axis=1, keepdims=True)
    shapes = rng.normal(size=(len(sizes), n_features, n_features)) / np.sqrt(n_features)
    noise = rng.normal(size=(len(target), n_features))
    return centers[target] + np.einsum("nij,nj->ni", shapes[target], noise), target


@pytest.fixture(scope="module")
def Z_and_target():
    return groups()


# The number of clusters


def test_groups_that_are_apart_are_found_and_numbered_by_size(Z_and_target):
    Z, target = Z_and_target
    found = MixtureClustering(random_state=0).fit(Z)
    assert found.n_clusters_ == 4
    assert adjusted_rand_score(target, found.labels_) > 0.99
    assert (np.diff(np.bincount(found.labels_)) < 0).all()
    assert (found.labels_ == target).mean() > 0.99


@pytest.mark.parametrize("n_groups", [2, 7, 12])
def test_more_or_fewer_groups_are_found(n_groups):
    Z, target = make_blobs(100 * n_groups, 10, centers=n_groups, center_box=(-6, 6), random_state=0)
    found = MixtureClustering(random_state=0).fit(Z)
    assert found.n_clusters_ == n_groups
    assert adjusted_rand_score(target, found.labels_) > 0.99


WITHOUT_GROUPS = {
    "Gaussian": lambda rng, shape: rng.normal(size=shape),
    "correlated": lambda rng, shape: rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])),
    "skewed": lambda rng, shape: rng.gamma(2, size=shape),
    "long tails": lambda rng, shape: rng.standard_t(4, size=shape),
}


@pytest.mark.parametrize("draw", WITHOUT_GROUPS.values(), ids=WITHOUT_GROUPS)
@pytest.mark.parametrize("shape", [(40, 5), (1000, 2), (1000, 10)], ids=str)
def test_samples_without_groups_are_one_cluster(draw, shape):
    found = MixtureClustering(random_state=0).fit(draw(np.random.default_rng(0), shape))
    assert found.n_clusters_ == 1
    assert not found.labels_.any()


def test_a_skewed_group_is_one_cluster_of_several_gaussians():
    rng = np.random.default_rng(0)
    Z = np.r_[rng.gamma(1, size=(1000, 3)), rng.normal(-10, 1, size=(200, 3))]
    found = MixtureClustering(random_state=0).fit(Z)
    assert found.mixture_.n_components > 2
    np.testing.assert_array_equal(np.bincount(found.labels_), [1000, 200])


def test_few_samples_of_an_embedding_are_grouped():
    rng = np.random.default_rng(0)
    target = np.arange(40) % 4
    active = 5 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[target] + rng.normal(size=(40, 3))
    Z = np.c_[active, 1e-3 * rng.normal(size=(40, 7))]  # inactive components
    found = MixtureClustering(random_state=0).fit(Z)
    assert found.axes_.shape == (3, 10)
    assert adjusted_rand_score(target, found.labels_) == 1


def test_clusters_do_not_depend_on_the_axes_or_the_unit(Z_and_target):
    Z, _ = Z_and_target
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    expected = MixtureClustering(random_state=0).fit_predict(Z)
    for unit in (1e-20, 1, 1e20):
        moved = unit * (np.c_[Z, np.zeros((len(Z), 2))] @ rotation + 3)
        np.testing.assert_array_equal(MixtureClustering(random_state=0).fit_predict(moved), expected)


# The BIC and the modes


def test_the_bic_is_the_usual_one_of_one_gaussian_and_counts_own_samples_of_several(Z_and_target):
    found = MixtureClustering(random_state=0).fit(Z_and_target[0])
    Y = (Z_and_target[0] - found.center_) @ found.axes_.T
    one = GaussianMixture(reg_covar=found.mixture_.reg_covar).fit(Y)
    assert found.bic_[0] == pytest.approx(one.bic(Y))
    mixture, n_parameters = found.mixture_, 5 + 15
    density = np.sum(
        [
            weight * multivariate_normal.pdf(Y, mean, covariance)
            for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True)
        ],
        axis=0,
    )
    own = np.maximum(len(Y) * mixture.weights_, 2 * n_parameters)
    expected = -2 * np.log(density).sum() + n_parameters * np.log(own).sum() + (len(own) - 1) * np.log(len(Y))
    assert found.bic_.min() == pytest.approx(expected)


def test_the_lowest_bic_is_taken_and_three_more_are_tried(Z_and_target):
    found = MixtureClustering(random_state=0).fit(Z_and_target[0])
    assert found.bic_.argmin() + 1 == found.mixture_.n_components == len(found.bic_) - 3


def mixture(means, covariances, weights):
    """Return a mixture of Gaussians of those parameters."""
    made = GaussianMixture(len(weights), reg_covar=1e-3)
    made.means_, made.covariances_, made.weights_ = (
        np.array(part, dtype=float) for part in (means, covariances, weights)
    )
    made.precisions_ = np.linalg.inv(made.covariances_)
    made.precisions_cholesky_ = np.linalg.cholesky(made.precisions_)
    return made


@pytest.mark.parametrize(("distance", "n_modes"), [(1.0, 1), (1.95, 1), (2.05, 2), (6.0, 2)])
@pytest.mark.parametrize("n_features", [1, 10])
def test_two_gaussians_have_two_modes_if_they_are_two_deviations_apart(distance, n_modes, n_features):
    means = np.zeros((2, n_features))
    means[1] = distance / np.sqrt(n_features)
    made = mixture(means, [np.eye(n_features)] * 2, [0.5, 0.5])
    assert len(np.unique(find_modes(made))) == n_modes


def test_modes_are_those_that_ascents_of_the_density_find():
    rng = np.random.default_rng(0)
    means = 1.5 * rng.normal(size=(8, 2))
    covariances = [shape @ shape.T + 0.1 * np.eye(2) for shape in rng.normal(size=(8, 2, 2)) / 2]
    made = mixture(means, covariances, rng.dirichlet(np.full(8, 5.0)))
    tops = np.array([minimize(lambda x: -made.score_samples(x[None])[0], mean, tol=1e-10).x for mean in means])
    same = np.linalg.norm(tops[:, None] - tops, axis=2) < 1e-3
    modes = find_modes(made)
    assert 1 < len(np.unique(modes)) < 8
    np.testing.assert_array_equal(modes[:, None] == modes, same)


# A number that is given


@pytest.mark.parametrize("n_clusters", [1, 4, 6])
def test_a_number_is_taken(n_clusters, Z_and_target):
    Z, target = Z_and_target
    found = MixtureClustering(n_clusters, random_state=0).fit(Z)
    assert found.n_clusters_ == n_clusters
    np.testing.assert_array_equal(np.unique(found.labels_), np.arange(n_clusters))
    assert (np.diff(np.bincount(found.labels_)) <= 0).all()
    assert len(found.bic_) == 0
    if n_clusters == 4:
        assert adjusted_rand_score(target, found.labels_) > 0.99


def test_the_number_that_is_found_gives_the_same_clusters(Z_and_target):
    found = MixtureClustering(random_state=0).fit(Z_and_target[0])
    again = MixtureClustering(found.n_clusters_, random_state=0).fit(Z_and_target[0])
    np.testing.assert_array_equal(again.labels_, found.labels_)


# More


def test_an_integer_makes_clusters_reproducible(Z_and_target, monkeypatch):
    monkeypatch.setattr(clustering, "MAX_ROWS", 200)
    first, second = (MixtureClustering(random_state=7).fit(Z_and_target[0]) for _ in range(2))
    np.testing.assert_array_equal(first.labels_, second.labels_)
    np.testing.assert_array_equal(first.bic_, second.bic_)


def test_of_many_samples_some_are_learned_from_and_all_clustered(monkeypatch):
    monkeypatch.setattr(clustering, "MAX_ROWS", 500)
    Z, target = groups([4000, 1500, 600])
    found = MixtureClustering(random_state=0).fit(Z)
    assert adjusted_rand_score(target, found.labels_) > 0.99
    np.testing.assert_array_equal(found.labels_[:50], found.predict(Z[:50]))


def test_new_samples_get_the_cluster_that_is_nearest(Z_and_target):
    Z, target = Z_and_target
    new = groups(seed=0)[0] + 0.1
    found = MixtureClustering(random_state=0).fit(Z)
    np.testing.assert_array_equal(found.predict(Z), found.labels_)
    assert adjusted_rand_score(target, found.predict(new)) > 0.99


def test_a_gaussian_that_is_the_likeliest_of_no_sample_is_no_cluster():
    # 3 Gaussians of 2 places
    Z = np.repeat([[0.0, 0.0], [5.0, 5.0]], [6, 3], axis=0)
    found = MixtureClustering(3).fit(Z)
    np.testing.assert_array_equal(found.labels_, [0] * 6 + [1] * 3)
    assert found.n_clusters_ == 2
    np.testing.assert_array_equal(found.predict(Z), found.labels_)


@pytest.mark.parametrize("n_samples", [2, 3, 100])
def test_samples_that_are_all_the_same_are_one_cluster(n_samples):
    found = MixtureClustering(random_state=0).fit(np.full((n_samples, 3), 7.0))
    assert found.n_clusters_ == 1
    np.testing.assert_array_equal(found.labels_, np.zeros(n_samples))


def test_a_number_that_still_falls_warns_in_the_line_of_the_user(Z_and_target):
    with pytest.warns(UserWarning, match="the BIC still falls at max_clusters == 3; expected") as caught:
        found = MixtureClustering(max_clusters=3, random_state=0).fit(Z_and_target[0])
    assert caught[0].filename == __file__
    assert found.n_clusters_ == 3
    assert MixtureClustering(max_clusters=1, random_state=0).fit(Z_and_target[0]).n_clusters_ == 1


@pytest.mark.parametrize(
    ("params", "Z", "error", "message"),
    [
        ({"n_clusters": 5}, np.eye(4), ValueError, "n_clusters == 5, must be at most 4, the number of samples"),
        ({}, np.eye(4)[:1], ValueError, "minimum of 2 is required"),
        ({}, np.full((4, 2), np.nan), ValueError, "Input X contains NaN"),
        ({"n_clusters": 0}, np.eye(4), ValueError, "The 'n_clusters' parameter"),
        ({"max_clusters": 2.5}, np.eye(4), ValueError, "The 'max_clusters' parameter"),
        ({}, "latent.h5ad", TypeError, r"RowStore\(path\)"),
    ],
    ids=["few samples", "one sample", "NaN", "no cluster", "half a cluster", "name"],
)
def test_what_cannot_be_clustered_is_an_error(params, Z, error, message):
    estimator = MixtureClustering(**params)
    with pytest.raises(error, match=message):
        estimator.fit(Z)
    assert not hasattr(estimator, "mixture_")


@parametrize_with_checks([MixtureClustering(), MixtureClustering(3)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# Embeddings of cells


def test_a_pipeline_clusters_what_it_embeds():
    cells = make_single_cell_counts(n_samples=800, n_features=600, random_state=0)
    steps = LogNormalizer(), BetaVAE(random_state=0), MixtureClustering(random_state=0)
    pipeline = make_pipeline(*steps).fit(cells.data)
    labels = pipeline[-1].labels_
    assert 4 <= len(np.unique(labels)) <= 11
    assert adjusted_rand_score(cells.target, labels) > 0.6
    np.testing.assert_array_equal(pipeline.predict(cells.data), labels)


def test_the_embedding_of_genes_that_are_shuffled_is_one_cluster():
    rng = np.random.default_rng(0)
    counts = make_single_cell_counts(n_samples=500, n_features=400, random_state=0).data
    X = LogNormalizer().fit_transform(counts).toarray()
    Z = BetaVAE(random_state=0).fit_transform(np.column_stack([rng.permutation(gene) for gene in X.T]))
    assert MixtureClustering(random_state=0).fit(Z).n_clusters_ == 1


@pytest.mark.pbmc
@pytest.mark.slow
def test_blood_cells_have_clusters_of_the_types_that_are_apart():
    cells = fetch_pbmc3k()
    counts = VariableGeneSelector().fit_transform(cells.data)
    Z = BetaVAE(random_state=0).fit_transform(LogNormalizer().fit_transform(counts))
    labels = MixtureClustering(random_state=0).fit_predict(Z)
    assert 6 <= len(np.unique(labels)) <= 11
    assert adjusted_rand_score(cells.target, labels) > 0.5
    X = LogNormalizer().fit_transform(cells.data)
    found = find_markers(X, labels, feature_names=cells.feature_names, n_top=10)
    tops = [set(names) for names in found.names]
    for genes in ({"PPBP", "PF4"}, {"CD79A", "MS4A1"}, {"LYZ"}, {"GNLY", "NKG7"}):
        assert any(genes <= top for top in tops)
    crossed = pd.crosstab(labels, cells.target_names[cells.target])
    for name in ("B", "NK", "Platelet"):
        own = crossed[name].idxmax()
        assert crossed.loc[own, name] > 0.7 * max(crossed[name].sum(), crossed.loc[own].sum())
