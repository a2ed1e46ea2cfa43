"""The squared error of a linear reconstruction, of a dense minibatch and, without making it dense, of a sparse one."""

from functools import singledispatch

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from skvae.numerics import row_dots
from skvae.sparse import SparseBatch

# Elements of W from which half of W' P W costs less than the whole in one product.
MIN_HALVED = 2**20

# Rows of W of which a CPU finds the gradient at a time, so that its parts stay in the cache.
BLOCK = 2048


@singledispatch
def squared_error(x, h, weight, bias, precision=None):
    """Return sum_d p_d (x_d - W_d h - b_d)^2, shape (B,).

    Parameters
    ----------
    x : tensor or SparseBatch of shape (B, D)
    h : tensor of shape (B, H)
    weight : tensor of shape (D, H)
    bias : tensor of shape (D,)
    precision : tensor of shape (D,) or None
        None for ones.
    """
    squares = (x - F.linear(h, weight, bias)).square()
    return squares.sum(dim=1) if precision is None else squares @ precision


@squared_error.register
def squared_error_sparse(x: SparseBatch, h, weight, bias, precision=None):
    if gram_pays(len(x), weight.shape[1]):
        return SquaredError.apply(x, h, weight, bias, torch.ones_like(bias) if precision is None else precision)
    return squared_error(x.to_dense(), h, weight, bias, precision)


@singledispatch
def squared_error_given(x, weight, bias, precision=None):
    """Return `squared_error` of the same rows as a function of h: without gradients what is the same is found once."""
    return lambda h: squared_error(x, h, weight, bias, precision)


@squared_error_given.register
def squared_error_given_sparse(x: SparseBatch, weight, bias, precision=None):
    if torch.is_grad_enabled():
        return lambda h: squared_error(x, h, weight, bias, precision)
    return SparseSquaredError(x, weight, bias, torch.ones_like(bias) if precision is None else precision)


class SparseSquaredError:
    """`squared_error` of sparse rows as a function of h, without the dense (B, D) reconstruction, exact.

    With x_hat = W h + b and P = diag(p)

        sum_d p_d (x_d - x_hat_d)^2 = x' P (x - 2 b) - 2 h' (W' P x) + h' (W' P W) h + 2 h' (W' P b) + b' P b

    where the first two terms touch the non-zeros of x alone and the others no x at all (after Vincent et al. 2015,
    arXiv:1412.7091).
    """

    def __init__(self, x, weight, bias, precision):
        weighted, weighted_bias = weight * precision[:, None], bias * precision
        self.linear = weighted_bias @ weight - x.rows.sums(weighted)
        self.gram = gram(weight, weighted)
        # not a dot product, whose last bits depend on the number of threads
        self.constant = (weighted_bias * bias).sum() + x.rows.squared().dots(precision) - 2 * x.rows.dots(weighted_bias)

    def __call__(self, h):
        return self.at(h, self.half_grad(h))

    def half_grad(self, h):
        """Return half the gradient of each row's error in h, (B, H)."""
        return torch.addmm(self.linear, h, self.gram)

    def at(self, h, half_grad):
        """Return the errors, (B,), from h and `half_grad` of it."""
        return self.constant + ((half_grad + self.linear) * h).sum(dim=1)


class SquaredError(Function):
    """`SparseSquaredError` with its gradients.

    They come from W S - X' diag(g) H with S = H' diag(g) H, for upstream gradients g (B,).
    """

    @staticmethod
    def forward(ctx, x, h, weight, bias, precision):
        error = SparseSquaredError(x, weight, bias, precision)
        half_grad = error.half_grad(h)
        ctx.x = x
        ctx.save_for_backward(h, weight, bias, precision, half_grad)
        return error.at(h, half_grad)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x = ctx.x
        h, weight, bias, precision, half_grad = ctx.saved_tensors
        gh, twice = grad[:, None] * h, 2 * precision
        inner, sum_gh = gh.T @ h, gh.sum(dim=0)
        # per feature d: sum_i g_i x_id h_i, which becomes the gradient in place, and sum_i g_i x_id
        residual, xg = x.columns.sums(gh), x.columns.dots(grad)
        bias_residual, precision_grad = weight @ sum_gh + bias * grad.sum() - xg, torch.zeros_like(bias)
        learns_precision = ctx.needs_input_grad[4]
        if learns_precision:
            precision_grad = bias * (bias_residual - xg) + x.columns.squared().dots(grad)
        for part in parts_of(weight):
            if learns_precision:
                precision_grad[part] -= row_dots(weight[part], residual[part])
            residual[part].addmm_(weight[part], inner, beta=-1).addr_(bias[part], sum_gh)
            if learns_precision:
                precision_grad[part] += row_dots(weight[part], residual[part])
            residual[part].mul_(twice[part, None])
        return None, 2 * grad[:, None] * half_grad, residual, twice * bias_residual, precision_grad


def parts_of(weight):
    """Return slices of rows of which the gradient is found together: an accelerator has no cache to spare."""
    n_rows = len(weight)
    size = BLOCK if weight.device.type == "cpu" else n_rows
    return [slice(first, first + size) for first in range(0, n_rows, size)]


def gram(weight, weighted):
    """Return W' P W from W and P W. It is symmetric: of a large one a quarter is a copy."""
    if weight.numel() < MIN_HALVED:
        return weight.T @ weighted
    half = weight.shape[1] // 2
    top = weight[:, :half].T @ weighted
    corner = weight[:, half:].T @ weighted[:, half:]
    return torch.cat([top, torch.cat([top[:, half:].T, corner], dim=1)])


def gram_pays(n_rows, n_hidden):
    """Return whether the Gram matrix W' P W costs less than the dense reconstruction: measured on two cores."""
    return n_rows >= 0.75 * n_hidden
