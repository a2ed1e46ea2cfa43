"""Output: embeddings, sparse codes, and the history of a fit."""

import numpy as np
import pytest
import torch
from models import SMALL, every_estimator
from scipy import sparse

from skvae import BetaVAE, BetaVSC


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
        q = module.encode(torch.from_numpy(X.toarray()), torch.zeros(120, 0))
    np.testing.assert_array_equal(code.toarray(), np.where(q.v > 0, module.scale * q.mu, 0))
    assert code.nnz == np.count_nonzero(q.v > 0)
    np.testing.assert_array_equal(vsc.inverse_transform(code), vsc.inverse_transform(code.toarray()))


def test_a_misspelt_code_is_an_error_at_transform_too(X):
    vsc = BetaVSC(**SMALL).fit(X).set_params(code="spares")
    with pytest.raises(ValueError, match=r"'code' parameter of BetaVSC .* Got 'spares'"):
        vsc.transform(X)


def test_the_code_is_chosen_at_transform(X):
    vsc = BetaVSC(**SMALL).fit(X)
    with torch.inference_mode():
        module = vsc.net_.module_
        q = module.encode(torch.from_numpy(X.toarray()), torch.zeros(120, 0))
    np.testing.assert_allclose(vsc.transform(X), module.scale * torch.sigmoid(q.v) * q.mu, rtol=1e-6)
    assert sparse.issparse(vsc.set_params(code="sparse").transform(X))


@every_estimator
def test_score_is_the_mean_over_rows(Estimator, X):
    estimator = Estimator(**SMALL).fit(X)
    scores = estimator.score_samples(X)
    assert scores.shape == (X.shape[0],)
    assert estimator.score(X) == pytest.approx(scores.mean(), rel=1e-6)
