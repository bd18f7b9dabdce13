"""Zeros of polynomials of one function, against the same by hand."""

import time

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.features import features_between
from kernelcalc.activations.pieces import PiecewiseForm
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions import atoms
from kernelcalc.expressions.exact import in_algebra
from kernelcalc.expressions.zeros import expanded, inner_equations, solutions

x = sp.Symbol("x", real=True)
third = sp.Rational(1, 3)


@pytest.mark.parametrize(
    ("switch", "equations"),
    [
        # one function after the other, (u - a)(u² + 1) with a within its range
        (sp.exp(3 * x) - 2 * sp.exp(2 * x) + sp.exp(x) - 2, [x - sp.log(2)]),
        ((sp.log(x) - third) * (sp.log(x) ** 2 + 1), [x - sp.exp(third)]),
        ((sp.tanh(x) - third) * (sp.tanh(x) ** 2 + 1), [x - sp.atanh(third)]),
        ((sp.erf(2 * x + 1) - third) * (sp.erf(2 * x + 1) ** 2 + 1), [2 * x + 1 - sp.erfinv(third)]),
        ((sp.atan(x) - third) * (sp.atan(x) ** 2 + 1), [x - sp.tan(third)]),
        ((sp.asinh(x) - third) * (sp.asinh(x) ** 2 + 1), [x - sp.sinh(third)]),
        # the ends of a range are not reached, nor what is beyond them
        ((sp.exp(x) + 1) * sp.exp(2 * x), []),
        ((sp.tanh(x) ** 2 - 1) * (sp.tanh(x) - 2) * (sp.tanh(x) + 2), []),
        ((sp.erf(x) ** 2 - 1) * (sp.erf(x) - 2) * (sp.erf(x) + 2), []),
        ((sp.atan(x) ** 2 - 4) * sp.atan(x), [x]),
        (
            (sp.atan(x) ** 2 - sp.Rational(25, 16)) * sp.atan(x),
            [x + sp.tan(sp.Rational(5, 4)), x, x - sp.tan(sp.Rational(5, 4))],
        ),
        # all of the line
        ((sp.log(x) ** 2 - 10000) * sp.log(x), [x - sp.exp(-100), x - 1, x - sp.exp(100)]),
        ((sp.asinh(x) ** 2 - 10000) * sp.asinh(x), [x + sp.sinh(100), x, x - sp.sinh(100)]),
        # a zero that is there twice counts once
        ((sp.exp(x) - 3) ** 3, [x - sp.log(3)]),
        # fractions
        ((sp.exp(x) - third) ** 3, [x - sp.log(third)]),
    ],
    ids=str,
)
def test_by_hand(switch, equations):
    found = inner_equations(sp.expand(switch))
    assert len(found) == len(equations)
    assert all(sp.expand(one - other) == 0 for one, other in zip(found, equations, strict=True))


def test_zeros_without_radicals_are_exact():
    """u³ + u = 1 for u = e^(−x²), which is 0.6823278038280193..."""
    (found,) = inner_equations(sp.exp(-3 * x**2) + sp.exp(-(x**2)) - 1)
    assert not found.has(sp.sqrt(3), sp.I)
    at = sp.sqrt(-sp.log(sp.Float("0.68232780382801932736948373971", 30)))
    assert abs(found.subs(x, at).evalf(30)) < sp.Float("1e-27")


@pytest.mark.parametrize(
    "switch",
    [
        # of degree 2 or 1, which are solved as they are
        sp.exp(2 * x) - sp.exp(x) - 2,
        sp.tanh(x) - third,
        # of no function, of one that is not among them, or of two
        x**3 - 1,
        sp.sin(x) ** 3 - 1,
        sp.exp(3 * x) - x,
        sp.exp(3 * x) + sp.tanh(x),
        # of a number
        sp.exp(2) ** 3 - sp.exp(2),
        sp.tanh(1) ** 3 - sp.tanh(1),
        sp.Integer(3),
        # with coefficients that are no fractions
        sp.exp(3 * x) - sp.pi,
        sp.sqrt(2) * sp.exp(3 * x) - 1,
        sp.exp(3 * x) - sp.Float(0.3),
        # no polynomial
        sp.Abs(sp.exp(x) - 2) ** 3,
    ],
    ids=str,
)
def test_others_are_left(switch):
    assert inner_equations(switch) is None


# What SymPy would look for long, or raises -----------------------------------------------------------------------------------


def test_solutions_are_all_of_the_zeros_or_none():
    assert solutions(x**2 - 2, x) == {-sp.sqrt(2), sp.sqrt(2)}
    assert solutions(sp.exp(x), x) == set()
    # without end; without a formula
    assert solutions(sp.sin(x), x) is None
    assert solutions(x - sp.cos(x) ** 2, x) is None


def test_high_powers_are_not_waited_for():
    """One of degree 1000 in x and erfc x, and e^{10⁷ log² u}, which is u to a high power once multiplied out."""
    started = time.process_time()
    assert solutions(x**1000 - sp.erfc(x), x) is None
    square = (5258 * sp.log(sp.exp(x) + 1) - 432283) ** 2
    assert expanded(sp.exp(-square)) == sp.exp(-square)
    assert expanded((x + 1) ** 1000 - 1) == (x + 1) ** 1000 - 1
    assert time.process_time() - started < 2
    assert expanded((x + 1) ** 3 - x**3 - 3 * x**2 - 3 * x - 1) == 0


WHERE = "exp(-(40*(log(where(65<x,x,7))-tanh(x)-1.3))^2)"
CUBE = "exp(-(3*abs(x^3-1.37*x+0.11)-2)^2)"


def bell(z):
    return mp.exp(-((40 * (mp.log(7) - mp.tanh(z) - mp.mpf("1.3"))) ** 2))


def two_sided(z):
    return mp.exp(-((3 * abs(z**3 - mp.mpf("1.37") * z + mp.mpf("0.11")) - 2) ** 2))


@pytest.mark.parametrize(("text", "truth"), [(WHERE, bell), (CUBE, two_sided)], ids=["where", "cube"])
def test_functions_that_once_took_a_minute(text, truth):
    """Sums of logarithms in exponents, of which SymPy makes powers; kinks at Cardano's radicals."""
    started = time.process_time()
    value = kc.gaussian_expectation(text, "1", 1.0, 1.0, 0.0)
    assert time.process_time() - started < 10
    kinks = (
        mp.polyroots([1, 0, mp.mpf("-1.37"), mp.mpf("0.11")]) if truth is two_sided else [0.6, 0.7, 0.77, 0.85, 0.95]
    )
    exact = mp.quad(lambda z: truth(z) * mp.npdf(z), [-9, -2, *sorted(map(mp.re, kinks)), 2, 9])
    assert value == pytest.approx(float(exact), rel=1e-10)


def failing(*_, **__):
    raise ValueError("as SymPy likes it")


def test_whatever_solving_raises_is_an_answer(monkeypatch):
    monkeypatch.setattr(sp, "solveset", failing)
    assert solutions(x**2 - 2, x) is None
    # by its sign instead
    assert kc.Activation("abs(x*exp(x)-1)").kinks == (float(mp.lambertw(1)),)


def test_whatever_limits_raise_has_a_name(monkeypatch):
    """sin(x)/x has its value at 0 from its limit."""
    form = PiecewiseForm(breaks=(sp.S.Zero,), pieces=(x + 1, sp.sin(x) / x), stable=(x + 1, sp.sin(x) / x))
    assert form.smoothness == 0
    other = PiecewiseForm(breaks=form.breaks, pieces=form.pieces, stable=form.stable)
    monkeypatch.setattr(sp, "limit", failing)
    with pytest.raises(ExpressionError, match="limits at kinks that can be found"):
        _ = other.smoothness


def test_whatever_taking_apart_raises_is_no_algebra(monkeypatch):
    """E|a − 1| by quadrature where the algebra fails."""
    wanted = float(kc.gaussian_expectation("abs(x-1)", "1", 2.0, 2.0, 0.0))
    monkeypatch.setattr(atoms, "decompose", failing)
    atoms.atoms_of.cache_clear()
    assert not in_algebra(sp.Abs(atoms.x - 1))
    found = kc.gaussian_expectation(kc.Activation("abs(x-1)", name="another"), "1", 2.0, 2.0, 0.0, full_output=True)
    # E|a − 1| = 2 √q φ(1/√q) + 2 Φ(1/√q) − 1
    exact = 2 * mp.sqrt(2) * mp.npdf(1 / mp.sqrt(2)) + 2 * mp.ncdf(1 / mp.sqrt(2)) - 1
    assert found.value == pytest.approx(wanted, rel=1e-12) == pytest.approx(float(exact), rel=1e-12)
    atoms.atoms_of.cache_clear()


def test_zeros_that_no_iteration_finds_are_followed(monkeypatch):
    """tanh(16 (x² − 1)) changes at ±1 and turns at 0."""
    function = sp.tanh(16 * (atoms.x**2 - 1))

    def lost(*_, **__):
        raise mp.libmp.NoConvergence

    wanted = [f.at for f in features_between(function, -9, 9)]
    assert wanted == [-1, 1]
    monkeypatch.setattr(sp.Poly, "nroots", lost)
    found = [f.at for f in features_between(function, -9, 9)]
    assert found == pytest.approx([-1, 0, 1], abs=1e-12)


def test_whatever_simplifying_raises_leaves_what_there_is(monkeypatch):
    """Of x² + 1 mean and variance are 2; of sin x + eˣ they are √e and (1 − e⁻²)/2 + e² − e + 2 sin 1."""
    s = kc.symbolic
    monkeypatch.setattr(sp, "simplify", failing)
    assert float(kc.Activation("x^2+1").normalized()(2.0)) == pytest.approx(3 / 2**0.5, rel=1e-14)
    variance = (1 - np.exp(-2)) / 2 + np.exp(2) - np.e + 2 * np.sin(1)
    found = float(kc.Activation("sin(x)+exp(x)").normalized()(0.0))
    assert found == pytest.approx((1 - np.sqrt(np.e)) / np.sqrt(variance), rel=1e-13)
    assert s.taylor(sp.exp(s.c), s.c, 3) == [1, 1, sp.Rational(1, 2), sp.Rational(1, 6)]
    assert s.at_rho_one(sp.asin(s.c / sp.sqrt(s.q * s.qp))) == sp.pi / 2
    assert s.exact_expectation("x^2", "x^2", 2, 1, sp.sqrt(2)) == 6


def test_whatever_limits_of_kernels_raise_has_a_name(monkeypatch):
    s = kc.symbolic
    at_one = sp.sin(s.c - sp.sqrt(s.q * s.qp)) / (s.c - sp.sqrt(s.q * s.qp))
    assert s.at_rho_one(at_one) == 1
    monkeypatch.setattr(sp, "limit", failing)
    with pytest.raises(ExpressionError, match=r"a limit .* that SymPy finds.*take kernel"):
        s.at_rho_one(at_one)


def test_whatever_roots_raise_leaves_another_way(monkeypatch):
    switch = (sp.exp(x) - 2) * (sp.exp(2 * x) + 1)
    assert inner_equations(switch) == [x - sp.log(2)]
    monkeypatch.setattr(sp, "real_roots", failing)
    assert inner_equations(switch) is None
