r"""From the cumulant function of a quadratic form of Gaussians to its tail, density and quantiles.

References
----------
Lugannani, Rice, "Saddle point approximation for the distribution of the sum of independent random variables",
Adv. Appl. Probab. 12 (1980).
Rice, "Distribution of quadratic forms in normal random variables", SIAM J. Sci. Stat. Comput. 1 (1980).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from kernelcalc.errors import PrecisionError

if TYPE_CHECKING:
    from kernelcalc.arrays import Array

# Accuracy of probabilities asked of the inversion, absolute.
_TOLERANCE = 1e-11
# Size of the integrand that leaves that much to what is beyond.
_BEYOND = 1e-3 * _TOLERANCE
# How much further a contour goes that is taken for points nearby as well.
_MARGIN = 0.5
_HALVINGS = 9
# Slopes of the contour beside the vertical line, half steps in a looked at, and so many at a time.
BENDS = (3**-0.5, -(3**-0.5), 0.0)
_PLACES, _STRETCH = 120, 12
# Beyond any end: the mark of a contour along which the integrand grows.
_LONGEST = 1e3
# Below this |2sλ| the series of the logarithm, to this order, is right to rounding.
_SMALL_TERM, _SUMMED_ORDER = 0.05, 12


def cumulants(weights: Array, squares: Array, counts: Array, s: Array) -> Any:
    """K(s) of one copy, terms along the last axis; any complex s, whose axes are those of the terms before the last."""
    scaled = s[..., None] * weights
    terms = -counts * (0.5 * np.log1p(-2 * scaled) + scaled) + s[..., None] ** 2 * squares / (2 - 4 * scaled)
    return terms.sum(axis=-1)


def slope(weights: Array, squares: Array, counts: Array, s: Any) -> Any:
    """K'(s), as :func:`cumulants` has K."""
    s = np.asarray(s)[..., None]
    one = 1 - 2 * s * weights
    return (2 * s * counts * weights**2 / one + s * squares * (1 - s * weights) / one**2).sum(axis=-1)


def curvature(weights: Array, squares: Array, counts: Array, s: Any) -> Any:
    """K''(s), as :func:`cumulants` has K."""
    one = 1 - 2 * np.asarray(s)[..., None] * weights
    return (2 * counts * weights**2 / one**2 + squares / one**3).sum(axis=-1)


def third_cumulant(weights: Array, squares: Array, counts: Array) -> Any:
    """The third derivative of K at 0."""
    return 8 * np.sum(counts * weights**3 + 0.75 * weights * squares, axis=-1)


def edge(weights: Array, squares: Array, counts: Array) -> Any:
    """The largest value; infinite where there is none.

    A sum of negative squares alone ends at its maximum; a component without square reaches everywhere.
    """
    square = weights != 0
    ratios = np.divide(squares, 4 * weights, out=np.zeros_like(weights), where=square)
    bounded = (weights <= 0).all(axis=-1) & ~((squares != 0) & ~square).any(axis=-1)
    return np.where(bounded, -np.sum(counts * weights + ratios, axis=-1), np.inf)


def contour(s: Any, width: Any, bent: Any, a: Array) -> tuple[Any, Any]:
    """s + iv + bent (√(v² + width²) - width), v = width sinh a, and its derivative by a over i."""
    v, root = width * np.sinh(a), width * np.cosh(a)
    return s + bent * (root - width) + 1j * v, root - 1j * bent * v


class Standard:
    """A :class:`~kernelcalc.training.quadratic.QuadraticLaw` shifted and scaled to mean 0, variance 1, both ways round."""

    def __init__(self, weights: Array, squares: Array, counts: Array, copies: int) -> None:
        self.upper: Tail = Tail(weights, squares, counts, copies)
        self.lower: Tail = Tail(-weights, squares, counts, copies)

    @classmethod
    def of(cls, weights: Array, linear: Array, copies: int, std: float) -> Standard:
        """Of all terms of a law."""
        keep = np.abs(weights) + np.abs(linear) > 1e-13 * std * math.sqrt(copies)
        scale = std * copies
        weights, squares = weights[keep] / scale, (linear[keep] / scale) ** 2
        # Outputs share their weights: equal ones count together.
        weights, where = np.unique(weights, return_inverse=True)
        counts = np.bincount(where).astype(np.float64)
        squares = np.bincount(where, squares).astype(np.float64)
        return cls(weights, squares, counts, copies)

    def cdf_and_pdf(self, u: float) -> tuple[float, float]:
        if u >= 0:
            beyond, density = self.upper.invert(u)
            return 1 - beyond, density
        return self.lower.invert(-u)

    def lugannani_rice(self, u: float) -> float:
        return 1 - self.upper.lugannani_rice(u) if u >= 0 else self.lower.lugannani_rice(-u)

    def quantile(self, level: float) -> float:
        # Chebyshev: P(|u| ≥ k) ≤ 1/k².
        width = 1.01 / math.sqrt(min(level, 1 - level))
        low, high = max(-width, -self.lower.edge), min(width, self.upper.edge)
        u = min(max(self.upper.cornish_fisher(level), low), high)
        self.upper.forget()
        self.lower.forget()
        for _ in range(100):
            below, density = self.cdf_and_pdf(u)
            if abs(below - level) <= 10 * _TOLERANCE or high - low <= 1e-14 * max(1.0, width):
                return u
            low, high = (u, high) if below < level else (low, u)
            newton = u - (below - level) / density if density > 0 else math.inf
            u = newton if low < newton < high else (low + high) / 2
        raise PrecisionError(f"the quantile of level {level} did not converge")


class Tail:
    """Upper tail of Σ over copies of λ(ξ² - 1) + lξ, of variance 1, by its cumulant function K(s).

    Terms of equal λ are one entry: their number in ``counts``, the sum of their l² in ``squares``.
    """

    weights: Array
    squares: Array
    counts: Array
    copies: int
    bends: tuple[float, ...]
    end: float | None

    def __init__(self, weights: Array, squares: Array, counts: Array, copies: int) -> None:
        order = np.argsort(-np.abs(weights), kind="stable")
        weights, squares, counts = weights[order], squares[order], counts[order]
        self.weights, self.squares, self.counts, self.copies = weights, squares, counts, copies
        self.sizes: Array = np.abs(weights)
        self.sums: dict[int, tuple[Array, Array]] = {}
        self.forget()
        largest = weights.max(initial=0.0)
        self.s_max: float = 0.5 / largest if largest > 0 else math.inf
        self.edge: float = copies * float(edge(weights, squares, counts))

    def forget(self) -> None:
        """Look for a contour and its end again, as at points far from the last one."""
        self.bends, self.end = BENDS, None

    def k(self, s: Any) -> Any:
        """K(s) for an array of complex s; terms of small |sλ| together, by their power sums."""
        s = np.asarray(s)
        reach = float(np.abs(s).max(initial=0.0))
        large = (
            slice(0, int(np.searchsorted(-self.sizes, -_SMALL_TERM / (2 * reach))))
            if 0 < reach < math.inf
            else slice(None)
        )
        total = cumulants(self.weights[large], self.squares[large], self.counts[large], s)
        if large.stop is not None and large.stop < self.weights.size:
            # Σ counts (2sλ)^n/2n (n ≥ 2) + s² Σ squares (2sλ)^n/2 (n ≥ 0), by Horner.
            counted, squared = self.power_sums(large.stop)
            rest = np.zeros_like(total)
            for n in range(_SUMMED_ORDER, -1, -1):
                rest = 2 * s * rest + squared[n] / 2 + 4 * counted[n + 2] / (2 * (n + 2))
            total = total + s**2 * rest
        return self.copies * total

    def power_sums(self, first: int) -> tuple[Array, Array]:
        """Σ counts λ^n and Σ squares λ^n, n = 0, 1, ..., of the terms from ``first`` on."""
        if first not in self.sums:
            powers = self.weights[first:] ** np.arange(_SUMMED_ORDER + 3)[:, None]
            self.sums[first] = powers @ self.counts[first:], powers @ self.squares[first:]
        return self.sums[first]

    def slope(self, s: float) -> float:
        """K'(s)."""
        return self.copies * float(slope(self.weights, self.squares, self.counts, s))

    def bend(self, s: float) -> float:
        """K''(s)."""
        return self.copies * float(curvature(self.weights, self.squares, self.counts, s))

    def cornish_fisher(self, level: float) -> float:
        """The quantile to first order in the skewness."""
        z = float(ndtri(level))
        return z + self._third() * (z * z - 1) / 6

    def _third(self) -> float:
        return self.copies * float(third_cumulant(self.weights, self.squares, self.counts))

    def saddle(self, x: float, pole: float) -> float:
        """Root in (0, s_max) of K'(s) - pole/s = x, the left-hand side being increasing."""
        from scipy.optimize import brentq

        def excess(s: float) -> float:
            return self.slope(s) - pole / s - x

        high = min(1.0, self.s_max / 2)
        while excess(high) < 0:
            high = 2 * high if math.isinf(self.s_max) else (high + self.s_max) / 2
        low = high
        while excess(low) > 0:
            low /= 2
        return low if low == high else float(brentq(excess, low, high, xtol=1e-12 * low, rtol=1e-12))

    def invert(self, x: float) -> tuple[float, float]:
        r"""P(> x) and the density at x ≥ 0: :math:`\frac{1}{2πi} \int e^{K(s) - sx} ds/s`, and the same without 1/s.

        The contour crosses the axis at the saddle point and is bent to the side where the integrand decays:
        s + iv ± (√(v² + w²) - w)/√3 with v = w sinh a. The trapezoidal rule in a converges geometrically.
        """
        if x >= self.edge * (1 - 1e-12):
            return 0.0, 0.0
        s = self.saddle(x, 1.0)
        w = 1 / math.sqrt(self.bend(s) + s**-2)
        step, previous, settled = 0.2, (math.nan, math.nan), False
        bend, a, values = self._contour_of_last(s, x, w, step)
        if values is None:
            bend, end = self._shortest(s, x, w)
            a = np.arange(0, end + step, step)
            values = self._values(s, x, w, bend, a)
        values[:, 0] *= 0.5
        sums = values.sum(axis=1)
        for _ in range(_HALVINGS):
            tail, density = (step / math.pi * sums.real).tolist()
            settled = abs(tail - previous[0]) <= _TOLERANCE
            if settled and abs(density - previous[1]) <= 1e-9 * (1 + density):
                return min(max(tail, 0.0), 1.0), max(density, 0.0)
            previous = tail, density
            sums = sums + self._values(s, x, w, bend, a + step / 2).sum(axis=1)
            a = np.sort(np.concatenate([a, a + step / 2]))
            step /= 2
        if settled:
            # The density can be infinite at a point where the distribution function is not.
            return min(max(previous[0], 0.0), 1.0), math.nan
        raise PrecisionError(f"the inversion of the law did not converge at {x:.6g} standard deviations from the mean")

    def _contour_of_last(self, s: float, x: float, w: float, step: float) -> tuple[float, Array, Array | None]:
        """Slope, places and integrands of the contour before, and no integrands if they are not negligible at its end."""
        bend, a = self.bends[0], np.arange(0, (self.end or 0.0) + step, step)
        if self.end is None:
            return bend, a, None
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._values(s, x, w, bend, a)
        return bend, a, values if np.abs(values[1, -2:]).max() < _BEYOND else None

    def _shortest(self, s: float, x: float, w: float) -> tuple[float, float]:
        """Slope and end of the shortest contour, of the slope before or, where that grows, of any."""
        bend, end = 0.0, math.inf
        for bends in (self.bends, BENDS):
            if end >= _LONGEST:
                bend, end = min((self._length(s, x, w, b) for b in bends), key=lambda pair: pair[1])
        self.bends, self.end = ((bend,), end + _MARGIN) if end < _LONGEST else (BENDS, None)
        return bend, end

    def _length(self, s: float, x: float, w: float, bend: float) -> tuple[float, float]:
        """The bend, and a beyond which the integrand of that contour, once small and falling, is negligible."""
        sizes, last = np.empty(0), 0
        for first in range(0, _PLACES, _STRETCH):
            a = np.arange(first, first + _STRETCH) / 2
            line, weight = contour(s, w, bend, a)
            with np.errstate(over="ignore", invalid="ignore"):
                size = (self.k(line) - line * x).real + np.log(np.abs(weight))
            sizes = np.concatenate([sizes, size])
            # Not a number: overflow of a growing integrand.
            alive = np.flatnonzero(~(size < math.log(_BEYOND)))
            last = first + int(alive[-1]) if alive.size else last
            if not alive.size and size[-1] < size[0]:
                break
        grows = np.nanmax(sizes) > sizes[0] + 3
        return bend, 0.5 * last + 0.5 + (_LONGEST if grows else 0.0)

    def _values(self, s: float, x: float, w: float, bend: float, a: Array) -> Array:
        """The integrands with and without 1/s at places of a contour, (2, places)."""
        line, weight = contour(s, w, bend, a)
        values = np.exp(self.k(line) - line * x) * weight
        return np.stack([values / line, values])

    def lugannani_rice(self, x: float) -> float:
        """P(> x) for x ≥ 0."""
        if x >= self.edge * (1 - 1e-12):
            return 0.0
        if x < 1e-4:
            return 0.5 - self._third() / (6 * math.sqrt(2 * math.pi)) - x / math.sqrt(2 * math.pi)
        s = self.saddle(x, 0.0)
        w = math.sqrt(2 * max(s * x - float(self.k(np.array(s))), 0.0))
        u = s * math.sqrt(self.bend(s))
        gauss = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
        return 0.5 * math.erfc(w / math.sqrt(2)) + gauss * (1 / u - 1 / w)
