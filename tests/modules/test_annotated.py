import anndata
import numpy as np
import pytest
import scanpy
from models import SMALL
from scipy import sparse
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, BetaVSC, LogNormalizer, embed, make_single_cell_counts


@pytest.fixture
def adata():
    cells = make_single_cell_counts(120, 80, library_size=400, n_batches=2, random_state=0)
    counts = cells.data.astype(np.float32)
    adata = anndata.AnnData(LogNormalizer().fit_transform(counts), layers={"counts": counts})
    adata.obs["lab"] = np.where(cells.batch, "A", "B")
    return adata


def test_an_unfitted_estimator_is_fitted_and_a_fitted_one_only_transforms(adata):
    vae = BetaVAE(**SMALL)
    embed(adata, vae)
    np.testing.assert_array_equal(adata.obsm["X_betavae"], BetaVAE(**SMALL).fit_transform(adata.X))
    net = vae.net_
    embed(adata, vae, key_added="again")
    assert vae.net_ is net
    np.testing.assert_array_equal(adata.obsm["again"], adata.obsm["X_betavae"])


def test_a_layer_is_embedded_by_a_pipeline(adata):
    embed(adata, make_pipeline(LogNormalizer(), BetaVSC(**SMALL)), layer="counts")
    np.testing.assert_array_equal(adata.obsm["X_betavsc"], BetaVSC(**SMALL).fit_transform(adata.X))


def test_the_estimator_is_told_the_batches(adata):
    vae = BetaVAE(**SMALL)
    embed(adata, vae, batch_key="lab")
    np.testing.assert_array_equal(vae.batches_, ["A", "B"])
    expected = BetaVAE(**SMALL).fit_transform(adata.X, batch=adata.obs["lab"])
    np.testing.assert_array_equal(adata.obsm["X_betavae"], expected)


def test_the_estimator_is_told_a_table_of_several_columns(adata, tmp_path):
    rng = np.random.default_rng(0)
    adata.obs["lab"] = adata.obs["lab"].astype("category")
    adata.obs["sex"], adata.obs["age"] = rng.integers(2, size=120), rng.uniform(20, 80, size=120)
    keys = ["lab", "age", "sex"]
    vae = BetaVAE(**SMALL, encode_batch=True)
    embed(adata, vae, batch_key=keys)
    assert list(vae.batches_) == keys
    np.testing.assert_array_equal(vae.batches_["sex"], [0, 1])
    assert vae.batches_["age"]["mean"] == pytest.approx(adata.obs["age"].mean())
    expected = BetaVAE(**SMALL, encode_batch=True).fit_transform(adata.X, batch=adata.obs[keys])
    np.testing.assert_array_equal(adata.obsm["X_betavae"], expected)
    embed(adata, vae, batch_key=tuple(keys), key_added="again")  # which only transforms
    np.testing.assert_array_equal(adata.obsm["again"], expected)
    with pytest.raises(ValueError, match=r"batch has the columns \['lab', 'sex', 'age'\]; .* in this order, as in fit"):
        embed(adata, vae, batch_key=["lab", "sex", "age"], key_added="other")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert read.uns["X_betavae"]["batch_key"].tolist() == read.uns["again"]["batch_key"].tolist() == keys


def test_a_table_of_one_column_is_that_column(adata):
    alone, listed = BetaVAE(**SMALL), BetaVAE(**SMALL)
    embed(adata, alone, batch_key="lab", key_added="alone")
    embed(adata, listed, batch_key=["lab"], key_added="listed")
    np.testing.assert_array_equal(adata.obsm["alone"], adata.obsm["listed"])
    np.testing.assert_array_equal(alone.batches_, listed.batches_)


def test_uns_tells_the_estimator_and_its_parameters(adata):
    embed(adata, BetaVSC(beta=2.0, **SMALL), key_added="vsc")
    assert adata.uns["vsc"]["estimator"] == "BetaVSC"
    assert adata.uns["vsc"]["params"]["beta"] == 2.0
    np.testing.assert_array_equal(adata.uns["vsc"]["params"]["hidden_layer_sizes"], [8])


@pytest.mark.parametrize("estimator", [BetaVSC(**SMALL), make_pipeline(BetaVSC(code="sparse", **SMALL))])
def test_what_is_added_survives_a_file(adata, estimator, tmp_path):
    embed(adata, estimator, key_added="code")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert read.uns["code"]["estimator"] == "BetaVSC"
    Z, written = (sparse.csr_matrix(a.obsm["code"]).toarray() for a in (adata, read))
    np.testing.assert_array_equal(written, Z)


def test_a_backed_object_is_embedded_from_the_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    embed(backed, BetaVAE(**SMALL))
    assert backed.isbacked
    np.testing.assert_array_equal(backed.obsm["X_betavae"], BetaVAE(**SMALL).fit_transform(adata.X))


def test_data_frames_lose_their_index(adata):
    embed(adata, BetaVAE(**SMALL).set_output(transform="pandas"))
    assert adata.obsm["X_betavae"].shape == (120, 3)


def test_scanpy_finds_neighbors_in_the_embedding(adata):
    embed(adata, BetaVSC(**SMALL))
    scanpy.pp.neighbors(adata, n_neighbors=10, use_rep="X_betavsc")
    assert adata.uns["neighbors"]["params"]["use_rep"] == "X_betavsc"
    # each cell has nine others
    assert (adata.obsp["distances"].getnnz(axis=1) == 9).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "raw"}, KeyError, r"layer == 'raw', must be one of \['counts'\]"),
        ({"batch_key": "donor"}, KeyError, r"batch_key == 'donor', must be one of \['lab'\]"),
        ({"batch_key": ["lab", "donor"]}, KeyError, r"batch_key == 'donor', must be one of \['lab'\]"),
        ({"batch_key": []}, ValueError, r"batch_key == \[\], must be the name of a column of adata.obs, or a list"),
        ({"batch_key": ["lab", "lab"]}, ValueError, "batch has the column 'lab' more than once"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(adata, options, error, message):
    with pytest.raises(error, match=message):
        embed(adata, BetaVAE(**SMALL), **options)
    assert not list(adata.obsm)


def test_without_x_there_is_an_error():
    with pytest.raises(ValueError, match=r"adata\.X is None"):
        embed(anndata.AnnData(shape=(5, 3)), BetaVAE(**SMALL))
