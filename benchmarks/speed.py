"""Time skvae beside its peers, each measurement in a process of its own, the contestants taking turns.

`python benchmarks/speed.py out` writes out/speed.json and out/speed.png; `--quick` takes under a minute. PBMC 3k is
read from the folder that SKVAE_DATA names; without it, and in the quick mode, cells are simulated. scvi-tools and
pythae need environments of their own, and take part where `--scvi` or `--pythae` name an interpreter that has them:

    python -m venv peers && peers/bin/pip install -c constraints.txt scvi-tools
    python benchmarks/speed.py out --scvi peers/bin/python
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

WIDTH, N_COMPONENTS, BATCH_SIZE = 128, 10, 256


# Contestants: each takes a matrix and options and returns what it measured.


def skvae_fit(X, epochs):
    from skvae import BetaVAE

    model = BetaVAE(N_COMPONENTS, batch_size=BATCH_SIZE, max_epochs=epochs, random_state=0)
    start = time.perf_counter()
    model.fit(X)
    return {"fit": time.perf_counter() - start, "epochs": model.net_.history[:, "dur"]}


def skvae_unit_fit(X, epochs):
    """Fit with the squared error that the loops below minimise."""
    from skvae import BetaVAE

    settings = {"likelihood": "unit_gaussian", "batch_size": BATCH_SIZE, "max_epochs": epochs}
    model = BetaVAE(N_COMPONENTS, **settings, random_state=0).fit(X)
    return {"epochs": model.net_.history[:, "dur"]}


def bare_loop(X, epochs):
    """Train as skvae does, without skorch."""
    import torch

    from skvae import BetaVAE
    from skvae.embedding.building import make_module
    from skvae.networks import initialize
    from skvae.rows.rows import Rows
    from skvae.rows.shuffling import ShuffledMinibatches
    from skvae.training.processes import OneProcess
    from skvae.training.schedules import SCHEDULES, learning_rate_at
    from skvae.training.start import start

    model = BetaVAE(N_COMPONENTS)
    rows = Rows(X, np.float32)
    module = initialize(make_module(model, X.shape[1], 0), torch.Generator().manual_seed(0))
    start(module, rows, OneProcess())
    n_minibatches = -(-len(rows) // BATCH_SIZE)
    minibatches = ShuffledMinibatches(rows, n_minibatches, torch.Generator().manual_seed(0), "cpu")
    n_steps = epochs * n_minibatches
    objective = model._make_objective(n_steps)
    optimizer = torch.optim.Adam(module.parameters(), lr=model.learning_rate, fused=True)
    factor = partial(learning_rate_at, SCHEDULES[model.learning_rate_schedule], n_steps)
    noise = torch.Generator().manual_seed(0)
    step, seconds = 0, []
    for _ in range(epochs):
        began, losses = time.perf_counter(), []
        for (x, covariates), _ in minibatches:
            optimizer.zero_grad()
            loss = objective(*module(x, covariates, noise), step)
            loss.backward()
            optimizer.param_groups[0]["lr"] = model.learning_rate * factor(step)
            optimizer.step()
            losses.append(loss.item())
            step += 1
        seconds.append(time.perf_counter() - began)
    return {"epochs": seconds}


def dense_loop(X, epochs):
    """Train a beta-VAE as one would write it by hand: X dense in memory, torch's default Adam, squared error."""
    return {"epochs": [seconds for seconds, _ in train_by_hand(X, epochs)]}


def train_by_hand(X, epochs):
    """Yield the seconds of each epoch, and a function that returns the ELBO of rows so far."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    x_all = torch.from_numpy(X.toarray())
    encoder = nn.Sequential(nn.Linear(X.shape[1], WIDTH), nn.ReLU())
    mu_head, logvar_head = nn.Linear(WIDTH, N_COMPONENTS), nn.Linear(WIDTH, N_COMPONENTS)
    decoder = nn.Sequential(nn.Linear(N_COMPONENTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, X.shape[1]))
    modules = nn.ModuleList([encoder, mu_head, logvar_head, decoder])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)

    def loss_of(x):
        h = encoder(x)
        mu, logvar = mu_head(h), logvar_head(h)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        kl = (mu**2 + logvar.exp() - 1 - logvar).sum() / 2
        return (((decoder(z) - x) ** 2).sum() / 2 + kl) / len(x)

    @torch.no_grad()
    def elbo(X):
        x = torch.from_numpy(X.toarray())
        return -X.shape[1] * math.log(2 * math.pi) / 2 - statistics.mean(loss_of(x).item() for _ in range(16))

    for _ in range(epochs):
        start = time.perf_counter()
        for batch in torch.randperm(len(x_all)).split(BATCH_SIZE):
            loss = loss_of(x_all[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield time.perf_counter() - start, elbo


def halves(X):
    """Return four fifths of the rows at random, and the rest."""
    order = np.random.default_rng(0).permutation(X.shape[0])
    return X[order[X.shape[0] // 5 :]], X[order[: X.shape[0] // 5]]


def dense_curve(X, epochs):
    """Return [seconds, ELBO of held-out rows] after some epochs of the loop by hand."""
    train, held_out = halves(X)
    total, curve = 0, []
    for epoch, (seconds, elbo) in enumerate(train_by_hand(train, epochs), start=1):
        total += seconds
        if epoch % 5 == 0:
            curve.append([total, elbo(held_out)])
    return {"curve": curve}


def skvae_curve(X, epochs):
    """Return [seconds, ELBO of held-out rows] of fits of the same objective, the schedule as it is by default."""
    from skvae import BetaVAE

    train, held_out = halves(X)
    curve = []
    for max_epochs in (2, 4, 8, 16, 32):
        start = time.perf_counter()
        model = BetaVAE(N_COMPONENTS, likelihood="unit_gaussian", max_epochs=max_epochs, random_state=0).fit(train)
        curve.append([time.perf_counter() - start, model.score(held_out)])
    return {"curve": curve}


def report_loop(X, epochs):
    """Train as the report's code does: rows one by one through a DataLoader, float64 to float32, wide layers."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    class Cells(Dataset):
        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

        def __getitem__(self, i):
            return torch.tensor(self.values[i]).float()

    torch.manual_seed(0)
    widths = (X.shape[1], 800, 400, 80)
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    encoder, mu_head, logvar_head = nn.Sequential(*layers), nn.Linear(80, 6), nn.Linear(80, 6)
    back = (6, 400, 800)
    layers = [layer for pair in pairwise(back) for layer in (nn.Linear(*pair), nn.ReLU())]
    decoder = nn.Sequential(*layers, nn.Linear(800, X.shape[1]))
    modules = nn.ModuleList([encoder, mu_head, logvar_head, decoder])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)
    loader = DataLoader(Cells(X.toarray().astype(np.float64)), batch_size=BATCH_SIZE, shuffle=True)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for x in loader:
            h = encoder(x)
            mu, logvar = mu_head(h), logvar_head(h)
            z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
            kl = (mu**2 + logvar.exp() - 1 - logvar).sum() / 2
            loss = nn.functional.mse_loss(decoder(z), x, reduction="sum") + kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return {"epochs": seconds}


def scvi_fit(counts, epochs):
    import logging
    import warnings

    import anndata
    import scvi
    from lightning.pytorch.callbacks import Callback

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    scvi.settings.seed = 0

    class Timer(Callback):
        def __init__(self):
            self.seconds = []

        def on_train_epoch_start(self, *_):
            self.start = time.perf_counter()

        def on_train_epoch_end(self, *_):
            self.seconds.append(time.perf_counter() - self.start)

    timer = Timer()
    cells = anndata.AnnData(counts.astype(np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_hidden=WIDTH, n_latent=N_COMPONENTS, n_layers=1)
    start = time.perf_counter()
    model.train(
        max_epochs=epochs, batch_size=BATCH_SIZE, train_size=1.0, accelerator="cpu", callbacks=[timer],
        enable_progress_bar=False, enable_model_summary=False, logger=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return {"fit": seconds, "epochs": timer.seconds, "Z": model.get_latent_representation().tolist()}


def pythae_fit(X, epochs):
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from torch import nn

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(X.shape[1], WIDTH), nn.ReLU())
            self.mu, self.logvar = nn.Linear(WIDTH, N_COMPONENTS), nn.Linear(WIDTH, N_COMPONENTS)

        def forward(self, x):
            h = self.hidden(x)
            return ModelOutput(embedding=self.mu(h), log_covariance=self.logvar(h))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(N_COMPONENTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, X.shape[1]))

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z))

    vae = VAE(VAEConfig(input_dim=(X.shape[1],), latent_dim=N_COMPONENTS), encoder=Encoder(), decoder=Decoder())
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=epochs, per_device_train_batch_size=BATCH_SIZE, no_cuda=True
        )
        pipeline = TrainingPipeline(model=vae, training_config=config)
        start = time.perf_counter()
        pipeline(X.toarray())
        seconds = time.perf_counter() - start
    return {"epochs": [seconds / epochs] * 2}


def truncated_svd(X, epochs):
    from sklearn.decomposition import TruncatedSVD

    return timed_fit(TruncatedSVD(N_COMPONENTS, random_state=0), X)


def pca(X, epochs):
    from sklearn.decomposition import PCA

    return timed_fit(PCA(N_COMPONENTS, svd_solver="arpack", random_state=0), X)


def timed_fit(model, X):
    start = time.perf_counter()
    model.fit(X)
    return {"fit": time.perf_counter() - start}


def skvae_default(X, epochs):
    from skvae import BetaVAE

    start = time.perf_counter()
    Z = BetaVAE(random_state=0).fit_transform(X)
    return {"fit": time.perf_counter() - start, "Z": Z.tolist()}


def skvae_transform(X, epochs):
    from skvae import BetaVAE

    model = BetaVAE(N_COMPONENTS, max_epochs=1, batch_size=BATCH_SIZE, random_state=0).fit(X[:2000])
    model.transform(X[:2000])
    start = time.perf_counter()
    model.transform(X)
    return {"cells_per_second": X.shape[0] / (time.perf_counter() - start)}


CONTESTANTS = {
    function.__name__: function
    for function in (
        skvae_fit, skvae_unit_fit, bare_loop, dense_loop, report_loop, scvi_fit, pythae_fit, truncated_svd, pca,
        skvae_default, skvae_transform, dense_curve, skvae_curve,
    )
}  # fmt: skip


# One measurement, in a process of its own


def peak_megabytes():
    """Return the largest resident memory of this process so far; getrusage would count its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def work(name, data, epochs):
    """Print what a contestant measures, and its peak memory above that of its imports, in MB."""
    if not data.startswith("random:"):
        X = sparse.load_npz(data)
    if name.startswith("skvae"):
        import skvae  # noqa: F401
    baseline = peak_megabytes()
    if data.startswith("random:"):
        X = random_matrix(*data.removeprefix("random:").split(","))
    result = CONTESTANTS[name](X, epochs)
    size = sum(part.nbytes for part in (X.data, X.indices, X.indptr)) / 2**20
    print(json.dumps({**result, "peak_mb": peak_megabytes() - baseline, "csr_mb": size, "nnz": int(X.nnz)}))


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


def measure(name, data, *, epochs=0, interpreter=sys.executable):
    command = [interpreter, __file__, "--work", name, str(data), str(epochs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


# The benchmarks


def take_turns(contests, n_rounds):
    """Return {name: results of each round}; in each round every contestant runs once, so that drift hits all alike."""
    results = {name: [] for name in contests}
    for _ in range(n_rounds):
        for name, run in contests.items():
            results[name].append(run())
            print(name, {k: v for k, v in results[name][-1].items() if k != "Z"}, file=sys.stderr)
    return results


def seconds_an_epoch(result):
    """Return the median over epochs, without the first, which warms up."""
    return statistics.median(result["epochs"][1:])


def compare(data, counts, interpreters, n_rounds, *, with_report):
    """Return seconds an epoch of each contestant, and how many times longer it takes than skvae."""
    loops = ("skvae_fit", "skvae_unit_fit", "bare_loop", "dense_loop", *(("report_loop",) if with_report else ()))
    contests = {name: partial(measure, name, data, epochs=4) for name in loops}
    for name, interpreter in interpreters.items():
        matrix = counts if name == "scvi_fit" else data
        contests[name] = partial(measure, name, matrix, epochs=4, interpreter=interpreter)
    contests |= {name: partial(measure, name, data) for name in ("truncated_svd", "pca")}
    results = take_turns(contests, n_rounds)
    own = statistics.median(map(seconds_an_epoch, results["skvae_fit"]))
    table = {}
    for name, rounds in results.items():
        row = {"peak_mb": statistics.median(r["peak_mb"] for r in rounds)}
        if "epochs" in rounds[0]:
            row["seconds_an_epoch"] = statistics.median(map(seconds_an_epoch, rounds))
            row["times_skvae"] = row["seconds_an_epoch"] / own
        if "fit" in rounds[0]:
            row["seconds_to_fit"] = statistics.median(r["fit"] for r in rounds)
        table[name] = row
    return table


def time_to_quality(cells, data, counts, interpreters, n_rounds):
    """Return the seconds of the default fit and of scvi-tools' 20 epochs, and the NMI of k-means on their latents."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    contests = {"skvae_default": partial(measure, "skvae_default", data)}
    if "scvi_fit" in interpreters:
        contests["scvi_fit"] = partial(measure, "scvi_fit", counts, epochs=20, interpreter=interpreters["scvi_fit"])
    table = {}
    for name, rounds in take_turns(contests, n_rounds).items():
        n_types = len(np.unique(cells.target))
        labels = KMeans(n_types, n_init=20, random_state=0).fit_predict(np.array(rounds[0]["Z"]))
        nmi = normalized_mutual_info_score(cells.target, labels)
        table[name] = {"seconds_to_fit": statistics.median(r["fit"] for r in rounds), "nmi": nmi}
    return table


def time_to_elbo(data, n_rounds):
    """Return the curves of held-out ELBO over seconds, and the seconds to the best ELBO of the loop by hand."""
    contests = {name: partial(measure, name, data, epochs=60) for name in ("dense_curve", "skvae_curve")}
    curves = {
        name: np.median([r["curve"] for r in rounds], axis=0) for name, rounds in take_turns(contests, n_rounds).items()
    }
    goal = curves["dense_curve"][:, 1].max()
    seconds = {name: float(curve[curve[:, 1] >= goal][:1, 0].min(initial=np.inf)) for name, curve in curves.items()}
    return {"elbo": goal, "seconds": seconds, "curves": {name: curve.tolist() for name, curve in curves.items()}}


def growth(shapes, n_rounds):
    """Return the seconds an epoch of each shape, (n_samples, n_features, density), and the fitted exponents."""
    names = {shape: "random:" + ",".join(map(str, shape)) for shape in shapes}
    contests = {shape: partial(measure, "skvae_fit", name, epochs=2) for shape, name in names.items()}
    return [
        {
            "n_samples": shape[0],
            "n_features": shape[1],
            "density": shape[2],
            "seconds_an_epoch": statistics.median(map(seconds_an_epoch, rounds)),
            "peak_mb": statistics.median(r["peak_mb"] for r in rounds),
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


def machine():
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {"processor": processor, "cores": os.cpu_count(), "torch": torch.__version__}


NAMES = {
    "skvae_fit": "BetaVAE",
    "skvae_unit_fit": "BetaVAE, unit variance",
    "bare_loop": "BetaVAE without skorch",
    "dense_loop": "plain torch loop",
    "report_loop": "the report's loop",
    "scvi_fit": "scvi-tools",
    "pythae_fit": "pythae",
}


def draw(results, path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(ncols=2, figsize=(11, 4), layout="constrained")
    for data, marker in zip(results["compared"], "os", strict=False):
        table = {k: v for k, v in results["compared"][data]["table"].items() if "seconds_an_epoch" in v}
        n_samples = results["compared"][data]["n_samples"]
        left.plot(
            [n_samples / row["seconds_an_epoch"] for row in table.values()],
            [NAMES[name] for name in table],
            marker,
            label=data,
        )
    left.set(xscale="log", xlabel="cells a second in training")
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
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, data, epochs = options.work
        return work(name, data, int(epochs))

    from skvae import LogNormalizer, VariableGeneSelector, fetch_pbmc3k, make_single_cell_counts

    simulated = options.quick or "SKVAE_DATA" not in os.environ
    cells = make_single_cell_counts(1000, 6000, random_state=0) if simulated else fetch_pbmc3k(os.environ["SKVAE_DATA"])
    n_rounds = 1 if options.quick else options.rounds
    interpreters = {f"{k}_fit": v for k, v in (("scvi", options.scvi), ("pythae", options.pythae)) if v}
    options.folder.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "data": "simulated" if simulated else "PBMC 3k", "compared": {}, "growth": {}}
    with tempfile.TemporaryDirectory() as folder:
        for n_genes in (cells.data.shape[1],) if options.quick else (cells.data.shape[1], 2000):
            counts = VariableGeneSelector(n_top=n_genes).fit_transform(cells.data)
            paths = [Path(folder, f"{kind}{n_genes}.npz") for kind in ("counts", "data")]
            for path, matrix in zip(paths, (counts, LogNormalizer().fit_transform(counts)), strict=True):
                sparse.save_npz(path, sparse.csr_matrix(matrix, dtype=np.float32))
            with_report = n_genes != 2000 and not options.quick
            table = compare(paths[1], paths[0], interpreters, n_rounds, with_report=with_report)
            results["compared"][f"{n_genes} genes"] = {"n_samples": counts.shape[0], "table": table}
        results["time_to_quality"] = time_to_quality(cells, paths[1], paths[0], interpreters, n_rounds)
        if not options.quick:
            results["time_to_elbo"] = time_to_elbo(paths[1], n_rounds)
    if options.quick:
        sizes = {"n_samples": [(1000, 2000, 0.05), (10_000, 2000, 0.05)]}
    else:
        sizes = {
            "n_samples": [(10**k, 2000, 0.05) for k in (3, 4, 5, 6)],
            "n_features": [(3000, d, 0.05) for d in (2000, 5000, 12_000, 30_000)],
            "density": [(3000, 20_000, p) for p in (0.01, 0.03, 0.1, 0.2)],
        }
    for key, shapes in sizes.items():
        rows = growth(shapes, 1 if options.quick else 3)
        results["growth"][key] = {"rows": rows, "exponent": exponent(rows, key)}
    if not options.quick:
        results["large"] = growth([(10_000, 20_000, 0.03), (100_000, 20_000, 0.03)], 3)
        results["transform"] = measure("skvae_transform", "random:100000,20000,0.03")
    results["import_seconds"] = import_seconds(n_rounds)
    (options.folder / "speed.json").write_text(json.dumps(results, indent=1))
    draw(results, options.folder / "speed.png")
    return None


if __name__ == "__main__":
    main()
