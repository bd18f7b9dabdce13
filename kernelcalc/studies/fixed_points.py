r"""Fixed points of the layer map of the variance, :math:`q \mapsto σ_w^2 E[σ(\sqrt q Z)^2] + β^2`, and χ there.

Where the map is below its argument q falls, where above it rises: fixed points are where this changes, or where it nearly does.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Remark 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import check_number
from kernelcalc.arrays import EPS, Array
from kernelcalc.errors import PrecisionWarning, warn
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.kernels.layer import checked_scale
from kernelcalc.patience import watched
from kernelcalc.results.result import Result
from kernelcalc.studies.variance import SCAN, scanned, slope_map, variance_map

# χ this close to 1 is called critical.
_CRITICAL = 1e-9
# Relative to q: below, the sign of what a layer changes of it is rounding's.
_UNRESOLVED = 1e-13
# A relative change that is this small at a scanned variance may vanish next to it, less than a tenth of an e-fold away.
_DIPPING = 0.02
# Fixed points known worse than this, relative, are warned of.
PROMISED = 1e-9
# Stands for q = 0 in χ of a kink at 0: of √q, by which one side's slope differs from its limit, nothing is left.
_NEXT_TO_ZERO = 1e-200


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
        χ = σ_w² E[σ̇(√q Z)²]: growth of small differences per layer; order below 1, chaos above. Infinite under jumps.
    """

    q: float
    slope: float
    chi: float

    @property
    def stable(self) -> bool:
        """Whether the variance converges to q from nearby, by a factor a layer; at a slope of 1 it is slower, if at all."""
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
    r"""All fixed points q of :math:`q \mapsto σ_w^2 E[σ(\sqrt q Z)^2] + β^2` up to 1e8.

    Parameters
    ----------
    activation : Activation, str or callable
        The nonlinearity.
    sigma_w, beta : float
        Scales of weights and biases.

    Returns
    -------
    tuple of FixedPoint
        By increasing q. Empty when the variance grows beyond 1e8, as a rule without bound. A map that is linear in q (relu
        with σ_w = √2 and β = 0) keeps every q: then q = 0 alone is reported, with slope 1.

    Raises
    ------
    InputError, UnknownNameError, ExpressionError
        What is no activation, or a negative scale.

    Warns
    -----
    PrecisionWarning
        A fixed point that rounding moves by more than 1e-9: the slope is nearly 1 there.

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
    sigma_w, beta = scales(sigma_w, beta)
    found = [fixed_point(act, sigma_w, q) for q in sorted(_roots(act, sigma_w, beta))]
    for point in found:
        _say_how_well(act, sigma_w, point)
    if sigma_w**2 * value_at_zero(act) ** 2 + beta**2 == 0:
        found.insert(0, fixed_point(act, sigma_w, 0.0))
    return tuple(found)


def fixed_point(act: Activation, sigma_w: float, q: float) -> FixedPoint:
    """Slope and χ at a fixed point q."""
    if q == 0:
        chi = _finite_or_infinite(sigma_w**2 * float(slope_map(act, least_variance(act))))
        return FixedPoint(q=0.0, slope=chi, chi=chi)
    chi = _finite_or_infinite(sigma_w**2 * float(slope_map(act, q)))
    # Derivative by Richardson's extrapolation of central differences, error of order 1e-10.
    h = 1e-3
    d = [
        (float(variance_map(act, q * (1 + k * h))) - float(variance_map(act, q * (1 - k * h)))) / (2 * k * h * q)
        for k in (1, 2)
    ]
    return FixedPoint(q=q, slope=sigma_w**2 * (4 * d[0] - d[1]) / 3, chi=chi)


def _say_how_well(act: Activation, sigma_w: float, point: FixedPoint) -> None:
    """Warn where the error of the expectation, or rounding, moves a fixed point: by error/|1 − slope|."""
    q = point.q
    error = sigma_w**2 * float(gaussian_expectation(act, act, q, q, q, full_output=True).error) + EPS * q
    if not error <= PROMISED * q * abs(1 - point.slope):
        moved = error / q / max(abs(1 - point.slope), EPS)
        warn(
            f"the fixed point q = {q:.6g} of {act.name} is known to a relative {moved:.1g} only: the slope of the variance's "
            "map is nearly 1 there",
            PrecisionWarning,
        )


def value_at_zero(act: Activation) -> float:
    """σ(0)."""
    return float(act(np.zeros(1))[0])


def least_variance(act: Activation) -> float:
    """The variance that stands for q = 0 in χ: of a kink at zero both sides count, however small q is."""
    return _NEXT_TO_ZERO if 0.0 in act.kinks else 0.0


def signs(gap: Array, q: Array) -> Array:
    """1 where a layer raises the variance q by ``gap``, −1 where it lowers it, 0 where rounding decides, NaN beyond float64."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(gap) <= _UNRESOLVED * q, 0.0, np.sign(np.where(np.isfinite(gap), gap, np.nan)))


def scales(sigma_w: Any, beta: Any) -> tuple[float, float]:
    """σ_w > 0 and β ≥ 0 as numbers.

    Raises
    ------
    InputError
    """
    found = check_number("sigma_w", sigma_w), check_number("beta", beta)
    for name, value in zip(("sigma_w", "beta"), found, strict=True):
        checked_scale(name, value, zero=name == "beta")
    return found


def _roots(act: Activation, sigma_w: float, beta: float) -> Iterator[float]:
    """The positive fixed points."""

    def gap(q: float) -> float:
        return sigma_w**2 * float(variance_map(act, q)) + beta**2 - q

    points, gaps = SCAN, sigma_w**2 * scanned(act).values + beta**2 - SCAN
    start = sigma_w**2 * value_at_zero(act) ** 2 + beta**2
    if start > 0 and not signs(gaps, points)[0] > 0:
        low = min(start, float(SCAN[0])) / 4
        tail = np.geomspace(low, SCAN[0], 2 + math.ceil(3 * math.log10(SCAN[0] / low)))[:-1]
        points = np.concatenate([tail, points])
        gaps = np.concatenate([sigma_w**2 * variance_map(act, tail) + beta**2 - tail, gaps])
    sign = signs(gaps, points)
    known = np.flatnonzero(np.abs(sign) == 1)
    for i, j in zip(known[:-1], known[1:], strict=True):
        if sign[i] != sign[j] and not np.isnan(sign[i:j]).any():
            yield float(brentq(gap, points[i], points[j], xtol=1e-15 * points[i], rtol=1e-13))
    change = np.abs(gaps) / points
    for i in range(1, sign.size - 1):
        dips = change[i] < _DIPPING and (change[i] < (1 - _UNRESOLVED) * change[[i - 1, i + 1]]).all()
        if dips and abs(sign[i]) == 1 and (sign[[i - 1, i + 1]] == sign[i]).all():
            yield from _between(gap, float(sign[i]), float(points[i - 1]), float(points[i + 1]))


def _between(gap: Any, sign: float, low: float, high: float) -> Iterator[float]:
    """Fixed points where a layer's change of q nearly vanishes, of one sign at both ends: two, one where it touches 0, none."""
    best = minimize_scalar(
        lambda u: sign * gap(math.exp(u)) / math.exp(u), bounds=(math.log(low), math.log(high)), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    middle = math.exp(best.x)
    if best.fun < -_UNRESOLVED:
        for a, b in ((low, middle), (middle, high)):
            yield float(brentq(gap, a, b, xtol=1e-15 * a, rtol=1e-13))
    elif best.fun <= _UNRESOLVED:
        yield middle


def _finite_or_infinite(chi: float) -> float:
    return math.inf if math.isnan(chi) else chi


def _depth_scale(factor: float) -> float:
    if factor <= 0 or math.isinf(factor):
        return 0.0
    return math.inf if factor == 1 else 1 / abs(math.log(factor))
