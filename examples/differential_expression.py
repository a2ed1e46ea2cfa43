"""
Genes that differ between monocytes
===================================

Which genes have other shares of the counts in CD14+ than in FCGR3A+ monocytes, and by how much, with a probability and
an expected false discovery rate.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvae import BetaVAE, VariableGeneSelector, differential_expression, fetch_pbmc3k

cells = fetch_pbmc3k()
selector = VariableGeneSelector().fit(cells.data)
genes = cells.feature_names[selector.get_support()]
X, types = selector.transform(cells.data), cells.target_names[cells.target]
vae = BetaVAE(likelihood="nb", random_state=0).fit(X)

found = differential_expression(
    vae, X, types, group1="CD14+ Mono", group2="FCGR3A+ Mono", feature_names=genes, random_state=0
)
print(f"{found.is_significant.sum()} of {len(genes)} genes differ")
for sign, name in ((1, "CD14+"), (-1, "FCGR3A+")):
    of_side = np.flatnonzero(sign * found.lfc > 0)[:20]
    print(f"higher in {name}:", *found.names[of_side])

# %%
# The fold change of each gene over its share of the counts; those that differ in colour, the largest with their names

figure, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
share = 1e4 * (found.mean1 + found.mean2) / 2
ax.scatter(share, found.lfc, s=8, c=np.where(found.is_significant, "#1f77b4", "#bbbbbb"), linewidths=0)
for side in (found.lfc > 0, found.lfc < 0):
    for index in np.flatnonzero(side & found.is_significant)[:8]:
        ax.annotate(
            found.names[index], (share[index], found.lfc[index]), fontsize=7, xytext=(3, 2), textcoords="offset points"
        )
ax.set(xscale="log", xlabel="counts per ten thousand", ylabel="log2 fold change, CD14+ over FCGR3A+")
plt.show()
