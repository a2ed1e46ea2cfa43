"""
Embed cells of two laboratories together
========================================

Told the batch of each cell, the embedding leaves out what sets batches apart: types meet, and laboratories mix.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from skvae import BetaVAE, make_single_cell_counts
from skvae.plotting import plot_embedding

cells = make_single_cell_counts(n_samples=1000, n_batches=2, random_state=0)
laboratory = np.array(["Basel", "Boston"])[cells.batch]
maps, embeddings = {}, []
with config_context(enable_metadata_routing=True):  # for a pipeline that hands the batch on
    vae = BetaVAE(likelihood="poisson", random_state=0)
    requested = vae.set_fit_request(batch=True, sample_weight=False).set_transform_request(batch=True)
    pipeline = Pipeline([("vae", requested), ("tsne", TSNE(random_state=0))])
    for title, metadata in (("without the batch", {}), ("with the batch", {"batch": laboratory})):
        maps[title] = pipeline.fit_transform(cells.data, **metadata)
        embeddings.append(pipeline["vae"].transform(cells.data))

# %%
# The same two maps, coloured by type above and by laboratory below

figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
for column, (title, points), Z in zip(axes.T, maps.items(), embeddings, strict=True):
    clusters = KMeans(9, n_init=10, random_state=0).fit_predict(Z)
    nmi = normalized_mutual_info_score(cells.target, clusters)
    guessed = cross_val_score(KNeighborsClassifier(15), Z, laboratory, cv=5).mean()
    print(f"{title}: clusters against types, NMI {nmi:.3f}; laboratory guessed from neighbours, {guessed:.1%}")
    is_last = column[0] is axes[0, -1]
    plot_embedding(column[0], points, cells.target, cells.target_names, legend=is_last)
    plot_embedding(column[1], points, laboratory, legend=is_last)
    column[0].set(title=title)
plt.show()

# %%
# What the cells would look like, had all been measured in Boston: expected counts at 1000 a cell

moved = pipeline["vae"].denoise(cells.data[:5], batch=laboratory[:5], to_batch="Boston", library_size=1000)
print("expected counts in Boston:", moved.shape, moved.sum(axis=1).round(1))
