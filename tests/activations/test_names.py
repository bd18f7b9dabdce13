"""Names, parameters and expressions as a person types them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.names import as_activation, from_text
from kernelcalc.errors import ExpressionError, InputError, UnknownNameError

X = np.array([-2.0, -0.5, 0.0, 0.25, 3.0])


@pytest.mark.parametrize("read", [from_text, kc.activation, as_activation])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("where(x>=0,x,0.01*x)", np.where(X >= 0, X, 0.01 * X)),
        ("where(x <= 0, 0.1*x, x)", np.where(X <= 0, 0.1 * X, X)),
        ("where(0.2>=x,x,x^2)", np.where(X <= 0.2, X, X**2)),
        ("where(x>=0,x,where(x<=-1,-1,x))", np.where(X >= 0, X, np.where(X <= -1, -1, X))),
        ("tanh(where(x>=0,x,2*x))", np.tanh(np.where(X >= 0, X, 2 * X))),
        ("leaky_relu(slope=0.01)", np.where(X >= 0, X, 0.01 * X)),
        (" x*tanh( x ) ", X * np.tanh(X)),
        ("mish(x)", X * np.tanh(np.log1p(np.exp(X)))),
        ("ELU( x )", np.where(X > 0, X, np.expm1(X))),
        ("Softsign(x)", X / (1 + np.abs(X))),
    ],
)
def test_comparisons_are_no_parameters(read, text, values):
    np.testing.assert_allclose(read(text)(X), values, rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("where(x==0,x,1)", ExpressionError, "a comparison by <, <=, > or >=, got 'x == 0'"),
        ("where(x!=0,x,1)", ExpressionError, "a comparison by <, <=, > or >="),
        ("where(x>=0)", ExpressionError, "one comparison"),
        ("relu(slope<=1)", UnknownNameError, "'slope'"),
        ("smooth_relu(scale)", UnknownNameError, "smooth_relu"),
        ("smooth_relu(scale=a)", InputError, "parameters such as scale=0.5"),
        ("smooth_relu(scale=1/0)", InputError, "a number"),
        ("relu(slope=1)", InputError, "parameters of relu"),
        ("", ExpressionError, "a formula"),
        ("rellu", UnknownNameError, "did you mean 'relu'"),
        ("tanh\N{SUPERSCRIPT TWO}(x)", UnknownNameError, "a variable or constant, got 'tanh'"),
    ],
)
def test_what_is_neither_is_refused_by_name(text, error, words):
    for read in (from_text, kc.activation):
        with pytest.raises(error) as caught:
            read(text)
        assert words in str(caught.value)


def test_an_expression_takes_no_parameters():
    with pytest.raises(UnknownNameError, match="x\\*tanh"):
        kc.activation("x*tanh(x)", scale=2)


def test_normalized_in_any_case():
    # E|Z| = sqrt(2/pi)
    np.testing.assert_allclose(
        from_text("Normalised abs")(X), (np.abs(X) - 0.7978845608028654) / 0.6028102749890869, rtol=1e-14
    )


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (sp.tanh, np.tanh(X)),
        (sp.Abs, np.abs(X)),
        (sp.Lambda(sp.Symbol("t"), sp.Symbol("t") ** 2), X**2),
        (sp.Derivative(sp.sin(sp.Symbol("t")), sp.Symbol("t")), np.cos(X)),
        (math.erf, [math.erf(x) for x in X]),
    ],
)
def test_functions_of_sympy_and_of_python(value, values):
    np.testing.assert_allclose(as_activation(value)(X), values, rtol=1e-14)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (sp.Max, "a function of one variable, got Max"),
        (sp.besselj, "a function of one variable"),
        (sp.Function("f"), "a function of one variable, got f"),
        (sp.Lambda(sp.symbols("s t"), sp.Symbol("s")), "a function of one variable"),
        (sp.DiracDelta(sp.Symbol("t")), "without delta functions"),
        (sp.Integral(sp.exp(-(sp.Symbol("s") ** 3)), (sp.Symbol("s"), 0, sp.Symbol("t"))), "doit"),
        (sp.Sum(sp.Symbol("t") ** sp.Symbol("s"), (sp.Symbol("s"), 0, 3)), "doit"),
    ],
)
def test_what_sympy_has_beside_functions_of_one_variable(value, words):
    with pytest.raises(ExpressionError) as caught:
        as_activation(value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "smooth_relu(scale=1e400)", "smooth_relu(scale=1e-300)", "softplus(sharpness=1e150)", "leaky_relu(slope=1e200)",
        "sin(frequency=1e-200)", "gaussian(scale=1e-310)", "celu(alpha=1e101)",
    ],
)  # fmt: skip
def test_parameters_whose_squares_leave_float64_are_refused(text):
    with pytest.raises(InputError, match=r"1e-100|finite number"):
        kc.activation(text)


def test_parameters_may_be_as_small_as_they_say():
    # a smooth relu of scale 1e-100 is relu to float64
    narrow, points = kc.MLP("smooth_relu(scale=1e-100)", 2, beta=0.0), np.eye(2)
    assert narrow.kernels(points, only=("theta",)).theta[0, 0] == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  x ", "x"),
        ("x\n", "x"),
        ("\ufeffx + 1\r\n", "x+1"),
        ("\u00a0x\u00a0* 2", "2*x"),
        ("2×x − 1", "2*x-1"),
        ("2·x÷3", "2*x/3"),
        ("x² – x³", "x^2-x^3"),
        ("exp(−x²)·x", "x*exp(-x^2)"),
        ("１.５*ｘ", "1.5*x"),
        ("1/(1+x²)¹⁰", "1/(1+x^2)^10"),
        ("(1+x²)⁻¹", "1/(1+x^2)"),
        ("where(x≥0, x, π)", "where(x>=0, x, pi)"),
        ("x\n* tanh(\tx)", "x*tanh(x)"),
        ("si\u200bn(x)", "sin(x)"),
        ("x*Φ(x)", "x*Phi(x)"),
        ("ＴＡＮＨ", "tanh"),
        ("softplus(sharpness=２)", "softplus(sharpness=2)"),
        ("leaky_relu(−0.1)", "leaky_relu(-0.1)"),
        ("normalized\u00a0erf", "normalized erf"),
        ("\tgelu\n", "gelu"),
    ],
)
def test_signs_of_other_keyboards(text, plain):
    expected = as_activation(plain).expr
    assert kc.activation(text).expr == expected
    assert as_activation(text).expr == expected
    assert kc.MLP(text, 2).activations[0].expr == expected


@pytest.mark.parametrize("text", ["x′", "√x", "∞", "½*x", "2x", "|x|", "²", "x²²y", "−", "\ufeff", "x^²"])
def test_other_signs_are_refused(text):
    with pytest.raises((ExpressionError, UnknownNameError)):
        kc.activation(text)
