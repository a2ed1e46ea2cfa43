"""
With scanpy: neighbours and UMAP of an embedding
================================================

`embed` puts the latent into `adata.obsm`, where scanpy's functions take it with `use_rep`, as they would take its PCA.
"""

import tempfile
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, embed, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=1200, random_state=0)
types = pd.Categorical.from_codes(cells.target, cells.target_names)
counts = sparse.csr_matrix(cells.data)  # scanpy 1.11 does not normalise sparse arrays
adata = anndata.AnnData(counts, pd.DataFrame({"type": types}, cells.cell_names))
adata.var_names = cells.feature_names
adata.uns["type_colors"] = list(COLORS)

embed(adata, make_pipeline(LogNormalizer(), BetaVSC(random_state=0)))
sc.pp.neighbors(adata, use_rep="X_betavsc", random_state=0)
sc.tl.umap(adata, random_state=0)
print(adata)

# %%
# scanpy draws the types, and a gene of B cells beside them.

sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
sc.pl.umap(adata, color="MS4A1", ax=axes[0], show=False, frameon=False, size=20)
sc.pl.umap(adata, color="type", ax=axes[1], show=False, frameon=False, size=20)

# %%
# The embedding survives a trip through a file, with the parameters that made it.

path = Path(tempfile.mkdtemp()) / "cells.h5ad"
adata.write_h5ad(path)
adata = anndata.read_h5ad(path)
print(np.round(adata.obsm["X_betavsc"][:2], 2), adata.uns["X_betavsc"]["params"]["betavsc__beta"])
plt.show()
