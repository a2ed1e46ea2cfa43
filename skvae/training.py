"""Training: the skorch net that minimises an objective. The only file that imports skorch."""

import traceback
from contextlib import suppress
from functools import partial

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, PassthroughScoring
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from skvae.batching import Rows, ShuffledBatches, feature_moments
from skvae.schedules import SCHEDULES

# Terms of the objective that are logged at each epoch, beside the loss itself: means over samples, sums over features
# and over latent dimensions.
TERMS = ("reconstruction", "kl")


class StopTraining(Exception):
    """A callback asks to end training after this epoch."""


class Net(NeuralNet):
    """The skorch net behind an estimator; its module is a `skvae.networks.Autoencoder`."""

    n_steps_ = 0

    def initialize_criterion(self):
        # skorch would call an instance that is no torch module, and accelerate refuses modules without parameters.
        self.criterion_ = self.criterion
        return self

    def notify(self, method_name, **kwargs):
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as interrupt:
            # Raised by a callback's own on_epoch_end, as by skorch's EarlyStopping, it ends training; anywhere else it
            # is the user's and ends fit.
            *_, (frame, _) = traceback.walk_tb(interrupt.__traceback__)
            if frame.f_code.co_name != "on_epoch_end":
                raise
            raise StopTraining from None

    def get_loss(self, y_pred, y_true, X=None, training=False):
        log_prob, kl = y_pred
        self.history.record_batch("reconstruction", -log_prob.mean().item())
        self.history.record_batch("kl", kl.sum(dim=1).mean().item())
        loss = self.criterion_(log_prob, kl, self.n_steps_ if training else None)
        self.check_finite(loss)
        return loss

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        super().on_epoch_end(net, dataset_train, dataset_valid, **kwargs)
        for parameter in self.module_.parameters():
            self.check_finite(parameter)

    def check_finite(self, values):
        if not values.isfinite().all():
            raise FloatingPointError(
                f"training diverged in epoch {len(self.history)}: the loss or a weight is infinite or NaN. Expected X "
                "of moderate scale, such as log1p-normalised counts, and a learning_rate that suits it; got "
                f"learning_rate == {self.lr}."
            )

    def train_step(self, batch, **fit_params):
        step = super().train_step(batch, **fit_params)
        self.n_steps_ += 1
        return step


class ProgressBar(Callback):
    """One bar over all epochs, with the terms of the last one."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.bar_.set_postfix({term: f"{net.history[-1, term]:.4g}" for term in TERMS}, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.bar_.close()
        del self.bar_  # it holds an open stream, which cannot be pickled


def train(
    module,
    objective,
    X,
    *,
    max_epochs,
    n_steps,
    batch_size,
    learning_rate,
    learning_rate_schedule,
    device,
    shuffle_seed,
    noise_seed,
    callbacks,
    verbose,
):
    """Minimise an objective over the rows of X with Adam.

    Parameters
    ----------
    module : Autoencoder
        Trained in place.
    objective : callable
        One of `skvae.objectives`.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Batches are float32.
    n_steps : int
        Gradient steps in `max_epochs`.
    shuffle_seed, noise_seed : int
        Of the order of the rows and of the samples of q(z|x).
    verbose : int
        0: silent, 1: a progress bar, 2 and more: skorch's table, a row an epoch.

    The other parameters are the estimators'.

    Returns
    -------
    Net
        The trained net, with its `history`.
    """
    for callback in callbacks or ():
        if not isinstance(callback[-1] if isinstance(callback, tuple) else callback, Callback):
            raise TypeError(f"callbacks holds {callback!r}, must hold skorch callbacks, or pairs of a name and one.")
    rows = Rows(X, np.float32)
    module.start(*feature_moments(rows, batch_size))
    schedule = partial(learning_rate_at, SCHEDULES[learning_rate_schedule], n_steps)
    reports = {0: [], 1: [("progress", ProgressBar())]}.get(verbose, [])
    net = Net(
        module,
        criterion=objective,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        lr=learning_rate,
        max_epochs=max_epochs,
        batch_size=batch_size,
        iterator_train=ShuffledBatches,
        iterator_train__generator=torch.Generator().manual_seed(shuffle_seed),
        iterator_train__device=device,
        train_split=None,
        callbacks=[
            *((f"mean_{term}", PassthroughScoring(term, on_train=True)) for term in TERMS),
            ("schedule", LRScheduler(LambdaLR, step_every="batch", lr_lambda=schedule)),
            *reports,
            *(callbacks or ()),
        ],
        device=device,
        verbose=int(verbose > 1),
    )
    net.initialize()
    # Not net.fit, which swallows KeyboardInterrupt and returns a half-trained net.
    net.notify("on_train_begin", X=rows, y=None)
    with suppress(StopTraining):
        net.fit_loop(rows, generator=torch.Generator(device).manual_seed(noise_seed))
    net.notify("on_train_end", X=rows, y=None)
    net.module_.eval()
    return net


def learning_rate_at(schedule, n_steps, step):
    """Return the factor of the learning rate in a gradient step, the schedule's value at the middle of it."""
    return schedule((step + 0.5) / n_steps)


def find_device(name):
    """Return the torch device of that name, or raise a ValueError that lists the devices at hand."""
    at_hand = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator().type
        at_hand += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if name not in at_hand:
        raise ValueError(f"device == {name!r}, must be one of {at_hand} on this machine.")
    return torch.device(name)
