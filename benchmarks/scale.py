"""Scale: simulated counts on disk, fitted and transformed from there; seconds, rows a second and memory.

`python benchmarks/scale.py FOLDER` builds stores of 10^4 to 10^6 cells by 2,000 genes with 5% non-zeros in
FOLDER, 1 GB for each form of the largest, trains a beta-VSC for an epoch and embeds all cells from each form, in a
process of its own, and writes `scale.json`. `--epochs auto` trains as long as a default fit does. Forms: the matrix in
memory; CSR over `numpy.memmap`; `.h5ad`; `.zarr`.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

N_FEATURES = 2000
DENSITY = 0.05
CHUNK = 10_000
PARTS = ("data", "indices", "indptr")


def profiles():
    """Return the mean counts of each cell type, with a share `DENSITY` of non-zeros, and the shares of the types."""
    from skvae import make_single_cell_counts

    cells = make_single_cell_counts(20_000, N_FEATURES, random_state=0)
    shares = np.bincount(cells.target) / len(cells.target)
    means = np.array([cells.data[cells.target == t].mean(axis=0) for t in range(len(shares))]).squeeze()
    low, high = 0.0, 10.0
    for _ in range(40):
        scale = (low + high) / 2
        low, high = (low, scale) if shares @ -np.expm1(-scale * means).mean(axis=1) > DENSITY else (scale, high)
    return scale * means, shares


def build(folder, n_samples):
    """Write the counts in all forms, unless they are there."""
    if (folder / "done").exists():
        return
    import anndata

    folder.mkdir(parents=True, exist_ok=True)
    means, shares = profiles()
    rng = np.random.default_rng(0)
    chunks = []
    for start in range(0, n_samples, CHUNK):
        n = min(CHUNK, n_samples - start)
        library = rng.lognormal(0, 0.4, size=(n, 1))
        chunks.append(
            sparse.csr_matrix(rng.poisson(library * means[rng.choice(len(shares), n, p=shares)]), dtype=np.float32)
        )
    counts = sparse.vstack(chunks, format="csr")
    for part in PARTS:
        np.save(folder / f"{part}.npy", getattr(counts, part))
    cells = anndata.AnnData(counts)
    cells.write_h5ad(folder / "cells.h5ad")
    cells.write_zarr(folder / "cells.zarr")
    (folder / "done").touch()


def load_csr(folder, mmap_mode):
    parts = (np.load(folder / f"{part}.npy", mmap_mode=mmap_mode) for part in PARTS)
    n_samples = len(np.load(folder / "indptr.npy", mmap_mode="r")) - 1
    return sparse.csr_matrix(tuple(parts), shape=(n_samples, N_FEATURES))


def load_anndata(folder):
    import anndata

    return anndata.read_h5ad(folder / "cells.h5ad", backed="r").X


def peak_memory():
    """Return the largest resident memory of this process so far, in MB, pages of mapped files among it."""
    # not ru_maxrss, which begins with the parent's
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(form, folder, epochs, likelihood):
    """Fit and transform in this process; print the result as JSON."""
    from sklearn.pipeline import make_pipeline

    from skvae import BetaVSC, LogNormalizer, RowStore

    load = {
        "memory": lambda: load_csr(folder, None),
        "memmap": lambda: RowStore(load_csr(folder, "r")),
        "h5ad": lambda: load_anndata(folder),
        "zarr": lambda: RowStore(folder / "cells.zarr"),
    }[form]
    for package in {"h5ad": ["anndata"], "zarr": ["anndata.io", "zarr"]}.get(form, []):
        importlib.import_module(package)
    baseline = peak_memory()
    X = load()
    options = {"max_epochs": epochs if epochs == "auto" else int(epochs), "random_state": 0}
    model = {
        "gaussian": lambda: make_pipeline(LogNormalizer(), BetaVSC(**options)),
        "nb": lambda: make_pipeline(BetaVSC(likelihood="nb", **options)),
    }[likelihood]()
    began = time.perf_counter()
    model.fit(X)
    fitted = time.perf_counter()
    Z = model.transform(X)
    seconds = time.perf_counter() - fitted
    result = {"fit": fitted - began, "transform": seconds, "memory": peak_memory() - baseline}
    result |= {
        "epochs": model[-1].n_epochs_,
        "loss": float(model[-1].history_["loss"][-1]),
        "checksum": float(np.abs(Z).mean()),
    }
    print(json.dumps(result))


def compare(folder, sizes, forms, repeats, fit):
    """Measure all forms in turn, `repeats` times, with options of `fit`; return the medians by size and form."""
    table = {}
    for n_samples in sizes:
        store = folder / str(n_samples)
        build(store, n_samples)
        runs = {form: [] for form in forms}
        for _ in range(repeats):
            for form in forms:
                command = [sys.executable, "-W", "ignore", __file__, str(store), "--measure", form, *fit]
                runs[form].append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        table[n_samples] = {form: summarize(of_form, runs[forms[0]]) for form, of_form in runs.items()}
        show(n_samples, table[n_samples])
    return table


def summarize(runs, references):
    """Return medians over runs, speeds beside the reference run of the same round among them."""
    row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    for task in ("fit", "transform"):
        speeds = [reference[task] / run[task] for reference, run in zip(references, runs, strict=True)]
        row[f"speed_{task}"] = statistics.median(speeds)
    return row


def show(n_samples, rows):
    print(f"{n_samples} rows; speed beside {next(iter(rows))}")
    print(f"{'':8}{'fit s':>9}{'rows/s':>9}{'speed':>7}{'transform s':>13}{'rows/s':>9}{'speed':>7}{'peak MB':>9}")
    for form, row in rows.items():
        rates = {task: n_samples / row[task] for task in ("fit", "transform")}
        print(
            f"{form:8}{row['fit']:9.1f}{rates['fit']:9.0f}{row['speed_fit']:7.2f}{row['transform']:13.1f}"
            f"{rates['transform']:9.0f}{row['speed_transform']:7.2f}{row['memory']:9.0f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--forms", nargs="+", default=["memory", "memmap", "h5ad", "zarr"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", default="1", help="passes over the cells, or auto for the default fit")
    parser.add_argument("--likelihood", default="gaussian", choices=["gaussian", "nb"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.folder, arguments.epochs, arguments.likelihood)
        return
    fit = ("--epochs", arguments.epochs, "--likelihood", arguments.likelihood)
    table = compare(arguments.folder, arguments.sizes, arguments.forms, arguments.repeats, fit)
    result = {"cores": os.cpu_count(), "table": table}
    (arguments.folder / "scale.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
