"""The start of training: what the data say of an autoencoder's parameters before the first gradient step."""

import math

import torch

from skvae.factors import factor_analysis
from skvae.numerics import is_offset
from skvae.rows.bounds import bounded_minibatches
from skvae.rows.moments import Moments
from skvae.rows.rows import stack_rows
from skvae.sparse import entries, sum_entries, to_scipy
from skvae.state import one_blas_thread
from skvae.training.linear import MIN_SAMPLE, start_linear
from skvae.training.programs import start_programs

# Rows from which the linear model is found, and the elements that they may have unless they are few.
MAX_SAMPLE, MAX_ELEMENTS = 20_000, 2**23

# What an input dropout of "auto" is where no larger share of the values is not zero. At 0.7 counts have a slightly
# better held-out ELBO, but batches mix less.
SPARSE_DROPOUT = 0.5
MAX_NONZERO = 0.4


def start(module, rows, processes, *, beta=1.0, noise_floor=None):
    """Set an autoencoder's parameters as the data suggest; return the moments of the features.

    Parameters
    ----------
    module : Autoencoder
        With a projection it becomes a factor analysis, to which the network adds nothing yet.
    rows : Rows
        The share of this process.
    processes : OneProcess or ManyProcesses
        The processes that train together.
    beta : float, default=1.0
        Weight of the KL term.
    noise_floor : float, default=None
        See `skvae.factors.factor_analysis`; None for what the data or the likelihood say.
    """
    sample = sample_rows(rows, processes, min(MAX_SAMPLE, max(MIN_SAMPLE, int(MAX_ELEMENTS / max(1, rows.row_size)))))
    x, _ = sample.tensors()
    likelihood, projection = module.likelihood, module.projection
    likelihood.measure(x)
    if projection is not None:
        seen = to_scipy(likelihood.encoder_input(x))
        with one_blas_thread():
            axes = factor_analysis(
                seen,
                sample.inputs,
                sample.covariates.groups(sample.encoded),
                projection.n_components,
                floor=noise_floor,
                keeps_effects=module.encodes_covariates,
            )
        noise_floor = axes.floor
    likelihood.set_floor(x, noise_floor)
    moments, after, n_nonzero = sum_moments(module, rows, processes)
    likelihood.start(*moments.mean_and_variance())
    mean, variance = after.mean_and_variance()
    module.encoder.start(mean, variance)
    if projection is not None:
        with one_blas_thread():
            begin = start_programs if module.is_nonnegative else start_linear
            begin(module, axes, seen, sample, beta)
    if module.input_dropout == "auto":
        # Measured by held-out ELBO: sparse rows gain, dense ones lose. Dropping large means would be a loud noise.
        gains = n_nonzero <= MAX_NONZERO * moments.weight * len(mean) and not is_offset(mean, variance)
        module.input_dropout = SPARSE_DROPOUT if gains else 0.0
    return moments


def sample_rows(rows, processes, n_rows):
    """Return about `n_rows` of the rows of all processes in memory, the same in each; see `Rows.sample`."""
    parts = processes.collect(rows.sample(math.ceil(n_rows / processes.count)))
    return parts[0] if len(parts) == 1 else stack_rows(parts).sample(n_rows)


def sum_moments(module, rows, processes):
    """Return the moments of the features of x and of what the encoder sees, and the number of non-zeros."""
    moments, n_nonzero = Moments(), torch.zeros((), dtype=torch.float64)
    seen = Moments()
    for minibatch in bounded_minibatches(rows):
        x, _ = rows[minibatch]
        weights = rows.weights_of(minibatch)
        moments.add(x, weights)
        seen.add(module.likelihood.encoder_input(x), weights)
        n_nonzero += weights @ sum_entries(x, (entries(x) != 0).double())
    return moments.map(processes.add_up), seen.map(processes.add_up), processes.add_up(n_nonzero)
