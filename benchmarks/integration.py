"""Judge the embeddings of cells of several batches, by skvae and others: that types are kept and batches mixed.

`python benchmarks/integration.py out` writes out/integration.json, out/integration.md and out/integration.png; an hour
in one thread, `--quick` some minutes. The interpreter has Harmony, scVI and scIB's measures too:

    python -m venv peers && peers/bin/pip install -c constraints.txt -e . harmonypy scib-metrics scvi-tools
    SKVAE_CELLS=folder peers/bin/python benchmarks/integration.py out

Two sets of real cells are read from the folder that SKVAE_CELLS names, and left out where they are not there. The total
of scIB is 0.6 times the mean of its measures of types kept, and 0.4 times that of batches mixed (Luecken et al. 2022,
"Benchmarking atlas-level data integration in single-cell genomics", Nature Methods 19). Two more measures are of skvae
alone: how much batches drawn at random, and how much another seed, change which cells are neighbours; and how much
longer a fit with three covariates takes than one with none.
"""

import argparse
import json
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

# Neighbours of a cell whose share in common is the agreement of two embeddings.
N_NEIGHBORS = 30


# Data sets


@dataclass
class Cells:
    """Cells as a user prepares them: counts of at most 2000 genes that vary within batches, and log1p-normalised X.

    A covariate that is text has levels, another one is continuous. `batch` is each combination of levels.
    """

    counts: sparse.csr_array
    X: sparse.csr_array
    target: np.ndarray
    covariates: pd.DataFrame
    batch: np.ndarray

    @classmethod
    def prepare(cls, counts, target, covariates):
        from skvae import LogNormalizer, VariableGeneSelector

        levels = covariates.select_dtypes(exclude="number")
        batch = levels.agg(" ".join, axis=1).to_numpy(dtype=str)
        counts = VariableGeneSelector().fit(counts, batch=batch).transform(counts)
        return cls(counts, LogNormalizer().fit_transform(counts), target, covariates, batch)


def real_cells(name):
    folder = os.environ.get("SKVAE_CELLS")
    if not folder or not Path(folder, f"{name}.npz").exists():
        raise FileNotFoundError(f"SKVAE_CELLS names no folder with {name}.npz")
    parts = np.load(Path(folder, f"{name}.npz"))
    csr = (parts["data"].astype(np.float32), parts["indices"].astype(np.int32), parts["indptr"])
    counts = sparse.csr_array(csr, shape=tuple(parts["shape"]))
    return Cells.prepare(counts, parts["type"].astype(str), pd.DataFrame({"batch": parts["batch"].astype(str)}))


def crossed(n_cells=1500, n_genes=3000, *, n_types=8, n_donors=4, seed=0):
    """Simulate types of cells of donors, each measured with two chemistries, and damaged to some percent.

    All have effects on the logarithm of each gene's share of the counts. Donors have types in shares of their own, the
    second chemistry counts a third as many molecules.
    """
    rng = np.random.default_rng(seed)
    donor, chemistry = rng.integers(n_donors, size=n_cells), rng.integers(2, size=n_cells)
    shares = rng.dirichlet(np.full(n_types, 5.0), size=n_donors)
    target = np.array([rng.choice(n_types, p=shares[own]) for own in donor])
    percent = 100 * rng.beta(2, 12, size=n_cells)
    programs = rng.normal(0, 1.5, size=(n_types, n_genes)) * (rng.random((n_types, n_genes)) < 0.04)
    log_share = rng.normal(0, 1.5, size=n_genes) + programs[target]
    log_share += rng.normal(0, 0.3, size=(n_donors, n_genes))[donor]
    log_share += rng.normal(0, 0.5, size=(2, n_genes))[chemistry]
    log_share += ((percent - percent.mean()) / percent.std())[:, np.newaxis] * rng.normal(0, 0.2, size=n_genes)
    share = np.exp(log_share)
    share /= share.sum(axis=1, keepdims=True)
    total = 0.8 * n_genes * rng.lognormal(0, 0.4, size=n_cells) / np.where(chemistry, 3, 1)
    counts = rng.poisson(total[:, np.newaxis] * share * rng.gamma(5, 1 / 5, size=share.shape))
    covariates = {
        "donor": np.char.add("donor", donor.astype(str)),
        "chemistry": np.char.add("v", chemistry.astype(str)),
    }
    return Cells.prepare(
        sparse.csr_array(counts, dtype=np.float32), target, pd.DataFrame({**covariates, "percent": percent})
    )


SETS = {
    "pbmc_chemistries": partial(real_cells, "pbmc_chemistries"),
    "islets": partial(real_cells, "islets"),
    "crossed": crossed,
}


# Contestants: functions of cells and a seed, which return the embedding


def pca(n_components, X):
    return PCA(min(n_components, min(X.shape) - 1), svd_solver="arpack", random_state=0).fit_transform(X)


def pca_of_cells(cells, seed):
    return pca(50, cells.X)


def harmony(cells, seed):
    from harmonypy import run_harmony

    levels = cells.covariates.select_dtypes(exclude="number")  # it takes no others
    found = run_harmony(pca(50, cells.X), levels, [*levels], random_state=seed, verbose=False).Z_corr
    return found if len(found) == len(cells.target) else found.T


def scvi(cells, seed):
    """Embed with scVI at its own settings and length."""
    import anndata
    import scvi

    data = anndata.AnnData(
        sparse.csr_matrix(cells.counts), obs=cells.covariates.set_axis(cells.covariates.index.astype(str))
    )
    levels = [*cells.covariates.select_dtypes(exclude="number")]
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(
        data,
        batch_key=levels[0],
        categorical_covariate_keys=levels[1:] or None,
        continuous_covariate_keys=[*cells.covariates.select_dtypes("number")] or None,
    )
    model = scvi.model.SCVI(data)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model.get_latent_representation()


def skvae_model(name, likelihood, cells, seed):
    import skvae

    model = getattr(skvae, name)(likelihood=likelihood, random_state=seed)
    X = cells.X if likelihood == "gaussian" else cells.counts
    covariates = batch_of(cells)
    return model.fit(X, batch=covariates).transform(X, batch=covariates)


def batch_of(cells):
    """Return the covariates as estimators take them: a single one as a column."""
    return cells.covariates.squeeze(axis=1)


@dataclass
class Contestant:
    """How to embed, and whether it depends on the seed; if not, it runs once."""

    embed: Callable
    is_random: bool = True


CONTESTANTS = {
    "PCA(50)": Contestant(pca_of_cells, False),
    "Harmony": Contestant(harmony),
    "scVI": Contestant(scvi),
    "AutoencoderEmbedding": Contestant(partial(skvae_model, "AutoencoderEmbedding", "gaussian")),
    "BetaVAE": Contestant(partial(skvae_model, "BetaVAE", "gaussian")),
    "BetaVSC": Contestant(partial(skvae_model, "BetaVSC", "gaussian")),
    "BetaVAE nb": Contestant(partial(skvae_model, "BetaVAE", "nb")),
}
QUICK_CONTESTANTS = ("PCA(50)", "Harmony", "BetaVAE", "BetaVAE nb")


# Measures


def neighbors(Z, n_neighbors):
    """Return the distances and indices of the neighbours of each row, itself the first."""
    return NearestNeighbors(n_neighbors=n_neighbors).fit(Z).kneighbors(Z)


def exact_neighbors(Z, n_neighbors):
    from scib_metrics.nearest_neighbors import NeighborsResults

    distances, indices = neighbors(Z, n_neighbors)
    return NeighborsResults(indices=indices, distances=distances)


def judge(Z, cells):
    """Return scIB's measures of Z by their names, and how much of the variance of a continuous covariate is gone."""
    import anndata
    from scib_metrics import pcr_comparison
    from scib_metrics.benchmark import Benchmarker

    before = pca(50, cells.X)
    data = anndata.AnnData(sparse.csr_matrix(cells.X), obs={"type": cells.target.astype(str), "batch": cells.batch})
    data.obsm.update({"before": before, "Z": np.asarray(Z, dtype=np.float32)})
    suite = Benchmarker(data, "batch", "type", ["Z"], pre_integrated_embedding_obsm_key="before", progress_bar=False)
    suite.prepare(exact_neighbors)
    suite.benchmark()
    found = suite.get_results().loc["Z"].astype(float).to_dict()
    for name, column in cells.covariates.select_dtypes("number").items():
        found[f"PCR {name}"] = float(pcr_comparison(before, data.obsm["Z"], column.to_numpy()[:, np.newaxis]))
    return found


def measure(set_name, cells, name, contestant, seeds):
    """Return what a contestant reaches on a data set, with each seed, in one thread; or its error."""
    import torch

    torch.set_num_threads(1)
    results = {"set": set_name, "contestant": name, "seeds": seeds if contestant.is_random else seeds[:1], "runs": []}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        try:
            for seed in results["seeds"]:
                start = time.perf_counter()
                Z = contestant.embed(cells, seed)
                seconds = time.perf_counter() - start
                results["runs"].append({**judge(Z, cells), "seconds": seconds})
        except Exception as error:  # one failure in an hour of measurements is a result too
            results["error"] = repr(error)
    return results


def in_common(Z, other):
    """Return the share of the neighbours of a row in one embedding that are also those in another, mean over rows."""
    (_, ours), (_, theirs) = (neighbors(part, 1 + N_NEIGHBORS) for part in (Z, other))
    shares = [len(np.intersect1d(*pair)) - 1 for pair in zip(ours, theirs, strict=True)]
    return float(np.mean(shares) / N_NEIGHBORS)


def null_test(cells, likelihood, seeds):
    """Return the neighbours in common of a fit with no batches, and one with another seed, or with random batches."""
    import skvae

    X = cells.X if likelihood == "gaussian" else cells.counts

    def embed(seed, batch=None):
        return skvae.BetaVAE(likelihood=likelihood, random_state=seed).fit(X, batch=batch).transform(X, batch=batch)

    rows = []
    for seed in seeds:
        usual, batch = embed(seed), np.random.default_rng(seed).integers(3, size=X.shape[0]).astype(str)
        rows.append({"seed": in_common(usual, embed(seed + 1000)), "batches": in_common(usual, embed(seed, batch))})
    return rows


def timing(cells, likelihood, n_repeats=5):
    """Return the least seconds of a fit of ten epochs with no covariates, and with all of them, in turn."""
    import skvae

    X = cells.X if likelihood == "gaussian" else cells.counts
    seconds = {"without": [], "with": []}
    for _ in range(n_repeats):
        for name, batch in (("without", None), ("with", batch_of(cells))):
            model = skvae.BetaVAE(likelihood=likelihood, max_epochs=10, random_state=0)
            start = time.perf_counter()
            model.fit(X, batch=batch)
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in seconds.items()}


def guarded(function, *args):
    """Return what a function returns of some arguments in one thread, or its error."""
    import torch

    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return function(*args)
    except Exception as error:
        return {"error": repr(error)}


# Results

TOTALS = {"Total": "total", "Bio conservation": "types kept", "Batch correction": "batches mixed"}


def means(row):
    """Return the mean over seeds of each measure."""
    return pd.DataFrame(row["runs"]).mean().to_dict()


def table(lines):
    head, *body = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body))


def markdown(rows, set_name):
    """Return the table of a set: contestants x measures, totals first."""
    measured = {row["contestant"]: means(row) for row in rows if row["set"] == set_name and "error" not in row}
    names = list(dict.fromkeys(name for found in measured.values() for name in found))
    names = [*TOTALS, *(name for name in names if name not in TOTALS)]
    lines = [["", *(TOTALS.get(name, name) for name in names)]]
    lines += [[contestant, *(f"{found[name]:.3f}" for name in names)] for contestant, found in measured.items()]
    return table(lines)


def report(rows, nulls, times, seeds):
    sets = dict.fromkeys(row["set"] for row in rows)
    tables = "\n\n".join(f"## {name}\n\n{markdown(rows, name)}" for name in sets)
    null_lines = [["", "of another seed", "with random batches"]]
    for name, found in nulls.items():
        parts = pd.DataFrame(found).mean() if isinstance(found, list) else {}
        null_lines.append([name, *(f"{parts[key]:.3f}" if key in parts else "failed" for key in ("seed", "batches"))])
    time_lines = [["", "without", "with", "ratio"]]
    for name, found in times.items():
        failed = "error" in found
        numbers = [] if failed else [found["without"], found["with"], found["with"] / found["without"]]
        time_lines.append([name, *(f"{number:.3f}" for number in numbers)] if not failed else [name, "failed", "", ""])
    return f"""Means over seeds {", ".join(map(str, seeds))}; seconds of one thread, of transform too.

{tables}

## Batches drawn at random

Share of {N_NEIGHBORS} neighbours in common with a fit without batches.

{table(null_lines)}

## Seconds of ten epochs without covariates and with all of them

{table(time_lines)}
"""


COLORS = {"AutoencoderEmbedding": "#CC6677", "BetaVAE": "#332288", "BetaVSC": "#117733"}
MARKERS = {"PCA(50)": "x", "Harmony": "v", "scVI": "*"}


def draw(rows, path):
    """Draw types kept over batches mixed, a panel a set; on a line of a panel the total is the same."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if "error" not in row]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    figure = Figure(figsize=(1.5 + 3.6 * len(sets), 3.8), layout="constrained")
    for ax, name in zip(figure.subplots(ncols=len(sets), squeeze=False)[0], sets, strict=True):
        own = [row for row in rows if row["set"] == name]
        for row in own:
            model, _, likelihood = row["contestant"].partition(" ")
            style = {"color": COLORS.get(model, "gray"), "marker": MARKERS.get(model, "s" if likelihood else "o")}
            runs = pd.DataFrame(row["runs"])
            label = row["contestant"] if name == sets[0] else None
            ax.scatter(runs["Batch correction"], runs["Bio conservation"], 28, label=label, **style)
        for total in np.arange(0.3, 1, 0.05):
            ax.axline((0, total / 0.6), slope=-0.4 / 0.6, color="lightgray", linewidth=0.5, zorder=0)
        ax.set(title=name, xlabel="batches mixed", ylabel="types kept")
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def load(names):
    """Return the sets that are there."""
    found = {}
    for name in names:
        try:
            found[name] = SETS[name]()
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("integration"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer contestants")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS], metavar="SET", help=", ".join(SETS))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    options = parser.parse_args()

    from speed import machine

    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    options.folder.mkdir(parents=True, exist_ok=True)  # before an hour of work, not after
    packages = ("numpy", "scikit-learn", "torch", "harmonypy", "scib-metrics", "scvi-tools")
    about = {
        "command": shlex.join(["python", "benchmarks/integration.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {package: version(package) for package in packages},
    }
    sets = load(options.sets)
    measurements = (
        delayed(measure)(set_name, cells, name, CONTESTANTS[name], seeds)
        for set_name, cells in sets.items()
        for name in options.contestants or (QUICK_CONTESTANTS if options.quick else CONTESTANTS)
    )
    rows = []
    for row in Parallel(options.jobs, return_as="generator")(measurements):
        rows.append(row)
        found = row.get("error") or f"total {means(row)['Total']:.3f}"
        print(f"{row['set']}, {row['contestant']}: {found}", file=sys.stderr, flush=True)
        # each time, so that nothing is lost if the rest is not measured
        (options.folder / "integration.json").write_text(json.dumps({**about, "results": rows}, indent=1))
    pairs = {
        f"{name}, {likelihood}": (cells, likelihood)
        for name, cells in sets.items()
        for likelihood in ("gaussian", "nb")
    }
    nulls = {name: guarded(null_test, *pair, seeds) for name, pair in pairs.items()}
    times = {name: guarded(timing, *pair) for name, pair in pairs.items()}
    results = {**about, "results": rows, "null_test": nulls, "timing": times}
    (options.folder / "integration.json").write_text(json.dumps(results, indent=1))
    (options.folder / "integration.md").write_text(report(rows, nulls, times, seeds))
    draw(rows, options.folder / "integration.png")
    n_failed = sum("error" in row for row in (*rows, *times.values())) + sum(
        isinstance(row, dict) for row in nulls.values()
    )
    return f"{n_failed} measurements failed" if n_failed else None


if __name__ == "__main__":
    sys.exit(main())
