"""Data files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernelcalc import datasets
from kernelcalc.errors import DataFileError, NotFiniteError


def test_npz(tmp_path: Path) -> None:
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([0, 1, 0])
    for names in (("images", "labels"), ("X", "y"), ("data", "target")):
        path = tmp_path / f"{names[0]}.npz"
        np.savez(path, **dict(zip(names, (images, labels), strict=True)))
        x, y = datasets.load(path)
        np.testing.assert_array_equal(x, images.reshape(3, 4))
        assert x.dtype == np.float64
        np.testing.assert_array_equal(y, labels)
    np.savez(tmp_path / "two.npz", X=images, y=labels, other=labels + 5)
    np.testing.assert_array_equal(datasets.load(tmp_path / "two.npz", labels="other")[1], labels + 5)


@pytest.mark.parametrize(
    ("text", "label", "points", "labels"),
    [
        ("1,2,0\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,2,0\n\n3,4,1\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,label,b\n1,0,2\n3,1,4\n", None, [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,0,2\n3,1,4\n", "b", [[1, 2], [3, 4]], [0, 1]),
        ("0,1,2\n1,3,4\n", "0", [[1, 2], [3, 4]], [0, 1]),
        ("\ufeffa,b\r\n1, cat\r\n3e0,dog\r\n", None, [[1], [3]], ["cat", "dog"]),
    ],
)
def test_csv(tmp_path: Path, text: str, label: str | None, points: list, labels: list) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(text.encode())
    x, y = datasets.load(path, labels=label)
    np.testing.assert_array_equal(x, points)
    np.testing.assert_array_equal(y, labels)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.txt", b"1,2\n", DataFileError, r"\.npz or \.csv"),
        ("a.csv", b"", DataFileError, "empty file"),
        ("a.csv", b"a,b\n", DataFileError, "at least one data point"),
        ("a.csv", b"1\n2\n", DataFileError, "two columns"),
        ("a.csv", b"1,2,3\n1,2\n", DataFileError, "3 columns.*row 1"),
        ("a.csv", b"1,2,0\nx,4,1\n", DataFileError, "numbers"),
        ("a.csv", b"1,nan,0\n3,4,1\n", NotFiniteError, "row 0"),
        ("a.csv", b"1,2,0\n3,4,inf\n", NotFiniteError, "finite labels.*row 1"),
        ("a.csv", b"\xff\xfe\x00\n", DataFileError, "UTF-8"),
        ("a.npz", b"not a zip file", DataFileError, "plain arrays"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, error: type, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        datasets.load(path)


def test_missing_file_and_missing_column(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="existing"):
        datasets.load(tmp_path / "nothing.csv")
    path = tmp_path / "points.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataFileError, match="'c' of labels, got a, b"):
        datasets.load(path, labels="c")
    with pytest.raises(DataFileError, match="'7' of labels"):
        datasets.load(path, labels="7")


def test_npz_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, X=np.array([{"code": 1}], dtype=object), y=np.zeros(1))
    with pytest.raises(DataFileError, match="plain arrays"):
        datasets.load(path)
    np.savez(path, points=np.zeros((2, 2)), y=np.zeros(2))
    with pytest.raises(DataFileError, match="points named X or x or images or data, got points, y"):
        datasets.load(path)
    np.savez(path, X=np.zeros((2, 2)), y=np.zeros(3))
    with pytest.raises(DataFileError, match="3 labels and 2 points"):
        datasets.load(path)
    np.savez(path, X=np.array([[1.0, np.nan]]), y=np.zeros(1))
    with pytest.raises(NotFiniteError, match="row 0"):
        datasets.load(path)
    np.savez(path, X=np.array([["a", "b"]]), y=np.zeros(1))
    with pytest.raises(DataFileError, match="numbers"):
        datasets.load(path)
    np.savez(path, X=np.zeros((0, 3)), y=np.zeros(0))
    with pytest.raises(DataFileError, match="at least one"):
        datasets.load(path)
