"""Experiments: models embed cells, t-SNE maps the embeddings, clusters of both are found and compared."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from skvae.experiment import stages
from skvae.experiment.design import Design
from skvae.experiment.output import write_results
from skvae.experiment.presets import MODELS, N_GENES, PROTOCOLS
from skvae.experiment.results import Experiment, Run
from skvae.experiment.schedule import perform_all
from skvae.experiment.sources import DatasetSource
from skvae.experiment.steps import remove_others
from skvae.experiment.workplace import working_in
from skvae.types import PathLike


def run(name, model, X, target, *, seed=0, map_dimensions=(2, 3)):
    """Fit a model, map its latent with t-SNE, cluster both, and score the clusters, by the protocol of the report.

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

    Returns
    -------
    Run
    """
    protocol = PROTOCOLS["report"]
    fitted = stages.fit_model(model, X)
    latent, n_types = fitted["latent"], len(np.unique(target))
    maps = {n: stages.map_latent(latent, n, protocol, seed) for n in map_dimensions}
    clusters = {
        space: stages.k_means(points, n_types, protocol, seed)
        for space, points in (("t-SNE", maps[2]), ("latent", latent))
    }
    return Run.make(name, seed, fitted, maps, clusters, target)


def perform(design: Design, folder: Path, *, n_jobs: int | None = None, verbose: bool = False) -> Experiment:
    """Do what a design says, or find again what of it was done before.

    Parameters
    ----------
    design : Design
    folder : Path
        Gets the results of the steps and the log.
    n_jobs : int, default=None
        Steps done at a time; None for as many as there are cores, or one where the source is too large for memory.
    verbose : bool, default=False
        Tell on stderr what is done.

    Returns
    -------
    Experiment
    """
    with working_in(folder) as (steps_folder, log):
        perform_steps = partial(perform_all, folder=steps_folder, log=log, verbose=verbose)
        prepared = design.preparation()
        perform_steps([prepared], n_jobs=1)
        data = prepared.result(steps_folder)
        design.check_clusters(data)
        n_cells = int(data["shape"][0])
        runs = design.runs(prepared, n_cells)
        markers = design.markers(prepared, runs, n_cells)
        steps = [*(step for run in runs for step in run.all()), markers]
        all_steps = [prepared, *steps]
        # another process would need as much memory again
        perform_steps(steps, n_jobs=1 if n_jobs is None and data["is_large"] else n_jobs)
        remove_others(steps_folder, all_steps)
        results = {step.key: step.result(steps_folder) for step in all_steps}
        return Experiment(
            design=design,
            data=data,
            runs=[run.run_of(results, data.get("target")) for run in runs],
            markers=results[markers.key],
            seconds={step.what: float(results[step.key]["step_seconds"]) for step in all_steps},
            warnings=by_text({step.what: results[step.key]["step_warnings"].tolist() for step in all_steps}),
        )


def by_text(warnings):
    """Return the texts of warnings, with the names of the steps that gave each."""
    found: dict[str, list[str]] = {}
    for what, texts in warnings.items():
        for text in texts:
            found.setdefault(text, []).append(what)
    return found


def run_experiment(
    dataset: str = "simulated",
    *,
    models: Sequence[str] = tuple(MODELS),
    preset: str = "default",
    seeds: Sequence[int] = (0,),
    max_epochs: int | None = None,
    output_dir: PathLike | None = None,
    n_jobs: int | None = None,
) -> list[Run]:
    """Run the experiment of the report: every model with every seed on one data set.

    Parameters
    ----------
    dataset : {"simulated", "pbmc3k"}, default="simulated"
    models : sequence of str
        Keys of `MODELS`; all by default.
    preset : {"default", "report"}, default="default"
        Settings of the models, the preprocessing of the counts, and how maps and clusters are made of an embedding.
    seeds : sequence of int, default=(0,)
        Of the models, of t-SNE and of k-means. Only the first seed's runs have a 3-D map.
    max_epochs : int, default=None
        Instead of the preset's.
    output_dir : str or path-like, default=None
        Where to write the results; nowhere if None. What is done already in this folder, with the same settings, is
        found again, so that an interrupted experiment goes on.
    n_jobs : int, default=None
        Steps done at a time, each in a process of its own with one thread; None for as many as there are cores. The
        results do not depend on it.

    Returns
    -------
    runs : list of Run
        Model by model, seed by seed.
    """
    design = Design(
        DatasetSource(dataset),
        models=tuple(dict.fromkeys(models)),
        preset=preset,
        seeds=tuple(dict.fromkeys(seeds)),
        max_epochs=max_epochs,
        n_genes=N_GENES[preset],
    )
    if output_dir is None:
        with tempfile.TemporaryDirectory() as folder:
            return perform(design, Path(folder), n_jobs=n_jobs).runs
    experiment = perform(design, Path(output_dir), n_jobs=n_jobs)
    write_results(experiment, Path(output_dir))
    return experiment.runs
