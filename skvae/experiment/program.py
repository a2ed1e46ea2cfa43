"""The program that embeds the same cells in Python, to the same numbers."""

from skvae.experiment.presets import MODELS, PRESETS, takes_counts
from skvae.experiment.sources import FileSource


def write_program(experiment) -> str:
    """Return lines of Python that embed the cells of an experiment by its first model.

    Parameters
    ----------
    experiment : Experiment

    Returns
    -------
    program : str
        For a file, it begins with the `cells.h5ad` that was written.
    """
    design, run = experiment.design, experiment.runs[0]
    start = read_file(design.source) if isinstance(design.source, FileSource) else read_dataset(design)
    model = make_preset(design, run) if design.preset == "report" else make_constructed(design, run)
    lines = [*start, *model]
    X = "counts"
    if not takes_counts(run.parameters):
        lines += ["from skvae import LogNormalizer"]
        X = "X"
    fit = f"Z = model.fit({X}{batch_of(design, run)}).transform({X})"
    imports = sorted({line for line in lines if line.startswith(("from", "import"))})
    body = [line for line in lines if not line.startswith(("from", "import"))]
    normalise = ["X = LogNormalizer().fit_transform(counts)"] if X == "X" else []
    return "\n".join([*imports, "", *body, *normalise, fit])


def read_file(source):
    matrix = "cells.X" if source.layer in (None, "raw") else f"cells.layers[{source.layer!r}]"
    return [
        "import anndata",
        'cells = anndata.read_h5ad("cells.h5ad")',
        f'counts = {matrix}[:, cells.var["skvae_selected"]]',
    ]


def read_dataset(design):
    make = {"simulated": "make_single_cell_counts(random_state=0)", "pbmc3k": "fetch_pbmc3k()"}[design.source.dataset]
    lines = [f"from skvae import {make.partition('(')[0]}", f"counts = {make}.data"]
    if design.n_genes is not None:
        lines += [
            "from skvae import VariableGeneSelector",
            f"counts = VariableGeneSelector({design.n_genes}).fit_transform(counts)",
        ]
    return lines


def make_preset(design, run):
    options = options_of(design, run)
    return [
        "from skvae.experiment import make_model",
        f"model = make_model({', '.join([repr(run.model), repr(design.preset), *options])})",
    ]


def make_constructed(design, run):
    package, name = "sklearn.decomposition" if run.model == "pca" else "skvae", MODELS[run.model].__name__
    first = [f"{key}={run.parameters[key]!r}" for key in PRESETS[design.preset].get(run.model, {})]
    return [f"from {package} import {name}", f"model = {name}({', '.join([*first, *options_of(design, run)])})"]


def options_of(design, run):
    """Return the options that were given, of those that the model has."""
    options = {"likelihood": design.likelihood, "max_epochs": design.max_epochs, "random_state": run.seed}
    return [f"{name}={value!r}" for name, value in options.items() if value is not None and name in run.parameters]


def batch_of(design, run):
    key = getattr(design.source, "batch", None)
    return "" if key is None or "encode_batch" not in run.parameters else f", batch=cells.obs[{key!r}].astype(str)"
