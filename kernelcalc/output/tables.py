"""Tables that are filled row by row, as text too, and what is said of claims."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import Array


class Table:
    """Columns that are filled row by row.

    Examples
    --------
    >>> table = Table("k", "value")
    >>> table.add(1, 0.5)
    >>> table.extend(2, np.array([0.25, 0.75]))
    >>> {name: column.tolist() for name, column in table.columns().items()}
    {'k': [1, 2, 2], 'value': [0.5, 0.25, 0.75]}
    """

    def __init__(self, *names: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, *values: Any) -> None:
        """One row."""
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def extend(self, *columns: Any) -> None:
        """Many rows: arrays of equal length, single values are repeated."""
        arrays = np.broadcast_arrays(*(np.asarray(column) for column in columns))
        for column, array in zip(self._columns.values(), arrays, strict=True):
            column.extend(array.tolist())

    def columns(self) -> dict[str, Array]:
        """The columns as arrays."""
        return {name: np.array(column) for name, column in self._columns.items()}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run says of one claim: a number, and between which bounds it had to be.

    Attributes
    ----------
    source : str
        Where the claim is made.
    claim : str
        In a few words.
    measured : str
        What the number is.
    number : float
        Of this run; not a number where the run does not have it.
    above, below : float
        Bounds between which the claim counts as reproduced.
    undecided : str
        Why no number of this run can decide it, if so.

    Examples
    --------
    >>> verdict = Verdict(source="2016, Figure 9", claim="it grows", measured="end/start", number=0.8, above=1.0)
    >>> print(verdict)
    not reproduced: it grows (2016, Figure 9); end/start 0.8, wanted at least 1
    """

    source: str
    claim: str
    measured: str
    number: float
    above: float = -math.inf
    below: float = math.inf
    undecided: str = ""

    @property
    def outcome(self) -> str:
        """In words: reproduced, not reproduced, or cannot be decided here."""
        if self.undecided or math.isnan(self.number):
            return "cannot be decided here"
        return "reproduced" if self.above <= self.number <= self.below else "not reproduced"

    @property
    def wanted(self) -> str:
        """The bounds in words."""
        low, high = math.isfinite(self.above), math.isfinite(self.below)
        if low and high:
            return f"{self.above:.4g} to {self.below:.4g}"
        return f"at least {self.above:.4g}" if low else f"at most {self.below:.4g}" if high else ""

    def __str__(self) -> str:
        number = "-" if math.isnan(self.number) else f"{self.number:.3g}"
        wanted = f", wanted {self.wanted}" if self.wanted else ""
        why = self.undecided or ("not in this run" if math.isnan(self.number) else "")
        return f"{self.outcome}: {self.claim} ({self.source}); {self.measured} {number}{wanted}{why and ': ' + why}"


def verdict_columns(verdicts: Iterable[Verdict]) -> dict[str, Array]:
    """A row a verdict."""
    rows = Table("source", "claim", "verdict", "measured", "number", "wanted", "why")
    for one in verdicts:
        rows.add(one.source, one.claim, one.outcome, one.measured, float(one.number), one.wanted, one.undecided)
    return rows.columns()


def aligned(columns: Mapping[str, Array]) -> str:
    """Columns as text, numbers to four digits and to the right.

    Examples
    --------
    >>> print(aligned({"who": np.array(["a", "bc"]), "value": np.array([1.0, 0.123456]), "n": np.array([1, 20])}))
    who   value   n
    a         1   1
    bc   0.1235  20
    """
    parts = []
    for name, array in columns.items():
        cells = [name, *map(_cell, array.tolist())]
        width = max(map(len, cells))
        numbers = array.dtype.kind in "biuf"
        parts.append([cell.rjust(width) if numbers else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*parts, strict=True))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    return str(value)
