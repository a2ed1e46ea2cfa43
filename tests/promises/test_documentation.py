"""The code blocks of the documents run.

Blocks that are marked `py` need packages that are not installed here.
"""

import inspect
import re
from pathlib import Path

import pytest
from models import ESTIMATORS, VARIATIONAL, every_estimator

import skvae
from skvae import plotting
from skvae.likelihoods import LIKELIHOODS

ROOT = Path(__file__).parents[2]
PAGES = (
    "anndata",
    "beta_and_alpha",
    "choosing_a_model",
    "coming_from",
    "counts",
    "extending",
    "get_started",
    "integration",
    "novelty",
    "pipelines",
    "programs",
    "reliability",
    "scaling",
    "sparse_data",
)
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in PAGES))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def likelihoods_restored():
    before = dict(LIKELIHOODS)
    yield
    LIKELIHOODS.clear()
    LIKELIHOODS.update(before)


@pytest.mark.filterwarnings("ignore:The least populated class in y has only")
@pytest.mark.usefixtures("likelihoods_restored")
@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_of_a_document_runs(document, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_prints_and_draws(example):
    """The gallery of the documentation runs it."""
    text = example.read_text()
    assert len(text.splitlines()) <= 60
    assert "print(" in text
    assert "plt.show()" in text


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_one_gets_started_in_fewer_than_fifteen_lines():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "get_started.md").read_text(), flags=re.DOTALL)
    lines = [line for block in blocks[:2] for line in block.splitlines() if line]
    assert "make_single_cell_counts" in lines[0]
    assert "savefig" in lines[-1]
    assert len(lines) < 15


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs" / "api.rst").read_text()
    listed = re.findall(r"^   (\w+)$", reference, flags=re.MULTILINE)
    plots = [name for name, plot in vars(plotting).items() if name.startswith(("make_", "plot_")) and callable(plot)]
    assert not {*skvae.__all__, *plots, "DivergenceError", "run_experiment", "summarize"} - set(listed)


@every_estimator
def test_every_parameter_is_documented_once(Estimator):
    section = inspect.getdoc(Estimator).split("Attributes\n---")[0]
    documented = [line.split(" : ")[0] for line in section.splitlines() if " : " in line and not line.startswith(" ")]
    assert sorted(documented) == sorted(inspect.signature(Estimator).parameters)


# Entries in which the docstring of an autoencoder has other words than those of the variational estimators, and why.
DIFFERENT = {
    "head_layer_sizes": "it has one head, they one for each parameter of q(z|x)",
    "history_": 'its "kl" is a penalty, and its "validation" the score itself',
    "active_components_": "without a prior, dimensions are compared with the largest",
}


def entries_of(Estimator):
    """Return the text of each parameter and attribute in a docstring."""
    _, *parts = re.split(r"\n(\w[\w ]*)\n-+\n", inspect.getdoc(Estimator))
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    entries = [re.split(r"\n(?=\S)", sections[name].strip()) for name in ("Parameters", "Attributes")]
    return {entry.split(" : ")[0]: entry for section in entries for entry in section}


def differing_entries(*Estimators):
    entries = [entries_of(Estimator) for Estimator in Estimators]
    shared = {name for name in set().union(*entries) if sum(name in of_one for of_one in entries) > 1}
    assert {"n_components", "random_state", "net_", "uses_network_"} <= shared
    return {name for name in shared if len({of_one[name] for of_one in entries if name in of_one}) > 1}


def test_entries_that_docstrings_share_agree_word_for_word():
    assert differing_entries(*VARIATIONAL) == set()
    assert differing_entries(*ESTIMATORS) == set(DIFFERENT)
