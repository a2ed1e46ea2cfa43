"""Data sets: simulated single cells, counts with planted programs, and the blood cells of the report."""

import os
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from skvae.types import PathLike, RandomState

# The cell types of the report and their numbers of cells.
CELL_TYPES = {
    "Naive CD4 T": 697,
    "Memory CD4 T": 483,
    "CD14+ Mono": 480,
    "B": 344,
    "CD8 T": 271,
    "FCGR3A+ Mono": 162,
    "NK": 155,
    "DC": 32,
    "Platelet": 14,
}

# Expression programs: the types that run them, the mean log fold change of their genes, and some of these by name.
PROGRAMS = (
    (("Naive CD4 T", "Memory CD4 T", "CD8 T"), 1.7, ("CD3D", "CD3E")),
    (("Naive CD4 T", "Memory CD4 T"), 1.2, ("IL7R",)),
    (("Naive CD4 T",), 1.2, ("CCR7", "LEF1")),
    (("Memory CD4 T",), 1.2, ("S100A4", "IL32")),
    (("CD8 T",), 1.7, ("CD8A", "CD8B", "GZMK")),
    (("CD8 T", "NK"), 2.1, ("NKG7", "CST7", "GZMA")),
    (("NK",), 2.1, ("GNLY", "GZMB")),
    (("B",), 2.1, ("MS4A1", "CD79A", "CD79B")),
    (("CD14+ Mono", "FCGR3A+ Mono", "DC"), 2.1, ("LYZ", "CST3", "TYROBP")),
    (("CD14+ Mono",), 1.7, ("CD14", "S100A8", "S100A9")),
    (("FCGR3A+ Mono",), 2.1, ("FCGR3A", "MS4A7")),
    (("DC",), 2.5, ("FCER1A", "CLEC10A")),
    (("Platelet",), 3.5, ("PPBP", "PF4")),
)
MITOCHONDRIAL = (
    *(f"MT-ND{i}" for i in ("1", "2", "3", "4", "4L", "5", "6")),
    *(f"MT-CO{i}" for i in (1, 2, 3)),
    *("MT-ATP6", "MT-ATP8", "MT-CYB"),
)

# Total counts of a cell relative to the other types', where they differ much.
RELATIVE_LIBRARY = {"FCGR3A+ Mono": 1.6, "DC": 2.4, "Platelet": 0.45}

# The other constants of the simulation follow PBMC 3k: counts per gene and cell, shares of the counts and of the genes,
# standard deviations of log expression over genes and of log library size over cells.
DEPTH = 0.175
RIBOSOMAL_GENES, RIBOSOMAL_SHARE = 0.0066, 0.4
MITOCHONDRIAL_SHARE = 0.02
EXPRESSION_SD, LIBRARY_SD = 2.0, 0.4
# Variation that is not the types': of genes between types, and two gradients through all cells.
TYPE_SD, GRADIENT_SD, GRADIENT_GENES = 0.1, 0.3, 100

# Planted programs: mean log expression of their genes, and the shapes of gamma distributions, whose variance is the
# squared mean divided by the shape, of log fold changes and of the levels at which cells use programs.
FACTOR_EXPRESSION, FACTOR_SHAPE, USAGE_SHAPE = 1.0, 9, 4

PBMC3K_URL = "https://raw.githubusercontent.com/rnabioco/clustifyrdata/ea78504bae6c5d21a24e73da31817e625d10d974/data/"
PBMC3K_FILES = {
    "pbmc_matrix.rda": "sha256:c8901a9fd9e9a4afa54e547d496eaa32c6a2061321e17b046ac61e158871b872",
    "pbmc_meta.rda": "sha256:df238012d0de5b5ad60009cbce75ad8390899d2decf6944ecf2dfc8bca283e5b",
}
DOWNLOAD_TIMEOUT = 30  # seconds in which a server has to send something


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 60, None, closed="left")],
        "library_size": [Interval(Real, 0, None, closed="neither"), None],
        "dispersion": [Interval(Real, 0, None, closed="neither")],
        "n_batches": [Interval(Integral, 1, None, closed="left")],
        "batch_effect": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_single_cell_counts(
    n_samples: int = 2638,
    n_features: int = 2000,
    *,
    library_size: float | None = None,
    dispersion: float = 0.2,
    n_batches: int = 1,
    batch_effect: float = 0.3,
    random_state: RandomState = None,
) -> Bunch:
    """Simulate counts of nine types of blood cells, in the proportions of the report.

    Counts are gamma-Poisson with mean l_i p_ig: l_i is the log-normal library size of cell i, p_ig the share of gene g.
    Expression programs of 40 genes, some shared by related types, set the types apart. A few ribosomal genes take
    two fifths of the counts, mitochondrial ones a fiftieth, and two gradients run through the cells of all types.

    Parameters
    ----------
    n_samples : int, default=2638
        Number of cells.
    n_features : int >= 60, default=2000
        Number of genes. Below 800 the programs have fewer genes.
    library_size : float, default=None
        Mean total count of a cell. None is 0.175 a gene, the depth of PBMC 3k: about 6% of the counts are non-zero.
        Smaller is sparser.
    dispersion : float > 0, default=0.2
        The variance of a count with mean m is m + dispersion m^2.
    n_batches : int, default=1
        Number of batches, to which cells are assigned at random.
    batch_effect : float >= 0, default=0.3
        Standard deviation of the log factor that a batch puts on each gene.
    random_state : int, RandomState instance or None, default=None
        Seed of the simulation; an int makes it reproducible.

    Returns
    -------
    cells : Bunch
        - data : CSR array of shape (n_samples, n_features), raw counts as float32
        - target : ndarray of int of shape (n_samples,), the cell types
        - target_names : ndarray of str of shape (9,), their names
        - feature_names : ndarray of str of shape (n_features,), the genes; markers have their real names
        - cell_names : ndarray of str of shape (n_samples,)
        - batch : ndarray of int of shape (n_samples,)
        - DESCR : str

    Examples
    --------
    >>> from skvae import make_single_cell_counts
    >>> cells = make_single_cell_counts(n_samples=200, n_features=500, random_state=0)
    >>> cells.data.shape
    (200, 500)
    >>> str(cells.target_names[3])
    'B'
    """
    rng = check_random_state(random_state)
    types = list(CELL_TYPES)
    sizes = np.array(list(CELL_TYPES.values()))
    target = rng.choice(len(types), size=n_samples, p=sizes / sizes.sum())

    names, log_expression = _simulate_genes(n_features, rng)
    gradients = np.zeros((2, n_features))
    for gradient in gradients:
        gradient[rng.randint(n_features, size=min(GRADIENT_GENES, n_features))] = GRADIENT_SD
    gradients *= rng.normal(size=gradients.shape)
    position = rng.normal(size=(n_samples, len(gradients)))
    batch = rng.randint(n_batches, size=n_samples)
    log_factor = batch_effect * rng.normal(size=(n_batches, n_features)) if n_batches > 1 else np.zeros((1, n_features))

    relative = np.array([RELATIVE_LIBRARY.get(name, 1.0) for name in types])
    relative /= np.average(relative, weights=sizes)
    library = _draw_library(library_size, n_features, relative[target], rng)

    def log_means(block):
        return log_expression[target[block]] + position[block] @ gradients + log_factor[batch[block]]

    return Bunch(
        data=_draw_counts(log_means, library, n_features, dispersion, rng),
        target=target,
        target_names=np.array(types),
        feature_names=names,
        cell_names=np.array([f"cell{i}" for i in range(n_samples)]),
        batch=batch,
        DESCR=f"{n_samples} simulated blood cells x {n_features} genes, raw counts (skvae.make_single_cell_counts)",
    )


def _draw_library(library_size, n_features, relative, rng):
    """Return the expected total counts of cells, whose means have these ratios to `library_size`."""
    library = (DEPTH * n_features if library_size is None else library_size) * relative
    return library * rng.lognormal(-(LIBRARY_SD**2) / 2, LIBRARY_SD, size=len(relative))


def _draw_counts(log_means, library, n_features, dispersion, rng):
    """Return negative binomial counts, CSR, of cells of those totals: block by block, as the means are dense."""
    n_samples, blocks = len(library), []
    for block in np.array_split(np.arange(n_samples), np.ceil(n_samples * n_features / 2**22)):
        share = np.exp(log_means(block))
        share /= share.sum(axis=1, keepdims=True)
        rate = library[block, np.newaxis] * share * rng.gamma(1 / dispersion, dispersion, size=share.shape)
        blocks.append(sparse.csr_array(rng.poisson(rate).astype(np.float32)))
    return sparse.vstack(blocks, format="csr")


def _simulate_genes(n_features, rng):
    """Return the names of the genes (n_features,) and their log expression in each type (9, n_features)."""
    types = list(CELL_TYPES)
    names = np.array([f"GENE{i:05d}" for i in range(n_features)], dtype=object)
    base = EXPRESSION_SD * rng.normal(size=n_features)
    changes = TYPE_SD * rng.normal(size=(len(types), n_features))
    # Programs, mitochondrial and ribosomal genes each take the next genes of a random order.
    program_size = min(40, n_features // 20)
    n_ribosomal = round(RIBOSOMAL_GENES * n_features)
    splits = np.cumsum([program_size] * len(PROGRAMS) + [len(MITOCHONDRIAL), n_ribosomal])
    *programs, mitochondrial, ribosomal, _ = np.split(rng.permutation(n_features), splits)
    for genes, (members, log_fold_change, markers) in zip(programs, PROGRAMS, strict=True):
        change = rng.gamma(2, log_fold_change / 2, size=program_size)
        named = slice(len(markers))
        names[genes[named]] = markers
        # Markers are the genes that show their type by themselves: well expressed and clearly changed.
        base[genes[named]] = rng.normal(1.5, 0.5, size=len(markers))
        change[named] = np.maximum(change[named], 1.5 * log_fold_change)
        changes[np.ix_(np.array([types.index(member) for member in members]), genes)] += change
    _add_housekeeping(names, base, mitochondrial, ribosomal, rng)
    return names.astype(str), base + changes


def _add_housekeeping(names, base, mitochondrial, ribosomal, rng):
    """Name mitochondrial and ribosomal genes and give them their shares of the counts, in place."""
    names[mitochondrial] = MITOCHONDRIAL
    names[ribosomal] = [f"RPL{i + 1}" for i in range(len(ribosomal))]
    base[mitochondrial] = rng.normal(0, 0.7, size=len(MITOCHONDRIAL))
    base[ribosomal] = rng.normal(0, 0.7, size=len(ribosomal))
    expression = np.exp(base)
    total = np.delete(expression, np.concatenate([mitochondrial, ribosomal])).sum()
    for genes, share in ((mitochondrial, MITOCHONDRIAL_SHARE), (ribosomal, RIBOSOMAL_SHARE)):
        others = 1 - MITOCHONDRIAL_SHARE - RIBOSOMAL_SHARE
        base[genes] += np.log(share / others * total / expression[genes].sum()) if len(genes) else 0


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 60, None, closed="left")],
        "n_factors": [Interval(Integral, 1, None, closed="left")],
        "n_factor_features": [Interval(Integral, 1, None, closed="left")],
        "n_active": [Interval(Integral, 0, None, closed="left")],
        "strength": [Interval(Real, 0, None, closed="left")],
        "library_size": [Interval(Real, 0, None, closed="neither"), None],
        "dispersion": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_factor_counts(
    n_samples: int = 2000,
    n_features: int = 1000,
    *,
    n_factors: int = 8,
    n_factor_features: int = 40,
    n_active: int = 2,
    strength: float = 1.5,
    library_size: float | None = None,
    dispersion: float = 0.2,
    random_state: RandomState = None,
) -> Bunch:
    """Simulate counts of cells that each use a few of several programs of genes: factors that are known.

    Counts are gamma-Poisson with mean l_i p_ig. The log of the share p_ig is, up to a constant of the cell, the log
    expression b_g of the gene plus the sum of u_ik L_kg over the programs k: programs add on the scale of logarithms,
    and multiply rates. No two programs have a gene in common. A cell uses `n_active` programs at random, each at a
    level u_ik from a gamma distribution of mean 1 and standard deviation 0.5, and the others at 0. Depth, ribosomal and
    mitochondrial genes are those of `make_single_cell_counts`.

    Parameters
    ----------
    n_samples : int, default=2000
        Number of cells.
    n_features : int >= 60, default=1000
        Number of genes.
    n_factors : int, default=8
        Number of programs K.
    n_factor_features : int, default=40
        Number of genes of a program.
    n_active : int, default=2
        Number of programs that a cell uses, at most `n_factors`.
    strength : float >= 0, default=1.5
        Mean log fold change of the genes of a program in a cell that uses it at the level 1. They are drawn from a
        gamma distribution of a third of this as its standard deviation.
    library_size : float, default=None
        Mean total count of a cell. None is 0.175 a gene, the depth of PBMC 3k.
    dispersion : float > 0, default=0.2
        The variance of a count with mean m is m + dispersion m^2.
    random_state : int, RandomState instance or None, default=None
        Seed of the simulation; an int makes it reproducible.

    Returns
    -------
    cells : Bunch
        - data : CSR array of shape (n_samples, n_features), raw counts as float32
        - factors : ndarray of shape (n_samples, n_factors), the levels u at which cells use programs
        - loadings : ndarray of shape (n_factors, n_features), the log fold changes L, 0 of genes not in the program
        - log_expression : ndarray of shape (n_features,), the log expression b without programs
        - feature_names : ndarray of str of shape (n_features,)
        - DESCR : str

    Raises
    ------
    ValueError
        If there are fewer genes than the programs, the mitochondrial and the ribosomal ones need together, or fewer
        programs than a cell uses.

    Examples
    --------
    >>> from skvae import make_factor_counts
    >>> cells = make_factor_counts(n_samples=200, n_features=500, random_state=0)
    >>> cells.data.shape, cells.factors.shape, cells.loadings.shape
    ((200, 500), (200, 8), (8, 500))
    >>> int((cells.factors > 0).sum(axis=1).max())
    2
    """
    if n_active > n_factors:
        raise ValueError(f"n_active == {n_active}, must be at most n_factors == {n_factors}.")
    rng = check_random_state(random_state)
    names, base, loadings = _simulate_programs(n_features, n_factors, n_factor_features, strength, rng)
    factors = np.zeros((n_samples, n_factors))
    used = rng.uniform(size=factors.shape).argsort(axis=1)[:, :n_active]
    np.put_along_axis(factors, used, rng.gamma(USAGE_SHAPE, 1 / USAGE_SHAPE, size=used.shape), axis=1)
    library = _draw_library(library_size, n_features, np.ones(n_samples), rng)
    return Bunch(
        data=_draw_counts(lambda block: base + factors[block] @ loadings, library, n_features, dispersion, rng),
        factors=factors,
        loadings=loadings,
        log_expression=base,
        feature_names=names,
        DESCR=f"{n_samples} cells x {n_features} genes with {n_factors} planted programs, raw counts "
        "(skvae.make_factor_counts)",
    )


def _simulate_programs(n_features, n_factors, n_factor_features, strength, rng):
    """Return the names of the genes, (D,), their log expression, (D,), and the log fold changes of programs, (K, D)."""
    n_ribosomal = round(RIBOSOMAL_GENES * n_features)
    n_planted, n_others = n_factors * n_factor_features, len(MITOCHONDRIAL) + n_ribosomal
    if n_features < n_planted + n_others:
        raise ValueError(
            f"n_features == {n_features}, must be at least {n_planted + n_others}: "
            f"n_factors * n_factor_features == {n_planted} genes of programs and {n_others} others."
        )
    names = np.array([f"GENE{i:05d}" for i in range(n_features)], dtype=object)
    base = EXPRESSION_SD * rng.normal(size=n_features)
    splits = np.cumsum([n_factor_features] * n_factors + [len(MITOCHONDRIAL), n_ribosomal])
    *programs, mitochondrial, ribosomal, _ = np.split(rng.permutation(n_features), splits)
    loadings = np.zeros((n_factors, n_features))
    for loading, genes in zip(loadings, programs, strict=True):
        # well expressed, so that counts show whether a cell uses the program
        base[genes] = rng.normal(FACTOR_EXPRESSION, 0.5, size=n_factor_features)
        loading[genes] = rng.gamma(FACTOR_SHAPE, strength / FACTOR_SHAPE, size=n_factor_features)
    _add_housekeeping(names, base, mitochondrial, ribosomal, rng)
    return names.astype(str), base, loadings


def fetch_pbmc3k(data_home: PathLike | None = None) -> Bunch:
    """Load the 2638 blood cells of the report, with nine labelled types; download them if need be.

    Peripheral blood mononuclear cells of a healthy donor (10x Genomics, CC BY 4.0), after the report's quality control.
    The types are Seurat's clusters of the first ten principal components, named after their markers.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder whose subfolder `pbmc3k` holds, or will hold, the two files. None is the folder that the environment
        variable SKVAE_DATA names, else the user's cache. Files that are there are used without a network.

    Returns
    -------
    cells : Bunch
        - data : CSR array of shape (2638, 13714), raw counts as float32
        - target : ndarray of int of shape (2638,), the cell types, the largest first
        - target_names : ndarray of str of shape (9,), their names
        - feature_names : ndarray of str of shape (13714,), the genes
        - cell_names : ndarray of str of shape (2638,), the barcodes
        - DESCR : str

    Raises
    ------
    ImportError
        If pooch or rdata is missing: `pip install "skvae[data]"`.
    ValueError
        If a downloaded file does not have its checksum. The file is not kept.
    requests.exceptions.RequestException
        If a file is not there, or is there but corrupted, and cannot be downloaded. A server that sends nothing for
        30 seconds is given up, one that sends slowly is waited for.
    OSError
        If the folder cannot be written to or the disk is full. Nothing of the file is kept.

    References
    ----------
    Zheng et al. 2017, "Massively parallel digital transcriptional profiling of single cells", Nature Communications 8.

    Examples
    --------
    >>> from skvae import fetch_pbmc3k
    >>> cells = fetch_pbmc3k()  # doctest: +SKIP
    >>> cells.data.shape  # doctest: +SKIP
    (2638, 13714)
    """
    try:
        import pooch
        import rdata
    except ImportError as error:
        raise ImportError(f'fetch_pbmc3k needs {error.name}: pip install "skvae[data]"') from error

    def download(url, path, files):
        # pooch makes its temporary file readable to this user alone; the one that replaces it follows the umask, so
        # that others can use a shared folder.
        os.remove(path)
        pooch.HTTPDownloader(timeout=DOWNLOAD_TIMEOUT)(url, path, files)

    home = Path(data_home or os.environ.get("SKVAE_DATA") or pooch.os_cache("skvae"))
    files = pooch.create(home / "pbmc3k", base_url=PBMC3K_URL, registry=PBMC3K_FILES)
    constructors = {**rdata.conversion.DEFAULT_CLASS_MAP, "dgCMatrix": lambda _, attributes: attributes}
    matrix_path, meta_path = (files.fetch(f"pbmc_{name}.rda", downloader=download) for name in ("matrix", "meta"))
    matrix = rdata.read_rda(matrix_path, constructor_dict=constructors)["pbmc_matrix"]
    meta = rdata.read_rda(meta_path)["pbmc_meta"]

    # genes x cells by column are cells x genes by row
    n_genes, n_cells = matrix["Dim"]
    log_normalized = sparse.csr_array((matrix["x"], matrix["i"], matrix["p"]), shape=(n_cells, n_genes))
    genes, barcodes = (np.asarray(names, dtype=str) for names in matrix["Dimnames"])
    # log1p(count / total * 1e4) undone; the totals are integers, so that rounding gives the counts exactly
    totals = np.repeat(meta["nCount_RNA"].to_numpy(), np.diff(log_normalized.indptr))
    counts = log_normalized.copy()
    counts.data = np.rint(np.expm1(log_normalized.data) / 1e4 * totals).astype(np.float32)
    target = meta["seurat_clusters"].to_numpy(dtype=int)
    types = meta["classified"].to_numpy(dtype=str)
    return Bunch(
        data=counts,
        target=target,
        target_names=np.array([types[target == cluster][0] for cluster in range(target.max() + 1)]),
        feature_names=genes,
        cell_names=barcodes,
        DESCR=f"PBMC 3k, {n_cells} cells x {n_genes} genes, raw counts (10x Genomics, CC BY 4.0; {PBMC3K_URL})",
    )
