"""The documentation site: `make docs` writes it into build/site.

The source is the repository itself, so that links between guides, studies and
notebooks are the same on the site and where the repository is read.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gpt2_jax.version import __version__  # noqa: E402  (found by the line above)

project = "gpt2-jax"
author = "the authors of gpt2-jax"
copyright = author
release = version = __version__

extensions = ["myst_nb"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "experiments/*.md",
    "experiments/*/*.md",
    "gpt2_jax/assets/**/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
]
exclude_patterns = ["build", ".venv", "**/.*", "experiments/*/table.md"]

# Notebooks are shown as they are kept; tests/docs/test_notebooks.py executes them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # a model card may begin with a second heading
    "misc.highlighting_failure",  # a JSON line that is shortened is no JSON
]

html_theme = "sphinx_book_theme"
html_title = "gpt2-jax"
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True}
html_extra_path = ["site"]  # from the address of the site to docs/index.html
html_copy_source = False
