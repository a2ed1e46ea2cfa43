"""Resizing: an autoencoder that reads fewer covariates, as it was before `adapt`, or more."""

from copy import deepcopy

import torch
from torch import nn

from skvae.networks import Head, wide_enough


def readers(module):
    """Return the layers that read the covariates, which are the last of their inputs.

    Returns
    -------
    plain : list of Linear
        Layers of the decoder whose other inputs are alike for any number of covariates.
    padded : list of Linear
        Layers of the decoder in which z and the covariates are filled up to a width that is fast.
    heads : list of Linear
        Layers of the encoder, which are like plain ones.
    """
    outputs = [layer for layer in module.likelihood.modules() if isinstance(layer, nn.Linear)]
    plain = [module.decoder.layers[0]] if module.decoder.layers else outputs
    padded = outputs if module.projection is not None and module.decoder.layers else []
    heads = [part for part in module.latent.modules() if isinstance(part, Head)] if module.encodes_covariates else []
    return plain, padded, [head.trunk.layers[0] if head.trunk.layers else head.output for head in heads]


def resized(module, n_before, n_after):
    """Return a copy of an autoencoder of `n_before` covariates that reads the first `n_after`; new ones do nothing."""
    twin = deepcopy(module)
    plain, padded, heads = readers(twin)
    with torch.no_grad():
        for layer in (*plain, *heads):
            first, last = split(layer.weight, n_before)
            set_weight(layer, torch.cat([first, fitted(last, n_after)], dim=1))
        for layer in padded:
            first, last = split(layer.weight, n_before)
            n_components = twin.projection.n_components
            n_hidden = layer.in_features - wide_enough(n_components + n_before)
            hidden, of_z = first[:, :n_hidden], first[:, first.shape[1] - n_components :]
            missing = wide_enough(n_components + n_after) - n_components - n_after
            set_weight(layer, torch.cat([hidden, fitted(hidden[:, :0], missing), of_z, fitted(last, n_after)], dim=1))
        if twin.projection is not None:
            offsets = fitted(twin.projection.offsets, n_after).contiguous()
            twin.projection.offsets = nn.Parameter(offsets, requires_grad=False)
    return twin


def split(weight, n_last):
    """Return the columns of a matrix without the last ones, and those."""
    return weight.tensor_split([weight.shape[1] - n_last], dim=1)


def fitted(columns, n_columns):
    """Return the first columns of a matrix, with zeros for those that it lacks."""
    missing = max(0, n_columns - columns.shape[1])
    return torch.cat([columns[:, :n_columns], columns.new_zeros(len(columns), missing)], dim=1)


def set_weight(layer, weight):
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=layer.weight.requires_grad)
    layer.in_features = weight.shape[1]
