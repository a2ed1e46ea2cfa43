"""Labels of samples: the categories that are told apart, their colours, and the samples that have none."""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, check_consistent_length, column_or_1d

# Paul Tol's "muted" scheme: distinct also for colour-blind readers. Labels beyond nine begin again, with other markers.
COLORS = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
MARKERS = "o^sDv*PX"
MISSING = "lightgray"


def categories_of(labels):
    """Return the categories of a pandas Categorical or a Series of one, None of other labels."""
    return getattr(getattr(labels, "cat", labels), "categories", None)


def index_labels(labels, names, Z):
    """Return the index of each label among the names, -1 for a missing one, and the names; see `plot_embedding`."""
    if names is None:
        names = categories_of(labels)
    labels = column_or_1d(labels)
    check_consistent_length(Z, labels)
    present = np.array([not is_missing(label) for label in labels.tolist()], dtype=bool)
    index = np.full(len(labels), -1)
    labels = labels[present]
    if names is None:
        names, index[present] = np.unique(labels, return_inverse=True)
    elif labels.dtype.kind in "iu" and np.asarray(names).dtype.kind not in "iu":
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise ValueError(f"labels has {labels.min()} to {labels.max()}, must be indices of the {len(names)} names.")
        index[present] = labels
    else:
        places = {name: index for index, name in enumerate(names)}
        unknown = sorted(set(labels.tolist()) - set(places), key=str)
        if unknown:
            raise ValueError(f"labels has {unknown}, must be among the names {list(names)}.")
        index[present] = [places[label] for label in labels.tolist()]
    return index, names


def is_missing(label):
    """Return whether a label is None, NaN, or pandas' NA, of which not even this is known."""
    same = label == label
    return label is None or not isinstance(same, (bool, np.bool_)) or not same


def check_dense(Z, ensure_min_samples=1):
    """Return an array of the embedded samples, which may be sparse."""
    Z = check_array(Z, accept_sparse=True, ensure_min_samples=ensure_min_samples, input_name="Z")
    return Z.toarray() if issparse(Z) else Z
