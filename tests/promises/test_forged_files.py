"""Files whose checksum holds and whose values are none that skvae writes: each is one error, and harms nobody."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import safetensors
import safetensors.numpy
import skops.io
import torch
from models import SMALL

from skvae import BetaVAE, FitCheckpoint, persistence
from skvae.training.checkpoint import KIND


def forge(path, kind, change):
    """Change the text of a file and its arrays, and give it a checksum that holds."""
    with safetensors.safe_open(path, framework="numpy") as file:
        text, arrays = json.loads(file.metadata()["state"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(text, arrays)
    text = json.dumps(text)
    metadata = {"kind": kind, "state": text, "sha256": persistence.checksum_of(kind, text, arrays)}
    path.write_bytes(safetensors.numpy.save(arrays, metadata))


def find(text, *names):
    """Return what stands under names in the dicts of a file."""
    for name in names:
        text = text["dict"][name] if isinstance(name, str) else text[name]
    return text


def at(*names, value):
    """Return a change of what stands under names: to plain data, or to what is made of the old ones."""

    def change(text, arrays):
        place = find(text, *names[:-1])
        place = place["dict"] if isinstance(names[-1], str) else place
        old = persistence.decode(place[names[-1]], arrays)
        new = value(old) if callable(value) else value
        later: dict = {}
        encoded = persistence.encode(new, later)
        renamed = {name: f"new {name}" for name in later}
        arrays.update({renamed[name]: array for name, array in later.items()})
        place[names[-1]] = json.loads(json.dumps(encoded), object_hook=lambda item: rename(item, renamed))

    return change


def rename(item, names):
    return {"array": names[item["array"]]} if set(item) == {"array"} else item


def raw(*names, value):
    """Return a change of what stands under names to an encoded value, which may be none that is ever written."""

    def change(text, arrays):
        find(text, *names[:-1])["dict"][names[-1]] = value

    return change


def twister(**changed):
    """Return a change of the random state of an estimator."""

    def change(text, arrays):
        state = np.random.RandomState(0).get_state(legacy=False)
        for name, value in changed.items():
            (state["state"] if name in ("key", "pos") else state)[name] = value
        arrays["words"] = np.asarray(state["state"].pop("key"))
        encoded = persistence.encode(state, {})
        encoded["dict"]["state"]["dict"]["key"] = {"array": "words"}
        text["dict"]["random_state"] = {"RandomState": encoded}

    return change


WORDS = np.random.RandomState(0).get_state()[1]

VALUES = {
    "position beyond the words": twister(pos=2**31 - 1),
    "position 625": twister(pos=625),
    "position -1": twister(pos=-1),
    "position 0.5": twister(pos=0.5),
    "position of text": twister(pos="0"),
    "words too few": twister(key=WORDS[:600]),
    "words of another type": twister(key=WORDS.astype(np.int64)),
    "words of two dimensions": twister(key=WORDS.reshape(2, 312)),
    "words of zeros": twister(key=np.zeros(624, np.uint32)),
    "has_gauss 7": twister(has_gauss=7),
    "gauss of text": twister(gauss="x"),
    "gauss infinite": twister(gauss=float("inf")),
    "another generator": twister(bit_generator="PCG64"),
    "random state of a list": raw("random_state", value={"RandomState": [1, 2]}),
    "a negative shape": raw("note", value={"objects": ["O", [-1], ["a"]]}),
    "a negative shape beside another": raw("note", value={"objects": ["O", [-1, -1], ["a"]]}),
    "a huge shape": raw("note", value={"objects": ["O", [2**62, 2**62], ["a"]]}),
    "a shape of text": raw("note", value={"objects": ["O", "1", ["a"]]}),
    "too few objects": raw("note", value={"objects": ["O", [3], ["a"]]}),
    "too many objects": raw("note", value={"objects": ["U", [1], ["a", "b"]]}),
    "objects of another kind": raw("note", value={"objects": ["f", [1], ["a"]]}),
    "objects of a number": raw("note", value={"objects": ["O", [1], 1]}),
    "an array that is not there": raw("note", value={"array": "none"}),
    "an array of a list": raw("note", value={"array": ["0"]}),
    "a scalar of a text": raw("note", value={"scalar": "x"}),
    "a scalar of several": raw("note", value={"scalar": {"array": "0"}}),
    "a tuple of a text": raw("note", value={"tuple": "abc"}),
    "two kinds": raw("note", value={"tuple": [], "dict": {}}),
    "an unknown kind": raw("note", value={"function": "os.system"}),
}

NET = {
    "n_steps negative": at("net_", "n_steps", value=-1),
    "n_steps huge": at("net_", "n_steps", value=2**62),
    "n_steps of text": at("net_", "n_steps", value="3"),
    "n_steps real": at("net_", "n_steps", value=1.5),
    "last_factor of text": at("net_", "last_factor", value="x"),
    "last_factor not finite": at("net_", "last_factor", value=float("nan")),
    "seeds negative": at("net_", "seeds", value=[-1, 2]),
    "seeds huge": at("net_", "seeds", value=[2**70, 2]),
    "seeds too few": at("net_", "seeds", value=[1]),
    "seeds of text": at("net_", "seeds", value="12"),
    "a weight of another shape": at("net_", "weights", "likelihood.logvar", value=np.zeros(3, np.float32)),
    "a weight that broadcasts": at("net_", "weights", "likelihood.logvar", value=np.zeros((), np.float32)),
    "a weight of another type": at("net_", "weights", "likelihood.logvar", value=lambda old: old.astype(np.int64)),
    "a weight of text": at("net_", "weights", "likelihood.logvar", value="x"),
    "a moment of Adam of another shape": at(
        "net_", "optimizer", "parameters", "0", "exp_avg", value=np.zeros(1, np.float32)
    ),
    "a moment of Adam of another type": at(
        "net_", "optimizer", "parameters", "0", "exp_avg_sq", value=lambda old: old.astype(np.float64)
    ),
    "a moment of Adam of text": at("net_", "optimizer", "parameters", "0", "exp_avg", value="x"),
    "steps of Adam of another shape": at("net_", "optimizer", "parameters", "0", "step", value=np.zeros(3, np.float32)),
    "a moment too many": at("net_", "optimizer", "parameters", "0", value=lambda old: old | {"max_exp_avg_sq": 0}),
    "a moment too few": at("net_", "optimizer", "parameters", "0", value={}),
    "a parameter that is not there": at(
        "net_", "optimizer", "parameters", value=lambda old: {str(int(name) + 1000): kept for name, kept in old.items()}
    ),
    "a parameter of text": at(
        "net_", "optimizer", "parameters", value=lambda old: {f"x{name}": kept for name, kept in old.items()}
    ),
    "no parameters": at("net_", "optimizer", "parameters", value=None),
    "no groups": at("net_", "optimizer", "groups", value=[]),
    "lr of text": at("net_", "optimizer", "groups", 0, "lr", value="x"),
    "lr not finite": at("net_", "optimizer", "groups", 0, "lr", value=float("inf")),
    "betas of text": at("net_", "optimizer", "groups", 0, "betas", value=("x", "y")),
    "sums of another shape": at("net_", "moments", "sums", value=np.zeros(3)),
    "sums of another type": at("net_", "moments", "sums", value=lambda old: old.astype(np.float32)),
    "a weight of moments of another shape": at("net_", "moments", "weight", value=np.zeros(3)),
    "more moments": at("net_", "moments", value=lambda old: old | {"add": np.zeros(3)}),
    "history of a dict": at("net_", "history", value={}),
    "history of numbers": at("net_", "history", value=[1.0, 2.0, 3.0]),
    "history without terms": at("net_", "history", value=[{"epoch": 1}] * 3),
    "history of text": at("net_", "history", value=lambda old: [epoch | {"train_loss": "x"} for epoch in old]),
    "terms of too few components": at(
        "net_", "history", value=lambda old: [epoch | {"kl_by_component": [1.0]} for epoch in old]
    ),
    "a huge number of features": at("net_", "settings", "n_features", value=10**12),
    "features beyond numbers": at("net_", "settings", "n_features", value=10**30),
    "a negative number of features": at("net_", "settings", "n_features", value=-5),
    "features of text": at("net_", "settings", "n_features", value="5"),
    "a huge number of batches": at("net_", "settings", "n_categories", value=10**12),
    "a huge network": at("net_", "settings", "params", "hidden_layer_sizes", value=(10**6, 10**6)),
    "a huge number of components": at("net_", "settings", "params", "n_components", value=10**9),
    "a long run": at("net_", "settings", "n_steps", value=10**30),
    "no settings": at("net_", "settings", value=None),
}

LEARNED = {
    "a huge embedding": at("_n_features_out", value=10**12),
    "an embedding of text": at("_n_features_out", value="3"),
    "other features": at("n_features_in_", value=10**12),
    "other epochs": at("n_epochs_", value=10**12),
    "history_ of text": at("history_", value={"loss": "x"}),
    "history_ of other epochs": at("history_", "loss", value=np.zeros(7)),
    "history_ of a list": at("history_", value=[1, 2, 3]),
    "active_components_ of another shape": at("active_components_", value=np.ones(7, bool)),
    "active_components_ of another type": at("active_components_", value=np.ones(3)),
    "explained_variance_ of text": at("explained_variance_", value="x"),
    "explained_variance_ of another shape": at("explained_variance_", value=np.zeros(7, np.float32)),
    "batches_ of another number": at("batches_", value=np.arange(5)),
    "batches_ of two dimensions": at("batches_", value=np.zeros((2, 2))),
    "names of another number": at("feature_names_in_", value=np.array(["a"], object)),
}

FORGERIES = VALUES | NET | LEARNED

COVARIATES = {
    "levels of text": at("batches_", "lab", value="abc"),
    "levels of a list": at("batches_", "lab", value=["a", "b", "c"]),
    "levels of two dimensions": at("batches_", "lab", value=np.zeros((3, 1))),
    "too many levels": at("batches_", "lab", value=np.arange(4)),
    "too few levels": at("batches_", "lab", value=np.arange(2)),
    "no levels": at("batches_", "lab", value=np.arange(0)),
    "a kind that is none": at("batches_", "age", "kind", value="os"),
    "a kind of a number": at("batches_", "age", "kind", value=1),
    "a mean of text": at("batches_", "age", "mean", value="x"),
    "a mean that is not finite": at("batches_", "age", "mean", value=float("nan")),
    "no deviation": at("batches_", "age", value={"kind": "numbers", "mean": 0.0}),
    "a deviation of zero": at("batches_", "age", "deviation", value=0.0),
    "a deviation below zero": at("batches_", "age", "deviation", value=-1.0),
    "a deviation of an array": at("batches_", "age", "deviation", value=np.ones(120)),
    "a column of none": at("batches_", "age", value=None),
    "a column of nothing": at("batches_", "age", value={}),
    "a column too few": at("batches_", value=lambda old: {"lab": old["lab"]}),
    "a column too many": at("batches_", value=lambda old: {**old, "sex": np.arange(2)}),
    "no columns": at("batches_", value={}),
    "no batches": at("batches_", value=None),
    "batches of text": at("batches_", value="abcd"),
    "earlier of text": at("net_", "settings", "earlier", value="x"),
    "earlier of a number": at("net_", "settings", "earlier", value=2),
    "earlier of none": at("net_", "settings", "earlier", value=None),
    "earlier of numbers": at("net_", "settings", "earlier", value=[2, 1]),
    "widths of text": at("net_", "settings", "earlier", value=[["2", "1"]]),
    "widths of fractions": at("net_", "settings", "earlier", value=[[2.0, 1.0]]),
    "widths of too few columns": at("net_", "settings", "earlier", value=[[2]]),
    "widths of too many columns": at("net_", "settings", "earlier", value=[[2, 1, 1]]),
    "widths below zero": at("net_", "settings", "earlier", value=[[-2, 1]]),
    "widths of zero": at("net_", "settings", "earlier", value=[[0, 1]]),
    "huge widths": at("net_", "settings", "earlier", value=[[10**12, 1]]),
    "widths that fall": at("net_", "settings", "earlier", value=[[2, 1], [1, 1]]),
    "widths that stay": at("net_", "settings", "earlier", value=[[2, 1]] * 1000),
    "widths of now": at("net_", "settings", "earlier", value=[[3, 1]]),
}


@pytest.fixture(scope="module")
def adapted(X, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "vae"
    batch = {"lab": np.array(["a", "b"])[np.arange(120) % 2], "age": np.linspace(20, 80.5, 120)}
    vae = BetaVAE(**SMALL).fit(X, batch=batch)
    vae.adapt(X, batch={**batch, "lab": "c"}, max_steps=2).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", COVARIATES)
def test_covariates_that_no_fit_learns_are_one_error(name, adapted, tmp_path, record_property):
    (tmp_path / "model").write_bytes(adapted)
    forge(tmp_path / "model", "BetaVAE", COVARIATES[name])
    with pytest.raises(ValueError, match=r"model cannot be understood .* expected a file that holds a BetaVAE"):
        BetaVAE.load(tmp_path / "model")
    record_property("corruptions", 1)


def test_covariates_that_are_forged_without_a_change_are_loaded(adapted, X, tmp_path):
    (tmp_path / "model").write_bytes(adapted)
    vae, batch = BetaVAE.load(tmp_path / "model"), {"lab": "c", "age": 30}
    for change in (
        at("batches_", value=lambda old: old),
        at("net_", "settings", "earlier", value=lambda old: old),
        at("batches_", "lab", value=np.array(["a", "b", "c"], object)),
    ):
        forge(tmp_path / "model", "BetaVAE", change)
        np.testing.assert_array_equal(
            BetaVAE.load(tmp_path / "model").denoise(X, batch=batch), vae.denoise(X, batch=batch)
        )


@pytest.fixture(scope="module")
def saved(X, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "vae"
    vae = BetaVAE(**SMALL).fit(X)
    vae.feature_names_in_ = np.array([f"gene {i}" for i in range(80)], object)
    vae.note = "none"
    vae.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", FORGERIES)
def test_a_value_that_is_never_written_is_one_error(name, saved, tmp_path, record_property):
    (tmp_path / "model").write_bytes(saved)
    forge(tmp_path / "model", "BetaVAE", FORGERIES[name])
    with pytest.raises(ValueError, match=r"model cannot be understood .* expected a file that holds a BetaVAE"):
        BetaVAE.load(tmp_path / "model")
    record_property("corruptions", 1)


def test_a_file_that_is_forged_without_a_change_is_loaded(saved, X, tmp_path):
    (tmp_path / "model").write_bytes(saved)
    forge(tmp_path / "model", "BetaVAE", lambda text, arrays: None)
    vae = BetaVAE.load(tmp_path / "model")
    rows = pd.DataFrame(X.toarray(), columns=vae.feature_names_in_)
    for change in (at("net_", "n_steps", value=lambda old: old), at("history_", value=lambda old: old), twister()):
        forge(tmp_path / "model", "BetaVAE", change)
        np.testing.assert_array_equal(BetaVAE.load(tmp_path / "model").transform(rows), vae.transform(rows))


@pytest.mark.parametrize("n_drawn", [0, 1, 623, 624, 625, 1000])
def test_random_states_come_back_wherever_they_are(n_drawn, X, tmp_path):
    random_state = np.random.RandomState(3)
    random_state.standard_normal(n_drawn)
    vae = BetaVAE(**{**SMALL, "random_state": 0}).fit(X).set_params(random_state=random_state)
    vae.save(tmp_path / "model")
    copy = BetaVAE.load(tmp_path / "model")
    np.testing.assert_array_equal(copy.random_state.standard_normal(2000), random_state.standard_normal(2000))


def test_a_random_state_that_cannot_be_loaded_is_not_saved(X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X).set_params(random_state=np.random.RandomState(np.random.PCG64(0)))
    with pytest.raises(TypeError, match="cannot write a RandomState of PCG64 to a file; expected one of MT19937"):
        vae.save(tmp_path / "model")


def test_objects_of_any_kind_come_back(X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    vae.note = np.empty((2, 1), object)
    vae.note[:, 0] = [[1, 2], [3, 4]]
    vae.save(tmp_path / "model")
    np.testing.assert_array_equal(BetaVAE.load(tmp_path / "model").note, vae.note)


# Pickle and skops, whose own types they check themselves


def by_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def by_skops(estimator):
    return skops.io.loads(skops.io.dumps(estimator), trusted=["skvae.estimators.BetaVAE"])


@pytest.mark.parametrize("position", [2**31 - 1, -1, 625])
@pytest.mark.parametrize("way", [by_pickle, by_skops])
def test_a_random_state_that_others_made_is_checked(way, position, X):
    vae = BetaVAE(**SMALL).fit(X)
    random_state = np.random.RandomState(0)
    words = random_state.get_state()
    vae.random_state = random_state
    random_state.set_state((*words[:2], position, *words[3:]))  # which numpy takes
    with pytest.raises(ValueError, match="what was saved of a BetaVAE is unsound: the state of a RandomState"):
        way(vae)


def change_weights(state):
    state["weights"]["likelihood.logvar"] = np.zeros(3, np.float32)


def change_adam(state):
    state["optimizer"]["parameters"]["0"]["exp_avg"] = np.zeros(1, np.float32)


def change_steps(state):
    state["n_steps"] = -1


@pytest.mark.parametrize("change", [change_weights, change_adam, change_steps])
@pytest.mark.parametrize("way", [by_pickle, by_skops])
def test_the_state_of_a_net_that_others_made_is_checked(way, change, X, monkeypatch):
    vae = BetaVAE(**SMALL).fit(X)
    state = vae.net_.state()
    change(state)
    monkeypatch.setattr(vae.net_, "state", lambda: state)
    with pytest.raises(ValueError, match="what was saved of a BetaVAE is unsound"):
        way(vae)


# Checkpoints


def generator_bytes(n_left, position):
    state = torch.Generator().manual_seed(0).get_state().numpy().copy()
    state[8:12].view(np.int32)[:] = n_left
    state[16:24].view(np.uint64)[:] = position
    return state[np.newaxis]


CHECKPOINTS = {
    "a generator too short": at("generators", "shuffle", value=lambda old: old[:, :-1]),
    "a generator too long": at("generators", "noise", value=lambda old: np.hstack([old, old])),
    "a generator of another type": at("generators", "noise", value=lambda old: old.astype(np.int32)),
    "a generator of text": at("generators", "noise", value=["x"]),
    "a generator of another number of processes": at("generators", "noise", value=lambda old: old[:0]),
    "a generator at no position": at("generators", "shuffle", value=generator_bytes(624, 624)),
    "a generator beyond its words": at("generators", "shuffle", value=generator_bytes(1, 625)),
    "a generator without words left": at("generators", "noise", value=generator_bytes(0, 0)),
    "no generators": at("generators", value=None),
    "no net": at("net", value=None),
    "no fit": at("fit", value=None),
    "is_finished of text": at("is_finished", value="yes"),
    "other weights": at("net", "weights", "likelihood.logvar", value=np.zeros(3, np.float32)),
    "a moment of Adam of another shape": at(
        "net", "optimizer", "parameters", "0", "exp_avg", value=np.zeros(1, np.float32)
    ),
    "n_steps negative": at("net", "n_steps", value=-1),
    "last_factor of text": at("net", "last_factor", value="x"),
    "history of text": at("net", "history", value="abc"),
    "sums of another shape": at("net", "moments", "sums", value=np.zeros(3)),
}


@pytest.fixture(scope="module")
def checkpoint(X, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fit"
    BetaVAE(**SMALL, callbacks=[FitCheckpoint(path)]).fit(X)
    return path.read_bytes()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_with_a_value_that_is_never_written_is_one_error(name, checkpoint, X, tmp_path, record_property):
    (tmp_path / "fit").write_bytes(checkpoint)
    forge(tmp_path / "fit", KIND, CHECKPOINTS[name])
    before = (tmp_path / "fit").read_bytes()
    with pytest.raises(
        ValueError, match=r"fit cannot be understood .* expected a file that holds a checkpoint of a fit"
    ):
        BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)
    assert (tmp_path / "fit").read_bytes() == before
    record_property("corruptions", 1)


def test_a_checkpoint_that_is_forged_without_a_change_is_taken(checkpoint, X, tmp_path):
    (tmp_path / "fit").write_bytes(checkpoint)
    forge(tmp_path / "fit", KIND, at("generators", "shuffle", value=generator_bytes(1, 0)))
    again = BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)
    np.testing.assert_array_equal(again.transform(X), BetaVAE(**SMALL).fit(X).transform(X))
