"""Elementary functions of many arguments most of which are small, by polynomials: NumPy has no vector instructions for them.

Covariances of most pairs of points are small beside their variances. A polynomial of a dozen terms takes a third of the time
of an arctangent, a fifth of that of a hyperbolic sine; the few arguments beyond its range go through the functions themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count

import mpmath
import numpy as np

# Squares of arguments up to which there are polynomials; beyond the last one they would be no faster.
ARCTANGENT_EDGES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
SINE_EDGES = (0.125, 0.5, 2.0, 8.0)
# Arguments from which on the functions are tried at every so manieth, and the part of these that may lie beyond an edge.
MANY, SPARSE, FEW_BEYOND = 2048, 64, 1 / 32
# The error of a polynomial relative to the function, in which its number of terms is chosen.
TRUNCATED = 2.0**-56
CHEBYSHEV_DIGITS = 30


def angle(c: np.ndarray, r: np.ndarray, ratio: np.ndarray, *, opening: bool = False) -> np.ndarray:
    """atan2(c, r) over 2π for r ≥ 0 and c/r = ``ratio``, or ¼ more, which is atan2(r, −c) over 2π; relative error 4 ε."""
    turned = _turned if opening else _angle
    if c.size < MANY or c.shape != r.shape:
        return turned(c, r)
    square = ratio * ratio
    edge = _edge(square, ARCTANGENT_EDGES)
    if edge is None:
        return turned(c, r)
    # 0/0 is NaN, which is beyond every edge
    beyond = np.flatnonzero(~(square <= edge))
    total = _odd(ratio, square, _arctangent_terms(edge))
    if opening:
        total += 0.25
    if beyond.size:
        total.reshape(-1)[beyond] = turned(c.ravel()[beyond], r.ravel()[beyond])
    return total


def _angle(c: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.arctan2(c, r) * (0.5 / np.pi)


def _turned(c: np.ndarray, r: np.ndarray) -> np.ndarray:
    # not −c, which may be −0
    return np.arctan2(r, np.subtract(0.0, c)) * (0.5 / np.pi)


def hyperbolic_sine(x: np.ndarray) -> np.ndarray:
    """sinh x; relative error 4 ε."""
    square = x * x
    edge = _edge(square, SINE_EDGES) if x.size >= MANY else None
    if edge is None:
        return np.sinh(x)
    beyond = np.flatnonzero(~(square <= edge))
    total = _odd(x, square, _sine_terms(edge))
    if beyond.size:
        total.reshape(-1)[beyond] = np.sinh(x.ravel()[beyond])
    return total


def _edge(square: np.ndarray, edges: tuple[float, ...]) -> float | None:
    """The first edge that nearly all of some of the squares are below."""
    some = square.ravel()[::SPARSE]
    last = some.size - 1 - int(FEW_BEYOND * some.size)
    # NaN come last
    largest = np.partition(some, last)[last]
    return next((edge for edge in edges if largest <= edge), None)


def _odd(x: np.ndarray, square: np.ndarray, terms: tuple[float, ...]) -> np.ndarray:
    """x Σ_k terms[k] x^{2k} by Horner's scheme, for x² = ``square``."""
    total = square * terms[-1]
    for term in terms[-2:0:-1]:
        total += term
        total *= square
    total += terms[0]
    total *= x
    return total


@cache
def _arctangent_terms(edge: float) -> tuple[float, ...]:
    """atan t over 2π = 1/π Σ_k (−1)^k p^{2k+1}/(2k+1) T_{2k+1}(t/τ), p = (√(1 + τ²) − 1)/τ, for t² ≤ τ² = ``edge``."""
    with mpmath.workdps(CHEBYSHEV_DIGITS):
        width = mpmath.sqrt(edge)
        p = (mpmath.sqrt(1 + width**2) - 1) / width
        return _powers(
            ((-1) ** k * p ** (2 * k + 1) / (2 * k + 1) / mpmath.pi for k in count()), width, 1 / (2 * mpmath.pi)
        )


@cache
def _sine_terms(edge: float) -> tuple[float, ...]:
    """sinh x = 2 Σ_k I_{2k+1}(τ) T_{2k+1}(x/τ) for x² ≤ τ² = ``edge``."""
    with mpmath.workdps(CHEBYSHEV_DIGITS):
        width = mpmath.sqrt(edge)
        return _powers((2 * mpmath.besseli(2 * k + 1, width) for k in count()), width, mpmath.mpf(1))


def _powers(series: Iterator[mpmath.mpf], width: mpmath.mpf, slope: mpmath.mpf) -> tuple[float, ...]:
    """Σ_k a_k T_{2k+1}(x/τ) ≈ ``slope`` x as the coefficients of x, x³, …; T_{2k+1}(y) is at most (2k + 1) |y|."""
    total: list[mpmath.mpf] = []
    before, now = [0, 1], [0, 1]  # T_{−1} = T_1
    for k, factor in enumerate(series):
        if (2 * k + 1) * abs(factor) < TRUNCATED * width * slope:
            return tuple(float(value / width ** (2 * i + 1)) for i, value in enumerate(total))
        total += [mpmath.mpf(0)] * (k + 1 - len(total))
        for i, coefficient in enumerate(now[1::2]):
            total[i] += factor * coefficient
        # T_{n+2} = 2 (2 y² − 1) T_n − T_{n−2}
        following = [0] * (len(now) + 2)
        for i, coefficient in enumerate(now):
            following[i + 2] += 4 * coefficient
            following[i] -= 2 * coefficient
        for i, coefficient in enumerate(before):
            following[i] -= coefficient
        before, now = now, following
    raise AssertionError(width)
