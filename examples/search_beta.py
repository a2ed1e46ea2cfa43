"""
Choose beta and the width by a grid search
==========================================

With labels beta is chosen by the clusters that it gives. Without them the width is chosen by held-out likelihood.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=600, n_features=1000, random_state=0)
vsc = BetaVSC(max_epochs=40, random_state=0)
betas = [0.5, 1, 2, 4]

# %%
# A pipeline that ends in k-means would score its inertia, which favours embeddings shrunk to a point: name a scorer.

clusters = Pipeline([("norm", LogNormalizer()), ("vsc", vsc), ("kmeans", KMeans(9, n_init=10, random_state=0))])
search = GridSearchCV(clusters, {"vsc__beta": betas}, scoring="normalized_mutual_info_score", cv=3, n_jobs=2)
search.fit(cells.data, cells.target)
print("by NMI with the labels: ", search.best_params_, f"NMI {search.best_score_:.3f}")

# %%
# A bare estimator scores the evidence lower bound at beta = 1, comparable across beta and across widths.

sizes = [2, 5, 10]
widths = GridSearchCV(vsc, {"n_components": sizes}, cv=3, n_jobs=2)
widths.fit(LogNormalizer().fit_transform(cells.data))
print("by held-out likelihood: ", widths.best_params_, f"{widths.best_score_:.1f} nats a cell")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, found, values, labels in (
    (axes[0], search, betas, {"xlabel": "beta", "ylabel": "NMI with the labels"}),
    (axes[1], widths, sizes, {"xlabel": "n_components", "ylabel": "held-out bound, nats a cell"}),
):
    means, deviations = (found.cv_results_[f"{name}_test_score"] for name in ("mean", "std"))
    ax.errorbar(values, means, deviations, color=COLORS[1], marker="o", capsize=3)
    ax.set(xscale="log", **labels)
    ax.set_xticks(values, values)
    ax.minorticks_off()
figure.suptitle("means and standard deviations over three folds")
plt.show()
