r"""Bounded gradients over sublevel sets (BGOSS) of a loss :math:`C(Y) = \frac1N \sum_{ia} c(Y_{ia}, t_{ia})` with convex c.

On {C ≤ a} an entry has :math:`c ≤ N a - \sum_{\text{others}} \min c`. A convex c that is finite on the line has bounded
slopes where it is bounded from above: C has BGOSS if c is bounded from below, as exp(-y) is, and in general not otherwise: with
exp(-y) - y one point may climb without bound while another sinks. A c with a domain, as y - log(y), is infinite outside of it.

References
----------
Jacot, Gabriel, Hongler (ICLR 2020), Definition 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

Function = Callable[[float], float]

# How far out limits at infinity are judged, and halvings of an interval.
_FAR_OUT = (1e6, 1e9, 1e12)
_STEPS = 200
# Where a domain is looked for: 0, and on both sides so many places a factor of ten, from 1e-12 to 1e12.
_PLACES_A_DECADE = 16


def least(c: Function, slope: Function) -> tuple[float, float]:
    """Where a convex function is least and its value there; -inf for one that sinks without bound (judged at 10⁶ to 10¹²).

    Not a number for one that is finite nowhere.
    """
    low, high = -_FAR_OUT[-1], _FAR_OUT[-1]
    for side, outward in ((low, 1.0), (high, -1.0)):
        rise = outward * slope(side)
        if math.isfinite(rise) and rise >= 0 and math.isfinite(c(side)):
            # still falling outwards, or flat, at the end of the line
            one, two, three = (c(math.copysign(far, side)) for far in _FAR_OUT)
            sinks = two - three > 1e-9 * max(abs(three), 1.0) and two - three > (one - two) / 2
            return side, -math.inf if sinks else three
    inside = _inside(c)
    if inside is None:
        return 0.0, math.nan
    for _ in range(_STEPS):
        half = (low + high) / 2
        s = slope(half)
        known = math.isfinite(s) and math.isfinite(c(half))
        if known and s == 0:
            return half, c(half)
        # outside of the domain, or beyond float64, the function falls towards what is inside
        falling = s < 0 if known else half < inside
        low, high = (half, high) if falling else (low, half)
    middle = low if math.isfinite(c(low)) else high
    return middle, c(middle)


def _inside(c: Function) -> float | None:
    """Where a function is finite."""
    decades = math.log10(_FAR_OUT[-1])
    sizes = np.logspace(-decades, decades, round(2 * decades * _PLACES_A_DECADE) + 1).tolist()
    places = (sign * size for size in sizes for sign in (1.0, -1.0))
    return next((y for y in itertools.chain([0.0], places) if math.isfinite(c(y))), None)


def steepest(c: Function, slope: Function, start: float, level: float) -> float:
    """Largest |c'| where c ≤ level, from the minimum at ``start`` outwards."""
    found = 0.0
    for sign in (-1.0, 1.0):
        inside, step = start, 1e-9 * max(abs(start), 1.0)
        while step < _FAR_OUT[-1] and c(start + sign * step) <= level:
            inside, step = start + sign * step, 2 * step
        outside = start + sign * step
        if not c(outside) <= level:
            for _ in range(_STEPS):
                half = (inside + outside) / 2
                inside, outside = (half, outside) if c(half) <= level else (inside, half)
        found = max(found, abs(slope(inside)))
    return found


def bound(c: Callable[[float, float], float], slope: Callable[[float, float], float], t: Array, level: float) -> float:
    """Bound of ‖∇C‖ on {C ≤ level} for targets t (N, n_out), 0 on an empty set.

    Infinite where c sinks without bound, or is finite nowhere to be seen.
    """
    values, counts = np.unique(t, return_counts=True)
    places = [least(lambda y, v=v: c(y, v), lambda y, v=v: slope(y, v)) for v in values]  # type: ignore[misc]
    lowest = float(sum(k * low for k, (_, low) in zip(counts, places, strict=True)))
    if not math.isfinite(lowest):
        return math.inf
    rest = len(t) * level - lowest
    if rest < 0:
        return 0.0
    total = 0.0
    for v, k, (at, low) in zip(values, counts, places, strict=True):
        own = steepest(lambda y, v=v: c(y, v), lambda y, v=v: slope(y, v), at, low + rest)  # type: ignore[misc]
        total += k * own**2
    return math.sqrt(total) / len(t)
