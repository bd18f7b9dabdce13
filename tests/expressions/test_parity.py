"""Parities that are proved, beside values at mirrored places."""

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.parity import parity, parity_by_rules
from kernelcalc.gaussian.symmetry import symmetry

EVEN = (
    "sin(18.6*(abs(x)-15.6))", "relu(x)+relu(-x)", "x*sigmoid(x)-x/2", "softplus(x)-x/2", "gelu(x)-x/2", "cos(3*x)^3",
    "where(abs(x)<1, x^2, 1)", "exp(-(x-1)^2)+exp(-(x+1)^2)", "log(cosh(x))", "sinc(x)", "x*tanh(x)", "abs(x)^2.5", "3",
    "erf(x)^2*(1+abs(x))", "cosh(x)^0.3",
)  # fmt: skip
ODD = (
    "x", "erf(x)", "relu(x)-relu(-x)", "sigmoid(x)-1/2", "max(-1,min(1,x))", "where(abs(x)<1, x, x^3)", "step(x)-0.5",
    "x/(1+abs(x))", "sign(x)*abs(x)^1.5", "exp(x)-exp(-x)", "(1+x)^3-(1-x)^3", "erf(x+1)-erf(1-x)", "x*sinc(x)", "asinh(x^3)",
    "tanh(x-1)+tanh(x+1)", "x*log(1+exp(x))-x^2/2", "(x+tanh(x))^15",
)  # fmt: skip
NEITHER = (
    "relu(x)", "sigmoid(x)", "x+1/10^9", "tanh(x)+exp(-(1000*(x-3))^2)", "max(-1,min(2,x))", "where(x>1, x, 0)",
    "abs(x)+relu(x-30)", "softplus(x)", "x*exp(x)",
)  # fmt: skip
CASES = [(text, 1) for text in EVEN] + [(text, -1) for text in ODD] + [(text, 0) for text in NEITHER]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_parities_are_what_values_show(text, wanted):
    act = kc.Activation(text)
    assert symmetry(act) == wanted
    at = np.array([0.01, 0.3, 0.99, 1.7, 3.0, 7.7, 29.0, 31.0])
    values, turned = act(at), act(-at)
    for sign in (1, -1):
        agrees = np.allclose(turned, sign * values, rtol=1e-9, atol=1e-12 if text == "x*sigmoid(x)-x/2" else 1e-14)
        assert agrees == (wanted == sign)


def test_derivatives_change_the_parity():
    """Delta functions included: |x|'' = 2 δ is even, its derivative is odd."""
    for order in range(4):
        assert symmetry(kc.Activation("abs(x)").derivative(order)) == (-1) ** order
        assert symmetry(kc.Activation("tanh(x)").derivative(order)) == -((-1) ** order)
        assert symmetry(kc.Activation("relu(x)").derivative(order)) == 0


def test_pieces_and_breaks_mirror_each_other():
    half = sp.Rational(1, 2)
    assert parity((-x, x**2, x), (-half, half)) == 1
    assert parity((x, x**3, x), (-half, half)) == -1
    assert parity((-x, x**2, x), (-half, 2 * half)) == 0
    assert parity((-x, x**2, x + half), (-half, half)) == 0


def test_powers_and_functions_without_a_rule():
    unknown = sp.Function("f")
    assert parity_by_rules(unknown(x)) == parity((unknown(x),)) == 0
    assert parity_by_rules(sp.tanh(x) ** 3) == parity_by_rules(x**-3) == -1
    assert parity_by_rules(sp.tanh(x) ** 4) == 1
    assert parity_by_rules(2**x) == parity_by_rules(x ** sp.Rational(1, 3)) == parity_by_rules(x + 1) == 0
    assert parity_by_rules(sp.cos(x) + x**2) == 1


def test_callables_are_not_looked_into():
    assert symmetry(as_activation(lambda at: np.sin(at))) == 0
