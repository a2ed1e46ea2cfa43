"""Networks: the hidden layers of encoder and decoder, and the autoencoder they form."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from skvae.sparse import centered_linear, drop, thin, totals

# Share of the decoder's hidden features that a training step leaves out where a linear model stands beside them: the
# network then has to add what many rows show, not what one does.
HIDDEN_DROPOUT = 0.5

# Features, of the deviation of all, from which on the first layer sees its input smaller, so that a step of its many
# weights does not move a hidden feature further than one of few.
MAX_WIDTH = 1500

# Least scale of an input whose squares float32 holds; a smaller one is taken as it is.
MIN_SCALE = 1e-19

ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def wide_enough(width):
    """Return the next multiple of 16.

    MKL splits the products of other widths, and the gradients of narrower ones, over threads, and their number would
    show in the last bits, which training amplifies.
    """
    return math.ceil(width / 16) * 16


class Linear(nn.Linear):
    """Compute W h + b, with W and b unset until `initialize`: torch draws them from its global random state."""

    def reset_parameters(self):
        pass


class CenteredLinear(nn.Module):
    """Compute (x - mean) W / scale + b without subtracting the mean from x, which may be a `SparseBatch`.

    What all samples share would otherwise dominate the gradient of W, and large x overflow. W has a row a feature, as
    sparse x needs it.

    Parameters
    ----------
    in_features, out_features : int
        Widths.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, in_features, out_features):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return centered_linear(x, self.mean, self.weight, self.bias * self.scale) / self.scale


class Centering(nn.Module):
    """Compute (x - mean) / scale, where no layer follows that would.

    Parameters
    ----------
    n_features : int
        Width.
    """

    def __init__(self, n_features):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x):
        return (x.to_dense() - self.mean) / self.scale


class Trunk(nn.Module):
    """Stack hidden layers, h_k = activation(W_k h_{k-1} + b_k).

    Parameters
    ----------
    n_inputs : int
        Width of the input.
    widths : sequence of int
        Width of each hidden layer. With none, the trunk is the identity, but for the centering.
    activation : str
        Key of `ACTIVATIONS`.
    first_activation : str, default=None
        Activation of the first layer; `activation` if None.
    centered : bool, default=False
        Let the first layer see the input less the mean, and by the scale, that `start` tells.
    """

    def __init__(self, n_inputs, widths, activation, first_activation=None, *, centered=False):
        super().__init__()
        self.n_inputs = self.n_outputs = n_inputs
        self.layers = nn.Sequential(*([Centering(n_inputs)] if centered and not widths else []))
        for depth, width in enumerate(widths):
            make_layer = CenteredLinear if depth == 0 and centered else Linear
            name = first_activation if depth == 0 and first_activation else activation
            self.layers.extend([make_layer(self.n_outputs, width), ACTIVATIONS[name]()])
            self.n_outputs = width

    def start(self, mean, variance):
        """Before training, tell the first layer of a centered trunk the mean and scale of its input."""
        first, scale = self.layers[0], variance.mean().sqrt()
        first.get_buffer("mean").copy_(mean)
        if scale > MIN_SCALE:
            width = max(1.0, variance.sqrt().sum().item() / scale.item() / MAX_WIDTH)
            first.get_buffer("scale").copy_(scale * width)
            with torch.no_grad():
                for weight in first.parameters():
                    weight.mul_(width if weight.ndim > 1 else 1.0)

    def forward(self, x):
        return self.layers(x)


class Head(nn.Module):
    """Map hidden features to one parameter of the posterior: a trunk of its own, then linear.

    Parameters
    ----------
    n_inputs : int
        Width of the hidden features.
    widths : sequence of int
        Width of each hidden layer of the head's own, often none.
    activation : str
        Key of `ACTIVATIONS`.
    n_outputs : int
        Number of latent dimensions.
    """

    length: torch.Tensor

    def __init__(self, n_inputs, widths, activation, n_outputs):
        super().__init__()
        self.trunk = Trunk(n_inputs, widths, activation)
        self.output = Linear(self.trunk.n_outputs, n_outputs)
        self.register_buffer("length", torch.ones(n_outputs))

    def start(self, value, length=1.0):
        """Before training, return a value (J,) whatever the input, from which training moves by steps of a length."""
        with torch.no_grad():
            self.length.fill_(1).mul_(torch.as_tensor(length))
            self.output.weight.zero_()
            self.output.bias.copy_(torch.as_tensor(value) / self.length)

    def forward(self, h):
        n_outputs = self.output.out_features
        missing = max(0, wide_enough(1) - n_outputs)
        weight = F.pad(self.output.weight, (0, 0, 0, missing))
        bias = F.pad(self.output.bias, (0, missing))
        return F.linear(self.trunk(h), weight, bias)[:, :n_outputs] * self.length


class Projection(nn.Module):
    """The linear part of an encoder, y = (x - m) A - c O, which the network adds to.

    It is set before training, and kept unless there are batches: what moves it further fits few rows by heart, and
    would turn its axes.

    Parameters
    ----------
    n_features : int
        D.
    n_components : int
        J.
    n_covariates : int
        C.
    """

    scale: torch.Tensor
    explained: torch.Tensor
    edges: torch.Tensor
    total: torch.Tensor

    def __init__(self, n_features, n_components, n_covariates):
        super().__init__()
        self.n_components = n_components
        self.linear = CenteredLinear(n_features, wide_enough(n_components)).requires_grad_(False)
        self.register_buffer("offsets", torch.zeros(n_covariates, n_components))
        # of each axis the variance along it in units of the noise, the largest such of noise alone, and their sum
        self.register_buffer("explained", torch.zeros(n_components))
        self.register_buffer("edges", torch.ones(n_components))
        self.register_buffer("total", torch.ones(()))
        # a code is z times it
        self.register_buffer("scale", torch.ones(n_components))

    def forward(self, x, c):
        return self.linear(x)[:, : self.n_components] - c @ self.offsets


class Autoencoder(nn.Module):
    """Compose x -> encoder -> q(z|x) -> z -> decoder -> p(x|z).

    With a projection, encoder and decoder are a linear model and a network that adds to it.

    Given covariates c, such as the batch of each row in one-hot form, it models p(x|z, c), so that z need not tell of
    what c tells. Without any, c has no columns.

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
    """

    def __init__(
        self, encoder, latent, decoder, likelihood, *, input_dropout=0.0, encodes_covariates=False, projection=None
    ):
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.input_dropout = input_dropout
        self.encodes_covariates = encodes_covariates
        self.projection = projection
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

    def free_projection(self):
        """Let training move the linear part of the encoder too."""
        if self.projection is not None:
            self.projection.linear.weight.requires_grad_(True)

    @property
    def code_size(self):
        """Elements a sample of the widest array on the way from x to q(z|x)."""
        # a layer has as many biases as outputs
        layers = (*self.encoder.parameters(), *self.latent.parameters())
        return max(parameter.numel() for parameter in layers if parameter.ndim == 1)

    def encode(self, x, c, generator=None):
        """Return the parameters of q(z|x), a tuple of tensors (B, J); with a generator, from x with dropout."""
        x = self.likelihood.encoder_input(x)
        linear = 0.0 if self.projection is None else self.projection(x, c)
        if generator is not None and self.input_dropout > 0:
            x = drop(x, self.input_dropout, generator)
        h = self.encoder(x) if self.uses_network else c.new_zeros(len(x), self.encoder.n_outputs)
        return self.latent(torch.cat([h, c], dim=1) if self.encodes_covariates else h, linear)

    def decode(self, z, c, generator=None):
        """Return what the likelihood sees, shape (B, H'); with a generator, hidden features with dropout."""
        inputs = torch.cat([z.to_dense(), c], dim=1)
        h = self.decoder(inputs) if self.uses_network else c.new_zeros(len(inputs), self.decoder.n_outputs)
        if self.projection is None or not self.decoder.layers:
            return h
        if generator is not None:
            h = thin(h, HIDDEN_DROPOUT, generator)
        missing = wide_enough(inputs.shape[1]) - inputs.shape[1]
        return torch.cat([h, inputs.new_zeros(len(inputs), missing), inputs], dim=1)

    def code(self, q):
        """Return the mean of z in the units of a code, (B, J)."""
        return self.scale * self.latent.mean(q)

    def mean(self, code, c, total=None):
        """Return E[x|z], shape (B, D), for rows of a total, by default the mean one of the data."""
        return self.likelihood.mean(self.decode(code.to_dense() / self.scale, c), total)

    def slopes(self, code, c):
        """Return the sum over the rows of the slopes of E[x|z] in each code, (J, D); of counts of log1p(E[x|z])."""
        z = code.requires_grad_()
        expected = self.mean(z, c)
        if self.likelihood.support == "counts":
            expected = expected.log1p()
        # u' dE/dz, for all z_j at once, is linear in u; its slopes in u are a column of the Jacobian for each z_j
        u = torch.zeros_like(expected[0], requires_grad=True)
        (weighted,) = torch.autograd.grad((expected @ u).sum(), z, create_graph=True)
        return torch.stack([torch.autograd.grad(total, u, retain_graph=True)[0] for total in weighted.sum(dim=0)])

    def denoise(self, x, c, total=None, to=None):
        """Return E[x|z] without dropout, shape (B, D), at the mean of q(z|x).

        It is for rows of a total and covariates `to`, (1, C), by default the rows' own.
        """
        z = self.latent.mean(self.encode(x, c))
        h = self.decode(z, c if to is None else to.to(c).expand_as(c))
        return self.likelihood.denoised(h, totals(x) if total is None else total)

    def log_prob(self, x, c, z):
        """Return log p(x|z), shape (B,)."""
        return self.likelihood.log_prob(self.decode(z, c), x)

    def forward(self, x, c, generator):
        """Return log p(x|z) (B,) at one z ~ q(z|x), and KL(q || p) per dimension (B, J)."""
        q = self.encode(x, c, generator)
        u = torch.rand(self.latent.n_uniforms, *q[0].shape, generator=generator, device=q[0].device)
        h = self.decode(self.latent.sample(q, u), c, generator)
        return self.likelihood.log_prob(h, x), self.latent.kl(q)


def initialize(module, generator):
    """Draw every linear layer's weights and biases from U(-1, 1) / sqrt(fan_in), and return the module."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, CenteredLinear)):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return module
