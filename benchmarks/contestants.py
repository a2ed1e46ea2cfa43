"""The contestants of speed.py and answers.py: each takes data, epochs and a seed, and returns what it measured.

Those of "the same network" have one hidden layer of 128 with ReLU on either side of ten latent dimensions, minibatches
of 256, random first weights, and neither dropout nor batch normalisation. skvae, scvi-tools and pythae are imported by
the functions that need them, as no interpreter has all.
"""

import logging
import math
import statistics
import tempfile
import time
import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import torch
import torch._dynamo  # which the first optimiser of a process imports, in more than a second
from processes import load, watched
from torch import nn

WIDTH, N_COMPONENTS, BATCH_SIZE = 128, 10, 256
N_IMPORTANCE_SAMPLES = 128

SAME_NETWORK = {
    "init": "random",
    "input_dropout": 0.0,
    "activation": "relu",
    "hidden_layer_sizes": (WIDTH,),
    "batch_size": BATCH_SIZE,
}
SAME_SCVI = {"n_hidden": WIDTH, "n_latent": N_COMPONENTS, "n_layers": 1, "dropout_rate": 0, "use_batch_norm": "none"}


def halves(X):
    """Return four fifths of the rows at random, and the rest."""
    order = np.random.default_rng(0).permutation(X.shape[0])
    return X[order[X.shape[0] // 5 :]], X[order[: X.shape[0] // 5]]


# skvae


def time_skvae(data, settings):
    """Return the seconds of a fit and of its epochs, its memory, and the size of the matrix."""
    from skvae import BetaVAE

    X, found = load(data), {}
    model = BetaVAE(N_COMPONENTS, **settings)
    with watched(found):
        model.fit(X)
    size = sum(part.nbytes for part in (X.data, X.indices, X.indptr)) / 2**20
    return {**found, "epochs": model.net_.history[:, "dur"], "csr_mb": size, "nnz": int(X.nnz)}


def skvae_fit(data, epochs, seed):
    """As constructed, but for minibatches as large as those of the others."""
    return time_skvae(data, {"batch_size": BATCH_SIZE, "max_epochs": epochs, "random_state": seed})


def skvae_unit_fit(data, epochs, seed):
    """Fit the same network with the squared error."""
    settings = {**SAME_NETWORK, "likelihood": "unit_gaussian"}
    return time_skvae(data, {**settings, "max_epochs": epochs, "random_state": seed})


def skvae_nb_fit(data, epochs, seed):
    """Fit the same network to counts with a negative binomial likelihood."""
    settings = {**SAME_NETWORK, "likelihood": "nb"}
    return time_skvae(data, {**settings, "max_epochs": epochs, "random_state": seed})


def bare_loop(data, epochs, seed):
    """Train as skvae does as constructed, without skorch."""
    from skvae import BetaVAE
    from skvae.embedding.building import make_module
    from skvae.networks import initialize
    from skvae.rows.rows import Rows
    from skvae.rows.shuffling import ShuffledMinibatches
    from skvae.training.processes import OneProcess
    from skvae.training.schedules import SCHEDULES, learning_rate_at
    from skvae.training.start import start

    X, found = load(data), {}
    model = BetaVAE(N_COMPONENTS)
    rows = Rows(X, np.float32)
    module = initialize(make_module(model, X.shape[1], 0), torch.Generator().manual_seed(seed))
    start(module, rows, OneProcess())
    n_minibatches = -(-len(rows) // BATCH_SIZE)
    minibatches = ShuffledMinibatches(rows, n_minibatches, torch.Generator().manual_seed(seed), "cpu")
    n_steps = epochs * n_minibatches
    objective = model._make_objective(n_steps)
    optimizer = torch.optim.Adam(module.parameters(), lr=model.learning_rate, fused=True)
    factor = partial(learning_rate_at, SCHEDULES[model.learning_rate_schedule], n_steps)
    noise = torch.Generator().manual_seed(seed)
    step, seconds = 0, []
    with watched(found):
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
    return {**found, "epochs": seconds}


def skvae_transform(data, seed):
    from skvae import BetaVAE

    X = load(data)
    model = BetaVAE(N_COMPONENTS, max_epochs=1, batch_size=BATCH_SIZE, random_state=seed).fit(X[:2000])
    model.transform(X[:2000])
    start = time.perf_counter()
    model.transform(X)
    return {"cells_per_second": X.shape[0] / (time.perf_counter() - start)}


def skvae_curve(data, epochs, seed):
    """Return [seconds, ELBO of held-out rows] of fits with the squared error, the rest as it is by default."""
    from skvae import BetaVAE

    train, held_out = halves(load(data))
    curve = []
    for max_epochs in (2, 4, 8, 16, 32):
        model = BetaVAE(N_COMPONENTS, likelihood="unit_gaussian", max_epochs=max_epochs, random_state=seed)
        start = time.perf_counter()
        model.fit(train)
        curve.append([time.perf_counter() - start, model.score(held_out)])
    return {"curve": curve}


def skvae_nb_answer(folder, epochs, seed):
    """Return the seconds of a fit of counts, the log p(x) of held-out cells, and the latent of the others."""
    from skvae import BetaVAE

    train, held_out = (load(f"{folder}/counts_{part}.npz") for part in ("train", "held_out"))
    model, found = BetaVAE(likelihood="nb", max_epochs=epochs, random_state=seed), {}
    with watched(found):
        model.fit(train)
    Z = model.transform(train).tolist()
    own = model.log_likelihood(held_out, n_samples=N_IMPORTANCE_SAMPLES).mean()
    model.net_.module_.prior = StandardNormal()
    standard = model.log_likelihood(held_out, n_samples=N_IMPORTANCE_SAMPLES).mean()
    return {**found, "log_likelihood": float(own), "with_standard_prior": float(standard), "Z": Z}


class StandardNormal(nn.Module):
    """The p(z) of training, and of scvi-tools, where skvae otherwise has a mixture that it fits to the codes."""

    def log_prob(self, z):
        return -(z**2 + math.log(2 * math.pi)).sum(dim=1) / 2


def skvae_gaussian_answer(folder, epochs, seed):
    from skvae import BetaVAE

    return embed(BetaVAE(max_epochs=epochs, random_state=seed), load(f"{folder}/data_train.npz"))


# Peers


class ByHand(nn.Module):
    """A beta-VAE as one would write it by hand, with squared error."""

    def __init__(self, n_features):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, WIDTH), nn.ReLU())
        self.mu_head, self.logvar_head = nn.Linear(WIDTH, N_COMPONENTS), nn.Linear(WIDTH, N_COMPONENTS)
        self.decoder = nn.Sequential(nn.Linear(N_COMPONENTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_features))

    def loss(self, x):
        h = self.encoder(x)
        mu, logvar = self.mu_head(h), self.logvar_head(h)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        kl = (mu**2 + logvar.exp() - 1 - logvar).sum() / 2
        return (((self.decoder(z) - x) ** 2).sum() / 2 + kl) / len(x)

    @torch.no_grad()
    def elbo(self, X):
        x = torch.from_numpy(X.toarray())
        return -X.shape[1] * math.log(2 * math.pi) / 2 - statistics.mean(self.loss(x).item() for _ in range(16))

    @torch.no_grad()
    def encode(self, X):
        return self.mu_head(self.encoder(torch.from_numpy(X.toarray()))).numpy()


def train_by_hand(X, epochs, seed):
    """Yield the seconds of each epoch, with X dense in memory and torch's default Adam, and the model so far."""
    torch.manual_seed(seed)
    x_all, model = torch.from_numpy(X.toarray()), ByHand(X.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        start = time.perf_counter()
        for batch in torch.randperm(len(x_all)).split(BATCH_SIZE):
            loss = model.loss(x_all[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield time.perf_counter() - start, model


def dense_loop(data, epochs, seed):
    X, found = load(data), {}
    with watched(found):
        seconds = [seconds for seconds, _ in train_by_hand(X, epochs, seed)]
    return {**found, "epochs": seconds}


def dense_curve(data, epochs, seed):
    """Return [seconds, ELBO of held-out rows] after some epochs of the loop by hand."""
    train, held_out = halves(load(data))
    total, curve = 0, []
    for epoch, (seconds, model) in enumerate(train_by_hand(train, epochs, seed), start=1):
        total += seconds
        if epoch % 5 == 0:
            curve.append([total, model.elbo(held_out)])
    return {"curve": curve}


def dense_answer(folder, epochs, seed):
    X, found = load(f"{folder}/data_train.npz"), {}
    with watched(found):
        *_, (_, model) = train_by_hand(X, epochs, seed)
    return {**found, "Z": model.encode(X).tolist()}


def report_loop(data, epochs, seed):
    """Train as the report's code does: rows one by one through a DataLoader, float64 to float32, wide layers."""
    from torch.utils.data import DataLoader, Dataset

    class Cells(Dataset):
        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

        def __getitem__(self, i):
            return torch.tensor(self.values[i]).float()

    X, found, seconds = load(data), {}, []
    torch.manual_seed(seed)
    encoder, decoder = layers_of(X.shape[1], 800, 400, 80), layers_of(6, 400, 800)
    mu_head, logvar_head, output = nn.Linear(80, 6), nn.Linear(80, 6), nn.Linear(800, X.shape[1])
    modules = nn.ModuleList([encoder, mu_head, logvar_head, decoder, output])
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-3)
    with watched(found):
        loader = DataLoader(Cells(X.toarray().astype(np.float64)), batch_size=BATCH_SIZE, shuffle=True)
        for _ in range(epochs):
            start = time.perf_counter()
            for x in loader:
                h = encoder(x)
                mu, logvar = mu_head(h), logvar_head(h)
                z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
                kl = (mu**2 + logvar.exp() - 1 - logvar).sum() / 2
                loss = nn.functional.mse_loss(output(decoder(z)), x, reduction="sum") + kl
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            seconds.append(time.perf_counter() - start)
    return {**found, "epochs": seconds}


def layers_of(*widths):
    return nn.Sequential(*(layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())))


def train_scvi(counts, epochs, seed, settings, batch_size, found):
    """Return a trained model of scvi-tools, and note the seconds of its fit and of its epochs."""
    import anndata
    import scvi
    from lightning.pytorch.callbacks import Callback

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    scvi.settings.seed = seed

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
    model = scvi.model.SCVI(cells, **settings)
    with watched(found):
        model.train(
            max_epochs=epochs, batch_size=batch_size, train_size=1.0, accelerator="cpu", callbacks=[timer],
            enable_progress_bar=False, enable_model_summary=False, logger=False,
        )  # fmt: skip
    found["epochs"] = timer.seconds
    return model


def scvi_fit(data, epochs, seed):
    """As constructed, "zinb", but for minibatches as large as those of the others."""
    found = {}
    train_scvi(load(data), epochs, seed, {}, BATCH_SIZE, found)
    return found


def scvi_nb_fit(data, epochs, seed):
    found = {}
    train_scvi(load(data), epochs, seed, {**SAME_SCVI, "gene_likelihood": "nb"}, BATCH_SIZE, found)
    return found


def scvi_answer(folder, epochs, seed):
    """Return what `skvae_nb_answer` does, of scvi-tools' model as constructed but for its likelihood "nb"."""
    import anndata

    train, held_out = (load(f"{folder}/counts_{part}.npz") for part in ("train", "held_out"))
    found = {}
    model = train_scvi(train, epochs, seed, {"gene_likelihood": "nb"}, 128, found)
    cells = anndata.AnnData(held_out.astype(np.float32))
    # the mean of all cells: with return_mean it would be that of the means of minibatches
    log_likelihood = model.get_marginal_ll(cells, n_mc_samples=N_IMPORTANCE_SAMPLES, return_mean=False).mean()
    Z = model.get_latent_representation()
    scores = dict.fromkeys(("log_likelihood", "with_standard_prior"), float(log_likelihood))
    return {"fit": found["fit"], **scores, "Z": Z.tolist()}


def pythae_fit(data, epochs, seed):
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    X, found = load(data), {}

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
        with watched(found):
            pipeline(X.toarray())
    return {**found, "epochs": [found["fit"] / epochs] * 2}


def embed(model, X):
    """Return the seconds of the fit of a model, its memory, and its embedding of X."""
    found = {}
    with watched(found):
        model.fit(X)
    return {**found, "Z": model.transform(X).tolist()}


def truncated_svd(data, epochs, seed):
    from sklearn.decomposition import TruncatedSVD

    return embed(TruncatedSVD(N_COMPONENTS, random_state=seed), load(data))


def pca(data, epochs, seed):
    from sklearn.decomposition import PCA

    return embed(PCA(N_COMPONENTS, svd_solver="arpack", random_state=seed), load(data))


def pca_answer(folder, epochs, seed):
    return pca(f"{folder}/data_train.npz", epochs, seed)
