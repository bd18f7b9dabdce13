r"""The Fisher matrix F = E ∇f ∇f^T of random networks: its spectrum for one hidden layer, its statistics for any.

Under MSE F is the Gauss–Newton part I of the Hessian, and its nonzero eigenvalues are those of Θ/N.

References
----------
Pennington, Worah, "The spectrum of the Fisher information matrix of a single-hidden-layer neural network" (NeurIPS 2018).
Karakida, Akaho, Amari, "Universal statistics of Fisher information in deep neural networks: mean field approach" (AISTATS
2019), Theorems 1, 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import check_count, check_number
from kernelcalc.errors import InputError
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.results.result import Result, axes
from kernelcalc.studies.sample_covariance import MarchenkoPastur
from kernelcalc.training.checks import levels_of, square

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FisherSpectrum(Result):
    """Spectrum of the Fisher matrix of one hidden layer, as weighted eigenvalues.

    Attributes
    ----------
    values, weights : ndarray, (K,)
        Ascending; weights sum to 1.
    """

    DIMENSIONS = axes(values="rank", weights="rank")
    TABLE: ClassVar[str] = "rank"

    values: Array
    weights: Array

    def moment(self, k: int) -> float:
        """Tr F^k/P."""
        return float(self.weights @ self.values**k)

    def quantile(self, level: ArrayLike) -> Array:
        """Eigenvalues below which a share lies."""
        middle = np.cumsum(self.weights) - self.weights / 2
        return np.asarray(np.interp(levels_of(level), middle, self.values))


def fisher_spectrum(
    activation: Any, n_in: int, width: int, n_out: int, *, sigma_w: float = 1.0, quantiles: int = 64
) -> FisherSpectrum:
    r"""Spectrum of F = E_x Σ_k ∇f_k ∇f_k^T of a network n_in - width - n_out on Gaussian points, up to few eigenvalues.

    With :math:`η = \mathrm{Var}\, σ(z)`, :math:`η' = E[σ'(z)^2]`, :math:`ζ = E[σ'(z)]^2`, z ~ N(0, σ_w²), and the squared
    singular values s of the last weights over n_out, t of the first over n_in, F is a block

    .. math::
        \frac{1}{n} \begin{pmatrix} \frac{σ_w^4 n_L}{n_0} (η' - ζ + ζ s) & σ_w^4 ζ \sqrt{s t\, n_L/n_0} \\ \cdot &
        σ_w^2 (η - σ_w^2 ζ + σ_w^2 ζ t) \end{pmatrix}

    for every pair (s, t), in the singular bases of both, and one of its diagonal entries where s or t is missing. In the limit
    of large sizes in proportion s and t follow Marčenko and Pastur, independently.

    Parameters
    ----------
    activation : Activation, name or callable
    n_in, width, n_out : int
        Only their ratios and the scale 1/width matter.
    sigma_w : float
        σ_w > 0; no biases.
    quantiles : int
        With how many points each of the two laws is drawn.

    Raises
    ------
    InputError

    References
    ----------
    Pennington, Worah (NeurIPS 2018).

    Examples
    --------
    A linear network has as many zeros as first and last weights share directions.

    >>> found = fisher_spectrum("identity", 10, 10, 10)
    >>> round(float(found.weights[found.values < 1e-12].sum()), 3), round(found.moment(1), 3)
    (0.5, 0.1)
    """
    for name, size in (("n_in", n_in), ("width", width), ("n_out", n_out), ("quantiles", quantiles)):
        check_count(name, size, 1)
    sigma_w = check_number("sigma_w", sigma_w)
    if sigma_w == 0:
        raise InputError("sigma_w > 0", repr(sigma_w))
    upper, lower, factor = _rates(as_activation(activation), sigma_w**2)
    ratio = n_out / n_in
    levels = (np.arange(quantiles) + 0.5) / quantiles
    s, t = (
        MarchenkoPastur.of([1.0], width / samples).positive_quantile(levels) for samples in (n_out, n_in)
    )  # of width variables
    coupled = np.empty((quantiles, quantiles, 2, 2))
    coupled[..., 0, 0] = ratio * (upper + factor * s)[:, None]
    coupled[..., 1, 1] = (lower + factor * t)[None, :]
    coupled[..., 0, 1] = coupled[..., 1, 0] = factor * np.sqrt(ratio * np.outer(s, t))
    r_s, r_t = min(width, n_out), min(width, n_in)
    parts: list[tuple[Array, float]] = [
        (np.asarray(np.linalg.eigvalsh(coupled).ravel(), dtype=np.float64), 2.0 * r_s * r_t),
        (ratio * (upper + factor * s), float((n_in - r_t) * r_s)),
        (np.array([ratio * upper]), float(n_in * (width - r_s))),
        (lower + factor * t, float(r_t * (n_out - r_s))),
        (np.array([lower]), float((width - r_t) * n_out)),
    ]
    values = np.concatenate([v for v, _ in parts]) / width
    weights = np.concatenate([np.full(v.size, count / v.size) for v, count in parts])
    order = np.argsort(values)
    return FisherSpectrum(
        values=np.maximum(values[order], 0.0), weights=weights[order] / (width * (n_in + n_out))
    ).with_origin(activation=repr(activation), sizes=[n_in, width, n_out], sigma_w=sigma_w)


def _rates(activation: Activation, w2: float) -> tuple[float, float, float]:
    """σ_w⁴(η' - ζ), σ_w²(η - σ_w²ζ), σ_w⁴ζ."""
    slope = activation.derivative()
    eta, mean2, steep, zeta = (
        float(gaussian_expectation(f, f, w2, w2, c))
        for f, c in ((activation, w2), (activation, 0), (slope, w2), (slope, 0))
    )
    return w2**2 * max(steep - zeta, 0.0), w2 * max(eta - mean2 - w2 * zeta, 0.0), w2**2 * zeta


@dataclass(frozen=True, kw_only=True)
class FisherStatistics(Result):
    """Mean, second moment and largest eigenvalue of F, exactly from Θ and from the two means of its entries.

    Attributes
    ----------
    mean, second, largest : float
        Tr F/P, Tr F²/P, λ_max(F).
    mean_field_second, mean_field_largest : float
        The last two where all entries on the diagonal of Θ are equal, and all off it: Karakida's formulas, with
        κ_1 and κ_2 the means on and off the diagonal.
    """

    mean: float
    second: float
    largest: float
    mean_field_second: float
    mean_field_largest: float


def fisher_statistics(theta: ArrayLike, parameters: int, n_out: int = 1) -> FisherStatistics:
    r"""Statistics of the Fisher matrix of N points from Θ, whose spectrum over N is that of F, n_out times.

    .. math::
        \frac{\mathrm{Tr} F}{P} = \frac{n_L κ_1}{P}, \quad
        \frac{\mathrm{Tr} F^2}{P} ≈ \frac{n_L}{P} \Big(\frac{N - 1}{N} κ_2^2 + \frac{κ_1^2}{N}\Big), \quad
        λ_{max} ≈ \frac{N - 1}{N} κ_2 + \frac{κ_1}{N}

    Parameters
    ----------
    theta : array_like, (N, N)
        Of any parametrisation; κ_1 and κ_2 are the means of its entries on and off the diagonal.
    parameters, n_out : int
        P and the number of outputs.

    References
    ----------
    Karakida, Akaho, Amari (AISTATS 2019), Theorems 1, 3, 4; there κ is divided by α M.

    Examples
    --------
    >>> found = fisher_statistics([[3.0, 1.0], [1.0, 3.0]], parameters=6)
    >>> found.mean, round(found.largest, 12), found.mean_field_largest
    (0.5, 2.0, 2.0)
    """
    matrix = square(theta, "theta")
    check_count("parameters", parameters, 1)
    check_count("n_out", n_out, 1)
    n = len(matrix)
    on = float(np.diagonal(matrix).mean())
    off = float((matrix.sum() - np.trace(matrix)) / max(n * (n - 1), 1))
    return FisherStatistics(
        mean=n_out * on / parameters,
        second=float(n_out * np.sum(matrix**2) / n**2 / parameters),
        largest=float(np.linalg.eigvalsh(matrix)[-1]) / n,
        mean_field_second=n_out * ((n - 1) * off**2 + on**2) / n / parameters,
        mean_field_largest=((n - 1) * off + on) / n,
    )
