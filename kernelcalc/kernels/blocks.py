"""A Gram matrix in blocks: which there are, who computes them, and where their numbers go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from kernelcalc.arrays import shifted
from kernelcalc.errors import DivergentExpectationError
from kernelcalc.machine import keep_freed_memory, one_blas_thread, processors

# Rows and columns of a block: 128 × 256 doubles (256 KiB) stay in the second-level cache through a whole polynomial.
BLOCK_ROWS, BLOCK_COLUMNS = 128, 256
# From so many rows on threads share the blocks and take turns between NumPy's operations: larger ones lose less by that
# (measured for closed forms on two cores: 0.8 of the processor time, 0.7 of the time).
SHARED_SIDES, ROWS_FOR_THEM = (256, 256), 1024
# Machine code needs the cache less; larger blocks have less to look after (measured: tanh, N = 3000, 1.5 times as fast). For
# matrices of at least so many pairs, or threads would wait for the last block.
COMPILED_SIDES, PAIRS_FOR_THEM = (256, 512), 2**20
# From so many points on the three quarters of their products that differ are made one by one, where these are even: BLAS makes
# half of a whole square, but NumPy fills in the rest (measured: 0.9 of the time for 256 points, 1.2 for 100).
QUARTERED = 192
# Numbers between the rows of a copy that is mirrored: one line of the cache (measured: half of the time it takes without).
GAP = 8
# Series of the points of a panel, all layers and derivatives together: beyond this a large matrix is done in several panels.
PANEL_BYTES = 2**28


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The shape (N, M) of a Gram matrix, whether rows and columns are the same points, rows and columns of a block.

    With ``packed`` the squares on the diagonal are blocks of their own, for which :class:`Triangle` names the pairs.
    """

    shape: tuple[int, int]
    symmetric: bool
    sides: tuple[int, int] = (BLOCK_ROWS, BLOCK_COLUMNS)
    packed: bool = False

    def panels(self, bytes_per_point: int) -> Iterator[tuple[slice, slice]]:
        """The matrix, or its upper triangle, in parts whose points' series fit into :data:`PANEL_BYTES`."""
        n, m = self.shape
        if (n if self.symmetric else n + m) * bytes_per_point <= PANEL_BYTES:
            size = max(n, m)
        else:
            size = max(1, PANEL_BYTES // (2 * bytes_per_point) // self.sides[1]) * self.sides[1]
        for rows in _slices(0, n, size):
            for columns in _slices(rows.start if self.symmetric else 0, m, size):
                yield rows, columns

    def every_block(self, work: Callable[[slice, slice], None], panel: tuple[slice, slice] | None = None) -> None:
        """Do all blocks of a panel, or of the matrix; each writes where no other does, so the order does not matter."""
        keep_freed_memory()
        blocks = list(self._blocks(*(panel or (slice(0, self.shape[0]), slice(0, self.shape[1])))))
        workers = min(processors(), (len(blocks) + self.packed) // 2)

        def silently(rows: slice, columns: slice) -> None:
            # what has overflowed is refused by name
            with np.errstate(over="ignore", invalid="ignore"):
                work(rows, columns)

        if workers < 2:
            # products of a block are too small for threads of BLAS, which would wait for each other
            with one_blas_thread():
                for rows, columns in blocks:
                    silently(rows, columns)
            return
        with one_blas_thread(workers), ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(silently, rows, columns) for rows, columns in blocks]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _blocks(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """Blocks that cover a panel, or its upper triangle with the diagonal squares."""
        triangle = self.symmetric and rows == columns
        for part in _slices(rows.start, rows.stop, self.sides[0]):
            first = part.start if triangle else columns.start
            if triangle and self.packed:
                yield part, part
                first = part.stop
            for other in _slices(first, columns.stop, self.sides[1]):
                yield part, other

    def write(self, array: np.ndarray, block: np.ndarray, turned: np.ndarray, rows: slice, columns: slice) -> None:
        """Put a block k(x, x') in its place and k(x', x) in the mirrored one.

        Raises
        ------
        DivergentExpectationError
            For NaN or infinity.
        """
        check_finite(block)
        array[rows, columns] = block
        if not self.symmetric:
            return
        if rows.start != columns.start:
            # rows that are a power of 2 apart push each other out of the cache
            apart = np.empty((turned.shape[0], turned.shape[1] + GAP))[:, : turned.shape[1]]
            apart[:] = turned
            array[columns, rows] = apart.T
            return
        # Where the block lies on the diagonal both triangles were computed: the upper one counts, exactly mirrored.
        side = rows.stop - rows.start
        array[rows.stop : columns.stop, rows] = turned[:, side:].T
        np.copyto(array[rows, rows], turned[:, :side].T, where=_below(side))


class Triangle(NamedTuple):
    """The pairs of so many points, point i with point i + d modulo their number: row d of arrays of half as many rows and one.

    In the last row of an even number each pair stands twice; the one with i < j counts. ``flat`` is where the pairs are in
    what :meth:`products` multiplies, ``place`` (side, side) where k(x_i, x_j) is among the values of a symmetric kernel,
    ``turned`` where k(x_i, x_j) and k(x_j, x_i) are among those of another one and its transpose.
    """

    rows: np.ndarray
    columns: np.ndarray
    flat: np.ndarray
    place: np.ndarray
    turned: np.ndarray

    def products(self, x: np.ndarray) -> np.ndarray:
        """x·x' of all pairs."""
        side, half = len(x), len(x) // 2
        if not _in_quarters(side):
            return (x @ x.T).take(self.flat, mode="clip")
        found, halves = np.empty((3, half, half)), x.reshape(2, half, -1)
        np.matmul(halves, halves.transpose(0, 2, 1), out=found[:2])
        np.matmul(halves[0], halves[1].T, out=found[2])
        return found.take(self.flat, mode="clip")

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """Values of the points as those of the first point of each pair, (1, side)."""
        return values[None, :]

    def of_columns(self, values: np.ndarray) -> np.ndarray:
        """As those of the second point, (rows, side)."""
        return shifted(values, len(self.rows))

    def square(self, values: np.ndarray, transposed: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
        """The values of a kernel and of its transpose as a square, in the place that is given.

        Raises
        ------
        DivergentExpectationError
            For NaN or infinity.
        """
        known = (values,) if transposed is values else (values, transposed)
        both = [one if one.shape == self.rows.shape else np.broadcast_to(one, self.rows.shape) for one in known]
        all_of_them = both[0] if len(both) == 1 else np.concatenate(both)
        check_finite(all_of_them)
        # places are right: looking whether they are takes half as long again
        return all_of_them.take(self.place if len(both) == 1 else self.turned, mode="clip", out=into)


@lru_cache(maxsize=4)
def triangle(side: int) -> Triangle:
    """Pairs of so many points."""
    rows, columns = np.broadcast_arrays(np.arange(side), shifted(np.arange(side), side // 2 + 1))
    i, j = np.ogrid[:side, :side]
    apart = (j - i) % side
    from_i = (2 * apart < side) | ((2 * apart == side) & (i < j))
    place = np.where(from_i, apart * side + i, (side - apart) * side + j)
    flat = rows * side + columns
    if _in_quarters(side):
        (left, i), (right, j) = (
            np.divmod(part, side // 2) for part in (np.minimum(rows, columns), np.maximum(rows, columns))
        )
        quarter = np.where(left < right, 2, left)
        flat = (quarter * (side // 2) + i) * (side // 2) + j
    return Triangle(rows, columns, flat, place, place + rows.size * ~from_i)


def _in_quarters(side: int) -> bool:
    """Whether three quarters of the products are multiplied, each by itself, instead of all."""
    return side >= QUARTERED and side % 2 == 0


def check_finite(values: np.ndarray) -> None:
    """Refuse kernels that have overflowed.

    Raises
    ------
    DivergentExpectationError
        For NaN or infinity.
    """
    if not np.isfinite(values).all():
        raise DivergentExpectationError(
            "finite kernels", "overflow", "smaller points or a smaller σ_w keep them finite"
        )


def sides_for(rows: int) -> tuple[int, int]:
    """Rows and columns of a block of a matrix with so many rows."""
    return SHARED_SIDES if rows >= ROWS_FOR_THEM else (BLOCK_ROWS, BLOCK_COLUMNS)


def even_sides(rows: int) -> tuple[int, int]:
    """Rows and columns of a block where squares on the diagonal are halved: parts of one size."""
    side = -(-rows // -(-rows // SHARED_SIDES[0]))
    return side, side


@lru_cache(maxsize=16)
def _below(side: int) -> np.ndarray:
    """The entries below the diagonal of a square."""
    return np.tri(side, k=-1, dtype=bool)


def _slices(first: int, total: int, step: int) -> Iterator[slice]:
    for start in range(first, total, step):
        yield slice(start, min(start + step, total))
