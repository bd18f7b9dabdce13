"""The number types of the first order: what an expectation is for float64 pairs and for mpmath numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mpmath
import numpy as np

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.arrays import AnyArray
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.gaussian.digits.expectation import expectation as precise_expectation
from kernelcalc.gaussian.estimate import Estimate
from kernelcalc.gaussian.floats.methods import GUARANTEE, pair_results
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.kernels.first_order.features import Entry, Index
from kernelcalc.kernels.first_order.means import derivative_mean
from kernelcalc.kernels.first_order.products import product

# Beyond, rounding of corrections is looked for (measured: gelu behind a linear layer, whose leading order cancels, is 1e-9 off
# at 5000).
_ROUNDING_SEEN = 100.0
# Below this 1 − ρ² pairs are nearly parallel: with kinks or fast functions corrections lose 1/(1 − ρ²)^{5/2} or more (measured:
# abs, three layers, 1e-7 of Σ¹ at 1e-4).
_NEARLY_PARALLEL = 0.05


class Cached:
    """Expectations of one nonlinearity at one Σ, each computed once."""

    act: Activation

    def __init__(self, act: Activation) -> None:
        self.act = act
        self.known: dict[tuple[Index, int, Index, int], Any] = {}

    def __call__(self, row: Index, row_derivative: int, column: Index, column_derivative: int) -> Any:
        """See :class:`kernelcalc.kernels.first_order.recursion.Expectations`."""
        key = row, row_derivative, column, column_derivative
        if key not in self.known:
            if row and column:
                f, g = product(self.act, row, row_derivative), product(self.act, column, column_derivative)
                self.known[key] = self.of_pair(f, g)
            else:
                self.known[key] = self.of_one(row or column, row_derivative + column_derivative, 0 if row else 1)
        return self.known[key]

    def of_one(self, orders: Index, derivative: int, side: int) -> Any:
        """E of the derivative of a product at the row's point, side 0, or the column's."""
        raise NotImplementedError

    def of_pair(self, f: Activation, g: Activation) -> Any:
        """E[f(a) g(b)]."""
        raise NotImplementedError


class Rounding:
    """Whether errors of expectations may matter; moved by them, these show what becomes of them.

    Parameters
    ----------
    by : numpy.random.Generator, optional
        Moves every expectation, and the covariances of the data, by its error up or down.
    """

    largest: float
    lost: float
    apart: float

    def __init__(self, by: np.random.Generator | None = None) -> None:
        # the largest variance, the largest error of an expectation relative to itself, the least 1 − ρ²
        self.largest, self.lost, self.apart, self._by = 0.0, 0.0, 1.0, by

    def moved(self, value: AnyArray, error: AnyArray) -> AnyArray:
        """The values, moved if they are to be."""
        return value if self._by is None else np.asarray(value + self._by.choice([-1.0, 1.0], value.shape) * error)

    def seen(self, found: Estimate) -> AnyArray:
        """An expectation's values, moved if they are to be."""
        value, error = found.value, found.error
        self.lost = max(self.lost, float(np.max(error[value != 0] / np.abs(value[value != 0]), initial=0.0)))
        return self.moved(value, error)

    def covariance(self, cov: Covariance, own: bool) -> None:
        """What expectations are taken at; of points with themselves, or of pairs."""
        self.largest = max(self.largest, float(cov.q.max(initial=0.0)))
        if not own:
            square = cov.q * cov.qp
            self.apart = min(self.apart, float(np.min(cov.det[square > 0] / square[square > 0], initial=1.0)))

    @property
    def of_any_pair(self) -> bool:
        """Whether some error of any of the pairs may matter."""
        return self.largest > _ROUNDING_SEEN or self.lost > GUARANTEE

    @property
    def suspected(self) -> bool:
        """Whether it is worth a second computation: of any pair, or of those nearest to parallel."""
        return self.of_any_pair or self.apart < _NEARLY_PARALLEL


def _nowhere(f: Activation, q: Any) -> Any:
    """Where f has a delta at 0 and the point no variance: there is no mean, and none is needed.

    Such a point's z is 0 for all weights at every width: so are its kernels before this nonlinearity and their covariances,
    which stand before these means. They count as 0.
    """
    return (q == 0) & any(delta.at == 0 for delta in f.deltas)


class FloatExpectations(Cached):
    """Arrays over pairs (P,), the points numbered by ``rows`` and ``columns``; over points where all pairs are equal ones.

    Parameters
    ----------
    act : Activation
        σ.
    q : ndarray (N,)
        Σ at every point.
    rows, columns : ndarray of int (P,)
        Which points the pairs are made of.
    c : ndarray (P,)
        Σ at the pairs.
    rounding : Rounding, optional
        Sees all of them.
    """

    q: AnyArray
    rows: AnyArray
    columns: AnyArray
    rounding: Rounding
    cov: Covariance

    def __init__(
        self,
        act: Activation,
        q: AnyArray,
        rows: AnyArray,
        columns: AnyArray,
        c: AnyArray,
        rounding: Rounding | None = None,
    ) -> None:
        super().__init__(act)
        self.q, self.rows, self.columns, self.rounding = q, rows, columns, rounding or Rounding()
        left, right = q[rows], q[columns]
        self.cov = Covariance(q=left, qp=right, c=c, det=np.maximum(determinant(left, right, c), 0.0))
        self.rounding.covariance(self.cov, own=rows is columns)

    def of_one(self, orders: Index, derivative: int, side: int) -> AnyArray:
        """Arrays (P,)."""
        known = ~_nowhere(product(self.act, orders, derivative), self.q)
        value = np.zeros_like(self.q)
        value[known] = self.rounding.seen(derivative_mean(self.act, orders, derivative, self.q[known]))
        return value[self.columns if side else self.rows]

    def of_pair(self, f: Activation, g: Activation) -> AnyArray:
        """Arrays (P,)."""
        known = ~(_nowhere(f, self.cov.q) | _nowhere(g, self.cov.qp))
        value = np.zeros_like(self.cov.c)
        found = pair_results(f, g, self.cov.take(known), rtol=RTOL)
        value[known] = self.rounding.seen(Estimate(value=found.value, error=found.error))
        return value


class DigitExpectations(Cached):
    """mpmath numbers at one pair."""

    limits: Mapping[Entry, Any]
    digits: int

    def __init__(self, act: Activation, limits: Mapping[Entry, Any], digits: int) -> None:
        super().__init__(act)
        self.limits, self.digits = limits, digits

    def of_one(self, orders: Index, derivative: int, side: int) -> Any:
        """One number."""
        f, q = product(self.act, orders, derivative), self.limits["sigma", side, side]
        if _nowhere(f, q):
            return mpmath.mpf(0)
        return precise_expectation(f, ONE, q, mpmath.mpf(1), mpmath.mpf(0), dps=self.digits)[0]

    def of_pair(self, f: Activation, g: Activation) -> Any:
        """One number."""
        s = self.limits
        if _nowhere(f, s["sigma", 0, 0]) or _nowhere(g, s["sigma", 1, 1]):
            return mpmath.mpf(0)
        return precise_expectation(f, g, *(s["sigma", a, b] for a, b in ((0, 0), (1, 1), (0, 1))), dps=self.digits)[0]
