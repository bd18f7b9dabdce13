"""The command spectrum and its picture."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner, Result

mpl.use("Agg")

from matplotlib.figure import Figure

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.kernels.layers import Conv, Dense, Flatten
from kernelcalc.output.spectrum import plot_density, plot_scree
from kernelcalc.studies.spectrum import Spectrum


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
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["spectrum.csv", "spectrum.csv-metadata.json"]


def test_nonlinearity_with_a_kink_has_no_bulk(tmp_path: Path) -> None:
    result = run("-a", "relu", "-n", 8, "--loss", "binary", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "not smooth enough" in result.output
    assert "sagun split" in result.output
    assert "Mean-field" not in result.output


def numbers(text: str, name: str) -> list[float]:
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return [float(found) for found in re.findall(r"[-\d.]+(?:e[-+]\d+)?", line[38:]) if found.strip(".-")]


def test_equal_eigenvalues_are_counted(tmp_path: Path) -> None:
    result = run("-a", "tanh", "-n", 24, "--no-png", "-o", tmp_path)
    x, labels = kc.datasets.mnist14(24)
    theta, n_out = kc.MLP("tanh", depth=3).kernels(x).theta, len(set(labels))
    means = np.array(
        [
            [
                np.mean(
                    [theta[i, j] for i in np.flatnonzero(labels == a) for j in np.flatnonzero(labels == b) if i != j]
                )
                if a != b or (labels == a).sum() > 1
                else theta[labels == a][:, labels == a].item()
                for b in set(labels)
            ]
            for a in set(labels)
        ]
    )
    sizes = np.array([(labels == a).sum() for a in set(labels)])
    top = np.sort(np.linalg.eigvals(means * sizes / 24).real)[::-1]
    found = numbers(result.output, "were each class a single point")
    assert found[0] == n_out**2
    np.testing.assert_allclose(found[1::2], top[:3], rtol=1e-3)
    assert found[2::2] == [n_out] * 3


def test_comparison_with_random_gradients_and_mean_field(tmp_path: Path) -> None:
    result = run("-a", "tanh", "-n", 24, "--targets", "parity", "--width", 10, "--no-png", "-o", tmp_path)
    x, labels = kc.datasets.mnist14(24)
    y, k = kc.datasets.parity(labels), kc.MLP("tanh", depth=3).kernels(x)
    # 24 vectors of as many normal numbers as there are parameters, of the same mean square
    count = 197 * 10 + 11 * 10 + 11
    mean = np.trace(k.theta) / 24 / 24
    samples = [np.random.default_rng(seed).normal(size=(24, count)) for seed in range(20)]
    values = np.linalg.svd(np.array(samples), compute_uv=False) ** 2 * mean / count
    low, high, above = numbers(result.output, "eigenvalues (Marchenko-Pastur)")
    assert low == pytest.approx(values.min(), rel=0.08)
    assert high == pytest.approx(values.max(), rel=0.08)
    assert above == (np.linalg.eigvalsh(k.theta) / 24 > high).sum()
    threshold, shown = numbers(result.output, "a direction stands out")
    assert shown == pytest.approx(mean, rel=1e-3)
    assert threshold == pytest.approx(1 + np.sqrt(24 / count), rel=1e-3)
    trace, deviation = numbers(result.output[result.output.index("Mean-field") :], "Tr H ")
    assert trace == pytest.approx((np.trace(k.theta) + np.trace(k.phi)) / 24, rel=1e-3)
    assert deviation == pytest.approx(np.sqrt(10 * y @ k.xi @ y) / 24, rel=1e-3)
    (more,) = numbers(result.output, "a part of the next order")
    assert more == pytest.approx(np.sqrt((k.xi * k.sigma + k.phi * k.phi.T).sum()) / 24, rel=0.05)
    (second,) = numbers(result.output, "Tr H^2, leading order")
    assert second == pytest.approx(10 * y @ k.upsilon @ y / 24**2, rel=1e-4)


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


def test_components_are_pictures_of_the_points(tmp_path):
    result = CliRunner().invoke(main, ["spectrum", "-n", "40", "--components", "3", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "spectrum_components.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "spectrum_components.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    weights = np.array([float(row["weight"]) for row in rows]).reshape(3, 40)
    x = kc.datasets.mnist14(40)[0]
    values, vectors = np.linalg.eigh(kc.MLP("smooth_relu", depth=3).kernels(x, only="theta").theta / 40)
    for k in range(3):
        assert abs(weights[k] @ vectors[:, -1 - k]) == pytest.approx(1, rel=1e-9)
        assert float(rows[40 * k]["eigenvalue"]) == pytest.approx(values[-1 - k], rel=1e-9)


def test_classes_are_the_parts_of_i(tmp_path: Path) -> None:
    done = run("-a", "tanh", "-n", "40", "--classes", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "spectrum_classes.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "spectrum_classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    x, labels = kc.datasets.mnist14(40)
    theta = kc.MLP("tanh", depth=3).kernels(x, only="theta").theta / 40
    # under the MSE every eigenvalue of Θ/N once an output
    expected = np.sort(np.repeat(np.linalg.eigvalsh(theta), 10))[::-1]
    np.testing.assert_allclose(columns["eigenvalue"], expected, rtol=1e-9, atol=1e-13)
    # gradients of different outputs are orthogonal: n_c times the mean of Θ/N over pairs of a class
    own = [theta[np.ix_(labels == c, labels == c)].sum() / (labels == c).sum() for c in range(10)]
    np.testing.assert_allclose(columns["own"][:10], np.sort(own)[::-1], rtol=1e-9)
    parts = [np.nansum(columns[name]) for name in ("class", "cross", "own", "within")]
    assert sum(parts) == pytest.approx(10 * np.trace(theta), rel=1e-9)
    assert f"{parts[1] / sum(parts):.1%} of the trace" in done.output
    assert "one of --components and --classes" in run("--classes", "--components", 2).output


def test_digits_are_images_for_a_convolution(tmp_path: Path) -> None:
    text = "conv(3, padding=zeros, stride=2); tanh; flatten; dense"
    done = run("-n", "20", "--architecture", text, "--targets", "parity", "--no-picture", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    assert "20 points in 196 dimensions" in done.output
    X, _ = kc.datasets.mnist14(20)
    net = kc.Sequential(Conv(3, padding="zeros", stride=2), "tanh", Flatten(), Dense())
    theta = np.asarray(net.kernels(X.reshape(-1, 14, 14, 1), only="theta").theta)
    np.testing.assert_allclose(eigenvalues(tmp_path), np.linalg.eigvalsh(theta)[::-1] / 20, rtol=1e-8)
