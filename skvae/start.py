"""The start of training: what the data tell of an autoencoder's parameters before the first gradient step."""

import math

import numpy as np
import torch

from skvae.batching import Moments, batches_by_cost, stack_rows
from skvae.factors import LINKS, N_REGRESSED, NOISE_KL, factor_analysis, regress
from skvae.likelihoods import is_offset
from skvae.sparse import entries, sum_entries, to_scipy
from skvae.threads import one_blas_thread

# Rows from which the linear model is found, and the elements that they may have unless they are few.
MAX_SAMPLE, MIN_SAMPLE, MAX_ELEMENTS = 20_000, 500, 2**23

# What an input dropout of "auto" is where no larger share of the values is not zero. At 0.7 counts have a slightly
# better held-out ELBO, but batches mix less.
SPARSE_DROPOUT = 0.5
MAX_DENSITY = 0.4

# Deviation of the codes of an axis of noise: the others have nearly 1.
MIN_DEVIATION = 0.5


def start(module, rows, processes, *, beta=1.0, noise_floor=None):
    """Set what the data tell of an autoencoder's parameters; return the moments of the features.

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
                sample.categories,
                sample.n_categories,
                projection.n_components,
                floor=noise_floor,
                keeps_means=module.encodes_covariates,
            )
        noise_floor = axes.floor
    likelihood.set_floor(x, noise_floor)
    moments, after, n_nonzero = survey(module, rows, processes)
    likelihood.start(*moments.mean_and_variance())
    mean, variance = after.mean_and_variance()
    module.encoder.start(mean, variance)
    if projection is not None:
        with one_blas_thread():
            start_linear(module, axes, seen, sample, beta)
    if module.input_dropout == "auto":
        # Measured by held-out ELBO: sparse rows gain, dense ones lose. Dropping large means would be a loud noise.
        gains = n_nonzero <= MAX_DENSITY * moments.weight * len(mean) and not is_offset(mean, variance)
        module.input_dropout = SPARSE_DROPOUT if gains else 0.0
    return moments


def sample_rows(rows, processes, n_rows):
    """Return about `n_rows` of the rows of all processes in memory, the same in each; see `Rows.sample`."""
    parts = processes.collect(rows.sample(math.ceil(n_rows / processes.count)))
    return parts[0] if len(parts) == 1 else stack_rows(parts).sample(n_rows)


def start_linear(module, axes, seen, sample, beta):
    """Make an autoencoder the linear model of some axes.

    Parameters
    ----------
    module : Autoencoder
    axes : Axes
        Of what the encoder sees.
    seen : {ndarray, CSR matrix} of shape (n_samples, D)
        That of the rows of `sample`.
    sample : Rows
        In memory.
    beta : float
        Weight of the KL term.
    """
    likelihood, projection = module.likelihood, module.projection
    encoding, strengths = axes.encoding, axes.strengths(beta)
    spread = likelihood.spread.double().numpy().reshape(-1, 1)
    offsets = axes.offsets @ encoding if module.encodes_covariates else np.zeros((len(axes.offsets), len(strengths)))
    if likelihood.support == "real":
        # what x is expected to be where a code is 1, and how much more codes of these rows vary than those of others
        loadings = axes.loadings * np.sqrt(axes.variances) * strengths / (strengths + beta)
        excess = np.sqrt(np.maximum(axes.variances / (strengths + beta), NOISE_KL))
        intercepts, by_category = axes.mean, axes.offsets
        likelihood.start_noise(torch.from_numpy(axes.noise))
    else:
        # a generalised linear model of the codes, those of noise shrunk as much as the axes are
        kept = np.minimum(1, axes.strengths() / np.maximum(axes.variances - 1, NOISE_KL))
        n_rows = min(len(sample), N_REGRESSED, max(MIN_SAMPLE, MAX_ELEMENTS // seen.shape[1]))
        few = np.linspace(0, len(sample) - 1, n_rows).astype(int)
        indicators = np.equal.outer(sample.categories[few], np.arange(sample.n_categories)).astype(np.float64)
        codes = seen[few] @ encoding - axes.mean @ encoding
        if sample.n_categories:
            codes = codes - indicators @ offsets
        X = sample.X[few].astype(np.float64)
        loadings, intercepts, information, dispersions = regress(
            X,
            np.hstack([codes, indicators]),
            np.log(np.maximum(np.asarray(X.sum(axis=1)).reshape(-1, 1), 1e-8) / likelihood.unit),
            likelihood.output.bias.detach().double().numpy(),
            *LINKS[likelihood.support],
        )
        likelihood.start_noise(torch.from_numpy(dispersions))
        n_components = len(strengths)
        by_category = loadings[:, n_components:].T
        natural = np.maximum(information[:n_components] * kept, 2 * NOISE_KL)
        strengths = np.maximum(natural + 1 - beta, 2 * NOISE_KL)
        loadings, excess = loadings[:, :n_components] * np.sqrt(kept * strengths / natural), 1.0
    deviations = module.latent.start(torch.from_numpy(strengths), beta).numpy() * excess
    loadings = loadings / deviations
    if sample.n_categories:
        loadings = np.hstack([loadings, by_category.T])
    likelihood.start_linear(torch.from_numpy(loadings), torch.from_numpy(intercepts))
    with torch.no_grad():
        projection.linear.weight.zero_()
        projection.linear.weight[:, : len(strengths)] = torch.from_numpy(spread * encoding * deviations)
        projection.linear.bias.zero_()
        projection.linear.mean.copy_(torch.from_numpy(axes.mean / spread[:, 0]))
        if sample.n_categories:
            projection.offsets.copy_(torch.from_numpy(offsets * deviations))
        projection.explained.copy_(torch.from_numpy(axes.variances))
        projection.edges.copy_(torch.from_numpy(axes.edges))
        projection.total.fill_(axes.total)
        # Between a code whose axes all vary alike, where those of noise are as long as any, and one in units of the
        # noise, where the longest hides the rest: each varies by the fourth root of what it explains. Those of noise,
        # which the network may fill with what few rows have by chance, are no longer than the prior.
        length = np.maximum(axes.variances, 1) ** 0.25 / np.maximum(deviations, MIN_DEVIATION)
        length = np.where(axes.variances > axes.edges, length, 1 / np.maximum(deviations, 1))
        projection.scale.copy_(torch.from_numpy(length))


def survey(module, rows, processes):
    """Return the moments of the features of x and of what the encoder sees, and the number of non-zeros."""
    moments, n_nonzero = Moments(), torch.zeros((), dtype=torch.float64)
    seen = Moments()
    for batch in batches_by_cost(rows):
        x, _ = rows[batch]
        weights = rows.weights_of(batch)
        moments.add(x, weights)
        seen.add(module.likelihood.encoder_input(x), weights)
        n_nonzero += weights @ sum_entries(x, (entries(x) != 0).double())
    return moments.map(processes.add_up), seen.map(processes.add_up), processes.add_up(n_nonzero)
