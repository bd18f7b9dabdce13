"""The kernels at a few points to any number of digits: the fold on mpmath numbers."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import PrecisionError
from kernelcalc.gaussian.digits.expectation import GUARD_DIGITS, expectations
from kernelcalc.kernels.fold import Orders, Pairs, Step
from kernelcalc.kernels.layers import Dense
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.pairs import PairComputation, PairNumbers, PointPairs, object_array
from kernelcalc.kernels.state import PairKernels
from kernelcalc.machine import MULTIPRECISION

# Digits of the guard that a pair's coming apart may take; times that the precision is tried.
_SPARE_DIGITS, _MOST_TIMES = 6, 4


def precise_layers(
    network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], dps: int
) -> list[dict[str, np.ndarray]]:
    """Object arrays of mpmath numbers, one dictionary a layer; data and σ_w, β are taken as the exact doubles they are."""
    # Every layer multiplies errors by its conditioning: guard digits on top of each expectation's own.
    digits = dps + GUARD_DIGITS + max(0, _digits_of_nearest(network, x, x if x2 is None else x2) - GUARD_DIGITS)
    # Where layers drive points apart 1 − ρ² grows, and its error with it: it needs digits of its own.
    for _ in range(_MOST_TIMES):
        with MULTIPRECISION, mpmath.workdps(digits + GUARD_DIGITS):
            numbers = DigitNumbers(digits)
            layers = PairComputation(network=network, numbers=numbers).layers(x, x2, names)
            needed = dps + GUARD_DIGITS + math.ceil(mpmath.log10(numbers.growth))
        if needed <= digits + _SPARE_DIGITS:
            return layers
        digits = needed
    raise PrecisionError(f"more than {digits} working digits cancelled in 1 - ρ² with dps={dps}; take fewer layers")


def _digits_of_nearest(network: Network, x: np.ndarray, x2: np.ndarray) -> int:
    """Digits of 1/(1 − ρ²) behind the first weights, exactly, of the points nearest to parallel that are not."""
    first = network.layers[0]
    assert isinstance(first, Dense)
    weight, bias = Fraction(first.sigma_w) ** 2 / x.shape[1], Fraction(first.beta) ** 2
    rows, columns = ([[Fraction(float(value)) for value in point] for point in points] for points in (x, x2))
    products = [[weight * sum(map(operator.mul, a, b)) + bias for b in columns] for a in rows]
    squares = [
        [weight * sum(value * value for value in point) + bias for point in points] for points in (rows, columns)
    ]
    apart = [
        1 - c * c / (q * qp)
        for q, row in zip(squares[0], products, strict=True)
        for qp, c in zip(squares[1], row, strict=True)
        if q * qp
    ]
    return max((len(str(value.denominator // value.numerator)) for value in apart if value), default=0)


class DigitNumbers(PairNumbers):
    """mpmath numbers at the working precision."""

    digits: int
    # by how much 1 − ρ² of some pair has grown, and the least that it was of each; None before the first nonlinearity
    growth: Any
    least: np.ndarray | None

    def __init__(self, digits: int) -> None:
        self.digits, self.growth, self.least = digits, mpmath.mpf(1), None

    def number(self, value: float) -> Any:
        """The double as it is."""
        return mpmath.mpf(value)

    def root(self, value: Any) -> Any:
        """√."""
        return np.vectorize(mpmath.sqrt, otypes=[object])(value)

    def product(self, a: np.ndarray, b: np.ndarray) -> Any:
        """a·b/n_0."""
        return mpmath.fdot((mpmath.mpf(float(u)), mpmath.mpf(float(v))) for u, v in zip(a, b, strict=True)) / len(a)

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij at the pairs; how their points move apart is watched."""
        assert isinstance(pairs, PointPairs)
        row, column = pairs.sides(step, k)
        one, rounding = mpmath.mpf(1), mpmath.mpf(10) ** -self.digits
        apart = [
            one if same or q * qp == 0 else 1 - c * c / (q * qp)
            for q, qp, c, same in zip(row.sigma, column.sigma, k.sigma, pairs.same, strict=True)
        ]
        if self.least is None:
            # the precision tells all data from parallel that are not
            self.least = object_array([one if value <= rounding**2 else value for value in apart])
        else:
            apart = [max(value, rounding) for value in apart]
            self.least = np.minimum(self.least, apart)
            self.growth = max(self.growth, *(object_array(apart) / self.least))
        return super().expectations(step, k, pairs)

    def of_one(
        self, act: Activation, covariance: tuple[Any, Any, Any], same: bool, orders: Orders, highest: int
    ) -> Any:
        """E_ij; the highest derivatives come along everywhere, and every value serves all pairs."""
        return expectations(act, *covariance, orders, self.digits, highest)
