"""How a file was made: the text of a recipe in the metadata of PDF, SVG and PNG files, and in the file beside CSV tables.

A CSV file has no place for metadata that every reader would skip; what the W3C recommends ("Metadata Vocabulary for Tabular
Data", 2015) is a JSON file beside it, whose name is the table's with ``-metadata.json``.
"""

from __future__ import annotations

import html
import json
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kernelcalc.errors import DataFileError
from kernelcalc.version import __version__

BESIDE = ".csv-metadata.json"
_KEY = "kernelcalc"
_PNG = b"\x89PNG\r\n\x1a\n"
_CSVW = "http://www.w3.org/ns/csvw"
_MAKER = f"kernelcalc {__version__}"


def metadata(ending: str, recipe: str) -> dict[str, Any]:
    """What ``savefig`` takes as metadata in a format: the recipe (ASCII), who made the file, and no date.

    Examples
    --------
    >>> metadata("png", "{}")["kernelcalc"]
    '{}'
    """
    if ending == "pdf":
        return {"Creator": _MAKER, "CreationDate": None} | ({"Subject": f"{_KEY}: {recipe}"} if recipe else {})
    if ending == "svg":
        return {"Creator": _MAKER, "Date": None} | ({"Description": f"{_KEY}: {recipe}"} if recipe else {})
    return {"Software": _MAKER} | ({_KEY: recipe} if recipe else {})


def recipe_of(path: str | os.PathLike[str]) -> str:
    """The recipe in a file that kernelcalc wrote.

    Raises
    ------
    DataFileError
        The file cannot be read, or has none.
    """
    try:
        # which may have no end
        if Path(path).is_char_device():
            raise DataFileError("a file that can be read", f"the device {path}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataFileError("a file that can be read", f"{path}: {error.strerror or error}") from error
    found = _beside(Path(path)) if Path(path).suffix.lower() == ".csv" else _in_picture(data)
    if found is None:
        raise DataFileError(
            "a picture or table that kernelcalc's command line wrote", f"{path}, which has no recipe",
            f"that of a table is in the file {BESIDE} beside it; other programs may have left that of a picture out",
        )  # fmt: skip
    return found


def tables_text(names: Iterable[str], columns: Iterable[Iterable[str]], recipe: str) -> str:
    """What is written beside tables: their names and columns, and the recipe.

    Examples
    --------
    >>> json.loads(tables_text(["a.csv"], [["t"]], "{}"))["tables"]
    [{'url': 'a.csv', 'tableSchema': {'columns': [{'name': 't'}]}}]
    """
    tables = [
        {"url": name, "tableSchema": {"columns": [{"name": column} for column in own]}}
        for name, own in zip(names, columns, strict=True)
    ]
    return json.dumps({"@context": _CSVW, "tables": tables, _KEY: json.loads(recipe)}, indent=1) + "\n"


def _in_picture(data: bytes) -> str | None:
    return _in_png(data) if data.startswith(_PNG) else _in_pdf(data) if data.startswith(b"%PDF") else _in_svg(data)


def _in_png(data: bytes) -> str | None:
    at = len(_PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        key, _, text = data[at + 8 : at + 8 + size].partition(b"\0")
        if kind == b"tEXt" and key == _KEY.encode():
            return text.decode("latin-1")
        at += size + 12
    return None


def _in_pdf(data: bytes) -> str | None:
    # a literal string: parentheses, backslashes and line ends are escaped
    found = re.search(rb"/Subject \(kernelcalc: ((?:[^\\()]|\\.)*)\)", data, re.DOTALL)
    return None if found is None else re.sub(rb"\\(.)", rb"\1", found[1], flags=re.DOTALL).decode("latin-1")


def _in_svg(data: bytes) -> str | None:
    text = data.decode("utf-8", "replace")
    found = re.search(rf"<dc:description>{_KEY}: (.*?)</dc:description>", text, re.DOTALL)
    return None if found is None else html.unescape(found[1])


def _beside(path: Path) -> str | None:
    for file in sorted(path.parent.glob(f"*{BESIDE}")):
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            if path.name in [table["url"] for table in known["tables"]]:
                return json.dumps(known[_KEY])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return None
