"""TrainedEmbedding: what a trained autoencoder does as a scikit-learn transformer."""

from abc import ABC
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Bunch, check_array, check_scalar
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from skvae.autoencoder import Autoencoder
from skvae.embedding.denoising import check_features, expected, spread
from skvae.embedding.mapping import apply_model, first_to_know, modules_then
from skvae.embedding.saving import plain_state, read_estimator, set_state, write_estimator
from skvae.objectives import elbo
from skvae.rows.bounds import bounded_minibatches
from skvae.rows.checks import FLOATS, check_feature_names, check_is_matrix, check_rows, check_shares, check_structure
from skvae.rows.covariates import Covariates
from skvae.rows.mapping import move
from skvae.rows.rows import Rows
from skvae.state import training_state, usual_state
from skvae.types import BatchLike, MatrixLike, Names, PathLike


class TrainedEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """The use of a trained model: to embed, decode and score rows, and to be saved.

    It needs `net_` and `batches_`, and the parameter `distributed`.
    """

    # `out` is no metadata of rows
    __metadata_request__transform: ClassVar = {"out": UNUSED}

    def transform(
        self, X: MatrixLike, *, batch: BatchLike = None, out: np.ndarray | PathLike | None = None
    ) -> np.ndarray:
        """Embed X: return the mean of q(z|x) for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`; read only with `encode_batch=True`.
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

    def inverse_transform(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Map embedded points back to the data space: return E[x|z] for each row z.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Points of the latent space, as `transform` returns them.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero. Counts are those of a row of the mean total of the data of
            `fit`; `denoise` gives each row its own.
        """
        check_is_fitted(self)
        check_is_matrix(X)
        check_structure(X)
        Z = check_array(X, accept_sparse="csr", dtype=FLOATS, estimator=self, input_name="X")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} features, but {type(self).__name__}.inverse_transform is expecting "
                f"{self._n_features_out} features as input, one a latent dimension."
            )
        rows = Rows.make(Z, Z.dtype, self._covariates, batch, admits_new=True)
        return apply_model(self, Autoencoder.mean, rows, self.n_features_in_)

    def denoise(
        self,
        X: MatrixLike,
        *,
        batch: BatchLike = None,
        to_batch: Any = None,
        library_size: float | None = None,
        features: ArrayLike | None = None,
        return_std: bool = False,
    ) -> Any:
        """Return E[x|z] at the mean of q(z|x) for each row: what the model expects where noise is left out.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches. With `to_batch` it is read only with
            `encode_batch=True`.
        to_batch : str, number, list or dict, default=None
            What the model expects of the rows had they been in this batch, one of `batches_`. A list of batches, or
            "all", is the mean over these. Of a table, a dict of these by column, in which columns that are left out
            keep what the rows have. None for their own.
        library_size : float > 0, default=None
            Of likelihoods of counts, the total that the rows are to have; None for the total that each has. The
            dropout of "zinb" is left out, so that the rows have it exactly.
        features : array-like of int, bool or str, default=None
            The features that are returned, by their indices, a mask or the names of `fit`, in that order. What is kept
            of the others is nothing, so that a few of many rows need little memory. None for all.
        return_std : bool, default=False
            Also return how uncertain the expected values are.

        Returns
        -------
        X_denoised : ndarray of shape (n_samples, n_features)
            Dense: an expected value is nowhere exactly zero.
        std : ndarray of shape (n_samples, n_features)
            With `return_std=True`: the standard deviation of E[x|z] over z ~ q(z|x), from 64 quasi-random samples, the
            same for every row. It is not that of x, to which noise adds, and leaves out how uncertain the decoder is. 0
            for an autoencoder, whose z is a point.

        Raises
        ------
        ValueError
            If `library_size` is given and the likelihood is not one of counts, `to_batch` is no batch of `fit`, or
            `features` are none of its.
        """
        check_is_fitted(self)
        if library_size is not None:
            check_scalar(library_size, "library_size", Real, min_val=0, include_boundaries="neither")
            if not self.net_.module_.likelihood.support.has_library_size:
                raise ValueError(
                    f"library_size == {library_size}, must be None for a likelihood that is not one of counts."
                )
        options = {"features": check_features(self, features), "total": library_size}
        targets = [None] if to_batch is None else self._covariates.targets(to_batch)
        needs_batch = self.net_.module_.encodes_covariates or any(map(keeps_own, targets))
        rows = self._rows(X, batch, needs_batch=needs_batch)
        moved = (rows.moved(target) for target in targets)
        total, *others = (apply_model(self, partial(expected, **options), part, self.n_features_in_) for part in moved)
        for found in others:
            total += found
        mean = total / len(targets) if others else total
        if not return_std:
            return mean
        function = partial(spread, **options, n_targets=len(targets))
        return mean, apply_model(self, function, rows.moved(*targets), self.n_features_in_)

    def score_samples(self, X: MatrixLike, *, batch: BatchLike = None) -> np.ndarray:
        """Return the evidence lower bound of log p(x) at beta = 1, whatever beta the model was trained with.

        Its expectation over q(z|x) is a mean over quasi-random samples, the same for every row, so that a row's score
        does not depend on the other rows. An autoencoder gives the log-likelihood of its reconstruction.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats, summed over features. Higher is better.
        """
        return self._map_rows(elbo, X, batch)

    def score(
        self, X: MatrixLike, y: Any = None, *, batch: BatchLike = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean of `score_samples` over the rows of X: comparable across beta, higher is better.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`, held out if the score is to choose a model.
        y : None
            Ignored.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the mean, >= 0 and not all of them 0.

        Returns
        -------
        score : float
            In nats a row. Higher is better.
        """
        scores = self.score_samples(X, batch=batch).astype(np.float64)
        return float(np.average(scores, weights=None if sample_weight is None else check_shares(sample_weight, scores)))

    @property
    def components_(self) -> np.ndarray:
        """The loadings of a linear decoder, (n_components, n_features): the slopes of E[x|z] in each dimension of Z.

        Of counts they are those of the logarithms of the rates, up to a constant of each dimension, and of
        "bernoulli" those of the logits. Only there where the decoder is linear: with `decoder_layer_sizes=()`,
        `nonnegative=True`, or where the network was left out.
        """
        check_is_fitted(self)
        module = self.net_.module_
        if not module.has_linear_decoder:
            raise AttributeError(
                "components_: the decoder is not linear; expected decoder_layer_sizes=(), or use component_features."
            )
        with usual_state(), torch.inference_mode():
            found = module.components(self._n_features_out, self._covariates.width)
        return found.numpy(force=True).astype(np.float64)

    def component_features(
        self, X: MatrixLike, n_top: int = 10, *, batch: BatchLike = None, feature_names: Names = None
    ) -> Bunch:
        """Return the features that change most along each latent dimension, like the loadings of a principal component.

        The loading of feature d on dimension j is the mean over the rows of dE[x_d|z] / dz_j at the mean of q(z|x), an
        element of the decoder's Jacobian. Of counts it is that of log1p(E[x_d|z]): slopes of E[x_d|z] itself would be
        largest where counts are. The sign of a dimension is arbitrary: all its loadings could be the other way round.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        n_top : int, default=10
            Number of features of each dimension; all if there are fewer.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`, if that was given batches.
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
        module, device, rows = self.net_.module_, self.net_.device, self._rows(X, batch)
        Z = apply_model(self, code, rows, module.widest_layer).astype(np.float32)
        rows, widths = Rows(Z, np.float32, rows.covariates, rows.encoded), rows.covariates.widths_then
        modules, total = modules_then(module, widths), torch.zeros((), dtype=torch.float64, device=device)
        with training_state():
            for part in bounded_minibatches(rows, self.n_features_in_):
                z, c = move(rows[part], device)
                knowing, c = first_to_know(modules, widths, c)
                total = total + knowing.slopes(z, c).double()
        loadings = total.numpy(force=True) / len(rows)
        indices = np.argsort(-np.abs(loadings), axis=1, kind="stable")[:, :n_top]
        return Bunch(
            names=names[indices],
            loadings=np.take_along_axis(loadings, indices, axis=1),
            indices=indices,
            quantity=module.likelihood.support.quantity,
        )

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
        write_estimator(path, self)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Return the estimator that `save` wrote, whose methods return the same bits.

        No code in the file is run, and each value in it is checked, so that one from a stranger does no harm. Its
        checksum has no key: it finds accidents, not intent.

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
        return read_estimator(path, cls)

    def __copy__(self):
        # not by way of __getstate__, which takes the net apart
        twin = object.__new__(type(self))
        twin.__dict__ = dict(vars(self))
        return twin

    def __getstate__(self):
        """Return the parameters and what was learned in plain types, for `pickle`, `skops` and `save`."""
        return plain_state(self)

    def __setstate__(self, state):
        set_state(self, state)

    @property
    def _covariates(self):
        return Covariates.from_state(self.batches_, self.net_.settings.get("earlier", ()))

    def _rows(self, X, batch, *, dtype=None, sample_weight=None, needs_batch=True, admits_new=True):
        """Return the `Rows` of data like that of `fit`; of X's dtype by default. See `Covariates.encode`."""
        check_is_fitted(self)
        X = check_rows(self, X, self.net_.module_.likelihood.support, reset=False)
        batch = batch if needs_batch else self._covariates.ignore(batch, X.shape[0])
        options = {"sample_weight": sample_weight, "required": needs_batch, "admits_new": admits_new}
        return Rows.make(X, dtype or X.dtype, self._covariates, batch, **options)

    def _map_posterior(self, function, X, batch, out=None):
        """Apply `function` to the module and q(z|x)."""
        check_is_fitted(self)
        module = self.net_.module_
        rows = self._rows(X, batch, needs_batch=module.encodes_covariates)
        return apply_model(
            self, lambda module, x, c: function(module, module.encode(x, c)), rows, module.widest_layer, out
        )

    def _map_rows(self, function, X, batch, *, needs_batch=True):
        """Apply `function` to the module, the rows of X and their covariates."""
        return apply_model(self, function, self._rows(X, batch, needs_batch=needs_batch), self.n_features_in_)


def code(module, x, c):
    """Return the mean of q(z|x) in the units of Z, (B, J)."""
    return module.code(module.encode(x, c))


def keeps_own(target):
    """Return whether rows that are moved to a target keep what they are in some column, or, for None, in all."""
    return target is None or np.isnan(target).any()
