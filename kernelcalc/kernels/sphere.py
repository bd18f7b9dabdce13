"""Kernels of points of equal norm: functions of one correlation, interpolated once and evaluated everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.gaussian.floats.nodes import chebyshev_coefficients

# Norms that differ by no more than this, relative, are rounded from one (some thousand inputs: 16 ulp were exceeded).
SAME_NORM = 64 * EPS
# Chebyshev nodes tried one after the other.
NODE_COUNTS = (32, 64, 128, 256)
# Coefficients below this, relative to the largest, are rounding of the values interpolated.
NEGLIGIBLE = 4 * EPS
# Largest error accepted, relative to the kernel within a twentieth of the range: between nodes, and of the rounding.
ACCEPTED = 1e-12
WINDOW = 0.05
# Points treated at once: all T_k of so many stay in the second-level cache.
CHUNK = 4096


def one_norm(*variances: np.ndarray) -> float | None:
    """The common variance of all points, or None."""
    apart = {id(q): q for q in variances}.values()
    low, high = min(q.min() for q in apart), max(q.max() for q in apart)
    return float((low + high) / 2) if low > 0 and high - low <= SAME_NORM * high else None


@dataclass(frozen=True, kw_only=True, eq=False)
class CorrelationTable:
    r"""Kernels h(ρ) = Σ_k c_k T_k(ρ/R) for |ρ| ≤ R.

    Attributes
    ----------
    coefficients : ndarray (kernels, degree + 1)
        Chebyshev coefficients; of an odd or even h every other one is exactly 0, so small values keep their digits.
    reach : float
        R.
    """

    coefficients: np.ndarray
    reach: float

    def __call__(self, rho: np.ndarray) -> np.ndarray:
        """Values at ρ of shape (n,), as (kernels, n)."""
        degree = self.coefficients.shape[1] - 1
        values = np.empty((self.coefficients.shape[0], rho.size))
        table = np.empty((degree + 1, min(CHUNK, rho.size)))
        for start in range(0, rho.size, CHUNK):
            u = rho[start : start + CHUNK] / self.reach
            part = table[:, : u.size]
            part[0] = 1.0
            if degree:
                part[1] = u
            u *= 2.0
            for k in range(2, degree + 1):
                np.multiply(u, part[k - 1], out=part[k])
                part[k] -= part[k - 2]
            values[:, start : start + CHUNK] = self.coefficients @ part
        return values


def correlation_table(kernels: Callable[[np.ndarray], np.ndarray], reach: float) -> CorrelationTable | None:
    """Interpolate kernels (count, n) of ρ (n,), or None where polynomials of degree 255 do not resolve them.

    Examples
    --------
    >>> table = correlation_table(lambda rho: np.arcsin(rho / 2)[None, :], 1.0)
    >>> bool(np.allclose(table(np.array([1.0, -0.3])), np.arcsin([0.5, -0.15]), rtol=1e-15))
    True
    """
    checks = reach * np.cos(np.linspace(0.05, 3.1, 23))
    wanted = kernels(checks)
    for count in NODE_COUNTS:
        nodes = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        coefficients = chebyshev_coefficients(kernels(reach * nodes))
        size = np.abs(coefficients).max(axis=1, keepdims=True)
        for parity in (0, 1):
            rows = (np.abs(coefficients[:, parity::2]) <= NEGLIGIBLE * size).all(axis=1)
            coefficients[rows, parity::2] = 0.0
        last = float((np.abs(coefficients[:, -4:]).max(axis=1) / np.where(size > 0, size, 1.0)[:, 0]).max())
        if last > NEGLIGIBLE:
            # Even if they fell geometrically, the most nodes would not be enough.
            if last ** (NODE_COUNTS[-1] / count) > NEGLIGIBLE:
                return None
            continue
        significant = np.flatnonzero((np.abs(coefficients) > NEGLIGIBLE / 2 * size).any(axis=0))
        degree = int(significant[-1]) if significant.size else 0
        table = CorrelationTable(coefficients=np.ascontiguousarray(coefficients[:, : degree + 1]), reach=reach)
        return table if _agrees(table, checks, wanted) else None
    return None


def _agrees(table: CorrelationTable, checks: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether errors between nodes and rounding are small against the kernel's size around each check point."""
    found = table(checks)
    around = [table(np.clip(checks + step * table.reach, -table.reach, table.reach)) for step in (-WINDOW, WINDOW)]
    local = np.abs([found, *around]).max(axis=0)
    rounding = EPS * np.abs(table.coefficients).sum(axis=1, keepdims=True)
    return bool((np.maximum(np.abs(found - wanted), rounding) <= ACCEPTED * local).all())
