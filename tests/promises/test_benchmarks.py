"""The benchmarks run, at small sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
