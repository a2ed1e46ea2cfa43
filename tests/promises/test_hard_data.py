"""Data at the edge give a finite embedding, or an error that names the causes; a failed fit changes nothing."""

from contextlib import contextmanager

import numpy as np
import pytest
from models import SMALL, every_estimator
from scipy import sparse
from skorch.callbacks import Callback

from skvae.likelihoods import LIKELIHOODS
from skvae.supports import BINARY, COUNTS


def counts(*shape):
    return np.random.default_rng(0).poisson(1.0, size=shape).astype(np.float64)


def with_zero(rows=(), columns=()):
    X = counts(20, 6)
    X[list(rows)] = 0
    X[:, list(columns)] = 0
    return X


# All of these are fitted. In place of counts, "bernoulli" is given where they are positive.
HARD = {
    "a constant feature": np.column_stack([counts(20, 5), np.full(20, 3.0)]),
    "constant features alone": np.full((20, 6), 2.0),
    "constant fractions alone": np.full((20, 6), 0.1),
    "zero rows": with_zero(rows=(0, 5, 6)),
    "zero columns": with_zero(columns=(0, 3)),
    "zero rows and columns": with_zero(rows=range(0, 20, 2), columns=(0, 3)),
    "zeros alone": np.zeros((20, 6)),
    "one sample": counts(1, 6),
    "one sample of zeros": np.zeros((1, 6)),
    "two samples": counts(2, 6),
    "the same sample": np.repeat(counts(1, 6), 20, axis=0),
    "fewer samples than a batch": counts(127, 4),
    "one sample more than a batch": counts(129, 4),
    "two features": counts(20, 2),
    "more components than features": counts(20, 2),
    "more components than samples": counts(2, 4),
    "tiny values": 1e-30 * counts(20, 6),
    "subnormal values": 1e-42 * counts(20, 6),
    "one value of a billion": np.where(np.arange(120).reshape(20, 6) == 7, 1e9, counts(20, 6)),
}
FRACTIONS = ("constant fractions alone", "tiny values", "subnormal values")  # which are no counts


@pytest.mark.filterwarnings("ignore:X looks like raw counts")
@every_estimator
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", HARD)
def test_hard_data_are_embedded(Estimator, likelihood, name, record_property):
    X = HARD[name]
    support = LIKELIHOODS[likelihood].support
    if support is BINARY:
        X = (X > 0) * 1.0
    if support is COUNTS and name in FRACTIONS:
        X = np.ceil(X)
    estimator = Estimator(**SMALL, likelihood=likelihood).fit(X)
    results = [estimator.transform(X), estimator.denoise(X), estimator.score_samples(X), *estimator.history_.values()]
    for result in results:
        assert np.isfinite(result).all()
    assert results[0].shape == (len(X), 3)
    np.testing.assert_array_equal(
        Estimator(**SMALL, likelihood=likelihood).fit_transform(sparse.csr_array(X)), results[0]
    )
    record_property("inputs", 1)


@contextmanager
def unchanged(estimator):
    attributes = dict(vars(estimator))
    state = {name: tensor.clone() for name, tensor in estimator.net_.module_.state_dict().items()}
    yield
    assert vars(estimator) == attributes
    for name, tensor in estimator.net_.module_.state_dict().items():
        assert tensor.equal(state[name])


@every_estimator
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_values_of_1e30_are_embedded_as_those_of_1(Estimator, container):
    X = counts(20, 6)
    expected, Z = (Estimator(**SMALL).fit_transform(container(unit * X)) for unit in (1.0, 1e30))
    np.testing.assert_allclose(Z, expected, rtol=1e-2, atol=1e-3)


@every_estimator
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("likelihood", "method"), [("gaussian", "partial_fit"), ("unit_gaussian", "fit"), ("unit_gaussian", "partial_fit")]
)
def test_values_of_1e30_name_the_epoch_and_the_scale(Estimator, likelihood, container, method):
    settings = {**SMALL, "likelihood": likelihood, "learning_rate_schedule": "constant"}
    estimator = Estimator(**settings).fit(counts(20, 6))
    message = (
        r"training diverged in epoch 1: the loss or a weight is infinite or NaN. Expected X of moderate scale, such as "
        r"log1p-normalised counts, and a learning_rate that suits it; got features with means up to .*e\+"
    )
    if method == "partial_fit":
        message = message.replace("epoch 1", "epoch 4")
    with unchanged(estimator), pytest.raises(ValueError, match=message):
        getattr(estimator, method)(container(1e30 * counts(20, 6)))


@every_estimator
def test_a_fit_of_counts_that_diverges_names_what_counts_are(Estimator):
    estimator = Estimator(**SMALL, likelihood="poisson")
    message = r"training diverged in epoch \d: .* moderate scale, raw counts, which are integers, and a learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        estimator.fit(1e37 * counts(20, 6))
    with pytest.raises(FloatingPointError, match=message), pytest.warns(UserWarning, match="expected counts, integers"):
        estimator.fit(1e37 * counts(20, 6) + 0.5 * (counts(20, 6) == 0))


@every_estimator
def test_a_last_step_that_diverges_names_the_learning_rate(Estimator):
    settings = {**SMALL, "max_epochs": 1, "learning_rate": 1e38}
    with pytest.raises(ValueError, match=r"in epoch 1: .* learning_rate == 1e\+38"):
        Estimator(**settings).fit(1e3 * counts(20, 6))


@every_estimator
def test_a_later_epoch_that_diverges_is_named(Estimator):
    class Poison(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                net.optimizer_.param_groups[0]["lr"] = np.nan

    settings = {**SMALL, "learning_rate_schedule": "constant"}
    estimator = Estimator(**settings).fit(counts(20, 6)).set_params(callbacks=[Poison()])
    with unchanged(estimator), pytest.raises(ValueError, match="training diverged in epoch 3"):
        estimator.fit(counts(20, 6))


@every_estimator
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_values_beyond_float32_are_named(Estimator, container):
    estimator = Estimator(**SMALL).fit(counts(20, 6))
    with unchanged(estimator), pytest.raises(ValueError, match=r"holds 2e\+300 or its negative; expected .* 3\.4e\+38"):
        estimator.fit(container(np.where(np.arange(120).reshape(20, 6) == 7, -2e300, 1.0)))


@every_estimator
@pytest.mark.parametrize("method", ["score_samples", "score", "denoise", "transform"])
def test_a_result_that_is_not_finite_is_an_error(Estimator, method):
    estimator = Estimator(**SMALL).fit(counts(20, 6))
    X = (1e37 * counts(20, 6)).astype(np.float32)
    try:
        result = getattr(estimator, method)(X)
    except ValueError as error:
        assert "is infinite or NaN" in str(error)  # noqa: PT017, finite results are fine too
    else:
        assert np.isfinite(result).all()
