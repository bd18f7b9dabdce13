"""Symmetric blocks by their entries on and above the diagonal."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arrays import EPS

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
    return np.asarray(entries[..., places(side(entries.shape[-1]))])


@lru_cache(maxsize=8)
def _roots(c: int) -> Array:
    """Roots of how often entries stand in a block: once on the diagonal, else twice."""
    found = np.where(packed(np.eye(c)) > 0, 1.0, 2.0**0.5)
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
    mean = entries @ (packed(np.eye(c)) / c)
    square = entries**2 @ (_roots(c) ** 2 / c)
    # the difference of squares is lost where all eigenvalues are equal
    spread = np.maximum(square - mean**2, 0.0) + 16 * c * EPS * square
    return np.asarray(mean + np.sqrt((c - 1) * spread))


class Overlaps:
    r"""The sums :math:`\sum_{ik} w_{ik} \mathrm{Tr}\, B_i B_k` of the blocks of one Hessian, for symmetric weights w.

    Examples
    --------
    Points whose blocks are 1 and 2:

    >>> Overlaps(np.array([[1.0], [2.0]])).weighted(np.ones((2, 2)))
    9.0
    """

    def __init__(self, entries: Array) -> None:
        scaled = entries * _roots(side(entries.shape[1])).astype(entries.dtype)
        self._products: Array = scaled @ scaled.T

    def weighted(self, weights: Array) -> float:
        """The sum for one (N, N) array of weights."""
        return float(np.vdot(self._products, weights))
