"""Data files of the user."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import DataFileError, NotFiniteError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

POINT_NAMES = ("X", "x", "images", "data")
LABEL_NAMES = ("y", "Y", "labels", "label", "target", "targets")


def load(path: str | os.PathLike[str], *, labels: str | None = None) -> tuple[Array, NDArray[Any]]:
    """Points and labels from an ``.npz`` or ``.csv`` file.

    ``.npz``: points under one of the names X, x, images, data (shape (N, ...), flattened to (N, n_0)), labels under
    ``labels`` or one of y, Y, labels, label, target, targets. ``.csv``: comma-separated numbers, with or without a
    header line; the labels are the column named ``labels`` (or numbered, from 0), by default a column with one of the
    names above, else the last. Nothing in a file is ever executed: pickled arrays are refused.

    Parameters
    ----------
    path : path-like
        File to read.
    labels : str, optional
        Name (or, in a CSV file, number) of the labels.

    Returns
    -------
    X : ndarray, (N, n_0)
    labels : ndarray, (N,) or (N, n_out)

    Raises
    ------
    DataFileError
        A file that cannot be read as points and labels.
    NotFiniteError
        NaN or infinity in the file.
    """
    path = Path(path)
    readers = {".npz": _load_npz, ".csv": _load_csv}
    if path.suffix.lower() not in readers:
        raise DataFileError("a file ending in .npz or .csv", str(path))
    if not path.is_file():
        raise DataFileError("an existing data file", str(path))
    points, y = readers[path.suffix.lower()](path, labels)
    if len(points) == 0 or points.size == 0:
        raise DataFileError("at least one data point", f"none in {path}")
    if len(y) != len(points):
        raise DataFileError("as many labels as points", f"{len(y)} labels and {len(points)} points in {path}")
    for name, array in (("points", points), ("labels", y)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise NotFiniteError(f"finite {name}", f"NaN or infinity in row {row} of {path}")
    return points, y


def _load_npz(path: Path, labels: str | None) -> tuple[Array, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        raise DataFileError("an .npz file of plain arrays", f"{path}: {error}") from error
    points = _named(arrays, POINT_NAMES, "points", path)
    y = _named(arrays, LABEL_NAMES if labels is None else (labels,), "labels", path)
    if points.dtype.kind not in "biuf" or points.ndim < 2:
        raise DataFileError("points as numbers of the shape (N, ...)", f"{points.dtype} {points.shape} in {path}")
    if y.ndim not in (1, 2):
        raise DataFileError("labels of the shape (N,) or (N, n_out)", f"the shape {y.shape} in {path}")
    return points.reshape(len(points), math.prod(points.shape[1:])).astype(np.float64), y


def _named(arrays: dict[str, NDArray[Any]], names: tuple[str, ...], what: str, path: Path) -> NDArray[Any]:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataFileError(f"an array of {what} named {' or '.join(names)}", f"{', '.join(arrays) or 'none'} in {path}")


def _load_csv(path: Path, labels: str | None) -> tuple[Array, NDArray[Any]]:
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataFileError("a CSV file in UTF-8", f"{path}: {error}") from error
    if not rows:
        raise DataFileError("at least one data point", f"an empty file {path}")
    header = None if all(_is_number(cell) for cell in rows[0]) else [cell.strip() for cell in rows.pop(0)]
    width = len(header) if header else len(rows[0])
    if width < 2:
        raise DataFileError("at least two columns, points and labels", f"{width} in {path}")
    for number, row in enumerate(rows):
        if len(row) != width:
            raise DataFileError(f"{width} columns in every row", f"{len(row)} in data row {number} of {path}")
    column = _label_column(header, width, labels, path)
    y = [row.pop(column).strip() for row in rows]
    try:
        points = np.array(rows, dtype=np.float64).reshape(len(rows), width - 1)
    except ValueError as error:
        raise DataFileError("numbers", f"{error} in {path}") from error
    numeric = all(_is_number(cell) for cell in y)
    return points, np.array(y, dtype=np.float64) if numeric else np.array(y)


def _label_column(header: list[str] | None, width: int, labels: str | None, path: Path) -> int:
    if labels is None:
        return next((header.index(name) for name in LABEL_NAMES if name in header), width - 1) if header else width - 1
    if header and labels in header:
        return header.index(labels)
    if labels.lstrip("-").isdigit() and -width <= int(labels) < width:
        return int(labels) % width
    raise DataFileError(
        f"a column {labels!r} of labels",
        f"{', '.join(header) if header else f'{width} columns without names'} in {path}",
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
