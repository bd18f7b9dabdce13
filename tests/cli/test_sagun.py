"""The command sagun: every experiment, its files, its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.output.recipe import BESIDE
from kernelcalc.studies.sagun import experiments
from kernelcalc.studies.sagun.heatmaps import Heatmaps

TINY = {
    "spectra": ("-n", 12, "--widths", "2,3", "--steps", 2),
    "heatmaps": ("-n", 8, "--widths", "2", "--width", 20, "--steps", 2),
    "training": ("-n", 8, "--widths", "3,5", "--steps", 4),
    "initial": ("-n", 8, "--widths", "3,6,9", "--trials", 4, "--steps", 2),
    "separability": ("-n", 8, "--width", 3, "--trials", 2, "--steps", 2),
    "outliers": ("-n", 12, "--clusters", "2,3", "--width", 3, "--steps", 2),
    "width": ("-n", 10, "--widths", "2,4", "--trials", 2, "--steps", 2),
    "path": ("-n", 16, "--width", 6, "--steps", 4),
    "split": ("-n", 10, "--width", 3, "--steps", 2, "-a", "tanh"),
    "batches": ("-n", 6, "--steps", 2),
    "risk": ("-n", 12, "--width", 3, "--steps", 8),
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["sagun", *map(str, arguments)])


def test_all_experiments_are_tried() -> None:
    assert TINY.keys() == experiments().keys()


@pytest.mark.parametrize("name", list(TINY))
def test_table_and_files(tmp_path: Path, name: str) -> None:
    result = run(name, *TINY[name], "-o", tmp_path)
    assert result.exit_code == 0, result.output + str(result.exception)
    last = result.output.splitlines()[-1]
    assert last.startswith("written: ")
    written = [Path(word) for word in last.split()[1:]]
    # finished networks of the experiment initial stay beside them
    assert sorted(path for path in tmp_path.iterdir() if not path.name.endswith((".jsonl", BESIDE))) == sorted(written)
    assert written[0] == tmp_path / f"{name}.csv"
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(written[0])
    assert len(table) > 0
    # the terminal shows the file's columns
    shown = next(line for line in result.output.splitlines() if line.split()[:1] == [table.columns[0]])
    assert shown.split() == table.columns.tolist()
    assert max(map(len, result.output.splitlines()[:2])) < 140


def test_same_seed_same_file(tmp_path: Path) -> None:
    texts = []
    for seed, folder in ((1, "a"), (1, "b"), (2, "c")):
        result = run("initial", *TINY["initial"], "--seed", seed, "-o", tmp_path / folder, "--no-png")
        assert result.exit_code == 0, result.output
        assert (
            sorted(path.suffix for path in (tmp_path / folder).iterdir()) == [".csv"] * 3 + [".json"] + [".jsonl"] * 6
        )
        texts.append((tmp_path / folder / "initial_values.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_mse_instead_of_softmax(tmp_path: Path) -> None:
    result = run("training", *TINY["training"], "--loss", "mse", "-o", tmp_path, "--no-png")
    assert result.exit_code == 0, result.output
    assert "mse loss" in result.output


def test_spectra_of_one_loss_and_some_data(tmp_path: Path) -> None:
    result = run("spectra", *TINY["spectra"], "--loss", "mse", "--data", "random,blobs", "-o", tmp_path, "--no-png")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "spectra.csv")
    assert set(table["loss"]) == {"mse"}
    assert table["data"].unique().tolist() == ["random", "blobs"]
    assert (table["zero"] >= table["zero_bound"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("path", "-n", "1"), "2 to 255 points"),
        (("path", "-n", "300"), "tests on others"),
        (("spectra", "--data", "digit"), "did you mean 'digits'"),
        (("spectra", "--loss", "binary"), "'softmax' or 'mse'"),
        (("training", "--data", "mnist14"), "heatmaps, path, spectra, split, width have"),
        (("split", "--data", "nowhere.csv"), "existing data file"),
        (("outlier",), "did you mean 'outliers'"),
        (("separability", "--widths", "3,4"), "width, trials, steps, stop), got widths"),
        (("split", "-a", "rellu"), "relu"),
        (("split", "--loss", "binary"), "'softmax' or 'mse'"),
        (("width", "--widths", "3,x"), "whole numbers such as 10,20,40"),
        (("width", "--widths", "0"), "at least 1"),
        (("split", "-n", "400"), "from 1 to 256"),
        (("initial", "--widths", "3,4"), "three different widths"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, "-o", tmp_path)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("outliers", "--full", "-o", tmp_path / "file")
    assert result.exit_code == 2
    assert "writable output folder" in result.stderr


def test_help_lists_the_experiments() -> None:
    listed = " ".join(run("--help").output.split("Experiments:")[1].split())
    for name, kind in experiments().items():
        assert f"{name} {kind.summary}" in listed


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Three classes in four columns."""
    rng = np.random.default_rng(0)
    names = np.repeat(["setosa", "versicolor", "virginica"], 8)
    x = rng.normal(size=(24, 4)) + 2 * np.eye(4)[np.unique(names, return_inverse=True)[1]]
    rows = [",".join([*(f"{v:.3f}" for v in point), name]) for point, name in zip(x, names, strict=True)]
    path = tmp_path / "flowers.csv"
    path.write_text("\n".join(["a,b,c,d,species", *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", ["split", "width", "spectra"])
def test_own_points_instead_of_digits(tmp_path: Path, flowers: Path, name: str) -> None:
    own = ["--data", flowers, "--labels", "species", "-n", "12"]
    result = run(name, *TINY[name], *own, "-o", tmp_path, "--no-png")
    assert result.exit_code == 0, result.output
    assert "24 points of 4 inputs" in result.output
    assert "12 of 24 points, drawn with seed 0, each class in proportion" in result.output
    main = pd.read_csv(tmp_path / f"{name}.csv")
    if name == "spectra":
        assert set(main["data"]) == {"sample"}
        width = main["width"].iloc[0]
        # (n_in + 1) k + (k + 1) k + (k + 1) n_out parameters
        assert main["P"].iloc[0] == 5 * width + (width + 1) * width + 3 * (width + 1)
    else:
        assert "12 points" in result.output


def test_larger_digits_by_name(tmp_path: Path) -> None:
    result = run("split", *TINY["split"], "--data", "mnist28", "-n", "10", "-o", tmp_path, "--no-png")
    assert result.exit_code == 0, result.output
    assert "10 points" in result.output


@pytest.mark.long
def test_heatmaps_of_the_papers_own_inputs(tmp_path: Path) -> None:
    """784 inputs, ten classes."""
    options = ("--widths", "2", "--width", 10, "--steps", 2)
    result = run("heatmaps", "--data", "mnist28", "-n", 40, *options, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "heatmaps.png").read_bytes().startswith(b"\x89PNG")
    sample = kc.datasets.mnist28(40)
    drawn = Heatmaps(widths=(2,), width=10, steps=2, sample=sample)
    (one, _) = [m for m in drawn.measure(lambda items, label: items).matrices if m.data == "digits"]
    # two hidden layers of four
    assert one.entries.shape == (785 * 4 + 5 * 4 + 5 * 10,) * 2
