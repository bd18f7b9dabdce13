r"""What finite networks of any composition are made of: each layer's value, tangent, cotangent and second-order rule.

Arrays are (..., N, positions, units); a network without positions has one. Own parameters are flat vectors (..., size): weights
row by row, then biases. With J the derivative of a layer at its input and parameters, v a tangent and η a cotangent:

``forward`` gives the value and what the rules need of it (``kept``); ``tangent`` gives J v, with the tangents inside the layer
(``tape``); ``cotangent`` gives Jᵀη; ``second`` gives Jᵀη and its derivative along the tangent, Jᵀ dη + (dJ)ᵀη; ``laplacian``
takes the trace g of the Hessian of every unit and the tangent kernel Θ of all pairs of units at one point through the layer,

.. math:: g' = J g + Σ_{ij} ∂_i ∂_j α'\, Θ_{ij}, \qquad Θ' = J Θ J^T + J_θ J_θ^T

with J, J_θ the derivatives in inputs and own parameters: a layer is linear in each of its own parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray


class Layer(ABC):
    """A map with ``size`` parameters."""

    size: int = 0

    @abstractmethod
    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        """Value and what the rules need."""

    @abstractmethod
    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        """The value's derivative along (move, dx), (v, size) and (v, N, P, n); None for parameters that do not move."""

    @abstractmethod
    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        """Own gradient, (..., size) or, of ``each`` point, (..., N, size); and the input's cotangent."""

    @abstractmethod
    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Derivative of the own gradient (v, size), the input's cotangent, and the derivative of this."""

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        """(g, Θ) behind the layer; Θ is (units, N, P, n), units = P n."""
        return self.moved(theta, kept, g[None])[0], self.sandwich(theta, kept, kernel)

    def branch(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray | None]:
        """g behind the layer, and what its own parameters add to J Θ Jᵀ; None for nothing."""
        g, total = self.laplacian(theta, kept, g, kernel)
        return g, total - self.sandwich(theta, kept, kernel) if self.size else None

    def sandwich(self, theta: AnyArray, kept: Any, kernel: AnyArray) -> AnyArray:
        """J Θ Jᵀ."""
        half = self.moved(theta, kept, kernel)
        other = half.reshape(len(half), half.shape[1], -1).transpose(2, 1, 0)
        return self.moved(theta, kept, other.reshape(len(other), *kernel.shape[1:]))

    def moved(self, theta: AnyArray, kept: Any, dx: AnyArray) -> AnyArray:
        """The value's derivative along dx alone."""
        return self.tangent(theta, kept, None, dx)[0]


@dataclass(frozen=True)
class Dense(Layer):
    """z = c Wᵀα + βb at every position, c = σ_w/√n."""

    n: int
    m: int
    scale: float
    beta: float

    @property
    def size(self) -> int:  # type: ignore[override]
        """(n + 1) m."""
        return (self.n + 1) * self.m

    def split(self, vectors: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Weights (..., n, m) and biases (..., m) of vectors (..., size)."""
        cut = self.n * self.m
        return vectors[..., :cut].reshape(*vectors.shape[:-1], self.n, self.m), vectors[..., cut:]

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        weight, bias = self.split(theta)
        return self.scale * (x @ weight) + self.beta * bias, x

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        result = self.scale * (dx @ self.split(theta)[0])
        if move is not None:
            weight, bias = self.split(move)
            result += self.scale * (kept @ weight[:, None]) + self.beta * bias[:, None, None]
        return result, dx

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        return self._outer(kept, eta, each), self.scale * (eta @ self.split(theta)[0].T)

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        weight, moved = self.split(theta)[0], self.split(move)[0]
        own = self._outer(kept, d_eta, each=False)
        own[:, : self.n * self.m] += self._outer(tape, eta, each=False)[:, : self.n * self.m]
        down = self.scale * (d_eta @ weight.T + eta @ moved[:, None].swapaxes(-1, -2))
        return own, self.scale * (eta @ weight.T), down

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        g, kernel = super().laplacian(theta, kept, g, kernel)
        return g, self._with_own(kept, kernel)

    def branch(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray | None]:
        points, positions = kept.shape[:2]
        own = np.zeros((positions * self.m, points, positions, self.m), dtype=kept.dtype)
        return self.moved(theta, kept, g[None])[0], self._with_own(kept, own)

    def _with_own(self, kept: Any, kernel: AnyArray) -> AnyArray:
        points, positions = kept.shape[:2]
        gram = self.scale**2 * (kept @ kept.swapaxes(1, 2)) + self.beta**2
        # own parameters: only equal units, all pairs of positions p, q
        view = kernel.reshape(positions, self.m, points, positions, self.m)
        unit = np.arange(self.m)
        view[:, unit, :, :, unit] += gram.transpose(1, 0, 2)
        return view.reshape(kernel.shape)

    def _outer(self, x: AnyArray, eta: AnyArray, each: bool) -> AnyArray:
        """Σ over positions (and points) of α ⊗ η, and of η, as flat vectors."""
        if each:
            weight, bias = x.swapaxes(-1, -2) @ eta, eta.sum(axis=-2)
        else:
            rows, columns = x.reshape(*x.shape[:-3], -1, self.n), eta.reshape(*eta.shape[:-3], -1, self.m)
            weight, bias = rows.swapaxes(-1, -2) @ columns, columns.sum(axis=-2)
        flat = self.scale * weight.reshape(*weight.shape[:-2], -1)
        bias = np.broadcast_to(self.beta * bias, (*flat.shape[:-1], self.m))
        return np.concatenate([flat, bias], axis=-1)


@dataclass(frozen=True)
class Nonlinearity(Layer):
    """α = σ(z)."""

    activation: Any

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        return np.asarray(self.activation(x)).astype(x.dtype, copy=False), x

    def _slope(self, z: AnyArray, order: int = 1) -> AnyArray:
        return np.asarray(self.activation.derivative(order)(z)).astype(z.dtype, copy=False)

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        return self._slope(kept) * dx, dx

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        return _nothing(eta, each), self._slope(kept) * eta

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        slope = self._slope(kept)
        return _nothing(d_eta, False), slope * eta, slope * d_eta + (self._slope(kept, 2) * eta) * tape

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        bend = self._slope(kept, 2) * _diagonal(kernel)
        g, kernel = super().laplacian(theta, kept, g, kernel)
        return g + bend, kernel


@dataclass(frozen=True)
class LayerNorm(Layer):
    r"""y = (α − mean)/s, s the root mean square of α − mean, over the units of each position.

    With A w = (w − mean w − y mean(y w))/s: dy = A dα, the cotangent is A η, and the second derivative contracted with Θ is
    −2 A Θ y/(n s) − y (tr CΘC − yᵀΘy/n)/(n s²), C = Id − mean.
    """

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt(_mean(centred, centred))
        y = centred / spread
        return y, (y, spread)

    @staticmethod
    def _project(kept: Any, w: AnyArray) -> AnyArray:
        y, spread = kept
        return np.asarray((w - w.mean(axis=-1, keepdims=True) - y * _mean(y, w)) / spread)

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        dy = self._project(kept, dx)
        return dy, (dy, _mean(kept[0], dx))

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        return _nothing(eta, each), self._project(kept, eta)

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        (y, spread), (dy, d_spread) = kept, tape
        down = self._project(kept, eta)
        change = -(dy * _mean(eta, y) + y * _mean(eta, dy) + down * d_spread) / spread
        return _nothing(d_eta, False), down, self._project(kept, d_eta) + change

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        y, spread = kept
        points, positions, n = y.shape
        # s p i j: equal positions only
        own = np.einsum("pispj->spij", kernel.reshape(positions, n, points, positions, n))
        turned = np.einsum("spij,spj->spi", own, y) / n
        centred = np.einsum("spii->sp", own)[..., None] / n - own.mean(axis=(-2, -1))[..., None]
        bend = -2 * self._project(kept, turned) / spread - y * (centred - _mean(y, turned)) / spread**2
        g, kernel = super().laplacian(theta, kept, g, kernel)
        return g + bend, kernel


class Fixed(Layer):
    """A linear map without parameters."""

    @abstractmethod
    def apply(self, x: AnyArray) -> AnyArray:
        """The map."""

    @abstractmethod
    def adjoint(self, eta: AnyArray) -> AnyArray:
        """Its transpose."""

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        return self.apply(x), None

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        return self.apply(dx), None

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        return _nothing(eta, each), self.adjoint(eta)

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        return _nothing(d_eta, False), self.adjoint(eta), self.adjoint(d_eta)


@dataclass(frozen=True)
class Scale(Fixed):
    """A constant factor."""

    factor: float

    def apply(self, x: AnyArray) -> AnyArray:
        return self.factor * x

    def adjoint(self, eta: AnyArray) -> AnyArray:
        return self.factor * eta


@dataclass(frozen=True, eq=False)
class Patches(Fixed):
    """The units of a window of positions side by side; ``table`` (positions behind, window), −1 where there are zeros."""

    table: AnyArray
    positions: int

    def apply(self, x: AnyArray) -> AnyArray:
        padded = np.concatenate([x, np.zeros_like(x[..., :1, :])], axis=-2)
        return padded[..., self.table, :].reshape(*x.shape[:-2], len(self.table), -1)

    def adjoint(self, eta: AnyArray) -> AnyArray:
        parts = eta.reshape(*eta.shape[:-1], self.table.shape[1], -1)
        padded = np.zeros((*eta.shape[:-2], self.positions + 1, parts.shape[-1]), dtype=eta.dtype)
        for offset, rows in enumerate(self.table.T):
            # one offset reaches a position once; what falls on the zeros is dropped
            padded[..., rows, :] += parts[..., offset, :]
        return padded[..., :-1, :]


@dataclass(frozen=True)
class WindowMean(Fixed):
    """The mean over the ``window`` parts that :class:`Patches` has put side by side."""

    window: int

    def apply(self, x: AnyArray) -> AnyArray:
        return np.asarray(x.reshape(*x.shape[:-1], self.window, -1).mean(axis=-2))

    def adjoint(self, eta: AnyArray) -> AnyArray:
        return np.tile(eta / self.window, self.window)


class Serial(Layer):
    """One layer after the other; without any, the identity."""

    layers: tuple[Layer, ...]
    slices: list[slice]

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        cuts = [0, *accumulate(layer.size for layer in self.layers)]
        self.size, self.slices = cuts[-1], [slice(a, b) for a, b in pairwise(cuts)]

    def _parts(self, vectors: AnyArray) -> list[AnyArray]:
        return [vectors[..., part] for part in self.slices]

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        kept = []
        for layer, part in zip(self.layers, self._parts(theta), strict=True):
            x, one = layer.forward(part, x)
            kept.append(one)
        return x, kept

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        moves = [None] * len(self.layers) if move is None else self._parts(move)
        tape = []
        for layer, part, own, one in zip(self.layers, self._parts(theta), moves, kept, strict=True):
            dx, seen = layer.tangent(part, one, own, dx)
            tape.append(seen)
        return dx, tape

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        found = [_nothing(eta, each)]
        for layer, part, one in reversed([*zip(self.layers, self._parts(theta), kept, strict=True)]):
            own, eta = layer.cotangent(part, one, eta, each)
            found.append(own)
        return np.concatenate(found[::-1], axis=-1), eta

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        found = [_nothing(d_eta, False)]
        steps = [*zip(self.layers, self._parts(theta), kept, self._parts(move), tape, strict=True)]
        for layer, part, one, own, seen in reversed(steps):
            change, eta, d_eta = layer.second(part, one, own, seen, eta, d_eta)
            found.append(change)
        return np.concatenate(found[::-1], axis=-1), eta, d_eta

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        for layer, part, one in zip(self.layers, self._parts(theta), kept, strict=True):
            g, kernel = layer.laplacian(part, one, g, kernel)
        return g, kernel

    def last_bend(self) -> int:
        """Index of the last layer for which Θ decides about g; −1 where all are linear."""
        return max((k for k, layer in enumerate(self.layers) if not isinstance(layer, Dense | Fixed)), default=-1)

    def hessian_trace(self, theta: AnyArray, kept: Any, x: AnyArray) -> AnyArray:
        """g of every unit behind the layers from points (N, P, n) that do not move, (N, P', n')."""
        g, kernel, last = np.zeros_like(x), np.zeros((x[0].size, *x.shape), dtype=x.dtype), self.last_bend()
        for k, (layer, part, one) in enumerate(zip(self.layers, self._parts(theta), kept, strict=True)):
            if k <= last:
                g, kernel = layer.laplacian(part, one, g, kernel)
            else:
                g = layer.moved(part, one, g[None])[0]
        return g

    def branch(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray | None]:
        """The whole Θ is carried only as far as a layer that bends asks for it."""
        total, own, last = kernel, None, self.last_bend()
        for k, (layer, part, one) in enumerate(zip(self.layers, self._parts(theta), kept, strict=True)):
            g, added = layer.branch(part, one, g, total)
            if k < last:
                total = layer.sandwich(part, one, total)
                total = total if added is None else total + added
            if own is not None:
                own = layer.sandwich(part, one, own)
            own = own if added is None else added if own is None else own + added
        return g, own


class Sum(Serial):
    """Branches side by side whose outputs add."""

    def forward(self, theta: AnyArray, x: AnyArray) -> tuple[AnyArray, Any]:
        found = [b.forward(part, x) for b, part in zip(self.layers, self._parts(theta), strict=True)]
        return sum(y for y, _ in found), [kept for _, kept in found]  # type: ignore[return-value]

    def tangent(self, theta: AnyArray, kept: Any, move: AnyArray | None, dx: AnyArray) -> tuple[AnyArray, Any]:
        moves = [None] * len(self.layers) if move is None else self._parts(move)
        branches = zip(self.layers, self._parts(theta), kept, moves, strict=True)
        found = [b.tangent(part, one, own, dx) for b, part, one, own in branches]
        return sum(dy for dy, _ in found), [tape for _, tape in found]  # type: ignore[return-value]

    def cotangent(self, theta: AnyArray, kept: Any, eta: AnyArray, each: bool) -> tuple[AnyArray, AnyArray]:
        branches = zip(self.layers, self._parts(theta), kept, strict=True)
        found = [b.cotangent(part, one, eta, each) for b, part, one in branches]
        return np.concatenate([own for own, _ in found], axis=-1), np.asarray(sum(down for _, down in found))

    def second(
        self, theta: AnyArray, kept: Any, move: AnyArray, tape: Any, eta: AnyArray, d_eta: AnyArray
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        branches = zip(self.layers, self._parts(theta), kept, self._parts(move), tape, strict=True)
        found = [b.second(part, one, own, seen, eta, d_eta) for b, part, one, own, seen in branches]
        down, d_down = (np.asarray(sum(one[k] for one in found)) for k in (1, 2))
        return np.concatenate([one[0] for one in found], axis=-1), down, d_down

    def laplacian(self, theta: AnyArray, kept: Any, g: AnyArray, kernel: AnyArray) -> tuple[AnyArray, AnyArray]:
        total, behind = np.zeros(()), self.sandwich(theta, kept, kernel)
        for branch, part, one in zip(self.layers, self._parts(theta), kept, strict=True):
            # parameters of one branch do not move the others
            own_g, own = branch.branch(part, one, g, kernel)
            total, behind = total + own_g, behind if own is None else behind + own
        return total, behind


def _mean(a: AnyArray, b: AnyArray) -> AnyArray:
    return np.asarray((a * b).mean(axis=-1, keepdims=True))


def _nothing(eta: AnyArray, each: bool) -> AnyArray:
    """The gradient in no parameters."""
    return np.zeros((*(eta.shape[:-2] if each else eta.shape[:-3]), 0), dtype=eta.dtype)


def _diagonal(kernel: AnyArray) -> AnyArray:
    """Θ_ii of every unit, (N, P, n)."""
    units, points = kernel.shape[:2]
    flat = kernel.reshape(units, points, units)
    return np.einsum("isi->si", flat).reshape(kernel.shape[1:])
