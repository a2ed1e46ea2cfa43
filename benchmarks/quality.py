"""Judge the embeddings of skvae as constructed beside linear ones, on data of many kinds: the suite for its defaults.

`python benchmarks/quality.py out` writes out/quality.json, out/quality.md and out/quality.png; `--quick` takes under a
minute, all of it hours, which `--jobs` shares among processes of one thread each. PBMC 3k is read from the folder that
SKVAE_DATA names, four sets of real cells from that of SKVAE_CELLS; sets that are not there are left out. scVI takes
part where `--scvi` names an interpreter that has scvi-tools:

    python -m venv peers && peers/bin/pip install -c constraints.txt scvi-tools
    SKVAE_DATA=folder SKVAE_CELLS=folder python benchmarks/quality.py out --scvi peers/bin/python
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA, FactorAnalysis, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

# Features up to which sparse X is made dense for a contestant, and factors are analysed.
MAX_FEATURES = 5000


# Data sets


@dataclass
class Dataset:
    """X for the Gaussian models, the types of its rows, and the counts behind X if it comes from counts."""

    X: np.ndarray | sparse.csr_array
    target: np.ndarray
    counts: np.ndarray | sparse.csr_array | None = None
    is_binary: bool = False


def path_in(variable, name):
    """Return the path of a file or folder in the folder that an environment variable names."""
    folder = os.environ.get(variable)
    if not folder or not Path(folder, name).exists():
        raise FileNotFoundError(f"{variable} names no folder with {name}")
    return Path(folder, name)


def single_cells(counts, target):
    """Return cells as a user prepares them: at most 2000 genes, chosen by the counts, log-normalised."""
    from skvae import LogNormalizer, VariableGeneSelector

    counts = VariableGeneSelector().fit_transform(counts)
    return Dataset(LogNormalizer().fit_transform(counts), target, counts)


def pbmc3k():
    from skvae import fetch_pbmc3k

    cells = fetch_pbmc3k(path_in("SKVAE_DATA", "pbmc3k").parent)
    return single_cells(cells.data, cells.target)


def real_cells(name):
    parts = np.load(path_in("SKVAE_CELLS", f"{name}.npz"))
    csr = (parts["data"].astype(np.float32), parts["indices"].astype(np.int32), parts["indptr"])
    return single_cells(sparse.csr_array(csr, shape=tuple(parts["shape"])), to_codes(parts["type"]))


def pbmc68k():
    """Return the 700 blood cells that scanpy has with it, log-normalised and scaled."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="anndata|scanpy")
    import scanpy

    cells = scanpy.datasets.pbmc68k_reduced()
    return Dataset(np.asarray(cells.X, dtype=np.float32), to_codes(cells.obs["bulk_labels"].astype(str)))


def to_codes(labels):
    return np.unique(labels, return_inverse=True)[1]


def simulated(n_cells, library_size=None):
    from skvae import make_single_cell_counts

    cells = make_single_cell_counts(n_cells, library_size=library_size, random_state=0)
    return single_cells(cells.data, cells.target)


def simulated_in_units(unit):
    """Return simulated cells in another unit, which must not matter."""
    cells = simulated(2638)
    return Dataset(cells.X * np.float32(unit), cells.target)


def bulk(n_genes, *, n_samples=40, n_groups=4, seed=0):
    """Return samples of tissue whose groups differ in a twentieth of the genes."""
    rng = np.random.default_rng(seed)
    target = np.arange(n_samples) % n_groups
    effects = rng.normal(0, 1, size=(n_groups, n_genes)) * (rng.random((n_groups, n_genes)) < 0.05)
    log_rate = rng.normal(5, 2, size=n_genes) + effects[target] + rng.normal(0, 0.3, size=(n_samples, n_genes))
    depth = rng.lognormal(0, 0.2, size=(n_samples, 1))
    counts = rng.poisson(depth * np.exp(log_rate)).astype(np.float32)
    totals = counts.sum(axis=1, keepdims=True)
    return Dataset(np.log1p(counts / totals * totals.mean()), target, counts)


def documents(n_documents, n_words, *, n_topics=10, seed=1):
    """Return tf-idf of documents of 60 to 240 words: most of all topics, some of their own, a few of another."""
    rng = np.random.default_rng(seed)
    target = rng.integers(n_topics, size=n_documents)
    common = rng.permutation(1 / np.arange(1, n_words + 1))
    common /= common.sum()
    topics = rng.dirichlet(200 * common, size=n_topics)
    others = rng.integers(n_topics, size=n_documents)
    words = 0.55 * common + 0.45 * (0.85 * topics[target] + 0.15 * topics[others])
    counts = sparse.csr_array(rng.multinomial(rng.integers(60, 240, size=n_documents), words))
    used = counts[:, counts.sum(axis=0) > 0]
    return Dataset(TfidfTransformer().fit_transform(used).astype(np.float32), target)


def peaks(n_cells=800, n_peaks=30_000, *, n_types=5, density=0.01, seed=0):
    """Return which peaks of chromatin are open in which cell; in a type, a twentieth are so 3.5 times as often."""
    rng = np.random.default_rng(seed)
    target = rng.integers(n_types, size=n_cells)
    share = np.tile(rng.gamma(0.5, size=n_peaks), (n_types, 1))
    for own in share:
        own[rng.choice(n_peaks, n_peaks // 20, replace=False)] *= 3.5
    depth = rng.lognormal(0, 0.5, size=(n_cells, 1))
    share *= density / share.mean() / depth.mean()
    X = sparse.csr_array(rng.random((n_cells, n_peaks)) < depth * share[target], dtype=np.float32)
    return Dataset(X, target, X, is_binary=True)


def markers(n_cells=3000, n_markers=30, *, n_types=8, seed=0):
    """Return arcsinh of the brightness of cells stained for markers, a fifth of which are on in a type."""
    rng = np.random.default_rng(seed)
    target = rng.choice(n_types, size=n_cells, p=rng.dirichlet(np.full(n_types, 3.0)))
    is_on = rng.random((n_types, n_markers)) < 0.2
    level = np.where(is_on, rng.lognormal(np.log(10), 0.8, size=is_on.shape), 1)
    size = rng.lognormal(0, 0.3, size=(n_cells, 1))
    brightness = size * level[target] * rng.lognormal(0, 0.7, size=(n_cells, n_markers))
    background = rng.normal(0, 2, size=brightness.shape)
    return Dataset(np.arcsinh((brightness + background) / 5).astype(np.float32), target)


def from_sklearn(name, divisor=1):
    """Return a set that scikit-learn has with it, as it is."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    return Dataset((found.data / divisor).astype(np.float32), found.target)


SETS = {
    "pbmc3k": pbmc3k,
    "simulated-300": partial(simulated, 300),
    "simulated-600": partial(simulated, 600),
    "simulated-2638": partial(simulated, 2638),
    "simulated-2638-shallow": partial(simulated, 2638, library_size=0.175 * 2000 / 3),  # a third of the default
    **{name: partial(real_cells, name) for name in ("cortex", "islets", "kidney", "pbmc_chemistries")},
    "pbmc68k": pbmc68k,
    "bulk-4000": partial(bulk, 4000),
    "bulk-20000": partial(bulk, 20_000),
    "tfidf-1000": partial(documents, 1000, 3000),
    "tfidf-2000": partial(documents, 2000, 10_000),
    "peaks": peaks,
    "markers": markers,
    "digits": partial(from_sklearn, "digits"),
    "digits/256": partial(from_sklearn, "digits", 256),
    "wine": partial(from_sklearn, "wine"),
    "cancer": partial(from_sklearn, "breast_cancer"),
    **{f"simulated-2638-x{unit}": partial(simulated_in_units, unit) for unit in (0.01, 0.1, 100)},
}
QUICK_SETS = ("simulated-300", "simulated-600", "digits", "wine")


# Contestants: functions of a data set and a seed, which return the embedding of its rows, the seconds of the fit, and a
# held-out score or None.


def timed_embedding(model, X):
    start = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - start
    return model.transform(X), seconds


def linear(make, data, seed):
    return *timed_embedding(make(data.X), data.X), None


def skvae_model(name, likelihood, data, seed):
    """Embed with an estimator as constructed, and score a fifth of the rows by a model of the others."""
    import skvae

    X = data.X if likelihood == "gaussian" else data.counts
    model = getattr(skvae, name)(likelihood=likelihood, random_state=seed)
    train, held_out = train_test_split(np.arange(X.shape[0]), test_size=0.2, random_state=seed)
    # first, so that the timed fit finds loaded what the first one in a process loads
    score = clone(model).fit(X[train]).score(X[held_out])
    return *timed_embedding(model, X), score


def scvi(interpreter, data, seed):
    """Embed with scVI at its own settings and length, in a process of the interpreter that has it."""
    with tempfile.TemporaryDirectory() as folder:
        sparse.save_npz(Path(folder, "counts.npz"), sparse.csr_matrix(data.counts, dtype=np.float32))
        command = [interpreter, __file__, folder, "--scvi-seed", str(seed)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        finished = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if finished.returncode:
            raise RuntimeError(finished.stderr)
        found = np.load(Path(folder, "found.npz"))
        return found["Z"], float(found["seconds"]), None


def scvi_process(folder, seed):
    import anndata
    import scvi

    cells = anndata.AnnData(sparse.load_npz(folder / "counts.npz"))
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells)
    start = time.perf_counter()
    model.train(accelerator="cpu", enable_progress_bar=False)
    seconds = time.perf_counter() - start
    np.savez(folder / "found.npz", Z=model.get_latent_representation(), seconds=seconds)


def pca(n_components, X):
    return PCA(min(n_components, min(X.shape) - 1), svd_solver="arpack", random_state=0)


def dense(X):
    return X.toarray() if sparse.issparse(X) else X


def to_dense():
    return FunctionTransformer(dense, accept_sparse=True)


def scaled_pca(n_components, X):
    return make_pipeline(to_dense(), StandardScaler(), pca(n_components, X))


def svd(X):
    return TruncatedSVD(10, algorithm="arpack", random_state=0)


def but_first(Z):
    return Z[:, 1:]


def lsi(X):
    """Return latent semantic indexing without its first component, which is the length of the rows."""
    return make_pipeline(
        TfidfTransformer(),
        TruncatedSVD(11, algorithm="arpack", random_state=0),
        FunctionTransformer(but_first),
    )


def nmf(X):
    return NMF(10, random_state=0)


def factor_analysis(X):
    return make_pipeline(to_dense(), FactorAnalysis(10, random_state=0))


def is_any(data):
    return True


def is_binary(data):
    return data.is_binary


def is_real(data):
    return not data.is_binary


def is_counts(data):
    return data.counts is not None and not data.is_binary


def has_counts(data):
    return data.counts is not None


def is_nonnegative(data):
    return data.X.min() >= 0


def may_be_dense(data):
    return not sparse.issparse(data.X) or data.X.shape[1] <= MAX_FEATURES


def is_narrow(data):
    return data.X.shape[1] <= MAX_FEATURES


@dataclass
class Contestant:
    """How to embed, the data sets for which, and whether it depends on the seed; if not, it runs once."""

    embed: Callable
    takes: Callable
    is_random: bool


MODELS = ("AutoencoderEmbedding", "BetaVAE", "BetaVSC")
CONTESTANTS = {
    "PCA(10)": Contestant(partial(linear, partial(pca, 10)), is_any, False),
    "PCA(50)": Contestant(partial(linear, partial(pca, 50)), is_any, False),
    "PCA(10) z": Contestant(partial(linear, partial(scaled_pca, 10)), may_be_dense, False),
    "PCA(50) z": Contestant(partial(linear, partial(scaled_pca, 50)), may_be_dense, False),
    "TruncatedSVD(10)": Contestant(partial(linear, svd), is_any, False),
    "LSI(10)": Contestant(partial(linear, lsi), is_binary, False),
    "NMF(10)": Contestant(partial(linear, nmf), is_nonnegative, False),
    "FactorAnalysis(10)": Contestant(partial(linear, factor_analysis), is_narrow, False),
} | {
    name if likelihood == "gaussian" else f"{name} {likelihood}": Contestant(
        partial(skvae_model, name, likelihood), takes, True
    )
    for likelihood, names, takes in (
        ("gaussian", MODELS, is_real),
        ("nb", ["BetaVAE"], is_counts),
        ("poisson", ["BetaVAE"], has_counts),
        ("poisson", ["AutoencoderEmbedding", "BetaVSC"], is_binary),
        ("bernoulli", MODELS, is_binary),
    )
    for name in names
}
QUICK_CONTESTANTS = ("PCA(10)", "PCA(50) z", "TruncatedSVD(10)", *MODELS, "BetaVAE poisson")


# Measures


def judge(Z, target, seed):
    """Return how well the types are seen in the clusters of Z, and guessed from neighbours."""
    clusters = KMeans(len(np.unique(target)), n_init=20, random_state=seed).fit_predict(Z)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    guessed = cross_val_predict(KNeighborsClassifier(15), Z, target, cv=folds)
    return {
        "nmi": normalized_mutual_info_score(target, clusters),
        "ari": adjusted_rand_score(target, clusters),
        "f1": f1_score(target, guessed, average="macro"),
    }


def agreement(embeddings):
    """Return the median absolute correlation of the axes of each pair of embeddings, matched to each other."""
    matched = []
    for Z, other in combinations(embeddings, 2):
        with np.errstate(invalid="ignore"):  # of a constant axis, which agrees with none
            correlations = np.nan_to_num(np.abs(np.corrcoef(Z, other, rowvar=False)))
        between = correlations[: Z.shape[1], Z.shape[1] :]
        matched.extend(between[linear_sum_assignment(between, maximize=True)])
    return float(np.median(matched)) if matched else None


def measure(set_name, data, name, contestant, seeds):
    """Return what a contestant reaches on a data set, with each seed, in one thread; or its error."""
    import torch

    torch.set_num_threads(1)
    results = {"set": set_name, "contestant": name, "seeds": seeds if contestant.is_random else seeds[:1]}
    embeddings, runs = [], []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        try:
            for seed in results["seeds"]:
                Z, seconds, score = contestant.embed(data, seed)
                embeddings.append(Z)
                runs.append({**judge(Z, data.target, seed), "seconds": seconds, "held_out": score})
        except Exception as error:  # one failure in hours of measurements is a result too
            return {**results, "error": repr(error)}
    return {**results, "runs": runs, "agreement": agreement(embeddings)}


def mean(row, measured):
    """Return the mean over seeds, or None where there is no such measure."""
    values = [run[measured] for run in row["runs"]]
    return None if None in values else float(np.mean(values))


# Results


def text(row, measured, digits):
    value = row["agreement"] if measured == "agreement" else mean(row, measured)
    if value is None:
        return "-"
    return f"{value:.{digits}f}".replace("0.", ".", 1 if abs(value) < 1 else 0)


def markdown(rows, digits):
    """Return a table of data sets x contestants, each cell with the measures that `digits` are for."""
    cells = {}
    for row in rows:
        found = "failed" if "error" in row else " / ".join(text(row, *item) for item in digits.items())
        cells[row["set"], row["contestant"]] = found
    sets, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "contestant"))
    lines = [["", *names], ["---"] * (1 + len(names))]
    lines += [[name, *(cells.get((name, contestant), "") for contestant in names)] for name in sets]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(rows, seeds):
    return f"""NMI / ARI of k-means / macro F1 of 15 neighbours, means over seeds {", ".join(map(str, seeds))}.
Contestants that draw nothing at random run once.

{markdown(rows, {"nmi": 3, "ari": 3, "f1": 3})}

Nats a row of a held-out fifth of the rows / seconds of the fit in one thread / agreement over seeds: the median
absolute correlation of matched axes. The nats are the evidence lower bound, of autoencoders the log-likelihood of the
reconstruction.

{markdown(rows, {"held_out": 1, "seconds": 2, "agreement": 2})}
"""


COLORS = dict(zip(MODELS, ("#CC6677", "#332288", "#117733"), strict=True))
MARKERS = {
    "gaussian": "o", "nb": "s", "poisson": "^", "bernoulli": "D", "TruncatedSVD(10)": "x", "LSI(10)": "v",
    "NMF(10)": "+", "FactorAnalysis(10)": "d", "scVI": "*",
}  # fmt: skip


def draw(rows, path):
    """Draw the NMI of each contestant on each set, and the best PCA among four as a line."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if "error" not in row]
    heights = {name: -i for i, name in enumerate(dict.fromkeys(row["set"] for row in rows))}
    figure = Figure(figsize=(10, 1.5 + 0.4 * len(heights)), layout="constrained")
    ax = figure.subplots()
    for name in dict.fromkeys(row["contestant"] for row in rows if not row["contestant"].startswith("PCA")):
        own = [row for row in rows if row["contestant"] == name]
        model, _, likelihood = name.partition(" ")
        marker = MARKERS[likelihood or "gaussian"] if model in MODELS else MARKERS[name]
        # models of one row one below the other, so that equals do not hide each other
        shift = 0.2 * (1 - MODELS.index(model)) if model in MODELS else 0
        style = {"color": COLORS.get(model, "gray"), "zorder": 3 if model in MODELS else 2}
        heights_of = [heights[row["set"]] + shift for row in own]
        ax.scatter([mean(row, "nmi") for row in own], heights_of, 28, marker=marker, label=name, **style)
    best = {}
    for row in rows:
        if row["contestant"].startswith("PCA"):
            best[row["set"]] = max(best.get(row["set"], 0), mean(row, "nmi"))
    ax.scatter(best.values(), [heights[name] for name in best], 260, "black", marker="|", label="best PCA", zorder=1)
    ax.set_yticks([*heights.values()], [*heights])
    ax.set(xlabel="NMI of k-means, mean over seeds", xlim=(-0.02, 1.02), ylim=(-len(heights) + 0.4, 0.6))
    ax.grid(axis="x", color="lightgray", linewidth=0.5)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=150)


def load(names):
    """Yield the names and data of the sets that are there."""
    for name in names:
        try:
            data = SETS[name]()
        except (FileNotFoundError, ModuleNotFoundError) as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
        else:
            yield name, data


def versions(interpreter):
    """Return those of the packages that are compared."""
    found = {package: version(package) for package in ("skvae", "numpy", "scipy", "scikit-learn", "torch")}
    if interpreter:
        command = [interpreter, "-c", "from importlib.metadata import version; print(version('scvi-tools'))"]
        found["scvi-tools"] = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("quality"), help="of the results")
    parser.add_argument("--quick", action="store_true", help="four small sets, one seed, fewer contestants")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--sets", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS))
    names = [*CONTESTANTS, "scVI"]
    parser.add_argument("--contestants", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--scvi", metavar="PYTHON", help="an interpreter that has scvi-tools")
    parser.add_argument("--scvi-seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scvi_seed is not None:
        return scvi_process(options.folder, options.scvi_seed)

    from speed import machine

    contestants = dict(CONTESTANTS)
    if options.scvi:
        contestants["scVI"] = Contestant(partial(scvi, options.scvi), is_counts, True)
    chosen = options.contestants or (QUICK_CONTESTANTS if options.quick else [*contestants])
    if "scVI" in chosen and not options.scvi:
        parser.error("scVI needs --scvi PYTHON")
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2, 3, 4])
    options.folder.mkdir(parents=True, exist_ok=True)  # before hours of work, not after
    about = {
        "command": shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(options.scvi),
    }
    measurements = (
        delayed(measure)(set_name, data, name, contestants[name], seeds)
        for set_name, data in load(options.sets or (QUICK_SETS if options.quick else SETS))
        for name in chosen
        if contestants[name].takes(data)
    )
    rows = []
    for row in Parallel(options.jobs, return_as="generator")(measurements):
        rows.append(row)
        found = row.get("error") or f"NMI {mean(row, 'nmi'):.3f}, {mean(row, 'seconds'):.1f} s"
        print(f"{row['set']}, {row['contestant']}: {found}", file=sys.stderr, flush=True)
        # each time, so that nothing is lost if the rest is not measured
        (options.folder / "quality.json").write_text(json.dumps({**about, "results": rows}, indent=1))
    (options.folder / "quality.md").write_text(report(rows, seeds))
    draw(rows, options.folder / "quality.png")
    n_failed = sum("error" in row for row in rows)
    return f"{n_failed} measurements failed" if n_failed else None


if __name__ == "__main__":
    sys.exit(main())
