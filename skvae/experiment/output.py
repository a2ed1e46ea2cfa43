"""The files of an experiment: its record, its scores, embeddings, figures and models."""

import csv
import json
from pathlib import Path

import numpy as np

from skvae.experiment.figures import draw
from skvae.experiment.presets import MODELS
from skvae.experiment.results import METRICS, Experiment, versions
from skvae.files import writing

# All that there may be, by the settings.
FIGURES = ("tsne_2d", "tsne_3d", "clusters", "scores", "activation", "history")


def write_results(experiment: Experiment, folder: Path) -> None:
    """Write `results.json`, `scores.csv`, `embeddings.npz`, the figures and the models; those of an earlier one go.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
    """
    write_text(folder / "results.json", json.dumps(record(experiment), indent=1))
    header = ["model", "seed", "k-means on", "fit_seconds", *METRICS]
    rows = [
        [run.model, run.seed, space, run.fit_seconds, *scores.values()]
        for run in experiment.runs
        for space, scores in run.scores.items()
    ]
    write_table(folder / "scores.csv", [header, *rows])
    with writing(folder / "embeddings.npz") as part, open(part, "wb") as file:
        np.savez_compressed(file, **embeddings_of(experiment))
    figures = draw(experiment)
    for name, figure in figures.items():
        with writing(folder / f"{name}.png") as part:
            figure.savefig(part, format="png")
    models = {run.model: run.file for run in experiment.first if run.file}
    for name, model in models.items():
        (folder / "models").mkdir(exist_ok=True)
        with writing(folder / "models" / f"{name}.skops") as part:
            part.write_bytes(model)
    others = [f"{name}.png" for name in FIGURES if name not in figures]
    others += [f"models/{name}.skops" for name in MODELS if name not in models]
    for other in others:
        (folder / other).unlink(missing_ok=True)


def record(experiment):
    """Return settings, versions and all but arrays of what was found."""
    design = experiment.design
    n_samples, n_features = experiment.data["shape"].tolist()
    return {
        "dataset": getattr(design.source, "dataset", design.source.name),
        "preset": design.preset,
        "n_samples": n_samples,
        "n_features": n_features,
        "versions": versions(),
        "runs": [
            {
                "model": run.model,
                "seed": run.seed,
                "parameters": run.parameters,
                "fit_seconds": run.fit_seconds,
                "scores": run.scores,
                "history": run.history,
            }
            for run in experiment.runs
        ],
    }


def embeddings_of(experiment):
    """Return latents and maps by model, seed and kind, and the known types."""
    found = {name: experiment.data[name] for name in ("target", "target_names") if name in experiment.data}
    for run in experiment.runs:
        found[f"{run.model}/{run.seed}/latent"] = run.latent
        for n_dimensions, points in run.maps.items():
            found[f"{run.model}/{run.seed}/tsne{n_dimensions}d"] = points
    return found


def write_text(path, text):
    with writing(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_table(path, rows):
    """Write rows as a file of comma-separated values."""
    with writing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
