"""Features are known by their names: neither the order of genes nor others among them changes an embedding."""

from itertools import product

import anndata
import numpy as np
import pandas as pd
import polars
import pytest
from models import SMALL
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from skorch.callbacks import Callback

from skvae import (
    BetaVAE,
    LogNormalizer,
    RowStore,
    VariableGeneSelector,
    align_features,
    embed,
    make_single_cell_counts,
)
from skvae.names import known_names

CELLS = make_single_cell_counts(120, 80, library_size=400, random_state=0)
ORDER = np.random.default_rng(0).permutation(80)
NAMES = CELLS.feature_names

MODELS = {
    "model": BetaVAE(likelihood="nb", **SMALL),
    "pipeline": make_pipeline(VariableGeneSelector(40), LogNormalizer(), BetaVAE(**SMALL)),
    "first step that does nothing": Pipeline(
        [("no", "passthrough"), ("log", LogNormalizer()), ("vae", BetaVAE(**SMALL))]
    ),
    "pipeline in a pipeline": make_pipeline(make_pipeline(VariableGeneSelector(40), LogNormalizer()), BetaVAE(**SMALL)),
    "union": make_pipeline(FeatureUnion([("vae", BetaVAE(likelihood="nb", **SMALL)), ("pca", TruncatedSVD(2))])),
}


class Unexpected(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training began")


UNTRAINED = BetaVAE(likelihood="nb", **SMALL, callbacks=[Unexpected()])


@pytest.fixture
def adata():
    adata = anndata.AnnData(sparse.csr_matrix(CELLS.data.astype(np.float32)))
    adata.var_names = NAMES
    return adata


def backed(adata, folder):
    adata.X = adata.X.sorted_indices()
    adata.write_h5ad(folder / "cells.h5ad")
    return anndata.read_h5ad(folder / "cells.h5ad", backed="r")


def with_X(function):
    def change(adata, folder):
        adata.X = function(adata.X)
        return adata

    return change


CONTAINERS = {
    "CSR": lambda adata, folder: adata,
    "CSC": with_X(sparse.csc_matrix),
    "dense": with_X(lambda X: X.toarray()),
    "column-major": with_X(lambda X: np.asfortranarray(X.toarray())),
    "backed": backed,
}


def embedded(adata, model, **options):
    embed(adata, model, key_added="z", **options)
    return np.asarray(adata.obsm["z"])


# All pairs but one: the decomposition of scikit-learn in the union takes no stores.
PAIRS = [pair for pair in product(MODELS, CONTAINERS) if pair != ("union", "backed")]


@pytest.mark.parametrize(("model", "container"), PAIRS)
def test_the_order_of_genes_does_not_matter(model, container, adata, tmp_path):
    model, container = MODELS[model], CONTAINERS[container]
    Z = embedded(container(adata.copy(), tmp_path), model)
    permuted = container(adata[:, ORDER].copy(), tmp_path)
    np.testing.assert_array_equal(embedded(permuted, model), Z)
    assert list(permuted.var_names) == list(NAMES[ORDER])


@pytest.mark.filterwarnings("ignore:Setting element `.obsm.*` of view")
def test_a_view_of_other_genes_is_put_into_order(adata):
    model = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    Z = embedded(adata, model)
    others = anndata.AnnData(
        np.full((120, 7), 9.0, np.float32), var=pd.DataFrame(index=[f"other{i}" for i in range(7)])
    )
    both = anndata.concat([others, adata], axis=1)
    np.testing.assert_array_equal(embedded(both[:, np.random.default_rng(1).permutation(87)], model), Z)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_model_knows_the_names(model, adata):
    embed(adata, model)
    np.testing.assert_array_equal(known_names(model), NAMES)


def test_names_survive_a_file(adata, tmp_path):
    vae = BetaVAE(likelihood="nb", **SMALL)
    embed(adata, vae)
    vae.save(tmp_path / "vae")
    np.testing.assert_array_equal(BetaVAE.load(tmp_path / "vae").feature_names_in_, NAMES)


def test_names_reach_the_steps_after_a_selection(adata):
    pipeline = make_pipeline(VariableGeneSelector(40), LogNormalizer(), BetaVAE(**SMALL))
    embed(adata, pipeline)
    names = pipeline[:-1].get_feature_names_out()
    np.testing.assert_array_equal(names, NAMES[pipeline[0].get_support()])
    with pytest.warns(UserWarning, match="X does not have valid feature names, but VariableGeneSelector") as caught:
        X = pipeline[:-1].transform(adata.X)  # a matrix has no names
    assert len(caught) == 1
    assert set(pipeline[-1].component_features(X, feature_names=names).names.ravel()) <= set(names)


def test_a_data_frame_of_the_object_has_the_names(adata):
    pipeline = make_pipeline(VariableGeneSelector(40), LogNormalizer(), BetaVAE(**SMALL))
    Z = embedded(adata, pipeline)
    np.testing.assert_allclose(pipeline.transform(adata.to_df()), Z, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="must be in the same order"):
        pipeline.transform(adata[:, ORDER].to_df())


def test_a_model_of_a_data_frame_is_given_genes_in_its_order(adata):
    frame = pd.DataFrame(adata.X.toarray(), columns=NAMES)
    vae = BetaVAE(likelihood="nb", **SMALL).fit(frame)
    np.testing.assert_array_equal(embedded(adata[:, ORDER].copy(), vae), vae.transform(frame))


@pytest.mark.parametrize("options", [{}, {"missing": "error"}])
def test_missing_genes_are_an_error_that_names_some(options, adata):
    model = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    fewer = adata[:, ORDER[:70]].copy()
    embed(adata, model)
    message = f"10 of the 80 features of fit are missing, such as .*{NAMES[np.sort(ORDER[70:])[0]]}.*; got 70 names"
    with pytest.raises(ValueError, match=message):
        embed(fewer, model, **options)
    assert not list(fewer.obsm)


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_missing_genes_may_be_zeros(container, adata, tmp_path):
    model = make_pipeline(LogNormalizer(), BetaVAE(**SMALL))
    embed(adata, model)
    zeroed = adata.copy()
    zeroed.X = zeroed.X @ sparse.diags_array(np.isin(np.arange(80), ORDER[:64]).astype(np.float32))
    Z = embedded(container(zeroed, tmp_path), model)
    assert not np.array_equal(Z, embedded(adata, model))
    fewer = container(adata[:, ORDER[:64]].copy(), tmp_path)  # a fifth is missing, and there is no warning
    np.testing.assert_array_equal(embedded(fewer, model, missing="zero"), Z)


def test_many_missing_genes_are_warned_about(adata):
    model = BetaVAE(likelihood="nb", **SMALL)
    embed(adata, model)
    with pytest.warns(UserWarning, match="17 of the 80 features of fit are missing.*expected 20% at most") as caught:
        embed(adata[:, ORDER[:63]].copy(), model, missing="zero")
    assert caught[0].filename == __file__


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_other_names_altogether_are_an_error(missing, adata):
    model = BetaVAE(likelihood="nb", **SMALL)
    embed(adata, model)
    adata.var_names = [f"ENSG{i}" for i in range(80)]
    with pytest.raises(ValueError, match=r"80 of the 80 features of fit are missing.*such as 'ENSG0', 'ENSG1'"):
        embed(adata, model, missing=missing)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_a_name_that_stands_there_twice_is_an_error_before_training(adata):
    model = BetaVAE(likelihood="nb", **SMALL)
    embed(adata, model)
    adata.var_names = [*NAMES[:79], NAMES[3]]
    for estimator in (model, UNTRAINED):
        with pytest.raises(ValueError, match=f"more than once, such as '{NAMES[3]}'; .*var_names_make_unique"):
            embed(adata, estimator)


def test_without_names_the_number_of_genes_is_compared_alone_and_a_warning_says_so(adata):
    model = BetaVAE(likelihood="nb", **SMALL).fit(adata.X)
    with pytest.warns(UserWarning, match="BetaVAE was fitted without the names of its features") as caught:
        embed(adata, model)
    assert caught[0].filename == __file__
    with (
        pytest.warns(UserWarning, match="without the names"),
        pytest.raises(ValueError, match="X has 79 features, but BetaVAE is expecting 80"),
    ):
        embed(adata[:, 1:].copy(), model)


def test_another_fit_forgets_the_names(adata):
    model = BetaVAE(likelihood="nb", **SMALL)
    embed(adata, model)
    assert known_names(model.fit(adata.X)) is None


@pytest.mark.parametrize("container", ["memory", "backed"])
def test_the_raw_counts_have_names_of_their_own(container, adata, tmp_path):
    model = BetaVAE(likelihood="nb", **SMALL)
    Z = embedded(adata, model)
    permuted = adata[:, ORDER].copy()
    permuted.X.sort_indices()
    adata.raw = permuted
    few = adata[:, :50].copy()
    few = backed(few, tmp_path) if container == "backed" else few
    np.testing.assert_array_equal(embedded(few, model, layer="raw"), Z)


def test_a_layer_called_raw_comes_before_the_raw_counts(adata):
    adata.raw = adata.copy()
    adata.layers["raw"] = adata.X * 2
    expected = BetaVAE(likelihood="nb", **SMALL).fit_transform(adata.layers["raw"])
    np.testing.assert_array_equal(embedded(adata, BetaVAE(likelihood="nb", **SMALL), layer="raw"), expected)


def test_what_no_embedding_can_be_added_to_is_an_error_before_training(adata, tmp_path):
    with pytest.raises(ValueError, match=r"a view of a backed object.*adata\.to_memory\(\)"):
        embed(backed(adata, tmp_path)[:50], UNTRAINED)
    for other in (adata.X, tmp_path / "cells.h5ad", adata.raw):
        with pytest.raises(TypeError, match=r"expected an AnnData object.*fit_transform\(X\)"):
            embed(other, UNTRAINED)


# The function


def test_columns_in_order_are_the_same_object():
    X = sparse.random_array((5, 3), density=0.5, format="csr", random_state=0)
    assert align_features(X, ["a", "b", "c"], ["a", "b", "c"]) is X


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.lil_array])
@pytest.mark.filterwarnings("ignore:3 of the 5 features")
def test_columns_are_taken_by_name(make):
    X = np.arange(12.0).reshape(3, 4)
    aligned = align_features(make(X), ["a", "b", "c", "d"], ["d", "e", "b", "f", "g"], missing="zero")
    expected = np.c_[X[:, 3], np.zeros(3), X[:, 1], np.zeros((3, 2))]
    np.testing.assert_array_equal(aligned.toarray() if sparse.issparse(aligned) else aligned, expected)


def test_columns_of_a_store_are_taken_when_rows_are_read(tmp_path):
    X = np.arange(400.0).reshape(100, 4)
    np.save(tmp_path / "x.npy", X)
    store = RowStore(np.load(tmp_path / "x.npy", mmap_mode="r"), block_size=10)
    aligned = align_features(store, ["a", "b", "c", "d"], ["d", "b"])
    assert isinstance(aligned, RowStore)
    assert aligned.shape == (100, 2)
    np.testing.assert_array_equal(aligned[20:30], X[20:30, [3, 1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", "b"], ["a"]), "2 names for the 3 features of X; expected one for each"),
        ((["a", "b", "a"], ["a"]), "1 names of features are there more than once, such as 'a'"),
        ((None, ["a"]), "names is None; expected a name for each of the 3 features of X: only data frames and AnnData"),
        (("a", ["a"]), "1 names for the 3 features of X"),
        ((["a", "b", "c"], ["d", "a"]), "1 of the 2 features of fit are missing, such as 'd'; got 3 names"),
    ],
)
def test_bad_names_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        align_features(np.zeros((2, 3)), *arguments)


@pytest.mark.parametrize("missing", ["mean", None])
def test_missing_is_an_error_or_zero(missing):
    with pytest.raises(ValueError, match=f"missing == {missing!r}, must be 'error' or 'zero'"):
        align_features(np.zeros((2, 1)), ["a"], ["a"], missing=missing)


@pytest.mark.parametrize("X", [np.zeros(3), None, {"counts": np.zeros((2, 3))}])
def test_what_is_no_matrix_is_an_error(X):
    with pytest.raises(ValueError, match=r"X is of the type .* and has the shape .*; expected a matrix"):
        align_features(X, ["a", "b", "c"], ["a"])


def test_an_estimator_that_knows_no_names_is_an_error():
    with pytest.raises(NotFittedError, match="BetaVAE instance is not fitted yet"):
        align_features(CELLS.data, NAMES, BetaVAE())
    with pytest.raises(ValueError, match="LogNormalizer was fitted without the names of its features; expected an"):
        align_features(CELLS.data, NAMES, LogNormalizer().fit(CELLS.data))
    with pytest.raises(ValueError, match=r"estimator == 'model\.pkl', must be a fitted estimator, or the names"):
        align_features(CELLS.data, NAMES, "model.pkl")


# The function before an estimator's own methods


def frame_of(X, names):
    return pd.DataFrame(X.toarray(), columns=names)


def path_of(X, names, folder):
    counts = X.sorted_indices()
    path = folder / f"query {len(list(folder.iterdir()))}.h5ad"
    anndata.AnnData(counts, var=pd.DataFrame(index=names)).write_h5ad(path)
    return path


# How a query is given: X and names, made of CSR counts, the names of their columns and a folder.
QUERIES = {
    "dense": lambda X, names, folder: (X.toarray(), names),
    "list": lambda X, names, folder: (X.toarray().tolist(), list(names)),
    "CSR": lambda X, names, folder: (X, names),
    "CSC": lambda X, names, folder: (X.tocsc(), pd.Index(names)),
    "COO": lambda X, names, folder: (X.tocoo(), list(names)),
    "LIL": lambda X, names, folder: (X.tolil(), names),
    "frame": lambda X, names, folder: (frame_of(X, names), None),
    "sparse frame": lambda X, names, folder: (pd.DataFrame.sparse.from_spmatrix(X, columns=names), None),
    "polars": lambda X, names, folder: (polars.DataFrame(X.toarray(), schema=list(names)), None),
    "AnnData": lambda X, names, folder: (anndata.AnnData(X, var=pd.DataFrame(index=names)), None),
    "names of AnnData": lambda X, names, folder: (anndata.AnnData(X), names),
    "backed": lambda X, names, folder: (anndata.read_h5ad(path_of(X, names, folder), backed="r"), None),
    "path": lambda X, names, folder: (path_of(X, names, folder), names),
    "name": lambda X, names, folder: (str(path_of(X, names, folder)), names),
    "store": lambda X, names, folder: (RowStore(path_of(X, names, folder), block_size=7), names),
}

every_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)


@pytest.fixture(scope="module")
def fitted():
    pipeline = make_pipeline(VariableGeneSelector(40), LogNormalizer(), BetaVAE(**SMALL))
    return pipeline.fit(frame_of(CELLS.data, NAMES))


def with_others(X, names):
    """Return counts and names with seven others among them, in another order."""
    order = np.random.default_rng(1).permutation(len(names) + 7)
    others = sparse.csr_array(np.full((X.shape[0], 7), 9, X.dtype))
    return sparse.hstack([X, others], format="csr")[:, order], np.r_[names, [f"other{i}" for i in range(7)]][order]


@pytest.mark.filterwarnings("ignore:X does not have valid feature names", "ignore:pandas.DataFrame with sparse columns")
@every_query
def test_a_query_in_any_order_has_the_same_bits(query, fitted, tmp_path):
    X, names = query(CELLS.data, NAMES, tmp_path)
    expected = fitted.transform(align_features(X, names, fitted))
    for counts, its_names in ((CELLS.data[:, ORDER], NAMES[ORDER]), with_others(CELLS.data, NAMES)):
        aligned = align_features(*query(counts, its_names, tmp_path), fitted)
        assert aligned.shape == (120, 80)
        np.testing.assert_array_equal(fitted.transform(aligned), expected)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names", "ignore:pandas.DataFrame with sparse columns")
@every_query
def test_missing_features_of_a_query_may_be_zeros(query, fitted, tmp_path):
    few = np.sort(ORDER[:70])
    zeroed = CELLS.data @ sparse.diags_array(np.isin(np.arange(80), few).astype(np.float32))
    X, names = query(sparse.csr_array(zeroed), NAMES, tmp_path)
    expected = fitted.transform(align_features(X, names, fitted))
    X, names = query(CELLS.data[:, ORDER[:70]], NAMES[ORDER[:70]], tmp_path)
    aligned = align_features(X, names, fitted, missing="zero")
    np.testing.assert_array_equal(fitted.transform(aligned), expected)
    with pytest.raises(ValueError, match="10 of the 80 features of fit are missing"):
        align_features(X, names, fitted)


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("query", [QUERIES[name] for name in ("CSR", "frame", "AnnData", "store")])
def test_a_name_of_a_query_that_stands_there_twice_is_an_error(query, fitted, tmp_path):
    X, names = query(CELLS.data, np.r_[NAMES[:79], NAMES[:1]], tmp_path)
    with pytest.raises(ValueError, match=f"1 names of features are there more than once, such as '{NAMES[0]}'"):
        align_features(X, names, fitted)


def test_a_frame_stays_a_frame_which_needs_no_other_names(fitted):
    frame = frame_of(CELLS.data, NAMES).set_index(CELLS.target)
    aligned = align_features(frame[NAMES[ORDER]], None, fitted)
    pd.testing.assert_frame_equal(aligned, frame)
    np.testing.assert_array_equal(fitted.transform(aligned), fitted.transform(frame))


def test_a_path_is_a_store_whose_rows_are_read_later(fitted, tmp_path):
    aligned = align_features(path_of(CELLS.data[:, ORDER], NAMES[ORDER], tmp_path), NAMES[ORDER], fitted)
    assert isinstance(aligned, RowStore)
    np.testing.assert_array_equal(aligned[:].toarray(), CELLS.data.toarray())


def test_an_anndata_object_stays_as_it_is(fitted):
    adata = anndata.AnnData(CELLS.data[:, ORDER], var=pd.DataFrame(index=NAMES[ORDER]))
    aligned = align_features(adata, None, fitted)
    assert aligned.format == "csr"
    np.testing.assert_array_equal(aligned.toarray(), CELLS.data.toarray())
    assert list(adata.var_names) == list(NAMES[ORDER])


def test_a_model_takes_an_aligned_matrix_without_a_warning():
    vae = BetaVAE(likelihood="nb", **SMALL).fit(frame_of(CELLS.data, NAMES))
    Z = vae.transform(CELLS.data)
    np.testing.assert_array_equal(vae.transform(align_features(CELLS.data[:, ORDER], NAMES[ORDER], vae)), Z)
