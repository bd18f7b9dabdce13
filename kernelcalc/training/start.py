"""The Gaussian start: (Y(0), G(0)) of an infinitely wide network, its covariance, draws of it.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, random_generator
from kernelcalc.errors import CovarianceError
from kernelcalc.training.checks import gram

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Entries of the kernels are right to 1e-10 of their scale; ten times the eigenvalue shift this allows.
_INDEFINITE = 1e-9


def initial_draws(kernels: Any, n_out: int, samples: int, rng: Any = 0) -> tuple[Array, Array]:
    """Draws of (Y(0), G(0)), each (samples, N, n_out): per output centred Gaussian, covariance [[Σ, Φᵀ], [Φ, Ξ]].

    Raises
    ------
    CovarianceError
        That matrix is indefinite beyond rounding.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1.
    """
    check_count("samples", samples, 2)
    factor = covariance_root(initial_covariance(kernels))
    noise = random_generator(rng).standard_normal((samples, factor.shape[1], n_out))
    both = along_points(factor, noise)
    n = len(factor) // 2
    return both[:, :n].copy(order="K"), both[:, n:].copy(order="K")


def initial_covariance(kernels: Any) -> Array:
    """Covariance (2N, 2N) of (Y(0), G(0)) for one output: [[Σ, Φᵀ], [Φ, Ξ]]."""
    sigma = gram(kernels, "sigma")
    phi, xi = (gram(kernels, name, len(sigma)) for name in ("phi", "xi"))
    return np.block([[sigma, phi.T], [phi, xi]])


def covariance_root(covariance: Array) -> Array:
    """F with F Fᵀ = covariance, numerically semidefinite matrices allowed.

    Raises
    ------
    CovarianceError
        An eigenvalue of the correlation matrix is negative beyond the accuracy of the kernels.

    Examples
    --------
    >>> f = covariance_root(np.ones((2, 2)))
    >>> np.allclose(f @ f.T, 1)
    True
    """
    scale = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    # Y and G differ in size by orders of magnitude: rounding is judged on the correlations.
    values, vectors = np.linalg.eigh(covariance / np.outer(safe, safe))
    if values[0] < -_INDEFINITE * len(scale):
        raise CovarianceError(
            "kernels whose [[sigma, phi.T], [phi, xi]] is positive semidefinite",
            f"the eigenvalue {values[0]:.4g} of its correlation matrix",
            "all kernels must come from one network and one data set; duplicate points are fine",
        )
    return np.asarray(safe[:, None] * vectors * np.sqrt(np.maximum(values, 0.0)))


def along_points(matrix: Array, batch: Array) -> Array:
    """Matrix times each (N, n_out) array of a batch, by one product; in memory outputs come first, points last."""
    planes = np.moveaxis(batch, -1, 0)
    product = planes.reshape(-1, planes.shape[-1]) @ matrix.T
    return np.moveaxis(product.reshape(*planes.shape[:-1], -1), 0, -1)
