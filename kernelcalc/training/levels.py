r"""Quantiles of many laws of quadratic forms at once, each along one contour.

A law of variance 1 and mean 0 has the tail and density of :class:`~kernelcalc.training.inversion.Tail`,

.. math:: P(> x) = \frac{1}{2πi} \int e^{K(s) - sx} \frac{ds}{s}, \qquad p(x) = \frac{1}{2πi} \int e^{K(s) - sx} ds.

Any contour to the right of 0 and to the left of the singularities of K will do. Here it goes through the saddle point of a
first guess of the quantile; K is computed on it once, and each of Newton's steps in x costs an exponential.

References
----------
Rice, "Distribution of quadratic forms in normal random variables", SIAM J. Sci. Stat. Comput. 1 (1980).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from kernelcalc.training.inversion import BENDS, contour, cumulants, curvature, edge, slope, third_cumulant

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Where the integrands of contours are looked at, and what is negligible of these.
_LOOKS = np.arange(0.0, 12.5, 0.5)
_TOO_SMALL = 1e-10
# Places of a contour, an even number of steps; the guess of a bounded law stays this part of the edge below it.
_CONTOUR_STEPS, _BELOW_EDGE = 64, 0.1
_SADDLE_HALVINGS, _NEWTONS = 24, 12


@dataclass(frozen=True, eq=False)
class Laws:
    """Rows of laws of Σ λ(ξ² - 1) + lξ over terms, each of variance 1: λ, sums of l² and numbers of terms, (R, J) each."""

    weights: Array
    squares: Array
    counts: Array

    def of_rows(self, rows: Any, sign: Array) -> Laws:
        """The laws of some rows, turned round where the sign is -1."""
        return Laws(self.weights[rows] * sign[:, None], self.squares[rows], self.counts[rows])

    @property
    def terms(self) -> tuple[Array, Array, Array]:
        """Weights, squares and counts."""
        return self.weights, self.squares, self.counts

    def k(self, s: Array) -> Array:
        """K(s), (R, P), of s (R, P)."""
        weights, squares, counts = (one[:, None] for one in self.terms)
        return np.asarray(cumulants(weights, squares, counts, s))

    def saddle(self, x: Array) -> Array:
        """Where K'(s) - 1/s = x, about, (R,)."""
        least = 2 * np.maximum(self.weights.max(axis=-1), 0.0)
        low, high = np.zeros(len(x)), np.ones(len(x))
        for _ in range(_SADDLE_HALVINGS):
            middle = (low + high) / 2
            s = 1 / (1 / middle - 1 + least)
            right = slope(*self.terms, s) - 1 / s > x
            low, high = np.where(right, low, middle), np.where(right, middle, high)
        return np.asarray(1 / (1 / low.clip(0.5**_SADDLE_HALVINGS) - 1 + least))


def quantiles(laws: Laws, levels: Array, error: float) -> Array:
    """Quantiles (R, Q) of levels (Q,), in standard deviations, to ``error`` in the level; NaN where that is not met."""
    with np.errstate(all="ignore"):
        z, third = ndtri(levels), third_cumulant(*laws.terms)[:, None]
        guess = (z + third * (z * z - 1) / 6).ravel()
        sign = np.where(guess < 0, -1.0, 1.0)
        wanted = np.where(sign > 0, 1 - np.tile(levels, len(third)), np.tile(levels, len(third)))
        turned = laws.of_rows(np.repeat(np.arange(len(third)), levels.size), sign)
        x = np.minimum(np.abs(guess), (1 - _BELOW_EDGE) * edge(*turned.terms))
        return np.asarray(sign * _solved(turned, x, wanted, error)).reshape(len(third), levels.size)


def _solved(laws: Laws, x: Array, wanted: Array, error: float) -> Array:
    """Where tails are as wanted."""
    s = laws.saddle(x)
    width = 1 / np.sqrt(curvature(*laws.terms, s) + s**-2)
    bent, end = _shortest(laws, s, width, x)
    places = end[:, None] / _CONTOUR_STEPS * np.arange(_CONTOUR_STEPS + 1)
    line, weight = contour(s[:, None], width[:, None], bent[:, None], places)
    weight[:, 0] /= 2
    exponent = laws.k(line)
    step = end / _CONTOUR_STEPS / np.pi
    for _ in range(_NEWTONS):
        values = np.exp(exponent - line * x[:, None]) * weight
        tails = (values / line).real
        tail = step * tails.sum(axis=-1)
        left = tail - wanted
        if not (np.abs(left) > error / 1000).any():
            break
        x = x + np.clip(left / (step * values.real.sum(axis=-1)), -1.0, 1.0)
    # the trapezoidal rule converges geometrically: half of the places show what all of them leave
    coarse = 2 * step * tails[:, ::2].sum(axis=-1)
    met = (np.abs(left) <= error / 100) & (np.abs(tail - coarse) <= error / 100)
    return np.where(met & (np.abs(values[:, -1]) <= error / 100), x, np.nan)


def _shortest(laws: Laws, s: Array, width: Array, x: Array) -> tuple[Array, Array]:
    """Slopes of the contours whose integrands are negligible first, and where, (R,) each; NaN where none is."""
    ends = np.empty((len(BENDS), len(x)))
    for end, bent in zip(ends, BENDS, strict=True):
        line, weight = contour(s[:, None], width[:, None], bent, _LOOKS)
        sizes = (laws.k(line) - line * x[:, None]).real + np.log(np.abs(weight))
        alive = ~(sizes < np.log(_TOO_SMALL))
        last = _LOOKS.size - 1 - np.argmax(alive[:, ::-1], axis=1)
        fits = (last < _LOOKS.size - 1) & ~(np.nanmax(sizes, axis=1) > sizes[:, 0] + 3)
        end[:] = np.where(fits, _LOOKS[np.minimum(last + 1, _LOOKS.size - 1)], np.inf)
    best = np.argmin(ends, axis=0)
    end = ends[best, np.arange(len(x))]
    return np.array(BENDS)[best], np.where(np.isfinite(end), end, np.nan)
