"""Use an installed skvae as a new user would; run outside pytest, where no checkout is on the path."""

import re
from importlib.metadata import requires, version
from pathlib import Path

from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline

import skvae
from skvae.plotting import make_figure, plot_embedding


def main():
    package = Path(skvae.__file__).parent
    assert package.parent.name == "site-packages", f"{package} is not an installed package"
    assert (package / "py.typed").exists()
    assert skvae.__version__ == version("skvae")
    core = {re.match(r"[\w-]+", line)[0] for line in requires("skvae") if "extra ==" not in line}
    assert core == {"matplotlib", "numpy", "scikit-learn", "scipy", "skorch", "torch"}, core

    cells = skvae.make_single_cell_counts(n_samples=200, n_features=300, random_state=0)
    embedding = make_pipeline(skvae.LogNormalizer(), skvae.BetaVSC(2, max_epochs=5, random_state=0))
    Z = embedding.fit_transform(cells.data)
    labels = KMeans(3, n_init=1, random_state=0).fit_predict(Z)
    _, [[ax]] = make_figure(1, 1)
    assert sum(len(artist.get_offsets()) for artist in plot_embedding(ax, Z, labels)) == 200
    print(f"skvae {version('skvae')} works from {package}")


if __name__ == "__main__":
    main()
