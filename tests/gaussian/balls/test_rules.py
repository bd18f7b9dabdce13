"""Parts of an enclosure by themselves: its arguments, its axes and the errors of its rule, by hand."""

import math
from dataclasses import FrozenInstanceError
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError
from kernelcalc.expressions.atoms import x
from kernelcalc.gaussian.balls import expectation as module
from kernelcalc.gaussian.balls.normal import owens_t_ball
from kernelcalc.gaussian.balls.program import Program, whole_power

flint = pytest.importorskip("flint")
arb = flint.arb

TANH = kc.activation("tanh")


def enclosure(*covariance, digits=15):
    return module.certified_expectation(TANH, TANH, *covariance, digits=digits)


def test_refusals_say_what_came(monkeypatch):
    for call, error, text in (
        (lambda: enclosure(1, 1, 0, digits=0), InputError, "a number of digits 1 ≤ dps ≤ 500, got 0"),
        (lambda: enclosure(1, 1, 0, digits=501), InputError, "a number of digits 1 ≤ dps ≤ 500, got 501"),
        (lambda: enclosure(1, 1, 0, digits=True), InputError, "a number of digits 1 ≤ dps ≤ 500, got True"),
        (lambda: enclosure(1, 1, 0, digits=1.5), InputError, "a number of digits 1 ≤ dps ≤ 500, got 1.5"),
        (lambda: enclosure(arb("nan"), 1, 0), NotFiniteError, "a finite q1, got nan"),
        (lambda: enclosure(1, mpmath.mpf("inf"), 0), NotFiniteError, "one finite real number q2, got mpf('+inf')"),
        (lambda: enclosure(1, 1, math.nan), NotFiniteError, "one finite real number c, got nan"),
        (lambda: enclosure(1, 1, math.inf), NotFiniteError, "one finite real number c, got inf"),
        (lambda: enclosure(1, 1, Decimal("nan")), NotFiniteError, "one finite real number c, got Decimal('NaN')"),
        (lambda: enclosure(1, 1, np.float32("nan")), NotFiniteError, "one finite real number c, got np.float32(nan)"),
        (lambda: enclosure(1, Decimal("inf"), 0), NotFiniteError, "one finite real number q2, got Decimal('Infinity')"),
        (lambda: enclosure("a", 1, 0), InputError, "one real number q1 (certified=True takes scalars), got 'a'"),
        (lambda: enclosure(1, None, 0), InputError, "one real number q2 (certified=True takes scalars), got None"),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == f"expected {text}"
    for covariance in ((-1, 1, 0), (1, -1, 0), (1, 1, 2)):
        with pytest.raises(CovarianceError) as caught:
            enclosure(*covariance)
        expected, got = str(caught.value).split(", got ")
        assert expected == "expected q1 ≥ 0, q2 ≥ 0 and c² ≤ q1·q2"
        assert tuple(map(float, got.split(", "))) == covariance
    with pytest.raises(PrecisionError, match=r"^a variance whose ball contains zero leaves the correlation open$"):
        enclosure(arb(0, 1e-3), 1, 0)
    monkeypatch.setattr(module, "MAX_VALUES", 10)
    with pytest.raises(PrecisionError, match=r"^the certificate needs more than 10 values of the functions$"):
        enclosure(1, 1, 0)


@pytest.mark.parametrize(
    ("ball", "covariance", "asked"),
    [
        # 0.5/1.5 is a third: 14.5 digits are missing of 15, two more are added to them
        ((1, 0.5), (1, 1, 0), [20, 37, 54, 71, 88]),
        # as far from 0 as it is wide
        ((0, 1e-30), (1, 1, 0), [20, 37, 54]),
        ((1, 1e-20), (1, 1, 0), [20]),
        ((3, 0), (1, 1, 0), [20]),
        # of balls no more is to be had
        ((1, 0.5), (arb(1), 1, 0), [20]),
    ],
)
def test_digits_are_asked_for_until_they_are_there(monkeypatch, ball, covariance, asked):
    seen = []

    def found(f, g, cov, pairs, digits):
        seen.append(digits)
        assert pairs == [(0, 0)]
        assert flint.ctx.prec == int(3.33 * digits) + 60
        return {(0, 0): arb(*ball)}

    monkeypatch.setattr(module, "lattice_expectations", found)
    if len(asked) == 5:
        with pytest.raises(PrecisionError, match=r"^an enclosure with 15 digits was not reached: \[1"):
            enclosure(*covariance)
    else:
        assert enclosure(*covariance).overlaps(arb(*ball))
    assert seen == asked


def test_decimals_are_those_of_dps():
    """E tanh(a) tanh(b) at q = 1/10 and not at the float beside it: to 30 digits, by mpmath's quadrature, in the ball."""
    at = Decimal("0.1"), Decimal(1), Decimal("0.05")
    ball = kc.gaussian_expectation("tanh", "tanh", *at, certified=True, dps=30)
    with mpmath.workdps(40):
        known = kc.gaussian_expectation("tanh", "tanh", "0.1", 1, "0.05", dps=36)
        assert ball.overlaps(arb(mpmath.nstr(known, 38)) + arb(0, 1e-35))
        assert ball.rad() < 1e-30


def test_any_number_of_digits_from_one_to_five_hundred(monkeypatch):
    seen = []
    monkeypatch.setattr(
        module, "lattice_expectations", lambda f, g, cov, pairs, digits: seen.append(digits) or {(0, 0): arb(1)}
    )
    for digits in (1, 500, np.int64(30)):
        assert enclosure(1, 1, 0, digits=digits) == 1
    assert seen == [6, 505, 35]


def test_arguments_are_exact():
    for value, exact in (
        (0.1, Fraction(0.1)),
        ("0.1", Fraction(1, 10)),
        (3, Fraction(3)),
        (np.float64(0.1), Fraction(0.1)),
        (np.float32(0.1), Fraction(float(np.float32(0.1)))),
        (Decimal("0.1"), Fraction(1, 10)),
        (Decimal("-1e-30"), Fraction(-1, 10**30)),
        (np.longdouble(1) + np.finfo(np.longdouble).eps, 1 + Fraction(1, round(1 / np.finfo(np.longdouble).eps))),
        (np.int64(3), Fraction(3)),
        (np.int64(2**53 + 1), Fraction(2**53 + 1)),
        (Fraction(1, 3), Fraction(1, 3)),
        (sp.Rational(-1, 3), Fraction(-1, 3)),
        (mpmath.mpf(-0.375), Fraction(-3, 8)),
        (mpmath.mpf(12), Fraction(12)),
    ):
        found = module._argument("q1", value)
        assert (type(found), found) == (Fraction, exact)
    root = module._argument("q1", sp.sqrt(2))
    assert root**2 - 2 < 1e-14
    assert root.rad() < 1e-14
    assert module._argument("q1", arb(1, 0.5)).rad() >= 0.5


def test_where_a_covariance_is_a_line():
    for covariance, line, diagonal in (
        ((1, 2, "1/2"), 0, False),
        ((1, 4, 2), 1, False),
        ((1, 4, -2), -1, False),
        ((1, 1, 1), 1, True),
        ((1, 1, -1), -1, False),
        ((0, 1, 0), 1, False),
        ((0, 0, 0), 1, True),
    ):
        q, qp, c = map(Fraction, covariance)
        cov = module.make_ball_covariance(q, qp, c)
        assert (cov.line, cov.diagonal) == (line, diagonal)
        for ball, value in zip((*cov.variances, cov.det), (q, qp, c, q * qp - c * c), strict=True):
            assert ball.contains(flint.fmpq(value.numerator, value.denominator))
        assert cov.std.overlaps(arb(float(q)).sqrt())
        assert cov.stdp.overlaps(arb(float(qp)).sqrt())
    # what a ball leaves open is none, and no variance is below 0
    wide = module.make_ball_covariance(arb(1, 0.5), arb(0, 0.5), arb(0, 0.1))
    assert (wide.line, wide.diagonal) == (0, False)
    assert wide.det.contains(0.75)
    assert not wide.det < 0
    assert wide.qp.lower() > -1e-6
    assert wide.det.lower() > -1e-6
    own = module.diagonal_covariance(arb(1, 2))
    assert (own.line, own.diagonal, own.det == 0) == (1, True, True)
    assert own.q is own.qp is own.c
    assert own.q.lower() >= 0


def test_an_axis_and_the_error_of_its_rule():
    axis = module.Axis(n=2, h=arb(0.5), d=1.5, t=arb(2))
    assert [float(node) for node in axis.nodes()] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert float(axis.reach) == 1.25
    # 2 e^{d²/2t}/(e^{2πd/h} − 1) + 4 p(R)/(2π/h − d/2t)
    wanted = 2 * math.exp(1.5**2 / 4) / math.expm1(1.5 * 4 * math.pi) + 4 * 1e-3 / (4 * math.pi - 1.5 / 4)
    assert float(module.rule_error(axis, arb(1e-3))) == pytest.approx(wanted, rel=1e-13)
    # a density that grows faster than the rule's kernel falls
    for d, bounded in ((4 * math.pi * 2 * 2 * 0.99, True), (4 * math.pi * 2 * 2 * 1.01, False)):
        error = module.rule_error(module.Axis(n=2, h=arb(0.5), d=d, t=arb(2)), arb(0))
        assert error.is_finite() == bounded
    assert float(module.normal_density(arb(0.3))) == pytest.approx(math.exp(-0.045) / math.sqrt(2 * math.pi), rel=1e-14)
    assert float(module.normal_density(arb(3), arb(4))) == pytest.approx(
        math.exp(-9 / 8) / math.sqrt(8 * math.pi), rel=1e-14
    )
    # an upper bound is one
    assert 2.0 < module._float_above(arb(2)) < 2.0 + 1e-11
    assert module._float_above(arb(0)) > 0


@pytest.mark.parametrize("rate", [0.0, 20.0, 60.0])
def test_the_widest_spacing(rate):
    """Of heights d, each 0.8 of the one before, until two in a row are worse; suprema that grow like e^{rate d}."""
    seen = []

    def suprema(d):
        seen.append(d)
        return [[arb(2) * (arb(rate) * d).exp(), arb(0)]]

    axis, bounds = module._choose_axis(suprema, 8.0, 0.5, 10)
    aim = 10 * math.log(10) + 2
    tried = [math.sqrt(2 * 0.5 * aim) * 0.8**k for k in range(60)]
    widths = [2 * math.pi * d / (aim + rate * d + d**2) for d in tried]
    best = int(np.argmax(widths))
    assert axis.d == pytest.approx(tried[best], rel=1e-12)
    assert seen == pytest.approx([0.0, *tried[: best + 3]], rel=1e-12)
    assert axis.n == math.ceil(8.0 / widths[best] - 0.5)
    assert float(axis.h) == pytest.approx(8.0 / (axis.n + 0.5), rel=1e-14)
    assert float(axis.t) == 0.5
    assert float(bounds[0][0]) == pytest.approx(2 * math.exp(rate * tried[best]), rel=1e-12)
    # at least one node beside 0
    assert module._choose_axis(suprema, 1e-3, 0.5, 10)[0].n == 1


def test_heights_at_which_nothing_is_proved():
    with pytest.raises(PrecisionError, match=r"^analyticity on the real line was not proved$"):
        module._choose_axis(lambda d: None, 8.0, 1.0, 10)
    with pytest.raises(
        PrecisionError, match=r"^no strip around the real line where the functions are proved to be analytic$"
    ):
        module._choose_axis(lambda d: None if d else [[arb(1)]], 8.0, 1.0, 10)
    axis, _ = module._choose_axis(lambda d: [[arb(1)]] if d < 0.3 else None, 8.0, 1.0, 10)
    start = math.sqrt(2 * (10 * math.log(10) + 2))
    assert axis.d == pytest.approx(next(start * 0.8**k for k in range(60) if start * 0.8**k < 0.3), rel=1e-12)


def test_how_far_the_box_reaches():
    """Tails e^{−R²} of f and 5 e^{−R²/2} of g, R in steps of a half from 4 on; sizes 2 and 3."""

    class Tail:
        def __init__(self, size, rate):
            self.size, self.rate = size, rate

        def tail(self, reach):
            return arb(self.size) * (-arb(self.rate) * reach**2).exp()

    f, g = Tail(1, 1.0), Tail(5, 0.5)
    for digits in range(1, 21):
        goal = (10.0**-digits * 2 * 3) ** 2
        wanted = next(
            r / 2
            for r in range(8, 800)
            if math.exp(-((r / 2) ** 2)) * 5 < goal and 5 * math.exp(-((r / 2) ** 2) / 2) < goal
        )
        assert module._reach([f], [g], [arb(2)], [arb(3)], digits) == wanted
        assert module._reach([g], [f], [arb(3)], [arb(2)], digits) == wanted
    assert module._reach([Tail(1, 0)], [g], [arb(2)], [arb(3)], 10) == 400


def test_typical_sizes():
    def functions(u):
        return [u, arb("nan") if u > 0 else 1 + u * u, arb(0)]

    sizes = module._scales(functions, arb(3))
    assert [float(size) for size in sizes] == pytest.approx([6.0, 37.0, 2.0**-400], rel=1e-12)


@pytest.mark.parametrize(("name", "value"), [("tanh", 0), ("relu", 1 / (2 * mpmath.pi)), ("x**2", 1), ("x**3 + x", 0)])
def test_a_ball_of_correlations_around_none(name, value):
    """Its middle is 0, of whose powers flint makes no number: E[f(a)] E[f(b)] lies in it, and both ends do."""
    wide = kc.gaussian_expectation(name, name, 1, 1, arb(0, 1e-6), certified=True)
    assert wide.contains(arb(float(value), 1e-16))
    for end in (1e-6, -1e-6):
        assert wide.contains(kc.gaussian_expectation(name, name, 1, 1, end, certified=True))
    assert wide.rad() < 4e-5


def test_powers_of_balls_around_zero():
    for power, least, most in ((2, 0.0, 0.25), (3, -0.125, 0.125), (1, -0.5, 0.5), (0, 1.0, 1.0)):
        found = whole_power(arb(0, 0.5), power)
        assert found.contains(least)
        assert found.contains(most)
        assert found.rad() <= 0.51
    (square,) = Program((x**2,))(arb(0, 0.5))
    assert square.contains(0.25)
    assert whole_power(arb(3), 2) == 9
    # T(h, 1) = Φ(h)(1 − Φ(h))/2: 1/8 at h = 0
    assert owens_t_ball(arb(0, 0.1), arb(1)).contains(0.125)


def moments(q, qp, c):
    """E[(a² + a)(b² + b)] by Isserlis."""
    return q * qp + 2 * c * c + c


@pytest.mark.parametrize("rule", ["_Plane", "_Nested"])
@pytest.mark.parametrize("sign", [1, -1])
def test_both_rules_enclose_moments(rule, sign):
    """Functions that are neither even nor odd, of either sign of ρ, variances other than one; both as wide as asked for."""
    functions = module.program((x**2 + x, x)), module.program((x**2 + x, x**3))
    q, qp, c = Fraction(2), Fraction(1, 2), sign * Fraction(7, 10)
    with flint.ctx.workprec(130):
        cov = module.make_ball_covariance(q, qp, c)
        # the moments beyond fourteen deviations are below 1e-38
        one = getattr(module, rule)(*functions, cov, 14.0, 18)
        pairs = [(0, 0), (1, 0), (1, 1)]
        sums, errors = one.sums(pairs), one.errors(pairs)
        for pair, known in zip(pairs, (moments(q, qp, c), c, 3 * c * qp), strict=True):
            off = abs(sums[pair] - flint.fmpq(known.numerator, known.denominator))
            assert off < errors[pair] < 1e-13
        # that many values of the functions
        nodes = 2 * one.row.n + 1
        assert one.cost == (nodes * (2 * one.column.n + 1) if rule == "_Nested" else pytest.approx(one.cost))


def test_which_rule_is_taken(monkeypatch):
    """Independent variables on a line and up to 1 − ρ² = 10⁻⁸; the plane from 1/20 on; between them the cheaper."""
    asked = []
    for name, cost in (("_Plane", 2), ("_Nested", 1)):

        class Rule:
            def __init__(self, *given, name=name, cost=cost):
                asked.append(name)
                self.cost = cost

            def sums(self, pairs):
                return {pair: arb(7) for pair in pairs}

            def errors(self, pairs):
                return {pair: arb(0) for pair in pairs}

        monkeypatch.setattr(module, name, Rule)
    for rest, taken in (
        (0.5, ["_Plane"]),
        (0.06, ["_Plane"]),
        (0.04, ["_Plane", "_Nested"]),
        (1e-7, ["_Plane", "_Nested"]),
    ):
        asked.clear()
        cov = module.make_ball_covariance(*map(Fraction, (9, 4, 6 * math.sqrt(1 - rest))))
        found = module.lattice_expectations(module.program((x,)), module.program((x,)), cov, [(0, 0)], 20)[0, 0]
        assert found.contains(7)
        assert asked == taken
    for covariance in ((9, 4, 6), (9, 4, 6 * math.sqrt(1 - 1e-9))):
        asked.clear()
        cov = module.make_ball_covariance(*map(Fraction, covariance))
        module.lattice_expectations(module.program((x,)), module.program((x,)), cov, [(0, 0)], 20)
        assert asked == ["_Nested"]


@pytest.mark.parametrize("name", ["_Plane", "_Nested"])
def test_what_lies_outside_of_the_box(monkeypatch, name):
    """√(E f² beyond R · E g²) and the other way round; of independent variables also what lies beyond in v."""

    class Rule:
        cost = 1

        def __init__(self, *given):
            assert given[3] == 3.0

        def sums(self, pairs):
            return {pair: arb(7) for pair in pairs}

        def errors(self, pairs):
            return {pair: arb(0.25) for pair in pairs}

    class Tail:
        def __init__(self, expression, std):
            self.known = {x: {0: 4.0, 3.0: 1e-4}, x**2: {0: 9.0, 3.0: 1e-6}}[expression]

        def tail(self, reach):
            return arb(self.known[reach])

    for one in ("_Plane", "_Nested"):
        monkeypatch.setattr(module, one, type(one, (Rule,), {}))
    monkeypatch.setattr(module, "growth", Tail)
    monkeypatch.setattr(module, "_reach", lambda *_: 3.0)
    cov = module.make_ball_covariance(*map(Fraction, (1, 1, "1/2" if name == "_Plane" else 1)))
    found = module.lattice_expectations(module.program((x,)), module.program((x**2,)), cov, [(0, 0)], 20)[0, 0]
    outside = math.sqrt(1e-4 * 9) + math.sqrt(4 * 1e-6)
    if name == "_Nested":
        outside += math.sqrt(math.erfc(3 / math.sqrt(2)) * 4 * 9)
    assert float(found.mid()) == 7
    assert float(found.rad()) == pytest.approx(0.25 + outside, rel=1e-8)


@pytest.mark.parametrize("name", ["_Plane", "_Nested"])
def test_errors_of_two_steps_of_one_dimension(name):
    """First that of the rule in u, then of that in w or v for at most 1 + h p(0) times as much: Σ h p(kh) is no more."""
    one = object.__new__(getattr(module, name))
    one.row, one.column = module.Axis(n=9, h=arb(0.5), d=1.0, t=arb(1)), module.Axis(n=9, h=arb(0.5), d=1.5, t=arb(1))
    one.row_bounds, one.column_bounds = [[arb(2), arb(3)]], [[arb(5), arb(7)]]
    one.t = arb(0.25)
    end = math.exp(-(4.75**2) / 2) / math.sqrt(2 * math.pi)
    first, second = (float(module.rule_error(axis, arb(end))) for axis in (one.row, one.column))
    for j, bound in enumerate((5, 7)):
        # the plane's density of width √t is √t times narrower; its bounds of g come first
        if name == "_Plane":
            one.column_bounds = [[arb(5)], [arb(7)]]
        crowd = 1 + 0.5 / math.sqrt(2 * math.pi * (0.25 if name == "_Plane" else 1))
        known = (2, 3)[j] * first + bound * crowd * second
        assert float(one.errors([(0, j)])[0, j]) == pytest.approx(known, rel=1e-10)


def test_what_is_known_stays():
    cov, axis = module.diagonal_covariance(arb(1)), module.Axis(n=1, h=arb(1), d=1.0, t=arb(1))
    for one, field in ((cov, "q"), (axis, "n")):
        with pytest.raises(FrozenInstanceError):
            setattr(one, field, 2)
        with pytest.raises(TypeError):
            type(one)(1, 1, 1, 1, 1)
    # balls have no one answer to whether they are equal
    assert cov != module.diagonal_covariance(arb(1))
    assert axis != module.Axis(n=1, h=arb(1), d=1.0, t=arb(1))


def test_poles_beside_the_line():
    """E 1/(1 + 25 a²) = √(π/2)/5 e^(1/50) erfc(1/√50); its poles are a fifth off the line."""
    one = kc.Activation("1+0*x")
    found = module.certified_expectation(kc.Activation("1/(1+25*x**2)"), one, 1, 1, 1, digits=15)
    with mpmath.workdps(30):
        known = mpmath.sqrt(mpmath.pi / 2) / 5 * mpmath.exp(mpmath.mpf(1) / 50) * mpmath.erfc(1 / mpmath.sqrt(50))
    assert found.overlaps(arb(mpmath.nstr(known, 25), 1e-24))
    assert found.rad() < 1e-15 * found


def test_kinks_on_a_line():
    """|ρ| = 1 exactly: E relu(a) relu(2a) = 1, of opposite ones 0, of steps a half; 15 digits where none are asked for."""
    for names, covariance, known in (
        (("relu", "relu"), (1, 4, 2), 1),
        (("relu", "relu"), (1, 4, -2), 0),
        (("step", "step"), (3, "1/3", 1), 0.5),
        (("step", "step"), (3, "1/3", -1), 0),
        (("step", "relu"), (1, 4, -2), 0),
    ):
        found = kc.gaussian_expectation(*names, *covariance, certified=True)
        assert found.contains(known)
        assert found.rad() < 1e-15
    given = {dps: kc.gaussian_expectation("tanh", "tanh", 1, 1, 0.5, certified=True, dps=dps) for dps in (15, 16, None)}
    assert given[None].rad() == given[15].rad() != given[16].rad()
