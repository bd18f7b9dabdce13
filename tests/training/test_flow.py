from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from kernelcalc.activations.names import activation
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, ShapeError, UnknownNameError
from kernelcalc.kernels.mlp import MLP
from kernelcalc.training.flow import gradient_flow, hessian_moments
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.start import covariance_root, initial_covariance, initial_draws

N = 14
NAMES = ("sigma", "theta", "phi", "lam", "upsilon", "xi")


@pytest.fixture(scope="module")
def kernels():
    return MLP("erf", depth=3).kernels(np.random.default_rng(0).normal(size=(N, 4)))


LABELS = np.arange(N) % 3
TIMES = np.array([0.0, 1.0, 20.0, 300.0])


@pytest.mark.parametrize("n_out", [1, 2])
def test_mse_agrees_with_corollary_1_within_sampling_error(kernels, n_out):
    y = np.random.default_rng(1).normal(size=(N, n_out))
    sampled, exact = hessian_moments(kernels, y, TIMES, samples=4000), mse_moments(kernels, y, TIMES)
    for name in ("trace_s", "trace_s2", "loss"):
        z = (getattr(sampled, name) - getattr(exact, name)) / (exact.deviation(name) / np.sqrt(4000))
        assert np.abs(z).max() < 4
        np.testing.assert_allclose(sampled.deviation(name), exact.deviation(name), rtol=0.15)
    np.testing.assert_allclose(sampled.trace_i, exact.trace_i, rtol=1e-12)


@pytest.mark.parametrize(("rtol", "unit"), [(1e-4, 1.0), (1e-6, 1.0), (1e-4, 1e-6), (1e-4, 1e6)])
def test_each_initialisation_follows_the_closed_form_to_tolerance(kernels, rtol, unit):
    # Θ in other units, times in theirs
    labels = np.sin(np.arange(N))[:, None]
    y0, _ = initial_draws(kernels, 1, 5, rng=3)
    values, vectors = np.linalg.eigh(kernels.theta)
    times = np.geomspace(0.01, 1e5, 12)
    flow = gradient_flow(unit * kernels.theta, y0, labels, resolve_loss("mse"), times / unit, rtol=rtol)
    for t, (_, y) in zip(times, flow, strict=True):
        exact = labels + (vectors * np.exp(-t * values / N)) @ vectors.T @ (y0 - labels)
        error = np.sqrt(np.mean((y - exact) ** 2, axis=1)) / np.sqrt(np.mean(y0**2, axis=1))
        assert error.max() < rtol


def test_linear_solves_in_float32_keep_to_the_tolerance(kernels, monkeypatch):
    loss, (y0, _) = resolve_loss("softmax"), initial_draws(kernels, 3, 20, rng=6)
    targets, times, found = loss.encode(LABELS), np.geomspace(1.0, 3e3, 9), {}
    for single in (0.005, 0.0):
        monkeypatch.setattr("kernelcalc.training.flow._SINGLE_SOLVES", single)
        found[single] = np.array([y for _, y in gradient_flow(kernels.theta, y0, targets, loss, times)])
    exact = np.array([y for _, y in gradient_flow(kernels.theta, y0, targets, loss, times, rtol=1e-9)])
    assert not np.array_equal(found[0.005], found[0.0])
    size = np.sqrt(np.mean(exact**2, axis=(2, 3)))
    assert (np.sqrt(np.mean((found[0.005] - exact) ** 2, axis=(2, 3))) < 1e-5 * size).all()


def test_steps_too_long_for_float32_are_solved_in_float64(kernels, monkeypatch):
    loss, (y0, _) = resolve_loss("softmax"), initial_draws(kernels, 3, 2, rng=6)
    targets, times = loss.encode(LABELS), np.array([1.0, 1e9])
    usual = [y for _, y in gradient_flow(kernels.theta, y0, targets, loss, times)]
    monkeypatch.setattr("kernelcalc.training.flow._SINGLE_SOLVES", 0.0)
    np.testing.assert_array_equal(usual, [y for _, y in gradient_flow(kernels.theta, y0, targets, loss, times)])


@pytest.mark.parametrize(
    "name",
    [
        "binary",
        "softmax",
        "max(0, 1 - t*y)^2",
        pytest.param("log(cosh(y - t))", marks=pytest.mark.long),
        pytest.param("(y - t)^4/4", marks=pytest.mark.long),
    ],
)
def test_flow_against_radau_at_a_tight_tolerance(kernels, name):
    loss = resolve_loss(name)
    targets = loss.encode(LABELS if name == "softmax" else LABELS > 0)
    n_out = targets.shape[1]
    y0, _ = initial_draws(kernels, n_out, 2, rng=4)

    def outputs(w):
        return y0[1] - kernels.theta @ w.reshape(N, n_out)

    def derivative(t, w):
        return loss.slope(outputs(w), targets).ravel() / N

    def jacobian(t, w):
        h = loss.curvature(outputs(w), targets)
        blocks = h if loss.has_blocks else np.eye(n_out) * h[:, None, :]
        return -np.einsum("iab,ij->iajb", blocks, kernels.theta).reshape(N * n_out, N * n_out) / N

    start = np.zeros(N * n_out)
    reference = solve_ivp(derivative, (0, TIMES[-1]), start, "Radau", TIMES, rtol=1e-11, atol=1e-13, jac=jacobian).y.T
    for rtol in (1e-5, 1e-8):
        flow = list(gradient_flow(kernels.theta, y0, targets, loss, TIMES, rtol=rtol))
        for (w, y), expected in zip(flow, reference, strict=True):
            assert np.abs(w[1].ravel() - expected).max() <= rtol * np.abs(reference).max()
            exact = outputs(expected)
            size = np.sqrt(np.mean(y0[1] ** 2)) + np.sqrt(np.mean(exact**2))
            assert np.sqrt(np.mean((y[1] - exact) ** 2)) < rtol * size


def test_moments_of_one_sample_from_their_definitions(kernels):
    moments = hessian_moments(kernels, LABELS, [0.0, 20.0], loss="softmax", samples=3, rng=7, rtol=1e-7)
    y0, g0 = initial_draws(kernels, 3, 3, rng=7)
    loss, targets = resolve_loss("softmax"), np.eye(3)[LABELS]
    flow = list(gradient_flow(kernels.theta, y0, targets, loss, np.array([0.0, 20.0]), rtol=1e-7))
    for i, (w, y) in enumerate(flow):
        for s in range(3):
            grad = loss.gradient(y[s], LABELS)
            assert moments.sample_trace_s[s, i] == pytest.approx(np.sum((g0[s] - kernels.lam @ w[s]) * grad), rel=1e-12)
            assert moments.sample_trace_s2[s, i] == pytest.approx(np.trace(grad.T @ kernels.upsilon @ grad), rel=1e-12)
            assert moments.sample_loss[s, i] == pytest.approx(loss.value(y[s], LABELS), rel=1e-12)
            m = np.einsum("iab,ij->iajb", loss.hessian(y[s], LABELS), kernels.theta).reshape(3 * N, 3 * N)
            traces = [np.trace(np.linalg.matrix_power(m, k)) for k in (1, 2, 3, 4)]
            np.testing.assert_allclose(moments.sample_trace_i[s, :, i], traces, rtol=1e-11)
    np.testing.assert_array_equal(moments.trace_h[2:], moments.trace_i[2:])
    np.testing.assert_allclose(moments.trace_h[0], moments.trace_i[0] + moments.trace_s)


def test_initial_draws_have_the_kernels_as_covariance(kernels):
    y, g = initial_draws(kernels, 2, 20000, rng=0)
    draws = np.concatenate([y, g], axis=1)
    covariance = initial_covariance(kernels)
    scale = np.sqrt(np.outer(np.diagonal(covariance), np.diagonal(covariance)))
    for output in range(2):
        sampled = draws[..., output].T @ draws[..., output] / 20000
        assert np.abs((sampled - covariance) / scale).max() < 5 * np.sqrt(2 / 20000)
    # the cross covariance is that of g's point with f's point, not its transpose
    assert np.abs(kernels.phi - kernels.phi.T).max() > 0
    np.testing.assert_array_equal(covariance[N:, :N], kernels.phi)


def test_workers_and_order_of_times_change_nothing(kernels):
    one = hessian_moments(kernels, LABELS, TIMES, loss="softmax", samples=4, rng=5)
    two = hessian_moments(kernels, LABELS, TIMES[::-1], loss="softmax", samples=4, rng=5, workers=2)
    np.testing.assert_array_equal(one.sample_trace_h, two.sample_trace_h[..., ::-1])
    np.testing.assert_array_equal(two.times, TIMES[::-1])
    other = hessian_moments(kernels, LABELS, TIMES, loss="softmax", samples=4, rng=6)
    assert np.abs(one.trace_s - other.trace_s).max() > 0


def test_statistics_over_samples(kernels):
    moments = hessian_moments(kernels, LABELS > 0, TIMES, loss="binary", samples=50)
    assert moments.samples == 50
    for name in ("trace_s", "trace_s2", "loss"):
        drawn = getattr(moments, f"sample_{name}")
        spread = np.sqrt(np.sum((drawn - drawn.mean(axis=0)) ** 2, axis=0) / 49)
        np.testing.assert_allclose(getattr(moments, f"{name}_std"), spread, rtol=1e-12)
    np.testing.assert_allclose(moments.trace_i_std, moments.sample_trace_i.std(axis=0, ddof=1))
    low, middle, high = moments.quantiles("trace_h")
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert low.shape == (4, TIMES.size)
    np.testing.assert_allclose(middle, np.median(moments.sample_trace_h, axis=0))
    np.testing.assert_allclose(moments.trace_h_std[0], moments.sample_trace_h[:, 0].std(axis=0, ddof=1))
    with pytest.raises(InputError, match="one of trace_i, trace_s, trace_s2, trace_h, loss, got 'trace_x'"):
        moments.quantiles("trace_x")


def test_defaults_axes_and_origin():
    moments = hessian_moments(MLP("erf").kernels(np.eye(3)), [0, 1, 1], [0.0, 1.0], loss="binary")
    assert (moments.samples, moments.kmax, moments.loss_name, moments.origin["seed"]) == (64, 4, "binary", 0)
    rows = {
        "sample_trace_h": ("k",),
        "sample_trace_i": ("k",),
        "sample_trace_s": (),
        "sample_trace_s2": (),
        "sample_loss": (),
    }
    dimensions = {name: ("initialisation", *own, "time") for name, own in rows.items()} | {
        "trace_i_bound": ("k", "time")
    }
    assert dimensions.items() <= moments.dimensions().items()
    for name, own in dimensions.items():
        assert moments.array(name).shape == tuple({"initialisation": 64, "k": 4, "time": 2}[axis] for axis in own)
    others = [
        hessian_moments(MLP("tanh").kernels(np.eye(3)), [0, 1, 1], [0.0], loss="binary", samples=2),
        hessian_moments(MLP("erf").kernels(np.eye(3)), [0, 1, 1], [0.0], loss="binary", samples=2),
        hessian_moments(MLP("erf").kernels(np.eye(3)), [0, 0, 1], [0.0], loss="binary", samples=2),
        hessian_moments(MLP("erf").kernels(np.eye(3)), [0, 0, 1], [0.0], loss="binary", samples=2, rng=7),
    ]
    changed = [[key for key in a.origin if a.origin[key] != b.origin[key]] for a, b in pairwise(others)]
    assert changed == [["network"], ["targets"], ["seed"]]
    assert others[-1].origin["seed"] == 7


def test_spectrum_of_i_is_constant_under_mse_and_drifts_under_cross_entropy(kernels):
    squares = hessian_moments(kernels, LABELS, TIMES, samples=4)
    assert np.ptp(squares.trace_i, axis=1).max() == 0
    for loss, labels in (("binary", LABELS > 0), ("softmax", LABELS)):
        entropy = hessian_moments(kernels, labels, [0.0, 1000.0], loss=loss, samples=16)
        assert (entropy.trace_i[:, 1] < 0.9 * entropy.trace_i[:, 0]).all()


def test_sign_of_the_expected_trace_of_s_at_the_start():
    points = np.random.default_rng(0).normal(size=(N, 4))
    points *= 2 / np.linalg.norm(points, axis=1, keepdims=True)
    # E Tr S(0) = Tr Φ/N; the sign is that of the nonlinearity
    smooth_relu = activation("smooth_relu")
    for act, sign in ((smooth_relu, 1), (smooth_relu.normalized(), -1), (activation("arctan"), -1)):
        kernels = MLP(act, depth=3).kernels(points)
        exact = np.trace(kernels.phi) / N
        assert np.sign(exact) == sign
        moments = hessian_moments(kernels, np.zeros(N), [0.0], samples=4000)
        z = (moments.trace_s[0] - exact) / (moments.trace_s_std[0] / np.sqrt(4000))
        assert abs(z) < 4


@pytest.mark.parametrize("loss", ["mse", "binary", "softmax"])
def test_frobenius_norm_of_s_decays(kernels, loss):
    labels = LABELS if loss == "softmax" else LABELS > 0
    moments = hessian_moments(kernels, labels, [0.0, 1e3, 1e4], loss=loss, samples=16)
    first, second, third = moments.trace_s2
    assert third < second < 0.2 * first


def test_loss_decreases_for_every_sample(kernels):
    moments = hessian_moments(kernels, LABELS, np.geomspace(0.1, 1e3, 12), loss="softmax", samples=8)
    assert (np.diff(moments.sample_loss, axis=1) < 0).all()


def test_duplicate_points_make_a_semidefinite_start():
    x = np.random.default_rng(0).normal(size=(4, 3))
    kernels = MLP("erf", depth=3).kernels(np.concatenate([x, x]))
    y0, g0 = initial_draws(kernels, 1, 6)
    np.testing.assert_allclose(y0[:, :4], y0[:, 4:], atol=1e-6)
    np.testing.assert_allclose(g0[:, :4], g0[:, 4:], atol=1e-6)
    labels = np.tile([0, 1, 1, 0], 2)
    moments = hessian_moments(kernels, labels, [0.0, 100.0], loss="binary", samples=6)
    assert np.isfinite(moments.trace_h).all()


def test_linear_network_has_no_s():
    kernels = MLP([], depth=1).kernels(np.random.default_rng(0).normal(size=(N, 3)))
    moments = hessian_moments(kernels, LABELS > 0, TIMES, loss="binary", samples=4)
    assert np.abs(moments.trace_s).max() == 0
    assert np.abs(moments.trace_s2).max() == 0


def with_kernel(kernels, **changed):
    return SimpleNamespace(**{name: getattr(kernels, name) for name in NAMES} | changed)


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"phi": 1e3 * np.ones((N, N))}, {}, CovarianceError, "eigenvalue"),
        ({"xi": None}, {}, InputError, "the array xi"),
        ({"lam": np.ones((2, 2))}, {}, ShapeError, r"\(14, 14\)"),
        ({"theta": np.full((N, N), np.nan)}, {}, NotFiniteError, "finite kernel theta"),
        ({}, {"times": [-1.0]}, InputError, "times ≥ 0, got -1"),
        ({}, {"times": [np.inf]}, NotFiniteError, "finite times"),
        ({}, {"times": []}, ShapeError, "times of the shape"),
        ({}, {"samples": 1}, InputError, "samples"),
        ({}, {"rtol": 0}, InputError, "^expected a tolerance rtol, a finite number of at least 1e-11, got 0$"),
        ({}, {"rtol": 1e-13}, InputError, "at least 1e-11"),
        ({}, {"loss": "sofmax"}, UnknownNameError, "did you mean 'softmax'"),
        ({}, {"Y": [1, 2]}, ShapeError, "shape"),
        ({}, {"rtol": 1.0}, InputError, "^expected a tolerance rtol below 1, got 1.0$"),
        ({}, {"trace_rtol": -1.0}, InputError, "^expected a tolerance trace_rtol, "),
        ({}, {"trace_rtol": 1.0}, InputError, "^expected a tolerance trace_rtol below 1, got 1.0$"),
        ({}, {"n_out": 0}, InputError, "^expected n_out, a whole number of at least 1, got 0$"),
        ({}, {"workers": 0}, InputError, "^expected workers, a whole number of at least 1, got 0$"),
        ({}, {"kmax": 0}, InputError, "^expected kmax, a whole number of at least 1, got 0$"),
    ],
)
def test_named_errors(kernels, changes, options, error, message):
    arguments = {"Y": LABELS, "times": [0.0, 1.0], "samples": 2} | options
    with pytest.raises(error, match=message):
        hessian_moments(with_kernel(kernels, **changes), **arguments)


def test_rounding_is_forgiven_and_indefiniteness_is_not():
    ones = np.ones((6, 6))
    covariance_root(ones + 1e-12 * np.diag([1, -1, 1, -1, 1, -1.0]))
    with pytest.raises(CovarianceError, match=r"eigenvalue -0\.5"):
        covariance_root(np.array([[1.0, 1.5], [1.5, 1.0]]))


def test_progress_bar(kernels, capsys):
    pytest.importorskip("tqdm")
    hessian_moments(kernels, LABELS > 0, [0.0, 1.0], loss="binary", samples=2, progress=True)
    assert "times" in capsys.readouterr().err


def test_start_where_the_loss_is_flat(kernels):
    # confidently wrong: no curvature at first, so the integrator meets its stiffness later
    loss, targets = resolve_loss("softmax"), np.eye(3)[LABELS]
    y0 = np.stack([60 * np.eye(3)[(LABELS + 1) % 3]])
    times = np.array([10.0, 400.0, 4000.0])

    def derivative(t, w):
        return loss.slope(y0[0] - kernels.theta @ w.reshape(N, 3), targets).ravel() / N

    reference = solve_ivp(derivative, (0, 4000), np.zeros(3 * N), "Radau", times, rtol=1e-8, atol=1e-10).y.T
    ours = [w[0].ravel() for w, _ in gradient_flow(kernels.theta, y0, targets, loss, times, rtol=1e-5)]
    np.testing.assert_allclose(ours, reference, rtol=0, atol=2e-5 * np.abs(reference).max())
