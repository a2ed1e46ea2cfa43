"""The shape of the package, read from its source: floors of modules, what each may know, and how long it may be."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent

# Modules, and folders of modules as one, by floors: each imports from the floor below it, and else from lower ones.
FLOORS = (
    {"covariances", "latents", "maps", "objectives", "programs", "sparse", "state", "supports", "version", "warn"},
    {"factors", "files", "networks", "nonnegative", "numerics", "priors"},
    {"autoencoder", "persistence", "rates", "squared_error", "stores"},
    {"likelihoods", "names", "rows", "types"},
    {
        *("annotated", "clustering", "datasets", "feature_selection", "markers", "metrics"),
        *("plotting", "preprocessing", "reading", "training"),
    },
    {"callbacks", "embedding", "novelty", "report"},
    {"consensus", "differential", "estimators", "predictive"},
    {"__init__", "experiment"},
    {"__main__"},
)
MODEL_FILES = (
    *("autoencoder", "covariances", "factors", "latents", "likelihoods"),
    *("networks", "nonnegative", "numerics", "objectives", "priors", "programs", "rates", "sparse"),
    *("squared_error", "supports"),
)

MAX_LINES, MAX_CODE = 520, 300  # of a module, with and without docstrings, comments and blank lines
MAX_FUNCTION, MAX_FIT = 40, 19  # lines of code


def name_of(path):
    """Return the name of a module within the package, such as "rows.checks"; of a folder's `__init__` the folder's."""
    *folders, stem = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(folders if folders and stem == "__init__" else [*folders, stem])


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TEXTS = {name: path.read_text() for name, path in MODULES.items()}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}

every_module = pytest.mark.parametrize("module", MODULES)


def unit_of(module):
    return module.partition(".")[0]


UNITS = {unit_of(module) for module in MODULES}
FOLDERS = sorted({unit_of(module) for module in MODULES if "." in module})


def imports_of(module, *, anywhere=True):
    """Return {(module, name or None)} that a file imports, `anywhere` or at its top level only."""
    tree = TREES[module]
    found = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def packages_of(imports):
    return {module.split(".")[0] for module, _ in imports}


def modules_of(imports):
    """Return the modules of the package among what is imported; a name that is none is one of the `__init__`."""
    found = set()
    for source, name in imports:
        if source.split(".")[0] == "skvae":
            within = source.removeprefix("skvae").removeprefix(".")
            of_name = f"{within}.{name}".removeprefix(".")
            found.add(of_name if of_name in MODULES else within or "__init__")
    return found


def floor_of(unit):
    return next(number for number, floor in enumerate(FLOORS) if unit in floor)


# Imports


def test_every_module_has_its_place():
    assert sorted(unit for floor in FLOORS for unit in floor) == sorted(UNITS)


@every_module
def test_imports_run_one_way(module):
    others = {unit_of(imported) for imported in modules_of(imports_of(module))} - {unit_of(module)}
    assert {unit for unit in others if floor_of(unit) >= floor_of(unit_of(module))} == set()


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_each_stands_on_the_lowest_floor_that_its_imports_allow(unit):
    imported = {name for module in MODULES if unit_of(module) == unit for name in modules_of(imports_of(module))}
    below = {unit_of(name) for name in imported} - {unit}
    assert floor_of(unit) == max((1 + floor_of(other) for other in below), default=0)


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_within_a_folder_make_no_circle(folder):
    within = {module for module in MODULES if unit_of(module) == folder}
    order = TopologicalSorter({module: modules_of(imports_of(module)) & within for module in within}).static_order()
    assert set(order) == within  # a circle raises an error that shows it


@every_module
def test_no_module_imports_private_names_of_another(module):
    private = {
        name for source, name in imports_of(module) if source.startswith("skvae.") and name and name.startswith("_")
    }
    assert not private


@pytest.mark.parametrize("module", MODEL_FILES)
def test_model_files_know_neither_scikit_learn_nor_skorch(module):
    assert not packages_of(imports_of(module)) & {"sklearn", "skorch"}


def test_only_training_and_its_callbacks_import_skorch():
    skorch = {module for module in MODULES if "skorch" in packages_of(imports_of(module))}
    assert skorch == {"training.net", "training.checkpoint", "training.progress"}


def test_only_functions_of_plotting_import_matplotlib():
    assert {unit_of(module) for module in MODULES if "matplotlib" in packages_of(imports_of(module))} == {"plotting"}
    for module in MODULES:
        assert "matplotlib" not in packages_of(imports_of(module, anywhere=False))


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


def test_a_fit_does_not_import_what_compiles_models():
    # it takes torch longer than the fit
    code = """
import sys, numpy as np, skvae
skvae.BetaVAE(1, max_epochs=1).fit(np.random.default_rng(0).random((30, 4))).score(np.ones((2, 4)))
print("torch._dynamo" in sys.modules)
"""
    output = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "False"


# Sizes


def lines_of_code(module):
    """Return the numbers of the lines that are neither blank, nor a comment, nor of a docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        number
        for node in ast.walk(TREES[module])
        if isinstance(node, documented) and ast.get_docstring(node) is not None
        for number in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = enumerate(TEXTS[module].splitlines(), 1)
    return {number for number, line in lines if line.strip() and not line.strip().startswith("#")} - docstrings


def functions_of(module):
    return [node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef)]


def test_lines_of_code_are_counted_without_docstrings_and_comments():
    assert len(lines_of_code("version")) == 1
    assert len(TEXTS["version"].splitlines()) == 3


@every_module
def test_modules_are_short(module):
    assert len(TEXTS[module].splitlines()) <= MAX_LINES
    assert len(lines_of_code(module)) <= MAX_CODE


@every_module
def test_functions_are_short(module):
    code = lines_of_code(module)
    sizes = {node.name: len(code & {*range(node.lineno, node.end_lineno + 1)}) for node in functions_of(module)}
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION} == {}


@every_module
def test_the_body_of_fit_is_taken_in_at_a_glance(module):
    code = lines_of_code(module)
    for node in functions_of(module):
        if node.name == "fit":
            assert len(code & {*range(node.body[0].lineno, node.end_lineno + 1)}) <= MAX_FIT
