"""Processes that are not alike all raise: none waits for the others, and none trains on with other numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "rows": "the processes differ in the shape of X:",
    "columns": "the processes differ in the shape of X:",
    "max_epochs": "the processes differ in max_epochs:",
    "beta": "the processes differ in beta:",
    "random_state": "the processes differ in random_state:",
    "estimator": "the processes differ in estimator:",
    "batches": "the processes differ in the batches:",
    "rows held out": "the processes differ in the shape of X_val:",
    "rows of partial_fit": "the processes differ in the shape of X:",
    "rows of transform": "the processes differ in the shape of X:",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlike")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).with_name("unlike_processes.py")
    subprocess.run([*torchrun, script, folder], check=True, timeout=180)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_all_processes_raise(case, found):
    for of_rank in found:
        assert of_rank[case].startswith(f"ValueError: {CASES[case]}")


@pytest.mark.slow
def test_an_error_of_one_process_is_one_of_all(found):
    assert found[1]["invalid rows"].startswith("ValueError: Input X contains NaN")
    assert found[0]["invalid rows"] == "RuntimeError: another process failed; its own message says why."


@pytest.mark.slow
def test_processes_that_draw_other_seeds_train_the_same_model(found):
    assert found[0]["weights"] == found[1]["weights"]
