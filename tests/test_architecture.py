"""The import direction of the package, read from its source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent

# What each module may import from the package.
ALLOWED = {
    "sparse": set(),
    "networks": {"sparse"},
    "latents": set(),
    "likelihoods": {"sparse", "networks"},
    "objectives": {"networks", "latents", "likelihoods"},
    "version": set(),
    "files": set(),
    "persistence": {"files"},
    "progress": set(),
    "warn": set(),
    "callbacks": {"files", "persistence", "progress", "types", "warn"},
    "stores": {"files"},
    "processes": set(),
    "batching": {"sparse", "stores"},
    "schedules": set(),
    "validation": {"stores", "warn"},
    "factors": set(),
    "threads": set(),
    "start": {"batching", "factors", "likelihoods", "sparse", "threads"},
    "training": {
        "callbacks",
        "sparse",
        "processes",
        "batching",
        "schedules",
        "objectives",
        "networks",
        "latents",
        "likelihoods",
        "start",
        "threads",
    },
    "_base": {
        "types",
        "warn",
        "version",
        "persistence",
        "stores",
        "processes",
        "validation",
        "batching",
        "schedules",
        "start",
        "threads",
        "training",
        "objectives",
        "networks",
        "latents",
        "likelihoods",
    },
    "estimators": {"_base", "types", "objectives", "networks", "latents", "likelihoods"},
    "types": {"stores"},
    "annotated": set(),
    "metrics": {"types"},
    "plotting": {"likelihoods", "types", "validation"},
    "datasets": {"types"},
    "preprocessing": {"stores", "types", "validation", "warn"},
    "feature_selection": {"stores", "types", "validation"},
    "experiment": {
        "estimators",
        "metrics",
        "plotting",
        "datasets",
        "feature_selection",
        "preprocessing",
        "progress",
        "types",
        "warn",
    },
    "__main__": {"experiment"},
    "__init__": {
        "version",
        "callbacks",
        "annotated",
        "stores",
        "estimators",
        "metrics",
        "datasets",
        "feature_selection",
        "preprocessing",
    },
}
MODEL_FILES = {"sparse", "networks", "latents", "likelihoods", "objectives", "factors"}


def imports_of(module, *, anywhere=True):
    """Return {(module, name or None)} that a file imports, `anywhere` or at its top level only."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    found = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def packages_of(imports):
    return {module.split(".")[0] for module, _ in imports}


def test_every_module_has_its_place():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(ALLOWED)


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_run_one_way(module):
    own = {(name if source == "skvae" else source.removeprefix("skvae.")) for source, name in imports_of(module)
           if source.split(".")[0] == "skvae"}  # fmt: skip
    assert own <= ALLOWED[module]


@pytest.mark.parametrize("module", ALLOWED)
def test_no_module_imports_private_names_of_another(module):
    private = {
        name for source, name in imports_of(module) if source.startswith("skvae.") and name and name.startswith("_")
    }
    assert not private


@pytest.mark.parametrize("module", MODEL_FILES)
def test_model_files_know_neither_scikit_learn_nor_skorch(module):
    assert not packages_of(imports_of(module)) & {"sklearn", "skorch"}


def test_only_training_and_its_callbacks_import_skorch():
    assert {module for module in ALLOWED if "skorch" in packages_of(imports_of(module))} == {"training", "callbacks"}


def test_only_functions_of_plotting_import_matplotlib():
    assert {module for module in ALLOWED if "matplotlib" in packages_of(imports_of(module))} == {"plotting"}
    assert "matplotlib" not in packages_of(imports_of("plotting", anywhere=False))


def test_importing_skvae_adds_neither_matplotlib_nor_what_extras_bring():
    # scikit-learn itself imports pandas where it is installed
    code = """
import sys, sklearn.base, skorch, torch
before = set(sys.modules)
import skvae
extras = {"accelerate", "anndata", "dask", "distributed", "h5py", "pooch", "rdata", "safetensors", "skops", "zarr"}
print(({"matplotlib", "pandas"} | extras) & (set(sys.modules) - before))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "set()"
