"""The report of an experiment: what report.html says, section by section."""

from pathlib import Path

import numpy as np

from skvae.experiment.figures import draw_heat_map, draw_histories, draw_maps, draw_quality, draw_scores
from skvae.experiment.log import format_seconds
from skvae.experiment.output import write_text
from skvae.experiment.program import write_program
from skvae.experiment.results import METRICS, Experiment, summarize, versions
from skvae.report import (
    Code,
    Document,
    Element,
    Facts,
    Folded,
    Note,
    Paragraph,
    Picture,
    PointCloud,
    Section,
    Table,
    literal,
    make_groups,
)

# Markers of a cluster, and genes of a dimension, that a table names.
N_NAMED = 10

SIGNS = {True: "+", False: "\N{MINUS SIGN}"}


def write_page(experiment: Experiment, path: Path, line: str) -> None:
    """Write the report, one HTML file.

    Parameters
    ----------
    experiment : Experiment
    path : Path
    line : str
        The command that made it.
    """
    write_text(path, compose(experiment, line).to_html())


def compose(experiment: Experiment, line: str) -> Document:
    """Return the report."""
    n_cells, n_genes = experiment.data["shape"]
    sections = [
        section_of_result(experiment),
        section_of_maps(experiment),
        section_of_clusters(experiment),
        section_of_dimensions(experiment),
        section_of_scores(experiment),
        section_of_cells(experiment),
        section_of_training(experiment),
        section_of_work(experiment, line),
    ]
    return Document(
        experiment.design.source.name,
        f"{n_cells:,} cells, embedded by {name_of(experiment.runs[0])} from {n_genes:,} genes",
        [section for section in sections if section is not None],
    )


def name_of(run):
    return {"pca": "PCA"}.get(run.model, run.model)


def section_of_result(experiment):
    data, clusters = experiment.data, experiment.cluster_names
    dropped = np.count_nonzero(~data["kept_cells"])
    facts = [
        ("cells", f"{len(data['cells']):,}"),
        ("dropped cells", f"{dropped:,}"),
        ("genes embedded", f"{len(data['genes']):,}"),
        ("clusters", len(clusters)),
        ("dimensions", experiment.runs[0].latent.shape[1]),
    ]
    notes = [f"{text} ({', '.join(steps)})" for text, steps in experiment.warnings.items()]
    return Section("At a glance", [Facts(facts), *[Note(literal(note)) for note in notes]])


def section_of_maps(experiment):
    first = experiment.runs[0]
    colourings = {"cluster": make_groups(experiment.clusters, experiment.cluster_names)}
    if experiment.types is not None:
        colourings = {"known type": make_groups(*experiment.groups), **colourings}
    if "batch" in experiment.data:
        colourings["batch"] = make_groups(experiment.data["batch"])
    what = f"the embedding of {name_of(first)}"
    elements: list[Element] = [
        PointCloud(
            first.maps[n],
            colourings,
            f"Map of the cells in {words} dimensions, a point each, coloured by {' or '.join(colourings)}",
            f"t-SNE of {what}, in {words} dimensions{turn}. Near points are like cells; distances between groups, and "
            "their sizes, mean little.",
        )
        for n, words, turn in ((2, "two", ""), (3, "three", ", to be turned"))
    ]
    if len(experiment.first) > 1:
        alt = f"Maps of the embeddings of {' and '.join(name_of(run) for run in experiment.first)}"
        elements.append(
            Picture(draw_maps(experiment, 2, n_columns=2), alt, "The maps in two dimensions of all models.")
        )
    return Section("Maps", elements)


def section_of_clusters(experiment):
    found, names = experiment.markers, experiment.cluster_names
    sizes = np.bincount(experiment.clusters, minlength=len(names))
    how = (
        "as many as known types"
        if experiment.types is not None
        else "as many as the mixture of Gaussians with the lowest BIC has modes"
    )
    if experiment.design.n_clusters is not None:
        how = "as many as were asked for"
    elements: list[Element] = [
        Paragraph(
            f"Clusters of the embedding of {name_of(experiment.runs[0])}, {how}. Markers are genes that the cells of a "
            "cluster express more than the others, in the order of the area under the ROC curve (AUC): the probability "
            "that a cell of the cluster expresses a gene more than another cell. z and p are those of the Wilcoxon "
            "rank-sum test of log-normalised counts; as the clusters were found in the same counts, they do not prove "
            "that a cluster is one."
        )
    ]
    if "names" not in found:
        return Section("Clusters and markers", [*elements, Note("There is one cluster alone, and so no markers.")])
    rows = [
        [cluster, f"{size:,}", f"{size / sizes.sum():.1%}", ", ".join(genes)]
        for cluster, size, genes in zip(names, sizes, found["names"][:, :N_NAMED].tolist(), strict=True)
    ]
    elements.append(Table(["cluster", "cells", "share", "first markers"], rows))
    if experiment.types is not None:
        elements.append(table_of_types(experiment))
    caption = "Mean of log-normalised counts of the first markers of each cluster, each gene as a share of its largest."
    elements.append(Picture(draw_heat_map(experiment), "Heat map of markers by cluster", caption))
    elements.append(Folded("All figures of the markers", [table_of_markers(experiment)]))
    return Section("Clusters and markers", elements)


def table_of_types(experiment):
    """Return the table of how many cells of each known type are in each cluster."""
    known = experiment.types >= 0
    shared = np.zeros((len(experiment.type_names), len(experiment.cluster_names)), dtype=int)
    np.add.at(shared, (experiment.types[known], experiment.clusters[known]), 1)
    rows = [[name, *counts] for name, counts in zip(experiment.type_names, shared.tolist(), strict=True)]
    return Table(["known type", *experiment.cluster_names], rows, "Cells of each known type by cluster.")


def table_of_markers(experiment):
    found = experiment.markers
    rows = [
        [
            cluster,
            found["names"][i, j],
            f"{found['auc'][i, j]:.3f}",
            f"{found['z'][i, j]:.1f}",
            f"{found['log2_fold_change'][i, j]:.1f}",
            f"{found['share_in'][i, j]:.0%}",
            f"{found['share_out'][i, j]:.0%}",
            f"{found['p_adjusted'][i, j]:.1e}",
        ]
        for i, cluster in enumerate(experiment.cluster_names)
        for j in range(min(N_NAMED, found["names"].shape[1]))
    ]
    header = ["cluster", "gene", "AUC", "z", "log2 fold change", "in the cluster", "outside", "adjusted p"]
    return Table(header, rows, "`markers.csv` holds more of them.")


def section_of_dimensions(experiment):
    run, genes = experiment.runs[0], experiment.data["genes"]
    rows = []
    for j, loadings in enumerate(run.loadings):
        order = np.argsort(-np.abs(loadings), kind="stable")[:N_NAMED]
        signed = [f"{genes[g]} {SIGNS[bool(loadings[g] > 0)]}" for g in order]
        share = f"{run.shares[j]:.1%}" if j < len(run.shares) else ""
        rows.append([j + 1, share, ", ".join(signed)])
    text = (
        f"Each dimension of {name_of(run)}, the share of the variance that it explains, and the genes that change most "
        "along it, with their direction."
    )
    return Section("Genes behind the dimensions", [Paragraph(text), Table(["dimension", "share", "genes"], rows)])


def section_of_scores(experiment):
    """Return the scores against known types, of each model."""
    if experiment.types is None:
        return None
    header, *rows = summarize(experiment.runs)
    text = (
        f"Clusters against the known types, from 0 to 1 but ARI, which is 0 for clusters at random: "
        f"{', '.join(METRICS.values())}."
    )
    figure = Picture(draw_scores(experiment), "Heat map of the scores of each model", "The first seed.")
    return Section("Scores", [Paragraph(text), Table(header, rows), figure])


def section_of_cells(experiment):
    """Return what was read and what quality control dropped."""
    data, source = experiment.data, experiment.design.source
    n_kept, n_cells = np.count_nonzero(data["kept_cells"]), len(data["kept_cells"])
    kept_genes = np.count_nonzero(data["kept_genes"])
    text = (
        f"{literal(source.name)} holds {n_cells:,} cells and {len(data['kept_genes']):,} genes. {n_kept:,} cells and "
        f"{kept_genes:,} genes were kept, of which {len(data['genes']):,} genes that vary most were embedded."
    )
    elements: list[Element] = [Paragraph(text), *[Paragraph(literal(note)) for note in data["notes"].tolist()]]
    if "n_genes" in data:
        bounds = (
            f"Kept are cells with {data['min_genes']:,.0f} to {data['max_genes']:,.0f} genes and at most "
            f"{float(data['max_mitochondrial']):.1%} mitochondrial counts, and genes seen in "
            f"{experiment.design.bounds.min_cells} cells or more. Bounds that were not given are five robust "
            "deviations from the median."
        )
        figure = draw_quality(experiment)
        elements += [Paragraph(bounds), Picture(figure, "Histograms of genes, counts and mitochondrial share by cell")]
    return Section("What was read", elements)


def section_of_training(experiment):
    if not experiment.trained:
        return None
    caption = "Reconstruction and KL divergence by epoch, in nats a cell; the first seed."
    return Section("Training", [Picture(draw_histories(experiment), "Training curves of each model", caption)])


def section_of_work(experiment, line):
    rows = [[what, format_seconds(seconds)] for what, seconds in experiment.seconds.items()]
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return Section(
        "How it was done",
        [
            Code(line, "shell"),
            Paragraph("The embedding by itself, in Python:"),
            Code(write_program(experiment)),
            Folded("Times", [Table(["step", "time"], rows)]),
            Paragraph(literal(packages)),
        ],
    )
