"""Building: the module and the net that an estimator's parameters describe, new or of a saved state."""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
from sklearn.utils import check_random_state

from skvae.autoencoder import Autoencoder
from skvae.likelihoods import LIKELIHOODS
from skvae.networks import Head, Projection, Trunk, initialize, wide_enough
from skvae.nonnegative import NonnegativeLatent
from skvae.training.net import make_net
from skvae.training.processes import find_device
from skvae.training.start import start
from skvae.warn import warn

# Parameters that are not kept with the trained net.
NOT_KEPT = ("callbacks", "random_state", "verbose")


def make_module(estimator, n_features, n_covariates):
    """Return the untrained autoencoder of an estimator's parameters, for C = `n_covariates` inputs beside z."""
    # True is 1 for scikit-learn, and no number for torch
    n_components = int(estimator.n_components)
    shared, separate = (
        [int(width) for width in widths] for widths in (estimator.hidden_layer_sizes, estimator.head_layer_sizes)
    )
    encoder = Trunk(n_features, shared, estimator.activation, estimator.first_activation, centered=True)
    n_hidden = encoder.n_outputs + n_covariates * estimator.encode_batch
    head = partial(Head, n_hidden, separate, estimator.activation, n_components)
    decoder = Trunk(n_components + n_covariates, decoder_widths(estimator), estimator.activation)
    latent = estimator._make_latent(head)
    is_linear = estimator.init == "linear"
    beside = wide_enough(decoder.n_inputs) if is_linear and decoder.layers else 0
    likelihood = LIKELIHOODS[estimator.likelihood](decoder.n_outputs + beside, n_features)
    return Autoencoder(
        encoder,
        NonnegativeLatent(latent) if estimator.nonnegative else latent,
        decoder,
        likelihood,
        input_dropout=estimator.input_dropout,
        encodes_covariates=bool(estimator.encode_batch),
        projection=Projection(n_features, n_components, n_covariates) if is_linear else None,
        prior=estimator._make_prior(n_components),
    )


def decoder_widths(estimator):
    """Return the widths of the decoder's hidden layers: as asked for, or else none or the mirror of the encoder's."""
    if estimator.decoder_layer_sizes is not None:
        widths = estimator.decoder_layer_sizes
    elif estimator.nonnegative:
        widths = ()
    else:
        widths = [*estimator.head_layer_sizes[::-1], *estimator.hidden_layer_sizes[::-1]]
    return [int(width) for width in widths]


def start_net(estimator, rows, n_steps, device, processes):
    """Return an untrained net for a run of `n_steps` gradient steps, started as the rows suggest."""
    seeds = draw_seeds(estimator, processes)
    init_seed, *training_seeds = seeds
    n_features, n_covariates = rows.X.shape[1], rows.covariates.width
    module = make_module(estimator, n_features, n_covariates)
    initialize(module, torch.Generator().manual_seed(init_seed))
    module.constrain(int(estimator.n_components))
    noise_floor = None if estimator.noise_floor == "auto" else float(estimator.noise_floor)
    moments = start(module, rows, processes, beta=estimator._start_beta, noise_floor=noise_floor)
    params = estimator.get_params(deep=False)
    settings = {
        "params": deepcopy({name: params[name] for name in params if name not in NOT_KEPT}),
        "n_features": n_features,
        "n_categories": n_covariates,
        "n_steps": n_steps,
        "seeds": None if estimator.random_state is None else seeds,
    }
    verbose = estimator.verbose if processes.index == 0 else 0
    net = net_of(estimator, module, settings, device, estimator.callbacks, verbose)
    net.seeds, net.moments = training_seeds, moments
    net.estimator = type(estimator).__name__
    return net


def draw_seeds(estimator, processes):
    """Return one seed for each use of randomness, so that none depends on how much another draws: three of them."""
    drawn = check_random_state(estimator.random_state).randint(np.iinfo(np.int32).max, size=3).tolist()
    return processes.collect(drawn)[0]  # one for all, where each has another random state


def restore_net(estimator, state, verbose=0):
    """Return a net of that state, made with the parameters that it was trained with."""
    settings = state["settings"]
    trained = as_trained(estimator, settings)
    module = make_module(trained, settings["n_features"], settings["n_categories"])
    try:
        device = find_device(trained.device)
    except ValueError as error:
        warn(f"The model is on the CPU now, where it can be used: {error}")
        device = torch.device("cpu")
    net = net_of(trained, module, settings, device, estimator.callbacks, verbose)
    net.restore(state)
    return net


def as_trained(estimator, settings):
    """Return an estimator with the parameters that a net of these settings was trained with."""
    trained = type(estimator)(**settings["params"])
    trained._validate_params()
    return trained


def copy_net(estimator, net, verbose):
    """Return a net that trains on where another one is, which stays as it is."""
    copied = restore_net(estimator, net.state(), verbose)
    for parameter, original in zip(copied.module_.parameters(), net.module_.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    copied.module_.free_projection()  # which was found from the first chunk alone
    return copied


def net_of(estimator, module, settings, device, callbacks, verbose):
    return make_net(
        module,
        estimator._make_objective(settings["n_steps"]),
        n_steps=settings["n_steps"],
        learning_rate=estimator.learning_rate,
        learning_rate_schedule=estimator.learning_rate_schedule,
        device=device,
        callbacks=callbacks,
        verbose=verbose,
        settings=settings,
    )
