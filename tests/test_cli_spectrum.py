"""The command spectrum and its picture."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner, Result

mpl.use("Agg")

from matplotlib.figure import Figure

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.plot_spectrum import plot_density, plot_scree
from kernelcalc.spectrum import Spectrum


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["spectrum", *map(str, arguments)])


def eigenvalues(folder: Path) -> np.ndarray:
    with (folder / "spectrum.csv").open(newline="") as file:
        return np.array([float(row["eigenvalue"]) for row in csv.DictReader(file)])


def test_mse_is_the_spectrum_of_theta_ten_times_over(tmp_path: Path) -> None:
    result = run("-a", "tanh", "-n", 24, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"written: {tmp_path / 'spectrum.csv'} {tmp_path / 'spectrum.png'}"
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    x, labels = kc.datasets.mnist14(24)
    n_out = len(set(labels))
    direct = np.linalg.svd(kc.MLP("tanh", depth=3).kernels(x).theta, compute_uv=False) / 24
    np.testing.assert_allclose(eigenvalues(tmp_path), np.repeat(direct, n_out), rtol=1e-9)
    assert f"outliers by largest ratio           {n_out}\n" in result.output


def test_softmax_loses_one_direction_a_point(tmp_path: Path) -> None:
    result = run("--loss", "softmax", "-n", 12, "--width", 50, "--no-png", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    classes = len(set(kc.datasets.mnist14(12)[1]))
    assert (eigenvalues(tmp_path) > 1e-12).sum() == 12 * (classes - 1)
    assert "= 2400" in result.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["spectrum.csv"]


def test_nonlinearity_with_a_kink_has_no_bulk(tmp_path: Path) -> None:
    result = run("-a", "relu", "-n", 8, "--loss", "binary", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "not smooth" in result.output


def test_what_is_drawn() -> None:
    values = np.array([3.0, 0.1, 0.01, 0.0])
    found = Spectrum(values=values, components=np.zeros((4, 4, 1)))
    ax = plot_scree(found, Figure().subplots(), outliers={"gap": 1, "ratio": 1}, bulk=0.02)
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), values[:3])
    assert [line.get_label() for line in ax.get_lines()[1:3]] == ["largest gap: 1", "largest ratio: 1"]
    bars = plot_density(found, Figure().subplots()).patches
    assert sum(bar.get_height() for bar in bars) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "softmx"), "softmax"),
        (("--loss", "y*z"), "z"),
        (("--loss", "binary", "--targets", "values"), "±1 or 0/1"),
        (("--data", "nothing.csv"), "existing data file"),
        (("--width", "0"), "width"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run("-n", 8, *arguments, "-o", tmp_path)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert list(tmp_path.iterdir()) == []
