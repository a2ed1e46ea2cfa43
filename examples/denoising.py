"""
Denoise counts
==============

Most zeros of single-cell counts are chance: the gene was there, and not caught. `denoise` returns what a model expects
of each cell at a total of your choice, so that genes that go together show it again.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=1500, library_size=200, random_state=0)
vae = BetaVAE(likelihood="nb", random_state=0).fit(cells.data)
expected = vae.denoise(cells.data, library_size=1e4)
print(f"{cells.data.nnz / np.prod(cells.data.shape):.1%} of the counts are not zero")

# %%
# Two genes of B cells and two of monocytes, before and after, in counts per ten thousand on a logarithmic scale.

observed = LogNormalizer().fit_transform(cells.data).toarray()
denoised = np.log1p(expected)
gene = {name: index for index, name in enumerate(cells.feature_names)}
kinds = {"B": ["B"], "monocytes": ["CD14+ Mono", "FCGR3A+ Mono"]}
groups = {kind: np.isin(cells.target_names[cells.target], names) for kind, names in kinds.items()}
groups["others"] = ~np.any(list(groups.values()), axis=0)

figure, axes = plt.subplots(2, 2, figsize=(8.5, 7.5), layout="constrained")
for row, (first, second) in zip(axes, (("CD79A", "MS4A1"), ("LYZ", "CST3")), strict=True):
    for ax, values, title in zip(row, (observed, denoised), ("observed", "denoised"), strict=True):
        pair = values[:, [gene[first], gene[second]]]
        for color, (kind, chosen) in zip((COLORS[3], COLORS[0], COLORS[4]), groups.items(), strict=True):
            ax.scatter(*pair[chosen].T, s=6, color=color, label=kind, linewidths=0, alpha=0.7)
        ax.set(title=f"{title}, correlation {np.corrcoef(pair.T)[0, 1]:.2f}", xlabel=first, ylabel=second)
handles, names = axes[0, 0].get_legend_handles_labels()
figure.legend(handles, names, loc="outside lower center", ncols=3, markerscale=3, frameon=False)
plt.show()

# %%
# Denoised values are means of a model, not data. Do not test them for differences between groups: genes correlate there
# because the model says so.
