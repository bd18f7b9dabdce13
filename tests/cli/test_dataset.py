"""Options of the commands that say where data come from, and what the commands say about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.cli.dataset import encoded

# networks whose eigenvalues take no time
NARROW = ("--width", 16)
NEEDED = ("curves", "predict", "spectrum", "validate")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def flowers(folder: Path, header: str = "") -> Path:
    """150 points of 3 classes, sorted by class, as the iris data are."""
    points = np.random.default_rng(1).standard_normal((150, 4)) + 3 * np.repeat(np.eye(4)[:3], 50, axis=0)
    names = np.repeat(["setosa", "versicolor", "virginica"], 50)
    path = folder / "iris.data"
    rows = [",".join([*map(str, map(float, row)), name]) for row, name in zip(points, names, strict=True)]
    path.write_text("\n".join([*([header] if header else []), *rows]))
    return path


def test_kernels_of_a_row_of_three_numbers(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("1,2,3\n")
    options = ("-a", "relu", "--depth", 2, "--beta", 0, "--only", "sigma", "-o", tmp_path / "k.npz")
    done = run("kernels", "--data", tmp_path / "p.csv", "--scale", "raw", *options)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{tmp_path / 'p.csv'}: 1 point of 3 inputs, columns 0, 1, 2; labels: none\n")
    # E relu(N(0, q))² = q/2 with q = (1 + 4 + 9)/3
    np.testing.assert_allclose(np.load(tmp_path / "k.npz")["sigma"], [[14 / 6]], rtol=1e-14)
    assert run("kernels", "--data", tmp_path / "p.csv", *options).exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "k.npz")["sigma"], [[14 / 6]], rtol=1e-14)
    assert run("kernels", "--data", tmp_path / "p.csv", "--scale", "sphere", *options).exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "k.npz")["sigma"], [[1 / 2]], rtol=1e-14)
    assert run("kernels", "--data", tmp_path / "p.csv", "--labels", "last", *options).exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "k.npz")["sigma"], [[5 / 4]], rtol=1e-14)


def test_kernels_leave_labels_out_and_say_so(tmp_path: Path) -> None:
    done = run("kernels", "--data", flowers(tmp_path), "--only", "sigma", "-o", tmp_path / "k.npz")
    assert "150 points of 4 inputs, columns 0, 1, 2, 3; labels: column 4, 3 classes" in done.output.splitlines()[0]
    done = run("kernels", "--data", flowers(tmp_path), "--drop", 4, "--only", "sigma", "-o", tmp_path / "k.npz")
    assert "labels: none; left out: 4" in done.output.splitlines()[0]


@pytest.mark.parametrize("command", NEEDED)
def test_labels_are_asked_for_where_they_are_needed(tmp_path: Path, command: str) -> None:
    (tmp_path / "p.csv").write_text("length,width\n1.5,2\n3,4\n")
    done = run(command, "--data", tmp_path / "p.csv")
    assert done.exit_code == 2
    error = done.stderr.strip().splitlines()[-1]
    assert "length, width" in error
    assert "--labels last" in error
    # the refusal comes first and alone
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["curves", "predict", "spectrum", "kernels", "validate"])
def test_help_says_where_labels_are_looked_for(command: str) -> None:
    text = " ".join(run(command, "--help").output.split())
    assert "a name such as label, class, target or y" in text
    assert "COLUMN|FILE|last|none" in text


@pytest.mark.parametrize("command", ["curves", "predict", "spectrum"])
def test_points_are_chosen_by_class(tmp_path: Path, command: str) -> None:
    written = ("--no-png", "-o", tmp_path) if command != "predict" else NARROW
    done = run(command, "-a", "erf", "--data", flowers(tmp_path), "-n", 9, "--seed", 3, *written)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].endswith("labels: column 4, 3 classes")
    assert lines[1] == "9 of 150 points, drawn with seed 3, each class in proportion"
    assert "3 outputs" in done.output


def test_held_out_points_are_of_all_classes(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    runs = {}
    for seed in (0, 0, 1):
        done = run("predict", "-a", "erf", "--data", flowers(tmp_path), "--seed", seed, "--json", path, *NARROW)
        assert done.exit_code == 0, done.output
        assert (
            f"held out for testing: 30 of 150 points, drawn with seed {seed}, each class in proportion" in done.output
        )
        tested = json.loads(path.read_text())["held_out"]
        assert np.bincount(np.array(tested["rows"]) // 50).tolist() == [10, 10, 10]
        assert np.sum(tested["targets"], axis=0).tolist() == [10, 10, 10]
        # three separated clouds: by one class alone in the test a third would be missed
        assert tested["accuracy"] > 0.9
        assert runs.setdefault(seed, tested["rows"]) == tested["rows"]
    assert runs[0] != runs[1]


def test_numbers_are_held_out_at_random(tmp_path: Path) -> None:
    x = np.linspace(-3, 3, 20)
    np.savetxt(tmp_path / "p.txt", np.column_stack([x, np.sin(x)]), header="x y")
    done = run("predict", "-a", "erf", "--data", tmp_path / "p.txt", "--json", tmp_path / "p.json", *NARROW)
    assert done.exit_code == 0, done.output
    assert "one input: points are not rescaled" in done.output
    assert "held out for testing: 4 of 20 points, drawn with seed 0\n" in done.output
    rows = json.loads((tmp_path / "p.json").read_text())["held_out"]["rows"]
    assert rows != [16, 17, 18, 19]


def test_points_that_scaling_makes_equal_are_said(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b,y\n1,2,0\n2,4,1\n1,0,1\n")
    done = run("predict", "-a", "erf", "--data", tmp_path / "p.csv", "--held-out", 0, *NARROW)
    assert "--scale sphere leaves 1 point equal to another" in done.output
    done = run("predict", "-a", "erf", "--data", tmp_path / "p.csv", "--held-out", 0, "--scale", "raw", *NARROW)
    assert "leaves" not in done.output


def test_larger_digits_by_name(tmp_path: Path) -> None:
    done = run("kernels", "--data", "mnist28", "--only", "sigma", "-a", "erf", "-o", tmp_path / "k.npz")
    assert "2000 points in 784 dimensions" in done.output
    done = run("curves", "--data", "mnist28", "-n", 12, "-a", "erf", "--no-png", "-o", tmp_path)
    assert "12 points in 784 dimensions" in done.output
    done = run("validate", "--data", "digits", "-n", "257")
    assert "from 1 to 256" in done.stderr


def test_images_are_flattened_on_request(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", images=np.random.default_rng(0).random((6, 5, 5, 1)), labels=[[0], [1], [2], [0], [1], [2]]
    )
    for command in ("kernels", "curves"):
        done = run(command, "--data", tmp_path / "a.npz")
        assert done.exit_code == 2
        assert "--flatten makes 25 inputs" in done.stderr
    done = run("curves", "-a", "erf", "--data", tmp_path / "a.npz", "--flatten", "--no-png", "-o", tmp_path)
    assert "array images; labels: array labels, 3 classes; each flattened from 5 × 5 × 1" in done.output
    # labels in a column are classes, not numbers
    assert "6 points in 25 dimensions, 3 outputs" in done.output


def test_dialects_by_options(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("1;2;3\n1,5;2;0\n0,5;-1;1\n")
    options = ("--data", tmp_path / "p.csv", "--decimal", ",", "--only", "sigma", "-o", tmp_path / "k.npz")
    done = run("kernels", *options, "--header", "--labels", "3", "--columns", "1,2")
    assert done.exit_code == 0, done.output
    assert "2 points of 2 inputs, columns 1, 2; labels: column 3, 2 classes" in done.output
    done = run("kernels", *options, "--no-header")
    assert "3 points of 3 inputs, columns 0, 1, 2; labels: none" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kernels", "--labels", "y"), "--data FILE together with --labels"),
        (("curves", "--data", "mnist28", "--flatten"), "--data FILE together"),
        (("validate", "-n", "6"), "at most 5 points"),
        (("predict", "--data", "nothing.csv"), "existing data file, got nothing.csv"),
        (("curves", "--decimal", ";"), "decimal"),
    ],
)
def test_wrong_options_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr.strip().splitlines()[-1]


def test_more_points_than_there_are(tmp_path: Path) -> None:
    done = run("predict", "--data", flowers(tmp_path), "-n", 151)
    assert "at least 151 points, got 150" in done.stderr


def test_validate_takes_labels_as_they_are(tmp_path: Path) -> None:
    options = ("--widths", "8,16", "--trials", 2, "--times", 0, "--workers", 1, "--no-png", "-o", tmp_path / "out")
    for name, labels in {"signs": (1, -1, 1), "digits": (3, 4, 6), "numbers": (0.5, 0.25, 1.0)}.items():
        np.savez(tmp_path / name, X=np.eye(3), y=np.array(labels)[:, None])
        done = run("validate", "-a", "erf", "--data", tmp_path / f"{name}.npz", *options)
        assert done.exit_code in (0, 1), done.output
        assert "3 points of 3 inputs, array X; labels: array y" in done.output


@pytest.mark.parametrize(
    ("labels", "loss", "targets", "expected"),
    [
        (np.array([[3], [4], [3]]), "mse", None, [[1, 0], [0, 1], [1, 0]]),
        (np.array(["b", "a"]), "mse", None, [[0, 1], [1, 0]]),
        (np.array([0.5, 2.0]), "mse", None, [[0.5], [2.0]]),
        (np.array([[0.5, 1], [2, 0]]), "mse", None, [[0.5, 1], [2, 0]]),
        (np.arange(30), "mse", None, np.arange(30.0)[:, None]),
        (np.array([1, -1]), "mse", "parity", [[1], [-1]]),
        (np.array([3, 4, 5]), "binary", None, [[-1], [1], [-1]]),
        (np.array(["n", "y"]), "binary", None, [[0], [1]]),
    ],
)
def test_targets_made_of_labels(labels: np.ndarray, loss: str, targets: str | None, expected: object) -> None:
    np.testing.assert_array_equal(encoded(labels, loss, targets), expected)


def test_digits_are_those_of_python() -> None:
    from kernelcalc.cli.dataset import DataOptions

    x, y = DataOptions(points=7).labelled()
    np.testing.assert_array_equal(x, kc.datasets.mnist14(7, scale="raw")[0])
    np.testing.assert_array_equal(y, kc.datasets.mnist14(7)[1])
