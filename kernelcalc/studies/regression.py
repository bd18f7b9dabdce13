r"""Outputs of a network trained on the MSE at points it was not trained on: kernel regression, stopped at a time.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 3 and Corollary 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.errors import InputError
from kernelcalc.training.checks import columns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import MLP


@dataclass(frozen=True, kw_only=True, eq=False)
class TestPrediction:
    """Gaussian law of f and g at test points, for a network trained on the MSE; outputs are independent.

    Attributes
    ----------
    mean : ndarray, (M, n_out)
    covariance : ndarray, (M, M)
        Over initialisations, of each output.
    g_mean, g_covariance : ndarray or None
        The same for g = Tr Hf; None for a nonlinearity that is not smooth.
    """

    __test__ = False

    mean: Array
    covariance: Array
    g_mean: Array | None
    g_covariance: Array | None


def predict_outputs(
    net: MLP, points: ArrayLike, targets: ArrayLike, test_points: ArrayLike, time: float = math.inf
) -> TestPrediction:
    r"""Law of the trained network at test points: kernel regression stopped at a time, under MSE.

    With R = Θ^{-1}(Id - e^{-tΘ/N}) on the data, :math:`B = Θ_{*X} R` and :math:`D = Λ_{*X} R`,

    .. math::
        f_t(x_*) = f_0(x_*) - B (Y(0) - Y^*), \qquad g_t(x_*) = g_0(x_*) - D (Y(0) - Y^*).

    Parameters
    ----------
    net : MLP
        The network.
    points, targets : array_like, (N, n_0) and (N,) or (N, n_out)
        Training data.
    test_points : array_like, (M, n_0)
        Where to predict.
    time : float
        Gradient-flow time; infinity is the end of training.

    Notes
    -----
    At infinity eigenvalues of Θ below N·eps·λ_max count as zero.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3 and Corollary 1.

    Examples
    --------
    At a training point the trained network has learned its target.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> prediction = predict_outputs(MLP("erf", depth=2), [[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], [[1.0, 0.0]])
    >>> prediction.mean.round(12)
    array([[1.]])
    """
    if math.isnan(time) or time < 0:
        raise InputError("a time ≥ 0", repr(time))
    inner, cross, outer = net.kernels(points), net.kernels(test_points, points), net.kernels(test_points)
    y = columns(targets, inner.shape[0], what="targets")
    values, vectors = np.linalg.eigh(inner.theta)
    n = len(y)
    null = values <= n * EPS * values[-1]
    safe = np.where(null, 1.0, values)
    grown = -np.expm1(-safe * time / n) / safe
    ramp = np.where(null, 0.0 if math.isinf(time) else time / n, grown)

    def law(drift: Array, start_with_y: Array, start: Array) -> tuple[Array, Array]:
        b = drift @ (vectors * ramp) @ vectors.T
        mixed = start_with_y @ b.T
        return b @ y, start - mixed - mixed.T + b @ inner.sigma @ b.T

    mean, covariance = law(cross.theta, cross.sigma, outer.sigma)
    smooth = "xi" in outer.available
    g_mean, g_covariance = law(cross.lam, cross.phi, outer.xi) if smooth else (None, None)
    return TestPrediction(mean=mean, covariance=covariance, g_mean=g_mean, g_covariance=g_covariance)
