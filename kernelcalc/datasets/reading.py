"""Data of the user: files of many kinds, DataFrames, mappings of arrays."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kernelcalc.arguments import flag
from kernelcalc.arrays import AnyArray, plain
from kernelcalc.datasets.arrayfiles import from_array, from_mapping, given_labels, is_idx, read_idx, read_numpy
from kernelcalc.datasets.columns import request_of
from kernelcalc.datasets.data import Data, Request
from kernelcalc.datasets.dialect import ONE_COLUMN, looks_like_number, split_line
from kernelcalc.datasets.images import ENDINGS, read_folder, read_image
from kernelcalc.datasets.tables import labels_of, pandas_for, read_columnar, read_frame, read_text, text_frame
from kernelcalc.errors import DataFileError

_PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\0": lzma.decompress}
_BYTE_ORDERS = (b"\xff\xfe", b"\xfe\xff")
# First bytes of what is often at hand and cannot be read here.
_OTHERS = {
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "an SQLite file",
    b"%PDF": "a PDF file",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    **{bytes([0x80, protocol]): "a pickle, which could run code" for protocol in range(2, 6)},
    b"MATLAB": "a MATLAB file",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x04\x22\x4d\x18": "an LZ4 archive",
    b"ORC": "an ORC file",
    b"RDX": "a file of R",
    # not as points: these come from elsewhere
    b"PAR1": "a Parquet file",
    b"ARROW1": "a Feather file",
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "a picture without an ending such as .png"),
}
# How texts begin that are no tables.
_OTHER_TEXTS = {
    re.compile(beginning, re.IGNORECASE): kind
    for beginning, kind in {
        r"\s*[{\[]": "JSON",
        r"\s*<[a-z!?]": "HTML or XML",
        r"%%MatrixMarket": "Matrix Market",
        r"(?:\s*%.*\n)*\s*@relation\b": "ARFF",
        r"version https://git-lfs": "a pointer of Git LFS, without the data",
        r"[-+]?[\d.]+(?:[ \t]+\d+:[-+\d.e]+)+[ \t]*(?:#.*)?(?:\r|\n|$)": "libsvm",
    }.items()
}
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def load(
    source: Any,
    *,
    labels: Any = None,
    columns: Any = None,
    drop: Any = None,
    header: bool | None = None,
    decimal: str = ".",
    flatten: bool = False,
) -> Data:
    """Points and labels from a file, a DataFrame, a mapping of arrays (scikit-learn's Bunch) or an array.

    Nothing is dropped unasked, and ``print(data)`` says which columns or arrays are what. Nothing in a file is ever
    executed.

    Parameters
    ----------
    source : path, DataFrame, mapping, array_like or pair (X, y)
        Files: text (.csv, .tsv, .txt, ...) separated by comma, semicolon, tab, bar or white space, with ``#`` comments;
        .npy; .npz; IDX as MNIST comes in, with the file of labels beside it; Parquet, Feather; pictures, or a folder with
        one folder of pictures a class; each but pictures also packed by gzip, bzip2 or xz. Text, Parquet and
        Feather need pandas (extra ``table``; ``parquet`` for the latter two).
    labels : str, int or sequence of these, optional
        Columns (by name, or by number from 0), arrays, a file with one label a point, ``"last"`` or ``"none"``. By
        default the column or array with a name such as label, class, target or y, else the only column of text; else
        there are none.
    columns : str, int or sequence of these, optional
        The columns that are points, or the array. By default all that are not labels.
    drop : str, int or sequence of these, optional
        Columns to leave out.
    header : bool, optional
        Whether the first row has names; by default as it looks.
    decimal : {".", ","}
        Decimal sign in text.
    flatten : bool
        Make rows of images: (N, 28, 28, 1) becomes (N, 784).

    Returns
    -------
    Data
        ``X, y = load(...)`` works; y is None where there are no labels.

    Raises
    ------
    DataFileError
        A file that cannot be read as points and labels; an empty or missing cell, with its row and column.
    NotFiniteError
        NaN or infinity, with row and column.
    MissingExtraError
        pandas or pyarrow is needed.
    InputError
        Masked arrays.

    Examples
    --------
    >>> data = load({"X": np.eye(3), "y": np.array([[0], [1], [1]])})
    >>> X, y = data
    >>> print(data)
    dict: 3 points of 3 inputs, array X; labels: array y, 2 classes
    """
    header = None if header is None else flag("header", header)
    request = request_of(labels, columns, drop, header, decimal, flag("flatten", flatten))
    if not isinstance(source, str | os.PathLike):
        return _of_object(source, request)
    if not os.fspath(source):
        raise DataFileError("the name of a file", "an empty text")
    if _ADDRESS.match(str(source)):
        raise DataFileError("a file on this machine", str(source), "download it first")
    path = Path(source)
    beside = _label_file(request)
    if beside is None:
        return _of_file(path, request)
    found = _of_file(path, replace(request, labels="none"))
    y = read_labels(beside, len(found.X))
    return from_array(found.X, y, found.source, Request(), found.points, f"file {beside}", found.notes)


def _label_file(request: Request) -> Path | None:
    """The file that is asked for as labels: a name with an ending or a folder, of a file that is there."""
    path = Path(request.labels) if isinstance(request.labels, str) else Path()
    return path if (path.suffix or path.parent != Path()) and os.path.isfile(path) else None


def _of_object(source: Any, request: Request) -> Data:
    name = type(source).__name__
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return read_frame(source, name, request)
    if isinstance(source, Mapping):
        data, target = source.get("data"), source.get("target")
        if hasattr(data, "iloc"):
            # scikit-learn's as_frame=True
            return _of_frames(data, target, name, request)
        return from_mapping(source, name, request)
    if isinstance(source, tuple) and len(source) == 2:
        x, y = plain(source[0], "X"), None if source[1] is None else given_labels(source[1], "y")
        return from_array(x, y, "pair (X, y)", request, "the first", "the second")
    return _of_array(plain(source, "X"), name, request)


def _of_array(stored: AnyArray, source: str, request: Request) -> Data:
    """Points and labels from one array, whose columns may have names."""
    names = stored.dtype.names
    if not names or stored.ndim != 1:
        return from_array(stored, None, source, request)
    wide = [name for name in names if stored.dtype[name].shape]
    if wide:
        raise DataFileError("one number in every column", f"{stored.dtype[wide[0]]} in {wide[0]} of {source}")
    frame = pandas_for("reading an array with named columns").DataFrame({name: list(stored[name]) for name in names})
    return read_frame(frame, source, request)


def _of_frames(data: Any, target: Any, name: str, request: Request) -> Data:
    if not hasattr(target, "iloc") or request.labels is not None:
        return read_frame(data, name, request)
    target = target if hasattr(target, "columns") else target.rename("target" if target.name is None else target.name)
    columns = list(target.columns) if hasattr(target, "columns") else [target.name]
    return read_frame(data.join(target), name, replace(request, labels=tuple(map(str, columns))))


def _of_file(path: Path, request: Request) -> Data:
    if os.path.isdir(path):
        try:
            x, y, notes = read_folder(path)
        except OSError as error:
            raise DataFileError("a folder that can be read", f"{path}: {error.strerror}") from error
        return from_array(x, y, str(path), request, "pictures", "names of folders", notes)
    content, ending = _content(path), _ending(path)
    if content[:4] == b"PAR1" or ending in (".parquet", ".pq"):
        return read_columnar(content, "Parquet", str(path), request)
    if content[:6] == b"ARROW1" or ending in (".feather", ".arrow"):
        return read_columnar(content, "Feather", str(path), request)
    if ending in ENDINGS:
        return from_array(read_image(path)[None], None, str(path), request, "one picture")
    if content[:6] == b"\x93NUMPY" or ending in (".npz", ".npy"):
        stored = read_numpy(content, str(path))
        if isinstance(stored, dict):
            return from_mapping(stored, str(path), request)
        return _of_array(stored, str(path), request)
    if is_idx(content):
        x, beside = read_idx(content, str(path)), _idx_labels(path)
        if request.labels is None and beside is not None and x.ndim > 1:
            labels = _content(beside)
            if not is_idx(labels):
                raise DataFileError(
                    "an IDX file of labels", f"{beside}, beside {path.name}", "--labels none leaves it out"
                )
            y = read_idx(labels, str(beside))
            return from_array(x, y, str(path), request, "one array", f"file {beside.name}")
        return from_array(x, None, str(path), request)
    return read_text(_text(content, path), str(path), request)


def _ending(path: Path) -> str:
    """The ending of the name, without that of a packer."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")).suffix


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked.

    Raises
    ------
    DataFileError
        It is not there, cannot be read or unpacked.
    """
    try:
        if not path.exists():
            raise DataFileError("an existing data file", str(path))
        # which may have no end
        if path.is_char_device():
            raise DataFileError("a file or a pipe", f"the device {path}")
        content = path.read_bytes()
        for head, unpack in _PACKED.items():
            if content.startswith(head):
                return unpack(content)
    except DataFileError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise DataFileError("a file that can be read", f"{path}: {error}") from error
    return content


def _text(content: bytes, path: Path) -> str:
    """The text of a file, in UTF-8 or marked UTF-16.

    Raises
    ------
    DataFileError
        It is no such text.
    """
    known = "text, NumPy, IDX, Parquet, Feather or pictures"
    for head, kind in _OTHERS.items():
        if content.startswith(head):
            raise DataFileError(known, f"{kind}, {path}", "save it as CSV or .npz")
    # of version 4, which begins with a small number in four bytes
    if _ending(path) == ".mat" and b"\0" in content[:4]:
        raise DataFileError(known, f"a MATLAB file, {path}", "save it as CSV or .npz")
    if content[257:262] == b"ustar":
        raise DataFileError(known, f"a tar archive, {path}", "unpack it")
    try:
        text = content.decode("utf-16" if content.startswith(_BYTE_ORDERS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {content[error.start]:#x} in line {content.count(10, 0, error.start) + 1} of {path}"
        hint = "save it as UTF-8 (if it is Latin-1: iconv -f latin1 -t utf-8)"
        raise DataFileError("a text file in UTF-8", where, hint) from error
    if "\0" in text:
        hint = "save text as UTF-8, anything else as CSV or .npz"
        raise DataFileError("a text file in UTF-8", f"{path}, which has zero bytes", hint)
    for beginning, kind in _OTHER_TEXTS.items():
        if beginning.match(text):
            raise DataFileError(known, f"{kind}, {path}", "save it as CSV or .npz")
    return text


def _idx_labels(path: Path) -> Path | None:
    """The IDX file of labels beside one of images, by its name."""
    name = re.sub(r"idx\d", "idx1", path.name.replace("images", "labels"))
    if name == path.name:
        return None
    plain_name = name.removesuffix(".gz")
    beside = [path.with_name(plain_name), path.with_name(f"{plain_name}.gz")]
    return next((other for other in beside if other.is_file()), None)


def read_labels(path: Path, n: int) -> AnyArray:
    """Labels of n points from a file of their own: IDX, .npy, .npz, or text with one column and perhaps its name.

    Raises
    ------
    DataFileError, NotFiniteError
        Not a vector; a missing label, with its row.
    """
    content = _content(path)
    if is_idx(content):
        return read_idx(content, str(path))
    if content[:6] == b"\x93NUMPY" or _ending(path) in (".npz", ".npy"):
        stored = read_numpy(content, str(path))
        if isinstance(stored, np.ndarray):
            return stored
        if len(stored) != 1:
            raise DataFileError("one array of labels", f"{', '.join(stored) or 'none'} in {path}")
        return next(iter(stored.values()))
    text = _text(content, path)
    found, frame = text_frame(text, str(path), Request(header=False), ONE_COLUMN)
    first, *rest = (split_line(line, ONE_COLUMN)[0] for line in found.lines)
    if (
        len(frame) == n + 1
        and first not in rest
        and not (looks_like_number(first) and any(map(looks_like_number, rest)))
    ):
        found, frame = text_frame(text, str(path), Request(header=True), ONE_COLUMN)
    for separator in (",", ";", "|"):
        widths = {len(split_line(line, separator)) for line in found.lines}
        if len(widths) == 1 and max(widths) > 1:
            raise DataFileError("one column of labels", f"{max(widths)} in {path}", "a label with commas takes quotes")
    if frame.shape[1] != 1:
        raise DataFileError("one column of labels", f"{frame.shape[1]} in {path}")
    return labels_of(frame.iloc[:, 0], "column 0", str(path), ".")
