"""Results of an experiment: its runs, its table, its files."""

import json
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from skvae.metrics import clustering_report

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
    clusters : dict of str to Clusters
        Of the 2-D map ("t-SNE") and of the latent ("latent").
    scores : dict of str to dict
        `clustering_report` of the same; empty where no types are known.
    loadings : ndarray of shape (n_components, n_features)
        How much each feature changes along each dimension of the latent.
    shares : ndarray of shape (n_components,)
        The share of the variance that each dimension explains; empty where it is not known.
    file : bytes
        A pipeline with the fitted model, of `skops.io.dumps`; empty where skops is not installed.
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
    loadings: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    shares: np.ndarray = field(default_factory=lambda: np.empty(0))
    file: bytes = b""

    @classmethod
    def make(cls, model, seed, fitted, maps, clusters, target):
        """Put the results of the stages together, and score the clusters of the cells whose type is known."""
        known = np.array([], int) if target is None else np.flatnonzero(target >= 0)
        return cls(
            model=model,
            seed=seed,
            parameters=json.loads(str(fitted["parameters"])),
            fit_seconds=float(fitted["fit_seconds"]),
            history=json.loads(str(fitted["history"])),
            latent=fitted["latent"],
            maps=maps,
            clusters=clusters,
            scores={
                space: clustering_report(target[known], found.labels[known]) if len(known) else {}
                for space, found in clusters.items()
            },
            **{name: fitted[name] for name in ("loadings", "shares") if name in fitted},
            file=fitted.get("model_file", np.empty(0, np.uint8)).tobytes(),
        )


@dataclass(frozen=True)
class Experiment:
    """All that an experiment found.

    Parameters
    ----------
    design : Design
    data : dict of ndarray
        What `prepare` returned.
    runs : list of Run
    markers : dict of ndarray
        Of the clusters of the first run.
    seconds : dict of str to float
        How long each step took.
    warnings : dict of str to list of str
        The texts of warnings, and which steps gave them.
    """

    design: Any
    data: dict
    runs: list[Run]
    markers: dict
    seconds: dict
    warnings: dict

    @property
    def first(self) -> list[Run]:
        """The runs of the first seed, which figures show."""
        return [run for run in self.runs if run.seed == self.runs[0].seed]

    @property
    def trained(self) -> list[Run]:
        """Those of the first seed that have a history, as PCA has not."""
        return [run for run in self.first if run.history]

    @property
    def clusters(self) -> np.ndarray:
        """The clusters of the first run's latent, from 0 on."""
        return self.runs[0].clusters["latent"].labels

    @property
    def cluster_names(self) -> list[str]:
        """Their names, "1", "2" and so on."""
        return [str(cluster + 1) for cluster in range(len(self.runs[0].clusters["latent"].centers))]

    @property
    def types(self) -> np.ndarray | None:
        """The index of each cell's known type among `type_names`, -1 where it has none; None where none is known."""
        return self.data.get("target")

    @property
    def type_names(self) -> list[str]:
        return self.data["target_names"].tolist()

    @property
    def groups(self) -> tuple[np.ndarray, list[str]]:
        """What colours points: the names of known types, None where a cell has none, or else of clusters; and all."""
        index, names = (self.clusters, self.cluster_names) if self.types is None else (self.types, self.type_names)
        return np.array([*names, None], dtype=object)[index], names


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


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {package: version(package) for package in PACKAGES}
