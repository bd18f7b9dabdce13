"""The command predict: the report and the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main

FEW = ("-n", "24")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def test_report_and_file_for_the_mse(tmp_path: Path) -> None:
    path = tmp_path / "new" / "prediction.json"
    result = run("-a", "erf", *FEW, "--width", 64, "--json", path)
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
    assert (np.diff(numbers["expected_loss"]) < 0).all()


@pytest.mark.parametrize("loss", ["softmax", "binary", "log(cosh(y - t))"])
def test_other_losses(loss: str) -> None:
    result = run(*FEW, "--loss", loss, "--samples", 2)
    assert result.exit_code == 0, result.output
    assert f"loss {loss}" in result.output


def test_singular_kernel_is_written_as_null(tmp_path: Path) -> None:
    lines = ["u,v,label", "1,0,0", "1,0,0", "0,1,1"]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    path = tmp_path / "p.json"
    result = run("-a", "erf", "--data", tmp_path / "points.csv", "--json", path)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text())["condition_number"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "hinge"), "softmax"),
        (("--loss", "-(y - t)^2"), "convex"),
        (("--depth", "0"), "depth"),
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
