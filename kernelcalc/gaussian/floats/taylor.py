r"""Hermite coefficients at small variances from the Taylor coefficients t_n of the function at 0.

.. math:: f_k(q) = \sum_m t_{k+2m} \frac{(k+2m)!}{2^m m! \sqrt{k!}}\, q^{k/2+m}

Quadrature gives every coefficient to rounding of the function's norm √(Ef²), which for a function with f(0) = 0 is √q, while
f_0 may be as small as q: E[f''(a) f(b)] would lose √q of its digits. Here each coefficient is good to rounding of itself.
"""

from __future__ import annotations

import math
from functools import lru_cache

import mpmath
import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.machine import MULTIPRECISION

DEGREE = 32
# A power of two, so that no octave of variances straddles it.
SMALL_VARIANCE = 2.0**-13
# Features that are not at 0 must be this far: 45 standard deviations at the largest of these variances.
DISTANCE = 0.5
TAYLOR_DIGITS, NOISE = 60, 1e-40
# Derivatives up to this order share the expansion of the function itself.
ORDERS = 6


@lru_cache(maxsize=64)
def _taylor(root: Activation, degree: int) -> list[mpmath.mpf] | None:
    try:
        with MULTIPRECISION, mpmath.workdps(TAYLOR_DIGITS):
            found = [mpmath.mpf(t) for t in mpmath.taylor(root.mpmath_pieces[0], 0, degree)]
    except (ArithmeticError, ValueError, TypeError):
        return None
    # Numerical differentiation leaves rounding where a coefficient vanishes.
    rate = max((abs(t) ** (mpmath.mpf(1) / n) for n, t in enumerate(found) if n and t), default=mpmath.mpf(0))
    return [t if abs(t) > NOISE * rate**n else mpmath.mpf(0) for n, t in enumerate(found)]


@lru_cache(maxsize=256)
def _powers_table(act: Activation) -> np.ndarray | None:
    """(DEGREE + 1, DEGREE//2 + 1): what multiplies q^{k/2+m} in f_k; None without a Taylor expansion."""
    if act.kinks or any(1e-14 < abs(p.at) < DISTANCE for p in act.features):
        return None
    taylor = _taylor(act.root, DEGREE + max(ORDERS, act.order))
    if taylor is None:
        return None
    table = np.zeros((DEGREE + 1, DEGREE // 2 + 1))
    for n, t in enumerate(taylor[act.order : act.order + DEGREE + 1]):
        for m in range(n // 2 + 1):
            k = n - 2 * m
            factor = (
                mpmath.mpf(math.factorial(n + act.order)) / (2**m * math.factorial(m)) / mpmath.sqrt(math.factorial(k))
            )
            table[k, m] = float(t * factor)
    return table if np.isfinite(table).all() else None


def taylor_coefficients(act: Activation, q: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """f_k(q), shape (rows, terms), and whether the expansion has converged, (rows,); nothing where it has not.

    Converged means that the last two powers of q are below rounding of the sum, for every coefficient that counts, and that
    the coefficients beyond ``DEGREE/2`` do not count. What the expansion cannot see at all (e^{−R²/2q} for a pole at distance
    R) is far smaller then.
    """
    coefficients = np.zeros((q.size, terms))
    small = (q > 0) & (q <= SMALL_VARIANCE)
    table = _powers_table(act) if small.any() else None
    if table is None:
        return coefficients, np.zeros(q.size, dtype=bool)
    at = q[small]
    with np.errstate(under="ignore"):
        powers = at[:, None] ** np.arange(DEGREE // 2 + 1)
        orders = at[:, None] ** (np.arange(DEGREE + 1) / 2)
        found = (powers @ table.T) * orders
        size = np.sqrt((found**2).sum(axis=1))
        half = DEGREE // 2
        last = np.stack([np.abs(powers[:, m] * table[k, m]) for k in range(half) for m in _last(k)], axis=1)
        last = last.reshape(at.size, half, 2).max(axis=2) * orders[:, :half]
        counts = np.abs(found[:, :half]) > EPS**2 * size[:, None]
        converged = (~counts | (last <= EPS / 4 * np.abs(found[:, :half]))).all(axis=1)
        converged &= (np.abs(found[:, half:]) <= EPS * size[:, None]).all(axis=1) & (size > 0)
    kept = min(terms, DEGREE + 1)
    coefficients[small, :kept] = found[:, :kept]
    good = np.zeros(q.size, dtype=bool)
    good[small] = converged
    return coefficients, good


def _last(k: int) -> tuple[int, int]:
    top = (DEGREE - k) // 2
    return top - 1, top
