"""Expectations that live in the tails: relative accuracy where 1 − Φ − Φ + Φ₂ leaves nothing in a few digits."""

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.expressions.atoms import atoms_of
from tests.fuzz.limits import limited


def orthant(h, k, rho):
    """P(a < h, b < k) as one integral of positive terms."""
    rho = mp.mpf(rho)
    sine = mp.sqrt(1 - rho**2)
    cuts = [h - mp.mpf(30), *(h - mp.mpf(2) ** j for j in np.arange(4, -9, -0.5).tolist()), mp.mpf(h)]
    term = lambda z: mp.npdf(z) * mp.ncdf((k - rho * z) / sine)  # noqa: E731
    # mpmath stops at an absolute error, so the integral is taken in units of its size.
    size = max(term(c) for c in cuts)
    return size * mp.quad(lambda z: term(z) / size, cuts)


@pytest.mark.parametrize(
    ("h", "k", "rho"),
    [
        pytest.param(-8, -8, -0.5, marks=pytest.mark.long),
        (-6, -6, 0.9375),
        (-5, -5, 0.0),
        (-3, -4, -0.875),
        pytest.param(-7, -7, -0.5, marks=pytest.mark.long),
        pytest.param(-14, -14, 0.25, marks=pytest.mark.long),
        pytest.param(-9, 2, 0.5, marks=pytest.mark.long),
    ],
)
def test_orthants_have_relative_accuracy(h, k, rho):
    with mp.workdps(60):
        exact = orthant(h, k, rho)
        result = kc.gaussian_expectation(f"step({h}-x)", f"step({k}-x)", 1.0, 1.0, rho, full_output=True)
        assert abs(mp.mpf(float(result.value)) / exact - 1) < 1e-14
        assert abs(float(result.value) - exact) <= result.error
        precise = kc.gaussian_expectation(f"step({h}-x)", f"step({k}-x)", 1, 1, rho, dps=25)
        assert abs(precise / exact - 1) < mp.mpf(10) ** -23


def test_orthants_of_the_literature():
    """By mpmath at 60 digits and by ball arithmetic."""
    ge = kc.gaussian_expectation
    assert ge("step(-8-x)", "step(-8-x)", 1, 1, -0.5) == pytest.approx(1.8229947991e-59, rel=1e-10)
    assert float(ge("step(-20-x)", "step(-20-x)", 1, 1, "0.2", dps=20)) == pytest.approx(9.9828325678e-149, rel=1e-10)
    assert ge("step(x-20)", "1", 1, 1, 0) == pytest.approx(2.75362411861e-89, rel=1e-11)


@pytest.mark.parametrize("at", [10, 20, 30])
def test_tails_of_kinked_functions(at):
    with mp.workdps(40):
        t = mp.mpf(at)
        exact = float(mp.npdf(t) - t * mp.erfc(t / mp.sqrt(2)) / 2)
    assert kc.gaussian_expectation(f"relu(x-{at})", "1", 1, 1, 0) == pytest.approx(exact, rel=1e-13)


def test_a_tail_without_a_closed_form():
    with mp.workdps(30):
        size = mp.npdf(12)
        cuts = [12, 12.1, 12.5, 13, 14, 16, 20, 30]
        exact = float(size * mp.quad(lambda z: mp.npdf(z) / size * (z - 12) * mp.tanh(z), cuts))
    result = kc.gaussian_expectation("relu(x-12)*tanh(x)", "1", 1, 1, 0, full_output=True)
    assert abs(result.value - exact) <= result.error + 1e-15 * exact
    assert result.value == pytest.approx(exact, rel=1e-10)


def test_zeros_stay_zeros():
    assert kc.gaussian_expectation("erf", "x**2", 1, 1, 0.5, dps=20) == 0
    assert kc.gaussian_expectation("sin", "step", 1, 1, 0, dps=20) == 0


@pytest.mark.parametrize(
    ("text", "w", "power", "level", "q"),
    [
        ("relu(25932.375*((x^2)^3-(0.734375)))", "25932.375", 6, "0.734375", 0.0019052378813545815),
        # siblings
        ("max(x^6,1)-1", "1", 6, "1", 0.002),
        ("relu(3*(x^4-2))", "3", 4, "2", 0.002),
        ("where(x^8>0.5,x^8-0.5,0)", "1", 8, "0.5", 0.001),
    ],
)
@pytest.mark.parametrize("dps", [None, 30])
def test_both_tails_are_seen(text, w, power, level, q, dps):
    """E relu(w(xᵖ − a)) of an even p: incomplete Γ functions. One of the two tails went down in a difference."""
    with mp.workdps(60):
        up = mp.mpf(level) ** (mp.mpf(2) / power) / (2 * mp.mpf(q))
        moment = lambda p: (2 * mp.mpf(q)) ** (p // 2) * mp.gammainc(mp.mpf(p + 1) / 2, up) / mp.sqrt(mp.pi)  # noqa: E731
        exact = mp.mpf(w) * (moment(power) - mp.mpf(level) * moment(0))
        result = kc.gaussian_expectation(text, "1", q, 1.0, 0.0, dps=dps, full_output=True)
        assert abs(result.value - exact) <= max(result.error, mp.mpf(10) ** -28 * exact * (dps is not None))
        assert result.error <= 1e-12 * exact


@pytest.mark.parametrize(
    ("f", "g", "h", "k", "rho"),
    [
        ("step(-x-6)", "1-step(x+6)", -6, -6, -0.9375),
        # siblings
        ("1-step(x+20)", "where(x<-20,1,0)", -20, -20, 0.5),
        pytest.param("step(-x-9)", "1-where(x>-9,1,0)", -9, -9, -0.5, marks=pytest.mark.long),
        ("(1-sign(x+12))/2", "1-step(x+12)", -12, -12, 0.25),
    ],
)
def test_one_minus_a_step_is_no_difference(f, g, h, k, rho):
    """It is the step the other way: as a difference of numbers near 1 it took half a minute."""
    assert len(atoms_of(kc.Activation(g).expr)) == 1
    with mp.workdps(60), limited(8):
        exact = orthant(h, k, rho)
        result = kc.gaussian_expectation(f, g, 1.0, 1.0, rho, full_output=True)
        assert abs(float(result.value) - exact) <= min(mp.mpf(float(result.error)), mp.mpf("1e-13") * exact)


def softplus(u):
    return mp.log1p(mp.exp(mp.mpf(u)))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        # constants log(1 + small), once alone, on either side of a step, and beside what is large again
        ("softplus(-100-step(x))", lambda: (softplus(-100) + softplus(-101)) / 2),
        (
            "softplus(156835.75*(step(x)-1.000732421875))",
            lambda: softplus(mp.mpf("156835.75") * -mp.mpf("0.000732421875")) / 2,
        ),
        ("log(1+exp(-150-sign(x)))", lambda: (softplus(-149) + softplus(-151)) / 2),
        ("softplus(-100)*abs(x)", lambda: softplus(-100) * mp.sqrt(2 / mp.pi)),
        ("log(cosh(step(x)/10^20))", lambda: mp.log1p(2 * mp.sinh(mp.mpf(10) ** -20 / 2) ** 2) / 2),
        ("x*sin(x)+log(1+10^-40)*10^40", lambda: mp.exp(-mp.mpf(1) / 2) + 1),
        ("sin(softplus(-90)*x)/softplus(-90)*x", lambda: 1),
    ],
)
def test_logarithms_of_nearly_one(text, right):
    with mp.workdps(60):
        want = right()
        found = kc.gaussian_expectation(text, "1", 1, 1, 0, full_output=True)
        assert abs(found.value - want) <= max(found.error, 4e-16 * want)
        assert abs(kc.gaussian_expectation(text, "1", 1, 1, 0, dps=20) - want) <= 1e-19 * want
