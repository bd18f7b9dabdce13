"""A random table, written by pandas or NumPy in a random dialect, is read back as it was."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelcalc import datasets
from kernelcalc.errors import DataFileError, KernelcalcError, NotFiniteError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
# Words that are neither numbers, missing values nor names of labels.
WORDS = st.text("bcdgjkqvwzäß ", min_size=1, max_size=6).map(str.strip).filter(bool).filter(lambda w: "#" not in w)
AWKWARD = st.sampled_from(["a, b", "a;b", 'say "so"', "tab\tbed", "a|b"])
LABEL_NAME = st.sampled_from(["y", "Y", "label", "Labels", "class", "CLASS", "target"])


@dataclass
class Table:
    """What is written and how."""

    frame: pd.DataFrame
    label: str | None
    writing: dict[str, Any]
    packed: bool
    comment: bool
    reading: dict[str, Any]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    rows, width = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    names = draw(st.lists(WORDS, min_size=width, max_size=width, unique_by=str.casefold))
    frame = pd.DataFrame({name: draw(st.lists(NUMBERS, min_size=rows, max_size=rows)) for name in names})
    label = draw(st.none() | LABEL_NAME)
    if label is not None:
        kinds = st.sampled_from([st.integers(-1000, 1000), NUMBERS, WORDS.map("k".__add__), AWKWARD])
        values = draw(st.lists(draw(kinds), min_size=rows, max_size=rows))
        frame.insert(draw(st.integers(0, width)), label, values)
    index = draw(st.booleans())
    if draw(st.booleans()):
        frame.index = pd.Index(draw(st.lists(st.integers(0, 99), min_size=rows, max_size=rows)))
    decimal = draw(st.sampled_from([".", ","]))
    separators = [",", ";", "\t", "|"] if decimal == "." else [";", "\t", "|"]
    writing = {
        "sep": draw(st.sampled_from(separators)),
        "decimal": decimal,
        "index": index,
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
        "quoting": draw(st.sampled_from([0, 1, 2])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
    }
    return Table(frame, label, writing, draw(st.booleans()), draw(st.booleans()), {"decimal": decimal})


def written(table: Table, folder: str) -> Path:
    path = Path(folder, "table.csv" + (".gz" if table.packed else ""))
    text = table.frame.to_csv(**{k: v for k, v in table.writing.items() if k != "encoding"})
    content = (("# made by a test\n" if table.comment else "") + text).encode(table.writing["encoding"])
    path.write_bytes(gzip.compress(content) if table.packed else content)
    return path


def check(data: datasets.Data, frame: pd.DataFrame, label: str | None) -> None:
    points = frame if label is None else frame.drop(columns=label)
    np.testing.assert_array_equal(data.X, points.to_numpy(np.float64))
    assert (data.y is None) == (label is None)
    if label is not None:
        np.testing.assert_array_equal(data.y, np.array(frame[label].tolist()))


def unless_unclear(read: Callable[[], datasets.Data]) -> datasets.Data | None:
    """What was read; None where whole numbers above others may be names."""
    try:
        return read()
    except DataFileError as error:
        if "--no-header" in str(error):
            return None
        raise


@given(tables())
@settings(deadline=None, max_examples=150)
def test_tables_with_names(table: Table) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = datasets.load(written(table, folder), **table.reading)
    check(data, table.frame, table.label)
    assert ("index" in " ".join(data.notes)) == table.writing["index"]


@given(tables())
@settings(deadline=None, max_examples=100)
def test_tables_without_names(table: Table) -> None:
    """Decimal numbers show that no row has names; the label is asked for by its place."""
    table.writing |= {"header": False, "index": False}
    options = dict(table.reading)
    if table.label is not None:
        options["labels"] = table.frame.columns.get_loc(table.label)
    else:
        options["labels"] = "none"
    with tempfile.TemporaryDirectory() as folder:
        data = datasets.load(written(table, folder), header=False, **options)
        check(data, table.frame, table.label)
        alike = unless_unclear(lambda: datasets.load(written(table, folder), **options))
        if alike is not None:
            check(alike, table.frame, table.label)


@given(tables())
@settings(deadline=None, max_examples=60)
def test_data_frames(table: Table) -> None:
    check(datasets.load(table.frame), table.frame, table.label)


@given(st.integers(1, 6), st.integers(1, 5), st.sampled_from([" ", "\t", ",", ";"]), st.booleans(), st.data())
@settings(deadline=None, max_examples=60)
def test_what_savetxt_writes(rows: int, width: int, separator: str, named: bool, data: st.DataObject) -> None:
    values = data.draw(st.lists(NUMBERS, min_size=rows * width, max_size=rows * width))
    array = np.array(values).reshape(rows, width)
    header = separator.join("abcde"[:width]) if named else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.txt")
        np.savetxt(path, array, delimiter=separator, header=header, fmt="%.17g")
        data = unless_unclear(lambda: datasets.load(path)) or datasets.load(path, header=False)
        np.testing.assert_array_equal(data.X, array)


@given(tables(), st.sampled_from(["", "NA", "?", "nan", "inf", "abc", "1.2.3", "-"]), st.data())
@settings(deadline=None, max_examples=100)
def test_a_bad_cell_is_named(table: Table, cell: str, data: st.DataObject) -> None:
    """In a table of two rows or more the bad cell's row and column are in the message."""
    frame = table.frame.drop(columns=table.label) if table.label is not None else table.frame
    frame = pd.concat([frame] * 3, ignore_index=True)
    row, column = data.draw(st.integers(0, len(frame) - 1)), data.draw(st.integers(0, frame.shape[1] - 1))
    frame = frame.astype(object)
    frame.iloc[row, column] = cell
    table.writing |= {"index": False, "quoting": 0}
    spoiled = Table(frame, None, table.writing, table.packed, table.comment, table.reading)
    with tempfile.TemporaryDirectory() as folder:
        path = written(spoiled, folder)
        if cell == "" and frame.shape[1] == 1:
            return  # an empty line
        with pytest.raises((DataFileError, NotFiniteError), match=rf"row {row}, column '{frame.columns[column]}'"):
            datasets.load(path, header=True, **table.reading)


@given(st.binary(max_size=200) | st.text(" ,;\t|\n\"'#0123456789.-+eaEyx?", max_size=120).map(str.encode))
@settings(deadline=None, max_examples=300)
def test_anything_is_read_or_refused_by_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_bytes(content)
        try:
            data = datasets.load(path)
        except KernelcalcError:
            return
    assert data.X.ndim == 2
    assert np.isfinite(data.X).all()
    assert data.y is None or len(data.y) == len(data.X)
    assert "\n" not in str(data)
