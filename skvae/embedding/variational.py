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
from skvae.embedding.drawing import draw_code, draw_row, draw_rows
from skvae.embedding.mapping import first_to_know, inputs_of, modules_then
from skvae.objectives import BetaELBO, importance_weighted
from skvae.priors import MixturePrior
from skvae.rows.bounds import minibatch_slices
from skvae.state import usual_state
from skvae.training.prior import fit_prior
from skvae.types import BatchLike, MatrixLike, RandomState


@dataclass(repr=False, eq=False, kw_only=True)
class VariationalEmbedding(BaseEmbedding):
    """What the variational estimators share: the weight of the KL term, the posterior, and draws from the model."""

    beta: float = 1.0
    kl_warmup: float = 0.0

    _parameter_constraints: ClassVar = {
        **BaseEmbedding._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    }

    def _make_objective(self, n_steps):
        return BetaELBO(self.beta, self.kl_warmup * n_steps)

    def _make_prior(self, n_components):
        return MixturePrior(n_components)

    def _learn_prior(self, net, rows, processes):
        fit_prior(net.module_, rows, net.device, processes)

    @property
    def _start_beta(self):
        return self.beta

    def log_likelihood(self, X: MatrixLike, *, batch: BatchLike = None, n_samples: int = 64) -> np.ndarray:
        """Return the importance-weighted bound of log p(x), which is tight as samples grow.

        Its p(z) is not that of training, N(0, I) or a sparse one, which `score_samples` has, but the mixture of
        `sample`, so that it is larger.

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

    def posterior_sample(
        self, X: MatrixLike, n_samples: int = 1, *, batch: BatchLike = None, random_state: RandomState = None
    ) -> np.ndarray:
        """Draw z from q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_rows, n_features)
            Data like that of `fit`.
        n_samples : int, default=1
            Samples of each row.
        batch : {array-like, data frame, dict} of n_rows rows, default=None
            The batch of each row, as in `fit`; read only with `encode_batch=True`.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws. With an int, what is drawn of a row depends on the seed, the number of the sample and
            the row's place in X, and on no other row.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_rows, n_components)
            In the units of `transform`; each `Z[i]` is an embedding of all rows. Of `BetaVSC` a dimension whose gate
            is closed is exactly 0. Of float32 for float32 input, else float64.

        Examples
        --------
        >>> from skvae import BetaVAE, make_single_cell_counts
        >>> X = make_single_cell_counts(n_samples=300, n_features=200, random_state=0).data
        >>> vae = BetaVAE(n_components=2, likelihood="nb", max_epochs=5, random_state=0).fit(X)
        >>> vae.posterior_sample(X, 20, random_state=0).shape
        (20, 300, 2)
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        module = self.net_.module_
        rows = self._rows(X, batch, needs_batch=module.encodes_covariates)
        Z = np.empty((n_samples, len(rows), self._n_features_out), rows.dtype)
        draw_rows(self, draw_code, rows, module.widest_layer, n_samples, random_state, partial(put, Z))
        return Z

    def predictive_sample(
        self, X: MatrixLike, n_samples: int = 1, *, batch: BatchLike = None, random_state: RandomState = None
    ) -> np.ndarray:
        """Draw rows like each row from the model: z from q(z|x), then x from p(x|z).

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_rows, n_features)
            Data like that of `fit`.
        n_samples : int, default=1
            Samples of each row.
        batch : {array-like, data frame, dict} of n_rows rows, default=None
            The batch of each row, as in `fit`, if that was given batches.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws, see `posterior_sample`, whose z are those that these rows are drawn from.

        Returns
        -------
        X_drawn : ndarray of shape (n_samples, n_rows, n_features)
            Dense, of the dtype of `posterior_sample`. Rows of counts are drawn for the total that each has: their own
            is the same in expectation. `posterior_predictive_check` compares such rows with X, and keeps none of them.

        Examples
        --------
        >>> from skvae import BetaVAE, make_single_cell_counts
        >>> X = make_single_cell_counts(n_samples=300, n_features=200, random_state=0).data
        >>> vae = BetaVAE(n_components=2, likelihood="nb", max_epochs=5, random_state=0).fit(X)
        >>> vae.predictive_sample(X[:5], 20, random_state=0).shape
        (20, 5, 200)
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        rows = self._rows(X, batch)
        drawn = np.empty((n_samples, len(rows), self.n_features_in_), rows.dtype)
        draw_rows(self, draw_row, rows, self.n_features_in_, n_samples, random_state, partial(put, drawn))
        return drawn

    def sample(self, n_samples: int = 1, *, batch: Any = None, random_state: RandomState = None) -> np.ndarray:
        """Draw rows from the model: z from what the data of `fit` use, then x from p(x|z).

        z is drawn from a mixture that was fitted to q(z|x) over the rows, together with their totals; after
        `partial_fit` over those of the last chunk of 100 rows or more.

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
            Like the data of `fit`; the totals of counts too.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        rng = check_random_state(random_state)
        module, device = self.net_.module_, self.net_.device
        X = np.empty((n_samples, self.n_features_in_))
        with usual_state(), torch.inference_mode():
            generator = torch.Generator().manual_seed(rng.randint(np.iinfo(np.int32).max))
            covariates = inputs_of(self._covariates, batch).to(device)
            widths = self._covariates.widths_then
            module, covariates = first_to_know(modules_then(module, widths), widths, covariates)
            for part in minibatch_slices(n_samples, self.n_features_in_):
                z, total = (drawn.to(device) for drawn in module.prior.sample(part.stop - part.start, generator))
                X[part] = module.likelihood.sample(module.decode(z, covariates.expand(len(z), -1)), rng, total)
        return X


def put(drawn, sample, part, values):
    """Put the values of a sample of some rows where they belong, in (n_samples, n_rows, ...)."""
    drawn[sample, part] = values
