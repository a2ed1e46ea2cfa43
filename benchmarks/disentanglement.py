"""Disentanglement: whether a dimension of a code stands for one planted program, and a program for one dimension.

`python benchmarks/disentanglement.py out` writes out/disentanglement.json, .md and .png in ten minutes of one thread:
three scores of `BetaVAE` over beta and of `BetaVSC` over alpha, beside linear models, on log-normalised counts of
`make_factor_counts`. `--quick` takes less than a minute, `--jobs` shares the fits among processes of one thread each.

The scores follow their papers. For a factor that is 0 in most rows and positive in others they need decisions:

- MIG, the mutual information gap (Chen et al. 2018): of each factor the difference of the two largest mutual
  informations with a dimension, as a share of its entropy. Factors and dimensions alike are put in bins between twenty
  quantiles, of which equal ones are one, so that the zeros of a factor are one bin.
- D, C and R2, disentanglement, completeness and informativeness (Eastwood & Williams 2018), by their second regressor,
  a random forest for each factor: D and C from the importances of the dimensions, R2 of the rows out of the bag.
- SAP, the separated attribute predictability (Kumar et al. 2018): of each factor the difference of the two largest
  squared correlations with a dimension, which is what the paper has for continuous factors.

The factors themselves have scores of about 1. Turned by a random rotation they have small ones, R2 aside. What can be
known of them from counts is less than all: "known loadings" is the code of a factor analysis that is told the loadings.
"""

import argparse
import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import entropy, ortho_group
from sklearn.decomposition import NMF, PCA, FactorAnalysis, FastICA
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mutual_info_score
from threadpoolctl import threadpool_limits

N_FACTORS = 8  # planted
N_DIMENSIONS = 10  # of each code: nobody is told the number, and what has no intercept needs one for what all express
N_BINS = 20
BETAS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
ALPHAS = (0.05, 0.1, 0.2, 0.5, 0.8)
SCORES = ("MIG", "SAP", "D", "C", "R2")


# Scores of codes Z, (n, J), for factors, (n, K)


def in_bins(values):
    edges = np.unique(np.quantile(values, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    return np.digitize(values, edges, right=True)


def mean_gap(table):
    """Return the mean over the columns of (J, K) of the difference of their two largest values."""
    *_, second, first = np.sort(table, axis=0)
    return float(np.mean(first - second))


def mutual_information_gap(Z, factors):
    codes, levels = ([in_bins(column) for column in table.T] for table in (Z, factors))
    shares = [[mutual_info_score(code, level) / entropy(np.bincount(level)) for level in levels] for code in codes]
    return mean_gap(np.array(shares))


def separated_predictability(Z, factors):
    deviations = [table - table.mean(axis=0) for table in (Z, factors)]
    scaled = [table / np.maximum(np.linalg.norm(table, axis=0), 1e-12) for table in deviations]
    return mean_gap((scaled[0].T @ scaled[1]) ** 2)


def importances(Z, factors, seed):
    """Return how much each dimension counts for each factor, (J, K), and the mean R2 of the rows out of the bag."""
    forest = RandomForestRegressor(50, max_features=1.0, min_samples_leaf=5, oob_score=True, random_state=seed)
    found = [(forest.fit(Z, factor).feature_importances_, forest.oob_score_) for factor in factors.T]
    of_factors, scores = zip(*found, strict=True)
    return np.array(of_factors).T, float(np.mean(scores))


def concentration(table):
    """Return 1 - the entropy of each row's shares in units of its largest, weighted by the sums of rows."""
    kept = table[table.sum(axis=1) > 0]
    if not len(kept):  # a code that says nothing of any factor
        return 0.0
    return float(np.average(1 - entropy(kept, axis=1, base=kept.shape[1]), weights=kept.sum(axis=1)))


def scores_of(Z, factors, seed):
    important, informative = importances(Z, factors, seed)
    return {
        "MIG": mutual_information_gap(Z, factors),
        "SAP": separated_predictability(Z, factors),
        "D": concentration(important),
        "C": float(np.mean([concentration(column[np.newaxis]) for column in important.T])),
        "R2": informative,
    }


# Contestants: functions of the simulated cells, their log-normalised counts and a seed, which return a code


def truth(cells, X, seed):
    return cells.factors


def rotated_truth(cells, X, seed):
    deviations = cells.factors - cells.factors.mean(axis=0)
    return deviations @ ortho_group.rvs(N_FACTORS, random_state=seed)


def known_loadings(cells, X, seed):
    """Return the mean of p(z|x) of a linear model with Gaussian noise that has its loadings from the factors."""
    X = X.toarray()
    model = LinearRegression().fit(cells.factors, X)
    precision = 1 / np.maximum(np.var(X - model.predict(cells.factors), axis=0), 1e-9)
    weighted = precision[:, np.newaxis] * model.coef_
    covariance = np.cov(cells.factors, rowvar=False)
    return (X - X.mean(axis=0)) @ weighted @ np.linalg.inv(np.linalg.inv(covariance) + weighted.T @ model.coef_)


def linear(make, cells, X, seed):
    return make(seed).fit_transform(X.toarray())


def skvae_model(name, parameters, cells, X, seed):
    import skvae

    return getattr(skvae, name)(n_components=N_DIMENSIONS, random_state=seed, **parameters).fit_transform(X)


LINEAR = {
    "PCA": lambda seed: PCA(N_DIMENSIONS, random_state=seed),
    "FactorAnalysis": lambda seed: FactorAnalysis(N_DIMENSIONS, random_state=seed),
    "FactorAnalysis, varimax": lambda seed: FactorAnalysis(N_DIMENSIONS, rotation="varimax", random_state=seed),
    "FastICA": lambda seed: FastICA(N_DIMENSIONS, random_state=seed, max_iter=1000, tol=1e-3),
    "NMF": lambda seed: NMF(N_DIMENSIONS, init="random", random_state=seed, max_iter=1000),
}
CURVES = {
    "BetaVAE": ("BetaVAE", "beta", BETAS, {}),
    "BetaVAE, random start": ("BetaVAE", "beta", BETAS, {"init": "random", "kl_warmup": 0.4}),
    "BetaVSC": ("BetaVSC", "alpha", ALPHAS, {}),
    "BetaVSC, nonnegative": ("BetaVSC", "alpha", ALPHAS, {"nonnegative": True}),
}


def name_of(title, value):
    return f"{title}, {CURVES[title][1]} = {value:g}"


CHECKS = {"true factors": truth, "true factors, rotated": rotated_truth, "known loadings": known_loadings}
CONTESTANTS: dict[str, Callable] = {
    **CHECKS,
    **{name: partial(linear, make) for name, make in LINEAR.items()},
    **{
        name_of(title, value): partial(skvae_model, model, {**others, parameter: value})
        for title, (model, parameter, values, others) in CURVES.items()
        for value in values
    },
}


# Results


def measure(name, seed, n_samples):
    """Return the scores of a contestant on the cells of a seed, in one thread."""
    import torch

    from skvae import LogNormalizer, make_factor_counts

    torch.set_num_threads(1)
    cells = make_factor_counts(n_samples, n_factors=N_FACTORS, random_state=seed)
    X = LogNormalizer().fit_transform(cells.data)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        Z = CONTESTANTS[name](cells, X, seed)
        seconds = time.perf_counter() - start
    return {"contestant": name, "seed": seed, "seconds": seconds, **scores_of(Z, cells.factors, seed)}


def of_contestant(rows, name, score):
    return [row[score] for row in rows if row["contestant"] == name]


def report(rows, seeds, n_samples):
    lines = [["", *SCORES, "seconds"], ["---"] * (2 + len(SCORES))]
    for name in dict.fromkeys(row["contestant"] for row in rows):
        values = [of_contestant(rows, name, score) for score in SCORES]
        cells = [f"{np.mean(value):.2f} ± {np.std(value):.2f}" for value in values]
        lines.append([name, *cells, f"{np.mean(of_contestant(rows, name, 'seconds')):.1f}"])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"""{n_samples} cells of `make_factor_counts`, {N_FACTORS} programs and {N_DIMENSIONS} dimensions: means and
standard deviations over {len(seeds)} simulations, and the seconds of a fit in one thread.

{table}
"""


COLORS = {
    "BetaVAE": "#332288",
    "BetaVAE, random start": "#AA4499",
    "BetaVSC": "#117733",
    "BetaVSC, nonnegative": "#CC6677",
}
LINES = {
    "PCA": ("gray", ":"),
    "FactorAnalysis, varimax": ("gray", "--"),
    "FastICA": ("#88CCEE", "-"),
    "NMF": ("black", "-"),
    "true factors, rotated": ("#999933", "-"),
    "known loadings": ("#DDCC77", "--"),
}


def draw(rows, path):
    """Draw each score over beta, above, and over alpha, below; of models that have neither as lines across."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots(2, len(SCORES), sharex="row", sharey=True)
    labelled = {}
    for row_of_axes, on_axis in zip(axes, ("beta", "alpha"), strict=True):
        for ax, score in zip(row_of_axes, SCORES, strict=True):
            for name, (color, style) in LINES.items():
                level = np.mean(of_contestant(rows, name, score))
                labelled[name] = ax.axhline(level, color=color, linestyle=style, linewidth=1.2)
            curves = {title: curve for title, curve in CURVES.items() if curve[1] == on_axis}
            for title, (_, _, values, _) in curves.items():
                runs = [of_contestant(rows, name_of(title, value), score) for value in values]
                shown = [(value, np.mean(run), np.std(run)) for value, run in zip(values, runs, strict=True) if run]
                style = {"marker": "o", "markersize": 4, "color": COLORS[title], "capsize": 2}
                labelled[title] = ax.errorbar(*np.array(shown).T, **style)
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.minorticks_off()
            ticks = [0.1, 0.3, 1, 2, 4, 8] if on_axis == "beta" else ALPHAS
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.set(ylim=(-0.02, 1.02), xlabel=on_axis)
            ax.spines[["top", "right"]].set_visible(False)
    for ax, title in zip(
        axes[0], ("MIG", "SAP", "DCI disentanglement", "DCI completeness", "DCI informativeness, R2"), strict=True
    ):
        ax.set_title(title, fontsize=10)
    figure.legend(labelled.values(), labelled.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("disentanglement"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="fewer cells and one seed")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    options = parser.parse_args()

    from speed import machine

    seeds, n_samples = options.seeds or ([0] if options.quick else [0, 1, 2]), 500 if options.quick else 2000
    options.folder.mkdir(parents=True, exist_ok=True)
    about = {"command": shlex.join(["python", "benchmarks/disentanglement.py", *sys.argv[1:]]), "machine": machine()}
    rows = []
    values = {title: curve[2][1::3] if options.quick else curve[2] for title, curve in CURVES.items()}
    chosen = [*CHECKS, *LINEAR, *(name_of(title, value) for title in CURVES for value in values[title])]
    measurements = (delayed(measure)(name, seed, n_samples) for name in chosen for seed in seeds)
    for row in Parallel(options.jobs, return_as="generator")(measurements):
        rows.append(row)
        print(f"{row['contestant']}, {row['seed']}: MIG {row['MIG']:.2f}", file=sys.stderr, flush=True)
        # each time, so that nothing is lost if the rest is not measured
        (options.folder / "disentanglement.json").write_text(json.dumps({**about, "results": rows}, indent=1))
    (options.folder / "disentanglement.md").write_text(report(rows, seeds, n_samples))
    draw(rows, options.folder / "disentanglement.png")


if __name__ == "__main__":
    main()
