"""Measurements in processes of their own, whose contestants take turns; speed.py and answers.py use it.

`python benchmarks/processes.py MODULE FUNCTION ARGUMENTS` is what `measure` runs.
"""

import importlib
import inspect
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy import sparse


def measure(function, *arguments, interpreter=sys.executable, seed=0):
    """Return what a function of a module in this folder measures in a new process, given arguments and the seed."""
    module = Path(inspect.getfile(function)).stem
    command = [interpreter, __file__, module, function.__name__, json.dumps([*arguments, seed], default=str)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{function.__name__} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(contests, n_rounds):
    """Return {name: results of each round}; in each round every contestant runs once, so that drift hits all alike.

    The number of the round is the seed.
    """
    results = {name: [] for name in contests}
    for seed in range(n_rounds):
        for name, run in contests.items():
            results[name].append(run(seed=seed))
            print(name, {k: v for k, v in results[name][-1].items() if k != "Z"}, file=sys.stderr)
    return results


@contextmanager
def watched(found):
    """Note the seconds of a fit, and how far memory rises above what the process held before, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from here on
    before, began = peak_megabytes(), time.perf_counter()
    yield
    found["fit"] = time.perf_counter() - began
    found["peak_mb"] = peak_megabytes() - before


def peak_megabytes():
    """Return the largest resident memory of this process so far; getrusage would count its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def load(data):
    """Return the matrix in a file, or a random one: "random:n_samples,n_features,density"."""
    if data.startswith("random:"):
        return random_matrix(*data.removeprefix("random:").split(","))
    return sparse.load_npz(data)


def random_matrix(n_samples, n_features, density):
    """Return a CSR float32 matrix, built without more memory than its own: so many non-zeros in each row."""
    n_samples, n_features = int(n_samples), int(n_features)
    each = round(n_features * float(density))
    rng = np.random.default_rng(0)
    indptr = np.arange(0, n_samples * each + 1, each, dtype=np.int32)
    # one non-zero at random in each of as many equal stretches: sorted, without duplicates
    indices = rng.integers(n_features // each, size=(n_samples, each), dtype=np.int32)
    indices += np.linspace(0, n_features, each, endpoint=False, dtype=np.int32)
    data = rng.standard_exponential(n_samples * each, dtype=np.float32)
    return sparse.csr_matrix((data, indices.ravel(), indptr), shape=(n_samples, n_features))


def machine():
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {"processor": processor, "cores": os.cpu_count(), "torch": torch.__version__}


def markdown(rows):
    """Return a table of dicts that have the same keys."""
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([text(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(value):
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def main():
    module, function, arguments = sys.argv[1:]
    print(json.dumps(getattr(importlib.import_module(module), function)(*json.loads(arguments))))


if __name__ == "__main__":
    main()
