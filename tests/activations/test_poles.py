"""What is refused as infinite somewhere, and what only looks like it."""

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.activation import Activation
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.atoms import x


@pytest.mark.parametrize(
    "text", ["log(abs(x))", "log(abs(x-1))+relu(x)", "abs(x)^-0.5", "1/abs(x)", "where(x>0,log(x),0)"]
)
def test_what_is_infinite_at_a_kink_is_said(text):
    with pytest.raises(ExpressionError, match=r"at its kinks.* infinite"):
        kc.activation(text)


@pytest.mark.parametrize(
    "text",
    [
        "sign(3.5*(relu(asinh(0^x))-0.73))",
        # siblings
        "tanh(0^x)",
        "1/(1+(0**3)^(x-1))",
        "tanh(relu(x)^x)",
        "step(0^sin(x)-0.5)",
    ],
)
def test_powers_of_zero_that_are_infinite_somewhere(text):
    """What is around them is finite there, or not seen at all in a step."""
    with pytest.raises(ExpressionError, match="real and finite on the whole line"):
        Activation(text)


@pytest.mark.parametrize(
    "text", ["(1+exp(x))^64", "exp(x^4)", "1/erfc(3*x)", "relu(x)*exp(exp(x))", "-exp(exp(exp(exp(9*x))))"]
)
def test_what_is_only_too_large_is_no_pole(text):
    with pytest.raises(ExpressionError, match=r"below 1\.8e308 up to \|x\| = 20, got larger ones of .* at x = "):
        Activation(text)


@pytest.mark.parametrize("text", ["1/Phi(x)", "1/(1-erf(x)^2)", "1/(1-tanh(x))", "1/(2-erfc(x))", "1/log(Phi(x))"])
def test_what_vanishes_far_out_is_no_zero(text):
    """Sums that cancel to less than their rounding were taken for poles."""
    values = Activation(text)(np.array([-20.0, 20.0]))
    exact = sp.lambdify(x, Activation(text).form.pieces[0], "mpmath")
    with mp.workdps(400):
        assert values == pytest.approx([float(exact(mp.mpf(v))) for v in (-20, 20)], rel=1e-12)


@pytest.mark.parametrize(("text", "value"), [("0^relu(x)", 0.5), ("0^(x^2)+1", 1.0), ("1/(1+0^relu(x))", 0.75)])
def test_powers_of_zero_that_are_finite(text, value):
    """0^0 = 1 on a half line, 0 elsewhere."""
    assert abs(kc.gaussian_expectation(text, "1", 1.0, 1.0, 0.0) - value) < 1e-14
