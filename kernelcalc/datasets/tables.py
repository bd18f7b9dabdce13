"""Tables read by pandas: separated text, Parquet, DataFrames."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.datasets.columns import EMPTY, INDEX_NAMES, Columns
from kernelcalc.datasets.data import Data, Request, finite, listed
from kernelcalc.datasets.dialect import MISSING, Layout, is_number, layout, looks_like_number, split_line
from kernelcalc.errors import DataFileError, MissingExtraError, NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# The first release that reads decimal numbers to the nearest float64 by default.
_EXACT_SINCE = (3, 1)
_TOO_LONG = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_NO_LABEL = MISSING - {"none", "-", "."}


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
        match = _TOO_LONG.search(str(error))
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
    plain = frame.index.names == [None]
    notes = () if plain else (f"left out: the index {', '.join(map(str, frame.index.names))}",)
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
    text = {i: what for i, (kind, what) in enumerate(kinds) if kind == "text"}
    columns = Columns(
        names=tuple(map(str, range(frame.shape[1]))) if names is None else names,
        named=names is not None,
        source=source,
        text=text,
        unique=frozenset(i for i in text if frame.iloc[:, i].nunique() == len(frame)),
        counting=_counts(frame.iloc[:, 0]),
        numbering=frozenset(
            i
            for i, name in enumerate(names or ())
            if name.strip().casefold() in INDEX_NAMES and _numbers_the_rows(frame.iloc[:, i])
        ),
    )
    roles = columns.roles(request)
    y = None
    if roles.labels:
        chosen = [(frame.iloc[:, i], _called(columns, i)) for i in roles.labels]
        y = _labels(*chosen[0], source, request.decimal) if len(chosen) == 1 else None
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
    """Whether a column is "number" or "text", which a bad cell among numbers does not make it; what text begins with."""
    dtype = column.dtype
    if dtype.kind in "iufb":
        return "number", ""
    if dtype.kind in "Mmc":
        return "text", f"{dtype}"
    cells = [str(cell) for cell in column[~column.isna()]]
    full = [cell for cell in cells if cell.strip().casefold() not in MISSING]
    numbers = sum(looks_like_number(cell) for cell in full)
    if full and numbers >= len(full) / 2:
        return "number", ""
    return "text", repr(full[0]) if full else EMPTY


def _counts(column: Any) -> bool:
    """Whether a column is 0, 1, 2, ... or 1, 2, 3, ... down the rows."""
    if column.dtype.kind not in "iu" or len(column) < 3 or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.int64)
    return int(values[0]) in (0, 1) and bool((np.diff(values) == 1).all())


def _numbers_the_rows(column: Any) -> bool:
    return column.dtype.kind in "iu" and len(column) > 2 and column.nunique() == len(column)


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
            cells = [cell.replace(",", ".") if isinstance(cell, str) else cell for cell in cells]
        values = pandas.to_numeric(pandas.Series(cells, dtype=object), errors="coerce").to_numpy(np.float64)
        missing = np.isnan(values)
    wrong = missing | ~np.isfinite(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        _refuse(column.iloc[row], f"row {row}, {name} of {source}", decimal)
    return np.asarray(values)


def _refuse(cell: Any, where: str, decimal: str) -> None:
    text = "" if cell is None else str(cell).strip()
    if text.casefold().lstrip("+-") in ("nan", "inf", "infinity") or (
        is_number(text) and text.casefold() not in MISSING
    ):
        raise NotFiniteError("finite numbers", f"{text} in {where}")
    hint = ""
    if decimal == "." and is_number(text, ","):
        hint = "a decimal comma is read with --decimal , (decimal=',' in Python)"
    elif text.casefold() in MISSING or text == "<NA>":
        hint = "fill it or leave the row out"
    what = "an empty cell" if not text else f"a missing value {text!r}" if "fill" in hint else repr(text)
    raise DataFileError("a number in every cell", f"{what} in {where}", hint)


def _labels(column: Any, name: str, source: str, decimal: str) -> NDArray[Any]:
    """A column of labels: whole numbers as such, other numbers, text."""
    kind, _ = _kind(column)
    if kind == "number":
        values = _numbers(column, name, source, decimal)
        return column.to_numpy(dtype=np.int64) if column.dtype.kind in "iub" else values
    cells = [cell.strip() if isinstance(cell, str) else cell for cell in column.astype(object)]
    for row, cell in enumerate(cells):
        if cell is None or str(cell).strip().casefold() in _NO_LABEL or str(cell) in ("<NA>", "NaT"):
            _refuse(cell, f"row {row}, {name} of {source}", decimal)
    return np.array([str(cell) for cell in cells])
