"""Moments of the Hessian through training under any loss: the closed form where there is one, drawn starts otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernelcalc.errors import renamed
from kernelcalc.training.flow import hessian_moments
from kernelcalc.training.losses import resolve_loss
from kernelcalc.training.mse import mse_moments
from kernelcalc.training.trajectory import Trajectory

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@renamed(labels="Y")
def moments(
    kernels: Any,
    Y: ArrayLike,
    times: ArrayLike,
    loss: Any = "mse",
    *,
    kmax: int = 4,
    n_out: int | None = None,
    **sampling: Any,
) -> Trajectory:
    """Moments of the Hessian during gradient flow, exact under MSE.

    Parameters
    ----------
    kernels, Y, times, loss, kmax, n_out
        As :func:`kernelcalc.training.flow.hessian_moments` takes them.
    **sampling
        Its further options, which the closed form does not need.

    Returns
    -------
    Trajectory
        Of :func:`kernelcalc.training.mse.mse_moments` where the loss is quadratic, otherwise the
        :class:`~kernelcalc.training.flow.SampledTrajectory` of ``hessian_moments``.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Theorem 1, Corollary 1.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> [type(moments(ones, [1.0], [0.0], loss, samples=2)).__name__ for loss in ("mse", "binary")]
    ['Trajectory', 'SampledTrajectory']
    """
    law = resolve_loss(loss)
    if law.is_quadratic:
        return mse_moments(kernels, law.encode(Y, n_out), times, kmax=kmax)
    return hessian_moments(kernels, Y, times, law, kmax=kmax, n_out=n_out, **sampling)
