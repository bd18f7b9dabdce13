r"""E[σ(√q Z)²] and E[σ̇(√q Z)²] as functions of the variance q: pointwise, and between scanned values.

Both are averages over a Gaussian of scale √q, hence analytic in log q whatever σ is: polynomials through sixteen values, 24 a
decade, give them to 3e-13 (measured on nine nonlinearities, kinked ones among them; where they may not, to 1e-12, values are
computed).
"""

from __future__ import annotations

import math
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import floats
from kernelcalc.errors import DivergentExpectationError, SlowMethodWarning, warn
from kernelcalc.gaussian.expectation import gaussian_expectation

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Where fixed points are looked for; 24 points a decade tell apart fixed points a tenth of an e-fold from each other.
_PER_DECADE = 24
SCAN = np.geomspace(1e-8, 1e8, _PER_DECADE * 16 + 1)
_STEP = math.log(10) / _PER_DECADE
_NODES = 16
# Where polynomials through sixteen and fourteen values differ by more than this, the value is computed.
AGREE = 1e-12
# The second of how many parts shows how long the rest takes; seconds that need no warning.
_PARTS, _SAY_AFTER = 7, 10.0


def variance_map(activation: Any, q: ArrayLike) -> Array:
    """E[σ(√q Z)²] for an array of q ≥ 0; NaN where it is infinite.

    Examples
    --------
    >>> variance_map("relu", [0.0, 1.0, 4.0])
    array([0. , 0.5, 2. ])
    """
    return _expectation(as_activation(activation), floats(q, "q", "numbers ≥ 0"))


def slope_map(activation: Any, q: ArrayLike) -> Array:
    """E[σ̇(√q Z)²] for an array of q ≥ 0, so that χ = σ_w² times it; NaN where it is infinite."""
    return _expectation(as_activation(activation).derivative(1), floats(q, "q", "numbers ≥ 0"))


class ScannedMap:
    """E[f(√q Z)²] for many q from its values at :data:`SCAN`, which are computed once.

    Examples
    --------
    >>> bool(np.allclose(scanned(as_activation("relu"))(np.array([0.3, 7.0])), [0.15, 3.5], rtol=1e-12))
    True
    """

    def __init__(self, function: Activation) -> None:
        self.function = function
        self.values: Array = _patiently(function, SCAN)

    def __call__(self, q: Array) -> Array:
        place = (np.log(np.maximum(q, SCAN[0])) - math.log(SCAN[0])) / _STEP
        best, other = (self._through(place, count) for count in (_NODES, _NODES - 2))
        outside = (q < SCAN[0]) | (q > SCAN[-1])
        unsure = ~(np.abs(best - other) <= AGREE * np.abs(best)) | outside
        if unsure.any():
            best[unsure] = _expectation(self.function, q[unsure])
        return best

    def _through(self, place: Array, count: int) -> Array:
        """Polynomials through ``count`` values around each place (in steps of the scan), by the barycentric formula."""
        first = np.clip(np.floor(place).astype(np.intp) - count // 2 + 1, 0, SCAN.size - count)
        offsets = np.arange(count)
        distance = (place - first)[..., None] - offsets
        weights = np.array([(-1.0) ** k * math.comb(count - 1, k) for k in range(count)])
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = weights / distance
            values = self.values[first[..., None] + offsets]
            found = np.sum(parts * values, axis=-1) / parts.sum(axis=-1)
        nearest = np.abs(distance).argmin(axis=-1)[..., None]
        at_node = np.take_along_axis(distance, nearest, -1)[..., 0] == 0
        return np.where(at_node, np.take_along_axis(values, nearest, -1)[..., 0], found)


@lru_cache(maxsize=16)
def scanned(function: Activation) -> ScannedMap:
    """The map of a function, kept: studies of one nonlinearity ask for it again."""
    return ScannedMap(function)


def _patiently(function: Activation, q: Array) -> Array:
    """The expectations at increasing q, in parts; says when they will take long."""
    found = np.full(q.size, np.nan)
    end = _finite_until(function, q)
    for i in range(_PARTS):
        start = time.perf_counter()
        found[i:end:_PARTS] = _expectation(function, q[i:end:_PARTS])
        left = (time.perf_counter() - start) * (_PARTS - 1 - i)
        # the first part compiles as well
        if i == 1 and left > _SAY_AFTER:
            warn(
                f"E[f(√q Z)²] of {function.name} has no fast method: {left:.0f} s more for {q.size} variances, once a "
                "nonlinearity; one with a closed form, or with a smaller factor of x, is faster",
                SlowMethodWarning,
            )
    return found


def _finite_until(function: Activation, q: Array) -> int:
    """How many of increasing q have a finite expectation: q far beyond, which are slow to give up, are not looked at."""
    steps = range(0, q.size, _PER_DECADE)
    end = next((i for i in steps if math.isnan(_expectation(function, q[i : i + 1])[0])), q.size)
    low = max(end - _PER_DECADE, 0) if end < q.size else end
    return low + int(np.isfinite(_expectation(function, q[low:end])).sum())


def _expectation(act: Activation, q: Array) -> Array:
    order = np.argsort(q, axis=None)
    values = np.empty(q.size)
    values[order] = _increasing(act, q.ravel()[order])
    return values.reshape(q.shape)


def _increasing(act: Activation, q: Array) -> Array:
    """At increasing q; what is infinite at one is so at all that are larger, whose densities are nowhere much smaller."""
    try:
        return np.asarray(gaussian_expectation(act, act, q, q, q), dtype=np.float64).reshape(q.shape)
    except DivergentExpectationError:
        if q.size == 1:
            return np.array([math.nan])
    half = q.size // 2
    left = _increasing(act, q[:half])
    right = np.full(q.size - half, math.nan) if math.isnan(left[-1]) else _increasing(act, q[half:])
    return np.concatenate([left, right])
