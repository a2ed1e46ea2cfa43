"""Embed wide, sparse data with autoencoders that behave like scikit-learn."""

from skvae.annotated import embed
from skvae.consensus import ConsensusEmbedding
from skvae.datasets import fetch_pbmc3k, make_factor_counts, make_single_cell_counts
from skvae.differential import differential_expression
from skvae.estimators import AutoencoderEmbedding, BetaVAE, BetaVSC
from skvae.feature_selection import VariableGeneSelector
from skvae.markers import find_markers
from skvae.metrics import clustering_report, elbo_scorer, embedding_scorer, sparsity
from skvae.names import align_features
from skvae.novelty import NoveltyDetector
from skvae.predictive import posterior_predictive_check
from skvae.preprocessing import LogNormalizer, quality_control
from skvae.stores import RowStore
from skvae.training.checkpoint import FitCheckpoint
from skvae.version import VERSION

__version__ = VERSION

__all__ = [
    "AutoencoderEmbedding",
    "BetaVAE",
    "BetaVSC",
    "ConsensusEmbedding",
    "FitCheckpoint",
    "LogNormalizer",
    "NoveltyDetector",
    "RowStore",
    "VariableGeneSelector",
    "align_features",
    "clustering_report",
    "differential_expression",
    "elbo_scorer",
    "embed",
    "embedding_scorer",
    "fetch_pbmc3k",
    "find_markers",
    "make_factor_counts",
    "make_single_cell_counts",
    "posterior_predictive_check",
    "quality_control",
    "sparsity",
]
