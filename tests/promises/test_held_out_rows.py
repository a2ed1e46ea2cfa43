"""Held-out rows: the model is judged by them after each epoch."""

import numpy as np
import pytest
from models import SMALL, every_estimator
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline
from skorch.callbacks import Checkpoint, EarlyStopping

from skvae import BetaVAE, LogNormalizer


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
