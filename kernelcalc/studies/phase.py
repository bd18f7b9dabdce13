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
from kernelcalc.errors import InputError, ShapeError
from kernelcalc.kernels.layer import checked_scale
from kernelcalc.output.phase import plot_phase
from kernelcalc.patience import watched
from kernelcalc.results.result import Result, axes
from kernelcalc.studies.depth import DepthProfile as DepthProfile
from kernelcalc.studies.depth import depth_profile as depth_profile
from kernelcalc.studies.variance import SCAN, ScannedMap, scanned, slope_map, variance_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# χ this close to 1 is called critical.
_CRITICAL = 1e-9


@dataclass(frozen=True, kw_only=True)
class FixedPoint(Result):
    """A fixed point of the variance and what it does to perturbations.

    Attributes
    ----------
    q : float
        q = σ_w² E[σ(√q Z)²] + β²; may be 0.
    slope : float
        Derivative of that map in q; stable if below 1.
    chi : float
        χ = σ_w² E[σ̇(√q Z)²]: growth of small differences per layer; order below 1, chaos above.
    """

    q: float
    slope: float
    chi: float

    @property
    def stable(self) -> bool:
        """Whether the variance converges to q from nearby."""
        return abs(self.slope) < 1

    @property
    def phase(self) -> str:
        """One of "order", "critical", "chaos"."""
        if abs(self.chi - 1) <= _CRITICAL:
            return "critical"
        return "order" if self.chi < 1 else "chaos"

    @property
    def correlation_depth(self) -> float:
        """Layers 1/|log χ| over which small differences between inputs shrink (order) or grow (chaos) by e."""
        return _depth_scale(self.chi)

    @property
    def variance_depth(self) -> float:
        """Layers 1/|log slope| over which the variance converges by a factor e."""
        return _depth_scale(abs(self.slope))


@watched("activations with a closed form are faster")
def fixed_points(activation: Any, sigma_w: float = 1.0, beta: float = 0.1) -> tuple[FixedPoint, ...]:
    r"""All fixed points q of :math:`q \mapsto σ_w^2 E[σ(\sqrt q Z)^2] + β^2` between 1e-8 and 1e8, and 0 if it is one.

    Parameters
    ----------
    activation : Activation, str or callable
        The nonlinearity.
    sigma_w, beta : float
        Scales of weights and biases.

    Returns
    -------
    tuple of FixedPoint
        By increasing q. Empty when the variance grows without bound. A map that is linear in q (relu with σ_w = √2 and
        β = 0) keeps every q: then q = 0 alone is reported, with slope 1.

    Raises
    ------
    InputError, UnknownNameError, ExpressionError
        What is no activation, or a negative scale.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.

    Examples
    --------
    >>> [point] = fixed_points("erf", sigma_w=1.0, beta=0.1)
    >>> point.phase, point.stable
    ('order', True)
    """
    act = as_activation(activation)
    sigma_w, beta = _scales(sigma_w, beta)
    gap = sigma_w**2 * scanned(act).values + beta**2 - SCAN
    found = []
    if beta == 0 and float(act(np.zeros(1))[0]) == 0:
        found.append(0.0)
    small = np.abs(gap) <= 1e-13 * SCAN
    usable = np.isfinite(gap) & ~small
    for i in np.flatnonzero(usable[:-1] & usable[1:] & (np.sign(gap[:-1]) != np.sign(gap[1:]))):
        found.append(_root(act, sigma_w, beta, SCAN[i], SCAN[i + 1]))
    # A single scanned point can be the fixed point itself; a stretch of them is a map linear in q.
    if small.sum() == 1:
        found.append(float(SCAN[small][0]))
    return tuple(_fixed_point(act, sigma_w, q) for q in sorted(found))


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
    points = np.geomspace(1e-6, 1e2, 161) if q is None else np.atleast_1d(floats(q, "q", "numbers ≥ 0"))
    act = as_activation(activation)
    # a few values are computed, many read between those that are kept
    v, first = (variance_map, slope_map) if q is not None else (_from_scan, _slope_from_scan)
    slope = first(act, points)
    if (slope == 0).all():
        raise InputError("a nonlinearity that is not constant", act.name, "χ is 0 everywhere")
    weight = 1 / np.where(slope > 0, slope, np.nan)
    bias = points - weight * v(act, points)
    # relu lies on β = 0 exactly: rounding must not remove it.
    bias = np.where(np.abs(bias) <= 1e-12 * points, 0.0, bias)
    good = np.isfinite(bias) & (bias >= 0)
    sigma_w, beta, points = np.sqrt(weight[good]), np.sqrt(bias[good]), points[good]
    moves = (np.abs(np.diff(sigma_w)) > 1e-12 * sigma_w[1:]) | (np.abs(np.diff(beta)) > 0)
    kept = np.concatenate([np.ones(min(sigma_w.size, 1), dtype=bool), moves])
    return sigma_w[kept], beta[kept], points[kept]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PhaseDiagram(Result):
    """q* and χ over a grid of (β, σ_w); NaN where the variance grows without bound.

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
    for s in a:
        _scales(s, b.min())
    q = _flow_from_one(scanned(act), a[None, :], b[:, None])
    chi = a[None, :] ** 2 * _slope_from_scan(act, np.where(np.isnan(q), 1.0, np.where(q == 0, _least(act), q)))
    return PhaseDiagram(
        activation=act.name, sigma_w=a, beta=b, q=q, chi=np.where(np.isnan(q), np.nan, chi), line=critical_line(act)
    )


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
    return _fixed_point(as_activation(activation).normalized(), math.sqrt(1 - beta**2), 1.0)


def _from_scan(act: Activation, q: Array) -> Array:
    return scanned(act)(q)


def _slope_from_scan(act: Activation, q: Array) -> Array:
    return scanned(act.derivative(1))(q)


def _root(act: Activation, sigma_w: float, beta: float, low: float, high: float) -> float:
    def gap(q: float) -> float:
        return sigma_w**2 * float(variance_map(act, q)) + beta**2 - q

    return float(brentq(gap, low, high, xtol=1e-15 * low, rtol=1e-13))


def _fixed_point(act: Activation, sigma_w: float, q: float) -> FixedPoint:
    if q == 0:
        chi = sigma_w**2 * float(slope_map(act, _least(act)))
        return FixedPoint(q=0.0, slope=chi, chi=chi)
    chi = sigma_w**2 * float(slope_map(act, q))
    # Derivative by Richardson's extrapolation of central differences, error of order 1e-10.
    h = 1e-3
    d = [
        (float(variance_map(act, q * (1 + k * h))) - float(variance_map(act, q * (1 - k * h)))) / (2 * k * h * q)
        for k in (1, 2)
    ]
    return FixedPoint(q=q, slope=sigma_w**2 * (4 * d[0] - d[1]) / 3, chi=chi)


def _least(act: Activation) -> float:
    """The variance that stands for q = 0 in χ: of a kink at zero both sides count, however small q is."""
    return float(SCAN[0]) if 0.0 in act.kinks else 0.0


def _flow_from_one(v: ScannedMap, sigma_w: Array, beta: Array) -> Array:
    """The fixed point next to q = 1 on the side to which one layer moves it, over a grid; NaN where there is none."""
    w2, b2 = (np.broadcast_to(x, np.broadcast_shapes(sigma_w.shape, beta.shape)) for x in (sigma_w**2, beta**2))
    start = int(np.argmin(np.abs(SCAN - 1)))
    out = np.full(w2.shape, np.nan)
    low, high = np.ones(w2.shape), np.ones(w2.shape)
    for index in np.ndindex(w2.shape):
        line = w2[index] * v.values + b2[index] - SCAN
        if abs(line[start]) <= 1e-13:
            out[index] = 1.0
        elif line[start] < 0:
            below = np.flatnonzero(line[:start] > 0)
            if not below.size:
                out[index] = 0.0
                continue
            low[index], high[index] = SCAN[below[-1]], SCAN[below[-1] + 1]
        else:
            above = start + np.flatnonzero(line[start:] < 0)
            if above.size and np.isfinite(line[start : above[0]]).all():
                low[index], high[index] = SCAN[above[0] - 1], SCAN[above[0]]
    found = high > low
    if found.any():
        out[found] = _roots(v, w2[found], b2[found], low[found], high[found])
    return out


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


def _depth_scale(factor: float) -> float:
    if factor <= 0:
        return 0.0
    return math.inf if factor == 1 else 1 / abs(math.log(factor))


def _scales(sigma_w: Any, beta: Any) -> tuple[float, float]:
    """σ_w and β as numbers."""
    found = check_number("sigma_w", sigma_w), check_number("beta", beta)
    for name, value in zip(("sigma_w", "beta"), found, strict=True):
        checked_scale(name, value, zero=name == "beta")
    return found
