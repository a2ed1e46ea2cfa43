"""BaseEmbedding: how an autoencoder is trained as a scikit-learn estimator."""

from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skvae.embedding.adapting import adapt_net
from skvae.embedding.building import copy_net, start_net
from skvae.embedding.diagnostics import set_learned, warn_of_fit, warn_of_late_steps
from skvae.embedding.parameters import facts_of, with_plain_numbers
from skvae.embedding.trained import TrainedEmbedding
from skvae.embedding.trial import network_gain, trains_encoder
from skvae.likelihoods import LIKELIHOODS
from skvae.networks import ACTIVATIONS
from skvae.rows.checks import check_rows, check_weights, check_widths
from skvae.rows.confounding import warn_of_columns
from skvae.rows.covariates import Covariates, check_same_levels
from skvae.rows.rows import Rows
from skvae.state import training_state
from skvae.training.plan import Plan
from skvae.training.processes import find_device, find_processes
from skvae.training.schedules import SCHEDULES
from skvae.training.session import train
from skvae.types import BatchLike, LabelsLike, MatrixLike

# Least mean KL, in nats, of an active latent dimension.
ACTIVE_KL = 0.01

# Rows of a chunk from which the prior follows it: a last chunk of a few would not be like the data.
MIN_ROWS_OF_PRIOR = 100


@dataclass(repr=False, eq=False)
class BaseEmbedding(TrainedEmbedding):
    """What the estimators share: parameters and training.

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
    decoder_layer_sizes: Sequence[int] | None = None
    nonnegative: bool = False
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

    _parameter_constraints: ClassVar = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [StrOptions(LIKELIHOODS.keys())],
        "init": [StrOptions({"linear", "random"})],
        "noise_floor": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "hidden_layer_sizes": ["array-like"],
        "head_layer_sizes": ["array-like"],
        "decoder_layer_sizes": ["array-like", None],
        "nonnegative": ["boolean"],
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

    def _make_prior(self, n_components):
        """Return the prior of J dimensions that a trained model has, untrained; None where there is none."""
        return None

    def _learn_prior(self, net, rows, processes):
        """After training, fit the prior to what the rows use, if there is one."""

    @property
    @abstractmethod
    def _start_beta(self):
        """The weight of the KL term for which training starts at the best linear model."""

    def _make_judge(self):
        """Return the estimator, not fitted, whose evidence lower bound says whether the network adds to the model."""
        return clone(self).set_params(callbacks=None, verbose=0)

    def _active(self, kl):
        """Return which dimensions describe x, from their mean KL in an epoch, (J,)."""
        return kl > ACTIVE_KL

    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: BatchLike = None,
        sample_weight: LabelsLike = None,
        X_val: MatrixLike | None = None,
        batch_val: BatchLike = None,
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
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, such as its donor: a column, or a table of several, say of donor, chemistry and
            percentage of mitochondrial counts. Strings, categories, booleans and integers are labels; floats are
            measurements, which are standardised. The decoder is given them, so that z need not describe what they say.
            See also `encode_batch`.
        sample_weight : array-like of shape (n_samples,), default=None
            How often an epoch visits each row, on average: an integer is as good as that many copies of the row. None
            is 1 for each.
        X_val : {array-like, sparse matrix, store} of shape (n_val, n_features), default=None
            Rows held out. `history_["validation"]` says after each epoch how the model does on them, and skorch's
            `EarlyStopping(monitor="validation")` among the `callbacks` ends training by it. In a pipeline name it in
            `transform_input`, so that the steps before transform it too.
        batch_val : {array-like, data frame, dict} of n_val rows, default=None
            The batch of each row of `X_val`, with the columns and labels of `batch`.

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
        fitted = with_plain_numbers(self)
        processes = find_processes(fitted.distributed, device)
        with processes.together():
            rows = fitted._learn_rows(X, batch, sample_weight)
            held_out = fitted._held_out_rows(X_val, batch_val, rows.covariates)
        processes.check_alike(facts_of(fitted, rows, held_out))
        plan, own_rows = fitted._plan(rows), processes.share(rows)
        with training_state():
            gain = network_gain(fitted, own_rows, device, processes)
            plan = plan if gain > 0 else plan.shortest()
            net = start_net(fitted, own_rows, plan.n_steps, device, processes)
            net.module_.choose_parts(uses_network=gain > 0, trains_encoder=trains_encoder(fitted, own_rows, processes))
            train(net, own_rows, plan, processes, held_out=held_out)
            fitted._learn_prior(net, own_rows, processes)
        set_learned(fitted, net, rows.covariates)
        # in one step, so that an error or interrupt before it leaves all as it was; parameters stay as they were given
        self.__dict__ = {**vars(fitted), **self.get_params(deep=False)}
        warn_of_fit(self, gain)
        return self

    def partial_fit(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: BatchLike = None,
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
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            See `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.
        batches : array-like or dict, default=None
            In the first call, all the labels that there will be, of a table a dict of these by column; None for those
            of this chunk. Measurements are standardised by this chunk.

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
        fitted = with_plain_numbers(self)
        processes = find_processes(fitted.distributed, device)
        with processes.together():
            if is_first:
                rows = fitted._learn_rows(X, batch, sample_weight, levels=batches)
            else:
                check_same_levels(batches, self._covariates)
                rows = fitted._rows(X, batch, dtype=np.float32, sample_weight=sample_weight, admits_new=False)
        processes.check_alike(facts_of(fitted, rows))
        plan, own_rows = fitted._plan(rows).one_epoch(), processes.share(rows)
        with training_state():
            if is_first:
                net = start_net(fitted, own_rows, plan.n_steps, device, processes)
            else:
                # another net, so that this one stays as it is if training fails
                net = copy_net(fitted, self.net_, fitted.verbose if processes.index == 0 else 0)
            warn_of_late_steps(net)
            train(net, own_rows, plan, processes)
            if is_first or len(rows) >= MIN_ROWS_OF_PRIOR:
                fitted._learn_prior(net, own_rows, processes)
        set_learned(fitted, net, rows.covariates)
        self.__dict__ = {**vars(fitted), **self.get_params(deep=False)}  # see fit
        return self

    def fit_transform(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: BatchLike = None,
        sample_weight: LabelsLike = None,
        X_val: MatrixLike | None = None,
        batch_val: BatchLike = None,
    ) -> np.ndarray | sparse.csr_matrix:
        """Train the autoencoder and embed X: `fit`, then `transform`.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            See `fit`.
        y : None
            Ignored.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            See `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.
        X_val : {array-like, sparse matrix, store} of shape (n_val, n_features), default=None
            See `fit`.
        batch_val : {array-like, data frame, dict} of n_val rows, default=None
            See `fit`.

        Returns
        -------
        Z : {ndarray, CSR matrix} of shape (n_samples, n_components)
            See `transform`.
        """
        self.fit(X, batch=batch, sample_weight=sample_weight, X_val=X_val, batch_val=batch_val)
        return self.transform(X, batch=batch)

    def adapt(
        self,
        X: MatrixLike,
        y: Any = None,
        *,
        batch: BatchLike,
        sample_weight: LabelsLike = None,
        max_steps: int = 300,
    ) -> Self:
        """Return an estimator that knows the levels of `batch` that are new in further rows, such as a query's donor.

        Only what belongs to the new levels is learned, from the rows that have them, so that a few hundred rows do.
        What the estimator returns for rows of other levels stays the same to the last bit. The data of `fit` are not
        needed: an estimator that was loaded from a file can be adapted.

        With `encode_batch=False` the embedding is not told of the batch, so that it stays as it is for any row, and
        the decoder learns: `score`, `denoise` and `inverse_transform`.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Rows of the new levels, of many types of those of `fit`: where one level is one type alone, what sets the
            type apart is learned as the level's.
        y : None
            Ignored.
        batch : {array-like, data frame, dict} of n_samples rows
            The batch of each row, with the columns of `fit`. Rows without a new level are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            See `fit`.
        max_steps : int, default=300
            Gradient steps.

        Returns
        -------
        adapted : object
            Another estimator, whose `batches_` has the new levels behind those of before. This one is as it was.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If no level is new, `fit` was given no batch, or data are unlike those of `fit`.
        DivergenceError
            If the loss becomes infinite or NaN.
        """
        check_is_fitted(self)
        check_scalar(max_steps, "max_steps", Integral, min_val=1)
        processes = find_processes(self.distributed, self.net_.device)
        with processes.together():
            rows = self._new_rows(X, batch, sample_weight)
        processes.check_alike(facts_of(self, rows))
        with training_state():
            net = adapt_net(self, self.net_, rows, max_steps, processes)
        adapted = copy(self)
        adapted.net_, adapted.batches_ = net, rows.covariates.state
        return adapted

    def _check_parameters(self):
        """Raise a ValueError for invalid parameters; return the device."""
        self._validate_params()
        decoder_widths = () if self.decoder_layer_sizes is None else self.decoder_layer_sizes
        check_widths("hidden_layer_sizes", self.hidden_layer_sizes)
        check_widths("head_layer_sizes", self.head_layer_sizes)
        check_widths("decoder_layer_sizes", decoder_widths)
        if self.nonnegative and len(decoder_widths):
            raise ValueError(
                f"decoder_layer_sizes == {self.decoder_layer_sizes!r}, must be None or empty with nonnegative=True: "
                "the decoder is then linear."
            )
        return find_device(self.device)

    def _plan(self, rows):
        return Plan.make(
            rows,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            max_steps=self.max_steps,
            init=self.init,
        )

    def _learn_rows(self, X, batch, sample_weight, levels=None):
        """Return the `Rows` of the first data, of which features and covariates are learned.

        `levels` are all that `batch` will ever hold; None for those that it holds.
        """
        X = check_rows(self, X, LIKELIHOODS[self.likelihood].support)
        covariates = Covariates.learn(batch, X.shape[0], levels, check_weights(sample_weight, X))
        rows = Rows.make(X, np.float32, covariates, batch, sample_weight=sample_weight)
        if levels is None:
            warn_of_columns(covariates, rows.encoded)
        return rows

    def _new_rows(self, X, batch, sample_weight):
        """Return the `Rows` of further data that have new levels, with covariates that know them."""
        X = check_rows(self, X, self.net_.module_.likelihood.support, reset=False)
        covariates = self._covariates.extended(batch, X.shape[0])
        rows = Rows.make(X, np.float32, covariates, batch, sample_weight=sample_weight)
        is_new = rows.inputs[:, self._covariates.width :].any(axis=1)
        if not is_new.any():
            raise ValueError("batch holds no new level; expected some beside those that are known, see batches_.")
        new = rows if is_new.all() else rows.take(np.flatnonzero(is_new))
        if new.n_visits == 0:
            raise ValueError("sample_weight leaves out all rows of new levels; expected a sum of 1 or more for them.")
        return new

    def _held_out_rows(self, X, batch, covariates):
        """Return the `Rows` of `X_val` and `batch_val`, None where these are None."""
        if X is None:
            if batch is not None:
                raise ValueError("batch_val is given, and X_val is None; expected both or neither.")
            return None
        X = check_rows(self, X, LIKELIHOODS[self.likelihood].support, reset=False)
        return Rows.make(X, np.float32, covariates, batch, name="batch_val")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        likelihood = LIKELIHOODS.get(self.likelihood)  # absent before the parameters are validated
        tags.input_tags.positive_only = likelihood is not None and likelihood.support.is_nonnegative
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
