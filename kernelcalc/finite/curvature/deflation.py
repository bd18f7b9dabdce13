"""The leading eigenvectors of I, and random vectors without their part along these: what probes of the Hessian need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.curvature.hessian import HessianSplit, residual_images, weighted_jacobian
from kernelcalc.finite.curvature.pairs import CurvaturePairs
from kernelcalc.finite.derivatives import hessian_trace, jacobian_gram, parameter_gradient
from kernelcalc.machine import blas_threads

_WHOLE_GRAM = 600  # larger Gram matrices are not diagonalised whole: their leading eigenvectors are sought
# Enough for a gap as of the NTK of digits (measured: the probes' standard error is that of exact eigenvectors).
_SUBSPACE_ITERATIONS = 4
# Inner products of rows so near to those of orthonormal ones need no QR, only their Cholesky factor.
_NEARLY = 1e-3


def gauss_newton_gram(split: HessianSplit) -> AnyArray:
    """𝓗C^{½} Θ 𝓗C^{½} with row index (r, s): its nonzero spectrum is that of I. Of networks side by side one each."""
    if not split.run.factored:
        rows = weighted_jacobian(split)
        return rows @ rows.T
    run, (n, _, rank) = split.run, split.root.shape[-3:]
    size = n * rank
    with blas_threads(size**2 * max(run.net.sizes)):
        blocks = jacobian_gram(run, split.root_cotangents)
    return blocks.reshape(*blocks.shape[:-4], size, size)


def _leading(gram: AnyArray, count: int, kmax: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Leading Ritz pairs (μ, u) of the Gram matrix T and Σ uᵀT^{k+1}u/μ for k = 3..kmax, the trace of I^k on their span in ℝ^P.

    Small matrices are diagonalised. For large ones a few subspace iterations do: any span keeps the estimate unbiased.
    """
    count = min(count, len(gram))
    matrix = gram.astype(np.float64, copy=False)
    orders = np.arange(3, kmax + 1)
    if len(gram) <= _WHOLE_GRAM or 3 * count > len(gram):
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        keep = values > np.max(values, initial=0.0) * len(gram) * np.finfo(gram.dtype).eps
        values, vectors = values[keep], vectors[:, keep]
        return values, vectors, (values[None, :] ** orders[:, None]).sum(axis=1)
    basis = np.random.default_rng(0).standard_normal((len(gram), min(count + 8, len(gram))))
    for _ in range(_SUBSPACE_ITERATIONS):
        basis = np.linalg.qr(matrix @ basis)[0]
    values, rotation = np.linalg.eigh(basis.T @ (matrix @ basis))
    # uᵀT^{k+1}u/μ loses digits as μ_1/μ grows; directions below 1e-6 of the top need no deflation
    keep = np.flatnonzero(values > 1e-6 * np.max(values, initial=0.0))[::-1][:count]
    values, vectors = values[keep], basis @ rotation[:, keep]
    powers = [vectors]
    while 2 * (len(powers) - 1) < kmax + 1:
        powers.append(matrix @ powers[-1])
    known = [(powers[(k + 1) // 2] * powers[k + 1 - (k + 1) // 2]).sum(axis=0) / values for k in orders]
    return values, vectors, np.array([one.sum() for one in known])


def pull_back(split: HessianSplit, vectors: AnyArray) -> AnyArray:
    """Rows 𝓗C^{½} DYᵀ u for the columns u of ``vectors`` (row index (r, s)): (m, P)."""
    if not split.run.factored:
        return vectors.T @ weighted_jacobian(split)
    run, zeta = split.run, split.root_cotangents
    # points first: one small matrix product for each
    weight = vectors.T.reshape(-1, *zeta[-1].shape[:2]).transpose(2, 0, 1).astype(run.outputs.dtype)
    summed = [np.matmul(weight, z.swapaxes(0, 1)) for z in zeta]
    result = np.empty((weight.shape[1], run.net.n_parameters), dtype=run.outputs.dtype)
    for m, row in enumerate(result):
        row[:] = parameter_gradient(run, [one[:, m] for one in summed])
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Deflated:
    """Leading eigenvectors of I, computed when asked for."""

    split: HessianSplit
    gram: AnyArray
    count: int
    kmax: int

    @cached_property
    def leading(self) -> tuple[AnyArray, AnyArray, AnyArray]:
        return _leading(self.gram, self.count, self.kmax)

    @cached_property
    def q(self) -> AnyArray:
        """Orthonormal rows (m, P)."""
        values, vectors, _ = self.leading
        q = pull_back(self.split, vectors / np.sqrt(values)).astype(self.split.run.outputs.dtype, copy=False)
        if not len(q):
            return q
        # Orthonormal up to the rounding of the Gram matrix, over the eigenvalue: then a Cholesky factor makes it so to
        # working precision, in one pass over the rows.
        inner = (q @ q.T).astype(np.float64)
        if np.abs(inner - np.eye(len(q))).max() < _NEARLY:
            return np.linalg.inv(np.linalg.cholesky(inner)).astype(q.dtype) @ q
        return np.ascontiguousarray(np.linalg.qr(q.T)[0].T)


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Vectors (m, P) with their products with S and I, and with 𝓗C^{½} DY, (m, N r) in the order of the Gram matrix of I."""

    rows: AnyArray
    s: AnyArray
    i: AnyArray
    roots: AnyArray

    @classmethod
    def of(cls, split: HessianSplit, rows: AnyArray) -> Images:
        if not split.run.factored:
            s, i = split.images(rows)
            return cls(rows=rows, s=s, i=i, roots=rows @ weighted_jacobian(split).T)
        s, outputs = residual_images(split, rows)
        points, _, rank = split.root.shape
        roots = (outputs[:, :, None, :] @ split.root)[:, :, 0].swapaxes(1, 2).reshape(-1, rank * points)
        return cls(rows=rows, s=s, i=pull_back(split, roots.T), roots=roots)

    def forms(self) -> AnyArray:
        """v·S²v and v·S I v of every vector, (m, 2)."""
        return np.stack([np.einsum("vp,vp->v", self.s, one, dtype=np.float64) for one in (self.s, self.i)], axis=1)


def probed_pairs(
    split: HessianSplit, q: AnyArray, probes: int, rng: np.random.Generator
) -> tuple[CurvaturePairs, tuple[Images, Images]]:
    """Tr S exactly; Tr S² and Tr I S on the leading eigenvectors of I exactly, on their complement by random signs.

    Also returns what the vectors of both became.
    """
    known, sampled = (Images.of(split, rows) for rows in (q, _complementary(q, probes, rng)))
    batches = sampled.forms()
    total = known.forms().sum(axis=0) + batches.mean(axis=0)
    trace = np.array([np.vdot(split.residual, hessian_trace(split.run.net, split.run.a[0]))])
    return CurvaturePairs(s=trace, s_s=total[0], s_i=total[1], batches=batches), (known, sampled)


def sampled_traces(
    deflated: Deflated, trace_i: AnyArray, probes: int, rng: np.random.Generator, images: tuple[Images, ...]
) -> tuple[AnyArray, AnyArray]:
    """Tr H^k for k = 3..kmax and the standard errors; ``images`` of Q and of enough vectors serve again."""
    kmax, split, q = len(trace_i), deflated.split, deflated.q
    known_i = deflated.leading[2]
    if images and len(images[1].rows) >= probes:
        on_q, on_v = images
        first_q = on_q.s + on_q.i
    else:
        on_v = Images.of(split, _complementary(q, probes, rng))
        first_q = split.product(q, "h")
    v, first_v = on_v.rows[:probes], on_v.s[:probes] + on_v.i[:probes]
    exact = _quadratic_moments(split, [q, first_q], kmax).sum(axis=1)
    difference = _quadratic_moments(split, [v, first_v], kmax) - _gauss_newton_moments(
        deflated.gram, on_v.roots[:probes], kmax
    )
    mean = exact + (trace_i[2:] - known_i) + difference.mean(axis=1)
    return mean, difference.std(axis=1, ddof=1) / np.sqrt(probes)


def _complementary(q: AnyArray, probes: int, rng: np.random.Generator) -> AnyArray:
    """Random signs without their part along the rows of Q, (probes, P)."""
    v = random_signs(rng, (probes, q.shape[1]), q.dtype)
    v -= (v @ q.T) @ q
    return v


def random_signs(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> AnyArray:
    """Independent ±1: the draws of ``rng.choice``, in a quarter of its time."""
    signs = rng.integers(0, 2, size=shape).astype(dtype)
    signs *= 2
    signs -= 1
    return signs


def _quadratic_moments(split: HessianSplit, powers: list[AnyArray], kmax: int) -> AnyArray:
    """vᵀ H^k v for k = 3..kmax and every row v, (kmax − 2, m); ``powers`` begins with v and H v."""
    while 2 * (len(powers) - 1) < kmax:
        powers.append(split.product(powers[-1], "h"))
    return np.array(
        [np.einsum("vp,vp->v", powers[k // 2], powers[k - k // 2], dtype=np.float64) for k in range(3, kmax + 1)]
    )


def _gauss_newton_moments(gram: AnyArray, roots: AnyArray, kmax: int) -> AnyArray:
    """vᵀ I^k v = uᵀ T^{k−1} u for k = 3..kmax from u = 𝓗C^{½} DY v, the rows of ``roots``, and the Gram matrix T."""
    powers = [roots]
    while 2 * (len(powers) - 1) < kmax - 1:
        powers.append(powers[-1] @ gram)
    return np.array(
        [np.einsum("vn,vn->v", powers[(k - 1) // 2], powers[k // 2], dtype=np.float64) for k in range(3, kmax + 1)]
    )
