"""Balls of single functions beside mpmath's values on the line and in the plane, suprema beside maxima known by hand."""

import math

import mpmath as mp
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.errors import NotCertifiableError
from kernelcalc.expressions.atoms import x
from kernelcalc.gaussian.balls.program import Program, constant, largest, smooth_expression

flint = pytest.importorskip("flint")
arb, acb, ctx = flint.arb, flint.acb, flint.ctx


def around(value):
    """A ball around one of mpmath's numbers, as wide as its last digits."""
    value = mp.mpmathify(value)
    if isinstance(value, mp.mpc):
        return acb(around(value.real), around(value.imag))
    return arb(mp.nstr(value, 40)) + arb(0, "1e-38") * max(1, abs(float(value)))


def is_narrow_and_right(ball, value):
    wide = ball.abs_upper() * arb("1e-25") + arb("1e-25")
    return ball.overlaps(around(value)) and bool(ball.rad() < wide)


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        (sp.Rational(-22, 7), lambda: mp.mpf(-22) / 7),
        (sp.Float("0.1", 15), lambda: mp.mpf(0.1)),
        (sp.pi, lambda: mp.pi),
        (sp.E, lambda: mp.e),
        (sp.sqrt(2), lambda: mp.sqrt(2)),
        (sp.Integer(2) ** sp.Rational(1, 3), lambda: mp.cbrt(2)),
        (1 / sp.pi**3, lambda: mp.pi**-3),
        (sp.pi**2, lambda: mp.pi**2),
        (1 + sp.sqrt(2) + sp.pi, lambda: 1 + mp.sqrt(2) + mp.pi),
        (3 * sp.sqrt(2) * sp.pi, lambda: 3 * mp.sqrt(2) * mp.pi),
        (sp.exp(2), lambda: mp.exp(2)),
        (sp.log(3), lambda: mp.log(3)),
        (sp.atan(2) + sp.erf(1), lambda: mp.atan(2) + mp.erf(1)),
        (sp.asinh(3), lambda: mp.asinh(3)),
    ],
)
def test_constants(expr, value):
    with ctx.workprec(128), mp.workdps(45):
        assert is_narrow_and_right(constant(expr), value())


FUNCTIONS = {
    sp.exp(x): mp.exp,
    sp.log(x + 4): lambda z: mp.log(z + 4),
    sp.sin(x) * sp.cos(x): lambda z: mp.sin(z) * mp.cos(z),
    sp.sinh(x) + sp.cosh(2 * x): lambda z: mp.sinh(z) + mp.cosh(2 * z),
    sp.tanh(x): mp.tanh,
    sp.erf(x) + sp.erfc(x / 2): lambda z: mp.erf(z) + mp.erfc(z / 2),
    sp.atan(x): mp.atan,
    sp.asinh(x): mp.asinh,
    (x + 4) ** sp.Rational(1, 3): lambda z: (z + 4) ** (mp.mpf(1) / 3),
    (x + 4) ** sp.Rational(-3, 2): lambda z: (z + 4) ** mp.mpf(-1.5),
    sp.sqrt(x + 4): lambda z: mp.sqrt(z + 4),
    (x + 4) ** -3: lambda z: (z + 4) ** -3,
    x**5 - sp.pi * x: lambda z: z**5 - mp.pi * z,
}
STABLE = {
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "softplus": lambda z: mp.log(1 + mp.exp(z)),
    "log_cosh": lambda z: mp.log(mp.cosh(z)),
    "tanh": mp.tanh,
    "exp(x)-1": lambda z: mp.exp(z) - 1,
}
POINTS = (mp.mpf("0.7"), mp.mpf("-1.3"), mp.mpc("0.7", "0.9"), mp.mpc("-0.4", "0.3"), mp.mpc("0.5", "1.5"))


@pytest.mark.parametrize("expr", FUNCTIONS, ids=str)
def test_values_on_the_line_and_in_the_plane(expr):
    program = Program((expr, x * expr))
    with ctx.workprec(128), mp.workdps(45):
        for at in POINTS:
            first, second = program(around(at))
            wanted = FUNCTIONS[expr](at)
            assert is_narrow_and_right(first, wanted), at
            assert is_narrow_and_right(second, at * wanted), at


@pytest.mark.parametrize("name", STABLE)
def test_values_of_stable_forms(name):
    expr = smooth_expression(kc.activation(name) if "(" not in name else kc.Activation(name))
    with ctx.workprec(128), mp.workdps(45):
        for at in POINTS:
            assert is_narrow_and_right(Program((expr,))(around(at))[0], STABLE[name](at)), at
        # the derivative of the logistic function is its density
        slope = Program((smooth_expression(kc.activation("sigmoid").derivative(1)),))
        for at in POINTS:
            assert is_narrow_and_right(slope(around(at))[0], 1 / (2 + mp.exp(at) + mp.exp(-at)))


def test_precision_is_that_of_the_moment():
    program = Program((sp.sqrt(2) * x + sp.pi,))
    for bits in (40, 200, 40):
        with ctx.workprec(bits):
            (value,) = program(arb(1))
            assert 2.0 ** -(bits + 4) < float(value.rad()) < 2.0 ** (6 - bits)


@pytest.mark.parametrize("expr", [sp.atan(x), sp.asinh(x)], ids=str)
def test_no_value_on_a_cut(expr):
    """Both jump on the imaginary axis from ±i outwards, and nowhere else."""
    program = Program((expr,))

    def box(real, imag):
        return program(acb(arb(real[0]).union(arb(real[1])), arb(imag[0]).union(arb(imag[1]))))[0]

    for imag in ((1.4, 1.6), (-1.6, -1.4), (0.9, 1.1), (-3.0, -2.5)):
        assert not box((-0.1, 0.1), imag).is_finite()
    assert box((-0.1, 0.1), (-0.4, 0.4)).is_finite()
    assert box((0.1, 0.2), (1.4, 1.5)).is_finite()


@pytest.mark.parametrize(
    ("expr", "exact"),
    [
        (x**2, lambda w, h: w**2 + h**2),
        (sp.exp(x), lambda w, h: math.exp(w)),
        (sp.exp(-3 * x), lambda w, h: math.exp(3 * w)),
        (sp.cos(x), lambda w, h: max(math.hypot(math.cos(t * w), math.sinh(h)) for t in (0, 0.25, 0.5, 0.75, 1))),
        (sp.exp(-(x**2)), lambda w, h: math.exp(h**2)),
        (x + 10, lambda w, h: math.hypot(w + 10, h)),
        (x - 10, lambda w, h: math.hypot(w + 10, h)),
        (sp.exp(5 * x - 4) + sp.exp(-9 * x), lambda w, h: math.exp(9 * w) + math.exp(-5 * w - 4)),
    ],
    ids=lambda value: str(value) if isinstance(value, sp.Basic) else None,
)
@pytest.mark.parametrize(("width", "height"), [(3.0, 0.4), (1.0, 2.0), (2.0, 0.0)])
def test_suprema_within_a_factor_of_two(expr, exact, width, height):
    found = Program((expr, sp.exp(x), expr / 7)).supremum(width, height)
    true = exact(width, height)
    assert true * (1 - 1e-9) <= float(found[0]) <= 2.1 * true
    assert math.exp(width) * (1 - 1e-9) <= float(found[1]) <= 2.1 * math.exp(width)
    assert true / 7 * (1 - 1e-9) <= float(found[2]) <= 2.1 * true / 7


@pytest.mark.parametrize("cell", range(16))
def test_a_peak_anywhere_is_below_the_supremum(cell):
    """Of 1 at one place, next to nothing elsewhere: no part of the strip is left out."""
    centre = sp.Rational(3 * (2 * cell + 1), 16) - 3
    found = Program((sp.exp(-400 * (x - centre) ** 2),)).supremum(3.0, 0.01)
    assert math.exp(0.04) * (1 - 1e-9) <= float(found[0]) <= 2.2


def test_suprema_next_to_a_pole():
    """1/(1 + x²) on |Im z| ≤ h is 1/(1 − h²) at most; none from 1 on."""
    program = Program((1 / (1 + x**2),))
    for height in (0.5, 0.9, 0.97):
        assert 1 / (1 - height**2) <= float(program.supremum(4.0, height)[0]) <= 2.1 / (1 - height**2)
    assert program.supremum(4.0, 1.0) is None
    assert program.supremum(4.0, 1.5) is None


def soft(z):
    return z / (1 + z**2)


def test_what_is_not_known():
    for make in (lambda: constant(sp.gamma(sp.Rational(1, 3))), lambda: Program((sp.gamma(x) + 1,))):
        with pytest.raises(NotCertifiableError, match=r"built of known ones.*gamma.*known: exp, log"):
            make()
    with pytest.raises(NotCertifiableError, match=r"expressions.*soft.*plain callable"):
        smooth_expression(as_activation(soft))
    for name in ("relu", "step"):
        with pytest.raises(NotCertifiableError, match=f"analytic.*{name}.*use dps="):
            smooth_expression(kc.activation(name))


def test_the_largest():
    assert largest([]) == 0
    assert largest([arb(3), arb(7), arb(2)]) == 7
