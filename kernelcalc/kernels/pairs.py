"""Kernels pair by pair: the fold on object arrays of numbers that NumPy does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.kernels.fold import (
    Numbers,
    Orders,
    Pairs,
    Step,
    first_diagonal,
    first_kernels,
    plan,
    take_diagonals,
    through,
)
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.state import DiagonalKernels, PairKernels, turned, with_transposes


class PairNumbers(Numbers):
    """Numbers of which each pair has its own: a subclass computes the expectations of one pair at a time."""

    def product(self, a: np.ndarray, b: np.ndarray) -> Any:
        """a·b/n_0, exactly where that is possible."""
        raise NotImplementedError

    def of_one(
        self, act: Activation, covariance: tuple[Any, Any, Any], same: bool, orders: Orders, highest: int
    ) -> Any:
        """E_ij of one nonlinearity at one (q, q', c), by order.

        ``same`` says that both are one point, ``highest`` is the largest order that any pair of the layer needs.
        """
        raise NotImplementedError

    def finished(self, value: Any) -> Any:
        """A kernel's value as it is handed out."""
        return value

    def zeros(self, like: Any) -> Any:
        """Zeros in the shape of an array."""
        return np.full(np.shape(like), self.number(0.0), dtype=object)

    def on_diagonal(self, step: Step, at: DiagonalKernels, orders: Orders) -> dict[tuple[int, int], Any]:
        """E_ij at (x, x)."""
        return self._each(step, (at.sigma,) * 3, np.ones(at.sigma.size, dtype=bool), orders)

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij at the pairs."""
        assert isinstance(pairs, PointPairs)
        row, column = pairs.sides(step, k)
        # A point with itself: Σ(x, x') rounds like Σ(x, x) only if it is the same number.
        c = np.where(pairs.same, row.sigma, k.sigma)
        return self._each(step, (row.sigma, column.sigma, c), pairs.same, step.orders), None

    def _each(
        self, step: Step, covariance: tuple[Any, Any, Any], same: Any, orders: Orders
    ) -> dict[tuple[int, int], Any]:
        highest = max((max(order) for order in step.orders + orders), default=0)
        act = step.activation
        found = [
            self.of_one(act, one, is_same, orders, highest)
            for one, is_same in zip(zip(*covariance, strict=True), same, strict=True)
        ]
        return {order: object_array([one[order] for one in found]) for order in orders}


class PointPairs(Pairs):
    """Pairs of points by their numbers, and which are equal points."""

    def __init__(self, rows: np.ndarray, columns: np.ndarray, same: np.ndarray) -> None:
        super().__init__(rows, columns)
        self.same = same


@dataclass(frozen=True, kw_only=True)
class PairComputation:
    """All kernels of all layers at all pairs of a few points, in numbers of one type."""

    network: Network
    numbers: PairNumbers

    def layers(self, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
        """Object arrays (N, M), a dictionary a layer."""
        other = x if x2 is None else x2
        wanted = with_transposes(names) if x2 is None else frozenset(names)
        first, *steps = plan(self.network.layers, wanted, every_layer=True)
        numbers, product = self.numbers, self.numbers.product
        rows = first_diagonal(first, object_array([product(point, point) for point in x]), numbers)
        columns = rows if x2 is None else first_diagonal(first, object_array([product(p, p) for p in other]), numbers)
        take_diagonals(steps, rows, columns, numbers)
        i, j = np.triu_indices(len(x)) if x2 is None else (part.ravel() for part in np.indices((len(x), len(other))))
        gram = object_array([product(x[a], other[b]) for a, b in zip(i, j, strict=True)])
        pairs = PointPairs(i, j, np.array([np.array_equal(x[a], other[b]) for a, b in zip(i, j, strict=True)]))
        finished = np.vectorize(numbers.finished, otypes=[object])
        outputs = []
        for k in through(steps, first_kernels(first, gram, numbers), numbers, pairs):
            output = {name: np.empty((len(x), len(other)), dtype=object) for name in names}
            for name, array in output.items():
                if x2 is None:
                    array[j, i] = finished(getattr(k, turned(name)))
                array[i, j] = finished(getattr(k, name))
            outputs.append(output)
        return outputs


def object_array(values: list[Any]) -> np.ndarray:
    """A vector of any objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
