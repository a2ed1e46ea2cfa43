"""Embed cells from a file that is never loaded as a whole, into the AnnData object and into another file."""

import tempfile
from pathlib import Path

import anndata
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, RowStore, VariableGeneSelector, embed, make_single_cell_counts

folder = Path(tempfile.mkdtemp())
cells = make_single_cell_counts(n_samples=2000, random_state=0)
anndata.AnnData(cells.data).write_h5ad(folder / "cells.h5ad")

pipeline = make_pipeline(LogNormalizer(), VariableGeneSelector(1000), BetaVSC(random_state=0))

# With AnnData and scanpy: obsm gets the embedding, uns the parameters.
adata = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
embed(adata, pipeline)
print(adata.obsm["X_betavsc"].shape, adata.uns["X_betavsc"]["params"]["betavsc__beta"])

# Or from file to file, 256 rows at a time: for more cells than memory holds, embeddings included.
counts = RowStore(folder / "cells.h5ad", block_size=256)
Z = pipeline[-1].transform(pipeline[:-1].transform(counts), out=folder / "embedding.npy")
print(Z.filename.name, Z.shape)
