import sys

import numpy as np
import pytest

from skvae import datasets, fetch_pbmc3k, make_factor_counts, make_single_cell_counts

# Simulated cells


@pytest.fixture(scope="module")
def wide():
    return make_single_cell_counts(n_samples=600, n_features=13714, random_state=0)


def expression(cells, gene):
    """Share of the counts that a gene has in each type."""
    column = cells.data[:, [np.flatnonzero(cells.feature_names == gene)[0]]].toarray().ravel()
    totals = np.asarray(cells.data.sum(axis=1)).ravel()
    return {
        str(name): column[cells.target == label].sum() / totals[cells.target == label].sum()
        for label, name in enumerate(cells.target_names)
    }


def test_simulated_counts_are_sparse_integers_with_names(wide):
    assert wide.data.shape == (600, 13714)
    assert wide.data.format == "csr"
    assert wide.data.dtype == np.float32
    assert (wide.data.data == np.rint(wide.data.data)).all()
    assert wide.data.data.min() > 0
    assert len(set(wide.feature_names)) == 13714
    assert len(set(wide.cell_names)) == 600
    assert set(wide.batch) == {0}


def test_simulated_counts_have_the_density_and_depth_of_pbmc3k(wide):
    assert 0.05 < wide.data.nnz / np.prod(wide.data.shape) < 0.075
    totals = np.asarray(wide.data.sum(axis=1)).ravel()
    expected = datasets.DEPTH * 13714
    assert abs(totals.mean() - expected) < 4 * totals.std() / 600**0.5


def test_library_size_is_the_mean_total():
    cells = make_single_cell_counts(n_samples=2000, n_features=100, library_size=50, random_state=0)
    totals = np.asarray(cells.data.sum(axis=1)).ravel()
    assert abs(totals.mean() - 50) < 4 * totals.std() / 2000**0.5


def test_types_have_the_proportions_of_the_report():
    cells = make_single_cell_counts(n_samples=20_000, n_features=60, random_state=0)
    sizes = np.array(list(datasets.CELL_TYPES.values()))
    share = sizes / sizes.sum()
    standard_error = np.sqrt(share * (1 - share) / 20_000)
    assert (np.abs(np.bincount(cells.target) / 20_000 - share) < 4 * standard_error).all()
    assert list(cells.target_names) == list(datasets.CELL_TYPES)


@pytest.mark.parametrize(
    ("gene", "cell_type"), [("MS4A1", "B"), ("CD14", "CD14+ Mono"), ("GNLY", "NK"), ("PPBP", "Platelet")]
)
def test_markers_are_highest_in_their_type(gene, cell_type, wide):
    shares = expression(wide, gene)
    assert max(shares, key=shares.get) == cell_type


def test_shared_markers_are_high_in_related_types(wide):
    shares = expression(wide, "NKG7")
    assert set(sorted(shares, key=shares.get)[-2:]) == {"CD8 T", "NK"}


def test_counts_are_overdispersed_by_the_dispersion_asked_for():
    # Of one type and one gene, given the library l: variance = mean + dispersion * mean^2, so that
    # E[(n^2 - n) / l^2] = (1 + dispersion) p^2. The gradients and the random library add to it alike at any dispersion.
    moments = []
    for dispersion in (0.01, 2.0):
        cells = make_single_cell_counts(
            n_samples=20_000, n_features=60, library_size=6000, dispersion=dispersion, random_state=0
        )
        n = cells.data[cells.target == 0][:, [int(cells.data.sum(axis=0).argmax())]].toarray().astype(float)
        moments.append((n**2 - n).mean() / n.mean() ** 2)
    assert moments[1] > 1.5 * moments[0]


def test_batches_shift_genes():
    cells = make_single_cell_counts(
        n_samples=3000, n_features=100, library_size=2000, n_batches=2, batch_effect=1.0, random_state=0
    )
    assert set(cells.batch) == {0, 1}
    profiles = np.array([np.asarray(cells.data[cells.batch == b].mean(axis=0)).ravel() for b in (0, 1)])
    log_ratio = np.log(profiles[1] / profiles[0])
    assert 1.0 < log_ratio.std() < 2.0  # two log factors of standard deviation 1


def test_the_seed_makes_the_simulation():
    first, second, other = (make_single_cell_counts(n_samples=30, n_features=60, random_state=s) for s in (0, 0, 1))
    assert (first.data != second.data).nnz == 0
    assert (first.data != other.data).nnz > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "'n_samples' parameter of make_single_cell_counts"),
        ({"n_features": 59}, "'n_features' parameter of make_single_cell_counts"),
        ({"library_size": 0.0}, "'library_size' parameter of make_single_cell_counts"),
        ({"n_batches": 0}, "'n_batches' parameter of make_single_cell_counts"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_single_cell_counts(**parameters)


# Planted programs


@pytest.fixture(scope="module")
def planted():
    return make_factor_counts(n_samples=4000, n_features=500, library_size=2000, random_state=0)


def test_planted_counts_are_sparse_integers_with_names(planted):
    assert planted.data.shape == (4000, 500)
    assert planted.data.format == "csr"
    assert planted.data.dtype == np.float32
    assert (planted.data.data == np.rint(planted.data.data)).all()
    assert len(set(planted.feature_names)) == 500
    totals = planted.data.sum(axis=1)
    assert abs(totals.mean() - 2000) < 4 * totals.std() / 4000**0.5


def test_cells_use_two_programs_each_as_often_at_a_mean_level_of_one(planted):
    used = planted.factors > 0
    assert (used.sum(axis=1) == 2).all()
    # two of eight without replacement: a quarter of the cells use a program
    standard_error = np.sqrt(0.25 * 0.75 / 4000)
    assert (np.abs(used.mean(axis=0) - 0.25) < 4 * standard_error).all()
    levels = planted.factors[used]
    assert abs(levels.mean() - 1) < 4 * 0.5 / len(levels) ** 0.5
    assert abs(levels.std() - 0.5) < 0.03


def test_programs_raise_genes_of_their_own(planted):
    assert ((planted.loadings > 0).sum(axis=1) == 40).all()
    assert (planted.loadings >= 0).all()
    assert ((planted.loadings > 0).sum(axis=0) <= 1).all()
    raised = planted.loadings[planted.loadings > 0]
    assert abs(raised.mean() - 1.5) < 4 * 0.5 / 320**0.5
    assert not any(name.startswith(("MT-", "RPL")) for name in planted.feature_names[planted.loadings.any(axis=0)])


def test_mean_counts_follow_the_formula(planted):
    share = np.exp(planted.log_expression + planted.factors @ planted.loadings)
    share /= share.sum(axis=1, keepdims=True)
    # given the totals l, of which log-normal ones have the mean 2000: l p of each gene, in the cells that use a program
    for factor, loading in zip(planted.factors.T, planted.loadings, strict=True):
        counts = planted.data[factor > 0][:, loading > 0].sum(axis=0)
        expected = 2000 * share[factor > 0][:, loading > 0].sum(axis=0)
        assert abs(counts.sum() / expected.sum() - 1) < 0.06
        assert np.corrcoef(np.log(counts), np.log(expected))[0, 1] > 0.99


def test_programs_of_no_strength_change_nothing():
    cells = make_factor_counts(n_samples=10, n_features=500, strength=0, random_state=0)
    assert not cells.loadings.any()
    assert cells.factors.any()


def test_no_cell_need_use_a_program():
    assert not make_factor_counts(n_samples=10, n_features=500, n_active=0, random_state=0).factors.any()


def test_the_seed_makes_the_planted_programs():
    first, second, other = (make_factor_counts(n_samples=30, n_features=400, random_state=s) for s in (0, 0, 1))
    assert (first.data != second.data).nnz == 0
    assert (first.factors == second.factors).all()
    assert (first.data != other.data).nnz > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_features": 300}, "n_features == 300, must be at least 335: .* == 320 genes of programs and 15 others"),
        ({"n_active": 9}, "n_active == 9, must be at most n_factors == 8"),
        ({"strength": -1.0}, "'strength' parameter of make_factor_counts"),
        ({"n_factors": 0}, "'n_factors' parameter of make_factor_counts"),
    ],
)
def test_bad_parameters_of_programs_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_factor_counts(**parameters)


# PBMC 3k


@pytest.mark.pbmc
def test_pbmc3k_from_files_at_hand():
    cells = fetch_pbmc3k()
    assert cells.data.shape == (2638, 13714)
    assert cells.data.format == "csr"
    assert cells.data.dtype == np.float32
    assert cells.data.nnz == 2_238_732
    assert cells.data.max() == 419
    assert (cells.data.data == np.rint(cells.data.data)).all()
    sizes = dict(zip(cells.target_names.tolist(), np.bincount(cells.target).tolist(), strict=True))
    assert sizes == datasets.CELL_TYPES
    assert cells.feature_names[0] == "AL627309.1"
    assert cells.cell_names[0] == "AAACATACAACCAC"
    # of the first cell, as the meta data of the source have it
    assert cells.data[[0]].sum() == 2419


@pytest.mark.pbmc
def test_pbmc3k_markers_are_highest_in_their_type():
    cells = fetch_pbmc3k()
    for gene, cell_type in (("MS4A1", "B"), ("PPBP", "Platelet"), ("GNLY", "NK"), ("FCER1A", "DC")):
        shares = expression(cells, gene)
        assert max(shares, key=shares.get) == cell_type


@pytest.mark.parametrize("package", ["pooch", "rdata"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"fetch_pbmc3k needs {package}: pip install \"skvae\[data\]\""):
        fetch_pbmc3k()
