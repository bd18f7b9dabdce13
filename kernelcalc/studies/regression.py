r"""Outputs of a network trained on the MSE at points it was not trained on: kernel regression, stopped at a time.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 3 and Corollary 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from kernelcalc.errors import renamed
from kernelcalc.results.result import Result, axes
from kernelcalc.training.checks import check_number, columns, gram
from kernelcalc.training.modes import Modes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import Sequential


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TestPrediction(Result):
    """Gaussian law of f and g at test points, for a network trained on the MSE; outputs are independent.

    Attributes
    ----------
    mean : ndarray, (M, n_out)
    covariance : ndarray, (M, M)
        Over initialisations, of each output.
    g_mean, g_covariance : ndarray or None
        The same for g = Tr Hf; None for a nonlinearity that is not smooth.
    condition_number : float
        λ_max/λ_min of Θ, ridge included; infinite when λ_min is zero to rounding.
    digits : float
        Decimal digits that rounding of Θ leaves, about; 0 where it leaves none.
    """

    DIMENSIONS = axes(
        mean="point output", covariance="point other_point", g_mean="point output", g_covariance="point other_point"
    )
    TABLE: ClassVar[str] = "point output"

    __test__ = False

    mean: Array
    covariance: Array
    g_mean: Array | None
    g_covariance: Array | None
    condition_number: float
    digits: float


@renamed(points="X", targets="Y", test_points="X_test")
def predict_outputs(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    time: float = math.inf,
    *,
    ridge: float = 0.0,
    diag_reg: float = 0.0,
) -> TestPrediction:
    r"""Law of the trained network at test points: kernel regression stopped at a time, under MSE.

    With R = Θ^{-1}(Id - e^{-tΘ/N}) on the data, :math:`B = Θ_{*X} R` and :math:`D = Λ_{*X} R`,

    .. math::
        f_t(x_*) = f_0(x_*) - B (Y(0) - Y^*), \qquad g_t(x_*) = g_0(x_*) - D (Y(0) - Y^*).

    A ridge ρ adds :math:`\frac{ρ}{2N} \|θ - θ_0\|^2` to the loss, θ_0 being the parameters at the start: Θ + ρ Id stands
    for Θ in R.

    Parameters
    ----------
    net : MLP or Sequential
        The network.
    X, Y : array_like, (N, n_0) and (N,) or (N, n_out)
        Training data.
    X_test : array_like, (M, n_0)
        Where to predict.
    time : float
        Gradient-flow time; infinity is the end of training.
    ridge : float
        ρ, in units of Θ.
    diag_reg : float
        A ridge in units of the mean of Θ's diagonal, as neural-tangents has it; both add up.

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        A negative time or ridge; data that do not fit together.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits.

    Notes
    -----
    Eigenvalues of Θ below N·eps·λ_max count as zero: training does not move these directions. Where they are not zero, as
    for points that nearly coincide, what the network makes of them at the end of training cannot be told from Θ in
    float64: ``digits`` is 0.

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
    time = check_number("time", time, finite=False)
    inner, cross, outer = net.kernels(X), net.kernels(X_test, X), net.kernels(X_test)
    y, theta = columns(Y, inner.shape[0], what="targets"), gram(inner, "theta")
    ridge, diag_reg = check_number("ridge", ridge), check_number("diag_reg", diag_reg)
    modes = Modes.of(theta, ridge + diag_reg * float(np.diagonal(theta).mean()))
    modes.warn(time, "predictions", "stop earlier (time=), add ridge= or diag_reg=, or scale the points otherwise")
    ramp = modes.flow(np.array([time]))[1][0]
    if not modes.hidden:
        ramp = np.where(modes.null, 0.0, ramp)  # where Θv = 0, Θ_{*X}v is rounding
    r = (modes.vectors * ramp) @ modes.vectors.T

    def law(drift: Array, start_with_y: Array, start: Array) -> tuple[Array, Array]:
        b = drift @ r
        mixed = start_with_y @ b.T
        covariance = start - mixed - mixed.T + b @ inner.sigma @ b.T
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
        return b @ y, covariance

    mean, covariance = law(cross.theta, cross.sigma, outer.sigma)
    smooth = "xi" in outer.available
    g_mean, g_covariance = law(cross.lam, cross.phi, outer.xi) if smooth else (None, None)
    return TestPrediction(
        mean=mean,
        covariance=covariance,
        g_mean=g_mean,
        g_covariance=g_covariance,
        condition_number=modes.condition_number,
        digits=modes.digits(time),
    )
