"""Growth that steps cut off has expectations, and what is refused without a proof says so."""

import math
from fractions import Fraction

import mpmath
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError

# mpmath.quad in the plane, 14 panels an axis
CUT_OFF = {
    ("exp(x^2/3)*relu(x-1)", "exp(x^2/3)*relu(1-x)", 0.9): 0.006480898343110896,
    ("exp(x^2/3)*relu(x-1)", "exp(x^2/3)*relu(1-x)", 0.5): 0.137832223855448,
    ("exp(x^2/3)*step(x)", "exp(x^2/3)*relu(-x)", 0.9): 0.022869321254161827,
    ("exp(0.45*x^2)*x^2*step(x-1)", "exp(0.3*x^2)*step(-x-0.5)", 0.8): 0.0027398482591098285,
}


@pytest.mark.parametrize(("case", "known"), CUT_OFF.items(), ids=str)
def test_growth_that_steps_cut_off_where_the_plane_has_none(case, known):
    """Without the steps their product would outgrow the density along a = b."""
    f, g, rho = case
    assert kc.gaussian_expectation(f, g, 1.0, 1.0, rho) == pytest.approx(known, rel=1e-10)
    with pytest.raises(
        (DivergentExpectationError, kc.errors.PrecisionError), match=r"not shown to exist|to be computed"
    ):
        kc.gaussian_expectation(f, g, 1.0, 1.0, rho, dps=20)


def test_a_formula_is_refused_without_a_word_on_existence():
    f, g = (kc.Activation(text).expr for text in ("exp(x^2/3)*relu(x-1)", "exp(x^2/3)*relu(1-x)"))
    for rho in (sp.Rational(9, 10), sp.Rational(1, 2)):
        with pytest.raises(DivergentExpectationError, match="not shown to exist"):
            kc.symbolic.exact_expectation(f, g, 1, 1, rho)


def test_overflow_is_not_called_infinite():
    """E a⁶⁴b⁶⁴ is some 10⁶¹⁰ at q = 10⁴; NumPy says nothing besides."""
    with pytest.raises(DivergentExpectationError, match=r"within float64, .*; it may exist.*dps="):
        kc.gaussian_expectation("x^64", "x^64", 1e4, 1e4, 5e3)
    exact = sum(
        math.comb(64, k) ** 2 * math.factorial(k) * (math.prod(range(1, 64 - k, 2))) ** 2 * Fraction(1, 2) ** k
        for k in range(0, 65, 2)
    )
    found = kc.gaussian_expectation("x^64", "x^64", 1e4, 1e4, 5e3, dps=20)
    assert found / mpmath.mpf(10) ** 256 == pytest.approx(mpmath.mpf(exact.numerator) / exact.denominator, rel=1e-15)
