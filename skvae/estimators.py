"""The estimators: each says what its latent and its objective are."""

from numbers import Real

from scipy import sparse
from sklearn.utils._param_validation import Interval, StrOptions

from skvae import latents
from skvae._base import BaseEmbedding
from skvae.networks import ACTIVATIONS
from skvae.objectives import BetaELBO, Reconstruction


class AutoencoderEmbedding(BaseEmbedding):
    def __init__(
        self,
        n_components=6,
        *,
        latent_activation="identity",
        likelihood="gaussian",
        hidden_layer_sizes=(128,),
        head_layer_sizes=(),
        activation="relu",
        first_activation=None,
        max_epochs=60,
        batch_size=256,
        learning_rate=1e-3,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            n_components,
            likelihood=likelihood,
            hidden_layer_sizes=hidden_layer_sizes,
            head_layer_sizes=head_layer_sizes,
            activation=activation,
            first_activation=first_activation,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.latent_activation = latent_activation

    _parameter_constraints = {
        **BaseEmbedding._parameter_constraints,
        "latent_activation": [StrOptions(set(ACTIVATIONS))],
    }

    def _make_latent(self, head):
        return latents.Point(head, ACTIVATIONS[self.latent_activation]())

    def _make_objective(self, n_steps):
        return Reconstruction()


class BetaVAE(BaseEmbedding):
    def __init__(
        self,
        n_components=6,
        *,
        beta=1.0,
        kl_warmup=0.3,
        likelihood="gaussian",
        hidden_layer_sizes=(128,),
        head_layer_sizes=(),
        activation="relu",
        first_activation=None,
        max_epochs=60,
        batch_size=256,
        learning_rate=1e-3,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            n_components,
            likelihood=likelihood,
            hidden_layer_sizes=hidden_layer_sizes,
            head_layer_sizes=head_layer_sizes,
            activation=activation,
            first_activation=first_activation,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.beta = beta
        self.kl_warmup = kl_warmup

    _parameter_constraints = {
        **BaseEmbedding._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    }

    def _make_latent(self, head):
        return latents.Gaussian(head)

    def _make_objective(self, n_steps):
        return BetaELBO(self.beta, self.kl_warmup * n_steps)


class BetaVSC(BaseEmbedding):
    def __init__(
        self,
        n_components=6,
        *,
        beta=1.0,
        alpha=0.5,
        code="mean",
        kl_warmup=0.3,
        likelihood="gaussian",
        hidden_layer_sizes=(128,),
        head_layer_sizes=(),
        activation="relu",
        first_activation=None,
        max_epochs=60,
        batch_size=256,
        learning_rate=1e-3,
        callbacks=None,
        device="cpu",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            n_components,
            likelihood=likelihood,
            hidden_layer_sizes=hidden_layer_sizes,
            head_layer_sizes=head_layer_sizes,
            activation=activation,
            first_activation=first_activation,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            callbacks=callbacks,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.beta = beta
        self.alpha = alpha
        self.code = code
        self.kl_warmup = kl_warmup

    _parameter_constraints = {
        **BaseEmbedding._parameter_constraints,
        "beta": [Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "code": [StrOptions({"mean", "sparse"})],
        "kl_warmup": [Interval(Real, 0, 1, closed="both")],
    }

    def _make_latent(self, head):
        return latents.SpikeAndSlab(head, self.alpha)

    def _make_objective(self, n_steps):
        return BetaELBO(self.beta, self.kl_warmup * n_steps)

    def transform(self, X):
        if self.code == "mean":
            return super().transform(X)
        return sparse.csr_matrix(self._map_rows(lambda module, x: module.latent.sparse_code(module.encode(x)), X))
