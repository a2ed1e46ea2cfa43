"""The experiment of the report: embed cells, draw the embedding, cluster it and compare the clusters with known types.

`python -m skvae` is its command line.
"""

import csv
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline

from skvae import plotting
from skvae.datasets import fetch_pbmc3k, make_single_cell_counts
from skvae.estimators import AutoencoderEmbedding, BetaVAE, BetaVSC
from skvae.feature_selection import VariableGeneSelector
from skvae.metrics import clustering_report
from skvae.preprocessing import LogNormalizer
from skvae.progress import progress_bar
from skvae.types import PathLike
from skvae.warn import warn

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

# The report's own scores on PBMC 3k, of k-means on the t-SNE map.
REPORT_SCORES = {
    "autoencoder": {"nmi_geometric": 0.7209, "ari": 0.5798, "homogeneity": 0.7704, "completeness": 0.6745},
    "beta-vae": {"nmi_geometric": 0.6092, "ari": 0.4404, "homogeneity": 0.6543, "completeness": 0.5673},
    "beta-vsc": {"nmi_geometric": 0.6456, "ari": 0.4653, "homogeneity": 0.6921, "completeness": 0.6021},
}

PACKAGES = ("skvae", "numpy", "scipy", "scikit-learn", "torch", "skorch")
PERPLEXITY = 40
N_INIT = 100
METRICS = {"nmi": "NMI", "nmi_geometric": "NMI (geom.)", "ari": "ARI", "homogeneity": "HOM", "completeness": "COM"}


@dataclass(frozen=True)
class Run:
    """One model fitted with one seed, and what the experiment finds of it.

    Parameters
    ----------
    model : str
        What was fitted.
    seed : int
        Of the model, of t-SNE and of k-means.
    parameters : dict
        Of the model.
    fit_seconds : float
        How long the fit took.
    history : dict of str to list of float
        Terms of the objective by epoch; empty for PCA.
    latent : ndarray of shape (n_samples, n_components)
        The embedded samples.
    maps : dict of int to ndarray
        Maps of the latent by t-SNE, by number of dimensions.
    clusters : dict of str to fitted KMeans
        Of the 2-D map ("t-SNE") and of the latent ("latent").
    scores : dict of str to dict
        `clustering_report` of the same.
    """

    model: str
    seed: int
    parameters: dict
    fit_seconds: float
    history: dict
    latent: np.ndarray
    maps: dict
    clusters: dict
    scores: dict


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


def run(name, model, X, target, *, seed=0, map_dimensions=(2, 3), report=lambda _: None):
    """Fit a model, map its latent with t-SNE, cluster both, and score the clusters.

    Parameters
    ----------
    name : str
        Of the model, for the record.
    model : estimator
        A transformer.
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
        log1p-normalised counts.
    target : ndarray of int of shape (n_samples,)
        Known types. Their number is that of the clusters.
    seed : int, default=0
        Of t-SNE and k-means.
    map_dimensions : tuple of int, default=(2, 3)
        Dimensions of the t-SNE maps; 2 must be one.
    report : callable, default does nothing
        Called with the name of each step as it begins.

    Returns
    -------
    Run
    """
    report("fit")
    start = time.perf_counter()
    model.fit(X)
    fit_seconds = time.perf_counter() - start
    latent = model.transform(X)
    constant = not np.ptp(latent, axis=0).any()
    if constant:
        warn(f"{name}, seed {seed}: all dimensions of the latent collapsed, every cell has the same one.")
    # On a constant the PCA that t-SNE starts from is NaN, and so is the map.
    tsne = {"perplexity": PERPLEXITY, "init": "random" if constant else "pca", "random_state": seed}
    maps = {}
    for n_dimensions in map_dimensions:
        report(f"t-SNE {n_dimensions}-D")
        maps[n_dimensions] = TSNE(n_dimensions, **tsne).fit_transform(latent)
    report("k-means")
    n_types = len(np.unique(target))
    clusters = {
        space: KMeans(n_types, n_init=N_INIT, random_state=seed).fit(points)
        for space, points in (("t-SNE", maps[2]), ("latent", latent))
    }
    return Run(
        model=name,
        seed=seed,
        parameters=model.get_params(),
        fit_seconds=fit_seconds,
        history={term: values.tolist() for term, values in getattr(model, "history_", {}).items()},
        latent=latent,
        maps=maps,
        clusters=clusters,
        scores={space: clustering_report(target, kmeans.labels_) for space, kmeans in clusters.items()},
    )


def run_experiment(
    dataset: str = "simulated",
    *,
    models: Sequence[str] = tuple(MODELS),
    preset: str = "default",
    seeds: Sequence[int] = (0,),
    max_epochs: int | None = None,
    output_dir: PathLike | None = None,
) -> list[Run]:
    """Run the experiment of the report: every model with every seed on one data set.

    Parameters
    ----------
    dataset : {"simulated", "pbmc3k"}, default="simulated"
    models : sequence of str
        Keys of `MODELS`; all by default.
    preset : {"default", "report"}, default="default"
        Settings of the models, and the preprocessing of the counts.
    seeds : sequence of int, default=(0,)
        Of the models, of t-SNE and of k-means. Only the first seed's runs have a 3-D map.
    max_epochs : int, default=None
        Instead of the preset's.
    output_dir : str or path-like, default=None
        Where to write `results.json`, `scores.csv`, `embeddings.npz` and the figures; nowhere if None.

    Returns
    -------
    runs : list of Run
        Model by model, seed by seed.
    """
    if output_dir is not None:  # before hours of work, not after
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    cells = DATASETS[dataset]()
    X = clone(PREPROCESSING[preset]).fit_transform(cells.data)
    models, seeds = tuple(dict.fromkeys(models)), tuple(dict.fromkeys(seeds))
    runs = []
    try:
        with progress_bar(len(models) * len(seeds), "run") as bar:
            for name, seed in itertools.product(models, seeds):
                model = make_model(name, preset, max_epochs=max_epochs, random_state=seed)
                runs.append(
                    run(
                        name,
                        model,
                        X,
                        cells.target,
                        seed=seed,
                        map_dimensions=(2, 3) if seed == seeds[0] else (2,),
                        report=lambda step, what=f"{name}, seed {seed}": bar.set_description(f"{what}: {step}"),
                    )
                )
                bar.update()
    finally:  # also what an interrupted experiment has found
        if output_dir is not None and runs:
            write_results(runs, cells, Path(output_dir), dataset=dataset, preset=preset)
    return runs


def summarize(runs: list[Run], *, with_report: bool = False) -> list[list[str]]:
    """Return the table of scores, means and standard deviations over seeds.

    Parameters
    ----------
    runs : list of Run
        What `run_experiment` returned.
    with_report : bool, default=False
        Put the report's own scores under those of each model.

    Returns
    -------
    rows : list of list of str
        The first one is the header.
    """
    rows = [["model", "k-means on", "fit, s", *METRICS.values()]]
    for name in dict.fromkeys(run.model for run in runs):
        same = [run for run in runs if run.model == name]
        seconds = format_mean([run.fit_seconds for run in same], ".2f")
        for space in same[0].scores:
            scores = [format_mean([run.scores[space][metric] for run in same], ".3f") for metric in METRICS]
            rows.append([name, space, seconds, *scores])
        if with_report and name in REPORT_SCORES:
            own = REPORT_SCORES[name]
            rows.append([name, "report's t-SNE", "", *(f"{own[m]:.3f}" if m in own else "" for m in METRICS)])
    return rows


def format_mean(values, spec):
    mean = format(statistics.fmean(values), spec)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):{spec}}"


def format_table(rows):
    """Return rows of strings as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_results(runs, cells, folder, *, dataset, preset):
    """Write what the experiment found: `results.json`, `scores.csv`, `embeddings.npz` and the figures."""
    results = {
        "dataset": dataset,
        "preset": preset,
        "n_samples": cells.data.shape[0],
        "n_features": cells.data.shape[1],
        "versions": {package: version(package) for package in PACKAGES},
        "runs": [
            {
                "model": run.model,
                "seed": run.seed,
                "parameters": run.parameters,
                "fit_seconds": run.fit_seconds,
                "scores": run.scores,
                "history": run.history,
            }
            for run in runs
        ],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    with open(folder / "scores.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "seed", "k-means on", "fit_seconds", *METRICS])
        writer.writerows(
            [run.model, run.seed, space, run.fit_seconds, *scores.values()]
            for run in runs
            for space, scores in run.scores.items()
        )
    embeddings = {"target": cells.target, "target_names": cells.target_names}
    for run in runs:
        embeddings[f"{run.model}/{run.seed}/latent"] = run.latent
        for n_dimensions, points in run.maps.items():
            embeddings[f"{run.model}/{run.seed}/tsne{n_dimensions}d"] = points
    np.savez_compressed(folder / "embeddings.npz", **embeddings)
    for name, figure in draw(runs, cells).items():
        figure.savefig(folder / f"{name}.png")


def draw(runs, cells):
    """Draw the figures of the report, from each model's first seed.

    Returns
    -------
    figures : dict of str to Figure
    """
    first = [run for run in runs if run.seed == runs[0].seed]
    figures = {}
    for n_dimensions, projection in ((2, None), (3, "3d")):
        figure, axes = plotting.make_figure(1, len(first), projection=projection)
        for ax, run in zip(axes[0], first, strict=True):
            artists = plotting.plot_embedding(
                ax, run.maps[n_dimensions], cells.target, cells.target_names, legend=False
            )
            ax.set(title=run.model)
        figure.legend(handles=artists, loc="outside right center", markerscale=3, frameon=False)
        figures[f"tsne_{n_dimensions}d"] = figure

    figure, axes = plotting.make_figure(len(first), 2)
    for row, run in zip(axes, first, strict=True):
        kmeans = run.clusters["t-SNE"]
        artists = plotting.plot_clusters(
            row,
            run.maps[2],
            cells.target,
            kmeans.labels_,
            kmeans.cluster_centers_,
            cells.target_names,
            legend=False,
        )
        row[0].set(ylabel=run.model)
    types = artists[: len(cells.target_names)]
    figure.legend(handles=types, loc="outside lower center", ncols=5, markerscale=3, frameon=False)
    figures["clusters"] = figure

    figure, [[ax]] = plotting.make_figure(1, 1, size=6)
    rows = [(run, space) for run in first for space in run.scores]
    plotting.plot_scores(
        ax,
        np.array([[run.scores[space][metric] for metric in METRICS] for run, space in rows]),
        [f"{run.model}, {space}" for run, space in rows],
        list(METRICS.values()),
    )
    figures["scores"] = figure

    trained = [run for run in first if run.history]
    if trained:
        figure, axes = plotting.make_figure(1, len(trained), size=5)
        for ax, run in zip(axes[0], trained, strict=True):
            figure.colorbar(plotting.plot_activation(ax, run.latent, cells.target, cells.target_names), ax=ax)
            ax.set(title=run.model)
        figures["activation"] = figure

        figure, axes = plotting.make_figure(1, len(trained))
        for ax, run in zip(axes[0], trained, strict=True):
            plotting.plot_history(ax, run.history)
            ax.set(title=run.model)
        figures["history"] = figure
    return figures
