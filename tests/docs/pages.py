"""The tables of a page in docs/."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_ROW = re.compile(r"^\| `(?P<left>[^|]+)` \| `(?P<right>[^|]+)` \|", flags=re.MULTILINE)


def rows(page: str) -> list[tuple[str, str, str]]:
    """(heading, code of the left cell, code of the right cell) of every row with two."""
    found = []
    for part in (DOCS / page).read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = part.splitlines()[0]
        found += [(heading, match["left"], match["right"]) for match in _ROW.finditer(part)]
    return found
