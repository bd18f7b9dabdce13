"""What a benchmark measured, kept: a table that is printed while it grows and stored in benchmarks/results/NAME.json.

The file has the command, versions, and for every row its date, the machine and its load; the tables of the documentation are
made from it (``python -m tests.docs.tables``). A row is known by its first ``keys`` cells. Rows that a run does not measure
stay, with their date: delete the file to start anew.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kernelcalc

RESULTS = Path(__file__).resolve().parent / "results"
Cell = str | float | int | None


def processor() -> str:
    """Model name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Of Python, of this package, and of those packages that are installed here."""
    found = {"Python": platform.python_version(), "kernelcalc": kernelcalc.__version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_seconds(work: Callable[[], object], runs: int = 3) -> float:
    """Processor seconds of the cheapest of several runs, all threads and child processes together.

    Other work on the machine disturbs them less than wall time.
    """
    found = []
    for _ in range(runs):
        before = _used()
        work()
        found.append(_used() - before)
    return min(found)


def _used() -> float:
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


@dataclass
class Table:
    """Rows of one benchmark: ``Table(name, {column: format})``, then ``add``; only printed where not ``stored``."""

    name: str
    columns: dict[str, str]
    keys: int = 1
    options: str = ""
    packages: tuple[str, ...] = ("numpy", "scipy")
    others: dict[str, str] = field(default_factory=dict)
    stored: bool = True

    def __post_init__(self) -> None:
        print("\n" + _head(list(self.columns)), flush=True)

    def add(self, *values: Cell) -> None:
        """One row, printed and stored at once."""
        if len(values) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} cells, got {len(values)}")
        print(_line(values, self.columns.values()), flush=True)
        machine = f"{processor()}, {os.cpu_count()} cores"
        row = {"measured": date.today().isoformat(), "machine": machine, "load": round(os.getloadavg()[0], 1)}
        if self.stored:
            self._store(row | {"cells": list(values)})

    def _store(self, row: dict[str, Any]) -> None:
        rows = read(self.name)["rows"] if exists(self.name) else []
        keys = [one["cells"][: self.keys] for one in rows]
        key = row["cells"][: self.keys]
        if key in keys:
            rows[keys.index(key)] = row
        else:
            rows.append(row)
        head = {
            "command": f"python benchmarks/{Path(sys.argv[0]).name} {self.options}".rstrip(),
            "versions": versions(*self.packages) | self.others,
            "columns": self.columns,
            "keys": self.keys,
        }
        write(self.name, head | {"rows": rows})


def exists(name: str) -> bool:
    """Whether something is stored under that name."""
    return (RESULTS / f"{name}.json").exists()


def read(name: str) -> dict[str, Any]:
    """What is stored."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def write(name: str, content: dict[str, Any]) -> None:
    """Store, a row a line."""
    head = json.dumps(content | {"rows": []}, indent=1, ensure_ascii=False).removesuffix('"rows": []\n}')
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in content["rows"])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(f'{head}"rows": [\n{rows}\n ]\n}}\n', encoding="utf-8")


def markdown(name: str) -> str:
    """The stored table, and below it where it comes from; where rows differ in that, each says so."""
    content = read(name)
    columns = dict(content["columns"])
    rows = [list(row["cells"]) for row in content["rows"]]
    places = [f"{row['measured']}, {row['machine']}" for row in content["rows"]]
    if len(set(places)) > 1:
        columns["measured"] = ""
        rows = [[*row, place] for row, place in zip(rows, places, strict=True)]
    loads = sorted(row["load"] for row in content["rows"] if row["load"] is not None)
    made = [f"`{content['command']}`", *(places[:1] if len(set(places)) == 1 else [])]
    made += [f"load {loads[0]:g} to {loads[-1]:g}" if loads[0] != loads[-1] else f"load {loads[0]:g}"] if loads else []
    made.append(", ".join(f"{package} {one}" for package, one in content["versions"].items()))
    lines = [_head(list(columns)), *(_line(row, columns.values()) for row in rows)]
    return "\n".join([*lines, "", f"*{'; '.join(made)}.*"])


def _head(columns: list[str]) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def _line(values: Any, formats: Any) -> str:
    return f"| {' | '.join(_shown(v, f) for v, f in zip(values, formats, strict=True))} |"


def _shown(value: Cell, how: str) -> str:
    """A cell as it is shown: large numbers without an exponent."""
    if value is None or isinstance(value, str):
        return value or ""
    text = format(value, how)
    return f"{float(text):.0f}" if "e+" in text else text
