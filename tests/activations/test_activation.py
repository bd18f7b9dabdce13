"""Activations: values and derivatives against mpmath, smoothness, stability, normal form."""

import math

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import ACTIVATIONS, ALIASES, activation, as_activation, from_text
from kernelcalc.errors import (
    ExpressionError,
    InputError,
    KernelcalcError,
    NotFiniteError,
    ResolutionWarning,
    UnknownNameError,
)
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.compiling import compile_expression
from tests.fuzz.limits import limited

# Written by hand, for mpmath: the oracle of the catalogue.
ORACLE = {
    "relu": lambda t: max(t, mp.mpf(0)),
    "leaky_relu": lambda t: t if t > 0 else t / 100,
    "abs": abs,
    "erf": mp.erf,
    "probit": mp.ncdf,
    "smooth_relu": lambda t: t * mp.ncdf(t) + mp.npdf(t),
    "gelu": lambda t: t * mp.ncdf(t),
    "tanh": mp.tanh,
    "sigmoid": lambda t: 1 / (1 + mp.exp(-t)),
    "softplus": lambda t: mp.log1p(mp.exp(t)),
    "silu": lambda t: t / (1 + mp.exp(-t)),
    "mish": lambda t: t * mp.tanh(mp.log1p(mp.exp(t))),
    "log_cosh": lambda t: mp.log(mp.cosh(t)),
    "arctan": mp.atan,
    "softsign": lambda t: t / (1 + abs(t)),
    "elu": lambda t: t if t > 0 else mp.expm1(t),
    "selu": lambda t: (
        mp.mpf("1.0507009873554804934193349852946")
        * (t if t > 0 else mp.mpf("1.6732632423543772848170429916717") * mp.expm1(t))
    ),
    "celu": lambda t: t if t > 0 else mp.expm1(t),
    "hard_tanh": lambda t: min(max(t, mp.mpf(-1)), mp.mpf(1)),
    "relu6": lambda t: min(max(t, mp.mpf(0)), mp.mpf(6)),
    "step": lambda t: mp.mpf(t > 0),
    "sign": mp.sign,
    "sin": mp.sin,
    "cos": mp.cos,
    "exp": mp.exp,
    "gaussian": lambda t: mp.exp(-t * t / 2),
    "linear": lambda t: t,
    "polynomial": lambda t: t,
    "hermite": lambda t: t,
    "prelu": lambda t: t if t > 0 else t / 4,
    "relu2": lambda t: max(t, mp.mpf(0)) ** 2,
    "threshold": lambda t: max(t, mp.mpf(0)),
    "hard_sigmoid": lambda t: min(max(t + 3, mp.mpf(0)), mp.mpf(6)) / 6,
    "hard_swish": lambda t: t * min(max(t + 3, mp.mpf(0)), mp.mpf(6)) / 6,
    "hard_shrink": lambda t: t if abs(t) > 0.5 else mp.mpf(0),
    "soft_shrink": lambda t: mp.sign(t) * max(abs(t) - mp.mpf(1) / 2, mp.mpf(0)),
    "sparse_plus": lambda t: mp.mpf(0) if t < -1 else t if t > 1 else (t + 1) ** 2 / 4,
    "sparse_sigmoid": lambda t: min(max(t + 1, mp.mpf(0)), mp.mpf(2)) / 2,
    "quick_gelu": lambda t: t / (1 + mp.exp(-mp.mpf("1.702") * t)),
    "log_sigmoid": lambda t: -mp.log1p(mp.exp(-t)),
    "squareplus": lambda t: (t + mp.sqrt(t * t + 4)) / 2,
    "tanhshrink": lambda t: t - mp.tanh(t),
    "lisht": lambda t: t * mp.tanh(t),
    "sech": mp.sech,
    "isru": lambda t: t / mp.sqrt(1 + t * t),
    "snake": lambda t: t + mp.sin(t) ** 2,
    "sine": lambda t: mp.sin(30 * t),
    "sinc": mp.sincpi,
}
POINTS = [-20.0, -3.7, -1.3, -0.4, -1e-3, 1e-3, 0.3, 0.9, 2.2, 7.1, 20.0]
KINKED = {"relu", "leaky_relu", "abs", "softsign", "elu", "selu", "celu", "hard_tanh", "relu6", "step", "sign"} | {
    "prelu",
    "relu2",
    "threshold",
    "hard_sigmoid",
    "hard_swish",
    "hard_shrink",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
}


def test_oracle_covers_the_catalogue():
    assert set(ORACLE) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_values_and_three_derivatives_agree_with_mpmath(name):
    act = activation(name)
    with mp.workdps(60):
        for order in range(4):
            got = act.derivative(order)(np.array(POINTS))
            for t, value in zip(POINTS, got, strict=True):
                if name == "exp" and order == 0 and t > 15:
                    continue
                # Central differences at 60 digits: error h² ~ 1e-24, rounding 1e-60/h³ ~ 1e-24.
                expected = (
                    mp.diff(ORACLE[name], mp.mpf(t), order, h=mp.mpf(10) ** -12) if order else ORACLE[name](mp.mpf(t))
                )
                assert value == pytest.approx(float(expected), rel=5e-13, abs=1e-15), (order, t)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"exp"}))
def test_nothing_overflows_at_a_thousand(name):
    act = activation(name)
    far = np.array([-1e3, -745.0, 745.0, 1e3])
    with np.errstate(over="ignore", under="ignore"), mp.workdps(30):
        for order in range(4):
            values = act.derivative(order)(far)
            assert np.isfinite(values).all()
        expected = [float(ORACLE[name](mp.mpf(t))) for t in far]
    np.testing.assert_allclose(act(far), expected, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(
    "text",
    [
        "log(1+exp(x))",
        "log(1+exp(-3*x))",
        "1/(1+exp(-x))",
        "exp(x)/(1+exp(x))",
        "x*exp(x)/(exp(x)+1)",
        "log(cosh(x))",
        "exp(x)/(1+exp(x))**2",
        "(exp(x)-exp(-x))/(exp(x)+exp(-x))",
        "sqrt(1+x**2)-1",
    ],
)
def test_text_formulas_are_stable_too(text):
    act = Activation(text)
    grid = np.array([-1e3, -40.0, -1.0, 0.0, 1.0, 40.0, 1e3])
    function = compile_expression(x, act.expr, "mpmath")
    with mp.workdps(900):
        expected = [float(function(mp.mpf(t))) for t in grid]
    np.testing.assert_allclose(act(grid), expected, rtol=1e-12, atol=1e-300)
    assert all(np.isfinite(act.derivative(k)(grid)).all() for k in (1, 2, 3))


def test_tails_keep_relative_precision():
    at = np.array([-30.0])
    with mp.workdps(40):
        assert activation("gelu")(at)[0] == pytest.approx(float(-30 * mp.ncdf(-30)), rel=1e-13)
        assert activation("tanh").derivative(1)(at)[0] == pytest.approx(float(mp.sech(30) ** 2), rel=1e-13)
        assert activation("softplus")(at)[0] == pytest.approx(float(mp.log1p(mp.exp(-30))), rel=1e-13)


def test_overflow_is_a_named_error():
    with pytest.raises(NotFiniteError, match="exp"):
        activation("exp")(np.array([1e3]))


def test_smoothness_classes_and_kinks():
    assert {n for n in ACTIVATIONS if activation(n).smoothness < math.inf} == KINKED
    expected = {"relu": 0, "leaky_relu": 0, "abs": 0, "hard_tanh": 0, "relu6": 0, "selu": 0, "elu": 1, "celu": 1}
    expected |= {"softsign": 1, "step": -1, "sign": -1}
    assert {n: activation(n).smoothness for n in expected} == expected
    assert activation("elu", alpha=2).smoothness == 0
    assert activation("hard_tanh").kinks == (-1.0, 1.0)
    assert Activation("abs(x)*x**3").smoothness == 3
    assert Activation("abs(abs(x) - 1)").kinks == (-1.0, 0.0, 1.0)
    # The piece x/(1 − x) has its pole outside of x < 0.
    assert Activation("x/(1+abs(x))").smoothness == 1
    # A kink that is none: |x|² is a polynomial, and both branches agree.
    assert Activation("abs(x)**2").kinks == ()
    assert Activation("where(x > 1, x**2, x*x)").kinks == ()


@pytest.mark.parametrize(
    ("text", "coefficients"),
    [
        ("step((x^3+x)^3+(x^3+x)-22.5)", {9: 1, 7: 3, 5: 3, 3: 2, 1: 1, 0: -22.5}),
        # siblings
        ("relu((x^2+x)^3-2*x)", {6: 1, 5: 3, 4: 3, 3: 1, 1: -2}),
        ("abs((x^3-x)^3+(x^3-x)+0.125)", {9: 1, 7: -3, 5: 3, 1: -1, 0: 0.125}),
        ("max((x^2-3)^4,(x^3+1)^2+1)", {8: 1, 6: -13, 4: 54, 3: -2, 2: -108, 0: 79}),
    ],
)
def test_kinks_at_zeros_of_polynomials_of_any_degree(text, coefficients):
    """SymPy's search for radicals took half a minute; the zeros by companion matrix."""
    zeros = np.roots([coefficients.get(k, 0) for k in range(max(coefficients), -1, -1)])
    with limited(10.0):
        kinks = kc.activation(text).kinks
    np.testing.assert_allclose(kinks, np.unique(zeros[abs(zeros.imag) < 1e-9].real), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "kinks", "jumps"),
    [
        ("step(1/(x-1))", [1], [1]),
        # siblings
        ("step(1/x+4)", [-1 / 4, 0], [-1, 1]),
        ("sign(x^3/(x^2-1))/2", [-1, 0, 1], [1, -1, 1]),
        ("step(exp(1/x)-2)", [0, 1 / math.log(2)], [1, -1]),
        ("sign(1/(exp(x)-2)+0.3)/2", [math.log(2)], [1]),
    ],
)
def test_an_argument_may_change_its_sign_through_infinity(text, kinks, jumps):
    """E[x f(x)] = E f' (Stein): the density at every jump, times its height."""
    f = kc.activation(text)
    np.testing.assert_allclose(f.kinks, kinks, atol=1e-15)
    exact = sum(jump * math.exp(-(at**2) / 2) for at, jump in zip(kinks, jumps, strict=True)) / math.sqrt(2 * math.pi)
    assert float(kc.gaussian_expectation(f, "x", 1, 1, 1)) == pytest.approx(exact, rel=1e-13)


def test_distributional_derivatives():
    relu = activation("relu")
    assert [(d.at, d.order, d.weight) for d in relu.derivative(2).deltas] == [(0, 0, 1)]
    assert [(d.at, d.order, d.weight) for d in relu.derivative(3).deltas] == [(0, 1, 1)]
    hard = activation("hard_tanh").derivative(2)
    assert [(d.at, d.weight) for d in hard.deltas] == [(-1, 1), (1, -1)]
    assert relu.derivative(1).derivative(1) is relu.derivative(2)
    assert relu.derivative(0) is relu
    # The same pieces tell the same story to a test function: ∫ f'' h = ∫ f h''.
    h = sp.exp(-(x**2))
    elu = activation("elu", alpha=2)
    second = elu.derivative(2)
    regular = sp.integrate(second.form.pieces[0] * h, (x, -sp.oo, 0)) + sp.integrate(
        second.form.pieces[1] * h, (x, 0, sp.oo)
    )
    singular = sum(d.weight * h.subs(x, d.at) for d in second.deltas)
    moved = sp.integrate(elu.form.pieces[0] * h.diff(x, 2), (x, -sp.oo, 0)) + sp.integrate(
        elu.form.pieces[1] * h.diff(x, 2), (x, 0, sp.oo)
    )
    assert float(regular + singular - moved) == pytest.approx(0, abs=1e-12)


def test_normalized_has_mean_zero_and_variance_one():
    z, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    for name in ("smooth_relu", "gelu", "softplus", "sin", "erf"):
        bar = activation(name).normalized()
        assert w @ bar(z) == pytest.approx(0, abs=2e-8)
        assert w @ bar(z) ** 2 == pytest.approx(1, abs=2e-8)
    # Closed constants: E relu(Z) = 1/√(2π), E relu(Z)² = 1/2.
    bar = activation("relu").normalized()
    mean, var = 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)
    assert bar(np.array([2.0]))[0] == pytest.approx((2 - mean) / math.sqrt(var), rel=1e-15)
    assert bar.smoothness == 0
    assert bar.name == "normalized relu"
    with pytest.raises(InputError, match="variance"):
        Activation("3 + 0*x").normalized()


@pytest.mark.parametrize(
    "text",
    [
        "log(x)",
        "1/x",
        "sqrt(x)",
        "x**0.3",
        "1/(x-1)**2",
        "x + log(x-40)",
        "sin(x)/cos(x)",
        "1/(exp(x)-2)",
        "1/(2-cosh(x))",
        "1/(tanh(x)-0.3)",
    ],
)
def test_not_real_or_not_finite_is_refused(text):
    with pytest.raises(ExpressionError, match="finite"):
        Activation(text)


def test_wrong_expressions():
    y = sp.Symbol("y")
    with pytest.raises(ExpressionError, match="finite"):
        Activation(sp.tan(x))
    with pytest.raises(ExpressionError, match="one symbol"):
        Activation(x * y)
    with pytest.raises(ExpressionError, match="text or a SymPy"):
        Activation(3)
    assert Activation(y**2).expr == x**2
    for unresolved in ("relu(sin(1000*x))", sp.Piecewise((sp.sin(x), sp.sin(x) > 0), (0, True))):
        with pytest.raises(ExpressionError, match="kinks"):
            Activation(unresolved)
    for unusual in ("log(abs(x-pi))", "1/abs(x-1.3)**0.5"):
        with pytest.raises(ExpressionError):
            Activation(unusual)
    for function in (sp.floor, sp.gamma, sp.Function("f")):
        with pytest.raises(ExpressionError, match="elementary"):
            Activation(function(x))
    assert Activation("max(x-sqrt(2),0)").kinks == (math.sqrt(2),)
    with pytest.raises(InputError):
        activation("tanh")("a")
    with pytest.raises(InputError, match="k ≥ 0"):
        activation("tanh").derivative(-1)


def test_names_parameters_and_text():
    for alias, name in ALIASES.items():
        assert activation(alias).expr == activation(name).expr
    with pytest.raises(UnknownNameError, match="'softplus'"):
        activation("sotfplus")
    with pytest.raises(InputError, match="scale"):
        activation("smooth_relu", width=2)
    for bad in (0, -1, float("nan"), "a"):
        with pytest.raises(InputError):
            activation("smooth_relu", scale=bad)
    assert from_text("softplus(sharpness=2)").expr == activation("softplus", sharpness=2).expr
    assert from_text("normalized tanh").name == "normalized tanh"
    assert from_text("x*erf(x)").expr == x * sp.erf(x)
    assert from_text("tanh(2*x)").expr == sp.tanh(2 * x)
    with pytest.raises(KernelcalcError):
        from_text("softplus(sharpness=os)")
    assert float(activation("hermite", degree=3)(2.0)) == 2**3 - 3 * 2
    assert float(activation("polynomial", coefficients=(1, 0, 2))(3.0)) == 19


def test_callables_are_taken_as_smooth_functions_without_derivatives():
    act = as_activation(lambda v: np.tanh(v))
    assert act(np.array([0.5]))[0] == np.tanh(0.5)
    with pytest.raises(InputError, match="derivatives are known"):
        act.derivative(1)
    with pytest.raises(InputError, match="elementwise"):
        as_activation(np.sum)(np.ones(3))
    with pytest.raises(InputError, match="Activation"):
        as_activation(3.5)


def test_callables_get_a_copy_and_give_real_numbers():
    def square(v):
        v *= v
        return v

    at = np.array([0.5, 3.0])
    np.testing.assert_array_equal(as_activation(square)(at), [0.25, 9.0])
    np.testing.assert_array_equal(at, [0.5, 3.0])
    # E a² b² = 1 + 2ρ²
    with pytest.warns(ResolutionWarning):
        assert kc.gaussian_expectation(square, square, 1, 1, 0.5) == pytest.approx(1.5, rel=1e-12)
    with pytest.raises(InputError, match="real values, got dtype complex128"):
        as_activation(lambda v: np.sqrt(v + 0j))(at)
    with pytest.raises(NotFiniteError):
        as_activation(np.reciprocal)(np.array([0.0]))


@pytest.mark.parametrize("name", [3.5, b"f", ["f"], 1])
def test_names_are_texts(name):
    with pytest.raises(InputError, match="name, a text"):
        Activation("tanh(x)", name=name)


def test_activations_travel_between_processes():
    """Also after they were called: worker processes receive networks with their nonlinearities."""
    from multiprocessing.reduction import ForkingPickler

    for name in ("tanh", "elu"):
        act = activation(name).normalized()
        at = np.array([-0.5, 0.7])
        expected = act.derivative(1)(at)
        again = ForkingPickler.loads(bytes(ForkingPickler.dumps(act)))
        np.testing.assert_array_equal(again.derivative(1)(at), expected)


def test_public_constructors():
    assert kc.activation("relu") == kc.activation("relu")
    assert kc.Activation("x").expr == x
    assert len({kc.activation("relu"), kc.activation("relu")}) == 1


@pytest.mark.parametrize(
    ("text", "argument", "outer", "ends", "symmetric"),
    [
        (
            "abs(158*((exp(-x^2))^3+exp(-x^2)-1.799560546875))",
            lambda t: 158 * (mp.exp(-3 * t * t) + mp.exp(-t * t) - 1.799560546875),
            abs,
            (0.1, 1.0),
            True,
        ),
        # siblings
        ("relu(exp(x)^3+exp(x)-1.75)", lambda t: mp.exp(3 * t) + mp.exp(t) - 1.75, lambda u: max(u, 0), (-1, 1), False),
        ("abs(arctan(x)^3+arctan(x)-0.75)", lambda t: mp.atan(t) ** 3 + mp.atan(t) - 0.75, abs, (0, 2), False),
        ("abs(erf(2*x)^5+erf(2*x)-0.5)", lambda t: mp.erf(2 * t) ** 5 + mp.erf(2 * t) - 0.5, abs, (0, 2), False),
        (
            "abs(exp(-abs(x))^3+exp(-abs(x))-1.25)",
            lambda t: mp.exp(-3 * abs(t)) + mp.exp(-abs(t)) - 1.25,
            abs,
            (0.1, 1),
            True,
        ),
    ],
)
def test_kinks_at_zeros_of_polynomials_of_one_function(text, argument, outer, ends, symmetric):
    """Radicals within logarithms took minutes, or were not found; the zero by a bracketing method, the mean by quadrature."""
    with limited(10.0):
        kinks = kc.activation(text).kinks
        value = kc.gaussian_expectation(text, "1", 0.5, 1.0, 0.0)
    zero = mp.findroot(argument, ends, solver="anderson")
    places = [-zero, zero] if symmetric else [zero]
    assert [k for k in kinks if k != 0] == pytest.approx([float(place) for place in places], rel=1e-12)
    cuts = sorted({mp.mpf(n) / 2 for n in range(-24, 25)} | set(places))
    truth = mp.quad(lambda t: outer(argument(t)) * mp.npdf(t, 0, mp.sqrt(0.5)), cuts)
    assert abs(value - truth) < 1e-12 * abs(truth)


@pytest.mark.parametrize("text", ["softplus(483.25*(softplus(abs(x))-2.625))", "sigmoid(301*(softplus(abs(x))-1.5))"])
def test_kinks_of_steep_functions_of_a_softplus(text):
    """Both sides differ in value, so that no power of 1 + e^x to the slope is expanded, which took half a minute."""
    with limited(10.0):
        assert kc.activation(text).kinks == (0.0,)
