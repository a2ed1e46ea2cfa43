import numpy as np
import pytest
from scipy import sparse
from scipy.stats import entropy

from skvae import clustering_report, sparsity

TRUE = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
FOUND = np.array([0, 0, 1, 1, 1, 1, 2, 2, 0, 2])


def test_perfect_clusters_score_one_whatever_their_names():
    assert clustering_report(TRUE, (TRUE + 1) % 3) == pytest.approx(
        dict.fromkeys(["nmi", "nmi_geometric", "ari", "homogeneity", "completeness"], 1.0)
    )


def test_scores_are_their_formulas():
    joint = np.zeros((3, 3))
    np.add.at(joint, (TRUE, FOUND), 1 / len(TRUE))
    h_true, h_found, h_joint = entropy(joint.sum(axis=1)), entropy(joint.sum(axis=0)), entropy(joint.ravel())
    information = h_true + h_found - h_joint
    report = clustering_report(TRUE, FOUND)
    assert report["nmi"] == pytest.approx(2 * information / (h_true + h_found))
    assert report["nmi_geometric"] == pytest.approx(information / np.sqrt(h_true * h_found))
    assert report["homogeneity"] == pytest.approx(information / h_true)
    assert report["completeness"] == pytest.approx(information / h_found)
    pairs = np.triu_indices(len(TRUE), 1)
    same_true, same_found = (np.equal.outer(labels, labels)[pairs] for labels in (TRUE, FOUND))
    expected = same_true.mean() * same_found.mean()
    ari = ((same_true & same_found).mean() - expected) / ((same_true.mean() + same_found.mean()) / 2 - expected)
    assert report["ari"] == pytest.approx(ari)


def test_labels_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="inconsistent"):
        clustering_report(TRUE, FOUND[1:])


def test_sparsity_counts_active_dimensions_and_follows_hoyers_formula():
    Z = np.array([[3.0, 0, -4, 0], [1, 1, 1, 1], [0, 0, 2, 0], [0, 0, 0, 0]])
    hoyer = [(2 - 7 / 5) / (2 - 1), 0, 1, 1]
    assert sparsity(Z) == pytest.approx({"active": (2 + 4 + 1 + 0) / 4, "hoyer": np.mean(hoyer)})
    assert sparsity(sparse.csr_array(Z)) == sparsity(Z)
    assert sparsity(-5 * Z) == pytest.approx(sparsity(Z))


def test_sparsity_of_one_dimension_is_an_error():
    with pytest.raises(ValueError, match=r"1 feature\(s\) .* while a minimum of 2 is required"):
        sparsity(np.ones((3, 1)))
