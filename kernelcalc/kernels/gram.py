"""Gram matrices in float64: the fold over all pairs of two sets of points, block by block.

The ways of a call, in the order in which it meets them: few points at once (closed forms, else tables by octave); up to 256
points none of which are nearly parallel as one block, where there are closed forms; points of one norm (polynomials in ρ); else
blocks, in threads: closed forms that do not cancel, else series (coefficients interpolated in log q, every other one left out
where σ is even or odd, pairs near |ρ| = 1 apart, in machine code where that pays); single pairs whose bound is too large go
through quadrature. ``benchmarks/ways.py`` takes each out and says how much slower a call is then.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import PrecisionWarning, warn
from kernelcalc.gaussian.floats.kinds import feels_small_angles, recognise
from kernelcalc.gaussian.floats.layer import LayerExpectations, angle_growth, diagonal_expectations
from kernelcalc.gaussian.floats.methods import GUARANTEE
from kernelcalc.kernels.blocks import (
    COMPILED_SIDES,
    PAIRS_FOR_THEM,
    SHARED_SIDES,
    Matrix,
    check_finite,
    even_sides,
    sides_for,
    triangle,
)
from kernelcalc.kernels.few_points import AnotherWayError, few_points, few_steps
from kernelcalc.kernels.fold import (
    Numbers,
    Orders,
    Pairs,
    Step,
    ends_a_layer,
    first_diagonal,
    first_kernels,
    planned,
    take_diagonals,
    through,
)
from kernelcalc.kernels.layer import UNITY, ZERO, Scales
from kernelcalc.kernels.layers import Dense, Layer
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.point_blocks import Block, CorrelationBlock, PointBlock, Prepared, Source, TriangleBlock
from kernelcalc.kernels.points import Points, check_variances
from kernelcalc.kernels.sphere import CorrelationTable, correlation_table, one_norm
from kernelcalc.kernels.state import KERNELS, DiagonalKernels, PairKernels, turned, with_transposes
from kernelcalc.machine import keep_freed_memory, one_blas_thread
from kernelcalc.patience import Patience

# Pairs from which on a polynomial in ρ pays, and the smallest range it is made for.
FEWEST_PAIRS, LEAST_REACH = 4096, 1e-3
# Kernels of kinked nonlinearities are singular at ρ = ±1; up to here a few dozen terms resolve them. Nearly parallel points of
# smooth ones are told apart by their difference, which ρ has rounded away.
KINKED_REACH, SMOOTH_REACH = 0.9, 1 - 1e-6
# Pairs from which on machine code saves more than numba's import costs (measured: tanh, softplus; closed forms never gain).
WORTH_COMPILING = 2**23


def compiling_pays(act: Activation, pairs: int) -> bool:
    """Whether numba is there, and the time it saves on a series outweighs its import."""
    return pairs >= WORTH_COMPILING and recognise(act) is None and find_spec("numba") is not None


@lru_cache(maxsize=64)
def _scales(dense: Dense) -> Scales:
    scales = Numbers().scales(dense)
    return replace(scales, weight=UNITY) if dense.sigma_w == 1 else scales


class Floats(Numbers):
    """float64: expectations of whole blocks, prepared once for all points."""

    def scales(self, dense: Dense) -> Scales:
        """The numbers of a dense layer; σ_w = 1 multiplies nothing."""
        return _scales(dense)

    def nothing(self, like: Any) -> Any:
        """A number, so that no array of zeros is gone through."""
        return ZERO

    def on_diagonal(self, step: Step, at: DiagonalKernels, orders: Orders) -> dict[tuple[int, int], Any]:
        """E_ij at (x, x)."""
        return diagonal_expectations(step.activation, at.sigma, orders)

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij of a block, and the covariance they belong to."""
        assert isinstance(pairs, Block)
        cov = pairs.covariance(step, k)
        return step.prepared.expectations.block(pairs.rows, pairs.columns, cov), Source(act=step.activation, cov=cov)


class OwnFloats(Floats):
    """float64 of a block that has every point's pair with itself: no diagonals are taken through the layers beforehand."""

    def __init__(self, compiled: bool | None) -> None:
        self._compiled = compiled

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij of the block.

        Raises
        ------
        AnotherWayError
            Some points are nearly parallel, or there are no closed forms.
        """
        assert isinstance(pairs, TriangleBlock)
        cov = pairs.covariance_of_apart(step, k)
        if cov is None:
            raise AnotherWayError
        act, q = step.activation, cov.variances
        compiled = compiling_pays(act, q.size**2) if self._compiled is None else self._compiled
        found = LayerExpectations(act, q, q, step.orders, compiled=compiled)
        if not found.pair_by_pair:
            raise AnotherWayError
        return found.block(pairs.rows, pairs.columns, cov), None


class Fold:
    """A network's steps with the diagonals of all points and what every nonlinearity needs for them.

    Parameters
    ----------
    layers : sequence of Layer
        The network's.
    squares : pair of ndarray (N,), (M,)
        |x|²/n_0 of rows and columns; the same object for one set of points.
    names : tuple of str
        Kernels wanted; "phi_t" and "lam_t" are Φ(x', x) and Λ(x', x) at the pairs (x, x').
    every_layer : bool
        Wanted after every layer, not only the last.
    compiled : bool or None
        Sum series in machine code (extra ``fast``); None: where it is installed and pays.
    """

    first: Step
    steps: list[Step]

    def __init__(
        self,
        layers: Sequence[Layer],
        squares: tuple[np.ndarray, np.ndarray],
        names: frozenset[str],
        *,
        every_layer: bool = False,
        compiled: bool | None = None,
        numbers: Floats | None = None,
    ) -> None:
        self.numbers: Floats = numbers or Floats()
        self.first, *self.steps = planned(layers, names, every_layer=every_layer)
        symmetric = squares[1] is squares[0]
        rows = first_diagonal(self.first, squares[0], self.numbers)
        columns = rows if symmetric else first_diagonal(self.first, squares[1], self.numbers)
        self.variances: tuple[Any, Any] = rows.sigma, columns.sigma
        self.diagonals: tuple[DiagonalKernels, DiagonalKernels] = (rows, columns)
        self._compiled = compiled

    @cached_property
    def nonlinearities(self) -> list[Step]:
        """The steps that cost expectations, prepared for all points."""
        self.take_diagonals(*self.diagonals)
        found = [one for step in self.steps for one in step.nonlinearities]
        small_angles, slopes, growth = False, False, 1.0
        for step in reversed(found):
            act = step.activation
            q, qp = (at.sigma for at in step.diagonals)
            small_angles = small_angles or feels_small_angles(act, float(max(q.max(), qp.max())))
            slopes = slopes or any(map(any, step.orders))
            # a jump takes the root of 1 − ρ²
            of_layer = angle_growth(act, q if q is qp else np.concatenate([q, qp])) if act.smoothness >= 0 else math.inf
            growth = max(growth, 1.0) * of_layer
            compiled = compiling_pays(act, q.size * qp.size) if self._compiled is None else self._compiled
            step.prepared = Prepared(
                expectations=LayerExpectations(act, q, qp, step.orders, compiled=compiled),
                small_angles=small_angles,
                slopes=slopes,
                growth=growth,
            )
        return found

    def take_diagonals(self, rows: DiagonalKernels, columns: DiagonalKernels) -> None:
        """Take Σ, Θ, Φ of all points through the steps."""
        count = len(self.steps)
        patience = Patience(
            f"Σ, Θ, Φ of points through {count} steps", "a smaller depth and activations with a closed form are faster"
        )
        for done, step in enumerate(self.steps, 1):
            rows, columns = take_diagonals([step], rows, columns, self.numbers)
            patience.done(done / count)

    def layers(self, gram: np.ndarray, block: Block) -> Iterator[PairKernels]:
        """The kernels of a block behind every layer, from x·x'/n_0."""
        assert self.nonlinearities is not None
        return through(self.steps, first_kernels(self.first, gram, self.numbers), self.numbers, block)

    def final(self, gram: np.ndarray, block: Block) -> PairKernels:
        """Those behind the last layer; what the layers before have made is given up on the way."""
        (found,) = deque(self.layers(gram, block), maxlen=1)
        return found


class KernelComputation:
    """The kernels of a network on one or two sets of points.

    Parameters
    ----------
    network : Network
    x, x2 : ndarray (N, n_0), (M, n_0)
        Points; ``x2`` None for the symmetric matrices of x.
    names : tuple of str
        Kernels wanted; "phi_t" and "lam_t" are Φ(x', x) and Λ(x', x) at the pairs (x, x').
    compiled : bool or None
        Sum series in machine code (extra ``fast``); None: where it is installed and pays.
    """

    network: Network
    names: tuple[str, ...]
    compiled: bool | None

    def __init__(
        self,
        network: Network,
        x: np.ndarray,
        x2: np.ndarray | None,
        names: tuple[str, ...],
        *,
        compiled: bool | None = None,
    ) -> None:
        self.network, self.names, self.compiled = network, names, compiled
        self.rows: Points = Points.of(x)
        self.columns: Points = self.rows if x2 is None else Points.of(x2)
        first = network.layers[0]
        assert isinstance(first, Dense)
        both = {id(side): side for side in (self.rows, self.columns)}.values()
        self._variances, *_ = (check_variances(first.sigma_w**2 * side.square + first.beta**2) for side in both)
        self._whole: TriangleBlock | None = None
        self._rounded: list[float] = []
        shape = len(x), len(self.columns.x)
        self.matrix: Matrix = Matrix(shape=shape, symmetric=x2 is None, sides=sides_for(shape[0]))

    def fold(self, every_layer: bool = False) -> Fold:
        """The network's steps for these points; CovarianceError for points that are too large or too small."""
        wanted = with_transposes(self.names) if self.matrix.symmetric else frozenset(self.names)
        squares = self.rows.square, self.columns.square
        return Fold(self.network.layers, squares, wanted, every_layer=every_layer, compiled=self.compiled)

    # what has overflowed is refused by name where it is asked for
    @np.errstate(over="ignore", invalid="ignore")
    def run(self, layers: bool) -> list[dict[str, np.ndarray]]:
        """Arrays of every layer (or only of the last one), filled block by block, in threads."""
        if not layers:
            few = few_points(self.network, self.rows.x, None if self.matrix.symmetric else self.columns.x, self.names)
            if few is not None:
                for array in few.values():
                    check_finite(array)
                return [few]
            one = self._one_block()
            if one is not None:
                return [one]
        fold = self.fold(layers)
        if not layers:
            output = {name: np.empty(self.matrix.shape) for name in self.names}
            if self._by_correlation(fold, output):
                return [output]
            outputs = [output]
        else:
            count = 1 + sum(ends_a_layer(step.layer) for step in fold.steps)
            # before the first nonlinearity there is no E[σ'(a) σ'(b)]
            first = [name for name in self.names if KERNELS[name].default]
            outputs = [
                {name: np.empty(self.matrix.shape) for name in (self.names if ell else first)} for ell in range(count)
            ]

        def work(rows: slice, columns: slice) -> None:
            x, xp = self.rows.x[rows], self.columns.x[columns]
            halved = self.matrix.packed and rows == columns
            block = (self._whole or TriangleBlock(rows, x)) if halved else PointBlock(rows, columns, x, xp)
            every = fold.layers(block.gram(), block) if layers else (fold.final(block.gram(), block),)
            for output, kernels in zip(outputs, every, strict=True):
                self._store(output, kernels, rows, columns)
            self._rounded.append(block.rounded)

        every = [step.prepared.expectations for step in fold.nonlinearities]
        if self.matrix.symmetric and all(one.pair_by_pair for one in every):
            self.matrix = replace(self.matrix, sides=even_sides(self.matrix.shape[0]), packed=True)
        if any(one.compiled for one in every) and math.prod(self.matrix.shape) >= PAIRS_FOR_THEM:
            self.matrix = replace(self.matrix, sides=COMPILED_SIDES)
        for panel in self.matrix.panels(sum(one.bytes_per_point for one in every)):
            for one in every:
                one.focus(*panel)
            self.matrix.every_block(work, panel)
        self._warn_of_rounding(len(every))
        return outputs

    def _warn_of_rounding(self, count: int) -> None:
        lost = count * max(self._rounded, default=0.0)
        if lost > GUARANTEE:
            warn(
                f"points that are nearly parallel behind sums of branches or LayerNorm: relative error of their kernels up to "
                f"{min(lost, 1.0):.0e}; leave out points that are nearly multiples of others, or dps= has more digits",
                PrecisionWarning,
            )

    def _one_block(self) -> dict[str, np.ndarray] | None:
        """Kernels of one set of points all pairs of which are a block; None where another way is needed."""
        n, m = self.matrix.shape
        activations = self.network.activations
        if not self.matrix.symmetric or n > SHARED_SIDES[0] or not activations or None in map(recognise, activations):
            return None
        if n * m >= FEWEST_PAIRS and one_norm(self._variances) is not None:
            return None
        keep_freed_memory()
        self._whole = block = TriangleBlock(slice(0, n), self.rows.x)
        numbers, (first, *steps) = OwnFloats(self.compiled), few_steps(self.network, self.names)
        with one_blas_thread():
            k = first_kernels(first, block.gram(), numbers)
            try:
                (last,) = deque(through(steps, k, numbers, block), maxlen=1)
            except AnotherWayError:
                return None
        return {name: block.triangle.square(getattr(last, name), getattr(last, turned(name))) for name in self.names}

    def _store(self, output: dict[str, np.ndarray], kernels: PairKernels, rows: slice, columns: slice) -> None:
        if self.matrix.packed and rows == columns:
            pairs = triangle(rows.stop - rows.start)
            for name, array in output.items():
                pairs.square(getattr(kernels, name), getattr(kernels, turned(name)), array[rows, columns])
            return
        shape = rows.stop - rows.start, columns.stop - columns.start
        for name, array in output.items():
            block = np.broadcast_to(getattr(kernels, name), shape)
            other = np.broadcast_to(getattr(kernels, turned(name)), shape) if self.matrix.symmetric else block
            self.matrix.write(array, block, other, rows, columns)

    def _by_correlation(self, fold: Fold, output: dict[str, np.ndarray]) -> bool:
        """Points of one norm: kernels as polynomials in ρ. Whether that was possible.

        One of the outputs holds ρ until its kernel replaces it, so nothing of the size of the matrix is added.
        """
        q = one_norm(*fold.variances)
        n, m = self.matrix.shape
        if q is None or not self.network.activations or n * m < FEWEST_PAIRS:
            return False
        held, scales = next(iter(output.values())), fold.first.given(fold.numbers)
        reaches = []

        def correlate(rows: slice, columns: slice) -> None:
            x, xp = self.rows.x[rows], self.columns.x[columns]
            rho = (scales.weight * (x @ xp.T / x.shape[1]) + scales.bias) / q
            if self.matrix.symmetric and rows.start == columns.start:
                np.fill_diagonal(rho, 0.0)
            reaches.append(max(rho.max(), -rho.min()))
            held[rows, columns] = rho

        self.matrix.every_block(correlate)
        made = self._correlation_table(q, float(max(reaches)), (q - scales.bias) / scales.weight)
        if made is None:
            return False
        table, diagonal = made

        def work(rows: slice, columns: slice) -> None:
            rho = held[rows, columns]
            values = table(rho.ravel()).reshape(-1, *rho.shape)
            for array, value, own in zip(output.values(), values, diagonal, strict=True):
                if self.matrix.symmetric and rows.start == columns.start:
                    np.fill_diagonal(value, own)
                self.matrix.write(array, value, value, rows, columns)

        self.matrix.every_block(work)
        return True

    def _correlation_table(self, q: float, reach: float, square: float) -> tuple[CorrelationTable, np.ndarray] | None:
        """Kernels as functions of ρ up to ``reach``, with their values at ρ = 1."""
        smooth = all(act.smoothness == np.inf for act in self.network.activations)
        if reach > (SMOOTH_REACH if smooth else KINKED_REACH):
            return None
        one = np.array([square])
        fold = Fold(self.network.layers, (one, one), with_transposes(self.names), compiled=self.compiled)
        scales = fold.first.given(fold.numbers)

        def of_rho(rho: np.ndarray) -> np.ndarray:
            block = CorrelationBlock(rho)
            last = fold.final((fold.variances[0][:, None] * block.rho - scales.bias) / scales.weight, block)
            return np.concatenate([np.broadcast_to(getattr(last, name), block.rho.shape) for name in self.names])

        table = correlation_table(of_rho, max(reach, LEAST_REACH))
        return None if table is None else (table, of_rho(np.ones(1))[:, 0])
