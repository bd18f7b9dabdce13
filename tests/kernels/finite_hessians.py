"""Hessians of every neuron of finite networks, through the products that pass a layer; without autodiff."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.kernels.finite_propagation import Nonlinearity


class Neurons(NamedTuple):
    """Values of all neurons of a layer, or features, of many networks b at points s, t, u.

    z, g (b, i, s); Θ_ij(s, t) and Υ_ij(s, t) = Tr Hz_i(s) Hz_j(t) as (b, s, t, i, j);
    Q_ijk(s, t, u) = ∇z_j(t)ᵀ Hz_i(s) ∇z_k(u) as (b, s, t, u, i, j, k).
    """

    z: np.ndarray
    g: np.ndarray
    theta: np.ndarray
    upsilon: np.ndarray
    q: np.ndarray


def features(
    x: np.ndarray,
    sigma: Nonlinearity,
    widths: tuple[int, ...],
    networks: int,
    rng: np.random.Generator,
    *,
    sigma_w: float,
    beta: float,
) -> Neurons:
    """The last hidden layer's features at the points x (N, n_0)."""
    now = Neurons(np.broadcast_to(x.T, (networks, x.shape[1], len(x))), *[np.zeros(())] * 4)
    for n in widths:
        now = activated(weighted(now, n, rng, sigma_w=sigma_w, beta=beta), sigma)
    return now


def weighted(f: Neurons, n: int, rng: np.random.Generator, *, sigma_w: float, beta: float) -> Neurons:
    r"""n neurons behind fresh weights: with c = σ_w²/n and standard normal W,

    Υ = c WᵀΥ^αW + 2cδ_ij Σ_a Θ^α_aa
    Q = c^{3/2} [Σ_abc W_ai W_bj W_ck Q^α_abc + δ_ij Σ_ac α_a(t) W_ck Θ^α_ac(s, u) + δ_ik Σ_ab α_a(u) W_bj Θ^α_ab(s, t)]
    """
    networks, size, points = f.z.shape
    c, one = sigma_w**2 / size, np.eye(n)
    w = rng.standard_normal((networks, size, n))
    z = np.sqrt(c) * np.einsum("bai,bas->bis", w, f.z) + beta * rng.standard_normal((networks, n, 1))
    gram = c * np.einsum("bas,bat->bst", f.z, f.z) + beta**2
    theta = np.einsum("bst,ij->bstij", gram, one)
    if f.theta.ndim == 0:
        nothing = np.zeros((networks, *[points] * 3, n, n, n))
        return Neurons(z, np.zeros_like(z), theta, np.zeros_like(theta), nothing)
    back = w.transpose(0, 2, 1)[:, None, None]
    mixed = 2 * c * np.einsum("bstaa->bst", f.theta)
    q = np.einsum("bstuacd,bdk->bstuack", f.q, w, optimize=True)
    q = np.einsum("bstuack,bcj->bstuajk", q, w, optimize=True)
    q = np.einsum("bstuajk,bai->bstuijk", q, w, optimize=True)
    half = np.einsum("bat,bsuac,bck->bstuk", f.z, f.theta, w, optimize=True)
    q = q + np.einsum("bstuk,ij->bstuijk", half, one) + np.einsum("bsutj,ik->bstuijk", half, one)
    return Neurons(
        z=z,
        g=np.sqrt(c) * np.einsum("bai,bas->bis", w, f.g),
        theta=theta + c * back @ f.theta @ w[:, None, None],
        upsilon=c * back @ f.upsilon @ w[:, None, None] + np.einsum("bst,ij->bstij", mixed, one),
        q=c**1.5 * q,
    )


def activated(f: Neurons, sigma: Nonlinearity) -> Neurons:
    r"""Their features, by the chain rule:

    Υ^α_ij = σ̇_iσ̇_j' Υ_ij + σ̇_iσ̈_j' Q_ijj(s, t, t) + σ̈_iσ̇_j' Q_jii(t, s, s) + σ̈_iσ̈_j' Θ_ij²
    Q^α_ijk = σ̇_j(t)σ̇_k(u) [σ̇_i(s) Q_ijk + σ̈_i(s) Θ_ij(s, t) Θ_ik(s, u)]
    """
    alpha, slope, bend = sigma(f.z)
    d, dd = slope.transpose(0, 2, 1), bend.transpose(0, 2, 1)
    left, right = d[:, :, None, :, None], d[:, None, :, None, :]
    bent = dd[:, :, None, :, None] * dd[:, None, :, None, :]
    mixed = np.einsum("bsttijj->bstij", f.q) * left * dd[:, None, :, None, :]
    q = np.einsum("bsi,bstij,bsuik->bstuijk", dd, f.theta, f.theta, optimize=True)
    q = q + f.q * d[:, :, None, None, :, None, None]
    return Neurons(
        z=alpha,
        g=slope * f.g + bend * np.einsum("bssii->bis", f.theta),
        theta=f.theta * left * right,
        upsilon=f.upsilon * left * right + f.theta**2 * bent + mixed + mixed.transpose(0, 2, 1, 4, 3),
        q=q * d[:, None, :, None, None, :, None] * d[:, None, None, :, None, None, :],
    )


def output_means(f: Neurons, *, sigma_w: float, beta: float) -> dict[str, np.ndarray]:
    """Kernels of one output, averaged over its own weights (networks, N, N).

    ``r`` and ``r_crossed`` are E Υ_kl(s, t) f_k(s) f_l(t) and E Υ_kl(s, t) f_k(t) f_l(s) of two outputs k ≠ l.
    """
    c = sigma_w**2 / f.z.shape[1]
    gram = c * np.einsum("bis,bit->bst", f.z, f.z) + beta**2
    theta = c * np.einsum("bstii->bst", f.theta)
    return {
        "sigma": gram,
        "theta": theta + gram,
        "phi": c * np.einsum("bis,bit->bst", f.g, f.z),
        "xi": c * np.einsum("bis,bit->bst", f.g, f.g),
        "upsilon": c * np.einsum("bstii->bst", f.upsilon) + 2 * theta,
        "r": c**2 * np.einsum("bstij,bis,bjt->bst", f.upsilon, f.z, f.z, optimize=True),
        "r_crossed": c**2 * np.einsum("bstij,bit,bjs->bst", f.upsilon, f.z, f.z, optimize=True),
    }


def means_behind_two_layers(
    x: np.ndarray,
    sigma: Nonlinearity,
    n: int,
    neurons: int,
    networks: int,
    rng: np.random.Generator,
    *,
    sigma_w: float,
    beta: float,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Features' kernels averaged over ``neurons`` of the second layer, behind a first one of width n: (first, second).

    The first layer's features do not mix its neurons, so that nothing but sums over n is needed. Υ^α comes in its three parts,
    ``carried``, ``bent`` and ``mixed``, of :func:`activated`.
    """
    z = np.einsum("bai,as->bis", rng.standard_normal((networks, x.shape[1], n)), x.T) * sigma_w / x.shape[1] ** 0.5
    z = z + beta * rng.standard_normal((networks, n, 1))
    gram = sigma_w**2 * x @ x.T / x.shape[1] + beta**2
    alpha, d, dd = sigma(z)
    g = dd * np.diagonal(gram)
    theta, upsilon = (gram**k * np.einsum("bis,bit->bist", one, one) for k, one in ((1, d), (2, dd)))
    q = np.einsum("bis,bit,st->bist", dd, d**2, gram**2)  # Q_iii(s, t, t)
    c = sigma_w**2 / n
    first = {
        "sigma": c * np.einsum("bis,bit->bst", alpha, alpha) + beta**2,
        "theta": c * theta.sum(1),
        "phi": c * np.einsum("bis,bit->bst", g, alpha),
        "upsilon": c * upsilon.sum(1),
        "xi": c * np.einsum("bis,bit->bst", g, g),
    }
    w = rng.standard_normal((networks, n, neurons))

    def behind(power: int, of: np.ndarray) -> np.ndarray:
        flat = of.reshape(networks, n, -1).transpose(0, 2, 1) @ w**power
        return np.moveaxis(flat, 2, 1).reshape(networks, neurons, *of.shape[2:])

    z = c**0.5 * behind(1, alpha) + beta * rng.standard_normal((networks, neurons, 1))
    own_g, own_theta = c**0.5 * behind(1, g), c * behind(2, theta) + first["sigma"][:, None]
    own_upsilon = c * behind(2, upsilon) + 2 * first["theta"][:, None]
    own_q = c**1.5 * (behind(3, q) + 2 * behind(1, np.einsum("bit,bist->bist", alpha, theta)))
    alpha, d, dd = sigma(z)
    g = d * own_g + dd * np.einsum("bass->bas", own_theta)
    mixed = np.einsum("bast,bas,bat->bst", own_q, d, dd) / neurons
    return first, {
        "sigma": np.einsum("bis,bit->bst", alpha, alpha) / neurons,
        "theta": np.einsum("bast,bas,bat->bst", own_theta, d, d) / neurons,
        "phi": np.einsum("bis,bit->bst", g, alpha) / neurons,
        "xi": np.einsum("bis,bit->bst", g, g) / neurons,
        "carried": np.einsum("bast,bas,bat->bst", own_upsilon, d, d) / neurons,
        "bent": np.einsum("bast,bas,bat->bst", own_theta**2, dd, dd) / neurons,
        "mixed": mixed + mixed.transpose(0, 2, 1),
    }
