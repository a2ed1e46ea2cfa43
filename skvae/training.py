"""Training: the skorch net that minimises an objective. Beside its callbacks, the only file that imports skorch."""

import dis
import math
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.history import History

from skvae.batching import Moments, ShuffledBatches, mean_of_batches
from skvae.callbacks import ProgressBar
from skvae.objectives import elbo
from skvae.processes import OneProcess
from skvae.schedules import SCHEDULES
from skvae.start import survey
from skvae.threads import threads_for

# Gradients in nats, mean over the rows, that Adam takes for nothing: those that are zero but for rounding, as at the
# optimum of a linear model, would otherwise move a parameter as far as any.
ADAM_EPS = 1e-6

# Between the seeds of two calls of `partial_fit`, more than there are processes.
CALL_OFFSET = 1_000_003

# What X is, by the support of a likelihood.
USUAL = {
    "real": "such as log1p-normalised counts",
    "counts": "raw counts, which are integers",
    "binary": "zeros and ones",
}

# Quasi-random samples of q(z|x) behind the score of held-out rows after each epoch.
N_VALIDATION_SAMPLES = 8

# Terms of the objective that are logged at each epoch: means over samples, sums over features and latent dimensions.
TERMS = ("train_loss", "reconstruction", "kl")


def asks_to_stop(interrupt):
    """Return whether a KeyboardInterrupt ends training, not fit: a `raise` in a callback's own on_epoch_end.

    Such is that of skorch's EarlyStopping. The user's comes at another instruction, even where it comes in that method.
    """
    last = interrupt.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    return code.co_name == "on_epoch_end" and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


class StopTraining(Exception):
    """A callback asks to end training after this epoch."""


class DivergenceError(ValueError, FloatingPointError):
    """The loss or a weight is infinite or NaN."""


class Net(NeuralNet):
    """The skorch net behind an estimator; its module is a `skvae.networks.Autoencoder`.

    `learning_rate_factor` is a function of the number of gradient steps taken so far. What `run` sets is no parameter
    of `fit`, which skorch would have routed where scikit-learn's metadata routing is on.
    """

    learning_rate_factor: Any = None
    n_steps_ = 0
    last_factor_ = 1.0
    settings = None
    seeds: Any = None
    moments: Any = None
    # set by `run`, and no part of a trained net: generators of a GPU cannot be pickled, nor processes
    plan = None
    n_batches = None
    shuffle_generator = None
    noise_generator = None
    processes = OneProcess()
    forward_pass: Any = None
    loss_share = 1.0
    last_step = None
    held_out = None

    def get_iterator(self, dataset, training=False):
        return ShuffledBatches(dataset, self.n_batches, self.shuffle_generator, self.device)

    def initialize_criterion(self):
        # skorch would call an instance that is no torch module, and accelerate refuses modules without parameters.
        self.criterion_ = self.criterion
        return self

    def notify(self, method_name, **kwargs):
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as interrupt:
            if not asks_to_stop(interrupt):
                raise
            raise StopTraining from None

    def record_best(self, name):
        """Record whether a value of this epoch is the least so far, which callbacks of skorch may ask for."""
        before = [epoch[name] for epoch in self.history[:-1] if name in epoch]
        self.history.record(f"{name}_best", self.history[-1, name] < min(before, default=math.inf))

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train for an epoch, and record the mean of each term over the samples.

        The terms stay on the device until the epoch ends: reading them at each step would make the CPU wait.
        """
        if iterator is None:
            return
        self.module_.train()
        sums, n_samples = torch.zeros(()), 0
        for batch in islice(iterator, None if self.last_step is None else self.last_step - self.n_steps_):
            self.follow_schedule()
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            sums = sums + len(batch[1]) * step["terms"]
            n_samples += len(batch[1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        *sums, n_samples = self.processes.add_up(torch.cat([sums, sums.new_tensor([n_samples])])).tolist()
        means = [total / n_samples for total in sums]
        for term, mean in zip(TERMS, means, strict=False):
            self.history.record(term, mean)
        self.history.record("kl_by_component", means[len(TERMS) :])
        self.history.record("kl_weight", self.criterion_.kl_weight(self.n_steps_ - 1))
        self.record_best("train_loss")
        if self.held_out is not None:
            bound = partial(elbo, self.module_, n_samples=N_VALIDATION_SAMPLES)
            score = mean_of_batches(bound, self.held_out, self.held_out.X.shape[1], self.device)
            self.history.record("validation", -score.item())
            self.record_best("validation")
        if not all(map(math.isfinite, means)) or not all(part.isfinite().all() for part in self.module_.parameters()):
            raise DivergenceError(
                f"training diverged in epoch {len(self.history)}: the loss or a weight is infinite or NaN. Expected X "
                f"of moderate scale, {USUAL[self.module_.likelihood.support]}, and a learning_rate that suits it; got "
                f"features with means up to {self.moments.largest_mean():.3g} and learning_rate == {self.lr}."
            )

    def train_step(self, batch, **fit_params):
        (x, covariates), _ = batch
        self.optimizer_.zero_grad()
        log_prob, kl = self.forward_pass(x, covariates, self.noise_generator)
        loss = self.criterion_(log_prob, kl, self.n_steps_)
        (loss * self.loss_share).backward()
        self.notify("on_grad_computed", named_parameters=self.module_.named_parameters(), batch=batch, training=True)
        self.optimizer_.step()
        self.n_steps_ += 1
        terms = torch.stack([loss, -log_prob.mean(), kl.sum(dim=1).mean()])
        terms = torch.cat([terms, kl.mean(dim=0)]).detach().double()
        return {"loss": loss, "y_pred": (log_prob, kl), "terms": terms}

    def state(self):
        """Return all that training goes on from, in plain types; arrays share the memory of the net."""
        optimizer = self.optimizer_.state_dict()
        return {
            "settings": self.settings,
            "weights": as_arrays(self.module_.state_dict()),
            "optimizer": {
                "groups": [
                    {name: value for name, value in group.items() if name != "params"}
                    for group in optimizer["param_groups"]
                ],
                "parameters": {str(index): as_arrays(state) for index, state in optimizer["state"].items()},
            },
            "n_steps": self.n_steps_,
            "last_factor": self.last_factor_,
            "seeds": list(self.seeds),
            "moments": as_arrays(vars(self.moments)),
            "history": [dict(epoch) for epoch in self.history],
        }

    def restore(self, state):
        """Set, in place, what `state` returned; nothing shares memory with it."""
        optimizer = state["optimizer"]
        parameters = [group["params"] for group in self.optimizer_.state_dict()["param_groups"]]
        groups = zip(optimizer["groups"], parameters, strict=True)
        self.module_.load_state_dict(as_tensors(state["weights"]))
        self.optimizer_.load_state_dict(
            {
                "param_groups": [{**group, "params": indices} for group, indices in groups],
                "state": {int(index): as_tensors(kept) for index, kept in optimizer["parameters"].items()},
            }
        )
        self.n_steps_ = state["n_steps"]
        self.last_factor_ = state["last_factor"]
        self.seeds = state["seeds"]
        self.moments = Moments()
        vars(self.moments).update(as_tensors(state["moments"]))
        self.history = History(dict(epoch) for epoch in state["history"])

    def save_params(self, *args, **kwargs):
        if self.processes.index == 0:
            super().save_params(*args, **kwargs)

    def follow_schedule(self):
        factor = self.learning_rate_factor(self.n_steps_)
        # a constant factor leaves the rate to the schedule that a callback may bring
        if factor != self.last_factor_:
            for group in self.optimizer_.param_groups:
                group["lr"] = self.lr * factor
            self.last_factor_ = factor


def as_arrays(state):
    """Return a dict with arrays in the place of tensors."""
    return {name: part.numpy(force=True) if isinstance(part, torch.Tensor) else part for name, part in state.items()}


def as_tensors(state):
    """Return a dict with tensors, which are copies, in the place of arrays."""
    return {name: torch.tensor(part) if isinstance(part, np.ndarray) else part for name, part in state.items()}


def make_net(
    module,
    objective,
    *,
    n_steps,
    learning_rate,
    learning_rate_schedule,
    device,
    callbacks,
    verbose,
    settings,
):
    """Return an untrained net that minimises an objective with Adam.

    Parameters
    ----------
    module : Autoencoder
        Trained in place.
    objective : callable
        One of `skvae.objectives`.
    n_steps : int
        Gradient steps of a whole run, over which the learning rate follows its schedule.
    verbose : int
        0: silent, 1: a progress bar, 2 and more: skorch's table, a row an epoch.
    settings : dict
        From which the same net can be made again: plain types.

    The other parameters are the estimators'.
    """
    for callback in callbacks or ():
        if not isinstance(callback[-1] if isinstance(callback, tuple) else callback, Callback):
            raise TypeError(f"callbacks holds {callback!r}, must hold skorch callbacks, or pairs of a name and one.")
    reports = {0: [], 1: [("progress", ProgressBar())]}.get(verbose, [])
    net = Net(
        module,
        criterion=objective,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        optimizer__eps=ADAM_EPS,
        lr=learning_rate,
        train_split=None,
        callbacks=[
            *reports,
            *(callbacks or ()),
        ],
        # skorch's own, which read a loss of each batch
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        # no column of a table
        callbacks__print_log__keys_ignored=["kl_by_component"],
        device=device,
        verbose=int(verbose > 1),
    )
    net.learning_rate_factor = partial(learning_rate_at, SCHEDULES[learning_rate_schedule], n_steps)
    net.settings = settings
    return net.initialize()


@contextmanager
def gradients_on():
    """Record gradients, also where the caller does not.

    torch switches them off and on again at each step. An interrupt that comes between the two would leave them off in
    all later training of the process, if they were not restored here.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


def run(net, rows, *, n_epochs, n_batches, processes, last_step=None, held_out=None):
    """Train a net on rows, until `last_step` at the latest.

    Parameters
    ----------
    net : Net
        Trained in place.
    rows : Rows
        The share of this process, float32.
    n_epochs : int
        Passes over the rows.
    n_batches : int
        Gradient steps of a pass.
    processes : OneProcess or ManyProcesses
        Who train.
    last_step : int, default=None
        Number of gradient steps, from the net's first, after which to stop.
    held_out : Rows, default=None
        Rows on which each process judges the model after each epoch.
    """
    during = {
        "plan": {"n_epochs": n_epochs, "n_batches": n_batches, "last_step": last_step, "n_processes": processes.count},
        "n_batches": n_batches,
        "processes": processes,
        "last_step": last_step,
        "held_out": held_out,
        # skorch would take a module itself for a part of the net
        "forward_pass": processes.wrap(net.module_).__call__,
        "loss_share": share_of_loss(rows, n_batches, processes),
    }
    # a run that goes on from an earlier one draws other numbers
    offset = CALL_OFFSET * net.n_steps_ + processes.index
    shuffle_seed, noise_seed = net.seeds
    during["shuffle_generator"] = torch.Generator().manual_seed(shuffle_seed + offset)
    during["noise_generator"] = torch.Generator(net.device).manual_seed(noise_seed + offset)
    n_epochs_before = len(net.history)
    net.max_epochs = n_epochs
    for name, value in during.items():
        setattr(net, name, value)
    try:
        if net.n_steps_ > 0 and net.learning_rate_factor(net.n_steps_) > 0:
            follow(net, rows, processes)
        # Not net.fit, which swallows KeyboardInterrupt and returns a half-trained net.
        net.notify("on_train_begin", X=rows, y=None)
        with suppress(StopTraining), threads_for(net.module_):
            # a checkpoint may have brought epochs
            net.fit_loop(rows, epochs=net.max_epochs - (len(net.history) - n_epochs_before))
        net.module_.eval()
        net.notify("on_train_end", X=rows, y=None)
    finally:
        for name in during:
            delattr(net, name)


def share_of_loss(rows, n_batches, processes):
    """Return the factor of this process's loss, where gradients are means over processes of unequal visits."""
    n_visits = torch.tensor(float(rows.n_visits), dtype=torch.float64)
    # known to all, as one that raised alone would leave the others waiting
    if processes.add_up((n_visits < n_batches).double()) > 0:
        raise ValueError(
            f"an epoch visits {rows.n_visits} rows in process {processes.index}; expected {n_batches} or more in each, "
            "one a gradient step. Raise batch_size, or sort the rows such that their weights are spread evenly."
        )
    return (n_visits * processes.count / processes.add_up(n_visits)).item()


def follow(net, rows, processes):
    """Between chunks of the data, move what the likelihood began with by as much as the features' moments changed.

    The gradient steps of a few chunks are too few to learn, say, the variance of a feature that the first one lacked.
    """
    likelihood = net.module_.likelihood
    moments, _, _ = survey(net.module_, rows, processes)
    moments = net.moments.plus(moments)
    old, new = deepcopy(likelihood), deepcopy(likelihood)
    old.start(*net.moments.mean_and_variance())
    new.start(*moments.mean_and_variance())
    with torch.no_grad():
        for values in ("parameters", "buffers"):
            for value, before, after in zip(*(getattr(part, values)() for part in (likelihood, old, new)), strict=True):
                value += after - before
    net.moments = moments


def learning_rate_at(schedule, n_steps, step):
    """Return the factor of the learning rate in a gradient step, the schedule's value at the middle of it."""
    return schedule(min(1.0, (step + 0.5) / n_steps))


def find_device(name):
    """Return the torch device of that name, or raise a ValueError that lists the devices at hand.

    "auto" is the accelerator, if there is one, else the CPU.
    """
    at_hand = ["cpu"]
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        kind = accelerator.type
        at_hand += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if name == "auto":
        name = at_hand[:2][-1]
    if name not in at_hand:
        raise ValueError(f"device == {name!r}, must be 'auto' or one of {at_hand} on this machine.")
    return torch.device(name)
