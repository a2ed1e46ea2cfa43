"""Designs: what an experiment is to do, and the steps that this takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skvae.experiment import stages
from skvae.experiment.marking import mark
from skvae.experiment.preparing import prepare, settings_of
from skvae.experiment.presets import MODELS, PROTOCOLS
from skvae.experiment.quality import Bounds
from skvae.experiment.results import Run
from skvae.experiment.sources import Source
from skvae.experiment.steps import Step
from skvae.markers import N_FEW

# Seconds that a step may take on one core, by thousand cells.
COSTS = {"fit": 1.5, "pca": 0.2, 2: 2.8, 3: 4.5, "latent": 1.0, "t-SNE": 0.2, "markers": 1.0}


@dataclass(frozen=True)
class StepsOfRun:
    """The steps of one model with one seed.

    Parameters
    ----------
    model : str
    seed : int
    fit : Step
    maps : dict of int to Step
    clusters : dict of str to Step
    """

    model: str
    seed: int
    fit: Step
    maps: Mapping[int, Step]
    clusters: Mapping[str, Step]

    def all(self):
        return [self.fit, *self.maps.values(), *self.clusters.values()]

    def run_of(self, results, target):
        """Return the Run that results are, a dict of them by the keys of their steps; (n_samples,) target or None."""
        clusters = {space: results[step.key] for space, step in self.clusters.items()}
        return Run.make(
            self.model,
            self.seed,
            results[self.fit.key],
            {n: results[step.key]["points"] for n, step in self.maps.items()},
            {space: stages.Clusters(found["labels"], found["centers"]) for space, found in clusters.items()},
            target,
        )


@dataclass(frozen=True)
class Design:
    """What an experiment is to do.

    Parameters
    ----------
    source : Source
    models : sequence of str
        Keys of `MODELS`.
    preset : {"default", "report"}
    seeds : sequence of int
    max_epochs, likelihood : int, str or None
        Instead of the preset's.
    n_clusters : int or None
        None for as many as there are known types, or else as are found.
    bounds : Bounds or None
        Of quality control.
    n_genes : int or None
    """

    source: Source
    models: Sequence[str] = tuple(MODELS)
    preset: str = "default"
    seeds: Sequence[int] = (0,)
    max_epochs: int | None = None
    likelihood: str | None = None
    n_clusters: int | None = None
    bounds: Bounds | None = None
    n_genes: int | None = None

    def preparation(self) -> Step:
        settings = settings_of(self.source, self.bounds, self.n_genes)
        return Step(f"{self.source.name}: read", prepare, settings, cost=0.0)  # nobody knows it before

    def check_clusters(self, data) -> None:
        """Raise a ValueError for so many clusters that most have one cell."""
        n_cells, n_types = int(data["shape"][0]), len(data["target_names"])
        n_clusters, what = (n_types, "known types") if self.n_clusters is None else (self.n_clusters, "clusters")
        if n_clusters > max(N_FEW, n_cells / 2):
            raise ValueError(
                f"{n_clusters} {what} of {n_cells} cells, as they would be by --labels or --n-clusters; expected half "
                f"as many as cells at most, or {N_FEW}."
            )

    def runs(self, prepared: Step, n_cells: int) -> list[StepsOfRun]:
        """Return the steps of each model with each seed; only the first seed has a map in three dimensions."""
        return [
            self.steps_of_run(prepared, name, seed, (2, 3) if seed == self.seeds[0] else (2,), n_cells / 1000)
            for name in self.models
            for seed in self.seeds
        ]

    def steps_of_run(self, prepared, name, seed, map_dimensions, thousands):
        def step(what, function, needs, cost, **settings):
            return Step(f"{name}, seed {seed}: {what}", function, {**settings, "seed": seed}, needs, cost * thousands)

        preset = {"preset": self.preset}
        fitted = step(
            "fit",
            stages.fit,
            (prepared,),
            COSTS["pca" if name == "pca" else "fit"],
            model=name,
            likelihood=self.likelihood,
            max_epochs=self.max_epochs,
            **preset,
        )
        n_mapped = min(1, PROTOCOLS[self.preset].n_mapped / 1000 / thousands)
        maps = {
            n: step(f"t-SNE {n}-D", stages.draw_map, (fitted,), COSTS[n] * n_mapped, n_dimensions=n, **preset)
            for n in map_dimensions
        }
        latent = step(
            "clusters", stages.cluster_latent, (fitted, prepared), COSTS["latent"], n_clusters=self.n_clusters, **preset
        )
        on_map = step("clusters of the map", stages.cluster_map, (maps[2], latent), COSTS["t-SNE"], **preset)
        return StepsOfRun(name, seed, fitted, maps, {"t-SNE": on_map, "latent": latent})

    def markers(self, prepared: Step, runs: list[StepsOfRun], n_cells: int) -> Step:
        settings = {name: prepared.settings[name] for name in ("source", "files")}
        needs = (runs[0].clusters["latent"], prepared)
        return Step(f"{runs[0].model}: markers", mark, settings, needs, COSTS["markers"] * n_cells / 1000)
