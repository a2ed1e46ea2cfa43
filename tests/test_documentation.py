"""The code blocks of the documents run, and so do the examples."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from skvae.likelihoods import LIKELIHOODS

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in ("counts", "extending", "reliability", "scaling")))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def likelihoods_restored():
    before = dict(LIKELIHOODS)
    yield
    LIKELIHOODS.clear()
    LIKELIHOODS.update(before)


@pytest.mark.filterwarnings("ignore:The least populated class in y has only")
@pytest.mark.usefixtures("likelihoods_restored")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_code_of_a_document_runs(document, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks), {})


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(example, tmp_path):
    assert len(example.read_text().splitlines()) <= 60
    output = subprocess.run([sys.executable, example], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert output.stdout


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
