"""The command phase and its picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.integrate import quad

mpl.use("Agg")

from matplotlib.figure import Figure

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.errors import InputError
from kernelcalc.output.phase import plot_phase

COARSE = ("--sigma-w-range", "0.5:2.5:9", "--beta-range", "0:1:5")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["phase", *map(str, arguments)])


def gaussian_mean(f: object, q: float) -> float:
    return quad(lambda z: f(math.sqrt(q) * z) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi), -12, 12)[0]


def test_file_holds_fixed_points_and_their_chi(tmp_path: Path) -> None:
    result = run(*COARSE, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"written: {tmp_path / 'phase.csv'} {tmp_path / 'phase.png'}"
    assert (tmp_path / "phase.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "phase.csv").open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 45
    for row in rows[5::7]:
        q = row["q"]
        variance = row["sigma_w"] ** 2 * gaussian_mean(lambda a: math.tanh(a) ** 2, q) + row["beta"] ** 2
        assert variance == pytest.approx(q, rel=1e-7, abs=1e-6)
        chi = row["sigma_w"] ** 2 * gaussian_mean(lambda a: math.cosh(a) ** -4, q)
        assert row["chi"] == pytest.approx(chi, rel=1e-7, abs=1e-6)


def test_table_names_the_phases(tmp_path: Path) -> None:
    result = run(*COARSE, "--no-png", "-o", tmp_path)
    table = result.output.splitlines()
    assert "order" in next(line for line in table if line.startswith("tanh "))
    assert "chaos" in next(line for line in table if line.startswith("normalized tanh "))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["phase.csv", "phase.csv-metadata.json"]
    critical = float(next(line for line in table if line.startswith("critical")).split("=")[-1])
    # At the line, q* = σ_w² E tanh² + β² with σ_w² = 1/E cosh⁻⁴ gives back β = 0.1.
    q = next(
        q for q in np.geomspace(1e-3, 1, 4000) if critical**2 * gaussian_mean(lambda a: math.cosh(a) ** -4, q) <= 1
    )
    bias = q - critical**2 * gaussian_mean(lambda a: math.tanh(a) ** 2, q)
    assert math.sqrt(bias) == pytest.approx(0.1, rel=2e-2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-a", "relu"), "critical point (chi = 1): sigma_w = 1.414 at beta = 0, where every q is a fixed point"),
        (("-a", "smooth_relu"), "no critical sigma_w (chi = 1 at a finite q*) found at beta = 0.1"),
        # tanh'(0) = 1
        (("-a", "tanh", "--beta", 0), "critical line (chi = 1) at beta = 0: sigma_w = 1\n"),
    ],
)
def test_where_chi_is_one(tmp_path: Path, arguments: tuple[object, ...], words: str) -> None:
    result = run(*arguments, *COARSE, "--no-png", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert words in result.output


def test_critical_line_is_drawn_where_fixed_points_are() -> None:
    grid = np.linspace(0.2, 3, 29), np.linspace(0, 2, 21)
    (point,) = plot_phase(kc.phase_diagram("relu", *grid), Figure().subplots()).get_lines()
    np.testing.assert_allclose(point.get_xydata(), [[math.sqrt(2), 0]])
    assert point.get_marker() == "o"
    # smooth relu comes to χ = 1 at q = ∞ only
    ax = plot_phase(kc.phase_diagram("smooth_relu", *grid), Figure().subplots())
    assert not ax.get_lines()
    assert not [artist for artist in ax.collections if hasattr(artist, "levels")]


def test_without_a_fixed_point(tmp_path: Path) -> None:
    result = run("-a", "relu", "--sigma-w", 2, *COARSE, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "grows without bound" in result.output
    with (tmp_path / "phase.csv").open(newline="") as file:
        assert any(row["q"] == "" for row in csv.DictReader(file))


def test_settings_outside_of_the_plane_are_not_drawn(tmp_path: Path) -> None:
    # far above the axes the mark would squeeze them to nothing, which warns
    result = run("-a", "sin", "--sigma-w-range", "1.5:1.6:2", "--beta-range", "0:1e-9:2", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "phase.png").exists()


def test_picture_has_line_names_and_colours() -> None:
    diagram = kc.phase_diagram("tanh", np.linspace(0.2, 3, 29), np.linspace(0, 2, 21))
    ax = plot_phase(diagram, Figure().subplots())
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), diagram.line[0])
    where = {text.get_text(): text.get_position() for text in ax.texts}
    assert set(where) == {"order", "chaos"}
    assert where["order"][0] < where["chaos"][0]
    assert len(plot_phase(diagram, Figure().subplots(), quantity="depth", names=False).texts) == 0
    with pytest.raises(InputError, match="quantity"):
        plot_phase(diagram, Figure().subplots(), quantity="chy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-a", "tahn"), "tanh"),
        (("-a", "sign"), "continuous"),
        (("--sigma-w", "-1"), "sigma_w"),
        (("--beta-range", "2:1:5"), "LOW < HIGH"),
        (("--beta-range", "2"), "LOW:HIGH:COUNT"),
        (("--sigma-w-range", "0:1:5"), "above 0"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, "-o", tmp_path)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert list(tmp_path.iterdir()) == []


def test_architecture_follows_its_block(tmp_path: Path) -> None:
    result = run("-a", "erf", "--architecture", "prelayernorm:4", "--beta", "0.4", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "repeated without end: chaos" not in result.output
    assert "falls like blocks^-0.0" in result.output
    with (tmp_path / "phase.csv").open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    q, c = 1.16, 0.66
    for row in rows:
        mapped = [2 / math.pi * math.asin(2 * rho / 3) for rho in (1, c / q)]
        q, c = q + (mapped[0] + 0.16) / 4, c + (mapped[1] + 0.16) / 4
        assert (row["q"], row["correlation"]) == pytest.approx((q, c / q), rel=1e-9)
    assert [row["depth"] for row in rows] == [1, 2, 3, 4]
    assert (tmp_path / "phase.png").read_bytes().startswith(b"\x89PNG")


def test_architecture_with_positions_is_refused() -> None:
    result = run("--architecture", "conv(3); tanh; flatten; dense")
    assert result.exit_code == 2
    assert "without positions" in result.output


def test_spectrum_against_depth(tmp_path: Path) -> None:
    result = run("--spectrum", "1,3,20", "--points", 12, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    with (tmp_path / "phase_spectrum.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["setting"] == "tanh" and row["depth"] == "3"]
    x, _ = kc.datasets.mnist14(12)
    theta = kc.MLP("tanh", depth=3).kernels(x, only="theta").theta
    values = np.linalg.eigvalsh(theta)[::-1] / np.trace(theta) * 12
    np.testing.assert_allclose([float(row["eigenvalue"]) for row in rows], values, rtol=1e-9)
    line = next(
        line for line in result.output.splitlines() if line.startswith("tanh") and line.split()[2] == "3"
    ).split()
    assert float(line[5]) == pytest.approx(values[0] / values[-1], rel=1e-3)
    # order: one outlier; chaos: none stands apart for long
    deep = next(
        line for line in result.output.splitlines() if line.startswith("tanh") and line.split()[2] == "20"
    ).split()
    assert deep[-1] == "1"
    chaos = next(
        line for line in result.output.splitlines() if line.startswith("normalized") and line.split()[3] == "20"
    )
    assert float(chaos.split()[6]) < 20 < float(deep[5])
    assert (tmp_path / "phase_spectrum.png").exists()


@pytest.mark.parametrize("depths", ["0,1", "a", "5000", ""])
def test_depths_that_are_refused(depths: str) -> None:
    assert "depths" in run("--spectrum", depths).output
