"""
Few labels: a classifier on the latent
======================================

A model learns from all cells without labels, and a logistic regression on its latent from a few labelled ones. With one
or two labels a type the latent is the better input; with more the genes themselves are.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=2000, library_size=150, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
unlabelled, test = slice(0, 1400), slice(1400, None)
Z = BetaVAE(random_state=0).fit(X[unlabelled]).transform(X)

# %%
# `n` labelled cells of each type, drawn five times; a type with fewer cells gives all it has. Genes and latent get the
# same classifier.

rng = np.random.default_rng(0)
numbers = [1, 2, 5, 10, 20]
classifiers = {
    "2000 genes": (X, LogisticRegression(max_iter=1000)),
    "latent, 10 dimensions": (Z, make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))),
}
accuracy = {name: np.empty((5, len(numbers))) for name in classifiers}
for draw in range(5):
    order = rng.permutation(1400)
    by_type = [order[cells.target[order] == label] for label in range(9)]
    for column, n in enumerate(numbers):
        labelled = np.concatenate([members[:n] for members in by_type])
        for name, (features, classifier) in classifiers.items():
            found = classifier.fit(features[labelled], cells.target[labelled]).predict(features[test])
            accuracy[name][draw, column] = balanced_accuracy_score(cells.target[test], found)

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
for color, marker, (name, values) in zip((COLORS[1], COLORS[0]), "so", accuracy.items(), strict=True):
    print(f"{name:>22}:", *(f"{mean:.2f}" for mean in values.mean(axis=0)))
    ax.errorbar(numbers, values.mean(axis=0), values.std(axis=0), color=color, marker=marker, capsize=3, label=name)
ax.set(xscale="log", xlabel="labelled cells of each type", ylabel="balanced accuracy on 600 other cells")
ax.set_xticks(numbers, numbers)
ax.minorticks_off()
ax.legend(frameon=False, loc="lower right")
plt.show()
