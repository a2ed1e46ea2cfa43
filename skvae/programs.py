"""Sparse programs: the axes of a factor analysis, turned to where each row uses few of them, and none is negative.

The likelihood of a factor analysis is the same for any rotation of its axes, but codes that are sparse are so along
some alone: those along which the fourth powers of the codes are largest (varimax, Kaiser 1958, of the codes in the
place of the loadings; Rohe & Zeng 2020, "Vintage factor analysis with varimax performs statistical inference",
arXiv:2004.05387).
"""

import numpy as np
from scipy.optimize import nnls

# Passes of `varimax`, and the share of its criterion by which the last of them gain less.
N_TURNS, MIN_GAIN = 500, 1e-8

# Least squared length of a code, and share of the Gram matrix added to its diagonal, of codes that are all zero.
TINY = 1e-12


def sparse_rotation(codes):
    """Return a rotation (J, J) such that codes @ rotation are sparse, each with its longer tail on the positive side.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, J)
        Uncorrelated, of mean 0.
    """
    rotation, before = np.eye(codes.shape[1]), 0.0
    for _ in range(N_TURNS):
        turned = codes @ rotation
        left, sizes, right = np.linalg.svd(codes.T @ (turned**3 - turned * np.square(turned).mean(axis=0)))
        rotation = left @ right
        if sizes.sum() <= before * (1 + MIN_GAIN):
            break
        before = sizes.sum()
    return rotation * np.where(((codes @ rotation) ** 3).sum(axis=0) < 0, -1, 1)


def modes(codes):
    """Return the half-sample mode of each column, (J,): where the codes of rows that do not use a program lie.

    The densest half of the densest half, and so on (Bickel & Fruehwirth 2006, "On a fast, robust estimator of the
    mode", Computational Statistics & Data Analysis 50).
    """
    part = np.sort(codes, axis=0)
    while len(part) > 2:
        size = (len(part) + 1) // 2
        lengths = part[size - 1 :] - part[: len(part) - size + 1]
        rows = lengths.argmin(axis=0) + np.arange(size)[:, np.newaxis]
        part = np.take_along_axis(part, rows, axis=0)
    return part.mean(axis=0)


def nonnegative_loadings(gram, products):
    """Return W >= 0, (D, J), for which X is nearest to a constant and codes @ W'.

    Parameters
    ----------
    gram : ndarray of shape (J, J)
        Covariances of the codes.
    products : ndarray of shape (D, J)
        Covariances of the features of X and the codes.
    """
    root = np.linalg.cholesky(gram + TINY * np.eye(len(gram)))
    targets = np.linalg.solve(root, products.T).T
    return np.array([nnls(root.T, target)[0] for target in targets])
