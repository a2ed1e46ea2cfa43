"""Results to go on with: tables of cells and markers, and the cells as AnnData with what was found of them."""

from pathlib import Path

import numpy as np

from skvae.experiment.output import write_table
from skvae.experiment.results import Experiment
from skvae.files import writing
from skvae.version import VERSION

# What `markers.csv` tells of a gene, by its names in `find_markers`.
OF_MARKERS = ("auc", "z", "p_adjusted", "log2_fold_change", "share_in", "share_out")


def write_tables(experiment: Experiment, folder: Path) -> None:
    """Write `embedding.csv`, `clusters.csv` and `markers.csv`.

    Parameters
    ----------
    experiment : Experiment
    folder : Path
    """
    cells, runs = experiment.data["cells"].tolist(), experiment.first
    columns = {"cell": cells}
    for run in runs:
        key = key_of(run.model)
        columns |= columns_of(key, run.latent) | columns_of(f"{key}_tsne", run.maps[2])
    write_columns(folder / "embedding.csv", columns)
    columns = {"cell": cells, "cluster": (experiment.clusters + 1).tolist()}
    columns |= {f"cluster_{key_of(run.model)}": (run.clusters["latent"].labels + 1).tolist() for run in runs}
    if experiment.types is not None:
        columns["known_type"] = ["" if name is None else name for name in experiment.groups[0].tolist()]
    write_columns(folder / "clusters.csv", columns)
    write_columns(folder / "markers.csv", columns_of_markers(experiment))


def key_of(model):
    """Return the name of a model as it stands in a column or a key, such as beta_vae."""
    return model.replace("-", "_")


def columns_of(key, points):
    """Return a column for each dimension of an embedding, or of a map."""
    return {f"{key}_{j + 1}": values.tolist() for j, values in enumerate(points.T)}


def write_columns(path, columns):
    write_table(path, [list(columns), *zip(*columns.values(), strict=True)])


def columns_of_markers(experiment):
    found = experiment.markers
    if "names" not in found:
        return {name: [] for name in ("cluster", "rank", "gene", *OF_MARKERS)}
    n_clusters, n_markers = found["names"].shape
    columns = {
        "cluster": np.repeat(experiment.cluster_names, n_markers).tolist(),
        "rank": np.tile(np.arange(1, n_markers + 1), n_clusters).tolist(),
        "gene": found["names"].ravel().tolist(),
    }
    return columns | {name: found[name].ravel().tolist() for name in OF_MARKERS}


def write_annotated(experiment: Experiment, path: Path) -> None:
    """Write the cells that were kept as an `.h5ad` file, all that the source tells of them, and what was found.

    - `X`, layers and all else as they were, of all genes
    - `obsm`: `X_skvae_` and the name of each model, its embedding; of the first one `X_skvae_tsne` and
      `X_skvae_tsne_3d`, its maps
    - `obs["skvae_cluster"]`: the clusters of the first model's embedding
    - `varm`: `skvae_` and the name of each model, its loadings, NaN for genes that it did not see
    - `uns["skvae"]`: settings

    Parameters
    ----------
    experiment : Experiment
    path : Path

    Raises
    ------
    ImportError
        If anndata is missing.
    """
    from pandas import Categorical

    adata = experiment.design.source.annotated(experiment.data["kept_cells"])
    first = experiment.first[0]
    adata.obsm["X_skvae_tsne"], adata.obsm["X_skvae_tsne_3d"] = first.maps[2], first.maps[3]
    for run in experiment.first:
        adata.obsm[f"X_skvae_{key_of(run.model)}"] = run.latent
        loadings = np.full((adata.n_vars, len(run.loadings)), np.nan)
        loadings[experiment.data["selected"]] = run.loadings.T
        adata.varm[f"skvae_{key_of(run.model)}"] = loadings
    names = experiment.cluster_names
    adata.obs["skvae_cluster"] = Categorical.from_codes(experiment.clusters, names)
    adata.var["skvae_selected"] = experiment.data["selected"]
    adata.uns["skvae"] = {
        "version": VERSION,
        "models": [run.model for run in experiment.first],
        "seed": int(first.seed),
        "n_clusters": len(names),
    }
    write_h5ad(adata, path)


def write_h5ad(adata, path):
    """Write AnnData to a file that appears once it is whole."""
    import h5py
    from anndata.io import write_elem

    # the name of an unfinished file is locked already
    with writing(path) as part, h5py.File(part, "w", locking=False) as file:
        write_elem(file, "/", adata)
        if adata.raw is None:
            file.pop("raw", None)  # it holds nothing, and readers take it for one that does
