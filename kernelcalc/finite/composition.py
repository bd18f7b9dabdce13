"""Networks as compositions of finite layers: built from a description, run through, and the products with their Hessian.

A description has ``layers`` and ``n_out``; a layer is known by the name of its class and its attributes, so that nothing of
the theory is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.finite import layers
from kernelcalc.finite.arrays import AnyArray, finite_array, real_array, whole_number
from kernelcalc.finite.derivatives import Forward, propagate
from kernelcalc.finite.parameters import Parameters, kept_copy, parameter_type


@dataclass(frozen=True, kw_only=True, eq=False)
class Architecture:
    """A composition with all sizes known: ``shape`` of a point, ``sizes`` (n, m) of every weight array."""

    root: layers.Serial
    shape: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, net: Any, widths: Any, n_in: Any) -> Architecture:
        """The one of a description.

        Raises
        ------
        InputError
            Widths that are not one a Dense or Conv but the last, or below 1; layers that cannot follow each other or are not
            known; windows that do not fit the positions.
        """
        if not hasattr(net, "layers") or not hasattr(net, "n_out"):
            raise InputError("net, a network's description, such as MLP('tanh', depth=3)", type(net).__name__)
        shape = tuple(whole_number(n, "n_in") for n in np.atleast_1d(plain(n_in, "n_in")).tolist())
        count = sum(1 for layer in _flat(net.layers) if _kind(layer) in ("Dense", "Conv")) - 1
        if count < 0:
            raise InputError("a composition with a Dense", f"{len(tuple(net.layers))} layers without")
        given = plain(widths, "widths")
        hidden = [whole_number(size, "widths") for size in np.atleast_1d(given).tolist()]
        if given.ndim == 0:
            hidden *= count
        if len(hidden) != count:
            raise InputError(f"{count} widths, one for each Dense and Conv but the last", f"widths={tuple(hidden)}")
        units = [*hidden, whole_number(net.n_out, "n_out")]
        if min((*shape, *units)) < 1:
            raise InputError("sizes of at least 1", f"n_in={shape}, widths={tuple(units)}")
        builder = _Builder(axes=shape[:-1], n=shape[-1], widths=iter(units))
        root = builder.serial(net.layers)
        if builder.axes:
            raise InputError("an output without positions", f"positions {builder.axes}", "Flatten or GlobalAverage")
        return cls(root=root, shape=shape, sizes=tuple(builder.sizes))


def _kind(layer: Any) -> str:
    return type(layer).__name__


def _flat(given: Any) -> Iterator[Any]:
    for layer in given:
        yield from _flat(layer.layers) if _kind(layer) in ("Serial", "Sum", "Residual") else (layer,)


@dataclass
class _Builder:
    """Positions and units on the way through a composition."""

    axes: tuple[int, ...]
    n: int
    widths: Iterator[int]
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def serial(self, given: Any) -> layers.Serial:
        return layers.Serial([self.layer(one) for one in given])

    def layer(self, given: Any) -> layers.Layer:
        kind = _kind(given)
        if kind in ("Sum", "Residual"):
            return self._sum(given.layers)
        if kind == "Serial":
            return self.serial(given.layers)
        if kind == "Dense":
            return self._dense(given)
        if kind == "Nonlinearity":
            return layers.Nonlinearity(given.activation)
        if kind == "Scale":
            return layers.Scale(float(given.factor))
        if kind == "LayerNorm":
            if self.n < 2:
                raise InputError("at least two units for LayerNorm", f"{self.n}")
            return layers.LayerNorm()
        if kind in ("Conv", "AveragePool", "GlobalAverage"):
            return self._windows(given, kind)
        if kind == "Flatten":
            patches = self._patches(np.arange(math.prod(self.axes))[None])
            self.axes = ()
            return patches
        raise InputError("layers that finite networks know", kind)

    def _sum(self, branches: Any) -> layers.Layer:
        before, found, ends = (self.axes, self.n), [], set()
        for branch in branches:
            self.axes, self.n = before
            found.append(self.layer(branch))
            ends.add((self.axes, self.n))
        if len(ends) > 1:
            raise InputError("branches of one shape", f"(positions, units) {sorted(ends)}", "give them the same widths")
        return layers.Sum(found)

    def _dense(self, given: Any) -> layers.Dense:
        if getattr(given, "weight_rate", 1) != 1 or getattr(given, "bias_gradient", None) is not None:
            raise InputError("layers in NTK parametrisation", repr(given), "weight_rate=1 and no bias_gradient")
        n, m = self.n, next(self.widths)
        self.sizes.append((n, m))
        self.n = m
        return layers.Dense(n, m, float(given.sigma_w) / math.sqrt(n), float(given.beta))

    def _windows(self, given: Any, kind: str) -> layers.Layer:
        if not self.axes:
            raise InputError(f"points with positions for {kind}", "points without", "n_in=(positions, channels)")
        if kind == "GlobalAverage":
            table = np.arange(math.prod(self.axes))[None]
            axes: tuple[int, ...] = ()
        else:
            window, stride = (_per_axis(v, len(self.axes)) for v in (given.window, given.stride))
            padding = given.padding if kind == "Conv" else "valid"
            table = np.zeros((1, 1), dtype=np.intp)
            for n, w, s in zip(self.axes, window, stride, strict=True):
                one = _axis_table(n, w, s, padding)
                both = table[:, None, :, None] * n + one[None, :, None, :]
                both[np.broadcast_to((table[:, None, :, None] < 0) | (one[None, :, None, :] < 0), both.shape)] = -1
                table = both.reshape(len(table) * len(one), -1)
            axes = tuple(len(_axis_table(n, w, s, padding)) for n, w, s in zip(self.axes, window, stride, strict=True))
        channels, patches = self.n, self._patches(table)
        self.axes = axes
        if kind == "Conv":
            return layers.Serial([patches, self._dense(given)])
        self.n = channels
        return layers.Serial([patches, layers.WindowMean(table.shape[1])])

    def _patches(self, table: AnyArray) -> layers.Patches:
        self.n *= table.shape[1]
        return layers.Patches(table, math.prod(self.axes))


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    found = (value,) * axes if np.ndim(value) == 0 else tuple(value)
    if len(found) != axes:
        raise InputError(f"one number an axis of positions, {axes}", f"{value}")
    return tuple(whole_number(one, "windows and strides") for one in found)


def _axis_table(n: int, window: int, stride: int, padding: str) -> AnyArray:
    """Positions (outputs, window) that an output reads; −1 for zeros."""
    if padding == "valid":
        if window > n or (n - window) % stride:
            raise InputError("windows that end with the positions", f"{n} positions, window {window}, stride {stride}")
        return np.arange(0, n - window + 1, stride)[:, None] + np.arange(window)
    if n % stride or (padding == "circular" and window > n):
        raise InputError("strides that divide the positions, windows within them", f"{n} positions, {window}, {stride}")
    found = np.arange(0, n, stride)[:, None] + np.arange(window) - (window - 1) // 2
    return found % n if padding == "circular" else np.where((found < 0) | (found >= n), -1, found)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayeredParameters(Parameters):
    """The parameters of a composition; ``sigma_w`` and ``beta`` are those of each layer, and NaN here."""

    architecture: Architecture

    def __post_init__(self) -> None:
        arrays = [real_array(array, "parameters") for array in (*self.weights, *self.biases)]
        sizes = self.architecture.sizes
        if [array.shape for array in arrays] != [*sizes, *((m,) for _, m in sizes)]:
            raise ShapeError(f"weights of the shapes {sizes} and biases", f"{[array.shape for array in arrays]}")
        dtype, cut = parameter_type(*arrays), len(sizes)
        kept = tuple(kept_copy(array, dtype) for array in arrays)
        vars(self).update(weights=kept[:cut], biases=kept[cut:], sigma_w=math.nan, beta=math.nan, scales=())

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n}x{m}" for n, m in self.architecture.sizes)
        return f"{type(self).__name__}(points {self.architecture.shape}, weights {shapes}, P={self.n_parameters}, {self.dtype})"

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers in a point, then units behind every Dense and Conv."""
        return (math.prod(self.architecture.shape), *(m for _, m in self.architecture.sizes))

    @property
    def weight_shapes(self) -> tuple[tuple[int, int], ...]:
        return self.architecture.sizes

    def points(self, X: Any) -> AnyArray:
        """X checked: real, finite, (N, ...) with the shape of a point behind N, in the network's number type."""
        x, shape = real_array(X, "X"), self.architecture.shape
        if x.shape[1:] != shape or x.ndim < 2 or len(x) == 0:
            raise ShapeError(f"X of shape {('N', *shape)}", f"shape {x.shape}")
        return finite_array(x, "X", self.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayeredForward(Forward):
    """What one pass through a composition leaves behind."""

    theta: AnyArray
    root: layers.Serial
    x: AnyArray
    kept: Any

    factored: ClassVar[bool] = False

    def gradient(self, cotangent: AnyArray) -> AnyArray:
        return self.root.cotangent(self.theta, self.kept, cotangent[..., None, :], each=False)[0]

    def gradients(self, cotangent: AnyArray) -> AnyArray:
        own = self.root.cotangent(self.theta, self.kept, cotangent[..., None, :], each=True)[0]
        return np.ascontiguousarray(own.swapaxes(0, 1))

    def product(self, vectors: AnyArray, residual: AnyArray, root: AnyArray, part: str) -> AnyArray:
        """H, I or S times the rows (v, P), for ∇C = ``residual`` (N, n_out) and 𝓗C = B Bᵀ, B = ``root`` (N, n_out, r)."""
        still = np.zeros((len(vectors), *self.x.shape), dtype=self.x.dtype)
        dy, tape = self.root.tangent(self.theta, self.kept, vectors, still)
        d_eta = np.zeros_like(dy)
        if part != "s":
            d_eta[..., 0, :] = np.einsum("sar,sbr,vsb->vsa", root, root, dy[..., 0, :], optimize=True)
        if part == "i":
            return self.root.cotangent(self.theta, self.kept, d_eta, each=False)[0]
        return self.root.second(self.theta, self.kept, vectors, tape, residual[:, None, :], d_eta)[0]

    def hessian_trace(self, block: int = 16) -> AnyArray:
        """Tr Hf_a(x_s), (N, n_out)."""
        found = []
        for start in range(0, len(self.x), block):
            x = self.x[start : start + block]
            found.append(self.root.hessian_trace(self.theta, self.root.forward(self.theta, x)[1], x)[:, 0])
        return np.concatenate(found)


@propagate.register
def _(net: LayeredParameters, x: AnyArray) -> Forward:
    theta, root = net.parameters, net.architecture.root
    points = x.reshape(len(x), -1, x.shape[-1])
    value, kept = root.forward(theta, points)
    return LayeredForward(net=net, z=[], a=[x], outputs=value[:, 0], theta=theta, root=root, x=points, kept=kept)
