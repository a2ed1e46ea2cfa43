"""Presets: the data sets, the models, their settings and what is done with their embedding, by the report and by us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skvae.datasets import fetch_pbmc3k, make_single_cell_counts
from skvae.estimators import AutoencoderEmbedding, BetaVAE, BetaVSC
from skvae.feature_selection import VariableGeneSelector
from skvae.likelihoods import LIKELIHOODS
from skvae.preprocessing import LogNormalizer
from skvae.supports import REAL

DATASETS = {"simulated": lambda: make_single_cell_counts(random_state=0), "pbmc3k": fetch_pbmc3k}

MODELS = {
    "autoencoder": AutoencoderEmbedding,
    "beta-vae": BetaVAE,
    "beta-vsc": BetaVSC,
    "pca": PCA,
}

# Genes that are selected; the report embeds all genes of its quality control.
N_GENES = {"default": 2000, "report": None}
PREPROCESSING = {
    preset: make_pipeline(*([] if n_genes is None else [VariableGeneSelector(n_genes)]), LogNormalizer())
    for preset, n_genes in N_GENES.items()
}

# The text of the report: layers 128-32-16, the first one linear, one 16-wide layer for each parameter of the posterior,
# ReLU on the autoencoder's code. Its loss, the squared error + 2 KL, is twice ours at beta = 1. It has no warm-up.
REPORT_TRAINING = {
    "n_components": 6,
    "init": "random",
    "hidden_layer_sizes": (128, 32),
    "head_layer_sizes": (16,),
    "first_activation": "identity",
    "activation": "relu",
    "input_dropout": 0.0,
    "likelihood": "unit_gaussian",
    "max_epochs": 200,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
}
PRESETS = {
    "default": {"pca": {"n_components": 10, "svd_solver": "arpack"}},
    "report": {
        "autoencoder": {**REPORT_TRAINING, "latent_activation": "relu", "latent_penalty": 0.0},
        "beta-vae": {**REPORT_TRAINING, "beta": 1.0, "kl_warmup": 0.0},
        "beta-vsc": {**REPORT_TRAINING, "beta": 1.0, "alpha": 0.5, "kl_warmup": 0.0},
        "pca": {"n_components": 6, "svd_solver": "arpack"},
    },
}


@dataclass(frozen=True)
class Protocol:
    """How an embedding is mapped by t-SNE, and how k-means starts.

    Parameters
    ----------
    perplexity : float
        Of t-SNE, where there are enough cells for it.
    starts_at_axes : bool
        Whether maps start from the first axes of the embedding, and else from its principal components.
    max_iter, angle : mapping of int to number
        Of t-SNE, by the number of dimensions of the map.
    n_mapped : int
        Cells of more than which some are mapped, and the others put among their neighbours.
    n_init : int
        Starts of k-means.
    """

    perplexity: float = 40.0
    starts_at_axes: bool = False
    max_iter: Mapping[int, int] = field(default_factory=lambda: {2: 1000, 3: 1000})
    angle: Mapping[int, float] = field(default_factory=lambda: {2: 0.5, 3: 0.5})
    n_mapped: int = 10**9
    n_init: int = 100


# Half the iterations, and a coarser third dimension, make maps that keep neighbours as well, in a third of the time.
PROTOCOLS = {
    "default": Protocol(
        starts_at_axes=True, max_iter={2: 500, 3: 500}, angle={2: 0.5, 3: 0.8}, n_mapped=10_000, n_init=10
    ),
    "report": Protocol(),
}


def bound_components(model: BaseEstimator, shape: tuple[int, int]) -> BaseEstimator:
    """Return a model that asks for no more components than its solver finds of so many rows and columns."""
    if "svd_solver" in model.get_params():
        model.set_params(n_components=min(model.n_components, min(shape) - 1))
    return model


def takes_counts(parameters: Mapping[str, Any]) -> bool:
    """Return whether a model of those parameters is fitted to counts, and not to their logarithms."""
    return "likelihood" in parameters and LIKELIHOODS[parameters["likelihood"]].support is not REAL


def make_model(
    name: str,
    preset: str = "default",
    *,
    max_epochs: int | None = None,
    likelihood: str | None = None,
    random_state: int | None = None,
) -> BaseEstimator:
    """Make one of the experiment's estimators.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    preset : {"default", "report"}, default="default"
        The estimator as constructed, or with the settings of the report's text.
    max_epochs : int, default=None
        Instead of the preset's, of models that have it.
    likelihood : str, default=None
        The same.
    random_state : int, default=None

    Returns
    -------
    estimator
        Not fitted.
    """
    model = MODELS[name](random_state=random_state, **PRESETS[preset].get(name, {}))
    others = {"max_epochs": max_epochs, "likelihood": likelihood}
    return model.set_params(
        **{key: value for key, value in others.items() if value is not None and key in model.get_params()}
    )
