"""
The plots
=========

All functions of `skvae.plotting` draw on Axes that you make, and return what they drew. Those of a dimension's genes
are in :doc:`latent_genes`.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from skvae import BetaVSC, LogNormalizer, clustering_report, make_single_cell_counts
from skvae.plotting import plot_clusters, plot_embedding, plot_history, plot_scores

cells = make_single_cell_counts(n_samples=1000, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
vsc = BetaVSC(random_state=0).fit(X[200:], X_val=X[:200])
Z = vsc.transform(X)
points = TSNE(random_state=0).fit_transform(Z)
kmeans = KMeans(9, n_init=10, random_state=0).fit(points)

# %%
# `plot_embedding`: categories have a legend, numbers a colour bar.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
plot_embedding(axes[0], points, cells.target_names[cells.target])
plot_embedding(axes[1], points, np.log10(cells.data.sum(axis=1)))
axes[1].set(title="log10 of a cell's counts")
plt.show()

# %%
# `plot_clusters`: a cluster has the colour of the type that it matches.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
plot_clusters(axes, points, cells.target, kmeans.labels_, kmeans.cluster_centers_, cells.target_names)
plt.show()

# %%
# `plot_scores`, and `plot_history`: the terms of the objective while the weight of the KL term grew, and after

reports = {}
for name, space in (("t-SNE of BetaVSC", points), ("BetaVSC", Z), ("PCA", PCA(10, random_state=0).fit_transform(X))):
    reports[name] = clustering_report(cells.target, KMeans(9, n_init=10, random_state=0).fit_predict(space))
metrics = ["nmi", "ari", "homogeneity", "completeness"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
plot_scores(axes[0], np.array([[report[m] for m in metrics] for report in reports.values()]), list(reports), metrics)
plot_history(axes[1], vsc.history_)
plt.show()
print(f"NMI of k-means on the latent: {reports['BetaVSC']['nmi']:.3f}")
