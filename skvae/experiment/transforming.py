"""Embedding of new cells by the file of a fitted model."""

from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from skvae.experiment.exports import columns_of, key_of, write_columns, write_h5ad
from skvae.experiment.sources import FileSource
from skvae.files import task_in_errors
from skvae.names import align_features, known_names
from skvae.warn import without_warnings_of_names

# Beside those of scikit-learn and numpy: what files of skvae are made of.
TRUSTED = (
    "skvae.estimators.AutoencoderEmbedding",
    "skvae.estimators.BetaVAE",
    "skvae.estimators.BetaVSC",
    "skvae.preprocessing.LogNormalizer",
)

KIND = "a model that skvae has written"


def load_pipeline(path: Path) -> Pipeline:
    """Load a fitted pipeline that an experiment has written; no code in the file is run.

    Parameters
    ----------
    path : Path
        Of the folder `models`.

    Returns
    -------
    pipeline : Pipeline

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, or holds other types than those of skvae and scikit-learn.
    """
    from skops.io import get_untrusted_types, load

    from skvae.reading.faults import whole_file

    with task_in_errors(f"cannot read the model {path}"):
        with whole_file(KIND):
            others = sorted(set(get_untrusted_types(file=path)) - set(TRUSTED))
        if others:
            raise ValueError(f"it holds {others}; expected a file that skvae has written.")
        with whole_file(KIND):
            pipeline = load(path, trusted=list(TRUSTED))
    if not isinstance(pipeline, Pipeline) or known_names(pipeline) is None:
        raise ValueError(f"{path} holds a {type(pipeline).__name__}; expected a pipeline that skvae has written.")
    return pipeline


def transform(model: Path, source: FileSource, folder: Path, *, missing: str = "error") -> tuple[int, int]:
    """Embed new cells, whose genes are found by their names, and write `embedding.csv` and `cells.h5ad`.

    Parameters
    ----------
    model : Path
        The file of the model.
    source : FileSource
        Of the new cells.
    folder : Path
        For the results.
    missing : {"error", "zero"}, default="error"
        What becomes of genes that the model knows and the cells lack.

    Returns
    -------
    shape : (int, int)
        Of the embedding.
    """
    pipeline, counts = load_pipeline(model), source.read()
    X = align_features(counts.values, counts.genes, pipeline, missing=missing)
    with without_warnings_of_names():
        Z = pipeline.transform(X)
    Z = Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z)
    key = key_of(model.stem)
    folder.mkdir(parents=True, exist_ok=True)
    write_columns(folder / "embedding.csv", {"cell": counts.cells.tolist()} | columns_of(key, Z))
    adata = source.annotated(np.ones(len(counts.cells), dtype=bool))
    adata.obsm[f"X_skvae_{key}"] = Z
    write_h5ad(adata, folder / "cells.h5ad")
    return Z.shape
