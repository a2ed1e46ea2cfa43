"""Adapting: a trained net that learns further levels of its covariates, and nothing else."""

import math

import torch
from torch.nn import functional as F

from skvae.embedding.building import as_trained, draw_seeds, net_of
from skvae.embedding.resizing import readers, resized
from skvae.training.plan import Plan
from skvae.training.session import train

# By how much longer the steps are than those of `fit`: there are few of them.
SPEED = 5.0


def adapt_net(estimator, net, rows, max_steps, processes):
    """Return a net that knows the covariates of some rows, those of another net, which stays as it is, and new ones.

    Parameters
    ----------
    estimator : BaseEmbedding
        That the other net is of.
    net : Net
    rows : Rows
        Of new levels, those of all processes.
    max_steps : int
        Gradient steps.
    processes : OneProcess or ManyProcesses
        The processes that train together.
    """
    covariates, trained = rows.covariates, as_trained(estimator, net.settings)
    verbose = estimator.verbose if processes.index == 0 else 0
    module = resized(net.module_, net.settings["n_categories"], covariates.width)
    handles = teach_new_levels(module, covariates, rows.n_visits)
    plan = Plan.make(rows, batch_size=trained.batch_size, max_epochs=None, max_steps=max_steps, init=trained.init)
    settings = {**net.settings, "n_categories": covariates.width, "earlier": [*map(list, covariates.earlier)]}
    trainer = net_of(trained, module, {**settings, "n_steps": plan.n_steps}, net.device, None, verbose)
    trainer.set_params(lr=SPEED * trained.learning_rate)
    trainer.seeds, trainer.moments = draw_seeds(estimator, processes)[1:], net.moments
    train(trainer, processes.share(rows), plan, processes)
    module = released(module, net.module_, handles)
    adapted = net_of(trained, module, settings, net.device, estimator.callbacks, verbose)
    # what training would go on from is as it was
    for name in ("n_steps_", "last_factor_", "seeds", "moments", "history"):
        setattr(adapted, name, getattr(net, name))
    return adapted


def teach_new_levels(module, covariates, n_rows):
    """Let training move what belongs to new levels alone, which start at the mean of those of their column.

    In the decoder they are taken for draws from a normal distribution, of the mean and deviation of the known ones: few
    rows move them little. What the encoder learns of them are few numbers.

    Returns
    -------
    handles : list
        Of the hooks that keep the gradients of all else from training.
    """
    module.requires_grad_(False)
    plain, padded, heads = readers(module)
    of_encoder = [layer.weight for layer in heads]
    if heads and module.projection is not None:
        of_encoder.append(module.projection.offsets)
    return [
        *(learn_effects(layer.weight, covariates, n_rows) for layer in (*plain, *padded)),
        *(learn_effects(weight, covariates, math.inf) for weight in of_encoder),
    ]


def learn_effects(weight, covariates, n_rows):
    """Let training move the last columns of a matrix, where these are of new levels, and return the hook's handle.

    Of infinitely many rows they are moved without regard to the known levels.
    """
    effects = weight[:, weight.shape[1] - covariates.width :]
    deviations = F.pad(set_to_mean(effects, covariates), (weight.shape[1] - covariates.width, 0))
    start, precision = weight.clone(), torch.where(deviations > 0, 1 / (n_rows * deviations**2), 0)

    def of_new(gradient):
        return torch.where(deviations > 0, gradient + precision * (weight.detach() - start), 0)

    return weight.requires_grad_(True).register_hook(of_new)


def set_to_mean(effects, covariates):
    """Set the columns of new levels to the mean of the others, and return the deviation of these, (C,); 0 for others.

    Parameters
    ----------
    effects : tensor of shape (n_outputs, C)
    covariates : Covariates
    """
    deviations = effects.new_zeros(covariates.width)
    n_known = covariates.widths_then[-2]
    for places in map(torch.from_numpy, covariates.places):
        known, new = places[places < n_known], places[places >= n_known]
        mean = effects[:, known].mean(dim=1, keepdim=True)
        deviation = (effects[:, known] - mean).square().mean().sqrt()
        effects[:, new] = mean
        deviations[new] = torch.where(deviation > 0, deviation, torch.inf)  # one level says nothing of others
    return deviations


def released(module, original, handles):
    """Return a module as training may move it: like the original one."""
    for handle in handles:
        handle.remove()
    for parameter, before in zip(module.parameters(), original.parameters(), strict=True):
        parameter.requires_grad_(before.requires_grad)
    return module
