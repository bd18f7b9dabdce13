"""Rounding that E|fg| does not tell of: of places far out in a tail, of what nearly cancels, of means beside a kink."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.special import expit

import kernelcalc as kc
from kernelcalc.errors import PrecisionWarning

RULE = {"method": "gauss-legendre", "maxdegree": 5}


def beyond(function, kink, std):
    """∫_kink^∞ of a function times the density of N(0, std²), in units of the density at the kink; a kink far out."""
    at, scale = mp.mpf(kink), std**2 / mp.mpf(kink)
    density = lambda y: mp.exp(-(y * (2 * at + y)) / (2 * std**2))  # noqa: E731
    cuts = [0, scale / 4, *(scale * k for k in (1, 2, 4, 8, 16, 32, 64))]
    return mp.npdf(at, 0, std) * mp.quad(lambda y: function(at + y) * density(y), cuts, **RULE)


@pytest.mark.parametrize(
    ("text", "kink", "q"),
    [
        (
            "step(28.625*(softplus(x)-(100.04931640625)))",
            lambda: mp.log(mp.expm1("100.04931640625")),
            20.035243784606585,
        ),
        ("step(480692.75*(x^3-(0.734375)))", lambda: mp.cbrt("0.734375"), 0.0017956497703647124),
        # siblings
        ("step(tanh(x)-0.999)", lambda: mp.atanh("0.999"), 0.02),
        ("step(exp(x)-50)", lambda: mp.log(50), 0.0125),
        ("step(x-37.5)", lambda: mp.mpf("37.5"), 1.0),
    ],
)
@pytest.mark.parametrize("squared", [False, True])
def test_the_place_of_a_kink_far_out(text, kink, q, squared):
    """E of a step k standard deviations out changes by k² times what its place does."""
    result = kc.gaussian_expectation(text, text if squared else "1", q, q, q if squared else 0.0, full_output=True)
    with mp.workdps(30):
        exact = mp.ncdf(-kink() / mp.sqrt(mp.mpf(q)))
        assert abs(result.value - exact) <= result.error <= 5e-12 * exact


@pytest.mark.parametrize(
    ("text", "level", "w", "q"),
    [
        ("relu(308.25*(tanh(x)-(0.973876953125)))", "0.973876953125", "308.25", 0.05337793387574881),
        # siblings
        ("relu(tanh(x)-0.99)", "0.99", "1", 0.1),
        ("relu(tanh(x)-0.9999)", "0.9999", "1", 0.3),
        ("relu(tanh(x)-0.999999)", "0.999999", "1", 0.5),
        ("relu(tanh(x)-0.999999)", "0.999999", "1", 30.0),
    ],
)
@pytest.mark.parametrize("case", ["mean", "square", "pair"])
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.PrecisionWarning")
def test_differences_beyond_a_kink_far_out(text, level, w, q, case):
    """Next to its kink tanh x − a is a difference of numbers near 1; of a pair with a step the mean given a is Φ."""
    options = {"mean": ("1", 1.0, 0.0), "square": (text, q, q), "pair": ("step(x)", 1.0, 0.5 * q**0.5)}
    result = kc.gaussian_expectation(text, options[case][0], q, *options[case][1:], full_output=True)
    with mp.workdps(40):
        std, level = mp.sqrt(mp.mpf(q)), mp.mpf(level)
        slope = mp.mpf(options["pair"][2]) / mp.mpf(q)
        spread = mp.sqrt(1 - slope**2 * mp.mpf(q))
        f = lambda x: mp.mpf(w) * (mp.tanh(x) - level)  # noqa: E731
        other = {"mean": lambda x: 1, "square": f, "pair": lambda x: mp.ncdf(slope * x / spread)}[case]
        exact = beyond(lambda x: f(x) * other(x), mp.atanh(level), std)
        assert abs(result.value - exact) <= result.error <= 5e-14 / (1 - level) * exact


@pytest.mark.parametrize(
    ("text", "function", "q"),
    [
        (
            "erf(24.875*(exp(-(x^2)^2)-(0.999755859375)))",
            lambda x: mp.erf(24.875 * (mp.exp(-(x**4)) - 0.999755859375)),
            0.0063,
        ),
        # siblings
        ("sech(x)-0.9999", lambda x: mp.sech(x) - mp.mpf("0.9999"), 0.001),
        ("sech(x)-0.99999999", lambda x: mp.sech(x) - mp.mpf("0.99999999"), 0.0001),
        ("arctan(x)-x", lambda x: mp.atan(x) - x, 0.0002),
        ("sqrt(1+x^2)-1", lambda x: mp.sqrt(1 + x * x) - 1, 0.0003),
        ("log(1+x^2)", lambda x: mp.log1p(x * x), 0.0004),
    ],
)
def test_sums_that_nearly_cancel(text, function, q):
    """E f(a) step(a): half a line, over which f keeps next to none of what it is the difference of."""
    result = kc.gaussian_expectation(text, "step(x)", q, q, q, full_output=True)
    with mp.workdps(30):
        std = mp.sqrt(mp.mpf(q))
        cuts = [k * std / 2 for k in range(27)]
        exact = mp.quad(lambda x: function(x) * mp.npdf(x, 0, std), cuts, **RULE)
        size = mp.quad(lambda x: abs(function(x)) * mp.npdf(x, 0, std), cuts, **RULE)
        assert abs(result.value - exact) <= result.error <= 1e-10 * size


@pytest.mark.parametrize("close", [1e-4, 1e-7, 1e-10, 1e-12])
@pytest.mark.parametrize(("left", "right", "power"), [("step({}-x)", "step", 0), ("relu({}-x)", "relu", 1)])
@pytest.mark.parametrize("kink", ["0.1", "1.3", "3.7"])
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.PrecisionWarning")
def test_a_wedge_between_two_kinks(close, left, right, power, kink):
    """E f(a) tanh(a) g(b) of f = 0 left of k and g = 0 right of it, near ρ = 1: the mean given a is Φ or its integral."""
    c = 1 - close
    result = kc.gaussian_expectation(f"{right}(x-{kink})*tanh(x)", left.format(kink), 1.0, 1.0, c, full_output=True)
    with mp.workdps(35):
        k, slope = mp.mpf(kink), mp.mpf(c)
        spread = mp.sqrt(1 - slope**2)
        z = lambda a: (k - slope * a) / spread  # noqa: E731
        given = (lambda a: spread * (z(a) * mp.ncdf(z(a)) + mp.npdf(z(a)))) if power else (lambda a: mp.ncdf(z(a)))
        cuts = [k + spread * j for j in (0, 0.5, 1, 2, 3, 4, 6, 8, 12)]
        unit = spread ** (2 * power)
        inside = lambda a: (a - k) ** power * mp.tanh(a) * mp.npdf(a) * given(a) / unit  # noqa: E731
        exact = unit * mp.quad(inside, cuts, **RULE)
        assert abs(result.value - exact) <= result.error <= (1 + k * k) * 1e-14 / mp.sqrt(close) * exact


@pytest.mark.parametrize("close", [1e-6, 1e-10])
def test_beside_a_wedge_nothing_is_inflated(close):
    """Kinks that do not leave a wedge: 64 ulp are stated as they are at any ρ."""
    f = "relu(x-0.5)*tanh(x)"
    result = kc.gaussian_expectation(f, f, 1.0, 1.0, 1 - close, full_output=True)
    assert result.error < 2e-14 * result.value


@pytest.mark.parametrize("close", [1e-6, 1e-9, 1e-11, 1e-13])
@pytest.mark.parametrize("side", [1, -1])
def test_a_delta_function_beside_a_kink(close, side, recwarn):
    """E δ(a − 1) step(±(b − 1)) near ρ = 1: the mean of b given a = 1 is as far from the kink as c from q."""
    delta = kc.activation("relu(x-1)").derivative(2)
    q, c = 1.3, 1.3 * (1 - close)
    result = kc.gaussian_expectation(delta, f"step({side}*(x-1))", q, q, c, full_output=True)
    with mp.workdps(40):
        variance, mean = mp.mpf(q), mp.mpf(c) / mp.mpf(q)
        spread = mp.sqrt(variance - mean * mp.mpf(c))
        exact = mp.npdf(1, 0, mp.sqrt(variance)) * mp.ncdf(side * (mean - 1) / spread)
        assert abs(result.value - exact) <= result.error <= 1e-15 / mp.sqrt(close) * exact
    assert len(recwarn) == bool(result.error > 1e-10 * result.value)
    assert all(w.category is PrecisionWarning for w in recwarn)


@pytest.mark.parametrize("at", [5, 15, 25])
def test_a_delta_function_far_out(at):
    """E δ(a − at) = e^{−at²/2q}/√(2πq), whose exponent is rounded."""
    q = 1.1
    result = kc.gaussian_expectation(
        kc.activation(f"relu(x-{at})").derivative(2), "tanh(x)", q, 1.0, 0.7, full_output=True
    )
    with mp.workdps(40):
        mean, std = mp.mpf(0.7) / mp.mpf(q) * at, mp.sqrt(1 - mp.mpf(0.7) ** 2 / mp.mpf(q))
        given = mp.quad(lambda b: mp.tanh(b) * mp.npdf(b, mean, std), [mean + k * std for k in range(-12, 13)], **RULE)
        exact = mp.npdf(at, 0, mp.sqrt(mp.mpf(q))) * given
        assert abs(result.value - exact) <= result.error <= 1e-12 * exact


@pytest.mark.parametrize(
    ("text", "at", "w", "q", "power", "factor"),
    [
        ("relu(1-4902*abs(x-(-0.794)))", "-0.794", 4902, 0.17, 2, None),
        # siblings
        ("relu(1-620*abs(x-1.032))", "1.032", 620, 0.25, 2, None),
        ("relu(1-1551*abs(x-(-2.367)))", "-2.367", 1551, 1.81, 1, "tanh"),
        ("relu(1-23356*abs(x-0.47))", "0.47", 23356, 0.24, 1, "tanh"),
        ("relu(1-1e9*abs(x-0.3))", "0.3", 10**9, 0.5, 2, None),
    ],
)
@pytest.mark.filterwarnings("ignore::kernelcalc.errors.PrecisionWarning")
def test_narrow_hats(text, at, w, q, power, factor):
    """Both kinks of a narrow hat, rounded, are as far apart as its values are off: stated was up to a seventeenth of it."""
    other = text if factor is None else factor
    result = kc.gaussian_expectation(text, other, q, q, q, full_output=True)
    with mp.workdps(40):
        place, half = mp.mpf(at), 1 / mp.mpf(w)
        by = getattr(mp, factor) if factor else lambda y: 1
        density = lambda y: mp.npdf(y, 0, mp.sqrt(q)) * by(y)  # noqa: E731
        hat = lambda y: (1 - w * abs(y - place)) ** power * density(y)  # noqa: E731
        exact = mp.quad(hat, [place - half, place, place + half], **RULE)
        assert abs(result.value - exact) <= result.error <= 1e-5 * abs(exact)


def test_powers_of_constants_of_own_functions():
    """A constant factor, (5 (|cos erf 7| − swish(e⁶⁴) − 0.734375))³ wherever a Gaussian reaches, times a narrow peak."""
    f = "(5.0*((abs(cos(erf(7))))-(max((erf(0.5))*((x)*(64)), swish(exp(64))))-(0.734375)))^3"
    found = kc.gaussian_expectation(
        f, "exp(-(60.75*(x^3-(-199.751953125)))^2)", 0.32666293580088324, 49.88991380295371, -0.018226434593939425
    )
    with mp.workdps(40):
        constant = 5 * (abs(mp.cos(mp.erf(7))) - mp.exp(64) / (1 + mp.exp(-mp.exp(64))) - mp.mpf("0.734375"))
        at = -mp.cbrt(mp.mpf("199.751953125"))
        places = [at + k * mp.mpf(10) ** -3 / 4 for k in range(-8, 9)]
        peak = mp.quad(
            lambda y: (
                mp.exp(-((mp.mpf("60.75") * (y**3 - at**3)) ** 2)) * mp.npdf(y, 0, mp.sqrt(mp.mpf(49.88991380295371)))
            ),
            places,
        )
        assert abs(found / (constant**3 * peak) - 1) < 1e-10


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("(1 - sigmoid(x)*sigmoid(x+1))^0.1", lambda v: v**0.1),
        ("1/(1 - log(1 - sigmoid(x)*sigmoid(x+1)))", lambda v: 1 / (1 - np.log(v))),
        ("sin(log(1 - sigmoid(x)*sigmoid(x+1))/9)", lambda v: np.sin(np.log(v) / 9)),
        ("1/(1 + (1 - sigmoid(x)*sigmoid(x+1))^0.25)", lambda v: 1 / (1 + v**0.25)),
        ("(1 - sigmoid(x)*sigmoid(x+1))^(-0.1)", lambda v: v**-0.1),
        ("1/(1 + 1e-15/(1 - sigmoid(x)*sigmoid(x+1)))", lambda v: 1 / (1 + 1e-15 / v)),
    ],
)
def test_roots_logarithms_and_reciprocals_of_what_cancels_to_nothing_state_it(text, of):
    """1 − st is 0 or its last bit beyond 36, where the slopes of what follows are infinite. By (1 − s) + s (1 − t)."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    edges = np.linspace(-9, 9, 145)
    z = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes) / 2
    weight = np.diff(edges)[:, None] / 2 * weights * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    right = (weight * of(expit(-20 * z) + expit(20 * z) * expit(-20 * z - 1))).sum()
    with pytest.warns(PrecisionWarning):
        found = kc.gaussian_expectation(text, "1", 400, 1, 0, full_output=True)
    assert abs(found.value - right) <= found.error
