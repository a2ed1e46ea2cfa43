"""Metrics of an embedding."""

import numpy as np
from scipy import sparse
from sklearn.metrics import (
    adjusted_rand_score,
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
)
from sklearn.utils import check_array


def clustering_report(labels_true, labels_pred):
    """Compare clusters with known types, by the metrics of the report.

    Parameters
    ----------
    labels_true : array-like of shape (n_samples,)
        Known types.
    labels_pred : array-like of shape (n_samples,)
        Clusters.

    Returns
    -------
    scores : dict of str to float
        Higher is better, 1 is perfect:

        - `"nmi"`: normalised mutual information in [0, 1], with the arithmetic mean of the entropies (scikit-learn's
          default);
        - `"nmi_geometric"`: the same with the geometric mean, as in the report;
        - `"ari"`: adjusted Rand index in [-0.5, 1], 0 for random clusters;
        - `"homogeneity"`: in [0, 1], 1 if each cluster holds one type only;
        - `"completeness"`: in [0, 1], 1 if each type lies in one cluster only.

    Raises
    ------
    ValueError
        If the two differ in length.

    References
    ----------
    Vinh, Epps & Bailey 2010, "Information theoretic measures for clusterings comparison", JMLR 11 (NMI, ARI).
    Rosenberg & Hirschberg 2007, "V-measure", EMNLP-CoNLL (homogeneity, completeness).

    Examples
    --------
    >>> from skvae import clustering_report
    >>> round(clustering_report(["B", "B", "NK", "NK"], [0, 0, 1, 2])["completeness"], 2)
    0.67
    """
    pair = labels_true, labels_pred
    return {
        "nmi": float(normalized_mutual_info_score(*pair)),
        "nmi_geometric": float(normalized_mutual_info_score(*pair, average_method="geometric")),
        "ari": float(adjusted_rand_score(*pair)),
        "homogeneity": float(homogeneity_score(*pair)),
        "completeness": float(completeness_score(*pair)),
    }


def sparsity(Z):
    """Measure how sparse the codes of samples are.

    Parameters
    ----------
    Z : {array-like, sparse matrix} of shape (n_samples, n_components)
        Codes, such as those of `BetaVSC(code="sparse")`, whose inactive dimensions are exactly zero.

    Returns
    -------
    scores : dict of str to float
        Means over samples:

        - `"active"`: number of dimensions that are not zero, in [0, n_components], lower is sparser;
        - `"hoyer"`: Hoyer's measure (sqrt(J) - ||z||_1 / ||z||_2) / (sqrt(J) - 1) with J dimensions, in [0, 1], higher
          is sparser: 0 if all are equal in size, 1 if at most one is not zero, as in a sample that is zero throughout.

    Raises
    ------
    ValueError
        If Z has fewer than two columns: one dimension is neither sparse nor dense.

    References
    ----------
    Hoyer 2004, "Non-negative matrix factorization with sparseness constraints", JMLR 5.

    Examples
    --------
    >>> from skvae import sparsity
    >>> sparsity([[1.0, -1.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]])["active"]
    1.5
    """
    Z = check_array(Z, accept_sparse="csr", dtype=np.float64, ensure_min_features=2, input_name="Z")
    size = abs(sparse.csr_array(Z))
    root = np.sqrt(Z.shape[1])
    l1, l2 = size.sum(axis=1), np.sqrt(size.power(2).sum(axis=1))
    # the ratio of a zero row, 0 / 0, is that of a row with one active dimension
    ratio = np.divide(l1, l2, out=np.ones_like(l1), where=l2 > 0)
    return {
        "active": float((size > 0).sum() / len(l1)),
        "hoyer": float(np.mean((root - ratio) / (root - 1))),
    }
