import numpy as np
import pytest
from matplotlib.colors import to_hex

from skvae.plotting import (
    COLORS,
    make_figure,
    plot_activation,
    plot_clusters,
    plot_embedding,
    plot_history,
    plot_scores,
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


def test_an_embedding_of_four_dimensions_is_an_error():
    with pytest.raises(ValueError, match="Z has 4 columns, must have 2 or 3"):
        plot_embedding(axes_of()[0], np.zeros((10, 4)), LABELS, NAMES)


def test_a_cluster_takes_the_colour_of_its_type():
    axes = axes_of(2)
    clusters = np.array([2, 2, 2, 2, 0, 0, 0, 0, 1, 1])  # types 0, 1, 2 are clusters 2, 0, 1 but for one point
    centroids = np.arange(6).reshape(3, 2)
    *points, crosses = plot_clusters(axes, Z[:, :2], LABELS, NAMES, clusters, centroids)
    assert [len(artist.get_offsets()) for artist in points] == [5, 3, 2, 4, 4, 2]
    np.testing.assert_array_equal(crosses.get_offsets(), centroids)
    assert [ax.get_title() for ax in axes] == ["known types", "k-means"]


def test_more_clusters_than_types_and_fewer_can_be_drawn():
    for clusters in (np.arange(10) % 5, np.zeros(10, dtype=int)):
        n_clusters = clusters.max() + 1
        artists = plot_clusters(axes_of(2), Z[:, :2], LABELS, NAMES, clusters, np.zeros((n_clusters, 2)))
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
    history = {"reconstruction": np.array([9.0, 5.0, 4.0]), "kl": np.array([0.0, 1.0, 2.0])}
    [ax] = axes_of()
    reconstruction, kl = plot_history(ax, history)
    np.testing.assert_array_equal(reconstruction.get_xydata(), [[1, 9], [2, 5], [3, 4]])
    np.testing.assert_array_equal(kl.get_xydata(), [[1, 0], [2, 1], [3, 2]])


def test_mean_activations_are_those_of_the_samples_of_each_label():
    Z = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, -4.0]])
    image = plot_activation(axes_of()[0], Z, np.array([0, 0, 1]), ["B", "NK"])
    np.testing.assert_array_equal(image.get_array(), [[2, 0], [0, -4]])
    assert image.get_clim() == (-4, 4)
