"""Whatever fit is given, it returns what the same numbers in a plain array give, or a ValueError or TypeError."""

import copy
import datetime
import traceback
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import ESTIMATORS
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skvae import LogNormalizer, VariableGeneSelector

SMALL = {"n_components": 2, "hidden_layer_sizes": (4,), "max_epochs": 1, "random_state": 0}
FLOATS = (np.float64, np.float32)

# Largest size up to which a fit must not diverge.
MODERATE = 1e6


# Numbers


@st.composite
def arrays(draw):
    """Draw the numbers of X: counts or reals, of any size, some of them not finite."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_samples = draw(st.sampled_from([1, 2, 3, 7, 12]))
    n_features = draw(st.sampled_from([2, 3, 5, 8, 8, 8, 1003]))
    kind = draw(st.sampled_from(["counts", "counts", "reals", "binary", "zeros", "constant"]))
    X = {
        "counts": lambda: rng.poisson(0.7, size=(n_samples, n_features)) * 1.0,
        "reals": lambda: rng.normal(size=(n_samples, n_features)),
        "binary": lambda: (rng.uniform(size=(n_samples, n_features)) < 0.3) * 1.0,
        "zeros": lambda: np.zeros((n_samples, n_features)),
        "constant": lambda: np.full((n_samples, n_features), rng.normal()),
    }[kind]()
    if n_features > 1000:  # sparse enough to stay so
        X[:, 100:] = 0
    X[rng.uniform(size=n_samples) < draw(st.sampled_from([0, 0, 0.3]))] = 0
    X *= draw(st.sampled_from([1, 1, 1, 1, 1, 1, 10, 1e-3, 1e3, 1e-30, 1e30, 1e300]))
    place = rng.integers(n_samples), rng.integers(n_features)
    special = draw(st.sampled_from([None] * 20 + [np.nan, np.inf, -np.inf, -1.0, 0.5, 1e9, 1e38, -0.0]))
    if special is not None:
        X[place] = special
    return X


DTYPES = ["float64"] * 6 + ["float32"] * 4 + ["float16", "int8", "int32", "int64", "uint8", "bool", "object", "<U8"]
DTYPES += ["complex128", ">f8", "longdouble"]


def cast(X, dtype):
    if dtype in ("int8", "int32", "int64", "uint8", "bool"):
        X = np.nan_to_num(X, nan=0, posinf=100, neginf=-100).clip(0 if dtype == "uint8" else -100, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return X.astype(dtype)


# Containers: each makes X from an array; what comes after the first two words is drawn


def strided(X, rng):
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def backwards(X, rng):
    return X[::-1, ::-1].copy()[::-1, ::-1]


def read_only(X, rng):
    X = X.copy()
    X.setflags(write=False)
    return X


def unaligned(X, rng):
    buffer = np.empty(X.nbytes + 1, np.uint8)[1:]
    view = buffer[: X.nbytes].view(X.dtype).reshape(X.shape) if X.dtype != object else X
    view[...] = X
    return view


def with_duplicates(X, rng):
    matrix = sparse.csr_array(X)
    values = matrix.data / 2 if matrix.dtype.kind == "f" else matrix.data * 0
    values = np.column_stack([values.astype(X.dtype), (matrix.data - values).astype(X.dtype)])
    parts = values.ravel(), np.repeat(matrix.indices, 2), 2 * matrix.indptr
    return sparse.csr_array(parts, shape=X.shape)


def with_zeros(X, rng):
    matrix = sparse.csr_array(np.where((X == 0) & (rng.uniform(size=X.shape) < 0.5), 1, X).astype(X.dtype))
    matrix.data = X[matrix.nonzero()].copy()
    return matrix


def unsorted(X, rng):
    matrix = sparse.csr_array(X)
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        order = rng.permutation(stop - start)
        for part in (matrix.indices, matrix.data):
            part[start:stop] = part[start:stop][order]
    matrix.has_sorted_indices = False
    return matrix


def of_long_indices(X, rng):
    matrix = sparse.csr_array(X)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    for part in (matrix.data, matrix.indices, matrix.indptr):
        part.setflags(write=False)
    return matrix


def of_format(container):
    return lambda X, rng: container(X)


NAMES = ["a", "Ünïcode", "", "a b", "0", "x" * 300, "\n", "nan"]


def pandas_frame(X, rng):
    columns = {
        0: lambda: [f"gene{i}" for i in range(X.shape[1])],
        1: lambda: [NAMES[i % 8] + str(i) for i in range(X.shape[1])],
        2: lambda: list(range(X.shape[1])),
        3: lambda: ["twice"] * X.shape[1],
        4: lambda: ["a", *range(1, X.shape[1])],
        5: lambda: pd.MultiIndex.from_product([["a"], range(X.shape[1])]),
        6: lambda: [None, *map(str, range(1, X.shape[1]))],
        7: lambda: pd.date_range("2020-01-01", periods=X.shape[1]),
    }[rng.integers(8)]()
    return pd.DataFrame(X, columns=columns, index=rng.permutation(len(X)))


def pandas_extension(X, rng):
    frame = pd.DataFrame(X, columns=[f"g{i}" for i in range(X.shape[1])])
    kind = ("Float64", "Float32", "Int64", "Sparse", "category", "string")[rng.integers(6)]
    if kind == "Sparse":
        return frame.astype(pd.SparseDtype(X.dtype, 0))
    return frame.astype(kind)


def polars_frame(X, rng):
    return pl.DataFrame({NAMES[i % 8] + str(i): np.ascontiguousarray(X[:, i]) for i in range(X.shape[1])})


def polars_with_nulls(X, rng):
    frame = polars_frame(X, rng)
    return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("nulls"))


# Containers that must be taken, where the numbers can be.
KNOWN = {
    "contiguous": lambda X, rng: X.copy(),
    "fortran": lambda X, rng: np.asfortranarray(X),
    "strided": strided,
    "backwards": backwards,
    "read-only": read_only,
    "unaligned": unaligned,
    "csr_array": of_format(sparse.csr_array),
    "csr_matrix": of_format(sparse.csr_matrix),
    "csc_array": of_format(sparse.csc_array),
    "duplicates": with_duplicates,
    "explicit zeros": with_zeros,
    "unsorted": unsorted,
    "long read-only indices": of_long_indices,
    "coo_array": of_format(sparse.coo_array),
    "coo_matrix": of_format(sparse.coo_matrix),
    "lil_array": of_format(sparse.lil_array),
    "dok_array": of_format(sparse.dok_array),
    "bsr_array": of_format(sparse.bsr_array),
    "dia_matrix": of_format(sparse.dia_matrix),
    "list": lambda X, rng: X.tolist(),
    "polars": polars_frame,
}
# Containers that may be taken.
ODD = {
    "pandas": pandas_frame,
    "pandas extension": pandas_extension,
    "polars with nulls": polars_with_nulls,
    "matrix": lambda X, rng: np.asmatrix(X),
    "masked": lambda X, rng: np.ma.masked_array(X, mask=X > 1),
    "one dimension": lambda X, rng: X.ravel(),
    "three dimensions": lambda X, rng: X[np.newaxis],
    "no rows": lambda X, rng: X[:0],
    "no columns": lambda X, rng: X[:, :0],
    "one column": lambda X, rng: X[:, :1],
    "scalar": lambda X, rng: X[0, 0],
    "none": lambda X, rng: None,
    "text": lambda X, rng: "cells.csv",
    "dict": lambda X, rng: {"X": X.tolist()},
    "generator": lambda X, rng: iter(X),
    "series": lambda X, rng: pd.Series(X[:, 0]),
    "ragged list": lambda X, rng: [*X.tolist(), [1.0]],
    "sparse one dimension": lambda X, rng: sparse.coo_array(X[0]),
    "broken csr": lambda X, rng: broken_csr(),
    "broken coo": lambda X, rng: broken_coo(),
    "broken lil": lambda X, rng: broken_lil(),
    "datetimes": lambda X, rng: np.full(X.shape, np.datetime64("2020-01-01")),
    "structured": lambda X, rng: np.zeros(X.shape, dtype=[("a", float), ("b", int)]),
}


def broken_csr():
    matrix = sparse.csr_array(np.ones((2, 3)))
    matrix.indices = np.array([0, 1, 99, 0, 1, 2], dtype=np.int32)
    return matrix


def broken_coo():
    matrix = sparse.coo_array(np.ones((2, 3)))
    matrix.row[3] = 99
    return matrix


def broken_lil():
    matrix = sparse.lil_array(np.ones((2, 3)))
    matrix.rows[0] = [0, 1, 99]
    return matrix


# Parameters

ODD_VALUES = (
    -1,
    0,
    0.5,
    2.5,
    np.nan,
    np.inf,
    "x",
    None,
    [],
    (0,),
    (-1,),
    (2.5,),
    True,
    {},
    np.int64(2),
    np.float64(0.5),
    1e-9,
)
NAMES_OF_PARAMETERS = (
    *("n_components", "beta", "alpha", "latent_penalty", "likelihood", "hidden_layer_sizes", "head_layer_sizes"),
    *("activation", "first_activation", "input_dropout", "max_epochs", "max_steps", "batch_size", "learning_rate"),
    *("learning_rate_schedule", "callbacks", "device", "random_state", "verbose", "code", "kl_warmup", "encode_batch"),
)


@st.composite
def models(draw):
    """Draw an estimator, and whether its parameters are known to be valid."""
    Estimator = draw(st.sampled_from(ESTIMATORS))
    parameters = {
        **SMALL,
        "likelihood": draw(st.sampled_from(["gaussian"] * 3 + ["unit_gaussian", "poisson", "nb", "zinb", "bernoulli"])),
        "batch_size": draw(st.sampled_from([1, 3, 128])),
        "hidden_layer_sizes": draw(st.sampled_from([(), (4,), [4, 3], np.array([3])])),
        "n_components": draw(st.sampled_from([1, 2, 9])),
    }
    known = set(Estimator().get_params())
    odd = draw(st.sampled_from([None] * 2 * len(NAMES_OF_PARAMETERS) + [*NAMES_OF_PARAMETERS]))
    if odd in known:
        parameters[odd] = draw(st.sampled_from(ODD_VALUES))
        if odd == "verbose" and parameters[odd] in (True, 0.5, 2.5, np.inf, 2):
            parameters[odd] = 0
    return Estimator(**parameters), odd not in known


# The properties


def frozen(X):
    """Return what tells whether X has changed."""
    if sparse.issparse(X):
        names = ("data", "indices", "indptr", "row", "col", "offsets", "rows")
        return [X.format, X.shape, X.dtype, *(copy.deepcopy(getattr(X, name, None)) for name in names)]
    if isinstance(X, np.ndarray):
        values = np.asarray(X)  # a masked array's own bytes are filled ones
        return [X.shape, X.dtype, X.strides, values.tobytes() if X.dtype != object else values.tolist()]
    return [copy.deepcopy(X)] if not hasattr(X, "__next__") else []


def assert_same(before, after):
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        if isinstance(old, pd.DataFrame):
            pd.testing.assert_frame_equal(new, old)
        elif isinstance(old, pd.Series):
            pd.testing.assert_series_equal(new, old)
        elif isinstance(old, pl.DataFrame):
            np.testing.assert_equal(new.to_dict(as_series=False), old.to_dict(as_series=False))
        else:
            np.testing.assert_equal(new, old)


def attempt(function, *arguments):
    """Return a result, or an error of the two types that were raised on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's of overflow too
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)  # of cells without counts, of fractions
        warnings.simplefilter("ignore", sparse.SparseEfficiencyWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in reduce")  # scikit-learn's, of inf - inf
        try:
            return function(*arguments)
        except (ValueError, TypeError) as error:
            raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
            assert not any(package in raised_in for package in ("/torch/", "/skorch/")), raised_in
            return error


def embed(model, X, method):
    model = model.partial_fit(X) if method == "partial_fit" else model.fit(X)
    Z = model.transform(X)
    return (Z.toarray() if sparse.issparse(Z) else Z), model.score_samples(X), model.denoise(X)


def plain(X, container, dtype):
    """Return the same numbers as scikit-learn converts them: a contiguous array, or CSR where X is sparse."""
    return X.astype(np.float32 if dtype == np.float32 and container not in ("list", "polars") else np.float64)


OUTCOMES = Counter()
SUPPORTS = {"poisson": "counts", "nb": "counts", "zinb": "counts", "bernoulli": "binary"}


@st.composite
def inputs(draw):
    numbers, dtype = draw(arrays()), draw(st.sampled_from(DTYPES))
    name = draw(st.sampled_from([*KNOWN, *KNOWN, *ODD]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return numbers, dtype, name, rng


def check_estimator(given_input, model, method):
    numbers, dtype, name, rng = given_input
    model, is_valid = model
    values = cast(numbers, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            X = {**KNOWN, **ODD}[name](values, rng)
        except (TypeError, ValueError, OverflowError, NotImplementedError):  # of scipy, pandas or polars
            OUTCOMES["not made"] += 1
            return
        before = frozen(X)
    result = attempt(embed, model, X, method)
    if not hasattr(X, "__next__"):
        assert_same(before, frozen(X))
    if isinstance(result, Exception):
        support = SUPPORTS.get(str(model.likelihood))
        numeric = np.asarray(values, dtype=np.float64) if dtype not in ("<U8", "complex128") else None
        must_work = (
            is_valid
            and name in KNOWN
            and numeric is not None
            and np.isfinite(numeric).all()
            and np.abs(numeric).max() <= MODERATE
            and (support is None or numeric.min() >= 0)
            and (support != "binary" or numeric.max() <= 1)
            and not (sparse.issparse(X) and dtype in ("float16", "object", "longdouble", ">f8"))
        )
        if must_work:
            raise AssertionError(f"an error for valid input, {name} of {dtype}") from result
        OUTCOMES["error"] += 1
        return
    OUTCOMES["result"] += 1
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    assert result[0].shape == (n_samples, model.n_components)
    for part in result:
        assert np.isfinite(part).all()
    if name not in KNOWN:
        return
    # some versions of scipy make float32 of float16
    reference = plain(values, name, X.dtype if sparse.issparse(X) else values.dtype)
    if sparse.issparse(X):
        reference = sparse.csr_array(reference)
    twin = type(model)(**model.get_params(deep=False))
    expected = attempt(embed, twin, reference, method)
    if isinstance(expected, Exception):
        raise AssertionError("a plain array is an error") from expected
    for part, same in zip(result, expected, strict=True):
        if sparse.issparse(X) and X.nnz != reference.nnz:  # explicit zeros may make it dense
            np.testing.assert_allclose(part, same, rtol=1e-3, atol=1e-3 * np.abs(same).max())
        elif model.random_state is not None:
            np.testing.assert_array_equal(part, same)
        assert part.dtype == (np.float32 if reference.dtype == np.float32 else np.float64)


def check_transformer(given_input, transformer):
    numbers, dtype, name, rng = given_input
    values = cast(numbers, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            X = {**KNOWN, **ODD}[name](values, rng)
        except (TypeError, ValueError, OverflowError, NotImplementedError):
            OUTCOMES["not made"] += 1
            return
        before = frozen(X)
    result = attempt(transformer.fit_transform, X)
    if not hasattr(X, "__next__"):
        assert_same(before, frozen(X))
    if isinstance(result, Exception):
        OUTCOMES["error"] += 1
        return
    OUTCOMES["result"] += 1
    values_of = result.data if sparse.issparse(result) else np.asarray(result, dtype=np.float64)
    assert np.isfinite(values_of).all()
    if name in KNOWN:
        expected = attempt(transformer.fit_transform, plain(values, name, values.dtype))
        dense = np.asarray(result.toarray() if sparse.issparse(result) else result, dtype=np.float64)
        np.testing.assert_allclose(dense, np.asarray(expected), rtol=1e-5)


TRANSFORMERS = st.sampled_from([LogNormalizer(), LogNormalizer(target_sum=1), VariableGeneSelector(n_top=3)])
METHODS = st.sampled_from(["fit", "partial_fit"])


def fuzz(n_inputs, record_property):
    options = settings(
        max_examples=n_inputs,
        deadline=datetime.timedelta(seconds=60),  # longer is a hang
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    OUTCOMES.clear()
    options(given(inputs(), models(), METHODS)(check_estimator))()
    outcomes = dict(OUTCOMES)
    # a fuzzer whose inputs are all errors tries nothing
    assert outcomes["result"] > 0.25 * n_inputs
    assert outcomes["error"] > 0.1 * n_inputs
    options(given(inputs(), TRANSFORMERS)(check_transformer))()
    record_property("inputs", sum(OUTCOMES.values()) - OUTCOMES["not made"])


def test_a_minute_of_inputs(record_property):
    fuzz(800, record_property)


@pytest.mark.slow
def test_thousands_of_inputs(record_property):
    fuzz(4000, record_property)
