"""
UMAP in a pipeline, also of new cells
=====================================

UMAP draws what `BetaVAE` embeds. Unlike t-SNE it maps rows that come later, and so does the whole pipeline. Without
`umap-learn` t-SNE draws all cells at once.
"""

import importlib.util

import matplotlib.pyplot as plt
import numpy as np
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
from skvae.plotting import plot_embedding

cells = make_single_cell_counts(n_samples=1000, random_state=0)
old, new = slice(0, 700), slice(700, None)
embedding = make_pipeline(LogNormalizer(), BetaVAE(random_state=0))

if importlib.util.find_spec("umap"):
    from umap import UMAP

    drawing = make_pipeline(embedding, UMAP(random_state=0, n_jobs=1)).fit(cells.data[old])
    points = np.concatenate([drawing.transform(cells.data[part]) for part in (old, new)])
    print("drawn by UMAP, the new cells after it was fitted")
else:
    points = TSNE(random_state=0).fit_transform(embedding.fit(cells.data[old]).transform(cells.data))
    print("umap-learn is not installed: drawn by t-SNE, all cells at once")

# %%
# The model saw the old cells alone. The new ones take their places among them.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharex=True, sharey=True, layout="constrained")
for ax, part, title in zip(axes, (old, new), ("700 cells of fit", "300 new cells"), strict=True):
    plot_embedding(ax, points[part], cells.target[part], cells.target_names, legend=part is new)
    ax.set(title=title)
plt.show()
