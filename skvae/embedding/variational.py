"""VariationalEmbedding: an autoencoder with a posterior and a prior over z."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import Bunch, check_random_state, check_scalar
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from skvae.embedding.base import BaseEmbedding
from skvae.embedding.mapping import first_to_know, inputs_of, modules_then
from skvae.objectives import BetaELBO, importance_weighted
from skvae.rows.bounds import minibatch_slices
from skvae.state import usual_state
from skvae.types import BatchLike, MatrixLike, RandomState


@dataclass(repr=False, eq=False, kw_only=True)
class VariationalEmbedding(BaseEmbedding):
    """What the variational estimators share: the weight of the KL term, the posterior, and draws from the prior."""

    beta: float = 1.0
    kl_warmup: float = 0.0

    _parameter_constraints: ClassVar = {
        **BaseEmbedding._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    }

    def _make_objective(self, n_steps):
        return BetaELBO(self.beta, self.kl_warmup * n_steps)

    @property
    def _start_beta(self):
        return self.beta

    def log_likelihood(self, X: MatrixLike, *, batch: BatchLike = None, n_samples: int = 64) -> np.ndarray:
        """Return the importance-weighted bound of log p(x): tighter than `score_samples`, and tight as samples grow.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.
        n_samples : int, default=64
            Samples of q(z|x) for each row, quasi-random and the same for every row.

        Returns
        -------
        log_likelihood : ndarray of shape (X.shape[0],)
            In nats, summed over features. Higher is better; in expectation it grows with `n_samples`.

        References
        ----------
        Burda, Grosse & Salakhutdinov 2016, "Importance weighted autoencoders", arXiv:1509.00519.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        return self._map_rows(partial(importance_weighted, n_samples=n_samples), X, batch)

    def posterior(self, X: MatrixLike, *, batch: BatchLike = None) -> Bunch:
        """Return the moments of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`; read only with `encode_batch=True`.

        Returns
        -------
        posterior : Bunch
            `mean` and `std` of z, and `activation`, the probability that a dimension is not zero: ndarrays of shape
            (n_samples, n_components).
        """
        moments = self._map_posterior(
            lambda module, q: torch.stack([module.code(q), module.scale * q.std(), q.activation()], dim=1),
            X,
            batch,
        )
        return Bunch(mean=moments[:, 0], std=moments[:, 1], activation=moments[:, 2])

    def sample(self, n_samples: int = 1, *, batch: Any = None, random_state: RandomState = None) -> np.ndarray:
        """Draw rows from the model: z from the prior p(z), then x from p(x|z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        batch : str, number or dict, default=None
            The batch of the rows, one of `batches_`, if `fit` was given batches; of a table a dict by column.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Like the data of `fit`. Counts have the mean total of those.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        rng = check_random_state(random_state)
        module = self.net_.module_
        X = np.empty((n_samples, self.n_features_in_))
        with usual_state(), torch.inference_mode():
            generator = torch.Generator().manual_seed(rng.randint(np.iinfo(np.int32).max))
            covariates = inputs_of(self._covariates, batch).to(self.net_.device)
            widths = self._covariates.widths_then
            module, covariates = first_to_know(modules_then(module, widths), widths, covariates)
            for part in minibatch_slices(n_samples, self.n_features_in_):
                shape = (module.latent.n_uniforms, part.stop - part.start, self._n_features_out)
                z = module.latent.sample_prior(torch.rand(shape, generator=generator).to(self.net_.device))
                X[part] = module.likelihood.sample(module.decode(z, covariates.expand(len(z), -1)), rng)
        return X
