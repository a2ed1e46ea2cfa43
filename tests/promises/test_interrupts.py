"""An interrupt leaves fit at once, whenever it comes, and a fitted estimator keeps its fit."""

import signal
import sys
import time

import numpy as np
import pytest
import torch
from models import every_estimator
from skorch.callbacks import Callback

from skvae.training.optimizer import Adam

SMALL = {
    "n_components": 3,
    "hidden_layer_sizes": (8,),
    "max_epochs": 10,
    "learning_rate_schedule": "constant",
    "random_state": 0,
}
N_INTERRUPTS = 40


@pytest.fixture
def interrupt_after(monkeypatch):
    """Give a function that interrupts this process, as Ctrl-C does, after some seconds."""
    report = sys.unraisablehook

    def report_others(unraisable):
        # Python itself drops an interrupt that comes in a destructor or in a callback of the garbage collector, of
        # which hypothesis has one: fit then goes on as if there had been none.
        if unraisable.exc_type is not KeyboardInterrupt:
            report(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", report_others)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@every_estimator
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_at_a_random_moment_leaves_all_or_nothing(
    Estimator, method, cells, interrupt_after, record_property
):
    X = cells.data
    fitted = Estimator(**SMALL).fit(X)
    began = time.perf_counter()
    expected = getattr(Estimator(**SMALL).fit(X), method)(X[:, ::-1]).transform(X)
    longest = time.perf_counter() - began
    before = fitted.transform(X)
    rng = np.random.default_rng()  # other moments in every run
    outcomes = []
    for moment in rng.uniform(1e-4, longest, size=N_INTERRUPTS):
        estimator = Estimator(**SMALL).fit(X)
        attributes = dict(vars(estimator))
        try:
            interrupt_after(moment)
            getattr(estimator, method)(X[:, ::-1])
            interrupt_after(0)
        except KeyboardInterrupt:
            outcomes.append("interrupted")
        else:
            outcomes.append("whole")
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        Z = estimator.transform(X)
        if np.array_equal(Z, before):
            assert all(vars(estimator)[name] is value for name, value in attributes.items())
            assert outcomes[-1] == "interrupted"
        else:
            np.testing.assert_array_equal(Z, expected)
    assert "interrupted" in outcomes
    record_property("interrupts", outcomes.count("interrupted"))


@every_estimator
def test_an_interrupt_of_a_first_fit_leaves_it_unfitted(Estimator, X):
    class Interrupt(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    estimator = Estimator(**SMALL, callbacks=[Interrupt()])
    attributes = dict(vars(estimator))
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert vars(estimator) == attributes


@every_estimator
def test_an_interrupt_at_the_end_of_an_epoch_is_no_early_stopping(Estimator, X, interrupt_after):
    class Interrupted(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(signal.SIGALRM)

    interrupt_after(0)  # never; but now the signal is an interrupt

    estimator = Estimator(**SMALL, callbacks=[Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert not hasattr(estimator, "net_")


@every_estimator
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_while_torch_has_gradients_off_leaves_them_on(Estimator, method, X, monkeypatch):
    def interrupted(self):
        torch.set_grad_enabled(False)  # as optimizers do for the time of a step
        raise KeyboardInterrupt

    estimator = Estimator(**SMALL).fit(X)
    with monkeypatch.context() as patch:
        patch.setattr(Adam, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(estimator, method)(X)
    assert torch.is_grad_enabled()
    getattr(estimator, method)(X)


@every_estimator
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_fit(Estimator, mode, X):
    expected = Estimator(**SMALL).fit(X).partial_fit(X).transform(X)
    with mode():
        Z = Estimator(**SMALL).fit(X).partial_fit(X).transform(X)
    np.testing.assert_array_equal(Z, expected)
