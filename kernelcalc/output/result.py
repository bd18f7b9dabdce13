"""What an experiment hands back: tables, a picture, and what is to be said about them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, MissingExtraError, ShapeError, UnknownNameError
from kernelcalc.output.files import writable_folder, write_csv, write_figure

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
    """

    name: str
    title: str
    tables: Mapping[str, Mapping[str, Array]]
    notes: tuple[str, ...]
    draw: Callable[[], Any]

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
        """The picture, attached to no window."""
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
        """One CSV file a table and one PNG file; the picture is drawn before anything is written.

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
            written.append(write_figure(target / f"{self.name}.png", figure, dpi=150))
        return tuple(written)

    def __str__(self) -> str:
        name, columns = next(iter(self.tables.items()))
        rows = len(next(iter(columns.values()), []))
        shown = {column: array[:_SHOWN] for column, array in columns.items()}
        lines = [self.title, "", aligned(shown)]
        if rows > _SHOWN:
            lines.append(f"... {rows} rows in all, see {name}.csv")
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

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
