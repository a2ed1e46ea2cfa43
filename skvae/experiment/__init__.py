"""The experiment of the report: embed cells, draw the embedding, cluster it and compare the clusters with known types.

`python -m skvae` is its command line.
"""

from skvae.experiment.presets import DATASETS, MODELS, PREPROCESSING, PRESETS, make_model
from skvae.experiment.results import REPORT_SCORES, Run, format_table, summarize
from skvae.experiment.run import run, run_experiment

__all__ = [
    "DATASETS",
    "MODELS",
    "PREPROCESSING",
    "PRESETS",
    "REPORT_SCORES",
    "Run",
    "format_table",
    "make_model",
    "run",
    "run_experiment",
    "summarize",
]
