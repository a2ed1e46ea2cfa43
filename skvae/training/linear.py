"""The linear model that training starts from: an autoencoder made a factor analysis, or a generalised one."""

from dataclasses import dataclass

import numpy as np
import torch

from skvae.factors import N_REGRESSED, NOISE_KL, regress

# Rows and elements of the regression of likelihoods that are not Gaussian.
MIN_SAMPLE, MAX_ELEMENTS = 500, 2**23

# Deviation of the codes of an axis of noise: the others have nearly 1.
MIN_DEVIATION = 0.5


@dataclass(frozen=True)
class LinearModel:
    """x, or its logit or log rate, as a linear function of a code and covariates.

    Parameters
    ----------
    loadings : ndarray of shape (D, J)
    intercepts : ndarray of shape (D,)
    effects : ndarray of shape (C, D)
        Of the covariates.
    noise : ndarray of shape (D,)
        What it leaves of each feature: variances of real data, dispersions of counts.
    strengths : ndarray of shape (J,)
        l2, what each axis explains in units of the noise.
    excess : ndarray of shape (J,) or float
        How much more the codes of the rows that it was found from vary than those of others.
    """

    loadings: np.ndarray
    intercepts: np.ndarray
    effects: np.ndarray
    noise: np.ndarray
    strengths: np.ndarray
    excess: np.ndarray | float


def start_linear(module, axes, seen, sample, beta):
    """Make an autoencoder the linear model of some axes.

    Parameters
    ----------
    module : Autoencoder
    axes : FactorAxes
        Of what the encoder sees.
    seen : {ndarray, CSR matrix} of shape (n_samples, D)
        That of the rows of `sample`.
    sample : Rows
        In memory.
    beta : float
        Weight of the KL term.
    """
    likelihood = module.likelihood
    offsets = axes.effects @ axes.encoding * module.encodes_covariates
    if likelihood.support.link is None:
        model = factor_model(axes, beta)
    else:
        model = regression_model(axes, likelihood, seen, sample, offsets, beta)
    likelihood.start_noise(torch.from_numpy(model.noise))
    deviations = module.latent.start(torch.from_numpy(model.strengths), beta).numpy() * model.excess
    loadings = np.hstack([model.loadings / deviations, model.effects.T])
    likelihood.start_linear(torch.from_numpy(loadings), torch.from_numpy(model.intercepts))
    start_projection(module.projection, axes, likelihood.spread, offsets, deviations)


def factor_model(axes, beta):
    """Return the linear model of real data, whose axes have loadings."""
    strengths = axes.strengths(beta)
    # what x is expected to be where a code is 1
    loadings = axes.loadings * np.sqrt(axes.variances) * strengths / (strengths + beta)
    excess = np.sqrt(np.maximum(axes.variances / (strengths + beta), NOISE_KL))
    return LinearModel(loadings, axes.mean, axes.effects, axes.noise, strengths, excess)


def regression_model(axes, likelihood, seen, sample, offsets, beta):
    """Return a generalised linear model of the codes, those of noise shrunk as much as the axes are."""
    kept = np.minimum(1, axes.strengths() / np.maximum(axes.variances - 1, NOISE_KL))
    codes = codes_of(axes, seen, sample, offsets)
    loadings, intercepts, information, dispersions = regress_on(codes, likelihood, sample)
    n_components = codes.shape[1]
    natural = np.maximum(information[:n_components] * kept, 2 * NOISE_KL)
    strengths = np.maximum(natural + 1 - beta, 2 * NOISE_KL)
    effects = loadings[:, n_components:].T
    loadings = loadings[:, :n_components] * np.sqrt(kept * strengths / natural)
    return LinearModel(loadings, intercepts, effects, dispersions, strengths, 1.0)


def codes_of(axes, seen, sample, offsets):
    """Return the codes of the rows along the axes, (n_samples, J), that of what the encoder sees of them."""
    codes = np.asarray(seen @ axes.encoding) - axes.mean @ axes.encoding
    return codes - sample.inputs @ offsets if len(offsets) else codes


def regress_on(codes, likelihood, sample):
    """Return what `regress` finds for some of the rows, evenly spread, with their codes and covariates."""
    n_rows = min(len(sample), N_REGRESSED, max(MIN_SAMPLE, MAX_ELEMENTS // sample.X.shape[1]))
    few = np.linspace(0, len(sample) - 1, n_rows).astype(int)
    X = sample.X[few].astype(np.float64)
    return regress(
        X,
        np.hstack([codes[few], sample.inputs[few]]),
        likelihood.offsets(np.asarray(X.sum(axis=1)).reshape(-1, 1)),
        likelihood.output.bias.detach().double().numpy(),
        *likelihood.support.link,
    )


def start_projection(projection, axes, spread, offsets, deviations):
    """Make the linear part of an encoder that of the axes, with codes of some `deviations` (J,); see `set_encoding`."""
    set_encoding(projection, axes, spread, offsets, np.diag(deviations), np.zeros_like(deviations))
    with torch.no_grad():
        projection.explained.copy_(torch.from_numpy(axes.variances))
        projection.edges.copy_(torch.from_numpy(axes.edges))
        # Between a code whose axes all vary alike, where those of noise are as long as any, and one in units of the
        # noise, where the longest hides the rest: each varies by the fourth root of what it explains. Those of noise,
        # which the network may fill with what few rows have by chance, are no longer than the prior.
        length = np.maximum(axes.variances, 1) ** 0.25 / np.maximum(deviations, MIN_DEVIATION)
        length = np.where(axes.variances > axes.edges, length, 1 / np.maximum(deviations, 1))
        projection.scale.copy_(torch.from_numpy(length))


def set_encoding(projection, axes, spread, offsets, turn, origin):
    """Make the linear part of an encoder codes along axes that are turned, less those of an origin.

    Parameters
    ----------
    projection : Projection
    axes : FactorAxes
    spread : tensor of shape (D,) or ()
        Units of the features that the encoder sees.
    offsets : ndarray of shape (C, J)
        Of the covariates, along the axes.
    turn : ndarray of shape (J, J)
        Codes along the axes, times it, are those wanted.
    origin : ndarray of shape (J,)
    """
    spread = spread.double().numpy().reshape(-1, 1)
    with torch.no_grad():
        weight, bias = projection.linear.weight, projection.linear.bias
        weight.zero_()
        weight[:, : len(turn)] = torch.from_numpy(spread * (axes.encoding @ turn))
        bias.zero_()
        bias[: len(turn)] = torch.from_numpy(-origin)
        projection.linear.mean.copy_(torch.from_numpy(axes.mean / spread[:, 0]))
        projection.offsets.copy_(torch.from_numpy((offsets @ turn).T))
        projection.total.fill_(axes.total)
