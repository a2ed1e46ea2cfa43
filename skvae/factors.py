"""Factor analysis: the linear model that an autoencoder starts from, in closed form.

With one noise variance psi_d a feature, the model x = m + L z + noise has its optimum at

    (X - m) / sqrt(psi) = U s V',   lambda = s^2 / n,   L = sqrt(psi) V sqrt(l2),   l2 = lambda - 1
    q(z|x) = N(A (x - m), C),       A = C L' / psi,     C = 1 / (1 + l2)

(Tipping & Bishop 1999, "Probabilistic principal component analysis", J. R. Stat. Soc. B 61). It is a variational
autoencoder whose encoder and decoder are linear, at its maximum. Of few rows the lambda are too large: `strengths`
corrects them by what X has left once each column is shuffled by itself (parallel analysis, Horn 1965).

All is computed in float64, on one thread and from a fixed seed, so that the same rows give the same bits.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import pinvh

from skvae.covariances import Whitened, covariance_of, inverse

# Vectors that the iteration carries beyond those asked for, and its passes over the rows: first, and in each round.
N_EXTRA = 10
N_FIRST, N_NEXT = 5, 2

# Rounds in which the noise follows what the axes leave unexplained.
N_ROUNDS = 2

# The noise that each feature has at least, as a share of the mean variance; and others: 0 where features of unlike
# units hide each other, more where many rare ones do. One of these is taken where with it X has so many times more
# structure, and nats, judged on so many rows: fewer do not show the structure of rare features.
NOISE_FLOOR, OTHER_FLOORS = 0.3, (0.0, 3.0, 10.0)
MIN_GAIN, MIN_STRUCTURE, N_COMPARED = 1.5, 0.1, 800

# Least share of a feature's variance that is noise; and the share of its mean square, and the variance that float32 can
# weigh, under which it is constant.
MIN_NOISE = 0.01
MIN_VARIATION, MIN_VARIANCE = 1e-9, 1e-38

# Share of the largest lambda under which one is rounding.
MIN_SHARE = 1e-12

# Share by which elements of an axis that are equal but for rounding may differ.
MAX_ROUNDING = 1e-6

# How much larger than the largest lambda of shuffled columns that of noise may be by chance, and the elements up to
# which the columns are shuffled one by one.
EDGE_MARGIN, MAX_SORTED = 1.1, 2**20

# Mean KL, in nats, at which an axis starts that does not stand above noise.
NOISE_KL = 0.005

# For the loadings of a likelihood that is not Gaussian: rows, Newton steps, the weight of the L2 penalty, the largest
# change of a logit or log rate in a step, and the elements of a block.
N_REGRESSED, N_NEWTON, RIDGE, MAX_STEP = 2000, 6, 10.0, 2.0
MAX_ELEMENTS = 2**22

# Bounds of the dispersions of counts, and the sum of squared means from which that of a feature outweighs the usual
# one.
DISPERSIONS, N_PRIOR = (1e-3, 1e2), 10.0


@dataclass(frozen=True)
class FactorAxes:
    """The axes of a factor analysis, those that explain most first.

    Parameters
    ----------
    mean : ndarray of shape (D,)
    effects : ndarray of shape (C, D)
        By how much each covariate moves the mean.
    noise : ndarray of shape (D,)
        psi, what the axes leave of the variance of each feature.
    floor : float
        What each feature has at least of it, as a share of their mean variance.
    encoding : ndarray of shape (D, J)
        Map from x - m to the axes, along which the rows seen have variance 1. The largest element of each is positive.
    loadings : ndarray of shape (D, J)
        x - m along each axis where it is one deviation of its noise long.
    variances : ndarray of shape (J,)
        lambda, the variance along each axis in units of its noise.
    edges : ndarray of shape (J,)
        The largest lambda of X with each column shuffled.
    total : float
        Sum of all lambda.
    """

    mean: np.ndarray
    effects: np.ndarray
    noise: np.ndarray
    floor: float
    encoding: np.ndarray
    loadings: np.ndarray
    variances: np.ndarray
    edges: np.ndarray
    total: float

    def strengths(self, beta=1.0):
        """Return l2 of each axis, (J,), at a weight beta of the KL term: what the axis explains of rows not seen."""
        return np.maximum(shrink(self.variances, self.edges) + 1 - beta, 2 * NOISE_KL / np.maximum(self.variances, 1))


def shrink(variances, edge):
    """Return the l2 that the axes explain of new rows.

    Of n rows with D features of noise alone the largest lambda is (1 + sqrt(D / n))^2, and an axis of strength l2 is
    seen as lambda = (1 + l2) (1 + g / l2), at an angle of which l2 keeps (l2^2 - g) / (l2 + g), with g = D / n (Baik &
    Silverstein 2006, "Eigenvalues of large sample covariance matrices of spiked population models"). Here g follows
    from the edge.
    """
    g = np.maximum(np.sqrt(edge) - 1, 0.0) ** 2
    half = (variances - 1 - g) / 2
    seen = half + np.sqrt(np.maximum(half**2 - g, 0))
    above = variances > np.maximum(edge, 1.0)
    return np.where(above, (seen**2 - g) / np.where(above, seen + g, 1), 0.0)


def factor_analysis(X, covariates, groups, n_components, *, floor=None, keeps_effects=False):
    """Return the `FactorAxes` of rows.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, D)
    covariates : ndarray of shape (n_samples, C)
        Their effects on the mean are no part of the axes.
    groups : ndarray of int of shape (n_samples,)
        The axes are those that groups of rows share: see `SharedCovariance`.
    n_components : int
        J. FactorAxes beyond min(n_samples, D) are zero.
    floor : float >= 0, default=None
        The noise that each feature has at least, as a share of the mean variance. None for `choose_floor`.
    keeps_effects : bool, default=False
        Whether the axes may contain directions in which the covariates move the mean.
    """
    X = X.astype(np.float64)
    n_rows = X.shape[0]
    design = design_of(covariates)
    effects, variance = moments(X, design)
    share = floor
    if floor is None:
        share = choose_floor(X[np.linspace(0, n_rows - 1, min(n_rows, N_COMPARED)).astype(int)], n_components)
    floor = share * variance.mean()
    edge, _ = edge_of_noise(shuffle_columns(X), effects[0], weigh(variance, floor), directions_of_noise(X))
    left, V = variance, random_directions(X, n_components + N_EXTRA)
    for n_iter in (N_FIRST, *[N_NEXT] * N_ROUNDS):
        weights, noise = weigh(left, floor), np.maximum(left, floor)
        whitened = Whitened(X, design, effects, weights, keeps_effects=keeps_effects)
        variances, V = covariance_of(whitened, groups, n_components).leading(V, n_iter)
        squares = np.square(V.T[:n_components])
        # the features are weighted by more than their noise, so that along an axis it is less than 1
        along = squares @ (noise * inverse(weights))
        along = np.where(along > MAX_ROUNDING, along, 1)  # less is rounding: the axis is of constant features
        strengths = along * shrink(variances[:n_components] / along, edge / along)
        left = np.maximum(variance - weights * (strengths @ squares), MIN_NOISE * variance)
    variances = np.where(variances > MIN_SHARE * variances[0], variances, 0)  # rows of fewer dimensions have no others
    order = np.argsort(-variances[:n_components] / along, kind="stable")
    V, variances, along = V[:, order], variances[order], along[order]
    V = V * signs_of_largest(V)
    absent = n_components - len(order)
    widths = ((0, 0), (0, absent))
    return FactorAxes(
        mean=effects[0],
        effects=effects[1:],
        noise=np.maximum(left, floor),
        floor=share,
        encoding=np.pad(V * np.sqrt(inverse(weights))[:, np.newaxis] * np.sqrt(inverse(variances)), widths),
        loadings=np.pad(V * np.sqrt(weights)[:, np.newaxis] * np.sqrt(along), widths),
        variances=np.pad(variances / along, widths[1]),
        edges=np.pad(edge / along, widths[1], constant_values=1),
        total=(variance * inverse(np.maximum(left, floor))).sum(),
    )


def signs_of_largest(V):
    """Return the sign of the largest element of each column of V, the first of those that differ by rounding alone."""
    sizes = np.abs(V)
    largest = (sizes >= (1 - MAX_ROUNDING) * sizes.max(axis=0)).argmax(axis=0)
    return np.where(np.take_along_axis(V, largest[np.newaxis], axis=0)[0] < 0, -1, 1)


def weigh(variance, floor):
    """Return psi by which features are divided, 0 where they are constant: what is left of those is rounding."""
    return np.where(variance > 0, variance + floor, 0)


def choose_floor(X, n_components):
    """Return `NOISE_FLOOR`, or the one of the others with which there is much more structure in X.

    That is by how much the axes stand above noise: the mutual information of a linear code and X, in nats.
    """
    shuffled, constant = shuffle_columns(X), design_of(np.empty((X.shape[0], 0)))
    mean, variance = moments(X, constant)
    V, noise_V = random_directions(X, n_components + N_EXTRA), directions_of_noise(X)
    structure = {}
    for n_iter, floor in zip((N_FIRST, *[N_NEXT] * len(OTHER_FLOORS)), (NOISE_FLOOR, *OTHER_FLOORS), strict=True):
        weights = weigh(variance, floor * variance.mean())
        variances, V = Whitened(X, constant, mean, weights).leading(V, n_iter)
        edge, noise_V = edge_of_noise(shuffled, mean[0], weights, noise_V, n_iter)
        above = variances[:n_components] / max(edge, np.finfo(np.float64).tiny)
        structure[floor] = np.log(np.maximum(above, 1)).sum() / 2
    best = max(OTHER_FLOORS, key=structure.__getitem__)
    return best if structure[best] > MIN_GAIN * structure[NOISE_FLOOR] + MIN_STRUCTURE else NOISE_FLOOR


def edge_of_noise(shuffled, mean, weights, V, n_iter=N_FIRST):
    """Return the largest lambda to expect of X with each column shuffled by itself, and V after the iterations."""
    whitened = Whitened(shuffled, design_of(np.empty((shuffled.shape[0], 0))), mean[np.newaxis], weights)
    variances, V = whitened.leading(V, n_iter)
    return EDGE_MARGIN * variances[0], V


def directions_of_noise(X):
    """Return the vectors from which `edge_of_noise` starts: it asks for one."""
    return random_directions(X, 1 + N_EXTRA // 2)


def random_directions(X, n_vectors):
    """Return vectors (D, K) from which the iteration starts, no more than X has axes."""
    n_rows, n_features = X.shape
    return np.random.RandomState(0).standard_normal((n_features, min(n_vectors, n_rows, n_features)))


def design_of(covariates):
    """Return a constant beside the covariates (n_samples, C), (n_samples, 1 + C), as the sparse matrix that it is."""
    return sparse.csr_matrix(np.hstack([np.ones((len(covariates), 1)), covariates]))


def moments(X, design):
    """Return the effects of a design on the mean of X, (1 + C, D), and the variance that they leave, (D,).

    The first are the mean itself, the others those of the least squares of X less the mean: of all such the shortest,
    since the inputs of one column of labels have a constant sum.
    """
    n_rows = X.shape[0]
    sums, products = design.T @ X, (design.T @ design).toarray() / n_rows
    sums = (sums.toarray() if sparse.issparse(sums) else sums) / n_rows
    mean = sums[0]
    beyond = sums[1:] - np.outer(products[1:, 0], mean)
    effects = np.vstack([mean, pinvh(products[1:, 1:]) @ beyond]) if len(beyond) else sums
    squares = X.multiply(X).sum(axis=0) if sparse.issparse(X) else np.einsum("ij,ij->j", X, X)
    squares = np.asarray(squares).ravel() / n_rows
    variance = squares - np.einsum("id,ij,jd->d", effects, products, effects, optimize=True)
    return effects, np.where(variance > np.maximum(MIN_VARIATION * squares, MIN_VARIANCE), variance, 0)


def shuffle_columns(X):
    """Return X with the rows in a random order, another one in each column."""
    rng = np.random.RandomState(0)
    n_rows, n_features = X.shape
    if sparse.issparse(X):
        X = X.tocsc()
        rows, columns = X.indices, np.repeat(np.arange(n_features), np.diff(X.indptr))
    else:
        rows, columns = np.arange(n_rows)[:, np.newaxis], np.arange(n_features)
    if n_rows * n_features <= MAX_SORTED:
        rows = rng.random_sample(X.shape).argsort(axis=0)[rows, columns]
    else:
        # a random row r goes to a r + b modulo n, which is one for each where a has no divisor in common with n
        factors = np.flatnonzero(np.gcd(np.arange(n_rows), n_rows) == 1)
        factors, shifts = rng.choice(factors, n_features), rng.randint(n_rows, size=n_features)
        rows = (factors[columns] * rng.permutation(n_rows)[rows] + shifts[columns]) % n_rows
    if sparse.issparse(X):
        return sparse.csc_matrix((X.data, rows, X.indptr), shape=X.shape)
    shuffled = np.empty_like(X)
    np.put_along_axis(shuffled, rows, X, axis=0)
    return shuffled


def regress(X, codes, offsets, intercepts, mean, slope):
    """Return the loadings of a generalised linear model of each feature: E[x_d] = mean(o + b_d + codes @ W_d).

    Newton steps with an L2 penalty on W, block by block of features.

    Parameters
    ----------
    X : {ndarray, CSR matrix} of shape (n_samples, D)
    codes : ndarray of shape (n_samples, K)
        Columns of about unit variance.
    offsets : ndarray of shape (n_samples, 1)
        o.
    intercepts : ndarray of shape (D,)
        b to begin with.
    mean, slope : callable
        The `link` of a `Support`.

    Returns
    -------
    loadings : ndarray of shape (D, K)
    intercepts : ndarray of shape (D,)
    information : ndarray of shape (K,)
        Mean over the rows of the information about each column of `codes`: sum_d slope_d W_d^2.
    dispersions : ndarray of shape (D,)
        By how much the variance of a count of mean m is beyond m, in m^2; near the usual one where counts are few.
    """
    n_rows, n_features = X.shape
    design = np.hstack([np.ones((n_rows, 1)), codes])
    n_columns = design.shape[1]
    upper = np.triu_indices(n_columns)
    pairs = design[:, upper[0]] * design[:, upper[1]]
    penalty = np.r_[1e-6, np.full(codes.shape[1], RIDGE)]
    weights = np.hstack([intercepts[:, np.newaxis], np.zeros((n_features, codes.shape[1]))])
    observed = np.asarray(X.T @ design)
    information = np.zeros(codes.shape[1])
    excess, squares = np.empty((2, n_features))
    X = X.tocsc() if sparse.issparse(X) else X
    size = max(1, MAX_ELEMENTS // n_rows)
    for block in (slice(first, first + size) for first in range(0, n_features, size)):
        part = weights[block]
        eta = offsets.T + part @ design.T
        for _ in range(N_NEWTON):
            gradient = observed[block] - mean(eta) @ design - penalty * part
            hessian = np.empty((len(part), n_columns, n_columns))
            hessian[:, upper[0], upper[1]] = hessian[:, upper[1], upper[0]] = slope(eta) @ pairs
            hessian += np.diag(penalty)
            change = np.linalg.solve(hessian, gradient[:, :, np.newaxis])[:, :, 0]
            moved = change @ design.T
            # a step from where the curvature is small would end where it is huge
            share = np.minimum(1, MAX_STEP / np.maximum(np.abs(moved).max(axis=1, keepdims=True), MAX_STEP))
            part += share * change
            eta += share * moved
        information += slope(eta).mean(axis=1) @ part[:, 1:] ** 2
        rates, counts = mean(eta), X[:, block]
        counts = (counts.toarray() if sparse.issparse(counts) else counts).T
        # as many degrees of freedom as columns went into the fit
        spread = np.square(counts - rates).sum(axis=1) * n_rows / max(1, n_rows - n_columns)
        excess[block] = spread - rates.sum(axis=1)
        squares[block] = np.square(rates).sum(axis=1)
    usual = np.clip(excess.sum() / max(squares.sum(), 1e-30), *DISPERSIONS)
    dispersions = np.clip((excess + N_PRIOR * usual) / (squares + N_PRIOR), *DISPERSIONS)
    return weights[:, 1:], weights[:, 0], information, dispersions
