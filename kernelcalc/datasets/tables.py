"""Tables read by pandas: separated text, Parquet, DataFrames."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.datasets.columns import EMPTY, Columns, names_count, names_rows
from kernelcalc.datasets.data import Data, Request, finite, listed
from kernelcalc.datasets.dialect import (
    MISSING,
    NO_LABEL,
    Layout,
    is_measured,
    is_number,
    layout,
    looks_like_number,
    split_line,
)
from kernelcalc.errors import DataFileError, MissingExtraError, NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# The first release that reads decimal numbers to the nearest float64 by default.
_EXACT_SINCE = (3, 1)
_TOO_LONG = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_OPEN_QUOTE = re.compile(r"EOF inside string starting at row (\d+)")
# 1,234 and 1,234,567: a decimal comma or thousands.
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")


def pandas_for(purpose: str) -> Any:
    """The module pandas.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise MissingExtraError("pandas", "table", purpose) from error


def read_text(text: str, source: str, request: Request) -> Data:
    """Points and labels from separated text.

    Raises
    ------
    MissingExtraError
        pandas is not installed.
    DataFileError, NotFiniteError
        What is wrong, and where.
    """
    found, frame = text_frame(text, source, request)
    names = _full_names(found.names, frame, source)
    try:
        return from_frame(frame, names, source, request, found.notes)
    except DataFileError:
        # An empty cell may be one that is not there.
        _refuse_ragged(found, frame.shape[1], source)
        raise


def text_frame(text: str, source: str, request: Request, separator: str | None = None) -> tuple[Layout, Any]:
    """The layout of a text and its cells as a DataFrame without names."""
    pandas = pandas_for("reading a table")
    found = layout(text, source, request.header, request.decimal, separator)
    exact = tuple(int(part) for part in pandas.__version__.split(".")[:2]) >= _EXACT_SINCE
    try:
        frame = pandas.read_csv(
            io.StringIO("\n".join(found.lines) + "\n"),
            sep=r"\s+" if found.separator == " " else found.separator,
            header=None, decimal=request.decimal, na_filter=False, skipinitialspace=True, low_memory=False,
            **({} if exact else {"float_precision": "round_trip"}),
        )  # fmt: skip
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, ValueError) as error:
        match, quote = _TOO_LONG.search(str(error)), _OPEN_QUOTE.search(str(error))
        if quote is not None:
            raise DataFileError("quotes that close", f"one that does not in row {quote[1]} of {source}") from error
        if match is None:
            raise DataFileError("a table", f"{source}: {error}") from error
        width, line, cells = map(int, match.groups())
        raise DataFileError(f"{width} columns in every row", f"{cells} in row {line - 1} of {source}") from error
    # What a separator at the end of every line leaves behind.
    while frame.shape[1] > 1 and frame.dtypes.iloc[-1].kind == "O" and not (frame.iloc[:, -1] != "").any():
        if found.names is not None and len(found.names) >= frame.shape[1] and found.names[frame.shape[1] - 1]:
            break
        frame = frame.iloc[:, :-1]
    return found, frame


def _full_names(names: Sequence[str] | None, frame: Any, source: str) -> tuple[str, ...] | None:
    """As many names as columns; R leaves out the name of the row names."""
    if names is None:
        return None
    width, given = frame.shape[1], list(names)
    while len(given) > width and not given[-1]:
        given.pop()
    if len(given) == width - 1 and (_kind(frame.iloc[:, 0])[0] == "text" or _counts(frame.iloc[:, 0])):
        given.insert(0, "")
    if len(given) != width:
        raise DataFileError("a name for every column", f"{len(given)} names and {width} columns in {source}")
    return (given[0], *(name or str(i) for i, name in enumerate(given[1:], 1)))


def _refuse_ragged(found: Layout, width: int, source: str) -> None:
    if any('"' in line for line in found.lines):
        return
    for row, line in enumerate(found.lines):
        cells = split_line(line, found.separator)
        if len(cells) < width:
            raise DataFileError(f"{width} columns in every row", f"{len(cells)} in row {row} of {source}")


def read_columnar(content: bytes, kind: str, source: str, request: Request) -> Data:
    """Points and labels from a file of kind "Parquet" or "Feather".

    Raises
    ------
    MissingExtraError
        pandas or pyarrow is not installed.
    DataFileError
        The file cannot be read.
    """
    pandas = pandas_for(f"reading {kind}")
    try:
        frame = (pandas.read_parquet if kind == "Parquet" else pandas.read_feather)(io.BytesIO(content))
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", f"reading {kind}") from error
    except Exception as error:  # pyarrow has a hierarchy of its own
        raise DataFileError(f"a {kind} file", f"{source}: {error}") from error
    return read_frame(frame, source, request)


def read_frame(frame: Any, source: str, request: Request) -> Data:
    """Points and labels from a DataFrame; its index is neither."""
    names = [str(name) for name in frame.index.names if name is not None]
    # whole numbers without a name count the rows, or did before some were chosen
    plain = not names and frame.index.nlevels == 1 and frame.index.dtype.kind in "iu"
    notes = (
        () if plain or not len(frame) else (" ".join(["left out: the index", *([", ".join(names)] if names else [])]),)
    )
    return from_frame(frame.reset_index(drop=True), tuple(map(str, frame.columns)), source, request, notes)


def from_frame(
    frame: Any, names: tuple[str, ...] | None, source: str, request: Request, notes: tuple[str, ...] = ()
) -> Data:
    """Points and labels from the columns of a DataFrame, by their roles.

    Raises
    ------
    DataFileError, NotFiniteError
        Roles that are not clear; cells that are no finite numbers, with row and column.
    """
    if not len(frame) or not frame.shape[1]:
        raise DataFileError("at least one data point", f"none in {source}")
    kinds = [_kind(frame.iloc[:, i]) for i in range(frame.shape[1])]
    text = {i: what for i, (kind, what) in enumerate(kinds) if kind != "number"}
    columns = Columns(
        names=tuple(map(str, range(frame.shape[1]))) if names is None else names,
        named=names is not None,
        source=source,
        text=text,
        unique=frozenset(i for i in text if frame.iloc[:, i].map(_as_text).nunique() == len(frame)),
        measured=frozenset(i for i, (kind, _) in enumerate(kinds) if kind == "measured"),
        counting=_counts(frame.iloc[:, 0]),
        numbering=frozenset(
            i
            for i, name in enumerate(names or ())
            if (names_rows(name) and _numbers_the_rows(frame.iloc[:, i]))
            or (names_count(name) and _counts(frame.iloc[:, i]))
        ),
    )
    roles = columns.roles(request)
    y = None
    if roles.labels:
        chosen = [(frame.iloc[:, i], _called(columns, i)) for i in roles.labels]
        y = labels_of(*chosen[0], source, request.decimal) if len(chosen) == 1 else None
        if y is None:
            y = np.stack([_numbers(column, name, source, request.decimal) for column, name in chosen], axis=1)
    points = frame.iloc[:, list(roles.points)]
    if all(dtype.kind in "iuf" for dtype in points.dtypes) and all(isinstance(d, np.dtype) for d in points.dtypes):
        x = points.to_numpy(dtype=np.float64)
    else:
        named = [(points.iloc[:, k], _called(columns, i)) for k, i in enumerate(roles.points)]
        x = np.stack([_numbers(column, name, source, request.decimal) for column, name in named], axis=1)
    finite(x, "points", [repr(columns.names[i]) if columns.named else columns.names[i] for i in roles.points], source)
    chosen_names = [columns.names[i] for i in roles.points]
    return Data(
        X=np.ascontiguousarray(x),
        y=y,
        source=source,
        points=f"column{'s'[: len(chosen_names) - 1]} {listed(chosen_names)}",
        labels=f"column{'s'[: len(roles.labels) - 1]} {listed([columns.names[i] for i in roles.labels])}",
        notes=(*notes, *roles.notes),
        candidates=tuple(chosen_names) if len(chosen_names) > 1 else (),
    )


def _called(columns: Columns, i: int) -> str:
    return f"column {columns.names[i]!r}" if columns.named else f"column {i}"


def _kind(column: Any) -> tuple[str, str]:
    """Whether a column is "number", which a bad cell does not change, "text", or "measured"; what the latter begin with.

    Measured are numbers and times in other forms, and cells that are lists: nothing that names a class.
    """
    dtype = column.dtype
    if dtype.kind in "iufb":
        return "number", ""
    if dtype.kind in "Mmc":
        return "measured", f"{dtype}"
    given = column[~column.isna()]
    cells = [_as_text(cell) for cell in given]
    full = [cell for cell in cells if cell.casefold() not in MISSING]
    numbers = sum(looks_like_number(cell) for cell in full)
    if full and numbers >= len(full) / 2:
        return "number", ""
    if any(isinstance(cell, list | tuple | dict | set | np.ndarray) for cell in given):
        return "measured", f"{cells[0]!r}"
    if full and is_measured(full):
        return "measured", repr(next(cell for cell in full if not looks_like_number(cell)))
    return "text", repr(full[0]) if full else EMPTY


def _as_text(cell: Any) -> str:
    return (cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else str(cell)).strip()


def _counts(column: Any) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ... down the rows."""
    if column.dtype.kind not in "iu" or len(column) < 3 or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.int64)
    return int(values[0]) in (0, 1) and bool((np.diff(values) == 1).all())


def _numbers_the_rows(column: Any) -> bool:
    if column.dtype.kind not in "iuf" or column.isna().any() or not (column % 1 == 0).all():
        return False
    return len(column) > 1 and column.nunique() == len(column)


def _numbers(column: Any, name: str, source: str, decimal: str) -> Array:
    """A column as finite numbers.

    Raises
    ------
    DataFileError, NotFiniteError
        With the row of the first cell that is none.
    """
    pandas = pandas_for("reading a table")
    kind = column.dtype.kind
    if kind in "iufb":
        missing = column.isna().to_numpy()
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    elif kind in "Mmc":
        raise DataFileError("numbers", f"{column.dtype} in {name} of {source}")
    else:
        cells = [cell.strip() if isinstance(cell, str) else cell for cell in column.astype(object)]
        if decimal == ",":
            cells = [
                "?" if _in_thousands(cell) else cell.replace(",", ".") if isinstance(cell, str) else cell
                for cell in cells
            ]
        values = pandas.to_numeric(pandas.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
        missing = np.isnan(values)
    wrong = missing | ~np.isfinite(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        _refuse(column.iloc[row], f"row {row}, {name} of {source}", decimal)
    return np.asarray(values)


def _refuse(cell: Any, where: str, decimal: str) -> None:
    text = "" if cell is None else _as_text(cell)
    low = text.casefold()
    if low.lstrip("+-") in ("nan", "inf", "infinity") or (is_number(text) and not np.isfinite(float(text))):
        raise NotFiniteError("finite numbers", f"{text} in {where}")
    missing, hint = low in MISSING, ""
    if missing:
        hint = "fill it or leave the row out"
    elif decimal == "," and _in_thousands(text):
        hint = f"thousands are written without points, {text.replace('.', '')}"
    elif decimal == "." and _THOUSANDS.fullmatch(text):
        hint = (
            f"thousands are written without commas, {text.replace(',', '')}; a decimal comma is read with --decimal ,"
        )
    elif decimal == "." and is_number(text, ","):
        hint = "a decimal comma is read with --decimal , (decimal=',' in Python)"
    what = "an empty cell" if not text else f"a missing value {text!r}" if missing else repr(text)
    raise DataFileError("a number in every cell", f"{what} in {where}", hint)


def _in_thousands(cell: Any) -> bool:
    """Whether the points of a cell may part thousands: 1.234, which is 1234 beside decimal commas."""
    return isinstance(cell, str) and _THOUSANDS.fullmatch(cell.replace(".", ",")) is not None and "." in cell


def labels_of(column: Any, name: str, source: str, decimal: str) -> NDArray[Any]:
    """A column of labels: whole numbers as such, other numbers, text.

    Raises
    ------
    DataFileError, NotFiniteError
        With the row of the first cell that is none.
    """
    kind, _ = _kind(column)
    if kind == "number":
        values = _numbers(column, name, source, decimal)
        return column.to_numpy(dtype=np.int64) if column.dtype.kind in "iub" else values
    cells = ["" if cell is None else _as_text(cell) for cell in column.astype(object)]
    missing = column.isna().to_numpy()
    for row, cell in enumerate(cells):
        if missing[row] or cell.casefold() in NO_LABEL:
            _refuse("" if cell == "nan" and missing[row] else cell, f"row {row}, {name} of {source}", decimal)
    return np.array(cells)
