"""Draw cells: counts, latent, t-SNE, in one pipeline."""

from sklearn.manifold import TSNE
from sklearn.pipeline import make_pipeline

from skvae import BetaVSC, LogNormalizer, make_single_cell_counts
from skvae.plotting import make_figure, plot_embedding

cells = make_single_cell_counts(n_samples=800, random_state=0)
pipeline = make_pipeline(LogNormalizer(), BetaVSC(random_state=0), TSNE(perplexity=40, random_state=0))
points = pipeline.fit_transform(cells.data)

figure, [[ax]] = make_figure(1, 1, size=5)
plot_embedding(ax, points, cells.target, cells.target_names)
figure.legend(loc="outside right center", markerscale=3, frameon=False)
figure.savefig("tsne_pipeline.png")
print(f"{len(points)} cells drawn in tsne_pipeline.png")
