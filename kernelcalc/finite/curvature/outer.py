r"""Tr H³ and Tr H⁴ of wide networks at few points: vectors as sums of outer products, never of length P.

With I = JᵀJ, J = 𝓗C^{½} DY and T = J Jᵀ, all that I has part in comes from three small matrices,
:math:`A_k = J S^k J^T`:

.. math::
    Tr H^3 - Tr S^3 &= Tr T^3 + 3\, Tr T A_1 + 3\, Tr A_2, \\
    Tr H^4 - Tr S^4 &= Tr T^4 + 4\, Tr T^2 A_1 + 4\, Tr T A_2 + 2\, Tr A_1^2 + 4\, Tr A_3.

A row of J has rank one in every weight array, and a product with S has rank 2 N:

.. math:: (S v)^ℓ = Σ_s ã^ℓ_s ⊗ dη^{ℓ+1}_s + dã^ℓ_s ⊗ η^{ℓ+1}_s, \qquad ã = (c α, β).

Hence Tr S³ and Tr S⁴ are means of v·S³v and v·S⁴v over Gaussian vectors v in the space of all such sums, which have that rank
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.curvature.hessian import HessianSplit

# Rows of J times N² over the width, up to which this is faster than vectors of length P (measured: 5 points and 10 at width
# 64, 20 at 256, 8 with three outputs at 128).
_MOST_PRODUCTS = 20


def outer_products_pay(split: HessianSplit, kmax: int) -> bool:
    """Whether the hidden layers are wide enough for the points, and kmax is 3 or 4."""
    n, _, rows = split.root.shape
    narrow = min(split.run.net.sizes[1:-1], default=0)
    return split.run.factored and 2 < kmax < 5 and n**3 * rows <= _MOST_PRODUCTS * narrow


@dataclass(frozen=True, eq=False)
class Outer:
    """m vectors of length P: of each layer left (m, r, n_ℓ + 1) and right (m, r, n_{ℓ+1}), summed over r."""

    left: list[AnyArray]
    right: list[AnyArray]

    def above(self, other: Outer) -> Outer:
        """These vectors and then others of the same rank."""
        left, right = (
            [np.concatenate(pair) for pair in zip(ours, theirs, strict=True)]
            for ours, theirs in ((self.left, other.left), (self.right, other.right))
        )
        return Outer(left, right)

    def parted(self, first: int) -> tuple[Outer, Outer]:
        """The first so many vectors, and the others."""
        parts = [
            ([a[rows] for a in self.left], [a[rows] for a in self.right]) for rows in (slice(first), slice(first, None))
        ]
        return Outer(*parts[0]), Outer(*parts[1])

    def along(self, layer: int, extended: AnyArray) -> AnyArray:
        """ã_s·V, (m, N, n_{ℓ+1})."""
        return np.asarray((extended @ self.left[layer].swapaxes(1, 2)) @ self.right[layer])

    def against(self, layer: int, eta: AnyArray) -> AnyArray:
        """V η_s without the bias, (m, N, n_ℓ)."""
        return np.asarray((eta @ self.right[layer].swapaxes(1, 2)) @ self.left[layer][..., :-1])

    def inner(self, other: Outer) -> AnyArray:
        """Inner products with other vectors, (m, m')."""
        total: Any = 0.0
        for a, b, c, d in zip(self.left, self.right, other.left, other.right, strict=True):
            both = _flat(a) @ _flat(c).T
            both *= _flat(b) @ _flat(d).T
            total = total + both.reshape(len(a), a.shape[1], len(c), c.shape[1]).sum(axis=(1, 3), dtype=np.float64)
        return np.asarray(total)

    def squares(self, other: Outer) -> AnyArray:
        """Inner products of each with its own of the others, (m,)."""
        return np.asarray(
            sum(
                ((a @ c.swapaxes(1, 2)) * (b @ d.swapaxes(1, 2))).sum(axis=(1, 2), dtype=np.float64)
                for a, b, c, d in zip(self.left, self.right, other.left, other.right, strict=True)
            )
        )


def _flat(a: AnyArray) -> AnyArray:
    return a.reshape(-1, a.shape[-1])


@dataclass(frozen=True, eq=False)
class OuterProducts:
    """S of one network at its points."""

    split: HessianSplit

    @cached_property
    def extended(self) -> list[AnyArray]:
        """ã^ℓ, (N, n_ℓ + 1) by weight layer."""
        run, net = self.split.run, self.split.run.net
        return [
            np.concatenate([c * a, np.full((len(a), 1), net.beta, dtype=a.dtype)], axis=1)
            for c, a in zip(net.scales, run.a, strict=True)
        ]

    @cached_property
    def jacobian(self) -> Outer:
        """The rows of J: row index (r, s)."""
        zeta = self.split.root_cotangents
        count = len(zeta[-1])
        left = [np.tile(a, (count, 1))[:, None] for a in self.extended]
        return Outer(left, [one.reshape(-1, 1, one.shape[-1]) for one in zeta[1:]])

    def gaussian(self, count: int, rng: np.random.Generator) -> Outer:
        """Independent standard Gaussian vectors in the space that S maps into."""
        left, right = [], []
        for rows, columns in zip(self.extended, self.split.cotangents[0][1:], strict=True):
            u, w = (np.linalg.qr(one.T)[0].T for one in (rows, columns))
            x = rng.standard_normal((count, len(u), w.shape[1])).astype(u.dtype, copy=False)
            y = rng.standard_normal((count, len(w), u.shape[1])).astype(u.dtype, copy=False)
            y -= (y @ u.T) @ u
            left.append(np.concatenate([np.broadcast_to(u, (count, *u.shape)), y], axis=1))
            right.append(np.concatenate([x, np.broadcast_to(w, (count, *w.shape))], axis=1))
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
                tangent += _through(c * da[-1], net.weights[layer])
            dz.append(tangent)
            da.append(run.d[layer + 1] * tangent)
        left, right = [], []
        d_eta: AnyArray | None = None
        for layer in range(net.depth - 1, -1, -1):
            c, ones, twos = net.scales[layer], [], []
            if d_eta is not None:
                ones.append(np.broadcast_to(self.extended[layer], (len(d_eta), *self.extended[layer].shape)))
                twos.append(d_eta)
            if layer:
                moved = c * da[layer - 1]
                ones.append(np.concatenate([moved, np.zeros_like(moved[..., :1])], axis=-1))
                twos.append(np.broadcast_to(eta[layer + 1], (len(moved), *eta[layer + 1].shape)))
            left.append(np.concatenate(ones, axis=1))
            right.append(np.concatenate(twos, axis=1))
            if layer:
                felt = v.against(layer, eta[layer + 1])
                if d_eta is not None:
                    felt += _through(d_eta, net.weights[layer].T)
                d_eta = c * run.d[layer] * felt + run.dd[layer] * e[layer] * dz[layer - 1]
        return Outer(left[::-1], right[::-1])

    def high_traces(self, gram: AnyArray, trace_i: AnyArray, probes: Outer) -> tuple[AnyArray, AnyArray]:
        """Tr H^k for k = 3..kmax with the standard errors of Tr S^k; ``gram`` is T, ``trace_i`` Tr T^k for k = 1..kmax."""
        j = self.jacobian
        sj, sv = self.s(j), self.s(probes)
        # both are of one rank now: one product for all of them
        ssj, ssv = self.s(sj.above(sv)).parted(len(sj.left[0]))
        a1, a2, a3 = j.inner(sj), sj.inner(sj), sj.inner(ssj)
        t = gram.astype(np.float64)
        mixed = np.array(
            [
                3 * np.vdot(t, a1) + 3 * np.trace(a2),
                4 * np.vdot(t @ t, a1) + 4 * np.vdot(t, a2) + 2 * np.vdot(a1, a1.T) + 4 * np.trace(a3),
            ]
        )
        sampled = np.stack([sv.squares(ssv), ssv.squares(ssv)])[: len(trace_i) - 2]
        error = sampled.std(axis=1, ddof=1) / np.sqrt(sampled.shape[1])
        return trace_i[2:] + mixed[: len(trace_i) - 2] + sampled.mean(axis=1), error


def _through(a: AnyArray, weights: AnyArray) -> AnyArray:
    """a @ weights for a of three axes, as one product."""
    return (_flat(a) @ weights).reshape(*a.shape[:2], -1)
