"""Sparse minibatches, and the operations of a model that touch x: for a dense tensor, and for a `SparseBatch`.

The product of sparse rows and a dense matrix is an `embedding_bag`: the bag of a row is its non-zeros, weighted by
their values. The gradient needs the columns in the same form, so a minibatch that trains holds the non-zeros twice.
"""

from functools import cached_property, singledispatch

import numpy as np
import torch
from scipy import sparse
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.linalg import vecdot
from torch.nn import functional as F

# Least total of a row, so that an empty row of counts has a finite log-likelihood.
MIN_TOTAL = 1e-8

# Elements of W from which half of W' P W costs less than the whole in one product.
MIN_HALVED = 2**20


class Bags:
    """The non-zeros of a sparse matrix, row by row or column by column.

    Parameters
    ----------
    starts : tensor of shape (n_bags + 1,)
        Where each row, or column, starts in the two others.
    indices : tensor of shape (n_nonzero,)
        Positions in the row, or column.
    values : tensor of shape (n_nonzero,)
    """

    def __init__(self, starts, indices, values):
        self.starts = starts
        self.indices = indices
        self.values = values

    @classmethod
    def from_scipy(cls, matrix):
        """Return the rows of a CSR matrix, or the columns of a CSC one, sharing its memory."""
        return cls(*map(torch.from_numpy, (matrix.indptr, matrix.indices, matrix.data)))

    def map(self, function):
        """Return the bags with `function` applied to each tensor."""
        return Bags(function(self.starts), function(self.indices), function(self.values))

    def with_values(self, values):
        """Return the bags with other values at the same positions."""
        return Bags(self.starts, self.indices, values)

    def sums(self, table, values=None):
        """Return the sum over each bag of value times the row of `table`, (n, K) -> (n_bags, K)."""
        weights = self.values if values is None else values
        return F.embedding_bag(
            self.indices, table, self.starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )


class SparseBatch:
    """Sparse rows x, (B, D).

    Parameters
    ----------
    shape : (int, int)
        B and D.
    rows : Bags
        B of them.
    positions : Bags or None
        D bags, the columns, which gradients need: their values are the positions of the non-zeros in `rows`.
    """

    def __init__(self, shape, rows, positions):
        self.shape = shape
        self.rows = rows
        self.positions = positions

    @classmethod
    def from_scipy(cls, matrix, *, trains):
        """Return the rows of a CSR matrix without duplicates; `trains` says whether gradients will be asked for."""
        positions = None
        if trains:
            numbered = type(matrix)((np.arange(matrix.nnz), matrix.indices, matrix.indptr), matrix.shape)
            positions = Bags.from_scipy(numbered.tocsc())
        return cls(matrix.shape, Bags.from_scipy(matrix), positions)

    def __len__(self):
        return self.shape[0]

    @cached_property
    def columns(self):
        """The same non-zeros in D bags."""
        return self.positions.with_values(self.rows.values.index_select(0, self.positions.values))

    def map(self, function):
        """Return the minibatch with `function` applied to each tensor."""
        return SparseBatch(self.shape, self.rows.map(function), self.positions and self.positions.map(function))

    def pin_memory(self):
        return self.map(torch.Tensor.pin_memory)

    def to(self, device, *, non_blocking=False):
        return self.map(lambda part: part.to(device, non_blocking=non_blocking))

    @cached_property
    def row_of_entry(self):
        """The row of each non-zero, in the order of `rows`."""
        counts = self.rows.starts.diff()
        return torch.repeat_interleave(torch.arange(len(self), device=counts.device), counts)

    def to_dense(self):
        values = self.rows.values
        return values.new_zeros(self.shape).index_put_((self.row_of_entry, self.rows.indices.long()), values)


# Entries: those stored of a sparse minibatch, all of a dense one. A sum over features needs no others where the term of
# a zero is zero.


@singledispatch
def entries(x):
    """Return the entries of x, with the shape that the two functions below give and take."""
    return x


@entries.register
def entries_sparse(x: SparseBatch):
    return x.rows.values


@singledispatch
def at_entries(x, table):  # noqa: ARG001
    """Return what stands in `table`, (B, D) or (D,), where x has its entries."""
    return table


@at_entries.register
def at_entries_sparse(x: SparseBatch, table):
    positions = x.rows.indices if table.ndim == 1 else x.row_of_entry * x.shape[1] + x.rows.indices
    return table.flatten().index_select(0, positions)  # several times as fast as an index


@singledispatch
def sum_entries(x, values):  # noqa: ARG001
    """Return the sum over the entries of each row, (B,)."""
    return values.sum(dim=1)


@sum_entries.register
def sum_entries_sparse(x: SparseBatch, values):
    return values.new_zeros(len(x)).index_add(0, x.row_of_entry, values)


def totals(x):
    """Return the total of each row, (B, 1), at least `MIN_TOTAL`."""
    return sum_entries(x, entries(x)).clamp(min=MIN_TOTAL)[:, None]


@singledispatch
def with_entries(x, function):
    """Return x with `function` applied to its entries, which are given with the index of their row."""
    return function(x, torch.arange(len(x), device=x.device)[:, None])


@with_entries.register
def with_entries_sparse(x: SparseBatch, function):
    return SparseBatch(x.shape, x.rows.with_values(function(x.rows.values, x.row_of_entry)), x.positions)


@singledispatch
def pad(x, n_rows):
    """Return x with rows of zeros below, `n_rows` in all."""
    return F.pad(x, (0, 0, 0, n_rows - len(x)))


@pad.register
def pad_sparse(x: SparseBatch, n_rows):
    ends = x.rows.starts[-1:].expand(n_rows - len(x))
    starts = torch.cat([x.rows.starts, ends])
    return SparseBatch((n_rows, x.shape[1]), Bags(starts, x.rows.indices, x.rows.values), x.positions)


@singledispatch
def to_scipy(x):
    """Return x as an ndarray, or a sparse minibatch as a CSR matrix."""
    return x.numpy()


@to_scipy.register
def to_scipy_sparse(x: SparseBatch):
    rows = x.rows
    return sparse.csr_matrix((rows.values.numpy(), rows.indices.numpy(), rows.starts.numpy()), shape=x.shape)


@singledispatch
def drop(x, share, generator):
    """Return x with a random share of its non-zeros at zero, and the others so much larger that its mean stays."""
    nonzero = x != 0
    return x.masked_scatter(nonzero, thin(x[nonzero], share, generator))


@drop.register
def drop_sparse(x: SparseBatch, share, generator):
    return with_entries(x, lambda values, _: thin(values, share, generator))


def thin(values, share, generator):
    kept = torch.rand(values.shape, generator=generator, device=values.device) >= share
    return values * kept / (1 - share)


@singledispatch
def power_sums(x, weights):
    """Return the sums of w x and of w x^2 over the rows, with weights w (B,): two float64 tensors (D,)."""
    x = x.double()
    weighted = weights[:, None] * x
    return weighted.sum(dim=0), (weighted * x).sum(dim=0)


@power_sums.register
def power_sums_sparse(x: SparseBatch, weights):
    rows, weights = to_scipy(x).astype(np.float64), weights.numpy()
    squares = sparse.csr_matrix((np.square(rows.data), rows.indices, rows.indptr), shape=x.shape)
    # torch's index_add takes several times as long
    return torch.from_numpy(rows.T @ weights), torch.from_numpy(squares.T @ weights)


@singledispatch
def centered_linear(x, mean, weight, bias):
    """Return (x - mean) W + b, shape (B, H), without subtracting from x.

    Parameters
    ----------
    x : tensor or SparseBatch of shape (B, D)
    mean : tensor of shape (D,)
    weight : tensor of shape (D, H)
    bias : tensor of shape (H,)
    """
    return torch.addmm(bias - mean @ weight, x, weight)


@centered_linear.register
def centered_linear_sparse(x: SparseBatch, mean, weight, bias):
    return bias + CenteredProduct.apply(x, mean, weight)


class CenteredProduct(Function):
    """(x - mean) W of a sparse minibatch, differentiable in W."""

    @staticmethod
    def forward(ctx, x, mean, weight):
        ctx.x = x
        ctx.save_for_backward(mean)
        return x.rows.sums(weight) - mean @ weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (mean,) = ctx.saved_tensors
        return None, None, ctx.x.columns.sums(grad).addr_(mean, grad.sum(dim=0), alpha=-1)


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
        return SquaredError.apply(x, h, weight, bias, precision)
    return squared_error(x.to_dense(), h, weight, bias, precision)


class SquaredError(Function):
    """`squared_error` of a sparse minibatch without the dense (B, D) reconstruction, exact.

    With x_hat = W h + b and P = diag(p)

        sum_d p_d (x_d - x_hat_d)^2 = x' P (x - 2 b) - 2 h' (W' P x) + h' (W' P W) h + 2 h' (W' P b) + b' P b

    where the first two terms touch the non-zeros of x alone and the others no x at all (after Vincent et al. 2015,
    arXiv:1412.7091). The gradients come from W S - X' diag(g) H with S = H' diag(g) H, for upstream gradients g (B,).
    """

    @staticmethod
    def forward(ctx, x, h, weight, bias, precision):
        weighted, weighted_bias, ones = weight, bias, torch.ones_like(bias)
        if precision is not None:
            weighted, weighted_bias, ones = weight * precision[:, None], bias * precision, precision
        linear = weighted_bias @ weight - x.rows.sums(weighted)
        half_grad = torch.addmm(linear, h, gram(weight, weighted))
        squares = x.rows.sums(ones[:, None], x.rows.values.square()) - 2 * x.rows.sums(weighted_bias[:, None])
        ctx.x = x
        ctx.save_for_backward(h, weight, bias, precision, half_grad)
        # not a dot product, whose last bits depend on the number of threads
        return squares[:, 0] + ((half_grad + linear) * h).sum(dim=1) + (weighted_bias * bias).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x = ctx.x
        h, weight, bias, precision, half_grad = ctx.saved_tensors
        g = grad[:, None]
        gh = g * h
        sum_gh = gh.sum(dim=0)
        # per feature d: sum_i g_i x_id h_i and sum_i g_i x_id
        xh = x.columns.sums(gh)
        xg = x.columns.sums(g)[:, 0]
        if precision is not None:
            explained = vecdot(weight, xh) + bias * xg
        residual = xh.addmm_(weight, gh.T @ h, beta=-1).addr_(bias, sum_gh)
        bias_residual = vecdot(weight, sum_gh) + bias * grad.sum() - xg
        if precision is None:
            return None, 2 * g * half_grad, residual.mul_(2), 2 * bias_residual, None
        xxg = x.columns.sums(g, x.columns.values.square())[:, 0]
        precision_grad = vecdot(weight, residual) + bias * bias_residual - explained + xxg
        twice = 2 * precision
        return None, 2 * g * half_grad, residual.mul_(twice[:, None]), twice * bias_residual, precision_grad


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
