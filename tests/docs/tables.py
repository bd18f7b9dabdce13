"""Tables of pages that are made from benchmarks/results: ``python -m tests.docs.tables`` writes them anew.

A page says ``<!-- results NAME -->``, and what stands from there to ``<!-- end -->`` is the table that the benchmark stored.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.record import markdown
from tests.docs.blocks import DOCS

_PART = re.compile(r"(<!-- results (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def names_of(text: str) -> list[str]:
    """Results that a page shows."""
    return [match["name"] for match in _PART.finditer(text)]


def with_tables(text: str) -> str:
    """The page with its tables as they are stored."""
    return _PART.sub(lambda match: f"{match[1]}\n{markdown(match['name'])}\n\n", text)


def pages_with_tables() -> list[Path]:
    """Pages that show results."""
    return [page for page in sorted(DOCS.rglob("*.md")) if names_of(page.read_text(encoding="utf-8"))]


if __name__ == "__main__":
    for page in pages_with_tables():
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text), encoding="utf-8")
        print(page, "as it was" if with_tables(text) == text else "changed")
