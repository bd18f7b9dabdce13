"""What an experiment hands back: tables, a picture, and what is to be said about them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arrays import Array
from kernelcalc.errors import InputError, MissingExtraError, ShapeError, UnknownNameError
from kernelcalc.output.files import writable_folder, write_csv, write_figure
from kernelcalc.output.overview import plot_columns
from kernelcalc.output.style import applied, matplotlib_part
from kernelcalc.output.tables import Verdict, aligned
from kernelcalc.results.result import Result

# Rows of the main table that the terminal shows; the file has all.
_SHOWN = 60
# Dots per inch of the picture in a file of the result.
_FILE_DPI = 150


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExperimentResult(Result):
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
    draw : callable, optional
        Returns the matplotlib figure.
    verdicts : tuple of Verdict
        What becomes of the claims of whoever did the experiment first.
    drawn : uint8 array, optional
        The picture as bytes of a PNG file, where the result comes from a file.

    Notes
    -----
    In :meth:`to_xarray` a row of a table is an axis; columns of the main table have their own names, those of others that of
    their table in front.
    """

    name: str
    title: str
    tables: Mapping[str, Mapping[str, Array]]
    notes: tuple[str, ...]
    draw: Callable[[], Any] | None = None
    verdicts: tuple[Verdict, ...] = ()
    drawn: Array | None = None

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

    @property
    def main(self) -> Mapping[str, Array]:
        """Columns of the main table."""
        return next(iter(self.tables.values()))

    def __getitem__(self, column: str) -> Array:
        """A column of the main table."""
        if column not in self.main:
            raise UnknownNameError("a column", column, self.main)
        return self.main[column]

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        return {name: (f"{table}_row",) for name, (table, _) in self._places().items()}

    def array(self, name: str) -> Any:
        table, column = self._places()[name]
        return self.tables[table][column]

    def _places(self) -> dict[str, tuple[str, str]]:
        """Table and column of each array."""
        main = next(iter(self.tables))
        return {
            column if table == main else f"{table}.{column}": (table, column)
            for table, columns in self.tables.items()
            for column in columns
        }

    def columns(self) -> dict[str, Array]:
        """The main table."""
        return dict(self.main)

    def to_dataframe(self, table: str | None = None) -> Any:
        """One table (by default the main one) as :class:`pandas.DataFrame`.

        Raises
        ------
        UnknownNameError
            No such table.
        MissingExtraError
            pandas is not installed.
        """
        frame = super().to_dataframe()
        if table is None:
            return frame
        if table not in self.tables:
            raise UnknownNameError("a table", table, self.tables)
        other = type(frame)(dict(self.tables[table]))
        other.attrs.update(frame.attrs)
        return other

    def figure(self) -> Any:
        """The picture, attached to no window, in the house's look where the user's own settings say nothing.

        That of a result from a file is the one that was drawn when it was written.

        Raises
        ------
        InputError
            The file was written without matplotlib, hence without a picture.
        MissingExtraError
            matplotlib is not installed.
        """
        with applied():
            if self.draw is not None:
                return self.draw()
            if self.drawn is None:
                raise InputError("a result with a picture", f"{self!r} from a file without one")
            image = matplotlib_part("image").imread(io.BytesIO(self.drawn.tobytes()))
            figure = matplotlib_part("figure").Figure(
                figsize=(image.shape[1] / _FILE_DPI, image.shape[0] / _FILE_DPI), dpi=_FILE_DPI
            )
            figure.figimage(image)
            return figure

    def plot(self, ax: Any = None) -> Any:
        """Draw the numbers of the main table against its first column of numbers; :meth:`figure` is the whole picture."""
        return plot_columns(ax, self.main)

    def small_figure(self) -> Any:
        return self.figure()

    def stored(self) -> dict[str, Any]:
        return super().stored() | {"draw": None, "drawn": self._png()}

    def _png(self) -> Array | None:
        """The picture for a file; none without matplotlib."""
        if self.drawn is not None:
            return self.drawn
        try:
            figure = self.figure()
        except MissingExtraError:
            return None
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=_FILE_DPI)
        return np.frombuffer(file.getvalue(), dtype=np.uint8)

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
