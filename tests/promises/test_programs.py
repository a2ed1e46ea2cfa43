"""Decoders to read: linear ones, their loadings, and programs that are not negative."""

import numpy as np
import pytest
import scipy.special
from models import SMALL, every_estimator
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF

from skvae import BetaVAE, BetaVSC, LogNormalizer, make_factor_counts

# the functions of E[x|z] that are linear in z
LINKS = {
    "gaussian": lambda mean: mean,
    "unit_gaussian": lambda mean: mean,
    "poisson": np.log,
    "nb": np.log,
    "bernoulli": scipy.special.logit,
}
LINEAR = ({"decoder_layer_sizes": ()}, {"nonnegative": True}, {"hidden_layer_sizes": ()})


def data_for(likelihood, cells, X):
    return {"gaussian": X, "unit_gaussian": X, "bernoulli": (cells.data > 0).astype(float)}.get(likelihood, cells.data)


@every_estimator
@pytest.mark.parametrize("init", ["linear", "random"])
@pytest.mark.parametrize("likelihood", LINKS)
@pytest.mark.parametrize("decoder", LINEAR, ids=str)
def test_components_are_the_slopes_of_what_is_decoded(Estimator, init, likelihood, decoder, cells, X):
    data = data_for(likelihood, cells, X)
    batch = np.arange(X.shape[0]) % 2
    model = Estimator(**{**SMALL, **decoder}, likelihood=likelihood, init=init).fit(data, batch=batch)
    Z = np.zeros((4, 3)) + 0.1
    Z[1:] += 0.5 * np.eye(3)
    decoded = LINKS[likelihood](model.inverse_transform(Z, batch=batch[[0] * 4]))
    slopes = (decoded[1:] - decoded[0]) / 0.5
    if likelihood in ("poisson", "nb"):  # whose rates add up to a total
        slopes, components = (part - part.mean(axis=1, keepdims=True) for part in (slopes, model.components_))
    else:
        components = model.components_
    np.testing.assert_allclose(slopes, components, rtol=1e-3, atol=1e-4 * np.abs(components).max())


@every_estimator
def test_a_fit_that_stayed_linear_has_components_and_another_has_none(Estimator, X):
    few = Estimator(n_components=3, random_state=0)
    with pytest.warns(match="the network was left out"):
        few.fit(X.toarray()[:60])
    Z = few.transform(X.toarray()[:60])
    np.testing.assert_allclose(
        few.inverse_transform(Z) - few.inverse_transform(0 * Z), Z @ few.components_, rtol=1e-3, atol=1e-3
    )
    model = Estimator(**SMALL).fit(X)
    assert not hasattr(model, "components_")
    with pytest.raises(AttributeError, match=r"the decoder is not linear; expected decoder_layer_sizes=\(\)"):
        model.components_  # noqa: B018


@every_estimator
def test_a_decoder_has_the_layers_that_are_asked_for(Estimator, X):
    mirrored = Estimator(**{**SMALL, "hidden_layer_sizes": (9, 7), "head_layer_sizes": (5,)}).fit(X)
    own = Estimator(**{**SMALL, "hidden_layer_sizes": (9, 7), "decoder_layer_sizes": (6,)}).fit(X)
    for model, expected in ((mirrored, [5, 7, 9]), (own, [6])):
        layers = [layer for layer in model.net_.module_.decoder.layers if hasattr(layer, "out_features")]
        assert [layer.out_features for layer in layers] == expected
    widths = {"hidden_layer_sizes": np.array([9, 7]), "decoder_layer_sizes": np.array([6])}
    Z = Estimator(**{**SMALL, **widths}).fit_transform(X)
    np.testing.assert_array_equal(Z, own.transform(X))
    with pytest.raises(ValueError, match=r"decoder_layer_sizes == \(0,\), must hold only integers >= 1"):
        Estimator(decoder_layer_sizes=(0,)).fit(X)
    with pytest.raises(ValueError, match=r"decoder_layer_sizes == \(4,\), must be None or empty with nonnegative=True"):
        Estimator(decoder_layer_sizes=(4,), nonnegative=True).fit(X)


@every_estimator
@pytest.mark.parametrize("init", ["linear", "random"])
def test_codes_and_loadings_are_not_negative_whatever_trains(Estimator, init, X):
    model = Estimator(**SMALL, nonnegative=True, init=init).fit(X)
    for _ in range(2):
        assert (model.components_ >= 0).all()
        assert (model.transform(X) >= 0).all()
        assert (model.components_ > 0).any(axis=1).all()
        model.partial_fit(X)


def test_sparse_codes_of_programs_are_not_negative(X):
    model = BetaVSC(**SMALL, nonnegative=True, code="sparse").fit(X)
    code = model.transform(X)
    assert sparse.issparse(code)
    assert (code.data > 0).all()
    posterior = model.posterior(X)
    assert ((posterior.activation >= 0) & (posterior.activation <= 1)).all()
    np.testing.assert_array_equal(posterior.mean, model.set_params(code="mean").transform(X))


def f1_of(loadings, planted):
    """Return the mean F1 of the features of each planted program among as many top features of the one that fits."""
    found = np.zeros((len(loadings), len(planted)))
    for j, loading in enumerate(loadings):
        for k, program in enumerate(planted):
            members = np.flatnonzero(program)
            found[j, k] = np.isin(np.argsort(-loading)[: len(members)], members).mean()
    return found[linear_sum_assignment(-found)].mean()


@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_planted_programs_are_found_and_better_than_by_nmf(likelihood):
    sizes = {"n_samples": 1000, "n_features": 500, "n_factors": 5, "n_factor_features": 25, "library_size": 300}
    data = make_factor_counts(**sizes, random_state=0)
    X = LogNormalizer().fit_transform(data.data)
    model = BetaVSC(5, alpha=0.3, nonnegative=True, likelihood=likelihood, max_epochs=5, random_state=0)
    found = f1_of(model.fit(data.data if likelihood == "nb" else X).components_, data.loadings)
    assert found > 0.85
    assert found > f1_of(NMF(5, init="random", random_state=0, max_iter=300).fit(X).components_, data.loadings)


def test_programs_agree_over_seeds():
    data = make_factor_counts(n_samples=600, n_features=300, n_factors=4, n_factor_features=20, random_state=1)
    X = LogNormalizer().fit_transform(data.data)
    codes = [BetaVSC(4, alpha=0.3, nonnegative=True, max_epochs=5, random_state=s).fit_transform(X) for s in (0, 1)]
    assert min(np.corrcoef(codes[0][:, j], codes[1][:, j])[0, 1] for j in range(4)) > 0.9


def test_a_sparser_prior_uses_fewer_programs_a_row():
    data = make_factor_counts(n_samples=600, n_features=300, n_factors=4, n_factor_features=20, random_state=1)
    X = LogNormalizer().fit_transform(data.data)
    models = [BetaVSC(4, alpha=alpha, nonnegative=True, max_epochs=10, random_state=0) for alpha in (0.05, 0.9)]
    few, many = (model.fit(X).posterior(X).activation.mean() for model in models)
    assert few < 0.8 * many


def test_programs_of_centered_data_are_not_negative_either():
    rng = np.random.default_rng(0)
    codes = rng.gamma(2, size=(500, 3)) * (rng.random((500, 3)) < 0.3)
    X = codes @ (rng.random((3, 40)) < 0.25) + 0.3 * rng.normal(size=(500, 40))
    model = BetaVAE(3, nonnegative=True, max_epochs=10, random_state=0).fit(X - X.mean(axis=0))
    correlations = np.corrcoef(model.transform(X - X.mean(axis=0)).T, codes.T)[:3, 3:]
    assert correlations[linear_sum_assignment(-correlations)].min() > 0.95
