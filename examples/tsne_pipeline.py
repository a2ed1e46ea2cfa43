"""
A t-SNE map in one pipeline
===========================

Counts become log1p-normalised, `BetaVSC` embeds them into ten dimensions, and t-SNE draws these in two.
"""

import matplotlib.pyplot as plt
from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.plotting import plot_embedding

cells = make_single_cell_counts(n_samples=800, random_state=0)
pipeline = make_pipeline(LogNormalizer(), BetaVSC(random_state=0), TSNE(perplexity=40, random_state=0))
points = pipeline.fit_transform(cells.data)

figure, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
plot_embedding(ax, points, cells.target, cells.target_names)
print(f"{len(points)} cells of {len(cells.target_names)} types")
plt.show()
