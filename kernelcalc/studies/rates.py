r"""Learning rates 2/λ_max(H) of full-batch gradient descent in the limit of infinite width, at the start and through training.

Gradient descent on the parameters with learning rate η moves the outputs as gradient flow does in time η per step, as
long as η < 2/λ_max(H). In the limit λ_max(H) is that of :math:`𝓗C^{1/2} Θ 𝓗C^{1/2}`, because the operator norm of S
vanishes. Frameworks train the weights themselves: see :mod:`kernelcalc.kernels.parametrisation`.

These rates bound the stable ones from above and are reached only as the width grows: λ_max(H) of a finite network is larger
(:func:`kernelcalc.studies.validation.sharpness.measure_top` measures it), and training moves it, up in the first steps of
deep smooth networks (progressive sharpening) and down where a step is too large and the loss does not diverge (catapult).

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1.
Lewkowycz, Bahri, Dyer, Sohl-Dickstein, Gur-Ari (2020), "The large learning rate phase of deep learning" (catapult).
Cohen, Kaur, Li, Kolter, Talwalkar (ICLR 2021), "Gradient descent on neural networks typically occurs at the edge of
stability" (sharpening).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import floats
from kernelcalc.errors import ShapeError, renamed
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes
from kernelcalc.training.checks import square
from kernelcalc.training.flow import gradient_flow
from kernelcalc.training.losses import Loss, resolve_loss
from kernelcalc.training.sharpness import top_eigenvalue

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@watched("fewer points are faster")
@renamed(labels="Y")
def largest_learning_rate(theta: ArrayLike, outputs: ArrayLike, Y: ArrayLike, loss: Any = "mse") -> float:
    """2/λ_max(H) in the limit: an upper bound of the stable steps of gradient descent at these outputs.

    Reached only as the width grows, and at these outputs only: finite networks can diverge well below it, those of PyTorch's
    default layers at 0.4 of it (gelu, four layers of width 256). See the module's notes.

    Parameters
    ----------
    theta : array_like, (N, N)
        Θ, or :func:`kernelcalc.kernels.parametrisation.standard_theta` for the standard parametrisation.
    outputs : array_like, (N,) or (N, n_out)
        Y; only its shape matters under MSE.
    Y : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.

    Raises
    ------
    ShapeError, NotFiniteError
        If Θ, the outputs and Y do not fit together, or hold what is no finite number.
    InputError
        If the loss or the labels are none that it takes.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Proposition 1, for λ_max(H) → λ_max(I) as the width grows.

    Examples
    --------
    >>> round(largest_learning_rate(np.diag([1.0, 4.0]), [0.0, 0.0], [0.0, 0.0]), 12)
    1.0
    """
    y = floats(outputs, "outputs", "numbers")
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2:
        raise ShapeError("outputs of shape (N,) or (N, n_out)", f"{y.shape}")
    top = top_eigenvalue(square(theta, "theta", len(y)), resolve_loss(loss).hessian(y, Y))
    return 2 / top if top > 0 else math.inf


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LimitRates(Result):
    """λ_max(H) of one parametrisation along its own gradient flow.

    Attributes
    ----------
    times : ndarray, (T,)
        Gradient-flow times of this parametrisation.
    sample_top : ndarray, (samples, T)
        λ_max(H) of each initialisation; a single row where it is the same for all.
    """

    DIMENSIONS = axes(sample_top="initialisation time")

    times: Array
    sample_top: Array

    @property
    def rates(self) -> Array:
        """2 over the largest λ_max(H) of all initialisations, (T,): in the limit, no larger step is stable for all."""
        return np.asarray(2 / self.sample_top.max(axis=0))

    def coordinates(self) -> dict[str, Any]:
        return {"time": self.times}


def through_training(
    theta: Array,
    start: Array | None,
    targets: Array,
    law: Loss,
    times: Array,
    of: tuple[Callable[[Array, Array], float], ...],
) -> list[Array]:
    """Functions of (Θ, 𝓗C) at the times along the flow of Θ from ``start``, (samples, T) each.

    Without a start (under MSE, whose 𝓗C is constant) a single row.
    """
    if start is None:
        h = law.hessian(np.zeros_like(targets), targets)
        return [np.full((1, times.size), function(theta, h)) for function in of]
    unique, where = np.unique(times, return_inverse=True)
    result = np.empty((len(of), len(start), unique.size))
    for i, (_, batch) in enumerate(gradient_flow(theta, start, targets, law, unique)):
        for j, y in enumerate(batch):
            h = law.hessian(y, targets)
            result[:, j, i] = [function(theta, h) for function in of]
    return list(result[..., where])
