"""Gram matrices of networks on points with positions, in float64: a point of the fold is (data point, position).

Memory: the outputs, blocks of :data:`BLOCK_ENTRIES` pairs of positions (or those of one pair of points, P² for P positions,
where pooling needs all of them) and panels of points with what their nonlinearities need.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernelcalc.arrays import EPS, AnyArray
from kernelcalc.errors import PrecisionWarning, warn
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.kernels.blocks import BLOCK_COLUMNS, BLOCK_ROWS, Matrix
from kernelcalc.kernels.fold import INPUT, Step, first_kernels, take_diagonals
from kernelcalc.kernels.gram import Floats, Fold
from kernelcalc.kernels.layers import Layer
from kernelcalc.kernels.layouts import laid_out
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.point_blocks import Block
from kernelcalc.kernels.points import Places, check_variances, first_covariance
from kernelcalc.kernels.positions import Average, Layout
from kernelcalc.kernels.state import DIAGONAL, DiagonalKernels, PairKernels, turned, with_transposes

# Pairs of positions in a block: 2 MiB for each kernel and expectation of them, some thirty at most.
BLOCK_ENTRIES = 2**18
# What one position of one point takes in a panel, at most: some 60 Hermite coefficients of five derivatives.
BYTES_PER_POSITION = 2400
# qq' − c² below this multiple of qq' is rounding: such receptive fields count as equal.
SAME_FIELD = 16 * EPS
# What angles between windows that rounding spoils may do to kernels, relatively, without a warning.
LOST_ANGLES = 1e-10
# Beyond, rounding of an angle's square is less of it than that, in any number of layers that one waits for.
SMALL_ANGLE = 1e-4


class PositionFloats(Floats):
    """float64 at pairs of positions."""

    def nothing(self, like: Any) -> Any:
        """Zeros in the shape that blocks of positions read off their kernels."""
        return self.zeros(like)

    def expectations(self, step: Step, k: PairKernels, pairs: Any) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij of a block, part by part."""
        cov = pairs.covariance(step, k)
        out = {order: np.empty(cov.c.shape) for order in step.orders}
        for where, rows, columns in pairs.parts(
            cov.c.shape, (step.diagonals[0].sigma.size, step.diagonals[1].sigma.size)
        ):
            # variances have one column, or one row
            row, column = (*where[:-1], slice(None)), (*where[:-2], slice(None), where[-1])
            part = Covariance(q=cov.q[row], qp=cov.qp[column], c=cov.c[where], det=cov.det[where])
            for order, value in step.prepared.expectations.block(rows, columns, part).items():
                out[order][where] = value
        return out, None


class PositionBlock(Block):
    """All pairs of positions, or of equal ones, of some rows with some columns.

    Parameters
    ----------
    rows, columns : slice
        Data points.
    x, xp : ndarray (B, P, n), (B', P, n)
        What the first layer's weights are multiplied with.
    """

    def __init__(self, rows: slice, columns: slice, x: np.ndarray, xp: np.ndarray) -> None:
        super().__init__(rows, columns)
        self.x: AnyArray = x
        self.xp: AnyArray = xp
        self.lost: float = 0.0

    def gram(self, paired: bool) -> np.ndarray:
        """x·x'/n."""
        n = self.x.shape[-1]
        if paired:
            return self.x.reshape(-1, n) @ self.xp.reshape(-1, n).T / n
        return self.x.transpose(1, 0, 2) @ self.xp.transpose(1, 2, 0) / n

    def sides(self, step: Step, k: PairKernels) -> tuple[DiagonalKernels, DiagonalKernels]:
        """Σ, Θ, Φ of the rows' and the columns' positions."""
        shape = next(iter(k.values.values())).shape
        row, column = step.diagonals
        return (
            self._side(row, self.rows, shape[-2], (*shape[:-1], 1)),
            self._side(column, self.columns, shape[-1], (*shape[:-2], 1, shape[-1])),
        )

    @staticmethod
    def _side(at: DiagonalKernels, part: slice, size: int, shape: tuple[int, ...]) -> DiagonalKernels:
        if len(shape) == 2:
            p = size // (part.stop - part.start)
            return at.take(slice(part.start * p, part.stop * p), shape)
        parts = {name: values for name in DIAGONAL if (values := getattr(at, name)) is not None}
        by_position = {name: values.reshape(shape[0], -1)[:, part] for name, values in parts.items()}
        return DiagonalKernels(**by_position).take(..., shape)

    def first(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> tuple[Covariance, Places]:
        """From the windows of the points, so that nearly parallel ones are told apart."""
        n, scales = self.x.shape[-1], k.origin[1]
        if k.sigma.ndim == 2:
            rows, columns = self.x.reshape(-1, n), self.xp.reshape(-1, n)
            return first_covariance(lambda at: (rows[at[0]], columns[at[1]]), q, qp, k.sigma, scales)
        # at equal positions
        return first_covariance(lambda at: (self.x[at[1], at[0]], self.xp[at[2], at[0]]), q, qp, k.sigma, scales)

    def covariance(self, step: Step, k: PairKernels) -> Covariance:
        """Σ before a nonlinearity; behind the first one receptive fields that are equal but for rounding are equal."""
        row, column = self.sides(step, k)
        q, qp = row.sigma, column.sigma
        if k.origin is not None and k.origin[0] is INPUT:
            cov = self.first(k, q, qp)[0]
            self.lost = max(self.lost, self._lost(cov))
            return cov
        det = determinant(q, qp, k.sigma)
        scale = q * qp
        det = np.where(det <= SAME_FIELD * scale, 0.0, det)
        root = np.sqrt(scale)
        c = np.where(det == 0, np.copysign(root, k.sigma), k.sigma)
        return Covariance(q=q, qp=qp, c=c, det=det)

    def _lost(self, cov: Covariance) -> float:
        """By what angles between two points' windows change, on average over these: by 2ε over themselves or wholly."""
        scale = cov.q * cov.qp
        near = np.nonzero((cov.det > 0) & (cov.det < SMALL_ANGLE**2 * scale))
        if not near[0].size:
            return 0.0
        angle = np.sqrt(cov.det[near] / scale[near])
        lost = np.zeros(cov.det.shape)
        lost[near] = np.where(angle**2 < 2 * SAME_FIELD, angle, 2 * EPS / angle)
        if lost.ndim == 3:
            return float(lost.mean(axis=0).max())
        return float(lost.reshape(len(self.x), self.x.shape[1], len(self.xp), -1).mean(axis=(1, 3)).max())

    def parts(self, shape: tuple[int, ...], counts: tuple[int, int]) -> Iterator[tuple[tuple[Any, ...], slice, slice]]:
        """Where in the block, and which rows and columns of all: matrices that stay in the second-level cache."""
        if len(shape) == 3:
            for p in range(shape[0]):
                n, m = counts[0] // shape[0], counts[1] // shape[0]
                rows = slice(p * n + self.rows.start, p * n + self.rows.stop)
                columns = slice(p * m + self.columns.start, p * m + self.columns.stop)
                yield (p, slice(None), slice(None)), rows, columns
            return
        first = shape[0] // (self.rows.stop - self.rows.start) * self.rows.start
        other = shape[1] // (self.columns.stop - self.columns.start) * self.columns.start
        for i in range(0, shape[0], BLOCK_ROWS):
            for j in range(0, shape[1], BLOCK_COLUMNS):
                down, across = min(i + BLOCK_ROWS, shape[0]), min(j + BLOCK_COLUMNS, shape[1])
                where = slice(i, down), slice(j, across)
                yield where, slice(first + i, first + down), slice(other + j, other + across)


class PositionFold(Fold):
    """As :class:`~kernelcalc.kernels.gram.Fold`, for layers that are laid out.

    Parameters
    ----------
    layers : list of Layer
        From the first weights on.
    paired : bool
        Whether these are followed by all pairs of positions or by equal ones.
    points : pair of ndarray (N, P, n), (M, P, n)
        What the first weights are multiplied with; the same object for one set of points.
    names : frozenset of str
        Kernels wanted.
    compiled : bool or None
        Sum series in machine code.
    """

    def __init__(
        self,
        layers: list[Layer],
        paired: bool,
        points: tuple[np.ndarray, np.ndarray],
        names: frozenset[str],
        compiled: bool | None,
    ) -> None:
        self.points: tuple[AnyArray, AnyArray] = points
        self.paired: bool = paired
        self.compiled: bool | None = compiled
        self.layers_of_network = layers
        self.lost: list[float] = []
        rows = self._squares(points[0])
        squares = rows, rows if points[1] is points[0] else self._squares(points[1])
        super().__init__(layers, squares, names, compiled=compiled, numbers=PositionFloats())
        for variances in self.variances:
            check_variances(variances)

    def _squares(self, x: np.ndarray) -> np.ndarray:
        squares = np.einsum("npi,npi->np", x, x) / x.shape[-1]
        return squares.ravel() if self.paired else squares.T.ravel()

    def take_diagonals(self, rows: DiagonalKernels, columns: DiagonalKernels) -> None:
        """Take Σ, Θ, Φ of all positions through the steps; averages over pairs of positions need these within each point."""
        for index, step in enumerate(self.steps):
            layer = step.layer
            if not (isinstance(layer, Average) and layer.layer.reads_pairs):
                rows, columns = take_diagonals([step], rows, columns, self.numbers)
                continue
            step.keep(rows, columns)
            ends = [
                self._within(index, layer.after, x, step.diagonal_after) if step.diagonal_after else DiagonalKernels()
                for x in {id(x): x for x in self.points}.values()
            ]
            rows, columns = ends[0], ends[-1]

    def _within(self, index: int, after: Layout, x: np.ndarray, names: frozenset[str]) -> DiagonalKernels:
        """Σ, Θ, Φ on the diagonal behind a step, from all pairs of positions of each point."""
        fold = PositionFold(self.layers_of_network[: index + 2], self.paired, (x, x), names, self.compiled)
        assert fold.nonlinearities is not None
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for i in range(len(x)):
            k = fold.last(slice(i, i + 1), slice(i, i + 1))
            for name, values in found.items():
                array = getattr(k, name)
                values.append(np.diagonal(array) if array.ndim == 2 else array[:, 0, 0])
        parts = {name: np.stack(values) for name, values in found.items()}
        return DiagonalKernels(**{name: (v if after.paired else v.T).ravel() for name, v in parts.items()})

    def last(self, rows: slice, columns: slice) -> PairKernels:
        """The kernels of a block behind the last layer."""
        block = PositionBlock(rows, columns, self.points[0][rows], self.points[1][columns])
        k = first_kernels(self.first, block.gram(self.paired), self.numbers)
        for step in self.steps:
            k = step.pairs(k, self.numbers, block)
        self.lost.append(block.lost)
        return k

    def warn_of_angles(self) -> None:
        """A PrecisionWarning where angles of first windows were too small to be seen behind later nonlinearities with kinks."""
        later = self.nonlinearities[1:]
        # E[σ'(a) σ'(b)] changes by 1/π of an angle's change, relatively, at most
        lost = max(self.lost, default=0.0) * len(later) / math.pi
        if lost > LOST_ANGLES and later[0].prepared.small_angles and any((1, 1) in step.orders for step in later):
            warn(
                f"points whose windows are nearly parallel: relative error of their kernels up to {lost:.0e} behind a second "
                "nonlinearity with kinks; leave out points that are nearly multiples of others",
                PrecisionWarning,
            )


class PositionComputation:
    """The kernels (N, M) of a network on points with positions.

    Parameters
    ----------
    network : Network
    x, x2 : ndarray (N, ..., channels), (M, ..., channels)
        Points; ``x2`` None for the symmetric matrices of x.
    names : tuple of str
        Kernels wanted.
    compiled : bool or None
        Sum series in machine code.
    """

    def __init__(
        self, network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], compiled: bool | None
    ) -> None:
        self.names: tuple[str, ...] = names
        self._compiled = compiled
        layers = laid_out(network.layers, x.shape[1:-1])
        layouts = [layer.before for layer in layers if isinstance(layer, Average)]
        first = layers[0]
        self._windows = first if isinstance(first, Average) else None
        self._layers = layers[1:] if self._windows else layers
        self._paired, size = layouts[0].paired, max(layout.size for layout in layouts)
        self._size = size
        side = max(
            1, int(math.sqrt(BLOCK_ENTRIES) / size) if self._paired else math.isqrt(max(1, BLOCK_ENTRIES // size))
        )
        self._x, self._x2 = x, x if x2 is None else x2
        self.matrix: Matrix = Matrix(
            shape=(len(x), len(self._x2)), symmetric=x2 is None, sides=(min(side, BLOCK_ROWS), min(side, BLOCK_COLUMNS))
        )

    def run(self) -> dict[str, np.ndarray]:
        """All blocks of all panels, in threads."""
        output = {name: np.empty(self.matrix.shape) for name in self.names}
        wanted = with_transposes(self.names) if self.matrix.symmetric else frozenset(self.names)
        for panel in self.matrix.panels(self._size * BYTES_PER_POSITION):
            left = self._first(self._x[panel[0]])
            same = self.matrix.symmetric and panel[0] == panel[1]
            points = left, left if same else self._first(self._x2[panel[1]])
            fold = PositionFold(self._layers, self._paired, points, wanted, self._compiled)
            for step in fold.nonlinearities:
                step.prepared.expectations.focus(*(slice(0, at.sigma.size) for at in step.diagonals))

            def work(
                rows: slice, columns: slice, fold: PositionFold = fold, panel: tuple[slice, slice] = panel
            ) -> None:
                k = fold.last(_from(rows, panel[0]), _from(columns, panel[1]))
                for name, array in output.items():
                    block = getattr(k, name)[0]
                    other = getattr(k, turned(name))[0] if self.matrix.symmetric else block
                    self.matrix.write(array, block, other, rows, columns)

            self.matrix.every_block(work, panel)
            fold.warn_of_angles()
        return output

    def _first(self, x: np.ndarray) -> np.ndarray:
        """What the first weights are multiplied with at every position: channels, or channels of all offsets of a window."""
        if self._windows is not None:
            for axis, window in enumerate(self._windows.layer.windows(x.ndim - 2)):
                x = window.gathered(x, 1 + axis)
        return np.ascontiguousarray(x.reshape(len(x), -1, x.shape[-1]))


def _from(part: slice, of: slice) -> slice:
    return slice(part.start - of.start, part.stop - of.start)
