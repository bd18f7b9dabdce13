"""Blocks of pairs of points in float64: where their Σ comes from, and how nearly parallel and equal points are told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS, AnyArray
from kernelcalc.gaussian.covariance import (
    ApartCovariance,
    ApartPoints,
    Covariance,
    PointCovariance,
    determinant_and_close,
)
from kernelcalc.gaussian.floats.layer import LayerExpectations
from kernelcalc.kernels.blocks import Triangle, triangle
from kernelcalc.kernels.fold import INPUT, Pairs, Step
from kernelcalc.kernels.layer import Scales
from kernelcalc.kernels.parallel import ROUNDING_SHOWS, refined
from kernelcalc.kernels.points import LARGEST_GROWTH, NEAR_PARALLEL, Places, first_covariance, with_equal_points
from kernelcalc.kernels.state import DIAGONAL, DiagonalKernels, PairKernels, Spread


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What one nonlinearity needs for all pairs.

    Attributes
    ----------
    expectations : LayerExpectations
    small_angles : bool
        Whether it or a later one feels the angle of nearly parallel points.
    slopes : bool
        Whether it or a later one is asked for derivatives.
    growth : float
        By how much 1 − ρ² of these may grow in it and behind; infinite before jumps.
    """

    expectations: LayerExpectations
    small_angles: bool
    slopes: bool
    growth: float

    @property
    def refined_below(self) -> float:
        """Of qq', the qq' − c² that is taken anew: rounding of c would grow beyond 1e-12, or its effect on angles would."""
        if self.growth > LARGEST_GROWTH:
            return NEAR_PARALLEL
        return min(ROUNDING_SHOWS * self.growth, NEAR_PARALLEL) if self.small_angles else 0.0

    def lost(self, apart: float) -> float:
        """About what rounding of c does to kernels of points with this (qq' − c²)/qq', relatively, in each layer."""
        apart = max(apart, EPS)
        growth = min(self.growth, 1 / apart)
        return EPS * (math.sqrt(growth / apart) if self.small_angles and self.slopes else growth)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """The nonlinearity and covariance that a later Σ came from."""

    act: Activation
    cov: Covariance


class Block(Pairs):
    """A block of pairs: it finds Σ with its determinant qq' − c² before every nonlinearity."""

    same: Places = None
    looked: bool = False
    # what rounding of c does where c has come another way than from a nonlinearity through weights alone
    rounded: float = 0.0
    # rows of pairs that are points with themselves
    own: ClassVar[int] = 0

    def equal(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> Places:
        """Which pairs are equal points, where another layer stands between the first one and a nonlinearity."""
        raise NotImplementedError

    def first(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> tuple[Covariance, Places]:
        """The first layer's covariance, and which pairs are equal points."""
        raise NotImplementedError

    def apart(self, q: np.ndarray, qp: np.ndarray, c: np.ndarray) -> ApartCovariance:
        """Σ before a nonlinearity, if no two points are nearly parallel."""
        return ApartCovariance(q, qp, c)

    def covariance(self, step: Step, k: PairKernels) -> Covariance:
        """Σ before a nonlinearity."""
        row, column = self.sides(step, k)
        q, qp = row.sigma, column.sigma
        apart = self.apart(q, qp, k.sigma)
        if apart.holds:
            if not self.looked:
                self.same, self.looked = (slice(self.own),) if self.own else None, True
            return apart
        source, scales = k.origin or (None, None)
        if source is INPUT:
            cov, self.same = self.first(k, q, qp)
            self.looked = True
            return cov
        if not self.looked:
            self.same, self.looked = self.equal(k, q, qp), True
        det, close = determinant_and_close(q, qp, k.sigma, self.own)
        cov = Covariance(q=q, qp=qp, c=k.sigma, det=det)
        if close is not None:
            prepared = step.prepared
            if prepared.refined_below and isinstance(source, Source) and scales is not None:
                cov = refined(source.act, source.cov, cov, self.same, scales, prepared.refined_below)
            elif prepared.refined_below:
                self._see(prepared, det, q * qp)
            np.maximum(det, 0.0, out=det)
        return with_equal_points(cov, self.same)

    def _see(self, prepared: Prepared, det: np.ndarray, size: np.ndarray) -> None:
        """Note what rounding does to the pairs nearest to parallel that are not equal."""
        apart = np.divide(det, size, out=np.ones_like(det), where=size > 0)
        if self.same is not None:
            apart[self.same] = 1.0
        if apart.min() < prepared.refined_below:
            self.rounded = max(self.rounded, prepared.lost(float(apart.min())))


class PointBlock(Block):
    """All pairs of some rows with some columns."""

    x: AnyArray
    xp: AnyArray

    def __init__(self, rows: slice, columns: slice, x: np.ndarray, xp: np.ndarray) -> None:
        super().__init__(rows, columns)
        self.x, self.xp = x, xp

    def gram(self) -> np.ndarray:
        """x·x'/n_0."""
        return self.x @ self.xp.T / self.x.shape[1]

    def first(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> tuple[Covariance, Places]:
        """From the points, so that nearly parallel ones are told apart."""
        return first_covariance(self.points, q, qp, k.sigma, k.origin[1])

    def equal(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> Places:
        """Looked for among nearly parallel points; scales do not matter."""
        return first_covariance(self.points, q, qp, k.sigma, Scales(weight=1.0, bias=0.0))[1]

    def points(self, at: Any) -> tuple[np.ndarray, np.ndarray]:
        """x and x' at some places."""
        return self.x[at[0]], self.xp[at[1]]


class TriangleBlock(Block):
    """All pairs of some points: point i with point i + d modulo their number, d a row; first the points with themselves."""

    x: AnyArray
    own: ClassVar[int] = 1

    def __init__(self, part: slice, x: np.ndarray) -> None:
        self.part: slice = part
        self.triangle: Triangle = triangle(len(x))
        rows, columns = self.triangle.rows, self.triangle.columns
        super().__init__(*((part.start + rows, part.start + columns) if part.start else (rows, columns)))
        self.x: AnyArray = x
        self._sides: tuple[Any, Any, Any] = (None, None, None)

    def sides(self, step: Step, k: PairKernels) -> tuple[Any, Any]:
        """Σ, Θ, Φ and κ of the rows' and the columns' points, each gathered at first use."""
        if self._sides[0] is not step:
            at = self._of_pairs(k) if step.own_diagonal else step.diagonals[0].take(self.part)
            self._sides = step, Spread(at, self.triangle.of_rows), Spread(at, self.triangle.of_columns)
        return self._sides[1:]

    def _of_pairs(self, k: PairKernels) -> DiagonalKernels:
        """Σ, Θ, Φ of the points, from their pairs with themselves."""
        return DiagonalKernels(**{name: self._of_points(getattr(k, name)) for name in DIAGONAL})

    def _of_points(self, values: Any) -> Any:
        shape = self.triangle.rows.shape
        if values is None or getattr(values, "shape", ()) == shape:
            return None if values is None else values[0]
        return np.broadcast_to(values, shape)[0]

    def apart(self, q: np.ndarray, qp: np.ndarray, c: np.ndarray) -> ApartPoints:
        """With the variances of the points, which are c of each with itself, exactly."""
        c = c.copy()
        c[:1] = q
        return ApartPoints(q, qp, c, 1, variances=q[0])

    def covariance(self, step: Step, k: PairKernels) -> Covariance:
        """Σ before a nonlinearity, with the variances of the points."""
        cov = super().covariance(step, k)
        if isinstance(cov, PointCovariance):
            return cov
        return PointCovariance(q=cov.q, qp=cov.qp, c=cov.c, det=cov.det, gap=cov.gap, variances=cov.q[0])

    def covariance_of_apart(self, step: Step, k: PairKernels) -> ApartPoints | None:
        """The same, or None where qq' − c² of some points is not above qq'/8: nothing of these is looked for."""
        row, column = self.sides(step, k)
        # whose first row the variances are
        apart = ApartPoints(row.sigma, column.sigma, k.sigma, self.own, variances=row.sigma[0])
        if apart.holds or (apart.det > apart.q * apart.qp / 8)[self.own :].all():
            return apart
        return None

    def gram(self) -> np.ndarray:
        """x·x'/n_0, not to be changed."""
        return self._gram

    @cached_property
    def _gram(self) -> np.ndarray:
        found = self.triangle.products(self.x)
        found /= self.x.shape[1]
        return found

    def first(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> tuple[Covariance, Places]:
        """From the points, so that nearly parallel ones are told apart."""
        return first_covariance(self.points, q, qp, k.sigma, k.origin[1], self.own)

    def equal(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> Places:
        """Looked for among nearly parallel points; scales do not matter."""
        return first_covariance(self.points, q, qp, k.sigma, Scales(weight=1.0, bias=0.0), self.own)[1]

    def points(self, at: Any) -> tuple[np.ndarray, np.ndarray]:
        """x and x' at some places."""
        return self.x[self.triangle.rows[at]], self.x[self.triangle.columns[at]]


class CorrelationBlock(Block):
    """Pairs of two points of one variance at given correlations."""

    def __init__(self, rho: np.ndarray) -> None:
        super().__init__(slice(0, 1), np.zeros(rho.size, dtype=np.intp))
        self.rho: AnyArray = rho[None, :]

    def first(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> tuple[Covariance, Places]:
        """q² (1 − ρ)(1 + ρ) has no difference of rounded numbers."""
        return Covariance(q=q, qp=qp, c=k.sigma, det=q * q * (1 - self.rho) * (1 + self.rho)), self._ones

    def equal(self, k: PairKernels, q: np.ndarray, qp: np.ndarray) -> Places:
        """Those of correlation 1."""
        return self._ones

    @property
    def _ones(self) -> Places:
        ones = np.nonzero(self.rho == 1)
        return ones if ones[0].size else None
