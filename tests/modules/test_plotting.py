import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch

from skvae import BetaVAE
from skvae.plotting import (
    COLORS,
    make_figure,
    plot_activation,
    plot_clusters,
    plot_embedding,
    plot_history,
    plot_loadings,
    plot_scores,
    plot_traversal,
)

LABELS = np.repeat([0, 1, 2], [5, 3, 2])
NAMES = ["B", "NK", "DC"]
Z = np.random.default_rng(0).normal(size=(10, 3))


def axes_of(n_columns=1, **options):
    return make_figure(1, n_columns, **options)[1][0]


@pytest.mark.parametrize(("n_dimensions", "projection"), [(2, None), (3, "3d")])
def test_an_embedding_has_the_points_of_each_type_in_its_colour(n_dimensions, projection):
    [ax] = axes_of(projection=projection)
    artists = plot_embedding(ax, Z[:, :n_dimensions], LABELS, NAMES)
    assert [artist.get_label() for artist in artists] == NAMES
    assert [len(artist.get_offsets()) for artist in artists] == [5, 3, 2]
    colors = [to_hex(artist.get_facecolor()[0]).upper() for artist in artists]
    assert colors == list(COLORS[:3])


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (np.array(["b", "a", "b"]), None, {"a": 1, "b": 2}),
        (["b", "a", "b"], ["b", "c", "a"], {"b": 2, "c": 0, "a": 1}),
        (pd.Series(["b", "a", "b"]).astype(pd.CategoricalDtype(["b", "a"])), None, {"b": 2, "a": 1}),
        (pd.Categorical(["b", "a", "b"], ["c", "b", "a"]), None, {"c": 0, "b": 2, "a": 1}),
        (np.array([7, 3, 7]), None, {"3": 1, "7": 2}),
        (np.array([7, 3, 7]), [7, 3], {"7": 2, "3": 1}),
        (np.array([1, 0, 1]), ["a", "b", "c"], {"a": 1, "b": 2, "c": 0}),
        ([True, False, True], None, {"False": 1, "True": 2}),
        (pd.Categorical([0.5, 1.0, 0.5]), None, {"0.5": 2, "1.0": 1}),
        ([["b"], ["a"], ["b"]], None, {"a": 1, "b": 2}),
    ],
)
def test_categories_keep_their_order_in_legend_and_colours(labels, names, expected):
    [ax] = axes_of()
    artists = plot_embedding(ax, Z[:3, :2], labels, names)
    assert {artist.get_label(): len(artist.get_offsets()) for artist in artists} == expected
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(expected)
    assert [to_hex(artist.get_edgecolor()[0]).upper() for artist in artists if len(artist.get_offsets())] == [
        COLORS[place] for place, n_points in enumerate(expected.values()) if n_points
    ]


def test_numbers_are_on_a_colour_scale_with_a_bar_and_the_largest_on_top():
    [ax] = axes_of()
    [points] = plot_embedding(ax, Z[:3, :2], np.array([0.5, 9.0, -1.0]))
    np.testing.assert_array_equal(points.get_array(), [-1, 0.5, 9])
    np.testing.assert_array_equal(points.get_offsets(), Z[[2, 0, 1], :2])
    assert points.get_clim() == (-1, 9)
    assert points.colorbar is not None
    assert plot_embedding(axes_of()[0], Z[:3, :2], np.array([0.5, 9.0, -1.0]), legend=False)[0].colorbar is None


def test_without_labels_there_is_one_colour_and_no_legend():
    [ax] = axes_of()
    [points] = plot_embedding(ax, Z[:, :2])
    assert len(points.get_offsets()) == 10
    assert ax.get_legend() is None


def test_twenty_categories_differ_in_colour_or_marker():
    artists = plot_embedding(axes_of()[0], np.zeros((20, 2)), np.arange(20))
    looks = {(to_hex(artist.get_facecolor()[0]), artist.get_paths()[0].vertices.tobytes()) for artist in artists}
    assert len(looks) == 20


def test_many_points_are_a_bitmap():
    for n_points, expected in ((20_000, False), (20_001, True)):
        [artist] = plot_embedding(axes_of()[0], np.zeros((n_points, 2)))
        assert artist.get_rasterized() == expected


MISSING_LABELS = {
    "None": ["b", None, "a"],
    "NaN": np.array(["b", np.nan, "a"], dtype=object),
    "pandas' NA": pd.Series(["b", None, "a"], dtype="string"),
    "pandas categorical": pd.Series(["b", None, "a"]).astype("category"),
    "categorical of numbers": pd.Categorical([2, None, 1]),
}


@pytest.mark.parametrize("labels", MISSING_LABELS.values(), ids=MISSING_LABELS)
def test_points_without_a_label_are_grey(labels):
    [ax] = axes_of()
    artists = plot_embedding(ax, Z[:3, :2], labels)
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:] == ["missing"]
    np.testing.assert_allclose([artist.get_offsets()[0] for artist in artists], Z[[2, 0, 1], :2])
    assert to_hex(artists[2].get_facecolor()[0]) == to_hex("lightgray")


@pytest.mark.parametrize("labels", [np.array([3.0, np.nan, -1.0]), pd.Series([3.0, None, -1.0], dtype="Float64")])
def test_points_without_a_number_are_grey_and_below_the_others(labels):
    [artist] = plot_embedding(axes_of()[0], Z[:3, :2], labels)
    np.testing.assert_allclose(artist.get_offsets(), Z[[1, 2, 0], :2])
    artist.update_scalarmappable()
    assert to_hex(artist.get_facecolor()[0]) == to_hex("lightgray")


@pytest.mark.parametrize("labels", [np.zeros(4), ["a"] * 4, np.zeros(4, dtype=int)])
def test_labels_of_another_length_are_an_error(labels):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 4\]"):
        plot_embedding(axes_of()[0], Z[:3, :2], labels)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[3, 4\]"):
        plot_activation(axes_of()[0], Z[:3], ["a"] * 4)


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (LABELS + 1, None, {"1": 5, "2": 3, "3": 2}),
        (LABELS, [2, 0, 1], {"2": 2, "0": 5, "1": 3}),
        (np.array(["a"] * 5 + [None] * 5), None, {"a": 5, "missing": 5}),
    ],
)
def test_types_of_any_labels_stand_beside_their_clusters(labels, names, expected):
    n_types = len(expected)
    artists = plot_clusters(axes_of(2), Z[:, :2], labels, LABELS, names=names)
    assert {artist.get_label(): len(artist.get_offsets()) for artist in artists[:n_types]} == expected
    assert sorted(len(artist.get_offsets()) for artist in artists[n_types:]) == [2, 3, 5]
    # the cluster that is the type "0", "1" or "a" has its colour
    assert to_hex(artists[list(expected.values()).index(5)].get_facecolor()[0]) in {
        to_hex(artist.get_facecolor()[0]) for artist in artists[n_types:] if len(artist.get_offsets()) == 5
    }


@pytest.mark.parametrize(
    ("points", "projection", "labels", "names", "message"),
    [
        (np.zeros((3, 4)), None, None, None, r"Z has the shape \(3, 4\), must have 2 or 3 columns"),
        (np.zeros((3, 3)), None, None, None, "Z has 3 columns, but the Axes are rectilinear"),
        (np.zeros((3, 2)), "3d", None, None, "Z has 2 columns, but the Axes are 3d"),
        (np.zeros((3, 2)), None, ["a", "b", "c"], ["a", "b"], r"labels has \['c'\], must be among the names"),
        (np.zeros((3, 2)), None, [0, 1, 2], ["a", "b"], "labels has 0 to 2, must be indices of the 2 names"),
    ],
)
def test_what_cannot_be_drawn_is_named(points, projection, labels, names, message):
    [ax] = axes_of(projection=projection)
    with pytest.raises(ValueError, match=message):
        plot_embedding(ax, points, labels, names)
    assert not ax.collections


def test_a_cluster_takes_the_colour_of_its_type():
    axes = axes_of(2)
    clusters = np.array([2, 2, 2, 2, 0, 0, 0, 0, 1, 1])  # types 0, 1, 2 are clusters 2, 0, 1 but for one point
    centroids = np.arange(6).reshape(3, 2)
    *points, crosses = plot_clusters(axes, Z[:, :2], LABELS, clusters, centroids, NAMES)
    assert [len(artist.get_offsets()) for artist in points] == [5, 3, 2, 4, 4, 2]
    np.testing.assert_array_equal(crosses.get_offsets(), centroids)
    assert [ax.get_title() for ax in axes] == ["known types", "clusters"]
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == NAMES


def test_more_clusters_than_types_and_fewer_can_be_drawn():
    for clusters in (np.arange(10) % 5, np.zeros(10, dtype=int)):
        n_clusters = clusters.max() + 1
        artists = plot_clusters(axes_of(2), Z[:, :2], LABELS, clusters, np.zeros((n_clusters, 2)), NAMES)
        assert sum(len(artist.get_offsets()) for artist in artists[3:-1]) == 10


def test_a_heat_map_shows_its_values_and_names():
    scores = np.array([[0.1, 0.9], [0.25, 1.0], [0.0, 0.5]])
    [ax] = axes_of()
    image, *texts = plot_scores(ax, scores, ["a", "b", "c"], ["NMI", "ARI"])
    np.testing.assert_array_equal(image.get_array(), scores)
    assert image.get_clim() == (0, 1)
    assert [text.get_text() for text in texts] == ["0.10", "0.90", "0.25", "1.00", "0.00", "0.50"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["NMI", "ARI"]


def test_training_curves_have_a_point_an_epoch():
    history = {
        "reconstruction": np.array([9.0, 5.0, 4.0]),
        "kl": np.array([0.0, 1.0, 2.0]),
        "kl_weight": np.array([0.2, 1.0, 1.0]),
        "active": np.array([0, 2, 2]),
    }
    [ax] = axes_of()
    reconstruction, kl, active, warm_up = plot_history(ax, history)
    np.testing.assert_array_equal(reconstruction.get_xydata(), [[1, 9], [2, 5], [3, 4]])
    np.testing.assert_array_equal(kl.get_xydata(), [[1, 0], [2, 1], [3, 2]])
    np.testing.assert_array_equal(active.get_xydata(), [[1, 0], [2, 2], [3, 2]])
    span = warm_up.get_window_extent().transformed(ax.transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((0.5, 1.5))
    assert len(ax.get_legend().get_texts()) == 4


def test_held_out_rows_have_a_curve(X):
    vae = BetaVAE(2, kl_warmup=0, max_epochs=3, random_state=0).fit(X[:90], X_val=X[90:])
    _, validation, _, _ = plot_history(axes_of()[0], vae.history_)
    np.testing.assert_array_equal(validation.get_ydata(), vae.history_["validation"])


def test_training_without_a_warm_up_has_none_drawn(X):
    vae = BetaVAE(2, kl_warmup=0, max_epochs=3, random_state=0).fit(X)
    assert len(plot_history(axes_of()[0], vae.history_)) == 3


def test_mean_activations_are_those_of_the_samples_of_each_label():
    Z = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, -4.0]])
    image = plot_activation(axes_of()[0], Z, np.array([0, 0, 1]), ["B", "NK"])
    np.testing.assert_array_equal(image.get_array(), [[2, 0], [0, -4]])
    assert image.get_clim() == (-4, 4)
    assert plot_activation(axes_of()[0], np.abs(Z), ["B", "B", "NK"]).get_clim() == (0, 4)


def test_bars_are_the_loadings_of_the_dimension_with_the_first_on_top():
    names, loadings = np.array([["a", "b"], ["c", "d"]]), np.array([[3.0, -1.0], [-5.0, 2.0]])
    features = Bunch(names=names, loadings=loadings, quantity="E[x|z]")
    [ax] = axes_of()
    bars = plot_loadings(ax, features, 1)
    assert [bar.get_width() for bar in bars] == [-5, 2]
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == [COLORS[1], COLORS[0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c", "d"]
    assert ax.yaxis_inverted()
    assert ax.get_xlabel() == "change of E[x|z] per unit of z"


def test_a_traversal_decodes_the_dimension_alone(X):
    vae = BetaVAE(2, max_epochs=3, random_state=0).fit(X)
    embedded = vae.transform(X)
    names = [f"gene{i}" for i in range(X.shape[1])]
    [ax] = axes_of()
    lines = plot_traversal(ax, vae, embedded, 1, feature_names=names, n_top=4)
    low, high = np.percentile(embedded[:, 1], [1, 99])
    mean = embedded.mean(axis=0)
    ends = vae.inverse_transform([[mean[0], low], [mean[0], high]]) - vae.inverse_transform([mean])
    for line in lines:
        feature = names.index(line.get_label())
        np.testing.assert_allclose(line.get_xdata()[[0, -1]], [low, high])
        np.testing.assert_allclose(line.get_ydata()[[0, -1]], ends[:, feature], atol=1e-6)
    ranges = [np.ptp(line.get_ydata()) for line in lines]
    assert ranges == sorted(ranges, reverse=True)
    assert len(lines) == 4


def test_a_traversal_of_counts_is_on_the_scale_of_the_loadings(cells):
    vae = BetaVAE(2, likelihood="nb", max_epochs=3, random_state=0).fit(cells.data)
    [ax] = axes_of()
    embedded = vae.transform(cells.data)
    line, *_ = plot_traversal(ax, vae, embedded, 0)
    way, mean = line.get_xdata(), embedded.mean(axis=0)
    decoded = np.log1p(vae.inverse_transform([[way[0], mean[1]], mean]))[:, int(line.get_label().removeprefix("x"))]
    assert line.get_ydata()[0] == pytest.approx(decoded[0] - decoded[1], abs=1e-6)
    assert ax.get_ylabel() == "change of log1p(E[x|z])"


def test_a_traversal_is_on_the_scale_of_the_likelihood_that_was_trained(cells, X):
    for trained, later, data in (("nb", "gaussian", cells.data), ("gaussian", "nb", X)):
        vae = BetaVAE(2, likelihood=trained, max_epochs=3, random_state=0).fit(data)
        [expected_ax], [ax] = axes_of(), axes_of()
        expected = plot_traversal(expected_ax, vae, vae.transform(data), 0)
        lines = plot_traversal(ax, vae.set_params(likelihood=later), vae.transform(data), 0)
        assert ax.get_ylabel() == expected_ax.get_ylabel()
        assert ("log1p" in ax.get_ylabel()) == (trained == "nb")
        for line, other in zip(lines, expected, strict=True):
            np.testing.assert_array_equal(line.get_xydata(), other.get_xydata())


def test_a_traversal_of_a_model_that_is_not_fitted_is_an_error():
    with pytest.raises(NotFittedError):
        plot_traversal(axes_of()[0], BetaVAE(), Z, 0)


def test_sparse_codes_are_drawn():
    code = sparse.csr_array(Z[:, :2])
    [artist] = plot_embedding(axes_of()[0], code)
    np.testing.assert_allclose(artist.get_offsets(), Z[:, :2])
    expected = plot_activation(axes_of()[0], Z[:, :2], LABELS).get_array()
    np.testing.assert_array_equal(plot_activation(axes_of()[0], code, LABELS).get_array(), expected)


def test_a_history_of_one_epoch_is_seen(X):
    vae = BetaVAE(2, max_epochs=1, random_state=0).fit(X)
    reconstruction, *_ = plot_history(axes_of()[0], vae.history_)
    assert reconstruction.get_marker() == "o"
