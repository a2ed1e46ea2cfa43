"""Networks: the layers of encoder and decoder."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from skvae.sparse import centered_linear

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
    """Compute (x - mean) / scale, for a trunk without a first layer.

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
        Let the first layer see (x - mean) / scale, which `start` sets.
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
        """Before training, set the mean and scale of the input of a centered trunk."""
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
    """Map hidden features to one parameter of the posterior: a separate trunk, then a linear layer.

    Parameters
    ----------
    n_inputs : int
        Width of the hidden features.
    widths : sequence of int
        Width of each hidden layer of the separate trunk, often none.
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
    """The linear part of an encoder, y = (x - m) A - c O', which the network adds to.

    It is set before training, and kept in `fit`: moving it further would fit the noise of few rows, and turn its axes.
    `partial_fit` moves it, as it was found from the first chunk alone.

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
        self.offsets = nn.Parameter(torch.zeros(n_components, n_covariates), requires_grad=False)
        # of each axis the variance along it in units of the noise, the largest such of noise alone, and their sum
        self.register_buffer("explained", torch.zeros(n_components))
        self.register_buffer("edges", torch.ones(n_components))
        self.register_buffer("total", torch.ones(()))
        # a code is z times it
        self.register_buffer("scale", torch.ones(n_components))

    def forward(self, x, c):
        return self.linear(x)[:, : self.n_components] - F.linear(c, self.offsets)


def initialize(module, generator):
    """Draw every linear layer's weights and biases from U(-1, 1) / sqrt(fan_in), and return the module."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, CenteredLinear)):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return module
