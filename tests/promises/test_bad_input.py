"""Bad parameters and bad data are errors that name them, and change nothing."""

import numpy as np
import pandas as pd
import pytest
from models import SMALL, every_estimator, unchanged
from skorch.callbacks import Callback

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC


class Unexpected(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training began")


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
