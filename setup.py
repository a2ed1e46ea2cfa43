"""Metadata of skvae; build and tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
EXTRAS = {
    "anndata": ["anndata", "h5py", "zarr"],
    "cells": ["anndata", "h5py", "pandas", "skops", "zarr"],
    "dask": ["dask", "distributed"],
    "data": ["pooch", "rdata"],
    "distributed": ["accelerate"],
    "persistence": ["safetensors", "skops"],
}
EXTRAS["all"] = sorted({package for packages in EXTRAS.values() for package in packages})
EXTRAS["docs"] = [
    *EXTRAS["all"],
    "myst-parser",
    "numpydoc",
    "playwright",
    "pydata-sphinx-theme",
    "scanpy",
    "sphinx",
    "sphinx-design",
    "sphinx-gallery",
    "umap-learn",
]
EXTRAS["test"] = [
    *EXTRAS["all"],
    "hypothesis",
    "mypy",
    "pandas",
    "polars",
    "psutil",
    "pytest",
    "pytest-xdist",
    "ruff",
    "scanpy",
]
EXTRAS["release"] = ["build", "twine"]

setup(
    name="skvae",
    version=re.search(r'VERSION = "(.+)"', (ROOT / "skvae" / "version.py").read_text())[1],
    description="Embed wide, sparse data with autoencoders that behave like scikit-learn",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    packages=find_packages(include=["skvae", "skvae.*"]),
    package_data={"skvae": ["py.typed"], "skvae.report": ["*.css", "*.js"]},
    python_requires=">=3.11",
    # The lower bounds are tested with constraints-oldest.txt, but torch's. tqdm, for progress bars,
    # comes with skorch, joblib with scikit-learn.
    install_requires=[
        "matplotlib>=3.8",
        "numpy>=1.26",
        "scikit-learn>=1.6",
        "scipy>=1.12",
        "skorch>=1.2",
        "torch>=2.6",
    ],
    entry_points={"console_scripts": ["skvae = skvae.__main__:main"]},
    extras_require=EXTRAS,
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
    ],
)
