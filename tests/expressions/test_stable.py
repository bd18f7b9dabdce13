"""Forms of functions that stay exact far out, beside mpmath and a rule of their own."""

from __future__ import annotations

import time
import warnings

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.special import log_ndtr

import kernelcalc as kc
from kernelcalc.activations.features import compiled
from kernelcalc.errors import ExpressionError, SlowMethodWarning
from kernelcalc.expressions import stable
from kernelcalc.expressions.functions import NUMPY_FUNCTIONS

# text: (w, s) of log(w erfc(s x))
LOGARITHMS = {
    "log(erfc(-x/sqrt(2))/2)": ("1/2", "-sqrt(2)/2"),
    "log(1 + erf(x))": ("1", "-1"),
    "log(3*erfc(2*x))": ("3", "2"),
    "log(2 - 2*erf(x/3))": ("2", "1/3"),
}


@pytest.mark.parametrize("text", LOGARITHMS)
def test_logarithms_of_error_functions_far_out(text: str) -> None:
    act, x = kc.Activation(text), np.array([-40.0, -25.0, -3.0, -0.1, 0.0, 0.7, 4.0, 30.0, 35.0])
    weight, scale = (sp.sympify(part) for part in LOGARITHMS[text])
    with mpmath.workdps(700):
        w, s = mpmath.mpmathify(weight.evalf(700)), mpmath.mpmathify(scale.evalf(700))
        values = [float(mpmath.log(w * mpmath.erfc(s * mpmath.mpf(v)))) for v in x]
        slopes = [
            -2 * s / mpmath.sqrt(mpmath.pi) * mpmath.exp(-((s * v) ** 2)) / mpmath.erfc(s * v)
            for v in map(mpmath.mpf, x)
        ]
    # the argument s x is rounded, and e^{−(sx)²} multiplies its relative error by 2 (sx)²
    rtol = 2e-15 * (1 + 2 * (float(s) * x) ** 2)
    for found, right in ((act(x), values), (act.derivative(1)(x), [float(v) for v in slopes])):
        assert (np.abs(found - right) <= rtol * np.abs(right) + 1e-300).all()


def test_expectation_of_two_logarithms_of_the_normal_distribution() -> None:
    # 3001 equidistant nodes of each variable, log Φ by SciPy
    z, h = np.linspace(-12, 12, 3001, retstep=True)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * h
    rho = 0.5 / 25
    b = 5 * (rho * z[:, None] + np.sqrt(1 - rho**2) * z[None, :])
    expected = weight @ (log_ndtr(5 * z)[:, None] * log_ndtr(b)) @ weight
    f = "log(erfc(-x/sqrt(2))/2)"
    started = time.process_time()
    found = kc.gaussian_expectation(f, f, 25, 25, 0.5)
    assert time.process_time() - started < 5
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_values_beyond_the_formula_are_counted_once_and_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    act = kc.Activation("log(1 + x^2*exp(x^2))")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = act(np.full(5000, 30.0))  # e^{900} overflows: one value, for all of them
    assert same == pytest.approx(900 + 2 * np.log(30), rel=1e-14)
    monkeypatch.setattr(stable, "SLOW_BY_DIGITS", 0.0)
    with pytest.warns(SlowMethodWarning, match="150 values .* 500 digits"):
        act(np.linspace(30, 31, 150))


def test_powers_that_are_no_function_are_refused_in_time() -> None:
    for text in ("erf((-x)**(x+x**x))", "erfc((-x)^(x^x))", "erf(exp(exp(x))*sqrt(x))"):
        started = time.process_time()
        with pytest.raises(ExpressionError):
            kc.Activation(text)
        assert time.process_time() - started < 3


def test_exponentials_of_huge_negative_numbers_are_no_work() -> None:
    act = kc.Activation("exp(-(x^2)*1e90) + x*0 + exp(-exp(exp(x^2)))")
    started = time.process_time()
    assert act(np.array([0.0, 5.0, 30.0])) == pytest.approx([1 + np.exp(-np.e), 0.0, 0.0])
    assert time.process_time() - started < 5


mpf = mpmath.mpf
CANCELLING = {
    "sin(756.25*(max(x,sinh(atan(64)))-2.262451171875))": lambda z: mpmath.sin(
        mpf("756.25") * (max(z, mpmath.sinh(mpmath.atan(64))) - mpf("2.262451171875"))
    ),
    # siblings
    "tanh(x^2+1e4*(sqrt(2)-1.41421356))": lambda z: mpmath.tanh(z**2 + 10**4 * (mpmath.sqrt(2) - mpf("1.41421356"))),
    "x+2.125*erf(cos(2))+15453/16384": lambda z: z + 2.125 * mpmath.erf(mpmath.cos(2)) + mpf(15453) / 16384,
    "exp(x+1e5*(pi-3.14159265))": lambda z: mpmath.exp(z + 10**5 * (mpmath.pi - mpf("3.14159265"))),
    "relu(x+1e6*(exp(1)-2.718281828))": lambda z: max(z + 10**6 * (mpmath.e - mpf("2.718281828")), 0),
}


@pytest.mark.parametrize("text", CANCELLING)
def test_constants_that_cancel_lose_no_digits(text: str) -> None:
    values = [-1.5, -0.25, 0.0, 0.5, 1.75]
    with mpmath.workdps(50):
        exact = [float(CANCELLING[text](mpf(v))) for v in values]
    np.testing.assert_allclose(kc.activation(text)(np.array(values)), exact, rtol=4e-16)


def test_softplus_of_softplus_has_relative_accuracy() -> None:
    """SymPy writes it as log((eˣ + 1)^(95/8) e^c + 1), in which 1 leaves nothing of 10⁻⁹."""
    act, x = kc.Activation("softplus(11.875*(softplus(x)-1.966796875))"), np.array([-30.0, -2.0, 0.0, 1.0, 2.0, 9.0])
    with mpmath.workdps(60):
        inner = [mpmath.mpf("11.875") * (mpmath.log1p(mpmath.exp(v)) - mpmath.mpf("1.966796875")) for v in x]
        exact = [float(mpmath.log1p(mpmath.exp(u))) for u in inner]
    np.testing.assert_allclose(act(x), exact, rtol=1e-13)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("text", ["1/cosh(x)", "sinh(x)/cosh(x)^2", "1 - cosh(x)^(-2)", "x*sinh(2*x)^2/cosh(2*x)^3"])
def test_hyperbolic_quotients_far_out(text: str, order: int) -> None:
    """Where cosh overflows they are small numbers, for which no digits one by one are needed: these took half a minute."""
    values = np.array([-1e6, -400.0, -30.0, -3.0, -1e-3, 0.5, 30.0, 300.0])
    x = sp.Symbol("x")
    exact = sp.lambdify(x, sp.diff(sp.sympify(text.replace("^", "**")), x, order), "mpmath")
    with mpmath.workdps(700):
        right = np.array([float(exact(mpmath.mpf(v))) for v in values])
    found = kc.Activation(text).derivative(order)(values)
    # e^{−u} has the rounding of u, many times that of 1
    np.testing.assert_allclose(found, right, rtol=1e-13, atol=1e-300)


def test_a_point_far_out_makes_the_kernels_of_sech_no_slower(recwarn: pytest.WarningsRecorder) -> None:
    X = np.array([[1.0, 0.4], [0.5, -1.0], [1e6, 2e6]])
    K = kc.MLP("sech", depth=2, sigma_w=1.2, beta=0.0).kernels(X, only="sigma").sigma
    assert not [w for w in recwarn if issubclass(w.category, SlowMethodWarning)]
    # trapezoidal rules converge fast: of one variable for the diagonal, of two elsewhere
    z, h = np.linspace(-12, 12, 2001, retstep=True)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * h
    q = 0.72 * X @ X.T
    first = np.sqrt(q[0, 0]) * z
    second = (q[0, 1] / q[0, 0] * first)[:, None] + np.sqrt(q[1, 1] - q[0, 1] ** 2 / q[0, 0]) * z
    assert K[0, 0] == pytest.approx(1.44 * (weight @ np.cosh(first) ** -2), rel=1e-12)
    assert K[0, 1] == pytest.approx(1.44 * ((weight / np.cosh(first)) @ (1 / np.cosh(second)) @ weight), rel=1e-12)
    # far wider than sech² it is ∫ sech² = 2 times the density at 0
    assert K[2, 2] == pytest.approx(1.44 * 2 / np.sqrt(2 * np.pi * q[2, 2]), rel=1e-10)


def test_functions_of_single_precision_stay_so() -> None:
    """Their rounding is how cancelling sums are noticed: in double precision there would seem to be none."""
    values = np.linspace(-3, 3, 5, dtype=np.float32)
    for name in (
        "LogCosh",
        "LogHalfErrorComplement",
        "Softplus",
        "ErrorComplement",
        "ErrorRatio",
        "ExpMinusOne",
        "LogSoftplus",
    ):
        assert NUMPY_FUNCTIONS[name](values).dtype == np.float32


# text: what it is, without a sum that cancels
tail = mpmath.erfc
FAR_OUT = {
    "log(sigmoid(x))": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "log(3*sigmoid(x)^2)": lambda x: mpmath.log(3) - 2 * mpmath.log1p(mpmath.exp(-x)),
    "log(1 - sigmoid(x))": lambda x: -mpmath.log1p(mpmath.exp(x)),
    "log(2 + 2*tanh(x))": lambda x: mpmath.log(4) - mpmath.log1p(mpmath.exp(-2 * x)),
    "log(exp(x)/(1 + exp(x)))": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "log(-log(sigmoid(x)))": lambda x: mpmath.log(mpmath.log1p(mpmath.exp(-x))),
    "1 - tanh(x - 1)": lambda x: 2 / (1 + mpmath.exp(2 * x - 2)),
    "sqrt(5 - 5*sigmoid(2*x))": lambda x: mpmath.sqrt(5 / (1 + mpmath.exp(2 * x))),
    "(1 - sigmoid(x)^3)^0.1": lambda x: (
        ((1 + (s := 1 / (1 + mpmath.exp(-x))) + s**2) / (1 + mpmath.exp(x))) ** mpf("0.1")
    ),
    "log(1 - tanh(x)^4)": lambda x: mpmath.log(1 + mpmath.tanh(x) ** 2) - 2 * mpmath.log(mpmath.cosh(x)),
    "log(-log(Phi(x/8)))": lambda x: mpmath.log(-mpmath.log1p(-tail(x / mpmath.sqrt(128)) / 2)),
    "log(1 - Phi(x/8)^2)": lambda x: mpmath.log((t := tail(x / mpmath.sqrt(128)) / 2) * (2 - t)),
    "sqrt(1 - erf(x/20)^2)": lambda x: mpmath.sqrt(tail(x / 20) * tail(-x / 20)),
    "log(1 - erf(x/20)^2)": lambda x: mpmath.log(tail(x / 20) * tail(-x / 20)),
    "log(2 - erf(x/20) - Phi(x/8))": lambda x: mpmath.log(tail(x / 20) + tail(x / mpmath.sqrt(128)) / 2),
    "log(1 + 1/erfc(x/20))": lambda x: mpmath.log1p(1 / tail(x / 20)),
    "log(exp(5*x) + exp(-3*x) + x^2 + 1)": lambda x: mpmath.log(mpmath.exp(5 * x) + mpmath.exp(-3 * x) + x**2 + 1),
    "log(1 + 1/softplus(5*x))": lambda x: mpmath.log1p(1 / mpmath.log1p(mpmath.exp(5 * x))),
}


@pytest.mark.parametrize("text", FAR_OUT)
def test_sums_that_vanish_or_overflow_far_out(text: str) -> None:
    act, x = kc.Activation(text), np.array([-300.0, -38.0, -20.0, -1.0, 0.0, 0.5, 17.0, 36.5, 40.0, 300.0])
    with mpmath.workdps(800):
        right = [float(FAR_OUT[text](mpmath.mpf(v))) for v in x]
        slopes = [float(mpmath.diff(FAR_OUT[text], mpmath.mpf(v))) for v in x]
    # 1 + what is small on the other side has the rounding of 1
    smallest = 4e-16 if text in ("(1 - sigmoid(x)^3)^0.1", "log(1 - Phi(x/8)^2)") else 1e-300
    # by the formula itself, not by digits one by one; rounding of the argument is multiplied by the argument or its square
    assert compiled(act.form.stable[0])(x) == pytest.approx(right, rel=5e-16 * 600, abs=smallest)
    assert compiled(act.derivative(1).form.stable[0])(x) == pytest.approx(slopes, rel=5e-16 * 2000, abs=smallest)
