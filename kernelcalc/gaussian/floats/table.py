"""Hermite coefficients at many variances, interpolated in log q from a few."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import KernelcalcError
from kernelcalc.gaussian.floats.nodes import chebyshev_coefficients
from kernelcalc.gaussian.floats.norms import lower_norms
from kernelcalc.gaussian.floats.series import HermiteSeries, SeriesBounds, hermite_series, with_bounds
from kernelcalc.gaussian.floats.steps import ROW_BLOCK
from kernelcalc.gaussian.floats.taylor import SMALL_VARIANCE

# Chebyshev nodes in log q tried one after the other, from the first that may suffice.
TABLE_NODES = (8, 12, 16, 24, 48, 96)
# Those of an octave of variances.
OCTAVE_NODES = 24
# Variances between the nodes at which interpolated coefficients are compared with computed ones.
CHECKS = 9
# Largest difference there, relative to the function's norm.
INTERPOLATED = 16 * EPS


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesTable:
    """Coefficients and energy E f² as Chebyshev polynomials in log q between two variances.

    Attributes
    ----------
    low, high : float
        log q at the ends.
    table : ndarray (nodes, K + 1)
        Chebyshev coefficients of the K Hermite coefficients and of the energy.
    error, slack : float
        Bounds on the 2-norm of the coefficients' error relative to the function's norm, and on the energy's relative to it,
        interpolation included.
    """

    low: float
    high: float
    table: np.ndarray
    error: float
    slack: float

    def values(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (n, K) and energies (n,) at variances of shape (n,)."""
        u = (2 * np.log(q) - self.low - self.high) / max(self.high - self.low, EPS)
        angle = np.arccos(np.minimum(np.maximum(u, -1.0), 1.0))
        polynomials = np.cos(np.arange(len(self.table)) * angle[:, None])
        return polynomials @ self.table[:, :-1], polynomials @ self.table[:, -1]

    def __call__(self, q: np.ndarray) -> HermiteSeries:
        coefficients, energy = self.values(q)
        return with_bounds(coefficients, energy, self.error * np.sqrt(energy), slack=self.slack)


def series_table(act: Activation, low: float, high: float, *, length: int, nodes: int) -> SeriesTable | None:
    """Interpolate the Hermite series of f between two variances, or None where so many nodes leave more than rounding."""
    first, last = math.log(low), math.log(high)
    at = np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes)
    between = np.cos(np.linspace(0.06, 3.08, CHECKS))
    q = np.exp((first + last) / 2 + (last - first) / 2 * np.concatenate([at, between]))
    series = hermite_series(act, q, length=length)
    norm = series.bounds.norm
    if not np.isfinite(series.bounds.error).all() or not (norm > 0).all():
        return None
    known = np.column_stack([series.coefficients, norm**2])
    table = np.ascontiguousarray(chebyshev_coefficients(known[:nodes].T).T)
    found = SeriesTable(low=first, high=last, table=table, error=0.0, slack=0.0)
    coefficients, energy = found.values(q[nodes:])
    moved = np.linalg.norm(coefficients - known[nodes:, :-1], axis=1) / norm[nodes:]
    energy = np.abs(energy - known[nodes:, -1]) / known[nodes:, -1]
    if not (moved <= INTERPOLATED).all() or not (energy <= INTERPOLATED).all():
        return None
    error = float((series.bounds.error / norm).max() + 2 * moved.max())
    return replace(found, error=error, slack=float(2 * EPS + 2 * energy.max()))


def many_series(act: Activation, q: np.ndarray, *, length: int) -> HermiteSeries:
    """As :func:`~kernelcalc.gaussian.floats.series.hermite_series` at sorted variances; many are interpolated from a few."""
    small = int(np.searchsorted(q, SMALL_VARIANCE, side="right"))
    if 0 < small < q.size:
        return _joined([many_series(act, q[:small], length=length), many_series(act, q[small:], length=length)])
    if not act.kinks and not small:
        for nodes in _promising(q[0], q[-1]):
            if q.size <= 2 * nodes:
                break
            table = series_table(act, q[0], q[-1], length=length, nodes=nodes)
            if table is not None:
                return table(q)
    parts = [hermite_series(act, q[start : start + ROW_BLOCK], length=length) for start in range(0, q.size, ROW_BLOCK)]
    return _joined(parts)


def _promising(low: float, high: float) -> list[int]:
    """Numbers of nodes that may reach rounding.

    f(√q z) with poles on the imaginary axis only is regular for |Im log q| < π: on an interval of half-width w its Chebyshev
    coefficients fall as (π/w + √(1 + π²/w²))^{−n} (Trefethen, Approximation Theory and Approximation Practice, Theorem 8.1).
    """
    width = math.log(high / low) / 2
    return [nodes for nodes in TABLE_NODES if nodes * math.asinh(math.pi / max(width, EPS)) >= -math.log(EPS)]


def _joined(parts: list[HermiteSeries]) -> HermiteSeries:
    names = [f.name for f in fields(SeriesBounds)]
    bounds = {name: np.concatenate([getattr(p.bounds, name) for p in parts]) for name in names}
    return HermiteSeries(
        coefficients=np.concatenate([p.coefficients for p in parts]),
        bounds=SeriesBounds(**bounds),
        relative=np.concatenate([p.relative for p in parts]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class OctaveTables:
    """Several derivatives of σ for 2^octave ≤ q ≤ 2^(octave + 1), of one length K.

    ``table`` (nodes, derivatives, K + 1), ``error`` and ``slack`` (derivatives,) as in SeriesTable; ``norms`` (derivatives,
    exponents) are the smallest of some lower norms.
    """

    octave: int
    table: np.ndarray
    error: np.ndarray
    slack: np.ndarray
    norms: np.ndarray

    def values(self, q: float) -> np.ndarray:
        """Coefficients and energies (derivatives, K + 1) at one variance."""
        u = 2 * (math.log2(q) - self.octave) - 1
        weights = np.cos(np.arange(len(self.table)) * math.acos(min(max(u, -1.0), 1.0)))
        return np.tensordot(weights, self.table, 1)


@lru_cache(maxsize=64)
def octave_tables(act: Activation, orders: tuple[int, ...], octave: int) -> OctaveTables | None:
    """Tables of the derivatives of these orders, kept for the next call; None where interpolation does not reach rounding."""
    low, high = 2.0**octave, 2.0 ** (octave + 1)
    functions = [act.derivative(k) for k in orders]
    try:
        length = max(hermite_series(f, np.array([high]), reach=1.0).coefficients.shape[1] for f in functions)
        tables = [series_table(f, low, high, length=length, nodes=OCTAVE_NODES) for f in functions]
    except KernelcalcError:
        return None
    known = [t for t in tables if t is not None]
    if len(known) < len(tables):
        return None
    return OctaveTables(
        octave=octave,
        table=np.stack([t.table for t in known], axis=1),
        error=np.array([t.error for t in known]),
        slack=np.array([t.slack for t in known]),
        norms=np.stack([lower_norms(f, np.geomspace(low, high, OCTAVE_NODES)).min(axis=0) for f in functions]),
    )
