"""Files are written whole or not at all."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from kernelcalc.errors import OutputFileError, ShapeError
from kernelcalc.output.files import atomic_file, check_writable, writable_folder, write_csv, write_figure


def test_csv_reads_back_exactly(tmp_path: Path) -> None:
    values = np.array([0.1, 1 / 3, 1e-300, -2.5e17, np.nan, np.inf])
    path = write_csv(
        tmp_path / "a.csv", {"name": ["a,b", 'c"', "d", "e", "f", "g"], "k": np.arange(6), "value": values}
    )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows][:2] == ["a,b", 'c"']
    assert [int(row["k"]) for row in rows] == list(range(6))
    assert rows[4]["value"] == ""
    np.testing.assert_array_equal([float(row["value"] or "nan") for row in rows], values)


def test_failure_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    with atomic_file(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = write_csv(tmp_path / "a.csv", {"a": [1]})
    assert path.stat().st_mode == usual.stat().st_mode


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFileError, match="writable output folder"):
        writable_folder(tmp_path / "file")
    with pytest.raises(OutputFileError, match="writable output folder"):
        writable_folder(tmp_path / "file" / "below")
    with pytest.raises(OutputFileError, match="cannot write"):
        write_csv(tmp_path / "nowhere" / "a.csv", {"a": [1]})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputFileError, match="cannot write"):
        write_csv(tmp_path / "folder", {"a": [1]})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_folder_is_created_and_left_empty(tmp_path: Path) -> None:
    folder = writable_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


def test_a_folder_is_tried_and_not_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("folder", "a", "a/b/c", "folder/d", "folder/../e"):
        check_writable(tmp_path / name)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    for name in ("file", "file/below", "f" * 300, "a/" + "f" * 300):
        with pytest.raises(OutputFileError):
            check_writable(tmp_path / name)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_columns_of_different_lengths() -> None:
    with pytest.raises(ShapeError, match=r"a \(1,\), b \(2,\)"):
        write_csv("never.csv", {"a": [1], "b": [1, 2]})


def test_figure(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    path = write_figure(tmp_path / "a.png", Figure(figsize=(2, 1)))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
@pytest.mark.parametrize("dpi", ["figure", 170])
def test_a_layout_made_once_gives_the_pixels_that_matplotlib_gives(tmp_path, layout, dpi):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    files = []
    with mpl.rc_context({"savefig.dpi": dpi, "savefig.bbox": None}):
        for save in (lambda path, figure: figure.savefig(path), write_figure):
            figure = Figure(figsize=(4, 2), layout=layout)
            for number, ax in enumerate(figure.subplots(1, 2)):
                ax.plot([0, 10.0**number])
                ax.set(title="two\nlines", xlabel="$x^2$", ylabel="a label")
            engine, resolution = figure.get_layout_engine(), figure.dpi
            save(tmp_path / f"{len(files)}.png", figure)
            assert (figure.get_layout_engine(), figure.dpi) == (engine, resolution)
            files.append(mpl.image.imread(tmp_path / f"{len(files)}.png"))
    np.testing.assert_array_equal(*files)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_pipes_and_links_are_written_to_and_not_replaced(tmp_path):
    pipe, link, kept = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "kept.csv"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_csv(pipe, {"a": [1]})
        assert os.read(reader, 99) == b"a\n1\n"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    kept.write_text("old")
    link.symlink_to(kept)
    write_csv(link, {"a": [2]})
    assert link.is_symlink()
    assert kept.read_text() == "a\n2\n"


@pytest.mark.parametrize("name", [".", "folder"])
def test_folders_are_no_files(tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputFileError, match="it is a folder"):
        write_csv(name, {"a": [1]})
