"""Sphinx settings of the documentation site; scripts/make_site.py builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dseg

project = "dseg"
author = "The dseg developers"
version = release = dseg.__version__
language = "en"
highlight_language = "none"
smartquotes = False  # quotes in commands stay as they are typed
nitpicky = True
nitpick_ignore_regex = [  # other packages' pages are not at hand without the network
    ("py:.*", r"(?!dseg\b).*"),
    ("py:class", r"dseg\.[a-z_.]+\._[A-Za-z]\w*"),
]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "html_image"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # pages may begin below a heading of the first level

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"dseg {release}"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"


def is_left_out(
    app: Any, what: str, name: str, found: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields of named tuples, which the text of the class describes."""
    return True if str(found.__doc__).startswith("Alias for field number") else None


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", is_left_out)
