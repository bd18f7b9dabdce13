"""Symmetric blocks by their entries on and above the diagonal."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arrays import EPS

# Rows of weights taken together: of 256 all but three eighths of the products are made (measured: as fast as 32 or 128).
_FOLD = 64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelcalc.arrays import Array


@lru_cache(maxsize=8)
def places(c: int) -> NDArray[np.intp]:
    """Where each entry of a symmetric (c, c) block stands among those on and above its diagonal, row by row.

    Examples
    --------
    >>> places(2)
    array([[0, 1],
           [1, 2]])
    """
    upper = np.triu_indices(c)
    found = np.empty((c, c), dtype=np.intp)
    found[upper] = found.T[upper] = np.arange(len(upper[0]))
    found.flags.writeable = False
    return found


def side(entries: int) -> int:
    """The c of c (c + 1) / 2 entries.

    Examples
    --------
    >>> side(45)
    9
    """
    return round(((8 * entries + 1) ** 0.5 - 1) / 2)


def packed(blocks: Array) -> Array:
    """(..., c, c) -> (..., c (c + 1) / 2)."""
    upper = np.triu_indices(blocks.shape[-1])
    return np.asarray(blocks[..., upper[0], upper[1]])


def unpacked(entries: Array) -> Array:
    """(..., c (c + 1) / 2) -> (..., c, c)."""
    return np.take(entries, places(side(entries.shape[-1])), axis=-1)


@lru_cache(maxsize=8)
def _times(c: int) -> Array:
    """How often entries stand in a block: once on the diagonal, else twice."""
    found = np.where(packed(np.eye(c)) > 0, 1.0, 2.0)
    found.flags.writeable = False
    return found


def largest_eigenvalues(entries: Array) -> Array:
    r"""Bounds of the largest eigenvalues of symmetric blocks (..., c (c + 1) / 2) by trace and Frobenius norm.

    They are :math:`m + \sqrt{(c - 1)(|B|^2/c - m^2)}` with m = Tr B / c, and equal where all other eigenvalues are.

    References
    ----------
    Wolkowicz, Styan, "Bounds for eigenvalues using traces", Linear Algebra Appl. 29 (1980) 471–506, Theorem 2.1.

    Examples
    --------
    >>> round(float(largest_eigenvalues(packed(np.diag([3.0, 1.0, 1.0])))), 6)
    3.0
    """
    c = side(entries.shape[-1])
    planes = np.moveaxis(entries, -1, 0)
    return eigenvalue_bound(np.tensordot(packed(np.eye(c)), planes, 1), np.tensordot(_times(c), planes**2, 1), c)


def eigenvalue_bound(traces: Array, squares: Array, c: int) -> Array:
    """The same from Tr B and |B|² of (c, c) blocks."""
    mean, square = traces / c, squares / c
    # the difference of squares is lost where all eigenvalues are equal
    spread = np.maximum(square - mean**2, 0.0) + 16 * c * EPS * square
    return np.asarray(mean + np.sqrt((c - 1) * spread))


def folded(weights: Array) -> Array:
    """Symmetric weights as :func:`overlaps` takes them: what lies left of the squares on the diagonal twice, nothing right."""
    found = np.zeros_like(weights)
    for first in range(0, len(weights), _FOLD):
        rows = slice(first, first + _FOLD)
        found[rows, rows] = weights[rows, rows]
        found[first + _FOLD :, rows] = 2 * weights[first + _FOLD :, rows]
    return found


def overlaps(entries: Array, weights: Array) -> Array:
    r"""The sums :math:`\sum_{ik} w_{ik} \mathrm{Tr}\, B_i B_k` of the blocks of each Hessian, (S,).

    Parameters
    ----------
    entries : ndarray, (S, N, c (c + 1) / 2)
        Fastest where the points run fastest in memory.
    weights : ndarray, (N, N)
        Symmetric weights, :func:`folded`.

    Examples
    --------
    Points whose blocks are 1 and 2:

    >>> overlaps(np.array([[[1.0], [2.0]]]), folded(np.ones((2, 2))))
    array([9.])
    """
    planes = np.ascontiguousarray(entries.transpose(2, 0, 1))
    scaled = planes * _times(side(len(planes))).astype(planes.dtype)[:, None, None]
    total = np.zeros(len(entries))
    for first in range(0, len(weights), _FOLD):
        last = first + _FOLD
        sums = planes[..., first:].reshape(-1, len(weights) - first) @ weights[first:, first:last]
        # p: entries, s: Hessians, i: points
        total += np.einsum("psi,psi->s", scaled[..., first:last], sums.reshape(*planes.shape[:2], -1))
    return total
