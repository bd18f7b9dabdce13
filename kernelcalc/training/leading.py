r"""Traces of powers of the weighted kernel from the leading eigenvectors of Θ, with a bound on what is left out.

With weights d of the points, :math:`d^½ Θ d^½ = U λ U^T` and :math:`L = d^{-½} U λ^½ = (V, W)`, V the first r columns, λ
decreasing, Θ = L Lᵀ and the traces of 𝓗C Θ are those of the positive semidefinite

.. math::
    M = L^T 𝓗C L = \begin{pmatrix} A & X \\ X^T & Z \end{pmatrix}.

Tr M and Tr M² need entries only. With Q = X Xᵀ, whose size is that of A, everything of first order in Z and more,

.. math::
    \mathrm{Tr} M^3 &= \langle A, A^2 + 3Q \rangle + 3 \mathrm{Tr} X Z X^T + \mathrm{Tr} Z^3, \\
    \mathrm{Tr} M^4 &= |A^2|^2 + 4 \langle A^2, Q \rangle + 2 |Q|^2
        + 4 \mathrm{Tr} A X Z X^T + 4 |X Z|^2 + |Z^2|^2.

The terms with Z, all ≥ 0, are left out. With the Frobenius norm f of Z, :math:`f^2 = \mathrm{Tr} M^2 - |A|^2 - 2\mathrm{Tr} Q`,
and z ≤ f not below its largest eigenvalue, they are at most

.. math::
    3 \min(z\,\mathrm{Tr} Q, f |Q|) + z f^2, \qquad
    4 \min(z \langle A, Q \rangle, f \sqrt{\mathrm{Tr}(AQ)^2}) + 4 \min(z^2\,\mathrm{Tr} Q, f^2 |Q|) + z^2 f^2.

Of the columns of X the first R eigenvectors' are kept: Q = P + T, T from the others, is taken as P, which leaves out

.. math::
    3 \langle A, T \rangle \le 3 a τ, \qquad
    4 \langle A^2, T \rangle + 2 (|Q|^2 - |P|^2) \le 4 a^2 τ + 4 |P| τ + 2 τ^2

more, where :math:`a^8 = \mathrm{Tr} A^8` and, with L' the columns of L beyond R,
:math:`τ = \mathrm{Tr}\, T = \sum_{ik} (V V^T)_{ik} (L' L'^T)_{ik} \mathrm{Tr}\, B_i B_k` needs entries only. Above,
Tr Q = Tr P + τ, |Q| ≤ |P| + τ, ⟨A, Q⟩ ≤ ⟨A, P⟩ + aτ, √Tr (AQ)² ≤ √Tr (AP)² + aτ.

Since B_i ≤ |B_i| Id, Z is at most :math:`G ⊗ Id` with :math:`G = W^T \mathrm{diag}(|B_i|) W`, and the largest eigenvalue of
G at most the sum of those of its two diagonal blocks. That of the columns up to the R-th, :math:`G_1`, is at most
:math:`(\mathrm{Tr}\, G_1^{16})^{1/16}`, the other at most :math:`λ_{R+1} \max_i |B_i| / d_i`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.training.packed import folded, overlaps, packed, places, side, unpacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array

# Ranks tried, one after the other: beyond the last the exact traces are as fast (measured at N = 256, ten classes).
_RANKS = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 24, 26, 28, 32, 40, 48)
# Columns of X kept, over the rank: fewest operations for a tolerance of 1e-3 (measured, tanh, 256 digits, whole training).
_KEPT_COLUMNS = 8
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
        self._of_ranks: dict[int, tuple[Array, Array]] = {}
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
            self._of_ranks.clear()

    def is_likely(self) -> bool:
        """Whether half of the highest rank would leave little enough of Θ itself; training asks for higher ones."""
        if not self._values.size:
            return False
        rest = self._values[_RANKS[-1] // 2 :]
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
        while levels[0] < len(_RANKS) and not self._fill(out, entries, sizes, second, first, levels[0]).size:
            if anew:
                traces = np.abs(entries[..., packed(np.eye(side(entries.shape[-1]))) > 0]).sum(axis=(0, 2))
                self._decompose(np.maximum(traces / (traces.mean() or 1.0), _LEAST_WEIGHT))
            levels[0] += not anew
            anew = False
        np.maximum(levels, levels[0], out=levels)
        for level in range(levels[0], len(_RANKS)):
            which = np.flatnonzero(levels == level)
            which = which[which > 0]
            if which.size:
                levels[np.setdiff1d(which, self._fill(out, entries, sizes, second, which, level))] += 1
        self._of_ranks = {rank: kept for rank, kept in self._of_ranks.items() if rank in _RANKS[levels[0] :]}
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
        rank = _RANKS[level]
        pairs, tail = self._pairs(rank)
        found = self.each(lambda part: self._of_rank(pairs, tail, rank, entries[part]), _parts(which))
        sums = np.concatenate(list(found))
        low, bound = self._bounded(sums, self._rest_norms(sizes[which], rank), second[which], rank)
        good = (bound <= self.rtol * low).all(axis=1)
        out[:, which[good]] = low[good], bound[good]
        return np.asarray(which[good], dtype=np.intp)

    def _rest_norms(self, sizes: Array, rank: int) -> Array:
        """Bounds z of the largest eigenvalues of Z, f apart."""
        n = len(self._root)
        last = min(_KEPT_COLUMNS * rank, n)
        rest = self._root[:, rank:last].astype(self.dtype)

        def one(size: Array) -> float:
            half = rest * np.sqrt(size).astype(self.dtype)[:, None]
            return norm_bound(half.T @ half)

        beyond = self._values[last] if last < n else 0.0
        first = (1 + self._rounding) * np.array(list(self.each(one, sizes)))
        return np.asarray(first + beyond * (sizes / self._weights).max(axis=1))

    def _pairs(self, rank: int) -> tuple[Array, Array]:
        """V_ia L_ie for the columns e that are kept, (N, r R); the weights of τ, (N, N), folded."""
        if rank not in self._of_ranks:
            root, kept = self._root, min(_KEPT_COLUMNS * rank, len(self._root))
            lead, rest = root[:, :rank], root[:, kept:]
            pairs = (lead[:, :, None] * root[:, None, :kept]).reshape(len(root), -1)
            tail = folded((lead @ lead.T) * (rest @ rest.T))
            self._of_ranks[rank] = pairs.astype(self.dtype), tail.astype(self.dtype)
        return self._of_ranks[rank]

    @staticmethod
    def _of_rank(pairs: Array, tail: Array, rank: int, entries: Array) -> Array:
        """|A|², Tr P, ⟨A, A²⟩, ⟨A, P⟩, |A²|², ⟨A², P⟩, |P|², Tr (AP)², |A⁴|², τ of each Hessian."""
        place = places(side(entries.shape[-1]))
        count, n, c = len(entries), len(pairs), len(place)
        together = entries.astype(pairs.dtype)
        # rows are (entry, Hessian, a), columns e: a, e number eigenvectors
        products = np.ascontiguousarray(together.transpose(2, 0, 1)).reshape(-1, n) @ pairs
        products = products.reshape(-1, pairs.shape[1] // rank)
        sums = np.empty((count, 10))
        sums[:, 9] = overlaps(together, tail)
        for s in range(count):
            # rows of (A, X) are (class, a), columns (class, e)
            order = (place[:, None, :] * count + s) * rank + np.arange(rank)[:, None]
            rows = np.take(products, order, axis=0)
            inner = np.ascontiguousarray(rows[..., :rank]).reshape(c * rank, -1)
            whole = rows.reshape(c * rank, -1)
            square = inner @ inner.T
            p = whole @ whole.T - square
            ap = inner @ p
            pair = (inner, inner), (inner, square), (inner, p), (square, square), (square, p), (p, p), (ap, ap.T)
            values = [float(np.vdot(x, y)) for x, y in pair]
            scaled = square / (values[3] ** 0.5 or 1.0)
            eighth = values[3] ** 2 * float(np.linalg.norm(scaled @ scaled.T)) ** 2
            sums[s, :9] = values[0], np.trace(p), *values[1:], eighth
        return sums

    def _bounded(self, sums: Array, norms: Array, second: Array, rank: int) -> tuple[Array, Array]:
        aa, p, a_s, a_p, s_s, s_p, p_p, ap_ap, eighth, t = np.maximum(sums, 0.0).T
        low = np.stack([a_s + 3 * a_p, s_s + 4 * s_p + 2 * p_p], axis=1)
        if _KEPT_COLUMNS * rank < len(self._root):
            t = t + self._rounding * second
        a, q = eighth**0.125, p + t
        f2 = np.maximum(second - aa - 2 * q, 0.0) + self._rounding * second
        f = np.sqrt(f2)
        z = np.minimum(f, norms)
        a_q, size, mixed = a_p + a * t, np.sqrt(p_p) + t, np.sqrt(ap_ap) + a * t
        third = 3 * a * t + 3 * np.minimum(z * q, f * size) + z * f2
        fourth = 4 * (a**2 + np.sqrt(p_p)) * t + 2 * t**2
        fourth += 4 * np.minimum(z * a_q, f * mixed) + 4 * np.minimum(z**2 * q, f2 * size) + z**2 * f2
        bound = np.stack([third, fourth], axis=1)
        slack = self._rounding * low
        return low - slack, bound + 2 * slack


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
