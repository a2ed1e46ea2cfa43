"""The benchmarks run, at small sizes."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import ortho_group

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_speed_benchmark_writes_its_results(tmp_path):
    subprocess.run([sys.executable, ROOT / "benchmarks" / "speed.py", tmp_path, "--quick"], check=True)
    results = json.loads((tmp_path / "speed.json").read_text())
    (compared,) = results["compared"].values()
    assert {"skvae_fit", "bare_loop", "dense_loop", "pca"} <= compared["table"].keys()
    assert all(row["seconds_an_epoch"] > 0 for row in results["growth"]["n_samples"]["rows"])
    assert (tmp_path / "speed.png").stat().st_size > 0


@pytest.mark.slow
def test_the_benchmark_of_answers_writes_its_results(tmp_path):
    parts = ("--only", "quality", "busy", "small")
    subprocess.run([sys.executable, ROOT / "benchmarks" / "answers.py", tmp_path, "--quick", *parts], check=True)
    results = json.loads((tmp_path / "answers.json").read_text())
    assert {"skvae_nb", "skvae_gaussian", "dense", "pca"} == {row["contestant"] for row in results["quality"]["rows"]}
    assert results["busy"]["same_bits"]
    assert {row["rows"] for row in results["small"]["rows"]} == {1, 64, 10_000}
    assert "| skvae_nb |" in (tmp_path / "answers.md").read_text()
    assert (tmp_path / "answers.png").stat().st_size > 0


@pytest.mark.slow
def test_the_scale_benchmark_writes_its_results(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "scale.py", tmp_path, "--sizes", "1000", "--repeats", "1"]
    subprocess.run(command, check=True)
    rows = json.loads((tmp_path / "scale.json").read_text())["table"]["1000"]
    # the same bits from every form
    assert len({row["checksum"] for row in rows.values()}) == 1


@pytest.mark.slow
def test_the_quality_benchmark_writes_its_results(tmp_path):
    subprocess.run([sys.executable, ROOT / "benchmarks" / "quality.py", tmp_path, "--quick"], check=True)
    rows = json.loads((tmp_path / "quality.json").read_text())["results"]
    assert {row["set"] for row in rows} == {"simulated-300", "simulated-600", "digits", "wine"}
    assert {"PCA(10)", "AutoencoderEmbedding", "BetaVAE", "BetaVSC"} <= {row["contestant"] for row in rows}
    assert all(0 < run[measured] <= 1 for row in rows for run in row["runs"] for measured in ("nmi", "ari", "f1"))
    assert "| wine |" in (tmp_path / "quality.md").read_text()
    assert (tmp_path / "quality.png").stat().st_size > 0


@pytest.mark.slow
def test_the_benchmark_of_devices_finds_them_alike(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "device.py", tmp_path, "--parts", "correctness", "large"]
    subprocess.run(command, check=True)
    found = json.loads((tmp_path / "device.json").read_text())
    assert found["correctness"]["configurations"] == 36
    assert not found["correctness"]["failures"]
    assert found["large"]["epochs"] == 8


@pytest.mark.slow
def test_the_novelty_benchmark_prints_its_tables():
    command = [sys.executable, ROOT / "benchmarks" / "novelty.py", "--quick"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| median |" in printed
    assert "within bounds of 95%" in printed


@pytest.fixture(scope="module")
def factors():
    """Levels of four factors, of which two are used by a row."""
    rng = np.random.RandomState(0)
    used = rng.uniform(size=(1000, 4)).argsort(axis=1) < 2
    return used * rng.gamma(4, 0.25, size=used.shape)


def test_scores_of_disentanglement_know_the_factors_themselves(factors):
    scores_of = runpy.run_path(str(ROOT / "benchmarks" / "disentanglement.py"))["scores_of"]
    # in another order and unit, the other way round, and beside a dimension of noise
    noise = np.random.RandomState(1).normal(size=(len(factors), 1))
    known = scores_of(np.hstack([-3 * factors[:, ::-1], noise]), factors, 0)
    assert min(known.values()) > 0.85
    turned = scores_of(factors @ hadamard(4) / 2, factors, 0)
    assert max(turned[score] for score in ("MIG", "SAP", "D", "C")) < 0.6
    assert turned["R2"] > 0.85
    unrelated = scores_of(np.random.RandomState(2).normal(size=factors.shape), factors, 0)
    assert max(unrelated.values()) < 0.15


def test_varimax_turns_loadings_back_to_simple_ones():
    varimax = runpy.run_path(str(ROOT / "benchmarks" / "programs.py"))["varimax"]
    loadings = np.kron(np.eye(3), np.random.RandomState(0).uniform(1, 2, size=(20, 1)))
    turned = loadings @ ortho_group.rvs(3, random_state=0)
    overlap = np.abs(loadings.T @ turned @ varimax(turned))
    overlap /= overlap.max(axis=1, keepdims=True)
    assert np.allclose(np.sort(overlap, axis=1), [0, 0, 1], atol=1e-4)


@pytest.mark.slow
def test_the_disentanglement_benchmark_writes_its_results(tmp_path):
    subprocess.run([sys.executable, ROOT / "benchmarks" / "disentanglement.py", tmp_path, "--quick"], check=True)
    rows = {row["contestant"]: row for row in json.loads((tmp_path / "disentanglement.json").read_text())["results"]}
    for score in ("MIG", "SAP", "D", "C"):
        assert rows["true factors"][score] > 0.9
        assert rows["true factors, rotated"][score] < rows["known loadings"][score]
        assert 0 <= rows["BetaVSC, alpha = 0.1"][score] <= 1
    assert "| NMF |" in (tmp_path / "disentanglement.md").read_text()
    assert (tmp_path / "disentanglement.png").stat().st_size > 0


@pytest.mark.slow
def test_the_benchmark_of_programs_writes_its_results(tmp_path):
    subprocess.run([sys.executable, ROOT / "benchmarks" / "programs.py", tmp_path, "--quick"], check=True)
    found = json.loads((tmp_path / "programs.json").read_text())
    (run,) = found["recovery"]["10"]["the planted levels themselves"]
    assert all(program["r"] > 0.999 and program["f1"] > 0.7 for program in run["programs"])
    (pair,) = found["stability"]["seeds"]["PCA"]  # which draws nothing at random
    assert all(program["r"] > 0.999 and program["jaccard"] == 1 for program in pair["pairs"])
    (pair,) = found["stability"]["halves"]["PCA"]
    assert min(program["r"] for program in pair["pairs"]) < 0.999
    assert "| cNMF |" in (tmp_path / "programs.md").read_text()
