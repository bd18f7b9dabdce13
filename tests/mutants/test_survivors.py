"""The sums of the table of mutants that live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TABLE = (Path(__file__).parents[1] / "mutation_survivors.md").read_text()
# file, mutants, tried, killed
ROW = re.compile(r"^\| `kernelcalc/(\w+)/.*?\| (\d+) \| (\d+) \| (\d+) \(", re.MULTILINE)


@pytest.mark.parametrize("part", ["finite", "gaussian", "kernels", "training"])
def test_nine_of_ten_mutants_of_a_part_die(part: str) -> None:
    rows = [tuple(int(n) for n in numbers) for name, *numbers in ROW.findall(TABLE) if name == part]
    mutants, tried = (sum(column) for column in list(zip(*rows, strict=True))[:2])
    killed = sum(n * died / looked_at for n, looked_at, died in rows) / mutants
    assert killed >= 0.9
    assert f"| `{part}` | {len(rows)} | {mutants} | {tried} | {100 * killed:.1f} % |\n" in TABLE
