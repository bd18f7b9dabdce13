"""Formulas of docs/understand are numbered, each beside the code that computes it and the test that checks it."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path

import pytest

import kernelcalc as kc
from kernelcalc.kernels import layers
from tests.docs.blocks import DOCS, ROOT

PAGES = sorted((DOCS / "understand").glob("*.md"))
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
# a derivation, its steps tested as they stand on the page (tests/kernels/test_first_order_recursion.py)
DERIVATION = DOCS / "understand" / "finite_width_derivation.md"
LABELS = [(page, label) for page in PAGES for label in re.findall(r"^:label: (eq-\S+)$", TEXTS[page], re.MULTILINE)]
CODE = re.compile(r"`(?:kc\.)?([A-Za-z_][\w.]*\w)`")


def rows_of(page: Path, label: str) -> list[str]:
    """Rows of the page's tables that name an equation."""
    return [line for line in TEXTS[page].splitlines() if line.startswith("|") and f"{{eq}}`{label}`" in line]


def known(name: str) -> bool:
    """Whether a name in code signs is one: of the front door, of a layer, of a network, a loss or a result."""
    for start in (kc, layers, kc.phase, kc.losses.Loss, kc.Trajectory):
        if name in getattr(start, "__dataclass_fields__", ()):
            return True
        try:
            reduce(getattr, name.split("."), start)
        except AttributeError:
            continue
        return True
    return False


def test_every_formula_is_numbered() -> None:
    assert len(LABELS) > 25
    assert len({label for _, label in LABELS}) == len(LABELS)
    for page, text in TEXTS.items():
        assert not re.findall(r"^\$\$", text, re.MULTILINE), page
        blocks = re.findall(r"^```\{math\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert all(block.startswith(":label: eq-") for block in blocks), page


RESULTS = [(page, label) for page, label in LABELS if page != DERIVATION]


@pytest.mark.parametrize(("page", "label"), RESULTS, ids=[label for _, label in RESULTS])
def test_a_formula_has_code_and_test(page: Path, label: str) -> None:
    [row] = rows_of(page, label)
    code, test = row.strip("|").split("|")[-2:]
    assert re.search(r"\]\(\.\./\.\./tests/[\w/]+\.py\)", test), row
    assert re.search(r"kernelcalc/|`", code), row
    for path in re.findall(r"\]\((\.\./\.\./[\w/.]+)\)", row):
        assert (page.parent / path).resolve().is_relative_to(ROOT.resolve())
        assert (page.parent / path).exists(), path
    for name in CODE.findall(code):
        if "/" not in name and not name.endswith(".py"):
            assert known(name), name


def test_errata_have_evidence() -> None:
    rows = [
        line.strip("|").split("|") for line in _plain(TEXTS[DOCS / "understand" / "errata.md"]) if line.startswith("|")
    ]
    assert len(rows) > 10
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    assert any("sqrt{2c}" in row[0] for row in rows)


def _plain(text: str) -> list[str]:
    """Lines with bars of norms taken out of the way."""
    return text.replace(r"\|", "‖").splitlines()
