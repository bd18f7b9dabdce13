r"""Traces of powers of the weighted kernel from the leading eigenvectors of Θ, with a bound on what is left out.

With weights d of the points, :math:`d^½ Θ d^½ = U λ U^T` and :math:`L = d^{-½} U λ^½ = (v, W)`, v the first column, λ
decreasing, Θ = L Lᵀ and the traces of 𝓗C Θ are those of the positive semidefinite

.. math::
    L^T 𝓗C L = \begin{pmatrix} A_0 & X_0 \\ X_0^T & M \end{pmatrix}.

Traces of its first two powers need entries only. Kernels have one eigenvalue far above the others, and v is exact: with
:math:`Θ' = W W^T = Θ - v v^T`, :math:`g_i = \sum_k Θ'_{ik} v_k B_k` and :math:`h_i = B_i g_i`,

.. math::
    A_0 = \sum_i v_i^2 B_i, \quad Q_0 = X_0 X_0^T = \sum_i v_i h_i, \quad X_0 M X_0^T = \sum_i g_i h_i, \quad
    |X_0 M|^2 = \sum_{ik} Θ'_{ik} \mathrm{Tr}\, h_i^T h_k,

and the traces of third and fourth powers are

.. math::
    & \langle A_0, A_0^2 + 3 Q_0 \rangle + 3 \mathrm{Tr} X_0 M X_0^T + \mathrm{Tr} M^3, \\
    & |A_0^2|^2 + 4 \langle A_0^2, Q_0 \rangle + 2 |Q_0|^2 + 4 \mathrm{Tr} A_0 X_0 M X_0^T + 4 |X_0 M|^2 + \mathrm{Tr} M^4.

With W = (V, ·), V the next r columns,

.. math::
    M = \begin{pmatrix} A & X \\ X^T & Z \end{pmatrix}.

With Q = X Xᵀ, whose size is that of A, everything of first order in Z and more,

.. math::
    \mathrm{Tr} M^3 &= \langle A, A^2 + 3Q \rangle + 3 \mathrm{Tr} X Z X^T + \mathrm{Tr} Z^3, \\
    \mathrm{Tr} M^4 &= |A^2|^2 + 4 \langle A^2, Q \rangle + 2 |Q|^2
        + 4 \mathrm{Tr} A X Z X^T + 4 |X Z|^2 + |Z^2|^2.

The terms with Z, all ≥ 0, are left out. With the Frobenius norm f of Z, :math:`f^2 = \mathrm{Tr} M^2 - |A|^2 - 2\mathrm{Tr} Q`,
and z ≤ f not below its largest eigenvalue, they are at most

.. math::
    3 \min(z\,\mathrm{Tr} Q, f |Q|) + z f^2, \qquad
    4 \min(z \langle A, Q \rangle, f \sqrt{\mathrm{Tr}(AQ)^2}) + 4 \min(z^2\,\mathrm{Tr} Q, f^2 |Q|) + z^2 f^2.

Of the columns of X the first ones are kept, as far as the R-th of W: Q = P + T, T from the others, is taken as P, which
leaves out

.. math::
    3 \langle A, T \rangle \le 3 a τ, \qquad
    4 \langle A^2, T \rangle + 2 (|Q|^2 - |P|^2) \le 4 a^2 τ + 4 |P| τ + 2 τ^2

more, where :math:`a^8 = \mathrm{Tr} A^8` and, with W' the columns of W beyond R,
:math:`τ = \mathrm{Tr}\, T = \sum_{ik} (V V^T)_{ik} (W' W'^T)_{ik} \mathrm{Tr}\, B_i B_k` needs entries only. Above,
Tr Q = Tr P + τ, |Q| ≤ |P| + τ, ⟨A, Q⟩ ≤ ⟨A, P⟩ + aτ, √Tr (AQ)² ≤ √Tr (AP)² + aτ.

Since B_i ≤ |B_i| Id, Z is at most :math:`G ⊗ Id` with :math:`G = Y^T \mathrm{diag}(|B_i|) Y`, Y the columns of W beyond r,
and the largest eigenvalue of G at most the sum of those of its two diagonal blocks. That of the columns up to the R-th,
:math:`G_1`, is at most :math:`(\mathrm{Tr}\, G_1^{16})^{1/16}`, the other at most :math:`λ_{R+1} \max_i |B_i| / d_i` with the
eigenvalues λ that belong to W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.training.packed import folded, overlaps, packed, places, side, unpacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# What is tried, one after the other: whether the first column is taken exactly, the rank r, columns R. Of grids of these the
# fastest for a tolerance of 1e-3 (measured, tanh, 256 digits, whole training); beyond the last the exact traces are as fast.
_LEVELS = (
    *((False, rank, 5 * rank) for rank in (6, 7, 8, 9, 10, 11)),
    *((False, rank, columns) for rank, columns in ((11, 66), (12, 72), (12, 84), (13, 91), (14, 98))),
    *((True, rank, 6 * rank) for rank in (13, 14, 16, 18, 20, 22, 24, 26, 28, 32, 40, 48)),
)
# How often G_1 is squared: the fastest of 2, 3 and, with more columns kept, 4 (measured once each, tanh, 256 digits).
_SQUARINGS = 3
# Least weight of a point, relative to their mean.
_LEAST_WEIGHT = 1e-3
# Smallest number of points for which the first rank is faster than the exact traces (measured).
FEWEST = 128
# Tolerance from which the products of matrices are made in float32.
_SINGLE_RTOL = 1e-4
# Hessians that one call of ``each`` is for.
_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class _Columns:
    """What one choice of columns needs: v and Θ' where the first is exact, V_ia W_ie, up to e = r and beyond, and more of W."""

    rank: int
    first: tuple[Array, ...]
    inner: Array
    outer: Array
    tail: Array
    rest: Array
    beyond: float
    are_all: bool


class LeadingTraces:
    """Tr (𝓗C Θ)³ and Tr (𝓗C Θ)⁴ of batches of block-diagonal Hessians, to a relative tolerance where that is cheap.

    Parameters
    ----------
    theta : ndarray, (N, N)
        Symmetric; if it has an eigenvalue below zero beyond rounding, no trace is taken from here.
    rtol : float
        Relative tolerance of the bound.
    each : callable
        ``map``, or the map of an executor.
    """

    def __init__(self, theta: Array, rtol: float, each: Callable[..., Iterable[Any]] = map) -> None:
        self.theta: Array = theta
        self.rtol: float = rtol
        self.each: Callable[..., Iterable[Any]] = each
        self._squares: Array = folded(theta**2)
        self._of_levels: dict[int, _Columns] = {}
        self._levels: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._values: Array = np.empty(0)
        self.dtype: type[np.floating[Any]] = np.float32 if rtol >= _SINGLE_RTOL else np.float64
        # measured in float32, ten classes, N = 256: 40
        self._rounding: float = 64 * float(np.finfo(self.dtype).eps)
        if rtol > 0 and len(theta) >= FEWEST:
            self._decompose(np.ones(len(theta)))

    def _decompose(self, weights: Array) -> None:
        root = np.sqrt(weights)
        values, vectors = np.linalg.eigh(root[:, None] * self.theta * root)
        if values[0] >= -len(root) * EPS * values[-1]:
            self._weights, self._values = weights, np.maximum(values[::-1], 0.0)
            self._root = np.ascontiguousarray(vectors[:, ::-1] * np.sqrt(self._values) / root[:, None])
            self._of_levels.clear()

    def is_likely(self) -> bool:
        """Whether half of the highest rank would leave little enough of Θ itself; training asks for higher ones."""
        if not self._values.size:
            return False
        rest = self._values[_LEVELS[-1][1] // 2 :]
        return bool(rest[0] * np.sum(rest**2) <= self.rtol * np.sum(self._values**3))

    def second_traces(self, entries: Array) -> Array:
        """Tr (𝓗C Θ)², (S,)."""
        parts = _parts(np.arange(len(entries)))
        return np.concatenate(list(self.each(lambda part: overlaps(entries[part], self._squares), parts)))

    def traces(self, entries: Array, sizes: Array, second: Array) -> tuple[Array, Array]:
        """Traces below the true ones by at most the bounds.

        Parameters
        ----------
        entries : ndarray, (S, N, c (c + 1) / 2)
            𝓗C with its 1/N, positive semidefinite blocks by their entries on and above the diagonal.
        sizes : ndarray, (S, N)
            Not below the largest eigenvalues of the blocks.
        second : ndarray, (S,)
            As :meth:`second_traces` gives them.

        Returns
        -------
        traces, bounds : ndarray, (S, 2)
            Not a number where no rank meets the tolerance.
        """
        out = np.full((2, len(entries), 2), np.nan)
        # A loss that is not convex shows it at the first Hessian, or the bounds mean nothing.
        if not self._values.size or not _semidefinite(unpacked(entries[0])):
            return out[0], out[1]
        if len(self._levels) != len(entries):
            self._levels = np.zeros(len(entries), dtype=np.intp)
        # Training asks for more and more: each Hessian begins where it ended, none before the first one. That one first
        # has the points weighted anew: the fewer count, the faster the eigenvalues fall.
        levels, first, anew = self._levels, np.array([0]), True
        while levels[0] < len(_LEVELS) and not self._fill(out, entries, sizes, second, first, levels[0]).size:
            if anew:
                traces = np.abs(entries[..., packed(np.eye(side(entries.shape[-1]))) > 0]).sum(axis=(0, 2))
                self._decompose(np.maximum(traces / (traces.mean() or 1.0), _LEAST_WEIGHT))
            levels[0] += not anew
            anew = False
        np.maximum(levels, levels[0], out=levels)
        for level in range(levels[0], len(_LEVELS)):
            which = np.flatnonzero(levels == level)
            which = which[which > 0]
            if which.size:
                levels[np.setdiff1d(which, self._fill(out, entries, sizes, second, which, level))] += 1
        self._of_levels = {level: kept for level, kept in self._of_levels.items() if level >= levels[0]}
        return out[0], out[1]

    def _fill(
        self,
        out: Array,
        entries: Array,
        sizes: Array,
        second: Array,
        which: NDArray[np.intp],
        level: int,
    ) -> NDArray[np.intp]:
        """Enter traces and bounds of those Hessians that meet the tolerance at a rank, and say which."""
        columns = self._columns(level)

        def of_part(part: NDArray[np.intp]) -> tuple[Array, Array]:
            some = entries[part].astype(self.dtype)
            return _of_first(some, *columns.first) if columns.first else np.zeros((len(some), 3)), _of_rank(
                some, columns
            )

        heads, sums = map(np.concatenate, zip(*self.each(of_part, _parts(which)), strict=True))
        low, bound = self._bounded(heads, sums, self._rest_norms(sizes[which], columns), second[which], columns.are_all)
        good = (bound <= self.rtol * low).all(axis=1)
        out[:, which[good]] = low[good], bound[good]
        return np.asarray(which[good], dtype=np.intp)

    def _rest_norms(self, sizes: Array, columns: _Columns) -> Array:
        """Bounds z of the largest eigenvalues of Z, f apart."""

        def one(size: Array) -> float:
            half = columns.rest * np.sqrt(size).astype(self.dtype)[:, None]
            return norm_bound(half.T @ half)

        first = (1 + self._rounding) * np.array(list(self.each(one, sizes)))
        return np.asarray(first + columns.beyond * (sizes / self._weights).max(axis=1))

    def _columns(self, level: int) -> _Columns:
        if level not in self._of_levels:
            has_first, rank, kept = _LEVELS[level]
            root, values = self._root[:, has_first:], self._values[has_first:]
            lead, rest = root[:, :rank], root[:, kept:]
            v = self._root[:, 0]
            self._of_levels[level] = _Columns(
                rank=rank,
                first=(v.astype(self.dtype), (self.theta - np.outer(v, v)).astype(self.dtype)) if has_first else (),
                inner=(lead[:, :, None] * lead[:, None, :]).reshape(len(root), -1).astype(self.dtype),
                outer=(lead[:, :, None] * root[:, None, rank:kept]).reshape(len(root), -1).astype(self.dtype),
                tail=folded((lead @ lead.T) * (rest @ rest.T)).astype(self.dtype),
                rest=root[:, rank:kept].astype(self.dtype),
                beyond=float(values[kept]) if kept < len(values) else 0.0,
                are_all=kept >= len(values),
            )
        return self._of_levels[level]

    def _bounded(self, heads: Array, sums: Array, norms: Array, second: Array, are_all: bool) -> tuple[Array, Array]:
        aa, p, a_s, a_p, s_s, s_p, p_p, ap_ap, eighth, t = np.maximum(sums, 0.0).T
        low = heads[:, 1:] + np.stack([a_s + 3 * a_p, s_s + 4 * s_p + 2 * p_p], axis=1)
        if not are_all:
            t = t + self._rounding * second
        a, q = eighth**0.125, p + t
        f2 = np.maximum(second - heads[:, 0] - aa - 2 * q, 0.0) + self._rounding * second
        f = np.sqrt(f2)
        z = np.minimum(f, norms)
        a_q, size, mixed = a_p + a * t, np.sqrt(p_p) + t, np.sqrt(ap_ap) + a * t
        third = 3 * a * t + 3 * np.minimum(z * q, f * size) + z * f2
        fourth = 4 * (a**2 + np.sqrt(p_p)) * t + 2 * t**2
        fourth += 4 * np.minimum(z * a_q, f * mixed) + 4 * np.minimum(z**2 * q, f2 * size) + z**2 * f2
        bound = np.stack([third, fourth], axis=1)
        slack = self._rounding * low
        return low - slack, bound + 2 * slack


def _of_first(entries: Array, v: Array, rest: Array) -> Array:
    """|A_0|² + 2 Tr Q_0, and what the first column is in to the third and fourth power, of each Hessian."""
    place = places(side(entries.shape[-1]))
    c, sums = len(place), np.empty((len(entries), 3))
    for s, one in enumerate(entries):
        blocks = np.take(np.ascontiguousarray(one), place, axis=-1)
        g = np.take(rest @ (v[:, None] * one), place, axis=-1)
        h = np.matmul(blocks, g)
        flat = h.reshape(len(v), -1)
        lead = (v**2 @ blocks.reshape(len(v), -1)).reshape(c, c)
        square, q = lead @ lead, (v @ flat).reshape(c, c)
        # g is symmetric
        next_ = g.reshape(-1, c).T @ h.reshape(-1, c)
        xm = float(np.vdot(rest @ flat, flat))
        third = np.vdot(lead, square) + 3 * np.vdot(lead, q) + 3 * np.trace(next_)
        fourth = (
            np.vdot(square, square) + 4 * np.vdot(square, q) + 2 * np.vdot(q, q) + 4 * np.vdot(lead, next_) + 4 * xm
        )
        sums[s] = np.vdot(lead, lead) + 2 * np.trace(q), third, fourth
    return sums


def _of_rank(entries: Array, columns: _Columns) -> Array:
    """|A|², Tr P, ⟨A, A²⟩, ⟨A, P⟩, |A²|², ⟨A², P⟩, |P|², Tr (AP)², |A⁴|², τ of each Hessian."""
    place = places(side(entries.shape[-1]))
    count, n, c = len(entries), len(columns.inner), len(place)
    rank = columns.rank
    # rows are (entry, Hessian, a), columns e: a, e number eigenvectors
    planes = np.ascontiguousarray(entries.transpose(2, 0, 1)).reshape(-1, n)
    products = [(planes @ pairs).reshape(len(planes) * rank, -1) for pairs in (columns.inner, columns.outer)]
    sums = np.empty((count, 10))
    sums[:, 9] = overlaps(entries, columns.tail)
    for s in range(count):
        # rows of (A, X) are (class, a), columns (class, e)
        order = (place[:, None, :] * count + s) * rank + np.arange(rank)[:, None]
        inner, x = (np.take(part, order, axis=0).reshape(c * rank, -1) for part in products)
        square, p = inner @ inner.T, x @ x.T
        ap = inner @ p
        pair = (inner, inner), (inner, square), (inner, p), (square, square), (square, p), (p, p), (ap, ap.T)
        values = [float(np.vdot(x, y)) for x, y in pair]
        scaled = square / (values[3] ** 0.5 or 1.0)
        eighth = values[3] ** 2 * float(np.linalg.norm(scaled @ scaled.T)) ** 2
        sums[s, :9] = values[0], np.trace(p), *values[1:], eighth
    return sums


def _parts(which: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Hessians in groups that are done at once."""
    return np.array_split(which, -(-len(which) // _AT_ONCE))


def norm_bound(matrix: Array) -> float:
    r"""A bound :math:`(\mathrm{Tr}\, G^{16})^{1/16}` of the eigenvalues of a symmetric matrix, up to rounding.

    Examples
    --------
    >>> round(norm_bound(np.diag([2.0, 1.0])), 5)
    2.0
    """
    bound, power = 1.0, 1.0
    for squaring in range(_SQUARINGS + 1):
        size = float(np.linalg.norm(matrix))
        if not size:
            return 0.0
        bound, power = bound * size**power, power / 2
        if squaring < _SQUARINGS:
            matrix = matrix / size
            matrix = matrix @ matrix.T
    return bound


def _semidefinite(blocks: Array) -> bool:
    values = np.linalg.eigvalsh(blocks)
    return bool((values[:, 0] >= -(blocks.shape[-1] ** 2) * EPS * np.abs(values).max()).all())
