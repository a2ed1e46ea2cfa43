"""The program that embeds the same cells in Python, to the same numbers."""

from skvae.experiment.presets import takes_counts
from skvae.experiment.sources import FileSource

# Of models, by their names on the command line.
CLASSES = {
    "autoencoder": ("skvae", "AutoencoderEmbedding"),
    "beta-vae": ("skvae", "BetaVAE"),
    "beta-vsc": ("skvae", "BetaVSC"),
    "pca": ("sklearn.decomposition", "PCA"),
}


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
    if not takes_counts(design.likelihood, run.model):
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
    package, name = CLASSES[run.model]
    first = ["n_components=10", 'svd_solver="arpack"'] if run.model == "pca" else []
    return [f"from {package} import {name}", f"model = {name}({', '.join([*first, *options_of(design, run)])})"]


def options_of(design, run):
    options = {} if run.model == "pca" else {"likelihood": design.likelihood, "max_epochs": design.max_epochs}
    options |= {"random_state": run.seed}
    return [f"{name}={value!r}" for name, value in options.items() if value is not None]


def batch_of(design, run):
    key = getattr(design.source, "batch", None)
    return "" if key is None or run.model == "pca" else f", batch=cells.obs[{key!r}].astype(str)"
