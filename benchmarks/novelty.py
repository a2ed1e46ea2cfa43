"""Novelty: how many cells of a type that was left out are found, and how many of the others are false alarms.

`python benchmarks/novelty.py` prints the tables of docs/novelty.md in ten minutes. PBMC 3k is read from the folder
that SKVAE_DATA names, and two further sets of real cells from that of SKVAE_CELLS; sets that are not there are left
out. `--quick` takes simulated cells alone, and few splits.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.stats import betabinom
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, LogNormalizer, NoveltyDetector, VariableGeneSelector, fetch_pbmc3k, make_single_cell_counts

LEVELS = (0.01, 0.05, 0.2)
LEAST_CELLS = 10  # of a type that is left out


def pbmc3k():
    cells = fetch_pbmc3k()
    return cells.data, cells.target_names[cells.target]


def simulated(n_features=1000, **options):
    cells = make_single_cell_counts(n_samples=2000, n_features=n_features, random_state=0, **options)
    return cells.data, cells.target_names[cells.target]


def real(name):
    archive = np.load(Path(os.environ["SKVAE_CELLS"], f"{name}.npz"))
    parts = archive["data"].astype(np.float32), archive["indices"], archive["indptr"]
    return sparse.csr_array(parts, shape=tuple(archive["shape"])), archive["type"].astype(str)


def data_sets(quick):
    """Return what reads counts and types, by name."""
    sets = {"simulated": simulated}
    if os.environ.get("SKVAE_DATA") and not quick:
        sets = {"PBMC 3k": pbmc3k, **sets}
    if os.environ.get("SKVAE_CELLS") and not quick:
        sets |= {"kidney": lambda: real("kidney"), "PBMC, 3 chemistries": lambda: real("pbmc_chemistries")}
    return sets


def model_of_counts():
    vae = BetaVAE(likelihood="nb", hidden_layer_sizes=(), max_epochs=1, random_state=0)
    return make_pipeline(VariableGeneSelector(1000), vae)


def fast_model():
    vae = BetaVAE(hidden_layer_sizes=(), max_epochs=1, random_state=0)
    return make_pipeline(VariableGeneSelector(200), LogNormalizer(), vae)


# Power


def left_out(X, types, name, seed):
    """Return 1 - the mean p-value of a type that is left out, and its share of alarms at each level."""
    detector = NoveltyDetector(model_of_counts(), random_state=seed).fit(X[types != name])
    p_values = detector.p_values(X[types == name])
    return 1 - p_values.mean(), *((p_values <= level).mean() for level in LEVELS)


def print_power(title, read, n_splits):
    X, types = read()
    names, sizes = np.unique(types, return_counts=True)
    print(f"\n| {title}: left out | cells | AUC | power at .01 | at .05 | at .2 |\n|---|---|---|---|---|---|")
    means = []
    for size, name in sorted(zip(sizes, names, strict=True), reverse=True):
        if size >= LEAST_CELLS:
            rows = np.array([left_out(X, types, name, seed) for seed in range(n_splits)])
            means.append(rows.mean(axis=0))
            of_splits = f" ({', '.join(f'{row[2]:.2f}' for row in rows)})" if n_splits > 1 else ""
            auc, first, second, third = in_cells(means[-1])
            print(f"| {name} | {size} | {auc} | {first} | {second}{of_splits} | {third} |", flush=True)
    print(f"| median | | {' | '.join(in_cells(np.median(means, axis=0)))} |", flush=True)


def in_cells(values):
    return [f"{value:.2f}" for value in values]


# Validity


def alarms_of_a_split(X, batch, seed):
    """Return the shares of alarms at each level among cells held out, of each batch, and their bounds of 95%."""
    fitted, others = train_test_split(np.arange(X.shape[0]), test_size=0.3, random_state=seed)
    detector = NoveltyDetector(fast_model(), contamination=0.01, calibration=0.5, random_state=seed)
    p_values = detector.fit(X[fitted], batch=None if batch is None else batch[fitted]).p_values(
        X[others], batch=None if batch is None else batch[others]
    )
    groups = np.zeros(len(others), dtype=int) if batch is None else batch[others]
    for group, known in enumerate(detector.calibration_scores_):
        of_group = p_values[groups == group]
        for level in LEVELS:
            n_levels = int(level * (len(known) + 1) + 1e-9)  # the p-values k / (n + 1) up to the level
            bounds = betabinom(len(of_group), n_levels, len(known) + 1 - n_levels).interval(0.95)
            n_alarms = (of_group <= level).sum()
            yield group, level, n_alarms / len(of_group), bounds[0] <= n_alarms <= bounds[1]


def print_validity(title, X, batch, n_splits):
    results = [result for seed in range(n_splits) for result in alarms_of_a_split(X, batch, seed)]
    for group in sorted({result[0] for result in results}):
        for level in LEVELS:
            shares, within = zip(*(result[2:] for result in results if result[:2] == (group, level)), strict=True)
            where = title if batch is None else f"{title}, batch {group}"
            numbers = f"{np.mean(shares):.4f} | {np.max(shares):.3f} | {sum(within)} of {len(within)}"
            print(f"| {where} | {level} | {numbers} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="simulated cells alone, and few splits")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    sets = data_sets(quick)
    n_splits = 5 if quick else 50
    print(f"| cells, {n_splits} splits | level | share of false alarms | largest | within bounds of 95% |")
    print("|---|---|---|---|---|")
    title = next(iter(sets))
    print_validity(title, sets[title]()[0], None, n_splits)
    cells = make_single_cell_counts(n_samples=2000, n_features=500, n_batches=2, batch_effect=1, random_state=0)
    print_validity("simulated", cells.data, cells.batch, n_splits)
    for place, (title, read) in enumerate(sets.items()):
        print_power(title, read, n_splits=3 if place == 0 and not quick else 1)


if __name__ == "__main__":
    main()
