"""Owen's T and the bivariate normal distribution against SciPy and against their definitions."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from mpmath import mp
from scipy import special
from scipy.stats import multivariate_normal

import kernelcalc as kc
from kernelcalc.expressions.orthant import BinormalCDF, OwensT, binormal_cdf, binormal_cdf_float, owens_t


@pytest.mark.parametrize("h", [0.0, 1e-3, 0.7, -2.0, 6.0, 30.0])
@pytest.mark.parametrize("a", [0.0, 1e-4, 0.5, 1.0, -3.0, 1e5])
def test_owens_t_against_scipy(h, a):
    assert abs(float(owens_t(h, a)) - special.owens_t(h, a)) < 1e-16


@pytest.mark.parametrize(("h", "a"), [(1, 0.3), (3, 2), (0.1, 40)])
def test_owens_t_against_its_definition(h, a):
    with mp.workdps(30):
        expected = mp.quad(
            lambda t: mp.exp(-(mp.mpf(h) ** 2) * (1 + t * t) / 2) / (1 + t * t), mp.linspace(0, mp.mpf(a), 60)
        ) / (2 * mp.pi)
        assert abs(owens_t(h, a) - expected) < mp.mpf("1e-28")


@pytest.mark.parametrize("rho", [-0.99, -0.3, 0.0, 0.5, 0.95])
@pytest.mark.parametrize(("h", "k"), [(0.0, 0.0), (1.0, -0.5), (-2.0, -1.0), (0.0, 1.5), (2.5, 2.5)])
def test_binormal_against_scipy(h, k, rho):
    expected = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([h, k])
    assert abs(float(binormal_cdf_float(h, k, rho)) - expected) < 2e-8
    exact = BinormalCDF(*(sp.Rational(str(v)) for v in (h, k, rho))).evalf(30)
    assert abs(float(exact) - float(binormal_cdf_float(h, k, rho))) < 1e-15


@pytest.mark.parametrize(("h", "k", "rho"), [(1, 2, 0.5), (-1, 0.5, -0.9), (0.5, 0.5, 0.999)])
def test_binormal_against_plackett(h, k, rho):
    """∂_ρ Φ₂ is the density, hence Φ₂ = Φ(h)Φ(k) + its integral from 0 to ρ."""
    with mp.workdps(30):
        h, k, rho = map(mp.mpf, (h, k, rho))
        area = mp.quad(
            lambda t: mp.exp(-(h * h + k * k - 2 * h * k * mp.sin(t)) / (2 * mp.cos(t) ** 2)),
            mp.linspace(0, mp.asin(rho), 12),
        )
        expected = mp.ncdf(h) * mp.ncdf(k) + area / (2 * mp.pi)
        got = BinormalCDF(sp.Float(h, 30), sp.Float(k, 30), sp.Float(rho, 30)).evalf(28)
        assert abs(mpmath.mpf(got._mpf_) - expected) < mp.mpf("1e-26")


def test_perfect_correlation():
    h, k = np.array([0.3, -1.0, 2.0]), np.array([0.5, 1.5, -2.5])
    np.testing.assert_allclose(binormal_cdf_float(h, k, 1.0), special.ndtr(np.minimum(h, k)), atol=1e-16)
    expected = np.maximum(special.ndtr(h) + special.ndtr(k) - 1, 0)
    np.testing.assert_allclose(binormal_cdf_float(h, k, -1.0), expected, atol=1e-15)


@pytest.mark.parametrize("argument", [1, 2, 3])
def test_derivatives_against_differences(argument):
    point = [0.4, -0.7, 0.3]
    symbols = sp.symbols("h k r")
    slope = sp.diff(BinormalCDF(*symbols), symbols[argument - 1]).subs(dict(zip(symbols, point, strict=True)))
    step = np.zeros(3)
    step[argument - 1] = 1e-5
    difference = (binormal_cdf_float(*(point + step)) - binormal_cdf_float(*(point - step))) / 2e-5
    assert abs(float(slope) - difference) < 1e-9


def test_owens_t_derivatives_and_rewriting():
    h, a = sp.symbols("h a", real=True)
    values = {h: sp.Rational(3, 5), a: sp.Rational(7, 5)}
    for symbol in (h, a):
        with mp.workdps(22):
            numbers = {s: mp.mpf(v.p) / v.q for s, v in values.items()}
            at = {h: lambda v, two=numbers[a]: owens_t(v, two), a: lambda v, one=numbers[h]: owens_t(one, v)}
            expected = mp.diff(at[symbol], numbers[symbol])
        got = sp.diff(OwensT(h, a), symbol).subs(values).evalf(20)
        assert abs(float(got) - float(expected)) < 1e-14
    two = BinormalCDF(sp.Rational(1, 2), -1, sp.Rational(1, 3))
    assert abs((two.rewrite(OwensT) - two).evalf(25, chop=True)) < 1e-22


@pytest.mark.parametrize(
    ("h", "k", "rho"),
    [
        (-9.0, 2.0, 0.5),
        (2.5, -11.0, -0.365),
        pytest.param(-8.0, -7.5, -0.5, marks=pytest.mark.long),
        pytest.param(-9.0, -9.25, 0.75, marks=pytest.mark.long),
        pytest.param(3.0, -9.0, 0.875, marks=pytest.mark.long),
        (-8.0, 1.0, -0.9375),
        (8.875, -13.5, -0.96875),
    ],
)
def test_far_quadrants_have_all_digits(h, k, rho):
    """10⁻¹⁵ to 10⁻¹¹⁰ at 30 digits, against Plackett's integral over the correlation at 200."""
    with mp.workdps(30):
        found = binormal_cdf(mp.mpf(h), mp.mpf(k), mp.mpf(rho), mp.sqrt(1 - mp.mpf(rho) ** 2))
    with mp.workdps(200):
        weight = lambda r: mp.exp(-(h * h - 2 * h * k * r + k * k) / (2 * (1 - r * r))) / mp.sqrt(1 - r * r)  # noqa: E731
        exact = mp.ncdf(h) * mp.ncdf(k) + mp.quad(weight, mp.linspace(0, rho, 9)) / (2 * mp.pi)
        assert abs(found / exact - 1) < mp.mpf(10) ** -27


ELU = lambda m, v: mp.exp(m + v / 2) * mp.ncdf(-(m + v) / mp.sqrt(v)) - mp.ncdf(-m / mp.sqrt(v))  # noqa: E731
HALF = lambda m, v: mp.exp(m + v / 2) * mp.ncdf(-(m + v) / mp.sqrt(v))  # noqa: E731
TWICE = lambda m, v: mp.exp(2 * m + 2 * v) * mp.ncdf(-(m + 2 * v) / mp.sqrt(v))  # noqa: E731


@pytest.mark.parametrize(
    ("f", "given", "g", "function", "covariance"),
    [
        # −21801 without a word, of two terms that were exactly 0 after cancelling
        (
            "min(0,exp(x)-1)",
            ELU,
            "x^2*erf(x)",
            lambda b: b * b * mp.erf(b),
            (175628188908.03, 4.273988197327348, 151333.47),
        ),
        # siblings
        ("min(0,exp(x)-1)", ELU, "x^2*step(x)", lambda b: b * b * (b > 0), (1e11, 4.0, 107000.0)),
        ("exp(x)*step(-x)", HALF, "step(x)", lambda b: mp.mpf(b > 0), (1e4, 4.0, 34.0)),
        ("exp(2*x)*step(-x)", TWICE, "relu(x)", lambda b: max(b, 0), (1e8, 4.0, -3400.0)),
    ],
)
def test_digits_of_what_dies_at_once_beside_a_large_variance(f, given, g, function, covariance):
    """The mean of f given b in closed form, and one integral over b by mpmath."""
    found = kc.gaussian_expectation(f, g, *covariance, dps=20)
    with mp.workdps(40):
        q, qp, c = map(mp.mpf, covariance)
        left = q - c * c / qp
        places = [-30, -20, -12, -6, -3, -1, 0, 1, 3, 6, 12, 20, 30]
        exact = mp.quad(lambda b: function(b) * given(c / qp * b, left) * mp.npdf(b, 0, mp.sqrt(qp)), places)
        assert abs(found / exact - 1) < mp.mpf(10) ** -19


def _along_a_path(h, k, rho):
    """Φ₂ at complex h and k: φ(u) Φ((k − ρu)/√(1 − ρ²)) from far left to h, first on the real line, then upwards."""
    h, k, root = mp.mpmathify(h), mp.mpmathify(k), mp.sqrt(1 - rho * rho)

    def integrand(u):
        return mp.npdf(u) * mp.erfc((rho * u - k) / root / mp.sqrt(2)) / 2

    places = [mp.re(h) - 16 + n for n in range(17)]
    places += [mp.re(h) + mp.mpc(0, 1) * mp.im(h) * n / 10 for n in range(1, 11)]
    return mp.quad(integrand, places, method="gauss-legendre")


@pytest.mark.parametrize(
    ("h", "k", "rho"),
    [
        (1 + 2j, -0.5 + 1j, 0.3),
        (5j, -5j, 0.3),
        (5j, 1, -0.8),
        (-3 + 3.1j, 2 - 2j, 0.6),
        (2 + 0.8j, 1.12 + 1.84j, 0.8),  # (k − ρh)/√(1−ρ²) = ih, where a pole of Nicholson's integrand is lifted
        (mp.mpc(-1, 0), mp.mpc(0.5, 0), 0.4),
    ],
)
def test_complex_arguments(h, k, rho):
    with mp.workdps(25):
        h, k, rho = mp.mpmathify(h), mp.mpmathify(k), mp.mpf(rho)
        value = binormal_cdf(h, k, rho, mp.sqrt(1 - rho * rho))
        assert abs(value - _along_a_path(h, k, rho)) < 1e-19 * abs(value)


def _half_wave(frequency, threshold, mean, deviation):
    """E[e^{iωb} 1(b > threshold)] of b ~ N(mean, deviation²)."""
    mean, turned = mp.mpf(mean), mean + mp.mpc(0, frequency) * deviation**2
    weight = mp.exp(mp.mpc(0, frequency) * mean - (frequency * deviation) ** 2 / 2)
    return weight * mp.erfc((threshold - turned) / deviation / mp.sqrt(2)) / 2


def _wave_of_maximum(frequency, threshold, mean, deviation):
    """E[e^{iω max(b, threshold)}]."""
    below = mp.erfc((mean - threshold) / deviation / mp.sqrt(2)) / 2
    return _half_wave(frequency, threshold, mean, deviation) + mp.expj(frequency * threshold) * below


def _wave_of_size(frequency, mean, deviation):
    """E[e^{iω|b|}]."""
    return sum(_half_wave(frequency, 0, sign * mean, deviation) for sign in (1, -1))


@pytest.mark.parametrize(
    ("f", "function", "kink", "g", "given"),
    [
        pytest.param(
            "sin(18.625*(abs(x)-15.56640625))",
            lambda a: mp.sin(18.625 * (abs(a) - 15.56640625)),
            0,
            "sin(18.625*(abs(x)-15.56640625))",
            lambda mean, s: mp.im(mp.expj(-18.625 * 15.56640625) * _wave_of_size(18.625, mean, s)),
            marks=pytest.mark.long,
        ),
        ("erf(x)", mp.erf, 0, "sin(2.5*max(x,0.25))", lambda mean, s: mp.im(_wave_of_maximum(2.5, 0.25, mean, s))),
        (
            "abs(x - 0.5)",
            lambda a: abs(a - 0.5),
            0.5,
            "cos(3*abs(x))",
            lambda mean, s: mp.re(_wave_of_size(3, mean, s)),
        ),
    ],
)
def test_waves_with_kinks_beside_gates(f, function, kink, g, given):
    """The inner expectation in closed form, the outer one by quadrature."""
    q, qp, c = 1.0, 0.75, 0.25
    with mp.workdps(25):
        deviation = mp.sqrt(qp - mp.mpf(c) ** 2 / q)
        cuts = sorted({mp.mpf(n) / 2 for n in range(-20, 21)} | {mp.mpf(kink)})
        truth = mp.quad(
            lambda a: function(a) * mp.npdf(a) * given(c * a, deviation), cuts, method="gauss-legendre", maxdegree=4
        )
        for options, relative in (({}, 1e-14), ({"dps": 20}, 1e-17)):
            value = mp.mpf(kc.gaussian_expectation(f, g, q, qp, c, **options))
            assert abs(value - truth) < relative * abs(truth), options
