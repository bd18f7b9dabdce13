"""The paper's figures as a user draws them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.studies.figures import figure1


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["figure", *map(str, arguments)])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


FIRST = ("1", "--width", 16, "--trials", 2, "-n", 8, "--workers", 1)


def test_figure_1_writes_files_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    result = run(*FIRST, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    names = ["figure1.csv", "figure1_theory.csv", "figure1_verdicts.csv", "figure1.png"]
    assert result.output.splitlines()[-1] == " ".join(["written:", *(str(tmp_path / name) for name in names)])
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")
    direct = figure1.Figure1(width=16, trials=2, points=8).run()
    read = [float(row["mean"]) for row in rows(tmp_path / "figure1.csv")]
    np.testing.assert_allclose(read, direct["mean"], rtol=1e-12)
    kept = sorted(tmp_path.glob("figure1-networks-*.jsonl"))
    assert len(kept) == 2
    stored = [path.read_bytes() for path in kept]
    before = (tmp_path / "figure1.csv").read_bytes()
    assert run(*FIRST, "-o", tmp_path).exit_code == 0
    assert [path.read_bytes() for path in sorted(tmp_path.glob("figure1-networks-*.jsonl"))] == stored
    assert (tmp_path / "figure1.csv").read_bytes() == before
    # another seed has files of its own
    assert run(*FIRST, "--seed", 1, "-o", tmp_path).exit_code == 0
    assert len(list(tmp_path.glob("figure1-networks-*.jsonl"))) == 4


@pytest.mark.parametrize(("smooth", "name"), [("softplus", "softplus"), ("gaussian", "smooth_relu")])
def test_figure_1_says_which_smooth_relu(tmp_path: Path, smooth: str, name: str) -> None:
    result = run(*FIRST, "--smooth", smooth, "--no-png", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "figure1_theory.csv")
    first = next(row for row in table if row["activation"] == name and row["k"] == "1" and float(row["time"]) == 0)
    x, labels = kc.datasets.mnist14(8)
    y = kc.datasets.one_hot(labels)
    exact = kc.mse_moments(kc.MLP(name, 3, n_out=y.shape[1]).kernels(x), y, [0.0])
    assert float(first["trace_h"]) == pytest.approx(exact.trace_h[0, 0], rel=1e-9)


def test_figure_2(tmp_path: Path) -> None:
    result = run("2", "--width", 32, "-n", 16, "--count", 4, "--widths", "16,32", "--trials", 4, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "figure2.csv")
    assert [row["eigenvector_of"] for row in table] == ["I"] * 4 + ["S"] * 4
    # eigenvectors of I see more of I than those of S do
    size = np.array([float(row["vIv"]) for row in table])
    assert size[:4].min() > size[4:].mean()
    assert (tmp_path / "figure2.png").exists()


def test_figure_3(tmp_path: Path) -> None:
    result = run("3", "--width", 64, "-n", 8, "--grid", 5, "--reach", 0.5, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "narrowness" in result.output
    surface = rows(tmp_path / "figure3_surface.csv")
    assert len(surface) == 2 * 25
    middle = [float(row["loss"]) for row in surface if float(row["x"]) == float(row["y"]) == 0]
    assert max(middle) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("1", "-n", 257), "from 1 to 256, got n=257"),
        (("1", "-a", "tanhh"), "did you mean"),
        (("1", "-a", "relu"), "relu"),
        (("2", "--widths", "64"), "two different widths"),
        (("2", "--widths", "a,b"), "two different widths"),
        (("2", "--width", 32, "-n", 4, "--trials", 2, "--widths", "8,16"), "1 to 16 eigenvectors"),
        (("2", "--count", 500, "-n", 16), "1 to 144 eigenvectors"),
        (("3", "--reach", "-1"), "reach > 0"),
        (("4",), "No such command"),
    ],
)
def test_refusals_are_one_line(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run(*arguments, *(("-o", tmp_path) if arguments != ("4",) else ()))
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_nothing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run(*FIRST, "-o", tmp_path)
    assert result.exit_code == 2
    assert "kernelcalc[plot]" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_own_points_instead_of_digits(tmp_path: Path) -> None:
    """The theory's first moment at the start is that of the library's own call on the same points."""
    rng = np.random.default_rng(3)
    x, kind = rng.normal(size=(9, 3)), np.array(["a", "b", "c"] * 3)
    file = tmp_path / "own.csv"
    lines = [",".join([*(repr(float(v)) for v in p), k]) for p, k in zip(x, kind, strict=True)]
    file.write_text("\n".join(["u,v,w,class", *lines]) + "\n")
    arguments = ("--width", 12, "--trials", 2, "--workers", 1, "-a", "tanh", "--data", file, "--no-png", "-o", tmp_path)
    result = run("1", *arguments)
    assert result.exit_code == 0, result.output
    assert "9 points, 3 outputs" in result.output
    scaled = x * np.sqrt(3) / np.linalg.norm(x, axis=1, keepdims=True)
    K = kc.MLP("tanh", 3, n_out=3).kernels(scaled)
    trace = 3 * np.trace(K.theta) / 9
    assert float(rows(tmp_path / "figure1.csv")[0]["theory_i"]) == pytest.approx(trace, rel=1e-12)
    # other points, other networks
    file.write_text("\n".join(["u,v,w,class", *lines[::-1]]) + "\n")
    assert run("1", *arguments).exit_code == 0
    assert len(list(tmp_path.glob("figure1-networks-*.jsonl"))) == 2


def test_own_points_of_figure_2(tmp_path: Path) -> None:
    arguments = ("--width", 16, "-n", 8, "--count", 3, "--widths", "8,16", "--trials", 2, "--data", "mnist28")
    result = run("2", *arguments, "--no-png", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "8 points" in result.output
    result = run("2", *arguments[:-2], "--labels", "species", "--no-png", "-o", tmp_path)
    assert result.exit_code == 2
    assert "--data FILE" in result.output
