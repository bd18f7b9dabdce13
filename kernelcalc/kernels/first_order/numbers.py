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
from kernelcalc.gaussian.floats.methods import pair_results
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.kernels.first_order.features import Entry, Index
from kernelcalc.kernels.first_order.products import product


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
            f, g = product(self.act, row, row_derivative), product(self.act, column, column_derivative)
            self.known[key] = self.of(f, g, not column, not row)
        return self.known[key]

    def of(self, f: Activation, g: Activation, only_row: bool, only_column: bool) -> Any:
        """E[f(a) g(b)]; g = 1 if only the row is asked for, f = 1 if only the column."""
        raise NotImplementedError


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
    moved : numpy.random.Generator, optional
        Moves every expectation by its stated error up or down, which shows what becomes of these.
    """

    q: AnyArray
    rows: AnyArray
    columns: AnyArray
    moved: np.random.Generator | None
    cov: Covariance

    def __init__(
        self,
        act: Activation,
        q: AnyArray,
        rows: AnyArray,
        columns: AnyArray,
        c: AnyArray,
        moved: np.random.Generator | None = None,
    ) -> None:
        super().__init__(act)
        self.q, self.rows, self.columns, self.moved = q, rows, columns, moved
        left, right = q[rows], q[columns]
        self.cov = Covariance(q=left, qp=right, c=c, det=np.maximum(determinant(left, right, c), 0.0))

    def of(self, f: Activation, g: Activation, only_row: bool, only_column: bool) -> AnyArray:
        """Arrays (P,)."""
        if only_row or only_column:
            one, nothing = np.ones_like(self.q), np.zeros_like(self.q)
            cov = Covariance(q=self.q, qp=one, c=nothing, det=self.q)
            return self._value(f if only_row else g, ONE, cov)[self.rows if only_row else self.columns]
        return self._value(f, g, self.cov)

    def _value(self, f: Activation, g: Activation, cov: Covariance) -> AnyArray:
        found = pair_results(f, g, cov, rtol=RTOL)
        if self.moved is None:
            return found.value
        return np.asarray(found.value + self.moved.choice([-1.0, 1.0], found.value.shape) * found.error)


class DigitExpectations(Cached):
    """mpmath numbers at one pair."""

    limits: Mapping[Entry, Any]
    digits: int

    def __init__(self, act: Activation, limits: Mapping[Entry, Any], digits: int) -> None:
        super().__init__(act)
        self.limits, self.digits = limits, digits

    def of(self, f: Activation, g: Activation, only_row: bool, only_column: bool) -> Any:
        """One number."""
        zero = mpmath.mpf(0)
        if only_row or only_column:
            q = self.limits["sigma", 0, 0] if only_row else self.limits["sigma", 1, 1]
            return precise_expectation(f if only_row else g, ONE, q, mpmath.mpf(1), zero, dps=self.digits)[0]
        s = self.limits
        return precise_expectation(f, g, *(s["sigma", a, b] for a, b in ((0, 0), (1, 1), (0, 1))), dps=self.digits)[0]
