r"""First derivatives of outputs and loss, and the curvature products, by hand.

For one pass through the network, with c_ℓ = σ_w/√n_ℓ, d^ℓ = σ̇(z^ℓ) and a cotangent η^L of the outputs,

.. math::
    e^ℓ = c_ℓ W^ℓ η^{ℓ+1}, \qquad η^ℓ = d^ℓ ∘ e^ℓ, \qquad
    ∂/∂W^ℓ = c_ℓ a^ℓ η^{(ℓ+1)T}, \qquad ∂/∂b^ℓ = β η^{ℓ+1}.

In einsum-like comments s, t, u number points, i, j, k, l units, a, b outputs, v vectors. Parameters with a leading axis
(E networks of one architecture) give every array such an axis, behind that of cotangents where there are several a point:
outputs (E, N, n_out), cotangents (n_out, E, N, n_ℓ), gradients (E, P).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, singledispatch
from typing import Any, ClassVar

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.losses import Loss, get_loss
from kernelcalc.finite.parameters import Parameters, require_network
from kernelcalc.machine import blas_threads, keep_freed_memory

# σ_w and points between this and its inverse keep products of eight of them far from the ends of float32.
_MODERATE = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Forward:
    """What one pass leaves behind; ``a[0]`` is X, ``d[0]`` and ``z[0]`` are empty so that indices are layer numbers."""

    net: Parameters
    z: list[AnyArray]
    a: list[AnyArray]
    outputs: AnyArray

    # whether gradients are outer products, one a layer, that exact sums over pairs of points can use
    factored: ClassVar[bool] = True

    @cached_property
    def d(self) -> list[AnyArray]:
        """σ̇(z^ℓ)."""
        return self._derivative(1)

    @cached_property
    def dd(self) -> list[AnyArray]:
        """σ̈(z^ℓ)."""
        return self._derivative(2)

    def _derivative(self, order: int) -> list[AnyArray]:
        values = [
            np.asarray(act.derivative(order)(z)).astype(z.dtype, copy=False)
            for act, z in zip(self.net.activations, self.z[1:], strict=True)
        ]
        return [self.z[0], *values]

    def of_type(self, dtype: Any) -> Forward:
        """The same numbers in another type, derivatives too, which are not computed again."""

        def cast(parts: Iterable[AnyArray]) -> list[AnyArray]:
            return [part.astype(dtype, copy=False) for part in parts]

        net = self.net.holding(cast(self.net.weights), cast(self.net.biases))
        other = Forward(net=net, z=cast(self.z), a=cast(self.a), outputs=self.outputs.astype(dtype, copy=False))
        vars(other).update(d=cast(self.d), dd=cast(self.dd))
        return other

    def layer_kernels(self, other: Forward | None = None) -> list[AnyArray]:
        """K^ℓ(s, t) = c_ℓ² a_s·a_t + β², one matrix a weight layer."""
        right = self if other is None else other
        return [
            c * c * (a @ b.swapaxes(-1, -2)) + self.net.beta**2
            for c, a, b in zip(self.net.scales, self.a, right.a, strict=True)
        ]

    def layer_norms(self) -> list[AnyArray]:
        """The diagonals of :meth:`layer_kernels`, (N,) each."""
        return [
            c * c * np.einsum("...si,...si->...s", a, a) + self.net.beta**2
            for c, a in zip(self.net.scales, self.a, strict=True)
        ]

    def backward(self, cotangent: AnyArray) -> tuple[list[AnyArray], list[AnyArray]]:
        """(η, e), lists by layer number 1..L of arrays (..., N, n_ℓ); index 0 is a placeholder, e^L does not exist."""
        depth, net = self.net.depth, self.net
        eta: list[AnyArray] = [cotangent] * (depth + 1)
        e: list[AnyArray] = [cotangent] * depth
        for layer in range(depth - 1, 0, -1):
            e[layer] = eta[layer + 1] @ net.weights[layer].swapaxes(-1, -2)
            e[layer] *= net.scales[layer]
            eta[layer] = self.d[layer] * e[layer]
        return eta, e

    def cotangents(self, cotangent: AnyArray) -> list[AnyArray]:
        """η alone, without memory for e."""
        depth, net = self.net.depth, self.net
        eta: list[AnyArray] = [cotangent] * (depth + 1)
        for layer in range(depth - 1, 0, -1):
            eta[layer] = eta[layer + 1] @ net.weights[layer].swapaxes(-1, -2)
            eta[layer] *= net.scales[layer]
            eta[layer] *= self.d[layer]
        return eta

    def gradient(self, cotangent: AnyArray) -> AnyArray:
        """Σ_s of the gradients of η_s·f(x_s), (P,)."""
        return parameter_gradient(self, self.cotangents(cotangent))

    def gradients(self, cotangent: AnyArray) -> AnyArray:
        """The gradient of η_rs·f(x_s) of every point and row r of η (r, N, n_out), (N, r, P)."""
        return point_gradients(self, self.cotangents(cotangent))

    def output_cotangents(self) -> list[AnyArray]:
        """ζ^ℓ[a, s] = ∂f_a(x_s)/∂z^ℓ, (n_out, N, n_ℓ) by layer number."""
        return self.cotangents(self.unit_cotangents())

    def unit_cotangents(self) -> AnyArray:
        """∂f_a(x_s)/∂f(x_s), (n_out, N, n_out)."""
        n_out = self.outputs.shape[-1]
        unit = np.eye(n_out, dtype=self.outputs.dtype).reshape(n_out, *[1] * (self.outputs.ndim - 1), n_out)
        return np.broadcast_to(unit, (n_out, *self.outputs.shape))


def forward(net: Parameters, x: AnyArray) -> Forward:
    """Run the network at checked points."""
    keep_freed_memory()
    with blas_threads(net.work(len(x))):
        return propagate(net, x)


@singledispatch
def propagate(net: Parameters, x: AnyArray) -> Forward:
    """:func:`forward` in the present threads; one body a kind of network."""
    z: list[AnyArray] = [np.empty(0, dtype=x.dtype)]
    a = [x]
    for layer, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        pre = net.scales[layer] * (a[-1] @ w) + net.beta * b[..., None, :]
        if layer == net.depth - 1:
            return Forward(net=net, z=z, a=a, outputs=pre)
        z.append(pre)
        a.append(np.asarray(net.activations[layer](pre)).astype(pre.dtype, copy=False))
    raise AssertionError("a network has a layer")


def parameter_gradient(run: Forward, eta: list[AnyArray]) -> AnyArray:
    """Σ_s of the outer products a ⊗ η as flat vector (P,)."""
    net, last = run.net, eta[-1]
    result = np.empty((*last.shape[:-2], net.n_parameters), dtype=np.result_type(run.outputs, last))
    weights, biases = net.split(result)
    for layer, c in enumerate(net.scales):
        np.multiply(c, run.a[layer].swapaxes(-1, -2) @ eta[layer + 1], out=weights[layer])
        np.multiply(net.beta, eta[layer + 1].sum(axis=-2), out=biases[layer])
    return result


def point_gradients(run: Forward, zeta: list[AnyArray]) -> AnyArray:
    """The outer products a ⊗ ζ of every point and every row r of ζ^ℓ (r, N, n_ℓ) as flat vectors, (N, r, P)."""
    rows, n = zeta[-1].shape[:2]
    result = np.empty((n, rows, run.net.n_parameters), dtype=run.outputs.dtype)
    weights, biases = run.net.split(result)
    for layer, c in enumerate(run.net.scales):
        cotangent = zeta[layer + 1].swapaxes(0, 1)
        weights[layer][...] = c * run.a[layer][:, None, :, None] * cotangent[:, :, None, :]
        biases[layer][...] = run.net.beta * cotangent
    return result


def jacobian(net: Parameters, x: AnyArray) -> AnyArray:
    """∂f_a(x_s)/∂θ, (N, n_out, P)."""
    with blas_threads(net.work(len(x))):
        run = forward(net, x)
        return run.gradients(run.unit_cotangents())


def ntk(net: Parameters, x: AnyArray, x2: AnyArray | None = None) -> AnyArray:
    r"""Empirical NTK :math:`Θ_{ab}(x, x') = Σ_ℓ K^ℓ(x, x') ζ_a^{ℓ+1}(x)·ζ_b^{ℓ+1}(x')`.

    Returns
    -------
    (N, M) array for one output, else (N, M, n_out, n_out)
    """
    with blas_threads(net.work(len(x))):
        left = forward(net, x)
        right = left if x2 is None else forward(net, x2)
        return run_ntk(left, right)


def run_ntk(left: Forward, right: Forward) -> AnyArray:
    """:func:`ntk` of passes that are done; the second may be the first."""
    gram = jacobian_gram(left, left.output_cotangents(), right, left_is_right=right is left)
    if left.net.n_out == 1:
        return gram[..., 0, :, 0, :]
    return np.einsum("...asbt->...stab", gram) + 0.0  # no -0.0 between outputs that share nothing


def jacobian_gram(
    left: Forward, zeta: list[AnyArray], right: Forward | None = None, *, left_is_right: bool = True
) -> AnyArray:
    """Σ_ℓ K^ℓ_st ζ^{ℓ+1}[a, s]·ζ^{ℓ+1}[b, t] as (a, s, b, t), for cotangents ζ of the left pass."""
    other = left if right is None else right
    zeta2 = zeta if left_is_right else other.output_cotangents()
    kernels = left.layer_kernels(None if left_is_right else other)
    total: Any = 0.0
    for layer, kernel in enumerate(kernels):
        one, two = zeta[layer + 1], zeta2[layer + 1]
        if one.ndim > 3:
            one, two = np.moveaxis(one, 0, -3), np.moveaxis(two, 0, -3)
        lead, rows, columns = one.shape[:-3], one.shape[-3:-1], two.shape[-3:-1]
        flat = one.reshape(*lead, -1, one.shape[-1]) @ two.reshape(*lead, -1, two.shape[-1]).swapaxes(-1, -2)
        term = flat.reshape(*lead, *rows, *columns)
        term *= kernel[..., None, :, None, :]
        total = term if layer == 0 else np.add(total, term, out=total)
    return np.asarray(total)


def through(a: AnyArray, matrix: AnyArray) -> AnyArray:
    """a @ matrix for a with an axis or more behind that of networks, as one product a network: ``@`` makes one a point."""
    flat = a.reshape(*matrix.shape[:-2], -1, a.shape[-1]) @ matrix
    return np.asarray(flat.reshape(*a.shape[:-1], matrix.shape[-1]))


def unit_ntk_diagonals(run: Forward, block: int = 64) -> list[AnyArray]:
    r"""‖∇_θ z_i^ℓ(x_s)‖² for the hidden layers ℓ = 1..L−1, (N, n_ℓ) each (index 0 is a placeholder).

    The NTK of a layer's units obeys Θ^{ℓ+1} = c² Wᵀ D Θ^ℓ D W + K^ℓ Id, Θ¹ = K⁰ Id. The last one is needed on the
    diagonal only, so two hidden layers cost O(N n²) and each further one O(N n³), a block of points at a time.
    """
    net, norms = run.net, run.layer_norms()
    result = [np.broadcast_to(norms[0][..., None], run.a[0].shape)]
    if net.depth == 1:
        return result
    result.append(np.broadcast_to(norms[0][..., None], run.d[1].shape))
    if net.depth == 2:
        return result
    c = net.scales[1]
    result.append(c * c * norms[0][..., None] * (run.d[1] ** 2 @ net.weights[1] ** 2) + norms[1][..., None])
    for layer in range(3, net.depth):
        result.append(np.empty_like(run.d[layer]))
    for start in range(0, run.outputs.shape[-2] if net.depth > 3 else 0, block):
        rows = slice(start, start + block)
        # s i j: Θ^2 of the block of points
        left = net.scales[1] * run.d[1][..., rows, :, None] * net.weights[1][..., None, :, :]
        full = norms[0][..., rows, None, None] * (left.swapaxes(-1, -2) @ left)
        for layer in range(2, net.depth - 1):
            # Θ^ℓ has K^{ℓ-1} on its diagonal; (D W)ᵀ Θ (D W)
            index = np.arange(full.shape[-1])
            full[..., index, index] += norms[layer - 1][..., rows, None]
            left = net.scales[layer] * run.d[layer][..., rows, :, None] * net.weights[layer][..., None, :, :]
            half = full @ left
            own = norms[layer][..., rows, None]
            result[layer + 1][..., rows, :] = np.einsum("...sij,...sij->...sj", left, half) + own
            if layer < net.depth - 2:
                full = left.swapaxes(-1, -2) @ half
    return result


def unit_traces(run: Forward) -> AnyArray:
    r"""c Tr Hα of the units that the last weights are multiplied with, (N, n_{L-1}), exactly; c α are their values.

    A pre-activation is linear in its own layer's parameters, so that its trace comes from those of the layer before alone:

    .. math:: Tr Hz^{ℓ+1} = c_ℓ W^{ℓT} \left( σ̈(z^ℓ) ‖∇_θ z^ℓ‖^2 + σ̇(z^ℓ)\, Tr Hz^ℓ \right), \qquad Tr Hz^1 = 0
    """
    net, diagonals = run.net, unit_ntk_diagonals(run)
    traces: Any = np.zeros((*run.outputs.shape[:-1], net.sizes[0]), dtype=run.outputs.dtype)
    for layer in range(1, net.depth):
        below = traces @ net.weights[layer - 1] if layer > 1 else 0.0
        traces = net.scales[layer] * (run.dd[layer] * diagonals[layer] + run.d[layer] * below)
    return np.asarray(traces)


def hessian_trace(net: Parameters, x: AnyArray) -> AnyArray:
    r"""g_a(x) = Tr Hf_a(x), (N, n_out), exactly; see :func:`unit_traces`."""
    with blas_threads(net.work(len(x))):
        return np.asarray(unit_traces(forward(net, x)) @ net.weights[-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Points, prepared targets and a loss: the function C(θ) that training and Hessians share."""

    x: AnyArray
    targets: AnyArray
    loss: Loss

    @classmethod
    def of(cls, net: Parameters, X: Any, Y: Any, loss: str | Loss) -> Problem:
        """Check X and Y for this network."""
        require_network(net)
        chosen = get_loss(loss)
        x = net.points(X)
        return cls(x=x, targets=chosen.targets(Y, len(x), net.n_out, net.dtype), loss=chosen)

    def batch(self, rows: AnyArray) -> Problem:
        """The problem on some of the points (its loss is the mean over these)."""
        return Problem(x=self.x[rows], targets=self.targets[rows], loss=self.loss)

    def is_moderate(self, net: Parameters) -> bool:
        """Whether points and σ_w are of a size that float32 has room for."""
        sizes = net.sigma_w, float(np.abs(self.x).max())
        return all(1 / _MODERATE < size < _MODERATE for size in sizes)

    def of_type(self, dtype: Any) -> Problem:
        """The same with points and targets of that number type."""
        x, targets = (part.astype(dtype, copy=False) for part in (self.x, self.targets))
        return Problem(x=x, targets=targets, loss=self.loss)

    def slope(self, outputs: AnyArray) -> AnyArray:
        """∂C/∂f, (N, n_out), or that of every network, (E, N, n_out)."""
        return self._of_each(self.loss.gradient, outputs)

    def hessian_root(self, outputs: AnyArray) -> AnyArray:
        """B with 𝓗C = B Bᵀ, (N, n_out, r), or that of every network, (E, N, n_out, r)."""
        return self._of_each(self.loss.hessian_root, outputs)

    def _of_each(self, function: Callable[[AnyArray, AnyArray], AnyArray], outputs: AnyArray) -> AnyArray:
        targets = self.targets.astype(outputs.dtype, copy=False)
        if outputs.ndim == 2:
            return function(outputs, targets)
        return np.stack([function(one, targets) for one in outputs])

    def value(self, net: Parameters) -> float:
        """C of one network."""
        return self.loss.value(forward(net, self.x).outputs, self.targets)

    def values(self, net: Parameters) -> AnyArray:
        """C of every network, (E,)."""
        return self.values_at(forward(net, self.x).outputs)

    def values_at(self, outputs: AnyArray) -> AnyArray:
        """C of outputs (E, N, n_out), (E,)."""
        return np.array([self.loss.value(one, self.targets) for one in outputs])

    def gradient(self, net: Parameters) -> AnyArray:
        """∂C/∂θ, (P,), or that of every network, (E, P)."""
        with blas_threads(net.work(len(self.x))):
            run = forward(net, self.x)
            return run.gradient(self.slope(run.outputs))
