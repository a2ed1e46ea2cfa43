"""A session of training: what a net has while it trains, and no longer."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass

import torch

from skvae.rows.rows import Rows
from skvae.state import threads_for
from skvae.training.plan import Plan
from skvae.training.processes import OneProcess
from skvae.training.start import sum_moments
from skvae.training.stopping import StopTraining

# Between the seeds of two calls of `partial_fit`, more than there are processes.
CALL_OFFSET = 1_000_003


@dataclass(frozen=True)
class Session:
    """What a net trains with: no part of a trained net, as generators of a GPU and processes cannot be pickled.

    Parameters
    ----------
    plan : Plan
    processes : OneProcess or ManyProcesses
        The processes that train together.
    held_out : Rows or None
        Rows on which each process judges the model after each epoch.
    shuffle_generator, noise_generator : torch.Generator
        Of the order of rows, and of the samples of q(z|x) and dropout.
    forward_pass : callable
        The module's, such that gradients are means over the processes.
    loss_share : float
        Factor of this process's loss, where the processes visit unequal numbers of rows.
    """

    plan: Plan
    processes: OneProcess
    held_out: Rows | None
    shuffle_generator: torch.Generator
    noise_generator: torch.Generator
    forward_pass: Callable
    loss_share: float

    @classmethod
    def make(cls, net, rows, plan, processes, held_out):
        # a session that goes on from an earlier one draws other numbers
        offset = CALL_OFFSET * net.n_steps_ + processes.index
        shuffle_seed, noise_seed = net.seeds
        return cls(
            plan,
            processes,
            held_out,
            torch.Generator().manual_seed(shuffle_seed + offset),
            torch.Generator(net.device).manual_seed(noise_seed + offset),
            # skorch would take a module itself for a part of the net
            processes.wrap(net.module_).__call__,
            share_of_loss(rows, plan.steps_per_epoch, processes),
        )


def train(net, rows, plan, processes, *, held_out=None):
    """Train a net on rows.

    Parameters
    ----------
    net : Net
        Trained in place.
    rows : Rows
        The share of this process, float32.
    plan : Plan
    processes : OneProcess or ManyProcesses
        The processes that train together.
    held_out : Rows, default=None
        Rows on which each process judges the model after each epoch.
    """
    n_epochs_before = len(net.history)
    net.max_epochs = plan.n_epochs
    net.session = Session.make(net, rows, plan, processes, held_out)
    try:
        if net.n_steps_ > 0 and net.learning_rate_factor(net.n_steps_) > 0:
            update_start(net, rows, processes)
        # Not net.fit, which swallows KeyboardInterrupt and returns a half-trained net.
        net.notify("on_train_begin", X=rows, y=None)
        with suppress(StopTraining), threads_for(net.module_):
            # a checkpoint may have brought epochs
            net.fit_loop(rows, epochs=net.max_epochs - (len(net.history) - n_epochs_before))
        net.module_.eval()
        net.notify("on_train_end", X=rows, y=None)
    finally:
        net.session = None


def share_of_loss(rows, steps_per_epoch, processes):
    """Return the factor of this process's loss, where gradients are means over processes of unequal visits."""
    n_visits = torch.tensor(float(rows.n_visits), dtype=torch.float64)
    # known to all, as one that raised alone would leave the others waiting
    if processes.add_up((n_visits < steps_per_epoch).double()) > 0:
        raise ValueError(
            f"an epoch visits {rows.n_visits} rows in process {processes.index}; expected {steps_per_epoch} or more in "
            "each, one a gradient step. Raise batch_size, or sort the rows such that their weights are spread evenly."
        )
    return (n_visits * processes.count / processes.add_up(n_visits)).item()


def update_start(net, rows, processes):
    """Between chunks of the data, move what the likelihood started with by as much as the features' moments changed.

    The gradient steps of a few chunks are too few to learn, say, the variance of a feature that the first one lacked.
    """
    likelihood = net.module_.likelihood
    moments, _, _ = sum_moments(net.module_, rows, processes)
    moments = net.moments.plus(moments)
    old, new = deepcopy(likelihood), deepcopy(likelihood)
    old.start(*net.moments.mean_and_variance())
    new.start(*moments.mean_and_variance())
    with torch.no_grad():
        for values in ("parameters", "buffers"):
            for value, before, after in zip(*(getattr(part, values)() for part in (likelihood, old, new)), strict=True):
                value += after - before
    net.moments = moments
