"""Tables of covariates, of labels and measurements, through every method that is given the batch of rows."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from models import SMALL, every_estimator
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from skvae import BetaVAE, FitCheckpoint, LogNormalizer, RowStore, VariableGeneSelector
from skvae.plotting import make_figure, plot_traversal

ROWS = np.arange(120)
RNG = np.random.default_rng(0)
TABLE = {
    "donor": np.array(["Ada", "Bo", "Cy"])[ROWS % 3],
    "chemistry": np.array(["v2", "v3"])[ROWS // 3 % 2],
    "age": RNG.uniform(20, 80, 120),
}
FRAME = pd.DataFrame(TABLE)
FORMS = {
    "frame": FRAME,
    "polars": pl.DataFrame(TABLE),
    "categories": FRAME.astype({"donor": "category"}),
    "nullable types": FRAME.convert_dtypes(),
    "object array": FRAME.to_numpy(),
    "lists": FRAME.to_numpy().tolist(),
}
ROW = {"donor": "Bo", "chemistry": "v3", "age": 41}


@pytest.fixture(scope="module")
def fitted(X):
    return BetaVAE(**SMALL, encode_batch=True).fit(X, batch=TABLE)


def row_methods(model):
    """Return the methods that are given the batch of rows, as functions of X and batch."""
    return {
        "transform": model.transform,
        "posterior": lambda X, batch=None: model.posterior(X, batch=batch).std,
        "score_samples": model.score_samples,
        "score": model.score,
        "log_likelihood": lambda X, batch=None: model.log_likelihood(X, batch=batch, n_samples=2),
        "denoise": model.denoise,
        "inverse_transform": lambda X, batch=None: model.inverse_transform(X[:, :3], batch=batch),
        "component_features": lambda X, batch=None: model.component_features(X, batch=batch).loadings,
    }


every_method = pytest.mark.parametrize(
    "method",
    [
        *("transform", "posterior", "score_samples", "score", "log_likelihood", "denoise"),
        *("inverse_transform", "component_features"),
    ],
)


# Forms


@every_method
def test_every_form_of_a_table_gives_the_same_bits(method, fitted, X):
    function = row_methods(fitted)[method]
    expected = function(X.toarray(), batch=TABLE)
    for batch in FORMS.values():
        np.testing.assert_array_equal(function(X.toarray(), batch=batch), expected)
    for name in TABLE:  # each column is read
        other = function(X.toarray(), batch={**TABLE, name: TABLE[name][::-1]})
        assert not np.array_equal(other, expected)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_is_the_same_fit(form, fitted, X):
    model = BetaVAE(**SMALL, encode_batch=True).fit(X, batch=FORMS[form])
    np.testing.assert_array_equal(model.transform(X, batch=FORMS[form]), fitted.transform(X, batch=TABLE))
    assert list(model.batches_) == (["0", "1", "2"] if form in ("object array", "lists") else list(TABLE))


@every_estimator
@pytest.mark.parametrize("settings", [{}, {"init": "random", "encode_batch": True}], ids=str)
def test_a_table_of_one_column_is_that_column(Estimator, settings, X):
    column = TABLE["donor"]
    alone = Estimator(**SMALL, **settings).fit(X, batch=column)
    for batch in ({"donor": column}, FRAME[["donor"]], column[:, np.newaxis]):
        model = Estimator(**SMALL, **settings).fit(X, batch=batch)
        for given in (batch, column):
            np.testing.assert_array_equal(model.transform(X, batch=given), alone.transform(X, batch=column))
            np.testing.assert_array_equal(model.score_samples(X, batch=given), alone.score_samples(X, batch=column))


@pytest.mark.parametrize("unit", [365.25, 1e-6])
def test_the_unit_of_a_measurement_does_not_matter(unit, X):
    scores, others = (
        BetaVAE(**SMALL).fit(X, batch=batch).score_samples(X, batch=batch)
        for batch in (TABLE, {**TABLE, "age": unit * TABLE["age"] + 7 * unit})
    )
    np.testing.assert_allclose(others, scores, atol=0.01)


@every_estimator
def test_the_order_of_rows_does_not_matter_and_weights_are_copies(Estimator, X):
    weights, order = ROWS % 3, np.random.default_rng(1).permutation(120)
    copies = np.repeat(ROWS, weights)
    for model, other in (
        (Estimator(**SMALL).fit(X, batch=FRAME), Estimator(**SMALL).fit(X[order], batch=FRAME.iloc[order])),
        (
            Estimator(**SMALL).fit(X, batch=FRAME.iloc[ROWS], sample_weight=weights + 1),
            Estimator(**SMALL).fit(X[np.r_[ROWS, copies]], batch=FRAME.iloc[np.r_[ROWS, copies]]),
        ),
    ):
        assert model.batches_["age"] == other.batches_["age"]
        np.testing.assert_array_equal(model.score_samples(X, batch=FRAME), other.score_samples(X, batch=FRAME))


# What is learned


@every_estimator
def test_the_decoder_learns_the_slope_of_a_measurement_beside_the_shifts_of_labels(Estimator):
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0].T
    lab, ages = rng.integers(3, size=900), rng.uniform(20, 80, size=900)
    shifts, slopes = rng.normal(size=(3, 10)) @ axes[2:], 0.05 * rng.normal(size=10) @ axes[2:]
    rows = rng.normal(size=(900, 2)) @ (3 * axes[:2]) + 0.3 * rng.normal(size=(900, 12))
    X, batch = rows + shifts[lab] + np.outer(ages, slopes), {"lab": lab, "age": ages}
    model = Estimator(2, random_state=0, max_epochs=10).fit(X, batch=batch)
    older, younger = (model.denoise(X, batch=batch, to_batch={"age": age}).mean(axis=0) for age in (60, 40))
    np.testing.assert_allclose((older - younger) / 20, slopes, atol=0.01)
    there, here = (model.denoise(X, batch=batch, to_batch={"lab": label}).mean(axis=0) for label in (2, 1))
    np.testing.assert_allclose(there - here, shifts[2] - shifts[1], atol=0.25)


def test_denoise_moves_rows_to_some_columns_and_leaves_others(fitted, X):
    moved = fitted.denoise(X, batch=TABLE, to_batch={"chemistry": "v3"})
    own, there = fitted.denoise(X, batch=TABLE), TABLE["chemistry"] == "v3"
    np.testing.assert_array_equal(moved[there], own[there])
    assert not np.isclose(moved[~there], own[~there]).all(axis=1).any()
    to_row = fitted.denoise(X, batch=TABLE, to_batch=ROW)
    back = fitted.inverse_transform(fitted.transform(X, batch=TABLE), batch=ROW)
    np.testing.assert_allclose(to_row, back, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encode_batch", [False, True])
@pytest.mark.parametrize("likelihood", ["gaussian", "zinb"])
def test_denoise_to_several_levels_is_the_mean_of_each(likelihood, encode_batch, X, cells):
    data = cells.data.toarray() if likelihood == "zinb" else X
    model = BetaVAE(**SMALL, likelihood=likelihood, encode_batch=encode_batch).fit(data, batch=TABLE)

    def moved(to_batch):
        return model.denoise(data, batch=TABLE, to_batch=to_batch)

    donors, chemistries = ("Ada", "Bo", "Cy"), ("v2", "v3")
    wanted = {
        "all of one": ({"donor": "all"}, [{"donor": donor} for donor in donors]),
        "some of one": ({"donor": ["Cy", "Ada"]}, [{"donor": "Cy"}, {"donor": "Ada"}]),
        "ages": ({"age": [30, 50.5], "donor": "Bo"}, [{"age": age, "donor": "Bo"} for age in (30, 50.5)]),
        "all": ("all", [{"donor": donor, "chemistry": label} for donor in donors for label in chemistries]),
    }
    for to_batch, each in wanted.values():
        expected = np.mean([moved(one) for one in each], axis=0)
        np.testing.assert_allclose(moved(to_batch), expected, rtol=1e-5, atol=1e-6)
    single = BetaVAE(**SMALL, encode_batch=encode_batch).fit(X, batch=TABLE["donor"])
    each = [single.denoise(X, batch=TABLE["donor"], to_batch=donor) for donor in donors]
    for to_batch in ("all", donors, list(donors)):
        found = single.denoise(X, batch=TABLE["donor"], to_batch=to_batch)
        np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5, atol=1e-6)


def test_rows_that_are_moved_in_all_columns_need_no_batch_unless_the_encoder_is_told(fitted, X):
    model = BetaVAE(**SMALL).fit(X, batch=TABLE)
    expected = model.denoise(X, batch=TABLE, to_batch=ROW)
    np.testing.assert_array_equal(model.denoise(X, to_batch=ROW), expected)
    for function, to_batch in ((model.denoise, {"donor": "Bo"}), (model.denoise, "all"), (fitted.denoise, ROW)):
        with pytest.raises(ValueError, match="batch is None; expected the batch of each row, the columns 'donor'"):
            function(X, to_batch=to_batch)


def test_scalars_are_the_batch_of_all_rows(fitted, X):
    rows = {name: np.repeat(value, 120) for name, value in ROW.items()}
    for method, function in row_methods(fitted).items():
        np.testing.assert_array_equal(function(X.toarray(), batch=ROW), function(X.toarray(), batch=rows), method)
    drawn = [fitted.sample(4, batch=batch, random_state=0) for batch in (ROW, [["Bo", "v3", 41.0]])]
    np.testing.assert_array_equal(*drawn)
    assert not np.array_equal(drawn[0], fitted.sample(4, batch={**ROW, "age": 80}, random_state=0))


# Levels that are not known


@every_method
def test_a_level_that_is_not_known_is_the_mean_of_the_known_ones_with_one_warning(method, fitted, X):
    function = row_methods(fitted)[method]
    message = r"batch, the column 'donor', holds \['Di'\], first in row 7; expected one of \['Ada', 'Bo', 'Cy'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        found = function(X.toarray(), batch={**TABLE, "donor": np.where(ROWS == 7, "Di", TABLE["donor"])})
    assert len(caught) == 1
    assert caught[0].filename == __file__
    if np.ndim(found) and len(found) == 120:
        expected = function(X.toarray(), batch=TABLE)
        np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(expected, 7, axis=0))
        assert not np.array_equal(found[7], expected[7])


def test_levels_that_are_not_known_are_errors_where_they_would_be_learned_or_chosen(fitted, X):
    new = {**TABLE, "chemistry": "v4"}
    message = r"the column 'chemistry', holds \['v4'\].*expected one of \['v2', 'v3'\]"
    for function in (
        lambda: BetaVAE(**SMALL).fit(X, batch=TABLE, X_val=X, batch_val=new),
        lambda: BetaVAE(**SMALL).fit(X, batch=TABLE).partial_fit(X, batch=new),
        lambda: fitted.sample(2, batch={**ROW, "chemistry": "v4"}),
        lambda: fitted.denoise(X, batch=TABLE, to_batch={"chemistry": "v4"}),
    ):
        with pytest.raises(ValueError, match=message):
            function()


# Training


def test_chunks_may_lack_levels_that_are_listed(X):
    listed = {"donor": ["Cy", "Ada", "Bo", "Di"]}
    model = BetaVAE(**SMALL, max_steps=4)
    first, second = (np.flatnonzero(TABLE["donor"] == donor) for donor in ("Ada", "Cy"))
    model.partial_fit(X[first], batch=FRAME.iloc[first], batches=listed)
    np.testing.assert_array_equal(model.batches_["donor"], ["Ada", "Bo", "Cy", "Di"])
    age = TABLE["age"][first]
    assert model.batches_["age"]["mean"] == pytest.approx(age.mean())
    assert model.batches_["age"]["deviation"] == pytest.approx(age.std())
    model.partial_fit(X[second], batch=FRAME.iloc[second], batches=listed)
    np.testing.assert_array_equal(model.partial_fit(X, batch={**TABLE, "donor": "Di"}).batches_["donor"][-1:], ["Di"])
    with pytest.raises(ValueError, match="must be those of the first call"):
        model.partial_fit(X, batch=TABLE, batches={"donor": ["Ada", "Bo"]})


def test_held_out_rows_have_tables_too(X):
    model = BetaVAE(**SMALL).fit(X[:90], batch=FRAME[:90], X_val=X[90:], batch_val=FRAME[90:])
    bound = -model.score(X[90:], batch=FRAME[90:])
    assert model.history_["validation"][-1] == pytest.approx(bound, abs=0.5)
    with pytest.raises(ValueError, match=r"batch_val has the columns \['age'.*expected the columns \['donor'"):
        BetaVAE(**SMALL).fit(X, batch=TABLE, X_val=X, batch_val=FRAME[["age", "donor", "chemistry"]])


class Stop(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("stopped")


def test_a_fit_goes_on_from_its_checkpoint_with_its_table_alone(X, tmp_path):
    once = BetaVAE(**SMALL).fit(X, batch=TABLE)
    checkpoint = FitCheckpoint(tmp_path / "fit")
    with pytest.raises(RuntimeError, match="stopped"):
        BetaVAE(**SMALL, callbacks=[checkpoint, Stop()]).fit(X, batch=TABLE)
    for batch in ({**TABLE, "age": TABLE["age"][::-1]}, {**TABLE, "donor": np.roll(TABLE["donor"], 1)}):
        with pytest.raises(ValueError, match=r"another fit, in which .*data.* differed"):
            BetaVAE(**SMALL, callbacks=[checkpoint]).fit(X, batch=batch)
    resumed = BetaVAE(**SMALL, callbacks=[checkpoint]).fit(X[::-1], batch=FRAME[::-1])
    np.testing.assert_array_equal(resumed.score_samples(X, batch=TABLE), once.score_samples(X, batch=TABLE))


def test_rows_of_a_store_have_tables(X, fitted, tmp_path):
    np.save(tmp_path / "X.npy", X.toarray())
    store = RowStore(np.load(tmp_path / "X.npy", mmap_mode="r"))
    model = BetaVAE(**SMALL, encode_batch=True).fit(store, batch=FRAME)
    for method in ("transform", "score_samples", "denoise"):
        found = getattr(model, method)(store, batch=TABLE)
        np.testing.assert_array_equal(found, getattr(fitted, method)(X.toarray(), batch=TABLE))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({**TABLE, "age": 30.0}, "batch, the column 'age', holds 30.0 in each of 120 rows"),
        (
            {**TABLE, "age": np.where(ROWS == 5, np.nan, 1.5)},
            "batch, the column 'age', contains NaN.* them row 5",
        ),
        ({**TABLE, "donor": ROWS}, "batch, the column 'donor', has 120 levels in 120 rows"),
        ({**TABLE, "donor": TABLE["donor"][:7]}, "batch, the column 'donor', and X have inconsistent numbers"),
        ({**TABLE, "donor": ["Ada", 1] * 60}, "batch, the column 'donor', mixes types"),
        ({}, "batch is an empty dict"),
    ],
    ids=["constant", "NaN", "names of rows", "short", "mixed", "empty"],
)
@every_estimator
def test_bad_columns_are_named_and_leave_the_last_fit(Estimator, batch, message, X):
    model = Estimator(**SMALL).fit(X)
    Z = model.transform(X)
    for function in (model.fit, Estimator(**SMALL, max_steps=2).partial_fit):
        with pytest.raises(ValueError, match=message):
            function(X, batch=batch)
    np.testing.assert_array_equal(model.transform(X), Z)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({**TABLE, "lab": "Basel"}, "batch, the column 'lab', holds 'Basel' in each of 120 rows; expected two levels"),
        ({**TABLE, "lab": np.where(ROWS == 9, "x", "y")}, "'lab', has 1 level.*a single row, such as 'x' of row 9"),
        ({**TABLE, "lab": ROWS % 3}, "'donor', and batch, the column 'lab' cannot be told apart"),
        ({**TABLE, "lab": ROWS % 4 * 1.0}, "'lab', holds 4 integers as floats, such as 0 in row 0"),
    ],
    ids=["constant", "single", "confounded", "integers as floats"],
)
def test_columns_of_which_little_can_be_learned_are_one_warning_in_fit(batch, message, X):
    with pytest.warns(UserWarning, match=message) as caught:
        model = BetaVAE(**SMALL).fit(X, batch=batch)
    assert [warning.filename for warning in caught if warning.category is UserWarning] == [__file__]
    assert np.isfinite(model.score(X, batch=batch))


# Around the estimators


@pytest.mark.parametrize("form", ["frame", "object array"])
def test_pipelines_and_searches_pass_tables_on(form, cells):
    batch = FORMS[form]
    with config_context(enable_metadata_routing=True):
        vae = BetaVAE(**SMALL, encode_batch=True)
        vae.set_fit_request(batch=True).set_score_request(batch=True).set_transform_request(batch=True)
        pipeline = make_pipeline(LogNormalizer(), vae)
        Z = pipeline.fit_transform(cells.data, batch=batch)
        X = LogNormalizer().fit_transform(cells.data)
        search = GridSearchCV(vae, {"beta": [1.0, 4.0]}, cv=2).fit(X, batch=batch)
    np.testing.assert_array_equal(Z, BetaVAE(**SMALL, encode_batch=True).fit_transform(X, batch=batch))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.batches_) == 3
    by_hand = []
    for test in (ROWS < 60, ROWS >= 60):
        model = BetaVAE(**SMALL, encode_batch=True).fit(X[~test], batch=FRAME[~test])
        by_hand.append(model.score(X[test], batch=FRAME[test]))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][0], np.mean(by_hand), rtol=1e-3)


def test_genes_vary_within_the_groups_of_a_table(cells):
    labels = {name: TABLE[name] for name in ("donor", "chemistry")}
    joined = np.char.add(TABLE["donor"], TABLE["chemistry"])
    expected = VariableGeneSelector(10).fit(cells.data, batch=joined)
    for batch in (labels, TABLE):
        selector = VariableGeneSelector(10).fit(cells.data, batch=batch)
        np.testing.assert_allclose(selector.residual_variances_, expected.residual_variances_)


def test_a_traversal_is_drawn_of_a_row_of_a_table(fitted, X):
    Z = fitted.transform(X, batch=TABLE)
    _, [[ax, other]] = make_figure(1, 2)
    lines, others = (
        plot_traversal(axes, fitted, Z, 0, batch=row, n_top=60)
        for axes, row in ((ax, ROW), (other, {name: [value] * 31 for name, value in ROW.items()}))
    )
    for line, same in zip(lines, others, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), same.get_ydata())
