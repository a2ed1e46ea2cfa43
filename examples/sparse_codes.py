"""Read a variational sparse code: the latents that each cell type switches on."""

import numpy as np

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts

cells = make_single_cell_counts(n_samples=1500, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
vsc = BetaVSC(n_components=10, alpha=0.1, code="sparse", max_epochs=150, random_state=0)
code = vsc.fit_transform(X)

print(f"{type(code).__name__} {code.shape}: {code.nnz / code.shape[0]:.1f} of 10 latents active in a cell")
active = (code != 0).toarray()
for label, name in enumerate(cells.target_names):
    share = active[cells.target == label].mean(axis=0)
    print(f"{name:>14}", *(f"{value:4.0%}" if value >= 0.05 else "   ." for value in share))
print("share of the reconstruction's variance:", np.round(vsc.inverse_transform(code).var() / X.toarray().var(), 2))
