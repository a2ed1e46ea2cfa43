"""Choose n_components, beta and alpha by successive halving: by held-out likelihood, without labels, and with them."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

from skvae import BetaVSC, elbo_scorer, embedding_scorer, make_single_cell_counts

warnings.simplefilter("ignore", ConvergenceWarning)  # the first rounds are short on purpose
cells = make_single_cell_counts(n_samples=900, n_features=500, random_state=0)
train, test = slice(0, 600), slice(600, None)
candidates = {"n_components": [4, 12], "beta": [0.5, 1.0, 2.0], "alpha": [0.2, 0.8]}
clusters = embedding_scorer("normalized_mutual_info_score", n_clusters=9)

# Each round trains the better third of the candidates three times as long.
halving = {"factor": 3, "resource": "max_epochs", "min_resources": 10, "max_resources": 30, "cv": 2, "random_state": 0}
for name, scoring in (("held-out likelihood", elbo_scorer), ("agreement with the labels", clusters)):
    search = HalvingGridSearchCV(BetaVSC(likelihood="poisson", random_state=0), candidates, scoring=scoring, **halving)
    best = search.fit(cells.data[train], cells.target[train]).best_estimator_
    print(f"by {name}: {search.best_params_}")
    print(f"  on other cells: {elbo_scorer(best, cells.data[test]):.1f} nats a cell,", end=" ")
    print(f"NMI {clusters(best, cells.data[test], cells.target[test]):.3f}")
