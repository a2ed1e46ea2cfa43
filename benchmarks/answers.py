"""Time skvae to an answer: to a quality, on a busy machine, in a search, of a few rows, and to be imported.

`python benchmarks/answers.py out` writes out/answers.json, out/answers.md and out/answers.png; `--quick` takes two
minutes, and `--only` takes the parts that it names. Each measurement is made in a process of its own, and contestants
take turns. PBMC 3k is read from the folder that SKVAE_DATA names; without it, and in the quick mode, cells are
simulated. scvi-tools takes part where `--scvi` names an interpreter that has it, as in speed.py, which measures epochs:

    SKVAE_DATA=folder python benchmarks/answers.py out --scvi peers/bin/python
    python benchmarks/answers.py out --only busy small --rounds 3
"""

import argparse
import hashlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import contestants
import numpy as np
from processes import load, machine, markdown, measure, take_turns
from scipy import sparse
from speed import import_seconds, median_of

N_GENES = 2000


@dataclass
class Context:
    """Where the matrices are, how much is measured, and the types of the cells that are not held out."""

    folder: Path
    types: np.ndarray
    quick: bool
    n_rounds: int
    scvi: str | None


# Quality

# log p(x) with each model's own p(z), and with N(0, I) for all
LOG_LIKELIHOODS = ("log_likelihood", "with_standard_prior")


@dataclass
class Curve:
    """Fits of more and more epochs: skvae's default is "auto", the others' is the last of them."""

    run: Callable
    label: str
    lengths: tuple
    quick: tuple
    package: str = "skvae"


CURVES = {
    "skvae_nb": Curve(contestants.skvae_nb_answer, "BetaVAE, nb", (1, 2, 4, "auto", 16), (1, "auto")),
    "skvae_gaussian": Curve(contestants.skvae_gaussian_answer, "BetaVAE", (1, 2, 4, "auto", 16), (1, "auto")),
    "scvi": Curve(contestants.scvi_answer, "scvi-tools, nb", (5, 10, 20, 40, 80, 400), (2, 4), "scvi"),
    "dense": Curve(contestants.dense_answer, "plain torch loop", (5, 10, 20, 40, 60), (2, 4)),
    "pca": Curve(contestants.pca_answer, "PCA", (0,), (0,)),
}


def quality(context):
    """Return seconds, held-out log p(x) in nats a cell and NMI of fits of some lengths, and the seconds to a goal."""
    interpreters = {"skvae": sys.executable} | ({"scvi": context.scvi} if context.scvi else {})
    contests = {
        (name, epochs): partial(measure, curve.run, context.folder, epochs, interpreter=interpreters[curve.package])
        for name, curve in CURVES.items()
        if curve.package in interpreters
        for epochs in (curve.quick if context.quick else curve.lengths)
    }
    rows = [
        {"contestant": name, "epochs": epochs, "seconds": median_of(rounds, "fit")}
        | {key: median_of(rounds, key) if key in rounds[0] else None for key in LOG_LIKELIHOODS}
        | {"nmi": statistics.median(nmi(found["Z"], context.types) for found in rounds)}
        for (name, epochs), rounds in take_turns(contests, context.n_rounds).items()
    ]
    return {"rows": rows, **(ratios_to_scvi(rows) if context.scvi else {})}


def nmi(Z, types):
    """Return that of k-means on a latent, with as many clusters as types."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    labels = KMeans(len(np.unique(types)), n_init=20, random_state=0).fit_predict(np.array(Z))
    return float(normalized_mutual_info_score(types, labels))


def ratios_to_scvi(rows):
    """Return the seconds to scvi-tools' best held-out log p(x), and how its default fit and skvae's compare."""
    own, peer = ([row for row in rows if row["contestant"] == name] for name in ("skvae_nb", "scvi"))
    by_default = as_constructed(peer)["seconds"] / as_constructed(own)["seconds"]
    return {key: seconds_to_best(own, peer, key) for key in LOG_LIKELIHOODS} | {"times_skvae_by_default": by_default}


def seconds_to_best(own, peer, key):
    """Return the best score of the peer, and the seconds in which it and skvae reach that; None where they do not."""
    goal = max(row[key] for row in peer)
    own_seconds, peer_seconds = (
        min((row["seconds"] for row in points if row[key] >= goal), default=None) for points in (own, peer)
    )
    times = peer_seconds / own_seconds if own_seconds else None
    return {"goal": goal, "skvae": own_seconds, "scvi": peer_seconds, "times_skvae": times}


def as_constructed(points):
    """Return the point of a curve whose length is the default."""
    return next((point for point in points if point["epochs"] == "auto"), points[-1])


def draw(rows, path):
    """Draw held-out log p(x), and NMI, over seconds of fit; rings are the fits as constructed."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    figure, axes = plt.subplots(ncols=2, figsize=(11, 4.2), layout="constrained")
    titles = {"log_likelihood": "log p(x) of held-out cells, nats a cell", "nmi": "NMI of k-means on the latent"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        for i, (name, curve) in enumerate(CURVES.items()):
            points = [row for row in rows if row["contestant"] == name and row[key] is not None]
            if not points:
                continue
            color = f"C{i}"
            ax.plot(*zip(*((p["seconds"], p[key]) for p in points), strict=True), "o-", color=color, label=curve.label)
            default = as_constructed(points)
            ax.plot(default["seconds"], default[key], "o", color=color, markersize=11, fillstyle="none")
        ax.set(xscale="log", xlabel="seconds of fit", ylabel=title)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(LogLocator(subs=()))
        ax.grid(alpha=0.3)
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=120)


# A busy machine


def default_fit(data, seed):
    """Return the seconds of a fit as constructed, and a hash of the embedding's bytes."""
    from skvae import BetaVAE

    X, model = load(data), BetaVAE(random_state=seed)
    start = time.perf_counter()
    model.fit(X)
    return {"fit": time.perf_counter() - start, "md5": hashlib.md5(model.transform(X).tobytes()).hexdigest()}


@contextmanager
def spinning(n_processes):
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def fit_beside(n_processes, data, *, seed):
    with spinning(n_processes):
        return measure(default_fit, data, seed=seed)


def busy(context):
    """Return the seconds of the default fit beside processes that spin, and whether its bits are the same."""
    contests = {
        n: partial(fit_beside, n, context.folder / "data.npz") for n in ((0, 1) if context.quick else (0, 1, 8))
    }
    results = take_turns(contests, context.n_rounds)
    alone = median_of(results[0], "fit")
    rows = [
        {"spinning processes": n, "seconds": median_of(rounds, "fit"), "times alone": median_of(rounds, "fit") / alone}
        for n, rounds in results.items()
    ]
    hashes = zip(*([found["md5"] for found in rounds] for rounds in results.values()), strict=True)
    return {"rows": rows, "same_bits": all(len(set(round_)) == 1 for round_ in hashes)}


# Many fits


def search(data, n_values, n_folds, max_epochs, n_jobs, seed):
    from sklearn.model_selection import GridSearchCV

    from skvae import BetaVAE

    grid = {"beta": np.geomspace(0.25, 4, n_values).tolist()}
    vae = BetaVAE(max_epochs=max_epochs, random_state=seed)
    X, model = load(data), GridSearchCV(vae, grid, cv=n_folds, n_jobs=n_jobs)
    start = time.perf_counter()
    model.fit(X)
    return {"fit": time.perf_counter() - start, "best": model.best_params_["beta"]}


def grid(context):
    """Return the seconds of a search over beta in one process and in two."""
    n_values, n_folds, max_epochs = (2, 2, 2) if context.quick else (20, 5, "auto")
    contests = {
        n: partial(measure, search, context.folder / "data.npz", n_values, n_folds, max_epochs, n) for n in (1, 2)
    }
    results = take_turns(contests, context.n_rounds)
    one = median_of(results[1], "fit")
    return {
        "rows": [
            {"n_jobs": n, "fits": n_values * n_folds + 1, "seconds": seconds, "times as fast": one / seconds}
            for n, seconds in ((n, median_of(rounds, "fit")) for n, rounds in results.items())
        ]
    }


# Few rows

# Calls whose median is taken, by the number of rows.
N_CALLS = {1: 500, 64: 200, 10_000: 7}
N_QUICK_CALLS = {1: 50, 64: 20, 10_000: 3}


def calls_of_few_rows(data, quick, seed):
    """Return the median seconds of a call, by number of rows and method; the methods take turns."""
    from sklearn.decomposition import PCA, TruncatedSVD

    from skvae import BetaVAE

    X = load(data)
    # some epochs, so that a network is trained, whatever it gains
    vae = BetaVAE(max_epochs=2, random_state=seed).fit(X[:2000])
    svd = TruncatedSVD(10, random_state=seed).fit(X[:2000])
    pca = PCA(10, random_state=seed).fit(X[:2000].toarray())
    found = {}
    for n_rows, n_calls in (N_QUICK_CALLS if quick else N_CALLS).items():
        rows = X[:n_rows]
        dense = rows.toarray()
        calls = {
            "BetaVAE.transform": partial(vae.transform, rows),
            "BetaVAE.score": partial(vae.score, rows),
            "PCA.transform, dense": partial(pca.transform, dense),
            "TruncatedSVD.transform": partial(svd.transform, rows),
        }
        found[n_rows] = median_seconds(calls, n_calls)
    return found


def median_seconds(calls, n_calls):
    """Return the median seconds of each call, without its first, which warms up."""
    seconds = {name: [] for name in calls}
    for _ in range(n_calls + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def small(context):
    """Return milliseconds of transforms and scores of few rows, and how many times those of PCA they are."""
    contests = {"small": partial(measure, calls_of_few_rows, f"random:10000,{N_GENES},0.05", context.quick)}
    rounds = take_turns(contests, context.n_rounds)["small"]
    rows = []
    for n_rows, calls in rounds[0].items():
        seconds = {name: statistics.median(found[n_rows][name] for found in rounds) for name in calls}
        of_pca = seconds["PCA.transform, dense"]
        rows += [
            {"rows": int(n_rows), "call": name, "milliseconds": 1000 * value, "times PCA": value / of_pca}
            for name, value in seconds.items()
        ]
    return {"rows": rows}


# Import


def imports(context):
    """Return the seconds of `import skvae`, and of what it depends on."""
    found = import_seconds(context.n_rounds)
    own = found["dependencies"]
    return {"rows": [{"import": k, "seconds": v, "times dependencies": v / own} for k, v in found.items()]}


PARTS = {"quality": quality, "busy": busy, "grid": grid, "small": small, "import": imports}


def save_cells(folder, quick):
    """Write counts and log-normalised counts of all cells, and of four fifths and the rest; return what they are."""
    from skvae import LogNormalizer, VariableGeneSelector, fetch_pbmc3k, make_single_cell_counts

    is_real = not quick and "SKVAE_DATA" in os.environ
    n_cells = 500 if quick else 2638
    cells = fetch_pbmc3k() if is_real else make_single_cell_counts(n_cells, N_GENES, random_state=0)
    counts = VariableGeneSelector(n_top=N_GENES).fit_transform(cells.data)
    for kind, matrix in {"counts": counts, "data": LogNormalizer().fit_transform(counts)}.items():
        X = sparse.csr_matrix(matrix, dtype=np.float32)
        sparse.save_npz(folder / f"{kind}.npz", X)
        for part, rows in zip(("train", "held_out"), contestants.halves(X), strict=True):
            sparse.save_npz(folder / f"{kind}_{part}.npz", rows)
    order = contestants.halves(np.arange(counts.shape[0])[:, None])[0][:, 0]
    about = f"{'PBMC 3k' if is_real else 'simulated'}, {counts.shape[0]} cells, {counts.shape[1]} genes"
    return about, np.asarray(cells.target)[order]


def report(name, found):
    """Return the table of a part, and its other figures, in Markdown."""
    others = [f"{key}: {value}" for key, value in found.items() if key != "rows"]
    return "\n".join([f"### {name}", "", markdown(found["rows"]), "", *others, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("answers"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="small simulated cells, one round")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], metavar="NAME", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scvi", metavar="PYTHON", help="an interpreter that has scvi-tools")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmarks/answers.py", *sys.argv[1:]])
    results, reports = {"command": command, "machine": machine()}, []
    with tempfile.TemporaryDirectory() as folder:
        results["data"], types = save_cells(Path(folder), options.quick)
        context = Context(Path(folder), types, options.quick, 1 if options.quick else options.rounds, options.scvi)
        for name in options.only:
            results[name] = PARTS[name](context)
            reports.append(report(name, results[name]))
            print(reports[-1], flush=True)
            # after each part, so that nothing is lost if a later one fails
            (options.folder / "answers.json").write_text(json.dumps(results, indent=1))
            (options.folder / "answers.md").write_text("\n".join(reports))
    if "quality" in results:
        draw(results["quality"]["rows"], options.folder / "answers.png")


if __name__ == "__main__":
    main()
