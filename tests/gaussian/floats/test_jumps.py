"""Hermite coefficients from jumps beside mpmath's quadrature, and the kernels made of them beside its expectations."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.floats.jumps import exponential_parts, jumps_of
from kernelcalc.gaussian.floats.series import hermite_series

# a text, the same for NumPy, its kinks
FUNCTIONS = {
    "min(max(x,-1),1)": (lambda v: np.clip(v, -1, 1), (-1, 1)),
    "x*min(max(x+3,0),6)/6": (lambda v: v * np.clip(v + 3, 0, 6) / 6, (-3, 3)),
    "where(x>0, x, exp(x)-1)": (lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))), (0,)),
    "where(x>0.3, x**2 - exp(-x), 2*exp(x/2) + x)": (
        lambda v: np.where(v > 0.3, v**2 - np.exp(-v), 2 * np.exp(v / 2) + v),
        (0.3,),
    ),
    "exp(-2*abs(x-1))": (lambda v: np.exp(-2 * np.abs(v - 1)), (1,)),
}
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def _panels(breaks: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights on pieces of half a unit of [−13, 13], cut at the breaks."""
    edges = np.unique([*np.linspace(-13, 13, 53), *breaks])
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * NODES).ravel(), (half[:, None] * WEIGHTS).ravel()


@pytest.mark.parametrize("text", FUNCTIONS)
@pytest.mark.parametrize("q", [0.3, 4.0])
def test_coefficients(text: str, q: float) -> None:
    act, (function, kinks) = kc.Activation(text), FUNCTIONS[text]
    assert jumps_of(act) is not None
    series = hermite_series(act, np.array([q]), length=96)
    z, weight = _panels([p / q**0.5 for p in kinks])
    weight = weight * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(96):
        right = float(np.sum(weight * function(q**0.5 * z) * now))
        assert abs(series.coefficients[0, k] - right) <= 4e-15 * series.bounds.norm[0], k
        before, now = now, (z * now - k**0.5 * before) / (k + 1) ** 0.5


@pytest.mark.parametrize("text", ["tanh(x)", "abs(x)*sin(x)", "exp(-x^2)", "where(x>0, x*exp(-x), 0)"])
def test_other_functions_are_left_to_quadrature(text: str) -> None:
    assert jumps_of(kc.Activation(text)) is None


def test_what_jumps_is_read_off_the_pieces() -> None:
    """x² − e^{−x} beside 2 e^{x/2} + x: jumps of the polynomials at 0.3 are 0.09 − 0.3, 0.6 − 1 and 2."""
    act, at = kc.Activation("where(x>0.3, x**2 - exp(-x), 2*exp(x/2) + x)"), np.array([-0.7, 1.1])
    jumps = jumps_of(act)
    assert jumps is not None
    assert np.ravel(jumps.polynomial) == pytest.approx([-0.21, -0.4, 2.0], rel=1e-14)
    assert list(jumps.exponential) == [-1.0, 0.5]
    assert np.ravel(list(jumps.exponential.values())) == pytest.approx([-np.exp(-0.3), -2 * np.exp(0.15)], rel=1e-14)
    falling, rising = exponential_parts(act)
    assert falling(at) == pytest.approx([0.0, -np.exp(-1.1)], rel=1e-14)
    assert rising(at) == pytest.approx([2 * np.exp(-0.35), 0.0], rel=1e-14)
    # x²/6 + x/2 between 0 and x
    bent = jumps_of(kc.Activation("x*min(max(x+3,0),6)/6"))
    assert bent is not None
    np.testing.assert_allclose(bent.polynomial, [[0, 0], [-0.5, -0.5], [1 / 3, -1 / 3]], atol=1e-15)
    assert [falling.name, rising.name] == [f"{act.name}, e^(-1x)", f"{act.name}, e^(0.5x)"]


def test_steep_exponentials_are_left_to_quadrature() -> None:
    # λ²q = 400: the recurrence would start beyond the coefficients that matter
    act = kc.Activation("where(x>0, x, exp(20*x) - 1)")
    series = hermite_series(act, np.array([1.0]), length=96)
    with mpmath.workdps(25):
        low = mpmath.quad(lambda z: mpmath.expm1(20 * z) * mpmath.npdf(z), [-12, -6, -3, -1, -0.3, -0.1, 0])
        whole = low + mpmath.quad(lambda z: z * mpmath.npdf(z), [0, 3, 12])
    assert series.coefficients[0, 0] == pytest.approx(float(whole), abs=1e-15)


def brute_force(text: str, q: float, qp: float, c: float) -> float:
    """E[f(a) f(b)] by panels in a and, within, in b, cut at the kinks."""
    function, kinks = FUNCTIONS[text]
    u, outer = _panels([p / q**0.5 for p in kinks])
    spread = (qp - c * c / q) ** 0.5
    a = q**0.5 * u
    inner = np.empty_like(a)
    for place, mean in enumerate(c / q * a):
        v, weight = _panels([(p - mean) / spread for p in kinks])
        inner[place] = np.sum(weight * function(mean + spread * v) * np.exp(-(v**2) / 2)) / (2 * np.pi) ** 0.5
    return float(np.sum(outer * function(a) * inner * np.exp(-(u**2) / 2)) / (2 * np.pi) ** 0.5)


def test_expectations_beside_brute_force() -> None:
    text, q, qp, c = "where(x>0, x, exp(x)-1)", 0.8, 1.7, 0.5
    found = kc.gaussian_expectation(text, text, q, qp, c, full_output=True)
    assert float(found.value) == pytest.approx(brute_force(text, q, qp, c), rel=1e-13)
    assert found.method == "series"


@pytest.mark.parametrize("text", FUNCTIONS)
def test_a_blank_point_changes_no_other(text: str) -> None:
    """Without a bias its variance is 0, at which a kink lies no number of standard deviations away."""
    X = np.array([[1.0, 0.4], [0.0, 0.0], [0.9, 0.7], [-0.3, 1.1]])
    K = kc.MLP(text, depth=2, sigma_w=1.5, beta=0.0).kernels(X, only="sigma").sigma
    first, at_zero = 1.125 * X @ X.T, float(FUNCTIONS[text][0](np.array(0.0)))
    for i, j in ((0, 2), (0, 3), (2, 3)):
        right = 2.25 * brute_force(text, first[i, i], first[j, j], first[i, j])
        assert K[i, j] == pytest.approx(right, rel=1e-12)
    assert K[1, 1] == pytest.approx(2.25 * at_zero**2, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "mean"), [("cos(x)-1", 0.0), ("x+sin(x)^2", 0.0), ("cos(x)", 1.0), ("x*sin(x)+2", 2.0)]
)
def test_a_blank_point_beside_small_ones(text: str, mean: float) -> None:
    """E f(a) f(0) where f is left to exact algebra: f(0) E f(a), of which 0 is 0."""
    X = 1e-3 * np.array([[1.0, 0.3, -0.7], [0.0, 0.0, 0.0]])
    K = kc.MLP(text, depth=2, sigma_w=1.0, beta=0.0).kernels(X, only="sigma").sigma
    q = float(X[0] @ X[0]) / 3
    expected = {"cos(x)": mean * np.exp(-q / 2), "x*sin(x)+2": mean * (q * np.exp(-q / 2) + 2)}.get(text, 0.0)
    assert K[0, 1] == K[1, 0]
    assert K[0, 1] == pytest.approx(expected, rel=1e-13, abs=1e-30)
    assert K[1, 1] == pytest.approx(mean**2, rel=1e-15)
