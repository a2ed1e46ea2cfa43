"""Time skvae beside its peers, each measurement in a process of its own, the contestants taking turns.

`python benchmarks/speed.py out` writes out/speed.json, out/speed.md and out/speed.png; `--quick` takes under a minute.
PBMC 3k is read from the folder that SKVAE_DATA names; without it, and in the quick mode, cells are simulated.
scvi-tools and pythae need environments of their own, and take part where `--scvi` or `--pythae` name an interpreter
that has them:

    python -m venv peers && peers/bin/pip install -c constraints.txt scvi-tools
    python benchmarks/speed.py out --scvi peers/bin/python

answers.py measures the seconds to an answer, where this one measures those of an epoch.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import contestants
import numpy as np
from processes import machine, markdown, measure, take_turns
from scipy import sparse


@dataclass
class Contest:
    """A contestant, what it is called, and what it minimises: compared are those that minimise the same."""

    run: Callable
    label: str
    objective: str
    matrix: str = "data"  # log-normalised, or "counts"
    package: str = "skvae"


# The objectives of one network, of skvae's own, and what a fit as constructed minimises, whatever that is.
SQUARED_ERROR, NEGATIVE_BINOMIAL, AS_CONSTRUCTED = "squared error", "negative binomial", "as constructed"

CONTESTS = {
    contest.run.__name__: contest
    for contest in (
        Contest(contestants.skvae_unit_fit, "BetaVAE, unit variance", SQUARED_ERROR),
        Contest(contestants.dense_loop, "plain torch loop", SQUARED_ERROR),
        Contest(contestants.pythae_fit, "pythae", SQUARED_ERROR, package="pythae"),
        Contest(contestants.report_loop, "the report's loop, wider", SQUARED_ERROR),
        Contest(contestants.skvae_nb_fit, "BetaVAE, nb", NEGATIVE_BINOMIAL, "counts"),
        Contest(contestants.scvi_nb_fit, "scvi-tools, nb", NEGATIVE_BINOMIAL, "counts", "scvi"),
        Contest(contestants.skvae_fit, "BetaVAE", AS_CONSTRUCTED),
        Contest(contestants.bare_loop, "BetaVAE without skorch", AS_CONSTRUCTED),
        Contest(contestants.scvi_fit, "scvi-tools, zinb", AS_CONSTRUCTED, "counts", "scvi"),
        Contest(contestants.truncated_svd, "TruncatedSVD", "variance"),
        Contest(contestants.pca, "PCA", "variance"),
    )
}
# whose seconds the others of an objective are divided by
OWN = {SQUARED_ERROR: "skvae_unit_fit", NEGATIVE_BINOMIAL: "skvae_nb_fit", AS_CONSTRUCTED: "skvae_fit"}


def median_of(rounds, key):
    return statistics.median(found[key] for found in rounds)


def seconds_an_epoch(result):
    """Return the median over epochs, without the first, which warms up."""
    return statistics.median(result["epochs"][1:])


def compare(paths, interpreters, n_rounds, *, without=()):
    """Return seconds an epoch of each contestant, and how many times longer it takes than skvae's of its objective."""
    contests = {
        name: partial(measure, contest.run, paths[contest.matrix], 4, interpreter=interpreters[contest.package])
        for name, contest in CONTESTS.items()
        if contest.package in interpreters and name not in without
    }
    results = take_turns(contests, n_rounds)
    table = {}
    for name, rounds in results.items():
        objective = CONTESTS[name].objective
        row = {"objective": objective, "peak_mb": median_of(rounds, "peak_mb"), "fit": median_of(rounds, "fit")}
        if "epochs" in rounds[0]:
            row["seconds_an_epoch"] = statistics.median(map(seconds_an_epoch, rounds))
            own = statistics.median(map(seconds_an_epoch, results[OWN[objective]]))
            row["times_skvae"] = row["seconds_an_epoch"] / own
        table[name] = row
    return table


def report(compared):
    """Return the tables of `compare` in Markdown."""
    keys = {
        "seconds an epoch": "seconds_an_epoch",
        "times skvae": "times_skvae",
        "seconds to fit": "fit",
        "peak memory, MB": "peak_mb",
    }
    return "\n\n".join(
        f"{genes}, {found['n_samples']} cells\n\n"
        + markdown(
            [
                {"contestant": CONTESTS[name].label, "objective": row["objective"]}
                | {label: row.get(key) for label, key in keys.items()}
                for name, row in found["table"].items()
            ]
        )
        for genes, found in compared.items()
    )


def time_to_elbo(data, n_rounds):
    """Return the curves of held-out ELBO over seconds, and the seconds to the best ELBO of the loop by hand."""
    contests = {name: partial(measure, getattr(contestants, name), data, 60) for name in ("dense_curve", "skvae_curve")}
    curves = {
        name: np.median([r["curve"] for r in rounds], axis=0) for name, rounds in take_turns(contests, n_rounds).items()
    }
    goal = curves["dense_curve"][:, 1].max()
    seconds = {name: float(curve[curve[:, 1] >= goal][:1, 0].min(initial=np.inf)) for name, curve in curves.items()}
    return {"elbo": goal, "seconds": seconds, "curves": {name: curve.tolist() for name, curve in curves.items()}}


def growth(shapes, n_rounds):
    """Return the seconds an epoch of each shape, (n_samples, n_features, density), and the fitted exponents."""
    names = {shape: "random:" + ",".join(map(str, shape)) for shape in shapes}
    contests = {shape: partial(measure, contestants.skvae_fit, name, 2) for shape, name in names.items()}
    return [
        {
            "n_samples": shape[0],
            "n_features": shape[1],
            "density": shape[2],
            "seconds_an_epoch": statistics.median(map(seconds_an_epoch, rounds)),
            "peak_mb": median_of(rounds, "peak_mb"),
            "csr_mb": rounds[0]["csr_mb"],
            "nnz": rounds[0]["nnz"],
        }
        for shape, rounds in take_turns(contests, n_rounds).items()
    ]


def exponent(rows, key):
    """Return the slope of log seconds over log `key`."""
    return float(np.polyfit(*(np.log([row[k] for row in rows]) for k in (key, "seconds_an_epoch")), 1)[0])


def import_seconds(n_rounds):
    statements = {"skvae": "import skvae", "dependencies": "import torch, skorch, sklearn"}
    results = {name: [] for name in statements}
    for _ in range(n_rounds):
        for name, statement in statements.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            results[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in results.items()}


def draw(results, path):
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, (left, right) = plt.subplots(ncols=2, figsize=(11, 4), layout="constrained")
    for data, marker in zip(results["compared"], "os", strict=False):
        table = {k: v for k, v in results["compared"][data]["table"].items() if "seconds_an_epoch" in v}
        n_samples = results["compared"][data]["n_samples"]
        left.plot(
            [n_samples / row["seconds_an_epoch"] for row in table.values()],
            [CONTESTS[name].label for name in table],
            marker,
            label=data,
        )
    left.set(xscale="log", xlabel="cells a second in training")
    left.xaxis.set_minor_formatter(NullFormatter())
    left.grid(alpha=0.3, which="both")
    left.legend()
    labels = {"n_samples": "cells", "n_features": "genes", "density": "density"}
    for key, found in results["growth"].items():
        x, y = ([row[name] for row in found["rows"]] for name in ("nnz", "seconds_an_epoch"))
        right.loglog(x, y, "o-", label=f"more {labels[key]}: exponent {found['exponent']:.2f}")
    right.set(xlabel="non-zeros", ylabel="seconds an epoch")
    right.legend()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("speed"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="small simulated cells, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scvi", metavar="PYTHON", help="an interpreter that has scvi-tools")
    parser.add_argument("--pythae", metavar="PYTHON", help="an interpreter that has pythae")
    options = parser.parse_args()

    from skvae import LogNormalizer, VariableGeneSelector, fetch_pbmc3k, make_single_cell_counts

    simulated = options.quick or "SKVAE_DATA" not in os.environ
    cells = make_single_cell_counts(1000, 6000, random_state=0) if simulated else fetch_pbmc3k(os.environ["SKVAE_DATA"])
    n_rounds = 1 if options.quick else options.rounds
    peers = {"scvi": options.scvi, "pythae": options.pythae}
    interpreters = {"skvae": sys.executable} | {package: path for package, path in peers.items() if path}
    options.folder.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "data": "simulated" if simulated else "PBMC 3k", "compared": {}, "growth": {}}
    with tempfile.TemporaryDirectory() as folder:
        for n_genes in (cells.data.shape[1],) if options.quick else (cells.data.shape[1], 2000):
            counts = VariableGeneSelector(n_top=n_genes).fit_transform(cells.data)
            paths = {kind: Path(folder, f"{kind}{n_genes}.npz") for kind in ("counts", "data")}
            for path, matrix in zip(paths.values(), (counts, LogNormalizer().fit_transform(counts)), strict=True):
                sparse.save_npz(path, sparse.csr_matrix(matrix, dtype=np.float32))
            without = ("report_loop",) if options.quick or n_genes == 2000 else ()
            table = compare(paths, interpreters, n_rounds, without=without)
            results["compared"][f"{n_genes} genes"] = {"n_samples": counts.shape[0], "table": table}
        if not options.quick:
            results["time_to_elbo"] = time_to_elbo(paths["data"], n_rounds)
    if options.quick:
        sizes = {"n_samples": [(1000, 2000, 0.05), (10_000, 2000, 0.05)]}
    else:
        sizes = {
            "n_samples": [(10**k, 2000, 0.05) for k in (3, 4, 5, 6)],
            "n_features": [(3000, d, 0.05) for d in (2000, 5000, 12_000, 30_000)],
            "density": [(3000, 20_000, p) for p in (0.01, 0.03, 0.1, 0.2)],
        }
    for key, shapes in sizes.items():
        rows = growth(shapes, min(3, n_rounds))
        results["growth"][key] = {"rows": rows, "exponent": exponent(rows, key)}
    if not options.quick:
        results["large"] = growth([(10_000, 20_000, 0.03), (100_000, 20_000, 0.03)], min(3, n_rounds))
        results["transform"] = measure(contestants.skvae_transform, "random:100000,20000,0.03")
    results["import_seconds"] = import_seconds(n_rounds)
    (options.folder / "speed.json").write_text(json.dumps(results, indent=1))
    (options.folder / "speed.md").write_text(report(results["compared"]) + "\n")
    print(report(results["compared"]))
    draw(results, options.folder / "speed.png")


if __name__ == "__main__":
    main()
