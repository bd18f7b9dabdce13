"""Fixed points where they are hard to find: below every scanned variance, at kinks, two at once, next to a slope of 1."""

import math

import mpmath
import numpy as np
import pytest

from kernelcalc.activations.names import activation
from kernelcalc.errors import InputError, PrecisionWarning
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.studies.fixed_points import fixed_points
from kernelcalc.studies.phase import critical_weights, phase_diagram
from kernelcalc.studies.variance import SCAN, ScannedMap


@pytest.mark.parametrize("beta", [1e-5, 1e-8, 1e-12])
@pytest.mark.parametrize(("name", "square"), [("relu", 0.5), ("max(x, 0.1*x)", 0.505), ("erf", 4 / math.pi)])
def test_small_biases_have_small_fixed_points(name, square, beta):
    # E σ² = σ'² q, averaged over both sides, up to O(q^{3/2})
    (point,) = fixed_points(name, 0.8, beta)
    assert point.q == pytest.approx(beta**2 / (1 - 0.64 * square), rel=20 * beta + 1e-12)
    diagram = phase_diagram(name, [0.8], [beta])
    assert diagram.q[0, 0] == pytest.approx(point.q, rel=1e-10)
    assert diagram.chi[0, 0] == pytest.approx(0.64 * square, rel=20 * beta + 1e-10)


def test_small_constant_has_a_small_fixed_point():
    # q = E (10⁻⁹ + a)² = 10⁻¹⁸ + q/4 for σ_w = 1
    (point,) = fixed_points("1e-9 + x/2", 1.0, 0.0)
    assert point.q == pytest.approx(1e-18 / 0.75, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "square"),
    [
        ("abs(x) + x^2/2", 1.0),
        # scale² (1 + alpha²)/2 of Klambauer et al. (2017)
        ("selu", 1.0507009873554805**2 * (1 + 1.6732632423543772**2) / 2),
    ],
)
def test_without_variance_both_sides_of_a_kink_count_half(name, square):
    # χ(q → 0) = σ_w² (σ'(0+)² + σ'(0−)²)/2
    zero = fixed_points(name, 0.7, 0.0)[0]
    assert zero.q == 0
    assert zero.chi == zero.slope == pytest.approx(0.49 * square, rel=1e-12)
    assert phase_diagram(name, [0.1], [0.0]).chi[0, 0] == pytest.approx(0.01 * square, rel=1e-12)


def test_edge_of_chaos_of_elu():
    assert fixed_points("elu", 1.0, 0.0)[0].phase == "critical"


def test_jumps_are_chaos_without_end():
    (point,) = fixed_points("sign", 1.5, 0.1)
    assert point.q == pytest.approx(2.26, rel=1e-14)
    assert (point.chi, point.phase, point.correlation_depth) == (math.inf, "chaos", 0.0)
    assert phase_diagram("sign", [1.5], [0.1]).chi[0, 0] == math.inf


@pytest.mark.parametrize("apart", [1e-2, 1e-3])
def test_two_fixed_points_between_scanned_variances(apart):
    # E x⁴ = 3q²: σ_w² and β² that give the roots wanted
    low, high = 0.3, 0.3 * (1 + apart)
    weight = 1 / (3 * (low + high))
    found = fixed_points("x^2", math.sqrt(weight), math.sqrt(3 * weight * low * high))
    assert [point.q for point in found] == pytest.approx([low, high], rel=1e-10)
    assert [point.stable for point in found] == [True, False]


def test_a_fixed_point_where_the_map_only_touches():
    with pytest.warns(PrecisionWarning, match="slope of the variance's map is nearly 1"):
        (point,) = fixed_points("x^2", math.sqrt(1 / 1.8), math.sqrt(0.15))
    assert point.q == pytest.approx(0.3, rel=1e-5)
    assert point.slope == pytest.approx(1, rel=1e-5)


def test_what_rounding_hides_is_said():
    # hard_tanh changes q by less than rounding below 0.01: q - E min(a², 1) = 2E[(a² - 1) on a > 1]
    with pytest.warns(PrecisionWarning, match="known to a relative"):
        (point,) = fixed_points("hard_tanh", 1.0, 1e-8)
    with mpmath.workdps(30):
        right = mpmath.findroot(
            lambda q: q - 2 * mpmath.quad(
                lambda z: mpmath.npdf(z) * min(q * z * z, 1), [0, 1 / mpmath.sqrt(q), 2 / mpmath.sqrt(q), mpmath.inf]
            ) - mpmath.mpf("1e-16"),
            (0.014, 0.018), solver="anderson",
        )  # fmt: skip
    assert point.q == pytest.approx(float(right), rel=0.1)
    # without biases it sinks to 0, however slowly
    assert phase_diagram("hard_tanh", [1.0], [0.0]).q[0, 0] == 0


def test_a_variance_that_jumps_over_fixed_points():
    # σ² is 1000·exp(−25x²) near 0 and grows like x⁸ far out: from q = 1 past 27, which is stable, and 70, which is not
    act = activation("31.6*exp(-12.5*x^2) + 1.67e-4*x^4")
    z = np.linspace(-14, 14, 200_001)
    density = np.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    variances = [1.0]
    while len(variances) < 20 and variances[-1] < 1e6:
        variances.append(float(np.sum(act(np.sqrt(variances[-1]) * z) ** 2 * density)))
    assert variances[1] > 100
    assert variances[-1] > 1e6
    assert [point.stable for point in fixed_points(act, 1.0, 0.0)] == [True, False]
    assert math.isnan(phase_diagram(act, [1.0], [0.0]).q[0, 0])


def test_variances_beyond_float64_are_not_looked_at(monkeypatch):
    asked = []

    def counted(f, g, q, *rest, **options):
        asked.append(float(np.max(q, initial=0)))
        return gaussian_expectation(f, g, q, *rest, **options)

    monkeypatch.setattr("kernelcalc.studies.variance.gaussian_expectation", counted)
    values = ScannedMap(activation("exp(x) - 1")).values
    right = np.exp(2 * SCAN[:200]) - 2 * np.exp(SCAN[:200] / 2) + 1
    assert values[150:200] == pytest.approx(right[150:], rel=1e-10)
    # e^{2q} is finite up to 354
    assert SCAN[np.isfinite(values)][-1] == SCAN[SCAN < 354.8][-1]
    assert max(asked) <= 1000


@pytest.mark.parametrize("beta", [20.0, 0.3, 1e-3])
def test_critical_weights_of_sin(beta):
    (weight,) = critical_weights("sin", beta)
    q = mpmath.findroot(lambda q: q - mpmath.tanh(q) - beta**2, beta**2 + 1 if beta > 1 else (3 * beta**2) ** (1 / 3))
    assert weight**2 == pytest.approx(float(2 / (1 + mpmath.exp(-2 * q))), rel=1e-10)


def test_biases_of_a_diagram_are_bounded():
    with pytest.raises(InputError, match="beta"):
        phase_diagram("sin", [1.0], [0.0, 1e40])
