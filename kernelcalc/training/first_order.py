r"""Hessian moments of networks of finite width at the start, to first order in 1/n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.errors import InputError
from kernelcalc.kernels.first_order.finite_width import FiniteWidth, finite_width
from kernelcalc.kernels.network import Network
from kernelcalc.results.result import Result
from kernelcalc.training.checks import columns


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MomentsAtWidth(Result):
    """Moments of the Hessian of a network of one width at initialisation, under MSE, to first order in 1/n.

    Attributes
    ----------
    width : float
        n.
    trace_i, trace_s, trace_h, trace_i2 : float
        E Tr I, E Tr S, E Tr H, E Tr I². Traces of S are NaN where the nonlinearity has no Φ.
    trace_i_std : float
        Standard deviation of Tr I over initialisations, of order n^(−1/2).
    limit : dict of str to float
        The same means as n → ∞.
    """

    width: float
    trace_i: float
    trace_s: float
    trace_h: float
    trace_i2: float
    trace_i_std: float
    limit: dict[str, float]


def hessian_moments_at_width(
    net: Network | FiniteWidth, X: Any, Y: Any, width: float, *, relative_widths: Sequence[float] = ()
) -> MomentsAtWidth:
    r"""Moments of H = I + S of a network of width n before training, under MSE, to first order in 1/n.

    .. math::
        E\,\mathrm{Tr}\, I &= \frac{n_L}{N} \sum_x \Big(Θ + \frac{Θ^1}{n}\Big)_{xx}, \qquad
        E\,\mathrm{Tr}\, S = \frac{n_L}{N} \sum_x \Big(Φ + \frac{Φ^1}{n}\Big)_{xx}, \\
        \mathrm{Var}\,\mathrm{Tr}\, I &= \frac{1}{nN^2} \sum_{xx'} \big[ n_L K_{xx'} + n_L (n_L - 1) A_{xx'} \big], \\
        E\,\mathrm{Tr}\, I^2 &= \frac{n_L}{N^2} \sum_{xx'} \Big[ Θ_{xx'}^2
            + \frac{2Θ_{xx'}Θ^1_{xx'} + V_{xx'} + (n_L - 1) B_{xx'}}{n} \Big],

    where K/n = Cov(Θ̂(x, x), Θ̂(x', x')) of one output, A/n that of two, V/n = Var Θ̂(x, x') and B/n = E Θ̂_ij(x, x')².

    Parameters
    ----------
    net : MLP, Sequential or FiniteWidth
        A fully connected network; the answer of :func:`kernelcalc.finite_width` for X saves its computation.
    X : array_like (N, n_0)
        Points.
    Y : array_like (N,) or (N, n_out)
        Targets: they say how many outputs there are, the means do not depend on them.
    width : float
        n.
    relative_widths : sequence of float
        Widths of the hidden layers over n; all 1 by default.

    Raises
    ------
    InputError, ShapeError
        A network that is not fully connected, targets that do not fit X, a width that is not positive.

    References
    ----------
    :mod:`kernelcalc.kernels.first_order.recursion`; Tr I = Tr 𝓗C^½ Θ̂ 𝓗C^½ as in Jacot, Gabriel, Hongler (ICLR 2020), Section 3.

    Examples
    --------
    >>> import kernelcalc as kc
    >>> net = kc.MLP("x", depth=2, beta=0)
    >>> found = hessian_moments_at_width(net, [[1.0]], [0.0], 100)
    >>> found.trace_i, round(found.trace_i_std, 3), round(found.trace_i2, 3)
    (2.0, 0.2, 4.04)
    """
    fw = net if isinstance(net, FiniteWidth) else finite_width(net, X, relative_widths=relative_widths)
    at = fw.at(width)
    n = len(fw.theta_limit)
    outputs = columns(Y, n, what="targets").shape[1]
    if len(np.asarray(X)) != n:
        raise InputError(f"the {n} points that the first order belongs to", f"{len(np.asarray(X))} points")
    smooth = at.phi is not None

    def trace(kernel: Any) -> float:
        return float(outputs * np.trace(kernel) / n)

    def square(first_order: float) -> float:
        theta, spread = fw.theta_limit, fw.theta_variance + (outputs - 1) * fw.theta_off_diagonal
        return float(outputs * np.sum(theta**2 + first_order * (2 * theta * fw.theta + spread)) / n**2)

    variance = outputs * np.sum(fw.theta_between_points + (outputs - 1) * fw.theta_between_outputs) / n**2
    limit = {"trace_i": trace(fw.theta_limit), "trace_s": trace(fw.phi_limit) if smooth else np.nan}
    trace_i, trace_s = trace(at.theta), trace(at.phi) if smooth else np.nan
    return MomentsAtWidth(
        width=at.width,
        trace_i=trace_i,
        trace_s=trace_s,
        trace_h=trace_i + trace_s,
        trace_i2=square(1 / at.width),
        trace_i_std=float(np.sqrt(max(variance, 0.0) / at.width)),
        limit={**limit, "trace_h": limit["trace_i"] + limit["trace_s"], "trace_i2": square(0.0)},
    )
