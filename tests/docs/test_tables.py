"""Tables of measurements on the pages are what the benchmarks stored, and every stored result is shown."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

import kernelcalc as kc
from benchmarks.record import RESULTS, markdown, read
from tests.docs.blocks import DOCS, ROOT
from tests.docs.tables import names_of, pages_with_tables, with_tables

STORED = sorted(path.stem for path in RESULTS.glob("*.json"))


@pytest.mark.parametrize("page", pages_with_tables(), ids=lambda page: page.stem)
def test_page_is_what_is_stored(page: Path) -> None:
    """Where this fails: ``python -m tests.docs.tables``."""
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- results ") == len(names_of(text))
    assert with_tables(text) == text


def test_all_results_are_shown_and_a_changed_one_is_seen() -> None:
    shown = [name for page in pages_with_tables() for name in names_of(page.read_text(encoding="utf-8"))]
    assert sorted(shown) == STORED
    page = (DOCS / "lookup" / "speed.md").read_text(encoding="utf-8")
    row = markdown("speed").splitlines()[3]
    assert with_tables(page.replace(row, row.replace("|", "| 1", 1))) != page.replace(row, row.replace("|", "| 1", 1))


@pytest.mark.parametrize("name", STORED)
def test_a_result_says_where_it_is_from(name: str) -> None:
    content = read(name)
    script = re.fullmatch(r"python (benchmarks/[\w/]+(?:\.py)?)(?: --\w+)*", content["command"])
    assert script
    assert (ROOT / script[1]).exists()
    assert {"Python", "kernelcalc"} <= content["versions"].keys()
    keys = [row["cells"][: content["keys"]] for row in content["rows"]]
    assert len({str(key) for key in keys}) == len(keys)
    for row in content["rows"]:
        assert len(row["cells"]) == len(content["columns"])
        assert date.fromisoformat(row["measured"]).year >= 2026
        assert row["machine"]


def test_features_of_this_package_are_what_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own column is tried again; the peers' are tried where they are installed, by ``python benchmarks/features``."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "features"))
    from ours import CELLS

    rows = {row["cells"][0]: row["cells"] for row in read("features")["rows"]}
    column = list(read("features")["columns"]).index("kernelcalc")
    assert {feature: check() for feature, check in CELLS.items()} == {name: row[column] for name, row in rows.items()}
    for row in rows.values():
        assert not [cell for cell in row if "look at" in cell]
    assert "version" not in rows
    assert read("features")["versions"]["kernelcalc"] == kc.__version__
