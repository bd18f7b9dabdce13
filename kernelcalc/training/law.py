r"""Laws over initialisations of Tr S(t), Tr S(t)² and the loss under MSE, as quadratic forms of the Gaussian start.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_can, check_count, check_number
from kernelcalc.arrays import plain
from kernelcalc.errors import InputError, renamed
from kernelcalc.machine import one_blas_thread, processors
from kernelcalc.patience import watched
from kernelcalc.training.checks import columns, gram, levels_of, times_of
from kernelcalc.training.descent import Descent
from kernelcalc.training.modes import Modes
from kernelcalc.training.progress import warn_if_long
from kernelcalc.training.quadratic import Form, QuadraticLaw, draws_of_directions, quantiles_of
from kernelcalc.training.start import covariance_root, initial_covariance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@watched("fewer points are faster")
@renamed(targets="Y")
def mse_law(
    kernels: Any, Y: ArrayLike, time: float, moment: str = "trace_s", *, descent: Descent | None = None
) -> QuadraticLaw:
    r"""Law over initialisations of Tr S(t), Tr S(t)² or the loss, under MSE.

    With r = Y(0) - Y*, E = e^{-tΘ/N} and A_t = Λ Θ^{-1}(Id - E),

    .. math::
        \mathrm{Tr} S = \tfrac1N (G(0) - A_t r)^T E r, \quad \mathrm{Tr} S^2 = \tfrac1{N^2} r^T E Υ E r, \quad
        C = \tfrac1{2N} r^T E^2 r.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with (N, N) arrays ``sigma``, ``theta``, ``phi``, ``lam``, ``upsilon``, ``xi``.
    Y : array_like, (N,) or (N, n_out)
        Y*.
    time : float
        Gradient-flow time, finite, ≥ 0.
    moment : {"trace_s", "trace_s2", "loss"}
        Which of the three.
    descent : Descent, optional
        Steps in the place of the flow.

    Returns
    -------
    QuadraticLaw
        ``.averaged(T)`` gives the law of the mean of T networks.

    Raises
    ------
    ShapeError, NotFiniteError
        If the kernels and Y do not fit together, or hold what is no finite number.
    InputError
        If the time is negative or the moment is none of the three.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1.

    Examples
    --------
    One point, every kernel 1, target 0: at the start Tr S² = Y(0)², chi-squared.

    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> law = mse_law(ones, [0.0], 0.0, "trace_s2")
    >>> round(law.mean, 12), round(law.variance, 12)
    (1.0, 2.0)
    """
    return next(_mse_forms(kernels, Y, [time], moment, descent))().law()


@watched("fewer points and times are faster")
@renamed(targets="Y")
def mse_quantiles(
    kernels: Any,
    Y: ArrayLike,
    times: ArrayLike,
    moment: str,
    levels: ArrayLike = (0.05, 0.95),
    *,
    copies: int = 1,
    descent: Descent | None = None,
    tol: float = 0.0,
) -> Array:
    """Quantiles of Tr S(t), Tr S(t)² or the loss under MSE at many times, for one network or the mean of ``copies``.

    Parameters
    ----------
    kernels, Y, moment
        As :func:`mse_law` takes them.
    times : array_like, (T,)
        Finite, ≥ 0.
    levels : array_like, (Q,)
        Between 0 and 1.
    copies : int
        Number of networks averaged.
    descent : Descent, optional
        Steps in the place of the flow.
    tol : float
        Error of the levels allowed where it saves time, for 128 points and more (64 for Tr S): laws are taken by their 16
        largest eigenvalues and first four cumulants where the fifth that is left could not move a level by more. 0 takes all
        eigenvalues.

    Returns
    -------
    ndarray, (Q, T)

    Raises
    ------
    ShapeError, NotFiniteError
        If the kernels and Y do not fit together, or hold what is no finite number.
    InputError
        If a time is negative, a level is not between 0 and 1, or the moment is none of the three.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1; the inversion of the characteristic function is Imhof's (1961).

    Examples
    --------
    One point, every kernel 1, target 0: at the start Tr S² = Y(0)², whose median is 0.6745².

    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> mse_quantiles(ones, [0.0], [0.0], "trace_s2", [0.5]).round(4)
    array([[0.4549]])
    """
    wanted = levels_of(np.atleast_1d(plain(levels, "levels")), ends=False)
    check_count("copies", copies, 1)
    tol = check_number("a tolerance tol", tol, 0.0)
    workers = processors()
    with ThreadPoolExecutor(workers) as pool, one_blas_thread(workers):
        forms = _mse_forms(kernels, Y, times, moment, descent)
        laws = list(pool.map(lambda form: form().summary(copies, tol), forms))
        return quantiles_of(laws, wanted, tol).T


def _mse_forms(
    kernels: Any, targets: ArrayLike, times: ArrayLike, moment: str, descent: Descent | None
) -> Iterator[Callable[[], Form]]:
    """For each time what computes the quadratic form."""
    if not isinstance(moment, str) or moment not in ("trace_s", "trace_s2", "loss"):
        raise InputError("moment 'trace_s', 'trace_s2' or 'loss'", repr(moment))
    check_can("descent", descent, "modes", "a kernelcalc.Descent")
    t = times_of(times, endless=False)
    t = t if descent is None else descent.at(t)
    theta = gram(kernels, "theta")
    n = len(theta)
    y = columns(targets, n, what="Y")
    size = 2 * n if moment == "trace_s" else n
    warn_if_long(12.0 * t.size * size**3, f"laws at {t.size} times for {n} points", "fewer times are faster")
    modes = Modes.of(theta, descent=descent)
    vectors = modes.vectors
    if moment == "trace_s":
        root, means = covariance_root(initial_covariance(kernels)), np.concatenate([-y, np.zeros_like(y)])
    else:
        root, means = covariance_root(gram(kernels, "sigma", n)), -y
    middle = np.eye(n) / (2 * n)
    if moment != "loss":
        middle = gram(kernels, "lam", n) if moment == "trace_s" else gram(kernels, "upsilon", n) / n**2
        middle = vectors.T @ middle @ vectors
    start = None
    if moment == "trace_s":
        middle = modes.without_rounding(middle)
        # a lower triangular root of the same covariance: what its first half makes, half of the columns make
        turned, upper = np.linalg.qr(root.T)
        root, start = upper.T, turned.T @ draws_of_directions(size)
    # All in the eigenbasis of Θ, where training is diagonal.
    root, means = (np.concatenate([vectors.T @ half for half in np.split(v, len(v) // n)]) for v in (root, means))
    sigma = vectors.T @ gram(kernels, "sigma", n) @ vectors
    modes.warn_of_decays(t, y.shape[1] * np.diagonal(sigma) + np.sum((vectors.T @ y) ** 2, axis=1))
    for decay, ramp in zip(*modes.flow(t), strict=True):
        yield partial(_mse_form, middle, decay, ramp, moment, root, means, start)


def _mse_form(
    middle: Array, decays: Array, ramps: Array, moment: str, root: Array, means: Array, start: Array | None
) -> Form:
    """The form at a time; middle: Λ, Υ/N² or Id/2N, and the start, in the eigenbasis of Θ."""
    with np.errstate(over="ignore", invalid="ignore"):
        if moment != "trace_s":
            half, moved = decays[:, None] * root, decays[:, None] * means
            inner, image = half.T @ (middle @ half), half.T @ (middle @ moved)
            return Form(inner=(inner + inner.T) / 2, image=image, constant=float(np.sum(moved * (middle @ moved))))
        n = len(middle)
        # Tr S = rᵀ E (G − Λ R r)/N of r and G in their roots and means; r takes half of the root's columns
        (root_r, felt), (mean_r, mean_g) = np.split(root, 2), np.split(means, 2)
        root_r, felt = root_r[:, :n], felt.copy()
        felt[:, :n] -= middle @ (ramps[:, None] * root_r)
        felt_mean = decays[:, None] / n * (mean_g - middle @ (ramps[:, None] * mean_r))
        felt *= decays[:, None] / n
        upper, inner = root_r.T @ felt, np.zeros((2 * n, 2 * n))
        inner[:n] = upper / 2
        inner[:, :n] += upper.T / 2
        image = felt.T @ mean_r / 2
        image[:n] += root_r.T @ felt_mean / 2
        constant = float(np.sum(mean_r * felt_mean))
        return Form(inner=inner, image=image, constant=constant, start=start)
