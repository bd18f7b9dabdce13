"""Hermite series beside plain panels of half a unit, and their bounds beside what the coefficients leave out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval

import kernelcalc as kc
from kernelcalc.gaussian.floats import series as module
from kernelcalc.gaussian.floats.series import (
    DAMPINGS,
    LENGTHS,
    damping_tier,
    hermite_series,
    relative_tails,
    with_bounds,
)

EPS = np.finfo(float).eps
# text, the same for NumPy, its kinks
FUNCTIONS = {
    "tanh(x)": (np.tanh, ()),
    "1e-9*tanh(x)": (lambda v: 1e-9 * np.tanh(v), ()),
    "tanh(30*x)": (lambda v: np.tanh(30 * v), ()),
    # steps see E f² to 1e-9 and no coefficient to rounding
    "tanh(20*x)": (lambda v: np.tanh(20 * v), ()),
    "Abs(x)*sin(x)": (lambda v: np.abs(v) * np.sin(v), (0.0,)),
    "max(tanh(x-1),0)": (lambda v: np.maximum(np.tanh(v - 1), 0), (1.0,)),
    "min(max(x,-1),1)": (lambda v: np.clip(v, -1, 1), (-1.0, 1.0)),
    "exp(-2*Abs(x-1))": (lambda v: np.exp(-2 * np.abs(v - 1)), (1.0,)),
    "exp(x)": (np.exp, ()),
    "diff(tanh(x),x,2)": (lambda v: -2 * np.tanh(v) / np.cosh(v) ** 2, ()),
}


def brute(text: str, q: float, terms: int, pieces: int = 26 * 24) -> tuple[np.ndarray, float]:
    """The coefficients and E f² by Gauss–Legendre on short panels, cut at the kinks; h_k scaled at every step."""
    function, kinks = FUNCTIONS[text]
    node, weight = np.polynomial.legendre.leggauss(20)
    edges = np.unique([*np.linspace(-13, 13, pieces + 1), *(k / q**0.5 for k in kinks)])
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z, w = (middle[:, None] + half[:, None] * node).ravel(), (half[:, None] * weight).ravel()
    root = np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25
    values = function(q**0.5 * z)
    found, before, now = np.empty(terms), np.zeros_like(z), root
    for k in range(terms):
        found[k] = np.sum(w * values * root * now)
        before, now = now, (z * now - k**0.5 * before) / (k + 1) ** 0.5
    return found, float(np.sum(w * (values * root) ** 2))


def test_the_oracle_itself():
    """E[e^{√q Z} h_k] = e^{q/2} q^{k/2}/√k!."""
    found, energy = brute("exp(x)", 2.0, 12)
    exact = [np.e * 2.0 ** (k / 2) / np.prod(np.arange(1.0, k + 1)) ** 0.5 for k in range(12)]
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    assert energy == pytest.approx(np.exp(4.0), rel=1e-13)


@pytest.mark.parametrize("text", list(FUNCTIONS)[:-1])
@pytest.mark.parametrize("length", [48, 512])
def test_coefficients_energies_and_bounds(text, length):
    compared(text, length)


def test_the_longest_series():
    compared("tanh(30*x)", 2048)


def compared(text: str, length: int) -> None:
    q = np.array({"exp(x)": [0.1, 0.5], "tanh(20*x)": [0.9, 1.0], "exp(-2*Abs(x-1))": [0.3, 9.0]}.get(text, [0.3, 4.0]))
    series = hermite_series(kc.Activation(text), q, length=length)
    assert series.coefficients.shape == (2, length)
    assert not series.relative.any()
    for row, variance in enumerate(q):
        right, energy = brute(text, variance, length)
        norm, bounds = energy**0.5, series.bounds[row : row + 1]
        error = np.linalg.norm(series.coefficients[row] - right)
        assert error <= bounds.error[0] + 4e-15 * norm
        assert 4 * EPS * norm <= bounds.error[0] <= 1e-13 * norm
        assert bounds.norm[0] == pytest.approx(norm, rel=1e-13, abs=0)
        # what is left of E f², or the rounding of the difference
        left = energy - np.sum(right**2)
        assert bounds.tail[0] ** 2 == pytest.approx(max(left, 2 * EPS * energy), rel=1e-3, abs=8 * EPS * energy)
        for place, r in enumerate(DAMPINGS):
            damped = np.sum(right**2 * r ** np.arange(length)) ** 0.5
            assert bounds.damped[0, place] == pytest.approx(damped, rel=1e-13, abs=0)
        assert (bounds.noise[0] == bounds.error[0]).all()


@pytest.mark.parametrize(
    ("text", "q", "reach", "wanted"),
    [
        ("tanh(x)", 1.0, 0.5, 48),
        ("tanh(x)", 1.0, 0.9, 96),
        ("tanh(x)", 1.0, None, 192),
        ("1e-9*tanh(x)", 1.0, 0.9, 96),
        ("tanh(x)", 25.0, 0.9, 512),
        ("max(tanh(x-1),0)", 25.0, 0.97, 1024),
        # the goal becomes MODEST
        ("max(tanh(x-1),0)", 1.0, None, 2048),
    ],
)
def test_a_series_is_as_long_as_its_reach_asks(text, q, reach, wanted):
    """The first length whose remainder |ρ|^K R_f/E f² is below 4 ε."""
    series = hermite_series(kc.Activation(text), np.array([q]), reach=reach)
    assert series.coefficients.shape == (1, wanted)
    aim = module.MODEST if wanted == 2048 else reach or 1.0
    left = [max(part, 2 * EPS) * aim**n for n, part in remainders(text, q).items() if n <= wanted]
    assert left[-1] <= 4 * EPS < min(left[:-1], default=1.0)


def remainders(text: str, q: float) -> dict[int, float]:
    """R_f/E f² by length."""
    found, energy = brute(text, q, LENGTHS[-1])
    return {n: (energy - float(np.sum(found[:n] ** 2))) / energy for n in LENGTHS}


@pytest.mark.parametrize(
    ("text", "q", "reach", "wanted"),
    [
        ("tanh(x)", 25.0, 1.0, 1024),
        ("tanh(30*x)", 1.0, 1.0, 192),
        ("tanh(30*x)", 1.0, 0.99, 512),
        ("max(tanh(x-1),0)", 1.0, 1.0, 512),
        ("max(tanh(x-1),0)", 1.0, 0.99, 1024),
    ],
)
def test_a_series_that_will_not_do_ends_early(text, q, reach, wanted):
    """Tails that fall like e^{−s√K} are foretold at 1024 terms, from the third length on."""
    series = hermite_series(kc.Activation(text), np.array([q]), reach=reach)
    assert series.coefficients.shape == (1, wanted)
    foretold = {}
    for n, part in remainders(text, q).items():
        if 96 < n < 1024:
            slope = -np.log(part**0.5) / n**0.5
            foretold[n] = np.exp(-slope * 1024**0.5) * reach**512
    assert [n for n, size in foretold.items() if size > 1e-4][:1] == [wanted] * (wanted < 1024)


def test_rows_that_steps_do_not_resolve_use_panels(monkeypatch):
    """tanh(30x) at q = 4 has a pole at a distance of π/120 in units of z."""
    act = kc.Activation("tanh(30*x)")
    asked = []
    together = module._together

    def counted(act, std, count, terms):
        asked.append(std.size)
        return together(act, std, count, terms)

    monkeypatch.setattr(module, "_together", counted)
    series = hermite_series(act, np.array([1e-5, 1e-4, 1e-3]), length=48)
    assert not asked
    for row, q in enumerate((1e-5, 1e-4, 1e-3)):
        right, _ = brute("tanh(30*x)", q, 48)
        assert np.linalg.norm(series.coefficients[row] - right) <= 4e-15 * series.bounds.norm[row]
    hermite_series(act, np.array([1e-3, 4.0]), length=48)
    assert asked == [1, 1]


def test_what_grows_too_fast_is_part_of_the_error():
    """e^{x²/8} at q = 1.9: |f| φ^{1/2} is still e^{−2.1} where the nodes end."""
    act, q = kc.Activation("exp(x**2/8)"), 1.9
    series = hermite_series(act, np.array([q, 0.1]), length=48)
    assert series.bounds.error[0] >= np.exp(q * 169 / 8 - 169 / 4)
    assert series.bounds.error[1] < 1e-14
    # E e^{x²/8} = (1 − q/4)^{−1/2}
    assert series.coefficients[1, 0] == pytest.approx((1 - 0.1 / 4) ** -0.5, rel=1e-14)


def test_the_ends_of_the_range():
    values, z = np.array([[5.0, 9.0, 9.0, 1.0], [1.0, 9.0, 9.0, 5.0]]), np.array([-2.0, 0.0, 0.1, 1.0])
    np.testing.assert_allclose(module._spill(values, z), [max(5 / np.e, np.exp(-0.25)), 5 * np.exp(-0.25)])


@pytest.mark.parametrize(
    ("text", "panels"),
    [("exp(-3000*tanh(x)**2)", "_together"), ("exp(-3000*tanh(x-1)**2)", "_separate")],
)
def test_rounding_of_steep_functions_is_part_of_the_error(text, panels):
    """By Bessel's inequality the coefficients' error is at most √E δ², δ the rounding of f."""
    act, q = kc.Activation(text), np.array([0.25, 0.3])
    _, energy, spill = getattr(module, panels)(act, np.sqrt(q), 32, 8)
    node, weight = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(-13, 13, 4001)
    z = ((edges[1:] + edges[:-1])[:, None] / 2 + (edges[1] - edges[0]) / 2 * node).ravel()
    w = np.tile(weight, 4000) * (edges[1] - edges[0]) / 2 * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5
    for row, variance in enumerate(q):
        lost = act.form.rounding(variance**0.5 * z)
        assert spill[row] == pytest.approx(np.sum(w * lost**2) ** 0.5, rel=1e-5, abs=0)
        assert spill[row] > 2 * EPS * energy[row] ** 0.5


def test_overflow_shows_as_no_error_bound():
    series = hermite_series(kc.Activation("exp(30*x)"), np.array([1e-2, 1.0]), length=48)
    assert not np.isfinite(series.bounds.error[1])


def test_low_coefficients_of_derivatives_at_large_variances():
    """√q f_0 of tanh'' at k = 2 is −∫ tanh' x … : f_k of F'' from E[F'' h_k] = E[F h_{k+2}] √((k+2)(k+1))/q, 40 digits."""
    import mpmath

    act, q, k = kc.activation("tanh").derivative(2), 1e4, np.arange(1, 8, 2)
    series = hermite_series(act, np.array([q, 4.0]), length=96)
    with mpmath.workdps(40):
        std = mpmath.sqrt(q)

        def second(v):
            return -2 * mpmath.tanh(v) * mpmath.sech(v) ** 2

        exact = []
        for order in k:
            polynomial = [mpmath.mpf(int(c)) for c in np.polynomial.hermite_e.herme2poly([0] * int(order) + [1])[::-1]]
            integral = mpmath.quad(
                lambda v, p=polynomial: second(v) * mpmath.polyval(p, v / std) * mpmath.npdf(v / std) / std,
                [-60, -10, -2, 0, 2, 10, 60],
            )
            exact.append(integral / mpmath.sqrt(mpmath.factorial(int(order))))
        away = np.array([float(mpmath.mpf(v) - e) for v, e in zip(series.coefficients[0, k], exact, strict=True)])
    low = np.abs(np.array([float(e) for e in exact]))
    norm, bounds = series.bounds.norm[0], series.bounds
    assert (low[:2] < 1e-2 * norm).all()
    assert (np.abs(away) <= 1e-14 * low[-1]).all()
    # at |ρ| ≤ 1/4 what counts of the error is far below that of all coefficients
    damped = np.sqrt(np.sum(away**2 * 0.25**k))
    assert damped <= bounds.noise[0, 0] < 1e-2 * bounds.error[0]
    assert (np.diff(bounds.noise[0]) >= 0).all()
    assert (bounds.noise[0] <= bounds.error[0]).all()
    assert (bounds.noise[1] == bounds.error[1]).all()


def test_coefficients_of_derivatives_at_moderate_variances():
    """At q = 25 only the first ones are finer by parts."""
    act, q = kc.activation("tanh").derivative(2), 25.0
    series = hermite_series(act, np.array([q]), length=96)
    bounds = series.bounds
    right, _ = brute("diff(tanh(x),x,2)", q, 96)
    assert np.linalg.norm(series.coefficients[0] - right) <= 4e-15 * bounds.norm[0]
    parts = hermite_series(kc.activation("tanh"), np.array([q]), length=98).bounds
    k = np.arange(96)
    each = np.sqrt((k + 1) * (k + 2)) / q * parts.error[0]
    finer = int((each < bounds.error[0]).sum())
    assert 3 < finer < 60
    for place, r in enumerate(DAMPINGS):
        wanted = np.sqrt(np.sum(each[:finer] ** 2 * r ** k[:finer]) + bounds.error[0] ** 2 * r**finer)
        assert bounds.noise[0, place] == pytest.approx(min(bounds.error[0], wanted), rel=1e-12, abs=0)
    assert bounds.noise[0, 0] < 0.3 * bounds.error[0]


def test_even_and_odd_nodes_and_odd_counts_of_terms():
    """Sums over nodes that are symmetric, and over others, beside NumPy's polynomials."""
    rng = np.random.default_rng(1)
    for z in (np.linspace(-3, 3, 10), np.sort(rng.normal(size=11))):
        start, weighted = rng.uniform(1, 2, size=z.size), rng.normal(size=(2, z.size))
        start = (start + start[::-1]) / 2 if z.size == 10 else start
        for terms in (1, 2, 67):
            found = module._hermite_sums(weighted, z, start, terms)
            h, before, now = [], np.zeros_like(z), np.ones_like(z)
            for k in range(terms):
                h.append(now)
                before, now = now, (z * now - k**0.5 * before) / (k + 1) ** 0.5
            wanted = (weighted * start) @ np.array(h).T
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
    assert hermeval(0.7, [0, 0, 0, 1]) / 6**0.5 == pytest.approx(
        module._hermite_sums(np.ones((1, 1)), np.array([0.7]), np.ones(1), 4)[0, 3]
    )


def test_small_variances_keep_the_digits_of_each_coefficient():
    """tanh(x)^2 = x² − 2x⁴/3 + …: f_0 = q − 2q² + 17q³/3 …, f_1 = 0."""
    q = 1e-8
    series = hermite_series(kc.Activation("tanh(x)**2"), np.array([q, 1.0]), length=48)
    assert series.relative.tolist() == [True, False]
    assert series.coefficients[0, 0] == pytest.approx(q - 2 * q**2 + 17 / 3 * q**3, rel=1e-15, abs=0)
    # f_4 = −(2/3) √4! q² + …
    assert series.coefficients[0, 4] == pytest.approx(-2 / 3 * 24**0.5 * q**2, rel=1e-6, abs=0)
    norm = series.bounds.norm[0]
    assert norm == pytest.approx(3**0.5 * q, rel=1e-6, abs=0)
    assert (series.bounds.noise[0] == series.bounds.error[0]).all()
    assert series.bounds.error[0] == pytest.approx(4 * EPS * norm, rel=1e-12, abs=0)


def test_an_expansion_that_quadrature_does_not_confirm_is_not_used(monkeypatch):
    expansion = module.taylor_coefficients

    def wrong(act, q, terms):
        coefficients, converged = expansion(act, q, terms)
        return coefficients * (1 + 1e-9), converged

    # of width 1/20: converges from 2⁻²² on
    act, q = kc.Activation("tanh(20*x)*cos(x)"), np.array([1e-8])
    monkeypatch.setattr(module, "taylor_coefficients", wrong)
    assert not hermite_series(act, q, length=48).relative.any()
    monkeypatch.undo()
    module._expansion_holds.cache_clear()
    assert hermite_series(act, q, length=48).relative.all()


def test_bounds_of_given_coefficients():
    coefficients = np.array([[3.0, 4.0, 0.5], [1.0, 0.0, 0.0]])
    found = with_bounds(coefficients, np.array([26.0, 1.0]), np.array([0.1, 0.2]), slack=1e-6)
    assert found.bounds.norm.tolist() == [26**0.5, 1.0]
    np.testing.assert_allclose(found.bounds.tail, [0.75**0.5, 1e-3])
    np.testing.assert_allclose(found.bounds.damped[0], [np.sqrt(9 + 16 * r + r * r / 4) for r in DAMPINGS])
    assert found.bounds.noise.tolist() == [[0.1] * len(DAMPINGS), [0.2] * len(DAMPINGS)]
    assert found.relative.dtype == bool
    assert not found.relative.any()
    default = with_bounds(coefficients[1:], np.array([1.0]), np.array([0.2]))
    assert default.bounds.tail[0] == pytest.approx((2 * EPS) ** 0.5, rel=1e-12, abs=0)


def test_cuts_at_a_correlation():
    rng = np.random.default_rng(2)
    coefficients = rng.normal(size=(4, 9))
    series = with_bounds(
        coefficients, (coefficients**2).sum(axis=1) + np.arange(1.0, 5.0), np.array([0.1, 0.4, 0.2, 0.3])
    )
    at = np.array([0.0, 0.25, 0.93, 1.0])
    cut = series.bounds.cut(at)
    np.testing.assert_allclose(cut.tail, np.sqrt([1, 2, 3, 4]))
    np.testing.assert_allclose(cut.noise, [0.1, 0.4, 0.2, 0.3])
    tiers = [0.25, 0.25, 0.95, 1.0]
    np.testing.assert_allclose(
        cut.size, [np.sqrt(c**2 @ r ** np.arange(9.0)) for c, r in zip(coefficients, tiers, strict=True)]
    )
    widest = series.bounds.widest(0.6)
    assert widest.tail == pytest.approx(2.0)
    assert widest.noise == 0.4
    assert widest.size == pytest.approx(np.sqrt(coefficients**2 @ 0.75 ** np.arange(9.0)).max())
    assert [damping_tier(r) for r in (0.0, 0.25, 0.26, 0.98, 0.99, 1.0, 1.1)] == [0, 0, 1, 5, 6, 6, 6]
    # beyond 1, by rounding, the last stands
    assert series.bounds.cut(np.full(4, 1 + 1e-15)).size[2] == pytest.approx(np.linalg.norm(coefficients[2]))


def test_tails_relative_to_the_computed_coefficients():
    rng = np.random.default_rng(3)
    coefficients = rng.normal(size=(600, 7)) * 2.0 ** -np.arange(7)
    coefficients[5] = 0.0
    coefficients[300] /= 1e3
    coefficients[0, 3], coefficients[599, -1] = 50.0, 100.0
    series = with_bounds(coefficients, np.ones(600), np.zeros(600))
    wanted = [max(np.linalg.norm(row[k:]) / np.linalg.norm(row) for row in coefficients if row.any()) for k in range(7)]
    np.testing.assert_allclose(relative_tails(series), wanted, rtol=1e-14)
    # a row that overflowed says nothing of where the others end
    coefficients[7, 2] = np.nan
    assert np.isinf(relative_tails(with_bounds(coefficients, np.ones(600), np.zeros(600)))).all()
