"""Fitting the prior of a trained model to what its data use: expectation and maximisation of a mixture."""

import torch
from sklearn.cluster import kmeans_plusplus
from torch.nn.functional import one_hot

from skvae.priors import N_KINDS, MixturePrior
from skvae.rows.mapping import map_rows
from skvae.sparse import totals
from skvae.state import THREADS, one_blas_thread, threads_for
from skvae.training.start import sample_rows

# Rows, and draws of z for each.
MAX_ROWS, N_DRAWS = 3000, 2

# Rows a kind at least, and steps of expectation and maximisation.
ROWS_A_KIND, N_STEPS = 20, 30

# Draws like those of all rows that each kind has beside its own, and the least variance of a kind.
N_ADDED, MIN_VARIANCE = 2.0, 1e-6


def fit_prior(module, rows, device, processes):
    """Fit the `MixturePrior` of a trained autoencoder to draws of q(z|x), and to the totals, of some rows.

    Parameters
    ----------
    module : Autoencoder
    rows : Rows
        The share of this process.
    device : torch.device or str
    processes : OneProcess or ManyProcesses
        The processes that train together.
    """
    sample, generator = sample_rows(rows, processes, MAX_ROWS), torch.Generator().manual_seed(0)

    def draw(x, c):
        q = module.encode(x, c)
        u = torch.rand(N_DRAWS, q.n_uniforms, *q.shape, generator=generator).to(c.device)
        log_totals = torch.log(totals(x))
        return torch.stack([torch.cat([q.sample(one), log_totals], dim=1) for one in u], dim=1)

    with threads_for(module):
        drawn = torch.from_numpy(map_rows(draw, sample, module.widest_layer, device)).double().flatten(0, 1)
    is_active = (drawn != 0).double()
    is_active[:, -1] = 1
    with one_blas_thread(), THREADS.at(1):
        fitted = fit_mixture(drawn, is_active, max(1, min(N_KINDS, len(sample) // ROWS_A_KIND)))
    prior = module.prior
    prior.weights.copy_(fitted.weights)
    for name in ("activations", "means", "variances"):
        getattr(prior, name).copy_(getattr(fitted, name)[:, :-1])
    prior.total_means.copy_(fitted.means[:, -1])
    prior.total_variances.copy_(fitted.variances[:, -1])


def fit_mixture(values, is_active, n_kinds):
    """Return a `MixturePrior` of values, (n, K), that are normal where they are active and else 0."""
    mixture = MixturePrior(values.shape[1]).double()
    everything = summaries(values, is_active, torch.ones(len(values), 1, dtype=values.dtype))
    n, n_active, sums, squares = everything
    scale = torch.sqrt((squares / n_active.clamp(min=1) - (sums / n_active.clamp(min=1)) ** 2).clamp(min=MIN_VARIANCE))
    scaled = values / scale
    _, first = kmeans_plusplus(scaled.numpy(), n_kinds, random_state=0)
    kinds = torch.cdist(scaled, scaled[first]).argmin(dim=1)
    shares = one_hot(kinds, N_KINDS).double()
    added = [N_ADDED * part / n for part in everything]
    for _ in range(N_STEPS):
        maximize(mixture, summaries(values, is_active, shares), added)
        shares = torch.softmax(mixture.log_prob_by_kind(values, is_active), dim=1)
    return mixture


def summaries(values, is_active, shares):
    """Return the rows of each kind, (K, 1), and the sums over those of what is active, of it, and of its squares."""
    return shares.sum(dim=0)[:, None], shares.T @ is_active, shares.T @ values, shares.T @ values**2


def maximize(mixture, found, added):
    """Set a mixture to what is most probable given summaries of the rows of each kind, and some more that are added."""
    weights = found[0][:, 0] / found[0].sum()
    n, n_active, sums, squares = (own + more for own, more in zip(found, added, strict=True))
    n_active = n_active.clamp(min=MIN_VARIANCE)
    means = sums / n_active
    mixture.weights.copy_(weights)
    mixture.activations.copy_(n_active / n)
    mixture.means.copy_(means)
    mixture.variances.copy_((squares / n_active - means**2).clamp(min=MIN_VARIANCE))
