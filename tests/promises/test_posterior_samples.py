"""Samples of q(z|x) and p(x|z), and denoised values with their deviation, against closed forms."""

import numpy as np
import pandas as pd
import pytest
from models import SMALL, every_estimator, every_variational

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, RowStore, make_single_cell_counts
from skvae.rows import bounds

METHODS = ("posterior_sample", "predictive_sample")


@pytest.fixture(scope="module")
def counts():
    return make_single_cell_counts(n_samples=200, n_features=80, library_size=300, n_batches=3, random_state=0)


@pytest.fixture(scope="module")
def linear_model(linear):
    """Return a model whose decoder is linear: a factor analysis, trained for an epoch."""
    X, *_ = linear
    return BetaVAE(n_components=3, hidden_layer_sizes=(), max_epochs=1, random_state=0).fit(X)


@pytest.fixture(scope="module", params=[BetaVAE, BetaVSC])
def batched(request, counts):
    model = request.param(**SMALL, likelihood="nb", encode_batch=True)
    return model.fit(counts.data, batch=counts.batch)


def test_draws_of_z_have_the_moments_of_the_posterior(linear, linear_model):
    X = linear[0][:50]
    posterior, Z = linear_model.posterior(X), linear_model.posterior_sample(X, 4000, random_state=0)
    assert Z.shape == (4000, 50, 3)
    errors = (Z.mean(axis=0) - posterior.mean) / posterior.std * np.sqrt(4000)
    assert errors.std() == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(Z.std(axis=0), posterior.std, rtol=0.06)


def test_drawn_rows_have_the_variance_of_posterior_and_noise_together(linear, linear_model):
    X = linear[0][:20]
    drawn = linear_model.predictive_sample(X, 2000, random_state=0)
    # E[x|z] = b + W z exactly
    b, *ends = linear_model.inverse_transform(np.vstack([np.zeros(3), np.eye(3)]))
    W = np.array(ends) - b
    posterior = linear_model.posterior(X)
    variance = posterior.std**2 @ W**2 + linear_model.net_.module_.likelihood.variance().numpy(force=True)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.2)
    np.testing.assert_allclose(drawn.mean(axis=0), b + posterior.mean @ W, atol=0.12)


def test_the_deviation_of_denoised_values_is_that_of_a_linear_function(linear, linear_model):
    X = linear[0][:20]
    b, *ends = linear_model.inverse_transform(np.vstack([np.zeros(3), np.eye(3)]))
    mean, std = linear_model.denoise(X, return_std=True)
    np.testing.assert_array_equal(mean, linear_model.denoise(X))
    expected = np.sqrt(linear_model.posterior(X).std ** 2 @ (np.array(ends) - b) ** 2)
    np.testing.assert_allclose(std, expected, rtol=0.06)


@pytest.mark.parametrize("likelihood", ["poisson", "nb"])
def test_counts_are_drawn_at_the_total_of_each_row(likelihood, counts):
    model = BetaVAE(**SMALL, likelihood=likelihood).fit(counts.data)
    drawn = model.predictive_sample(counts.data, 60, random_state=0)
    np.testing.assert_array_equal(drawn, np.rint(np.abs(drawn)))
    totals = np.asarray(counts.data.sum(axis=1)).ravel()
    error = drawn.sum(axis=2).std(axis=0) / np.sqrt(60)
    assert (np.abs(drawn.sum(axis=2).mean(axis=0) - totals) < 5 * error).all()


def test_draws_of_a_sparse_code_are_zero_as_often_as_gates_are_closed(counts):
    model = BetaVSC(**SMALL, likelihood="nb", alpha=0.2).fit(counts.data)
    Z = model.posterior_sample(counts.data, 500, random_state=0)
    np.testing.assert_allclose((Z != 0).mean(axis=0), model.posterior(counts.data).activation, atol=0.1)
    assert ((Z == 0).any(axis=0)).any()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_drawn_of_a_row_depends_on_seed_and_place_alone(method, batched, counts, monkeypatch, tmp_path):
    def draw(n_rows, n_samples, seed=0, X=counts.data):
        options = {"batch": counts.batch[:n_rows], "random_state": seed}
        return getattr(batched, method)(X[:n_rows], n_samples, **options)

    whole = draw(200, 3)
    np.testing.assert_array_equal(draw(70, 2), whole[:2, :70])
    assert (draw(200, 1, seed=1) != whole[0]).any()
    assert (whole[0] != whole[1]).any()
    monkeypatch.setattr(bounds, "MAX_MINIBATCH_ELEMENTS", 1)
    np.testing.assert_array_equal(draw(200, 3), whole)
    np.save(tmp_path / "x.npy", counts.data.toarray())
    store = RowStore(np.load(tmp_path / "x.npy", mmap_mode="r"), block_size=50)
    options = {"batch": counts.batch, "random_state": 0}
    np.testing.assert_array_equal(getattr(batched, method)(store, 3, **options), whole)


@every_variational
@pytest.mark.parametrize("method", METHODS)
def test_a_number_of_samples_that_is_none_is_refused(Estimator, method, X):
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        getattr(Estimator(**SMALL).fit(X), method)(X, 0)


def test_an_autoencoder_has_no_samples_and_no_deviation(X):
    model = AutoencoderEmbedding(**SMALL).fit(X)
    assert not any(hasattr(model, method) for method in METHODS)
    np.testing.assert_array_equal(model.denoise(X, return_std=True)[1], 0)


# Denoising some features


@every_estimator
@pytest.mark.parametrize("to_batch", [None, 1, "all"])
def test_a_subset_has_the_columns_of_the_whole(Estimator, to_batch, counts):
    model = Estimator(**SMALL, likelihood="nb").fit(counts.data, batch=counts.batch)
    options = {"batch": counts.batch, "to_batch": to_batch, "library_size": 50, "return_std": True}
    whole = model.denoise(counts.data, **options)
    mask = np.isin(np.arange(80), [3, 70])
    for features, columns in (([70, 3], [70, 3]), (mask, [3, 70]), (5, [5])):
        for part, values in zip(model.denoise(counts.data, features=features, **options), whole, strict=True):
            np.testing.assert_array_equal(part, values[:, columns])


def test_the_deviation_over_several_batches_is_that_of_their_mean(counts):
    model = BetaVAE(**SMALL, likelihood="nb").fit(counts.data, batch=counts.batch)
    X = counts.data.astype(np.float64)
    std = model.denoise(X, batch=counts.batch, to_batch="all", library_size=50, return_std=True)[1]
    Z = model.posterior_sample(X, 400, random_state=0)
    decoded = [sum(model.inverse_transform(z, batch=np.full(200, level)) for level in range(3)) / 3 for z in Z]
    decoded = np.array(decoded) * 50 / np.sum(decoded, axis=2, keepdims=True)
    np.testing.assert_allclose(std, decoded.std(axis=0), rtol=0.25)


def test_features_are_known_by_name():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=["a", "b", "c", "d"])
    model = BetaVAE(**SMALL).fit(X)
    np.testing.assert_array_equal(model.denoise(X, features=["d", "a"]), model.denoise(X)[:, [3, 0]])
    with pytest.raises(ValueError, match=r"features holds \['e'\]; expected names of feature_names_in_"):
        model.denoise(X, features=["a", "e"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([0, 80], "must be one feature or more of 80"),
        ([-1], "must be one feature or more of 80"),
        ([True, False], r"a mask of the shape \(2,\), must have \(80,\)"),
        (np.zeros(80, dtype=bool), "must be one feature or more of 80"),
        (["CD14"], "must be indices or a mask: the data of fit had no names"),
    ],
)
def test_features_that_are_none_are_refused(features, message, X):
    with pytest.raises(ValueError, match=message):
        BetaVAE(**SMALL).fit(X).denoise(X, features=features)
