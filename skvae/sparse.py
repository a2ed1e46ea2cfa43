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
from torch.nn import functional as F

# Least total of a row, so that an empty row of counts has a finite log-likelihood.
MIN_TOTAL = 1e-8


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

    def squared(self):
        """Return the bags with squared values."""
        return self.with_values(self.values.square())

    def sums(self, table):
        """Return the sum over each bag of value times the row of `table`, (n, K) -> (n_bags, K)."""
        return F.embedding_bag(
            self.indices, table, self.starts, mode="sum", per_sample_weights=self.values, include_last_offset=True
        )

    def dots(self, vector):
        """Return the sum over each bag of value times the element of `vector`, (n,) -> (n_bags,)."""
        if vector.device.type != "cpu":
            return self.sums(vector[:, None])[:, 0]
        # several times as fast as bags of a single column
        parts = (self.values.numpy(force=True), self.indices.numpy(), self.starts.numpy())
        matrix = sparse.csr_array(parts, shape=(len(self.starts) - 1, len(vector)))
        return torch.from_numpy(matrix @ vector.numpy(force=True))


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
            numbers = np.arange(matrix.nnz, dtype=matrix.indices.dtype)
            numbered = type(matrix)((numbers, matrix.indices, matrix.indptr), matrix.shape)
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

    def with_values(self, values):
        """Return a minibatch with other values at the same positions."""
        return SparseBatch(self.shape, self.rows.with_values(values), self.positions)

    @cached_property
    def row_of_entry(self):
        """The row of each non-zero, in the order of `rows`."""
        counts = self.rows.starts.diff()
        return torch.repeat_interleave(torch.arange(len(self), device=counts.device), counts)

    @cached_property
    def places(self):
        """The place of each non-zero in the elements of a table (B, D)."""
        return self.row_of_entry * self.shape[1] + self.rows.indices

    @cached_property
    def totals(self):
        """The total of each row, (B,)."""
        return sum_entries(self, self.rows.values)

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
    # several times as fast as an index
    return table.flatten().index_select(0, x.rows.indices if table.ndim == 1 else x.places)


@singledispatch
def sum_entries(x, values):  # noqa: ARG001
    """Return the sum over the entries of each row, (B,)."""
    return values.sum(dim=1)


@sum_entries.register
def sum_entries_sparse(x: SparseBatch, values):
    return values.new_zeros(len(x)).index_add(0, x.row_of_entry, values)


@singledispatch
def sum_columns(x, values):  # noqa: ARG001
    """Return the sum over the entries of each column, (D,)."""
    return values.sum(dim=0)


@sum_columns.register
def sum_columns_sparse(x: SparseBatch, values):
    return values.new_zeros(x.shape[1]).index_add_(0, x.rows.indices, values)


@singledispatch
def add_entries(x, table, values):  # noqa: ARG001
    """Add values to a table (B, D), in place, where x has its entries, and return it."""
    return table.add_(values)


@add_entries.register
def add_entries_sparse(x: SparseBatch, table, values):
    table.view(-1).index_add_(0, x.places, values)
    return table


@singledispatch
def at_rows(x, numbers):  # noqa: ARG001
    """Return the number of its row, of (B,), for each entry of x."""
    return numbers[:, None]


@at_rows.register
def at_rows_sparse(x: SparseBatch, numbers):
    return numbers.index_select(0, x.row_of_entry)


@singledispatch
def row_totals(x):
    return x.sum(dim=1)


@row_totals.register
def row_totals_sparse(x: SparseBatch):
    return x.totals


def totals(x):
    """Return the total of each row, (B, 1), at least `MIN_TOTAL`."""
    return row_totals(x).clamp(min=MIN_TOTAL)[:, None]


@singledispatch
def with_entries(x, function):
    """Return x with `function` applied to its entries."""
    return function(x)


@with_entries.register
def with_entries_sparse(x: SparseBatch, function):
    return x.with_values(function(x.rows.values))


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
    return with_entries(x, lambda values: thin(values, share, generator))


def thin(values, share, generator):
    """Return values of which a random share, to 16 bits, is zero, and the others so much larger that the mean stays."""
    left_out = min(round(share * 2**16), 2**16 - 1)
    # four numbers of 16 bits from each draw: as many draws would take as long as a product of sparse rows
    draws = torch.empty(-(-values.numel() // 4), dtype=torch.int64, device=values.device)
    numbers = draws.random_(-(2**63), None, generator=generator).view(torch.int16)[: values.numel()]
    kept = (numbers >= left_out - 2**15).to(values.dtype)
    return values * kept.mul_(2**16 / (2**16 - left_out)).view(values.shape)


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
