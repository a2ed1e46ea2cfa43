"""No download, however it goes wrong, leaves a broken cache."""

import hashlib
import multiprocessing
import os
import pwd
import re
import resource
import signal
import stat
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdata
import requests

from skvae import datasets, fetch_pbmc3k, make_single_cell_counts

MATRIX, META = datasets.PBMC3K_FILES
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["skvae", "pooch", "rdata", "requests"])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The server and what it may do wrong: each answers a request for a file whose content is `body`.


def start(handler, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def send(handler, body):
    start(handler, Content_Length=len(body))
    handler.wfile.write(body)


def truncate(handler, body):
    start(handler, Content_Length=len(body))
    handler.wfile.write(body[:-1])


def truncate_without_a_length(handler, body):
    start(handler)
    handler.wfile.write(body[:-1])


def flip_a_bit(handler, body):
    send(handler, flipped(body))


def flipped(body):
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def claim_a_compression(handler, body):
    start(handler, Content_Length=len(body), Content_Encoding="gzip")
    handler.wfile.write(b"not compressed")


def redirect_to_a_login_page(handler, body):
    start(handler, 302, Location="/login")


def redirect_to_a_mirror(handler, body):
    start(handler, 302, Location="/mirror")


def redirect_for_ever(handler, body):
    start(handler, 302, Location=handler.path)


def not_found(handler, body):
    start(handler, 404)
    handler.wfile.write(body)


def fail(handler, body):
    start(handler, 500)
    handler.wfile.write(body)


def hang_up(handler, body):
    pass


def stall(handler, body):
    handler.server.over.wait()


def stall_halfway(handler, body):
    start(handler, Content_Length=len(body))
    handler.wfile.write(body[: len(body) // 2])
    handler.server.over.wait()


def trickle_for_ever(handler, body):
    start(handler)
    handler.wfile.write(body[: len(body) // 2])
    handler.server.half_sent.set()
    while not handler.server.over.wait(0.01):
        handler.wfile.write(b"x")


UNAVAILABLE = requests.exceptions.RequestException
WRONG = [
    (truncate, UNAVAILABLE),
    (truncate_without_a_length, ValueError),
    (flip_a_bit, ValueError),
    (claim_a_compression, UNAVAILABLE),
    (redirect_to_a_login_page, ValueError),
    (redirect_for_ever, UNAVAILABLE),
    (not_found, UNAVAILABLE),
    (fail, UNAVAILABLE),
    (hang_up, UNAVAILABLE),
    (stall, UNAVAILABLE),
    (stall_halfway, UNAVAILABLE),
]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        self.server.requests[name] += 1
        self.server.answers.get(name, send)(self, self.server.bodies[name])

    def log_message(self, format, *args):  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that time out or are killed


@pytest.fixture
def server(monkeypatch):
    """Serve `bodies` by name on the loopback interface, as `answers` has it, and count the `requests`."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.bodies, server.answers, server.requests = {}, {}, Counter()
        server.half_sent, server.over = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(datasets, "PBMC3K_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.over.set()
        server.shutdown()


def unplug(server):
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def simulated():
    return make_single_cell_counts(n_samples=400, n_features=200, random_state=0)


@pytest.fixture(scope="module")
def bodies(simulated, tmp_path_factory):
    """Return the two files by name, with simulated cells in them."""
    folder = tmp_path_factory.mktemp("files")
    totals = simulated.data.sum(axis=1)
    log_normalized = np.log1p(simulated.data.data / np.repeat(totals, np.diff(simulated.data.indptr)) * 1e4)
    matrix = {
        "Dim": np.array(simulated.data.shape[::-1], dtype=np.int32),
        "Dimnames": [simulated.feature_names, simulated.cell_names],
        "x": log_normalized.astype(float),
        "i": simulated.data.indices.astype(np.int32),
        "p": simulated.data.indptr.astype(np.int32),
    }
    meta = {
        "nCount_RNA": totals.astype(float),
        "seurat_clusters": simulated.target.astype(np.int32),
        "classified": simulated.target_names[simulated.target].astype(object),
    }
    rdata.write_rda(folder / MATRIX, {"pbmc_matrix": matrix})
    rdata.write_rda(folder / META, {"pbmc_meta": pd.DataFrame(meta)})
    return contents(folder)


@pytest.fixture
def source(server, bodies, monkeypatch):
    """Serve the simulated files, and expect their checksums."""
    checksums = {name: f"sha256:{hashlib.sha256(body).hexdigest()}" for name, body in bodies.items()}
    monkeypatch.setattr(datasets, "PBMC3K_FILES", checksums)
    server.bodies = {**bodies, "login": b"<html>Please log in.</html>", "mirror": bodies[MATRIX]}
    return server


# Other processes


def fetch_in_process(url, files, home, before=None):
    os.environ["NO_PROXY"] = "127.0.0.1"
    datasets.PBMC3K_URL, datasets.PBMC3K_FILES = url, files
    if before is not None:
        before()
    return fetch_pbmc3k(home)


def arguments(home, *before):
    return datasets.PBMC3K_URL, datasets.PBMC3K_FILES, home, *before


def leave_no_room():
    # a limit to the size of files ends a write as a full disk does, midway with an OSError
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))


def give_up_root():
    # permissions do not bind root
    if os.geteuid() == 0:
        os.setgroups([])
        nobody = pwd.getpwnam("nobody")
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)


@pytest.fixture
def another():
    """Start one more process."""
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as executor:
        yield executor


@pytest.fixture
def process_in_mid_download(source, tmp_path):
    """Return a process that has written a part of a file, whose end is never sent."""
    source.answers[MATRIX] = trickle_for_ever
    process = PROCESSES.Process(target=fetch_in_process, args=arguments(tmp_path))
    process.start()
    while not (source.half_sent.is_set() and any(contents(tmp_path / "pbmc3k").values())):
        assert process.is_alive()
        time.sleep(0.01)
    yield process
    process.kill()
    process.join()


@pytest.fixture
def public():
    """Return a folder that other users can reach; those of pytest are its user's alone."""
    umask = os.umask(0o022)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)
    os.umask(umask)


# All is well


def test_what_is_fetched_is_what_the_files_hold(source, simulated, tmp_path):
    cells = fetch_pbmc3k(data_home=tmp_path)
    assert (cells.data != simulated.data).nnz == 0
    np.testing.assert_array_equal(cells.target, simulated.target)
    for names in ("target_names", "feature_names", "cell_names"):
        np.testing.assert_array_equal(cells[names], simulated[names])


@pytest.mark.pbmc
def test_pbmc3k_is_downloaded_once(server, tmp_path, monkeypatch):
    at_hand = fetch_pbmc3k()
    server.bodies = contents(Path(os.environ["SKVAE_DATA"], "pbmc3k"))
    monkeypatch.delenv("SKVAE_DATA")
    for _ in range(2):
        cells = fetch_pbmc3k(data_home=tmp_path)
        assert (cells.data != at_hand.data).nnz == 0
    assert server.requests == dict.fromkeys(datasets.PBMC3K_FILES, 1)
    assert set(contents(tmp_path / "pbmc3k")) == set(datasets.PBMC3K_FILES)


def test_the_folder_given_goes_before_the_environment(source, bodies, tmp_path, monkeypatch):
    monkeypatch.setenv("SKVAE_DATA", str(tmp_path / "environment"))
    fetch_pbmc3k(data_home=tmp_path / "given")
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
    fetch_pbmc3k()
    assert contents(tmp_path / "environment" / "pbmc3k") == bodies


def test_a_redirect_to_the_right_content_is_followed(source, bodies, tmp_path):
    source.answers[MATRIX] = redirect_to_a_mirror
    fetch_pbmc3k(data_home=tmp_path)
    assert contents(tmp_path / "pbmc3k") == bodies


def test_the_files_have_the_permissions_of_any_new_file(source, tmp_path):
    fetch_pbmc3k(data_home=tmp_path)
    (tmp_path / "new").touch()
    modes = {stat.filemode(path.stat().st_mode) for path in (tmp_path / "new", *(tmp_path / "pbmc3k").iterdir())}
    assert len(modes) == 1


# The server or the network fails


@pytest.mark.parametrize(("wrong", "error"), WRONG)
def test_a_download_gone_wrong_is_an_error_and_is_not_kept(
    wrong, error, source, tmp_path, monkeypatch, record_property
):
    source.answers[MATRIX] = wrong
    monkeypatch.setattr(datasets, "DOWNLOAD_TIMEOUT", 0.5)
    with pytest.raises(error):
        fetch_pbmc3k(data_home=tmp_path)
    assert contents(tmp_path / "pbmc3k") == {}
    record_property("downloads", 1)


@pytest.mark.parametrize(("wrong", "error"), WRONG)
def test_the_next_fetch_downloads_only_what_went_wrong(
    wrong, error, source, bodies, tmp_path, monkeypatch, record_property
):
    source.answers[META] = wrong
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "DOWNLOAD_TIMEOUT", 0.5)
        with pytest.raises(error):
            fetch_pbmc3k(data_home=tmp_path)
    del source.answers[META]
    source.requests.clear()
    fetch_pbmc3k(data_home=tmp_path)
    assert source.requests == {META: 1}
    assert contents(tmp_path / "pbmc3k") == bodies
    record_property("downloads", 1)


@pytest.mark.parametrize("wrong", [flip_a_bit, redirect_to_a_login_page])
def test_other_content_is_an_error_that_names_the_checksum(wrong, source, tmp_path, record_property):
    source.answers[MATRIX] = wrong
    checksum = datasets.PBMC3K_FILES[MATRIX].removeprefix("sha256:")
    with pytest.raises(ValueError, match=rf"SHA256 .*{re.escape(MATRIX)}.*{checksum}"):
        fetch_pbmc3k(data_home=tmp_path)
    record_property("downloads", 1)


def test_a_server_that_sends_slowly_is_waited_for_beyond_the_timeout(source, bodies, tmp_path, monkeypatch):
    def trickle(handler, body):
        start(handler, Content_Length=len(body))
        for i in range(10):
            handler.wfile.write(body[i : i + 1])
            time.sleep(0.1)
        handler.wfile.write(body[10:])

    source.answers[MATRIX] = trickle
    monkeypatch.setattr(datasets, "DOWNLOAD_TIMEOUT", 0.6)
    fetch_pbmc3k(data_home=tmp_path)
    assert contents(tmp_path / "pbmc3k") == bodies


# Two processes, and processes that end


def test_two_processes_that_fetch_at_once_both_get_the_data(source, bodies, simulated, tmp_path, record_property):
    asked = {name: threading.Barrier(2, timeout=60) for name in bodies}
    sent_half = {name: threading.Barrier(2, timeout=60) for name in bodies}

    def send_to_both(handler, body):
        name = handler.path.strip("/")
        asked[name].wait()  # neither request is answered before both are there
        start(handler, Content_Length=len(body))
        handler.wfile.write(body[: len(body) // 2])
        sent_half[name].wait()
        handler.wfile.write(body[len(body) // 2 :])

    source.answers = dict.fromkeys(bodies, send_to_both)
    with ProcessPoolExecutor(2, mp_context=PROCESSES) as executor:
        fetches = [executor.submit(fetch_in_process, *arguments(tmp_path)) for _ in range(2)]
        for fetch in fetches:
            assert (fetch.result().data != simulated.data).nnz == 0
    assert source.requests == dict.fromkeys(bodies, 2)
    assert contents(tmp_path / "pbmc3k") == bodies
    record_property("downloads", 4)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_file_under_its_name(number, process_in_mid_download, tmp_path, record_property):
    os.kill(process_in_mid_download.pid, number)
    process_in_mid_download.join()
    assert process_in_mid_download.exitcode == -number
    assert not set(contents(tmp_path / "pbmc3k")) & {MATRIX, META}
    record_property("downloads", 1)


def test_the_fetch_after_a_killed_process_succeeds(source, bodies, process_in_mid_download, tmp_path, record_property):
    process_in_mid_download.kill()
    process_in_mid_download.join()
    source.answers.clear()
    fetch_pbmc3k(data_home=tmp_path)
    assert contents(tmp_path / "pbmc3k").items() >= bodies.items()
    record_property("downloads", 1)


def test_an_endless_download_can_be_interrupted_and_leaves_nothing(process_in_mid_download, tmp_path, record_property):
    os.kill(process_in_mid_download.pid, signal.SIGINT)
    process_in_mid_download.join()
    assert process_in_mid_download.exitcode == 1  # by KeyboardInterrupt, which has cleaned up
    assert contents(tmp_path / "pbmc3k") == {}
    record_property("downloads", 1)


# The disk and the folder


def test_a_full_disk_is_an_error_and_leaves_nothing(source, another, tmp_path, record_property):
    fetch = another.submit(fetch_in_process, *arguments(tmp_path, leave_no_room))
    with pytest.raises(OSError, match="File too large"):
        fetch.result()
    assert contents(tmp_path / "pbmc3k") == {}
    record_property("downloads", 1)


def test_the_fetch_after_a_full_disk_succeeds(source, bodies, another, tmp_path, record_property):
    assert another.submit(fetch_in_process, *arguments(tmp_path, leave_no_room)).exception() is not None
    fetch_pbmc3k(data_home=tmp_path)
    assert contents(tmp_path / "pbmc3k") == bodies
    record_property("downloads", 1)


@pytest.mark.parametrize("exists", [False, True])
def test_a_read_only_folder_is_named_and_stays_as_it_was(exists, source, another, public, record_property):
    folder = public / "pbmc3k"
    if exists:
        folder.mkdir()
        (folder / MATRIX).write_bytes(b"corrupted")
        folder.chmod(0o555)
    public.chmod(0o555)
    fetch = another.submit(fetch_in_process, *arguments(public, give_up_root))
    with pytest.raises(OSError, match=f"not .*{re.escape(str(folder))}"):
        fetch.result()
    assert not exists or contents(folder) == {MATRIX: b"corrupted"}
    assert folder.exists() == exists
    record_property("downloads", 1)


def test_files_in_a_read_only_folder_are_used_without_a_network(source, simulated, another, public):
    # by the same process, which imports all while it is root: the environment can be root's alone
    another.submit(fetch_in_process, *arguments(public)).result()
    unplug(source)
    for folder in (public / "pbmc3k", public):
        folder.chmod(0o555)
    fetch = another.submit(fetch_in_process, *arguments(public, give_up_root))
    assert (fetch.result().data != simulated.data).nnz == 0


# Files that were whole once


@pytest.mark.parametrize("corrupt", [flipped, lambda body: body[:-1]], ids=["flipped", "truncated"])
def test_a_corrupted_file_and_only_that_is_downloaded_again(corrupt, source, bodies, tmp_path, record_property):
    fetch_pbmc3k(data_home=tmp_path)
    (tmp_path / "pbmc3k" / MATRIX).write_bytes(corrupt(bodies[MATRIX]))
    fetch_pbmc3k(data_home=tmp_path)
    assert source.requests == {MATRIX: 2, META: 1}
    assert contents(tmp_path / "pbmc3k") == bodies
    record_property("downloads", 1)


def test_without_a_network_a_corrupted_file_is_named_and_all_files_stay(source, bodies, tmp_path, record_property):
    fetch_pbmc3k(data_home=tmp_path)
    unplug(source)
    folder = tmp_path / "pbmc3k"
    (folder / MATRIX).write_bytes(flipped(bodies[MATRIX]))
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(UNAVAILABLE, match=re.escape(MATRIX)):
        fetch_pbmc3k(data_home=tmp_path)
    assert contents(folder) == before
    record_property("downloads", 1)
