"""Text to expression: the whitelist lets formulas through and nothing else."""

import time

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import ExpressionError, UnknownNameError
from kernelcalc.expressions.parsing import parse_expression, to_sympy

x = sp.Symbol("x", real=True)
NAMES = {"x": x}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", x),
        ("-x**2 + 3*x - 1", -(x**2) + 3 * x - 1),
        ("x^3", x**3),
        ("0.1*x", x / 10),
        ("1e-3", sp.Rational(1, 1000)),
        ("sin(pi*x)", sp.sin(sp.pi * x)),
        ("where(x > 0, x, 0)", sp.Piecewise((x, x > 0), (0, True))),
        ("max(x, 0) + min(x, 1)", sp.Max(x, 0) + sp.Min(x, 1)),
        ("Phi(x)", (1 + sp.erf(x / sp.sqrt(2))) / 2),
        ("(x)", x),
        ("x > 0", sp.Piecewise((1, x > 0), (0, True))),
        ("x*(x >= 1) - (x < -1)", x * sp.Piecewise((1, x >= 1), (0, True)) - sp.Piecewise((1, x < -1), (0, True))),
    ],
)
def test_reads_formulas(text, expected):
    assert sp.simplify(parse_expression(text, NAMES) - expected) == 0


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x.__class__",
        "(lambda: x)()",
        "[x for x in (1,)]",
        "x if x else 0",
        "open('f')",
        "f'{x}'",
        "x; x",
        "",
        "x +",
        "sin()",
        "sin(x, x)",
        "sin(y=x)",
        "max(x)",
        "1/0",
        "9**9**9",
        "x**1e9",
        "2**(10**10)",
        "True",
        "'x'",
        "1e999",
        "x == 1",
        "0 < x < 1",
        "(x > 0) > 0",
        "where(x == 0, 1, 2)",
        "where(x > 0 > 1, 1, 2)",
        "(" * 300 + "x" + ")" * 300,
        "x+" * 900 + "x",
        "x" * 3000,
        "x and x",
        "x @ x",
        "sin",
        "log(0)",
    ],
)
def test_refuses_everything_else(text):
    with pytest.raises((ExpressionError, UnknownNameError)):
        parse_expression(text, NAMES)


def test_what_no_expression_can_have_is_refused_with_the_reason():
    for text, words in (("floor(x)", "every whole number"), ("x + round(2*x)", "round"), ("tan(x)", "poles")):
        with pytest.raises(ExpressionError, match=words):
            parse_expression(text, NAMES)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'tanh'"):
        parse_expression("tnah(x)", NAMES)
    with pytest.raises(UnknownNameError, match="variable"):
        parse_expression("y + 1", NAMES)


def test_text_never_reaches_sympys_own_parser(tmp_path):
    """SymPy's parser evaluates what it is given; every door that takes text must refuse this one."""
    import kernelcalc as kc
    from kernelcalc.expressions.exact import evaluate, exact_expectation

    target = tmp_path / "written"
    evil = f"__import__('pathlib').Path({str(target)!r}).write_text('x')"
    doors = [
        lambda: to_sympy(evil),
        lambda: kc.Activation(evil),
        lambda: exact_expectation(evil, "x", 1, 1, 0),
        lambda: evaluate("x", evil, 1, 1, 0),
        lambda: evaluate("x", "x", evil, 1, 0),
        lambda: kc.gaussian_expectation(evil, "tanh", 1, 1, 0),
        lambda: kc.gaussian_expectation("tanh", "tanh", evil, 1, 0),
        lambda: kc.gaussian_expectation("tanh", "tanh", evil, 1, 0, dps=20),
        lambda: kc.gaussian_expectation("tanh", "tanh", evil, 1, 0, certified=True),
        lambda: kc.symbolic.GaussianExpectation("tanh", evil, 1, 1, 0),
        lambda: kc.symbolic.GaussianExpectation("tanh", "tanh", evil, 1, 0),
        lambda: kc.convex_loss(evil),
        lambda: kc.MLP(evil),
    ]
    for door in doors:
        with pytest.raises(ValueError, match="expected"):
            door()
    assert not target.exists()


@pytest.mark.parametrize(
    "text",
    [
        "sign(sigmoid(sech(((1/3)/(1e3))**((3)*(1e-60)))))*x",
        "(1/3000)**0.0003*x",
        "exp(3*log(1/3000)/1000001)*x",
        "sqrt(1/3000)**(3/1000001)*x",
        "(pi/3000)**0.00012345678*x",
    ],
)
def test_high_roots_of_constants_are_refused_at_once(text):
    start = time.process_time()
    with pytest.raises(ExpressionError, match="at most 1000th roots"):
        kc.activation(text)
    assert time.process_time() - start < 1


def test_other_roots_of_constants_stay():
    assert kc.activation("10**0.25*tanh(x)")(1.0) == pytest.approx(10**0.25 * np.tanh(1.0), rel=1e-15)
    assert kc.activation("exp(log(2)/3 + x)")(1.0) == pytest.approx(2 ** (1 / 3) * np.e, rel=1e-15)
    assert kc.activation("exp(0.123456*x)")(1.0) == pytest.approx(np.exp(0.123456), rel=1e-15)
