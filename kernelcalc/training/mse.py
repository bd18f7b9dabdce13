r"""Moments of the Hessian under gradient flow on the mean squared error, in closed form.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1, with time in units such that :math:`∂_t Y = -Θ (Y - Y^*)/N` and with
:math:`Id - e^{-tΘ/N}` in the term of Λ (the printed plus sign contradicts the limit t → 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import norm

from kernelcalc.arguments import check_can, check_count
from kernelcalc.arrays import EPS, digest
from kernelcalc.errors import InputError, renamed
from kernelcalc.machine import blas_threads
from kernelcalc.patience import watched
from kernelcalc.results.result import origin_of
from kernelcalc.training.checks import columns, gram, square, times_of
from kernelcalc.training.descent import Descent
from kernelcalc.training.modes import Modes
from kernelcalc.training.progress import warn_if_long
from kernelcalc.training.trajectory import Trajectory

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@watched("fewer points are faster")
@renamed(targets="Y")
@np.errstate(over="ignore", invalid="ignore")
def mse_moments(
    kernels: Any, Y: ArrayLike, times: ArrayLike, *, kmax: int = 4, descent: Descent | None = None
) -> Trajectory:
    r"""Expected moments of the Hessian of the MSE during gradient flow, or descent in steps.

    With :math:`C = \|Y - Y^*\|^2/2N`, :math:`E_t = e^{-tΘ/N}` and :math:`M = n_L Σ + Y^* Y^{*T}`,

    .. math::
        \mathbb{E} \,\mathrm{Tr}\, S(t) &= -\tfrac1N \mathrm{Tr}[(Id - E_t) Θ^{-1} Λ^T E_t M]
            + \tfrac{n_L}{N} \mathrm{Tr}[E_t Φ^T] \\
        \mathbb{E} \,\mathrm{Tr}\, S(t)^2 &= \tfrac1{N^2} \mathrm{Tr}[E_t Υ E_t M], \qquad
        \mathrm{Tr}\, I^k = n_L \mathrm{Tr}\,(Θ/N)^k \\
        \mathbb{E}\, C(t) &= \tfrac1{2N} \mathrm{Tr}[E_t^2 M]

    and :math:`\mathrm{Tr} H^k = \mathrm{Tr} I^k + \mathrm{Tr} S^k`, with :math:`\mathrm{Tr} S^k = 0` for k ≥ 3.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with the (N, N) arrays ``sigma``, ``theta``, ``phi``, ``lam``, ``upsilon`` (and ``xi``, read only for
        the standard deviation of Tr S).
    Y : array_like, (N,) or (N, n_out)
        Y*.
    times : array_like, (T,)
        Times ≥ 0, in any order; ``inf`` is the end of training.
    kmax : int
        Highest moment.
    descent : Descent, optional
        Steps of gradient descent, with momentum if wanted, in the place of the flow: :math:`E_t` is what they leave of the
        residuals, and ``Trajectory.times`` the multiples of the step nearest to the times.

    Returns
    -------
    Trajectory
        Expectations over the initialisation; the standard deviations are computed when first read.

    Raises
    ------
    ShapeError, NotFiniteError, InputError
        Arguments that do not fit together, a kernel that is not symmetric, Θ with a negative eigenvalue, or (at
        t = inf) a Λ that does not vanish on the null space of Θ.
    SmoothnessError
        A nonlinearity without the derivatives that Φ, Λ, Υ need.

    Warns
    -----
    PrecisionWarning
        Rounding leaves fewer than three digits: at late times where eigenvalues of Θ that are zero to rounding, and may not
        be zero, hold a part of the loss.

    Notes
    -----
    One eigendecomposition of Θ; then every mean is a bilinear form in the decays. Eigenvalues below N·eps·λ_max are
    zero: training does not move these directions. There Λv = 0 in exact arithmetic (Cauchy–Schwarz:
    |Λv|² ≤ vᵀΘv ‖∇g‖²), so what rounding leaves of it is dropped; a larger Λv is kept with the limit t/N of
    :math:`(1 - e^{-λt/N})/λ`. Along an eigenvalue λ the result inherits the relative rounding error eps·λ_max/λ of Θ.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1 and Theorem 1.

    Examples
    --------
    One point, all kernels 1, target 0: at the start Tr I = 1 and Tr S = Φ = 1.

    >>> from types import SimpleNamespace
    >>> one = [[1.0]]
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> mse_moments(ones, [0.0], [0.0, float("inf")], kmax=2).trace_h
    array([[2., 1.],
           [2., 1.]])
    """
    check_count("kmax", kmax, 1)
    t = times_of(times, endless=True)
    check_can("descent", descent, "modes", "a kernelcalc.Descent")
    t = t if descent is None else descent.at(t)
    theta = gram(kernels, "theta")
    y = columns(Y, len(theta), what="Y")
    # the eigendecomposition, and four kernels in its basis
    warn_if_long(18.0 * len(theta) ** 3, f"moments of {len(theta)} points", "fewer points are faster")
    with blas_threads(len(theta) ** 3):
        basis = _Eigenbasis.of(kernels, theta, y, descent)
        decay, ramp = basis.flow(t)
        basis.modes.warn_of_decays(t, np.diagonal(basis.m))
        n, n_out = y.shape
        # L∘m and u∘m: entry-wise products turn traces of five matrices into bilinear forms in the decays.
        drift = _bilinear(ramp, (basis.lam * basis.m).T, decay)
        initial = n_out * (decay @ np.diagonal(basis.phi))
        powers = np.arange(1, kmax + 1)[:, None]
        trace_i = n_out * np.sum((basis.modes.values / n) ** powers, axis=1)
        return Trajectory(
            times=t,
            trace_i=np.broadcast_to(trace_i[:, None], (int(kmax), t.size)),
            trace_s=(initial - drift) / n,
            trace_s2=np.maximum(_bilinear(decay, basis.upsilon * basis.m, decay) / n**2, 0.0),  # below zero by rounding
            loss=decay**2 @ np.diagonal(basis.m) / (2 * n),
            deviation=partial(_deviation, basis, kernels, t),
        ).with_origin(**origin_of(kernels), targets=digest(y))


def training_times(theta: ArrayLike, count: int = 60) -> Array:
    r"""T = 0 and ``count`` log-spaced times over which training happens.

    From :math:`N/30λ_{max}`, when the fastest mode has hardly moved, to :math:`N/λ` at the lower quartile λ of the
    positive eigenvalues of Θ, when three quarters of the modes are learnt; rounded to one digit.

    Parameters
    ----------
    theta : array_like, (N, N)
        NTK Gram matrix.
    count : int
        Number of positive times, at least 2.

    Raises
    ------
    ShapeError, NotFiniteError, InputError
        Θ is not a symmetric matrix of numbers with a positive eigenvalue, or count < 2.

    Examples
    --------
    >>> training_times([[2.0, 0.0], [0.0, 1e-3]], 3).round(3).tolist()
    [0.0, 0.03, 7.746, 2000.0]
    """
    check_count("count", count, 2)
    matrix = square(theta, "theta")
    with blas_threads(len(matrix) ** 3):
        values = np.linalg.eigvalsh(matrix)
    n = values.size
    positive = values[values > n * EPS * max(abs(values[0]), abs(values[-1]))]
    if not positive.size:
        raise InputError("a kernel theta with a positive eigenvalue", f"the largest is {values[-1]:.3g}")
    # At least two decades, for data whose modes are all equally fast.
    start, stop = n / (30 * positive[-1]), n / positive[(positive.size - 1) // 4]
    start, stop = (float(f"{time:.0e}") for time in (start, max(stop, 100 * start)))
    return np.concatenate([[0.0], np.geomspace(start, stop, int(count))])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Eigenbasis:
    """Kernels, targets and M in the eigenbasis of Θ."""

    modes: Modes
    sigma: Array
    phi: Array
    lam: Array
    upsilon: Array
    y: Array
    m: Array
    lam_norm: float

    @classmethod
    def of(cls, kernels: Any, theta: Array, y: Array, descent: Descent | None) -> _Eigenbasis:
        n = theta.shape[0]
        given = {name: gram(kernels, name, n) for name in ("sigma", "phi", "lam", "upsilon")}
        modes = Modes.of(theta, descent=descent)
        vectors = modes.vectors
        rotated = {name: vectors.T @ matrix @ vectors for name, matrix in given.items()}
        rotated["lam"] = modes.without_rounding(rotated["lam"])
        z = vectors.T @ y
        m = y.shape[1] * rotated["sigma"] + z @ z.T
        return cls(modes=modes, y=z, m=m, lam_norm=float(norm(given["lam"].ravel())), **rotated)

    def flow(self, t: Array) -> tuple[Array, Array]:
        """Decays e^{-λt/N} and ramps (1 - e^{-λt/N})/λ, each (T, N)."""
        if np.isinf(t).any():
            self._check_end()
        return self.modes.flow(t)

    def _check_end(self) -> None:
        # Only directions that neither decay nor stop growing could diverge. By Cauchy-Schwarz an eigenvalue within
        # N·eps·λ_max of zero allows |Λv| up to about √(N·eps)‖Λ‖; zero or not, it then adds nothing at the end.
        null = self.modes.null
        block = np.abs(self.lam[np.ix_(null, null)])
        if block.size and block.max() > np.sqrt(null.size * EPS) * self.lam_norm:
            raise InputError(
                "a kernel lam that vanishes on the null space of theta when times contains inf",
                f"a component {block.max():.3g} there",
                "E Tr S(t) grows without bound; use finite times",
            )


def _deviation(basis: _Eigenbasis, kernels: Any, t: Array, name: str) -> Array:
    with blas_threads(len(basis.y) ** 3):
        return _standard_deviation(basis, kernels, t, name)


@np.errstate(over="ignore", invalid="ignore")
def _standard_deviation(basis: _Eigenbasis, kernels: Any, t: Array, name: str) -> Array:
    r"""Standard deviation of a quadratic form of the Gaussian (r_0, G(0)) with mean (-Y*, 0).

    For :math:`Q = z^T A z`, :math:`z \sim N(μ, C)` per output, Var Q = 2 n_L Tr(ACAC) + 4 Σ_k μ_kᵀ A C A μ_k, with

    - loss: A = E²/2N on r_0,
    - Tr S²: A = E Υ E/N² on r_0,
    - Tr S: A = [[P, D], [D, 0]], D = E/2N, P = -(B + Bᵀ)/2N, B = Θ⁻¹(Id - E) Λᵀ E.
    """
    n, n_out = basis.y.shape
    decay, ramp = basis.flow(t)
    sigma = basis.sigma
    if name == "loss":
        a = decay**2 / (2 * n)
        noise = _bilinear(a, sigma * sigma, a)
        shift = _bilinear(a, sigma * (basis.y @ basis.y.T), a)
        return np.sqrt(np.maximum(2 * n_out * noise + 4 * shift, 0.0))
    hint = "fewer times are faster"
    warn_if_long(4.0 * t.size * n**3, f"standard deviations at {t.size} times for {n} points", hint)
    variance = np.empty(t.size)
    if name == "trace_s2":
        for i, e in enumerate(decay):
            a = e[:, None] * basis.upsilon * e / n**2
            a_sigma, a_y = a @ sigma, a @ basis.y
            variance[i] = 2 * n_out * np.sum(a_sigma * a_sigma.T) + 4 * np.sum(a_y * (sigma @ a_y))
        return np.sqrt(np.maximum(variance, 0.0))
    vectors = basis.modes.vectors
    xi = vectors.T @ gram(kernels, "xi", n) @ vectors
    phi = basis.phi
    d = decay / (2 * n)
    # Tr[DΞDΣ] and Tr[(DΦᵀ)²] need no matrix product.
    variance[:] = 2 * _bilinear(d, xi * sigma, d) + _bilinear(d, phi * phi.T, d)
    for i, (e, r) in enumerate(zip(decay, ramp, strict=True)):
        b = r[:, None] * basis.lam.T * e
        p = -(b + b.T) / (2 * n)
        p_sigma = p @ sigma
        upper = p_sigma + d[i][:, None] * phi
        variance[i] += np.sum(upper * upper.T) + 2 * np.sum(p_sigma.T * phi * d[i][:, None])
        p_y, d_y = p @ basis.y, d[i][:, None] * basis.y
        shift = np.sum(p_y * (sigma @ p_y)) + 2 * np.sum(d_y * (phi @ p_y)) + np.sum(d_y * (xi @ d_y))
        variance[i] = 2 * n_out * variance[i] + 4 * shift
    return np.sqrt(np.maximum(variance, 0.0))


def _bilinear(left: Array, matrix: Array, right: Array) -> Array:
    """Σ_ij left[t, i] matrix[i, j] right[t, j] for every t."""
    return np.einsum("ti,ti->t", left @ matrix, right)
