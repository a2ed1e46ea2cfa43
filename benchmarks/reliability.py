"""Reliability: run the tests of each promise, and write what they tried into the table of docs/reliability.md.

`python benchmarks/reliability.py` takes some minutes. Each module of tests begins with the promise that it holds, and
its tests record how much they tried: inputs, kills, corruptions. A failure is counted as unexplained.
"""

import argparse
import ast
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table by benchmarks/reliability.py -->\n", "<!-- end of table -->\n"
MODULES = (
    "promises/test_hard_data",
    "promises/test_interrupts",
    "promises/test_resume",
    "promises/test_persistence",
    "promises/test_determinism",
    "promises/test_fuzzing",
    "promises/test_downloads",
    "promises/test_memory",
    "promises/test_names",
    "promises/test_process_state",
    "promises/test_parameters_as_used",
    "promises/test_foreign_types",
    "promises/test_scorers",
    "promises/test_hostile_files",
    "modules/test_hostile_stores",
    "promises/test_forged_files",
    "processes/test_unlike_processes",
    "promises/test_soak",
)


def file_of(module):
    return f"tests/{module}.py"


def promise_of(module):
    """Return the docstring of a module of tests."""
    return ast.get_docstring(ast.parse((ROOT / file_of(module)).read_text()))


def run(module):
    """Run the tests of a module; return the number of tests by outcome, and the sums of what they recorded."""
    outcomes, recorded = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = ["-q", "-m", "slow or not slow", f"--junitxml={report}"]
        subprocess.run([sys.executable, "-m", "pytest", *options, file_of(module)], cwd=ROOT, check=False)
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            outcomes["failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"] += 1
            for prop in case.iter("property"):
                recorded[prop.get("name")] += int(prop.get("value"))
    return outcomes, recorded


def row(module):
    outcomes, recorded = run(module)
    tried = ", ".join(f"{number:,} {name}" for name, number in recorded.items()) or "-"
    cells = [promise_of(module), f"`{file_of(module)}`, {outcomes.total():,}", tried, str(outcomes["failed"])]
    return "| " + " | ".join(cells) + " |\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=MODULES, help="only these, and print instead of writing")
    modules = parser.parse_args().modules
    table = "| promise | tests | tried | unexplained |\n|---|---|---|---|\n" + "".join(map(row, modules))
    if tuple(modules) != MODULES:
        print(table)
        return
    before, rest = DOCUMENT.read_text().split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(before + BEGIN + table + END + after)


if __name__ == "__main__":
    main()
