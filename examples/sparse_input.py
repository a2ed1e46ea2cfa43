"""
Wide sparse input, never dense
==============================

A scipy sparse matrix is embedded without ever being made dense. Peak memory says so.
"""

import resource

import matplotlib.pyplot as plt
import numpy as np

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts
from skvae.plotting import COLORS

cells = make_single_cell_counts(n_samples=4000, n_features=10_000, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
BetaVAE(max_epochs=1, random_state=0).fit(X[:200, :1000])  # what torch loads at its first fit is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Z = BetaVAE(max_epochs=3, random_state=0).fit_transform(X)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(f"{X.format} input {X.shape}, {X.nnz / np.prod(X.shape):.1%} non-zero -> {Z.shape} {Z.dtype}")

# %%
# In megabytes. `ru_maxrss` is in kilobytes on Linux.

megabytes = {
    "X, dense": np.prod(X.shape) * X.dtype.itemsize / 2**20,
    "X, CSR": (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 2**20,
    "growth of the peak in fit_transform": grown / 1024,
}
print("peak memory grew by {2:.0f} MB; X as a dense array has {0:.0f} MB".format(*megabytes.values()))
figure, ax = plt.subplots(figsize=(7.5, 2.2), layout="constrained")
ax.bar_label(ax.barh(list(megabytes), megabytes.values(), color=COLORS[1]), fmt="%.0f MB", padding=4)
ax.invert_yaxis()
ax.spines[["top", "right", "bottom"]].set_visible(False)
ax.set(xticks=[], xlim=(0, 1.15 * max(megabytes.values())))
plt.show()
