"""
From clusters to labels
=======================

Clusters have numbers, cells have types. Marker genes name the clusters: of each, the genes that it expresses more than
the others do.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from skvae import BetaVAE, LogNormalizer, clustering_report, make_single_cell_counts
from skvae.plotting import plot_embedding

cells = make_single_cell_counts(n_samples=1500, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
Z = BetaVAE(random_state=0).fit_transform(X)
clusters = KMeans(12, n_init=20, random_state=0).fit_predict(Z)

# %%
# Known markers. A cluster is named after the type whose markers stand out most in it, against the mean cluster.

MARKERS = {
    "Naive CD4 T": ["CCR7", "LEF1", "IL7R"],
    "Memory CD4 T": ["S100A4", "IL32", "IL7R"],
    "CD8 T": ["CD8A", "CD8B", "GZMK"],
    "NK": ["GNLY", "GZMB", "NKG7"],
    "B": ["MS4A1", "CD79A", "CD79B"],
    "CD14+ Mono": ["CD14", "S100A8", "S100A9"],
    "FCGR3A+ Mono": ["FCGR3A", "MS4A7"],
    "DC": ["FCER1A", "CLEC10A"],
    "Platelet": ["PPBP", "PF4"],
}
column = {gene: index for index, gene in enumerate(cells.feature_names)}
means = np.array([X[clusters == cluster].mean(axis=0) for cluster in range(12)])
excess = means - means.mean(axis=0)
scores = np.array([excess[:, [column[gene] for gene in genes]].mean(axis=1) for genes in MARKERS.values()]).T
types = np.array(list(MARKERS))[scores.argmax(axis=1)]
print("clusters named:", dict(enumerate(types.tolist())))

# %%
# Clusters of one name are one type. The labels agree with the known types better than the numbers alone.

labels = types[clusters]
true_names = cells.target_names[cells.target]
print(f"{np.mean(labels == true_names):.1%} of the cells are labelled with their own type")
for what, found in (("clusters", clusters), ("labels", labels)):
    print(f"ARI of {what}: {clustering_report(true_names, found)['ari']:.3f}")

points = TSNE(perplexity=40, random_state=0).fit_transform(Z)
figure, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
plot_embedding(ax, points, labels, list(MARKERS))
plt.show()
