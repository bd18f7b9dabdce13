"""Zeros of polynomials of one function, against the same by hand."""

import pytest
import sympy as sp

from kernelcalc.expressions.zeros import inner_equations

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
