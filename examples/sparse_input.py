"""Embed a large scipy sparse matrix without ever making it dense."""

import resource

import numpy as np

from skvae import BetaVAE, LogNormalizer, make_single_cell_counts

cells = make_single_cell_counts(n_samples=4000, n_features=10_000, random_state=0)
X = LogNormalizer().fit_transform(cells.data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Z = BetaVAE(max_epochs=3, random_state=0).fit_transform(X)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

dense = np.prod(X.shape) * X.dtype.itemsize
print(f"{X.format} input {X.shape}, {X.nnz / np.prod(X.shape):.1%} non-zero -> {Z.shape} {Z.dtype}")
print(f"peak memory grew by {grown / 1024:.0f} MB; X as a dense array has {dense / 2**20:.0f} MB")
