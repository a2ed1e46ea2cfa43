"""Figures of an experiment, from each model's first seed."""

import numpy as np

from skvae import plotting
from skvae.experiment.results import METRICS


def draw(experiment):
    """Draw the figures of the report, those of known types where there are any.

    Returns
    -------
    figures : dict of str to Figure
    """
    figures = {"tsne_2d": draw_maps(experiment, 2), "tsne_3d": draw_maps(experiment, 3, projection="3d")}
    if experiment.types is not None:
        figures |= {"clusters": draw_clusters(experiment), "scores": draw_scores(experiment)}
    if experiment.trained:
        figures |= {"activation": draw_activations(experiment), "history": draw_histories(experiment)}
    return figures


def groups_of(experiment):
    """Return what colours points, and all names, as matplotlib shows them."""
    labels, names = experiment.groups
    written = {name: without_formulas(name) for name in names} | {None: None}
    return np.array([written[label] for label in labels], dtype=object), [written[name] for name in names]


def without_formulas(name):
    """Return a name such that matplotlib takes no part of it for a formula."""
    return name.replace("$", r"\$")


def draw_maps(experiment, n_dimensions, projection=None, n_columns=None):
    """Draw the map of each model, all in one row or in as many as columns need."""
    runs = experiment.first
    n_columns = min(n_columns or len(runs), len(runs))
    figure, axes = plotting.make_figure(-(-len(runs) // n_columns), n_columns, projection=projection)
    for ax in axes.flat[len(runs) :]:
        ax.set_axis_off()
    for ax, run in zip(axes.flat, runs, strict=False):
        artists = plotting.plot_embedding(ax, run.maps[n_dimensions], *groups_of(experiment), legend=False)
        ax.set(title=run.model)
    figure.legend(handles=artists, loc="outside right center", markerscale=3, frameon=False)
    return figure


def draw_clusters(experiment):
    runs, (labels, names) = experiment.first, groups_of(experiment)
    figure, axes = plotting.make_figure(len(runs), 2)
    for row, run in zip(axes, runs, strict=True):
        found = run.clusters["t-SNE"]
        artists = plotting.plot_clusters(row, run.maps[2], labels, found.labels, found.centers, names, legend=False)
        row[0].set(ylabel=run.model)
    figure.legend(handles=artists[: len(names)], loc="outside lower center", ncols=5, markerscale=3, frameon=False)
    return figure


def draw_scores(experiment):
    figure, [[ax]] = plotting.make_figure(1, 1, size=6)
    rows = [(run, space) for run in experiment.first for space in run.scores]
    figure.set_size_inches(6, 0.5 * len(rows) + 1)
    plotting.plot_scores(
        ax,
        np.array([[run.scores[space][metric] for metric in METRICS] for run, space in rows]),
        [f"{run.model}, {space}" for run, space in rows],
        list(METRICS.values()),
    )
    return figure


def draw_activations(experiment):
    figure, axes = plotting.make_figure(1, len(experiment.trained), size=5)
    for ax, run in zip(axes[0], experiment.trained, strict=True):
        figure.colorbar(plotting.plot_activation(ax, run.latent, *groups_of(experiment)), ax=ax)
        ax.set(title=run.model)
    return figure


def draw_histories(experiment):
    figure, axes = plotting.make_figure(1, len(experiment.trained))
    for ax, run in zip(axes[0], experiment.trained, strict=True):
        plotting.plot_history(ax, run.history)
        ax.set(title=run.model)
    return figure


def draw_quality(experiment):
    """Draw histograms of what quality control judges, with its bounds."""
    data = experiment.data
    panels = {
        "genes": (data["n_genes"], [data["min_genes"], data["max_genes"]], "log"),
        "counts": (data["totals"], [], "log"),
        "mitochondrial share": (data["mitochondrial"], [data["max_mitochondrial"]], "linear"),
    }
    figure, axes = plotting.make_figure(1, len(panels))
    for ax, (name, (values, bounds, scale)) in zip(axes[0], panels.items(), strict=True):
        values = values[values > 0] if scale == "log" else values
        edges = np.geomspace if scale == "log" else np.linspace
        low, high = (values.min(), values.max()) if len(values) else (0, 1)
        ax.hist(values, bins=edges(low, max(high, low + 1e-9), 60), color=plotting.COLORS[1])
        for bound in bounds:
            ax.axvline(float(bound), color=plotting.COLORS[0], linestyle="--")
        ax.set(xlabel=f"{name} of a cell", ylabel="cells", xscale=scale)
        if scale == "log":
            ticks = round_numbers(*ax.get_xlim())
            ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
            ax.set_xticks([], minor=True)
    return figure


def round_numbers(low, high):
    """Return 1, 2, 5, 10 and so on between two bounds."""
    powers = 10.0 ** np.arange(0, np.ceil(np.log10(max(high, 10))))
    numbers = np.outer(powers, [1, 2, 5]).ravel()
    return numbers[(low <= numbers) & (numbers <= high)]


def draw_heat_map(experiment, n_markers=4):
    """Draw the mean expression of the first markers of each cluster in all clusters."""
    found = experiment.markers
    means, names = found["means"][:, :, :n_markers], found["names"][:, :n_markers]
    means = means.reshape(len(means), -1)
    shares = means / np.maximum(means.max(axis=0), np.finfo(np.float64).tiny)
    figure, [[ax]] = plotting.make_figure(1, 1, size=1)
    figure.set_size_inches(max(6, 0.22 * shares.shape[1] + 1.5), max(2.5, 0.28 * len(shares) + 1.4))
    image = ax.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(shares.shape[1]), [without_formulas(name) for name in names.ravel().tolist()], rotation=90)
    ax.set_yticks(range(len(shares)), experiment.cluster_names)
    ax.set(ylabel="cluster")
    figure.colorbar(image, ax=ax, label="share of the largest mean")
    return figure
