r"""Order and chaos: fixed points of the layer map, χ, the critical line, and what depth does to Θ.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.
Poole, Lahiri, Raghu, Sohl-Dickstein, Ganguli (NeurIPS 2016); Schoenholz, Gilmer, Ganguli, Sohl-Dickstein (ICLR 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import check_number, floats
from kernelcalc.errors import InputError, PrecisionWarning, ShapeError, warn
from kernelcalc.output.phase import plot_phase
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes
from kernelcalc.studies.depth import DepthProfile, depth_profile
from kernelcalc.studies.fixed_points import (
    PROMISED,
    FixedPoint,
    fixed_point,
    fixed_points,
    least_variance,
    scales,
    signs,
    value_at_zero,
)
from kernelcalc.studies.variance import AGREE, SCAN, ScannedMap, scanned, slope_map, variance_map

__all__ = [
    "DepthProfile",
    "FixedPoint",
    "PhaseDiagram",
    "critical_line",
    "critical_weights",
    "depth_profile",
    "fixed_points",
    "normalized_position",
    "phase_diagram",
]

# Where the critical line is drawn: from this q* to that.
_LINE = 1e-6, 1e6
# Layers after which a variance that may jump over fixed points is looked for; it halves its distance at least, where it jumps.
_LAYERS = 100

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array


@watched("fewer q and activations with a closed form are faster")
def critical_line(activation: Any, q: ArrayLike | None = None) -> tuple[Array, Array, Array]:
    r"""The line χ = 1 in the plane (σ_w, β), parametrised by the fixed point q.

    For each q: :math:`σ_w^2 = 1/E[σ̇(\sqrt q Z)^2]` and :math:`β^2 = q - σ_w^2 E[σ(\sqrt q Z)^2]`; points without a
    real β are left out. Where the plane's point does not change from one q to the next (relu: σ_w = √2, β = 0, every q
    is a fixed point) it is returned once, with the first of these q.

    Returns
    -------
    sigma_w, beta, q : ndarray

    Raises
    ------
    InputError
        A constant, for which χ = 0 everywhere.

    Examples
    --------
    tanh without bias: the line starts at σ_w = 1.

    >>> sigma_w, beta, q = critical_line("tanh", [1e-8])
    >>> sigma_w.round(6)
    array([1.])
    """
    points = np.geomspace(*_LINE, 241) if q is None else np.atleast_1d(floats(q, "q", "numbers ≥ 0"))
    act = as_activation(activation)
    # a few values are computed, many read between those that are kept
    v, first = (variance_map, slope_map) if q is not None else (_from_scan, _slope_from_scan)
    weight, bias = _squares(v(act, points), first(act, points), points)
    if np.isinf(weight).all():
        raise InputError("a nonlinearity that is not constant", act.name, "χ is 0 everywhere")
    good = np.isfinite(bias) & (bias >= 0)
    sigma_w, beta, points = np.sqrt(weight[good]), np.sqrt(bias[good]), points[good]
    moves = (np.abs(np.diff(sigma_w)) > 1e-12 * sigma_w[1:]) | (np.abs(np.diff(beta)) > 0)
    kept = np.concatenate([np.ones(min(sigma_w.size, 1), dtype=bool), moves])
    return sigma_w[kept], beta[kept], points[kept]


@watched("activations with a closed form are faster")
def critical_weights(activation: Any, beta: float) -> Array:
    """The σ_w, by increasing q, at which χ = 1 for this β > 0 at a fixed point q between 1e-6 and 1e6.

    Raises
    ------
    InputError
        A negative β.

    Examples
    --------
    sin has σ_w² = 2/(1 + e^{-2q}) and β² = q - tanh q on its line:

    >>> critical_weights("sin", math.sqrt(1 - math.tanh(1))).round(6)
    array([1.327251])
    """
    act, beta = as_activation(activation), check_number("beta", beta)

    def above(log_q: Array) -> Array:
        q = np.exp(np.atleast_1d(log_q))
        return _squares(_from_scan(act, q), _slope_from_scan(act, q), q)[1] - beta**2

    places = np.log(np.geomspace(*_LINE, 1201))
    gap, found = above(places), []
    for i in np.flatnonzero(gap[:-1] * gap[1:] < 0):
        q = np.exp([brentq(lambda u: float(above(u)[0]), places[i], places[i + 1], xtol=1e-13)])
        found.append(_squares(_from_scan(act, q), _slope_from_scan(act, q), q)[0][0])
    return np.sqrt(found)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PhaseDiagram(Result):
    """q* and χ over a grid of (β, σ_w); NaN where the variance grows beyond 1e8.

    Attributes
    ----------
    sigma_w : ndarray, (A,)
    beta : ndarray, (B,)
    q, chi : ndarray, (B, A)
        At the stable fixed point that the variance reaches from q = 1.
    line : tuple of ndarray
        (sigma_w, beta, q) of the critical line.
    """

    DIMENSIONS = axes(chi="beta sigma_w", q="beta sigma_w")

    activation: str
    sigma_w: Array
    beta: Array
    q: Array
    chi: Array
    line: tuple[Array, Array, Array]

    def coordinates(self) -> dict[str, Any]:
        return {"beta": self.beta, "sigma_w": self.sigma_w}

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the plane; see :func:`kernelcalc.output.phase.plot_phase`. Returns the axes.

        Raises
        ------
        InputError
            Another quantity.
        MissingExtraError
            Without matplotlib.
        """
        return plot_phase(self, ax, **options)


@watched("fewer sigma_w and beta, and activations with a closed form, are faster")
def phase_diagram(activation: Any, sigma_w: ArrayLike | None = None, beta: ArrayLike | None = None) -> PhaseDiagram:
    """Order and chaos over a grid of σ_w and β.

    Parameters
    ----------
    activation : Activation, str or callable
        The nonlinearity.
    sigma_w, beta : array_like, optional
        By default 0.2..3 and 0..2, 57 and 41 values.

    Raises
    ------
    ShapeError
        If σ_w and β are no lists of numbers.
    InputError
        If σ_w or β is negative.
    ExpressionError, UnknownNameError
        If the nonlinearity cannot be read.

    References
    ----------
    Poole et al. (NeurIPS 2016); Schoenholz et al. (ICLR 2017); Jacot, Gabriel, Hongler (2019), order and chaos.

    Notes
    -----
    The two expectations are computed at 385 variances, whatever the grid, and read between them, to 1e-12.

    Examples
    --------
    >>> phase_diagram("tanh", [0.9, 1.1], [0.0]).chi.round(3)
    array([[0.81, 1.01]])
    """
    act = as_activation(activation)
    a = np.linspace(0.2, 3, 57) if sigma_w is None else np.atleast_1d(floats(sigma_w, "sigma_w", "numbers"))
    b = np.linspace(0, 2, 41) if beta is None else np.atleast_1d(floats(beta, "beta", "numbers"))
    if a.ndim != 1 or b.ndim != 1 or not a.size * b.size:
        raise ShapeError("sigma_w and beta of shape (A,) and (B,)", f"{a.shape}, {b.shape}")
    for s, bias in [(s, b[0]) for s in a] + [(a[0], bias) for bias in b]:
        scales(s, bias)
    q = _flow_from_one(act, *np.broadcast_arrays(a[None, :], b[:, None]))
    chi = a[None, :] ** 2 * _slope_from_scan(act, np.where(np.isnan(q), 1.0, np.where(q == 0, least_variance(act), q)))
    chi = np.where(np.isnan(q), np.nan, np.where(np.isnan(chi), np.inf, chi))
    return PhaseDiagram(activation=act.name, sigma_w=a, beta=b, q=q, chi=chi, line=critical_line(act))


@watched("activations with a closed form are faster")
def normalized_position(activation: Any, beta: float = 0.1) -> FixedPoint:
    r"""Where the normalised nonlinearity lies with σ_w² + β² = 1, for which q = 1 is a fixed point.

    χ = (1 - β²) E[σ̄̇(Z)²], and E[σ̄̇²] ≥ Var σ̄ = 1 (Poincaré), with equality for a linear σ only: without bias it is
    chaotic.

    Raises
    ------
    InputError
        β outside of [0, 1), or a constant nonlinearity.
    UnknownNameError, ExpressionError
        What is no activation.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.
    """
    beta = check_number("beta", beta)
    if not beta < 1:
        raise InputError("0 ≤ beta < 1", repr(beta))
    return fixed_point(as_activation(activation).normalized(), math.sqrt(1 - beta**2), 1.0)


def _squares(v: Array, slope: Array, q: Array) -> tuple[Array, Array]:
    """σ_w² and β² for which χ = 1 at the fixed point q, where E[σ²] is v and E[σ̇²] is ``slope``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = 1 / slope
        bias = q - weight * v
    # relu lies on β = 0 exactly: rounding must not remove it.
    return weight, np.where(np.abs(bias) <= 1e-12 * q, 0.0, bias)


def _from_scan(act: Activation, q: Array) -> Array:
    return scanned(act)(q)


def _slope_from_scan(act: Activation, q: Array) -> Array:
    return scanned(act.derivative(1))(q)


def _flow_from_one(act: Activation, sigma_w: Array, beta: Array) -> Array:
    """The fixed point that the variance reaches from q = 1, over a grid; NaN where there is none.

    Warns
    -----
    PrecisionWarning
        If some are not known to 1e-9.
    """
    v, at_zero = scanned(act), value_at_zero(act) ** 2
    grows = bool((np.diff(v.values) >= -AGREE * v.values[1:]).all())
    out, low, high = (np.full(sigma_w.shape, value) for value in (np.nan, 1.0, 1.0))
    for index in np.ndindex(sigma_w.shape):
        w2, b2 = sigma_w[index] ** 2, beta[index] ** 2
        sign, start = signs(w2 * v.values + b2 - SCAN, SCAN), _start(w2 * v.values + b2, jumps=not grows)
        rises, falls = np.flatnonzero(sign > 0), np.flatnonzero(sign < 0)
        if sign[start] == 0:
            out[index] = SCAN[start]
        elif sign[start] > 0:
            above = falls[falls > start]
            if above.size and np.isfinite(sign[start : above[0]]).all():
                low[index], high[index] = SCAN[rises[rises < above[0]][-1]], SCAN[above[0]]
        elif (below := rises[rises < start]).size:
            low[index], high[index] = SCAN[below[-1]], SCAN[falls[falls > below[-1]][0]]
        elif (least := w2 * at_zero + b2) > 0:
            low[index], high[index] = min(least, SCAN[0]) / 4, SCAN[falls[0]]
        else:
            out[index] = 0.0
    found = high > low
    if found.any():
        out[found] = _roots(v, sigma_w[found] ** 2, beta[found] ** 2, low[found], high[found])
        _say_how_well(act, v, out[found], sigma_w[found] ** 2)
    return out


def _start(after: Array, *, jumps: bool) -> int:
    """Where in the scan the variance is next to its fixed point: at q = 1, or many layers on if it may jump over one."""
    start = int(np.argmin(np.abs(SCAN - 1)))
    if jumps:
        places = np.searchsorted(SCAN, after).clip(0, SCAN.size - 1)
        for _ in range(_LAYERS):
            start = int(places[start])
    return start


def _say_how_well(act: Activation, v: ScannedMap, q: Array, w2: Array) -> None:
    """Warn where the map's slope is so near to 1 that what its values are good for moves the fixed point."""
    step = 1e-3
    slope = w2 * (v(q * (1 + step)) - v(q * (1 - step))) / (2 * step * q)
    vague = ~(PROMISED * np.abs(1 - slope) >= AGREE)
    if vague.any():
        warn(
            f"{vague.sum()} values q* of {act.name}, near q = {np.median(q[vague]):.2g}, are known to less than nine digits: "
            "the slope of the variance's map is nearly 1 there",
            PrecisionWarning,
        )


def _roots(v: ScannedMap, w2: Array, b2: Array, low: Array, high: Array) -> Array:
    """Roots of w² E[σ(√q Z)²] + b² - q in brackets where it falls, all at once, by the Illinois rule."""
    at_low, at_high = (w2 * v(q) + b2 - q for q in (low, high))
    out, todo = low + (high - low) * at_low / (at_low - at_high), np.arange(low.size)
    for _ in range(60):
        q = low + (high - low) * at_low / (at_low - at_high)
        value = w2[todo] * v(q) + b2[todo] - q
        out[todo] = q
        up = value > 0
        # The end that stays counts half, or it would stay for ever.
        low, at_low, at_high = np.where(up, q, low), np.where(up, value, at_low / 2), np.where(up, at_high / 2, at_high)
        high, at_high = np.where(up, high, q), np.where(up, at_high, value)
        left = np.abs(value) > 1e-13 * q
        if not left.any():
            break
        todo, low, high, at_low, at_high = todo[left], low[left], high[left], at_low[left], at_high[left]
    return out
