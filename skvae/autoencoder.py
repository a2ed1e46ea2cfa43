"""The autoencoder: encoder, latent, decoder and likelihood as one module, with the linear model that they add to."""

from functools import cached_property

import torch
from torch import nn

from skvae.networks import wide_enough
from skvae.nonnegative import NonnegativeLatent
from skvae.sparse import drop, thin, totals

# Share of the decoder's hidden features that a training step leaves out where a linear model stands beside them: the
# network then has to add what many rows show, not what one does.
HIDDEN_DROPOUT = 0.5


class Autoencoder(nn.Module):
    """Compose x -> encoder -> q(z|x) -> z -> decoder -> p(x|z).

    With a projection, encoder and decoder are a linear model and a network that adds to it.

    Given covariates c, such as the batch of each row in one-hot form, it models p(x|z, c), so that z need not say what
    c says. Without any, c has no columns.

    Parameters
    ----------
    encoder : Module
        Maps x (B, D), a tensor or a `SparseBatch`, to hidden features (B, H).
    latent : Module
        One of `skvae.latents`: maps hidden features to q(z|x) over J dimensions.
    decoder : Module
        Maps z and c, (B, J + C), to hidden features (B, H').
    likelihood : Module
        One of `skvae.likelihoods`: maps hidden features to p(x|z).
    input_dropout : float in [0, 1) or "auto", default=0.0
        Share of the non-zeros of x that the encoder does not see in training. "auto" is set before training.
    encodes_covariates : bool, default=False
        Whether the latent sees c beside the encoder's features, (B, H + C).
    projection : Projection, default=None
        Adds to the location of q(z|x); the likelihood then sees z and c beside the decoder's features, (B, H' + J + C).
    prior : MixturePrior, default=None
        Of a model that has been trained; none of an autoencoder whose latent is a point.
    """

    def __init__(
        self,
        encoder,
        latent,
        decoder,
        likelihood,
        *,
        input_dropout=0.0,
        encodes_covariates=False,
        projection=None,
        prior=None,
    ):
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.input_dropout = input_dropout
        self.encodes_covariates = encodes_covariates
        self.projection = projection
        self.prior = prior
        self.uses_network = True

    @property
    def scale(self):
        """Deviations of a code where z has its prior's, (J,) or 1."""
        return 1.0 if self.projection is None else self.projection.scale

    def get_extra_state(self):
        return torch.tensor([self.input_dropout, self.uses_network], dtype=torch.float64)

    def set_extra_state(self, state):
        self.input_dropout, uses_network = state.tolist()
        self.uses_network = bool(uses_network)

    def refuse_network(self):
        """Before training, leave the linear model alone: hidden features are zero from now on."""
        self.uses_network = False
        self.encoder.requires_grad_(False)
        self.decoder.requires_grad_(False)

    def choose_parts(self, *, uses_network, trains_encoder):
        """Before training, leave the network out, or, if asked to, that of the encoder alone."""
        if not uses_network:
            self.refuse_network()
        elif not trains_encoder:
            self.encoder.requires_grad_(False)
            self.latent.requires_grad_(False)

    def free_projection(self):
        """Let training move the linear part of the encoder too."""
        if self.projection is not None:
            self.projection.linear.weight.requires_grad_(True)

    # what follows is looked up once: for a single row it would take longer than its products

    @cached_property
    def largest_layer(self):
        """Elements of the largest weight."""
        return max(parameter.numel() for parameter in self.parameters())

    @cached_property
    def widest_layer(self):
        """Elements a sample of the widest array on the way from x to q(z|x)."""
        # a layer has as many biases as outputs
        layers = (*self.encoder.parameters(), *self.latent.parameters())
        return max(parameter.numel() for parameter in layers if parameter.ndim == 1)

    def encode(self, x, c, generator=None):
        """Return q(z|x), one of the posteriors of `skvae.latents`; with a generator, from x with dropout."""
        x = self.likelihood.encoder_input(x)
        linear = 0.0 if self.projection is None else self.projection(x, c)
        if generator is not None and self.input_dropout > 0:
            x = drop(x, self.input_dropout, generator)
        h = self.encoder(x) if self.uses_network else c.new_zeros(len(x), self.encoder.n_outputs)
        return self.latent(torch.cat([h, c], dim=1) if self.encodes_covariates else h, linear)

    def decode(self, z, c, generator=None):
        """Return what the likelihood sees, shape (B, H'); with a generator, hidden features with dropout."""
        inputs = torch.cat([self.latent.decoded(z.to_dense()), c], dim=1)
        h = self.decoder(inputs) if self.uses_network else c.new_zeros(len(inputs), self.decoder.n_outputs)
        if self.projection is None or not self.decoder.layers:
            return h
        if generator is not None:
            h = thin(h, HIDDEN_DROPOUT, generator)
        missing = wide_enough(inputs.shape[1]) - inputs.shape[1]
        return torch.cat([h, inputs.new_zeros(len(inputs), missing), inputs], dim=1)

    @property
    def is_nonnegative(self):
        """Whether codes and the loadings of a linear decoder are."""
        return isinstance(self.latent, NonnegativeLatent)

    def constrain(self, n_components):
        """After a gradient step, move the loadings of J dimensions of a linear decoder to where they may be."""
        if not self.decoder.layers:
            with torch.no_grad():
                self.latent.constrain(self.likelihood.output.weight[:, :n_components])

    @property
    def has_linear_decoder(self):
        """Whether E[x|z], or its link, is linear in what the decoder sees of z."""
        return not self.decoder.layers or (self.projection is not None and not self.uses_network)

    def components(self, n_components, n_covariates):
        """Return the slopes in each dimension of a code of E[x|z], or of its link, of a linear decoder, (J, D)."""
        weight = self.likelihood.output.weight
        last = weight.shape[1] - n_covariates
        return (self.likelihood.scaled(weight[:, last - n_components : last]) / self.scale).T

    def code(self, q):
        """Return the mean of z in the units of a code, (B, J)."""
        return self.scale * q.mean()

    def mean(self, code, c, total=None):
        """Return E[x|z], shape (B, D), for rows of a total, by default the mean one of the data."""
        return self.likelihood.mean(self.decode(code.to_dense() / self.scale, c), total)

    def slopes(self, code, c):
        """Return the sum over the rows of the slopes in each code, (J, D), of E[x|z] or, see `Support`, its log1p."""
        z = code.requires_grad_()
        expected = self.mean(z, c)
        if self.likelihood.support.log_scale:
            expected = expected.log1p()
        # u' dE/dz, for all z_j at once, is linear in u; its slopes in u are a column of the Jacobian for each z_j
        u = torch.zeros_like(expected[0], requires_grad=True)
        (weighted,) = torch.autograd.grad((expected @ u).sum(), z, create_graph=True)
        return torch.stack([torch.autograd.grad(total, u, retain_graph=True)[0] for total in weighted.sum(dim=0)])

    def denoise(self, x, c, total=None):
        """Return E[x|z] without dropout, shape (B, D), at the mean of q(z|x).

        It is for rows of a total, by default their own; c (B, 2 C) are their covariates, and those for which it is.
        """
        own, other = c.chunk(2, dim=1) if c.shape[1] else (c, c)
        h = self.decode(self.encode(x, own).mean(), other)
        return self.likelihood.denoised(h, totals(x) if total is None else total)

    def log_prob_given(self, x, c):
        """Return log p(x|z), shape (B,), of the same rows as a function of z."""
        log_prob = self.likelihood.given(x)
        return lambda z: log_prob(self.decode(z, c))

    def forward(self, x, c, generator):
        """Return log p(x|z) (B,) at one z ~ q(z|x), and KL(q || p) per dimension (B, J)."""
        q = self.encode(x, c, generator)
        u = torch.rand(q.n_uniforms, *q.shape, generator=generator, device=c.device)
        h = self.decode(q.sample(u), c, generator)
        return self.likelihood.log_prob(h, x), q.kl()
