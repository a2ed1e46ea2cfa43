"""A saved estimator returns the same bits where it is loaded, and no file harms whoever loads it."""

import io
import json
import os
import pickle
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import skops.io
import torch
from models import SMALL, every_estimator
from sklearn import config_context
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, BetaVSC, FitCheckpoint, LogNormalizer, persistence
from skvae.embedding import saving


def by_pickle(estimator, path):
    path.write_bytes(pickle.dumps(estimator))
    return pickle.loads(path.read_bytes())


def by_joblib(estimator, path):
    joblib.dump(estimator, path)
    return joblib.load(path, mmap_mode="r")


def by_skops(estimator, path):
    skops.io.dump(estimator, path)
    return skops.io.load(path, trusted=[f"skvae.estimators.{type(estimator).__name__}"])


def by_file(estimator, path):
    estimator.save(path)
    return type(estimator).load(path)


every_way = pytest.mark.parametrize("way", [by_pickle, by_joblib, by_skops, by_file])


def assert_same(copy, estimator, X, **batch):
    for method in ("transform", "score_samples", "denoise"):
        np.testing.assert_array_equal(getattr(copy, method)(X, **batch), getattr(estimator, method)(X, **batch))
    np.testing.assert_equal(copy.history_, estimator.history_)
    assert {name: value for name, value in copy.get_params().items() if name != "random_state"} == {
        name: value for name, value in estimator.get_params().items() if name != "random_state"
    }
    np.testing.assert_equal(vars(copy).keys(), vars(estimator).keys())


@every_way
@every_estimator
@pytest.mark.parametrize("likelihood", ["gaussian", "zinb"])
def test_a_copy_returns_the_same_bits_and_trains_on_alike(way, Estimator, likelihood, cells, tmp_path):
    batch = np.array(["Basel", "Boston"])[np.arange(120) % 2]
    estimator = Estimator(**SMALL, likelihood=likelihood, learning_rate_schedule="constant")
    estimator.fit(cells.data, batch=batch)
    copy = way(estimator, tmp_path / "model")
    assert_same(copy, estimator, cells.data, batch=batch)
    for model in (copy, estimator):
        model.partial_fit(cells.data, batch=batch)
    assert_same(copy, estimator, cells.data, batch=batch)


TABLE = {
    "kind": np.array(["Basel", "Boston", "Bonn"], object)[np.arange(120) % 3],  # a name that states have too
    "sex": np.arange(120) % 2 == 0,
    "age": np.random.default_rng(0).uniform(20, 80, size=120),
}


@every_way
@every_estimator
@pytest.mark.parametrize("batch", [TABLE, pd.DataFrame(TABLE), TABLE["age"]], ids=["dict", "frame", "measurement"])
def test_what_was_learned_of_tables_is_kept(way, Estimator, batch, X, tmp_path):
    estimator = Estimator(**SMALL, encode_batch=True, learning_rate_schedule="constant").fit(X, batch=batch)
    copy = way(estimator, tmp_path / "model")
    np.testing.assert_equal(copy.batches_, estimator.batches_)
    assert_same(copy, estimator, X, batch=batch)
    for model in (copy, estimator):
        model.partial_fit(X, batch=batch)
    assert_same(copy, estimator, X, batch=batch)


@every_way
@every_estimator
def test_what_was_adapted_is_kept_and_can_be_adapted_again(way, Estimator, X, tmp_path):
    estimator = Estimator(**SMALL, encode_batch=True).fit(X, batch=TABLE)
    for level in ("Bern", "Brno"):
        table = {**TABLE, "kind": np.where(np.arange(120) < 60, level, TABLE["kind"])}
        copy, estimator = (
            model.adapt(X, batch=table, max_steps=3) for model in (way(estimator, tmp_path / level), estimator)
        )
        assert copy.batches_["kind"].tolist() == estimator.batches_["kind"].tolist()
        assert_same(way(copy, tmp_path / f"{level}, adapted"), estimator, X, batch=table)


@every_way
def test_parameters_set_after_fit_do_not_change_the_model(way, X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    expected = vae.transform(X)
    vae.set_params(n_components=5, hidden_layer_sizes=(4, 4), activation="tanh", likelihood="nb", input_dropout=0.1)
    copy = way(vae, tmp_path / "model")
    np.testing.assert_array_equal(copy.transform(X), expected)
    assert copy.get_params() == vae.get_params()
    np.testing.assert_array_equal(way(copy, tmp_path / "copy").transform(X), expected)


@every_way
def test_all_that_an_estimator_holds_is_kept(way, X, tmp_path):
    frame = pd.DataFrame(X.toarray(), columns=[f"gène {i}" for i in range(80)])
    with config_context(enable_metadata_routing=True):
        vae = BetaVAE(
            n_components=np.int64(3),
            beta=np.float32(0.1),
            hidden_layer_sizes=[8, 8],
            max_epochs=3,
            random_state=np.random.RandomState(3),
        )
        vae.set_fit_request(batch=True, sample_weight="weight").set_output(transform="pandas").fit(frame)
        copy = way(vae, tmp_path / "model")
        request = copy.get_metadata_routing().fit.requests
    assert (request["batch"], request["sample_weight"]) == (True, "weight")
    pd.testing.assert_frame_equal(copy.transform(frame), vae.transform(frame))
    np.testing.assert_array_equal(copy.feature_names_in_, vae.feature_names_in_)
    assert copy.random_state.rand() == vae.random_state.rand()
    assert copy.get_params()["hidden_layer_sizes"] == [8, 8]
    assert copy.beta == np.float32(0.1)
    assert repr(copy).replace(" ", "") == repr(vae).replace(" ", "") or "RandomState" in repr(copy)


@pytest.mark.parametrize("way", [by_pickle, by_joblib, by_skops])
def test_an_estimator_that_is_not_fitted_is_kept(way, tmp_path):
    assert way(BetaVSC(beta=3.0), tmp_path / "model").get_params() == BetaVSC(beta=3.0).get_params()


def test_pipelines_are_kept(cells, tmp_path):
    pipeline = make_pipeline(LogNormalizer(), BetaVSC(**SMALL)).fit(cells.data)
    skops.io.dump(pipeline, tmp_path / "pipeline")
    untrusted = skops.io.get_untrusted_types(file=tmp_path / "pipeline")
    assert untrusted == ["skvae.estimators.BetaVSC", "skvae.preprocessing.LogNormalizer"]
    copy = skops.io.load(tmp_path / "pipeline", trusted=untrusted)
    np.testing.assert_array_equal(copy.transform(cells.data), pipeline.transform(cells.data))


@every_estimator
def test_skops_needs_to_trust_one_type(Estimator, X):
    untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(Estimator(**SMALL).fit(X)))
    assert untrusted == [f"skvae.estimators.{Estimator.__name__}"]


def test_other_processes_return_the_same_bits(X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    vae.save(tmp_path / "model")
    skops.io.dump(vae, tmp_path / "skops")
    joblib.dump(vae, tmp_path / "joblib")
    np.save(tmp_path / "X.npy", X.toarray())
    code = """
import sys, joblib, numpy as np, skops.io
from skvae import BetaVAE
models = BetaVAE.load("model"), skops.io.load("skops", trusted=["skvae.estimators.BetaVAE"]), joblib.load("joblib")
np.save("Z.npy", [model.transform(np.load("X.npy")) for model in models])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "Z.npy"), [vae.transform(X.toarray())] * 3)


@pytest.mark.parametrize("way", [by_pickle, by_skops])
def test_a_model_of_a_device_that_is_absent_goes_to_the_cpu_with_a_warning(way, X, tmp_path):
    vae = BetaVAE(**SMALL).fit(X)
    vae.net_.settings["params"]["device"] = vae.device = "cuda:99"
    with pytest.warns(UserWarning, match="The model is on the CPU now, .* device == 'cuda:99', must be"):
        copy = way(vae, tmp_path / "model")
    np.testing.assert_array_equal(copy.transform(X), vae.transform(X))
    assert copy.device == "cuda:99"


@every_way
def test_another_version_is_a_warning(way, X, tmp_path, monkeypatch):
    vae = BetaVAE(**SMALL).fit(X)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "VERSION", "0.0.1")
        path = tmp_path / "model"
        {by_pickle: pickle_to, by_joblib: joblib.dump, by_skops: skops.io.dump, by_file: BetaVAE.save}[way](vae, path)
    with pytest.warns(UserWarning, match=r"this BetaVAE was saved by skvae 0\.0\.1, and this is .* may differ"):
        copy = {
            by_pickle: lambda path: pickle.loads(path.read_bytes()),
            by_joblib: joblib.load,
            by_skops: lambda path: skops.io.load(path, trusted=["skvae.estimators.BetaVAE"]),
            by_file: BetaVAE.load,
        }[way](path)
    np.testing.assert_array_equal(copy.transform(X), vae.transform(X))


def pickle_to(estimator, path):
    path.write_bytes(pickle.dumps(estimator))


class Named(BetaVAE):
    """Keeps a name that it learned."""

    def _make_objective(self, n_steps):
        self.name_ = "cells"
        return super()._make_objective(n_steps)


def test_what_a_subclass_learned_is_kept(X, tmp_path):
    named = Named(**SMALL).fit(X)
    assert by_file(named, tmp_path / "model").name_ == "cells"


def test_a_list_given_for_a_parameter_may_change_after_fit(X, tmp_path):
    widths = [8]
    vae = BetaVAE(**{**SMALL, "hidden_layer_sizes": widths}).fit(X)
    widths.append(4)
    np.testing.assert_array_equal(by_pickle(vae, tmp_path / "model").transform(X), vae.transform(X))


def test_an_array_that_a_file_cannot_hold_is_an_error(X, tmp_path):
    days = np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]")[np.arange(120) % 4]
    vae = BetaVAE(**SMALL).fit(X, batch=days)
    with pytest.raises(TypeError, match=r"cannot write an array of datetime64\[D\] to a file; expected numbers"):
        vae.save(tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_callbacks_are_not_saved_in_a_file(X, tmp_path):
    vae = BetaVAE(**SMALL, callbacks=[]).fit(X)
    assert by_file(vae, tmp_path / "model").callbacks is None


def test_pickles_that_name_the_former_place_of_fit_checkpoint_are_read(X, tmp_path):
    vae = BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit", every=2)]).fit(X)
    pickled = pickle.dumps(vae, protocol=0)
    former = pickled.replace(b"cskvae.training.checkpoint\nFitCheckpoint", b"cskvae.callbacks\nFitCheckpoint")
    assert former != pickled
    [callback] = pickle.loads(former).callbacks
    assert type(callback) is FitCheckpoint
    assert callback.every == 2


# Files that were not written by `save`, or changed


@pytest.fixture(scope="module")
def saved(X, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "vae.safetensors"
    BetaVAE(**SMALL).fit(X).save(path)
    return path.read_bytes()


def test_a_file_that_was_cut_short_is_an_error(saved, tmp_path, record_property):
    sizes = {*np.linspace(0, len(saved) - 1, 200).astype(int).tolist(), len(saved) - 1}
    for size in sizes:
        (tmp_path / "model").write_bytes(saved[:size])
        with pytest.raises(ValueError, match=r"model cannot be understood .* expected a file that holds a BetaVAE"):
            BetaVAE.load(tmp_path / "model")
    record_property("corruptions", len(sizes))


def test_a_file_with_any_bit_changed_is_an_error(saved, tmp_path, record_property):
    rng = np.random.default_rng()  # other bits in every run
    places = rng.integers(len(saved), size=300)
    for place in places:
        changed = bytearray(saved)
        changed[place] ^= 1 << rng.integers(8)
        (tmp_path / "model").write_bytes(changed)
        with pytest.raises(ValueError, match=r"model (cannot be understood|was changed since it was written)"):
            BetaVAE.load(tmp_path / "model")
    record_property("corruptions", len(places))


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def foreign_files(trap):
    tensors = {"weight": np.zeros((3, 2), np.float32)}
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)
    in_torch = io.BytesIO()
    torch.save({"x": Malicious(trap)}, in_torch)
    return {
        "malicious pickle": pickle.dumps(Malicious(trap)),
        "malicious torch file": in_torch.getvalue(),
        "npz": buffer.getvalue(),
        "other safetensors": safetensors.numpy.save(tensors),
        "safetensors of other metadata": safetensors.numpy.save(tensors, {"kind": "BetaVAE", "state": "{}"}),
        "JSON": json.dumps({"kind": "BetaVAE"}).encode(),
        "HTML": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "zeros": bytes(4096),
        "a huge header": (2**62).to_bytes(8, "little") + b"{}",
        "nothing": b"",
    }


@pytest.mark.parametrize("name", foreign_files(Path("trap")))
def test_a_foreign_file_is_an_error_and_runs_no_code(name, tmp_path, record_property):
    content = foreign_files(tmp_path / "trap")[name]
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be understood .* expected a file that holds"):
        BetaVAE.load(tmp_path / "model.safetensors")
    assert not (tmp_path / "trap").exists()
    record_property("corruptions", 1)


def test_the_trap_would_have_sprung(tmp_path):
    pickle.loads(foreign_files(tmp_path / "trap")["malicious pickle"])
    assert (tmp_path / "trap").exists()


@contextmanager
def forged(path, X):
    """Give the state of a file to change, and write it with a checksum that holds."""
    vae = BetaVAE(**SMALL).fit(X)
    vae.save(path)
    state = persistence.read(path, "BetaVAE")
    yield state
    persistence.write(path, "BetaVAE", state)


def without(name):
    return lambda state: state.pop(name)


def at(*names, value):
    def change(state):
        for name in names[:-1]:
            state = state[name]
        state[names[-1]] = value

    return change


FORGERIES = {
    "a method": at("transform", value="text"),
    "a dunder": at("__class__", value="text"),
    "no version": without("_version"),
    "no net": without("net_"),
    "no moments": lambda state: state["net_"].pop("moments"),
    "no likelihood": at("net_", "settings", "params", "likelihood", value="os.system"),
    "another width": at("net_", "settings", "params", "hidden_layer_sizes", value=(9,)),
    "a huge width": at("net_", "settings", "params", "hidden_layer_sizes", value=(10**9,)),
    "an unknown parameter": at("net_", "settings", "params", "x", value=1),
    "other weights": at("net_", "weights", value={"encoder": np.zeros(3)}),
    "no weights": at("net_", "weights", value=None),
    "text for history": at("net_", "history", value=["a", "b"]),
    "text for steps": at("net_", "settings", "n_steps", value="a"),
    "a request that is none": at("_requests", value={"delete": {}}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_file_is_an_error(name, X, tmp_path, record_property):
    with forged(tmp_path / "model", X) as state:
        FORGERIES[name](state)
    with pytest.raises(ValueError, match="model cannot be understood"):
        BetaVAE.load(tmp_path / "model")
    record_property("corruptions", 1)


def test_a_file_of_another_estimator_names_it(saved, tmp_path):
    (tmp_path / "model").write_bytes(saved)
    with pytest.raises(ValueError, match="model holds a BetaVAE; expected a BetaVSC"):
        BetaVSC.load(tmp_path / "model")


def test_absent_files_are_named(tmp_path, X):
    with pytest.raises(FileNotFoundError, match="absent"):
        BetaVAE.load(tmp_path / "absent")
    with pytest.raises(OSError, match=r"cannot write .*absent.model"):
        BetaVAE(**SMALL).fit(X).save(tmp_path / "absent" / "model")


@contextmanager
def full_disk(n_bytes):
    """Let no file grow beyond a size, which fails as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_is_replaced_as_a_whole_or_not_at_all(saved, X, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(saved)
    vae = BetaVAE(**SMALL).fit(X)
    with full_disk(len(saved) // 2), pytest.raises(OSError, match=r"cannot write .*model"):
        vae.save(path)
    assert path.read_bytes() == saved
    assert os.listdir(tmp_path) == ["model"]
    vae.note = {1, 2}
    with pytest.raises(TypeError, match=r"cannot write \{1, 2\}, a set, to a file; expected numbers, strings"):
        vae.save(path)
    assert path.read_bytes() == saved


def test_a_missing_package_is_named_with_its_extra(X, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'this needs safetensors: pip install "skvae\[persistence\]"'):
        BetaVAE(**SMALL).fit(X).save(tmp_path / "model")


@every_way
@every_estimator
def test_no_training_data_are_saved(way, Estimator, tmp_path):
    X = np.random.default_rng(0).normal(size=(10_000, 20))
    way(Estimator(**SMALL).fit(X), tmp_path / "model")
    assert (tmp_path / "model").stat().st_size < X.nbytes / 4
