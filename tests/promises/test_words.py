"""Errors and results are in the words of the user: they name the column, the parameter and what to do instead."""

import anndata
import numpy as np
import pandas as pd
import pytest
from models import SMALL, every_estimator, unchanged
from sklearn import config_context
from skorch.callbacks import Callback, Checkpoint, EarlyStopping

from skvae import BetaVAE, BetaVSC, LogNormalizer, RowStore, VariableGeneSelector, embed
from skvae.rows.covariates import Covariates

LABELS = np.array(["lab A", "lab B"])[np.arange(120) % 2]


class Unexpected(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError("training began")


@pytest.fixture(scope="module")
def fitted(X):
    return BetaVAE(**SMALL).fit(X, batch=LABELS)


def objects(*values):
    """Return a column of 120 objects that are these values in turn."""
    column = np.empty(120, dtype=object)
    column[:] = [values[row % len(values)] for row in range(120)]
    return column


def with_missing(column):
    """Return a column of pandas without the value of row 3."""
    return column.where(np.arange(120) != 3)


# Columns that are no labels

NAMES = {
    "counts": (np.arange(120) % 70, "has 70 levels in 120 rows"),
    "names of rows": (np.array([f"cell {row}" for row in range(120)]), "has 120 levels in 120 rows"),
    "fractions as categories": (pd.Categorical(np.arange(120) / 7), "has 120 levels in 120 rows"),
}


@pytest.mark.parametrize(("column", "message"), NAMES.values(), ids=NAMES)
@every_estimator
def test_names_of_rows_are_no_batch(Estimator, column, message, X):
    estimator = Estimator(**SMALL).fit(X).set_params(callbacks=[Unexpected()])
    with (
        unchanged(estimator, X),
        pytest.raises(ValueError, match=rf"batch, the column 'n_genes', {message}.*astype\(float\).*pandas\.cut"),
    ):
        estimator.fit(X, batch=pd.Series(column, name="n_genes"))
    with pytest.raises(ValueError, match=rf"^batch {message}.*donors or laboratories"):
        Estimator().partial_fit(X, batch=column)


MEASUREMENTS = {
    "fractions": np.linspace(0, 0.05, 120),
    "halves": np.arange(120) % 3 / 2,
    "numbers as objects": objects(1, 2.5),
    "numbers of pandas": pd.array(np.arange(120) / 8, dtype="Float64"),
    "a list": [0.5, 1.5, 7.0] * 40,
}


@pytest.mark.parametrize("column", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_fractions_are_a_measurement(column, X):
    model = BetaVAE(**SMALL).fit(X, batch=column)
    values = np.array(list(column), dtype=float)
    assert model.batches_ == {
        "kind": "numbers",
        "mean": pytest.approx(values.mean()),
        "deviation": pytest.approx(values.std()),
    }
    np.testing.assert_allclose(model.score_samples(X, batch=values), model.score_samples(X, batch=column))


def test_embed_names_the_column(X):
    obs = pd.DataFrame({"cell": [f"cell {row}" for row in range(120)], "pct_mt": 0.1}, map(str, range(120)))
    adata = anndata.AnnData(X, obs=obs)
    for key, message in (("cell", "has 120 levels in 120 rows"), ("pct_mt", r"holds 0\.1 in each of 120 rows")):
        for batch_key in (key, [key]):
            with pytest.raises(ValueError, match=rf"batch, the column '{key}', {message}"):
                embed(adata, BetaVAE(callbacks=[Unexpected()]), batch_key=batch_key)


def test_few_rows_and_half_as_many_levels_are_labels(X):
    few = np.arange(10)
    np.testing.assert_array_equal(Covariates.learn(few, 10).state, few)
    np.testing.assert_array_equal(Covariates.learn(np.arange(120) % 60, 120).state, np.arange(60))


def test_levels_that_are_listed_may_be_many(X):
    donors = [f"donor {number}" for number in range(30)]
    vae = BetaVAE(**SMALL, max_steps=4).partial_fit(X, batch=objects("donor 3", "donor 7"), batches=donors)
    assert sorted(donors) == vae.batches_.tolist()
    vae.partial_fit(X, batch="donor 29", batches=donors)
    listed = BetaVAE(**SMALL).partial_fit(X, batch=1.0, batches=[0.5, 1.0])  # fractions may be labels too
    np.testing.assert_array_equal(listed.batches_, [0.5, 1])


# Columns of batches

MISSING = {
    "NaN": np.where(np.arange(120) == 3, np.nan, 1.0),
    "infinity": np.where(np.arange(120) == 3, np.inf, 1.0),
    "NaN among strings": with_missing(pd.Series(LABELS)),
    "None": with_missing(pd.Series(LABELS)).astype(object).where(np.arange(120) != 3, None),
    "categories": with_missing(pd.Series(LABELS).astype("category")),
    "string": with_missing(pd.Series(LABELS, dtype="string")),
    "Int64": with_missing(pd.Series(np.arange(120) % 2, dtype="Int64")),
    "boolean": with_missing(pd.Series(np.arange(120) % 2 == 0, dtype="boolean")),
    "dates": with_missing(pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01"] * 60))),
    "list": [np.nan if row == 3 else label for row, label in enumerate(LABELS)],
}


@pytest.mark.parametrize("batch", MISSING.values(), ids=MISSING)
def test_a_missing_batch_is_said_of_the_batch(batch, fitted, X):
    message = "batch contains NaN, None or infinity in 1 of 120 rows, the first of them row 3; expected a value"
    for method in (BetaVAE(**SMALL).fit, fitted.score):
        with pytest.raises(ValueError, match=message):
            method(X, batch=batch)
    with pytest.raises(ValueError, match="batch_val contains NaN"):
        BetaVAE(**SMALL).fit(X, batch=LABELS, X_val=X, batch_val=batch)


@pytest.mark.parametrize("batch", [objects("a", 1), ["a", 1] * 60, objects("a", b"b"), objects(True, "b")], ids=str)
def test_mixed_types_get_a_sentence(batch, X):
    with pytest.raises(ValueError, match=r"batch mixes types, \['.*', '.*'\]; expected strings or numbers alone"):
        BetaVAE(**SMALL).fit(X, batch=batch)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((120, 2, 2)), r"batch has the shape \(120, 2, 2\); expected a 1d array"),
        (LABELS[:5], "batch and X have inconsistent numbers of samples, 5 and 120"),
        (np.arange(120) % 2 + 1j, "batch is of the type complex128; expected strings or numbers"),
    ],
    ids=["two dimensions", "short", "complex"],
)
def test_what_is_no_column_of_labels_gets_a_sentence(batch, message, X):
    with pytest.raises(ValueError, match=message):
        BetaVAE(**SMALL).fit(X, batch=batch)


@pytest.mark.parametrize("dtype", ["Int64", "Int8", "UInt32", "boolean", "object"])
def test_labels_of_pandas_keep_their_type(dtype, X, tmp_path):
    column = pd.Series(np.arange(120) % 2, dtype=dtype)
    vae = BetaVAE(**SMALL).fit(X, batch=column)
    assert vae.batches_.tolist() == [0, 1]
    assert vae.batches_.dtype.kind in ("b" if dtype == "boolean" else "iu")
    vae.save(tmp_path / "vae")
    assert BetaVAE.load(tmp_path / "vae").batches_.dtype == vae.batches_.dtype
    assert vae.score(X, batch=column) == vae.score(X, batch=np.arange(120) % 2)


def test_many_unknown_batches_are_named_in_part(fitted, X):
    names = objects(*(f"lab {number}" for number in range(10, 40)))
    message = r"batch holds \['lab 10', .* 'lab 14'\] and 25 more, first in row 0; expected one of \['lab A', 'lab B'\]"
    with pytest.warns(UserWarning, match=message):
        fitted.score(X, batch=names)
    with pytest.raises(ValueError, match=message.replace("batch holds", "batch_val holds")):
        BetaVAE(**SMALL).fit(X, batch=LABELS, X_val=X, batch_val=names)


def test_a_batch_that_fit_was_not_given_is_not_printed_row_by_row(X):
    with pytest.raises(ValueError, match=r"^batch == array\(.{,40}, must be None: fit was given none\.$"):
        BetaVAE(**SMALL).fit(X).transform(X, batch=LABELS)


# What is not read


@every_estimator
def test_a_new_batch_is_embedded_where_no_batch_is_read(Estimator, X):
    model = Estimator(**SMALL).fit(X, batch=LABELS)
    Z = model.transform(X)
    for batch in ("lab C", objects("lab A", "lab C"), objects(np.nan, 1), LABELS):
        np.testing.assert_array_equal(model.transform(X, batch=batch), Z)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.transform(X, batch=["lab C"] * 5)
    told = Estimator(**SMALL, encode_batch=True).fit(X, batch=LABELS)
    message = r"batch holds \['lab C'\], first in row 0; expected one of .* mean of the known ones. See adapt"
    for function in (model.score, model.denoise, model.component_features, told.transform, told.component_features):
        with pytest.warns(UserWarning, match=message) as caught:
            function(X, batch="lab C")
        assert [warning.filename for warning in caught] == [__file__]


@every_estimator
def test_rows_are_moved_to_a_batch_from_one_that_need_not_be_known(Estimator, X):
    model = Estimator(**SMALL).fit(X, batch=LABELS)
    moved = model.denoise(X, batch=LABELS, to_batch="lab B")
    np.testing.assert_array_equal(model.denoise(X, to_batch="lab B"), moved)
    np.testing.assert_array_equal(model.denoise(X, batch="lab C", to_batch="lab B"), moved)
    with pytest.raises(ValueError, match="batch is None; expected the batch of each row"):
        model.denoise(X)
    with pytest.raises(ValueError, match=r"^to_batch holds \['lab C'\]; expected one of \['lab A', 'lab B'\]"):
        model.denoise(X, batch=LABELS, to_batch="lab C")
    told = Estimator(**SMALL, encode_batch=True).fit(X, batch=LABELS)
    with pytest.raises(ValueError, match="batch is None; expected the batch of each row"):
        told.denoise(X, to_batch="lab B")


# Data frames of stores


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_a_data_frame_of_a_store_is_an_error_that_says_what_to_do(output, cells, tmp_path):
    np.save(tmp_path / "counts.npy", cells.data.toarray())
    store = RowStore(np.load(tmp_path / "counts.npy", mmap_mode="r"))
    with config_context(transform_output=output):
        for step in (LogNormalizer(), VariableGeneSelector(10)):
            name = type(step).__name__
            with pytest.raises(ValueError, match=rf"'{output}', and X of {name} is a store.*set_output\(transform="):
                step.fit_transform(store)
            step.set_output(transform="default").fit_transform(store)
        assert BetaVAE(likelihood="nb", **SMALL).fit_transform(store).shape == (120, 3)


# Early stopping


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping(), EarlyStopping("validation"), Checkpoint(dirname="unused")],
    ids=["stopping", "stopping by held-out rows", "checkpoint"],
)
def test_a_callback_that_monitors_what_is_not_recorded_says_what_is(callback, X, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        r"valid.* was not found in history.*one of \['kl', .*'train_loss'\].*'validation', for which fit needs X_val"
    )
    with pytest.raises(ValueError, match=message):
        BetaVAE(**SMALL, callbacks=[callback]).fit(X)


def test_a_key_error_of_a_callback_stays_one(X):
    class Broken(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        BetaVAE(**SMALL, callbacks=[Broken()]).fit(X)


# What embed writes down


def test_uns_holds_numbers_that_a_file_gives_back(X, tmp_path):
    adata = anndata.AnnData(X)
    estimator = BetaVSC(
        n_components=np.int64(3),
        beta=np.float32(0.5),
        hidden_layer_sizes=(8, np.int64(4)),
        head_layer_sizes=(),
        max_epochs=2,
        encode_batch=np.bool_(False),
        random_state=np.random.RandomState(0),
    )
    embed(adata, estimator, key_added="z")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for about in (adata.uns["z"], anndata.read_h5ad(tmp_path / "cells.h5ad").uns["z"]):
        params = about["params"]
        assert (params["n_components"], params["beta"], params["encode_batch"]) == (3, 0.5, False)
        assert params["hidden_layer_sizes"].tolist() == [8, 4]
        assert params["head_layer_sizes"].tolist() == []
        assert params["random_state"].startswith("RandomState")
        assert "max_steps" not in params  # None, which files of older anndata do not know
        assert "layer" not in about
