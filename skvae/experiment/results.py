"""Results of an experiment: its table, its files and its figures."""

import csv
import json
import statistics
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from skvae import plotting

# The scores of the report on PBMC 3k, of k-means on the t-SNE map.
REPORT_SCORES = {
    "autoencoder": {"nmi_geometric": 0.7209, "ari": 0.5798, "homogeneity": 0.7704, "completeness": 0.6745},
    "beta-vae": {"nmi_geometric": 0.6092, "ari": 0.4404, "homogeneity": 0.6543, "completeness": 0.5673},
    "beta-vsc": {"nmi_geometric": 0.6456, "ari": 0.4653, "homogeneity": 0.6921, "completeness": 0.6021},
}

PACKAGES = ("skvae", "numpy", "scipy", "scikit-learn", "torch", "skorch")
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


def summarize(runs: list[Run], *, with_report: bool = False) -> list[list[str]]:
    """Return the table of scores, means and standard deviations over seeds.

    Parameters
    ----------
    runs : list of Run
        What `run_experiment` returned.
    with_report : bool, default=False
        Put the scores of the report under those of each model.

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
            reported = REPORT_SCORES[name]
            rows.append([name, "report's t-SNE", "", *(f"{reported[m]:.3f}" if m in reported else "" for m in METRICS)])
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
    trained = [run for run in first if run.history]
    figures = {
        "tsne_2d": draw_maps(first, cells, 2),
        "tsne_3d": draw_maps(first, cells, 3, projection="3d"),
        "clusters": draw_clusters(first, cells),
        "scores": draw_scores(first),
    }
    if trained:
        figures["activation"] = draw_activations(trained, cells)
        figures["history"] = draw_histories(trained)
    return figures


def draw_maps(runs, cells, n_dimensions, projection=None):
    figure, axes = plotting.make_figure(1, len(runs), projection=projection)
    for ax, run in zip(axes[0], runs, strict=True):
        artists = plotting.plot_embedding(ax, run.maps[n_dimensions], cells.target, cells.target_names, legend=False)
        ax.set(title=run.model)
    figure.legend(handles=artists, loc="outside right center", markerscale=3, frameon=False)
    return figure


def draw_clusters(runs, cells):
    figure, axes = plotting.make_figure(len(runs), 2)
    for row, run in zip(axes, runs, strict=True):
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
    return figure


def draw_scores(runs):
    figure, [[ax]] = plotting.make_figure(1, 1, size=6)
    rows = [(run, space) for run in runs for space in run.scores]
    plotting.plot_scores(
        ax,
        np.array([[run.scores[space][metric] for metric in METRICS] for run, space in rows]),
        [f"{run.model}, {space}" for run, space in rows],
        list(METRICS.values()),
    )
    return figure


def draw_activations(runs, cells):
    figure, axes = plotting.make_figure(1, len(runs), size=5)
    for ax, run in zip(axes[0], runs, strict=True):
        figure.colorbar(plotting.plot_activation(ax, run.latent, cells.target, cells.target_names), ax=ax)
        ax.set(title=run.model)
    return figure


def draw_histories(runs):
    figure, axes = plotting.make_figure(1, len(runs))
    for ax, run in zip(axes[0], runs, strict=True):
        plotting.plot_history(ax, run.history)
        ax.set(title=run.model)
    return figure
