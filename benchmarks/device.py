"""One GPU beside the CPU: whether results are right, and the same twice, and how fast and large they are.

`python benchmarks/device.py out` writes out/device.json and out/device.md, in less than eight minutes. Without a GPU it
runs all of it on the CPU, at a small size, so that it cannot rot. Each part is measured even where another one fails.
"""

import argparse
import json
import os
import platform
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC

ESTIMATORS = (AutoencoderEmbedding, BetaVAE, BetaVSC)
LIKELIHOODS = ("gaussian", "unit_gaussian", "bernoulli", "poisson", "nb", "zinb")
FAST = torch.device("cuda" if torch.cuda.is_available() else "cpu")
IS_GPU = FAST.type == "cuda"

# What one device may differ from another by, as a share of the largest value: float32 sums in another order.
TOLERANCE = 1e-3

WIDE, NARROW = 20_000, 2_000
N_SAMPLES, N_MANY = (10_000, 1_000_000) if IS_GPU else (500, 5_000)
MAX_DRAWN = 4_000


def simulate(n_samples, n_features, density, likelihood="poisson", seed=0):
    """Return counts of ten types of cells, or what suits the likelihood; of many cells the first ones again."""
    rng = np.random.default_rng(seed)
    means = rng.gamma(0.3, size=(10, n_features))
    means *= -np.log1p(-density) / means.mean()
    n_drawn = min(n_samples, MAX_DRAWN)
    drawn = sparse.csr_matrix(rng.poisson(means[rng.integers(10, size=n_drawn)]), dtype=np.float32)
    X = sparse.vstack([drawn] * -(-n_samples // n_drawn), format="csr")[:n_samples]
    if likelihood == "bernoulli":
        X.data[:] = 1
    elif likelihood.endswith("gaussian"):
        X.data = np.log1p(X.data)
    return X


@contextmanager
def timed(row, name):
    began = time.perf_counter()
    yield
    row[name] = time.perf_counter() - began


def difference(a, b):
    """Return the largest difference of two results, as a share of the largest value."""
    a, b = (np.asarray(x.todense() if sparse.issparse(x) else x, dtype=np.float64) for x in (a, b))
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-12))


def results_of(model, X):
    return {
        "transform": model.transform(X),
        "score_samples": model.score_samples(X),
        "denoise": model.denoise(X[:50]),
        "inverse_transform": model.inverse_transform(np.asarray(model.transform(X[:50]))),
    }


def correctness():
    """Compare each estimator and likelihood, dense and sparse, with the same weights on the CPU."""
    rows = []
    for Estimator in ESTIMATORS:
        for likelihood in LIKELIHOODS:
            for n_features in (200, 5000):
                X = simulate(300, n_features, 0.05, likelihood)
                settings = {"n_components": 5, "likelihood": likelihood, "max_epochs": 3, "random_state": 0}
                models = [Estimator(**settings, device=device).fit(X) for device in ("cpu", FAST.type)]
                losses = [float(model.history_["loss"][-1]) for model in models]
                found = results_of(models[1], X)
                weights = {name: weight.cpu() for name, weight in models[1].net_.module_.state_dict().items()}
                models[0].net_.module_.load_state_dict(weights)
                rows.append(
                    {
                        "estimator": Estimator.__name__,
                        "likelihood": likelihood,
                        "n_features": n_features,
                        "losses": losses,
                        **{name: difference(value, found[name]) for name, value in results_of(models[0], X).items()},
                    }
                )
    checked = ("transform", "score_samples", "denoise", "inverse_transform")
    largest = {name: max(row[name] for row in rows) for name in checked}
    failures = [row for row in rows if max(row[name] for name in checked) > TOLERANCE]
    return {"configurations": len(rows), "largest": largest, "failures": failures, "rows": rows}


def determinism():
    """Fit twice, and embed rows alone and among others: all should have the same bits."""
    found = {}
    for n_features, likelihood in ((NARROW, "gaussian"), (WIDE, "nb")):
        X = simulate(1000, n_features, 0.05, likelihood)
        models = [BetaVSC(likelihood=likelihood, max_epochs=2, device=FAST.type, random_state=0) for _ in range(2)]
        Z = [model.fit(X).transform(X) for model in models]
        alone = np.vstack([models[0].transform(X[i : i + 1]) for i in range(20)])
        found[f"{n_features} {likelihood}"] = {
            "fits differ by": difference(*Z),
            "a row alone differs by": difference(Z[0][:20], alone),
        }
    return found


def reset_peak():
    if IS_GPU:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def peak():
    return torch.cuda.max_memory_allocated() / 2**20 if IS_GPU else float("nan")


def speed(n_samples=N_SAMPLES):
    """Measure fit and transform at two widths, on both devices, and with larger minibatches."""
    rows = []
    for n_features in (NARROW, WIDE):
        for likelihood in ("gaussian", "nb"):
            X = simulate(n_samples, n_features, 0.05, likelihood)
            BetaVAE(likelihood=likelihood, max_epochs=1, device=FAST.type).fit(X[:2000])  # warms up
            for device, batch_size in dict.fromkeys([("cpu", 128), (FAST.type, 128), (FAST.type, 1024)]):
                n_cells = n_samples if device == FAST.type else n_samples // 5
                model = BetaVAE(likelihood=likelihood, max_epochs=2, batch_size=batch_size, device=device)
                row = {"genes": n_features, "likelihood": likelihood, "device": device, "minibatch": batch_size}
                reset_peak()
                with timed(row, "fit"):
                    model.fit(X[:n_cells])
                row["cells/s, epoch"] = n_cells / min(model.net_.history[:, "dur"])
                with timed(row, "transform"):
                    model.transform(X[:n_cells])
                row["cells/s, transform"] = n_cells / row["transform"]
                row["GPU MB"] = peak() if device == FAST.type else float("nan")
                rows.append(row)
    return rows


def steps_alone():
    """Time the gradient steps of one resident minibatch: the limit where nothing is gathered or copied."""
    from skvae.embedding.building import make_module
    from skvae.networks import initialize
    from skvae.rows.mapping import move
    from skvae.rows.rows import Rows
    from skvae.training.processes import OneProcess
    from skvae.training.start import start

    rows = []
    for n_features in (NARROW, WIDE):
        for batch_size in (128, 1024):
            X = simulate(batch_size, n_features, 0.05, "gaussian")
            model = BetaVAE(10)
            data = Rows(X, np.float32)
            module = initialize(make_module(model, n_features, 0), torch.Generator().manual_seed(0))
            start(module, data, OneProcess())
            module.to(FAST)
            x, covariates = move(data.tensors(trains=True), FAST)
            objective = model._make_objective(1000)
            optimizer = torch.optim.Adam(module.parameters(), lr=1e-4, fused=True)
            noise = torch.Generator(FAST).manual_seed(0)

            def step(module=module, x=x, covariates=covariates, objective=objective, optimizer=optimizer, noise=noise):
                optimizer.zero_grad()
                objective(*module(x, covariates, noise), 0).backward()
                optimizer.step()

            rows.append({"genes": n_features, "minibatch": batch_size, "steps/s": rate(step), "kernels": kernels(step)})
            rows[-1]["cells/s"] = rows[-1]["steps/s"] * batch_size
    return rows


def rate(step, seconds=2.0):
    """Return how often a step is done in a second."""
    for _ in range(10):
        step()
    synchronize()
    began, n_steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            step()
        synchronize()
        n_steps += 10
    return n_steps / (time.perf_counter() - began)


def synchronize():
    if IS_GPU:
        torch.cuda.synchronize()


def kernels(step, n_steps=50):
    """Return the share of the time in which a kernel runs on the GPU, kernels a step, and the longest ones."""
    if not IS_GPU:
        return None
    from torch.profiler import ProfilerActivity, profile

    synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        began = time.perf_counter()
        for _ in range(n_steps):
            step()
        synchronize()
        wall = time.perf_counter() - began
    events = [event for event in profiler.key_averages() if event.device_time_total > 0]
    events.sort(key=lambda event: -event.device_time_total)
    return {
        "busy": sum(event.device_time_total for event in events) / 1e6 / wall,
        "a step": sum(event.count for event in events) / n_steps,
        "longest": [[event.key[:60], event.count / n_steps, event.device_time_total / n_steps] for event in events[:8]],
    }


def large(n_samples=N_MANY):
    """Fit with minibatches that a GPU is not idle with, and embed many cells."""
    X = simulate(n_samples, NARROW, 0.05, "gaussian")
    row = {"cells": n_samples}
    reset_peak()
    model = BetaVSC(batch_size=1024, device=FAST.type, random_state=0)
    with timed(row, "fit"):
        model.fit(X)
    with timed(row, "transform"):
        model.transform(X)
    return row | {"epochs": len(model.net_.history), "GPU MB": peak(), "epoch": min(model.net_.history[:, "dur"])}


def distributed():
    """Train by torchrun, one process, through NCCL on a GPU and gloo on a CPU, and compare with a plain fit."""
    import subprocess
    import sys

    code = f"""
import numpy as np, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from device import simulate, difference
from skvae import BetaVAE
X = simulate(1000, 500, .05, "gaussian")
Z = [BetaVAE(max_epochs=2, device={FAST.type!r}, distributed=d, random_state=0).fit_transform(X) for d in (True, False)]
print("differs by", difference(*Z))
"""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", "--no-python"]
    done = subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return {"rc": done.returncode, "output": (done.stdout + done.stderr)[-800:]}


def about():
    found = {"torch": torch.__version__, "python": platform.python_version(), "cores": os.cpu_count()}
    return found | {"device": torch.cuda.get_device_name() if IS_GPU else platform.processor() or platform.machine()}


def markdown(found):
    """Return the tables of speed and correctness."""
    lines = [f"{found['about']['device']}, torch {found['about']['torch']}, {found['about']['cores']} CPU cores.", ""]
    if "rows" in found["correctness"]:
        correct = found["correctness"]
        largest = ", ".join(f"{name} {value:.1e}" for name, value in correct["largest"].items())
        lines += [f"{correct['configurations']} configurations against the CPU, {len(correct['failures'])} beyond "]
        lines[-1] += f"{TOLERANCE:g} of the largest value; the largest differences: {largest}."
    for name in ("speed", "steps alone"):
        if isinstance(found[name], list):
            keys = [key for key in found[name][0] if key != "kernels"]
            lines += ["", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
            lines += ["| " + " | ".join(cell(row[key]) for key in keys) + " |" for row in found[name]]
    return "\n".join(lines) + "\n"


def cell(value):
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


PARTS = {
    "correctness": correctness,
    "determinism": determinism,
    "distributed": distributed,
    "steps alone": steps_alone,
    "speed": speed,
    "large": large,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not IS_GPU:
        print("There is no GPU: all runs on the CPU, at a small size.")
    found = {"about": about()}
    for name in options.parts:
        began = time.perf_counter()
        try:
            found[name] = PARTS[name]()
        except Exception:
            found[name] = {"error": traceback.format_exc()}
            print(found[name]["error"])
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        (folder / "device.json").write_text(json.dumps(found, indent=1))
        (folder / "device.md").write_text(markdown({"correctness": {}, "speed": {}, "steps alone": {}} | found))
    print((folder / "device.md").read_text())
    print(json.dumps({name: part for name, part in found.items() if name in ("determinism", "distributed", "large")}))


if __name__ == "__main__":
    main()
