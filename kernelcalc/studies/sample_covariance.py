r"""Sample covariances of any population: Marčenko and Pastur's law, its edges, and what becomes of a population's outliers.

For :math:`S = \frac1n Σ^{1/2} Z Z^T Σ^{1/2}` with Z (p, n) of independent entries, γ = p/n and the spectrum H of Σ, all is in

.. math:: ψ(α) = α + γ\, α \int \frac{τ\, dH(τ)}{α - τ},

the inverse of :math:`z \mapsto -1/\underline m(z)`, :math:`\underline m` being the Stieltjes transform of the companion matrix
(Silverstein's equation): a real α outside of H with ψ' > 0 is a point ψ(α) outside of the support, and inside the support x =
ψ(u + iv) with the one v > 0 that makes it real, where the density of S is :math:`\mathrm{Im}(-1/α)/πγ`.

References
----------
Marčenko, Pastur, Math. USSR Sb. 1 (1967). Silverstein, Choi, J. Multivariate Anal. 54 (1995).
Baik, Ben Arous, Péché, Ann. Probab. 33 (2005). Bloemendal, Knowles, Yau, Yin, Probab. Theory Relat. Fields 164 (2016).
Bai, Yao, J. Multivariate Anal. 106 (2012), outliers of any population.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, check_number, floats
from kernelcalc.errors import InputError, NotFiniteError, ShapeError
from kernelcalc.training.checks import levels_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array

# Bisections: an interval shrinks to the last bits of a float64.
_BISECTIONS = 60
# Points of the curve that the support is drawn with, and its every interval at least; steps of Newton from there to a given x.
_CURVE_POINTS, _ARC_POINTS, _NEWTON_STEPS = 2000, 24, 12
# An edge below this part of the other one is zero (γ = 1).
_EDGE_AT_ZERO = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class MarchenkoPastur:
    """Limit of the spectrum of a sample covariance.

    Attributes
    ----------
    values, weights : ndarray, (K,)
        Different positive eigenvalues of the population, ascending, and their shares; what is missing to 1 is at zero.
    gamma : float
        Variables over samples.
    """

    values: Array
    weights: Array
    gamma: float

    @classmethod
    def of(cls, population: ArrayLike, gamma: float, weights: ArrayLike | None = None) -> MarchenkoPastur:
        """For a population's eigenvalues (any order, zeros allowed), equally weighted unless ``weights`` says otherwise.

        Raises
        ------
        InputError, ShapeError, NotFiniteError
            Negative eigenvalues or weights, none above zero, γ ≤ 0, NaN.

        Examples
        --------
        >>> MarchenkoPastur.of([1.0], 0.25).support.round(12).tolist()
        [[0.25, 2.25]]
        """
        if check_number("gamma", gamma) == 0:
            raise InputError("gamma > 0", repr(gamma))
        tau = floats(population, "population", "eigenvalues").ravel()
        w = np.ones_like(tau) if weights is None else floats(weights, "weights", "numbers").ravel()
        if w.shape != tau.shape:
            raise ShapeError(f"{tau.size} weights", str(w.size))
        if not (np.isfinite(tau).all() and np.isfinite(w).all()):
            raise NotFiniteError("finite eigenvalues and weights", "NaN or infinity")
        if tau.size == 0 or (tau < 0).any() or (w < 0).any() or not (w[tau > 0] > 0).any():
            raise InputError("eigenvalues ≥ 0, some above zero, and weights ≥ 0", repr(population))
        kept = (tau > 0) & (w > 0)
        values, index = np.unique(tau[kept], return_inverse=True)
        shares = np.asarray(np.bincount(index, weights=w[kept] / w.sum()), dtype=np.float64)
        return cls(values=values, weights=shares, gamma=float(gamma))

    @property
    def atom(self) -> float:
        """Share of zeros of S: those of the population, or 1 - 1/γ where the samples are too few."""
        return max(1 - float(self.weights.sum()), 1 - 1 / self.gamma, 0.0)

    def psi(self, alpha: Any) -> Any:
        """ψ(α), for real or complex α outside of the population."""
        a = np.asarray(alpha)[..., None]
        return a[..., 0] * (1 + self.gamma * np.sum(self.weights * self.values / (a - self.values), axis=-1))

    def slope(self, alpha: Any) -> Any:
        """ψ'(α)."""
        a = np.asarray(alpha)[..., None]
        return 1 - self.gamma * np.sum(self.weights * (self.values / (a - self.values)) ** 2, axis=-1)

    @cached_property
    def _arcs(self) -> Array:
        """Intervals (u, u') of α's real part over which the support lies, (K', 2)."""
        tau, size = self.values, np.sqrt(self.gamma * self.weights.sum())
        # beyond these ψ' > 0, since the sum is at most that of all weight at the nearest eigenvalue
        far = tau[-1] * (1 + size) * (1 + 1e-9)
        low = -1e-9 * tau[0] - max(size - 1, 0.0) * tau[-1]
        ends = [self._root(np.array([tau[0]]), np.array([min(low, tau[0] * (1 - size))]))[0]]
        if tau.size > 1:
            # ψ' is concave between eigenvalues: a gap opens where its maximum is above zero
            left, right = tau[:-1], tau[1:]
            middle = _summit(tau, self.weights, left, right)
            open_ = self.slope(middle) > 0
            down = self._root(left[open_], middle[open_])
            up = self._root(right[open_], middle[open_])
            ends.extend(np.stack([down, up], axis=1).ravel())
        ends.append(self._root(np.array([tau[-1]]), np.array([far]))[0])
        return np.reshape(ends, (-1, 2))

    def _root(self, wrong: Array, good: Array) -> Array:
        """Where ψ' changes sign, between points where it is below and above zero."""
        for _ in range(_BISECTIONS):
            half = (wrong + good) / 2
            above = self.slope(half) > 0
            wrong, good = np.where(above, wrong, half), np.where(above, half, good)
        return (wrong + good) / 2

    @cached_property
    def support(self) -> Array:
        """Intervals of the spectrum above zero, (K', 2), ascending.

        Examples
        --------
        Populations far apart have separate bulks.

        >>> MarchenkoPastur.of([1.0, 20.0], 0.01).support.round(2).tolist()
        [[0.86, 1.14], [17.28, 22.93]]
        """
        return np.maximum(np.asarray(self.psi(self._arcs), dtype=np.float64), 0.0)

    @property
    def edges(self) -> tuple[float, float]:
        """The lowest and the highest point of the spectrum above zero."""
        return float(self.support[0, 0]), float(self.support[-1, 1])

    def _height(self, u: Array) -> Array:
        """v(u) ≥ 0 with Im ψ(u + iv) = 0."""
        low, high = np.zeros_like(u), np.full_like(u, np.sqrt(self.gamma) * self.values[-1])
        squares = self.gamma * self.weights * self.values**2
        for _ in range(_BISECTIONS):
            half = (low + high) / 2
            inside = np.sum(squares / ((u[:, None] - self.values) ** 2 + half[:, None] ** 2), axis=1) > 1
            low, high = np.where(inside, half, low), np.where(inside, high, half)
        return (low + high) / 2

    @cached_property
    def _curves(self) -> list[tuple[Array, NDArray[np.complex128]]]:
        """Of every interval of the support: points x and their α."""
        found, count = [], min(max(_CURVE_POINTS // len(self._arcs), _ARC_POINTS), _CURVE_POINTS // 4)
        for start, stop in self._arcs:
            # as dense at the ends as square roots need
            u = (start + stop - (stop - start) * np.cos(np.linspace(0, np.pi, count))) / 2
            alpha = u + 1j * self._height(u)
            alpha[[0, -1]] = start, stop
            x = np.maximum.accumulate(np.maximum(self.psi(alpha).real, 0.0))
            found.append((x, alpha))
        return found

    def density(self, x: ArrayLike) -> Array:
        """Density of the spectrum at positive x, without the atom at zero.

        Examples
        --------
        >>> float(MarchenkoPastur.of([2.0], 0.5).density(2.0).round(6))
        0.210542
        """
        points = floats(x, "x", "numbers")
        flat, result = points.ravel(), np.zeros(points.size)
        for known, alpha in self._curves:
            inside = (flat > max(known[0], 0.0)) & (flat < known[-1])
            if not inside.any():
                continue
            target = flat[inside]
            a = np.interp(target, known, alpha.real) + 1j * np.interp(target, known, alpha.imag)
            for _ in range(_NEWTON_STEPS):
                step = (self.psi(a) - target) / self.slope(a)
                # half steps where the whole one leaves the upper half plane
                a = a - np.where((a - step).imag > 0, step, step / 2)
                a = a.real + 1j * np.abs(a.imag)
            result[inside] = (-1 / a).imag / (np.pi * self.gamma)
        return np.asarray(result.reshape(points.shape))

    @cached_property
    def _masses(self) -> list[tuple[Array, Array]]:
        """Of every interval of the support: points x and the share of eigenvalues from its start to there."""
        found = []
        for known, alpha in self._curves:
            f = (-1 / np.where(alpha == 0, 1.0, alpha)).imag / (np.pi * self.gamma)
            cells = np.diff(known) * (f[1:] + f[:-1]) / 2
            if known[0] < _EDGE_AT_ZERO * known[-1]:
                cells[0] = 2 * known[1] * f[1]  # of the density 1/√x at a support that begins at zero
            found.append((known, np.concatenate([[0.0], np.cumsum(cells)])))
        return found

    def cdf(self, x: ArrayLike) -> Array:
        """Share of eigenvalues up to x, the atom at zero included."""
        points = floats(x, "x", "numbers")
        total = np.where(points >= 0, self.atom, 0.0)
        for known, mass in self._masses:
            total = total + np.interp(points, known, mass)
        return np.asarray(np.minimum(total, 1.0))

    def positive_quantile(self, level: ArrayLike) -> Array:
        """Quantiles of the eigenvalues above zero."""
        starts = np.cumsum([0.0, *(mass[-1] for _, mass in self._masses)])
        shares = np.concatenate([a + mass for a, (_, mass) in zip(starts, self._masses, strict=False)]) / starts[-1]
        points = np.concatenate([known for known, _ in self._masses])
        return np.asarray(np.interp(levels_of(level), shares, points))

    def outlier(self, spike: ArrayLike) -> Array:
        """Limit of the sample eigenvalue of a single eigenvalue ℓ added to the population: ψ(ℓ) where ψ'(ℓ) > 0, else nan.

        Without one the spike hides in the bulk. For a population of ones this is ℓ(1 + γ/(ℓ - 1)) beyond 1 ± √γ.

        Examples
        --------
        >>> MarchenkoPastur.of([1.0], 0.25).outlier([1.2, 3.0])
        array([  nan, 3.375])
        """
        ell = floats(spike, "spike", "numbers")
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = self.slope(ell) > 0
            return np.asarray(np.where(seen, self.psi(ell), np.nan))

    def overlap(self, spike: ArrayLike) -> Array:
        """Limit of the squared overlap of sample and population eigenvector of a spike: ℓ ψ'(ℓ)/ψ(ℓ), 0 where it hides."""
        ell = floats(spike, "spike", "numbers")
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.asarray(self.slope(ell))
            return np.where(slope > 0, ell * slope / np.asarray(self.psi(ell)), 0.0)


def _summit(values: Array, weights: Array, left: Array, right: Array) -> Array:
    """Where ψ' is largest between neighbouring eigenvalues: where its own slope changes sign."""
    for _ in range(_BISECTIONS):
        half = (left + right) / 2
        rising = np.sum(weights * values**2 / (half[:, None] - values) ** 3, axis=1) > 0
        left, right = np.where(rising, half, left), np.where(rising, right, half)
    return np.asarray((left + right) / 2)


def sampled_outliers(population: ArrayLike, gamma: float, count: int) -> Array:
    """Where the ``count`` largest eigenvalues of a population go in a sample covariance, each an outlier of the others' law.

    Those that hide in the bulk are nan.

    Parameters
    ----------
    population : array_like, (p,)
        All eigenvalues, zeros included.
    gamma : float
        p over the number of samples.
    count : int
        Less than p.

    Examples
    --------
    >>> sampled_outliers([9.0, 1.2] + [1.0] * 998, 0.25, 2).round(2)
    array([9.28,  nan])
    """
    values = np.sort(floats(population, "population", "eigenvalues").ravel())[::-1]
    check_count("count", count, 1)
    if count >= values.size:
        raise InputError(f"fewer outliers than eigenvalues, {values.size}", str(count))
    found = [MarchenkoPastur.of(np.delete(values, i), gamma).outlier(values[i]) for i in range(count)]
    return np.asarray(found, dtype=np.float64)
