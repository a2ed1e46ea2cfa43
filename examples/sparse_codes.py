"""
Read a sparse code
==================

With a small alpha each cell uses a few latents of `BetaVSC`, and the others are exactly zero. Which ones tells of its
type.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts

cells = make_single_cell_counts(n_samples=1500, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
vsc = BetaVSC(n_components=10, alpha=0.1, code="sparse", max_epochs=100, random_state=0)
code = vsc.fit_transform(X)
print(f"{type(code).__name__} {code.shape}: {code.nnz / code.shape[0]:.1f} of 10 latents active in a cell")
share = vsc.inverse_transform(code).var(axis=0).sum() / X.toarray().var(axis=0).sum()
print(f"share of the genes' variance that the code reproduces: {share:.2f}")

# %%
# The share of the cells of each type that switch a latent on.

active = (code != 0).toarray()
shares = np.array([active[cells.target == label].mean(axis=0) for label in range(len(cells.target_names))])

figure, ax = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
image = ax.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
for (row, column), share in np.ndenumerate(shares):
    if share >= 0.05:
        color = "white" if share > 0.6 else "black"
        ax.text(column, row, f"{share:.0%}", ha="center", va="center", size=8, color=color)
ax.set_yticks(range(len(cells.target_names)), cells.target_names)
ax.set(xticks=range(10), xlabel="latent")
figure.colorbar(image, label="share of the cells in which it is active")
plt.show()
