"""The command predict: the report and the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main

FEW = ("-n", "24", "--networks", "0")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_report_and_file_for_the_mse(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prediction.json"
    result = run("-a", "erf", *FEW, "--held-out", 0, "--width", 64, "--json", path)
    assert result.exit_code == 0, result.output
    assert "largest stable learning rate" in result.output
    assert result.output.splitlines()[-1] == f"written: {path}"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    numbers = json.loads(path.read_text())
    x, _ = kc.datasets.mnist14(24)
    values = np.linalg.svd(kc.MLP("erf", depth=3).kernels(x).theta, compute_uv=False)
    np.testing.assert_allclose(numbers["theta_eigenvalues"], values, rtol=1e-9)
    np.testing.assert_allclose(numbers["learning_rate"], 2 * 24 / values[0], rtol=1e-9)
    np.testing.assert_allclose(numbers["time_constants"], 24 / values, rtol=1e-9)
    assert numbers["condition_number"] == pytest.approx(values[0] / values[-1], rel=1e-8)
    # In the standard parametrisation wide layers take smaller steps.
    assert numbers["standard_learning_rate"] < numbers["learning_rate"][0]
    assert 0 < numbers["pytorch_learning_rate"] == numbers["pytorch_learning_rates"][-1]
    assert numbers["samples"] is None
    assert (np.diff(numbers["expected_loss"]) < 0).all()
    assert numbers["held_out"] is None


def test_learning_curve_is_kernel_regression_at_all_times(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    result = run("-a", "erf", *FEW, "--targets", "parity", "--held-out", 6, "--learning-curve", "--json", path)
    assert result.exit_code == 0, result.output
    numbers = json.loads(path.read_text())
    curve, rows = numbers["learning_curve"], np.array(numbers["held_out"]["rows"])
    x, labels = kc.datasets.mnist14(24)
    y, kept = kc.datasets.parity(labels).ravel(), np.setdiff1d(np.arange(24), rows)
    K = kc.MLP("erf", depth=3).kernels(x)
    values, vectors = np.linalg.eigh(K.theta[np.ix_(kept, kept)])
    # E (Y(0) - Y*)² = Σ + Y*Y*ᵀ, and every mode decays by itself
    start = np.einsum("ik,ij,jk->k", vectors, K.sigma[np.ix_(kept, kept)] + np.outer(y[kept], y[kept]), vectors)
    for when, train, ensemble in zip(curve["time"], curve["train_loss"], curve["ensemble_loss"], strict=True):
        decay = np.exp(-when * values / 18)
        assert train == pytest.approx(decay**2 @ start / 36, rel=1e-8)
        mean = K.theta[np.ix_(rows, kept)] @ vectors @ ((1 - decay) / values * (vectors.T @ y[kept]))
        assert ensemble == pytest.approx(np.mean((mean - y[rows]) ** 2) / 2, rel=1e-6)
    assert (np.array(curve["loss_low"]) <= curve["loss_high"]).all()
    assert "Learning curve of one network" in result.output
    assert "held-out points for --learning-curve" in run(*FEW, "--held-out", 0, "--learning-curve").stderr


def test_held_out_points_are_kernel_regression(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    result = run("-a", "erf", *FEW, "--targets", "parity", "--held-out", 6, "--json", path)
    assert result.exit_code == 0, result.output
    x, labels = kc.datasets.mnist14(24)
    y, theta = kc.datasets.parity(labels), kc.MLP("erf", depth=3).kernels(x).theta
    numbers = json.loads(path.read_text())
    assert numbers["points"] == 18
    tested = numbers["held_out"]
    test = tested["rows"]
    train = np.setdiff1d(np.arange(24), test)
    mean = theta[np.ix_(test, train)] @ np.linalg.solve(theta[np.ix_(train, train)], y[train])
    np.testing.assert_allclose(np.ravel(tested["mean"]), mean, atol=1e-7)
    assert tested["accuracy"] == np.mean(np.sign(mean) == y[test])
    assert np.shape(tested["g_std"]) == (6, 1)
    assert tested["network_loss"] == pytest.approx(tested["loss"] + np.mean(np.square(tested["std"])) / 2)
    assert f"accuracy {tested['accuracy']:.1%}" in result.output
    # A fifth is held out unless said otherwise.
    assert "4 held-out points" in run("-a", "erf", *FEW).output


def test_standard_rates_through_training(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    assert run("-a", "erf", *FEW, "--loss", "softmax", "--samples", 2, "--json", path).exit_code == 0
    numbers = json.loads(path.read_text())
    rates = numbers["standard_learning_rates"]
    assert rates[0] == numbers["standard_learning_rate"]
    # As the points are learned the loss flattens and larger steps are stable, in both parametrisations.
    assert rates[-1] > 2 * rates[0]
    assert numbers["learning_rate"][-1] > 2 * numbers["learning_rate"][0]
    assert numbers["held_out"]["time"] == numbers["times"][-1]
    assert numbers["pytorch_learning_rates"][-1] > 2 * numbers["pytorch_learning_rate"]
    # ... and worse conditioned
    assert numbers["condition_number_of_i"][-1] > numbers["condition_number_of_i"][0] > numbers["condition_number"]


def test_rates_are_bounds_with_measured_ones_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    result = run("-a", "silu", "-n", "16", "--held-out", 0, "--depth", 4, "--width", 64, "--json", path)
    assert result.exit_code == 0, result.output
    numbers = json.loads(path.read_text())
    measured = numbers["measured_learning_rates"]
    assert [len(measured[name]) for name in ("ntk", "standard", "pytorch")] == [3, 3, 3]
    for words in ("Upper bounds of the largest stable learning rate", "sharpen", "catapult", "No step is promised"):
        assert words in result.output
    line = next(line for line in result.output.split("Measured")[1].splitlines() if "PyTorch" in line)
    assert f"{min(measured['pytorch']):.4g} " in line
    factor = np.mean(2 / np.array(measured["pytorch"])) / (2 / numbers["pytorch_learning_rate"])
    assert f"lambda_max is {factor:.3g} times the limit's" in line
    assert "Not measured" in run(*FEW).output


@pytest.mark.parametrize("loss", ["softmax", "binary", "log(cosh(y - t))"])
def test_other_losses(loss: str) -> None:
    result = run(*FEW, "--loss", loss, "--samples", 2)
    assert result.exit_code == 0, result.output
    assert f"loss {loss}" in result.output


def test_singular_kernel_is_written_as_null(tmp_path: Path) -> None:
    lines = ["u,v,label", "1,0,0", "1,0,0", "0,1,1"]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    path = tmp_path / "p.json"
    result = run("-a", "erf", "--networks", 0, "--data", tmp_path / "points.csv", "--json", path)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["condition_number"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "hinge"), "softmax"),
        (("--loss", "-(y - t)^2"), "convex"),
        (("--depth", "0"), "depth"),
        (("--held-out", "24"), "below the number of points"),
        (("-a", "sign"), "continuous"),
        (("--targets", "many"), "onehot"),
        (("--json", "/proc/none/p.json"), "writable"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = run(*FEW, *arguments)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last


def test_a_convolution_on_digits_has_its_own_rates() -> None:
    text = "conv(3, padding=zeros, stride=2); tanh; globalaverage; dense"
    result = run("-n", "8", "--held-out", "2", "--architecture", text, "--targets", "parity")
    assert result.exit_code == 0, result.output
    assert "6 points of 196 inputs, 1 output" in result.output
    assert "are known for networks without positions" in result.output
    assert "2 held-out points" in result.output
