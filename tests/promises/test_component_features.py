"""The features behind each latent dimension."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from models import every_estimator

from skvae import BetaVAE, BetaVSC, LogNormalizer, VariableGeneSelector, fetch_pbmc3k

SMALL = {"n_components": 3, "max_epochs": 3, "random_state": 0}


@every_estimator
def test_loadings_of_a_linear_decoder_are_its_weights(Estimator, X):
    model = Estimator(**SMALL, hidden_layer_sizes=()).fit(10 * X)
    features = model.component_features(10 * X, n_top=5)
    x_hat = model.net_.module_.likelihood.x_hat
    units, scale = model.net_.module_.likelihood.units.numpy(), model.net_.module_.scale.numpy()
    weights = units * x_hat.weight.detach().numpy().T / scale[:, np.newaxis]
    order = np.argsort(-np.abs(weights), axis=1)[:, :5]
    np.testing.assert_array_equal(features.indices, order)
    np.testing.assert_allclose(features.loadings, np.take_along_axis(weights, order, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(features.names, np.char.add("x", order.astype(str)))


@pytest.mark.parametrize("likelihood", ["gaussian", "nb", "zinb", "bernoulli"])
def test_loadings_are_means_of_finite_differences(likelihood, cells):
    X = (cells.data > 0) * 1.0 if likelihood == "bernoulli" else cells.data.astype(float)
    batch = np.arange(X.shape[0]) % 2
    model = BetaVAE(**SMALL, likelihood=likelihood).fit(X, batch=batch)
    scale = np.log1p if likelihood in ("nb", "zinb") else np.array
    features = model.component_features(X, X.shape[1], batch=batch)
    Z, step = model.transform(X), 1e-4
    for j in range(3):
        there, back = (
            scale(model.inverse_transform(Z + sign * step * np.eye(3)[j], batch=batch)).mean(axis=0) for sign in (1, -1)
        )
        expected = (there - back) / (2 * step)
        np.testing.assert_allclose(
            features.loadings[j], expected[features.indices[j]], rtol=1e-3, atol=1e-5 * np.abs(expected).max()
        )
        assert (np.diff(np.abs(features.loadings[j])) <= 0).all()


def test_names_are_those_of_fit_or_those_given(X):
    columns = [f"gene{i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X.toarray(), columns=columns)
    named = BetaVAE(**SMALL).fit(frame).component_features(frame, 2)
    given = BetaVAE(**SMALL).fit(X).component_features(X, 2, feature_names=columns)
    np.testing.assert_array_equal(named.names, np.array(columns)[named.indices])
    np.testing.assert_array_equal(named.names, given.names)


def test_loadings_are_on_the_scale_of_the_likelihood_that_was_trained(cells, X):
    for trained, later, data in (("nb", "gaussian", cells.data), ("gaussian", "nb", X)):
        vae = BetaVAE(**SMALL, likelihood=trained).fit(data)
        expected = vae.component_features(data)
        features = vae.set_params(likelihood=later).component_features(data)
        assert features.quantity == expected.quantity == ("log1p(E[x|z])" if trained == "nb" else "E[x|z]")
        np.testing.assert_array_equal(features.loadings, expected.loadings)


def test_no_features_are_an_error(X):
    with pytest.raises(ValueError, match="n_top == 0, must be"):
        BetaVAE(**SMALL).fit(X).component_features(X, 0)


def test_names_of_another_number_are_an_error(X):
    with pytest.raises(ValueError, match=r"feature_names has the shape \(1,\), must have \(80,\)"):
        BetaVAE(**SMALL).fit(X).component_features(X, feature_names=["a"])


@pytest.mark.slow
@pytest.mark.pbmc
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_dimensions_of_blood_cells_name_the_markers_of_their_types(seed):
    cells = fetch_pbmc3k()
    selector = VariableGeneSelector().fit(cells.data)
    X = LogNormalizer().fit_transform(cells.data)[:, selector.get_support()]
    names = selector.get_feature_names_out(cells.feature_names)
    vsc = BetaVSC(random_state=seed).fit(X)
    Z = vsc.transform(X)
    features = vsc.component_features(X, feature_names=names)
    for type_name, markers in {"B": {"CD79A", "MS4A1"}, "CD14+ Mono": {"LYZ", "CD14"}}.items():
        of_type = cells.target == list(cells.target_names).index(type_name)
        distance = (Z[of_type].mean(axis=0) - Z[~of_type].mean(axis=0)) / Z.std(axis=0)
        assert markers & set(features.names[np.abs(distance).argmax()]), type_name


def test_lists_have_loadings_of_all_features_if_these_are_few():
    X = np.random.default_rng(0).normal(size=(20, 4)).tolist()
    vae = BetaVAE(**SMALL).fit(X, batch=["a", "b"] * 10)
    assert vae.component_features(X, batch="a").names.shape == (3, 4)


def test_a_model_from_a_file_read_without_gradients_has_loadings(X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    with torch.inference_mode():
        again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.component_features(X).loadings, vae.component_features(X).loadings)
