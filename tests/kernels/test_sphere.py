"""Kernels as functions of one correlation: against the layer-by-layer computation and multiprecision."""

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.kernels import gram as kernels
from kernelcalc.kernels import sphere as sphere_kernels
from kernelcalc.kernels.sphere import correlation_table, one_norm
from kernelcalc.kernels.state import KERNEL_NAMES

RNG = np.random.default_rng(5)
POINTS = RNG.normal(size=(150, 12))
POINTS *= np.sqrt(12) / np.linalg.norm(POINTS, axis=1, keepdims=True)


@pytest.fixture
def layer_by_layer(monkeypatch):
    """Gram matrices without interpolation."""

    def compute(net, *data):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "one_norm", lambda *_: None)
            return net.kernels(*data)

    return compute


@pytest.mark.parametrize(
    ("name", "depth", "sigma_w", "beta"),
    [
        ("tanh", 3, 1.0, 0.1),
        ("tanh", 3, 2.5, 0.0),
        ("softplus", 4, 1.0, 0.1),
        ("smooth_relu", 3, 1.4, 0.1),
        ("silu", 2, 2.0, 0.3),
        ("relu", 3, 1.4, 0.1),
    ],
)
def test_interpolated_kernels_are_those_of_the_fold(name, depth, sigma_w, beta, layer_by_layer, monkeypatch):
    net = kc.MLP(name, depth, sigma_w=sigma_w, beta=beta)
    made = []
    monkeypatch.setattr(kernels, "correlation_table", lambda *a: made.append(correlation_table(*a)) or made[-1])
    for data in ((POINTS,), (POINTS[:70], POINTS[70:] * -1)):
        fast = net.kernels(*data)
        assert made.pop() is not None
        slow = layer_by_layer(net, *data)
        for kernel in fast.available:
            a, b = getattr(fast, kernel), getattr(slow, kernel)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=5e-15 * np.abs(b).max(), err_msg=kernel)


def test_small_correlations_keep_their_digits():
    """Σ of an odd nonlinearity without bias is σ_1(q)² ρ + O(ρ³): no absolute error may show at ρ = 1e-9."""
    points = np.zeros((100, 100))
    angle = np.concatenate([[np.pi / 2 - 1e-9], np.linspace(0.3, 3.0, 98)])
    points[0, 0] = 10.0
    points[1:, 0], points[1:, 1] = 10 * np.cos(angle), 10 * np.sin(angle)
    K = kc.MLP("tanh", 2, beta=0.0).kernels(points, points[:1])
    with mpmath.workdps(30):
        c = mpmath.mpf(float(points[1] @ points[0])) / 100
        wanted = kc.gaussian_expectation("tanh", "tanh", mpmath.mpf(1), mpmath.mpf(1), c, dps=25)
    assert abs(K.sigma[1, 0] / float(wanted) - 1) < 1e-13


def test_diagonal_and_symmetry_are_exact():
    K = kc.MLP("softplus", 3).kernels(POINTS)
    one = kc.MLP("softplus", 3).kernels(POINTS[:1])
    for kernel in KERNEL_NAMES:
        array = getattr(K, kernel)
        np.testing.assert_array_equal(array, array.T)
        np.testing.assert_allclose(np.diag(array), getattr(one, kernel)[0, 0], rtol=1e-13)


def test_nearly_equal_points_and_kinks_take_the_other_way(monkeypatch):
    def refuse(*_):
        raise AssertionError("interpolated")

    monkeypatch.setattr(kernels, "correlation_table", refuse)
    twins = np.concatenate([POINTS, POINTS[:1]])
    kc.MLP("tanh", 2).kernels(twins)
    bent = POINTS[:1] + 0.2 * POINTS[1:2]
    close = np.concatenate([POINTS, bent * np.sqrt(12) / np.linalg.norm(bent)])
    kc.MLP("relu", 2).kernels(close)
    kc.MLP("tanh", 2).kernels(POINTS * np.linspace(1, 1.001, len(POINTS))[:, None])


def test_a_function_no_polynomial_resolves_is_refused():
    assert correlation_table(lambda rho: np.abs(rho)[None, :], 1.0) is None
    # Resolved, but ten orders of magnitude below its largest value rounding would show.
    assert correlation_table(lambda rho: np.exp(30 * rho)[None, :], 1.0) is None
    assert correlation_table(lambda rho: np.exp(rho)[None, :], 1.0) is not None


def test_one_norm():
    q = np.full(5, 2.0)
    assert one_norm(q, q * (1 + sphere_kernels.EPS)) == pytest.approx(2.0, rel=1e-15)
    assert one_norm(q, q * 1.0001) is None
    assert one_norm(np.zeros(3)) is None
