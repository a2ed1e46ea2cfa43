"""The trial: whether the network of an autoencoder adds to its linear model, on rows held out."""

import math
from functools import partial

import numpy as np
import torch

from skvae.embedding.building import start_net
from skvae.objectives import elbo
from skvae.rows.mapping import map_rows
from skvae.training.plan import N_FEW
from skvae.training.processes import OneProcess
from skvae.training.session import train
from skvae.training.start import sample_rows
from skvae.training.stopping import DivergenceError

# Rows from which, and up to which, `max_epochs="auto"` tries first whether the network adds to the linear model, and of
# how many of them one is held out. Fewer say too little, and more always gained.
MIN_TRIED, N_TRIED, TRIAL_SHARE = 100, 2000, 5


def network_gain(estimator, rows, device, processes):
    """Return by how many nats a row, at least, the network adds to the linear model: one verdict of all processes.

    Processes that trained for other lengths would wait for each other.
    """
    gain = try_network(estimator, rows, device, processes) / processes.count
    return processes.add_up(torch.tensor(gain, dtype=torch.float64)).item()


def trains_encoder(estimator, rows, processes):
    """Return whether the network of the encoder is trained, and not that of the decoder alone.

    Of few rows with covariates that it is not told of, it would learn what sets batches apart sooner than types.
    """
    n_visits = processes.add_up(torch.tensor(rows.n_visits)).item()
    is_told = rows.covariates.width == 0 or estimator.encode_batch
    return is_told or n_visits > N_FEW or is_asked(estimator)


def is_asked(estimator):
    """Return whether the user says how long to train, or that the network is all there is."""
    return estimator.max_epochs != "auto" or estimator.max_steps is not None or estimator.init == "random"


def try_network(estimator, rows, device, processes):
    """Return the same of this process.

    Infinite where no trial is due: of many rows, where there are covariates, whose effects only the network takes out
    as far as they are not linear, or if the user says how long to train.
    """
    n_visits = processes.add_up(torch.tensor(rows.n_visits)).item()
    if is_asked(estimator) or n_visits > N_TRIED:
        return math.inf
    if n_visits < MIN_TRIED:
        return -math.inf
    if rows.covariates.width:
        return math.inf
    sample = sample_rows(rows, processes, N_TRIED)
    is_held_out = np.arange(len(sample)) % TRIAL_SHARE == TRIAL_SHARE // 2
    seen, held_out = (sample.take(np.flatnonzero(which)) for which in (~is_held_out, is_held_out))
    judge = estimator._make_judge()
    plan = judge._plan(seen)
    try:
        gains = bounds(judge, seen, held_out, plan, device) - bounds(
            judge, seen, held_out, plan.shortest(), device, uses_network=False
        )
    except (DivergenceError, ValueError):  # which an infinite score is
        return -math.inf
    # what chance alone would seldom give
    return float(gains.mean() - 2 * gains.std() / math.sqrt(len(gains)))


def bounds(judge, seen, held_out, plan, device, *, uses_network=True):
    """Return the evidence lower bounds of rows held out, after training with or without the network."""
    net = start_net(judge, seen, plan.n_steps, device, OneProcess())
    net.module_.choose_parts(uses_network=uses_network, trains_encoder=True)
    train(net, seen, plan, OneProcess())
    return map_rows(partial(elbo, net.module_), held_out, held_out.X.shape[1], device)
