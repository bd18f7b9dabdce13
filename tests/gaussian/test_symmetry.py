"""Expectations that vanish by symmetry are 0 with an error of 0, if they exist."""

import math
import time
import warnings

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.errors import DivergentExpectationError, PrecisionError
from kernelcalc.gaussian.digits.expectation import expectations

WAVE = "sin(18.6*(abs(x)-15.6))"


@pytest.mark.parametrize(
    ("f", "g", "cov"),
    [
        (WAVE, "erf(x)", (1.0, 2.0, 0.5)),
        ("tanh(x)", "cos(x)", (1.0, 2.0, -0.5)),
        ("x/(1+abs(x))", "x^2", (1.0, 4.0, 2.0)),
        ("sigmoid(x)-1/2", "softplus(x)-x/2", (3.0, 2.0, 1.0)),
        ("x*exp(x^2/8)", "exp(x^2/8)", (1.0, 1.0, 1.0)),
        ("x*exp(x^2/4)", "cos(x)", (1.0, 1.0, 0.5)),
        ("sinh(30*x)", "cosh(30*x)", (1.0, 1.0, 0.9)),
        ("tanh(x)", "1", (1.0, 1.0, 0.3)),
        ("tanh(x)", "relu(x-1)", (1.0, 1.0, 0.0)),
        ("relu(x-1)", "tanh(x)", (1.0, 1.0, 0.0)),
    ],
)
def test_an_even_and_an_odd_function(f, g, cov):
    started = time.process_time()
    found = kc.gaussian_expectation(f, g, *cov, full_output=True)
    assert (found.value, found.error, found.method) == (0, 0, "exact")
    digits = kc.gaussian_expectation(f, g, *cov, dps=30, full_output=True)
    assert (digits.value, digits.error) == (0, 0)
    assert time.process_time() - started < 10


def test_arrays_have_zeros_where_they_vanish():
    """E[tanh(a) relu(b − 1)] vanishes at c = 0 alone; elsewhere it has the sign of c."""
    found = kc.gaussian_expectation("tanh(x)", "relu(x-1)", 1.0, 1.0, [-0.5, 0.0, 0.5], full_output=True)
    assert found.value[1] == found.error[1] == 0
    assert found.value[0] < 0 < found.value[2]
    assert list(found.method == "exact") == [False, True, False]


def test_delta_functions():
    """E[2δ'(a) cos b] vanishes as the slope of an even function; E[2δ(a) cos b] = 2φ(0)/√q e^{−(q' − c²/q)/2} does not."""
    sign = kc.Activation("sign(x)")
    found = kc.gaussian_expectation(sign.derivative(2), "cos(x)", 1.0, 2.0, 0.5, full_output=True)
    assert (found.value, found.error) == (0, 0)
    value = kc.gaussian_expectation(sign.derivative(1), "cos(x)", 1.0, 2.0, 0.5)
    assert value == pytest.approx(2 / math.sqrt(2 * math.pi) * math.exp(-(2 - 0.25) / 2), rel=1e-12)


def test_a_variance_of_zero_is_no_symmetry():
    """E[tanh(0) |b|] = 0 by the value; cos(0) E[b] too."""
    assert kc.gaussian_expectation("tanh(x)", "abs(x)", 0.0, 1.0, 0.0) == 0
    assert kc.gaussian_expectation("cos(x)", "relu(x)", 0.0, 1.0, 0.0) == pytest.approx(1 / math.sqrt(2 * math.pi))


@pytest.mark.parametrize(
    ("f", "g", "cov"),
    [
        ("tanh(x)*exp(x^2)", "1", (1.0, 1.0, 0.0)),
        ("tanh(x)*exp(x^2)", "cos(x)", (1.0, 1.0, 0.5)),
        ("x*exp(x^2)", "1", (1.0, 1.0, 0.0)),
        ("x*exp(x^2/4)", "exp(x^2/4)", (1.0, 1.0, 1.0)),
        ("x*exp(x^2/3)", "exp(x^2/3)", (1.0, 1.0, 0.75)),
    ],
)
def test_what_does_not_exist_is_refused_though_it_would_vanish(f, g, cov):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in ({}, {"dps": 20}):
            with pytest.raises((DivergentExpectationError, PrecisionError)):
                kc.gaussian_expectation(f, g, *cov, **options)


@pytest.mark.parametrize(
    ("f", "g", "cov"),
    [
        ("tanh(x)^2*exp(x^2)", "1", (1.0, 1.0, 0.0)),
        ("tanh(x)^2*exp(x^2)*abs(x)", "1", (1.0, 1.0, 0.0)),
        ("tanh(x)^2*exp(x^2/2.01)*exp(sin(x))*abs(x)", "exp(x^2/2)/(1+x^2)", (1.0, 1.0, 0.5)),
    ],
)
def test_digits_of_what_grows_too_fast_are_refused(f, g, cov):
    """Once 0, 6·10⁴⁸ and the like."""
    with pytest.raises(DivergentExpectationError, match="a finite E"):
        kc.gaussian_expectation(f, g, *cov, dps=20)


def test_digits_of_what_no_rule_proves_infinite_are_refused():
    """E[… | b] is finite for every b, and of 2 − cos b no rule says that it stays away from 0."""
    with pytest.raises(PrecisionError, match="grow too fast"):
        kc.gaussian_expectation("tanh(x)^2*exp(x^2)*abs(x)", "2-cos(x)", 1.0, 1.0, 0.999, dps=20)


def test_digits_of_what_grows_fast():
    """E[e^{3a} (1 + |a|)^{-1} e^{3b}] at ρ = 1 is E[e^{6a}/(1 + |a|)], whose mass lies about 6 standard deviations out."""
    value = kc.gaussian_expectation("exp(3*x)/(1+abs(x))", "exp(3*x)", 1, 1, 1, dps=30)
    with mp.workdps(50):
        exact = mp.quad(lambda z: mp.exp(6 * z) / (1 + abs(z)) * mp.npdf(z), [-20, -5, 0, 3, 6, 9, 15, 30])
        assert abs(value - exact) < exact * mp.mpf(10) ** -29


def test_digits_of_derivatives():
    """E_ij of erf and softsign, both odd: i + j odd vanishes, for the algebra and for panels; E_00 does not."""
    for name in ("erf(x)", "x/(1+abs(x))"):
        with mp.workdps(60):
            one = mp.mpf(1)
            found = expectations(kc.Activation(name), one, one, one / 2, ((0, 0), (0, 1), (1, 0)), 20)
        assert found[0, 1] == found[1, 0] == 0
        assert found[0, 0] > 0.05


@pytest.mark.parametrize("text", ["tanhshrink(x)", "log(1+exp(x))-log(2)", "sqrt(1+x^2)-1", "1-1/(1+x^2)"])
def test_a_blank_point_beside_small_ones_warns_of_nothing(text):
    """At its variance 0 a sum that cancels leaves rounding, to which the constant f(0) = 0 offers no size."""
    X = np.array([[0.01, 0.004], [0.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        K = kc.MLP(text, depth=2, beta=0.0).kernels(X, only=("sigma", "theta"))
    q = mp.mpf(X[0] @ X[0] / 2)
    function = {
        "tanhshrink(x)": lambda a: a - mp.tanh(a),
        "log(1+exp(x))-log(2)": lambda a: mp.log((1 + mp.exp(a)) / 2),
        "sqrt(1+x^2)-1": lambda a: mp.sqrt(1 + a * a) - 1,
        "1-1/(1+x^2)": lambda a: a * a / (1 + a * a),
    }[text]
    with mp.workdps(40):
        nodes = [mp.sqrt(q) * s for s in range(-10, 11, 2)]
        sigma, slopes = (
            mp.quad(lambda a, h=h: h(a) ** 2 * mp.npdf(a, 0, mp.sqrt(q)), nodes)
            for h in (function, lambda a: mp.diff(function, a))
        )
    for found, right in ((K.sigma, sigma), (K.theta, sigma + q * slopes)):
        np.testing.assert_allclose(found, [[float(right), 0.0], [0.0, 0.0]], rtol=1e-10, atol=0)
