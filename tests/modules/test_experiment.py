import csv
import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_argmin

import skvae
from skvae import LogNormalizer, clustering_report, experiment, make_single_cell_counts
from skvae.__main__ import main
from skvae.experiment import MODELS, REPORT_SCORES, make_model, run, run_experiment, stages, summarize
from skvae.experiment.commands import parse
from skvae.experiment.program import write_program
from skvae.experiment.run import perform

FIGURES = {"tsne_2d.png", "tsne_3d.png", "clusters.png", "scores.png", "activation.png", "history.png"}
FILES = {
    *("results.json", "scores.csv", "embeddings.npz", "embedding.csv", "clusters.csv", "markers.csv", "report.html"),
    *("log.txt", "models", "steps"),
}


def tiny_cells():
    return make_single_cell_counts(n_samples=150, n_features=100, library_size=500, random_state=0)


@pytest.fixture(scope="module")
def tiny():
    """Make the simulated data a few cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiment.DATASETS, "simulated", tiny_cells)
        yield patch


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    main(["--seeds", "0", "1", "--max-epochs", "2", "--n-jobs", "1", "--output-dir", str(folder)])
    return folder


def test_the_command_writes_every_file(finished):
    assert {path.name for path in finished.iterdir()} == FIGURES | FILES
    for name in FIGURES:
        assert (finished / name).read_bytes().startswith(b"\x89PNG")


def test_the_results_hold_every_model_and_seed_with_settings_and_history(finished):
    results = json.loads((finished / "results.json").read_text())
    assert results["dataset"] == "simulated"
    assert (results["n_samples"], results["n_features"]) == (150, 100)
    assert set(results["versions"]) == {"skvae", "numpy", "scipy", "scikit-learn", "skorch", "torch"}
    assert [(r["model"], r["seed"]) for r in results["runs"]] == [(m, s) for m in MODELS for s in (0, 1)]
    for record in results["runs"]:
        assert record["parameters"]["random_state"] == record["seed"]
        assert set(record["scores"]) == {"t-SNE", "latent"}
        assert len(record["history"].get("loss", [])) == (0 if record["model"] == "pca" else 2)


def test_the_table_and_the_results_hold_the_same_scores(finished):
    results = json.loads((finished / "results.json").read_text())
    with open(finished / "scores.csv", newline="") as file:
        rows = {(row["model"], row["seed"], row["k-means on"]): row for row in csv.DictReader(file)}
    assert len(rows) == 4 * 2 * 2
    for record in results["runs"]:
        for space, scores in record["scores"].items():
            row = rows[record["model"], str(record["seed"]), space]
            assert {metric: float(row[metric]) for metric in scores} == scores


def test_the_embeddings_on_disk_are_those_of_the_estimators(finished):
    with np.load(finished / "embeddings.npz") as embeddings:
        cells = tiny_cells()
        X = LogNormalizer().fit_transform(cells.data)
        np.testing.assert_array_equal(embeddings["target"], cells.target)
        latent = make_model("beta-vsc", max_epochs=2, random_state=1).fit_transform(X)
        np.testing.assert_array_equal(embeddings["beta-vsc/1/latent"], latent)
        assert embeddings["beta-vsc/0/tsne3d"].shape == (150, 3)
        assert "beta-vsc/1/tsne3d" not in embeddings


def test_the_tables_name_the_cells_of_the_data_set(finished):
    for name in ("embedding.csv", "clusters.csv"):
        with open(finished / name, newline="") as file:
            assert [row["cell"] for row in csv.DictReader(file)] == tiny_cells().cell_names.tolist()


def test_the_command_prints_one_table_and_where_the_files_are(tiny, tmp_path, capsys):
    main(
        [
            "--models",
            "pca",
            "beta-vae",
            "--max-epochs",
            "1",
            "--n-jobs",
            "1",
            "--output-dir",
            str(tmp_path / "new" / "folder"),
        ]
    )
    output = capsys.readouterr().out
    assert [line.split()[:2] for line in output.splitlines()[1:5]] == [
        ["pca", "t-SNE"],
        ["pca", "latent"],
        ["beta-vae", "t-SNE"],
        ["beta-vae", "latent"],
    ]
    assert str(tmp_path / "new" / "folder") in output


def test_scores_are_those_of_kmeans_on_the_map_and_on_the_latent(X, cells):
    pca_run = run("pca", PCA(3, svd_solver="arpack", random_state=0), X, cells.target, map_dimensions=(2,))
    for space, points in (("t-SNE", pca_run.maps[2]), ("latent", pca_run.latent)):
        labels, centers = pca_run.clusters[space].labels, pca_run.clusters[space].centers
        np.testing.assert_array_equal(labels, pairwise_distances_argmin(points, centers))
        assert pca_run.scores[space] == pytest.approx(clustering_report(cells.target, labels))
        assert len(centers) == len(np.unique(cells.target))


def test_a_collapsed_latent_is_named_and_scored_not_fatal(X, cells):
    class Constant(PCA):
        def transform(self, X):
            return np.zeros((X.shape[0], 6), dtype=np.float32)

    with pytest.warns(UserWarning, match="Number of distinct clusters"):
        collapsed = run("autoencoder", Constant(2, svd_solver="arpack"), X, cells.target, map_dimensions=(2,))
    assert np.isfinite(collapsed.maps[2]).all()
    assert collapsed.scores["latent"]["nmi"] == 0


def test_the_table_has_the_reports_own_scores_beside_ours(tiny):
    runs = run_experiment(models=["beta-vae"], seeds=[0, 1], max_epochs=1, n_jobs=1)
    header, *rows = summarize(runs, with_report=True)
    own = dict(zip(header, rows[-1], strict=True))
    assert own["k-means on"] == "report's t-SNE"
    assert own["NMI (geom.)"] == f"{REPORT_SCORES['beta-vae']['nmi_geometric']:.3f}"
    assert "±" in rows[0][header.index("ARI")]


@pytest.mark.parametrize(("name", "n_heads"), [("autoencoder", 1), ("beta-vae", 2), ("beta-vsc", 3)])
def test_the_report_preset_has_the_layers_of_the_report(name, n_heads, X):
    model = make_model(name, "report", max_epochs=1, random_state=0).fit(X)
    layers = [(layer.in_features, layer.out_features) for layer in linear_layers(model.net_.module_)]
    d = X.shape[1]
    encoder = [(d, 128), (128, 32)] + n_heads * [(32, 16), (16, 6)]
    decoder = [(6, 16), (16, 32), (32, 128), (128, d)]
    assert layers == encoder + decoder
    activations = [type(layer).__name__ for layer in model.net_.module_.encoder.layers[1::2]]
    assert activations == ["Identity", "ReLU"]
    if name == "autoencoder":
        assert (model.transform(X) >= 0).all()


def linear_layers(module):
    return [layer for layer in module.modules() if hasattr(layer, "in_features")]


def test_an_interrupted_experiment_goes_on_to_the_same_bits(tiny, tmp_path, monkeypatch):
    design = {"models": ["pca", "beta-vae"], "max_epochs": 1, "n_jobs": 1}

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PCA, "fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(**design, output_dir=tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "beta-vae, seed 0: fit: done" in log
    assert "stopped by KeyboardInterrupt" in log
    runs = run_experiment(**design, output_dir=tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert log.count("beta-vae, seed 0: fit: begins") == 1
    assert log.count("pca, seed 0: fit: begins") == 2
    for run_, expected in zip(runs, run_experiment(**design), strict=True):
        np.testing.assert_array_equal(run_.latent, expected.latent)
        np.testing.assert_array_equal(run_.maps[3], expected.maps[3])


def test_other_settings_are_no_part_of_what_was_done(tiny, tmp_path):
    first = run_experiment(models=["pca"], output_dir=tmp_path, n_jobs=1)
    second = run_experiment(models=["beta-vae"], seeds=[1], max_epochs=1, output_dir=tmp_path, n_jobs=1)
    assert [run_.model for run_ in first] == ["pca"]
    assert [(run_.model, run_.seed) for run_ in second] == [("beta-vae", 1)]
    assert not list((tmp_path / "steps").glob("pca*"))


def test_steps_side_by_side_have_the_bits_of_steps_in_turn(tiny):
    in_turn, side_by_side = (run_experiment(models=["pca", "beta-vsc"], max_epochs=1, n_jobs=n) for n in (1, 2))
    for a, b in zip(in_turn, side_by_side, strict=True):
        np.testing.assert_array_equal(a.latent, b.latent)
        for n_dimensions in (2, 3):
            np.testing.assert_array_equal(a.maps[n_dimensions], b.maps[n_dimensions])


def test_an_unknown_model_is_an_error_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["--models", "umap"])
    assert "invalid choice: 'umap'" in capsys.readouterr().err


def test_an_impossible_number_of_epochs_is_an_error_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        main(["--max-epochs", "0"])
    assert "0, must be >= 1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "beta-vae", "beta-vsc"])
def test_clusters_of_the_latent_find_the_simulated_types(name):
    [result] = run_experiment(models=[name])
    assert result.scores["latent"]["nmi"] >= 0.80


@pytest.mark.slow
@pytest.mark.pbmc
def test_the_report_runs_on_its_own_cells(tmp_path, capsys):
    main(["--dataset", "pbmc3k", "--preset", "report", "--models", "beta-vae", "--max-epochs", "3",
          "--output-dir", str(tmp_path)])  # fmt: skip
    assert "report's t-SNE" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} >= FIGURES


@pytest.mark.parametrize(
    "options", [[], ["--preset", "report"], ["--likelihood", "nb"], ["--models", "pca"], ["--genes", "50"]]
)
def test_the_program_in_the_report_embeds_to_the_same_numbers(tiny, options, tmp_path, monkeypatch):
    monkeypatch.setattr(skvae, "make_single_cell_counts", lambda random_state: tiny_cells())
    monkeypatch.setattr(stages, "map_latent", lambda latent, n_dimensions, *_: latent[:, :n_dimensions])
    command = parse(["--max-epochs", "1", "--n-jobs", "1", "--models", "beta-vae", *options])
    experiment = perform(command.design, tmp_path, n_jobs=1)
    found: dict = {}
    exec(write_program(experiment), found)
    np.testing.assert_array_equal(found["Z"], experiment.runs[0].latent)
