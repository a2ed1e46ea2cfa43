"""Measure the likelihoods of counts: `python benchmarks/counts.py` makes the tables of docs/counts.md in half an hour.

With `--scvi PYTHON`, an interpreter that has scvi-tools, its negative binomial model joins the held-out likelihoods.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

N_COMPONENTS, WIDTH = 10, 128
N_SAMPLES = 512
LIKELIHOODS = ("gaussian", "poisson", "nb", "zinb")


def embed(likelihood, counts, seed, **metadata):
    from skvae import BetaVAE, LogNormalizer

    X = LogNormalizer().fit_transform(counts) if likelihood == "gaussian" else counts
    return BetaVAE(N_COMPONENTS, likelihood=likelihood, random_state=seed).fit(X, **metadata).transform(X)


def agreement(Z, types, seed):
    clusters = KMeans(len(np.unique(types)), n_init=20, random_state=seed).fit_predict(Z)
    return normalized_mutual_info_score(types, clusters), adjusted_rand_score(types, clusters)


def oracle(cells):
    """Return the NMI of the types with the best guess of one who knows the mean profile of each type."""
    profiles = np.array([cells.data[cells.target == label].sum(axis=0) for label in range(len(cells.target_names))])
    shares = (profiles + 0.01) / (profiles + 0.01).sum(axis=1, keepdims=True)
    log_posterior = cells.data @ np.log(shares).T + np.log(np.bincount(cells.target) / len(cells.target))
    return normalized_mutual_info_score(cells.target, log_posterior.argmax(axis=1))


def blood_cells(seeds):
    from skvae import VariableGeneSelector, fetch_pbmc3k

    cells = fetch_pbmc3k()
    X = VariableGeneSelector().fit_transform(cells.data)
    print("PBMC 3k, 2000 genes: NMI / ARI of k-means on the latent, mean over seeds (deviation)")
    for likelihood in LIKELIHOODS:
        scores = np.array([agreement(embed(likelihood, X, seed), cells.target, seed) for seed in seeds])
        (nmi, ari), (nmi_sd, ari_sd) = scores.mean(axis=0), scores.std(axis=0)
        print(f"  {likelihood}: {nmi:.3f} / {ari:.3f} ({nmi_sd:.3f} / {ari_sd:.3f})", flush=True)
    return X


def sparse_cells(seeds):
    from skvae import make_single_cell_counts

    rows = []
    for seed in seeds:
        cells = make_single_cell_counts(library_size=48, random_state=seed)
        density = cells.data.nnz / np.prod(cells.data.shape)
        nmis = [agreement(embed(likelihood, cells.data, seed), cells.target, seed)[0] for likelihood in LIKELIHOODS]
        rows.append([density, oracle(cells), *nmis])
    density, best, *nmis = np.mean(rows, axis=0)
    print(f"Simulated, {density:.2%} non-zero: NMI on the latent, mean over seeds; known profiles {best:.3f}")
    print(" ", *(f"{likelihood} {nmi:.3f}" for likelihood, nmi in zip(LIKELIHOODS, nmis, strict=True)), flush=True)


def two_batches(seeds):
    from skvae import make_single_cell_counts

    print("Two batches: NMI on the latent alone, without and with the batch; batch from 15 neighbours less chance")
    for likelihood in LIKELIHOODS[:3]:
        rows = []
        for seed in seeds:
            cells = make_single_cell_counts(2000, n_batches=2, random_state=seed)
            alone = make_single_cell_counts(2000, random_state=seed)
            chance = np.bincount(cells.batch).max() / 2000
            row = [agreement(embed(likelihood, alone.data, seed), alone.target, seed)[0]]
            for metadata in ({}, {"batch": cells.batch}):
                Z = embed(likelihood, cells.data, seed, **metadata)
                guessed = cross_val_score(KNeighborsClassifier(15), Z, cells.batch, cv=5).mean()
                row += [agreement(Z, cells.target, seed)[0], guessed - chance]
            rows.append(row)
        alone, without, apart, given, mixed = np.mean(rows, axis=0)
        print(f"  {likelihood}: alone {alone:.3f}; without {without:.3f}, +{apart:.3f}; with {given:.3f}, {mixed:+.3f}")


def held_out(X, seeds, scvi):
    from skvae import BetaVAE

    order = np.random.default_rng(0).permutation(X.shape[0])
    train, test = X[order[500:]], X[order[:500]]
    print(f"PBMC 3k: log p(x) of 500 held-out cells, importance-weighted with {N_SAMPLES} samples, nats a cell")
    for seed in seeds:
        model = BetaVAE(N_COMPONENTS, likelihood="nb", hidden_layer_sizes=(WIDTH,), random_state=seed).fit(train)
        print(f"  skvae, seed {seed}: {model.log_likelihood(test, n_samples=N_SAMPLES).mean():.1f}", flush=True)
    if scvi:
        with tempfile.TemporaryDirectory() as folder:
            for name, part in (("train", train), ("test", test)):
                sparse.save_npz(Path(folder, name), sparse.csr_matrix(part))
            command = [scvi, __file__, "--scvi-of", folder, "--seeds", *map(str, seeds)]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def scvi_held_out(folder, seeds):
    import logging

    import anndata
    import scvi

    scvi.settings.verbosity = logging.ERROR
    train, test = (anndata.AnnData(sparse.load_npz(Path(folder, f"{name}.npz"))) for name in ("train", "test"))
    settings = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    for epochs, early_stopping in ((20, False), (400, True)):
        for seed in seeds:
            scvi.settings.seed = seed
            scvi.model.SCVI.setup_anndata(train)
            model = scvi.model.SCVI(train, n_hidden=WIDTH, n_latent=N_COMPONENTS, n_layers=1, gene_likelihood="nb")
            share = 0.9 if early_stopping else 1.0
            model.train(max_epochs=epochs, early_stopping=early_stopping, train_size=share, **settings)
            log_p = float(model.get_marginal_ll(test, n_mc_samples=N_SAMPLES, return_mean=False).mean())
            stopping = " and early stopping" if early_stopping else ""
            print(f"  scvi-tools, {epochs} epochs{stopping}, seed {seed}: {log_p:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--scvi", help="interpreter with scvi-tools")
    parser.add_argument("--scvi-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scvi_of:
        return scvi_held_out(options.scvi_of, options.seeds)
    X = blood_cells(options.seeds)
    held_out(X, options.seeds[:2], options.scvi)
    sparse_cells(options.seeds)
    two_batches(options.seeds)
    return None


if __name__ == "__main__":
    sys.exit(main())
