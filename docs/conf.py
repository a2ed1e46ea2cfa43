"""Configuration of Sphinx. `sphinx-build -W --keep-going -b html docs docs/_build/html` makes the site."""

import re
import shutil
from pathlib import Path

from skvae import __version__
from skvae.__main__ import main

project = "skvae"
author = "the developers of skvae"
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
nitpicky = True
default_role = "literal"

# The pages in Markdown: their links to one another and to headings work on a code host too.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# The API, from the docstrings
autosummary_generate = True
autodoc_typehints = "none"
maximum_signature_line_length = 100
numpydoc_show_class_members = False
numpydoc_validation_checks = {
    "all",
    "ES01",  # a summary is enough where it says all
    "EX01",  # methods are shown in the example of their class
    "GL01",  # the summary stands beside the quotes, as ruff has it
    "PR03",  # arguments by keyword have no order: a model's own come first
    "RT02",  # results have names
    "SA01",  # related names are linked where there are some
}

# The gallery: all examples are run
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "NumberOfCodeLinesSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "image_srcset": ["2x"],
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("skvae",),
}

# The look: nothing is loaded from elsewhere
html_theme = "pydata_sphinx_theme"
html_title = f"skvae {version}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_css_files = ["skvae.css"]
html_sidebars = {name: [] for name in ("index", "get_started", "coming_from")}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skvae"},
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": {"**": ["page-toc"], "coming_from": []},
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
copyright = f"{author}, BSD-3-Clause"  # noqa: A001


def link_examples(app, docname, source):  # noqa: ARG001
    """Lead links to the source of examples, which are for a code host, to their pages in the gallery."""
    source[0] = re.sub(r"\(\.\./examples/(\w+)\.py\)", r"(gallery/\1.rst)", source[0])
    source[0] = source[0].replace("(../examples)", "(gallery/index.rst)")


def write_report(app, error):
    """Make the report of simulated cells that a page leads to, by the command as it is now."""
    if error is None:
        folder = Path(app.doctreedir) / "cells"  # where the next build finds what is done
        main(["--models", "beta-vae", "pca", "--output-dir", str(folder)])
        shutil.copy(folder / "report.html", Path(app.outdir) / "report.html")


def setup(app):
    app.connect("source-read", link_examples)
    app.connect("build-finished", write_report)
