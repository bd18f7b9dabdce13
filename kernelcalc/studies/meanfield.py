r"""Mean-field limit at initialisation: output divided by √w, learning rate times w (w: width).

The outputs vanish, I is unchanged and S grows to √w S, so that Tr H is of order √w and Tr H² of order w. What is left of
order one is the mean of Tr H: that of Tr I, and that of Tr S, which the outputs of order 1/√w still give.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count
from kernelcalc.arrays import digest
from kernelcalc.errors import renamed
from kernelcalc.results.result import Result, origin_of
from kernelcalc.training.checks import gram
from kernelcalc.training.losses import resolve_loss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, kw_only=True)
class MeanFieldLaw(Result):
    """Limits at initialisation.

    Attributes
    ----------
    trace_h_std : float
        Tr H/√w → N(0, trace_h_std²).
    trace_h2 : float
        Tr H²/w → trace_h2.
    trace_i, trace_s : float
        Tr I and E Tr S, of order one: the mean of Tr H.
    trace_s_std : float
        Standard deviation of G^T 𝓗C(0) Y, a part of order one; NaN of kernels without Σ.
    """

    trace_h_std: float
    trace_h2: float
    trace_i: float
    trace_s: float
    trace_s_std: float = math.nan

    def at_width(self, width: int) -> dict[str, float]:
        """Mean and standard deviation of Tr H and mean of Tr H² to be expected at one width, to leading order.

        The deviation has parts of order one too. Where the one that is known, ``trace_s_std``, is not small beside it, networks
        of this width fluctuate more.
        """
        check_count("a width", width, 1)
        return {
            "trace_h_mean": self.trace_i + self.trace_s,
            "trace_h_std": math.sqrt(width) * self.trace_h_std,
            "trace_h2": width * self.trace_h2,
            "trace_s_std": self.trace_s_std,
        }


@renamed(labels="Y")
def mean_field_moments(kernels: Any, Y: ArrayLike, loss: Any = "mse", *, n_out: int | None = None) -> MeanFieldLaw:
    r"""Law of Tr H/√w, limit of Tr H²/w, and the mean of Tr H.

    .. math::
        \mathrm{Tr} H/\sqrt w \to N(0, ∇C^T Ξ ∇C), \qquad \mathrm{Tr} H^2/w \to ∇C^T Υ ∇C, \qquad ∇C = ∇C(0),

    with ∇C(0) = -Y*/N under MSE; sums over the outputs are understood. The outputs are Y/√w, so that

    .. math::
        \sqrt w\, G^T ∇C(Y/\sqrt w) = \sqrt w\, G^T ∇C(0) + G^T 𝓗C(0) Y + O(1/\sqrt w).

    The first term has mean zero at every width (G changes sign with the last layer), the second, with Cov(G, Y) = Φ for
    each output and 𝓗C one block a point,

    .. math::
        \mathbb{E}\,\mathrm{Tr} S = \mathbb{E}[G^T 𝓗C(0) Y] = \sum_i Φ_{ii}\, \mathrm{Tr}\, 𝓗C_{ii}(0), \qquad
        \mathbb{E}\,\mathrm{Tr} H \to \sum_i (Θ_{ii} + Φ_{ii})\, \mathrm{Tr}\, 𝓗C_{ii}(0),

    which is Tr I + n_out Tr Φ/N under MSE. The second term's own variance is, by Isserlis' theorem,

    .. math::
        \sum_{ij} \mathrm{Tr}(𝓗C_{ii}(0)\, 𝓗C_{jj}(0)) (Ξ_{ij} Σ_{ij} + Φ_{ij} Φ_{ji}) ;

    the variance of Tr H has it beside w ∇C(0)^T Ξ ∇C(0), and other parts of order one (third derivatives of C, finite width).

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with (N, N) arrays ``theta``, ``phi``, ``xi``, ``upsilon``, and ``sigma`` for ``trace_s_std``.
    Y : array_like
        As the loss takes them.
    loss : str, Loss or expression
        See :func:`kernelcalc.training.losses.resolve_loss`.
    n_out : int, optional
        Number of outputs, when class labels do not show it.

    Raises
    ------
    ShapeError, NotFiniteError
        If the kernels and Y do not fit together, or hold what is no finite number.
    InputError
        If the loss or the labels are none that it takes.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3.3.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> kernels = SimpleNamespace(theta=np.eye(2), phi=-np.eye(2) / 2, xi=4 * np.eye(2), upsilon=np.eye(2))
    >>> law = mean_field_moments(kernels, [2.0, 0.0])
    >>> law.trace_h_std, law.trace_h2, law.trace_i, law.trace_s
    (2.0, 1.0, 1.0, -0.5)
    """
    law = resolve_loss(loss)
    targets = law.encode(Y, n_out)
    zero = np.zeros_like(targets)
    slope = law.gradient(zero, targets)
    h = law.hessian(zero, targets)
    weights = np.trace(h, axis1=-2, axis2=-1) if law.has_blocks else h.sum(axis=-1)
    n = len(targets)
    # i, j: points; a: output
    variance, second = (
        float(np.einsum("ia,ij,ja->", slope, gram(kernels, name, n), slope)) for name in ("xi", "upsilon")
    )
    first, shift = (float(np.diagonal(gram(kernels, name, n)) @ weights) for name in ("theta", "phi"))
    spread = math.nan
    if hasattr(kernels, "sigma"):
        sigma, phi, xi = (gram(kernels, name, n) for name in ("sigma", "phi", "xi"))
        pairs = h.reshape(n, -1) @ h.reshape(n, -1).T
        spread = math.sqrt(max(float((pairs * (xi * sigma + phi * phi.T)).sum()), 0.0))
    return MeanFieldLaw(
        trace_h_std=math.sqrt(max(variance, 0.0)),
        trace_h2=max(second, 0.0),
        trace_i=first,
        trace_s=shift,
        trace_s_std=spread,
    ).with_origin(**origin_of(kernels), targets=digest(targets), loss_name=law.name)
