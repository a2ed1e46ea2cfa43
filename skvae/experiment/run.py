"""Runs: each embeds the cells with one model and one seed, maps and clusters them, and scores the clusters."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from skvae.experiment.presets import DATASETS, MODELS, PREPROCESSING, make_model
from skvae.experiment.results import Run, write_results
from skvae.metrics import clustering_report
from skvae.training.progress import progress_bar
from skvae.types import PathLike
from skvae.warn import warn

PERPLEXITY = 40
N_INIT = 100


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
