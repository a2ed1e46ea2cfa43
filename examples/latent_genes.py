"""
The genes behind each latent
============================

The decoder's Jacobian names the genes that a latent dimension moves, and the posterior means name the cell types that
use it.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.func import jacfwd, vmap

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.plotting import plot_activation

cells = make_single_cell_counts(n_samples=1500, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
vsc = BetaVSC(alpha=0.2, random_state=0).fit(X)
Z = vsc.transform(X)

# %%
# d E[x|z] / d z at the posterior means of some cells, a (genes, dimensions) matrix for each

decode = vsc.net_.module_.mean
some = torch.as_tensor(Z[::5], dtype=torch.float32)
with torch.no_grad():
    slopes = vmap(jacfwd(lambda z: decode(z[np.newaxis], torch.zeros(1, 0))[0]))(some).mean(dim=0).numpy()

for j in np.flatnonzero(vsc.active_components_):
    means = np.array([Z[cells.target == label, j].mean() for label in range(len(cells.target_names))])
    strongest = np.abs(means).argmax()
    sign = np.sign(means[strongest])  # of the direction in which that type lies
    genes = cells.feature_names[np.argsort(-sign * slopes[:, j])[:5]]
    print(f"dimension {j}, {cells.target_names[strongest]:>12} at {means[strongest]:+.1f}:", *genes)

# %%
# The mean of each dimension in each type

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
figure.colorbar(plot_activation(ax, Z, cells.target, cells.target_names), ax=ax, label="mean of z")
plt.show()
