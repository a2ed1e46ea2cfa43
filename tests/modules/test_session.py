"""Sessions: what a net trains with, while it trains and no longer."""

import pickle

import numpy as np
import pytest
import torch
from models import SMALL, every_estimator
from skorch.callbacks import Callback

from skvae import BetaVAE
from skvae.rows.rows import Rows
from skvae.training.plan import Plan
from skvae.training.processes import OneProcess
from skvae.training.session import Session, share_of_loss, train


class Spy(Callback):
    """Keep the net, and its session at each event; raise an error in an epoch."""

    def __init__(self, error_in=None):
        self.error_in = error_in

    def initialize(self):
        self.sessions = []
        return self

    def on_train_begin(self, net, **kwargs):
        self.net = net
        self.sessions.append(net.session)

    def on_batch_end(self, net, **kwargs):
        self.sessions.append(net.session)

    def on_train_end(self, net, **kwargs):
        self.sessions.append(net.session)

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.error_in:
            raise RuntimeError("failed")


@every_estimator
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_net_has_one_session_while_it_trains_and_none_afterwards(Estimator, method, X):
    spy = Spy()
    model = getattr(Estimator(**SMALL, callbacks=[spy]), method)(X)
    assert len(spy.sessions) >= 3
    assert isinstance(spy.sessions[0], Session)
    assert len(set(map(id, spy.sessions))) == 1
    assert model.net_ is spy.net
    assert model.net_.session is None


@every_estimator
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_net_whose_training_failed_has_no_session(Estimator, method, X):
    model = Estimator(**SMALL, learning_rate_schedule="constant").fit(X)
    model.callbacks = [Spy(error_in=1 if method == "fit" else 4)]
    with pytest.raises(RuntimeError, match="failed"):
        getattr(model, method)(X)
    assert model.callbacks[0].net.session is None
    assert model.callbacks[0].net is not model.net_
    assert model.net_.session is None


@every_estimator
def test_pickles_hold_no_session(Estimator, X):
    model = Estimator(**SMALL).fit(X)
    for part in (model, model.net_):
        assert b"skvae.training.session" not in pickle.dumps(part)
    assert pickle.loads(pickle.dumps(model)).net_.session is None
    assert pickle.loads(pickle.dumps(model.net_)).session is None


def test_a_session_knows_the_plan_and_the_rows_held_out(X):
    spy = Spy()
    BetaVAE(**SMALL, batch_size=30, callbacks=[spy]).fit(X[:90], X_val=X[90:])
    session = spy.sessions[0]
    assert session.plan == Plan.of_epochs(3, 3)
    assert (session.processes.index, session.processes.count) == (0, 1)
    assert session.loss_share == 1
    np.testing.assert_array_equal(session.held_out.X.toarray(), X[90:].toarray())


def session_of(net, X):
    return Session.make(net, Rows(X, np.float32), Plan.of_epochs(1, 1), OneProcess(), None)


def draws(session):
    return [generator.initial_seed() for generator in (session.shuffle_generator, session.noise_generator)]


def test_a_session_that_goes_on_draws_other_numbers_and_the_same_ones_if_it_goes_on_again(X):
    net = BetaVAE(**SMALL).fit(X).net_
    first, again = (draws(session_of(net, X)) for _ in range(2))
    net.n_steps_ += 1
    assert first == again
    assert len({*first, *draws(session_of(net, X))}) == 4


def test_training_by_a_session_changes_the_net_in_place(X):
    net = BetaVAE(**SMALL, learning_rate_schedule="constant").fit(X).net_
    before = [parameter.detach().clone() for parameter in net.module_.parameters()]
    train(net, Rows(X, np.float32), Plan.of_epochs(2, 4).one_epoch(), OneProcess())
    assert len(net.history) == 3 + 1
    assert net.n_steps_ == 3 + 4
    assert not all(map(torch.equal, before, net.module_.parameters()))
    assert not net.module_.training


class WithAnother(OneProcess):
    """One of two processes, of which the other adds what is given here, call by call."""

    count = 2

    def __init__(self, *added):
        self.added = iter(added)

    def add_up(self, tensor):
        return tensor + next(self.added)


def test_a_process_that_visits_more_rows_has_more_of_the_loss(X):
    rows = Rows(X[:90], np.float32)
    # the mean over the processes of share / visits x sum of losses is the mean over all rows
    assert share_of_loss(rows, 3, WithAnother(False, 30)) == pytest.approx(2 * 90 / 120)
    assert share_of_loss(rows, 3, OneProcess()) == 1


def test_a_process_with_fewer_rows_than_steps_is_an_error_in_all(X):
    for n_rows, processes in ((2, OneProcess()), (2, WithAnother(False, 30)), (90, WithAnother(True, 2))):
        with pytest.raises(ValueError, match=rf"visits {n_rows} rows in process 0; expected 3 or more in each"):
            share_of_loss(Rows(X[:n_rows], np.float32), 3, processes)
