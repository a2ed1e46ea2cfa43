import inspect
import math
import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.stats
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.schedules import SCHEDULES

ESTIMATORS = (AutoencoderEmbedding, BetaVAE, BetaVSC)
VARIATIONAL = (BetaVAE, BetaVSC)
SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}
FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")

every_estimator = pytest.mark.parametrize("Estimator", ESTIMATORS)


class Unexpected(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training began")


@contextmanager
def unchanged(estimator, X):
    """Assert that the estimator keeps every attribute, parameters and fit, and its embedding of X."""
    attributes, Z = dict(vars(estimator)), estimator.transform(X)
    yield
    assert vars(estimator).keys() == attributes.keys()
    assert all(vars(estimator)[name] is value for name, value in attributes.items())
    np.testing.assert_array_equal(estimator.transform(X), Z)


# Input


@every_estimator
@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("layout", FORMATS)
def test_sparse_and_dense_input_give_the_same_bits(Estimator, container, layout, X):
    dense = Estimator(**SMALL).fit_transform(X.toarray())
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(container(X).asformat(layout)), dense)


@every_estimator
def test_sparse_input_is_never_made_dense_as_a_whole(Estimator, monkeypatch):
    heights = []

    def toarray(self, *args, original=sparse.csr_array.toarray, **kwargs):
        heights.append(self.shape[0])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", toarray)
    for n_features, most in ((2000, 2200), (5000, 0)):  # made dense a batch at a time, or not at all
        X = sparse.random_array((4500, n_features), density=0.01, format="csr", random_state=0, dtype=np.float32)
        estimator = Estimator(**{**SMALL, "max_epochs": 1}).fit(X)
        estimator.transform(X)
        estimator.score(X)
        assert max(heights, default=0) <= most
        heights.clear()


@every_estimator
def test_wide_sparse_input_gives_what_dense_input_gives_within_rounding(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0)
    settings = {**SMALL, "max_epochs": 5, "batch_size": 30, "hidden_layer_sizes": (16,)}
    few, dense = (Estimator(**settings).fit(data) for data in (X, X.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    np.testing.assert_allclose(few.transform(X), dense.transform(X), atol=1e-4)
    np.testing.assert_allclose(few.score_samples(X), few.score_samples(X.toarray()), rtol=1e-9)


@every_estimator
def test_sparse_input_may_be_read_only(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0)
    expected = Estimator(**SMALL).fit_transform(X)
    for part in (X.data, X.indices, X.indptr):
        part.setflags(write=False)
    np.testing.assert_array_equal(Estimator(**SMALL).fit_transform(X), expected)


@every_estimator
def test_sparse_features_that_hardly_vary_beside_a_large_mean_lose_no_precision(Estimator):
    X = sparse.random_array((90, 5000), density=0.05, format="csr", random_state=0).tolil()
    X[:, :3] = 1e4 + np.arange(270).reshape(90, 3) % 7
    X = X.tocsr()
    few, dense = (Estimator(**SMALL, likelihood="unit_gaussian").fit(data) for data in (X, X.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    single = X.astype(np.float32)
    np.testing.assert_allclose(few.score_samples(single), few.score_samples(single.toarray()), rtol=1e-4)


@every_estimator
def test_the_embedding_has_the_float_type_of_the_input(Estimator, X):
    for dtype in (np.float32, np.float64):
        assert Estimator(**SMALL).fit_transform(X.astype(dtype)).dtype == dtype


@every_estimator
def test_integers_are_taken_as_floats(Estimator, cells):
    counts = cells.data.astype(np.int64)
    Z = Estimator(**SMALL).fit_transform(counts)
    assert Z.dtype == np.float64
    np.testing.assert_array_equal(Z, Estimator(**SMALL).fit_transform(counts.astype(np.float64)))


@every_estimator
def test_frames_give_and_check_feature_names(Estimator, X):
    names = [f"gene{i}" for i in range(X.shape[1])]
    for frame in (pd.DataFrame(X.toarray(), columns=names), pl.DataFrame(X.toarray(), schema=names)):
        estimator = Estimator(**SMALL).fit(frame)
        assert list(estimator.feature_names_in_) == names
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(pd.DataFrame(X.toarray(), columns=names[::-1]))


@every_estimator
def test_input_is_not_changed(Estimator, X):
    dense = X.toarray()
    before = dense.copy()
    dense.setflags(write=False)
    estimator = Estimator(**SMALL).fit(dense)
    estimator.inverse_transform(estimator.transform(dense))
    estimator.score(dense)
    np.testing.assert_array_equal(dense, before)


# Output


@every_estimator
def test_output_names_carry_the_class(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    expected = [f"{Estimator.__name__.lower()}{i}" for i in range(3)]
    assert list(estimator.get_feature_names_out()) == expected
    assert list(estimator.set_output(transform="pandas").transform(X).columns) == expected
    assert estimator.set_output(transform="polars").transform(X).columns == expected


@every_estimator
def test_inverse_transform_decodes_what_transform_encodes(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    Z = estimator.transform(X)
    with torch.inference_mode():
        expected = estimator.net_.module_.mean(torch.from_numpy(Z), torch.zeros(len(Z), 0)).numpy()
    np.testing.assert_array_equal(estimator.inverse_transform(Z), expected)
    assert expected.shape == X.shape


@every_estimator
def test_history_has_a_finite_value_of_each_term_an_epoch(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    assert estimator.n_epochs_ == 3
    assert set(estimator.history_) == {"loss", "reconstruction", "kl", "kl_weight", "active"}
    for values in estimator.history_.values():
        assert values.shape == (3,)
        assert np.isfinite(values).all()


def test_the_history_tells_of_the_warm_up_and_of_active_dimensions(X):
    vae = BetaVAE(**SMALL | {"max_epochs": 20}, beta=2.0, kl_warmup=0.5).fit(X)
    weight, active = vae.history_["kl_weight"], vae.history_["active"]
    assert 0 <= weight[0] < 1
    assert (np.diff(weight[:10]) > 0).all()
    np.testing.assert_array_equal(weight[10:], 2)
    assert active[-1] == vae.active_components_.sum()
    collapsed = BetaVAE(**SMALL | {"max_epochs": 200}, init="random", beta=1e4, kl_warmup=0.4).fit(X)
    assert collapsed.history_["active"][0] == 3
    assert collapsed.history_["active"][-1] == 0


def test_the_loss_is_reconstruction_plus_beta_kl(X):
    history = BetaVAE(**SMALL, beta=3.0, kl_warmup=0).fit(X).history_
    np.testing.assert_allclose(history["loss"], history["reconstruction"] + 3 * history["kl"], rtol=1e-6)


def test_the_warm_up_covers_its_share_of_the_run(X):
    history = BetaVAE(**{**SMALL, "max_epochs": 10, "batch_size": 120}, kl_warmup=0.5).fit(X).history_
    weights = (history["loss"] - history["reconstruction"]) / history["kl"]
    np.testing.assert_allclose(weights, [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1], atol=1e-4)


def test_the_sparse_code_is_csr_and_mu_where_the_gate_is_likely_open(X):
    vsc = BetaVSC(**SMALL, alpha=0.01, beta=5.0, code="sparse").fit(X)
    code = vsc.transform(X)
    assert sparse.issparse(code)
    assert code.format == "csr"
    assert code.dtype == X.dtype
    with torch.inference_mode():
        module = vsc.net_.module_
        mu, _, v = module.encode(torch.from_numpy(X.toarray()), torch.zeros(120, 0))
    np.testing.assert_array_equal(code.toarray(), np.where(v > 0, module.scale * mu, 0))
    assert code.nnz == np.count_nonzero(v > 0)
    np.testing.assert_array_equal(vsc.inverse_transform(code), vsc.inverse_transform(code.toarray()))


def test_a_misspelt_code_is_an_error_at_transform_too(X):
    vsc = BetaVSC(**SMALL).fit(X).set_params(code="spares")
    with pytest.raises(ValueError, match=r"'code' parameter of BetaVSC .* Got 'spares'"):
        vsc.transform(X)


def test_the_code_is_chosen_at_transform(X):
    vsc = BetaVSC(**SMALL).fit(X)
    with torch.inference_mode():
        module = vsc.net_.module_
        mu, _, v = module.encode(torch.from_numpy(X.toarray()), torch.zeros(120, 0))
    np.testing.assert_allclose(vsc.transform(X), module.scale * torch.sigmoid(v) * mu, rtol=1e-6)
    assert sparse.issparse(vsc.set_params(code="sparse").transform(X))


# What training does


def test_a_linear_autoencoder_reaches_the_reconstruction_of_pca():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12)) + 0.3 * rng.normal(size=(300, 12))
    linear = AutoencoderEmbedding(
        3, hidden_layer_sizes=(), max_epochs=300, batch_size=50, learning_rate=1e-2, random_state=0
    ).fit(X)
    pca = PCA(3).fit(X)
    own, best = (((X - model.inverse_transform(model.transform(X))) ** 2).sum() for model in (linear, pca))
    assert best <= own < 1.02 * best


@pytest.mark.parametrize("Estimator", VARIATIONAL)
def test_training_honours_beta(Estimator, X):
    settings = {**SMALL, "max_epochs": 60, "batch_size": 30}
    kl = [Estimator(**settings, beta=beta).fit(X).history_["kl"][-1] for beta in (0.1, 1.0, 10.0)]
    assert kl[0] > 1.5 * kl[1] > 1.5 * 1.5 * kl[2]


def test_a_smaller_alpha_gives_a_sparser_code(X):
    settings = {**SMALL, "n_components": 8, "max_epochs": 100, "batch_size": 30, "code": "sparse"}
    active = [BetaVSC(**settings, alpha=alpha).fit_transform(X).nnz for alpha in (0.9, 0.3, 0.01)]
    assert active[0] > active[1] > active[2]


def test_callbacks_are_called(X):
    class Counter(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1

    counter = Counter()
    AutoencoderEmbedding(**SMALL, callbacks=[counter]).fit(X)
    assert counter.n_epochs == 3


def test_with_a_constant_schedule_a_callback_sets_the_learning_rate(X):
    halving = LRScheduler("StepLR", step_size=1, gamma=0.5)
    settings = {**SMALL, "learning_rate": 0.08, "learning_rate_schedule": "constant", "callbacks": [halving]}
    autoencoder = AutoencoderEmbedding(**settings).fit(X)
    assert autoencoder.net_.history[:, "event_lr"] == pytest.approx([0.08, 0.04, 0.02])


def test_a_checkpoint_keeps_the_best_epoch(X, tmp_path):
    checkpoint = Checkpoint(monitor="train_loss_best", dirname=tmp_path, f_criterion=None)
    history = AutoencoderEmbedding(**{**SMALL, "max_epochs": 10}, callbacks=[checkpoint]).fit(X).net_.history
    losses = history[:, "train_loss"]
    assert history[:, "train_loss_best"] == [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert (tmp_path / "params.pt").exists()


def test_an_early_stopping_callback_ends_training_and_not_fit(X):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e6, threshold_mode="abs", sink=lambda _: None)
    autoencoder = AutoencoderEmbedding(**{**SMALL, "max_epochs": 50}, callbacks=[stop]).fit(X)
    assert autoencoder.n_epochs_ == 3
    assert autoencoder.transform(X).shape == (120, 3)


@pytest.mark.parametrize(("verbose", "stream", "text"), [(1, "err", "3/3"), (2, "out", "train_loss")])
def test_verbose_shows_the_epochs(verbose, stream, text, X, capsys):
    BetaVAE(**SMALL, verbose=verbose).fit(X)
    assert text in getattr(capsys.readouterr(), stream)


def test_fit_is_silent_by_default(X, capsys):
    BetaVAE(**SMALL).fit(X)
    assert capsys.readouterr() == ("", "")


# Counts


@every_estimator
@pytest.mark.parametrize("likelihood", ["poisson", "nb"])
def test_raw_counts_go_into_fit(Estimator, likelihood, cells):
    settings = {**SMALL, "likelihood": likelihood, "max_epochs": 20, "batch_size": 30}
    few, dense = (Estimator(**settings).fit(counts) for counts in (cells.data, cells.data.toarray()))
    loss = few.history_["loss"]
    assert loss[-1] < loss[0]
    np.testing.assert_array_equal(few.transform(cells.data), dense.transform(cells.data))
    expected = few.inverse_transform(few.transform(cells.data))
    np.testing.assert_allclose(expected.sum(axis=1), cells.data.sum(axis=1).mean(), rtol=1e-5)


def test_wide_sparse_counts_give_what_dense_counts_give_within_rounding():
    counts = make_single_cell_counts(90, 3000, random_state=0).data.astype(np.float64)
    settings = {**SMALL, "likelihood": "nb", "max_epochs": 5, "batch_size": 30}
    few, dense = (BetaVAE(**settings).fit(X) for X in (counts, counts.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    np.testing.assert_allclose(few.score_samples(counts), few.score_samples(counts.toarray()), rtol=1e-9)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_counts_must_not_be_negative_and_should_be_integers(container):
    counts = np.random.default_rng(0).poisson(2.0, size=(30, 8)).astype(np.float64)
    vae = BetaVAE(**SMALL, likelihood="nb").fit(container(counts))
    counts[3, 4] = 0.5
    with pytest.warns(UserWarning, match=r"X holds 0.5; expected counts, integers >= 0, for a likelihood of counts"):
        vae.transform(container(counts))
    counts[3, 4] = -1
    for method in (vae.fit, vae.transform, vae.score):
        with unchanged(vae, container(np.abs(counts))), pytest.raises(ValueError, match="Negative values in data"):
            method(container(counts))


# Scores


@every_estimator
def test_score_is_the_mean_over_rows(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    scores = estimator.score_samples(X)
    assert scores.shape == (X.shape[0],)
    assert estimator.score(X) == pytest.approx(scores.mean(), rel=1e-6)


def test_the_autoencoder_scores_the_log_likelihood_of_its_reconstruction(X):
    autoencoder = AutoencoderEmbedding(**SMALL).fit(X)
    residual = X.toarray() - autoencoder.inverse_transform(autoencoder.transform(X))
    scale = autoencoder.net_.module_.likelihood.variance().detach().sqrt()
    expected = scipy.stats.norm.logpdf(residual, scale=scale).sum(axis=1)
    np.testing.assert_allclose(autoencoder.score_samples(X), expected, rtol=1e-5)


def test_the_score_of_a_linear_model_is_close_to_and_below_the_log_likelihood_of_ppca():
    # Probabilistic PCA with unit noise is the best linear Gaussian model; its ELBO can be tight.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) @ (3 * rng.normal(size=(2, 6))) + rng.normal(size=(500, 6))
    settings = {"noise_floor": 0.0, "max_epochs": 300, "batch_size": 50, "learning_rate": 1e-2, "random_state": 0}
    vae = BetaVAE(2, hidden_layer_sizes=(), **settings).fit(X)
    ppca = PCA(2).fit(X).score(X)
    assert ppca - 0.3 < vae.score(X) < ppca + 0.1


@pytest.mark.parametrize("Estimator", VARIATIONAL)
def test_the_score_counts_the_kl_once_whatever_beta(Estimator, X):
    estimator = Estimator(**SMALL, beta=1.0).fit(X)
    other = clone(estimator).set_params(beta=7.0, kl_warmup=1.0).fit(X)
    other.net_.module_.load_state_dict(estimator.net_.module_.state_dict())
    assert other.score(X) == estimator.score(X)


# The generative model


@pytest.mark.parametrize("Estimator", VARIATIONAL)
def test_the_posterior_has_the_mean_that_transform_returns(Estimator, X):
    model = Estimator(**SMALL).fit(X)
    posterior = model.posterior(X)
    np.testing.assert_array_equal(posterior.mean, model.transform(X))
    assert posterior.std.shape == posterior.activation.shape == (120, 3)
    assert (posterior.std > 0).all()
    assert ((posterior.activation > 0) & (posterior.activation <= 1)).all()


@pytest.mark.parametrize("Estimator", VARIATIONAL)
@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_the_importance_weighted_bound_is_tighter_than_the_elbo(Estimator, likelihood, X, cells):
    data = cells.data if likelihood == "nb" else X
    settings = {**SMALL, "max_epochs": 40, "batch_size": 30, "likelihood": likelihood}
    model = Estimator(**settings).fit(data)
    few, many = (model.log_likelihood(data, n_samples=n).mean() for n in (1024, 4096))
    gain = few - model.score(data)
    assert gain > 0
    assert abs(many - few) < gain / 4  # four times the samples find little more


@pytest.mark.parametrize("Estimator", VARIATIONAL)
@pytest.mark.parametrize("likelihood", ["gaussian", "unit_gaussian", "poisson", "nb"])
def test_samples_are_like_the_data(Estimator, likelihood, cells):
    X = cells.data.toarray().astype(np.float64)
    model = Estimator(**{**SMALL, "max_epochs": 60, "batch_size": 30, "likelihood": likelihood}).fit(X)
    drawn = model.sample(3000, random_state=0)
    assert drawn.shape == (3000, 80)
    assert np.corrcoef(drawn.mean(axis=0), X.mean(axis=0))[0, 1] > 0.9
    if likelihood in ("poisson", "nb"):
        np.testing.assert_array_equal(drawn, np.abs(np.rint(drawn)))
        assert drawn.sum(axis=1).mean() == pytest.approx(X.sum(axis=1).mean(), rel=0.1)
    np.testing.assert_array_equal(model.sample(5, random_state=1), model.sample(5, random_state=1))


def test_an_autoencoder_has_no_posterior_and_no_prior(X):
    autoencoder = AutoencoderEmbedding(**SMALL).fit(X)
    for method in ("posterior", "sample", "log_likelihood"):
        assert not hasattr(autoencoder, method)


@every_estimator
@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb", "gaussian"])
def test_denoised_rows_are_expected_values_at_their_own_or_a_given_total(Estimator, likelihood, cells):
    X = cells.data.astype(np.float64)
    model = Estimator(**SMALL, likelihood=likelihood).fit(X)
    decoded, denoised = model.inverse_transform(model.transform(X)), model.denoise(X)
    if likelihood == "gaussian":
        np.testing.assert_allclose(denoised, decoded, rtol=1e-12)
        with pytest.raises(ValueError, match="library_size == 5, must be None for a likelihood that is not one of"):
            model.denoise(X, library_size=5)
    else:
        np.testing.assert_allclose(denoised.sum(axis=1), X.sum(axis=1), rtol=1e-10)
        np.testing.assert_allclose(model.denoise(X, library_size=70).sum(axis=1), 70, rtol=1e-10)
        assert (decoded.sum(axis=1) < X.sum(axis=1).mean() * 0.99).all() == (likelihood == "zinb")  # dropout is in it
    if likelihood in ("poisson", "nb"):
        np.testing.assert_allclose(
            denoised / denoised.sum(axis=1, keepdims=True), decoded / decoded.sum(axis=1)[:, None]
        )


@every_estimator
def test_clone_keeps_parameters_and_drops_the_fit(Estimator, X):
    estimator = Estimator(**{**SMALL, "hidden_layer_sizes": [8, 4]})
    twin = clone(estimator.fit(X))
    assert twin.get_params() == estimator.get_params()
    assert not hasattr(twin, "net_")


@every_estimator
def test_every_parameter_is_documented_once(Estimator):
    section = inspect.getdoc(Estimator).split("Attributes\n---")[0]
    documented = [line.split(" : ")[0] for line in section.splitlines() if " : " in line and not line.startswith(" ")]
    assert sorted(documented) == sorted(inspect.signature(Estimator).parameters)


# Bad input


@every_estimator
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "'n_components' parameter of .* Got 0"),
        ({"n_components": 2.5}, "'n_components' parameter of .* Got 2.5"),
        ({"likelihood": "cauchy"}, "'likelihood' parameter of .*'gaussian'.* Got 'cauchy'"),
        ({"activation": "swish"}, "'activation' parameter of .*'relu'.* Got 'swish'"),
        ({"batch_size": 0}, "'batch_size' parameter of .* Got 0"),
        ({"max_epochs": 0}, "'max_epochs' parameter of .* Got 0"),
        ({"learning_rate": 0.0}, "'learning_rate' parameter of .* Got 0.0"),
        ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes == \(8, 0\), must hold only integers >= 1"),
        ({"head_layer_sizes": (2.5,)}, r"head_layer_sizes == \(2.5,\), must hold only integers >= 1"),
        ({"device": "cuda:99"}, "device == 'cuda:99', must be 'auto' or one of .*'cpu'"),
        ({"device": "gpu"}, "device == 'gpu', must be 'auto' or one of .*'cpu'"),
    ],
)
def test_bad_parameters_are_named_and_change_nothing(Estimator, parameters, message, X):
    estimator = Estimator(**SMALL).fit(X)
    estimator.set_params(**parameters)
    with unchanged(estimator, X), pytest.raises(ValueError, match=message):
        estimator.fit(X)


@pytest.mark.parametrize(
    ("Estimator", "parameters", "message"),
    [
        (BetaVAE, {"beta": -1.0}, r"'beta' parameter of BetaVAE must be a float in the range \[0.0, inf\). Got -1.0"),
        (BetaVSC, {"beta": -0.1}, "'beta' parameter of BetaVSC .* Got -0.1"),
        (BetaVSC, {"alpha": 0.0}, r"'alpha' parameter of BetaVSC must be a float in the range \(0.0, 1.0\). Got 0.0"),
        (BetaVSC, {"alpha": 1.0}, "'alpha' parameter of BetaVSC .* Got 1.0"),
        (BetaVSC, {"code": "dense"}, "'code' parameter of BetaVSC .*'sparse'.* Got 'dense'"),
        (BetaVAE, {"kl_warmup": 1.5}, "'kl_warmup' parameter of BetaVAE .* Got 1.5"),
        (AutoencoderEmbedding, {"latent_activation": "exp"}, "'latent_activation' parameter .* Got 'exp'"),
    ],
)
def test_bad_parameters_of_one_model_are_named(Estimator, parameters, message, X):
    with pytest.raises(ValueError, match=message):
        Estimator(**{**SMALL, **parameters}).fit(X)


@every_estimator
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: np.full((10, 4), np.nan), "Input X contains NaN"),
        (lambda _: np.full((10, 4), np.inf), "Input X contains infinity"),
        (lambda X: X[:0], r"0 sample\(s\).* a minimum of 1"),
        (lambda X: X[:, :1], r"1 feature\(s\).* a minimum of 2"),
        (lambda X: X.toarray()[0], "Expected 2D array, got 1D array"),
        (lambda _: np.array([["a", "b"], ["c", "d"]]), "could not convert string to float"),
    ],
)
def test_bad_data_is_named_and_changes_nothing(Estimator, make, message, X):
    estimator = Estimator(**SMALL).fit(X)
    with unchanged(estimator, X), pytest.raises(ValueError, match=message):
        estimator.fit(make(X))


@every_estimator
def test_a_bad_frame_changes_neither_names_nor_fit(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    with unchanged(estimator, X), pytest.raises(ValueError, match="contains NaN"):
        estimator.fit(pd.DataFrame({"a": [1.0, np.nan], "b": [0.0, 1.0]}))


@every_estimator
def test_column_names_of_mixed_types_are_an_error_before_training(Estimator, X):
    estimator = Estimator(**SMALL).fit(X).set_params(callbacks=[Unexpected()])
    with unchanged(estimator, X), pytest.raises(TypeError, match="Feature names are only supported if all"):
        estimator.fit(pd.DataFrame(X.toarray()[:, :2], columns=["a", 1]))


@every_estimator
def test_a_wrong_number_of_features_is_named(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    for method in (estimator.transform, estimator.score, estimator.score_samples):
        with pytest.raises(ValueError, match=f"X has 79 features, but {Estimator.__name__} is expecting 80 features"):
            method(X[:, 1:])
    with pytest.raises(ValueError, match=r"X has 2 features, but .*inverse_transform is expecting 3 features"):
        estimator.inverse_transform(np.zeros((4, 2)))


@every_estimator
def test_callbacks_that_are_none_are_named(Estimator, X):
    with pytest.raises(TypeError, match="callbacks holds 42, must hold skorch callbacks"):
        Estimator(**SMALL, callbacks=[42]).fit(X)


@pytest.mark.parametrize(
    ("init", "n_samples", "batch_size", "n_epochs"),
    [
        ("random", 40, 40, 250), ("random", 40, 20, 125), ("random", 40, 4, 60), ("random", 4000, 500, 50),
        ("random", 30_000, 900, 8), ("linear", 40, 40, 8), ("linear", 2100, 500, 9), ("linear", 30_000, 900, 8),
    ],
)  # fmt: skip
def test_by_default_the_epochs_follow_the_number_of_rows(init, n_samples, batch_size, n_epochs):
    X = np.random.default_rng(0).normal(size=(n_samples, 2))
    vae = BetaVAE(1, init=init, hidden_layer_sizes=(2,), batch_size=batch_size, random_state=0).fit(X)
    assert vae.n_epochs_ == n_epochs


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_its_schedule(schedule, X):
    rates = []

    class Spy(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    settings = {**SMALL, "batch_size": 75, "learning_rate": 0.5, "learning_rate_schedule": schedule}
    BetaVAE(**settings, beta=0.0, callbacks=[Spy()]).fit(X)
    n_steps = 3 * math.ceil(X.shape[0] / 75)
    np.testing.assert_allclose(rates, [0.5 * SCHEDULES[schedule]((step + 0.5) / n_steps) for step in range(n_steps)])


@every_estimator
def test_active_components_are_those_that_tell_of_x(Estimator):
    # data of two dimensions, and ten to describe them
    Z = np.random.default_rng(0).normal(size=(300, 2))
    low_rank = Z @ np.random.default_rng(1).normal(size=(2, 30)) + 0.5 * np.random.default_rng(2).normal(size=(300, 30))
    model = Estimator(random_state=0).fit(low_rank)
    module = model.net_.module_
    x = torch.as_tensor(low_rank, dtype=torch.float32)
    kl = module.latent.kl(module.encode(x, torch.zeros(300, 0))).detach().mean(dim=0)
    above_noise = module.projection.explained > module.projection.edges
    informative = kl > (0.01 if Estimator in VARIATIONAL else 0.01 * kl.max())
    np.testing.assert_array_equal(model.active_components_, informative & above_noise)
    np.testing.assert_array_equal(model.active_components_, np.arange(10) < 2)


@pytest.mark.parametrize("Estimator", VARIATIONAL)
def test_a_posterior_that_is_the_same_for_all_rows_is_not_active(Estimator):
    # without input dropout the encoder sees twice as much, and its constant posterior is not quite the prior
    X = LogNormalizer().fit_transform(make_single_cell_counts(600, 500, random_state=0).data)
    model = Estimator(init="random", beta=64, kl_warmup=0.4, max_epochs=30, random_state=0).fit(X)
    assert model.posterior(X).mean.std(axis=0).max() < 0.1
    assert not model.active_components_.any()


@every_estimator
def test_held_out_rows_are_judged_after_each_epoch(Estimator, X):
    settings = {**SMALL, "init": "random", "max_epochs": 10}
    model = Estimator(**settings).fit(X[:90], X_val=X[90:])
    validation = model.history_["validation"]
    assert validation.shape == (10,)
    assert validation[-1] == pytest.approx(-model.score(X[90:]), rel=1e-2)
    assert validation[-1] < validation[0]
    np.testing.assert_array_equal(Estimator(**settings).fit(X[:90]).transform(X), model.transform(X))


def test_epochs_without_held_out_rows_leave_none_in_the_history(X):
    vae = BetaVAE(**SMALL).fit(X[:90], X_val=X[90:]).partial_fit(X[:90])
    assert "validation" not in vae.history_
    assert vae.history_["loss"].shape == (vae.n_epochs_,)


def test_early_stopping_by_held_out_rows(X):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 30)), rng.normal(size=(40, 30))
    stop = EarlyStopping(monitor="validation", patience=3, sink=lambda _: None)
    settings = {"learning_rate_schedule": "constant", "learning_rate": 0.01, "random_state": 0, "max_epochs": 300}
    vae = BetaVAE(2, **settings, callbacks=[stop]).fit(noise[0], X_val=noise[1])
    assert 4 <= vae.n_epochs_ < 300
    assert vae.history_["validation"][:-3].min() < vae.history_["validation"][-3:].min()


def test_held_out_rows_have_batches(X):
    batch = np.arange(120) % 2
    vae = BetaVAE(**SMALL).fit(X[:90], batch=batch[:90], X_val=X[90:], batch_val=batch[90:])
    expected = -vae.score(X[90:], batch=batch[90:])
    assert vae.history_["validation"][-1] == pytest.approx(expected, rel=1e-2)
    with pytest.raises(ValueError, match=r"batch_val holds \[2\]"):
        vae.fit(X[:90], batch=batch[:90], X_val=X[90:], batch_val=2)
    with pytest.raises(ValueError, match=r"batch_val is None; expected"):
        vae.fit(X[:90], batch=batch[:90], X_val=X[90:])


def test_batches_of_no_held_out_rows_are_an_error(X):
    with pytest.raises(ValueError, match="batch_val is given, and X_val is None"):
        BetaVAE(**SMALL).fit(X, batch_val=0)


def test_the_best_epoch_by_held_out_rows_can_be_kept(X, tmp_path):
    best = Checkpoint(monitor="validation_best", dirname=tmp_path, f_criterion=None, f_optimizer=None)
    vae = BetaVAE(**SMALL, callbacks=[best]).fit(X[:90], X_val=X[90:])
    is_best = np.array(vae.net_.history[:, "validation_best"])
    lowest = np.minimum.accumulate(vae.history_["validation"])
    np.testing.assert_array_equal(is_best, np.append(True, np.diff(lowest) < 0))


def test_held_out_rows_of_another_width_are_an_error_and_change_nothing(X):
    vae = BetaVAE(**SMALL).fit(X)
    before = vae.transform(X)
    with pytest.raises(ValueError, match="X has 79 features"):
        vae.fit(X, X_val=X[:, :79])
    np.testing.assert_array_equal(vae.transform(X), before)


def test_a_pipeline_transforms_held_out_rows_too(cells):
    counts, held_out = cells.data[:90], cells.data[90:]
    with config_context(enable_metadata_routing=True):
        vae = BetaVAE(**SMALL).set_fit_request(X_val=True)
        steps = [("norm", LogNormalizer()), ("vae", vae), ("kmeans", KMeans(2))]
        pipeline = Pipeline(steps, transform_input=["X_val"]).fit(counts, X_val=held_out)
    X, X_val = map(LogNormalizer().fit_transform, (counts, held_out))
    plain = BetaVAE(**SMALL).fit(X, X_val=X_val)
    np.testing.assert_array_equal(pipeline["vae"].history_["validation"], plain.history_["validation"])


def test_the_scale_of_the_code_does_not_make_an_autoencoder_look_collapsed():
    X = np.random.default_rng(0).normal(size=(300, 3)) @ np.random.default_rng(1).normal(size=(3, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AutoencoderEmbedding(3, latent_penalty=20.0, max_epochs=100, random_state=0).fit(X)
    assert model.active_components_.all()


@pytest.mark.parametrize("Estimator", VARIATIONAL)
def test_a_collapsed_fit_warns_and_says_what_to_change(Estimator, X):
    with pytest.warns(
        ConvergenceWarning, match=r"0 of 3 latent dimensions are active, .* expected 2 or more.* Lower beta"
    ):
        model = Estimator(**{**SMALL, "max_epochs": 60, "batch_size": 10}, init="random", beta=1e4).fit(X)
    assert not model.active_components_.any()


@every_estimator
def test_a_fit_that_ends_too_early_warns_and_says_what_to_change(Estimator, X):
    with pytest.warns(ConvergenceWarning, match=r"still fell by .* second half of 3 epochs, .* Raise max_epochs"):
        Estimator(**{**SMALL, "batch_size": 30}, init="random").fit(X)


@every_estimator
def test_a_fit_as_constructed_to_what_stands_above_noise_does_not_warn(Estimator):
    X = load_digits().data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Estimator(random_state=0).fit(X)


@pytest.mark.parametrize(
    ("density", "offset", "share"),
    [(0.35, 0.0, 0.5), (0.45, 0.0, 0.0), (0.35, 1e3 + 0.5, 0.0)],
    ids=["sparse", "dense", "offset"],
)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_by_default_the_encoder_misses_half_of_sparse_rows_alone(density, offset, share, container):
    X = (np.random.default_rng(0).uniform(size=(60, 30)) < density) * 1.0
    X[:, 0] += offset
    assert BetaVAE(**SMALL).fit(container(X)).net_.module_.input_dropout == share
    assert BetaVAE(**SMALL, input_dropout=0.3).fit(container(X)).net_.module_.input_dropout == 0.3


def test_dropout_is_of_training_alone(cells):
    vae = BetaVAE(**SMALL, likelihood="nb", input_dropout=0.5).fit(cells.data)
    np.testing.assert_array_equal(vae.transform(cells.data), vae.transform(cells.data))
    Z = vae.transform(cells.data)
    module = vae.net_.module_
    module.input_dropout = 0.9
    np.testing.assert_array_equal(vae.transform(cells.data), Z)


@every_estimator
def test_a_linear_encoder_takes_wide_sparse_rows(Estimator):
    wide = sparse.random_array((90, 1500), density=0.05, format="csr", random_state=0)
    few, dense = (
        Estimator(**{**SMALL, "hidden_layer_sizes": (), "batch_size": 30}).fit_transform(data)
        for data in (wide, wide.toarray())
    )
    np.testing.assert_allclose(few, dense, rtol=1e-3, atol=1e-4 * np.abs(dense).max())
