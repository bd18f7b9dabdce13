"""What a network with positions does on points of one shape: its layers as averages over positions and fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.layers import Conv, Dense, Layer, Serial, Sum
from kernelcalc.kernels.positions import Average, Counts, Layout, PositionLayer

# Positions up to which a block of all pairs of two data points is made, 1/2 GiB for each kernel.
MOST_PAIRED = 2**13


def laid_out(layers: Sequence[Layer], counts: Counts) -> list[Layer]:
    """The layers for points with so many positions along each axis.

    Before the last layer that reads kernels between different positions all pairs of positions are carried, behind it only
    equal ones.

    Raises
    ------
    ShapeError
        Windows, strides and branches that do not fit, positions that are left at the end.
    InputError
        More than :data:`MOST_PAIRED` positions where all pairs are needed.
    """
    reads = [isinstance(layer, PositionLayer) and layer.reads_pairs for layer in layers]
    out: list[Layer] = []
    for index, layer in enumerate(layers):
        before, after = Layout(counts, any(reads[index:])), any(reads[index + 1 :])
        if before.paired and before.size > MOST_PAIRED:
            raise InputError(
                f"at most {MOST_PAIRED} positions where pooling needs the kernels of all pairs of them",
                f"{before.size}, {8e-9 * before.size**2:.1f} GB for each kernel of two points",
                "pool by strides of convolutions, or end with Flatten()",
            )
        inner, counts = _one(layer, before, after)
        out += inner
    if counts:
        raise ShapeError(
            "a network that ends without positions", f"{counts} positions", "put Flatten() or GlobalAverage() first"
        )
    return out


def _one(layer: Layer, before: Layout, paired: bool) -> tuple[list[Layer], Counts]:
    """The parts of one layer, and the positions behind it."""
    counts = before.counts
    if isinstance(layer, PositionLayer):
        if not counts:
            raise ShapeError(f"points with positions before {layer!r}", "points (N, n_0)", "X of shape (N, 14, 14, 1)")
        windows = layer.windows(len(counts))
        after = tuple(window.outputs(n, layer) for window, n in zip(windows, counts, strict=bool(windows)))
        parts: list[Layer] = [Average(layer, before, Layout(after, paired))]
        if isinstance(layer, Conv):
            parts.append(Dense(layer.sigma_w, layer.beta))
        return parts, after
    if isinstance(layer, Sum):
        found = [_serial(branch, before, paired) for branch in layer.layers]
        shapes = {after for _, after in found}
        if len(shapes) > 1:
            raise ShapeError(
                "branches with equally many positions behind them",
                f"{layer!r}, which makes {' and '.join(map(str, sorted(shapes)))} of {counts}",
                "padding='circular' or 'zeros' and stride 1 within branches",
            )
        return [Sum(*(branch for branch, _ in found))], shapes.pop()
    if isinstance(layer, Serial):
        branch, after = _serial(layer, before, paired)
        return [branch], after
    return [layer], counts


def _serial(branch: Layer, before: Layout, paired: bool) -> tuple[Serial, Counts]:
    parts: list[Layer] = []
    for layer in branch.layers if isinstance(branch, Serial) and not isinstance(branch, Sum) else (branch,):
        inner, counts = _one(layer, before, paired)
        parts += inner
        before = Layout(counts, before.paired)
    return Serial(*parts), before.counts
