"""The rules of quadrature one by one, beside plain panels in one and in two dimensions and beside closed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kernelcalc as kc
from kernelcalc.gaussian.covariance import make_covariance
from kernelcalc.gaussian.floats import quadrature

EPS = np.finfo(float).eps
# text, the same for NumPy, its kinks
FUNCTIONS = {
    "tanh(x)": (np.tanh, ()),
    "sin(x)+x/3": (lambda v: np.sin(v) + v / 3, ()),
    "max(tanh(x-1),0)": (lambda v: np.maximum(np.tanh(v - 1), 0), (1.0,)),
    "min(max(x,-1),1)": (lambda v: np.clip(v, -1, 1), (-1.0, 1.0)),
    "x/(1+Abs(x))": (lambda v: v / (1 + np.abs(v)), (0.0,)),
    "1/(1+Abs(x))": (lambda v: 1 / (1 + np.abs(v)), (0.0,)),
    "where(x>0, x*exp(-x), x/2)": (lambda v: np.where(v > 0, v * np.exp(-np.maximum(v, 0)), v / 2), (0.0,)),
}


def panels(breaks: list[float], reach: float = 12.0, pieces: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes on short panels cut at the breaks, weights with the normal density."""
    node, weight = np.polynomial.legendre.leggauss(16)
    edges = np.unique(np.clip([*np.linspace(-reach, reach, pieces + 1), *breaks], -reach, reach))
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * node).ravel()
    return z, (half[:, None] * weight).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def on_a_line(f, g, std, std_p, mean=0.0, mean_p=0.0) -> tuple[float, float]:
    """E fg and E|fg|."""
    (first, kinks), (second, kinks_p) = FUNCTIONS[f], FUNCTIONS[g]
    breaks = [*((k - mean) / std for k in kinks), *((k - mean_p) / std_p for k in kinks_p)]
    z, weight = panels([*breaks, -mean / std, -mean_p / std_p])
    product = first(mean + std * z) * second(mean_p + std_p * z) * weight
    return float(product.sum()), float(np.abs(product).sum())


def in_the_plane(f, g, q, qp, c) -> tuple[float, float]:
    """E fg and E|fg|."""
    (first, kinks), (second, kinks_p) = FUNCTIONS[f], FUNCTIONS[g]
    slope, spread = c / q, math.sqrt(qp - c * c / q)
    # E[g(b)|a] varies by spread around the kinks of g
    near = [s * n * spread / 2 for n in range(13) for s in (-1, 1)]
    u, outer = panels(
        [k / q**0.5 for k in (*kinks, 0.0)] + [(k + n) / slope / q**0.5 for k in (*kinks_p, 0.0) for n in near]
    )
    value = size = 0.0
    for at, weight in zip(q**0.5 * u, outer, strict=True):
        v, inner = panels([(k - slope * at) / spread for k in (*kinks_p, 0.0)])
        terms = weight * first(at) * second(slope * at + spread * v) * inner
        value, size = value + terms.sum(), size + np.abs(terms).sum()
    return float(value), float(size)


def judge(found, index, value, size, rtol=1e-11):
    """The value lies within its error, which is small, and the magnitude is E|fg|."""
    away = abs(found.value[index] - value)
    assert away <= found.error[index] + 8 * EPS * size
    assert away <= 2e-13 * size
    assert 64 * EPS * found.magnitude[index] <= found.error[index] <= rtol * size
    assert found.magnitude[index] == pytest.approx(size, rel=1e-7, abs=0)


# A line -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 300])
def test_line_with_means_and_kinks(rows):
    f, g = "max(tanh(x-1),0)", "sin(x)+x/3"
    std, std_p = np.linspace(0.7, 2.0, rows), np.linspace(-1.2, -0.4, rows)
    found = quadrature.line(kc.Activation(f), kc.Activation(g), std, std_p, rtol=1e-11, mean=0.3, mean_p=-0.5)
    for index in {0, rows // 2, rows - 1, min(256, rows - 1)}:
        judge(found, index, *on_a_line(f, g, std[index], std_p[index], 0.3, -0.5))


def test_line_with_other_means_in_each_row():
    f, g, one = "min(max(x,-1),1)", "tanh(x)", np.ones(3)
    mean, mean_p = np.array([0.0, 1.0, -2.0]), np.array([0.5, 0.0, 3.0])
    found = quadrature.line(kc.Activation(f), kc.Activation(g), one, 2 * one, rtol=1e-11, mean=mean, mean_p=mean_p)
    for index in range(3):
        judge(found, index, *on_a_line(f, g, 1.0, 2.0, mean[index], mean_p[index]))


def calls_of(monkeypatch, name, keep):
    """What a function of the module is asked for."""
    asked, real = [], getattr(quadrature, name)

    def counted(*given):
        asked.append(keep(*given))
        return real(*given)

    monkeypatch.setattr(quadrature, name, counted)
    return asked


def test_line_stops_when_two_rules_agree(monkeypatch):
    asked = calls_of(monkeypatch, "_line_once", lambda f, g, std, *rest: (std.size, *rest[-2:]))
    tanh = kc.Activation("tanh(x)")
    quadrature.line(tanh, tanh, np.array([1.0, 2.0]), np.array([1.0, -2.0]), rtol=1e-11)
    assert asked == [(2, 1.0, 16), (2, 1.0, 24)]
    asked.clear()
    # less than rounding is asked for in vain
    quadrature.line(tanh, tanh, np.array([1.0]), np.array([1.0]), rtol=1e-17)
    assert asked == [(1, 1.0, 16), (1, 1.0, 24), (1, 0.5, 32)]


def test_line_of_what_grows_too_fast_is_no_number():
    grows = kc.Activation("exp(x**2/3)")
    found = quadrature.line(grows, grows, np.array([1.0, 0.5]), np.array([1.0, 0.5]), rtol=1e-11)
    assert np.isnan(found.value[0])
    assert found.error[0] == np.inf
    # E e^{Z²/6} = (1 − 1/3)^{−1/2}
    assert found.value[1] == pytest.approx(1.5**0.5, rel=1e-14)


def test_rounding_of_steep_functions_on_a_line():
    """|f| δ_g + |g| δ_f, δ the rounding of values."""
    f, g, std = kc.Activation("exp(-3000*tanh(x)**2)"), kc.Activation("cos(x)*exp(-5000*(x-0.01)**2)"), 0.5
    value, size, noise = quadrature._line_once(f, g, *(np.array([v]) for v in (std, std, 0.0, 0.0)), 1.0, 24)
    z, weight = panels([0.0], pieces=4000)
    lost = np.abs(f(std * z)) * g.form.rounding(std * z) + np.abs(g(std * z)) * f.form.rounding(std * z)
    assert noise[0] == pytest.approx(np.sum(weight * lost), rel=1e-4, abs=0)
    assert size[0] == value[0] == pytest.approx(np.sum(weight * f(std * z) * g(std * z)), rel=1e-11, abs=0)
    found = quadrature.line(f, g, np.array([std]), np.array([std]), rtol=1e-11)
    assert noise[0] + 64 * EPS * size[0] <= found.error[0] <= noise[0] + 200 * EPS * size[0]


@pytest.mark.parametrize("rows", [63, 64, 300])
def test_many_variances_use_few_panels(monkeypatch, rows):
    """From 64 rows on panels look at the extreme rows only."""
    asked = calls_of(monkeypatch, "_line_once", lambda f, g, std, std_p, *rest: (std.tolist(), std_p.tolist()))
    f, g = "sin(x)+x/3", "tanh(x)"
    std = np.linspace(0.1, 2.0, rows)
    std_p = std[::-1] ** 2 * 0.8
    found = quadrature.line(kc.Activation(f), kc.Activation(g), std, std_p, rtol=1e-11)
    if rows == 63:
        assert [len(one) for one, _ in asked] == [63, 63]
    else:
        assert asked == [([std[0], std[-1]], [std_p[0], std_p[-1]])]
    for index in (0, rows // 3, rows - 1):
        judge(found, index, *on_a_line(f, g, std[index], std_p[index]))


def test_many_variances_with_panels_that_differ(monkeypatch):
    """One of the extreme rows is enough to trust none."""
    tanh, std = kc.Activation("tanh(x)"), np.linspace(0.1, 2.0, 70)
    assert np.isfinite(quadrature._many(tanh, tanh, std, std, rtol=1e-11).error).all()
    real = quadrature._line_once

    def wrong(*given):
        value, size, noise = real(*given)
        value[-1] += 1e-10
        return value, size, noise

    monkeypatch.setattr(quadrature, "_line_once", wrong)
    assert np.isinf(quadrature._many(tanh, tanh, std, std, rtol=1e-11).error).all()


def test_many_variances_of_which_some_grow_too_fast():
    """e^{x²/3} e^{x²/3}: nothing at std² ≥ 3/4; near it the ends of the range count."""
    grows, std = kc.Activation("exp(x**2/3)"), np.linspace(0.1, 0.9, 70)
    quick = quadrature._many(grows, grows, std, std, rtol=1e-11)
    assert np.isinf(quick.error[-1])
    found = quadrature.line(grows, grows, std, std, rtol=1e-11)
    fine = std < 0.6
    np.testing.assert_allclose(found.value[fine], (1 - 4 / 3 * std[fine] ** 2) ** -0.5, rtol=1e-13)
    assert (found.error[fine] < 1e-11).all()
    assert not np.isfinite(found.error[std**2 > 0.75]).any()


# Polar coordinates ---------------------------------------------------------------------------------------------------------

COVARIANCES = [(1.0, 1.0, 0.5), (0.3, 4.0, -1.05), (2.0, 0.5, 0.999)]
PAIRS = [
    ("x/(1+Abs(x))", "tanh(x)"),
    ("1/(1+Abs(x))", "tanh(x)"),
    ("where(x>0, x*exp(-x), x/2)", "1/(1+Abs(x))"),
    ("where(x>0, x*exp(-x), x/2)", "where(x>0, x*exp(-x), x/2)"),
]


@pytest.mark.parametrize(("f", "g"), PAIRS)
def test_polar(f, g):
    cov = make_covariance(*(np.array(v) for v in zip(*COVARIANCES, strict=True)))
    found = quadrature.polar(kc.Activation(f), kc.Activation(g), cov, rtol=1e-11)
    for index, covariance in enumerate(COVARIANCES):
        value, size = in_the_plane(f, g, *covariance)
        judge(found, index, value, size)
        if (f, g) == PAIRS[1]:
            assert abs(found.value[index]) <= 1e-15 * size


def test_polar_refines_pairs_that_need_it(monkeypatch):
    asked = calls_of(
        monkeypatch, "_polar_once", lambda f, g, cov, per_unit, stretch: (cov.q.tolist(), per_unit, stretch)
    )
    f = kc.Activation("x/(1+Abs(x))")
    cov = make_covariance(np.array([1.0, 4.0]), np.array([1.0, 4.0]), np.array([0.5, -2.0]))
    quadrature.polar(f, f, cov, rtol=1e-11)
    assert asked[:2] == [([1.0, 4.0], 8, 0.0), ([1.0, 4.0], 16, 0.0)]
    asked.clear()
    quadrature.polar(f, f, cov, rtol=1e-17)
    assert [per_unit for _, per_unit, _ in asked] == [8, 16, 32]
    asked.clear()
    # another reach for the large ones
    quadrature.polar(
        f, f, make_covariance(np.array([1.0, 1e12]), np.array([1.0, 1.0]), np.array([0.5, 1e5])), rtol=1e-11
    )
    assert {(tuple(q), stretch) for q, _, stretch in asked} == {((1.0,), 0.0), ((1e12,), 24.0)}


def test_polar_of_narrow_features_under_wide_densities():
    """E[tanh'(a) tanh'(b)] = 4/2π√det and E|a||b| = (2/π) √(qq') (√(1 − ρ²) + ρ arcsin ρ)."""
    slope, size = kc.Activation("tanh(x)").derivative(1), kc.Activation("Abs(x)")
    for q in (1e14, 1e30):
        cov = make_covariance(np.array([q, q]), np.array([q / 4, q]), np.array([q / 8, -0.99 * q]))
        found = quadrature.polar(slope, slope, cov, rtol=1e-11)
        wanted = 2 / math.pi / np.sqrt(cov.det)
        np.testing.assert_allclose(found.value, wanted, rtol=1e-12)
        assert (found.error <= 1e-11 * wanted).all()
        rho = cov.c / np.sqrt(cov.q * cov.qp)
        absolute = 2 / math.pi * np.sqrt(cov.q * cov.qp) * (np.sqrt(1 - rho**2) + rho * np.arcsin(rho))
        np.testing.assert_allclose(quadrature.polar(size, size, cov, rtol=1e-11).value, absolute, rtol=1e-13)


def test_polar_of_what_grows_too_fast_is_no_number():
    grows = kc.Activation("exp(x**2/3)")
    cov = make_covariance(np.array([1.0, 0.25]), np.array([1.0, 0.25]), np.array([0.9, 0.0]))
    found = quadrature.polar(grows, grows, cov, rtol=1e-11)
    assert np.isnan(found.value[0])
    assert found.error[0] == np.inf
    assert found.value[1] == pytest.approx(1 / (1 - 1 / 6), rel=1e-13)


def test_polar_in_blocks(monkeypatch):
    """Few pairs at once give the same numbers."""
    f = kc.Activation("x/(1+Abs(x))")
    cov = make_covariance(np.linspace(0.5, 2, 9), np.ones(9), np.full(9, 0.3))
    whole = quadrature.polar(f, f, cov, rtol=1e-11)
    monkeypatch.setattr(quadrature, "VALUES_AT_ONCE", 2**14)
    np.testing.assert_allclose(quadrature.polar(f, f, cov, rtol=1e-11).value, whole.value, rtol=1e-15)
