"""The covariance [[q, c], [c, q']] of a pair of centred Gaussians, with its determinant kept exact to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import plain, shifted
from kernelcalc.errors import CovarianceError, NotFiniteError, ShapeError
from kernelcalc.machine import unlocked_property

# Rounding of c² against qq' that is taken as |ρ| = 1: a dot product of n terms errs by about √n ε; measured on
# duplicate rows of 10⁴-dimensional data, the excess stays below 1e-14.
PARALLEL_ROUNDING = 1e-13

# Products of two variances, split exactly, must not overflow.
LARGEST = 1e140

# No product is within an eighth of its pair's c² if even the largest c² is below this times the smallest q q'.
SURELY_APART = 0.87

# Nor if even the smallest qq' − c² is above this times the largest qq': an eighth with some rounding.
DIFFERENT = 0.126

# Veltkamp's constant 2^27 + 1 splits a double into two halves whose products are exact.
_SPLITTER = 134217729.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariance:
    """Arrays q, q', c of one shape and ``det`` = qq' − c² ≥ 0 with a relative error of a few ulp.

    ρ = c/√(qq') alone loses half of the digits of √(1 − ρ²) near ρ = ±1; with ``det`` nothing is lost. ``gap`` is q − q' where
    that is known better than by the difference, and NaN elsewhere.
    """

    q: np.ndarray
    qp: np.ndarray
    c: np.ndarray
    det: np.ndarray
    gap: np.ndarray | None = None

    @property
    def rho(self) -> np.ndarray:
        """Correlation c/√(qq'), 0 where q or q' is 0."""
        scale = np.sqrt(self.q) * np.sqrt(self.qp)
        return np.divide(self.c, scale, out=np.zeros(np.shape(scale)), where=scale > 0)

    @unlocked_property
    def extremes(self) -> tuple[float, float, float, float, float]:
        """The least and the largest q, the least and the largest q', the largest |c|."""
        q, qp, c = self.q, self.qp, self.c
        low, high = float(q.min()), float(q.max())
        low_p, high_p = (low, high) if qp is q else (float(qp.min()), float(qp.max()))
        return low, high, low_p, high_p, high if c is q else max(float(c.max()), -float(c.min()))

    def of_rows(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """function(q)."""
        return function(self.q)

    def of_columns(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """function(q')."""
        return function(self.qp)

    @unlocked_property
    def c_square(self) -> np.ndarray:
        """c²."""
        return self.c * self.c

    def smoothed(self, v: float, vp: float) -> np.ndarray:
        """(q + v)(q' + v') − c²."""
        # the same for (b, a)
        found = self.of_rows(lambda q: vp * q + v * vp / 2) + self.of_columns(lambda q: v * q + v * vp / 2)
        found += self.det
        return found

    def take(self, mask: np.ndarray) -> Covariance:
        """The pairs selected by a mask or index."""
        gap = None if self.gap is None else self.gap[mask]
        return Covariance(q=self.q[mask], qp=self.qp[mask], c=self.c[mask], det=self.det[mask], gap=gap)

    def swapped(self) -> Covariance:
        """The covariance of (b, a)."""
        return Covariance(q=self.qp, qp=self.q, c=self.c, det=self.det)


@dataclass(frozen=True, kw_only=True, eq=False)
class PointCovariance(Covariance):
    """Of points i and i + d modulo their number, d a row: functions of a variance are computed once a point.

    ``variances`` (n,) are those of the points; q has shape (1, n), q', c and ``det`` one row for each d.
    """

    variances: np.ndarray

    @unlocked_property
    def extremes(self) -> tuple[float, float, float, float, float]:
        # c² ≤ qq', and equality where a point is with itself
        low, high = float(self.variances.min()), float(self.variances.max())
        return low, high, low, high, high

    def of_columns(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return shifted(function(self.variances), len(self.c))


class ApartCovariance(Covariance):
    """Of pairs none of which is nearly parallel: qq' − c² where it is asked for, with no more than 8 ulp of rounding.

    The first ``own`` rows are points with themselves, for which c is q and qq' − c² is 0.
    """

    own: int

    def __init__(self, q: np.ndarray, qp: np.ndarray, c: np.ndarray, own: int = 0, **more: Any) -> None:
        vars(self).update(q=q, qp=qp, c=c, own=own, **more)

    @unlocked_property
    def det(self) -> np.ndarray:
        found = self.q * self.qp
        found -= self.c_square
        found[: self.own] = 0.0
        return found

    def smoothed(self, v: float, vp: float) -> np.ndarray:
        qp = self.of_columns(lambda q: q + vp)
        found = self.of_rows(lambda q: q + v) * qp
        found -= self.c_square
        if self.own:
            found[: self.own] = v * qp[: self.own] + vp * self.q
        return found

    @property
    def holds(self) -> bool:
        """Whether none is, as the largest |c| and the smallest variances tell: an eighth with some rounding."""
        low, _, low_p, _, largest = self.extremes
        if self.own:
            others = self.c[self.own :]
            largest = max(float(others.max(initial=0.0)), -float(others.min(initial=0.0)))
        return largest * largest < SURELY_APART * low * low_p


class ApartPoints(ApartCovariance, PointCovariance):
    """The same of points i and i + d."""


def product_error(a: np.ndarray, b: np.ndarray, product: np.ndarray) -> np.ndarray:
    """a·b − fl(a·b) exactly (Dekker, Numerische Mathematik 18, 1971)."""
    a_high = _SPLITTER * a
    a_high = a_high - (a_high - a)
    b_high = _SPLITTER * b
    b_high = b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def determinant(q: np.ndarray, qp: np.ndarray, c: np.ndarray, own: int = 0) -> np.ndarray:
    """qq' − c² with both products' rounding errors accounted for; 0 for the first ``own``, points with themselves.

    Examples
    --------
    >>> float(determinant(np.float64(1.0), np.float64(1.0), np.float64(1 - 2.0**-53)))
    2.220446049250313e-16
    """
    return determinant_and_close(q, qp, c, own)[0]


def determinant_and_close(
    q: np.ndarray, qp: np.ndarray, c: np.ndarray, own: int = 0
) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
    """:func:`determinant`, and the indices of all other pairs with qq' − c² ≤ qq'/8; None where there are none.

    With ``own`` all are pairs of the points of q.
    """
    first, square = q * qp, c * c
    own_place = isinstance(square, np.ndarray) and square.shape == first.shape
    det = np.asarray(np.subtract(first, square, out=square if own_place else None))
    others, apart, variances = (c[own:], det[own:], q) if own else (c, det, qp)
    if own:
        det[:own] = 0.0
    most = float(q.max(initial=0.0)) * float(variances.max(initial=0.0))
    if float(apart.min(initial=np.inf)) > DIFFERENT * most:
        return det, None
    largest = max(float(others.max(initial=0.0)), -float(others.min(initial=0.0)))
    if largest * largest < SURELY_APART * float(q.min(initial=np.inf)) * float(variances.min(initial=np.inf)):
        return det, None
    # Elsewhere the rounding of the products is no more than 8 ulp of their difference.
    close = np.asarray(det <= first / 8)
    if own:
        close[:own] = False
    flat = np.flatnonzero(close)  # of one axis: several times as fast
    if not flat.size:
        return det, None
    index = np.unravel_index(flat, close.shape) if close.ndim else ()
    if flat.size == close.size:
        return det + (product_error(q, qp, first) - product_error(c, c, c * c)), index
    q, qp, first, c = (np.broadcast_to(v, close.shape)[index] for v in (q, qp, first, c))
    det[index] += product_error(q, qp, first) - product_error(c, c, c * c)
    return det, index


def make_covariance(q: Any, qp: Any, c: Any) -> Covariance:
    """Check and broadcast (q, q', c).

    Raises
    ------
    NotFiniteError
        For NaN or infinity.
    ShapeError
        If the shapes do not broadcast.
    CovarianceError
        If q < 0, q' < 0 or c² > qq' by more than rounding.
    """
    given = [plain(v, name) for name, v in (("q1", q), ("q2", qp), ("c", c))]
    if any(v.dtype.kind in "cmM" for v in given):
        raise ShapeError("real arrays q1, q2, c that broadcast", ", ".join(str(v.dtype) for v in given))
    try:
        arrays = [np.asarray(v, dtype=np.float64) for v in given]
        q, qp, c = np.broadcast_arrays(*arrays)
    except (TypeError, ValueError) as error:
        raise ShapeError("real arrays q1, q2, c that broadcast", str(error)) from error
    for name, array in (("q1", q), ("q2", qp), ("c", c)):
        if not np.isfinite(array).all():
            raise NotFiniteError(f"finite numbers in {name}", "NaN or infinity")
    for name, array in (("q1", q), ("q2", qp)):
        bad = (array < 0) | (array > LARGEST)
        if bad.any():
            raise CovarianceError(f"a variance 0 ≤ {name} ≤ {LARGEST:g}", f"{array[bad].flat[0]}")
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        det = determinant(q, qp, c)
        # By roots as well: products of very small numbers underflow and would hide an excess.
        excess = (det < -PARALLEL_ROUNDING * q * qp) | (np.abs(c) > np.sqrt(q) * np.sqrt(qp) * (1 + PARALLEL_ROUNDING))
    if excess.any():
        at = tuple(float(v[excess].flat[0]) for v in (q, qp, c))
        raise CovarianceError("a covariance with c² ≤ q1·q2", f"q1={at[0]!r}, q2={at[1]!r}, c={at[2]!r}")
    return Covariance(q=q, qp=qp, c=c, det=np.maximum(det, 0.0))
