"""BaseEmbedding: an autoencoder as a scikit-learn transformer."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import KW_ONLY, dataclass
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch, check_array, check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from skvae.batching import bounded_batches, map_batches
from skvae.likelihoods import LIKELIHOODS
from skvae.networks import ACTIVATIONS, Autoencoder, Head, Trunk, build
from skvae.objectives import elbo, importance_weighted
from skvae.schedules import SCHEDULES
from skvae.training import find_device, train

FLOATS = (np.float64, np.float32)

# `max_epochs="auto"`: rows seen in a run, bounds of its epochs, and the least gradient steps, which come first.
N_ROWS = 200_000
MIN_EPOCHS, MAX_EPOCHS = 8, 60
MIN_STEPS = 250

# Least mean KL, in nats, of an active latent dimension.
ACTIVE_KL = 0.01

# Values of X that are looked at for fractions.
N_CHECKED = 2**20

# Largest share of the fall of the loss that may fall to the second half of training without a warning.
MAX_LATE_GAIN = 0.2

# Keys of `history_`, and their names in the history of skorch.
HISTORY = {"loss": "train_loss", "reconstruction": "reconstruction", "kl": "kl"}


def is_generative(estimator):
    """Return whether the model has a prior and a posterior over z, and not only a point."""
    return estimator._is_generative


@dataclass(repr=False, eq=False)
class BaseEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """What the estimators share: parameters, validation, training and the use of the trained model.

    A subclass adds the parameters of its latent and objective, and makes these in `_make_latent` and `_make_objective`.
    The parameters are the fields of a data class: its `__init__` stores them, as scikit-learn asks, and nothing else.
    """

    n_components: int = 10
    _: KW_ONLY
    likelihood: str = "gaussian"
    hidden_layer_sizes: Sequence[int] = (128,)
    head_layer_sizes: Sequence[int] = ()
    activation: str = "gelu"
    first_activation: str | None = None
    max_epochs: int | str = "auto"
    batch_size: int = 128
    learning_rate: float = 4e-3
    learning_rate_schedule: str = "cosine"
    callbacks: list | None = None
    device: str = "cpu"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _is_generative: ClassVar = True

    _parameter_constraints: ClassVar = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(LIKELIHOODS.keys())],
        "hidden_layer_sizes": ["array-like"],
        "head_layer_sizes": ["array-like"],
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "first_activation": [StrOptions(ACTIVATIONS.keys()), None],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(SCHEDULES.keys())],
        "callbacks": [list, tuple, None],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def _make_latent(self, head):
        """Return the module of q(z|x); `head` makes the module of one of its parameters."""

    @abstractmethod
    def _make_objective(self, n_steps):
        """Return the objective of a run of `n_steps` gradient steps."""

    def fit(self, X, y=None):
        """Train the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Raw counts for the likelihoods "poisson", "nb" and "zinb", zeros and ones for "bernoulli"; log1p-normalised
            counts, or any real data of moderate scale, for the Gaussian ones. Sparse X of any format is never made
            dense as a whole.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator. If `fit` raises, it is as it was before.

        Raises
        ------
        ValueError
            For invalid parameters or data.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        self._validate_params()
        for name in ("hidden_layer_sizes", "head_layer_sizes"):
            check_widths(name, getattr(self, name))
        device = find_device(self.device)
        # Validated by a copy, so that bad data leaves this instance as it is.
        rows = validate_data(copy(self), X, accept_sparse="csr", dtype=FLOATS, ensure_min_features=2)
        self._check_support(LIKELIHOODS[self.likelihood], rows)
        # One seed for each use of randomness, so that none depends on how much another draws.
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=3).tolist()
        init_seed, shuffle_seed, noise_seed = seeds
        n_samples, n_features = rows.shape
        n_batches = math.ceil(n_samples / self.batch_size)
        max_epochs = choose_epochs(n_samples, n_batches) if self.max_epochs == "auto" else self.max_epochs
        n_steps = max_epochs * n_batches
        objective = self._make_objective(n_steps)
        net = train(
            build(partial(self._make_module, n_features), torch.Generator().manual_seed(init_seed)),
            objective,
            rows,
            max_epochs=max_epochs,
            n_steps=n_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            learning_rate_schedule=self.learning_rate_schedule,
            device=device,
            shuffle_seed=shuffle_seed,
            noise_seed=noise_seed,
            callbacks=self.callbacks,
            verbose=self.verbose,
        )
        kl = map_batches(partial(divergence, net.module_), rows, np.float32, net.module_.code_size, device)
        # This instance changes only here: a fit that raised has left the last one in place.
        validate_data(self, X, skip_check_array=True)
        self.net_ = net
        self.n_epochs_ = len(net.history)
        self.history_ = {term: np.array(net.history[:, name]) for term, name in HISTORY.items()}
        self.active_components_ = self._active(kl.mean(axis=0, dtype=np.float64))
        self._n_features_out = self.n_components
        self._warn_of_collapse()
        self._warn_of_early_end(objective.beta)
        return self

    def transform(self, X):
        """Embed X: return the mean of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            float32 for float32 input, else float64.
        """
        return self._map_posterior(lambda latent, q: latent.mean(q), X)

    def inverse_transform(self, X):
        """Map embedded points back to the data space: return E[x|z] for each row z.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Points of the latent space, as `transform` returns them.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero.
        """
        check_is_fitted(self)
        Z = check_array(X, accept_sparse="csr", dtype=FLOATS, estimator=self, input_name="X")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} features, but {type(self).__name__}.inverse_transform is expecting "
                f"{self._n_features_out} features as input, one a latent dimension."
            )
        return self._map_batches(Autoencoder.decode, Z, self.n_features_in_)

    def denoise(self, X, *, library_size=None):
        """Return E[x|z] at the mean of q(z|x) for each row: what the model expects where noise is left out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`.
        library_size : float > 0, default=None
            Of likelihoods of counts, the total that the rows are to have; None for the total that each has.

        Returns
        -------
        X_denoised : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero.

        Raises
        ------
        ValueError
            If `library_size` is given and the likelihood is not one of counts.
        """
        check_is_fitted(self)
        if library_size is not None:
            check_scalar(library_size, "library_size", Real, min_val=0, include_boundaries="neither")
            if self.net_.module_.likelihood.support != "counts":
                raise ValueError(
                    f"library_size == {library_size}, must be None for a likelihood that is not one of counts."
                )
        return self._map_rows(partial(Autoencoder.denoise, total=library_size), X)

    def score_samples(self, X):
        """Return the evidence lower bound of log p(x) at beta = 1, whatever beta the model was trained with.

        Its expectation over q(z|x) is a mean over quasi-random samples, the same for every row, so that a row's score
        does not depend on the other rows. An autoencoder gives the log-likelihood of its reconstruction.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats, summed over features. Higher is better.
        """
        return self._map_rows(elbo, X)

    def score(self, X, y=None):
        """Return the mean of `score_samples` over the rows of X: comparable across beta, higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`, held out if the score is to choose a model.
        y : None
            Ignored.

        Returns
        -------
        score : float
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    @available_if(is_generative)
    def log_likelihood(self, X, *, n_samples=64):
        """Return the importance-weighted bound of log p(x): tighter than `score_samples`, and tight as samples grow.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`.
        n_samples : int, default=64
            Samples of q(z|x) for each row, quasi-random and the same for every row.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
            In nats, summed over features. Higher is better; in expectation it grows with `n_samples`.

        References
        ----------
        Burda, Grosse & Salakhutdinov 2016, "Importance weighted autoencoders", arXiv:1509.00519.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        return self._map_rows(partial(importance_weighted, n_samples=n_samples), X)

    @available_if(is_generative)
    def posterior(self, X):
        """Return the moments of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data like that of `fit`.

        Returns
        -------
        posterior : Bunch
            `mean` and `std` of z, and `activation`, the probability that a dimension is not zero: ndarrays of shape
            (n_samples, n_components).
        """
        moments = self._map_posterior(
            lambda latent, q: torch.stack([latent.mean(q), latent.std(q), latent.activation(q)], dim=1), X
        )
        return Bunch(mean=moments[:, 0], std=moments[:, 1], activation=moments[:, 2])

    @available_if(is_generative)
    def sample(self, n_samples=1, *, random_state=None):
        """Draw rows from the model: z from the prior p(z), then x from p(x|z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Like the data of `fit`. Counts have the mean total of those.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        random_state = check_random_state(random_state)
        generator = torch.Generator().manual_seed(random_state.randint(np.iinfo(np.int32).max))
        module = self.net_.module_
        X = np.empty((n_samples, self.n_features_in_))
        with torch.inference_mode():
            for batch in bounded_batches(n_samples, self.n_features_in_):
                shape = (module.latent.n_uniforms, batch.stop - batch.start, self._n_features_out)
                z = module.latent.sample_prior(torch.rand(shape, generator=generator).to(self.net_.device))
                X[batch] = module.likelihood.sample(module.decoder(z), random_state)
        return X

    def _make_module(self, n_features):
        widths = (*self.hidden_layer_sizes, *self.head_layer_sizes)
        encoder = Trunk(n_features, self.hidden_layer_sizes, self.activation, self.first_activation, centered=True)
        head = partial(Head, encoder.n_outputs, self.head_layer_sizes, self.activation, self.n_components)
        decoder = Trunk(self.n_components, widths[::-1], self.activation)
        likelihood = LIKELIHOODS[self.likelihood](decoder.n_outputs, n_features)
        return Autoencoder(encoder, self._make_latent(head), decoder, likelihood)

    def _check_support(self, likelihood, X):
        if likelihood.support == "real":
            return
        name = type(self).__name__
        check_non_negative(X, name)
        values = X.data if issparse(X) else X
        if likelihood.support == "binary" and values.max(initial=0) > 1:
            raise ValueError(f"X of {name} holds {values.max()}; expected values from 0 to 1 for 'bernoulli'.")
        sample = values.ravel(order="K")[:N_CHECKED]  # in the order in memory, which needs no copy
        fractions = sample[sample != np.rint(sample)]
        if likelihood.support == "counts" and len(fractions):
            warnings.warn(
                f"X holds {fractions[0]}; expected counts, integers >= 0, for likelihood == {self.likelihood!r}. "
                "Normalised data suit 'gaussian'.",
                UserWarning,
                stacklevel=4,
            )

    def _active(self, kl):
        """Return which dimensions tell of x, from their mean KL, (J,)."""
        return kl > ACTIVE_KL

    def _warn_of_collapse(self):
        n_active, n_components = self.active_components_.sum(), self.n_components
        if n_active < min(2, n_components):
            warnings.warn(
                f"{n_active} of {n_components} latent dimensions are active, see active_components_; expected "
                f"{min(2, n_components)} or more. The others say nothing of X. Lower beta (latent_penalty), train "
                "longer, or scale X up.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _warn_of_early_end(self, beta):
        loss = self.history_["reconstruction"] + beta * self.history_["kl"]
        half = loss[(len(loss) - 1) // 2]
        gain, total = half - loss[-1], loss[0] - loss[-1]
        if gain > MAX_LATE_GAIN * abs(total):
            warnings.warn(
                f"the loss still fell by {gain:.3g} nats a sample in the second half of {len(loss)} epochs, "
                f"{gain / total:.0%} of its fall since the first; expected less than {MAX_LATE_GAIN:.0%}. Raise "
                "max_epochs or learning_rate.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _map_posterior(self, function, X):
        check_is_fitted(self)
        return self._map_rows(
            lambda module, x: function(module.latent, module.encode(x)), X, n_outputs=self.net_.module_.code_size
        )

    def _map_rows(self, function, X, n_outputs=None):
        check_is_fitted(self)
        rows = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)
        self._check_support(self.net_.module_.likelihood, rows)
        return self._map_batches(function, rows, n_outputs or self.n_features_in_)

    def _map_batches(self, function, X, n_outputs):
        # Weights of X's precision: with float32 weights a float64 row's result would depend on its batch at 1e-7.
        module = self.net_.module_
        if X.dtype == np.float64:
            module = deepcopy(module).double()
        return map_batches(partial(function, module), X, X.dtype, n_outputs, self.net_.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        likelihood = LIKELIHOODS.get(self.likelihood)  # absent before the parameters are validated
        tags.input_tags.positive_only = likelihood is not None and likelihood.support != "real"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def choose_epochs(n_samples, n_batches):
    """Return what `max_epochs="auto"` means.

    More epochs would learn few rows by heart, and many rows need no more gradient steps.
    """
    return max(MIN_EPOCHS, min(MAX_EPOCHS, N_ROWS // n_samples), math.ceil(MIN_STEPS / n_batches))


def divergence(module, x):
    return module.latent.kl(module.encode(x))


def check_widths(name, widths):
    if not all(isinstance(width, Integral) and width >= 1 for width in widths):
        raise ValueError(f"{name} == {widths!r}, must hold only integers >= 1.")
