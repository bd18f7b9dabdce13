"""Fifty digits against enclosures computed with eighty, by a method that shares nothing with the Mehler series."""

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.digits.expectation import univariate


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
