r"""Hessian moments of networks of finite width at the start, to first order in 1/n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernelcalc.arrays import AnyArray, plain
from kernelcalc.errors import InputError
from kernelcalc.kernels.first_order.finite_width import FiniteWidth, finite_width
from kernelcalc.kernels.network import Network
from kernelcalc.patience import watched
from kernelcalc.results.result import Result
from kernelcalc.training.checks import columns


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MomentsAtWidth(Result):
    """Moments of the Hessian of a network of one width at initialisation, under MSE, to first order in 1/n.

    What needs S is NaN where the nonlinearity is too rough, or where the first order at hand was made without
    ``hessian=True`` (except for E Tr S and E Tr H).

    Attributes
    ----------
    width : float
        n.
    trace_i, trace_s, trace_h : float
        E Tr I, E Tr S, E Tr H.
    trace_i2, trace_is, trace_s2, trace_h2 : float
        E Tr I², E Tr I S, E Tr S², E Tr H² = E Tr I² + 2 E Tr I S + E Tr S².
    trace_i_std, trace_s_std, trace_h_std : float
        Standard deviations of Tr I, of order n^(−1/2), of Tr S and of Tr H over initialisations.
    limit : dict of str to float
        The same as n → ∞.
    """

    width: float
    trace_i: float
    trace_s: float
    trace_h: float
    trace_i2: float
    trace_is: float
    trace_s2: float
    trace_h2: float
    trace_i_std: float
    trace_s_std: float
    trace_h_std: float
    limit: dict[str, float]


@watched("fewer points and activations with a closed form are faster")
def hessian_moments_at_width(
    net: Network | FiniteWidth, X: Any, Y: Any, width: float, *, relative_widths: Sequence[float] = ()
) -> MomentsAtWidth:
    r"""Moments of H = I + S of a network of width n before training, under MSE, to first order in 1/n.

    .. math::
        E\,\mathrm{Tr}\, I &= \frac{n_L}{N} \sum_x \Big(Θ + \frac{Θ^1}{n}\Big)_{xx}, \qquad
        E\,\mathrm{Tr}\, S = \frac{n_L}{N} \sum_x \Big(Φ + \frac{Φ^1}{n}\Big)_{xx}, \\
        \mathrm{Var}\,\mathrm{Tr}\, I &= \frac{1}{nN^2} \sum_{xx'} \big[ n_L K_{xx'} + n_L (n_L - 1) A_{xx'} \big], \\
        E\,\mathrm{Tr}\, I^2 &= \frac{n_L}{N^2} \sum_{xx'} \Big[ Θ_{xx'}^2
            + \frac{2Θ_{xx'}Θ^1_{xx'} + V_{xx'} + (n_L - 1) B_{xx'}}{n} \Big], \\
        E\,\mathrm{Tr}\, S^2 &= \frac{1}{N^2} \sum_{xx'} \Big[ M\,Υ + \frac{M\,Υ^1
            + n_L \big(Σ^1Υ + U + (n_L - 1) R\big)}{n} \Big]_{xx'}, \qquad M = n_L Σ + Y^*Y^{*T}, \\
        \mathrm{Var}\,\mathrm{Tr}\, S &= \frac{1}{N^2} \sum_{xx'} \Big[ M\,Ξ + n_L ΦΦ^T + \frac{M\,Ξ^1
            + n_L \big(Σ^1Ξ + Z + Φ^1Φ^T + ΦΦ^{1T} + X' + n_L X\big)}{n} \Big]_{xx'}, \\
        E\,\mathrm{Tr}\, I S &= \frac{n_L}{nN^2} \sum_{xx'} \big[ Q + (n_L - 1) T \big]_{xx'}

    (products of kernels are entry by entry), where K/n = Cov(Θ̂(x, x), Θ̂(x', x')) of one output, A/n that of two,
    V/n = Var Θ̂(x, x') and B/n = E Θ̂_ij(x, x')²; U, R, Z, X', X, Q, T are the covariances that
    :class:`~kernelcalc.kernels.first_order.finite_width.FiniteWidth` names in that order, and Var Tr H adds twice
    Cov(Tr I, Tr S).

    Parameters
    ----------
    net : MLP, Sequential or FiniteWidth
        A fully connected network; the answer of :func:`kernelcalc.finite_width` for X saves its computation.
    X : array_like (N, n_0)
        Points.
    Y : array_like (N,) or (N, n_out)
        Targets. E Tr S² and the variance of Tr S depend on them, the others only on how many outputs there are.
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
    fw = net if isinstance(net, FiniteWidth) else finite_width(net, X, relative_widths=relative_widths, hessian=True)
    n = len(fw.theta_limit)
    targets = columns(Y, n, what="Y")
    if len(plain(X, "X")) != n:
        raise InputError(f"the {n} points that the first order belongs to", f"{len(plain(X, 'X'))} points")
    means, variances = _means(fw, targets), _variances(fw, targets)
    at = fw.at(width).width
    found = {name: float(zeroth + first / at) for name, (zeroth, first) in means.items()}
    stds = {name: float(np.sqrt(max(zeroth + first / at, 0.0))) for name, (zeroth, first) in variances.items()}
    limit = {name: float(zeroth) for name, (zeroth, _) in means.items()}
    limit |= {name: float(np.sqrt(max(zeroth, 0.0))) for name, (zeroth, _) in variances.items()}
    return MomentsAtWidth(width=at, **found, **stds, limit=limit)


# A value in the limit, and its coefficient of 1/n.
_Orders = tuple[float, float]


def _sum(*parts: _Orders) -> _Orders:
    return sum(one for one, _ in parts), sum(first for _, first in parts)


def _means(fw: FiniteWidth, targets: AnyArray) -> dict[str, _Orders]:
    """Means of the traces."""
    n, outputs = targets.shape
    square = outputs / n**2

    def trace(name: str) -> _Orders:
        if name not in fw.arrays:
            return np.nan, np.nan
        return outputs * np.trace(fw.array(f"{name}_limit")) / n, outputs * np.trace(fw.array(name)) / n

    theta, spread = fw.theta_limit, fw.theta_variance + (outputs - 1) * fw.theta_off_diagonal
    found = {"trace_i": trace("theta"), "trace_s": trace("phi")}
    found["trace_i2"] = square * np.sum(theta**2), square * np.sum(2 * theta * fw.theta + spread)
    found["trace_is"] = found["trace_s2"] = np.nan, np.nan
    if "upsilon" in fw.arrays:
        along = fw.array("hessian_along_gradients") + (outputs - 1) * fw.array("hessian_along_other_gradients")
        found["trace_is"] = 0.0, square * np.sum(along)
        coupled = fw.array("upsilon_with_outputs") + (outputs - 1) * fw.array("upsilon_between_outputs")
        upsilon, products = fw.upsilon_limit, outputs * fw.sigma_limit + targets @ targets.T
        first = products * fw.upsilon + outputs * (fw.sigma * upsilon + coupled)
        found["trace_s2"] = np.sum(products * upsilon) / n**2, np.sum(first) / n**2
    found["trace_h"] = _sum(found["trace_i"], found["trace_s"])
    found["trace_h2"] = _sum(found["trace_i2"], found["trace_is"], found["trace_is"], found["trace_s2"])
    return found


def _variances(fw: FiniteWidth, targets: AnyArray) -> dict[str, _Orders]:
    """Variances of the traces of first powers."""
    n, outputs = targets.shape
    own = fw.theta_between_points + (outputs - 1) * fw.theta_between_outputs
    found = {"trace_i_std": (0.0, outputs * np.sum(own) / n**2)}
    if "xi" not in fw.arrays:
        return found | dict.fromkeys(("trace_s_std", "trace_h_std"), (np.nan, np.nan))
    phi, xi, products = fw.phi_limit, fw.xi_limit, outputs * fw.sigma_limit + targets @ targets.T
    zeroth = products * xi + outputs * phi * phi.T
    first = fw.sigma * xi + fw.array("xi_with_sigma") + fw.phi * phi.T + phi * fw.phi.T
    first = first + fw.array("phi_with_transpose") + outputs * fw.array("phi_between_points")
    found["trace_s_std"] = np.sum(zeroth) / n**2, np.sum(products * fw.xi + outputs * first) / n**2
    together = fw.array("theta_with_phi") + (outputs - 1) * fw.array("theta_with_other_phi")
    covariance = 0.0, outputs * np.sum(together) / n**2
    found["trace_h_std"] = _sum(found["trace_i_std"], found["trace_s_std"], covariance, covariance)
    return found
