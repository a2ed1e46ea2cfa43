"""Presets: the data sets, the models, and their settings, those of the report among them."""

from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skvae.datasets import fetch_pbmc3k, make_single_cell_counts
from skvae.estimators import AutoencoderEmbedding, BetaVAE, BetaVSC
from skvae.feature_selection import VariableGeneSelector
from skvae.preprocessing import LogNormalizer

DATASETS = {"simulated": lambda: make_single_cell_counts(random_state=0), "pbmc3k": fetch_pbmc3k}

MODELS = {
    "autoencoder": AutoencoderEmbedding,
    "beta-vae": BetaVAE,
    "beta-vsc": BetaVSC,
    "pca": PCA,
}

# The report embeds all genes of its quality control.
PREPROCESSING = {
    "default": make_pipeline(VariableGeneSelector(), LogNormalizer()),
    "report": make_pipeline(LogNormalizer()),
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


def make_model(
    name: str, preset: str = "default", *, max_epochs: int | None = None, random_state: int | None = None
) -> BaseEstimator:
    """Make one of the experiment's estimators.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    preset : {"default", "report"}, default="default"
        The estimator as constructed, or with the settings of the report's text.
    max_epochs : int, default=None
        Instead of the preset's.
    random_state : int, default=None

    Returns
    -------
    estimator
        Not fitted.
    """
    model = MODELS[name](random_state=random_state, **PRESETS[preset].get(name, {}))
    if max_epochs is not None and "max_epochs" in model.get_params():
        model.set_params(max_epochs=max_epochs)
    return model
