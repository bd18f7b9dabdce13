r"""Traces of powers of the weighted kernel from the leading eigenvectors of Θ, with a bound on what is left out.

With Θ = L Lᵀ, L = (V, W), V the r leading eigenvectors times the roots of their eigenvalues, the traces of 𝓗C Θ are those
of the positive semidefinite

.. math::
    M = L^T 𝓗C L = \begin{pmatrix} A & X \\ X^T & Z \end{pmatrix}.

Tr M and Tr M² need entries only. With Q = X Xᵀ, whose size is that of A, everything of first order in Z and more,

.. math::
    \mathrm{Tr} M^3 &= \langle A, A^2 + 3Q \rangle + 3 \mathrm{Tr} X Z X^T + \mathrm{Tr} Z^3, \\
    \mathrm{Tr} M^4 &= |A^2|^2 + 4 \langle A^2, Q \rangle + 2 |Q|^2
        + 4 \mathrm{Tr} A X Z X^T + 4 |X Z|^2 + |Z^2|^2.

The terms with Z, all ≥ 0, are left out. With the Frobenius norm f of Z, :math:`f^2 = \mathrm{Tr} M^2 - |A|^2 - 2\mathrm{Tr} Q`,
and :math:`z = \min(f, λ_{r+1} \max_i |B_i|)`, not below its largest eigenvalue, they are at most

.. math::
    3 \min(z\,\mathrm{Tr} Q, f |Q|) + z f^2, \qquad
    4 \min(z \langle A, Q \rangle, f \sqrt{\mathrm{Tr}(AQ)^2}) + 4 \min(z^2\,\mathrm{Tr} Q, f^2 |Q|) + z^2 f^2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Ranks tried, one after the other: beyond the last the exact traces are as fast (measured at N = 256, ten classes).
_RANKS = (6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48)
# Smallest number of points for which the first rank is faster than the exact traces (measured).
FEWEST = 128
# Tolerance from which the products of matrices are made in float32.
_SINGLE_RTOL = 1e-4
# Hessians in one matrix product: its outputs stay below 16 MiB at N = 256, ten classes, rank 24.
_AT_ONCE = 2


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
        self._first: int = 0
        self._products: dict[int, Array] = {}
        self._values: Array = np.empty(0)
        self.dtype: type[np.floating[Any]] = np.float32 if rtol >= _SINGLE_RTOL else np.float64
        # measured in float32, ten classes, N = 256: 40
        self._rounding: float = 64 * float(np.finfo(self.dtype).eps)
        if rtol > 0 and len(theta) >= FEWEST:
            values, vectors = np.linalg.eigh(theta)
            if values[0] >= -len(theta) * EPS * values[-1]:
                self._values = np.maximum(values[::-1], 0.0)
                self._root = np.ascontiguousarray(vectors[:, ::-1] * np.sqrt(self._values))

    def traces(self, blocks: Array, second: Array) -> tuple[Array, Array]:
        """Traces below the true ones by at most the bounds.

        Parameters
        ----------
        blocks : ndarray, (S, N, c, c)
            𝓗C with its 1/N, positive semidefinite.
        second : ndarray, (S,)
            Tr (𝓗C Θ)².

        Returns
        -------
        traces, bounds : ndarray, (S, 2)
            Not a number where no rank meets the tolerance.
        """
        out = np.full((2, len(blocks), 2), np.nan)
        # A loss that is not convex shows it at the first Hessian, or the bounds mean nothing.
        if not self._values.size or not _semidefinite(blocks[0]):
            return out[0], out[1]
        # The first Hessian finds the rank to begin with: training asks for more and more.
        while (
            self._first < len(_RANKS) and not self._fill(out, blocks, second, np.array([0]), _RANKS[self._first]).size
        ):
            self._first += 1
        left = np.arange(1, len(blocks))
        for rank in _RANKS[self._first :]:
            if not left.size:
                break
            left = np.setdiff1d(left, self._fill(out, blocks, second, left, rank))
        return out[0], out[1]

    def _fill(self, out: Array, blocks: Array, second: Array, which: Any, rank: int) -> Any:
        """Enter traces and bounds of those Hessians that meet the tolerance at a rank, and say which."""
        pairs = self._pairs(rank)
        parts = np.array_split(which, -(-len(which) // _AT_ONCE))
        sums = np.concatenate(list(self.each(lambda part: self._of_rank(pairs, rank, blocks[part]), parts)))
        low, bound = self._bounded(sums, blocks[which], second[which], rank)
        good = (bound <= self.rtol * low).all(axis=1)
        out[:, which[good]] = low[good], bound[good]
        return which[good]

    def _pairs(self, rank: int) -> Array:
        """V_ia L_ie, (N, r N)."""
        if rank not in self._products:
            self._products.clear()
            root = self._root
            pairs = (root[:, :rank, None] * root[:, None, :]).reshape(len(root), -1)
            self._products[rank] = pairs.astype(self.dtype)
        return self._products[rank]

    @staticmethod
    def _of_rank(pairs: Array, rank: int, blocks: Array) -> Array:
        """|A|², Tr Q, ⟨A, A²⟩, ⟨A, Q⟩, |A²|², ⟨A², Q⟩, |Q|², Tr (AQ)² of each Hessian."""
        count, n, c, _ = blocks.shape
        upper = np.triu_indices(c)
        unpack = np.empty((c, c), dtype=np.intp)
        unpack[upper] = unpack.T[upper] = np.arange(len(upper[0]))
        packed = blocks[:, :, upper[0], upper[1]].transpose(0, 2, 1).reshape(-1, n).astype(pairs.dtype)
        entries = (packed @ pairs).reshape(count, -1, rank, n)
        sums = np.empty((count, 8))
        for s, planes in enumerate(entries):
            # Rows of (A, X) are (class, a), columns (class, e): a, e number eigenvectors.
            rows = np.empty((c, rank, c, n), dtype=pairs.dtype)
            for a in range(c):
                for b in range(c):
                    rows[a, :, b] = planes[unpack[a, b]]
            inner = np.ascontiguousarray(rows[..., :rank]).reshape(c * rank, -1)
            whole = rows.reshape(c * rank, -1)
            square = inner @ inner.T
            q = whole @ whole.T - square
            aq = inner @ q
            pair = (inner, inner), (inner, square), (inner, q), (square, square), (square, q), (q, q), (aq, aq.T)
            values = [float(np.vdot(x, y)) for x, y in pair]
            sums[s] = values[0], np.trace(q), *values[1:]
        return sums

    def _bounded(self, sums: Array, blocks: Array, second: Array, rank: int) -> tuple[Array, Array]:
        aa, q, a_s, a_q, s_s, s_q, q_q, aq_aq = sums.T
        low = np.stack([a_s + 3 * a_q, s_s + 4 * s_q + 2 * q_q], axis=1)
        f2 = np.maximum(second - aa - 2 * q, 0.0) + self._rounding * second
        # The largest row sum is not below the largest eigenvalue of a block.
        largest = np.abs(blocks).sum(axis=-1).max(axis=(1, 2))
        f = np.sqrt(f2)
        z = np.minimum(f, self._values[rank] * largest)
        q, a_q, size, mixed = np.maximum(q, 0.0), np.maximum(a_q, 0.0), np.sqrt(q_q), np.sqrt(np.maximum(aq_aq, 0.0))
        third = 3 * np.minimum(z * q, f * size) + z * f2
        fourth = 4 * np.minimum(z * a_q, f * mixed) + 4 * np.minimum(z**2 * q, f2 * size) + z**2 * f2
        bound = np.stack([third, fourth], axis=1)
        slack = self._rounding * low
        return low - slack, bound + 2 * slack


def _semidefinite(blocks: Array) -> bool:
    values = np.linalg.eigvalsh(blocks)
    return bool((values[:, 0] >= -(blocks.shape[-1] ** 2) * EPS * np.abs(values).max()).all())
