"""
Choose a size by successive halving
===================================

`n_components`, beta and alpha are searched twice: by held-out likelihood, without labels, and by clusters, with them.
Each round trains the better third of the candidates three times as long.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

from skvae import BetaVSC, elbo_scorer, embedding_scorer, make_single_cell_counts
from skvae.plotting import COLORS

warnings.simplefilter("ignore", ConvergenceWarning)  # the first rounds are short on purpose
cells = make_single_cell_counts(n_samples=900, n_features=500, random_state=0)
train, test = slice(0, 600), slice(600, None)
candidates = {"n_components": [4, 12], "beta": [0.5, 1.0, 2.0], "alpha": [0.2, 0.8]}
clusters = embedding_scorer("normalized_mutual_info_score", n_clusters=9)
halving = {"factor": 3, "resource": "max_epochs", "min_resources": 8, "max_resources": 24, "cv": 2, "random_state": 0}
figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
criteria = {"held-out bound, nats a cell": elbo_scorer, "NMI with the labels": clusters}
for ax, (name, scoring) in zip(axes, criteria.items(), strict=True):
    search = HalvingGridSearchCV(BetaVSC(likelihood="poisson", random_state=0), candidates, scoring=scoring, **halving)
    best = search.fit(cells.data[train], cells.target[train]).best_estimator_
    print(f"by {name}: {search.best_params_}")
    print(f"  on other cells: {elbo_scorer(best, cells.data[test]):.1f} nats a cell,", end=" ")
    print(f"NMI {clusters(best, cells.data[test], cells.target[test]):.3f}")
    found = search.cv_results_
    epochs, scores = np.asarray(found["n_resources"]), found["mean_test_score"]
    widths = np.asarray(found["param_n_components"], dtype=int)
    for shift, color, marker, width in ((-0.5, COLORS[1], "o", 4), (0.5, COLORS[0], "^", 12)):
        chosen = widths == width
        ax.scatter(epochs[chosen] + shift, scores[chosen], color=color, marker=marker, label=f"n_components = {width}")
    ax.set(xticks=np.unique(epochs), xlabel="epochs", ylabel=name, xlim=(4, 28))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
figure.suptitle("each point is a candidate; the right ones survived the first round")
plt.show()
