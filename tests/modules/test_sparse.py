import numpy as np
import pytest
import torch
from scipy import sparse

from skvae.sparse import SparseBatch, centered_linear, drop, power_sums
from skvae.squared_error import gram, squared_error, squared_error_given

B, D, H = 6, 9, 3
MATRIX = sparse.random_array((B, D), density=0.4, format="csr", random_state=0)
DENSE = torch.from_numpy(MATRIX.toarray())


def batch(matrix=MATRIX, dtype=np.float64):
    return SparseBatch.from_scipy(matrix.astype(dtype), trains=True)


def parameters(seed=0):
    """Return h, weight, bias and positive precision."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((B, H), (D, H), (D,), (D,))
    *rest, precision = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [value.requires_grad_() for value in (*rest, precision.exp())]


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs)


def test_a_batch_has_the_rows_and_columns_of_the_matrix():
    x = batch()
    assert x.shape == (B, D)
    assert len(x) == B
    torch.testing.assert_close(x.to_dense(), DENSE, rtol=0, atol=0)
    table = torch.eye(B, dtype=torch.float64)
    torch.testing.assert_close(x.columns.sums(table), DENSE.T, rtol=0, atol=0)


def test_a_batch_moves_with_all_its_tensors():
    meta = batch().to("meta")
    assert {part.device.type for bags in (meta.rows, meta.columns) for part in vars(bags).values()} == {"meta"}


def test_power_sums_are_those_of_the_dense_rows():
    weights = torch.arange(B, dtype=torch.float64)
    for own, dense in zip(power_sums(batch(), weights), power_sums(DENSE, weights), strict=True):
        torch.testing.assert_close(own, dense)


def test_centered_linear_is_that_of_dense_rows():
    _, weight, mean, _ = parameters()
    mean, bias = mean.detach(), torch.arange(H, dtype=torch.float64, requires_grad=True)
    expected = (DENSE - mean) @ weight + bias
    for x in (batch(), DENSE):
        torch.testing.assert_close(centered_linear(x, mean, weight, bias), expected)
        assert torch.autograd.gradcheck(lambda *inputs, x=x: centered_linear(x, mean, *inputs), (weight, bias))


def test_squared_error_is_that_of_dense_rows():
    h, weight, bias, precision = parameters()
    expected = (precision * (DENSE - h @ weight.T - bias) ** 2).sum(dim=1)
    for x in (batch(), DENSE):
        torch.testing.assert_close(squared_error(x, h, weight, bias, precision), expected)
        assert torch.autograd.gradcheck(lambda *inputs, x=x: squared_error(x, *inputs), parameters())


def test_squared_errors_of_the_same_rows_are_a_function_of_h():
    h, *rest = parameters()
    for x in (batch(), DENSE):
        with torch.no_grad():
            error = squared_error_given(x, *rest)
            results = [error(h), error(2 * h)]
        expected = [squared_error(x, factor * h, *rest) for factor in (1, 2)]
        torch.testing.assert_close(results, expected)
        torch.testing.assert_close(squared_error_given(x, *rest)(h), expected[0])


def test_squared_error_without_precision_has_precisions_of_one():
    *inputs, precision = parameters()
    for x in (batch(), DENSE):
        torch.testing.assert_close(squared_error(x, *inputs), squared_error(x, *inputs, torch.ones_like(precision)))
        assert torch.autograd.gradcheck(lambda *inputs, x=x: squared_error(x, *inputs), parameters()[:3])


@pytest.mark.parametrize("n_hidden", [2, 40])  # by the Gram matrix and by the dense reconstruction
def test_both_ways_of_the_squared_error_agree_in_float32(n_hidden):
    matrix = sparse.random_array((20, 500), density=0.1, format="csr", random_state=1, dtype=np.float32)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) / 4 for shape in ((20, n_hidden), (500, n_hidden), (500,))]
    inputs = [value.requires_grad_() for value in (*inputs, torch.rand(500, generator=generator) + 0.1)]
    few, dense = batch(matrix, np.float32), torch.from_numpy(matrix.toarray())
    weights = torch.rand(20, generator=generator)
    results = [squared_error(x, *inputs) for x in (few, dense)]
    torch.testing.assert_close(*results, rtol=1e-5, atol=0)
    for own, other in zip(*(gradients(result @ weights, inputs) for result in results), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


def test_gradients_of_many_features_are_those_of_the_dense_rows():
    matrix = sparse.random_array(
        (40, 5000), density=0.02, format="csr", random_state=1
    )  # in parts, of which one is short
    generator = torch.Generator().manual_seed(0)
    shapes = ((40, H), (5000, H), (5000,))
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    inputs.append((torch.rand(5000, generator=generator, dtype=torch.float64) + 0.1).requires_grad_())
    results = [squared_error(x, *inputs).sum() for x in (batch(matrix), torch.from_numpy(matrix.toarray()))]
    for own, other in zip(*(gradients(result, inputs) for result in results), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("n_hidden", [128, 101])
def test_a_large_gram_matrix_is_that_of_one_product(n_hidden):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(9000, n_hidden, generator=generator, dtype=torch.float64)
    precision = torch.rand(9000, 1, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(gram(weight, weight * precision), weight.T @ (precision * weight))


def test_empty_rows_and_columns_have_errors_and_gradients():
    h, *rest = parameters()
    empty = batch(sparse.csr_array((B, D)))
    zeros = torch.zeros(B, D, dtype=torch.float64)
    results = [squared_error(x, h, *rest) for x in (empty, zeros)]
    torch.testing.assert_close(*results)
    for own, other in zip(*(gradients(result.sum(), [h, *rest]) for result in results), strict=True):
        torch.testing.assert_close(own, other)


def test_dropout_leaves_out_a_share_and_keeps_the_mean():
    x = torch.full((200, 300), 2.0, dtype=torch.float64)
    x[:, ::3] = 0
    dropped = drop(x, 0.25, torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, 2 / 0.75}
    assert (dropped[:, ::3] == 0).all()
    n = 200 * 200
    assert dropped.sum() / n == pytest.approx(2, abs=4 * 2 * (1 / 3) ** 0.5 / n**0.5)


def test_dropout_of_sparse_rows_is_that_of_dense_ones():
    few, dense = (drop(x, 0.5, torch.Generator().manual_seed(0)) for x in (batch(), DENSE))
    torch.testing.assert_close(few.to_dense(), dense, rtol=0, atol=0)
    table = torch.eye(B, dtype=torch.float64)
    torch.testing.assert_close(few.columns.sums(table), dense.T, rtol=0, atol=0)
    assert 0 < (dense != 0).sum() < MATRIX.nnz
