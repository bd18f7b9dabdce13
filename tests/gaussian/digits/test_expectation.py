"""Fifty digits against enclosures computed with eighty, by a method that shares nothing with the Mehler series."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError
from kernelcalc.gaussian.digits.expectation import evaluate_at, expectations, univariate


def distance(value, ball):
    """|value − ball's midpoint| and the ball's radius, as mpmath numbers."""
    with mp.workdps(90):
        mid, rad = (mp.mpf(v.str(85, radius=False)) for v in (ball.mid(), ball.rad()))
        return abs(value - mid), rad


@pytest.mark.parametrize(
    ("name", "orders", "q", "qp", "c"),
    [
        ("tanh", (0, 0), "1", "2", "0.5"),
        ("tanh", (1, 3), "0.7", "1.1", "-0.6"),
        ("softplus", (2, 2), "1", "1", "0.3"),
        ("arctan", (2, 0), "0.4", "0.6", "0.2"),
        ("silu", (1, 1), "1", "1", "1"),
        ("gelu", (3, 1), "2", "0.3", "0.1"),
    ],
)
def test_fifty_digits_against_eighty(name, orders, q, qp, c):
    act = kc.activation(name)
    f, g = (act.derivative(k) for k in orders)
    value = kc.gaussian_expectation(f, g, q, qp, c, dps=50)
    ball = kc.gaussian_expectation(f, g, q, qp, c, dps=80, certified=True)
    error, radius = distance(value, ball)
    with mp.workdps(90):
        assert radius < mp.mpf(10) ** -75
        assert error < abs(value) * mp.mpf(10) ** -49


def test_six_kernels_of_a_pair_to_thirty_digits():
    x, xp = np.array([[0.5, -1.0, 1.5]]), np.array([[1.0, 0.25, 0.5]])
    net = kc.MLP("tanh", depth=2, beta=0.5)
    precise, certified = net.kernels(x, xp, dps=30), net.kernels(x, xp, certified=True, dps=40)
    for kernel in precise.available:
        value, ball = getattr(precise, kernel)[0, 0], getattr(certified, kernel)[0, 0]
        error, _ = distance(value, ball)
        assert error < abs(value) * mp.mpf(10) ** -29, kernel


def test_digits_of_a_steep_function():
    """1 − E tanh²(wZ), the integral of sech² over u = wz."""
    steep = kc.Activation("tanh(10**6*x)")
    with mp.workdps(40):
        w = mp.mpf(10) ** 6
        missing = mp.quad(lambda u: mp.sech(u) ** 2 * mp.npdf(u / w) / w, [-60, -10, -3, 0, 3, 10, 60])
        assert abs(univariate((steep, steep), mp.mpf(1), 30) - (1 - missing)) < mp.mpf(10) ** -29


@pytest.mark.parametrize("nines", [29, 45, 60, 70, 80, 100])
def test_digits_of_correlations_next_to_one(nines):
    """E clip(Z)² = 1 − 2 φ(1) and E relu(Z − 1)² = 2 Φ(−1) − φ(1) but for 1 − ρ; P(a > 0 > b) = arccos(ρ)/2π is all of it."""
    c = "0." + nines * "9"
    with mp.workdps(150):
        density, beyond = mp.npdf(1), mp.ncdf(-1)
        gap = mp.mpf(10) ** -nines
        angle = 2 * mp.asin(mp.sqrt(gap / 2))
        # E[f(a) f(b)] = E f² − (1 − ρ) E f'² + …
        wanted = {
            ("hard_tanh", "hard_tanh"): 1 - 2 * density - gap * (1 - 2 * beyond),
            ("max(x-1,0)", "max(x-1,0)"): 2 * beyond - density - gap * beyond,
            ("step", "step(-x)"): angle / (2 * mp.pi),
        }
        for (f, g), value in wanted.items():
            found = kc.gaussian_expectation(f, g, 1, 1, c, dps=30)
            assert abs(found - value) < abs(value) * mp.mpf(10) ** -29, f


def test_digits_of_opposite_points_next_to_the_line():
    """clip(−x) = −clip(x)."""
    with mp.workdps(60):
        wanted = 2 * mp.npdf(1) - 1
        found = kc.gaussian_expectation("hard_tanh", "hard_tanh", 1, 1, "-0." + 32 * "9", dps=15)
        assert abs(found - wanted) < mp.mpf(10) ** -15


def arcsine(q, qp, c, digits):
    """E[erf(a) erf(b)] = (2/π) arcsin(2c/√((1 + 2q)(1 + 2q'))) (Williams, 1998)."""
    with mp.workdps(digits + 20):
        q, qp, c = (mp.mpf(v.p) / v.q if isinstance(v, sp.Rational) else mp.mpf(v) for v in (q, qp, c))
        return 2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * q) * (1 + 2 * qp)))


def test_numbers_are_read_exactly():
    third = sp.Rational(1, 3)
    for given in ((third, 2, third), ("1/3", "2", "1/3"), (third, mp.mpf(2), "1/3")):
        for digits in (5, 60, np.int64(20)):
            found = kc.gaussian_expectation("erf", "erf", *given, dps=digits, full_output=True)
            wanted = arcsine(third, 2, third, 80)
            with mp.workdps(90):
                assert abs(found.value - wanted) <= abs(wanted) * mp.mpf(10) ** -int(digits)
                assert found.error == pytest.approx(abs(wanted) * mp.mpf(10) ** (1 - int(digits)), rel=1e-4)
    root = kc.gaussian_expectation("erf", "erf", sp.sqrt(2), 2, "0.1", dps=40)
    with mp.workdps(60):
        assert abs(root - arcsine(mp.sqrt(2), 2, mp.mpf("0.1"), 60)) < mp.mpf(10) ** -40


@pytest.mark.parametrize("digits", [0, 2001, -1, True, 20.0, "20", None])
def test_digits_that_are_none(digits):
    if digits is not None:
        with pytest.raises(InputError, match="1 ≤ dps ≤ 2000") as refused:
            kc.gaussian_expectation("erf", "erf", 1, 1, 0.5, dps=digits)
        assert repr(digits) in str(refused.value)


def test_as_few_and_as_many_digits_as_there_may_be():
    for digits in (1, 2000):
        found = kc.gaussian_expectation("relu", "relu", 1, 1, 0, dps=digits)
        with mp.workdps(2010):
            assert abs(found - 1 / (2 * mp.pi)) <= mp.mpf(10) ** -digits


@pytest.mark.parametrize(
    ("given", "error", "name"),
    [
        (([1.0, 2.0], 1, 0.5), InputError, "q1"),
        ((1, "two", 0.5), InputError, "q2"),
        ((1, 1, "nan"), NotFiniteError, "c"),
        ((mp.inf, 1, 0), NotFiniteError, "q1"),
        ((1, 1j, 0), NotFiniteError, "q2"),
        ((-1, 1, 0), CovarianceError, "-1"),
        ((1, -1, 0), CovarianceError, "-1"),
        ((1, 1, "1.000001"), CovarianceError, "1.000001"),
        ((2, "0.5", "1.1"), CovarianceError, "1.1"),
    ],
)
def test_what_is_no_covariance_of_numbers(given, error, name):
    with pytest.raises(error) as refused:
        kc.gaussian_expectation("tanh", "tanh", *given, dps=20)
    assert name in str(refused.value)
    if error is not CovarianceError:
        assert f"real number {name}" in str(refused.value)
        assert repr(given[("q1", "q2", "c").index(name)]) in str(refused.value)


def test_a_variance_of_0():
    """f(0) E g(b), of functions with kinks on either side of 0 and of derivatives."""
    left, right = kc.Activation("max(tanh(x+1),0)"), kc.Activation("max(tanh(x-1),0)")
    plus = kc.Activation("tanh(x)+3")
    with mp.workdps(50):
        for f, value in ((left, mp.tanh(1)), (right, mp.mpf(0)), (left.derivative(1), mp.sech(1) ** 2)):
            for order in ((f, plus, 0, 2, 0), (plus, f, 2, 0, 0)):
                found = kc.gaussian_expectation(*order, dps=30)
                assert abs(found - 3 * value) <= mp.mpf(10) ** -28
        # E tanh² of the other one, by mpmath
        square = mp.quad(lambda z: mp.tanh(mp.sqrt(2) * z) ** 2 * mp.npdf(z), [-15, -3, 0, 3, 15])
        found = kc.gaussian_expectation(left, "tanh(x)**2", 0, 2, 0, dps=30)
        assert abs(found - mp.tanh(1) * square) < mp.mpf(10) ** -29
    for order in ((left.derivative(2), plus, 0, 2, 0), (plus, left.derivative(2), 2, 0, 0)):
        with pytest.raises(PrecisionError, match="30 digits"):
            kc.gaussian_expectation(*order, dps=30)


def test_values_between_kinks():
    clip = kc.Activation("min(max(x,-1/3),1/3)")
    with mp.workdps(40):
        third = mp.mpf(1) / 3
        beside = third + mp.mpf(10) ** -20
        for at, value in (
            (beside, third),
            (third - mp.mpf(10) ** -20, third - mp.mpf(10) ** -20),
            (-1, -third),
            (mp.mpf(1) / 5, mp.mpf(1) / 5),
            (1, third),
        ):
            assert abs(evaluate_at(clip, mp.mpf(at)) - value) < mp.mpf(10) ** -39


def test_orders_of_parallel_points_to_digits():
    """E relu(a) relu(b) = √(qq')/2 and E step step = 1/2, where the rounded c is not quite parallel, and E relu step."""
    relu = kc.activation("relu")
    with mp.workdps(40):
        q, qp = mp.mpf(3), mp.mpf(1) / 7
        found = expectations(relu, q, qp, mp.sqrt(q * qp), ((0, 0), (1, 1), (0, 1), (1, 0)), 30)
        wanted = {
            (0, 0): mp.sqrt(q * qp) / 2,
            (1, 1): mp.mpf(1) / 2,
            (0, 1): mp.sqrt(q / (2 * mp.pi)),
            (1, 0): mp.sqrt(qp / (2 * mp.pi)),
        }
        for order, value in wanted.items():
            assert abs(found[order] - value) < mp.mpf(10) ** -29, order
        apart = expectations(relu, q, qp, mp.mpf(0), ((1, 1), (0, 0), (0, 1)), 30)
        assert abs(apart[1, 1] - mp.mpf(1) / 4) < mp.mpf(10) ** -29
        assert abs(apart[0, 0] - mp.sqrt(q * qp) / (2 * mp.pi)) < mp.mpf(10) ** -29
        assert abs(apart[0, 1] - mp.sqrt(q / (2 * mp.pi)) / 2) < mp.mpf(10) ** -29
        at_zero = expectations(relu, mp.mpf(0), qp, mp.mpf(0), ((0, 0),), 30)
        assert at_zero[0, 0] == 0


def test_derivatives_of_one_function_together():
    """tanh' = 1 − tanh², whatever higher orders are kept for later."""
    tanh = kc.activation("tanh")
    with mp.workdps(40):
        q = mp.mpf(1) / 2
        few = expectations(tanh, q, q, q, ((0, 0), (1, 0)), 30)
        more = expectations(tanh, q, q, q, ((0, 0), (0, 1)), 30, 3)
        square = mp.quad(lambda z: mp.tanh(mp.sqrt(q) * z) ** 2 * mp.npdf(z), [-15, -3, 0, 3, 15])
        mean = univariate((tanh.derivative(1),), q, 30)
        for value, wanted in (
            (few[0, 0], square),
            (more[0, 0], square),
            (mean, 1 - square),
            (few[1, 0], 0),
            (more[0, 1], 0),
        ):
            assert abs(value - wanted) < mp.mpf(10) ** -29


def test_a_kink_beside_a_smooth_function():
    """E[(tanh(Z − 1))₊ tanh Z] and the same at opposite points, split at the kink by mpmath."""
    kinked, tanh = kc.Activation("max(tanh(x-1),0)"), kc.activation("tanh")
    with mp.workdps(40):
        wanted = mp.quad(lambda z: mp.tanh(z - 1) * mp.tanh(z) * mp.npdf(z), [1, 2, 4, 8, 16])
        for f, g, sign in ((kinked, tanh, 1), (tanh, kinked, 1), (kinked, tanh, -1)):
            found = kc.gaussian_expectation(f, g, 1, 1, sign, dps=25)
            assert abs(found - sign * wanted) < mp.mpf(10) ** -25
    assert abs(kc.gaussian_expectation("erf", "erf", 2, 3, "2.4", dps=25) - arcsine(2, 3, "2.4", 40)) < 1e-24
