r"""Tr H³ and Tr H⁴ of wide networks at few points: vectors as sums of outer products, never of length P.

With I = JᵀJ, J = 𝓗C^{½} DY and T = J Jᵀ, all that I has part in comes from three small matrices,
:math:`A_k = J S^k J^T`:

.. math::
    Tr H^3 - Tr S^3 &= Tr T^3 + 3\, Tr T A_1 + 3\, Tr A_2, \\
    Tr H^4 - Tr S^4 &= Tr T^4 + 4\, Tr T^2 A_1 + 4\, Tr T A_2 + 2\, Tr A_1^2 + 4\, Tr A_3.

A row of J has rank one in every weight array, and a product with S has rank 2 N:

.. math:: (S v)^ℓ = Σ_s ã^ℓ_s ⊗ dη^{ℓ+1}_s + dã^ℓ_s ⊗ η^{ℓ+1}_s, \qquad ã = (c α, β).

Hence Tr S³ and Tr S⁴ are means of v·S³v and v·S⁴v over Gaussian vectors v in the space of all such sums, which have that rank
too. Networks side by side give every array their axis in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.derivatives import through

# Rows of J times N² over the width, up to which this is faster than vectors of length P (measured: 5 points and 10 at width
# 64, 20 at 256, 8 with three outputs at 128).
_MOST_PRODUCTS = 20


def outer_products_pay(split: HessianSplit, kmax: int) -> bool:
    """Whether the hidden layers are wide enough for the points, and kmax is 3 or 4."""
    n, _, rows = split.root.shape[-3:]
    narrow = min(split.run.net.sizes[1:-1], default=0)
    return split.run.factored and 2 < kmax < 5 and n**3 * rows <= _MOST_PRODUCTS * narrow


@dataclass(frozen=True, eq=False)
class Outer:
    """m vectors of length P: of each layer left (m, r, n_ℓ + 1) and right (m, r, n_{ℓ+1}), summed over r."""

    left: list[AnyArray]
    right: list[AnyArray]

    def __len__(self) -> int:
        return self.left[0].shape[-3]

    def above(self, other: Outer) -> Outer:
        """These vectors and then others of the same rank."""
        left, right = (
            [np.concatenate(pair, axis=-3) for pair in zip(ours, theirs, strict=True)]
            for ours, theirs in ((self.left, other.left), (self.right, other.right))
        )
        return Outer(left, right)

    def parted(self, first: int) -> tuple[Outer, Outer]:
        """The first so many vectors, and the others."""
        parts = [
            ([a[..., rows, :, :] for a in self.left], [a[..., rows, :, :] for a in self.right])
            for rows in (slice(first), slice(first, None))
        ]
        return Outer(*parts[0]), Outer(*parts[1])

    def along(self, layer: int, extended: AnyArray) -> AnyArray:
        """ã_s·V, (m, N, n_{ℓ+1})."""
        return np.asarray(_turned(through(self.left[layer], _turned(extended))) @ self.right[layer])

    def against(self, layer: int, eta: AnyArray) -> AnyArray:
        """V η_s without the bias, (m, N, n_ℓ)."""
        return np.asarray(_turned(through(self.right[layer], _turned(eta))) @ self.left[layer][..., :-1])

    def inner(self, other: Outer) -> AnyArray:
        """Inner products with other vectors, (m, m')."""
        total: Any = 0.0
        for a, b, c, d in zip(self.left, self.right, other.left, other.right, strict=True):
            both = _flat(a) @ _turned(_flat(c))
            both *= _flat(b) @ _turned(_flat(d))
            pairs = both.reshape(*a.shape[:-3], len(self), a.shape[-2], len(other), c.shape[-2])
            total = total + pairs.sum(axis=(-3, -1), dtype=np.float64)
        return np.asarray(total)

    def squares(self, other: Outer) -> AnyArray:
        """Inner products of each with its own of the others, (m,)."""
        return np.asarray(
            sum(
                ((a @ _turned(c)) * (b @ _turned(d))).sum(axis=(-2, -1), dtype=np.float64)
                for a, b, c, d in zip(self.left, self.right, other.left, other.right, strict=True)
            )
        )


def _flat(a: AnyArray) -> AnyArray:
    return a.reshape(*a.shape[:-3], -1, a.shape[-1])


def _turned(a: AnyArray) -> AnyArray:
    return a.swapaxes(-1, -2)


def _for_all(a: AnyArray, count: int) -> AnyArray:
    """One array (r, n) for that many vectors."""
    return np.broadcast_to(a[..., None, :, :], (*a.shape[:-2], count, *a.shape[-2:]))


@dataclass(frozen=True, eq=False)
class OuterProducts:
    """S of one network at its points, or of several."""

    split: HessianSplit

    @cached_property
    def extended(self) -> list[AnyArray]:
        """ã^ℓ, (N, n_ℓ + 1) by weight layer."""
        run, net = self.split.run, self.split.run.net
        lead = run.outputs.shape[:-1]
        beta = np.full((*lead, 1), net.beta, dtype=run.outputs.dtype)
        return [
            np.concatenate([np.broadcast_to(c * a, (*lead, a.shape[-1])), beta], axis=-1)
            for c, a in zip(net.scales, run.a, strict=True)
        ]

    @cached_property
    def jacobian(self) -> Outer:
        """The rows of J: row index (r, s)."""
        zeta = [np.moveaxis(one, 0, -3) for one in self.split.root_cotangents]
        right = [_flat(one)[..., None, :] for one in zeta[1:]]
        left = [_flat(_for_all(a, zeta[-1].shape[-3]))[..., None, :] for a in self.extended]
        return Outer(left, right)

    def gaussian(self, count: int, generators: Sequence[np.random.Generator]) -> Outer:
        """Independent standard Gaussian vectors in the space that S maps into, from the generator of every network."""
        left, right = [], []
        for rows, columns in zip(self.extended, self.split.cotangents[0][1:], strict=True):
            u, w = (_turned(np.linalg.qr(_turned(one))[0]) for one in (rows, columns))
            lead = u.shape[:-2]
            shapes = (count, u.shape[-2], w.shape[-1]), (count, w.shape[-2], u.shape[-1])
            drawn = [[one.standard_normal(shape).astype(u.dtype, copy=False) for shape in shapes] for one in generators]
            x, y = (np.stack(every).reshape(*lead, *every[0].shape) for every in zip(*drawn, strict=True))
            y -= through(through(y, _turned(u)), u)
            left.append(np.concatenate([_for_all(u, count), y], axis=-2))
            right.append(np.concatenate([x, _for_all(w, count)], axis=-2))
        return Outer(left, right)

    def s(self, v: Outer) -> Outer:
        """S v."""
        run, net = self.split.run, self.split.run.net
        eta, e = self.split.cotangents
        dz: list[AnyArray] = []
        da: list[AnyArray] = []
        for layer, c in enumerate(net.scales[:-1]):
            tangent = v.along(layer, self.extended[layer])
            if layer:
                tangent += through(c * da[-1], net.weights[layer])
            dz.append(tangent)
            da.append(run.d[layer + 1][..., None, :, :] * tangent)
        left, right = [], []
        d_eta: AnyArray | None = None
        for layer in range(net.depth - 1, -1, -1):
            c, ones, twos = net.scales[layer], [], []
            if d_eta is not None:
                ones.append(_for_all(self.extended[layer], len(v)))
                twos.append(d_eta)
            if layer:
                moved = c * da[layer - 1]
                ones.append(np.concatenate([moved, np.zeros_like(moved[..., :1])], axis=-1))
                twos.append(_for_all(eta[layer + 1], len(v)))
            left.append(np.concatenate(ones, axis=-2))
            right.append(np.concatenate(twos, axis=-2))
            if layer:
                felt = v.against(layer, eta[layer + 1])
                if d_eta is not None:
                    felt += through(d_eta, _turned(net.weights[layer]))
                bend = run.dd[layer] * e[layer]
                d_eta = c * run.d[layer][..., None, :, :] * felt + bend[..., None, :, :] * dz[layer - 1]
        return Outer(left[::-1], right[::-1])

    def high_traces(self, gram: AnyArray, trace_i: AnyArray, probes: Outer) -> tuple[AnyArray, AnyArray]:
        """Tr H^k for k = 3..kmax with the standard errors of Tr S^k; ``gram`` is T, ``trace_i`` Tr T^k for k = 1..kmax."""
        j, count = self.jacobian, trace_i.shape[-1] - 2
        sj, sv = self.s(j), self.s(probes)
        # both are of one rank now: one product for all of them
        ssj, ssv = self.s(sj.above(sv)).parted(len(sj))
        a1, a2, a3 = j.inner(sj), sj.inner(sj), sj.inner(ssj)
        t = gram.astype(np.float64)
        mixed = [
            3 * _product_trace(t, a1) + 3 * np.trace(a2, axis1=-2, axis2=-1),
            4 * _product_trace(t @ t, a1)
            + 4 * _product_trace(t, a2)
            + 2 * _product_trace(a1, a1)
            + 4 * np.trace(a3, axis1=-2, axis2=-1),
        ]
        sampled = np.stack([sv.squares(ssv), ssv.squares(ssv)], axis=-2)[..., :count, :]
        error = sampled.std(axis=-1, ddof=1) / np.sqrt(sampled.shape[-1])
        return trace_i[..., 2:] + np.stack(mixed, axis=-1)[..., :count] + sampled.mean(axis=-1), error


def _product_trace(a: AnyArray, b: AnyArray) -> AnyArray:
    """Tr a b."""
    return np.asarray(np.einsum("...ij,...ji->...", a, b))
