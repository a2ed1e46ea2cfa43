import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.pipeline import Pipeline

from skvae import BetaVAE, LogNormalizer
from skvae.rows.checks import check_weights, warn_of_values, without_duplicates
from skvae.supports import REAL

X = np.zeros((3, 2))


def test_weights_are_ones_by_default():
    np.testing.assert_array_equal(check_weights(None, X), [1, 1, 1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1, 1], "shape"), ([1, -1, 2], "Negative values"), ([0.2, 0.2, 0.2], "the sum 0.6, must be 1 or more")],
)
def test_weights_that_make_no_pass_are_errors(weights, message):
    with pytest.raises(ValueError, match=message):
        check_weights(weights, X)


def with_duplicates(X):
    """Return CSR whose first row has two entries at the first place, the first of them 1."""
    values = np.r_[1, X[0, 0] - 1, X[0, 1:], X[1:].ravel()]
    columns = np.r_[0, np.tile(np.arange(X.shape[1]), len(X))]
    return sparse.csr_array((values, columns, np.r_[0, X.shape[1] * np.arange(1, len(X) + 1) + 1]), shape=X.shape)


@pytest.mark.parametrize(("likelihood", "value"), [("nb", 0), ("bernoulli", 1)])
def test_duplicates_are_summed_before_values_are_checked(likelihood, value):
    X = np.ones((4, 5))
    X[0, 0] = value
    vae = BetaVAE(2, likelihood=likelihood, max_epochs=1, random_state=0)
    np.testing.assert_array_equal(vae.fit(with_duplicates(X)).transform(with_duplicates(X)), vae.transform(X))
    X[0, 0] = 2 if likelihood == "bernoulli" else -1
    with pytest.raises(ValueError, match=r"holds 2\.0|Negative values"):
        vae.fit(with_duplicates(X))


def test_a_negative_duplicate_of_a_count_is_no_negative_count():
    X = np.ones((4, 5))
    X[0, 0] = 0
    normalizer = LogNormalizer()
    result = normalizer.fit_transform(with_duplicates(X))
    np.testing.assert_allclose(result.toarray(), normalizer.transform(X), rtol=1e-6)


def test_x_with_duplicates_stays_as_it_was():
    X = with_duplicates(np.ones((4, 5)))
    assert not X.has_canonical_format
    summed = without_duplicates(X)
    np.testing.assert_array_equal(summed.toarray(), np.ones((4, 5)))
    assert summed.has_canonical_format
    assert X.nnz == 21


COUNTS = np.random.default_rng(0).poisson(0.4, size=(40, 30)).astype(np.float64)
UNLIKE_COUNTS = {
    "log1p": np.log1p(COUNTS),
    "binary": np.minimum(COUNTS, 1),
    "negative": COUNTS - 2 * (COUNTS == 1),
    "mostly positive integers": COUNTS + np.eye(40, 30) + 1,
}


@pytest.mark.parametrize("likelihood", ["gaussian", "unit_gaussian"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, "store"])
def test_a_gaussian_fit_of_raw_counts_warns_and_says_what_to_do(likelihood, container, tmp_path):
    np.save(tmp_path / "counts.npy", COUNTS)
    X = np.load(tmp_path / "counts.npy", mmap_mode="r") if container == "store" else container(COUNTS)
    with pytest.warns(UserWarning, match=r"looks like raw counts.* put LogNormalizer\(\) before, or .*'nb'") as caught:
        BetaVAE(2, likelihood=likelihood, max_epochs=1).fit(X)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("X", UNLIKE_COUNTS.values(), ids=UNLIKE_COUNTS)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_other_data_do_not_look_like_counts(X, container):
    BetaVAE(2, max_epochs=1).fit(container(X))


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_counts_under_a_likelihood_of_counts_do_not_warn(container):
    BetaVAE(2, likelihood="nb", max_epochs=1).fit(container(COUNTS))


def test_warnings_name_the_line_of_the_user_through_a_pipeline_too():
    with pytest.warns(UserWarning, match="looks like raw counts") as caught:
        Pipeline([("vae", BetaVAE(2, max_epochs=1))]).fit_transform(COUNTS)
    assert {warning.filename for warning in caught} == {__file__}


def test_a_slice_is_not_copied_to_look_at_its_values():
    view = np.zeros((5000, 2000))[::2]
    tracemalloc.start()
    try:
        warn_of_values(view, REAL)
        assert tracemalloc.get_traced_memory()[1] < view.nbytes / 2
    finally:
        tracemalloc.stop()


def test_normalised_data_under_a_likelihood_of_counts_warn():
    with pytest.warns(UserWarning, match=r"X holds 1\.09.*; expected counts.* suit 'gaussian'") as caught:
        BetaVAE(2, likelihood="nb", max_epochs=1).fit(np.log1p(COUNTS))
    assert caught[0].filename == __file__
