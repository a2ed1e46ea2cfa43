"""The estimators: each says what its latent and its objective are."""

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from skvae import latents
from skvae.embedding.base import BaseEmbedding
from skvae.embedding.variational import VariationalEmbedding
from skvae.networks import ACTIVATIONS
from skvae.nonnegative import EvidenceGatedLatent
from skvae.objectives import BetaELBO
from skvae.types import BatchLike, MatrixLike, PathLike


@dataclass(repr=False, eq=False, kw_only=True)
class AutoencoderEmbedding(BaseEmbedding):
    """Embed with a deep autoencoder: a nonlinear principal component analysis.

    Training minimises the mean of -log p(x|z) + latent_penalty ||z||^2 / 2 at z = encoder(x).

    Parameters
    ----------
    n_components : int, default=10
        Number of latent dimensions J.
    latent_penalty : float >= 0, default=0.25
        Weight of -log p(z) for z ~ N(0, I), up to a constant. At 1 z is the most probable one; at 0 nothing but the
        length of training keeps dimensions of noise from growing as large as those of signal. 4 suits `init="random"`.
    latent_activation : {"identity", "relu", "gelu", "silu", "tanh"}, default="identity"
        Activation of z. With "relu", as in the report, a dimension that is once negative everywhere is lost.
    likelihood : {"gaussian", "unit_gaussian", "poisson", "nb", "zinb", "bernoulli"}, default="gaussian"
        p(x|z). For log1p-normalised counts or other real data "gaussian", which learns a variance for each feature, so
        that X needs no scaling, or "unit_gaussian", half the squared error. For raw counts, whose totals are taken as
        given, "poisson"; "nb", the negative binomial with a learned dispersion for each feature; or "zinb", the same
        with more zeros. For X of 0 and 1 "bernoulli".
    init : {"linear", "random"}, default="linear"
        Where training starts. "linear" is the best linear model of the data, a factor analysis in closed form, to which
        a network that begins at nothing adds; its axes are ordered, have a sign and hardly depend on the seed. "random"
        is a network of random weights, as in the report.
    noise_floor : float >= 0 or "auto", default="auto"
        The variance that each feature keeps as noise at least, as a share of the mean variance, under the likelihood
        "gaussian" and in the linear model: larger gives features that vary little less weight. "auto" is 0.3, or 0
        (features of unlike units), 3 or 10 (many rare features) where the axes then stand half as far again above those
        of X with each column shuffled; with `init="random"` it is 0.1.
    hidden_layer_sizes : sequence of int, default=(128,)
        Widths of the encoder's hidden layers. Empty for a linear one.
    head_layer_sizes : sequence of int, default=()
        Widths of further layers of the encoder, after the hidden ones.
    decoder_layer_sizes : sequence of int, default=None
        Widths of the decoder's hidden layers; None mirrors those of the encoder. Empty for a linear decoder.
    nonnegative : bool, default=False
        Whether codes and loadings are not negative: a row uses a dimension or not, and features belong to it or not.
        The decoder is then linear, and training starts at axes that are turned to where few are used at a time.
    activation : {"identity", "relu", "gelu", "silu", "tanh"}, default="gelu"
        Activation of the hidden layers.
    first_activation : str, default=None
        Activation of the encoder's first layer, from the same list; None for `activation`.
    input_dropout : float in [0, 1) or "auto", default="auto"
        Share of the non-zero values of X that are hidden from the encoder, redrawn at each training step, so that it
        cannot memorise rows. "auto" is 0.5 if at most 40% of X is not zero and means are not much larger than
        deviations, else 0.
    encode_batch : bool, default=False
        Whether q(z|x) depends on the batches that `fit` is given, and not p(x|z) alone. Every transformed row then
        needs its batch. If not, the encoder of up to 1000 rows stays linear with `max_epochs="auto"`, as of few rows
        its network learns what sets batches apart.
    max_epochs : int or "auto", default="auto"
        Number of passes over the data. "auto" is 40 of at most 1000 rows, with the square of their number fewer of
        more, and at least 8, or, of more than 150,000 rows, as many as visit 1,200,000, and at least 2; with batches as
        many as visit 90,000 rows, and at least as many. Up to 2000 rows without batches it first tries on four fifths
        of them whether the network gains on the others, without which the fit stays linear, as it does below 100 rows.
        A number trains the network in any case. With `init="random"`, "auto" visits 200,000 rows, in 8 to 60 epochs,
        and takes at least 250 gradient steps.
    max_steps : int, default=None
        Number of gradient steps, instead of `max_epochs`: less than a pass over many rows, or all those that calls of
        `partial_fit` will take together. None for those of `max_epochs`, as if the first chunk were all data.
    batch_size : int, default=128
        Largest number of rows in a gradient step; those of an epoch are split evenly.
    learning_rate : float > 0, default=4e-3
        Largest step size of Adam.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Course of the step size: "cosine" rises over the first tenth of the steps and falls to 0 at the last.
    callbacks : list of skorch callbacks, default=None
        Loggers, `FitCheckpoint`, or with `learning_rate_schedule="constant"` skorch's `LRScheduler`, used as they are,
        not copied. Those that monitor a value have `train_loss`, and with `X_val` of `fit` also `validation`. skorch's
        checkpoint with `load_best` needs `f_criterion=None`.
    device : str, default="cpu"
        Where the network is trained and used, such as "cuda" or "cuda:1"; "auto" is the accelerator, if there is one.
    distributed : bool, default=False
        Whether to train with the other processes of a `torchrun` or `accelerate launch`, each on its share of the rows,
        in minibatches that have `batch_size` rows together. `fit` and whatever maps rows must then be called in all.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the order of rows and the samples of q(z|x). With an int, every fit gives the same
        bits on the same machine. Global random states are neither used nor changed.
    verbose : int, default=0
        0: silent; 1: a progress bar over epochs; 2: skorch's table, a row an epoch.

    Attributes
    ----------
    net_ : skorch NeuralNet
        The trained net; `net_.module_` is the torch module.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.
    batches_ : ndarray of shape (n_batches,), dict or None
        The labels that `fit` was given, sorted, and behind them those of `adapt`. Of measurements a dict of their
        "mean" and "deviation"; of a table a dict of these by column.
    n_epochs_ : int
        Number of epochs trained.
    history_ : dict of str to ndarray of shape (`n_epochs_`,)
        Training means of each epoch, or call of `partial_fit`, in nats a sample: "loss", "reconstruction"
        (-log p(x|z)) and "kl" (||z||^2 / 2). "kl_weight" is `latent_penalty`, and "active" the number of active
        dimensions. "validation" is minus the `score` of `X_val` after the epoch, if `fit` was given that.
    active_components_ : ndarray of bool of shape (n_components,)
        The dimensions whose z^2 had a mean in the last epoch above a hundredth of the largest, and that stand above
        noise, see `explained_variance_`; the others say nothing of X.
    explained_variance_ : ndarray of shape (n_components,) or None
        Variance of what the encoder sees along each axis of the linear model, in units of the noise along it, the
        largest first. An axis stands above noise if it has more than any of X with each column shuffled. None with
        `init="random"`.
    explained_variance_ratio_ : ndarray of shape (n_components,) or None
        The same as a share of the sum over all axes.
    uses_network_ : bool
        Whether a network adds to the linear model.

    See Also
    --------
    BetaVAE : Variational autoencoder, with a posterior over z.
    BetaVSC : Variational sparse coding, with a sparse posterior over z.

    References
    ----------
    Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks", Science 313.

    Examples
    --------
    >>> from skvae import AutoencoderEmbedding, LogNormalizer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> AutoencoderEmbedding(n_components=2, max_epochs=5, random_state=0).fit_transform(X).shape
    (300, 2)
    """

    latent_penalty: float = 0.25
    latent_activation: str = "identity"

    _parameter_constraints: ClassVar = {
        **BaseEmbedding._parameter_constraints,
        "latent_penalty": [Interval(Real, 0, None, closed="left")],
        "latent_activation": [StrOptions(ACTIVATIONS.keys())],
    }

    def _make_latent(self, head):
        return latents.PointLatent(head, ACTIVATIONS[self.latent_activation]())

    def _make_objective(self, n_steps):
        return BetaELBO(self.latent_penalty, n_warmup_steps=0)

    @property
    def _start_beta(self):
        return 1.0  # a point has no posterior to weigh

    def _make_judge(self):
        # a reconstruction gains by whatever the code takes up, as nothing prices that
        shared = set(BetaVAE._get_param_names())
        params = {name: value for name, value in self.get_params(deep=False).items() if name in shared}
        return BetaVAE(**{**params, "callbacks": None, "verbose": 0})

    def _active(self, kl):
        # relative, since the decoder undoes whatever scale the penalty gives the code
        return super()._active(kl / (kl.max() or 1.0))


@dataclass(repr=False, eq=False, kw_only=True)
class BetaVAE(VariationalEmbedding):
    """Embed with a variational autoencoder whose KL term is weighted by beta.

    The posterior is q(z|x) = N(mu(x), diag sigma^2(x)), the prior p(z) = N(0, I), and training maximises the mean of
    E_q[log p(x|z)] - beta KL(q(z|x) || p(z)). `transform` returns the posterior mean, mu(x).

    Parameters
    ----------
    n_components : int, default=10
        Number of latent dimensions J.
    beta : float >= 0, default=1.0
        Weight of the KL term. 1 is the evidence lower bound; larger is a simpler code, closer to the prior.
    kl_warmup : float in [0, 1], default=0.0
        Share of the gradient steps over which the weight of the KL term grows from 0 to `beta`. With `init="random"`
        0.4 keeps dimensions from collapsing onto the prior; the linear model starts at the weight it is made for.
    likelihood : {"gaussian", "unit_gaussian", "poisson", "nb", "zinb", "bernoulli"}, default="gaussian"
        p(x|z). For log1p-normalised counts or other real data "gaussian", which learns a variance for each feature, so
        that X needs no scaling, or "unit_gaussian", half the squared error. For raw counts, whose totals are taken as
        given, "poisson"; "nb", the negative binomial with a learned dispersion for each feature; or "zinb", the same
        with more zeros. For X of 0 and 1 "bernoulli".
    init : {"linear", "random"}, default="linear"
        Where training starts. "linear" is the best linear model of the data, a factor analysis in closed form, to which
        a network that begins at nothing adds; its axes are ordered, have a sign and hardly depend on the seed. "random"
        is a network of random weights, as in the report.
    noise_floor : float >= 0 or "auto", default="auto"
        The variance that each feature keeps as noise at least, as a share of the mean variance, under the likelihood
        "gaussian" and in the linear model: larger gives features that vary little less weight. "auto" is 0.3, or 0
        (features of unlike units), 3 or 10 (many rare features) where the axes then stand half as far again above those
        of X with each column shuffled; with `init="random"` it is 0.1.
    hidden_layer_sizes : sequence of int, default=(128,)
        Widths of the encoder's hidden layers. Empty for a linear one.
    head_layer_sizes : sequence of int, default=()
        Widths of further layers of the encoder, separate for each parameter of q(z|x).
    decoder_layer_sizes : sequence of int, default=None
        Widths of the decoder's hidden layers; None mirrors those of the encoder. Empty for a linear decoder.
    nonnegative : bool, default=False
        Whether codes and loadings are not negative: a row uses a dimension or not, and features belong to it or not.
        The decoder is then linear, and training starts at axes that are turned to where few are used at a time.
    activation : {"identity", "relu", "gelu", "silu", "tanh"}, default="gelu"
        Activation of the hidden layers.
    first_activation : str, default=None
        Activation of the encoder's first layer, from the same list; None for `activation`.
    input_dropout : float in [0, 1) or "auto", default="auto"
        Share of the non-zero values of X that are hidden from the encoder, redrawn at each training step, so that it
        cannot memorise rows. "auto" is 0.5 if at most 40% of X is not zero and means are not much larger than
        deviations, else 0.
    encode_batch : bool, default=False
        Whether q(z|x) depends on the batches that `fit` is given, and not p(x|z) alone. Every transformed row then
        needs its batch. If not, the encoder of up to 1000 rows stays linear with `max_epochs="auto"`, as of few rows
        its network learns what sets batches apart.
    max_epochs : int or "auto", default="auto"
        Number of passes over the data. "auto" is 40 of at most 1000 rows, with the square of their number fewer of
        more, and at least 8, or, of more than 150,000 rows, as many as visit 1,200,000, and at least 2; with batches as
        many as visit 90,000 rows, and at least as many. Up to 2000 rows without batches it first tries on four fifths
        of them whether the network gains on the others, without which the fit stays linear, as it does below 100 rows.
        A number trains the network in any case. With `init="random"`, "auto" visits 200,000 rows, in 8 to 60 epochs,
        and takes at least 250 gradient steps.
    max_steps : int, default=None
        Number of gradient steps, instead of `max_epochs`: less than a pass over many rows, or all those that calls of
        `partial_fit` will take together. None for those of `max_epochs`, as if the first chunk were all data.
    batch_size : int, default=128
        Largest number of rows in a gradient step; those of an epoch are split evenly.
    learning_rate : float > 0, default=4e-3
        Largest step size of Adam.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Course of the step size: "cosine" rises over the first tenth of the steps and falls to 0 at the last.
    callbacks : list of skorch callbacks, default=None
        Loggers, `FitCheckpoint`, or with `learning_rate_schedule="constant"` skorch's `LRScheduler`, used as they are,
        not copied. Those that monitor a value have `train_loss`, and with `X_val` of `fit` also `validation`. skorch's
        checkpoint with `load_best` needs `f_criterion=None`.
    device : str, default="cpu"
        Where the network is trained and used, such as "cuda" or "cuda:1"; "auto" is the accelerator, if there is one.
    distributed : bool, default=False
        Whether to train with the other processes of a `torchrun` or `accelerate launch`, each on its share of the rows,
        in minibatches that have `batch_size` rows together. `fit` and whatever maps rows must then be called in all.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the order of rows and the samples of q(z|x). With an int, every fit gives the same
        bits on the same machine. Global random states are neither used nor changed.
    verbose : int, default=0
        0: silent; 1: a progress bar over epochs; 2: skorch's table, a row an epoch.

    Attributes
    ----------
    net_ : skorch NeuralNet
        The trained net; `net_.module_` is the torch module.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.
    batches_ : ndarray of shape (n_batches,), dict or None
        The labels that `fit` was given, sorted, and behind them those of `adapt`. Of measurements a dict of their
        "mean" and "deviation"; of a table a dict of these by column.
    n_epochs_ : int
        Number of epochs trained.
    history_ : dict of str to ndarray of shape (`n_epochs_`,)
        Training means of each epoch, or call of `partial_fit`, in nats a sample: "loss", "reconstruction"
        (-log p(x|z)) and "kl". "kl_weight" is the weight of the KL term, beta after its warm-up, and "active" the
        number of active dimensions. "validation" is about minus the `score` of `X_val` after the epoch, if `fit` was
        given that.
    active_components_ : ndarray of bool of shape (n_components,)
        The dimensions whose KL(q(z_j|x) || p(z_j)) had a mean above 0.01 in the last epoch, and that stand above noise,
        see `explained_variance_`; the others say nothing of X.
    explained_variance_ : ndarray of shape (n_components,) or None
        Variance of what the encoder sees along each axis of the linear model, in units of the noise along it, the
        largest first. An axis stands above noise if it has more than any of X with each column shuffled. None with
        `init="random"`.
    explained_variance_ratio_ : ndarray of shape (n_components,) or None
        The same as a share of the sum over all axes.
    uses_network_ : bool
        Whether a network adds to the linear model.

    See Also
    --------
    BetaVSC : The same with a sparse posterior over z.
    AutoencoderEmbedding : The same without a posterior or prior.

    Notes
    -----
    Sums run over features and latent dimensions, and the squared error of "unit_gaussian" has its factor 1/2. Where the
    loss is the squared error without it, as in the report, the same beta weighs half as much: its 2 is 1 here.

    References
    ----------
    Kingma & Welling 2014, "Auto-encoding variational Bayes", arXiv:1312.6114.
    Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained variational framework", ICLR.

    Examples
    --------
    >>> from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> BetaVAE(n_components=2, beta=2.0, max_epochs=5, random_state=0).fit_transform(X).shape
    (300, 2)
    """

    def _make_latent(self, head):
        return latents.GaussianLatent(head)


@dataclass(repr=False, eq=False, kw_only=True)
class BetaVSC(VariationalEmbedding):
    """Embed with variational sparse coding whose KL term is weighted by beta.

    Each latent dimension is active or zero. With mu, sigma and gamma functions of x, the posterior and the prior are
    q(z_j|x) = gamma_j N(mu_j, sigma_j^2) + (1 - gamma_j) delta_0 and p(z_j) = alpha N(0, 1) + (1 - alpha) delta_0, and
    training maximises the mean of E_q[log p(x|z)] - beta KL(q(z|x) || p(z)).

    Parameters
    ----------
    n_components : int, default=10
        Number of latent dimensions J.
    beta : float >= 0, default=1.0
        Weight of the KL term. 1 is the evidence lower bound; larger is a simpler code, closer to the prior.
    alpha : float in (0, 1), default=0.8
        Prior probability that a latent dimension is active. Smaller is sparser.
    code : {"mean", "sparse"}, default="mean"
        What `transform` returns: the posterior mean gamma * mu, or mu where gamma > 1/2 and zero elsewhere, as a CSR
        matrix. Read at each call of `transform`.
    kl_warmup : float in [0, 1], default=0.0
        Share of the gradient steps over which the weight of the KL term grows from 0 to `beta`. With `init="random"`
        0.4 keeps dimensions from collapsing onto the prior; the linear model starts at the weight it is made for.
    likelihood : {"gaussian", "unit_gaussian", "poisson", "nb", "zinb", "bernoulli"}, default="gaussian"
        p(x|z). For log1p-normalised counts or other real data "gaussian", which learns a variance for each feature, so
        that X needs no scaling, or "unit_gaussian", half the squared error. For raw counts, whose totals are taken as
        given, "poisson"; "nb", the negative binomial with a learned dispersion for each feature; or "zinb", the same
        with more zeros. For X of 0 and 1 "bernoulli".
    init : {"linear", "random"}, default="linear"
        Where training starts. "linear" is the best linear model of the data, a factor analysis in closed form, to which
        a network that begins at nothing adds; its axes are ordered, have a sign and hardly depend on the seed. "random"
        is a network of random weights, as in the report.
    noise_floor : float >= 0 or "auto", default="auto"
        The variance that each feature keeps as noise at least, as a share of the mean variance, under the likelihood
        "gaussian" and in the linear model: larger gives features that vary little less weight. "auto" is 0.3, or 0
        (features of unlike units), 3 or 10 (many rare features) where the axes then stand half as far again above those
        of X with each column shuffled; with `init="random"` it is 0.1.
    hidden_layer_sizes : sequence of int, default=(128,)
        Widths of the encoder's hidden layers. Empty for a linear one.
    head_layer_sizes : sequence of int, default=()
        Widths of further layers of the encoder, separate for each parameter of q(z|x).
    decoder_layer_sizes : sequence of int, default=None
        Widths of the decoder's hidden layers; None mirrors those of the encoder. Empty for a linear decoder.
    nonnegative : bool, default=False
        Whether codes and loadings are not negative: a row uses a dimension or not, and features belong to it or not.
        The decoder is then linear, and training starts at axes that are turned to where few are used at a time.
    activation : {"identity", "relu", "gelu", "silu", "tanh"}, default="gelu"
        Activation of the hidden layers.
    first_activation : str, default=None
        Activation of the encoder's first layer, from the same list; None for `activation`.
    input_dropout : float in [0, 1) or "auto", default="auto"
        Share of the non-zero values of X that are hidden from the encoder, redrawn at each training step, so that it
        cannot memorise rows. "auto" is 0.5 if at most 40% of X is not zero and means are not much larger than
        deviations, else 0.
    encode_batch : bool, default=False
        Whether q(z|x) depends on the batches that `fit` is given, and not p(x|z) alone. Every transformed row then
        needs its batch. If not, the encoder of up to 1000 rows stays linear with `max_epochs="auto"`, as of few rows
        its network learns what sets batches apart.
    max_epochs : int or "auto", default="auto"
        Number of passes over the data. "auto" is 40 of at most 1000 rows, with the square of their number fewer of
        more, and at least 8, or, of more than 150,000 rows, as many as visit 1,200,000, and at least 2; with batches as
        many as visit 90,000 rows, and at least as many. Up to 2000 rows without batches it first tries on four fifths
        of them whether the network gains on the others, without which the fit stays linear, as it does below 100 rows.
        A number trains the network in any case. With `init="random"`, "auto" visits 200,000 rows, in 8 to 60 epochs,
        and takes at least 250 gradient steps.
    max_steps : int, default=None
        Number of gradient steps, instead of `max_epochs`: less than a pass over many rows, or all those that calls of
        `partial_fit` will take together. None for those of `max_epochs`, as if the first chunk were all data.
    batch_size : int, default=128
        Largest number of rows in a gradient step; those of an epoch are split evenly.
    learning_rate : float > 0, default=4e-3
        Largest step size of Adam.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        Course of the step size: "cosine" rises over the first tenth of the steps and falls to 0 at the last.
    callbacks : list of skorch callbacks, default=None
        Loggers, `FitCheckpoint`, or with `learning_rate_schedule="constant"` skorch's `LRScheduler`, used as they are,
        not copied. Those that monitor a value have `train_loss`, and with `X_val` of `fit` also `validation`. skorch's
        checkpoint with `load_best` needs `f_criterion=None`.
    device : str, default="cpu"
        Where the network is trained and used, such as "cuda" or "cuda:1"; "auto" is the accelerator, if there is one.
    distributed : bool, default=False
        Whether to train with the other processes of a `torchrun` or `accelerate launch`, each on its share of the rows,
        in minibatches that have `batch_size` rows together. `fit` and whatever maps rows must then be called in all.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the order of rows and the samples of q(z|x). With an int, every fit gives the same
        bits on the same machine. Global random states are neither used nor changed.
    verbose : int, default=0
        0: silent; 1: a progress bar over epochs; 2: skorch's table, a row an epoch.

    Attributes
    ----------
    net_ : skorch NeuralNet
        The trained net; `net_.module_` is the torch module.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, if X has string column names.
    batches_ : ndarray of shape (n_batches,), dict or None
        The labels that `fit` was given, sorted, and behind them those of `adapt`. Of measurements a dict of their
        "mean" and "deviation"; of a table a dict of these by column.
    n_epochs_ : int
        Number of epochs trained.
    history_ : dict of str to ndarray of shape (`n_epochs_`,)
        Training means of each epoch, or call of `partial_fit`, in nats a sample: "loss", "reconstruction"
        (-log p(x|z)) and "kl". "kl_weight" is the weight of the KL term, beta after its warm-up, and "active" the
        number of active dimensions. "validation" is about minus the `score` of `X_val` after the epoch, if `fit` was
        given that.
    active_components_ : ndarray of bool of shape (n_components,)
        The dimensions whose KL(q(z_j|x) || p(z_j)) had a mean above 0.01 in the last epoch, and that stand above noise,
        see `explained_variance_`; the others say nothing of X.
    explained_variance_ : ndarray of shape (n_components,) or None
        Variance of what the encoder sees along each axis of the linear model, in units of the noise along it, the
        largest first. An axis stands above noise if it has more than any of X with each column shuffled. None with
        `init="random"`.
    explained_variance_ratio_ : ndarray of shape (n_components,) or None
        The same as a share of the sum over all axes.
    uses_network_ : bool
        Whether a network adds to the linear model.

    See Also
    --------
    BetaVAE : The same with a Gaussian posterior and prior.
    AutoencoderEmbedding : The same without a posterior or prior.

    Notes
    -----
    Samples pass a hard gate, open with probability gamma, whose gradient is that of a steep sigmoid (straight-through).
    Gates start open. On the scale of beta see the notes of `BetaVAE`.

    References
    ----------
    Tonolini, Jensen & Murray-Smith 2019, "Variational sparse coding", UAI.
    Bengio, Leonard & Courville 2013, "Estimating or propagating gradients through stochastic neurons for conditional
    computation", arXiv:1308.3432.

    Examples
    --------
    >>> from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=300, n_features=200, random_state=0)
    >>> X = LogNormalizer().fit_transform(cells.data)
    >>> vsc = BetaVSC(n_components=2, alpha=0.2, max_epochs=5, random_state=0).fit(X)
    >>> vsc.transform(X).shape
    (300, 2)
    >>> vsc.set_params(code="sparse").transform(X).format
    'csr'
    """

    alpha: float = 0.8
    code: str = "mean"

    _parameter_constraints: ClassVar = {
        **VariationalEmbedding._parameter_constraints,
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "code": [StrOptions({"mean", "sparse"})],
    }

    def _make_latent(self, head):
        make = EvidenceGatedLatent if self.nonnegative else latents.SpikeAndSlabLatent
        return make(head, self.alpha)

    def transform(
        self, X: MatrixLike, *, batch: BatchLike = None, out: np.ndarray | PathLike | None = None
    ) -> np.ndarray | sparse.csr_matrix:
        """Embed X: return the mean of q(z|x) or a sparse code for each row.

        Parameters
        ----------
        X : {array-like, sparse matrix, store} of shape (n_samples, n_features)
            Data like that of `fit`.
        batch : {array-like, data frame, dict} of n_samples rows, default=None
            The batch of each row, as in `fit`; read only with `encode_batch=True`.
        out : ndarray of shape (n_samples, n_components) or path, default=None
            Where Z goes: an array of Z's dtype, such as a `numpy.memmap`, or the name of an `.npy` file, which appears
            once it is whole. None for a new array, and with `code="sparse"`.

        Returns
        -------
        Z : {ndarray, CSR matrix} of shape (n_samples, n_components)
            A CSR matrix with `code="sparse"`. float32 for float32 input, else float64. `out` if that is an array, a
            memory map if it is a path.

        Raises
        ------
        ValueError
            If X is not like that of `fit`, `out` has another shape or dtype, or a file cannot be understood.
        OSError
            If a file cannot be read or written.
        """
        # not the parameters of training, which may have changed since
        validate_parameter_constraints(
            {"code": self._parameter_constraints["code"]}, {"code": self.code}, type(self).__name__
        )
        if self.code == "mean":
            return super().transform(X, batch=batch, out=out)
        if out is not None:
            raise ValueError(f"out == {out!r}, must be None with code='sparse', whose size is not known before.")
        return sparse.csr_matrix(self._map_posterior(lambda module, q: module.scale * q.sparse_code(), X, batch))
