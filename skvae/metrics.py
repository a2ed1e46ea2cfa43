"""Metrics of an embedding."""

from sklearn.metrics import (
    adjusted_rand_score,
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
)


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
