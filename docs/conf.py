"""The documentation site: ``python -m sphinx -W docs build/docs``, without network at build and at view time.

MathJax is the copy that the package django-static-mathjax brings along (extra ``docs``).
"""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from kernelcalc import __version__  # noqa: E402

project = "kernelcalc"
author = "The kernelcalc developers"
copyright = "The kernelcalc developers, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_codeautolink",
    "written_pages",
    "repository_links",
    "code_links",
]
exclude_patterns = ["_ext", "_build"]
nitpicky = False
# words in the types of parameters, such as the kmax of a shape, are taken for names of which there are several;
# an example whose flags of doctest are not shown has no links
suppress_warnings = ["ref.python", "codeautolink.match_block"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3
math_number_all = False
math_eqref_format = "({number})"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# what pages name of other packages, by hand and in plain text: nothing is fetched for a build
intersphinx_mapping = {
    name: (url, str(HERE / "inventories" / f"{name}.inv"))
    for name, url in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "sympy": "https://docs.sympy.org/latest/",
        "matplotlib": "https://matplotlib.org/stable/",
        "pandas": "https://pandas.pydata.org/docs/",
        "xarray": "https://docs.xarray.dev/en/stable/",
        "sklearn": "https://scikit-learn.org/stable/",
        "dask": "https://docs.dask.org/en/stable/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}
codeautolink_concat_default = True
codeautolink_autodoc_inject = False

_MATHJAX = files("mathjax") / "static" / "mathjax" / "es5"
html_static_path = ["_static", str(_MATHJAX / "tex-svg.js")]
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "global"}}

html_theme = "furo"
html_title = f"kernelcalc {__version__}"
html_css_files = ["kernelcalc.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
smartquotes_action = "D"  # dashes; quotes are mostly those of code
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _escaped(line: str) -> str:
    parts = re.split(r"(``.*?``|:math:`.*?`)", line)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = (r"\ " if i and re.match(r"[\w²³]", part) else "") + part.replace("|", r"\|")
    return "".join(parts)


def _bars(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Bars are absolute values, no substitutions, and a letter may follow a literal; formulas and examples stay."""
    inside = -1  # the indentation of a formula's directive
    example = False
    for number, line in enumerate(lines):
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        example = text.startswith(">>>") or (example and bool(text))
        if inside >= 0 and text and indent <= inside:
            inside = -1
        if text.startswith(".. math::"):
            inside = indent
        elif inside < 0 and not example:
            lines[number] = _escaped(line)


def _skip(app: object, what: str, name: str, obj: object, skip: bool, options: object) -> bool:
    """scikit-learn adds methods about routing of metadata to every estimator."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def _bars_of_commands(app: object, ctx: object, lines: list[str]) -> None:
    """Bars are no substitutions, options no dashes, and an example is code."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((".. ", ":")):
            text = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"``\1``", line).replace("|", r"\|")
            lines[number] = re.sub(r"^(\s*)Example: (.*)", r"\1Example: ``\2``", line) if "Example: " in line else text


def setup(app: object) -> None:
    for part in ("description", "options", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _bars_of_commands)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", _bars)  # type: ignore[attr-defined]
    app.connect("autodoc-skip-member", _skip)  # type: ignore[attr-defined]
