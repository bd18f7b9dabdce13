"""How many inputs and units the fresh weights of a composition have, once points and hidden widths are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from kernelcalc.errors import InputError
from kernelcalc.kernels.layers import Conv, Dense, Flatten, GlobalAverage, Layer, Serial, Sum
from kernelcalc.kernels.positions import Counts, PositionLayer


def weighted(layers: Sequence[Layer]) -> list[Dense | Conv]:
    """All layers of fresh weights, those of branches in their order.

    Examples
    --------
    >>> weighted([Conv(3), Flatten(), Dense()])
    [Conv(3, sigma_w=1, beta=0.1, padding='circular'), Dense(sigma_w=1, beta=0.1)]
    """
    found: list[Dense | Conv] = []
    for layer in layers:
        if isinstance(layer, Dense | Conv):
            found.append(layer)
        elif isinstance(layer, Serial):
            found += weighted(layer.layers)
    return found


def weight_sizes(layers: Sequence[Layer], shape: Sequence[int], units: Sequence[int]) -> list[tuple[int, int]]:
    """Inputs (of all offsets of a convolution) and units of every layer of fresh weights.

    Parameters
    ----------
    layers : sequence of Layer
        Of a network.
    shape : sequence of int
        Of one point, channels last.
    units : sequence of int
        One for each layer of fresh weights, in order.

    Raises
    ------
    InputError, ShapeError
        Other numbers of units, or below 1; branches of other widths; windows that do not fit.

    Examples
    --------
    >>> weight_sizes([Conv(3), Flatten(), Dense()], (5, 2), (4, 1))
    [(6, 4), (20, 1)]
    """
    count = len(weighted(layers))
    if len(units) != count or min(*units, *shape, 1) < 1:
        raise InputError(
            f"{count - 1} positive hidden widths, one a layer of weights but the last", f"{tuple(units[:-1])}"
        )
    walk = _Walk(tuple(shape[:-1]), shape[-1], iter(units))
    for layer in layers:
        walk.through(layer)
    return walk.sizes


@dataclass
class _Walk:
    counts: Counts
    inputs: int
    units: Iterator[int]
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def through(self, layer: Layer) -> None:
        window = 1
        if isinstance(layer, PositionLayer):
            windows = layer.windows(len(self.counts))
            window = prod(one.size for one in windows)
            if isinstance(layer, Flatten):
                self.inputs *= prod(self.counts)
            gone = isinstance(layer, Flatten | GlobalAverage)
            after = (one.outputs(n, layer) for one, n in zip(windows, self.counts, strict=not gone))
            self.counts = () if gone else tuple(after)
        if isinstance(layer, Dense | Conv):
            self.sizes.append((window * self.inputs, next(self.units)))
            self.inputs = self.sizes[-1][1]
        elif isinstance(layer, Sum):
            before, ends = (self.counts, self.inputs), set()
            for branch in layer.layers:
                self.counts, self.inputs = before
                self.through(branch)
                ends.add(self.inputs)
            if len(ends) > 1:
                raise InputError(
                    "branches of equally many units", f"{sorted(ends)}", "give their layers the same widths"
                )
        elif isinstance(layer, Serial):
            for one in layer.layers:
                self.through(one)
