r"""Exact Tr S, Tr S² and Tr I S through pre-activation Hessians: no P × P matrix, no sampling, any depth.

Derivation. Fix residuals R_s = ∂C/∂f(x_s) and let F_s = R_s·f(x_s), so that S = Σ_s S_s with S_s the Hessian of
F_s. Perturb the pre-activations by injections: z^ℓ → z^ℓ + δ^ℓ. With d = σ̇(z), η^ℓ = ∂F/∂z^ℓ, λ^ℓ = σ̈(z^ℓ) ∘
∂F/∂α^ℓ and J^{kℓ} = ∂z^k/∂z^ℓ (J^{ℓℓ} = Id, J^{k+1,ℓ} = c_k W^{kT} D^k J^{kℓ}), the Hessian of F in the injections is

.. math:: M^{ℓm} = Σ_{k ≥ \max(ℓ,m)}^{L-1} J^{kℓ\,T} diag(λ^k) J^{km}, \qquad M^{ℓL} = 0.

A change dW of layer p injects δ^{p+1} = c_p dWᵀ α^p (a bias: β db), so every block of S_s is an outer product with
the extended activation ã^p = (c_p α^p, β). A pair p < q also moves α^q under dW^q: with A^q = c_q D^q J^{q,p+1}
(and a zero row for the bias)

.. math::
    S_s[W^p_{ij}, W^q_{kl}] = ã^p_i \left( ã^q_k M^{p+1,q+1}_{jl} + [p < q] A^q_{kj} η^{q+1}_l \right).

Inner products of such blocks between two points s, t contract the activations into K^p_st = ã^p_s·ã^p_t. With ℓ =
p + 1 and m = q + 1 the block (p, q) contributes to ⟨S_s, S_t⟩

.. math::
    K^p_{st} \left[ K^q_{st} ⟨M_s^{ℓm}, M_t^{ℓm}⟩ + χ_{st} + χ_{ts} + ⟨η^m_s, η^m_t⟩ ⟨A_s, A_t⟩ \right], \qquad
    χ_{st} = (A_t^T ã^q_s) · (M_s^{ℓm} η^m_t),

twice if p < q; Tr S² = Σ_st ⟨S_s, S_t⟩. The Gauss–Newton matrix is Σ_u of blocks ã^p ã^{qT} ⊗ C_u^{ℓm} with
C_u^{ℓm} = Σ_r ζ̃^ℓ_r ζ̃_r^{mT}, so ⟨S_s, I_u⟩ has the terms K^p K^q ⟨M_s, C_u⟩ and K^p (A_sᵀ ã^q_u)·(C_u^{ℓm}
η^m_s). The diagonal of S gives Tr S_s = Σ_ℓ K^{ℓ-1}_ss Tr M_s^{ℓℓ} (cheaper by
:func:`~kernelcalc.finite.derivatives.unit_ntk_diagonals`).

Columns of M and J are made a block of units j at a time for all points together, by one forward and one backward sweep:
memory O(N · block · n), time O(N n³ + N² n²) for each pair of hidden layers. Networks side by side give every array their
axis in front.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Propositions 3 to 5 (the limits of these traces).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arguments import random_generator
from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.curvature.hessian import HessianSplit
from kernelcalc.finite.derivatives import Problem, forward, through, unit_ntk_diagonals
from kernelcalc.finite.parameters import Parameters
from kernelcalc.machine import blas_threads

# Numbers in one (N, block, n) array: 16 MiB of float64, below the size from which malloc returns pages at once
# (measured: larger blocks spend as long on page faults as on arithmetic).
_BLOCK = 2**21
# Blocks that a layer is cut into at least, of no fewer units than that: (1 − 1/4)/2 of the symmetric M^{ℓℓ} is left out
# (measured, 5 points: 5.1 ms instead of 7.0 ms at width 256, no loss at width 64).
_LEAST_BLOCKS, _FEW_UNITS = 4, 32
# Independent batches that the probes are divided into, from which the standard error comes.
_BATCHES = 8
# Up to this rank of 𝓗C at a point, I S is taken along the rows of the Jacobian.
_FEW_ROWS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class CurvaturePairs:
    """Traces point by point: ``s[s]`` = Tr S_s, ``s_s[s, t]`` = Tr S_s S_t, ``s_i[s, u]`` = Tr S_s I_u."""

    s: AnyArray
    s_s: AnyArray
    s_i: AnyArray
    # one row a batch of probes: its part of (Σ s_s, Σ s_i); no rows if all is exact
    batches: AnyArray

    def weighted(self, residual: AnyArray) -> CurvaturePairs:
        """Those of residuals (N,) from those of residuals 1: S_s is R_s times the Hessian of f(x_s)."""
        rows = residual[..., None]
        both = rows * residual[..., None, :]
        return CurvaturePairs(s=residual * self.s, s_s=both * self.s_s, s_i=rows * self.s_i, batches=self.batches)

    def each(self) -> list[CurvaturePairs]:
        """Those of several networks one by one."""
        parts = zip(self.s, self.s_s, self.s_i, strict=True)
        return [CurvaturePairs(s=s, s_s=s_s, s_i=s_i, batches=self.batches) for s, s_s, s_i in parts]


def unit_pairs(net: Parameters, problem: Problem) -> CurvaturePairs:
    """Of a fully connected network with one output and ∂C/∂f = 1 at every point: ``s`` is g, ``s_s`` is Υ.

    In float32 where all is of a moderate size: the products of matrices leave relative errors of some √(n + N²) · 6e-8, far
    below how networks differ.
    """
    found = _unit_pairs(net, problem, np.float32) if problem.is_moderate(net) else None
    if found is None or not np.isfinite(found.s_s).all():
        found = _unit_pairs(net, problem, net.dtype)
    return found


def _unit_pairs(net: Parameters, problem: Problem, dtype: Any) -> CurvaturePairs:
    parts = ([part.astype(dtype, copy=False) for part in parts] for parts in (net.weights, net.biases))
    with np.errstate(over="ignore", invalid="ignore"):
        run = forward(net.holding(*parts), problem.x.astype(dtype, copy=False))
        root = problem.hessian_root(run.outputs)
        found = curvature_pairs(HessianSplit(run=run, residual=np.ones_like(run.outputs), root=root))
    s, s_s, s_i = (v.astype(net.dtype) for v in (found.s, found.s_s, found.s_i))
    return CurvaturePairs(s=s, s_s=s_s, s_i=s_i, batches=found.batches)


def curvature_pairs(
    split: HessianSplit, block: int | None = None, *, unit_probes: int = 0, rng: Any = 0
) -> CurvaturePairs:
    """All pairs' traces.

    Parameters
    ----------
    split : HessianSplit
        The network at its points.
    block : int, optional
        Number of units handled together; by default from a memory bound.
    unit_probes : int
        0 is exact. Otherwise this number, rounded up to a multiple of 8, of random sign vectors over a layer's units
        replaces the sum over units in the diagonal blocks M^{ℓℓ}, whose time O(N n³) is the largest for two wide hidden
        layers; all else stays exact (with up to two outputs also ``s_i``).
    rng : seed or numpy.random.Generator
        For these vectors.
    """
    net, n = split.run.net, split.run.outputs.shape[-2]
    widest = max(net.sizes[1:])
    # a block of _times with the square weights of a layer, or the Gram matrix of such blocks
    with blas_threads(min(_BLOCK, n * widest**2) * max(n, widest)):
        return _curvature_pairs(split, block, unit_probes, rng)


def _curvature_pairs(split: HessianSplit, block: int | None, unit_probes: int, rng: Any) -> CurvaturePairs:
    run, net = split.run, split.run.net
    eta, e = split.cotangents
    kernels = run.layer_kernels()
    *networks, n, _ = run.outputs.shape
    dtype = run.outputs.dtype
    lam = [run.outputs] + [run.dd[layer] * e[layer] for layer in range(1, net.depth)]
    zeta = [np.ascontiguousarray(np.moveaxis(z, 0, -2)) for z in split.root_cotangents]  # (N, r, n_ℓ)
    # by rows of the Jacobian 2 N² n² operations a row and layer, by blocks about 5 N² n² for all rows
    by_rows = zeta[-1].shape[-2] <= _FEW_ROWS
    s_s = np.zeros((*networks, n, n), dtype=dtype)
    s_i = _along_rows(split, lam, kernels) if by_rows else np.zeros_like(s_s)
    # E^m[u, r, s] = ζ̃^m_r(u)·η^m(s)
    eta_zeta = [] if by_rows else [through(zeta[m], _turned(eta[m])) for m in range(net.depth + 1)]
    generator, batches = random_generator(rng), np.zeros((_BATCHES if unit_probes else 0, 2))
    for layer in range(1, net.depth):
        k_row = kernels[layer - 1]
        c2 = net.scales[layer] ** 2
        d = run.d[layer]
        # q = ℓ: A = c D is diagonal, no block needed
        s_s += 2 * k_row * _gram(eta[layer + 1], eta[layer + 1]) * (c2 * _gram(d, d))
        for r in range(0 if by_rows else zeta[layer].shape[-2]):
            moved = c2 * ((run.a[layer] * zeta[layer][..., r, :]) @ _turned(d))
            s_i += 2 * k_row * _turned(moved * eta_zeta[layer + 1][..., r, :])
        if layer == net.depth - 1:
            # M^{L-1,L-1} = diag λ
            s_s += k_row**2 * _gram(lam[layer], lam[layer])
            if not by_rows:
                s_i += k_row**2 * _gram(lam[layer], np.einsum("...uri,...uri->...ui", zeta[layer], zeta[layer]))
            continue
        size = block or _block_size(net.sizes[layer], s_s.size // n * max(net.sizes[1:]))
        few = by_rows and layer == net.depth - 2 and s_s.size * max(net.sizes[layer : layer + 2]) <= _BLOCK
        if few:
            _add_last(split, layer, lam, kernels, s_s)
        for rows in _row_blocks(net.sizes[layer], size):
            if few:
                m_next = lam[layer + 1][..., None, :] * _columns(split, layer, rows)
            else:
                m_next = _add_block(split, layer, rows, lam, zeta, eta_zeta, kernels, s_s, s_i)
            if not unit_probes:
                _add_square(split, layer, rows, m_next, lam, [] if by_rows else zeta, k_row, s_s, s_i)
        for i in range(len(batches)):
            signs = generator.choice(
                np.array([-1.0, 1.0], dtype=dtype), size=(-(-unit_probes // _BATCHES), d.shape[-1])
            )
            part_s, part_i = _probed_square(split, layer, signs, lam, [] if by_rows else zeta)
            part_s, part_i = k_row**2 * part_s, k_row**2 * part_i
            s_s += part_s / _BATCHES
            s_i += part_i / _BATCHES
            batches[i] += part_s.sum(), part_i.sum()
    diagonals = unit_ntk_diagonals(run)
    trace = np.zeros((*networks, n), dtype=dtype)
    for layer in range(1, net.depth):
        trace += np.einsum("...si,...si->...s", lam[layer], diagonals[layer])
    return CurvaturePairs(s=trace, s_s=0.5 * (s_s + _turned(s_s)), s_i=s_i, batches=batches)


def _block_size(units: int, numbers: int) -> int:
    """Units handled together, each of which makes that many numbers."""
    return max(1, min(_BLOCK // numbers, max(_FEW_UNITS, -(-units // _LEAST_BLOCKS))))


def _row_blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _turned(a: AnyArray) -> AnyArray:
    return a.swapaxes(-1, -2)


def _gram(a: AnyArray, b: AnyArray) -> AnyArray:
    """⟨a_s, b_t⟩ over the last axis."""
    return np.asarray(a @ _turned(b))


def _block_gram(a: AnyArray, b: AnyArray) -> AnyArray:
    """⟨a_s, b_t⟩ over the last two axes."""
    return _gram(a.reshape(*a.shape[:-2], -1), b.reshape(*b.shape[:-2], -1))


def _along_rows(split: HessianSplit, lam: list[AnyArray], kernels: list[AnyArray]) -> AnyArray:
    r"""⟨S_s, I_u⟩ as Σ_r gᵀ S_s g over the rows g = (ã^p_u ⊗ ζ̃_r^{p+1}(u))_p of 𝓗C^{½} DY.

    A step along g moves z^{ℓ+1}(s) by K^ℓ_su ζ̃^{ℓ+1} + c_ℓ W^{ℓT} D^ℓ ∂z^ℓ, and the second derivative of F_s is

    .. math:: Σ_ℓ λ^ℓ_s·(∂z^ℓ)^2 + 2 Σ_ℓ c_ℓ^2 (D^ℓ ∂z^ℓ · α^ℓ_u)(η^{ℓ+1}_s · ζ̃^{ℓ+1}).
    """
    run, net = split.run, split.run.net
    eta, _ = split.cotangents
    *networks, n, _ = run.outputs.shape
    total = np.zeros((*networks, n, n), dtype=run.outputs.dtype)
    size = max(1, _BLOCK // (total.size // n * max(net.sizes[1:])))
    for row in zip(*split.root_cotangents, strict=True):
        for points in _row_blocks(n, size):
            own = [one[..., None, points, :] for one in row]
            moved = kernels[0][..., points, None] * own[1]
            for layer in range(1, net.depth):
                total[..., points] += np.einsum("...si,...sui,...sui->...su", lam[layer], moved, moved)
                moved *= run.d[layer][..., None, :]
                felt = _gram(eta[layer + 1], row[layer + 1][..., points, :])
                turned = np.einsum("...sui,...ui->...su", moved, run.a[layer][..., points, :])
                total[..., points] += 2 * net.scales[layer] ** 2 * felt * turned
                if layer < net.depth - 1:
                    moved = through(moved, net.scales[layer] * net.weights[layer])
                    moved += kernels[layer][..., points, None] * own[layer + 1]
    return total


def _columns(split: HessianSplit, layer: int, rows: slice) -> AnyArray:
    """Columns J^{ℓ+1,ℓ}[:, rows] of all points, (N, units of the block, n_{ℓ+1})."""
    run, net = split.run, split.run.net
    return (net.scales[layer] * run.d[layer])[..., rows, None] * net.weights[layer][..., None, rows, :]


def _add_last(split: HessianSplit, layer: int, lam: list[AnyArray], kernels: list[AnyArray], s_s: AnyArray) -> None:
    """Add the terms (ℓ, m > ℓ) of hidden layer ℓ = L − 2 as forms in W and W∘W: J^{ℓ+1,ℓ} = c Wᵀ D alone stands between."""
    run, net = split.run, split.run.net
    eta, c, d, k_row = split.cotangents[0], net.scales[layer], run.d[layer], kernels[layer - 1]
    pairs = d[..., :, None, :] * d[..., None, :, :]
    squares = c * c * _turned(net.weights[layer] ** 2)
    above = net.scales[layer + 1] * run.d[layer + 1]
    for weights, kernel in ((lam[layer + 1], kernels[layer]), (above, _gram(eta[layer + 2], eta[layer + 2]))):
        spread = through(weights[..., :, None, :] * weights[..., None, :, :], squares)
        s_s += 2 * k_row * kernel * np.einsum("...sti,...sti->...st", pairs, spread)
    # [s, t, i]: M^{ℓ+1,ℓ}_s η_t
    felt = through(lam[layer + 1][..., :, None, :] * eta[layer + 1][..., None, :, :], c * _turned(net.weights[layer]))
    cross = k_row * c * c * np.einsum("...sti,...sti,...si->...st", pairs, felt, run.a[layer])
    s_s += 2 * (cross + _turned(cross))


def _add_block(
    split: HessianSplit,
    layer: int,
    rows: slice,
    lam: list[AnyArray],
    zeta: list[AnyArray],
    eta_zeta: list[AnyArray],
    kernels: list[AnyArray],
    s_s: AnyArray,
    s_i: AnyArray,
) -> AnyArray:
    """Add the terms (ℓ, m > ℓ) of some units of hidden layer ℓ < L − 1; arrays (point, unit of the block, unit).

    ``s_i`` is left alone if there is no ``eta_zeta``. Returns the columns M^{ℓ+1,ℓ}[:, rows] for the term m = ℓ.
    """
    run, net = split.run, split.run.net
    last = net.depth - 1
    eta, _ = split.cotangents
    k_row = kernels[layer - 1]
    jac, m_col = _sweep(split, layer, _columns(split, layer, rows), lam)
    zeta_rows = zeta[layer][..., rows]  # [u, r, j]
    for m in range(layer + 1, net.depth + 1):
        q, push = m - 1, None
        if q > layer:
            # second term of the block (ℓ − 1, q), A^q: its square, and X[u, s, j] = Σ_k ã^q_u[k] A_s[k, j]
            moved = (net.scales[q] * run.d[q])[..., None, :] * jac[q]
            s_s += 2 * k_row * _gram(eta[m], eta[m]) * _block_gram(moved, moved)
            if eta_zeta or m <= last:
                units = moved.reshape(*moved.shape[:-3], -1, moved.shape[-1])
                push = _gram(net.scales[q] * run.a[q], units)
                push = push.reshape(*moved.shape[:-2], *moved.shape[-3:-1])
            if eta_zeta and push is not None:
                # Σ_j X[u, s, j] (C_u η_s)[j]
                felt_i = _turned(eta_zeta[m]) @ zeta_rows
                s_i += 2 * k_row * np.einsum("...usj,...usj->...su", push, felt_i)
        if m > last:
            continue
        column = m_col[m]
        s_s += 2 * k_row * kernels[q] * _block_gram(column, column)
        if eta_zeta:
            s_i += 2 * k_row * kernels[q] * _block_gram(column, _turned(zeta_rows) @ zeta[m])
        felt = through(column, _turned(eta[m]))  # [s, j, t]
        if push is None:
            # A^ℓ = c D is diagonal
            felt *= run.a[layer][..., rows, None]
            chi = np.einsum("...sjt,...tj->...st", felt, net.scales[layer] ** 2 * run.d[layer][..., rows])
        else:
            chi = np.einsum("...stj,...sjt->...st", push, felt)
        cross = k_row * chi
        s_s += 2 * (cross + _turned(cross))
    return m_col[layer + 1]


def _sweep(
    split: HessianSplit, layer: int, first: AnyArray, lam: list[AnyArray]
) -> tuple[dict[int, AnyArray], dict[int, AnyArray]]:
    """Columns J^{kℓ} v and M^{mℓ} v, k, m > ℓ, from ``first`` = J^{ℓ+1,ℓ} v: forward, then from the last layer down."""
    run, net = split.run, split.run.net
    last = net.depth - 1
    jac = {layer + 1: first}
    for k in range(layer + 1, last):
        jac[k + 1] = through(jac[k] * run.d[k][..., None, :], net.scales[k] * net.weights[k])
    m_col = {last: lam[last][..., None, :] * jac[last]}
    for m in range(last - 1, layer, -1):
        m_col[m] = through(m_col[m + 1], net.scales[m] * _turned(net.weights[m]))
        m_col[m] *= run.d[m][..., None, :]
        m_col[m] += lam[m][..., None, :] * jac[m]
    return jac, m_col


def _add_square(
    split: HessianSplit,
    layer: int,
    rows: slice,
    m_next: AnyArray,
    lam: list[AnyArray],
    zeta: list[AnyArray],
    k_row: AnyArray,
    s_s: AnyArray,
    s_i: AnyArray,
) -> None:
    """Add the term m = ℓ: of the symmetric M^{ℓℓ} columns from rows.start on, those right of the block twice."""
    run, net = split.run, split.run.net
    right = slice(rows.start, None)
    square = through(m_next, _turned(net.weights[layer][..., right, :]))
    square *= (net.scales[layer] * run.d[layer])[..., None, right]
    width = rows.stop - rows.start
    index = np.arange(width)
    square[..., index, index] += lam[layer][..., rows]
    corner = np.ascontiguousarray(square[..., :width])
    weight = k_row**2
    s_s += weight * (2 * _block_gram(square, square) - _block_gram(corner, corner))
    if zeta:
        both = _turned(zeta[layer][..., rows]) @ zeta[layer][..., right]
        s_i += weight * (2 * _block_gram(square, both) - _block_gram(corner, both[..., :width]))


def _probed_square(
    split: HessianSplit, layer: int, signs: AnyArray, lam: list[AnyArray], zeta: list[AnyArray]
) -> tuple[AnyArray, AnyArray]:
    """⟨M_s^{ℓℓ}, M_t^{ℓℓ}⟩ and ⟨M_s^{ℓℓ}, C_u^{ℓℓ}⟩ as means of (M_s v)·(M_t v) and (M_s v)·(C_u v) over sign vectors v."""
    run, net = split.run, split.run.net
    n, size = len(run.outputs), max(1, _BLOCK // (len(run.outputs) * max(net.sizes[1:])))
    total_s, total_i = np.zeros((n, n), dtype=signs.dtype), np.zeros((n, n), dtype=signs.dtype)
    for rows in _row_blocks(len(signs), size):
        v = signs[rows]
        first = through(run.d[layer][:, None, :] * v, net.scales[layer] * net.weights[layer])
        _, m_col = _sweep(split, layer, first, lam)
        back = through(m_col[layer + 1], net.scales[layer] * net.weights[layer].T)
        felt = lam[layer][:, None, :] * v + run.d[layer][:, None, :] * back
        total_s += _block_gram(felt, felt)
        if zeta:
            total_i += _block_gram(felt, (v @ zeta[layer].swapaxes(1, 2)) @ zeta[layer])
    return total_s / len(signs), total_i / len(signs)
