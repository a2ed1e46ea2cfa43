"""What recurs is found, matched and averaged, whatever the order and signs of the dimensions of the runs."""

import pickle
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from models import SMALL
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import NMF, PCA, FactorAnalysis, FastICA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from skvae import BetaVAE, BetaVSC, ConsensusEmbedding, LogNormalizer, RowStore, VariableGeneSelector
from skvae.consensus.loadings import cross_moments, names_after, place_together
from skvae.consensus.matching import combine, match_runs, orientation, standardised
from skvae.consensus.runs import SomeRows, with_seed
from skvae.novelty.rows import draw_part
from skvae.plotting import make_figure, plot_programs, plot_stability

N_PROGRAMS, N_GENES, N_OWN = 4, 120, 12
CHECKED = {"n_components": 2, "hidden_layer_sizes": (), "max_epochs": 1}


def simulate(seed=0, n_samples=400):
    """Return log-normalised counts of cells that use a few of four programs, the programs' genes, and their use."""
    rng = np.random.default_rng(seed)
    levels = rng.lognormal(0, 1, size=N_GENES)
    genes = rng.permutation(N_GENES)[: N_PROGRAMS * N_OWN].reshape(N_PROGRAMS, N_OWN)
    use = rng.gamma(3, 1 / 3, size=(n_samples, N_PROGRAMS)) * (rng.random((n_samples, N_PROGRAMS)) < 0.4)
    folds = np.zeros((N_PROGRAMS, N_GENES))
    np.put_along_axis(folds, genes, rng.uniform(1, 2, size=genes.shape), axis=1)
    rates = levels * np.exp(use @ folds)
    counts = rng.poisson(2000 * rates / rates.sum(axis=1, keepdims=True))
    return LogNormalizer().fit_transform(sparse.csr_matrix(counts.astype(float))), genes, use


@pytest.fixture(scope="module")
def planted():
    return simulate()


@pytest.fixture(scope="module")
def fitted(planted):
    return ConsensusEmbedding(NMF(5, max_iter=500), n_runs=4, random_state=0).fit(planted[0])


class Listed(TransformerMixin, BaseEstimator):
    """Embeds rows as the codes that are listed for its seed."""

    def __init__(self, listed=None, random_state=None):
        self.listed = listed
        self.random_state = random_state

    def fit(self, X, y=None):
        self.codes_ = self.listed(X, self.random_state)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return self.codes_


def unrelated(X, seed):
    return np.random.RandomState(seed).normal(size=(200, 3))


NOISE = np.random.default_rng(0).normal(size=(200, 3))


def consensus_to_check(estimator):
    return [ConsensusEmbedding(estimator, n_runs=2, match=0.0, random_state=0)]


def failing_checks(consensus):
    return {
        f"check_sample_weight_equivalence_on_{kind}_data": "parts of the rows are drawn, not of their copies"
        for kind in ("dense", "sparse")
    }


@parametrize_with_checks(consensus_to_check(BetaVAE(**CHECKED)), expected_failed_checks=failing_checks)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(consensus_to_check(BetaVSC(code="sparse", **CHECKED)), expected_failed_checks=failing_checks)
def test_scikit_learn_conventions_of_sparse_codes(estimator, check):
    check(estimator)


# What recurs


@pytest.mark.parametrize(
    "estimator",
    [
        NMF(5, max_iter=500),
        BetaVSC(5, nonnegative=True, max_epochs=8),
        make_pipeline(StandardScaler(with_mean=False), NMF(5, max_iter=500)),
    ],
    ids=["NMF", "BetaVSC", "pipeline"],
)
def test_planted_programs_are_found_with_their_genes(estimator, planted):
    X, genes, use = planted
    consensus = ConsensusEmbedding(estimator, n_runs=3, random_state=0).fit(X)
    Z = consensus.transform(X)
    r = np.abs(np.corrcoef(Z.T, use.T)[: Z.shape[1], Z.shape[1] :])
    assert (r.max(axis=0) > 0.75).all()
    assert len(set(r.argmax(axis=0))) == N_PROGRAMS
    top = consensus.program_features(N_OWN).indices[r.argmax(axis=0)]
    shared = [len(set(own) & set(found)) / N_OWN for own, found in zip(genes, top, strict=True)]
    assert np.mean(shared) > 0.85


def test_genes_that_are_high_in_all_cells_are_no_programs_genes(planted):
    X, *_ = planted
    everywhere = 8 + np.random.default_rng(0).normal(size=(X.shape[0], 3))
    consensus = ConsensusEmbedding(NMF(5, max_iter=500), n_runs=2, random_state=0).fit(np.c_[X.toarray(), everywhere])
    assert (np.argsort(-consensus.programs_, axis=1)[:, :N_OWN] >= N_GENES).any(axis=1).sum() > 2
    assert (consensus.program_features(N_OWN).indices < N_GENES).all()


def test_two_fits_agree_better_than_two_runs(planted):
    X, *_ = planted
    estimator = NMF(5, init="random", max_iter=200)
    one, other = (ConsensusEmbedding(estimator, n_runs=5, random_state=seed).fit(X) for seed in (0, 1))
    runs = [standardised(run.transform(X)) for run in (*one.estimators_, *other.estimators_)]
    between_runs = [
        np.abs(match_runs([runs[a], runs[b]]).agreement[1]).mean() for a, b in permutations(range(len(runs)), 2)
    ]
    codes = [standardised(consensus.transform(X)) for consensus in (one, other)]
    assert np.abs(match_runs(codes).agreement[1]).mean() > np.mean(between_runs)


def test_order_and_sign_of_the_dimensions_do_not_matter():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 4))
    runs = [truth * [3, 2, 1, 0.5] + 0.2 * rng.normal(size=truth.shape) for _ in range(4)]
    turned = []
    for Z in runs:
        order, signs = rng.permutation(4), rng.choice([-1, 1], size=4)
        turned.append(Z[:, order] * signs)
    matches, others = (match_runs([standardised(Z) for Z in codes]) for codes in (runs, turned))
    assert matches.reference == others.reference
    np.testing.assert_allclose(np.sort(matches.stability), np.sort(others.stability))
    of_each = [
        combine(codes, [sign / 4 for sign in found.signs(0.5, [4] * 4)])
        for codes, found in ((runs, matches), (turned, others))
    ]
    r = np.corrcoef(*(Z.T for Z in of_each))[:4, 4:]
    np.testing.assert_allclose(np.sort(np.abs(r).max(axis=1)), 1)


def test_a_dimension_that_one_run_has_alone_is_left_out_and_others_are_averaged_over_those_that_have_them():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(500, 2))
    odd = rng.normal(size=(4, 500))
    runs = [np.c_[shared + 0.1 * rng.normal(size=shared.shape), own] for own in odd]
    runs[3][:, 1] = rng.normal(size=500)  # and the last run lacks a shared one
    matches = match_runs([standardised(Z) for Z in runs])
    assert (matches.stability >= 0.7).tolist() == [True, True, False]
    signs = matches.signs(0.7, [3] * 4)
    np.testing.assert_array_equal(sum(np.abs(own).sum(axis=0) for own in signs), [4, 3])
    assert matches.reference != 3


def test_the_matching_is_the_best_of_all():
    rng = np.random.default_rng(0)
    one, other = standardised(rng.normal(size=(50, 4))), standardised(rng.normal(size=(50, 4)))
    r = np.abs(one.T @ other / 50)
    best = max(sum(r[row, column] for row, column in enumerate(order)) for order in permutations(range(4)))
    assert np.abs(match_runs([one, other]).agreement[1]).sum() == pytest.approx(best)


def test_runs_may_differ_in_their_number_of_dimensions():
    truth = np.random.default_rng(0).normal(size=(200, 4))
    matches = match_runs([standardised(truth[:, :n]) for n in (4, 2, 3)])
    assert matches.reference == 0
    np.testing.assert_allclose(matches.stability, [1, 1, 0.5, 0], atol=1e-12)
    assert [own.shape for own in matches.signs(0.7, [4, 2, 3])] == [(4, 2), (2, 2), (3, 2)]


def test_a_dimension_that_is_constant_is_not_stable():
    Z = np.c_[np.arange(50.0), np.full(50, 0.1)]
    np.testing.assert_allclose(match_runs([standardised(Z)] * 3).stability, [1, 0], atol=1e-12)


def test_runs_that_share_nothing_are_a_warning_and_no_embedding():
    consensus = ConsensusEmbedding(Listed(unrelated), n_runs=4, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"no dimension is stable over 4 runs: the largest stability_ is 0\.\d"):
        consensus.fit(NOISE)
    assert consensus.programs_.shape == (0, 3)
    assert consensus.stability_.shape == (3,)
    assert consensus.program_features().names.shape == (0, 3)
    with pytest.raises(ValueError, match=r"largest stability_ is .* expected match == 0\.7 or more"):
        consensus.transform(NOISE)
    assert clone(consensus).set_params(match=0.0).fit_transform(NOISE).shape == (200, 3)


# Codes and loadings


def test_codes_have_unit_deviation_and_are_not_negative_where_those_of_the_runs_are_not(fitted, planted):
    Z = fitted.transform(planted[0])
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-5)
    assert Z.min() >= 0
    assert fitted.programs_.min() >= 0
    assert Z.dtype == np.float64
    assert Z.shape[1] == (fitted.stability_ >= 0.7).sum() == len(fitted.programs_) == len(fitted.correlations_)


def test_the_longer_tail_of_codes_is_positive():
    tail = np.random.default_rng(0).gamma(1, size=(300, 1)) - 1
    np.testing.assert_array_equal(orientation(np.c_[tail, -tail, 9 - tail]), [1, -1, 1])
    X = np.c_[tail, np.random.default_rng(1).normal(size=(300, 3)) / 9]
    for sign in (1, -1):
        consensus = ConsensusEmbedding(PCA(1), n_runs=2, random_state=0).fit(sign * X)
        assert np.corrcoef(consensus.transform(sign * X)[:, 0], tail[:, 0])[0, 1] > 0.99
        assert consensus.programs_[0, 0] * sign > 0


def test_codes_are_the_mean_of_those_of_the_runs():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 2))
    runs = [base + 0.1 * rng.normal(size=base.shape) for _ in range(3)]
    matches = match_runs([standardised(Z) for Z in runs])
    signs = matches.signs(0.7, [2] * 3)
    np.testing.assert_allclose(combine(runs, [own / 3 for own in signs]), np.mean(runs, axis=0))


def test_sparse_codes_stay_sparse_and_are_zero_where_most_runs_are():
    codes = np.array([[[1, 0], [0, 0]], [[2, 3], [0, 6]], [[3, 0], [9, 6]]], dtype=np.float32)
    runs = [sparse.csr_matrix(Z) for Z in codes]
    Z = combine(runs, [np.eye(2) / 3] * 3)
    assert sparse.issparse(Z)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z.toarray(), [[2, 0], [0, 4]], rtol=1e-6)
    assert Z.nnz == 2


def test_an_embedding_of_sparse_codes_is_a_csr_matrix(X):
    estimator = BetaVSC(code="sparse", **SMALL)
    Z = ConsensusEmbedding(estimator, n_runs=3, match=0.0, random_state=0).fit_transform(X)
    assert Z.format == "csr"
    assert Z.shape == (120, 3)
    np.testing.assert_allclose(Z.toarray().std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("estimator", [PCA(3), FactorAnalysis(3), FastICA(3, max_iter=1000), PCA(3, whiten=False)])
def test_loadings_give_the_rows_back(estimator, linear):
    X, *_ = linear
    X = X[:300]
    consensus = ConsensusEmbedding(estimator, n_runs=3, random_state=0).fit(X)
    Z = consensus.transform(X)
    rebuilt = (Z - Z.mean(axis=0)) @ consensus.programs_
    centred = X - X.mean(axis=0)
    best = centred - Z @ np.linalg.lstsq(Z - Z.mean(axis=0), centred, rcond=None)[0]
    assert np.square(centred - rebuilt).mean() < 1.1 * np.square(best - best.mean(axis=0)).mean()


def test_without_components_loadings_are_those_of_regression(linear):
    X, *_ = linear
    X = X[:300]
    consensus = ConsensusEmbedding(BetaVAE(3, max_epochs=5), n_runs=3, max_samples=1.0, random_state=0).fit(X)
    Z = consensus.transform(X)
    expected = np.linalg.lstsq(Z - Z.mean(axis=0), X - X.mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(consensus.programs_, expected, atol=0.05 * np.abs(expected).max())
    r = np.corrcoef(Z.T, X.T)[: Z.shape[1], Z.shape[1] :]
    np.testing.assert_allclose(consensus.correlations_, r, atol=0.02)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.coo_array, pd.DataFrame])
def test_moments_are_those_of_numpy(form, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.poisson(1, size=(60, 7)).astype(float)
    X[:, 3] = 0.1
    codes = standardised(rng.normal(size=(60, 2)))
    monkeypatch.setattr("skvae.consensus.loadings.MAX_BLOCK_ELEMENTS", 50)
    products, deviations = cross_moments(codes, form(X))
    np.testing.assert_allclose(products, codes.T @ (X - X.mean(axis=0)) / 60, atol=1e-12)
    np.testing.assert_allclose(deviations, X.std(axis=0), atol=1e-12)
    assert deviations[3] == 0


def test_features_are_those_of_x_though_runs_select_others(cells):
    model = make_pipeline(VariableGeneSelector(40), LogNormalizer(), NMF(3, max_iter=500))
    frame = pd.DataFrame(cells.data.toarray(), columns=cells.feature_names)
    consensus = ConsensusEmbedding(model, n_runs=3, match=0.3, random_state=0).fit(frame)
    selected = [set(run[0].get_support(indices=True)) for run in consensus.estimators_]
    assert len(set.union(*selected)) > 40
    assert consensus.programs_.shape[1] == 80
    seen = np.flatnonzero(np.abs(consensus.correlations_).sum(axis=0))
    assert set(seen) <= set.union(*selected)
    np.testing.assert_array_equal(consensus.program_feature_names_, cells.feature_names)
    assert set(consensus.program_features(5).names.ravel()) <= set(cells.feature_names[seen])


def test_names_go_back_to_those_that_steps_are_given():
    names = np.array(["a", "b", "c"], dtype=object)
    together, places = place_together([names[:2], names[[0, 2]]], names)
    np.testing.assert_array_equal(together, names)
    assert [own.tolist() for own in places] == [[0, 1], [0, 2]]
    together, places = place_together([np.array(["pca0", "pca1"]), np.array(["pca0"])], names)
    assert together.tolist() == ["pca0", "pca1"]
    assert [own.tolist() for own in places] == [[0, 1], [0]]
    assert names_after([FunctionTransformer(np.log1p).fit(np.ones((2, 3)))], names, 3).tolist() == ["a", "b", "c"]
    assert names_after([FunctionTransformer(lambda X: X[:, :2])], names, 2).tolist() == ["x0", "x1"]


def test_program_features_are_ranked_by_correlation(fitted, planted):
    features = fitted.program_features(7)
    specificity = fitted.correlations_ * np.sign(fitted.programs_)
    np.testing.assert_array_equal(
        np.take_along_axis(specificity, features.indices, 1), -np.sort(-specificity, axis=1)[:, :7]
    )
    np.testing.assert_array_equal(features.loadings, np.take_along_axis(fitted.programs_, features.indices, 1))
    assert features.names[0, 0] == f"x{features.indices[0, 0]}"
    assert fitted.program_features(1000).indices.shape[1] == N_GENES
    named = fitted.program_features(2, feature_names=[f"gene {place}" for place in range(N_GENES)])
    assert named.names[0, 0] == f"gene {named.indices[0, 0]}"
    with pytest.raises(ValueError, match=r"feature_names has the shape \(2,\), must have \(120,\)"):
        fitted.program_features(feature_names=["a", "b"])
    with pytest.raises(ValueError, match="n_top == 0"):
        fitted.program_features(0)


# Seeds and parts of the rows


def test_each_run_has_a_seed_of_its_own_and_the_estimator_stays():
    model = make_pipeline(StandardScaler(), BetaVAE(random_state=3))
    rng = np.random.RandomState(0)
    seeds = {with_seed(model, rng).get_params()["betavae__random_state"] for _ in range(4)}
    assert len(seeds) == 4
    assert model[-1].random_state == 3


def test_parts_have_rows_of_each_group():
    groups = np.repeat([0, 1, 2], [70, 29, 1])
    rows = draw_part(groups, 0.4, np.random.RandomState(0), least=1)
    assert np.bincount(groups[rows]).tolist() == [28, 12, 1]
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(draw_part(groups, 1.0, np.random.RandomState(0), least=1), np.arange(100))


@pytest.mark.parametrize("estimator", [NMF(3, init="random", max_iter=500), BetaVSC(**SMALL)], ids=["NMF", "BetaVSC"])
@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_the_number_of_jobs_does_not_change_a_bit(estimator, backend, X):
    consensus = ConsensusEmbedding(estimator, n_runs=3, match=0.0, random_state=0)
    one = clone(consensus).fit(X)
    before = threadpool_info()
    with parallel_config(backend):
        two = clone(consensus).set_params(n_jobs=2).fit(X)
    assert threadpool_info() == before
    for name in ("stability_", "programs_", "correlations_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.transform(X), two.transform(X))


def test_a_store_gives_what_its_rows_give(cells, tmp_path):
    memory_map = np.memmap(tmp_path / "x.dat", dtype="float32", mode="w+", shape=cells.data.shape)
    memory_map[:] = cells.data.toarray()
    store = RowStore(memory_map, block_size=16, buffer_size=1000)
    model = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    consensus = ConsensusEmbedding(model, n_runs=2, match=0.0, random_state=0)
    of_store, of_rows = clone(consensus).fit(store), clone(consensus).fit(np.array(memory_map))
    np.testing.assert_allclose(of_store.programs_, of_rows.programs_, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(of_store.transform(store), of_rows.transform(np.array(memory_map)))


def test_some_rows_of_a_store_are_read_in_order(tmp_path):
    X = np.memmap(tmp_path / "x.dat", dtype="float64", mode="w+", shape=(50, 2))
    X[:] = np.arange(100).reshape(50, 2)
    rows = np.array([1, 5, 6, 30, 49])
    store = RowStore(SomeRows(RowStore(X, block_size=7), rows))
    np.testing.assert_array_equal(store[:], X[rows])
    np.testing.assert_array_equal(store[1:4], X[rows[1:4]])
    assert store[2:2].shape == (0, 2)
    assert store.name.endswith("x.dat")


# What it is handed, and hands on


def test_batches_reach_the_steps_that_take_them(cells):
    batch = np.where(np.arange(120) % 3 == 0, "late", "early")
    vae = BetaVAE(likelihood="nb", encode_batch=True, **SMALL)
    options = {"n_runs": 2, "match": 0.0, "random_state": 0}
    alone = ConsensusEmbedding(vae, **options).fit(cells.data, batch=batch)
    assert alone.estimators_[0].batches_.tolist() == ["early", "late"]
    piped = ConsensusEmbedding(make_pipeline(VariableGeneSelector(80), vae), **options)
    Z = piped.fit_transform(cells.data, batch=batch)
    np.testing.assert_array_equal(Z, alone.transform(cells.data, batch=batch))
    with pytest.raises(ValueError, match="batch"):
        alone.transform(cells.data)
    with config_context(enable_metadata_routing=True):
        asking = make_pipeline(
            VariableGeneSelector(80).set_fit_request(batch=True), clone(vae).set_fit_request(batch=True)
        )
        outer = make_pipeline(
            ConsensusEmbedding(asking, **options).set_fit_request(batch=True).set_transform_request(batch=True)
        )
        np.testing.assert_array_equal(outer.fit(cells.data, batch=batch).transform(cells.data, batch=batch), Z)


def test_weights_reach_the_step_that_takes_them(X):
    weights = np.repeat([1.0, 3.0], 60)
    options = {"n_runs": 2, "match": 0.0, "max_samples": 1.0, "random_state": 0}
    consensus = ConsensusEmbedding(BetaVAE(**SMALL), **options).fit(X, sample_weight=weights)
    run = consensus.estimators_[0]
    np.testing.assert_array_equal(clone(run).fit(X, sample_weight=weights).transform(X), run.transform(X))
    with pytest.raises(ValueError, match=r"sample_weight is given, which no fit of PCA\(.*\) takes; expected None"):
        ConsensusEmbedding(PCA(2)).fit(X.toarray(), sample_weight=weights)


def test_names_of_features_go_in_and_out(cells):
    frame = pd.DataFrame(cells.data.toarray(), columns=cells.feature_names)
    consensus = ConsensusEmbedding(NMF(2, max_iter=500), n_runs=2, match=0.0, random_state=0).fit(frame)
    np.testing.assert_array_equal(consensus.feature_names_in_, cells.feature_names)
    assert consensus.program_features(3).names[0, 0] in cells.feature_names
    assert list(consensus.get_feature_names_out()) == ["consensusembedding0", "consensusembedding1"]
    table = consensus.set_output(transform="pandas").transform(frame)
    assert list(table.columns) == ["consensusembedding0", "consensusembedding1"]
    with pytest.raises(ValueError, match="feature names"):
        consensus.transform(frame[frame.columns[::-1]])


def test_searches_and_pipelines_take_it(planted):
    X, *_ = planted

    def stability(consensus, X, y=None):
        return consensus.stability_.mean()

    search = GridSearchCV(
        ConsensusEmbedding(NMF(4, max_iter=500), n_runs=2, random_state=0),
        {"estimator__n_components": [3, 4]},
        scoring=stability,
        cv=2,
    ).fit(X)
    assert search.best_estimator_.estimators_[0].n_components == search.best_params_["estimator__n_components"]
    piped = make_pipeline(StandardScaler(with_mean=False), clone(search.best_estimator_)).fit(X)
    assert piped.transform(X).shape[0] == X.shape[0]


def test_it_can_be_pickled_and_gives_the_same_bits_again(fitted, planted):
    X, *_ = planted
    before = np.random.get_state()  # noqa: NPY002
    again = clone(fitted).fit(X)
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    copied = pickle.loads(pickle.dumps(fitted))
    for other in (again, copied):
        np.testing.assert_array_equal(other.transform(X), fitted.transform(X))
    with pytest.raises(NotFittedError):
        clone(fitted).transform(X)


def test_a_failed_fit_changes_nothing(fitted, planted):
    consensus = clone(fitted).fit(planted[0])
    before = dict(vars(consensus))
    with pytest.raises(ValueError, match="Negative"):
        consensus.fit(-planted[0])
    assert all(vars(consensus)[name] is value for name, value in before.items())


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"estimator": "NMF"}, "estimator"),
        ({"estimator": make_pipeline(BaseEstimator())}, "estimator"),
        ({"n_runs": 1}, "n_runs"),
        ({"match": 1.5}, "match"),
        ({"max_samples": 0.0}, "max_samples"),
        ({"max_samples": 2}, "max_samples"),
        ({"n_jobs": 0.5}, "n_jobs"),
        ({"random_state": "a"}, "random_state"),
    ],
)
def test_parameters_are_checked(params, name, X):
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        ConsensusEmbedding(**{"estimator": NMF(2), **params}).fit(X)


# Plots


def test_bars_are_the_stability_and_grey_where_a_dimension_is_left_out():
    consensus = ConsensusEmbedding(Listed(unrelated), n_runs=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        consensus.fit(NOISE)
    consensus.stability_ = np.array([0.9, 0.2, 0.7])
    [[ax]] = make_figure(1, 1)[1]
    bars = plot_stability(ax, consensus)
    np.testing.assert_allclose([bar.get_height() for bar in bars], [0.9, 0.2, 0.7])
    first, second, third = (bar.get_facecolor() for bar in bars)
    assert first == third != second
    assert ax.get_title() == "2 of 3 dimensions are stable"


def test_a_heat_map_has_the_mean_code_of_each_group(fitted, planted):
    X, *_ = planted
    groups = np.repeat(["a", "b"], [100, 300])
    [[ax]] = make_figure(1, 1)[1]
    image = plot_programs(ax, fitted, X, groups)
    Z = fitted.transform(X)
    means = np.array([Z[:100].mean(axis=0), Z[100:].mean(axis=0)])
    np.testing.assert_allclose(image.get_array(), means / np.abs(means).max(axis=0))
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[0] == "0: " + ", ".join(fitted.program_features(2).names[0])
    plot_programs(ax, fitted, X, groups, n_top=0)
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(place) for place in range(Z.shape[1])]


@pytest.mark.pbmc
@pytest.mark.slow
def test_programs_of_pbmc3k_recur_from_fit_to_fit():
    from skvae import fetch_pbmc3k

    X = make_pipeline(VariableGeneSelector(2000), LogNormalizer()).fit_transform(fetch_pbmc3k().data)
    one, other = (ConsensusEmbedding(BetaVSC(10), random_state=seed).fit(X) for seed in (0, 1))
    r = np.abs(standardised(one.transform(X)).T @ standardised(other.transform(X))) / X.shape[0]
    rows, columns = linear_sum_assignment(r, maximize=True)
    assert r[rows, columns].mean() >= 0.9
    assert (r[rows, columns] > 0.9).mean() >= 0.8
    tops = [consensus.program_features(30).indices.tolist() for consensus in (one, other)]
    pairs = [(set(tops[0][row]), set(tops[1][column])) for row, column in zip(rows, columns, strict=True)]
    assert np.mean([len(a & b) / len(a | b) for a, b in pairs]) >= 0.75
