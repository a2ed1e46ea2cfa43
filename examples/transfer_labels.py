"""
Transfer labels to new cells
============================

A reference whose types are known labels new cells, whose genes come in another order. One type of the new cells is not
in the reference: a detector finds cells that are unlike it, and these stay "unknown".
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skvae import BetaVAE, NoveltyDetector, VariableGeneSelector, align_features, make_single_cell_counts
from skvae.plotting import plot_embedding

cells = make_single_cell_counts(n_samples=3000, n_features=1000, random_state=0)
types = cells.target_names[cells.target]
is_known = types != "NK"
reference = np.flatnonzero(is_known & (np.arange(3000) < 2000))
query = np.arange(2000, 3000)
shuffled = np.random.default_rng(0).permutation(1000)
new_cells, new_genes = cells.data[query][:, shuffled], cells.feature_names[shuffled]

# %%
# The detector keeps a fifth of the reference from the model, to learn from it how unlike the reference a cell may be by
# chance. Its model is the one that a classifier on the latent gets too.

model = make_pipeline(VariableGeneSelector(500), BetaVAE(7, likelihood="nb", random_state=0))
detector = NoveltyDetector(model, random_state=0).fit(cells.data[reference])
classifier = make_pipeline(detector.estimator_, KNeighborsClassifier(15))
classifier[-1].fit(detector.estimator_.transform(cells.data[reference]), types[reference])

# %%
# The genes of the new cells are put into the order of the reference by their names. A label is kept where the cell is
# like the reference, and nine tenths of its neighbours agree.

X = align_features(new_cells, new_genes, cells.feature_names)
p_values, probabilities = detector.p_values(X), classifier.predict_proba(X)
is_sure = (p_values > 0.05) & (probabilities.max(axis=1) > 0.9)
labels = np.where(is_sure, classifier.classes_[probabilities.argmax(axis=1)], "unknown")

true = types[query]
known = true != "NK"
print(f"{(labels[known] == true[known]).mean():.1%} of the cells of known types have their label,")
print(f"{(labels[known] == 'unknown').mean():.1%} have none, and the others a wrong one.")
print(f"{(labels[~known] == 'unknown').mean():.1%} of the NK cells, which the reference lacks, have none;")
print(f"without the detector {(probabilities[~known].max(axis=1) <= 0.9).mean():.1%} would have none.")

# %%
# The new cells by their types, and by the labels that they got

points = TSNE(random_state=0).fit_transform(detector.estimator_.transform(X))
names = np.unique([*true, "unknown"])
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, found, title in zip(axes, (true, labels), ("types", "labels"), strict=True):
    plot_embedding(ax, points, np.searchsorted(names, found), names, legend=ax is axes[1])
    ax.set(title=title)
plt.show()
