"""Choose beta by the clusters it gives, with labels, and the width by held-out likelihood, without."""

from sklearn.cluster import KMeans
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts

cells = make_single_cell_counts(n_samples=600, random_state=0)
vsc = BetaVSC(max_epochs=60, random_state=0)
betas = [0.5, 1, 2, 4]

# A pipeline that ends in k-means would score its inertia, which favours embeddings shrunk to a point: name a scorer.
clusters = Pipeline([("norm", LogNormalizer()), ("vsc", vsc), ("kmeans", KMeans(9, n_init=10, random_state=0))])
search = GridSearchCV(clusters, {"vsc__beta": betas}, scoring="normalized_mutual_info_score", cv=3, n_jobs=2)
search.fit(cells.data, cells.target)
print("by NMI with the labels: ", search.best_params_, f"NMI {search.best_score_:.3f}")

# A bare estimator scores the evidence lower bound at beta = 1, comparable across beta and across widths.
widths = GridSearchCV(vsc, {"n_components": [2, 6, 10]}, cv=3, n_jobs=2)
widths.fit(LogNormalizer().fit_transform(cells.data))
print("by held-out likelihood: ", widths.best_params_, f"{widths.best_score_:.1f} nats a cell")
