r"""Traces of powers of the weighted kernel 𝓗C Θ, the limit of I on the data.

Θ acts as :math:`Θ ⊗ Id` on the N n_out outputs and 𝓗C is block-diagonal over points with blocks B_i, so that, with
:math:`D_{ik} = \sum_j Θ_{ij} Θ_{jk} B_j`,

.. math::
    \mathrm{Tr}\,(𝓗CΘ)^2 &= \sum_{ik} Θ_{ik}^2\, \mathrm{Tr}\, B_i B_k, \\
    \mathrm{Tr}\,(𝓗CΘ)^3 &= \sum_{ik} Θ_{ik}\, \mathrm{Tr}\, B_i D_{ik} B_k, \qquad
    \mathrm{Tr}\,(𝓗CΘ)^4 = \sum_{ik} \mathrm{Tr}\, B_i D_{ik} B_k D_{ik}.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.errors import ShapeError
from kernelcalc.training.leading import LeadingTraces
from kernelcalc.training.losses import curvature_sqrt
from kernelcalc.training.packed import eigenvalue_bound, largest_eigenvalues, packed, places, side, unpacked

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Rows of pairs (i, k) and Hessians treated at once: measured at N = 256 with ten classes (blocks stay in cache).
_PAIR_ROWS = 16
_HESSIANS = 8
# Products Θ_ij Θ_jk held at once, 8 MiB: all columns of a block of rows at N = 256.
_ENTRIES = 2**20
# Entries of blocks of Hessians that are packed at once, 1 MiB: the fastest of 2^14 to 2^18 (measured there).
_CACHED = 2**17


def weighted_moments(
    theta: Array,
    hessians: Array,
    kmax: int = 4,
    *,
    has_blocks: bool = False,
    each: Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]] = map,
) -> Array:
    r"""Tr (𝓗C Θ)^k for k = 1..kmax and a batch of Hessians, to rounding.

    Parameters
    ----------
    theta : ndarray, (N, N)
        Symmetric.
    hessians : ndarray, (S, N, n_out), or (S, N, n_out, n_out) with ``has_blocks``
        𝓗C with its 1/N: diagonals or blocks.
    kmax : int
        Highest power. Up to 4 no matrix larger than N × N is formed.
    has_blocks : bool
        Which of the two forms ``hessians`` has.
    each : callable
        ``map``, or the map of an executor.

    Returns
    -------
    ndarray, (S, kmax)

    Examples
    --------
    >>> weighted_moments(np.eye(2), np.full((1, 2, 1), 0.5), 3)
    array([[1.  , 0.5 , 0.25]])
    """
    return bounded_moments(theta, hessians, kmax, LeadingTraces(theta, 0.0, each), has_blocks=has_blocks)[0]


def bounded_moments(
    theta: Array, hessians: Any, kmax: int, leading: LeadingTraces, *, has_blocks: bool = False
) -> tuple[Array, Array]:
    """The same, with traces of k = 3 and 4 from leading eigenvectors of Θ where they meet a tolerance.

    Parameters
    ----------
    theta, hessians, kmax, has_blocks
        As :func:`weighted_moments` takes them; ``hessians`` may be anything with a shape that gives them by slices of
        samples.
    leading : LeadingTraces
        Of the same Θ; its tolerance and its map of an executor are taken.

    Returns
    -------
    moments, bounds : ndarray, (S, kmax)
        The true traces are between the moments and their sums with the bounds, but for rounding.
    """
    n, each = theta.shape[0], leading.each
    if len(hessians.shape) != (4 if has_blocks else 3) or hessians.shape[1] != n:
        raise ShapeError(f"hessians of {n} points", f"shape {hessians.shape}")
    exact = np.zeros((hessians.shape[0], kmax))
    if not has_blocks:
        return _diagonal_moments(theta, hessians[:], kmax, each), exact
    entries, sizes = _packed_hessians(hessians, each)
    if entries.shape[-1] == 1:
        return _diagonal_moments(theta, entries, kmax, each), exact
    if kmax > 4:
        return np.array(list(each(lambda b: _power_traces(_assembled(theta, unpacked(b)), kmax), entries))), exact
    out, bounds = np.empty((len(entries), kmax)), exact
    c = side(entries.shape[-1])
    out[:, 0] = np.matmul(np.diagonal(theta), entries)[:, packed(np.eye(c)) > 0].sum(axis=-1)
    if kmax >= 2:
        out[:, 1] = leading.second_traces(entries)
    if kmax >= 3:
        high, slack = leading.traces(entries, sizes, out[:, 1])
        rest = np.isnan(high[:, 0])
        high[rest], slack[rest] = _high_traces(theta, unpacked(entries[rest]), each), 0.0
        out[:, 2:], bounds[:, 2:] = high[:, : kmax - 2], slack[:, : kmax - 2]
    return out, bounds


def symmetric_weighted_kernel(theta: Array, root: Array, *, has_blocks: bool = False) -> Array:
    """𝓗C^½ Θ 𝓗C^½ as an (N n_out, N n_out) matrix, point index first; ``root`` is 𝓗C^½ of one Hessian.

    Examples
    --------
    >>> symmetric_weighted_kernel(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([[2.0], [1.0]]))
    array([[4., 1.],
           [1., 1.]])
    """
    n, n_out = root.shape[:2]
    if has_blocks:
        # i, j: points; a, b, c: outputs
        full = np.einsum("iab,ij,jbc->iajc", root, theta, root, optimize=True)
    else:
        full = np.zeros((n, n_out, n, n_out))
        for a in range(n_out):
            full[:, a, :, a] = root[:, a, None] * theta * root[:, a]
    matrix = full.reshape(n * n_out, n * n_out)
    return (matrix + matrix.T) / 2


def _diagonal_moments(theta: Array, h: Array, kmax: int, each: Any) -> Array:
    first = h.flat[0]
    if (h == first).all():
        traces = h.shape[2] * _power_traces(first * theta, kmax)
        return np.tile(traces, (len(h), 1))

    def one(weights: Array) -> Array:
        roots = np.sqrt(weights)
        return sum((_power_traces(r[:, None] * theta * r, kmax) for r in roots.T), np.zeros(kmax))

    return np.array(list(each(one, h)))


def _power_traces(a: Array, kmax: int) -> Array:
    """Tr A^k of a symmetric A, by inner products of its lower powers."""
    out, powers = np.empty(kmax), [a]
    out[0] = np.trace(a)
    for k in range(2, kmax + 1):
        half = (k + 1) // 2
        if half > len(powers):
            powers.append(powers[-1] @ a)
        out[k - 1] = np.vdot(powers[half - 1], powers[k - half - 1])
    return out


def _assembled(theta: Array, blocks: Array) -> Array:
    return symmetric_weighted_kernel(theta, curvature_sqrt(blocks, True), has_blocks=True)


def _packed_hessians(hessians: Any, each: Any) -> tuple[Array, Array]:
    """:func:`_of_couplings` or :func:`_without_null_direction` of all Hessians, in parts that stay in cache."""
    count, n, c = hessians.shape[:3]
    step = max(1, _CACHED // (n * c**2))
    parts = [slice(first, first + step) for first in range(0, count, step)]

    def of_part(part: slice) -> tuple[Array, Array]:
        weights = hessians.couplings(part) if c > 1 and hasattr(hessians, "couplings") else None
        return _without_null_direction(hessians[part]) if weights is None else _of_couplings(weights, c)

    found = list(each(of_part, parts))
    if len({entries.shape[-1] for entries, _ in found}) > 1:
        found = [_without_null_direction(hessians[part], False) for part in parts]
    entries, sizes = zip(*found, strict=True)
    return np.concatenate(entries), np.concatenate(sizes)


def _without_null_direction(blocks: Array, allowed: bool = True) -> tuple[Array, Array]:
    """Packed blocks, (S, N, ·), points fastest in memory, and bounds of their eigenvalues, (S, N).

    They are in an orthonormal basis of the sum-zero subspace, when (as for softmax) they vanish on (1, ..., 1).
    """
    c = blocks.shape[-1]
    planes = blocks.transpose(2, 3, 0, 1)
    # the largest row sum is not below the largest eigenvalue
    rows = np.abs(planes).sum(axis=1)
    if c == 1 or not allowed or (np.abs(planes.sum(axis=1)) > 8 * c * EPS * rows).any():
        found = packed(blocks)
    else:
        found = (_sum_zero_basis(c) @ planes.reshape(c * c, -1)).reshape(-1, *blocks.shape[:2]).transpose(1, 2, 0)
    return found, np.minimum(rows.max(axis=0), largest_eigenvalues(found))


def _of_couplings(weights: Array, c: int) -> tuple[Array, Array]:
    """The same from the weights of all (e_a - e_b)(e_a - e_b)ᵀ, (S, N, c (c - 1) / 2)."""
    planes = np.moveaxis(weights, -1, 0).reshape(weights.shape[-1], -1)
    found = _edges(c) @ planes
    entries, diagonal = found[: len(planes)], found[len(planes) :]
    squares = np.einsum("ai,ai->i", diagonal, diagonal) + 2 * np.einsum("pi,pi->i", planes, planes)
    sizes = np.minimum(2 * diagonal.max(axis=0), eigenvalue_bound(diagonal.sum(axis=0), squares, c - 1))
    shape = weights.shape[:2]
    return entries.reshape(-1, *shape).transpose(1, 2, 0), sizes.reshape(shape)


@lru_cache(maxsize=8)
def _edges(c: int) -> Array:
    """What these weights, as columns, are multiplied by for the packed form, and below it for the diagonal."""
    ends = np.eye(c)
    between = np.array([ends[a] - ends[b] for a in range(c) for b in range(a + 1, c)])
    blocks = between[:, :, None] * between[:, None, :]
    found = np.concatenate([_sum_zero_basis(c) @ blocks.reshape(-1, c * c).T, np.abs(between.T)])
    found.flags.writeable = False
    return found


@lru_cache(maxsize=8)
def _sum_zero_basis(c: int) -> Array:
    """What flat blocks, as columns (c²), are multiplied by for their packed form in that basis."""
    q = np.array([[1.0] * k + [-float(k)] + [0.0] * (c - k - 1) for k in range(1, c)]).reshape(c - 1, c)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    products = np.einsum("xa,yb->xyab", q, q)
    change = packed(np.moveaxis(products + products.swapaxes(0, 1), (0, 1), (2, 3))).reshape(c * c, -1) / 2
    found = np.ascontiguousarray(change.T)
    found.flags.writeable = False
    return found


def _high_traces(theta: Array, blocks: Array, each: Any) -> Array:
    """Tr M³ and Tr M⁴, (S, 2)."""
    if not len(blocks):
        return np.empty((0, 2))
    starts = range(0, len(theta), _PAIR_ROWS)
    return sum(each(lambda first: _row_block(theta, blocks, first), starts), np.zeros((len(blocks), 2)))


def _row_block(theta: Array, blocks: Array, first: int) -> Array:
    """Share of the rows i in [first, first + _PAIR_ROWS) in Tr M³ and Tr M⁴; pairs below the diagonal by symmetry."""
    n, last = len(theta), min(first + _PAIR_ROWS, len(theta))
    out = np.zeros((len(blocks), 2))
    width = max(1, _ENTRIES // (n * (last - first)))
    # Columns within the rows' own square count once, those to its right twice.
    for begin, end, weight in ((first, last, 1.0), (last, n, 2.0)):
        for left in range(begin, end, width):
            out += weight * _tile(theta, blocks, slice(first, last), slice(left, min(left + width, end)))
    return out


def _tile(theta: Array, blocks: Array, rows: slice, columns: slice) -> Array:
    """Σ over a rectangle of pairs (i, k) of Θ_ik Tr B_i D_ik B_k and of Tr B_i D_ik B_k D_ik, for every Hessian."""
    count, n, c, _ = blocks.shape
    unpack = places(c)
    near = np.ascontiguousarray(theta[rows, None, columns])
    shape = (near.shape[0], near.shape[2])
    pairs = (theta[rows, None, :] * theta[None, columns, :]).reshape(-1, n)
    out = np.empty((count, 2))
    for begin in range(0, count, _HESSIANS):
        batch = blocks[begin : begin + _HESSIANS]
        entries = np.moveaxis(packed(batch), 0, 1)
        sums = (pairs @ entries.reshape(n, -1)).reshape(len(pairs), len(batch), -1)
        for s, b in enumerate(batch):
            d = np.take(sums[:, s], unpack.ravel(), axis=1).reshape(*shape, c, c)
            left = np.matmul(b[rows, None], d)
            right = np.matmul(d, b[None, columns])
            third = np.matmul(near, right.reshape(*shape, c * c))
            out[begin + s] = np.vdot(third, b[rows]), np.vdot(left, right)
    return out
