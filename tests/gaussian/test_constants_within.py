"""Constants and complex means that once raised what has no name of this package's."""

import math
import re

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.activations.features import features_between


@pytest.mark.parametrize(
    ("text", "w", "a", "q"),
    [
        ("sin(18.625*(abs(x)-(15.56640625)))", 18.625, 15.56640625, 42.123246043042705),
        # siblings
        ("sin(4*(abs(x)-1))", 4.0, 1.0, 1.0),
        ("sin(219.25*(max(x,-x)-(10.5)))", 219.25, 10.5, 3.375),
        ("sin(3*x*sign(x)-0.75)", 3.0, 0.25, 0.5),
    ],
)
def test_squares_of_waves_of_the_modulus(text, w, a, q):
    """E sin²(w(|x| − a)) = (1 − Re e^{−2iwa} E e^{2iw|x|})/2, and E e^{is|Z|} = e^{−s²/2} erfc(−is/√2) (Faddeeva)."""
    with mp.workdps(40):
        s = 2 * mp.mpf(w) * mp.sqrt(mp.mpf(q))
        # e^{−s²/2} erfc(−is/√2) = e^{−s²/2} + 2i D(s/√2)/√π, D Dawson's integral
        dawson = mp.exp(-(s**2) / 2) * mp.erfi(s / mp.sqrt(2)) * mp.sqrt(mp.pi) / 2
        wave = mp.exp(-(s**2) / 2) + 2j * dawson / mp.sqrt(mp.pi)
        exact = (1 - mp.re(mp.exp(-2j * mp.mpf(w) * mp.mpf(a)) * wave)) / 2
    result = kc.gaussian_expectation(text, text, q, q, q, full_output=True)
    assert abs(result.value - exact) <= result.error <= 1e-10
    assert abs(kc.gaussian_expectation(text, text, q, q, q, dps=20) - exact) <= 1e-19


@pytest.mark.parametrize(
    ("inner", "factor"),
    [
        ("gelu(7)*x", 7 * 0.5 * math.erfc(-7 / math.sqrt(2))),
        # siblings
        ("x*Phi(2)", 0.5 * math.erfc(-math.sqrt(2))),
        ("x*softplus(1/3)", math.log1p(math.exp(1 / 3))),
        ("x*atan(expm1(-1))", math.atan(math.expm1(-1))),
    ],
)
def test_polynomials_with_constants_of_named_functions_have_places(inner, factor):
    """tanh(3000(kx − 1/4)): its place is 1/(4k), its width the largest power of 2 up to 1/(3000 k)."""
    act = kc.activation(f"tanh(3000*({inner}-0.25))")
    narrow = [f for f in act.features if f.narrow]
    assert [f.at for f in narrow] == pytest.approx([0.25 / factor], rel=1e-14)
    assert narrow[0].width == 2.0 ** math.floor(-math.log2(3000 * abs(factor)))


@pytest.mark.parametrize("base", ["7", "3", "2.5", "11"])
def test_constants_beyond_the_range_are_no_exceptions(base):
    """erf(w (k^1000 − a)) is 1 wherever k^1000 is: step(x) of them."""
    act = kc.activation(f"erf(2000*(where(x>0,{base},1)^max(x,1000)-0.75))")
    assert act(np.array([1.0]))[0] == 1.0
    assert features_between(act.form.stable[-1], 0.0, 1.0) is not None
    value = kc.gaussian_expectation(act, "step(x)", 1.0, 1.0, 0.5)
    assert value == pytest.approx(0.5, rel=1e-10)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("sign(step(x))", (0, 0, 1, 1)),
        # siblings
        ("sign(where(x<=10+x,step(x),softplus(x)))", (0, 0, 1, 1)),
        ("sign(max(x,1)-1)", (0, 0, 0, 1)),
        ("step(relu(x)+min(x,0)*0)", (0.5, 0.5, 1, 1)),
        ("step(max(x,1)-1)", (0.5, 0.5, 0.5, 1)),
        ("sign(max(x,0)-max(x-1,0)-1)", (-1, -1, -1, 0)),
    ],
)
def test_steps_of_what_vanishes_on_an_interval(text, values):
    """sign(0) = 0 and step(0) = ½ all along: the mean is that of the values by what N(0, 1) gives each interval."""
    act = kc.activation(text)
    assert act(np.array([-2.0, -0.5, 0.5, 2.0])).tolist() == list(values)
    middle = math.erf(math.sqrt(0.5)) / 2
    mean = (0.5 - middle) * (values[0] + values[3]) + middle * (values[1] + values[2])
    assert kc.gaussian_expectation(act, "1", 1.0, 1.0, 0.0) == pytest.approx(mean, rel=1e-14, abs=1e-15)
    assert float(kc.gaussian_expectation(act, "1", 1.0, 1.0, 0.0, dps=20)) == pytest.approx(mean, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("sin(387167.5*(where(x>e,65,0.001)-0.734375))", "387167.5*(0.001-0.734375)"),
        # siblings
        ("cos(where(x>1,0,123456789/7))", "pi/2-123456789/7"),
        ("sin(where(x>1,0,99999999.125/3))", "99999999.125/3"),
        ("sin(1e9*(where(x>1,0,1/3)))", "1e9/3"),
    ],
)
def test_constants_of_waves_have_all_digits(text, argument):
    """The sine of a constant of 10⁷ keeps no 10 digits where that is rounded first."""
    with mp.workdps(40):
        exact = mp.sin(eval(re.sub(r"(\d[\d.e]*)", r"mp.mpf('\1')", argument.replace("pi", "mp.pi"))))
    assert kc.activation(text)(np.array([0.0]))[0] == pytest.approx(float(exact), rel=4e-16)
