"""Training by several processes: two real ones, started by `torchrun`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return what each of the two processes wrote."""
    folder = tmp_path_factory.mktemp("processes")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, Path(__file__).with_name("two_processes.py"), folder], check=True)
    assert (folder / "params.pt").stat().st_size > 0
    return [np.load(folder / f"rank{rank}.npz") for rank in range(2)]


@pytest.fixture(scope="module")
def X():
    return LogNormalizer().fit_transform(make_single_cell_counts(300, 1200, random_state=0).data.astype(np.float32))


def scores(X, seeds, init="linear", **metadata):
    """Return scores of fits by one process."""
    fits = [BetaVSC(max_epochs=10, init=init, random_state=seed).fit(X, **metadata) for seed in seeds]
    batch = {name: value for name, value in metadata.items() if name == "batch"}
    weight = {name: value for name, value in metadata.items() if name == "sample_weight"}
    return np.array([fit.score(X, **batch, **weight) for fit in fits])


def assert_within_noise_of(score, X, **metadata):
    """Assert that a score is one of those of one process, as near as seeds of random weights are to each other.

    Those of the linear start hardly differ, less than the order in which rows are seen moves them.
    """
    noise = scores(X, range(5), init="random", **metadata).std(ddof=1)
    assert abs(score - scores(X, range(2), **metadata).mean()) < 4 * noise


def test_both_processes_end_with_the_same_parameters(ranks):
    names = [name for name in ranks[0].files if name.startswith(("weights.", "later", "loss", "active"))]
    assert len(names) > 10
    for name in names:
        np.testing.assert_array_equal(ranks[0][name], ranks[1][name], err_msg=name)


def test_each_process_sees_its_half_of_the_rows_once_an_epoch(ranks):
    for epoch in range(10):
        halves = [rank[f"seen{epoch}"] for rank in ranks]
        assert [len(half) for half in halves] == [150, 150]
        np.testing.assert_array_equal(np.sort(np.concatenate(halves)), np.sort(ranks[0]["expected"]))
    np.testing.assert_array_equal(np.sort(ranks[1]["seen0"]), np.sort(ranks[1]["seen9"]))


def test_the_elbo_is_that_of_one_process(ranks, X):
    assert ranks[0]["score"] == ranks[1]["score"]
    assert_within_noise_of(ranks[0]["score"], X, batch=np.arange(300) % 2)
    assert_within_noise_of(ranks[0]["store_score"], X)


def test_shares_of_unequal_weight_count_by_their_weight(ranks, X):
    weights = np.arange(300) % 3
    assert_within_noise_of(ranks[0]["weighted_score"], X, sample_weight=weights)


def test_all_rows_are_embedded_in_both(ranks):
    assert ranks[0]["Z"].shape == (300, 10)
    np.testing.assert_array_equal(ranks[0]["Z"], ranks[1]["Z"])
    for rank in ranks:
        np.testing.assert_allclose(rank["Z"], rank["alone"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(rank["written"], rank["Z"])


def test_a_failure_of_the_first_process_is_raised_in_both(ranks):
    assert "cannot write" in str(ranks[0]["failure"])
    assert "another process failed" in str(ranks[1]["failure"])
    assert len(np.unique(ranks[0]["Z"][:, 0])) > 290


def test_a_fit_of_several_goes_on_where_it_was_stopped(ranks):
    for rank in ranks:
        np.testing.assert_array_equal(rank["resumed"], rank["Z"])
