"""Raw counts under the likelihoods of counts."""

import numpy as np
import pytest
from models import SMALL, every_estimator, unchanged
from scipy import sparse

from skvae import BetaVAE, make_single_cell_counts


@every_estimator
@pytest.mark.parametrize("likelihood", ["poisson", "nb"])
def test_raw_counts_go_into_fit(Estimator, likelihood, cells):
    settings = {**SMALL, "likelihood": likelihood, "max_epochs": 20, "batch_size": 30}
    few, dense = (Estimator(**settings).fit(counts) for counts in (cells.data, cells.data.toarray()))
    loss = few.history_["loss"]
    assert loss[-1] < loss[0]
    np.testing.assert_array_equal(few.transform(cells.data), dense.transform(cells.data))
    expected = few.inverse_transform(few.transform(cells.data))
    np.testing.assert_allclose(expected.sum(axis=1), cells.data.sum(axis=1).mean(), rtol=1e-5)


def test_wide_sparse_counts_give_what_dense_counts_give_within_rounding():
    counts = make_single_cell_counts(90, 3000, random_state=0).data.astype(np.float64)
    settings = {**SMALL, "likelihood": "nb", "max_epochs": 5, "batch_size": 30}
    few, dense = (BetaVAE(**settings).fit(X) for X in (counts, counts.toarray()))
    np.testing.assert_allclose(few.history_["loss"], dense.history_["loss"], rtol=1e-5)
    np.testing.assert_allclose(few.score_samples(counts), few.score_samples(counts.toarray()), rtol=1e-9)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_counts_must_not_be_negative_and_should_be_integers(container):
    counts = np.random.default_rng(0).poisson(2.0, size=(30, 8)).astype(np.float64)
    vae = BetaVAE(**SMALL, likelihood="nb").fit(container(counts))
    counts[3, 4] = 0.5
    with pytest.warns(UserWarning, match=r"X holds 0.5; expected counts, integers >= 0, for a likelihood of counts"):
        vae.transform(container(counts))
    counts[3, 4] = -1
    for method in (vae.fit, vae.transform, vae.score):
        with unchanged(vae, container(np.abs(counts))), pytest.raises(ValueError, match="Negative values in data"):
            method(container(counts))
