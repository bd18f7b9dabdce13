"""Every kind of file besides plain text: how it is read, files of labels, and what is refused."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from kernelcalc import datasets
from kernelcalc.cli import main
from kernelcalc.errors import DataFileError, InputError, MissingExtraError
from tests.datasets.points import X, check


def _version_four(order: str) -> bytes:
    """One number, 1.5, called X: the five whole numbers of MATLAB's level 4 MAT-file format, name and number."""
    return struct.pack(f"{order}5i2sd", 1000 * (order == ">"), 1, 1, 0, 2, b"X", 1.5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\xff\xfe\x00\xd8", "UTF-8"),
        ("a.csv", "1,2,é\n".encode("latin-1"), "UTF-8"),
        ("a.csv", b"1,2\0\n", "zero bytes"),
        ("a.csv.gz", b"\x1f\x8bnot gzip", "can be read"),
        ("a.npz", b"not a zip file", "plain arrays"),
        ("a.npy", b"not an array", "plain arrays"),
        ("a.xlsx", b"PK\x03\x04rest", "spreadsheet"),
        ("a.h5", b"\x89HDF\r\n", "HDF5"),
        ("a.mat", b"MATLAB 5.0 MAT-file", r"a MATLAB file.*save it as CSV or \.npz"),
        ("a.mat", _version_four("<"), r"a MATLAB file.*save it as CSV or \.npz"),
        ("a.mat", _version_four(">"), r"a MATLAB file.*save it as CSV or \.npz"),
        ("a.mat.gz", gzip.compress(_version_four("<"), mtime=0), r"a MATLAB file.*save it as CSV or \.npz"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
        ("a.pkl", b"\x80\x05\x95", "pickle"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        ("a.orc", b"ORCrest", "ORC"),
        ("a.json", b'{"a": {"0": 1}}', "JSON"),
        ("a.json", b"[[1, 2], [3, 4]]", "JSON"),
        ("a.json", b'\n[\n  {"a": 1},\n  {"a": 2}\n]', "JSON"),
        ("a.csv", b"\n\n<html>", "HTML"),
        ("a.svg", b"<svg/>", "XML"),
        ("a.arff", b"% iris\n@RELATION iris\n@ATTRIBUTE a REAL\n@DATA\n1\n", "ARFF"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n2 1\n1\n2\n", "Matrix Market"),
        ("a.svm", b"1 1:0.5\n-1 1:0.2\n1 1:0.5\n", "libsvm"),
        ("a.svm", b"1 3:1 11:0.25\n0 2:1\n", "libsvm"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "Git LFS"),
        ("a.tar", b"p.csv" + bytes(252) + b"ustar" + bytes(300), "tar archive"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        ("picture", b"\x89PNG\r\n\x1a\n", "picture without an ending"),
        ("a.csv", "a,b,k\n1,2,x\n3,4,\xe9\n".encode("latin-1"), "byte 0xe9 in line 3 of .*iconv -f latin1"),
        ("a.npz", b"1,2\n3,4\n", "neither .npy nor .npz"),
        ("b-images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0]), "bytes of numbers"),
        ("a.csv", b"<!DOCTYPE html>", "HTML"),
        ("a.feather", b"ARROW1 and nothing", "Feather"),
        ("a.parquet", b"PAR1 and nothing", "Parquet"),
        ("a.png", b"\x89PNG\r\n", "picture"),
        ("images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0, 0, 1]), "bytes of numbers"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message):
        datasets.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="existing"):
        datasets.load(tmp_path / "nothing.csv")
    with pytest.raises(DataFileError, match="pictures"):
        datasets.load(tmp_path)
    with pytest.raises(DataFileError, match="an empty text"):
        datasets.load("")


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user meets them."""
    (tmp_path / "p.csv").write_text("1,2\n")

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for name, source in (("read_bytes", "p.csv"), ("exists", "p.csv"), ("iterdir", ".")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refuse)
            with pytest.raises(DataFileError, match="Permission denied"):
                datasets.load(tmp_path / source)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    frame = pd.DataFrame({"a": [1.5, 3, 5], "b": [2, 4, -6.25], "kind": ["x", "y", "x"]}, index=[5, 6, 9])
    frame.to_parquet(path)
    check(datasets.load(path), X, ["x", "y", "x"])
    frame.rename_axis("person").to_parquet(path)
    data = datasets.load(path)
    check(data, X, ["x", "y", "x"])
    assert "left out: the index person" in str(data)
    frame.assign(b=[2.0, None, 1.0]).to_parquet(path)
    with pytest.raises(InputError, match="row 1, column 'b'"):
        datasets.load(path)


def test_feather_and_packed_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, 3, 5], "b": [2, 4, -6.25], "kind": ["x", "y", "x"]})
    frame.to_feather(tmp_path / "p.feather")
    check(datasets.load(tmp_path / "p.feather"), X, ["x", "y", "x"])
    frame.to_parquet(tmp_path / "p.parquet")
    (tmp_path / "p.parquet.gz").write_bytes(gzip.compress((tmp_path / "p.parquet").read_bytes()))
    check(datasets.load(tmp_path / "p.parquet.gz"), X, ["x", "y", "x"])
    # an index that is 0, 1, 2 is one all the same
    frame.assign(y=[0, 1, 2]).set_index("y").to_parquet(tmp_path / "q.parquet")
    assert "left out: the index y" in str(datasets.load(tmp_path / "q.parquet"))


def test_rows_of_many_numbers(tmp_path: Path) -> None:
    """A line is longer than a cell may be for the module csv, and has more columns than may be compared pair by pair."""
    rows = np.arange(50_000.0).reshape(2, -1) / 7
    np.savetxt(tmp_path / "p.txt", rows)
    check(datasets.load(tmp_path / "p.txt"), rows, None)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, arrays, parquet = tmp_path / "p.csv", tmp_path / "p.npz", tmp_path / "p.parquet"
    text.write_text("1,2\n")
    np.savez(arrays, X=np.array(X), y=[0, 1, 1])
    pd.DataFrame({"a": [1.0]}).to_parquet(parquet)
    monkeypatch.setitem(sys.modules, "pandas", None)
    for path in (text, parquet):
        with pytest.raises(MissingExtraError, match=r"pandas.*kernelcalc\[table\]"):
            datasets.load(path)
    # arrays do without
    check(datasets.load(arrays), X, [0, 1, 1])
    np.save(tmp_path / "p.npy", X)
    check(datasets.load(tmp_path / "p.npy"), X, None)


def test_pyarrow_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.parquet"
    pd.DataFrame({"a": [1.0]}).to_parquet(path)

    def without(*_: object, **__: object) -> None:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd, "read_parquet", without)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*kernelcalc\[parquet\]"):
        datasets.load(path)


def test_files_of_labels(tmp_path: Path) -> None:
    points = tmp_path / "points.csv"
    points.write_text("1.5,2\n3,4\n5,-6.25\n")
    for name, content in {"l.txt": "x\ny\nx\n", "m.csv": "kind\nx\ny\nx\n"}.items():
        (tmp_path / name).write_text(content)
        data = datasets.load(points, labels=str(tmp_path / name))
        check(data, X, ["x", "y", "x"])
        assert f"labels: file {tmp_path / name}, 2 classes" in str(data)
    np.save(tmp_path / "l.npy", np.array([[3], [4], [3]]))
    check(datasets.load(points, labels=str(tmp_path / "l.npy")), X, [3, 4, 3])
    np.save(tmp_path / "few.npy", np.array([3, 4]))
    with pytest.raises(DataFileError, match=r"2 labels in .*few\.npy and 3 points in"):
        datasets.load(points, labels=str(tmp_path / "few.npy"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,label\n0,x\n1,y\n2,x\n", "one column of labels, got 2"),
        ("0;x\n1;y\n2;x\n", "one column of labels, got 2"),
        ("1,5\n2,5\n3,5\n", "one column of labels, got 2"),
        ("1\nnan\n2\n", "nan in row 1"),
        ("1\n?\n2\n", r"'\?' in row 1"),
        ("x\nNA\ny\n", "'NA' in row 1"),
        ("1\nx\n2\n", "'x' in row 1"),
        # four numbers are no name and three labels, nor is a class that comes again
        ("3\n0\n1\n2\n", "4 labels in .*labels.txt and 3 points"),
        ("x\ny\nx\ny\n", "4 labels in .*labels.txt and 3 points"),
        ("x\n\ny\n", "2 labels"),
    ],
)
def test_files_of_labels_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "points.csv").write_text("1.5,2\n3,4\n5,-6.25\n")
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        datasets.load(tmp_path / "points.csv", labels=str(tmp_path / "labels.txt"))


def test_files_of_labels_in_archives(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("1.5,2\n3,4\n5,-6.25\n")
    np.savez(tmp_path / "one.npz", kinds=[3, 4, 3])
    check(datasets.load(tmp_path / "points.csv", labels=str(tmp_path / "one.npz")), X, [3, 4, 3])
    np.savez(tmp_path / "two.npz", a=[3, 4, 3], b=[0, 0, 1])
    with pytest.raises(DataFileError, match="one array of labels, got a, b"):
        datasets.load(tmp_path / "points.csv", labels=str(tmp_path / "two.npz"))
    pd.DataFrame({"a": [1.0]}).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(DataFileError, match="a Parquet file"):
        datasets.load(tmp_path / "points.csv", labels=str(tmp_path / "l.parquet"))


@pytest.mark.parametrize(
    "address", ["https://example.com/p.csv", "s3://bucket/p.csv", "file:///tmp/p.csv", "FTP://h/p.csv"]
)
def test_addresses_are_no_files(address: str) -> None:
    with pytest.raises(DataFileError, match=f"on this machine, got {address}; download it first"):
        datasets.load(address)


def test_names_of_files_that_cannot_be(tmp_path: Path) -> None:
    for name in ("a\0b", str(tmp_path / "a" / "b.csv"), " "):
        with pytest.raises(DataFileError, match="existing data file"):
            datasets.load(name)
    with pytest.raises(DataFileError, match="File name too long"):
        datasets.load("a" * 300)
    # so many names of columns are no file either
    names = [f"a{i}" for i in range(100)]
    (tmp_path / "wide.csv").write_text(f"x,{','.join(names)}\n" + f"1.5,{','.join('0' * 100)}\n" * 2)
    done = CliRunner().invoke(
        main,
        [
            "kernels",
            "--data",
            str(tmp_path / "wide.csv"),
            "--labels",
            ",".join(names),
            "--only",
            "sigma",
            "-a",
            "erf",
            "-o",
            str(tmp_path / "k.npz"),
        ],
    )
    assert "column x; labels: columns a0, a1, a2, ..., a99, 100 numbers each" in done.stdout


def test_columns_are_never_taken_for_labels_by_place(tmp_path: Path) -> None:
    """A file of measurements, as in a 150 × 4 table of flowers, keeps all its columns."""
    table = np.random.default_rng(0).standard_normal((150, 4))
    np.savetxt(tmp_path / "p.csv", table, delimiter=",", fmt="%.17g")
    check(datasets.load(tmp_path / "p.csv"), table, None)
    with pytest.raises(DataFileError, match="--labels last"):
        datasets.load(tmp_path / "p.csv").labelled()
