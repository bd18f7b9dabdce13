r"""Largest eigenvalue and condition number of I in the limit, without its whole spectrum.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, eigsh

from kernelcalc.arrays import EPS
from kernelcalc.training.losses import curvature_sqrt
from kernelcalc.training.weighted import symmetric_weighted_kernel

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Up to this many outputs a dense eigensolver is as fast as Lanczos and gives the whole spectrum.
_DENSE_OUTPUTS = 600


def top_eigenvalue(theta: Array, hessian: Array) -> float:
    """λ_max of 𝓗C^½ Θ 𝓗C^½; ``hessian`` as :meth:`kernelcalc.training.losses.Loss.hessian` gives it for (N, n_out) outputs.

    Examples
    --------
    >>> top_eigenvalue(np.diag([1.0, 3.0]), np.array([[0.5], [0.25]]))
    0.75
    """
    root, has_blocks = _root(hessian)
    if not has_blocks or root[..., 0].size <= _DENSE_OUTPUTS:
        return float(max(values[-1] for values in _dense(theta, root, has_blocks)))
    return _lanczos(root, lambda inner: theta @ inner)


def condition_number(theta: Array, hessian: Array) -> float:
    """λ_max/λ_min of the nonzero spectrum of I, that of 𝓗C^½ Θ 𝓗C^½; infinite when λ_min is zero to rounding.

    The zeros that softmax leaves whatever Θ is, one for each point, do not count.

    Examples
    --------
    >>> round(condition_number(np.diag([1.0, 3.0]), np.array([[0.5], [0.25]])), 12)
    1.5
    """
    root, has_blocks = _root(hessian)
    if not has_blocks or root[..., 0].size <= _DENSE_OUTPUTS:
        spectra = _dense(theta, root, has_blocks)
        top, least = max(values[-1] for values in spectra), min(values[0] for values in spectra)
    else:
        try:
            factor, inverse = cho_factor(theta), np.asarray(np.linalg.inv(root), dtype=np.float64)
        except np.linalg.LinAlgError:
            return math.inf
        top = _lanczos(root, lambda inner: theta @ inner)
        least = 1 / _lanczos(inverse, lambda inner: cho_solve(factor, inner))
    return float(top / least) if least > root[..., 0].size * EPS * top else math.inf


def _root(hessian: Array) -> tuple[Array, bool]:
    """𝓗C^½ and whether it consists of blocks; softmax blocks on the complement of (1, ..., 1), which they annihilate."""
    has_blocks = hessian.ndim == 3
    if has_blocks and np.abs(hessian.sum(axis=-1)).max() <= 1e-12 * np.abs(hessian).max():
        n_out = hessian.shape[-1]
        basis = np.linalg.svd(np.eye(n_out) - 1 / n_out)[0][:, : n_out - 1]
        hessian = basis.T @ hessian @ basis
    return curvature_sqrt(hessian, has_blocks), has_blocks


def _dense(theta: Array, root: Array, has_blocks: bool) -> list[Array]:
    if has_blocks:
        matrices = [symmetric_weighted_kernel(theta, root, has_blocks=True)]
    else:
        matrices = [column[:, None] * theta * column for column in root.T]
    return [np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64) for matrix in matrices]


def _lanczos(root: Array, apply: Callable[[Array], Array]) -> float:
    """Largest eigenvalue of R A R with blocks R and A given by its product with (N, n_out) arrays."""
    n, n_out = root.shape[:2]

    def product(v: Array) -> Array:
        inner = np.einsum("iab,ib->ia", root, v.reshape(n, n_out))
        return np.asarray(np.einsum("iab,ib->ia", root, apply(inner))).ravel()

    operator = LinearOperator((n * n_out, n * n_out), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n * n_out)
    return float(eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
