"""What an experiment hands back: tables, a picture, and what is to be said about them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, MissingExtraError, ShapeError, UnknownNameError
from kernelcalc.output.files import writable_folder, write_csv, write_figure
from kernelcalc.output.style import applied

# Rows of the main table that the terminal shows; the file has all.
_SHOWN = 60


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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """Tables and picture of one experiment.

    Attributes
    ----------
    name : str
        Of the experiment, and of the picture.
    title : str
        What was done, in a line or two.
    tables : mapping from str to (mapping from str to array)
        Columns by table; the first table is the one that is shown.
    notes : tuple of str
        What the columns mean, and what the limit theory does not cover.
    draw : callable
        Returns the matplotlib figure.
    verdicts : tuple of Verdict
        What becomes of the claims of whoever did the experiment first.
    """

    name: str
    title: str
    tables: Mapping[str, Mapping[str, Array]]
    notes: tuple[str, ...]
    draw: Callable[[], Any]
    verdicts: tuple[Verdict, ...] = ()

    def __post_init__(self) -> None:
        frozen: dict[str, dict[str, Array]] = {}
        for table, columns in self.tables.items():
            arrays = {name: np.array(column) for name, column in columns.items()}
            if len({array.shape for array in arrays.values()}) > 1 or any(a.ndim != 1 for a in arrays.values()):
                shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
                raise ShapeError(f"columns of equal length in the table {table}", shapes)
            for array in arrays.values():
                array.flags.writeable = False
            frozen[table] = arrays
        if not frozen:
            raise InputError("at least one table", "none")
        object.__setattr__(self, "tables", frozen)

    def __getitem__(self, column: str) -> Array:
        """A column of the main table."""
        main = next(iter(self.tables.values()))
        if column not in main:
            raise UnknownNameError("a column", column, main)
        return main[column]

    def figure(self) -> Any:
        """The picture, attached to no window, in the house's look where the user's own settings say nothing."""
        with applied():
            return self.draw()

    def to_dataframe(self, table: str | None = None) -> Any:
        """One table (by default the main one) as :class:`pandas.DataFrame`.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("pandas", "table", "to_dataframe") from error
        chosen = next(iter(self.tables)) if table is None else table
        if chosen not in self.tables:
            raise UnknownNameError("a table", chosen, self.tables)
        return pd.DataFrame(dict(self.tables[chosen]))

    def write(self, folder: str | os.PathLike[str], *, picture: bool = True) -> tuple[Path, ...]:
        """One CSV file a table and one PNG file in the style in force; the picture is drawn before anything is written.

        Raises
        ------
        OutputFileError
            The folder cannot be written to.
        MissingExtraError
            A picture is wanted and matplotlib is not installed.
        """
        figure = self.figure() if picture else None
        target = writable_folder(folder)
        written = [write_csv(target / f"{table}.csv", columns) for table, columns in self.tables.items()]
        if figure is not None:
            written.append(write_figure(target / f"{self.name}.png", figure))
        return tuple(written)

    def __str__(self) -> str:
        name, columns = next(iter(self.tables.items()))
        rows = len(next(iter(columns.values()), []))
        shown = {column: array[:_SHOWN] for column, array in columns.items()}
        lines = [self.title, "", aligned(shown)]
        if rows > _SHOWN:
            lines.append(f"... {rows} rows in all, see {name}.csv")
        lines += ["", *(f"- {note}" for note in self.notes)]
        if self.verdicts:
            lines += ["", "What becomes of the claims in this run:", *(f"- {verdict}" for verdict in self.verdicts)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<experiment {self.name}: tables {', '.join(self.tables)}>"


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
