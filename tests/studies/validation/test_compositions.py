"""Theory beside finite networks for compositions of layers: it passes, and planted errors are rejected."""

import csv
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.cli.validate import spiral, waves
from kernelcalc.finite import FiniteNetwork
from kernelcalc.finite.ensembles.kernels import (
    hessian_kernel,
    kernels_through_training,
    readout_kernels,
    trace_gradient_kernel,
)
from kernelcalc.kernels import layers
from kernelcalc.studies.validation.comparison import compare
from kernelcalc.studies.validation.validate import sample_values, theory_values

Dense, Residual, LayerNorm, Conv = (getattr(kc.layers, n) for n in ("Dense", "Residual", "LayerNorm", "Conv"))
NETWORKS = {
    "residual": kc.Sequential(Dense(), Residual("tanh", Dense(), scale=0.7), "tanh", Dense()),
    "pre-LayerNorm residual": kc.Sequential(Dense(), Residual(LayerNorm(), "tanh", Dense()), LayerNorm(), Dense()),
    "LayerNorm": kc.Sequential(Dense(), LayerNorm(), "tanh", Dense()),
    "convolution, flatten": kc.Sequential(Conv(3), "tanh", kc.layers.Flatten(), Dense()),
    "convolution, global average": kc.Sequential(Conv(2), "tanh", kc.layers.GlobalAverage(), Dense()),
}


def points(name):
    """Points and targets; of the last network images of 2 × 3 positions."""
    if "convolution" not in name:
        return spiral()
    x, y = waves()
    return (x[:, :, None] if "flatten" in name else x.reshape(4, 2, 3, 1)), y


# parts of others
PARTS = ("LayerNorm", "convolution, flatten")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n in PARTS else n for n in NETWORKS])
def test_every_row_passes(name):
    report = kc.validate(NETWORKS[name], *points(name), (12, 24), 16, (0.0, 1.0), rng=1)
    assert report.passed, report.rows_text()
    rows = {row["quantity"] for row in report.table}
    assert {"sigma", "theta", "phi", "lam", "upsilon", "xi", "trace_i4", "trace_h4", "trace_s", "trace_s2"} <= rows


@pytest.mark.long
@pytest.mark.parametrize("name", NETWORKS)
def test_every_row_passes_at_the_default(name):
    report = kc.validate(NETWORKS[name], *points(name), workers=2)
    assert report.passed, report.rows_text()


@pytest.fixture(scope="module")
def normed():
    """Samples of networks with LayerNorm within and behind a residual branch, at the start."""
    net, (x, y) = NETWORKS["pre-LayerNorm residual"], spiral()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kc.errors.SlowMethodWarning)  # some ten seconds
        raw = kernels_through_training(net, x, y[:, None], [0.0], widths=(12, 24, 48), trials=60, rng=2)
    return sample_values(raw, x, np.zeros(1))


def largest(normed, name):
    net, (x, y) = NETWORKS["pre-LayerNorm residual"], spiral()
    theory = theory_values(net, x, y, np.zeros(1))
    report = compare(theory, {quantity: normed[quantity] for quantity in theory}, (12, 24, 48))
    return max(abs(row["z"]) for row in report.table if row["quantity"] == name)


def test_right_theory_of_these_networks(normed):
    assert max(largest(normed, name) for name in ("phi", "lam", "xi", "upsilon")) < 4


def test_layer_norm_without_the_hessian_of_the_variance_is_rejected(normed, monkeypatch):
    monkeypatch.setattr(LayerNorm, "phi", lambda self, k, row, column, root: k.phi * self._ratio(row, column, root))
    monkeypatch.setattr(LayerNorm, "lam", lambda self, k, row, column, root: k.lam * self._ratio(row, column, root))
    monkeypatch.setattr(LayerNorm, "xi", lambda self, k, row, column, root: k.xi * self._ratio(row, column, root))
    assert largest(normed, "phi") > 6
    assert largest(normed, "xi") > 6


def test_one_theta_for_two_in_upsilon_is_rejected(normed, monkeypatch):
    def wrong(self, k, row, column, s):
        return s.weight * (k.upsilon + s.weight_rate * k.theta)

    monkeypatch.setattr(layers.Dense, "upsilon", wrong)
    assert largest(normed, "upsilon") > 6


@pytest.fixture(scope="module")
def drawn():
    """A small network of two outputs with three points."""
    net = kc.Sequential(Dense(1.2, 0.3), Residual("tanh", Dense(1.2, 0.3), scale=0.6), "tanh", Dense(0.9, 0.2), n_out=2)
    return FiniteNetwork.random(net, 7, 2, 0), np.random.default_rng(0).normal(size=(3, 2))


def dense_hessians(fin, x):
    """Hf_a(x_s), (N, n_out, P, P), by central differences of Jacobians."""
    theta, h = fin.parameters, 1e-5
    rows = [
        (fin.at(theta + h * e).jacobian(x) - fin.at(theta - h * e).jacobian(x)) / (2 * h) for e in np.eye(theta.size)
    ]
    return np.stack(rows, axis=-1)


def test_means_over_the_last_layer(drawn):
    """Against dense Hessians of networks whose last weights are one unit vector after the other."""
    fin, x = drawn
    found = readout_kernels(fin, x)
    f, g = [], []
    for unit in np.eye(fin.weights[-1].shape[0]):
        last = np.stack([unit, 0 * unit], axis=1)
        one = type(fin)(
            weights=(*fin.weights[:-1], last),
            biases=(*fin.biases[:-1], 0 * fin.biases[-1]),
            activations=fin.activations,
            architecture=fin.architecture,
        )
        f.append(one(x)[:, 0])
        g.append(np.einsum("spp->s", dense_hessians(one, x)[:, 0]))
    f, g = np.array(f), np.array(g)
    np.testing.assert_allclose(found.sigma, f.T @ f + 0.2**2, rtol=1e-12)
    np.testing.assert_allclose(found.phi, g.T @ f, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.xi, g.T @ g, rtol=1e-6, atol=1e-8)


def test_sampled_kernels_have_the_right_mean(drawn):
    """Λ against differences of traces of dense Hessians along gradients, Υ against their products."""
    fin, x = drawn
    hessians, jac, theta, h = dense_hessians(fin, x), fin.jacobian(x), fin.parameters, 1e-4
    lam = np.zeros((3, 3))
    for t in range(3):
        for a in range(2):
            up, down = (fin.at(theta + sign * h * jac[t, a]).hessian_trace(x)[:, a] for sign in (1, -1))
            lam[:, t] += (up - down) / (2 * h) / 2
    upsilon = np.einsum("sapq,tapq->st", hessians, hessians) / 2
    for function, exact in ((trace_gradient_kernel, lam), (hessian_kernel, upsilon)):
        drawn_values = np.array([function(fin, x, probes=8, rng=seed) for seed in range(20)])
        error = drawn_values.std(axis=0) / np.sqrt(20)
        assert (np.abs(drawn_values.mean(axis=0) - exact) < 4 * error + 1e-7).all()


def test_each_vector_of_signs_gives_its_second_derivative(drawn):
    """∇f(θ + h v)·∇f(θ) twice in h, of Jacobians and in other steps; the first derivative, which is odd in v, drops out."""
    fin, x = drawn
    jac, theta = fin.jacobian(x), fin.parameters
    signs = np.random.default_rng(5).choice(np.array([-1.0, 1.0]), size=theta.size)

    def along(h):
        return np.einsum("sap,tap->st", fin.at(theta + h * signs).jacobian(x), jac) / 2

    def second(h):
        return (along(h) - 2 * along(0.0) + along(-h)) / h**2

    # to the fourth power of the step
    expected = (4 * second(0.005) - second(0.01)) / 3
    found = trace_gradient_kernel(fin, x, probes=1, rng=5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("architecture", ["conv(3); activation; flatten; dense", "residual:1"])
def test_command_chooses_points_that_fit(tmp_path, architecture):
    small = ("--widths", "6,12", "--trials", "10", "--times", "0", "--workers", "1", "--no-png")
    result = CliRunner().invoke(main, ["validate", "--architecture", architecture, *small, "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert ("sequences of as many positions" in result.output) == architecture.startswith("conv")


@pytest.mark.parametrize("command", ["curves", "kernels"])
def test_commands_take_digits_as_images(tmp_path, command):
    """Tr I of curves at the start is that of the library's call on images."""
    out = tmp_path / "kernels.npz" if command == "kernels" else tmp_path
    text = "conv(3); activation; flatten; dense"
    options = ["--data", "mnist14", "-n", "6", "--no-png"] if command != "kernels" else []
    rows = tmp_path / "rows.csv"
    x, y = kc.datasets.mnist14(6)
    if command == "kernels":
        np.savetxt(rows, x, delimiter=",")
        options = ["--data", str(rows), "--only", "theta"]
    more = ["-a", "tanh"]
    result = CliRunner().invoke(main, [command, "--architecture", text, *more, *options, "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "14 × 14 positions, one channel" in result.output
    net = kc.Sequential(Conv(3), "tanh", kc.layers.Flatten(), Dense(), n_out=len(np.unique(y)))
    theta = net.kernels(x.reshape(6, 14, 14, 1), only=("theta",)).theta
    if command == "kernels":
        np.testing.assert_allclose(np.load(out)["theta"], theta, rtol=1e-12)
    else:
        first = next(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
        assert float(first["trace_i"]) == pytest.approx(np.trace(theta) * net.n_out / 6, rel=1e-9)
