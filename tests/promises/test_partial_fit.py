import pickle

import numpy as np
import pytest
from models import every_estimator
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "random_state": 0}


def weights(estimator):
    return {name: value.numpy().copy() for name, value in estimator.net_.module_.state_dict().items()}


@every_estimator
def test_one_call_is_one_epoch(Estimator, X):
    once = Estimator(**SMALL, max_epochs=1).fit(X)
    partly = Estimator(**SMALL, max_epochs=1).partial_fit(X)
    np.testing.assert_array_equal(partly.transform(X), once.transform(X))
    assert partly.history_["loss"] == once.history_["loss"]
    assert partly.n_epochs_ == 1


@every_estimator
def test_calls_train_on(Estimator, X):
    estimator = Estimator(**SMALL, max_steps=60)
    losses = [estimator.partial_fit(X).history_["loss"][-1] for _ in range(60)]
    assert losses[-1] < losses[0]
    assert estimator.n_epochs_ == len(estimator.history_["kl"]) == 60
    assert estimator.net_.n_steps_ == 60


def test_calls_have_other_random_numbers_each_and_the_same_in_a_copy(X):
    vae = BetaVAE(**SMALL, max_steps=10).partial_fit(X)
    copy = pickle.loads(pickle.dumps(vae))
    for estimator in (vae, copy):
        for _ in range(3):
            estimator.partial_fit(X)
    np.testing.assert_array_equal(copy.transform(X), vae.transform(X))


def test_the_schedule_spans_max_steps(X):
    rates = []

    class Rate(Callback):
        def on_batch_end(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    partly = BetaVAE(**SMALL, kl_warmup=0.4, max_steps=20, batch_size=60, callbacks=[Rate()])
    for _ in range(10):
        partly.partial_fit(X)
    BetaVAE(**SMALL, max_epochs=10, batch_size=60, callbacks=[Rate()]).fit(X)
    np.testing.assert_allclose(rates[:20], rates[20:])
    assert partly.net_.criterion_.n_warmup_steps == 8


@every_estimator
def test_max_steps_ends_fit(Estimator, X):
    estimator = Estimator(**SMALL, max_steps=5, batch_size=60).fit(X)  # of two steps an epoch
    assert estimator.net_.n_steps_ == 5
    assert estimator.n_epochs_ == 3


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_steps_beyond_the_schedule_are_a_warning_unless_it_is_constant(X):
    vae = BetaVAE(**SMALL, max_steps=2).partial_fit(X).partial_fit(X)
    before = weights(vae)
    with pytest.warns(ConvergenceWarning, match="the learning rate is 0 since 2 gradient steps were taken"):
        vae.partial_fit(X[:60])
    np.testing.assert_equal(weights(vae), before)
    vae = BetaVAE(**SMALL, max_steps=1, learning_rate_schedule="constant")
    for _ in range(3):
        vae.partial_fit(X)


def test_fit_begins_anew(X):
    vae = BetaVAE(**SMALL, max_epochs=2)
    vae.partial_fit(X[:, :40]).fit(X)
    np.testing.assert_array_equal(vae.transform(X), BetaVAE(**SMALL, max_epochs=2).fit(X).transform(X))


def test_the_first_call_fixes_the_features_and_the_batches(X):
    batch = np.arange(120) % 2
    vae = BetaVAE(**SMALL).partial_fit(X, batch=batch)
    with pytest.raises(ValueError, match="X has 79 features, but BetaVAE is expecting 80"):
        vae.partial_fit(X[:, 1:], batch=batch)
    with pytest.raises(ValueError, match=r"batch holds \[2\], first in row 1; expected one of \[0, 1\]"):
        vae.partial_fit(X, batch=batch + 1)
    with pytest.raises(ValueError, match="batch is None"):
        vae.partial_fit(X)
    assert vae.n_epochs_ == 1


def test_later_batches_are_named_in_the_first_call(X):
    batch = np.repeat(["A", "B"], 60)
    vae = BetaVAE(**SMALL).partial_fit(X[:60], batch=batch[:60], batches=["B", "A"])
    vae.partial_fit(X[60:], batch=batch[60:])
    np.testing.assert_array_equal(vae.batches_, ["A", "B"])
    assert vae.denoise(X, batch=batch).shape == (120, 80)


def test_chunks_of_any_form(X):
    vae = BetaVAE(**SMALL)
    for chunk in (X, X.toarray(), X.astype(np.float64), sparse.csc_array(X)):
        vae.partial_fit(chunk)
    assert vae.n_epochs_ == 4


def test_frozen_parameters_stay_frozen(X):
    vae = BetaVAE(**SMALL, max_steps=10).partial_fit(X)
    vae.net_.module_.encoder.requires_grad_(False)
    before = weights(vae)["encoder.layers.0.weight"]
    np.testing.assert_array_equal(weights(vae.partial_fit(X))["encoder.layers.0.weight"], before)


def test_the_unit_is_that_of_the_first_chunk(X):
    vae = BetaVAE(**SMALL, max_steps=10).partial_fit(20 * X)
    unit = vae.net_.module_.likelihood.unit
    assert unit > 1
    assert vae.partial_fit(80 * X).net_.module_.likelihood.unit == unit


def test_later_calls_are_validated(X):
    vae = BetaVAE(**SMALL).partial_fit(X, batch=np.arange(120) % 2)
    with pytest.raises(ValueError, match=r"batches == \[0, 1, 2\], must be those of the first call"):
        vae.partial_fit(X, batch=np.arange(120) % 2, batches=[0, 1, 2])
    with pytest.raises(ValueError, match="batch_size"):
        vae.set_params(batch_size=0).partial_fit(X)


def test_a_feature_that_the_first_chunk_lacks_is_learned_from_the_next(X):
    first = X.toarray()
    first[:, 0] = 0
    vae = BetaVAE(**SMALL, noise_floor=0.1, max_steps=2).partial_fit(first).partial_fit(X)
    column = np.concatenate([first[:, 0], X.toarray()[:, 0]])
    variance = vae.net_.module_.likelihood.variance()[0].item()
    np.testing.assert_allclose(variance, column.var(), rtol=0.1)


def test_a_call_that_fails_with_a_progress_bar_can_be_pickled(X):
    vae = BetaVAE(**SMALL, max_steps=10, verbose=1, callbacks=[Fails(RuntimeError)]).partial_fit(X).partial_fit(X)
    with pytest.raises(RuntimeError):
        vae.partial_fit(X)
    pickle.loads(pickle.dumps(vae))


class Fails(Callback):
    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if net.n_steps_ > 2:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_call_that_fails_leaves_what_was_learned(error, X):
    vae = BetaVAE(**SMALL, max_steps=10, batch_size=60, callbacks=[Fails(error)]).partial_fit(X)
    twin = BetaVAE(**SMALL, max_steps=10, batch_size=60).partial_fit(X)
    with pytest.raises(error):
        vae.partial_fit(X)
    np.testing.assert_array_equal(vae.transform(X), twin.transform(X))
    assert len(vae.net_.history) == vae.n_epochs_ == 1
    # and goes on as if it had not been called
    vae.callbacks = None
    np.testing.assert_array_equal(vae.partial_fit(X).transform(X), twin.partial_fit(X).transform(X))


@pytest.mark.slow
@every_estimator
def test_chunks_are_as_good_as_the_whole(Estimator):
    cells = make_single_cell_counts(1500, 500, random_state=0)
    X = LogNormalizer().fit_transform(cells.data)
    X, X_new = X[:1000], X[1000:]
    scores = []
    for seed in range(4):
        # from random weights, as a linear model of the first 125 rows would be another
        whole = Estimator(init="random", random_state=seed, max_epochs=40).fit(X)
        partly = Estimator(init="random", random_state=seed, max_steps=40 * 8)
        rng = np.random.default_rng(seed)
        for _ in range(40):
            for chunk in np.array_split(rng.permutation(1000), 8):  # a step each
                partly.partial_fit(X[chunk])
        half = Estimator(init="random", random_state=seed, max_epochs=20).fit(X)
        scores.append([estimator.score(X_new) for estimator in (whole, partly, half)])
    whole, partly, half = np.mean(scores, axis=0)
    # shuffling the rows of each chunk alone costs little beside what the second half of training gains
    assert whole - partly < 0.15 * (whole - half)
