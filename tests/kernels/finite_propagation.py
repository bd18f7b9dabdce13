"""Networks of finite width: value, tangent kernel and Laplacian of every neuron, layer by layer, without autodiff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# σ, σ̇ and σ̈ of an array.
Nonlinearity = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def propagate(
    x: np.ndarray,
    sigma: Nonlinearity,
    widths: tuple[int, ...],
    n_out: int,
    networks: int,
    rng: np.random.Generator,
    *,
    sigma_w: float,
    beta: float,
) -> dict[str, Any]:
    r"""Kernels of many networks at the points x (N, n_0).

    With z the pre-activations of a layer, Θ_ij(x, x') = ∇z_i(x)·∇z_j(x') and g_i(x) = Tr Hz_i(x):

    α = σ(z),  Θ^α_ij = σ̇_i σ̇_j' Θ_ij,  g^α_i = σ̇_i g_i + σ̈_i Θ_ii(x, x);
    z = (σ_w/√n) Wᵀα + βb,  Θ_kl = σ_w²/n (WᵀΘ^αW)_kl + δ_kl (σ_w²/n α·α' + β²),  g = (σ_w/√n) Wᵀg^α.

    Returns
    -------
    dict
        ``sigma``, ``phi``, ``xi``, ``theta_mean`` (networks, N, N): E f f', E g f', E g g' and E Θ̂_ii over the last layer;
        ``theta`` (networks, N, N, n_out, n_out), ``z`` (networks, n_out, N): the outputs.
    """
    c = sigma_w**2
    points = len(x)
    alpha = np.broadcast_to(x.T, (networks, x.shape[1], points))
    theta, g = None, None
    sizes = (*widths, n_out)
    for layer, size in enumerate(sizes):
        n = alpha.shape[1]
        w = rng.standard_normal((networks, n, size)) * (sigma_w / np.sqrt(n))
        gram = c / n * np.einsum("bis,bit->bst", alpha, alpha) + beta**2
        own = np.einsum("bst,ij->bstij", gram, np.eye(size))
        if theta is None:
            theta_after, g_after = own, np.zeros((networks, size, points))
        else:
            theta_after = w.transpose(0, 2, 1)[:, None, None] @ theta @ w[:, None, None] + own
            g_after = w.transpose(0, 2, 1) @ g
        b = rng.standard_normal((networks, size, 1))
        z = w.transpose(0, 2, 1) @ alpha + beta * b
        if layer == len(sizes) - 1:
            found = {"sigma": gram, "theta": theta_after, "z": z, "phi": 0.0}
            if theta is not None:
                found["phi"] = c / n * np.einsum("bis,bit->bst", g, alpha)
                found["xi"] = c / n * np.einsum("bis,bit->bst", g, g)
                found["theta_mean"] = c / n * np.einsum("bstii->bst", theta) + gram
            return found
        alpha, slope, bend = sigma(z)
        own_diagonal = np.einsum("bssii->bis", theta_after)
        g = slope * g_after + bend * own_diagonal
        theta = (
            theta_after * slope.transpose(0, 2, 1)[:, :, None, :, None] * slope.transpose(0, 2, 1)[:, None, :, None, :]
        )
    raise AssertionError("no output layer")


def tanh(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    t = np.tanh(z)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def sine(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.sin(z), np.cos(z), -np.sin(z)


def softplus(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s = 1 / (1 + np.exp(-z))
    return np.logaddexp(0, z), s, s * (1 - s)
