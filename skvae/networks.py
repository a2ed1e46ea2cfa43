"""Networks: the hidden layers of encoder and decoder, and the autoencoder they form."""

import torch
from torch import nn
from torch.nn import functional as F

from skvae.sparse import centered_linear, drop, totals

ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


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
        self.n_outputs = n_inputs
        self.layers = nn.Sequential(*([Centering(n_inputs)] if centered and not widths else []))
        for depth, width in enumerate(widths):
            make_layer = CenteredLinear if depth == 0 and centered else Linear
            name = first_activation if depth == 0 and first_activation else activation
            self.layers.extend([make_layer(self.n_outputs, width), ACTIVATIONS[name]()])
            self.n_outputs = width

    def start(self, mean, variance):
        """Before training, tell the first layer of a centered trunk the mean and scale of its input."""
        self.layers[0].get_buffer("mean").copy_(mean)
        self.layers[0].get_buffer("scale").copy_(variance.mean().sqrt().clamp(min=1))

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

    def __init__(self, n_inputs, widths, activation, n_outputs):
        super().__init__()
        self.trunk = Trunk(n_inputs, widths, activation)
        self.output = Linear(self.trunk.n_outputs, n_outputs)

    def forward(self, h):
        # Computed with at least 16 outputs: MKL splits the gradient of a narrower weight over threads, and their number
        # would show in its last bits, which training amplifies.
        n_outputs = self.output.out_features
        missing = max(0, 16 - n_outputs)
        weight = F.pad(self.output.weight, (0, 0, 0, missing))
        bias = F.pad(self.output.bias, (0, missing))
        return F.linear(self.trunk(h), weight, bias)[:, :n_outputs]


class Autoencoder(nn.Module):
    """Compose x -> encoder -> q(z|x) -> z -> decoder -> p(x|z).

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
    """

    def __init__(self, encoder, latent, decoder, likelihood, *, input_dropout=0.0, encodes_covariates=False):
        super().__init__()
        self.encoder = encoder
        self.latent = latent
        self.decoder = decoder
        self.likelihood = likelihood
        self.input_dropout = input_dropout
        self.encodes_covariates = encodes_covariates

    def get_extra_state(self):
        return torch.tensor(self.input_dropout, dtype=torch.float64)

    def set_extra_state(self, state):
        self.input_dropout = state.item()

    @property
    def code_size(self):
        """Elements a sample of the widest array on the way from x to q(z|x)."""
        # a layer has as many biases as outputs
        layers = (*self.encoder.parameters(), *self.latent.parameters())
        return max(parameter.numel() for parameter in layers if parameter.ndim == 1)

    def encode(self, x, c, generator=None):
        """Return the parameters of q(z|x), a tuple of tensors (B, J); with a generator, from x with dropout."""
        x = self.likelihood.encoder_input(x)
        if generator is not None and self.input_dropout > 0:
            x = drop(x, self.input_dropout, generator)
        h = self.encoder(x)
        return self.latent(torch.cat([h, c], dim=1) if self.encodes_covariates else h)

    def decode(self, z, c):
        """Return the decoder's hidden features, shape (B, H')."""
        return self.decoder(torch.cat([z.to_dense(), c], dim=1))

    def mean(self, z, c, total=None):
        """Return E[x|z], shape (B, D), for rows of a total, by default the mean one of the data."""
        return self.likelihood.mean(self.decode(z, c), total)

    def slopes(self, z, c):
        """Return the sum over the rows of the Jacobian dE[x|z] / dz, shape (J, D); of counts that of log1p(E[x|z])."""
        z = z.requires_grad_()
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
        return self.log_prob(x, c, self.latent.sample(q, u)), self.latent.kl(q)


def initialize(module, generator):
    """Draw every linear layer's weights and biases from U(-1, 1) / sqrt(fan_in), and return the module."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, CenteredLinear)):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return module
