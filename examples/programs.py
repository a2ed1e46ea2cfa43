"""
Programs of blood cells
=======================

A model whose codes and loadings are not negative says which programs a cell uses, and which genes a program has. The
consensus of several fits, each to another part of the cells, keeps the programs that come back.
"""

import matplotlib.pyplot as plt

from skvae import BetaVSC, ConsensusEmbedding, LogNormalizer, VariableGeneSelector, fetch_pbmc3k
from skvae.plotting import plot_programs, plot_stability

cells = fetch_pbmc3k()
selector = VariableGeneSelector().fit(cells.data)
genes = cells.feature_names[selector.get_support()]
X = LogNormalizer().fit_transform(selector.transform(cells.data))
model = BetaVSC(10, nonnegative=True)
consensus = ConsensusEmbedding(model, n_runs=5, random_state=0).fit(X)

# %%
# The genes of each program: those that are most correlated with its code

features = consensus.program_features(n_top=8, feature_names=genes)
for j, names in enumerate(features.names):
    print(f"program {j}:", *names)

# %%
# How well each dimension recurs, and which cells use it

figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
plot_stability(ax, consensus)
plt.show()

figure, ax = plt.subplots(figsize=(7.5, 5), layout="constrained")
types = cells.target_names[cells.target]
figure.colorbar(plot_programs(ax, consensus, X, types, feature_names=genes), ax=ax)
plt.show()
