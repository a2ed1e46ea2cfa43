"""The programs that the training of a non-negative model starts from: axes of a factor analysis, made sparse."""

import numpy as np
import torch

from skvae.covariances import inverse
from skvae.factors import NOISE_KL
from skvae.programs import modes, nonnegative_loadings, sparse_rotation
from skvae.training.linear import LinearModel, codes_of, regress_on, set_encoding


def start_programs(module, axes, seen, sample, beta):
    """Make a non-negative autoencoder the model of sparse programs; see `start_linear` for the parameters."""
    likelihood = module.likelihood
    offsets = axes.effects @ axes.encoding * module.encodes_covariates
    codes = codes_of(axes, seen, sample, offsets)
    rotation = sparse_rotation(codes)
    turned = codes @ rotation
    origin = modes(turned)
    used = np.maximum(turned - origin, 0)
    # deviations of the slab's prior: a program that is used has a mean square of 1
    size = np.sqrt(np.square(used).sum(axis=0) / np.maximum((used > 0).sum(axis=0), 1))
    used = used * inverse(size)
    if likelihood.support.link is None:
        model = additive_model(axes, seen, sample, used)
    else:
        model = regression_model(likelihood, sample, used)
    variances = 1 + model.strengths * used.var(axis=0)
    order = np.argsort(-variances, kind="stable")
    likelihood.start_noise(torch.from_numpy(model.noise))
    module.latent.start(torch.from_numpy(model.strengths[order]), beta)
    loadings = np.hstack([model.loadings[:, order], model.effects.T])
    likelihood.start_linear(torch.from_numpy(loadings), torch.from_numpy(model.intercepts))
    turn, origin = (rotation * inverse(size))[:, order], (origin * inverse(size))[order]
    set_encoding(module.projection, axes, likelihood.spread, offsets, turn, origin)
    with torch.no_grad():
        module.projection.explained.copy_(torch.from_numpy(variances[order]))
        # as many programs stand above noise as axes: a rare one varies little over all rows
        edges = variances[order] * np.sort(axes.edges * inverse(axes.variances))
        module.projection.edges.copy_(torch.from_numpy(edges))


def additive_model(axes, seen, sample, codes):
    """Return the linear model of real data whose loadings on some codes are not negative."""
    n_rows = len(codes)
    centered = codes - codes.mean(axis=0)
    gram = centered.T @ centered / n_rows
    products = np.asarray(seen.T @ centered) - axes.effects.T @ (sample.inputs.T @ centered)
    products = products / n_rows
    loadings = nonnegative_loadings(gram, products)
    # the axes leave `noise`, and the programs, which lie in their span but for what is negative, some more
    explained = np.square(axes.loadings) @ np.maximum(axes.variances - 1, 0)
    ours = 2 * (loadings * products).sum(axis=1) - np.einsum("dj,jk,dk->d", loadings, gram, loadings)
    noise = axes.noise + np.maximum(explained - ours, 0)
    strengths = np.maximum(np.square(loadings).T @ inverse(noise), 2 * NOISE_KL)
    return LinearModel(loadings, axes.mean - loadings @ codes.mean(axis=0), axes.effects, noise, strengths, 1.0)


def regression_model(likelihood, sample, codes):
    """Return the generalised linear model whose loadings on some codes are not negative."""
    loadings, intercepts, information, dispersions = regress_on(codes, likelihood, sample)
    n_components = codes.shape[1]
    strengths = np.maximum(information[:n_components], 2 * NOISE_KL)
    effects = loadings[:, n_components:].T
    return LinearModel(np.maximum(loadings[:, :n_components], 0), intercepts, effects, dispersions, strengths, 1.0)
