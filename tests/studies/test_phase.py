import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest

from kernelcalc.activations.names import activation
from kernelcalc.errors import InputError, ShapeError, SlowMethodWarning
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.studies.phase import (
    critical_line,
    depth_profile,
    fixed_points,
    normalized_position,
    phase_diagram,
)
from kernelcalc.studies.variance import SCAN, ScannedMap, scanned, slope_map, variance_map


def gaussian(f, q):
    with mpmath.workdps(20):
        return float(mpmath.quad(lambda z: f(mpmath.sqrt(q) * z) * mpmath.npdf(z), [-14, -4, 0, 4, 14]))


@pytest.mark.parametrize("q", [0.01, 1.0, 20.0])
def test_maps_against_mpmath(q):
    assert float(variance_map("tanh", q)) == pytest.approx(gaussian(lambda u: mpmath.tanh(u) ** 2, q), rel=1e-9)
    assert float(slope_map("tanh", q)) == pytest.approx(gaussian(lambda u: mpmath.sech(u) ** 4, q), rel=1e-9)


@pytest.mark.parametrize(("name", "sigma_w", "beta"), [("erf", 1.0, 0.1), ("tanh", 1.5, 0.3), ("softplus", 0.7, 0.1)])
def test_fixed_point_is_what_iteration_converges_to(name, sigma_w, beta):
    (point,) = fixed_points(name, sigma_w, beta)
    q, trail = 1.0, []
    for _ in range(200):
        q = sigma_w**2 * float(variance_map(name, q)) + beta**2
        trail.append(abs(q - point.q))
    assert q == pytest.approx(point.q, rel=1e-10)
    assert point.stable
    rate = next(b / a for a, b in pairwise(trail) if b < 1e-4)
    assert rate == pytest.approx(point.slope, rel=1e-2)


def test_erf_fixed_point_in_closed_form():
    (point,) = fixed_points("erf", 1.3, 0.2)
    assert point.q == pytest.approx(1.69 * 2 / math.pi * math.asin(2 * point.q / (1 + 2 * point.q)) + 0.04, rel=1e-12)
    assert point.chi == pytest.approx(1.69 * 4 / math.pi / math.sqrt(1 + 4 * point.q), rel=1e-10)


def test_every_fixed_point_is_found():
    # exp: q = w² e^{2q} + b² has two
    low, high = fixed_points("exp", 0.3, 0.1)
    for point in (low, high):
        assert point.q == pytest.approx(0.09 * math.exp(2 * point.q) + 0.01, rel=1e-10)
        assert point.slope == pytest.approx(0.18 * math.exp(2 * point.q), rel=1e-8)
    assert low.stable
    assert not high.stable
    zero, other = fixed_points("tanh", 1.5, 0.0)
    assert zero.q == 0
    assert zero.chi == pytest.approx(2.25, rel=1e-15)
    assert not zero.stable
    assert other.stable


def test_relu_phases():
    assert fixed_points("relu", 1.5, 0.1) == ()
    (zero,) = fixed_points("relu", math.sqrt(2), 0.0)
    assert zero.phase == "critical"
    assert zero.correlation_depth > 1e9
    (point,) = fixed_points("relu", 1.0, 0.1)
    assert point.q == pytest.approx(0.02, rel=1e-12)
    assert point.chi == pytest.approx(0.5)
    assert point.phase == "order"


def test_correlation_depth_is_the_rate_at_which_a_small_angle_shrinks():
    from kernelcalc.gaussian.expectation import gaussian_expectation

    (point,) = fixed_points("erf", 1.0, 0.3)
    c, gaps = 0.999 * point.q, []
    for _ in range(12):
        c = float(gaussian_expectation("erf", "erf", point.q, point.q, c)) + 0.09
        gaps.append(1 - c / point.q)
    assert gaps[-1] / gaps[-2] == pytest.approx(math.exp(-1 / point.correlation_depth), rel=1e-3)


@pytest.mark.parametrize("name", ["tanh", "erf", "gelu"])
def test_critical_line_has_chi_one(name):
    sigma_w, beta, q = critical_line(name, [0.05, 0.5, 3.0])
    assert sigma_w.size > 0
    for w, b, fixed in zip(sigma_w, beta, q, strict=True):
        points = fixed_points(name, w, b)
        nearest = min(points, key=lambda p: abs(p.q - fixed))
        assert nearest.q == pytest.approx(fixed, rel=1e-8)
        assert nearest.chi == pytest.approx(1, rel=1e-8)


def test_relu_critical_line_is_a_point():
    sigma_w, beta, q = critical_line("relu")
    np.testing.assert_allclose(sigma_w, [math.sqrt(2)], rtol=1e-12)
    np.testing.assert_array_equal(beta, [0])
    assert q.shape == (1,)
    # ... of a line no point is lost
    assert critical_line("tanh")[2].size == 241


def test_normalised_relu_has_a_vertical_critical_line():
    # χ = σ_w²/2Var[relu(Z)] whatever q is, Var[relu(Z)] = 1/2 - 1/2π; β still moves with q
    sigma_w, beta, q = critical_line(activation("relu").normalized(), np.geomspace(0.5, 50, 20))
    np.testing.assert_allclose(sigma_w, math.sqrt(1 - 1 / math.pi), rtol=1e-9)
    assert q.size > 10
    assert (np.diff(beta) > 0).all()


def gaussian_mean(f, q):
    """E f(√q Z) by the trapezoidal rule, from NumPy alone."""
    z = np.linspace(-12, 12, 4801)
    return float(np.sum(f(np.sqrt(q) * z) * np.exp(-(z**2) / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi))


def test_relu_without_bias_is_critical_at_root_two_and_not_below():
    # χ = σ_w²/2 whatever q is, also where the variance dies out
    diagram = phase_diagram("relu", [0.5, 1.0, 1.4, math.sqrt(2)], [0.0])
    np.testing.assert_allclose(diagram.chi[0], np.array([0.25, 1.0, 1.96, 2.0]) / 2, rtol=1e-12)
    np.testing.assert_allclose(diagram.q[0], [0, 0, 0, 1])
    leaky = phase_diagram("max(x, 0.1*x)", [0.7, 1.2], [0.0])
    np.testing.assert_allclose(leaky.chi[0], np.array([0.49, 1.44]) * 1.01 / 2, rtol=1e-9)


def test_tanh_critical_line_of_the_literature():
    # Poole et al. (2016), Schoenholz et al. (2017): from (σ_w, σ_b) = (1, 0) upwards and to the right; Schoenholz et al.
    # run their experiments at σ_b² = 0.05, where the transition is at σ_w² = 1.76. Here β is their σ_b.
    sigma_w, beta, _ = critical_line("tanh", np.geomspace(1e-3, 10, 400))
    assert sigma_w[0] == pytest.approx(1, abs=2e-3)
    assert beta[0] < 1e-3
    assert (np.diff(sigma_w) > 0).all()
    assert (np.diff(beta) > 0).all()
    assert np.interp(math.sqrt(0.05), beta, sigma_w) ** 2 == pytest.approx(1.76, abs=0.005)


def test_erf_critical_line_in_closed_form():
    # E[erf'(√q Z)²] = 4/(π √(1+4q)), E[erf(√q Z)²] = (2/π) arcsin(2q/(1+2q))
    q = np.geomspace(1e-3, 10, 30)
    sigma_w, beta, found = critical_line("erf", q)
    weight = math.pi * np.sqrt(1 + 4 * q) / 4
    np.testing.assert_array_equal(found, q)
    np.testing.assert_allclose(sigma_w**2, weight, rtol=1e-10)
    np.testing.assert_allclose(beta**2, q - weight * 2 / math.pi * np.arcsin(2 * q / (1 + 2 * q)), rtol=1e-8)


def test_sin_critical_line_in_closed_form():
    # E cos² = (1 + e^{-2q})/2, E sin² = (1 - e^{-2q})/2
    q = np.geomspace(1e-2, 10, 30)
    sigma_w, beta, _ = critical_line("sin", q)
    np.testing.assert_allclose(sigma_w**2, 2 / (1 + np.exp(-2 * q)), rtol=1e-10)
    np.testing.assert_allclose(beta**2, q - np.tanh(q), rtol=1e-8)


def _normal_cdf(x):
    from scipy.special import ndtr

    return ndtr(x)


def _normal_pdf(x):
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("gelu", lambda x: x * _normal_cdf(x), lambda x: _normal_cdf(x) + x * _normal_pdf(x)),
        ("smooth_relu", lambda x: x * _normal_cdf(x) + _normal_pdf(x), _normal_cdf),
        ("tanh", np.tanh, lambda x: np.cosh(np.clip(x, -300, 300)) ** -2),
        ("sin", np.sin, np.cos),
    ],
)
def test_diagram_satisfies_its_two_equations(name, value, slope):
    diagram = phase_diagram(name, [0.6, 1.0, 1.4], [0.0, 0.2, 0.8])
    seen = 0
    for (i, j), q in np.ndenumerate(diagram.q):
        if np.isnan(q):
            continue
        w2 = diagram.sigma_w[j] ** 2
        right = w2 * gaussian_mean(lambda x: value(x) ** 2, q) + diagram.beta[i] ** 2
        assert q == pytest.approx(right, rel=1e-8, abs=1e-12)
        assert diagram.chi[i, j] == pytest.approx(w2 * gaussian_mean(lambda x: slope(x) ** 2, q), rel=1e-8)
        seen += 1
    assert seen >= 6


def test_a_constant_has_no_critical_line():
    with pytest.raises(InputError, match="not constant"):
        critical_line("0*x + 2")
    with pytest.raises(InputError, match="not constant"):
        phase_diagram("0*x + 2", [1.0], [0.1])


def test_diagram_agrees_with_single_points():
    diagram = phase_diagram("tanh", [0.5, 1.0, 2.0], [0.0, 0.3])
    assert diagram.q.shape == diagram.chi.shape == (2, 3)
    for i, b in enumerate(diagram.beta):
        for j, w in enumerate(diagram.sigma_w):
            stable = fixed_points("tanh", w, b)[-1]
            assert diagram.q[i, j] == pytest.approx(stable.q, rel=1e-10, abs=1e-12)
            assert diagram.chi[i, j] == pytest.approx(stable.chi, rel=1e-9)


def test_diagram_marks_unbounded_variance():
    diagram = phase_diagram("relu", [1.0, 1.6], [0.1])
    assert np.isfinite(diagram.q[0, 0])
    assert np.isnan(diagram.q[0, 1])
    assert np.isnan(diagram.chi[0, 1])


@pytest.mark.parametrize("name", ["tanh", "smooth_relu", "relu", "gelu"])
def test_normalized_nonlinearity_has_fixed_point_one_and_chaos_without_bias(name):
    point = normalized_position(name, beta=0.0)
    assert point.q == 1.0
    assert point.chi > 1
    # σ_w² = 1 - β²: a large bias brings order
    assert normalized_position(name, beta=0.9).phase == "order"


def test_normalized_linear_map_is_critical():
    assert normalized_position("2*x + 1", beta=0.0).chi == pytest.approx(1, rel=1e-12)


POINTS = np.random.default_rng(0).normal(size=(6, 5))
POINTS *= np.sqrt(5) / np.linalg.norm(POINTS, axis=1, keepdims=True)


def test_order_makes_theta_constant_and_its_spectrum_a_narrow_valley():
    profile = depth_profile("erf", POINTS, [2, 5, 20, 60], sigma_w=0.8)
    assert (np.diff(profile.distance_to_constant) < 0).all()
    assert profile.distance_to_constant[-1] < 1e-3
    assert (np.diff(profile.narrow_valley[1:]) > 0).all()
    assert profile.narrow_valley[-1] > 1e3


def test_chaos_makes_theta_a_scaled_identity():
    profile = depth_profile("erf", POINTS, [2, 5, 20, 60], sigma_w=3.0)
    assert profile.distance_to_identity[-1] < 1e-3
    assert profile.narrow_valley[-1] == pytest.approx(1, abs=1e-3)
    assert profile.correlation[-1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: fixed_points("tanh", 0.0, 0.1), InputError),
        (lambda: fixed_points("tanh", 1.0, -0.1), InputError),
        (lambda: phase_diagram("tanh", [-1.0], [0.1]), InputError),
        (lambda: phase_diagram("tanh", [[1.0]], [0.1]), ShapeError),
        (lambda: normalized_position("tanh", beta=1.0), InputError),
        (lambda: depth_profile("tanh", POINTS, []), InputError),
        # was Θ of the last depth
        (lambda: depth_profile("tanh", POINTS, [0, 3]), InputError),
        (lambda: depth_profile("tanh", POINTS[:1], [2]), ShapeError),
    ],
)
def test_named_errors(call, error):
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("name", ["tanh", "gelu", "softsign", "relu", "sin"])
def test_values_between_the_scanned_ones(name):
    q = np.concatenate([np.geomspace(3e-8, 3e7, 41), [1e-8, 1e8, 2e-9, 0.0]])
    act = activation(name)
    for function, direct in ((act, variance_map), (act.derivative(1), slope_map)):
        np.testing.assert_allclose(ScannedMap(function)(q), direct(act, q), rtol=2e-12)


def test_the_grid_costs_nothing(monkeypatch):
    """Expectations are computed at the scan only, whatever the grid."""
    asked = []

    def counted(f, g, q, *rest):
        asked.append(np.size(q))
        return gaussian_expectation(f, g, q, *rest)

    monkeypatch.setattr("kernelcalc.studies.variance.gaussian_expectation", counted)
    scanned.cache_clear()
    phase_diagram("erf", np.linspace(0.3, 3, 60), np.linspace(0, 2, 40))
    first = sum(asked)
    phase_diagram("erf", np.linspace(0.3, 3, 90), np.linspace(0, 2, 70))
    # twice the scan, and what lies beyond it (q = 0); then only that
    assert first < 2 * SCAN.size + 100
    assert sum(asked) - first < 150


def test_slow_nonlinearities_say_so(monkeypatch):
    monkeypatch.setattr("kernelcalc.studies.variance._SAY_AFTER", 0.0)
    with pytest.warns(SlowMethodWarning, match="385 variances"):
        ScannedMap(activation("erf"))
