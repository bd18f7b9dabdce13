"""Errors of Mehler series, what they are relative to, and whether they are small enough.

Errors are relative to E|f(a)g(b)|, which is bounded from below without a double integral.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.floats.nodes import half_line, log_stretch

# Error aimed at, relative to E|f(a)g(b)|.
RTOL = 1e-11
# Each of the norms that bound E|fg| from below holds for |ρ| ≤ 1 − p: p-norms first, then means under a narrower Gaussian.
P_NORMS = (0.9, 0.75, 0.5, 0.25, 0.125, 1 / 64)
NARROWED = (0.5, 0.125, 1 / 64, 1 / 1024)
NORM_EXPONENTS = P_NORMS + NARROWED
# So many norms are looked at in an octave, and this part of the least of them is taken: between them norms fall to 0.6 of it
# (seen: waves), or 0.86 where functions nearly vanish.
PER_OCTAVE, LITTLE_LESS = 4, 0.25
_REACHES = 1 - np.array(NORM_EXPONENTS)
# Beyond, none of them holds.
FARTHEST_REACH = float(_REACHES.max())


def lower_norms(act: Activation, q: np.ndarray) -> np.ndarray:
    r"""Norms of f(√q Z) whose products bound E|f(a)g(b)| from below for |ρ| ≤ 1 − p, shape (rows, len(NORM_EXPONENTS)).

    They give the scale that relative errors refer to without a double integral:

    - ‖f‖_p = (E|f(√q Z)|^p)^{1/p}, by reverse hypercontractivity (Borell 1982; Mossel, Oleszkiewicz, Sen 2013);
    - E|f(√q Z)| e^{−Z²(1/p − 1)/2}, for functions that live near 0: with u = a/√q, v = b/√q' the exponent of the density,
      (u² − 2ρuv + v²)/2(1 − ρ²), is at most (u² + v²)/2(1 − |ρ|).
    """
    z, density = half_line(16, log_stretch(float(np.sqrt(q).max(initial=0.0))))
    z, density = np.concatenate([-z[::-1], z]), np.concatenate([density[::-1], density])
    if act.narrow:
        # No more than panels that know of narrow features show, which the rule above may miss or overrate.
        return np.zeros((q.size, len(NORM_EXPONENTS)))
    size = np.abs(act(np.sqrt(q)[:, None] * z, check=False))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = [(power @ density) ** (1 / p) for p, power in zip(P_NORMS, _powers(size), strict=True)]
        norms += [size @ (density * np.exp(-(z**2) * (1 / p - 1) / 2)) for p in NARROWED]
    table = np.stack(norms, axis=1)
    return np.where(np.isfinite(table), table, 0.0)


def _powers(size: np.ndarray) -> Iterator[np.ndarray]:
    """size^p for all of P_NORMS, by roots where these give it: powers take several times as long."""
    half = np.sqrt(size)
    quarter = np.sqrt(half)
    eighth = np.sqrt(quarter)
    yield from (size**0.9, half * quarter, half, quarter, eighth, np.sqrt(np.sqrt(np.sqrt(eighth))))


def octaves(q: np.ndarray) -> tuple[float, float]:
    """Powers of two around all variances; 0 is below them."""
    low, high = float(q.min()), float(q.max())
    return 2.0 ** (math.frexp(low)[1] - 1) if low > 0 else 0.0, 2.0 ** math.frexp(high)[1] if high > 0 else 0.0


@lru_cache(maxsize=4096)
def least_norms(function: Activation, ends: tuple[float, float]) -> np.ndarray:
    """No more than the lower norms between two variances, (1, exponents): a part of the smallest at some of them."""
    if ends[0] <= 0:
        return np.zeros((1, len(NORM_EXPONENTS)))
    q = np.geomspace(*ends, num=1 + PER_OCTAVE * round(math.log2(ends[1] / ends[0])))
    return LITTLE_LESS * lower_norms(function, q).min(axis=0, keepdims=True)


@np.errstate(over="ignore")
def scale_below(norms_f: np.ndarray, norms_g: np.ndarray, rho: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A lower bound of E|f(a)g(b)|: |value| or a product of lower norms, whichever is larger."""
    scale = np.abs(value)
    for index, p in enumerate(NORM_EXPONENTS):
        bound = norms_f[..., index] * norms_g[..., index]
        scale = np.maximum(scale, np.where(np.abs(rho) <= 1 - p, bound, 0.0))
    return scale


@np.errstate(over="ignore")
def smallest_scale(norms_f: np.ndarray, norms_g: np.ndarray, reach: float) -> float:
    """A lower bound of E|f(a)g(b)| for every row of the norms of f and of g and every |ρ| ≤ reach."""
    products = norms_f.min(axis=0) * norms_g.min(axis=0)
    return float(products.max(where=reach <= _REACHES, initial=0.0))


def enough(
    value: np.ndarray, error: np.ndarray, rho: np.ndarray, norms_f: np.ndarray, norms_g: np.ndarray, *, rtol: float
) -> np.ndarray:
    """Where an error is at most rtol·E|f(a)g(b)|, as far as the value and the norms (one axis more, the last) tell."""
    done = error <= rtol * np.abs(value)
    if done.all():
        return done
    return done | (error <= rtol * scale_below(norms_f, norms_g, rho, np.zeros_like(value)))


class Cut(NamedTuple):
    """What is known of one factor of a Mehler series that ends after K terms.

    ``tail`` is the norm of what comes after, ``size`` that of the K terms and ``noise`` that of the coefficients' own errors,
    the latter two damped: √(Σ_k f_k² r^k) for some r ≥ |ρ|.
    """

    tail: np.ndarray
    size: np.ndarray
    noise: np.ndarray


def series_error(beyond: np.ndarray | float, f: Cut, g: Cut) -> np.ndarray:
    """Bound on the error of Σ_{k<K} f_k g_k ρ^k by Cauchy–Schwarz; ``beyond`` is |ρ|^K, all arrays broadcast."""
    # 8 ε for the sum, 8 ε for coefficients that were left out as rounding.
    # 0 · ∞, where a tail or a size is beyond float64, bounds nothing
    with np.errstate(invalid="ignore", over="ignore"):
        own = f.noise * g.size + g.noise * f.size
        found = beyond * f.tail * g.tail + (own + 16 * EPS * f.size * g.size)
    return np.where(np.isnan(found), np.inf, found)
