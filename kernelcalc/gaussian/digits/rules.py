"""Nodes of Gauss and Legendre on panels that are graded towards marks, and of the trapezoidal rule, in mpmath numbers."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np

from kernelcalc.gaussian.digits.fixed_point import number
from kernelcalc.machine import MULTIPRECISION

# A panel of length ℓ (in units of the local scale) takes digits·(NODES + NODES_PER_LENGTH ℓ) nodes: the Gaussian density
# wants the second, a singularity at the distance ℓ of the panel, or 2ℓ of its middle, the first.
NODES, NODES_PER_LENGTH, LONGEST = 0.5, 0.085, 9.0
# Bits that the recursion of Legendre's polynomials loses near ±1, and those that are right in NumPy's nodes.
LEGENDRE_BITS, FLOAT_BITS = 48, 44
# Distances below this are taken between mpmath numbers.
NEARBY = 1e-3


@lru_cache(maxsize=64)
def legendre(count: int, bits: int) -> tuple[list[Any], list[Any]]:
    """Nodes and weights of Gauss and Legendre on [−1, 1]: NumPy's nodes, and Newton's steps in integers of 2^−bits."""
    bits += LEGENDRE_BITS
    one = 1 << bits
    start = np.polynomial.legendre.leggauss(count)[0]
    z = np.array([int(math.ldexp(v, 60)) << (bits - 60) for v in start], dtype=object)
    for _ in range(math.ceil(math.log2(bits / FLOAT_BITS))):
        value, slope = _polynomial(count, z, bits)
        z = z - value * one // slope
    _, slope = _polynomial(count, z, bits)
    weights = 2 * one * one // ((((one - (z * z >> bits)) * slope >> bits) * slope) >> bits)
    with MULTIPRECISION, mpmath.workprec(bits):
        return [number(v, bits) for v in z], [number(v, bits) for v in weights]


def _polynomial(count: int, z: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """P_count and its slope by the three-term recursion."""
    one = 1 << bits
    before, value = np.full(len(z), one, dtype=object), z
    for n in range(2, count + 1):
        before, value = value, ((2 * n - 1) * (z * value >> bits) - (n - 1) * before) // n
    return value, count * ((z * value >> bits) - before) * one // ((z * z >> bits) - one)


Mark = tuple[Any, float]


def mesh(marks: list[Mark], layers: list[Mark], reach: float) -> list[tuple[Any, Any, float]]:
    """Panels (left, right, length in local units): as long as their distance from every mark, or its first length."""
    inside = [p for p, _ in (*marks, *layers) if abs(p) < reach]
    edges = sorted({mpmath.mpf(-reach), mpmath.mpf(reach), *inside})
    pending = list(zip(edges[:-1], edges[1:], strict=True))[::-1]
    first, grades = _Distances(marks), _Distances(layers)
    done = []
    while pending:
        left, right = pending.pop()
        length, unit = float(right - left), 1.0
        longest = min(LONGEST, np.maximum(first.widths, first.to(left, right)).min(initial=LONGEST))
        widths = grades.widths[grades.to(left, right) < 2 * LONGEST * grades.widths]
        if widths.size:
            longest, unit = min(longest, LONGEST * widths.min()), min(unit, widths.min())
        if length > longest * (1 + 1e-9):
            middle = (left + right) / 2
            pending += [(middle, right), (left, middle)]
        else:
            done.append((left, right, length / unit))
    return done


class _Distances:
    """How far panels are from marks: in floats, which would cancel nearby."""

    def __init__(self, marks: list[Mark]) -> None:
        self._exact = [at for at, _ in marks]
        self._at = np.array([float(at) for at in self._exact])
        self.widths: np.ndarray = np.array([width for _, width in marks], dtype=float)

    def to(self, left: Any, right: Any) -> np.ndarray:
        """From every mark to the nearer end, negative within."""
        found = np.maximum(float(left) - self._at, self._at - float(right))
        for place in np.flatnonzero(np.abs(found) < NEARBY):
            at = self._exact[place]
            found[place] = max(float(left - at), float(at - right))
        return found


def panel_nodes(
    panels: list[tuple[Any, Any, float]], digits: int, refinement: float, bits: int
) -> list[tuple[Any, Any, Any]]:
    """(node, weight, middle of its panel); every refinement has numbers of nodes of its own."""
    found = []
    for left, right, length in panels:
        count = math.ceil(refinement * 4 * math.ceil(digits * (NODES + NODES_PER_LENGTH * length) / 4))
        middle, half = (left + right) / 2, (right - left) / 2
        nodes, weights = legendre(count, bits)
        found += [(middle + half * z, half * w, middle) for z, w in zip(nodes, weights, strict=True)]
    return found


@lru_cache(maxsize=64)
def whole_line(reach: float, fineness: float, refinement: float, bits: int) -> list[tuple[Any, Any]]:
    """Trapezoidal rule for the normal density."""
    h = 0.8 * 2 * math.pi / math.sqrt(2 * bits * math.log(2)) * fineness / math.sqrt(refinement)
    n = int(reach / h)
    with MULTIPRECISION, mpmath.workprec(bits):
        return [(k * mpmath.mpf(h), h * mpmath.npdf(k * mpmath.mpf(h))) for k in range(-n, n + 1)]
