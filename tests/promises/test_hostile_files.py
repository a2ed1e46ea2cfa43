"""What is written goes where it was asked to, as a whole and to nobody else; a fit goes on from its own checkpoint."""

import multiprocessing
import os
import signal
import stat
import time
from functools import partial

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from models import SMALL, every_estimator
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union

from skvae import (
    BetaVAE,
    BetaVSC,
    FitCheckpoint,
    LogNormalizer,
    RowStore,
    VariableGeneSelector,
    persistence,
    quality_control,
)
from skvae.files import replacing
from skvae.rows.rows import Rows, exact_digest
from skvae.stores import BUFFER_BYTES
from skvae.training.checkpoint import KIND

# Writers: each writes something to a path


@pytest.fixture(scope="module")
def vae(X):
    return BetaVAE(**SMALL).fit(X)


def save(path, X):
    BetaVAE(**SMALL).fit(X).save(path)


def transform(path, X):
    BetaVAE(**SMALL).fit(X).transform(X, out=path)


def checkpoint(path, X):
    BetaVAE(**SMALL, callbacks=[FitCheckpoint(path)]).fit(X)


every_writer = pytest.mark.parametrize("write", [save, transform, checkpoint])


@every_writer
@pytest.mark.parametrize("is_relative", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_symbolic_link_stays_and_what_it_leads_to_is_written(is_there, is_relative, write, X, tmp_path):
    (tmp_path / "models").mkdir()
    target, link = tmp_path / "models" / "model", tmp_path / "link"
    if is_there:
        write(target, X)
    link.symlink_to("models/model" if is_relative else target)
    if write is not checkpoint and is_there:
        target.write_bytes(b"old")
    write(link, X)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.stat().st_size > 100
    assert (os.listdir(tmp_path / "models"), sorted(os.listdir(tmp_path))) == (["model"], ["link", "models"])


def test_a_circle_of_links_is_an_error_that_names_the_file(vae, tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match=r"cannot write .*one"):
        vae.save(tmp_path / "one")


@every_writer
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o777])
def test_a_file_that_replaces_one_has_its_mode(mode, write, X, tmp_path):
    path = tmp_path / "model"
    write(path, X)
    path.chmod(mode)
    write(path, X)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_usual_mode(vae, tmp_path):
    vae.save(tmp_path / "model")
    (tmp_path / "other").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_what_replaces_a_private_file_is_never_for_others(tmp_path):
    path = tmp_path / "model"
    path.touch(0o600)
    path.chmod(0o600)
    with replacing(path) as part:
        part.write_text("secret")
        assert stat.S_IMODE(part.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root gives files away")
def test_a_file_that_replaces_one_has_its_owner(vae, tmp_path):
    vae.save(tmp_path / "model")
    os.chown(tmp_path / "model", 1234, 1235)
    vae.save(tmp_path / "model")
    assert ((tmp_path / "model").stat().st_uid, (tmp_path / "model").stat().st_gid) == (1234, 1235)


def special(kind, folder):
    """Make something that is no regular file."""
    path = folder / "special"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null, which this would destroy
        except PermissionError:
            pytest.skip("only root makes devices")
    return path


@every_writer
@pytest.mark.parametrize("is_link", [True, False])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_regular_file_stays(kind, is_link, write, X, tmp_path):
    path = special(kind, tmp_path)
    kind_before = stat.S_IFMT(path.stat().st_mode)
    (tmp_path / "link").symlink_to(path)
    name = "link" if is_link else "special"
    with pytest.raises(OSError, match=rf"cannot (write|read) .*{name}: it is a folder, a device or a pipe; expected"):
        write(tmp_path / name, X)
    assert stat.S_IFMT(path.stat().st_mode) == kind_before
    assert sorted(os.listdir(tmp_path)) == ["link", "special"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_regular_file_is_not_loaded(kind, tmp_path):
    with pytest.raises(OSError, match=r"cannot read .*special: it is a folder, a device or a pipe"):
        BetaVAE.load(special(kind, tmp_path))  # to open a pipe would wait forever


@every_writer
@pytest.mark.parametrize("letter", ["a", "é", "文", "🧬"])
def test_a_name_may_be_as_long_as_the_system_admits(letter, write, X, tmp_path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    name = letter * (longest // len(letter.encode()))
    write(tmp_path / name, X)
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match=f"cannot write .*{name}"), replacing(tmp_path / (name + letter)):
        pass


@pytest.mark.parametrize("name", ["[a]*?", "a b", ".hidden", "-x", "a\nb", os.fsdecode(b"a\xff")])
def test_any_name_is_taken(name, vae, X, tmp_path):
    for _ in range(2):
        vae.save(tmp_path / name)
    np.testing.assert_array_equal(BetaVAE.load(tmp_path / name).transform(X), vae.transform(X))
    assert os.listdir(tmp_path) == [name]


# Writers that are killed


def write_slowly(path, started):
    with replacing(path) as part:
        part.write_bytes(b"half")
        started.set()
        time.sleep(60)


@pytest.fixture
def slow_writer(tmp_path):
    """Start a process that is in the middle of writing a file."""
    context = multiprocessing.get_context("forkserver")
    started = context.Event()
    process = context.Process(target=write_slowly, args=(tmp_path / "model", started))
    process.start()
    assert started.wait(60)
    yield process
    process.kill()
    process.join()


@pytest.mark.slow
@every_writer
def test_the_next_writer_removes_what_a_killed_one_has_left(write, slow_writer, X, tmp_path):
    (part,) = tmp_path.iterdir()
    os.kill(slow_writer.pid, signal.SIGKILL)
    slow_writer.join()
    assert part.exists()
    write(tmp_path / "model", X)
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.slow
@every_writer
def test_what_a_living_process_writes_stays(write, slow_writer, X, tmp_path):
    (part,) = tmp_path.iterdir()
    os.utime(part, (0, 0))  # however old
    write(tmp_path / "model", X)
    assert sorted(os.listdir(tmp_path)) == [part.name, "model"]


def test_what_is_left_of_other_names_stays(vae, tmp_path):
    others = [".models.12345678.part", ".model.123.part", "model.12345678.part", ".model.12345678.part.txt"]
    for name in (*others, ".model.12345678.part"):
        (tmp_path / name).touch()
    vae.save(tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "model"])


def write_often(path, number, n_times):
    for _ in range(n_times):
        with replacing(path) as part:
            part.write_bytes(bytes([number]) * 1000)


@pytest.mark.slow
def test_processes_that_write_one_file_at_once_do_not_disturb_each_other(tmp_path):
    Parallel(2)(delayed(write_often)(tmp_path / "model", number, 100) for number in range(2))
    assert os.listdir(tmp_path) == ["model"]
    content = (tmp_path / "model").read_bytes()
    assert content == content[:1] * 1000


# Checkpoints of another fit


def test_a_checkpoint_of_another_estimator_is_an_error_that_names_it(X, tmp_path):
    BetaVSC(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)
    message = r"fit is the checkpoint of another fit, in which estimator \(BetaVSC, not BetaVAE\), alpha, code differed"
    with pytest.raises(ValueError, match=message):
        BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)


class Doubled(BetaVAE):
    """Has the parameters of BetaVAE, and another objective."""

    def _make_objective(self, n_steps):
        return type("Twice", (type(super()._make_objective(n_steps)),), {})(2.0, 0)


def test_a_checkpoint_of_a_subclass_is_of_another_fit(X, tmp_path):
    BetaVAE(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)
    message = r"in which estimator \(BetaVAE, not Doubled\), objective differed"
    with pytest.raises(ValueError, match=message):
        Doubled(**SMALL, callbacks=[FitCheckpoint(tmp_path / "fit")]).fit(X)


def as_older(path, remove):
    """Take from a checkpoint what older versions did not write."""
    state = persistence.read(path, KIND)
    for name in remove:
        del state["fit"][name]
    persistence.write(path, KIND, state)


ADDED = ["estimator", "objective", "exact_data", "exact_held_out"]


def test_an_older_checkpoint_is_taken_and_what_it_holds_is_compared(X, tmp_path):
    callbacks = [FitCheckpoint(tmp_path / "fit")]
    vsc = BetaVSC(**SMALL, callbacks=callbacks).fit(X)
    as_older(tmp_path / "fit", ADDED)
    again = BetaVSC(**SMALL, callbacks=callbacks).fit(X)
    np.testing.assert_array_equal(again.transform(X), vsc.transform(X))
    as_older(tmp_path / "fit", ADDED)
    with pytest.raises(ValueError, match="another fit, in which alpha, code differed"):
        BetaVAE(**SMALL, callbacks=callbacks).fit(X)


def behind_a_large_column(X):
    """Return rows of which a column hides the others from one projection in float32."""
    return np.hstack([np.full((len(X), 1), 1e9, np.float32), X])


def test_other_data_behind_a_large_column_are_another_fit(X, tmp_path):
    settings = {**SMALL, "callbacks": [FitCheckpoint(tmp_path / "fit")]}
    rows = behind_a_large_column(X.toarray())
    other = rows.copy()
    other[3, 7] += 1
    BetaVAE(**settings).fit(rows[:90], X_val=rows)
    with pytest.raises(ValueError, match="another fit, in which data differed"):
        BetaVAE(**settings).fit(other[:90], X_val=rows)
    with pytest.raises(ValueError, match="another fit, in which held_out differed"):
        BetaVAE(**settings).fit(rows[:90], X_val=other)


def digest_of(X, weights=None, encoded=None):
    return exact_digest(
        Rows(X, np.float32, encoded=None if encoded is None else encoded[:, np.newaxis], weights=weights)
    )


def test_a_checksum_of_rows_does_not_depend_on_their_order_format_or_precision(X, tmp_path):
    counts = X.ceil()
    expected = digest_of(counts)
    order = np.random.default_rng(0).permutation(120)
    stored = counts.astype(np.float64)
    stored.data[:] = 0
    zeros = sparse.csr_array(counts + stored)  # whose format is another
    np.save(tmp_path / "x.npy", counts.toarray())
    negative_zeros = counts.toarray()
    negative_zeros[negative_zeros == 0] = -0.0
    for same in (
        counts[order],
        counts.toarray(),
        np.asfortranarray(counts.toarray()[order].astype(np.float64)),
        counts.astype(np.float64),
        zeros,
        negative_zeros,
        RowStore(np.load(tmp_path / "x.npy", mmap_mode="r"), block_size=7),
    ):
        assert digest_of(same) == expected


@pytest.mark.parametrize("number", range(20))
def test_a_checksum_of_rows_sees_the_last_bit_of_each_value(number, X):
    rng = np.random.default_rng(number)
    rows = behind_a_large_column(X.toarray())
    changed = rows.copy()
    place = rng.integers(120), rng.integers(81)
    changed[place] = np.nextafter(changed[place], np.float32(np.inf))
    assert digest_of(changed) != digest_of(rows)
    swapped = rows.copy()
    swapped[:, [3, 4]] = rows[:, [4, 3]]
    assert digest_of(swapped) != digest_of(rows)
    weights = np.ones(120)
    weights[5] = np.nextafter(1, 2)
    assert digest_of(rows, weights=weights) != digest_of(rows)
    assert digest_of(rows, encoded=np.arange(120) % 2) != digest_of(rows, encoded=np.arange(120) // 60)


# Rows that joblib maps


def large_rows(is_sparse, is_sorted=True):
    """Return rows of which joblib makes memory maps."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 4000), density=0.3, format="csr", dtype=np.float32, random_state=rng)
    X.data = np.ceil(X.data * 5)
    if not is_sparse:
        return X.toarray()
    if not is_sorted:
        starts = zip(X.indptr, X.indptr[1:], strict=False)
        order = np.concatenate([np.arange(start, stop)[::-1] for start, stop in starts])
        X.indices, X.data = X.indices[order], X.data[order]
        X.has_sorted_indices = X.has_canonical_format = False
    assert min(X.data.nbytes, X.indices.nbytes) > 2**20
    return X


FAST = {**SMALL, "max_epochs": 2, "batch_size": 100}
every_kind_of_rows = pytest.mark.parametrize(
    "rows", [(False,), (True,), (True, False)], ids=["dense", "sparse", "unsorted"]
)
without_threads = pytest.mark.filterwarnings("ignore:X looks like raw counts")


def of_jobs(function, n_jobs):
    with parallel_config("loky", n_jobs=n_jobs):
        return function()


@pytest.mark.slow
@without_threads
@every_estimator
@every_kind_of_rows
def test_fits_in_workers_are_those_of_one_process(rows, Estimator, X):
    X = large_rows(*rows)
    union = make_union(Estimator(**FAST), Estimator(**{**FAST, "random_state": 1}))
    np.testing.assert_array_equal(*(of_jobs(lambda: clone(union).fit_transform(X), n_jobs) for n_jobs in (1, 2)))
    estimator = Estimator(**FAST).fit(X)
    methods = ("transform", "score_samples", "denoise", "score")
    results = [Parallel(n_jobs)(delayed(getattr(estimator, method))(X) for method in methods) for n_jobs in (1, 2)]
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@every_kind_of_rows
def test_transformers_in_workers_are_those_of_one_process(rows):
    X = large_rows(*rows)
    names = np.arange(4000)
    for transformer in (
        LogNormalizer(),
        VariableGeneSelector(50),
        make_pipeline(VariableGeneSelector(50), LogNormalizer()),
    ):
        functions = [partial(clone(transformer).fit_transform, X), partial(quality_control, X, names, min_genes=1)]
        results = [Parallel(n_jobs)(delayed(function)() for function in functions) for n_jobs in (1, 2)]
        first, second = (sparse.csr_array(of_jobs[0]).toarray() for of_jobs in results)
        np.testing.assert_array_equal(first, second)
        for one, two in zip(*(of_jobs[1] for of_jobs in results), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@every_estimator
@every_kind_of_rows
def test_searches_in_workers_are_those_of_one_process(rows, Estimator):
    X, y = large_rows(*rows), np.arange(300) % 3
    pipeline = make_pipeline(VariableGeneSelector(500), LogNormalizer(), Estimator(**FAST))
    grid = {f"{Estimator.__name__.lower()}__batch_size": [50, 100]}
    searches = [GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2)]
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_score"] for search in searches))
    np.testing.assert_array_equal(*(search.transform(X) for search in searches))
    classifier = make_pipeline(pipeline, KNeighborsClassifier())
    predicted = [cross_val_predict(classifier, X, y, cv=2, n_jobs=n_jobs, method="predict_proba") for n_jobs in (1, 2)]
    np.testing.assert_array_equal(*predicted)


@pytest.fixture
def one_thread():
    """Compute as workers of joblib do: products of large layers are split among threads, which the last bits show."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.slow
def test_rows_larger_than_the_buffer_of_a_store_are_in_memory_for_workers_too(one_thread):
    X = np.random.default_rng(0).normal(size=(128, 300_000)).astype(np.float32)
    assert X.nbytes > BUFFER_BYTES
    settings = {**FAST, "batch_size": 40, "init": "random"}
    union = make_union(BetaVAE(**settings), BetaVAE(**{**settings, "random_state": 1}))
    np.testing.assert_array_equal(*(of_jobs(partial(clone(union).fit_transform, X), n_jobs) for n_jobs in (1, 2)))


# Memory that does not suffice


def test_a_network_beyond_memory_is_a_memory_error_and_changes_nothing(vae, X):
    before = dict(vars(vae))
    vae.set_params(hidden_layer_sizes=(10**11,))
    with pytest.raises(MemoryError, match=r"torch: .*allocate"):
        vae.fit(X)
    vae.set_params(hidden_layer_sizes=before["hidden_layer_sizes"])
    assert vars(vae) == before


def test_rows_beyond_memory_are_a_memory_error(vae, X, monkeypatch):
    monkeypatch.setattr(type(vae.net_.module_), "encode", lambda module, x, c: x.new_empty(10**14))
    for method in (vae.transform, vae.score_samples):
        with pytest.raises(MemoryError, match=r"torch: .*allocate"):
            method(X)


def test_other_errors_of_torch_stay_what_they_are(vae, X, monkeypatch):
    monkeypatch.setattr(type(vae.net_.module_), "encode", lambda module, x, c: x @ x)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        vae.transform(X)
