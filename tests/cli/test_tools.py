"""The commands kernels, expect and symbolic: what they print, and what wrong input gets."""

import math
import warnings

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc import patience
from kernelcalc.cli import main


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_expect_in_double_precision_and_with_digits():
    done = run("expect", "--f", "relu", "--q", "1", "--c", "0")
    value, rest = done.output.split(maxsplit=1)
    assert float(value) == pytest.approx(1 / (2 * math.pi), rel=1e-15)
    assert "method: exact" in rest
    done = run("expect", "--f", "erf", "--g", "erf", "--q", "1", "--qp", "2", "--c", "1/2", "--dps", "40")
    with mp.workdps(45):
        exact = 2 / mp.pi * mp.asin(1 / mp.sqrt(15))
        assert abs(mp.mpf(done.output.strip()) - exact) < mp.mpf(10) ** -39


def test_expect_closed_form():
    done = run("expect", "--f", "x^2", "--g", "x^2", "--q", "1", "--qp", "2", "--c", "1/2", "--exact")
    assert sp.Rational(done.output.strip()) == 2 + 2 * sp.Rational(1, 4)


def test_symbolic_theta_of_the_error_function():
    done = run("symbolic", "theta", "--activation", "erf", "--depth", "2", "--latex")
    assert done.exit_code == 0
    assert r"\operatorname{asin}" in done.output or r"\arcsin" in done.output
    assert r"\sigma_{w}" in done.output


def test_symbolic_theta_of_a_residual_network():
    text = "dense; residual(erf, dense(beta=0), scale=0.5); dense(sigma_w=2)"
    done = run("symbolic", "theta", "-a", "erf", "--architecture", text, "--beta", "0.5")
    assert done.exit_code == 0, done.output
    q, qp, c = 0.8, 1.3, 0.4
    found = float(sp.sympify(done.output.strip().replace("q'", "r")).subs({"q": q, "r": qp, "c": c}))
    root = np.sqrt((1 + 2 * q) * (1 + 2 * qp))
    mean, slope = 2 / np.pi * np.arcsin(2 * c / root), 4 / np.pi / np.sqrt(root**2 - 4 * c**2)
    sigma, theta = c + mean / 4, c + (c * slope + mean) / 4
    assert found == pytest.approx(4 * theta + 4 * sigma + 0.25, rel=1e-12)
    latex = run("symbolic", "theta", "-a", "erf", "--architecture", text, "--latex")
    assert latex.exit_code == 0, latex.output
    wrong = run("symbolic", "theta", "-a", "erf", "--architecture", "conv(3); erf; flatten; dense")
    assert wrong.exit_code == 2
    assert "formulas" in wrong.output


def test_kernels_are_written_whole(tmp_path):
    points = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]])
    np.savetxt(tmp_path / "points.csv", np.column_stack([points, [0, 1, 0]]), delimiter=",")
    out = tmp_path / "k.npz"
    done = run("kernels", "-a", "tanh", "--data", tmp_path / "points.csv", "--labels", "last", "-o", out)
    assert done.exit_code == 0, done.output
    K = kc.MLP("tanh", depth=3).kernels(points)
    with np.load(out) as saved:
        for name in K.available:
            np.testing.assert_array_equal(saved[name], getattr(K, name))
    assert [f.name for f in sorted(tmp_path.iterdir())] == ["k.npz", "points.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("expect", "--f", "tnah", "--q", "1", "--c", "0"), "tanh"),
        (("expect", "--f", "tanh", "--q", "1", "--c", "2"), "covariance"),
        (("expect", "--f", "tanh", "--q", "one", "--c", "0"), "one"),
        (("expect", "--f", "tanh", "--q", "1", "--c", "0", "--exact"), "tanh"),
        (("expect", "--f", "x*y", "--q", "1", "--c", "0"), "y"),
        (("symbolic", "thta", "-a", "erf"), "theta"),
        (("symbolic", "phi", "-a", "relu"), "relu"),
        (("symbolic", "theta", "-a", "erf", "--depth", "0"), "depth"),
        (("symbolic", "theta", "-a", "erf", "--sigma-w", "-1"), "sigma_w > 0"),
        (("kernels", "-o", "."), "folder"),
        (("kernels", "--only", "xi", "-a", "relu"), "relu"),
        (("kernels", "--data", "no-such-file.csv"), "no-such-file"),
        (("kernels", "-o", "/proc/none/k.npz"), "writable"),
    ],
)
def test_wrong_input_is_one_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_warnings_speak_of_options(monkeypatch, patient, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(patience, "SILENCE", 0.0)
    monkeypatch.setattr(patience, "_PAUSE", 0.001)
    given = "validate -a erf --depth 2 --widths 8,16 --trials 40 --times 0 --workers 1 --no-picture"
    with warnings.catch_warnings():
        warnings.simplefilter("always", kc.errors.SlowMethodWarning)  # an error in tests
        found = CliRunner().invoke(main, given.split())
    (words,) = [line for line in found.stderr.splitlines() if line.startswith("SlowMethodWarning: ")]
    assert "; a terminal with tqdm installed shows how far it is; " in words
    assert words.endswith("--workers shares the trials")
