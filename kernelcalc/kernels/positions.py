r"""Layers on points with positions: convolution, pooling, flattening, and the averages that they make of kernels.

A point is (x, p), p a position on a line or a plane. Every one of these layers is linear and takes an average 𝒜 of all six
kernels over pairs of positions; fresh weights behind it are those of :class:`~kernelcalc.kernels.layers.Dense`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.layer import Layer, checked_scale
from kernelcalc.kernels.texts import number

PADDINGS = ("circular", "zeros", "valid")
Counts = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Windows along one axis of positions: how many offsets, how far apart, what lies outside."""

    size: int
    stride: int
    padding: str

    def outputs(self, positions: int, layer: Layer) -> int:
        """The number of windows.

        Raises
        ------
        ShapeError
            Windows that do not fit, or a stride that leaves positions at the end.
        """
        inside = self.padding == "valid"
        room = positions - self.size if inside else positions
        if room < 0 or (self.padding == "circular" and self.size > positions):
            raise ShapeError(f"at least {self.size} positions for {layer!r}", f"{positions}", "use a smaller window")
        if room % self.stride:
            near = positions - room % self.stride
            raise ShapeError(
                f"a stride that reaches the last of {positions} positions",
                f"{layer!r}, which leaves out {room % self.stride}",
                f"use another stride, or {near} positions",
            )
        return room // self.stride + inside

    def mean(self, values: np.ndarray, axes: Counts) -> np.ndarray:
        """The mean over offsets, moved along all these axes together; 0 outside."""
        first, *others = self._parts(values, axes)
        total = first.copy()
        for part in others:
            total += part
        total /= self.size
        return total

    def gathered(self, values: np.ndarray, axis: int) -> np.ndarray:
        """The offsets side by side in the last axis."""
        return np.concatenate(list(self._parts(values, (axis,))), axis=-1)

    def _parts(self, values: np.ndarray, axes: Counts) -> Iterator[np.ndarray]:
        """Views of the values at each offset."""
        before, after = (0, 0) if self.padding == "valid" else ((self.size - 1) // 2, self.size // 2)
        positions = values.shape[axes[0]]
        count = (positions - self.size) // self.stride + 1 if self.padding == "valid" else positions // self.stride
        if before or after:
            width = [(before, after) if axis in axes else (0, 0) for axis in range(values.ndim)]
            values = np.pad(values, width, mode="wrap" if self.padding == "circular" else "constant")
        for offset in range(self.size):
            along = slice(offset, offset + self.stride * (count - 1) + 1, self.stride)
            yield values[tuple(along if axis in axes else slice(None) for axis in range(values.ndim))]


def _count(name: str, value: Any) -> int | Counts:
    """A positive integer for every axis, or one for each."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    parts = tuple(value) if several else (value,)
    good = all(isinstance(part, int | np.integer) and not isinstance(part, bool) and part > 0 for part in parts)
    if not good or len(parts) not in (1, 2):
        raise InputError(f"a positive integer {name}, or two of them for height and width", repr(value))
    return tuple(map(int, parts)) if several else int(parts[0])


class PositionLayer(Layer):
    """A layer that reads several positions."""

    keeps_positions: ClassVar[bool] = True
    reads_pairs: ClassVar[bool] = False
    """Whether it reads the kernels between different positions."""

    def windows(self, axes: int) -> tuple[Window, ...]:
        """One for every axis of positions; none where all positions are read at once.

        Raises
        ------
        ShapeError
            A window of two sides on points with one axis of positions.
        """
        return ()


def _windows(
    layer: PositionLayer, size: int | Counts, stride: int | Counts, padding: str, axes: int
) -> tuple[Window, ...]:
    sizes, strides = (part if isinstance(part, tuple) else (part,) * axes for part in (size, stride))
    if len(sizes) != axes or len(strides) != axes:
        shape = "(N, positions, channels)" if axes == 1 else "(N, height, width, channels)"
        raise ShapeError(f"windows and strides of {axes} sides for points of shape {shape}", repr(layer))
    return tuple(Window(w, s, padding) for w, s in zip(sizes, strides, strict=True))


@dataclass(frozen=True, repr=False)
class Conv(PositionLayer):
    r"""Convolution, fresh weights for each of k offsets:
    :math:`z_p = \frac{σ_w}{\sqrt{n k}} \sum_o W_o^T α_{sp+o} + β b`, all W and b independent N(0, 1).

    .. math::
        K'_{pp'} = \text{the formulas of Dense with } σ_w^2 K \text{ replaced by }
        \frac{σ_w^2}{k} \sum_o K_{sp+o,\, sp'+o}

    Parameters
    ----------
    window : int or (int, int)
        Offsets along every axis of positions, or along height and width.
    sigma_w, beta : float
        σ_w > 0 and β ≥ 0.
    padding : {"circular", "zeros", "valid"}
        What lies outside: the other end; zeros, with the same k; or nothing, with windows inside only. Windows of the first
        two are centred, −⌊(w−1)/2⌋ to ⌊w/2⌋.
    stride : int or (int, int)
        s.
    """

    window: int | Counts
    sigma_w: float = 1.0
    beta: float = 0.1
    padding: str = "circular"
    stride: int | Counts = 1

    fresh: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("window", "stride"):
            object.__setattr__(self, name, _count(name, getattr(self, name)))
        for name, zero in (("sigma_w", False), ("beta", True)):
            object.__setattr__(self, name, checked_scale(name, getattr(self, name), zero=zero))
        if not isinstance(self.padding, str) or self.padding not in PADDINGS:
            raise InputError(f"padding one of {', '.join(map(repr, PADDINGS))}", repr(self.padding))

    def windows(self, axes: int) -> tuple[Window, ...]:
        return _windows(self, self.window, self.stride, self.padding, axes)

    def __repr__(self) -> str:
        stride = "" if self.stride == 1 else f", stride={self.stride}"
        scales = f"sigma_w={number(self.sigma_w)}, beta={number(self.beta)}"
        return f"Conv({self.window}, {scales}, padding={self.padding!r}{stride})"


@dataclass(frozen=True, repr=False)
class AveragePool(PositionLayer):
    r"""The mean over windows of positions: :math:`K'_{pp'}` is the mean of all six kernels over both windows, so those between
    different positions are needed too.

    Parameters
    ----------
    window : int or (int, int)
        Positions of a window along every axis, or along height and width.
    stride : int or (int, int), optional
        From one window to the next; the window by default. The last one ends at the last position.
    """

    window: int | Counts
    stride: int | Counts | None = None

    reads_pairs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", _count("window", self.window))
        object.__setattr__(self, "stride", self.window if self.stride is None else _count("stride", self.stride))

    def windows(self, axes: int) -> tuple[Window, ...]:
        return _windows(self, self.window, self.stride or 1, "valid", axes)

    def __repr__(self) -> str:
        stride = "" if self.stride == self.window else f", stride={self.stride}"
        return f"AveragePool({self.window}{stride})"


@dataclass(frozen=True)
class GlobalAverage(PositionLayer):
    """The mean over all positions, after which there are none; all six kernels are means over pairs of positions."""

    keeps_positions: ClassVar[bool] = False
    reads_pairs: ClassVar[bool] = True


@dataclass(frozen=True)
class Flatten(PositionLayer):
    """All positions as one vector for the ``Dense`` behind it, whose kernels are means over equal positions p = p'."""

    keeps_positions: ClassVar[bool] = False


@dataclass(frozen=True)
class Layout:
    """Positions of the kernels' arrays: all pairs of them or only equal ones.

    All pairs: arrays (B · P, B' · P) of B times B' data points, position by position within a data point, and diagonals of
    the same order. Equal ones: arrays (P, B, B'), and diagonals (P, N) in one row.
    """

    counts: Counts
    paired: bool

    @property
    def size(self) -> int:
        """P."""
        return prod(self.counts)


@dataclass(frozen=True)
class Average(Layer):
    """𝒜 of one layer, from one layout to another."""

    layer: PositionLayer
    before: Layout
    after: Layout

    def formula(self, name: str) -> Callable[[Any, Any, Any, Any], Any]:
        return lambda k, row, column, given: given(getattr(k, name))

    def on_pairs(self, values: np.ndarray) -> np.ndarray:
        """A kernel behind the layer."""
        counts, axes = self.before.counts, len(self.before.counts)
        windows = self.layer.windows(axes)
        if not self.before.paired:
            _, b, bp = values.shape
            values = values.reshape(*counts, b, bp)
            for axis, window in enumerate(windows):
                values = window.mean(values, (axis,))
            if not windows:
                values = values.mean(axis=tuple(range(axes)))
            return values.reshape(-1, b, bp)
        b, bp = (side // self.before.size for side in values.shape)
        values = values.reshape(b, *counts, bp, *counts)
        for axis, window in enumerate(windows):
            row, column = 1 + axis, 2 + axes + axis
            if self.layer.reads_pairs:
                values = window.mean(window.mean(values, (row,)), (column,))
            else:
                values = window.mean(values, (row, column))
        if not windows:
            return values.mean(axis=(*range(1, 1 + axes), *range(2 + axes, 2 + 2 * axes)))[None]
        p = self.after.size
        if self.after.paired:
            return values.reshape(b * p, bp * p)
        equal = np.einsum("bpcp->pbc", values.reshape(b, p, bp, p))
        return np.ascontiguousarray(equal)

    def on_points(self, values: np.ndarray) -> np.ndarray:
        """A diagonal behind the layer, where that needs nothing but the diagonal before it."""
        counts = self.before.counts
        first = 1 if self.before.paired else 0
        values = values.reshape(-1, *counts) if self.before.paired else values.reshape(*counts, -1)
        windows = self.layer.windows(len(counts))
        for axis, window in enumerate(windows):
            values = window.mean(values, (first + axis,))
        return (values if windows else values.mean(axis=tuple(range(first, first + len(counts))))).ravel()
