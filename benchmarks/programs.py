"""Gene programs: whether the same ones come out again, and whether planted ones are found.

`python benchmarks/programs.py out` writes out/programs.json and out/programs.md in half an hour of one thread. PBMC
3k is read from the folder that SKVAE_DATA names; without it simulated cells take its place. `--quick` takes simulated
cells alone and fewer fits, in less than a minute, and `--jobs` shares the fits among processes of one thread each.

Stability: pairs of fits, whose programs are matched by the absolute correlation r of their codes of all cells so that
the sum is largest. Of "seeds", both see all cells, and a method that draws nothing at random is as stable as can be; of
"halves", each sees one of two disjoint halves.

Recovery: counts of `make_factor_counts`, whose eight programs are matched to codes by r, and F1 of as many top genes of
a code as its program has; of as many codes as programs, and of two more, as nobody is told the number and a model that
has no intercept needs one for what all cells express.

Top genes are for every method those of cNMF: the largest coefficients of a regression of standardised log-normalised
expression on the standardised codes. A code that has no sign is turned so that its third moment is positive, and one
that is matched so that r is.
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
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import skew
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA, FactorAnalysis, FastICA, non_negative_factorization
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

N_TOP = 30  # genes of a program that are compared


@dataclass
class Cells:
    """Counts, CSR, and what `LogNormalizer` makes of them."""

    counts: sparse.csr_array
    X: sparse.csr_array
    levels: np.ndarray | None = None  # at which they use planted programs

    def rows(self, index):
        return Cells(self.counts[index], self.X[index])


@dataclass
class Model:
    """A fitted model: what maps cells to codes, (n, J), and its loadings, (J, D), if it has any."""

    map_rows: Callable
    loadings: np.ndarray | None = None

    def encode(self, cells):
        return np.asarray(self.map_rows(cells), dtype=np.float64)


# Contestants: functions of cells, the number of programs and a seed, which return a fitted model


def truth(cells, n_programs, seed):
    return Model(lambda others: others.levels)


def linear(make, cells, n_programs, seed):
    model = make(n_programs, seed).fit(cells.X.toarray())
    return Model(lambda others: model.transform(others.X.toarray()), model.components_)


def varimax(loadings, n_iter=500, tol=1e-8):
    """Return the rotation of loadings, (D, J), after which their squares vary most within columns (Kaiser 1958)."""
    rotation, before = np.eye(loadings.shape[1]), 0.0
    for _ in range(n_iter):
        turned = loadings @ rotation
        U, s, V = np.linalg.svd(loadings.T @ (turned**3 - turned * (turned**2).mean(axis=0)))
        rotation = U @ V
        if s.sum() < before * (1 + tol):
            break
        before = s.sum()
    return rotation


def rotated_pca(cells, n_programs, seed):
    """Return principal components whose loadings are turned by varimax, with the scores, which are white, likewise."""
    pca = PCA(n_programs, whiten=True, random_state=seed).fit(cells.X.toarray())
    loadings = np.sqrt(pca.explained_variance_)[:, np.newaxis] * pca.components_
    rotation = varimax(loadings.T)
    return Model(lambda others: pca.transform(others.X.toarray()) @ rotation, rotation.T @ loadings)


def skvae_model(name, parameters, cells, n_programs, seed):
    import skvae

    model = getattr(skvae, name)(n_components=n_programs, random_state=seed, **parameters).fit(cells.X)
    return Model(lambda others: model.transform(others.X), getattr(model, "components_", None))


def consensus(parameters, cells, n_programs, seed):
    import skvae

    runs = skvae.BetaVSC(n_components=n_programs, **parameters)
    model = skvae.ConsensusEmbedding(runs, random_state=seed).fit(cells.X)
    return Model(lambda others: model.transform(others.X), model.programs_)


def cnmf(cells, n_programs, seed, *, n_replicates=20, neighbours=0.3, max_distance=0.5):
    """Return the consensus of factorisations with random starts, after Kotliar et al. 2019, eLife 8."""
    deviations = np.maximum(cells.counts.toarray().std(axis=0), 1e-9)

    def scaled(others):
        return (others.counts.toarray() / deviations).astype(np.float32)  # faster than a sparse array here

    starts = np.random.RandomState(seed).randint(2**31 - 1, size=n_replicates)
    X = scaled(cells)
    replicates = [NMF(n_programs, init="random", tol=1e-3, random_state=start).fit(X) for start in starts]
    spectra = normalize(np.vstack([replicate.components_ for replicate in replicates]))
    n_neighbours = max(1, int(neighbours * n_replicates))
    distances, _ = NearestNeighbors(n_neighbors=n_neighbours).fit(spectra).kneighbors()
    kept = spectra[distances.mean(axis=1) < max_distance]
    clusters = KMeans(n_programs, n_init=10, random_state=seed).fit_predict(kept)
    medians = np.array([np.median(kept[clusters == cluster], axis=0) for cluster in range(n_programs)])
    medians = normalize(medians, "l1")

    def encode(others):
        usages, _, _ = non_negative_factorization(
            scaled(others), H=medians, n_components=n_programs, update_H=False, random_state=seed
        )
        return normalize(usages, "l1")

    return Model(encode, medians)


TRUTH = "the planted levels themselves"
NONNEGATIVE = {"nonnegative": True}
CONTESTANTS = {
    "PCA": partial(linear, lambda n, seed: PCA(n, random_state=seed)),
    "PCA, varimax": rotated_pca,
    "FactorAnalysis": partial(linear, lambda n, seed: FactorAnalysis(n, random_state=seed)),
    "FactorAnalysis, varimax": partial(
        linear, lambda n, seed: FactorAnalysis(n, rotation="varimax", random_state=seed)
    ),
    "FastICA": partial(linear, lambda n, seed: FastICA(n, random_state=seed, max_iter=1000, tol=1e-3)),
    "NMF": partial(linear, lambda n, seed: NMF(n, init="random", random_state=seed, max_iter=500)),
    "cNMF": cnmf,
    "BetaVAE": partial(skvae_model, "BetaVAE", {}),
    "BetaVSC": partial(skvae_model, "BetaVSC", {}),
    "BetaVSC, nonnegative": partial(skvae_model, "BetaVSC", NONNEGATIVE),
    "BetaVSC, nonnegative, alpha = 0.1": partial(skvae_model, "BetaVSC", {**NONNEGATIVE, "alpha": 0.1}),
    "Consensus of BetaVSC": partial(consensus, {}),
    "Consensus of BetaVSC, nonnegative": partial(consensus, NONNEGATIVE),
}
QUICK_CONTESTANTS = ("PCA", "NMF", "cNMF", "BetaVAE", "BetaVSC, nonnegative", [*CONTESTANTS][-1])


def fit(name, cells, n_programs, seed):
    """Return a fitted contestant and the seconds it took, in one thread."""
    import torch

    torch.set_num_threads(1)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model = (CONTESTANTS | {TRUTH: truth})[name](cells, n_programs, seed)
        return model, time.perf_counter() - start


# Measures


def correlations(Z, others):
    """Return r of the columns of two tables, 0 of constant ones."""
    tables = [table - table.mean(axis=0) for table in (Z, others)]
    scaled = [table / np.maximum(np.linalg.norm(table, axis=0), 1e-9) for table in tables]
    return scaled[0].T @ scaled[1]


def matched(Z, others):
    """Yield the columns of two tables that belong together, and their r."""
    r = correlations(Z, others)
    for row, column in zip(*linear_sum_assignment(np.abs(r), maximize=True), strict=True):
        yield row, column, r[row, column]


def gene_scores(Z, X):
    """Return the coefficients, (J, D), of a regression of standardised expression on standardised codes."""
    Y = X.toarray()
    codes, genes = ((table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-6) for table in (Z, Y))
    # of codes that depend on each other, such as shares, the least coefficients
    return np.linalg.pinv(codes, rcond=1e-5) @ genes


def top_genes(scores, n_top):
    return set(np.argsort(-scores)[:n_top].tolist())


def jaccard(first, second):
    return len(first & second) / len(first | second)


def agreement(fits, cells):
    """Return |r| of each matched pair of codes, and the Jaccard index of their top genes, and of those by loadings."""
    codes = [model.encode(cells) for model, _ in fits]
    signs = np.where(skew(codes[0], axis=0) < 0, -1, 1)
    scores = [gene_scores(Z, cells.X) for Z in codes]
    loadings = [model.loadings for model, _ in fits]
    pairs = []
    for row, column, r in matched(*codes):
        places = (row, signs[row]), (column, np.sign(r) * signs[row])
        pairs.append({"r": abs(float(r))})
        for name, tables in (("jaccard", scores), ("jaccard_loadings", loadings)):
            # constant codes are no programs that have the same genes
            if all(table is not None for table in tables):
                tops = [top_genes(sign * table[i], N_TOP) for table, (i, sign) in zip(tables, places, strict=True)]
                pairs[-1][name] = jaccard(*tops) if r else 0.0
    return pairs


def stability(name, part, pair, cells, n_programs):
    """Return the agreement of the pair of fits number `pair`: of two seeds, or of two disjoint halves as well."""
    rows = np.random.RandomState(pair).permutation(cells.X.shape[0])
    parts = np.array_split(rows, 2) if part == "halves" else [rows, rows]
    fits = [fit(name, cells.rows(np.sort(rows)), n_programs, 2 * pair + side) for side, rows in enumerate(parts)]
    return {
        "pairs": agreement(fits, cells),
        "seconds": float(np.mean([seconds for _, seconds in fits])),
    }


def f1_of(scores, genes):
    """Return F1 of as many top genes as there are: precision and recall are the same."""
    return len(top_genes(scores, len(genes)) & genes) / len(genes)


def recovery(name, n_codes, seed, sizes):
    """Return r and F1 of each planted program in a simulation, by the codes and by loadings where there are any."""
    from skvae import LogNormalizer, make_factor_counts

    planted = make_factor_counts(**sizes, random_state=seed)
    cells = Cells(planted.data, LogNormalizer().fit_transform(planted.data), planted.factors)
    genes = [set(np.flatnonzero(loading).tolist()) for loading in planted.loadings]
    model, seconds = fit(name, cells, n_codes, seed)
    Z = model.encode(cells)
    scores = gene_scores(Z, cells.X)
    tables = {"f1": scores, "f1_loadings": model.loadings}
    programs = [{"r": 0.0, "f1": 0.0, "f1_loadings": 0.0} for _ in genes]  # of those that no code is matched to
    for row, column, r in matched(Z, planted.factors):
        found = {
            key: None if table is None else f1_of(np.sign(r) * table[row], genes[column])
            for key, table in tables.items()
        }
        programs[column] = {"r": abs(float(r)), **found}
    return {"programs": programs, "seconds": seconds}


# Results


def table(lines):
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mean_text(values, digits):
    """Return the mean, or a dash if some fit has no such value."""
    return "-" if None in values else f"{np.mean(values):.{digits}f}"


def stability_line(name, runs):
    pairs = [pair for run in runs for pair in run["pairs"]]
    r = np.array([pair["r"] for pair in pairs])
    figures = [f"{figure:.2f}" for figure in (np.median(r), r.mean(), (r > 0.9).mean())]
    figures += [mean_text([pair.get(key) for pair in pairs], 2) for key in ("jaccard", "jaccard_loadings")]
    return [name, *figures, f"{len(pairs) / len(runs):.1f}", mean_text([run["seconds"] for run in runs], 1)]


def recovery_line(name, runs):
    r, f1, own = ([program[key] for run in runs for program in run["programs"]] for key in ("r", "f1", "f1_loadings"))
    figures = [mean_text(r, 2), mean_text(f1, 3), f"{min(f1):.2f}", mean_text(own, 3)]
    return [name, *figures, mean_text([run["seconds"] for run in runs], 1)]


def report(results):
    head = ["", "median r", "mean r", "r > .9", f"Jaccard of {N_TOP}", "of loadings", "matched", "seconds"]
    texts = []
    for part in ("seeds", "halves"):
        own = results["stability"][part]
        texts.append(f"Stability over {part}, {results['cells']}, J = {results['n_programs']}:\n")
        texts.append(table([head, *(stability_line(name, runs) for name, runs in own.items())]) + "\n")
    head = ["", "mean r", "mean F1", "least F1", "mean F1 of loadings", "seconds"]
    for n_codes, own in results["recovery"].items():
        texts.append(f"Eight planted programs, {results['sizes']}, J = {n_codes}:\n")
        texts.append(table([head, *(recovery_line(name, runs) for name, runs in own.items())]) + "\n")
    return "\n".join(texts)


def real_cells():
    from skvae import LogNormalizer, VariableGeneSelector, fetch_pbmc3k

    counts = VariableGeneSelector(2000).fit_transform(fetch_pbmc3k().data)
    return "PBMC 3k, 2000 genes", Cells(counts, LogNormalizer().fit_transform(counts))


def simulated_cells():
    from skvae import LogNormalizer, make_single_cell_counts

    counts = make_single_cell_counts(n_samples=500, n_features=400, random_state=0).data
    return "simulated cells", Cells(counts, LogNormalizer().fit_transform(counts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("programs"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="simulated cells, one pair of fits, some contestants")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME", help=", ".join(CONTESTANTS))
    parser.add_argument("--pairs", type=int, help="of fits whose programs are compared, 5 by default")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    options = parser.parse_args()

    from speed import machine

    n_pairs = options.pairs or (1 if options.quick else 5)
    title, cells = simulated_cells() if options.quick or not os.environ.get("SKVAE_DATA") else real_cells()
    sizes = {"n_samples": 500 if options.quick else 2000, "n_features": 500 if options.quick else 1000}
    names, n_programs = options.contestants or (QUICK_CONTESTANTS if options.quick else [*CONTESTANTS]), 10
    options.folder.mkdir(parents=True, exist_ok=True)
    results = {
        "command": shlex.join(["python", "benchmarks/programs.py", *sys.argv[1:]]),
        "machine": machine(),
        "cells": title,
        "n_programs": n_programs,
        "sizes": sizes,
        "stability": {part: {} for part in ("seeds", "halves")},
        "recovery": {n_codes: {} for n_codes in ((10,) if options.quick else (8, 10))},
    }
    run = Parallel(options.jobs)
    for n_codes, found in results["recovery"].items():
        for name in [TRUTH, *names]:
            found[name] = run(delayed(recovery)(name, n_codes, seed, sizes) for seed in range(n_pairs))
            print(n_codes, recovery_line(name, found[name]), file=sys.stderr, flush=True)
    for part, found in results["stability"].items():
        for name in names:
            found[name] = run(delayed(stability)(name, part, pair, cells, n_programs) for pair in range(n_pairs))
            print(part, stability_line(name, found[name]), file=sys.stderr, flush=True)
            # each time, so that nothing is lost if the rest is not measured
            (options.folder / "programs.json").write_text(json.dumps(results, indent=1))
    (options.folder / "programs.md").write_text(report(results))


if __name__ == "__main__":
    main()
