"""Small finite networks of any composition, with the six finite kernels of one output by exact derivatives.

Independent of the package: value and gradient by hand-written layers, second derivatives of complex steps through the gradient,
third ones along one direction by a central difference of these.
"""

from __future__ import annotations

import numpy as np


class DenseLayer:
    def __init__(self, n_in, n_out, sigma_w, beta):
        self.shape, self.beta = (n_in, n_out), beta
        self.scale = sigma_w / np.sqrt(n_in)
        self.size = n_in * n_out + n_out

    def forward(self, theta, x):
        n_in, n_out = self.shape
        weight, bias = theta[..., : n_in * n_out], theta[..., n_in * n_out :]
        weight = weight.reshape(*theta.shape[:-1], n_in, n_out)
        return self.scale * (x @ weight) + self.beta * bias[..., None, :], (weight, x)

    def backward(self, cotangent, kept):
        """Cotangents (..., N, n_out) of single points -> of the parameters, per point, and of the input."""
        weight, x = kept
        inner = self.scale * np.einsum("...ni,...nj->...nij", x, cotangent)
        own = np.concatenate([inner.reshape(*inner.shape[:-2], -1), self.beta * cotangent], axis=-1)
        return own, self.scale * cotangent @ np.swapaxes(weight, -1, -2)


class Tanh:
    size = 0

    def forward(self, theta, x):
        y = np.tanh(x)
        return y, y

    def backward(self, cotangent, y):
        return cotangent[..., :0], cotangent * (1 - y * y)


class Norm:
    """Divided by the root mean square around the mean over units."""

    size = 0

    def forward(self, theta, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        std = np.sqrt((centred * centred).mean(axis=-1, keepdims=True))
        return centred / std, (centred / std, std)

    def backward(self, cotangent, kept):
        y, std = kept
        inner = cotangent - cotangent.mean(axis=-1, keepdims=True) - y * (cotangent * y).mean(axis=-1, keepdims=True)
        return cotangent[..., :0], inner / std


class Chain:
    def __init__(self, *layers):
        self.layers = layers
        self.size = sum(layer.size for layer in layers)

    def forward(self, theta, x):
        kept, start = [], 0
        for layer in self.layers:
            x, one = layer.forward(theta[..., start : start + layer.size], x)
            kept.append(one)
            start += layer.size
        return x, kept

    def backward(self, cotangent, kept):
        parts = []
        for layer, one in zip(reversed(self.layers), reversed(kept), strict=True):
            own, cotangent = layer.backward(cotangent, one)
            parts.append(own)
        return np.concatenate(parts[::-1], axis=-1), cotangent


class Skip:
    """x + scale · branch(x)."""

    def __init__(self, branch, scale=1.0):
        self.branch, self.scale, self.size = branch, scale, branch.size

    def forward(self, theta, x):
        y, kept = self.branch.forward(theta, x)
        return x + self.scale * y, kept

    def backward(self, cotangent, kept):
        own, inner = self.branch.backward(self.scale * cotangent, kept)
        return own, cotangent + inner


def six_kernels(network, x, theta, rates=1.0):
    """The finite Σ, Θ, Φ, Λ, Υ, Ξ (N, N) of one network of one output; ``rates`` weigh the parameters."""
    size = np.broadcast_to(np.sqrt(rates), theta.shape)

    def gradient(at):
        """Of every point's output in the parameters times √rate: (..., N, P)."""
        value, kept = network.forward(at, x)
        own, _ = network.backward(np.ones_like(value), kept)
        return own * size, value[..., 0]

    def hessians(at):
        step = 1e-20
        moved = at + 1j * step * size[:, None] * np.eye(len(at))
        return gradient(moved)[0].imag.transpose(1, 0, 2) / step

    first, value = gradient(theta)
    second = hessians(theta)
    trace = np.trace(second, axis1=1, axis2=2)
    move = 1e-4
    # ∇g·∇f' as the derivative of g along ∇f'
    lam = np.stack(
        [
            (_traces(gradient, theta + move * size * v, size) - _traces(gradient, theta - move * size * v, size))
            / (2 * move)
            for v in first
        ],
        axis=1,
    )
    return {
        "sigma": np.outer(value, value),
        "theta": first @ first.T,
        "phi": np.outer(trace, value),
        "lam": lam,
        "upsilon": np.einsum("ipq,jpq->ij", second, second),
        "xi": np.outer(trace, trace),
    }


def _traces(gradient, at, size):
    step = 1e-20
    moved = at + 1j * step * size[:, None] * np.eye(len(at))
    return np.einsum("pip->i", gradient(moved)[0].imag) / step
