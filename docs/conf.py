"""How Sphinx builds the site: `make docs`. Pages load nothing from elsewhere, and have no mathematics to render:
equations are plain text, since MathJax would come from a server or weigh more than the site."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import langsteer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import make_reference  # noqa: E402

project = "langsteer"
author = "The langsteer authors"
copyright = author
release = version = langsteer.__version__
language = "en-GB"

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing.external"]

nb_execution_mode = os.environ.get("LANGSTEER_NOTEBOOKS", "cache")  # off: shown without outputs
nb_execution_timeout = 1200
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress
nb_number_source_lines = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"
python_use_unqualified_type_names = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of torch and others; links of pages are checked

html_theme = "furo"
html_title = f"langsteer {release}"
html_static_path = ["_static"]
html_css_files = ["langsteer.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5d8a", "color-brand-content": "#0b5d8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ee", "color-brand-content": "#7cc4ee"},
}
linkcheck_ignore = [r"https://doi\.org/.*", r"https://www\.jstor\.org/.*"]  # refuse programs


def open_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Let links to example pages open them, where Sphinx would offer them for saving."""
    for link in list(doctree.findall(addnodes.download_reference)):
        target = str(link["reftarget"])
        if "examples/" in target and target.endswith(".html"):
            depth = app.env.docname.count("/")
            page = "../" * depth + target[target.index("examples/") :]
            link.replace_self(nodes.reference("", "", *link.children, refuri=page))


def link_results(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links to Markdown that is outside the site lead to the file."""
    source[0] = re.sub(r"\]\((\.\./\.\./benchmarks/[^)#]+\.md)\)", r"](path:\1)", source[0])


def copy_pages(app: Sphinx, failure: Exception | None) -> None:
    """Put the example pages beside the site's own."""
    if failure is None and app.builder.format == "html":
        shutil.copytree(HERE / "examples", Path(app.outdir) / "examples", dirs_exist_ok=True)


def plain_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are plain text: make their indented parts literal blocks."""
    lines[:] = make_reference.as_rst(lines)


def setup(app: Sphinx) -> None:
    """Connect the above, and write the pages of the reference anew."""
    make_reference.write(HERE / "reference" / "python")
    app.connect("source-read", link_results)
    app.connect("doctree-read", open_pages)
    app.connect("build-finished", copy_pages)
    app.connect("autodoc-process-docstring", plain_docstring)
