r"""Training along any direction D(t) of the outputs, and what reaches the layers below.

Parameters that follow :math:`∂_t θ = (∂_θ Y)^T D(t)` move the outputs and g = Tr Hf in the limit by the frozen kernels,

.. math:: Y(t) = Y(0) + Θ \int_0^t D, \qquad G(t) = G(0) + Λ \int_0^t D,

as long as :math:`\int_0^T \|D\|` stays bounded; D = -∇C(Y) is gradient flow (the paper prints D = ∇C). A network cut at layer
ℓ is trained along

.. math:: D^{(ℓ)} = \mathrm{diag}(\dot σ(\tilde α^{(ℓ)})) \tfrac{σ_w}{\sqrt{n_ℓ}} W^{(ℓ)} D^{(ℓ+1)},

whose products over the units of the layer have a limit,

.. math:: \sum_u D^{(ℓ)}_{iu} D^{(ℓ)}_{ju} \to (D D^T)_{ij} \prod_{k=ℓ}^{L-1} σ_w^2 \dot Σ^{(k+1)}_{ij}.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Appendix A.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.integrate import quad_vec

from kernelcalc.arguments import shown
from kernelcalc.errors import InputError, IntegrationError, ShapeError
from kernelcalc.kernels.mlp import MLP
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes, origin_of
from kernelcalc.training.checks import columns, defined, gram, sorted_times, with_defined_kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Relative to the largest entry of the integral.
_INTEGRATED = 1e-10


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DirectedTraining(Result):
    """How far outputs and g have moved, the same for every initialisation.

    Attributes
    ----------
    times : ndarray, (T,)
    integral : ndarray, (T, N, n_out)
        ∫D.
    outputs, g : ndarray, (T, N, n_out)
        Y(t) - Y(0), which is E Y(t), and G(t) - G(0); g is None for a nonlinearity that is not smooth.
    length : ndarray, (T,)
        ∫‖D‖₂, which has to stay bounded as the width grows.
    """

    DIMENSIONS = axes(
        times="time", integral="time point output", outputs="time point output", g="time point output", length="time"
    )
    TABLE: ClassVar[str] = "time point output"

    times: Array
    integral: Array
    outputs: Array
    g: Array | None
    length: Array

    def coordinates(self) -> dict[str, Any]:
        """Times."""
        return {"time": self.times}


@watched("fewer times and a smoother direction are faster")
def train_along(kernels: Any, direction: Callable[[float], Any], times: ArrayLike) -> DirectedTraining:
    """Outputs and g of networks trained along a given direction.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with (N, N) arrays ``theta`` and ``lam``.
    direction : callable
        D: time → (N,) or (N, n_out).
    times : array_like, (T,)
        Finite, ≥ 0.

    Raises
    ------
    InputError
        ``direction`` that is no function, kernels that are none.
    ShapeError, NotFiniteError
        D of another shape, or NaN.
    IntegrationError
        D varies too wildly to be integrated to 1e-8.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Appendix A.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> one = SimpleNamespace(theta=np.eye(1), lam=2 * np.eye(1), available=("theta", "lam", "xi"))
    >>> found = train_along(one, lambda t: [t], [2.0])
    >>> found.outputs.ravel().round(12), found.g.ravel().round(12), found.length.round(12)
    (array([2.]), array([4.]), array([2.]))
    """
    if not callable(direction):
        raise InputError("direction, a function of the time", shown(direction))
    smooth = "xi" in defined(kernels)
    theta = gram(kernels, "theta")
    lam = gram(with_defined_kernels(kernels), "lam", len(theta))
    unique, where = sorted_times(times)
    first = columns(direction(0.0), len(theta), what="the direction D(0)")

    def sampled(t: float) -> Array:
        d = columns(direction(t), len(theta), first.shape[1], what=f"the direction D({t:.4g})")
        return np.append(d.ravel(), np.linalg.norm(d))

    total, found, start = np.zeros(first.size + 1), [], 0.0
    for stop in unique:
        if stop > start:
            step, error = quad_vec(sampled, start, float(stop), epsrel=_INTEGRATED, epsabs=1e-300, norm="max")[:2]
            if error > 1e-8 * np.abs(step).max():
                raise IntegrationError(f"D is integrated to {error:.2g} only between {start:g} and {stop:g}")
            total = total + step
        found.append(total)
        start = float(stop)
    kept = np.array(found)[where]
    integral = kept[:, :-1].reshape(-1, *first.shape)
    return DirectedTraining(
        times=unique[where],
        integral=integral,
        outputs=np.matmul(theta, integral),
        g=np.matmul(lam, integral) if smooth else None,
        length=kept[:, -1],
    ).with_origin(**origin_of(kernels))


def layer_directions(net: MLP, X: ArrayLike, direction: ArrayLike) -> list[Array]:
    r"""Limits of :math:`\sum_u D^{(ℓ)}_{iu} D^{(ℓ)}_{ju}`, (N, N) for every hidden layer ℓ, then D D^T of the outputs.

    Parameters
    ----------
    net : MLP
    X : array_like, (N, n_0)
    direction : array_like, (N,) or (N, n_out)
        D at one time.

    Raises
    ------
    ShapeError
        A direction for another number of points.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Appendix A.

    Examples
    --------
    A linear layer passes on what it gets.

    >>> [found, own] = layer_directions(MLP("identity", depth=2), [[1.0, 0.0]], [3.0])
    >>> found.round(12), own
    (array([[9.]]), array([[9.]]))
    """
    layers = net.kernels(X, only=("sigma_dot",)).layers
    n = len(layers[-1].sigma_dot)
    d = columns(direction, what="the direction")
    if len(d) != n:
        raise ShapeError(f"a direction for {n} points", f"{len(d)}")
    found = [d @ d.T]
    for layer in layers[:0:-1]:
        found.append(found[-1] * net.sigma_w**2 * layer.sigma_dot)
    return found[::-1]
