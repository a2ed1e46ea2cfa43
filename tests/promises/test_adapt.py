"""Adapting: further levels are learned from a few rows, and what is returned for all other rows keeps its bits."""

import pickle

import numpy as np
import pytest
from models import ESTIMATORS, SMALL, every_estimator
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae import AutoencoderEmbedding, BetaVAE, BetaVSC, RowStore, make_single_cell_counts

N_ROWS = 160
ROWS = np.arange(N_ROWS)
LAB = np.array(["lab A", "lab B", "lab C", "lab D"])[ROWS % 4]
TABLE = {"lab": LAB, "sex": ROWS // 4 % 2, "age": np.random.default_rng(0).uniform(20, 80, N_ROWS)}
KNOWN, QUERY, LATER = np.flatnonzero(ROWS % 4 < 2), np.flatnonzero(ROWS % 4 == 2), np.flatnonzero(ROWS % 4 == 3)
FEW = {"max_steps": 4}


@pytest.fixture(scope="module")
def counts():
    """Return counts of four laboratories, float32 (160, 60)."""
    effects = np.exp(0.5 * np.random.default_rng(1).normal(size=(4, 60)))[ROWS % 4]
    cells = make_single_cell_counts(N_ROWS, 60, library_size=300, random_state=0)
    return np.random.default_rng(0).poisson(cells.data.toarray() * effects).astype(np.float32)


def data_of(likelihood, counts):
    if likelihood == "bernoulli":
        return (counts > 0).astype(np.float32)
    return np.log1p(counts) if "gaussian" in likelihood else counts


def part(batch, rows):
    """Return some rows of a column or table."""
    return {name: column[rows] for name, column in batch.items()} if isinstance(batch, dict) else batch[rows]


def results(model, X, batch):
    """Return what each method returns for the rows, and the draws of the first one's batch."""
    rows = len(ROWS[: X.shape[0]])
    Z = np.linspace(-1, 1, 3 * rows).reshape(rows, 3).astype(X.dtype)
    first = {name: column[0] for name, column in batch.items()} if isinstance(batch, dict) else batch[0]
    found = {name: getattr(model, name)(X, batch=batch) for name in ("transform", "score_samples", "denoise")}
    found["inverse_transform"] = model.inverse_transform(Z, batch=batch)
    found["component_features"] = model.component_features(X, batch=batch).loadings
    found["moved"] = model.denoise(X, batch=batch, to_batch={"lab": "lab A"} if isinstance(batch, dict) else "lab A")
    if hasattr(model, "sample"):
        found["log_likelihood"] = model.log_likelihood(X, batch=batch, n_samples=4)
        found["sample"] = model.sample(5, batch=first, random_state=0)
        found["posterior"] = np.hstack([*model.posterior(X, batch=batch).values()])
    return found


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


# Bits


SETTINGS = {
    "gaussian": (BetaVAE, {}),
    "gaussian, encoder told": (BetaVSC, {"encode_batch": True, "head_layer_sizes": (4,)}),
    "gaussian, autoencoder told": (AutoencoderEmbedding, {"encode_batch": True}),
    "unit_gaussian, linear": (AutoencoderEmbedding, {"hidden_layer_sizes": ()}),
    "poisson, random": (BetaVAE, {"init": "random", "encode_batch": True}),
    "nb, linear": (BetaVAE, {"hidden_layer_sizes": (), "encode_batch": True}),
    "zinb, deep": (BetaVSC, {"hidden_layer_sizes": (8, 4)}),
    "bernoulli, linear": (
        BetaVSC,
        {"init": "random", "hidden_layer_sizes": (), "head_layer_sizes": (4,), "encode_batch": True},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_rows_of_known_levels_keep_their_bits_and_a_file_is_enough(name, counts, tmp_path):
    likelihood, (Estimator, settings) = name.partition(",")[0], SETTINGS[name]
    X, batch = data_of(likelihood, counts), LAB if settings.get("encode_batch") else TABLE
    model = Estimator(**SMALL | settings, likelihood=likelihood).fit(X[KNOWN], batch=part(batch, KNOWN))
    in_float64 = sparse.csr_matrix(X[KNOWN], dtype=np.float64)
    expected, of_float64 = (results(model, form, part(batch, KNOWN)) for form in (X[KNOWN], in_float64))
    adapted = model.adapt(X[QUERY], batch=part(batch, QUERY), **FEW)
    twice = adapted.adapt(X[LATER], batch=part(batch, LATER), **FEW)
    of_query = results(adapted, X[QUERY], part(batch, QUERY))
    model.save(tmp_path / "model")
    Estimator.load(tmp_path / "model").adapt(X[QUERY], batch=part(batch, QUERY), **FEW).save(tmp_path / "adapted")
    loaded = Estimator.load(tmp_path / "adapted")
    for copy in (adapted, twice, loaded):
        assert_same(results(copy, X[KNOWN], part(batch, KNOWN)), expected)
    assert_same(results(twice, in_float64, part(batch, KNOWN)), of_float64)
    for copy in (twice, loaded):
        assert_same(results(copy, X[QUERY], part(batch, QUERY)), of_query)
    # among others too, and those of new levels are told apart
    np.testing.assert_array_equal(twice.score_samples(X, batch=batch)[KNOWN], expected["score_samples"])
    moved = [twice.denoise(X, batch=batch, to_batch=to if batch is LAB else {"lab": to}) for to in ("lab C", "lab D")]
    assert not np.allclose(*moved, rtol=1e-4)


def test_sparse_minibatches_keep_their_bits():
    cells = make_single_cell_counts(120, 1200, library_size=500, n_batches=3, random_state=0)
    X, known = cells.data.astype(np.float32), cells.batch < 2
    model = BetaVAE(**SMALL, likelihood="nb", encode_batch=True).fit(X[known], batch=cells.batch[known])
    adapted = model.adapt(X, batch=cells.batch, **FEW)
    for method in ("transform", "score_samples", "denoise"):
        found = getattr(adapted, method)(X, batch=cells.batch)
        np.testing.assert_array_equal(found[known], getattr(model, method)(X[known], batch=cells.batch[known]))


@every_estimator
def test_the_original_is_as_it_was_and_the_rest_of_the_weights_too(Estimator, counts):
    X = np.log1p(counts)
    settings = {"init": "random", "head_layer_sizes": (4,), "encode_batch": True}
    model = Estimator(**SMALL | settings).fit(X[KNOWN], batch=LAB[KNOWN])
    attributes, before = dict(vars(model)), pickle.dumps(model)
    adapted = model.adapt(X[QUERY], batch=LAB[QUERY])
    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is value for name, value in attributes.items())
    assert pickle.dumps(model) == before
    assert vars(adapted).keys() == attributes.keys()
    assert adapted.get_params() == model.get_params() == clone(adapted).get_params()
    np.testing.assert_array_equal(adapted.batches_, ["lab A", "lab B", "lab C"])
    weights, old = (dict(one.net_.module_.state_dict()) for one in (adapted, model))
    assert weights.keys() == old.keys()
    n_changed = 0
    for name, weight in old.items():
        if weights[name].shape == weight.shape:
            np.testing.assert_array_equal(weights[name], weight, err_msg=name)
        else:
            n_changed += 1
    assert n_changed >= 2  # of the decoder, and of the encoder's heads
    for one in (adapted, model):
        assert [weight.requires_grad for weight in one.net_.module_.parameters()] == [
            weight.requires_grad for weight in model.net_.module_.parameters()
        ]


# What is learned


@pytest.fixture(scope="module")
def shifted():
    """Return rows of a linear model in five batches, which shift each feature, (1500, 12), the batches and the shifts.

    They are not along the axes, as rows that are shifted along these look like rows of another code.
    """
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(12, 12)))[0].T
    batch, shifts = rng.integers(5, size=1500), 0.5 * rng.normal(size=(5, 10)) @ axes[2:]
    rows = rng.normal(size=(1500, 2)) @ (3 * axes[:2]) + 0.3 * rng.normal(size=(1500, 12))
    return rows + shifts[batch], batch, shifts


@pytest.mark.parametrize("settings", [{}, {"hidden_layer_sizes": ()}, {"encode_batch": True}], ids=str)
@every_estimator
def test_the_decoder_learns_the_shift_of_a_new_level(Estimator, settings, shifted):
    X, batch, shifts = shifted
    known, query = batch < 4, np.flatnonzero(batch == 4)[:200]
    model = Estimator(2, random_state=0, max_epochs=10, **settings).fit(X[known], batch=batch[known])
    adapted = model.adapt(X[query], batch=batch[query])
    for rows, own in ((known, batch[known]), (query, 4)):
        there, here = (adapted.denoise(X[rows], batch=own, to_batch=to).mean(axis=0) for to in (4, 0))
        np.testing.assert_allclose(there - here, shifts[4] - shifts[0], atol=0.2)


@pytest.mark.parametrize("encode_batch", [False, True])
@pytest.mark.parametrize("likelihood", ["gaussian", "nb"])
def test_the_score_of_held_out_rows_of_a_new_level_rises(likelihood, encode_batch):
    cells = make_single_cell_counts(900, 100, n_batches=5, batch_effect=0.4, library_size=2000, random_state=0)
    X = cells.data.toarray() if likelihood == "nb" else np.log1p(cells.data.toarray())
    known, query = cells.batch < 4, np.flatnonzero(cells.batch == 4)
    seen, held_out = query[::2], query[1::2]
    model = BetaVAE(likelihood=likelihood, encode_batch=encode_batch, max_epochs=10, random_state=0)
    model.fit(X[known], batch=cells.batch[known])
    adapted = model.adapt(X[seen], batch=cells.batch[seen])
    with pytest.warns(UserWarning, match=r"batch holds \[4\], first in row 0; expected one of \[0, 1, 2, 3\]"):
        before = model.score(X[held_out], batch=cells.batch[held_out])
    after = adapted.score(X[held_out], batch=cells.batch[held_out])
    of_another = max(adapted.score(X[held_out], batch=label) for label in range(4))
    assert after > max(before, of_another) + 5  # nats, of some 90 or 250


def test_few_rows_move_a_new_level_little(shifted):
    X, batch, _ = shifted
    model = BetaVAE(2, random_state=0, max_epochs=10).fit(X[batch < 4], batch=batch[batch < 4])
    query = np.flatnonzero(batch == 4)
    mean = np.mean([model.denoise(X[:50], to_batch=label) for label in range(4)], axis=0)
    lengths = []
    for n_rows in (1, 10, 200):
        adapted = model.adapt(X[query[:n_rows]], batch=batch[query[:n_rows]])
        lengths.append(np.abs(adapted.denoise(X[:50], to_batch=4) - mean).mean())
    assert 0 < lengths[0] < lengths[1] < lengths[2]


def test_without_encode_batch_all_rows_are_embedded_as_before(counts):
    X = np.log1p(counts)
    model = BetaVSC(**SMALL).fit(X[KNOWN], batch=LAB[KNOWN])
    adapted = model.adapt(X[QUERY], batch=LAB[QUERY], **FEW)
    np.testing.assert_array_equal(adapted.transform(X, batch=LAB), model.transform(X))


# Rows


@every_estimator
def test_rows_without_a_new_level_their_order_and_copies_do_not_matter(Estimator, counts):
    X = np.log1p(counts)
    model = Estimator(**SMALL).fit(X[KNOWN], batch=part(TABLE, KNOWN))
    weights = np.arange(len(QUERY)) % 3
    copies = np.repeat(QUERY, weights)
    expected, among_others, shuffled = (
        model.adapt(X[rows], batch=part(TABLE, rows), **FEW).denoise(X[QUERY], batch=part(TABLE, QUERY))
        for rows in (QUERY, np.r_[KNOWN, QUERY], QUERY[::-1])
    )
    np.testing.assert_array_equal(among_others, expected)
    np.testing.assert_array_equal(shuffled, expected)
    weighted = model.adapt(X[QUERY], batch=part(TABLE, QUERY), sample_weight=weights, **FEW)
    copied = model.adapt(X[copies], batch=part(TABLE, copies), **FEW)
    np.testing.assert_array_equal(*(one.denoise(X[QUERY], batch=part(TABLE, QUERY)) for one in (weighted, copied)))


def test_rows_of_a_store_are_those_in_memory(counts, tmp_path):
    X = np.log1p(counts)
    np.save(tmp_path / "X.npy", X)
    store = RowStore(np.load(tmp_path / "X.npy", mmap_mode="r"))
    model = BetaVAE(**SMALL).fit(X[KNOWN], batch=LAB[KNOWN])
    found, expected = (model.adapt(rows, batch=LAB, **FEW).score_samples(X, batch=LAB) for rows in (store, X))
    np.testing.assert_array_equal(found, expected)


def test_several_levels_of_several_columns_are_learned_at_once(counts):
    X, batch = np.log1p(counts), {**TABLE, "sex": np.where(ROWS % 8 == 3, 2, TABLE["sex"])}
    model = BetaVAE(**SMALL, encode_batch=True).fit(X[KNOWN], batch=part(batch, KNOWN))
    expected = results(model, X[KNOWN], part(batch, KNOWN))
    adapted = model.adapt(X, batch=batch, **FEW)
    np.testing.assert_array_equal(adapted.batches_["lab"], ["lab A", "lab B", "lab C", "lab D"])
    np.testing.assert_array_equal(adapted.batches_["sex"], [0, 1, 2])
    assert adapted.batches_["age"] == model.batches_["age"]
    assert_same(results(adapted, X[KNOWN], part(batch, KNOWN)), expected)
    moved = [adapted.denoise(X, batch=batch, to_batch={"sex": sex}) for sex in (0, 1, 2)]
    np.testing.assert_allclose(
        adapted.denoise(X, batch=batch, to_batch={"sex": "all"}), np.mean(moved, axis=0), rtol=1e-5, atol=1e-6
    )


def test_training_goes_on_after_new_levels_were_learned(counts, tmp_path):
    X = np.log1p(counts)
    model = BetaVAE(**SMALL, learning_rate_schedule="constant").fit(X[KNOWN], batch=LAB[KNOWN])
    adapted = model.adapt(X[QUERY], batch=["A new lab"] * len(QUERY), **FEW)
    adapted.save(tmp_path / "adapted")
    loaded = BetaVAE.load(tmp_path / "adapted")
    for one in (adapted, loaded):
        one.partial_fit(X[KNOWN], batch=LAB[KNOWN], batches=["A new lab", "lab A", "lab B"])
    assert adapted.n_epochs_ == model.n_epochs_ + 1
    np.testing.assert_array_equal(adapted.denoise(X, to_batch="A new lab"), loaded.denoise(X, to_batch="A new lab"))
    assert not np.array_equal(adapted.denoise(X, to_batch="lab A"), model.denoise(X, to_batch="lab A"))


def test_parameters_set_after_fit_do_not_change_what_is_learned(counts):
    X = np.log1p(counts)
    model = BetaVAE(**SMALL).fit(X[KNOWN], batch=LAB[KNOWN])
    expected = model.adapt(X[QUERY], batch=LAB[QUERY], **FEW).denoise(X, to_batch="lab C")
    model.set_params(n_components=5, hidden_layer_sizes=(4, 4), likelihood="nb", learning_rate=0.1, batch_size=7)
    np.testing.assert_array_equal(model.adapt(X[QUERY], batch=LAB[QUERY], **FEW).denoise(X, to_batch="lab C"), expected)


# Errors


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"batch": part(TABLE, KNOWN)}, ValueError, "batch holds no new level; expected some beside those that are"),
        ({"batch": None}, ValueError, "batch is None; expected the batch of each row, the columns 'lab', one of"),
        ({"batch": LAB[KNOWN]}, ValueError, r"batch has a single column; expected the columns \['lab', 'sex', 'age'\]"),
        ({"lab": 5}, ValueError, "batch, the column 'lab', holds 5; expected levels of the type"),
        ({"lab": None}, ValueError, "batch, the column 'lab', contains NaN"),
        ({"age": "old"}, ValueError, "batch, the column 'age', holds 'old'; expected a number"),
        ({"lab": ["lab C"] * 3}, ValueError, "batch, the column 'lab', and X have inconsistent numbers of samples, 3"),
        ({"max_steps": 0}, ValueError, "max_steps == 0, must be >= 1"),
        ({"max_steps": 2.5}, TypeError, "max_steps must be an instance of int"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight"),
        ({"X": np.full((len(KNOWN), 60), np.nan)}, ValueError, "NaN"),
        ({"X": np.ones((len(KNOWN), 59))}, ValueError, "59 features"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_learned_is_an_error(changes, error, message, counts):
    X = np.log1p(counts[KNOWN])
    model = BetaVAE(**SMALL).fit(X, batch=part(TABLE, KNOWN))
    new = {**part(TABLE, KNOWN), "lab": "lab C"}
    arguments = {"X": X, "batch": new, **FEW}
    for name, value in changes.items():
        (new if name in new else arguments)[name] = value
    with pytest.raises(error, match=message):
        model.adapt(**arguments)


def test_weights_must_leave_rows_of_new_levels(counts):
    X = np.log1p(counts)
    model = BetaVAE(**SMALL).fit(X[KNOWN], batch=LAB[KNOWN])
    with pytest.raises(ValueError, match="sample_weight leaves out all rows of new levels"):
        model.adapt(X, batch=LAB, sample_weight=np.isin(ROWS, KNOWN))


def test_a_model_without_levels_has_none_to_learn(counts):
    X = np.log1p(counts)
    with pytest.raises(ValueError, match="fit was given no batch, so that there are no levels to learn"):
        AutoencoderEmbedding(**SMALL).fit(X).adapt(X, batch=LAB)
    with pytest.raises(ValueError, match="batch holds no new level"):
        BetaVAE(**SMALL).fit(X, batch=TABLE["age"]).adapt(X, batch=TABLE["age"] + 1)
    for Estimator in ESTIMATORS:
        with pytest.raises(NotFittedError):
            Estimator().adapt(X, batch=LAB)
