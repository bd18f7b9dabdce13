"""The command as a user runs it."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.finite.ensembles.ensemble import moments_through_training

FEW = ("-n", "16", "--times", "0.1:100:5")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["curves", *map(str, arguments)])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_without_arguments(tmp_path: Path) -> None:
    out = tmp_path / "new"
    result = run("--out", out)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == f"written: {out / 'curves.csv'} {out / 'curves.png'}"
    assert "256 points in 196 dimensions, 10 outputs" in lines[0]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = rows(out)
    assert [row["activation"] for row in table[:: len(table) // 2]] == ["smooth_relu", "normalized smooth_relu"]
    for row in table:
        assert np.isfinite([float(value) for name, value in row.items() if name != "activation"]).all()
        k, trace_i, trace_s = int(row["k"]), float(row["trace_i"]), float(row["trace_s"])
        assert float(row["trace_h"]) == trace_i + trace_s
        assert k <= 2 or trace_s == 0
    # Section 3.4 of the paper: E Tr S(0) is positive for smooth ReLU and negative once it is normalised.
    signs = [float(row["trace_s"]) > 0 for row in table if float(row["time"]) == 0 and row["k"] == "1"]
    assert signs == [True, False]
    assert len(list(out.iterdir())) == 3


def test_numbers_are_those_of_the_library(tmp_path: Path) -> None:
    result = run(
        "-a", "tanh", "--depth", 2, "--sigma-w", 1.5, "--beta", 0.3, *FEW, "--targets", "parity", "-o", tmp_path
    )
    assert result.exit_code == 0, result.output
    x, labels = kc.datasets.mnist14(16)
    kernels = kc.MLP("tanh", depth=2, sigma_w=1.5, beta=0.3).kernels(x)
    times = np.concatenate([[0.0], np.geomspace(0.1, 100, 5)])
    traj = kc.mse_moments(kernels, kc.datasets.parity(labels), times)
    read = np.array([float(row["trace_h"]) for row in rows(tmp_path)]).reshape(6, 4).T
    np.testing.assert_allclose(read, traj.trace_h, rtol=1e-12)
    std = np.array([float(row["trace_h_std"]) for row in rows(tmp_path)]).reshape(6, 4).T
    np.testing.assert_allclose(std, traj.trace_h_std, rtol=1e-9)


def test_exact_bands_of_one_network_and_of_a_mean(tmp_path: Path) -> None:
    result = run("-a", "tanh", *FEW, "--targets", "parity", "--average", 20, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "curves.png").exists()
    x, labels = kc.datasets.mnist14(16)
    kernels, y = kc.MLP("tanh").kernels(x), kc.datasets.parity(labels)
    times = np.concatenate([[0.0], np.geomspace(0.1, 100, 5)])
    drawn = kc.hessian_moments(kernels, y, times, samples=2000, rng=1).sample_trace_h
    bands = {
        name: np.array([float(row[name]) for row in rows(tmp_path)]).reshape(6, 4).T
        for name in ("q05", "q95", "mean_q05", "mean_q95")
    }
    means = drawn.reshape(100, 20, 4, 6).mean(axis=1)
    for values, prefix in ((drawn, ""), (means, "mean_")):
        for name, level in (("q05", 0.05), ("q95", 0.95)):
            share = (values[:, :2, :4] < bands[prefix + name][:2, :4]).mean(axis=0)
            assert (np.abs(share - level) < 4 * np.sqrt(0.05 * 0.95 / len(values))).all()
    # Tr H^k does not vary for k ≥ 3 under the mse.
    np.testing.assert_allclose(bands["q05"][2:], bands["mean_q95"][2:], rtol=1e-12)
    assert run("-a", "tanh", *FEW, "--average", 5, "--loss", "softmax", "-o", tmp_path).exit_code == 2


def test_bands_of_a_sampled_loss_are_sample_quantiles(tmp_path: Path) -> None:
    arguments = ("-a", "erf", *FEW, "--loss", "binary", "--samples", 12, "--band", "quantiles")
    result = run(*arguments, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    x, labels = kc.datasets.mnist14(16)
    times = np.concatenate([[0.0], np.geomspace(0.1, 100, 5)])
    direct = kc.hessian_moments(kc.MLP("erf").kernels(x), kc.datasets.parity(labels), times, "binary", samples=12)
    read = np.array([float(row["q95"]) for row in rows(tmp_path)]).reshape(6, 4).T
    np.testing.assert_allclose(read, np.quantile(direct.sample_trace_h, 0.95, axis=0), rtol=1e-9)
    std = np.array([float(row["trace_i_std"]) for row in rows(tmp_path)]).reshape(6, 4).T
    np.testing.assert_allclose(std, direct.trace_i_std, rtol=1e-9)
    assert (std > 0).all()


def test_finite_networks_in_file_and_legend(tmp_path: Path) -> None:
    few = ("-n", "8", "--times", "0.1:10:3")
    arguments = ("-a", "smooth_relu", *few, "--finite", 8, "--trials", 2, "--workers", 1, "--kmax", 3)
    result = run(*arguments, "-o", tmp_path / "a")
    assert result.exit_code == 0, result.output
    table = rows(tmp_path / "a")
    filled = [row for row in table if row["finite_mean"]]
    x, labels = kc.datasets.mnist14(8)
    times = np.array([float(row["time"]) for row in filled[::3]])
    assert times[0] == 0.0
    net = kc.MLP("smooth_relu", depth=3, n_out=len(set(labels)))
    direct = moments_through_training(net, x, kc.datasets.one_hot(labels), times, width=8, trials=2, rng=0, kmax=3)
    for name, rows_of_k in (("finite_mean", direct.trace_h), ("finite_std", direct.trace_h_std)):
        np.testing.assert_allclose([float(row[name]) for row in filled], rows_of_k.T.ravel(), rtol=1e-9)
    assert [row["k"] for row in filled] == ["1", "2", "3"] * times.size
    assert run(*arguments, "--no-png", "-o", tmp_path / "b").exit_code == 0
    assert table == rows(tmp_path / "b")
    assert run(*arguments, "--seed", 1, "--no-png", "-o", tmp_path / "c").exit_code == 0
    assert table != rows(tmp_path / "c")


def test_own_data(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    lines = [f"{np.cos(a)},{np.sin(a)},{'left' if np.cos(a) < 0 else 'right'}" for a in np.arange(9.0)]
    path.write_text("u,v,side\n" + "\n".join(lines))
    result = run("-a", "erf", "--data", path, "--labels", "side", "--no-png", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "9 points in 2 dimensions, 2 outputs" in result.output
    assert result.output.splitlines()[-1] == f"written: {tmp_path / 'out' / 'curves.csv'}"
    assert sorted(e.name for e in (tmp_path / "out").iterdir()) == ["curves.csv", "curves.csv-metadata.json"]


def test_real_valued_labels_are_targets(tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    x = np.random.default_rng(0).standard_normal((6, 3))
    np.savez(path, X=x, y=x[:, 0])
    result = run("-a", "erf", "--data", path, "--scale", "raw", "--no-png", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 output," in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-a", "relu"), "relu"),
        (("-a", "tanhh"), "did you mean"),
        (("-a", "x*y"), "got 'y'"),
        (("-a", "__import__('os')"), "expected"),
        (("--depth", 0), "depth"),
        (("--times", "3"), "START:STOP:COUNT"),
        (("--times", "0:1:5"), "0 < START < STOP"),
        (("--times", "1:nan:5"), "0 < START < STOP"),
        (("--data", "nothing.csv"), "existing data file"),
        (("-n", "257"), "from 1 to 256"),
        (("--labels", "y"), "--data FILE"),
        (("--sigma-w", "nan"), "sigma_w"),
        (("--targets", "many"), "onehot"),
    ],
)
def test_refusals_are_one_line_on_stderr(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run(*FEW, *arguments, "-o", tmp_path)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("-a", "no such activation", "-o", tmp_path / "file")
    assert result.exit_code == 2
    assert "writable output folder" in result.stderr


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("-a", "erf", *FEW, "-o", tmp_path)
    assert result.exit_code == 2
    assert "kernelcalc[plot]" in result.stderr
    assert run("-a", "erf", *FEW, "--no-png", "-o", tmp_path).exit_code == 0


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from kernelcalc.cli import main; main(['curves', '--help'], standalone_mode=False);"
        "sys.exit(sorted({'numpy', 'scipy', 'sympy', 'matplotlib', 'pandas'} & set(sys.modules)) or 0)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--activation" in done.stdout
    assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize("loss", ["softmax", "binary"])
def test_sampled_losses_are_those_of_the_library(tmp_path: Path, loss: str) -> None:
    result = run("-a", "tanh", *FEW, "--loss", loss, "--samples", 8, "--seed", 3, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{loss} loss, 8 initialisations" in result.output.splitlines()[0]
    x, labels = kc.datasets.mnist14(16)
    targets = kc.datasets.parity(labels) if loss == "binary" else np.unique(labels, return_inverse=True)[1]
    times = np.concatenate([[0.0], np.geomspace(0.1, 100, 5)])
    direct = kc.hessian_moments(kc.MLP("tanh").kernels(x), targets, times, loss, samples=8, rng=3)
    for name in ("trace_h", "trace_h_std"):
        read = np.array([float(row[name]) for row in rows(tmp_path)]).reshape(6, 4).T
        np.testing.assert_allclose(read, getattr(direct, name), rtol=1e-9)
    # Unlike under the MSE, every moment varies between initialisations.
    assert (direct.trace_h_std > 0).all()


def test_a_loss_as_an_expression_agrees_with_the_exact_mse(tmp_path: Path) -> None:
    arguments = ("-a", "erf", *FEW, "--targets", "parity", "--no-png")
    assert run(*arguments, "--loss", "(y - t)^2/2", "--samples", 200, "-o", tmp_path / "a").exit_code == 0
    assert run(*arguments, "-o", tmp_path / "b").exit_code == 0
    sampled, exact = rows(tmp_path / "a"), rows(tmp_path / "b")
    for one, other in zip(sampled, exact, strict=True):
        error = float(other["trace_h_std"]) / np.sqrt(200)
        assert abs(float(one["trace_h"]) - float(other["trace_h"])) < 4 * error + 1e-4 * abs(float(other["trace_h"]))


def test_finite_networks_under_a_cross_entropy(tmp_path: Path) -> None:
    arguments = ("-a", "smooth_relu", *FEW, "--loss", "softmax", "--samples", 8, "--finite", 24, "--trials", 2)
    result = run(*arguments, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    crosses = [(float(row["finite_mean"]), float(row["trace_h"])) for row in rows(tmp_path) if row["finite_mean"]]
    finite, limit = np.array(crosses).T
    np.testing.assert_allclose(finite[0], limit[0], rtol=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--loss", "softmx"), "softmax"),
        (("--loss", "abs(y - t)"), "continuous"),
        (("--loss", "softmax", "--targets", "parity"), "class labels"),
        (("--loss", "log(cosh(y - t))", "--finite", "8"), "--finite"),
        (("--loss", "softmax", "--width", "100"), "--width"),
    ],
)
def test_wrong_losses_are_refused(tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run(*FEW, *arguments, "-o", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_first_order_at_the_start(tmp_path: Path) -> None:
    result = run("-a", "x", "--depth", 2, "--beta", 0, "-n", 4, "--times", "0.1:1:2", "--width", 20, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "width 20, t = 0, to first order" in result.output
    x, labels = kc.datasets.mnist14(4)
    m = np.unique(labels).size
    c = x @ x.T / x.shape[1]
    q = np.diag(c)
    # Θ̂_kl(x, x') = δ_kl A + c B_kl with A = z·z'/n and B = WWᵀ/n independent: exact at every width, m outputs
    squares = m * (4 * c**2 + (np.outer(q, q) + 3 * c**2) / 20) + m * (m - 1) * c**2 / 20
    spread = m**2 * (2 * c**2 / 20).sum() + m * 2 * q.sum() ** 2 / 20
    start, later = rows(tmp_path)[:4], rows(tmp_path)[4:]
    assert float(start[0]["width_trace_i"]) == pytest.approx(2 * m * q.mean(), rel=1e-10)
    assert float(start[0]["width_trace_h"]) == pytest.approx(2 * m * q.mean(), rel=1e-10)
    assert float(start[1]["width_trace_i"]) == pytest.approx(squares.mean(), rel=1e-10)
    assert float(start[0]["width_trace_i_std"]) == pytest.approx(np.sqrt(spread) / 4, rel=1e-10)
    # ∂²f_k/∂v_ki∂W_i = x/√(n n_0), all else 0: Tr S = 0, N² Tr S² = 2 Σ r_k r_k' c, N² Tr I S = 2 Σ c f_k r_k'/n
    targets = np.eye(m)[np.searchsorted(np.unique(labels), labels)]
    s2 = 2 * (c * (m * c + targets @ targets.T)).mean()
    together = 2 * m * (c**2).mean() / 20
    assert float(start[1]["width_trace_h"]) == pytest.approx(squares.mean() + 2 * together + s2, rel=1e-10)
    assert float(start[0]["width_trace_h_std"]) == pytest.approx(np.sqrt(spread) / 4, rel=1e-10)
    assert all(row["width_trace_i"] == "" for row in (*start[2:], *later))
