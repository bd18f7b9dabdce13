"""Lower bounds of E|f(a)g(b)| beside moments and exact means, errors of series beside their formula in plain numbers."""

import math

import mpmath as mp
import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.floats.norms import (
    NORM_EXPONENTS,
    P_NORMS,
    Cut,
    enough,
    least_norms,
    lower_norms,
    octaves,
    scale_below,
    series_error,
    smallest_scale,
)

NARROWED = NORM_EXPONENTS[len(P_NORMS) :]
RNG = np.random.default_rng(11)


def test_exponents():
    assert P_NORMS == (0.9, 3 / 4, 1 / 2, 1 / 4, 1 / 8, 1 / 64)
    assert NARROWED == (1 / 2, 1 / 8, 1 / 64, 1 / 1024)


@pytest.mark.parametrize("q", [0.3, 1.0, 4.0, 1e10])
def test_norms_of_a_line_and_an_exponential(q):
    """E|x|^p = (2q)^{p/2} Γ((p + 1)/2)/√π; under the narrower weight, of variance p, p √(2q/π) is left."""
    wanted = [((2 * q) ** (p / 2) * mp.gamma((p + 1) / 2) / mp.sqrt(mp.pi)) ** (1 / p) for p in P_NORMS]
    wanted += [p * math.sqrt(2 * q / math.pi) for p in NARROWED]
    found = lower_norms(kc.Activation("x"), np.array([q, 1.0]))[0]
    np.testing.assert_allclose(found, np.array(wanted, dtype=float), rtol=2e-5)
    if q < 10:
        # e^{pq/2}, and √p e^{pq/2}
        wanted = [math.exp(p * q / 2) for p in P_NORMS] + [math.sqrt(p) * math.exp(p * q / 2) for p in NARROWED]
        np.testing.assert_allclose(lower_norms(kc.Activation("exp(x)"), np.array([q]))[0], wanted, rtol=1e-10)


def test_norms_of_a_feature_in_a_wide_gaussian():
    """∫ sech² = 2 at the density in 0, for variances of several sizes together."""
    found = lower_norms(kc.activation("tanh").derivative(1), np.array([1.0, 1e20, 1e30]))
    for row, q in ((1, 1e20), (2, 1e30)):
        np.testing.assert_allclose(found[row, len(P_NORMS) :], 2 / math.sqrt(2 * math.pi * q), rtol=1e-10)


def test_norms_that_are_not_known():
    assert lower_norms(kc.Activation("exp(-1e6*(tanh(x)-0.5)^2)"), np.ones(2)).tolist() == 2 * [10 * [0.0]]
    assert lower_norms(kc.activation("tanh"), np.array([])).shape == (0, 10)
    # e^{x²}, of which no more than some powers can be integrated, is infinite far out
    found = lower_norms(kc.Activation("exp(x^2)"), np.array([400.0]))[0]
    assert (found[:6] == 0).all()
    assert np.isfinite(found).all()


def products(first, second, rho):
    return max((a * b for a, b, p in zip(first, second, NORM_EXPONENTS, strict=True) if abs(rho) <= 1 - p), default=0.0)


@pytest.mark.parametrize("rho", [0.0, 0.1, -0.25, 0.5, 0.51, -0.75, 0.9, 0.984375, -0.998, 0.9995])
def test_the_largest_product_that_the_correlation_allows(rho):
    first, second = RNG.uniform(0.5, 2, size=(2, 4, 10))
    value = np.array([0.0, 5.0, -6.0, 0.3])
    found = scale_below(first, second, np.full(4, rho), value)
    wanted = [max(abs(v), products(f, g, rho)) for v, f, g in zip(value, first, second, strict=True)]
    assert found.tolist() == wanted
    least = [(a * b, p) for a, b, p in zip(first.min(axis=0), second.min(axis=0), NORM_EXPONENTS, strict=True)]
    assert smallest_scale(first, second, abs(rho)) == max((v for v, p in least if abs(rho) <= 1 - p), default=0.0)


@pytest.mark.parametrize("rho", [0.0, 0.25, -0.5, 0.75, -0.9, 0.98, 0.999])
def test_below_the_mean_of_rectified_pairs(rho):
    """E[relu(a) relu(b)] = (√(1 − ρ²) + ρ(π − θ))/2π √(qq') (Cho and Saul, 2009), of one sign."""
    q, qp = 0.7, 5.0
    exact = (math.sqrt(1 - rho**2) + rho * (math.pi - math.acos(rho))) / (2 * math.pi) * math.sqrt(q * qp)
    norms = (lower_norms(kc.activation("relu"), np.array([v])) for v in (q, qp))
    assert 0 < scale_below(*norms, np.array([rho]), np.zeros(1))[0] <= exact


def test_enough():
    """An error of 2^−40 of |value|, or of a product of norms that the correlation allows, and nothing else."""
    rtol, norms = 2.0**-40, np.zeros((5, 10))
    norms[:, 2] = 4.0
    value, rho = np.array([32.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.9, 0.5, 0.5, 0.51, -0.5])
    error = np.array([32.0, 16.0, 16.0, 16.0, 17.0]) * rtol
    assert enough(value, error, rho, norms, norms, rtol=rtol).tolist() == [True, True, True, False, False]
    # of one value all are good, or none
    assert enough(value[:1], error[:1], rho[:1], 0 * norms[:1], norms[:1], rtol=rtol).tolist() == [True]
    assert enough(value[:1], 1.001 * error[:1], rho[:1], 0 * norms[:1], norms[:1], rtol=rtol).tolist() == [False]
    unknown = np.array([np.nan, np.inf])
    assert not enough(np.zeros(2), unknown, np.zeros(2), norms[:2], norms[:2], rtol=rtol).any()


def test_norms_beyond_float64_are_no_warning():
    huge = np.full((1, 10), 1e200)
    assert scale_below(huge, huge, np.zeros(1), np.ones(1)).tolist() == [np.inf]
    assert smallest_scale(huge, huge, 0.5) == np.inf


def test_the_error_of_a_series():
    """ρ^K t t' + n s' + n' s + 16 ε s s', in rational numbers."""
    f, g = Cut(*(np.array([v]) for v in (3.0, 5.0, 7e-16))), Cut(*(np.array([v]) for v in (11.0, 13.0, 17e-16)))
    eps = mp.mpf(2) ** -52
    wanted = mp.mpf(0.5) ** 60 * 33 + mp.mpf(7e-16) * 13 + mp.mpf(17e-16) * 5 + 16 * eps * 65
    assert series_error(0.5**60, f, g)[0] == pytest.approx(float(wanted), rel=1e-14, abs=0)


def test_a_series_is_off_by_no_more():
    """Σ f_k g_k ρ^k over 40 terms, of coefficients that are off by a known rounding, beside all 400 terms."""
    k, rho = np.arange(400), 0.6
    f, g = (RNG.normal(size=400) * 0.9**k for _ in range(2))
    off = RNG.uniform(-1, 1, size=(2, 40)) * 1e-12
    damped = rho ** (k[:40] / 2)
    cuts = [
        Cut(*(np.linalg.norm(v) for v in (h[40:], h[:40] * damped, noise * damped)))
        for h, noise in ((f, off[0]), (g, off[1]))
    ]
    found = math.fsum((f[:40] + off[0]) * (g[:40] + off[1]) * rho ** k[:40])
    exact = mp.fsum(mp.mpf(a) * mp.mpf(b) * mp.mpf(rho) ** int(i) for a, b, i in zip(f, g, k, strict=True))
    assert abs(found - exact) <= series_error(rho**40, *cuts) < 1e-8


def test_octaves_around_variances():
    assert octaves(np.array([3.0, 5.0, 7.9])) == (2.0, 8.0)
    assert octaves(np.array([1.0])) == (1.0, 2.0)
    assert octaves(np.array([0.0, 0.3])) == (0.0, 0.5)
    assert octaves(np.zeros(2)) == (0.0, 0.0)


@pytest.mark.parametrize(("text", "order"), [("tanh(x)", 0), ("gelu(x)", 1), ("sin(3*x)", 0)])
def test_norms_of_octaves_are_below_all_between(text, order):
    function = kc.activation(text).derivative(order)
    least = least_norms(function, (0.25, 4.0))
    between = lower_norms(function, np.geomspace(0.25, 4.0, 400)).min(axis=0)
    assert least.shape == (1, between.size)
    assert (least[0] <= between).all()
    assert (least[0] >= between / 8).all()
    assert least_norms(function, (0.0, 4.0)).tolist() == [[0.0] * between.size]
