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
SCAN = np.geomspace(1e-8, 1e8, 24 * 16 + 1)
_STEP = math.log(10) / 24
_NODES = 16
# Where polynomials through sixteen and fourteen values differ by more than this, the value is computed.
_AGREE = 1e-12
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
        unsure = ~(np.abs(best - other) <= _AGREE * np.abs(best)) | outside
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
    """The expectations, in parts; says when they will take long."""
    found = np.empty(q.size)
    for i in range(_PARTS):
        start = time.perf_counter()
        found[i::_PARTS] = _expectation(function, q[i::_PARTS])
        left = (time.perf_counter() - start) * (_PARTS - 1 - i)
        # the first part compiles as well
        if i == 1 and left > _SAY_AFTER:
            warn(
                f"E[f(√q Z)²] of {function.name} has no fast method: {left:.0f} s more for {q.size} variances, once a "
                "nonlinearity; one with a closed form, or with a smaller factor of x, is faster",
                SlowMethodWarning,
            )
    return found


def _expectation(act: Activation, q: Array) -> Array:
    flat = q.ravel()
    try:
        values = np.asarray(gaussian_expectation(act, act, flat, flat, flat), dtype=np.float64)
    except DivergentExpectationError:
        values = np.array([_one_expectation(act, float(v)) for v in flat])
    return values.reshape(q.shape)


def _one_expectation(act: Activation, q: float) -> float:
    try:
        return float(gaussian_expectation(act, act, q, q, q))
    except DivergentExpectationError:
        return math.nan
