"""Training: it minimises what it says, follows its schedule, and calls the callbacks."""

import math

import numpy as np
import pytest
from models import SMALL, every_variational
from scipy import sparse
from sklearn.decomposition import PCA
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC
from skvae.training.schedules import SCHEDULES


def test_a_linear_autoencoder_reaches_the_reconstruction_of_pca():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 12)) + 0.3 * rng.normal(size=(300, 12))
    linear = AutoencoderEmbedding(
        3, hidden_layer_sizes=(), max_epochs=300, batch_size=50, learning_rate=1e-2, random_state=0
    ).fit(X)
    pca = PCA(3).fit(X)
    own, best = (((X - model.inverse_transform(model.transform(X))) ** 2).sum() for model in (linear, pca))
    assert best <= own < 1.02 * best


@every_variational
def test_training_honours_beta(Estimator, X):
    settings = {**SMALL, "max_epochs": 60, "batch_size": 30}
    kl = [Estimator(**settings, beta=beta).fit(X).history_["kl"][-1] for beta in (0.1, 1.0, 10.0)]
    assert kl[0] > 1.5 * kl[1] > 1.5 * 1.5 * kl[2]


def test_a_smaller_alpha_gives_a_sparser_code(X):
    settings = {**SMALL, "n_components": 8, "max_epochs": 100, "batch_size": 30, "code": "sparse"}
    active = [BetaVSC(**settings, alpha=alpha).fit_transform(X).nnz for alpha in (0.9, 0.3, 0.01)]
    assert active[0] > active[1] > active[2]


def test_callbacks_are_called(X):
    class Counter(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.n_epochs += 1

    counter = Counter()
    AutoencoderEmbedding(**SMALL, callbacks=[counter]).fit(X)
    assert counter.n_epochs == 3


def test_with_a_constant_schedule_a_callback_sets_the_learning_rate(X):
    halving = LRScheduler("StepLR", step_size=1, gamma=0.5)
    settings = {**SMALL, "learning_rate": 0.08, "learning_rate_schedule": "constant", "callbacks": [halving]}
    autoencoder = AutoencoderEmbedding(**settings).fit(X)
    assert autoencoder.net_.history[:, "event_lr"] == pytest.approx([0.08, 0.04, 0.02])


def test_a_checkpoint_keeps_the_best_epoch(X, tmp_path):
    checkpoint = Checkpoint(monitor="train_loss_best", dirname=tmp_path, f_criterion=None)
    history = AutoencoderEmbedding(**{**SMALL, "max_epochs": 10}, callbacks=[checkpoint]).fit(X).net_.history
    losses = history[:, "train_loss"]
    assert history[:, "train_loss_best"] == [loss < min(losses[:i], default=np.inf) for i, loss in enumerate(losses)]
    assert (tmp_path / "params.pt").exists()


def test_an_early_stopping_callback_ends_training_and_not_fit(X):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e6, threshold_mode="abs", sink=lambda _: None)
    autoencoder = AutoencoderEmbedding(**{**SMALL, "max_epochs": 50}, callbacks=[stop]).fit(X)
    assert autoencoder.n_epochs_ == 3
    assert autoencoder.transform(X).shape == (120, 3)


@pytest.mark.parametrize(("verbose", "stream", "text"), [(1, "err", "3/3"), (2, "out", "train_loss")])
def test_verbose_shows_the_epochs(verbose, stream, text, X, capsys):
    BetaVAE(**SMALL, verbose=verbose).fit(X)
    assert text in getattr(capsys.readouterr(), stream)


def test_fit_is_silent_by_default(X, capsys):
    BetaVAE(**SMALL).fit(X)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_follows_its_schedule(schedule, X):
    rates = []

    class Spy(Callback):
        def on_batch_begin(self, net, training=False, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    settings = {**SMALL, "batch_size": 75, "learning_rate": 0.5, "learning_rate_schedule": schedule}
    BetaVAE(**settings, beta=0.0, callbacks=[Spy()]).fit(X)
    n_steps = 3 * math.ceil(X.shape[0] / 75)
    np.testing.assert_allclose(rates, [0.5 * SCHEDULES[schedule]((step + 0.5) / n_steps) for step in range(n_steps)])


@pytest.mark.parametrize(
    ("density", "offset", "share"),
    [(0.35, 0.0, 0.5), (0.45, 0.0, 0.0), (0.35, 1e3 + 0.5, 0.0)],
    ids=["sparse", "dense", "offset"],
)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_by_default_the_encoder_misses_half_of_sparse_rows_alone(density, offset, share, container):
    X = (np.random.default_rng(0).uniform(size=(60, 30)) < density) * 1.0
    X[:, 0] += offset
    assert BetaVAE(**SMALL).fit(container(X)).net_.module_.input_dropout == share
    assert BetaVAE(**SMALL, input_dropout=0.3).fit(container(X)).net_.module_.input_dropout == 0.3


def test_dropout_is_of_training_alone(cells):
    vae = BetaVAE(**SMALL, likelihood="nb", input_dropout=0.5).fit(cells.data)
    np.testing.assert_array_equal(vae.transform(cells.data), vae.transform(cells.data))
    Z = vae.transform(cells.data)
    module = vae.net_.module_
    module.input_dropout = 0.9
    np.testing.assert_array_equal(vae.transform(cells.data), Z)
