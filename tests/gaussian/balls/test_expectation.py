import json
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import CovarianceError, InputError, NotCertifiableError, NotFiniteError
from kernelcalc.expressions.atoms import x
from kernelcalc.gaussian.balls import expectation as certified
from kernelcalc.gaussian.balls.growth import growth
from kernelcalc.gaussian.balls.normal import binormal_ball, owens_t_ball
from kernelcalc.gaussian.balls.program import Program
from tests.fuzz.limits import limited

flint = pytest.importorskip("flint")
arb, acb, ctx = flint.arb, flint.acb, flint.ctx

REFERENCE = [
    r
    for r in json.loads((Path(__file__).parents[1] / "reference.json").read_text())
    if r["method"] == "trapezoid" and not as_activation(r["f"]).kinks and not as_activation(r["g"]).kinks
]


def enclosure(f, g, *covariance, **options):
    return kc.gaussian_expectation(f, g, *covariance, certified=True, **options)


def around(text, relative):
    """A ball around a decimal whose last digits may be rounded."""
    with ctx.workdps(60):
        return arb(str(text)) * (1 + arb(0, relative))


def relative_radius(ball):
    return float(ball.rad() / ball.abs_upper())


def test_contains_brute_force_values_and_is_narrow(long):
    assert len(REFERENCE) > 60
    for r in REFERENCE[:: 1 if long else 4]:
        f, g = (as_activation(r[k]).derivative(r[order]) for k, order in (("f", "i"), ("g", "j")))
        ball = enclosure(f, g, r["q"], r["qp"], r["c"])
        known = around(r["value"], 1e-24) + arb(0, 1e-25 * r["magnitude"])
        assert ball.overlaps(known), r
        assert ball.rad() <= 1e-14 * abs(float(r["value"])) + 1e-20 * r["magnitude"], r


@pytest.mark.parametrize(
    ("f", "g", "covariance"),
    [
        ("tanh", "tanh", (1, 2, 0.5)),
        ("softplus", "gelu", (1, 2, -0.5)),
        ("mish", "log_cosh", (1, 1, 0.9)),
        ("arctan", "erf", (1, 2, 0.5)),
        ("x*erf(x)", "sqrt(1+x**2)", (1, 1, 0.3)),
        ("exp", "x**3 + 1", (0.5, 1, 0.5)),
        ("tanh", "sigmoid", (0.5, 2, 1)),
        ("sin(frequency=3, phase=1)", "gaussian(scale=2)", (1, 3, 0.5)),
        ("smooth_relu(scale=0.5)", "silu", (1, 2, 1.4)),
        ("tanh", "exp", (0, 1, 0)),
    ],
)
def test_contains_the_values_of_another_method(f, g, covariance):
    ball = enclosure(f, g, *covariance)
    with mpmath.workdps(40):
        value = kc.gaussian_expectation(f, g, *covariance, dps=30)
        assert ball.overlaps(around(mpmath.nstr(value, 35), 1e-29))
    assert value == 0 or relative_radius(ball) < 1e-15


@pytest.mark.parametrize(
    ("f", "g", "covariance", "value"),
    [
        # Polynomials, characteristic and moment generating functions, and erf's arcsine (Williams 1997).
        ("x**2", "x**2", (2, 3, 1), 8),
        ("sin", "sin", (1, 2, 0.5), mpmath.exp("-1.5") * mpmath.sinh("0.5")),
        ("exp", "exp", (1, 2, -0.5), mpmath.exp(1)),
        ("erf", "erf", (1, 2, 0.5), 2 / mpmath.pi * mpmath.asin(1 / mpmath.sqrt(15))),
        ("gaussian", "gaussian", (1, 2, 1), 1 / mpmath.sqrt(5)),
        ("relu", "relu", (1, 1, 0), 1 / (2 * mpmath.pi)),
        ("sign", "sign", (1, 4, 1), mpmath.mpf(1) / 3),
        ("relu", "relu", (2, 2, 2), 1),
        ("relu", "relu", (1, 4, -2), 0),
    ],
)
def test_contains_known_closed_forms(f, g, covariance, value):
    ball = enclosure(f, g, *covariance)
    assert ball.overlaps(around(mpmath.nstr(mpmath.mpf(value), 17), 3e-16))
    assert value == 0 or relative_radius(ball) < 1e-15
    assert ball.rad() < 1e-15


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-7, 1e-12])
def test_near_full_correlation_both_rules_agree(gap, monkeypatch):
    """The lattice of the plane, the nested rule, and d/dρ E = E[f'(a) g'(b)] between both."""
    ball = enclosure("tanh", "tanh", 1, 1, 1 - gap)
    assert relative_radius(ball) < 1e-15
    exact_gap = Fraction(1) - Fraction(1 - gap)
    slope = enclosure("1 - tanh(x)**2", "1 - tanh(x)**2", 1, 1, 1)
    drop = enclosure("tanh", "tanh", 1, 1, 1) - ball
    # E is convex in ρ > 0 for an odd function: its Mehler coefficients are squares.
    assert drop > 0
    assert drop < slope * float(exact_gap) * (1 + 1e-12) + 1e-18
    if gap > 1e-5:
        monkeypatch.setattr(certified, "MODERATE", 0.0 if gap < 1e-3 else 2.0)
        monkeypatch.setattr(certified, "SINGULAR", 0.0 if gap < 1e-3 else 1.0)
        assert enclosure("tanh", "tanh", 1, 1, 1 - gap).overlaps(ball)


def test_digits_on_request():
    ball = enclosure("tanh", "tanh", 1, 2, "0.5", dps=40)
    with ctx.workdps(60):
        assert ball.overlaps(arb("0.1467541154603874242875994228347529456545") + arb(0, 1e-40))
        assert relative_radius(ball) < 1e-40


def test_arguments_are_exact():
    decimal, binary = enclosure("tanh", "tanh", "0.1", 1, 0, dps=20), enclosure("x**2", "x**0", "0.1", 1, 0, dps=30)
    assert decimal.contains(0)
    with ctx.workdps(40):
        assert binary.contains(flint.fmpq(1, 10))
        assert not enclosure("x**2", "x**0", 0.1, 1, 0, dps=30).contains(flint.fmpq(1, 10))
    assert enclosure("x**2", "x**2", Fraction(1, 3), sp.Rational(1, 3), Fraction(1, 3)).overlaps(arb(1) / 3)
    assert enclosure("x", "x", np.float64(1), 1, mpmath.mpf(0.5)).contains(0.5)


def test_arguments_may_be_balls():
    wide = enclosure("tanh", "softplus", arb(1, 1e-6), arb(2, 1e-6), arb(0.5, 1e-6))
    for q, qp, c in [(1, 2, 0.5), (1 + 1e-6, 2 - 1e-6, 0.5 + 1e-6), (1 - 1e-6, 2 + 1e-6, 0.5 - 1e-6)]:
        assert wide.contains(enclosure("tanh", "softplus", q, qp, c))
    assert wide.rad() < 1e-4


# That the tests above can fail: without either error term the ball of a coarse rule misses the value.


def coarse(f, g, covariance, digits=2):
    programs = [certified.program((as_activation(name).form.stable[0],)) for name in (f, g)]
    cov = certified.make_ball_covariance(*map(Fraction, covariance))
    with ctx.workprec(200):
        return certified.lattice_expectations(*programs, cov, [(0, 0)], digits)[0, 0]


@pytest.mark.parametrize(
    "covariance", [("1", "2", "0.5"), pytest.param(("1", "1", "0.9999"), marks=pytest.mark.long), ("1", "1", "1")]
)
def test_without_the_rule_error_the_value_is_missed(covariance, monkeypatch):
    value = enclosure("tanh", "tanh", *covariance, dps=25)
    assert coarse("tanh", "tanh", covariance).contains(value)
    monkeypatch.setattr(certified, "rule_error", lambda axis, end: arb(0))
    monkeypatch.setattr(certified.Growth, "tail", lambda self, reach: arb(0))
    monkeypatch.setattr(certified, "_reach", lambda *_: 9.0)
    assert not coarse("tanh", "tanh", covariance).overlaps(value)


def test_without_the_tail_the_value_is_missed(monkeypatch):
    value = enclosure("softplus", "gelu", 1, 2, "0.5", dps=25)
    monkeypatch.setattr(certified, "_reach", lambda *_: 3.0)
    assert coarse("softplus", "gelu", ("1", "2", "0.5"), 20).contains(value)
    monkeypatch.setattr(certified.Growth, "tail", lambda self, reach: arb(0))
    monkeypatch.setattr(certified, "rule_error", lambda axis, end: arb(0))
    assert not coarse("softplus", "gelu", ("1", "2", "0.5"), 20).overlaps(value)


def test_rule_error_bounds_the_true_error_of_the_gaussian():
    """h Σ φ(kh) − 1 = 2 Σ e^{−2π²m²/h²}, Poisson's formula, at the best height d = 2π/h."""
    for h in (1.0, 1.5, 2.0):
        axis = certified.Axis(n=20, h=arb(h), d=2 * math.pi / h, t=arb(1))
        true = 2 * math.exp(-2 * math.pi**2 / h**2)
        bound = float(certified.rule_error(axis, certified.normal_density(axis.reach)))
        assert true < bound < 10 * true


# Values, suprema and growth ------------------------------------------------------------------------------------------

FUNCTIONS = [
    "tanh", "sigmoid", "softplus", "silu", "mish", "log_cosh", "arctan", "erf", "gelu", "sin", "gaussian", "probit",
    "smooth_relu", "exp", "1/(1 + x**2)", "sqrt(2 + sin(x))", "x**3*exp(-x**2 + x)", "log(2 + cosh(x))", "asinh(x)",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_balls_suprema_and_growth_hold(name):
    for order in (0, 1, 3):
        act = as_activation(name).derivative(order)
        expr = act.form.stable[0]
        program = Program((expr,))
        with mpmath.workdps(25), ctx.workdps(30):
            bound = growth(expr, arb(1.5))
            size, rate, square = (float(v.upper()) for v in (bound.size, bound.rate, bound.square))
            for u in (-30.0, -4.0, -1.0, 0.25, 2.0, 7.0):
                value = act.mpmath_pieces[0](mpmath.mpf(1.5 * u))
                (ball,) = program(arb(1.5 * u))
                assert ball.overlaps(arb(mpmath.nstr(value, 25)) + arb(0, 1e-20)), (order, u)
                assert abs(value) <= size * mpmath.exp(rate * abs(u) + square * u * u / 2) * (1 + 1e-15), (order, u)
        (largest,) = program.supremum(3.0, 0.4)
        corner = program(acb(2.999, 0.399))[0], program(acb(0.3, 0.4))[0], program(arb(-3.0))[0]
        assert all(value.abs_lower() <= largest for value in corner)
        rng = np.random.default_rng(1)
        points = rng.uniform((-3, 0), (3, 0.4), (200, 2))
        most = max(float(program(acb(*point))[0].abs_upper()) for point in points)
        # A loose bound costs some nodes, never truth.
        assert most <= float(largest) < 50 * most + 1e-12


@pytest.mark.parametrize(
    ("name", "height"),
    [("tanh", 1.6), ("sigmoid", 3.2), ("softplus", 3.2), ("arctan", 1.01), ("asinh(x)", 1.01), ("log_cosh", 1.6)],
)
def test_poles_and_cuts_are_noticed(name, height):
    program = Program((as_activation(name).form.stable[0],))
    assert program.supremum(5.0, height) is None
    assert program.supremum(5.0, 0.9 * height) is not None


def test_refusals():
    with pytest.raises(NotCertifiableError, match="closed form"):
        enclosure("relu", "tanh", 1, 1, 0.5)
    with pytest.raises(NotCertifiableError):
        enclosure("softsign", "softsign", 1, 1, 0.5)
    with pytest.raises(NotCertifiableError, match="callable"):
        enclosure(lambda v: np.tanh(v), "tanh", 1, 1, 0.5)
    with pytest.raises(NotCertifiableError, match="slowly"):
        enclosure("exp(x**2/2)", "tanh", 1, 1, 0.5)
    with pytest.raises(NotCertifiableError):
        growth(sp.exp(x**4), arb(1))
    with pytest.raises(CovarianceError):
        enclosure("tanh", "tanh", 1, 1, "1.0000000000000000001")
    with pytest.raises(NotFiniteError):
        enclosure("tanh", "tanh", 1, math.inf, 0)
    with pytest.raises(NotFiniteError):
        enclosure("tanh", "tanh", 1, math.nan, 0)
    with pytest.raises(InputError, match="scalars"):
        enclosure("tanh", "tanh", np.ones(2), 1, 0)
    with pytest.raises(InputError, match="digits"):
        enclosure("tanh", "tanh", 1, 1, 0, dps=0)


def test_full_output_and_precision_left_alone():
    before = ctx.prec
    result = enclosure("tanh", "tanh", 1, 2, 0.5, full_output=True)
    assert result.method == "certified"
    assert result.error == result.value.rad()
    assert ctx.prec == before


# Kinked functions by their closed forms -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hard_tanh", "elu", "selu", "relu6", "leaky_relu"])
def test_kinked_functions_contain_the_many_digit_values(name):
    act = as_activation(name)
    for covariance in ((1, 2, 0.5), (4, 4, 4), (4, 1, -2), (60, 20, -30), (2, 2, 2 - 2**-40)):
        for order in (0, 1):
            f = act.derivative(order)
            ball = enclosure(f, f, *covariance)
            value = kc.gaussian_expectation(f, f, *covariance, dps=30)
            assert ball.overlaps(around(mpmath.nstr(value, 32), 1e-29)), (order, covariance)
            assert value == 0 or relative_radius(ball) < 1e-15


def _slice(h, rho, y):
    """P(X ≤ h | Y = y) φ(y)."""
    return mpmath.ncdf((h - rho * y) / mpmath.sqrt(1 - mpmath.mpf(rho) ** 2)) * mpmath.npdf(y)


def test_normal_probabilities_contain_quadratures():
    """Φ₂ by mpmath's quadrature of P(X ≤ h | Y), T by that of its definition."""
    with mpmath.workdps(30), ctx.workdps(30):
        for h, k, rho in ((0.5, -1.0, 0.25), (1.0, 1.0, 0.9375), (-0.5, 2.0, -0.75)):
            exact = mpmath.quad(partial(_slice, h, rho), [-14, -3, -1, 0, k])
            assert binormal_ball(arb(h), arb(k), arb(rho)).overlaps(around(mpmath.nstr(exact, 28), 1e-24))
        exact = mpmath.quad(lambda t: mpmath.exp(-(1 + t * t) / 8) / (1 + t * t), [0, 1, 3]) / (2 * mpmath.pi)
        assert owens_t_ball(arb(0.5), arb(3)).overlaps(around(mpmath.nstr(exact, 28), 1e-24))
        # Every correlation of a wide ball, and the ends.
        wide = binormal_ball(arb(0.5), arb(-1), arb(0.5, 0.25))
        assert wide.contains(binormal_ball(arb(0.5), arb(-1), arb(0.25)))
        assert wide.contains(binormal_ball(arb(0.5), arb(-1), arb(0.75)))
        assert binormal_ball(arb(0.5), arb(-1), arb(1)).overlaps(around(mpmath.nstr(mpmath.ncdf(-1), 28), 1e-26))
        assert binormal_ball(arb(0.5), arb(-1), arb(-1)).contains(0)
        limit = mpmath.ncdf(-0.5) / 2
        assert owens_t_ball(arb(0.5), arb("nan")).contains(arb(float(limit)) * (1 - 1e-12))


@pytest.mark.parametrize(
    ("text", "steep", "place", "q"),
    [
        ("exp(-(62.25*(abs(x)-1.12548828125))**2)", "62.25", "1.12548828125", 0.004433216882497281),
        ("exp(-(62.25*(abs(x)-1.12548828125))**2)", "62.25", "1.12548828125", 1.5),
        ("exp(-(10.7*(abs(x)-0.3))**2)", "10.7", "0.3", 0.31),
        ("exp(-(0.9*(abs(x)+1.37))**2)", "0.9", "-1.37", 2),
    ],
)
def test_bumps_of_a_distance_in_time(text, steep, place, q):
    """2∫_0^∞ e^{−(w(x−p))²} φ_q dx by completing the square; e^{m/n} is no polynomial to be factored."""
    with limited(20):
        ball = enclosure(text, "1", q, 1, 0)
    with mpmath.workdps(40):
        w, p, q = mpmath.mpf(steep) ** 2, mpmath.mpf(place), mpmath.mpf(q)
        total = w + 1 / (2 * q)
        middle = w * p / total
        tail = mpmath.erfc(-mpmath.sqrt(total) * middle) / 2
        right = 2 * mpmath.exp(total * middle**2 - w * p * p) * tail * mpmath.sqrt(mpmath.pi / total)
        right /= mpmath.sqrt(2 * mpmath.pi * q)
        assert ball.overlaps(arb(mpmath.nstr(right, 35)) * (1 + arb(0, 1e-33)))
    assert relative_radius(ball) < 1e-15
