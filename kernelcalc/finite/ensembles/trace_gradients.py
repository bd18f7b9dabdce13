r"""The derivative of g = Tr Hf along gradients of f, by hand, for up to two hidden layers.

g_a(x_s) = Σ_ℓ Σ_i σ̈(z_i^ℓ) e_i^ℓ D_i^ℓ with the notation of :mod:`kernelcalc.finite.derivatives` and D^ℓ its
``unit_ntk_diagonals``. A step along ∇f_a(x_t) is dW^ℓ = c_ℓ a^ℓ_t ζ^{ℓ+1 T}_t, db^ℓ = β ζ^{ℓ+1}_t. It moves

.. math::
    dz^{ℓ+1} &= K^ℓ_{st} ζ^{ℓ+1}_t + c_ℓ (d^ℓ ∘ dz^ℓ) W^ℓ, \qquad
    de^ℓ = c_ℓ dη^{ℓ+1} W^{ℓT} + c_ℓ^2 (ζ^{ℓ+1}_s · ζ^{ℓ+1}_t) a^ℓ_t, \\
    dD^2 &= 2 c_1^2 K^0_{ss} \left[ (d^1 ∘ \ddot σ^1 ∘ dz^1) (W^1)^{∘2}
        + c_1 ((d^1 ∘ d^1 ∘ a^1_t) W^1) ∘ ζ^2_t \right] + 2 c_1^2 (a^1 ∘ d^1) · dz^1,

and D¹ = K⁰ not at all. Networks know two derivatives of their activations: the third is a central difference of fourth order of
the second. Arrays are (s, t, unit), networks side by side in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.derivatives import Forward, through, unit_ntk_diagonals
from kernelcalc.machine import blas_threads

# Weight layers up to which the formulas above are all there is.
HAND_MADE_DEPTH = 3
# (s, weight): Σ weight (F(s h) − F(−s h)) = h F'(0) + O(h⁵)
STENCIL = ((1.0, 2 / 3), (2.0, -1 / 12))
# Change of a pre-activation: the stencil's relative error is about its fourth power, 1e-12, and rounding eps/1e-3.
SHIFT = 1e-3


def trace_derivatives(run: Forward) -> AnyArray:
    """Σ_a of the derivatives of g_a(x_s) along ∇f_a(x_t), (N, N), for at most :data:`HAND_MADE_DEPTH` weight layers."""
    net, n = run.net, run.outputs.shape[-2]
    with blas_threads(net.work(n**2)):
        third = [_third(act.derivative(2), z) for act, z in zip(net.activations, run.z[1:], strict=True)]
        eta, e = run.backward(run.unit_cotangents())
        diagonals = unit_ntk_diagonals(run)
        total = np.zeros((*run.outputs.shape[:-1], n), dtype=run.outputs.dtype)
        for a in range(net.n_out):
            zeta = [one[a] for one in eta]
            dz = _moved(run, zeta)
            de = _moved_back(run, zeta, [one[a] for one in e], dz)
            for layer in range(1, net.depth):
                ea, dd, diagonal = e[layer][a], run.dd[layer], diagonals[layer]
                total += _felt(de[layer], dd * diagonal)
                total += _felt(dz[layer], ea * third[layer - 1] * diagonal)
                if layer == 2:
                    total += _felt(_moved_diagonals(run, zeta, dz), ea * dd)
    return total


def _felt(moved: AnyArray, weights: AnyArray) -> AnyArray:
    """Σ_i of what is moved at s along t, with weights at s."""
    return np.asarray(np.einsum("...sti,...si->...st", moved, weights))


def _third(second: Any, z: AnyArray) -> AnyArray:
    wide = z.astype(np.float64)
    steps = [weight / SHIFT * (second(wide + s * SHIFT) - second(wide - s * SHIFT)) for s, weight in STENCIL]
    return np.asarray(sum(steps), dtype=z.dtype)


def _at_s(a: AnyArray) -> AnyArray:
    return a[..., :, None, :]


def _at_t(a: AnyArray) -> AnyArray:
    return a[..., None, :, :]


def _moved(run: Forward, zeta: list[AnyArray]) -> list[AnyArray]:
    """dz^ℓ by layer number, hidden layers."""
    net, kernels = run.net, run.layer_kernels()
    dz: list[AnyArray] = [run.outputs]
    for layer in range(net.depth - 1):
        moved = kernels[layer][..., None] * _at_t(zeta[layer + 1])
        if layer:
            moved += net.scales[layer] * through(_at_s(run.d[layer]) * dz[layer], net.weights[layer])
        dz.append(moved)
    return dz


def _moved_back(run: Forward, zeta: list[AnyArray], e: list[AnyArray], dz: list[AnyArray]) -> list[AnyArray]:
    """de^ℓ by layer number, hidden layers."""
    net = run.net
    de: list[AnyArray] = [run.outputs] * net.depth
    d_eta: AnyArray | None = None
    for layer in range(net.depth - 1, 0, -1):
        c, above = net.scales[layer], zeta[layer + 1]
        de[layer] = c * c * (above @ above.swapaxes(-1, -2))[..., None] * _at_t(run.a[layer])
        if d_eta is not None:
            de[layer] += c * through(d_eta, net.weights[layer].swapaxes(-1, -2))
        d_eta = _at_s(run.dd[layer] * e[layer]) * dz[layer] + _at_s(run.d[layer]) * de[layer]
    return de


def _moved_diagonals(run: Forward, zeta: list[AnyArray], dz: list[AnyArray]) -> AnyArray:
    """dD², with two hidden layers."""
    net, d = run.net, run.d
    w, c = net.weights[1], net.scales[1]
    inner = through(_at_s(d[1] * run.dd[1]) * dz[1], w**2)
    inner += c * through(_at_s(d[1] ** 2) * _at_t(run.a[1]), w) * _at_t(zeta[2])
    norms = _felt(dz[1], run.a[1] * d[1])
    return np.asarray(2 * c * c * (run.layer_norms()[0][..., None, None] * inner + norms[..., None]))
