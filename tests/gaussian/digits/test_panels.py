"""Panels between kinks against the exact algebra, Mehler's series by mpmath's quadrature, and limits."""

from functools import cache

import mpmath as mp
import pytest

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import PrecisionError
from kernelcalc.expressions.exact import evaluate
from kernelcalc.gaussian.digits import panels
from kernelcalc.gaussian.digits.panels import panel_expectations


def pair(name, q, qp, c, dps, pairs=((0, 0), (1, 1))):
    act = as_activation(name)
    functions = [act.derivative(k) for k in range(1 + max(max(p) for p in pairs))]
    with mp.workdps(2 * dps + 20):
        return panel_expectations(functions, functions, mp.mpf(q), mp.mpf(qp), mp.mpf(c), pairs, dps)


@pytest.mark.parametrize("name", ["elu", "hard_tanh"])
@pytest.mark.parametrize(
    ("q", "qp", "c"),
    [
        ("1", "2", "0.5"),
        ("1", "1", "1"),
        ("1", "4", "-2"),
        ("25", "9", "-10"),
        ("1", "1", "1e-20"),
        ("1", "1", "-0.9"),
        ("0.001", "0.002", "0.0005"),
    ],
)
def test_closed_forms_to_fifty_digits(name, q, qp, c):
    act = kc.activation(name)
    for (i, j), value in pair(name, q, qp, c, 50).items():
        with mp.workdps(130):
            arguments = [mp.mpf(v) for v in (q, qp, c)]
        exact = evaluate(act.expr, act.expr, *arguments, 60, orders=(i, j))
        with mp.workdps(70):
            assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -50, (i, j)


def test_closed_form_near_full_correlation():
    act = kc.activation("elu")
    for (i, j), value in pair("elu", 1, "0.5", "-0.7071", 15).items():
        with mp.workdps(60):
            exact = evaluate(act.expr, act.expr, mp.mpf(1), mp.mpf("0.5"), mp.mpf("-0.7071"), 25, orders=(i, j))
            assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -15, (i, j)


def test_delta_functions_off_the_diagonal():
    """σ̈ of relu and leaky_relu is a delta function: E22 is a bivariate density, E20 a conditional mean."""
    act = kc.activation("leaky_relu")
    orders = ((2, 2), (2, 0), (0, 2))
    for c in ("0.5", "-0.9"):
        for order, value in pair("leaky_relu", 1, 2, c, 30, orders).items():
            with mp.workdps(60):
                exact = evaluate(act.expr, act.expr, mp.mpf(1), mp.mpf(2), mp.mpf(c), 40, orders=order)
                assert abs(value - exact) <= abs(exact) * mp.mpf(10) ** -30, order
    with pytest.raises(PrecisionError):
        pair("leaky_relu", 1, 1, 1, 30, orders)
    with pytest.raises(PrecisionError, match="derivatives of delta"):
        pair("leaky_relu", 1, 1, "0.5", 30, ((3, 1),))


@cache
def coefficient(name, q, k):
    """f_k(q) by mpmath's own quadrature, split at 0; k odd and f odd."""
    function = {"softsign": lambda v: v / (1 + v), "x*tanh(Abs(x))": lambda v: v * mp.tanh(v)}[name]
    std = mp.sqrt(q)
    hermite = lambda z: mp.hermite(k, z / mp.sqrt(2)) / mp.sqrt(mp.mpf(2) ** k)  # noqa: E731
    edges = [0, 1 / (2 * std), 2, 5, 14]
    integral = mp.quad(lambda z: function(std * z) * hermite(z) * mp.npdf(z), edges)
    return 2 * integral / mp.sqrt(mp.factorial(k))


@pytest.mark.parametrize(("name", "q"), [("softsign", 4), ("x*tanh(Abs(x))", 2)])
def test_functions_without_closed_form_against_mehlers_series(name, q):
    rho = mp.mpf("0.125")
    values = pair(name, q, q, rho * q, 25)
    with mp.workdps(32):
        terms = {k: coefficient(name, q, k) ** 2 for k in range(1, 30, 2)}
        sigma = mp.fsum(v * rho**k for k, v in terms.items())
        dot = mp.fsum(v * k * rho ** (k - 1) for k, v in terms.items()) / q
        assert abs(values[0, 0] - sigma) < sigma * mp.mpf(10) ** -25
        assert abs(values[1, 1] - dot) < dot * mp.mpf(10) ** -24


# whether a slow machine warns is not what is tested
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.SlowMethodWarning")
def test_both_rules_meet_and_tend_to_the_line(monkeypatch):
    """Frequencies and conditional means at the same ρ."""
    below = pair("softsign", 1, 2, "1.4", 15)
    monkeypatch.setattr(panels, "NARROW", 0.9)
    above = pair("softsign", 1, 2, "1.4", 15)
    for order in below:
        assert abs(below[order] - above[order]) < abs(below[order]) * mp.mpf(10) ** -14
    line = pair("softsign", 1, 1, 1, 15)
    near = pair("softsign", 1, 1, 1 - mp.mpf(2) ** -40, 15, ((0, 0),))
    with mp.workdps(40):
        slope = (line[0, 0] - near[0, 0]) * 2**40 / line[1, 1]
        assert abs(slope - 1) < 1e-4


def test_kernels_of_kinked_functions():
    """Depth 2 is one expectation; Θ follows from Σ by Price's theorem, as a difference quotient."""
    net = kc.MLP("max(tanh(x), 0)", depth=2, beta=0.0)
    x, xp = [[1.0, 0.0]], [[0.6, 0.8]]
    kernels = net.kernels(x, xp, dps=30)
    with mp.workdps(60):
        q, c = mp.mpf(1) / 2, mp.mpf(0.6) / 2
        qp = (mp.mpf(0.6) ** 2 + mp.mpf(0.8) ** 2) / 2
        f = net.activations[0]
        h = mp.mpf(10) ** -12
        up, down = (kc.gaussian_expectation(f, f, q, qp, c + s, dps=40) for s in (h, -h))
        slope = (up - down) / (2 * h)
        assert abs(kernels.theta[0, 0] - (c * slope + kernels.sigma[0, 0])) < mp.mpf(10) ** -22
        assert abs(kernels.sigma[0, 0] - (up + down) / 2) < mp.mpf(10) ** -22
