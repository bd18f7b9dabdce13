"""The kernels at a few points to any number of digits: the layer step on mpmath numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np

from kernelcalc.gaussian.digits.expectation import GUARD_DIGITS, expectations
from kernelcalc.kernels.state import (
    DiagonalKernels,
    PairKernels,
    closure,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
)

if TYPE_CHECKING:
    from kernelcalc.kernels.mlp import MLP


def precise_layers(
    net: MLP, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...], dps: int
) -> list[dict[str, np.ndarray]]:
    """Object arrays of mpmath numbers, one dictionary a layer; data and σ_w, β are taken as the exact doubles they are."""
    carried = closure(names)
    # Every layer multiplies errors by its conditioning: guard digits on top of each expectation's own.
    digits = dps + GUARD_DIGITS
    with mpmath.workdps(digits + GUARD_DIGITS):
        fold = _Fold(net, carried, digits)
        rows = [_vector(point) for point in x]
        columns = rows if x2 is None else [_vector(point) for point in x2]
        row_folds = [fold.diagonal(point) for point in rows]
        column_folds = row_folds if x2 is None else [fold.diagonal(point) for point in columns]
        outputs = [
            {name: np.empty((len(rows), len(columns)), dtype=object) for name in names} for _ in range(net.depth)
        ]
        for i, point in enumerate(rows):
            for j, other in enumerate(columns):
                if x2 is None and j < i:
                    continue
                for output, kernels in zip(
                    outputs, fold.pair(point, other, row_folds[i], column_folds[j]), strict=True
                ):
                    for name, array in output.items():
                        array[i, j] = getattr(kernels, name)
                        if x2 is None:
                            array[j, i] = getattr(kernels, {"phi": "phi_t", "lam": "lam_t"}.get(name, name))
    return outputs


def _vector(point: np.ndarray) -> list[Any]:
    return [mpmath.mpf(float(v)) for v in point]


class _Fold:
    def __init__(self, net: MLP, carried: frozenset[str], digits: int) -> None:
        self.net, self.carried, self.digits = net, carried, digits
        self.orders = expectation_orders(carried)
        # Off the diagonal the highest derivatives are wanted; on it they come along, and every value serves both.
        self.highest = max(max(order) for order in self.orders)
        self.sigma_w2, self.beta2 = mpmath.mpf(net.sigma_w) ** 2, mpmath.mpf(net.beta) ** 2

    def first(self, a: list[Any], b: list[Any]) -> Any:
        return self.sigma_w2 * mpmath.fdot(a, b) / len(a) + self.beta2

    def diagonal(self, point: list[Any]) -> list[DiagonalKernels]:
        carried = self.carried & {"sigma", "theta", "phi"}
        kernels = first_layer(self.first(point, point), carried, mpmath.mpf(0))
        result = [diagonal_of(kernels)]
        for act in self.net.activations:
            at = result[-1]
            e = expectations(act, at.sigma, at.sigma, at.sigma, expectation_orders(carried), self.digits, self.highest)
            kernels = layer_step(kernels, at, at, e, self.sigma_w2, self.beta2)
            result.append(diagonal_of(kernels))
        return result

    def pair(
        self, a: list[Any], b: list[Any], row: list[DiagonalKernels], column: list[DiagonalKernels]
    ) -> list[PairKernels]:
        kernels = first_layer(self.first(a, b), self.carried, mpmath.mpf(0))
        result = [kernels]
        for level, act in enumerate(self.net.activations):
            # A point with itself: Σ(x, x') rounds like Σ(x, x) only if it is the same number.
            c = row[level].sigma if a == b else kernels.sigma
            e = expectations(act, row[level].sigma, column[level].sigma, c, self.orders, self.digits, self.highest)
            kernels = layer_step(kernels, row[level], column[level], e, self.sigma_w2, self.beta2)
            result.append(kernels)
        return result
