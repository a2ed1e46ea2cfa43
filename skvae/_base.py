"""BaseEmbedding: an autoencoder as a scikit-learn transformer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import KW_ONLY, dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch, check_array, check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skvae.batching import Rows, batches_by_cost, bounded_batches, map_batches, move, one_hot
from skvae.likelihoods import LIKELIHOODS
from skvae.networks import ACTIVATIONS, Autoencoder, Head, Projection, Trunk, initialize, wide_enough
from skvae.objectives import elbo, importance_weighted
from skvae.persistence import read, understanding, write
from skvae.processes import OneProcess, find_processes
from skvae.schedules import SCHEDULES
from skvae.start import sample_rows, start
from skvae.stores import open_output
from skvae.threads import threads_for
from skvae.training import DivergenceError, find_device, gradients_on, make_net, run
from skvae.types import LabelsLike, MatrixLike, Names, PathLike, RandomState
from skvae.validation import (
    FLOATS,
    check_feature_names,
    check_rows,
    check_structure,
    check_weights,
    check_widths,
    find_batches,
    index_batches,
)
from skvae.version import VERSION
from skvae.warn import warn

# `max_epochs="auto"`: bounds of the epochs, by `init`. `N_FEW` rows or fewer have the most; with batches, or from a
# random start, it is as many as see `N_SEEN` rows, in at least so many gradient steps.
MIN_EPOCHS, MAX_EPOCHS = 8, {"linear": 40, "random": 60}
N_FEW = 1000
N_SEEN, MIN_STEPS = {"linear": 90_000, "random": 200_000}, {"linear": 1, "random": 250}

# Rows from which, and up to which, `max_epochs="auto"` tries first whether the network adds to the linear model, and of
# how many of them one is held out. Fewer say too little, and more always gained.
MIN_TRIED, N_TRIED, TRIAL_SHARE = 100, 2000, 5

# Least mean KL, in nats, of an active latent dimension.
ACTIVE_KL = 0.01

# Largest share of the fall of the loss that may fall to the second half of training without a warning.
MAX_LATE_GAIN = 0.2

# Parameters that say how to train, but not what.
NOT_LEARNED = ("callbacks", "random_state", "verbose")

# What a saved estimator holds beside its parameters.
LEARNED = {
    "net_",
    "n_features_in_",
    "batches_",
    "n_epochs_",
    "history_",
    "active_components_",
    "explained_variance_",
    "explained_variance_ratio_",
    "uses_network_",
    "_n_features_out",
    "_version",
}

# Keys of `history_`, and their names in the history of skorch.
HISTORY = {
    "loss": "train_loss",
    "reconstruction": "reconstruction",
    "kl": "kl",
    "kl_weight": "kl_weight",
    "validation": "validation",
}


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
    init: str = "linear"
    noise_floor: float | str = "auto"
    hidden_layer_sizes: Sequence[int] = (128,)
    head_layer_sizes: Sequence[int] = ()
    activation: str = "gelu"
    first_activation: str | None = None
    input_dropout: float | str = "auto"
    encode_batch: bool = False
    max_epochs: int | str = "auto"
    max_steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 4e-3
    learning_rate_schedule: str = "cosine"
    callbacks: list | None = None
    device: str = "cpu"
    distributed: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _is_generative: ClassVar = True

    # `out` is no metadata of rows
    __metadata_request__transform: ClassVar = {"out": UNUSED}

    _parameter_constraints: ClassVar = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(LIKELIHOODS.keys())],
        "init": [StrOptions({"linear", "random"})],
        "noise_floor": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "hidden_layer_sizes": ["array-like"],
        "head_layer_sizes": ["array-like"],
        "activation": [StrOptions(ACTIVATIONS.keys())],
        "first_activation": [StrOptions(ACTIVATIONS.keys()), None],
        "input_dropout": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "encode_batch": ["boolean"],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_steps": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions(SCHEDULES.keys())],
        "callbacks": [list, tuple, None],
        "device": [str],
        "distributed": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def _make_latent(self, head):
        """Return the module of q(z|x); `head` makes the module of one of its parameters."""

    @abstractmethod
    def _make_objective(self, n_steps):
        """Return the objective of a run of `n_steps` gradient steps."""

    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: LabelsLike = None,
        sample_weight: LabelsLike = None,
        X_val: MatrixLike | None = None,
        batch_val: LabelsLike = None,
    ) -> Self:
        """Train the autoencoder.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Raw counts for the likelihoods "poisson", "nb" and "zinb", zeros and ones for "bernoulli"; log1p-normalised
            counts, or any real data, for the Gaussian ones. Sparse X of any format is never made
            dense as a whole, and a store on disk never loaded as a whole: see `RowStore`. The order of the rows of X
            in memory does not matter.
        y : None
            Ignored.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, such as its donor or laboratory: strings or numbers. The decoder is told, so that z
            need not tell of what sets batches apart. See also `encode_batch`.
        sample_weight : array-like of shape (n_samples,), default=None
            How often an epoch visits each row, on average: an integer is as good as that many copies of the row. None
            is 1 for each.
        X_val : {array-like, sparse matrix, store} of shape (n_val, n_features), default=None
            Rows held out. `history_["validation"]` tells after each epoch how the model does on them, and skorch's
            `EarlyStopping(monitor="validation")` among the `callbacks` ends training by it. In a pipeline name it in
            `transform_input`, so that the steps before transform it too.
        batch_val : array-like of shape (n_val,), default=None
            The batch of each row of `X_val`, one of those of `batch`.

        Returns
        -------
        self : object
            The fitted estimator. If `fit` raises, it is as it was before.

        Raises
        ------
        ValueError
            For invalid parameters or data.
        DivergenceError
            If the loss becomes infinite or NaN: a ValueError that is a FloatingPointError.
        """
        device = self._check_parameters()
        fitted = copy(self)
        X = check_rows(fitted, X, LIKELIHOODS[self.likelihood].support)
        batches, categories = find_batches(batch, X)
        rows = Rows(X, np.float32, categories, count(batches), check_weights(sample_weight, X))
        processes = find_processes(self.distributed, device)
        n_batches, n_epochs, n_steps = self._plan(rows)
        own_rows = processes.share(rows)
        held_out = None
        if X_val is not None:
            X_val = check_rows(fitted, X_val, LIKELIHOODS[self.likelihood].support, reset=False)
            categories = index_batches(batch_val, X_val, batches, required=True, name="batch_val")
            held_out = Rows(X_val, np.float32, categories, count(batches))
        elif batch_val is not None:
            raise ValueError("batch_val is given, and X_val is None; expected both or neither.")
        with gradients_on():
            # one verdict, as processes that trained for other lengths would wait for each other
            gain = fitted._try_network(own_rows, device, processes) / processes.count
            gain = processes.add_up(torch.tensor(gain, dtype=torch.float64)).item()
            if gain <= 0:  # what is left to learn of a linear model takes few epochs
                n_epochs, n_steps = MIN_EPOCHS, MIN_EPOCHS * n_batches
            net = fitted._start_net(own_rows, n_steps, device, processes)
            if gain <= 0:
                net.module_.refuse_network()
            elif rows.n_categories:
                net.module_.free_projection()  # which tells of batches wherever these are more than a shift
            run(
                net,
                own_rows,
                n_epochs=n_epochs,
                n_batches=n_batches,
                processes=processes,
                last_step=n_steps,
                held_out=held_out,
            )
        fitted._set_learned(net, batches)
        # in one step, so that an error or interrupt before it leaves all as it was
        self.__dict__ = fitted.__dict__
        if gain <= 0:
            self._warn_of_refusal(gain)
        self._warn_of_collapse()
        self._warn_of_early_end(net.criterion_.beta)
        return self

    def partial_fit(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: LabelsLike = None,
        sample_weight: LabelsLike = None,
        batches: ArrayLike | None = None,
    ) -> Self:
        """Train on with one pass over a chunk of the data.

        The first call sets up the network, and fixes the features, the learning rate, its schedule and that of the KL
        term. Equal to `fit` in quality if the chunks are random parts of the data, and `max_steps` says how many
        gradient steps, ceil(n_samples / batch_size) a call, there will be in all. Chunks sorted by type, or an end far
        from `max_steps`, cost quality. After `fit` the schedule is over: set `learning_rate_schedule="constant"` before
        it to train on.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            See `fit`.
        y : None
            Ignored.
        batch : array-like of shape (n_samples,), default=None
            See `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.
        batches : array-like, default=None
            In the first call, all the batches that there will be; None for those of this chunk.

        Returns
        -------
        self : object
            The fitted estimator. If `partial_fit` raises, it is as it was before.

        Raises
        ------
        ValueError
            For invalid parameters or data.
        DivergenceError
            If the loss becomes infinite or NaN: a ValueError that is a FloatingPointError.
        """
        is_first = not hasattr(self, "net_")
        device = self._check_parameters()
        support = LIKELIHOODS[self.likelihood].support if is_first else self.net_.module_.likelihood.support
        fitted = copy(self)
        X = check_rows(fitted, X, support, reset=is_first)
        labels = batch if batches is None else np.atleast_1d(batches)
        known, _ = find_batches(labels, X if batches is None else labels)
        if not is_first:
            if batches is not None and not np.array_equal(known, self.batches_):
                raise ValueError(f"batches == {batches!r}, must be those of the first call, or None.")
            known = self.batches_
        categories = index_batches(batch, X, known, required=True)
        rows = Rows(X, np.float32, categories, count(known), check_weights(sample_weight, X))
        processes = find_processes(self.distributed, device)
        n_batches, _, n_steps = self._plan(rows)
        own_rows = processes.share(rows)
        with gradients_on():
            if is_first:
                net = fitted._start_net(own_rows, n_steps, device, processes)
            else:
                # another net, so that this one stays as it is if training fails
                net = fitted._restore_net(self.net_.state(), self.verbose if processes.index == 0 else 0)
                for own, trained in zip(net.module_.parameters(), self.net_.module_.parameters(), strict=True):
                    own.requires_grad_(trained.requires_grad)
                net.module_.free_projection()  # which was found from the first chunk alone
            self._warn_of_late_steps(net)
            run(net, own_rows, n_epochs=1, n_batches=n_batches, processes=processes)
        fitted._set_learned(net, known)
        self.__dict__ = fitted.__dict__  # see fit
        return self

    def fit_transform(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: LabelsLike = None,
        sample_weight: LabelsLike = None,
        X_val: MatrixLike | None = None,
        batch_val: LabelsLike = None,
    ) -> np.ndarray | sparse.csr_matrix:
        """Train the autoencoder and embed X: `fit`, then `transform`.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            See `fit`.
        y : None
            Ignored.
        batch, sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.
        X_val : {array-like, sparse matrix, store} of shape (n_val, n_features), default=None
            See `fit`.
        batch_val : array-like of shape (n_val,), default=None
            See `fit`.

        Returns
        -------
        Z : {ndarray, CSR matrix} of shape (n_samples, n_components)
            See `transform`.
        """
        self.fit(X, batch=batch, sample_weight=sample_weight, X_val=X_val, batch_val=batch_val)
        return self.transform(X, batch=batch)

    def transform(
        self, X: MatrixLike, *, batch: LabelsLike = None, out: np.ndarray | PathLike | None = None
    ) -> np.ndarray:
        """Embed X: return the mean of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`; read only with `encode_batch=True`.
        out : ndarray of shape (n_samples, n_components) or path, default=None
            Where Z goes: an array of Z's dtype, such as a `numpy.memmap`, or the name of an `.npy` file, which appears
            once it is whole. None for a new array.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Of float32 for float32 input, else float64. `out` if that is an array, a memory map if it is a path.

        Raises
        ------
        ValueError
            If X is not like that of `fit`, `out` has another shape or dtype, or a file cannot be understood.
        OSError
            If a file cannot be read or written.
        """
        return self._map_posterior(Autoencoder.code, X, batch, out)

    def inverse_transform(self, X: MatrixLike, *, batch: LabelsLike = None) -> np.ndarray:
        """Map embedded points back to the data space: return E[x|z] for each row z.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Points of the latent space, as `transform` returns them.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero. Counts are those of a row of the mean total of the data of
            `fit`; `denoise` gives each row its own.
        """
        check_is_fitted(self)
        check_structure(X)
        Z = check_array(X, accept_sparse="csr", dtype=FLOATS, estimator=self, input_name="X")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} features, but {type(self).__name__}.inverse_transform is expecting "
                f"{self._n_features_out} features as input, one a latent dimension."
            )
        return self._map_batches(Autoencoder.mean, Z, batch, self.n_features_in_)

    def denoise(
        self, X: MatrixLike, *, batch: LabelsLike = None, to_batch: Any = None, library_size: float | None = None
    ) -> np.ndarray:
        """Return E[x|z] at the mean of q(z|x) for each row: what the model expects where noise is left out.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.
        to_batch : str or number, default=None
            One of `batches_`: what the model expects of the rows had they been in that batch. None for their own.
        library_size : float > 0, default=None
            Of likelihoods of counts, the total that the rows are to have; None for the total that each has. The
            dropout of "zinb" is left out, so that the rows have it exactly.

        Returns
        -------
        X_denoised : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero.

        Raises
        ------
        ValueError
            If `library_size` is given and the likelihood is not one of counts, or `to_batch` is no batch of `fit`.
        """
        check_is_fitted(self)
        if library_size is not None:
            check_scalar(library_size, "library_size", Real, min_val=0, include_boundaries="neither")
            if self.net_.module_.likelihood.support != "counts":
                raise ValueError(
                    f"library_size == {library_size}, must be None for a likelihood that is not one of counts."
                )
        to = None if to_batch is None else self._one_batch(to_batch)
        return self._map_rows(partial(Autoencoder.denoise, total=library_size, to=to), X, batch)

    def score_samples(self, X: MatrixLike, *, batch: LabelsLike = None) -> np.ndarray:
        """Return the evidence lower bound of log p(x) at beta = 1, whatever beta the model was trained with.

        Its expectation over q(z|x) is a mean over quasi-random samples, the same for every row, so that a row's score
        does not depend on the other rows. An autoencoder gives the log-likelihood of its reconstruction.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats, summed over features. Higher is better.
        """
        return self._map_rows(elbo, X, batch)

    def score(
        self, X: MatrixLike, y: Any = None, *, batch: LabelsLike = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean of `score_samples` over the rows of X: comparable across beta, higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`, held out if the score is to choose a model.
        y : None
            Ignored.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the mean.

        Returns
        -------
        score : float
            In nats a row. Higher is better.
        """
        scores = self.score_samples(X, batch=batch).astype(np.float64)
        return float(np.average(scores, weights=None if sample_weight is None else np.asarray(sample_weight)))

    @available_if(is_generative)
    def log_likelihood(self, X: MatrixLike, *, batch: LabelsLike = None, n_samples: int = 64) -> np.ndarray:
        """Return the importance-weighted bound of log p(x): tighter than `score_samples`, and tight as samples grow.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.
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

    @available_if(is_generative)
    def posterior(self, X: MatrixLike, *, batch: LabelsLike = None) -> Bunch:
        """Return the moments of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`; read only with `encode_batch=True`.

        Returns
        -------
        posterior : Bunch
            `mean` and `std` of z, and `activation`, the probability that a dimension is not zero: ndarrays of shape
            (n_samples, n_components).
        """
        moments = self._map_posterior(
            lambda module, q: torch.stack(
                [module.code(q), module.scale * module.latent.std(q), module.latent.activation(q)], dim=1
            ),
            X,
            batch,
        )
        return Bunch(mean=moments[:, 0], std=moments[:, 1], activation=moments[:, 2])

    def component_features(
        self, X: MatrixLike, n_top: int = 10, *, batch: LabelsLike = None, feature_names: Names = None
    ) -> Bunch:
        """Return the features that change most along each latent dimension, as loadings tell of a principal component.

        The loading of feature d on dimension j is the mean over the rows of dE[x_d|z] / dz_j at the mean of q(z|x), an
        element of the decoder's Jacobian. Of counts, whose slopes would follow their abundance, it is that of
        log1p(E[x_d|z]). The sign of a dimension is arbitrary: all its loadings could be the other way round.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        n_top : int, default=10
            Number of features of each dimension; all if there are fewer.
        batch : array-like of shape (n_samples,), default=None
            The batch of each row, one of `batches_`, if `fit` was given batches.
        feature_names : array-like of str of shape (n_features,), default=None
            None for `feature_names_in_`, or x0, x1, ...

        Returns
        -------
        features : Bunch
            `names`, `loadings` and `indices` of the features: ndarrays of shape (n_components, n_top), those with the
            largest absolute loadings first. `quantity` says of what the loadings are slopes, "E[x|z]" or
            "log1p(E[x|z])".

        Examples
        --------
        >>> from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
        >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
        >>> X = LogNormalizer().fit_transform(cells.data)
        >>> vae = BetaVAE(n_components=2, max_epochs=5, random_state=0).fit(X)
        >>> vae.component_features(X, n_top=3, feature_names=cells.feature_names).names.shape
        (2, 3)
        """
        check_is_fitted(self)
        check_scalar(n_top, "n_top", Integral, min_val=1)
        names = check_feature_names(self, feature_names)
        Z = self._map_posterior(Autoencoder.code, X, batch).astype(np.float32)
        module, device = self.net_.module_, self.net_.device
        categories = index_batches(batch, Z, self.batches_, required=True)
        rows = Rows(Z, np.float32, categories, self._n_batches)
        with gradients_on():
            batches = (move(rows[batch], device) for batch in batches_by_cost(rows, self.n_features_in_))
            loadings = sum(module.slopes(z, c).double() for z, c in batches).numpy(force=True) / len(rows)
        indices = np.argsort(-np.abs(loadings), axis=1, kind="stable")[:, :n_top]
        return Bunch(
            names=names[indices],
            loadings=np.take_along_axis(loadings, indices, axis=1),
            indices=indices,
            quantity="log1p(E[x|z])" if module.likelihood.support == "counts" else "E[x|z]",
        )

    @available_if(is_generative)
    def sample(self, n_samples: int = 1, *, batch: Any = None, random_state: RandomState = None) -> np.ndarray:
        """Draw rows from the model: z from the prior p(z), then x from p(x|z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        batch : str or number, default=None
            The batch of the rows, one of `batches_`, if `fit` was given batches.
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
        generator = torch.Generator().manual_seed(rng.randint(np.iinfo(np.int32).max))
        module = self.net_.module_
        X = np.empty((n_samples, self.n_features_in_))
        covariates = self._one_batch(batch).to(self.net_.device)
        with torch.inference_mode():
            for part in bounded_batches(n_samples, self.n_features_in_):
                shape = (module.latent.n_uniforms, part.stop - part.start, self._n_features_out)
                z = module.latent.sample_prior(torch.rand(shape, generator=generator).to(self.net_.device))
                X[part] = module.likelihood.sample(module.decode(z, covariates.expand(len(z), -1)), rng)
        return X

    def save(self, path: PathLike) -> None:
        """Write the fitted estimator to a file, without pickle: tensors as safetensors, the rest as JSON.

        Parameters
        ----------
        path : str or path-like
            The file; one of that name is replaced, as a whole, once the new one is complete.

        Raises
        ------
        ImportError
            If safetensors is missing: `pip install "skvae[persistence]"`.
        TypeError
            If a parameter or the history holds what such a file cannot.
        OSError
            If the file cannot be written.

        Notes
        -----
        All is kept, what `partial_fit` needs to go on too, but `callbacks`, which are code: set them again.
        """
        check_is_fitted(self)
        state = {**self.__getstate__(), "callbacks": None}
        check_names(type(self), state)
        write(path, type(self).__name__, state)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Return the estimator that `save` wrote, whose methods return the same bits.

        No code in the file is run, so that one from a stranger does no harm.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        estimator : object
            On the device that it was trained on, else, with a warning, on the CPU.

        Raises
        ------
        ImportError
            If safetensors is missing: `pip install "skvae[persistence]"`.
        ValueError
            If the file is not of `save`, was cut short or changed, or holds another estimator.
        OSError
            If the file cannot be read.

        Warns
        -----
        UserWarning
            If another version of skvae wrote it.
        """
        state = read(path, cls.__name__)
        estimator = cls.__new__(cls)
        with understanding(path, cls.__name__):
            check_names(cls, state)
            estimator.__setstate__(state)
        return estimator

    def __copy__(self):
        # not by way of __getstate__, which takes the net apart
        twin = object.__new__(type(self))
        twin.__dict__ = dict(vars(self))
        return twin

    def __getstate__(self):
        """Return the parameters and what was learned in plain types, for `pickle`, `skops` and `save`."""
        state = {**vars(self), "_version": VERSION}
        if "net_" in state:
            state["net_"] = self.net_.state()
        request = state.pop("_metadata_request", None)
        if request is not None:
            state["_requests"] = {
                name: dict(of_method.requests)
                for name, of_method in vars(request).items()
                if hasattr(self, f"set_{name}_request")
            }
        return state

    def __setstate__(self, state):
        state = dict(state)
        version, requests, net = (state.pop(name, None) for name in ("_version", "_requests", "net_"))
        if version != VERSION:
            warn(
                f"this {type(self).__name__} was saved by skvae {version}, and this is {VERSION}: what it returns may "
                "differ. Expected the same version.",
            )
        self.__dict__.update(state)
        with config_context(enable_metadata_routing=True):
            for name, request in (requests or {}).items():
                getattr(self, f"set_{name}_request")(**request)
        if net is not None:
            with gradients_on():
                self.net_ = self._restore_net(net)

    def _check_parameters(self):
        """Raise a ValueError for invalid parameters; return the device."""
        self._validate_params()
        for name in ("hidden_layer_sizes", "head_layer_sizes"):
            check_widths(name, getattr(self, name))
        return find_device(self.device)

    def _plan(self, rows):
        """Return the gradient steps of an epoch, the epochs and the gradient steps of a run."""
        n_visits = rows.n_visits
        n_batches = math.ceil(n_visits / self.batch_size)
        if self.max_steps is not None:
            return n_batches, math.ceil(self.max_steps / n_batches), self.max_steps
        n_epochs = choose_epochs(rows, n_batches, self.init) if self.max_epochs == "auto" else self.max_epochs
        return n_batches, n_epochs, n_epochs * n_batches

    def _try_network(self, rows, device, processes):
        """Return by how many nats a row, at least, the network adds to the linear model on rows held out.

        Infinite where no trial is due: of many rows, where there are batches, which only the network takes out as far
        as they are not linear, or if the user says how long to train.
        """
        n_visits = processes.add_up(torch.tensor(rows.n_visits)).item()
        if self.init == "random" or self.max_epochs != "auto" or self.max_steps is not None or n_visits > N_TRIED:
            return math.inf
        if n_visits < MIN_TRIED:
            return -math.inf
        if rows.n_categories:
            return math.inf
        sample = sample_rows(rows, processes, N_TRIED)
        is_held_out = np.arange(len(sample)) % TRIAL_SHARE == TRIAL_SHARE // 2
        seen, held_out = (sample.take(np.flatnonzero(which)) for which in (~is_held_out, is_held_out))
        judge = self._make_judge()
        n_batches, n_epochs, _ = judge._plan(seen)

        def score(n_epochs, *, alone):
            net = judge._start_net(seen, n_epochs * n_batches, device, OneProcess())
            if alone:
                net.module_.refuse_network()
            run(net, seen, n_epochs=n_epochs, n_batches=n_batches, processes=OneProcess())
            return map_batches(partial(elbo, net.module_), held_out, self.n_features_in_, device)

        try:
            gains = score(n_epochs, alone=False) - score(MIN_EPOCHS, alone=True)
        except (DivergenceError, ValueError):  # which an infinite score is
            return -math.inf
        # what chance alone would seldom give
        return float(gains.mean() - 2 * gains.std() / math.sqrt(len(gains)))

    def _make_judge(self):
        """Return the estimator, not fitted, whose evidence lower bound says whether the network adds to the model."""
        return clone(self).set_params(callbacks=None, verbose=0)

    def _start_net(self, rows, n_steps, device, processes):
        """Return an untrained net for a run of `n_steps` gradient steps, which knows what the rows tell."""
        # One seed for each use of randomness, so that none depends on how much another draws.
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=3).tolist()
        init_seed, *run_seeds = seeds
        module = self._make_module(rows.X.shape[1], rows.n_categories)
        initialize(module, torch.Generator().manual_seed(init_seed))
        moments = start(
            module,
            rows,
            processes,
            beta=getattr(self, "beta", 1.0),  # a point has no posterior to weigh
            noise_floor=None if self.noise_floor == "auto" else float(self.noise_floor),
        )
        params = self.get_params(deep=False)
        settings = {
            "params": deepcopy({name: params[name] for name in params if name not in NOT_LEARNED}),
            "n_features": rows.X.shape[1],
            "n_categories": rows.n_categories,
            "n_steps": n_steps,
            "seeds": None if self.random_state is None else seeds,
        }
        net = self._make_net(module, settings, device, self.callbacks, self.verbose if processes.index == 0 else 0)
        net.seeds = run_seeds
        net.moments = moments
        return net

    def _restore_net(self, state, verbose=0):
        """Return a net of that state, made with the parameters that it was trained with."""
        settings = state["settings"]
        trained = type(self)(**settings["params"])
        trained._validate_params()
        module = trained._make_module(settings["n_features"], settings["n_categories"])
        try:
            device = find_device(trained.device)
        except ValueError as error:
            warn(f"The model is on the CPU now, where it can be used: {error}")
            device = torch.device("cpu")
        net = trained._make_net(module, settings, device, self.callbacks, verbose)
        net.restore(state)
        return net

    def _make_net(self, module, settings, device, callbacks, verbose):
        return make_net(
            module,
            self._make_objective(settings["n_steps"]),
            n_steps=settings["n_steps"],
            learning_rate=self.learning_rate,
            learning_rate_schedule=self.learning_rate_schedule,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            settings=settings,
        )

    def _set_learned(self, net, batches):
        """Set what fit learned."""
        self.net_ = net
        self.batches_ = batches
        self.n_epochs_ = len(net.history)
        # what each epoch knows: not all those of a checkpoint, or of a `partial_fit` after `fit`, had rows held out
        names = {term: name for term, name in HISTORY.items() if all(name in epoch for epoch in net.history)}
        self.history_ = {term: np.array(net.history[:, name]) for term, name in names.items()}
        projection = net.module_.projection
        self.explained_variance_ = self.explained_variance_ratio_ = None
        if projection is not None:
            self.explained_variance_ = projection.explained.numpy(force=True).copy()
            self.explained_variance_ratio_ = self.explained_variance_ / max(projection.total.item(), 1e-30)
        active = np.array([self._active(np.array(kl)) for kl in net.history[:, "kl_by_component"]])
        active &= self._is_above_noise()
        self.history_["active"] = active.sum(axis=1)
        self.active_components_ = active[-1]
        self._n_features_out = active.shape[1]
        self.uses_network_ = net.module_.uses_network

    def _make_module(self, n_features, n_batches):
        # True is 1 for scikit-learn, and no number for torch
        n_components = int(self.n_components)
        shared, own = ([int(width) for width in widths] for widths in (self.hidden_layer_sizes, self.head_layer_sizes))
        encoder = Trunk(n_features, shared, self.activation, self.first_activation, centered=True)
        n_hidden = encoder.n_outputs + n_batches * self.encode_batch
        head = partial(Head, n_hidden, own, self.activation, n_components)
        decoder = Trunk(n_components + n_batches, [*own[::-1], *shared[::-1]], self.activation)
        is_linear = self.init == "linear"
        beside = wide_enough(decoder.n_inputs) if is_linear and decoder.layers else 0
        likelihood = LIKELIHOODS[self.likelihood](decoder.n_outputs + beside, n_features)
        return Autoencoder(
            encoder,
            self._make_latent(head),
            decoder,
            likelihood,
            input_dropout=self.input_dropout,
            encodes_covariates=bool(self.encode_batch),
            projection=Projection(n_features, n_components, n_batches) if is_linear else None,
        )

    def _is_above_noise(self):
        """Return which dimensions explain more than those of X with each column shuffled; all where nobody knows."""
        projection = self.net_.module_.projection
        if projection is None:
            return np.ones(self.n_components, bool)
        return (projection.explained > projection.edges).numpy(force=True)

    def _active(self, kl):
        """Return which dimensions tell of x, from their mean KL in an epoch, (J,)."""
        return kl > ACTIVE_KL

    def _warn_of_refusal(self, gain):
        warn(
            f"the network was left out, and the fit is linear: on rows held out it added {gain:.3g} nats a row to the "
            "evidence lower bound, less twice the standard error; expected more than 0. Give more rows, or set "
            "max_epochs to train it all the same.",
            ConvergenceWarning,
        )

    def _warn_of_collapse(self):
        if self.explained_variance_ is not None:
            n_components, n_above = self.n_components, self._is_above_noise().sum()
            if n_above == 0:
                warn(
                    "X has no more structure than it has with each column shuffled: no latent dimension stands above "
                    "noise. Expected rows that have something in common; select the features that vary, see "
                    "VariableGeneSelector, normalise X, or give more rows.",
                    ConvergenceWarning,
                )
                return
            if n_above < n_components:
                warn(
                    f"{n_above} of {n_components} latent dimensions stand above noise, see explained_variance_; "
                    f"expected all. Set n_components={n_above}, or give more rows.",
                    ConvergenceWarning,
                )
        n_active, n_components = self.active_components_.sum(), self.n_components
        if n_active < min(2, n_components):
            warn(
                f"{n_active} of {n_components} latent dimensions are active, see active_components_; expected "
                f"{min(2, n_components)} or more. The others say nothing of X. Lower beta (latent_penalty), train "
                "longer, or scale X up.",
                ConvergenceWarning,
            )

    def _warn_of_early_end(self, beta):
        if self.net_.module_.projection is not None:
            return  # the loss begins where that of the linear model ends, and has not far to fall
        loss = self.history_["reconstruction"] + beta * self.history_["kl"]
        half = loss[(len(loss) - 1) // 2]
        gain, total = half - loss[-1], loss[0] - loss[-1]
        if gain > MAX_LATE_GAIN * abs(total):
            warn(
                f"the loss still fell by {gain:.3g} nats a sample in the second half of {len(loss)} epochs, "
                f"{gain / total:.0%} of its fall since the first; expected less than {MAX_LATE_GAIN:.0%}. Raise "
                "max_epochs or learning_rate.",
                ConvergenceWarning,
            )

    def _warn_of_late_steps(self, net):
        if net.learning_rate_factor(net.n_steps_) == 0:
            warn(
                f"the learning rate is 0 since {net.n_steps_} gradient steps were taken: no further ones train. Set "
                "max_steps to the number of all steps, or learning_rate_schedule='constant', before the first call.",
                ConvergenceWarning,
            )

    def _map_posterior(self, function, X, batch, out=None):
        """Apply `function` to the module and q(z|x)."""
        check_is_fitted(self)
        module = self.net_.module_
        return self._map_rows(
            lambda module, x, c: function(module, module.encode(x, c)),
            X,
            batch,
            n_outputs=module.code_size,
            needs_batch=module.encodes_covariates,
            out=out,
        )

    def _map_rows(self, function, X, batch, *, n_outputs=None, needs_batch=True, out=None):
        """Apply `function` to the module, the rows of X and their covariates."""
        check_is_fitted(self)
        X = check_rows(self, X, self.net_.module_.likelihood.support, reset=False)
        return self._map_batches(function, X, batch, n_outputs or self.n_features_in_, needs_batch=needs_batch, out=out)

    def _map_batches(self, function, X, batch, n_outputs, *, needs_batch=True, out=None):
        rows = Rows(X, X.dtype, index_batches(batch, X, self.batches_, required=needs_batch), self._n_batches)
        # Weights of X's precision: with float32 weights a float64 row's result would depend on its batch at 1e-7.
        module = self.net_.module_
        if X.dtype == np.float64:
            module = deepcopy(module).double()
        with threads_for(module):
            return self._write_mapped(partial(function, module), rows, n_outputs, out)

    def _write_mapped(self, function, rows, n_outputs, out):
        processes = find_processes(self.distributed, self.net_.device)
        if out is None:
            return processes.gather(map_batches(function, processes.share(rows), n_outputs, self.net_.device))
        shape, dtype = (len(rows), self._n_features_out), rows.dtype
        if processes.count > 1:
            if isinstance(out, np.ndarray):
                raise ValueError("out is an array, must be a path or None with several processes: one of them writes.")
            Z = processes.gather(map_batches(function, processes.share(rows), n_outputs, self.net_.device))
            error = None
            try:
                if processes.index == 0:
                    with open_output(out, shape, dtype) as target:
                        target[...] = Z
            except OSError as raised:
                error = raised
            processes.raise_together(error)
        else:
            with open_output(out, shape, dtype) as target:
                map_batches(function, rows, n_outputs, self.net_.device, target)
        return out if isinstance(out, np.ndarray) else np.load(out, mmap_mode="r")

    def _one_batch(self, batch):
        """Return the covariates of a row of that batch, (1, C)."""
        index = index_batches(batch, np.empty((1, 0)), self.batches_, required=True)
        return one_hot(index, self._n_batches, np.float32)

    @property
    def _n_batches(self):
        return count(self.batches_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        likelihood = LIKELIHOODS.get(self.likelihood)  # absent before the parameters are validated
        tags.input_tags.positive_only = likelihood is not None and likelihood.support != "real"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_names(Estimator, state):
    """Raise a ValueError if a saved state lacks an attribute, or has one that would take the place of a method."""
    known = {*Estimator._get_param_names(), *LEARNED}
    missing, forbidden = known - set(state), {name for name in set(state) - known if hasattr(Estimator, name)}
    if missing or forbidden:
        raise ValueError(f"a saved {Estimator.__name__} lacks {sorted(missing)}, or must not have {sorted(forbidden)}")


def choose_epochs(rows, n_batches, init):
    """Return what `max_epochs="auto"` means.

    More epochs would learn few rows by heart, and many rows need no more gradient steps. A linear start leaves the
    network little, but for what sets batches apart, which is less linear than the types are.
    """
    if init == "linear" and rows.n_categories == 0:
        usual = round(MAX_EPOCHS[init] * (N_FEW / rows.n_visits) ** 2)
    else:
        usual = N_SEEN[init] // rows.n_visits
    return max(MIN_EPOCHS, min(MAX_EPOCHS[init], usual), math.ceil(MIN_STEPS[init] / n_batches))


def count(batches):
    return 0 if batches is None else len(batches)
