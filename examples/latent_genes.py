"""
The genes behind each latent
============================

The decoder's slopes name the genes that a latent dimension moves, and the posterior means name the cell types that use
it.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.plotting import plot_activation, plot_loadings, plot_traversal

cells = make_single_cell_counts(n_samples=1500, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
vsc = BetaVSC(alpha=0.2, random_state=0).fit(X)
Z = vsc.transform(X)
features = vsc.component_features(X, n_top=8, feature_names=cells.feature_names)

# %%
# A dimension has no sign of its own: genes that rise with it fall where the cells are at its negative end.

for j in np.flatnonzero(vsc.active_components_):
    means = np.array([Z[cells.target == label, j].mean() for label in range(len(cells.target_names))])
    strongest = np.abs(means).argmax()
    signs = np.where(features.loadings[j] > 0, "+", "-")
    genes = [f"{name}{sign}" for name, sign in zip(features.names[j], signs, strict=True)]
    print(f"dimension {j}, {cells.target_names[strongest]:>12} at {means[strongest]:+.1f}:", *genes)

# %%
# Which gates each type opens: the probability that a dimension is not zero

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
gates = plot_activation(ax, vsc.posterior(X).activation, cells.target, cells.target_names)
figure.colorbar(gates, ax=ax, label="probability that z is not 0")
plt.show()

# %%
# The genes of the dimension that B cells use most, and what the decoder makes of it from end to end

of_type = cells.target == list(cells.target_names).index("B")
dimension = np.abs(Z[of_type].mean(axis=0) - Z[~of_type].mean(axis=0)).argmax()
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
plot_loadings(axes[0], features, dimension)
plot_traversal(axes[1], vsc, Z, dimension, feature_names=cells.feature_names)
plt.show()
