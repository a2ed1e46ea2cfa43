"""A fit that is killed at any moment and called again gives the bits of one that was never stopped."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from resumed_fit import ESTIMATORS, EVERY, fit, learned, make_data
from scipy import sparse
from skorch.callbacks import Callback, EarlyStopping

from skvae import BetaVAE, FitCheckpoint

SMALL = {"n_components": 3, "hidden_layer_sizes": (8,), "max_epochs": 8, "batch_size": 30, "random_state": 0}
N_KILLS = 20


class Stop(Callback):
    """Raise in an epoch, after its batches."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise RuntimeError("stopped")


def interrupted(path, X, *, every=1, after=5, **parameters):
    """Leave the checkpoint of a fit that was stopped."""
    vae = BetaVAE(**{**SMALL, **parameters}, callbacks=[FitCheckpoint(path, every=every), Stop(after)])
    with pytest.raises(RuntimeError, match="stopped"):
        vae.fit(X)


@pytest.mark.parametrize("every", [1, 3, 100])
@pytest.mark.parametrize("parameters", [{}, {"likelihood": "nb"}, {"max_steps": 29}, {"random_state": None}], ids=str)
def test_a_fit_goes_on_where_it_was_stopped(every, parameters, cells, tmp_path):
    path = tmp_path / "fit"
    once = BetaVAE(**{**SMALL, **parameters}, callbacks=[FitCheckpoint(tmp_path / "once")]).fit(cells.data)
    if "random_state" in parameters:  # the seeds of a fit without one are known from its file alone
        os.link(tmp_path / "once", path)
    else:
        interrupted(path, cells.data, every=every, **parameters)
    vae = BetaVAE(**{**SMALL, **parameters}, callbacks=[FitCheckpoint(path, every=every)])
    vae.fit(cells.data)
    np.testing.assert_equal(learned(vae, cells.data), learned(once, cells.data))


def test_only_the_epochs_that_are_missing_are_trained(X, tmp_path):
    interrupted(tmp_path / "fit", X, every=2)  # stopped in the fifth epoch
    seen = []

    class Spy(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(len(net.history))

    checkpoint = FitCheckpoint(tmp_path / "fit")
    with pytest.warns(UserWarning, match=r"goes on from .* after 4 epochs, but what the callbacks \['Spy'\] learned"):
        BetaVAE(**SMALL, callbacks=[checkpoint, Spy()]).fit(X)
    assert seen == [5, 6, 7, 8]


def test_a_fit_that_had_ended_is_read(X, tmp_path):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e6, threshold_mode="abs", sink=lambda _: None)
    checkpoint = FitCheckpoint(tmp_path / "fit")
    vae = BetaVAE(**SMALL, callbacks=[stop, checkpoint]).fit(X)
    again = BetaVAE(**SMALL, callbacks=[stop, checkpoint, Stop(1)]).fit(X)  # which no epoch ends
    assert again.n_epochs_ == 3
    np.testing.assert_equal(learned(again, X), learned(vae, X))


def test_other_held_out_rows_are_another_fit(X, tmp_path):
    checkpoint = FitCheckpoint(tmp_path / "fit")
    vae = BetaVAE(**SMALL, callbacks=[checkpoint]).fit(X[:90], X_val=X[90:])
    again = BetaVAE(**SMALL, callbacks=[checkpoint]).fit(X[:90], X_val=X[90:])
    np.testing.assert_array_equal(again.history_["validation"], vae.history_["validation"])
    for held_out in (X[:30], None):
        with pytest.raises(ValueError, match="another fit, in which held_out differed"):
            BetaVAE(**SMALL, callbacks=[checkpoint]).fit(X[:90], X_val=held_out)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"beta": 2.0}, "beta"),
        ({"random_state": 1}, "seeds"),
        ({"max_epochs": 9}, "n_steps, max_epochs, n_epochs, last_step"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_an_error(change, name, X, tmp_path):
    interrupted(tmp_path / "fit", X)
    before = (tmp_path / "fit").read_bytes()
    vae = BetaVAE(**{**SMALL, **change}, callbacks=[FitCheckpoint(tmp_path / "fit")])
    with pytest.raises(ValueError, match=rf"checkpoint of another fit, in which {name}.* differed; expected the"):
        vae.fit(X)
    assert (tmp_path / "fit").read_bytes() == before


def test_a_checkpoint_of_other_data_is_an_error(X, tmp_path):
    path = tmp_path / "fit"
    interrupted(path, X)
    vae = BetaVAE(**SMALL, callbacks=[FitCheckpoint(path)])
    for changed, keywords, name in (
        (X * 1.01, {}, "data"),
        (sparse.hstack([X[:, :40], X[::-1, 40:]]), {}, "data"),  # the same features, but other rows
        (X, {"sample_weight": np.r_[2, 0, np.ones(118)]}, "data"),
        (X, {"batch": np.arange(120) % 2}, "n_categories"),
    ):
        with pytest.raises(ValueError, match=f"in which .*{name}.* differed"):
            vae.fit(changed, **keywords)


def test_a_checkpoint_has_no_place_between_calls_of_partial_fit(X, tmp_path):
    vae = BetaVAE(**SMALL).partial_fit(X).set_params(callbacks=[FitCheckpoint(tmp_path / "fit")])
    with pytest.raises(ValueError, match=r"expected it in fit alone. Between calls of partial_fit, save the estimator"):
        vae.partial_fit(X)


def test_neither_the_order_of_rows_nor_their_format_matters_to_a_checkpoint(X, tmp_path):
    once = BetaVAE(**SMALL).fit(X)
    interrupted(tmp_path / "fit", X)
    vae = BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X.toarray()[::-1].astype(np.float64))
    np.testing.assert_equal(learned(vae, X), learned(once, X))


def test_every_is_checked(X, tmp_path):
    with pytest.raises(ValueError, match="every == 0, must be >= 1"):
        BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit", every=0)]).fit(X)


def test_a_folder_that_is_missing_is_an_error_that_names_the_file_before_training(X, tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*absent"):
        BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "absent" / "fit", every=100), Stop(1)]).fit(X)


def test_a_torn_checkpoint_is_never_loaded(X, tmp_path, record_property):
    path = tmp_path / "fit"
    interrupted(path, X)
    whole = path.read_bytes()
    sizes = np.linspace(0, len(whole) - 1, 25).astype(int)
    for size in sizes:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cannot be understood"):
            BetaVAE(**SMALL, callbacks=[FitCheckpoint(path)]).fit(X)
    record_property("corruptions", len(sizes))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X looks like raw counts")
def test_fits_killed_at_random_moments_lose_no_more_than_an_interval(tmp_path, record_property):
    cells = make_data()
    expected = [learned(estimator.fit(cells.data, batch=cells.batch), cells.data) for estimator in ESTIMATORS]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skvae"])
    rng = np.random.default_rng()  # another moment in every run
    for name in ("first", "second"):  # the first also starts the server
        (tmp_path / name).mkdir()
        began = time.monotonic()
        process = context.Process(target=fit, args=(tmp_path / name, 0))
        process.start()
        process.join()
    longest = time.monotonic() - began
    n_kills, n_fits = 0, 0
    while n_kills < N_KILLS or n_fits < len(ESTIMATORS):
        number = n_fits % len(ESTIMATORS)
        folder = tmp_path / str(n_fits)
        folder.mkdir()
        while not (folder / "learned.npz").exists():
            process = context.Process(target=fit, args=(folder, number))
            process.start()
            process.join(rng.uniform(0, longest))
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                n_kills += 1
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
        n_fits += 1
        events = [line.split() for line in (folder / "log").read_text().splitlines()]
        trained = 0
        for event, epoch in events:
            if event == "resumed":
                assert trained - int(epoch) <= EVERY
            trained = int(epoch)
        np.testing.assert_equal(dict(np.load(folder / "learned.npz")), expected[number])
    record_property("kills", n_kills)
    record_property("fits", n_fits)
