"""The skorch net that minimises an objective. Beside `checkpoint` and `progress`, the only file that imports skorch."""

import math
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.exceptions import SkorchException
from skorch.history import History

from skvae.objectives import elbo
from skvae.rows.mapping import mean_over_rows
from skvae.rows.moments import Moments
from skvae.rows.shuffling import ShuffledMinibatches
from skvae.training.checkpoint import ProgressBar
from skvae.training.history import KL_BY_COMPONENT, N_STEP_TERMS, TERMS
from skvae.training.optimizer import Adam
from skvae.training.schedules import SCHEDULES, learning_rate_at
from skvae.training.stopping import DivergenceError, StopTraining, asks_to_stop

# Gradients in nats, mean over the rows, that Adam takes for nothing: those that are zero but for rounding, as at the
# optimum of a linear model, would otherwise move a parameter as far as any.
ADAM_EPS = 1e-6

# Quasi-random samples of q(z|x) behind the score of held-out rows after each epoch.
N_VALIDATION_SAMPLES = 8


class Net(NeuralNet):
    """The skorch net behind an estimator; its module is a `skvae.autoencoder.Autoencoder`.

    `learning_rate_factor` is a function of the number of gradient steps taken so far. `session` is what it trains
    with, a `Session` during training and else None.
    """

    learning_rate_factor: Any = None
    n_steps_ = 0
    last_factor_ = 1.0
    settings: Any = None
    seeds: Any = None
    moments: Any = None
    session: Any = None

    def get_iterator(self, dataset, training=False):
        steps = self.session.plan.steps_per_epoch
        return ShuffledMinibatches(dataset, steps, self.session.shuffle_generator, self.device)

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
        except (KeyError, SkorchException) as error:
            if "was not found in history" not in str(error):
                raise
            names = sorted(name for name in TERMS.values() if name in self.history[-1])
            raise ValueError(
                f"a callback monitors what is not recorded: {error.args[0]} Expected one of {names}, or 'validation', "
                "for which fit needs X_val."
            ) from error

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
        sums, n_samples, last_step = torch.zeros(()), 0, self.session.plan.last_step
        for minibatch in islice(iterator, None if last_step is None else last_step - self.n_steps_):
            self.update_learning_rate()
            self.notify("on_batch_begin", batch=minibatch, training=training)
            step = step_fn(minibatch, **fit_params)
            sums = sums + len(minibatch[1]) * step["terms"]
            n_samples += len(minibatch[1])
            self.notify("on_batch_end", batch=minibatch, training=training, **step)
        *sums, n_samples = self.session.processes.add_up(torch.cat([sums, sums.new_tensor([n_samples])])).tolist()
        self.record_epoch([total / n_samples for total in sums])

    def record_epoch(self, means):
        """Record the means of the terms of the epoch, and raise a DivergenceError if one is not finite."""
        for term, mean in zip(islice(TERMS.values(), N_STEP_TERMS), means, strict=False):
            self.history.record(term, mean)
        self.history.record(KL_BY_COMPONENT, means[N_STEP_TERMS:])
        self.history.record(TERMS["kl_weight"], self.criterion_.kl_weight(self.n_steps_ - 1))
        self.record_best(TERMS["loss"])
        held_out = self.session.held_out
        if held_out is not None:
            bound = partial(elbo, self.module_, n_samples=N_VALIDATION_SAMPLES)
            score = mean_over_rows(bound, held_out, held_out.X.shape[1], self.device)
            self.history.record(TERMS["validation"], -score.item())
            self.record_best(TERMS["validation"])
        if not all(map(math.isfinite, means)) or not all(part.isfinite().all() for part in self.module_.parameters()):
            raise DivergenceError(
                f"training diverged in epoch {len(self.history)}: the loss or a weight is infinite or NaN. Expected X "
                f"of moderate scale, {self.module_.likelihood.support.usual}, and a learning_rate that suits it; got "
                f"features with means up to {self.moments.largest_mean():.3g} and learning_rate == {self.lr}."
            )

    def train_step(self, batch, **fit_params):
        (x, covariates), _ = batch
        self.optimizer_.zero_grad()
        log_prob, kl = self.session.forward_pass(x, covariates, self.session.noise_generator)
        loss = self.criterion_(log_prob, kl, self.n_steps_)
        (loss * self.session.loss_share).backward()
        self.notify("on_grad_computed", named_parameters=self.module_.named_parameters(), batch=batch, training=True)
        self.optimizer_.step()
        self.module_.constrain(kl.shape[1])
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
        if self.session is None or self.session.processes.index == 0:
            super().save_params(*args, **kwargs)

    def update_learning_rate(self):
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


def check_callbacks(callbacks, learning_rate_schedule):
    """Raise a TypeError for what is no callback, and a ValueError for one that the schedule would overrule."""
    for callback in callbacks or ():
        called = callback[-1] if isinstance(callback, tuple) else callback
        if not isinstance(called, Callback):
            raise TypeError(f"callbacks holds {callback!r}, must hold skorch callbacks, or pairs of a name and one.")
        if isinstance(called, LRScheduler) and learning_rate_schedule != "constant":
            raise ValueError(
                f"callbacks holds an LRScheduler, and learning_rate_schedule == {learning_rate_schedule!r} sets the "
                "learning rate too; expected one of them: set learning_rate_schedule='constant'."
            )


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
    check_callbacks(callbacks, learning_rate_schedule)
    reports = {0: [], 1: [("progress", ProgressBar())]}.get(verbose, [])
    net = Net(
        module,
        criterion=objective,
        optimizer=Adam,
        optimizer__fused=True,
        optimizer__eps=ADAM_EPS,
        lr=learning_rate,
        train_split=None,
        callbacks=[
            *reports,
            *(callbacks or ()),
        ],
        # those of skorch, which read a loss of each minibatch
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        # no column of a table
        callbacks__print_log__keys_ignored=[KL_BY_COMPONENT],
        device=device,
        verbose=int(verbose > 1),
    )
    net.learning_rate_factor = partial(learning_rate_at, SCHEDULES[learning_rate_schedule], n_steps)
    net.settings = settings
    return net.initialize()
