"""
Find doublets by their likelihood
=================================

Doublets are droplets that caught two cells. Some are planted here, and found by their low likelihood under a model of
single cells.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse
from sklearn.metrics import roc_auc_score

from skvae import BetaVAE, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=2500, library_size=1500, random_state=0)
reference, sample, types = cells.data[:1500], cells.data[1500:], cells.target[1500:]
first, second = np.random.default_rng(0).integers(1000, size=(2, 100))
two_types = types[first] != types[second]
doublets = (sample[first] + sample[second])[two_types]
X = sparse.vstack([sample, doublets], format="csr")
is_doublet = np.arange(X.shape[0]) >= 1000

score = BetaVAE(likelihood="poisson", random_state=0).fit(reference).score_samples(X)
total = X.sum(axis=1)
print(f"{is_doublet.sum()} doublets of two types among {len(score)} droplets, found by")
print(f"  a low score: ROC AUC {roc_auc_score(is_doublet, -score):.3f}")
print(f"  a large total: {roc_auc_score(is_doublet, total):.3f}")

# %%
# More counts are less likely together, whatever they are: among droplets of one size the score is on its own.

size = np.column_stack([total, total * np.log(total), total**2, np.log(total), np.ones_like(total)])
expected = size @ np.linalg.lstsq(size[:1000], score[:1000], rcond=None)[0]
print(f"  a score low for the total: {roc_auc_score(is_doublet, expected - score):.3f}")

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for chosen, label, color, marker in (
    (~is_doublet, "cells", COLORS[4], "o"),
    (is_doublet, "doublets", COLORS[5], "^"),
):
    ax.scatter(total[chosen], score[chosen], s=14, label=label, color=color, marker=marker, linewidths=0, alpha=0.8)
order = np.argsort(total)
ax.plot(total[order], expected[order], color="black", linewidth=1, label="expected of the total")
ax.set(xscale="log", xlabel="counts of a droplet", ylabel="score_samples, nats")
ax.legend(frameon=False)
plt.show()
