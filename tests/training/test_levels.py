"""Quantiles of many laws at once, beside SciPy's of the laws that have a name."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from kernelcalc.training.levels import Laws, quantiles

LEVELS = np.array([0.001, 0.05, 0.3, 0.5, 0.8, 0.95, 0.999])
ERROR = 1e-6


def _laws(*rows: list[tuple[float, float, float]]) -> Laws:
    """Of rows of terms (λ, sum of l², number), scaled to variance 1 and filled up with zeros."""
    out = np.zeros((3, len(rows), max(map(len, rows))))
    for row, terms in enumerate(rows):
        out[:, row, : len(terms)] = np.array(terms, dtype=float).T
    variance = np.sum(2 * out[2] * out[0] ** 2 + out[1], axis=1)[:, None]
    return Laws(out[0] / np.sqrt(variance), out[1] / variance, out[2])


def _noncentral(weight: float, shift: float, count: int) -> stats.rv_continuous:
    """λ Σ (ξ + m)² without its mean, over its standard deviation, if l² sums up to (2 λ)² shift."""
    law = stats.ncx2(count, shift) if shift else stats.chi2(count)
    return lambda level: (law.ppf(level if weight > 0 else 1 - level) - law.mean()) / law.std() * np.sign(weight)


NAMED = {
    "chi-squared, 10": ([(1, 0, 10)], _noncentral(1, 0, 10)),
    "chi-squared, 4, downwards": ([(-1, 0, 4)], _noncentral(-1, 0, 4)),
    "noncentral": ([(0.5, 4 * 0.25 * 3.0, 6)], _noncentral(0.5, 3.0, 6)),
    "noncentral, downwards, far off": ([(-2, 4 * 4 * 40.0, 5)], _noncentral(-2, 40.0, 5)),
    "normal": ([(0, 3, 0)], stats.norm.ppf),
    "Laplace": ([(1, 0, 2), (-1, 0, 2)], stats.laplace(scale=2**-0.5).ppf),
    "two exponentials": (
        [(1, 0, 2), (0.5, 0, 2)],
        # of λ 1, ½ the density is a difference of exponentials: 1 - F = 2 e^{-y/2} - e^{-y}, y = -2 log (1 - √(level))
        lambda level: (-2 * np.log(1 - np.sqrt(level)) - 3) / np.sqrt(5),
    ),
}


def _check(found, exact):
    """Beside the exact ones; close to an edge or a kink of the density a level may be left to others."""
    known = np.isfinite(found)
    assert known.sum() >= 5
    np.testing.assert_allclose(found[known], exact[known], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_named_laws(name):
    terms, exact = NAMED[name]
    _check(quantiles(_laws(terms), LEVELS, ERROR)[0], exact(LEVELS))


def test_rows_do_not_touch_each_other():
    together = quantiles(_laws(*(terms for terms, _ in NAMED.values())), LEVELS, ERROR)
    for row, (_, exact) in zip(together, NAMED.values(), strict=True):
        _check(row, exact(LEVELS))


def test_what_is_not_met_is_no_number():
    """One square has an infinite density at its edge: what is a number at all is right to the level."""
    found = quantiles(_laws([(1, 0, 1)]), np.array([1e-5, 1e-3, 0.01, 0.1, 0.5, 0.9, 1 - 1e-9]), ERROR)[0]
    levels = stats.chi2(1).cdf(1 + np.sqrt(2) * found)
    known = np.isfinite(found)
    np.testing.assert_allclose(levels[known], np.array([1e-5, 1e-3, 0.01, 0.1, 0.5, 0.9, 1 - 1e-9])[known], atol=ERROR)
    assert not known[:2].any()
    assert known[4:6].all()


def test_mixtures_beside_draws():
    """Three weights of both signs with shifts, beside the law of a million draws."""
    terms = [(1.0, 2.0, 3), (-0.7, 1.0, 2), (0.2, 0.5, 4)]
    draws = np.random.default_rng(5)
    total = np.zeros(1_000_000)
    for weight, squares, count in terms:
        for _ in range(count):
            xi = draws.standard_normal(total.size)
            total += weight * (xi**2 - 1) + np.sqrt(squares / count) * xi
    variance = sum(2 * count * weight**2 + squares for weight, squares, count in terms)
    found = quantiles(_laws(terms), LEVELS, ERROR)[0] * np.sqrt(variance)
    below = np.mean(total[:, None] <= found, axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=5e-4 * 4)


def _derivative(terms, s):
    """K'(s) of Σ λ(ξ² − 1) + lξ, term by term: E e^{s λ(ξ² − 1) + s lξ} = e^{−sλ + s²l²/(2(1 − 2λs))} (1 − 2λs)^{−1/2}."""

    def k(at):
        each = [
            -count * (at * weight + mpmath.log(1 - 2 * weight * at) / 2) + at**2 * squares / (2 * (1 - 2 * weight * at))
            for weight, squares, count in terms
        ]
        return mpmath.fsum(each)

    return mpmath.diff(k, s)


@pytest.mark.parametrize("x", [0.0, 0.4, 2.5, 6.0])
def test_saddle_points(x):
    """Of a normal law s − 1/s = x, of others by the definition of K; far out beside the singularity at 1/(2λ) too."""
    rows = [[(0, 1, 0)], [(1, 0, 10)], [(-1, 0, 4)], [(0.5, 4 * 0.25 * 3.0, 6)], [(1, 0, 2), (-1, 3, 2)]]
    laws = _laws(*rows)
    # four squares downwards end at √2, beyond which there is none
    places = np.minimum(x, [np.inf, np.inf, 1.2, np.inf, np.inf])
    found = laws.saddle(places)
    assert found[0] == pytest.approx((x + np.sqrt(x * x + 4)) / 2, rel=1e-5)
    for place, at, weights, squares, counts in zip(places, found, *laws.terms, strict=True):
        terms = list(zip(weights.tolist(), squares.tolist(), counts.tolist(), strict=True))
        away = _derivative(terms, mpmath.mpf(at)) - 1 / at - place
        # in units of the slope there: how far off the place is
        slope = mpmath.diff(lambda s: _derivative(terms, s) - 1 / s, mpmath.mpf(at))  # noqa: B023
        assert abs(away / slope) < 1e-5 * at
