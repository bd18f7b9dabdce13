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

from kernelcalc.arguments import check_number
from kernelcalc.errors import renamed
from kernelcalc.kernels.gradients import diagonal_of
from kernelcalc.kernels.network import check_network
from kernelcalc.kernels.points import check_points
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes
from kernelcalc.training.checks import columns, gram, square
from kernelcalc.training.descent import Descent
from kernelcalc.training.modes import Modes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array
    from kernelcalc.kernels.mlp import Sequential

# What predictions read of the kernels: between test points and data, and of test points; f alone reads the first.
_CROSS, _OWN = ("theta", "sigma", "lam", "phi"), ("sigma", "xi")
# Chosen: points whose pairs are computed for the sake of their diagonal.
_POINTS_AT_ONCE = 32


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


@dataclass(frozen=True, kw_only=True)
class PointwiseLaw:
    """Gaussian law of f and g at each test point alone; outputs are independent.

    Attributes
    ----------
    mean, std : ndarray, (M, n_out), (M,)
        The second is None where it is not wanted.
    g_mean, g_std : ndarray or None
        The same of g = Tr Hf.
    condition_number, digits : float
        As for :class:`TestPrediction`.
    """

    mean: Array
    std: Array | None
    g_mean: Array | None
    g_std: Array | None
    condition_number: float
    digits: float


@watched("fewer points are faster")
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
    descent: Descent | None = None,
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
    descent : Descent, optional
        Steps in the place of the flow; the time is rounded to a multiple of the step.

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
    check_network(net)
    time = check_number("time", time, finite=False)
    smooth = "xi" in net.names(None)
    inner = net.kernels(X, only=("sigma", "theta"))
    cross = net.kernels(X_test, X, only=_CROSS if smooth else _CROSS[:2])
    outer = net.kernels(X_test, only=_OWN if smooth else _OWN[:1])
    y, theta = columns(Y, inner.shape[0], what="Y"), gram(inner, "theta")
    modes, _, ramp = _stopped(theta, time, ridge, diag_reg, descent)
    r = (modes.vectors * ramp) @ modes.vectors.T

    def law(drift: Array, start_with_y: Array, start: Array) -> tuple[Array, Array]:
        b = drift @ r
        mixed = start_with_y @ b.T
        covariance = start - mixed - mixed.T + b @ inner.sigma @ b.T
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
        return b @ y, covariance

    mean, covariance = law(cross.theta, cross.sigma, outer.sigma)
    g_mean, g_covariance = law(cross.lam, cross.phi, outer.xi) if smooth else (None, None)
    return TestPrediction(
        mean=mean,
        covariance=covariance,
        g_mean=g_mean,
        g_covariance=g_covariance,
        condition_number=modes.condition_number,
        digits=modes.digits(time),
    )


@watched("fewer points are faster")
def pointwise_law(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    time: float = math.inf,
    *,
    ridge: float = 0.0,
    diag_reg: float = 0.0,
    std: bool = True,
    g: bool = False,
) -> PointwiseLaw:
    r"""Mean and standard deviation of :func:`predict_outputs` at each test point alone: nothing (M, M).

    With R as there, b = Θ_{*X} R and d = Λ_{*X} R,

    .. math::
        m = b Y^*, \quad s^2 = Σ_{**} - 2 b Σ_{X*} + b Σ b^T, \qquad
        m_g = d Y^*, \quad s_g^2 = Ξ_{**} - 2 d Φ_{X*} + d Σ d^T.

    Parameters
    ----------
    net, X, Y, X_test, time, ridge, diag_reg
        As for :func:`predict_outputs`.
    std : bool
        Whether standard deviations are wanted.
    g : bool
        Whether g = Tr Hf is wanted, too, where the nonlinearity is smooth.

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        A negative time or ridge; data that do not fit together.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3.
    """
    check_network(net)
    time = check_number("time", time, finite=False)
    g = g and "xi" in net.names(None)
    drifts = ("theta", "lam") if g else ("theta",)
    starts = (("sigma", "phi") if g else ("sigma",)) if std else ()
    inner = net.kernels(X, only=("theta", *starts[:1]))
    cross = net.kernels(X_test, X, only=drifts + starts)
    y, theta = columns(Y, inner.shape[0], what="Y"), gram(inner, "theta")
    modes, _, ramp = _stopped(theta, time, ridge, diag_reg)
    r = (modes.vectors * ramp) @ modes.vectors.T
    moved = [getattr(cross, name) @ r for name in drifts]
    spreads: list[Array | None] = [None, None]
    if std:
        own = _diagonals(net, X_test, _OWN[: len(drifts)])
        for i, (b, name, start) in enumerate(zip(moved, starts, own, strict=True)):
            change = np.einsum("mi,mi->m", b, b @ inner.sigma - 2 * getattr(cross, name))
            spreads[i] = np.sqrt(np.maximum(start + change, 0.0))
    return PointwiseLaw(
        mean=moved[0] @ y,
        std=spreads[0],
        g_mean=moved[1] @ y if g else None,
        g_std=spreads[1],
        condition_number=modes.condition_number,
        digits=modes.digits(time),
    )


def _diagonals(net: Sequential, points: ArrayLike, names: tuple[str, ...]) -> list[Array]:
    """Kernels at (x, x), each (M,): Σ of a vector has a recursion of its own, others come from blocks of few points."""
    if names == ("sigma",) and not net.has_positions:
        return [diagonal_of(net, points, "sigma")]
    x = check_points(points, "X_test", positions=net.has_positions)
    blocks = [net.kernels(x[i : i + _POINTS_AT_ONCE], only=names) for i in range(0, len(x), _POINTS_AT_ONCE)]
    return [np.concatenate([np.diagonal(getattr(block, name)) for block in blocks]) for name in names]


def _stopped(
    kernel: Array, time: float, ridge: float, diag_reg: float, descent: Descent | None = None
) -> tuple[Modes, Array, Array]:
    """Modes of a kernel with its ridge, and each one's decay and ramp at a time."""
    ridge, diag_reg = check_number("ridge", ridge), check_number("diag_reg", diag_reg)
    modes = Modes.of(kernel, ridge + diag_reg * float(np.diagonal(kernel).mean()), descent)
    modes.warn(time, "predictions", "stop earlier (time=), add ridge= or diag_reg=, or scale the points otherwise")
    decay, ramp = (part[0] for part in modes.flow(np.array([time])))
    if not modes.hidden:
        ramp = np.where(modes.null, 0.0, ramp)  # where Kv = 0, K_{*X}v is rounding
    return modes, decay, ramp


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Posterior(Result):
    """Gaussian posterior of an infinitely wide network with a Gaussian prior on its parameters; outputs are independent.

    Attributes
    ----------
    mean : ndarray, (M, n_out)
    covariance : ndarray, (M, M)
        Of each output's function values (without the noise of an observation).
    log_marginal_likelihood : float
        log p(Y*), summed over the outputs; -∞ where Σ with its noise is singular.
    condition_number, digits : float
        As for :class:`TestPrediction`.
    """

    DIMENSIONS = axes(mean="point output", covariance="point other_point")
    TABLE: ClassVar[str] = "point output"

    mean: Array
    covariance: Array
    log_marginal_likelihood: float
    condition_number: float
    digits: float


@watched("fewer points are faster")
@renamed(points="X", targets="Y", test_points="X_test")
def nngp_posterior(
    net: Sequential,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    time: float = math.inf,
    *,
    ridge: float = 0.0,
    diag_reg: float = 0.0,
) -> Posterior:
    r"""The Bayesian posterior of the infinitely wide network: Gaussian process regression with Σ, the NNGP kernel.

    With observations of noise variance ρ, K = Σ + ρ Id on the data,

    .. math::
        m = Σ_{*X} K^{-1} Y^*, \quad V = Σ_{**} - Σ_{*X} K^{-1} Σ_{X*}, \quad
        \log p(Y^*) = -\tfrac12 \sum_a y_a^T K^{-1} y_a - \tfrac{n_L}{2} \log\det K - \tfrac{N n_L}{2} \log 2π.

    At a finite time K^{-1} is K^{-1}(Id - e^{-tK/N}) in m and K^{-1}(Id - e^{-2tK/N}) in V: the ensemble of networks whose
    last layer alone is trained, which ends in the posterior.

    Parameters
    ----------
    net : MLP or Sequential
        The network.
    X, Y : array_like, (N, n_0) and (N,) or (N, n_out)
        Training data.
    X_test : array_like, (M, n_0)
        Where to predict.
    time : float
        Gradient-flow time; infinity is the posterior.
    ridge, diag_reg : float
        ρ, and the same in units of the mean of Σ's diagonal; both add up.

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        A negative time or ridge; data that do not fit together.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits.

    References
    ----------
    Lee, Bahri, Novak, Schoenholz, Pennington, Sohl-Dickstein, "Deep neural networks as Gaussian processes" (ICLR 2018).
    Matthews, Hron, Turner, Ghahramani, "Sample-then-optimize posterior sampling for Bayesian linear models" (2017).

    Examples
    --------
    One point of variance 1, noise 1, observed at 2: half of it is believed.

    >>> from kernelcalc.kernels.mlp import MLP
    >>> found = nngp_posterior(MLP([], depth=1, beta=0.0), [[1.0]], [2.0], [[1.0]], ridge=1.0)
    >>> found.mean.round(12), found.covariance.round(12), round(found.log_marginal_likelihood, 4)
    (array([[1.]]), array([[0.5]]), -2.2655)
    """
    check_network(net)
    time = check_number("time", time, finite=False)
    only = ("sigma",)
    inner, cross, outer = (net.kernels(*points, only=only).sigma for points in ((X,), (X_test, X), (X_test,)))
    y, sigma = columns(Y, len(inner), what="Y"), square(inner, "sigma")
    modes, decay, ramp = _stopped(sigma, time, ridge, diag_reg)
    # in the eigenbasis of K
    seen, targets = cross @ modes.vectors, modes.vectors.T @ y
    covariance = outer - (seen * (ramp * (1 + decay))) @ seen.T
    np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance), 0.0))
    likelihood = -math.inf
    if not modes.null.any():
        misfit = float(np.sum(targets**2 / modes.values[:, None]))
        volume = float(np.log(2 * np.pi * modes.values).sum())
        likelihood = -0.5 * (misfit + y.shape[1] * volume)
    return Posterior(
        mean=(seen * ramp) @ targets,
        covariance=(covariance + covariance.T) / 2,
        log_marginal_likelihood=likelihood,
        condition_number=modes.condition_number,
        digits=modes.digits(time),
    )
