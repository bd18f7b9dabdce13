"""Links in a page to files of the repository that are no pages lead to the repository on the web."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://example.org/kernelcalc/blob/main"  # to be filled by a maintainer, as in pyproject.toml


def rewrite(app: Sphinx, docname: str, source: list[str]) -> None:
    """``](path)`` relative to the page becomes a link to the repository where the path leaves docs/ and exists."""
    docs = Path(app.srcdir).resolve()
    here = (docs / docname).parent

    def link(match: re.Match[str]) -> str:
        path, _, anchor = match[1].partition("#")
        target = (here / path).resolve()
        if not path or not target.exists() or target.is_relative_to(docs):
            return match[0]
        return f"]({REPOSITORY}/{target.relative_to(ROOT.resolve())}{'#' + anchor if anchor else ''})"

    source[0] = re.sub(r"\]\((?!\w+:)([^)\s]+)\)", link, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True}
