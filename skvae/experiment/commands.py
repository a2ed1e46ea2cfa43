"""The commands of the command line: their options, and what they do."""

import argparse
import math
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from skvae.experiment.design import Design
from skvae.experiment.exports import write_annotated, write_tables
from skvae.experiment.log import format_seconds, tell
from skvae.experiment.output import write_results
from skvae.experiment.page import write_page
from skvae.experiment.presets import DATASETS, MODELS, N_GENES, PRESETS
from skvae.experiment.quality import Bounds
from skvae.experiment.results import format_table, summarize
from skvae.experiment.run import perform
from skvae.experiment.sources import DatasetSource, FileSource
from skvae.experiment.transforming import transform
from skvae.experiment.workplace import STEPS_FOLDER
from skvae.likelihoods import LIKELIHOODS

# What embeds a user's cells if no models are named: the first one's clusters and markers are reported.
OWN_MODELS = ("beta-vae", "pca")

# What of the results could be read as cells, too.
READABLE = ("cells.h5ad", "embedding.csv", "clusters.csv", "markers.csv", "scores.csv", "embeddings.npz")

# Options that are of a file alone.
OF_FILE = ("layer", "genes_in", "labels", "batch", "no_qc", *Bounds.names)

# What a user's own cells need beyond the package itself, in the extra `cells`.
EXTRA = ("anndata", "skops")

EPILOG = """
examples:
  skvae pbmc.h5ad                          embed, cluster and report the cells of a file
  skvae filtered_feature_bc_matrix/        the same of a folder of 10x Genomics
  skvae counts.csv.gz --output-dir out     genes or cells in rows
  skvae cells.h5ad --labels cell_type      compare clusters with known types
  skvae cells.h5ad --batch donor           leave out what sets batches apart
  skvae transform out/models/beta-vae.skops new.h5ad    embed new cells
  skvae                                    the report's experiment on simulated cells
"""


@dataclass(frozen=True)
class ExperimentCommand:
    """Embed, map and cluster cells, and report it.

    Parameters
    ----------
    design : Design
    folder : Path
    line : str
        The command, for the report.
    n_jobs : int or None
    """

    design: Design
    folder: Path
    line: str
    n_jobs: int | None

    def run(self) -> None:
        check_folder(self.folder, self.design.source)
        own = isinstance(self.design.source, FileSource)
        if own:
            check_extra()
        began = time.perf_counter()
        experiment = perform(self.design, self.folder, n_jobs=self.n_jobs, verbose=True)
        write_results(experiment, self.folder)
        write_tables(experiment, self.folder)
        if own:
            write_annotated(experiment, self.folder / "cells.h5ad")
        write_page(experiment, self.folder / "report.html", self.line)
        if experiment.types is not None:
            is_pbmc = getattr(self.design.source, "dataset", None) == "pbmc3k"
            tell(format_table(summarize(experiment.runs, with_report=is_pbmc)))
        tell(f"\nDone in {format_seconds(time.perf_counter() - began)}: open {self.folder / 'report.html'}")


@dataclass(frozen=True)
class TransformCommand:
    """Embed new cells by a fitted model.

    Parameters
    ----------
    model : Path
    source : FileSource
    folder : Path
    missing : {"error", "zero"}
    """

    model: Path
    source: FileSource
    folder: Path
    missing: str

    def run(self) -> None:
        check_folder(self.folder, self.source)
        if (self.folder / STEPS_FOLDER).exists():
            raise ValueError(f"--output-dir {self.folder} holds the results of an experiment; expected another folder.")
        check_extra()
        n_cells, n_components = transform(self.model, self.source, self.folder, missing=self.missing)
        tell(f"{n_cells} cells in {n_components} dimensions: {self.folder / 'embedding.csv'} and cells.h5ad beside it.")


def check_folder(folder, source):
    """Raise an error, before hours of work, for an output folder that cannot be written, or that holds the input."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ValueError(f"--output-dir {folder}: {there} is a file; expected a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--output-dir {folder}: {there} cannot be written; expected a folder that can.")
    for path, *_ in source.files():
        if any((folder / name).exists() and (folder / name).samefile(path) for name in READABLE):
            raise ValueError(f"--output-dir {folder}: {path}, which is read, would be overwritten; expected another.")


def check_extra():
    missing = [package for package in EXTRA if find_spec(package) is None]
    if missing:
        raise ImportError(
            f'{" and ".join(missing)} must be installed to read and write cells: pip install "skvae[cells]"'
        )


def parse(arguments: Sequence[str]) -> ExperimentCommand:
    """Return the command that embeds the cells of a file, or of a data set of the package."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.input is not None and options.dataset is not None:
        parser.error(f"INPUT {options.input} and --dataset {options.dataset}: expected one of them")
    given = [f"--{name.replace('_', '-')}" for name in OF_FILE if getattr(options, name)]
    if given and options.input is None:
        parser.error(f"{' and '.join(given)} without INPUT: expected the file that it is of")
    if options.no_qc and bounds_of(options):
        parser.error(f"{' and '.join(given)}: expected --no-qc or bounds")
    return ExperimentCommand(design_of(options), options.output_dir, shlex.join(["skvae", *arguments]), options.n_jobs)


def make_parser():
    parser = argparse.ArgumentParser(
        prog="skvae",
        description="Embed single cells with autoencoders, draw them with t-SNE, cluster them, name the markers of the "
        "clusters, and write it all down in report.html.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser, nargs="?")
    parser.add_argument(
        "--labels", metavar="KEY", help="column of the cells with known types, to compare clusters with"
    )
    parser.add_argument("--batch", metavar="KEY", help="column of the cells with their batches, to be left out")
    parser.add_argument("--dataset", choices=DATASETS, help="instead of INPUT (default: simulated)")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        help=f"the first one's clusters are reported (default: {' '.join(OWN_MODELS)}; of data sets all)",
    )
    parser.add_argument("--likelihood", choices=LIKELIHOODS, help="of the autoencoders (default: gaussian)")
    parser.add_argument("--n-clusters", type=positive_int, help="default: that of known types, or else as are found")
    parser.add_argument("--genes", type=n_genes, help="number of variable genes to embed, or all (default: 2000)")
    parser.add_argument("--seeds", nargs="+", type=seed, default=[0], help="one or several runs (default: 0)")
    parser.add_argument("--preset", choices=PRESETS, default="default", help="report: the settings of the report")
    parser.add_argument("--max-epochs", type=positive_int, help="instead of the preset's")
    parser.add_argument("--n-jobs", type=positive_int, help="steps side by side (default: as many as cores)")
    control = parser.add_argument_group("quality control of INPUT; bounds that are not given follow from the cells")
    control.add_argument("--no-qc", action="store_true", help="keep all cells and genes")
    control.add_argument("--min-cells", type=positive_int, help="cells that a gene is in (default: 3)")
    control.add_argument("--min-genes", type=n_of_cell, help="genes that a cell expresses")
    control.add_argument("--max-genes", type=n_of_cell)
    control.add_argument("--max-mitochondrial", type=share, metavar="SHARE", help="of a cell's counts, from 0 to 1")
    return parser


def design_of(options) -> Design:
    own = options.input is not None
    return Design(
        source=source_of(options) if own else DatasetSource(options.dataset or "simulated"),
        models=tuple(dict.fromkeys(options.models or (OWN_MODELS if own else MODELS))),
        preset=options.preset,
        seeds=tuple(dict.fromkeys(options.seeds)),
        max_epochs=options.max_epochs,
        likelihood=options.likelihood,
        n_clusters=options.n_clusters,
        bounds=Bounds(**bounds_of(options)) if own and not options.no_qc else None,
        n_genes=N_GENES[options.preset] if options.genes is None else options.genes or None,
    )


def bounds_of(options):
    """Return the bounds that are given, by their names."""
    return {name: getattr(options, name) for name in Bounds.names if getattr(options, name) is not None}


def source_of(options) -> FileSource:
    return FileSource(str(options.input), options.layer, options.genes_in, options.labels, options.batch)


def parse_transform(arguments: Sequence[str]) -> TransformCommand:
    """Return the command that embeds new cells."""
    parser = argparse.ArgumentParser(
        prog="skvae transform", description="Embed new cells by a model that skvae has fitted; genes are found by name."
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="file of the folder models of an earlier run")
    add_source(parser, folder="skvae-transformed")
    parser.add_argument(
        "--missing",
        choices=("error", "zero"),
        default="error",
        help="genes of the model that INPUT lacks: an error, or zeros (default: error)",
    )
    parser.set_defaults(labels=None, batch=None)
    options = parser.parse_args(arguments)
    return TransformCommand(options.model, source_of(options), options.output_dir, options.missing)


def add_source(parser, nargs=None, folder="skvae-results"):
    """Add the options that name a file and what of it to read, and the folder for results."""
    formats = ".h5ad, .zarr, .h5 or a folder of 10x Genomics, .loom, .mtx, .csv, .tsv or .npz, as counts"
    parser.add_argument("input", metavar="INPUT", type=Path, nargs=nargs, help=formats)
    parser.add_argument("--layer", help="matrix to read where a file holds several, such as a layer, or raw")
    parser.add_argument("--genes-in", choices=("rows", "columns"), help="where genes are, if names do not tell")
    parser.add_argument("--output-dir", type=Path, default=Path(folder), help="default: %(default)s")


def between(least, most, kind=int):
    """Return the type of options that are numbers within bounds."""

    def number(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value}, must be >= {least}" + f" and <= {most}" * (most < math.inf))
        return value

    number.__name__ = kind.__name__  # in the error for what is no number
    return number


positive_int, seed = between(1, math.inf), between(0, 2**32 - 1)
n_of_cell, share = between(0, math.inf, float), between(0, 1, float)


def n_genes(text):
    """Return a number of genes, 0 for all."""
    return 0 if text == "all" else between(2, math.inf)(text)
