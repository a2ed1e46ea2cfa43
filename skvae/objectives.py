"""Objectives: what training minimises, -E_q[log p(x|z)] + beta KL(q(z|x) || p(z)).

An objective is called with the terms of `skvae.autoencoder.Autoencoder`, log p(x|z) (B,) and KL per dimension (B, J),
and with the number of gradient steps taken so far (None outside training). It returns the loss, the mean over the
minibatch. It has `beta`, the weight of the KL term at the end of training, and
`kl_weight(step)`, that at a step. `elbo` judges a trained model, whatever objective it was trained with.
"""

import math

import torch

# Quasi-random samples of q(z|x) behind each row's score, a power of two.
N_SCORE_SAMPLES = 64


class BetaELBO:
    """The negative evidence lower bound with its KL term weighted by beta (Higgins et al. 2017).

    For an autoencoder, whose latent is a point, it is the reconstruction's negative log-likelihood and an L2 penalty.

    Parameters
    ----------
    beta : float >= 0
        Weight of the KL term. 1 is the ELBO.
    n_warmup_steps : float
        Gradient steps over which the weight grows linearly from 0 to beta (Bowman et al. 2016, arXiv:1511.06349).
    """

    def __init__(self, beta, n_warmup_steps):
        self.beta = beta
        self.n_warmup_steps = n_warmup_steps

    def __call__(self, log_prob, kl, step=None):
        return -log_prob.mean() + self.kl_weight(step) * kl.sum(dim=1).mean()

    def kl_weight(self, step=None):
        """Return the weight of the KL term, in [0, beta], at a gradient step; None is after all of them."""
        if step is None or step >= self.n_warmup_steps:
            return self.beta
        return self.beta * (step / self.n_warmup_steps)


def importance_weighted(module, x, c, n_samples):
    """Return log (1/K) sum_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), of each row of x, (B,), for the model's prior.

    A lower bound of log p(x) in expectation, tighter than the ELBO and tight as K grows (Burda et al. 2016,
    arXiv:1509.00519).

    Parameters
    ----------
    module : Autoencoder
        The model, whose latent is a distribution.
    x : tensor or SparseBatch of shape (B, D)
    c : tensor of shape (B, C)
        Covariates.
    n_samples : int
        K.
    """
    q, log_prob = module.encode(x, c), module.log_prob_given(x, c)
    total = torch.full_like(q.mean()[:, 0], -torch.inf)
    for z in q.samples(n_samples):
        weight = module.prior.log_prob(z) - q.log_prob(z).sum(dim=1)
        total = torch.logaddexp(total, log_prob(z) + weight)
    return total - math.log(n_samples)


def elbo(module, x, c, n_samples=N_SCORE_SAMPLES):
    """Return the evidence lower bound of log p(x), at beta = 1, of each row of x, shape (B,).

    Parameters
    ----------
    module : Autoencoder
        The model. With a point for its latent it gives the log-likelihood of the reconstruction.
    x : tensor or SparseBatch of shape (B, D)
    c : tensor of shape (B, C)
        Covariates.
    n_samples : int, default=64
        Of z, over which the expectation is a mean.
    """
    return module.encode(x, c).bound(module.log_prob_given(x, c), n_samples)
