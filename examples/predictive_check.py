"""
Is the model like the data?
===========================

Rows that a model draws in the place of each row show what it has learned, and what it has not: here, of a Poisson
likelihood, how much counts vary beyond chance.
"""

import matplotlib.pyplot as plt

from skvae import BetaVAE, make_single_cell_counts, posterior_predictive_check
from skvae.plotting import plot_predictive_check

cells = make_single_cell_counts(n_samples=1500, n_features=500, library_size=1000, dispersion=0.5, random_state=0)
fitted, held_out = cells.data[:1200], cells.data[1200:]

# %%
# The share of genes whose value in the cells held out lies in the interval of 90% of the cells drawn

checks = {}
for likelihood in ("poisson", "nb"):
    vae = BetaVAE(likelihood=likelihood, random_state=0).fit(fitted)
    checks[likelihood] = posterior_predictive_check(vae, held_out, n_samples=50, n_fit=1200, random_state=0)
    coverage = ", ".join(f"{name} {share:.0%}" for name, share in checks[likelihood].coverage.items())
    print(f"{likelihood:>8}: {coverage}")

# %%
# Variances of the genes: those of the data, and what each model says of them

figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
for ax, (likelihood, check) in zip(axes, checks.items(), strict=True):
    plot_predictive_check(ax, check, "variances")
    ax.set(title=f"variances, {likelihood}: {check.coverage['variances']:.0%} within")
plt.show()

# %%
# New cells, rather than new counts of the same cells: their totals are spread as those of the data are.

drawn = vae.sample(1200, random_state=0)
for name, totals in (("data", fitted.sum(axis=1)), ("drawn", drawn.sum(axis=1))):
    print(f"{name:>6}: totals of {totals.mean():.0f}, standard deviation {totals.std():.0f}")
