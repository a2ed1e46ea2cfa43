"""
From a file to a file
=====================

Cells of a file that is never loaded as a whole are embedded into the AnnData object, and into another file.
"""

import tempfile
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, RowStore, VariableGeneSelector, embed, make_single_cell_counts
from skvae.plotting import plot_embedding

folder = Path(tempfile.mkdtemp())
cells = make_single_cell_counts(n_samples=2000, random_state=0)
anndata.AnnData(cells.data).write_h5ad(folder / "cells.h5ad")

pipeline = make_pipeline(VariableGeneSelector(1000), LogNormalizer(), BetaVSC(random_state=0))

# %%
# With AnnData and scanpy: `obsm` gets the embedding, `uns` the parameters.

adata = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
embed(adata, pipeline)
print(adata.obsm["X_betavsc"].shape, adata.uns["X_betavsc"]["params"]["betavsc__beta"])

# %%
# Or from file to file: for more cells than memory holds, embeddings included.

counts = RowStore(folder / "cells.h5ad")
pipeline = clone(pipeline).fit(counts)
Z = pipeline[-1].transform(pipeline[:-1].transform(counts), out=folder / "embedding.npy")
print(Z.filename.name, Z.shape)

# %%
# `Z` is a memory map of that file. A drawing needs some of its rows.

figure, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
plot_embedding(ax, TSNE(random_state=0).fit_transform(Z[::2]), cells.target[::2], cells.target_names)
plt.show()
