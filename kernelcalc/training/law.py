r"""Laws of quadratic forms of Gaussians, and with them of Tr S(t), Tr S(t)² and the loss under MSE.

References
----------
Imhof, "Computing the distribution of quadratic forms in normal variables", Biometrika 48 (1961).
Lugannani, Rice, "Saddle point approximation for the distribution of the sum of independent random variables",
Adv. Appl. Probab. 12 (1980).
Rice, "Distribution of quadratic forms in normal random variables", SIAM J. Sci. Stat. Comput. 1 (1980).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import InputError, PrecisionError, ShapeError
from kernelcalc.training.flow import covariance_root, gram, initial_covariance
from kernelcalc.training.losses import MeanSquaredError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Accuracy of probabilities asked of the inversion, absolute.
_TOLERANCE = 1e-11
_HALVINGS = 9


@dataclass(frozen=True, kw_only=True, eq=False)
class QuadraticLaw:
    r"""Law of :math:`Q = c + \sum_j (λ_j ξ_j^2 + l_j ξ_j)`, ξ_j independent N(0, 1), or of a mean of copies of it.

    Attributes
    ----------
    weights, linear : ndarray, (J,)
        λ and l.
    constant : float
        c.
    copies : int
        The law is that of the mean of this many independent copies of Q.

    Examples
    --------
    >>> chi_squared = QuadraticLaw(weights=np.ones(4), linear=np.zeros(4), constant=0.0)
    >>> chi_squared.mean, chi_squared.variance, round(float(chi_squared.cdf(4.0)), 10)
    (4.0, 8.0, 0.5939941503)
    """

    weights: Array
    linear: Array
    constant: float
    copies: int = 1

    @classmethod
    def of(cls, form: ArrayLike, covariance: ArrayLike, means: ArrayLike | None = None) -> QuadraticLaw:
        r"""Law of :math:`\sum_k z_k^T A z_k`, :math:`z_k \sim N(μ_k, C)` independent.

        Parameters
        ----------
        form : array_like, (d, d)
            A, symmetric.
        covariance : array_like, (d, d)
            C, positive semidefinite.
        means : array_like, (d,) or (d, copies)
            μ_k as columns; one column of zeros by default.
        """
        a, c = np.asarray(form, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
        mu = np.zeros((len(a), 1)) if means is None else np.asarray(means, dtype=np.float64)
        mu = mu[:, None] if mu.ndim == 1 else mu
        if a.shape != c.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or len(mu) != len(a):
            raise ShapeError(
                "a form and a covariance (d, d) and means (d, copies)", f"{a.shape}, {c.shape}, {mu.shape}"
            )
        if not np.allclose(a, a.T, rtol=1e-9, atol=1e-12 * np.abs(a).max(initial=0)):
            raise InputError("a symmetric form", "an asymmetric one", "take (A + A.T)/2")
        return cls._from_root(a, covariance_root(c), mu)

    @classmethod
    def _from_root(cls, a: Array, root: Array, mu: Array) -> QuadraticLaw:
        inner = root.T @ a @ root
        weights, vectors = np.linalg.eigh((inner + inner.T) / 2)
        linear = 2 * vectors.T @ (root.T @ (a @ mu))
        return cls(
            weights=np.tile(weights, mu.shape[1]),
            linear=linear.T.ravel(),
            constant=float(np.sum(mu * (a @ mu))),
        )

    def averaged(self, copies: int) -> QuadraticLaw:
        """Law of the mean of independent copies, as of T networks."""
        if not isinstance(copies, int | np.integer) or copies < 1:
            raise InputError("a whole number of copies, at least 1", repr(copies))
        return QuadraticLaw(
            weights=self.weights, linear=self.linear, constant=self.constant, copies=self.copies * int(copies)
        )

    def cumulant(self, order: int) -> float:
        r"""κ_n = n! Σ_j [(2λ)^n/2n + l² (2λ)^{n-2}/2] (n ≥ 2), over copies^{n-1}; κ_1 = c + Σ λ."""
        if not isinstance(order, int | np.integer) or order < 1:
            raise InputError("a cumulant's order, at least 1", repr(order))
        if order == 1:
            return float(self.constant + self.weights.sum())
        double = 2 * self.weights
        terms = double**order / (2 * order) + self.linear**2 * double ** (order - 2) / 2
        return float(math.factorial(order) * terms.sum() / self.copies ** (order - 1))

    @property
    def mean(self) -> float:
        """κ_1."""
        return self.cumulant(1)

    @property
    def variance(self) -> float:
        """κ_2."""
        return self.cumulant(2)

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.variance)

    @property
    def skewness(self) -> float:
        """κ_3/κ_2^{3/2}; zero for a constant."""
        return self.cumulant(3) / self.variance**1.5 if self.variance > 0 else 0.0

    def cdf(self, x: ArrayLike, *, method: str = "inversion") -> Any:
        """P(Q ≤ x).

        Parameters
        ----------
        x : array_like
            Any shape.
        method : {"inversion", "saddlepoint"}
            Inversion of the Laplace transform on the vertical line through Rice's saddle point (absolute error about
            1e-10), or the formula of Lugannani and Rice (relative error of some percent, in the tails too).

        Raises
        ------
        PrecisionError
            The inversion does not converge.
        """
        if method not in ("inversion", "saddlepoint"):
            raise InputError("method 'inversion' or 'saddlepoint'", repr(method))
        one = self._cdf_and_pdf if method == "inversion" else self._lugannani_rice
        return self._each(lambda v: one(v)[0], x)

    def pdf(self, x: ArrayLike) -> Any:
        """Density at x, by the same inversion as :meth:`cdf`.

        Raises
        ------
        PrecisionError
            The inversion does not converge, as where the density is infinite.
        """
        density = self._each(lambda v: self._cdf_and_pdf(v)[1], x)
        if np.isnan(density).any():
            raise PrecisionError("the density is infinite at one of the points, or nearly so")
        return density

    def quantile(self, level: ArrayLike) -> Any:
        """Point x with P(Q ≤ x) = level, to 1e-10 in the level."""
        levels = np.asarray(level, dtype=np.float64)
        if not ((levels > 0) & (levels < 1)).all():
            raise InputError("levels between 0 and 1", f"{level!r}")
        return self._each(self._quantile, level)

    def sample(self, count: int, rng: Any = 0) -> Array:
        """Draws, (count,)."""
        generator = np.random.default_rng(rng)
        total = np.zeros(count)
        for _ in range(self.copies):
            xi = generator.standard_normal((count, self.weights.size))
            total += xi**2 @ self.weights + xi @ self.linear
        return self.constant + total / self.copies

    @staticmethod
    def _each(function: Any, x: ArrayLike) -> Any:
        points = np.asarray(x, dtype=np.float64)
        result = np.array([function(float(v)) for v in points.ravel()]).reshape(points.shape)
        return float(result) if result.ndim == 0 else result

    def _cdf_and_pdf(self, x: float) -> tuple[float, float]:
        if self.variance == 0:
            return float(x >= self.mean), 0.0
        below, density = _Standard(self).cdf_and_pdf((x - self.mean) / self.std)
        return below, density / self.std

    def _lugannani_rice(self, x: float) -> tuple[float, float]:
        if self.variance == 0:
            return float(x >= self.mean), 0.0
        return _Standard(self).lugannani_rice((x - self.mean) / self.std), math.nan

    def _quantile(self, level: float) -> float:
        if self.variance == 0:
            return self.mean
        return self.mean + self.std * _Standard(self).quantile(level)


class _Standard:
    """The law shifted and scaled to mean 0 and variance 1, both ways round."""

    def __init__(self, law: QuadraticLaw) -> None:
        keep = np.abs(law.weights) + np.abs(law.linear) > 1e-13 * law.std * math.sqrt(law.copies)
        scale = law.std * law.copies
        weights, squares = law.weights[keep] / scale, (law.linear[keep] / scale) ** 2
        # Outputs share their weights: equal ones count together.
        weights, where = np.unique(weights, return_inverse=True)
        counts = np.bincount(where).astype(np.float64)
        squares = np.bincount(where, squares).astype(np.float64)
        self.upper = _Tail(weights, squares, counts, law.copies)
        self.lower = _Tail(-weights, squares, counts, law.copies)

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
        for _ in range(100):
            below, density = self.cdf_and_pdf(u)
            if abs(below - level) <= 10 * _TOLERANCE or high - low <= 1e-14 * max(1.0, width):
                return u
            low, high = (u, high) if below < level else (low, u)
            newton = u - (below - level) / density if density > 0 else math.inf
            u = newton if low < newton < high else (low + high) / 2
        raise PrecisionError(f"the quantile of level {level} did not converge")


class _Tail:
    """Upper tail of Σ over copies of λ(ξ² - 1) + lξ, of variance 1, by its cumulant function K(s).

    Terms of equal λ are one entry: their number in ``counts``, the sum of their l² in ``squares``.
    """

    def __init__(self, weights: Array, squares: Array, counts: Array, copies: int) -> None:
        self.weights, self.squares, self.counts, self.copies = weights, squares, counts, copies
        largest = weights.max(initial=0.0)
        self.s_max = 0.5 / largest if largest > 0 else math.inf
        # A sum of negative squares alone ends at its maximum; a component without square reaches everywhere.
        square = weights != 0
        bounded = largest <= 0 and not (squares[~square] != 0).any()
        top = -np.sum(counts * weights) - np.sum(squares[square] / (4 * weights[square]))
        self.edge = float(copies * top) if bounded else math.inf

    def k(self, s: Any) -> Any:
        """K(s) for an array of complex s."""
        s = np.asarray(s)[..., None]
        scaled = s * self.weights
        terms = -self.counts * (0.5 * np.log1p(-2 * scaled) + scaled) + s**2 * self.squares / (2 - 4 * scaled)
        return self.copies * terms.sum(axis=-1)

    def slope(self, s: float) -> float:
        """K'(s)."""
        one = 1 - 2 * s * self.weights
        terms = 2 * s * self.counts * self.weights**2 / one + s * self.squares * (1 - s * self.weights) / one**2
        return float(self.copies * terms.sum())

    def bend(self, s: float) -> float:
        """K''(s)."""
        one = 1 - 2 * s * self.weights
        return float(self.copies * (2 * self.counts * self.weights**2 / one**2 + self.squares / one**3).sum())

    def cornish_fisher(self, level: float) -> float:
        """The quantile to first order in the skewness."""
        from scipy.special import ndtri

        z = float(ndtri(level))
        third = 8 * self.copies * float(np.sum(self.counts * self.weights**3 + 0.75 * self.weights * self.squares))
        return z + third * (z * z - 1) / 6

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
        bend, end = min((self._length(s, x, w, b) for b in (3**-0.5, -(3**-0.5), 0.0)), key=lambda pair: pair[1])
        step, previous, settled = 0.2, (math.nan, math.nan), False
        a = np.arange(0, end + step, step)
        sums = self._sum(s, x, w, bend, a, first=0.5)
        for _ in range(_HALVINGS):
            tail, density = step * sums[0], step * sums[1]
            settled = abs(tail - previous[0]) <= _TOLERANCE
            if settled and abs(density - previous[1]) <= 1e-9 * (1 + density):
                return min(max(tail, 0.0), 1.0), max(density, 0.0)
            previous = tail, density
            more = self._sum(s, x, w, bend, a + step / 2)
            sums = sums[0] + more[0], sums[1] + more[1]
            a = np.sort(np.concatenate([a, a + step / 2]))
            step /= 2
        if settled:
            # The density can be infinite at a point where the distribution function is not.
            return min(max(previous[0], 0.0), 1.0), math.nan
        raise PrecisionError(f"the inversion of the law did not converge at {x:.6g} standard deviations from the mean")

    def _length(self, s: float, x: float, w: float, bend: float) -> tuple[float, float]:
        """The bend, and a beyond which the integrand of that contour is negligible."""
        a = np.arange(0.0, 60.0, 0.5)
        line, weight = self._contour(s, w, bend, a)
        with np.errstate(over="ignore", invalid="ignore"):
            size = (self.k(line) - line * x).real + np.log(np.abs(weight))
        # Not a number: overflow of a growing integrand.
        alive = np.flatnonzero(~(size < math.log(1e-3 * _TOLERANCE)))
        grows = np.nanmax(size) > size[0] + 3
        return bend, (a[alive[-1]] if alive.size else 0.0) + 0.5 + (1e3 if grows else 0.0)

    def _contour(self, s: float, w: float, bend: float, a: Array) -> tuple[Any, Any]:
        v, root = w * np.sinh(a), w * np.cosh(a)
        # (ds/da)/i
        return s + bend * (root - w) + 1j * v, root - 1j * bend * v

    def _sum(self, s: float, x: float, w: float, bend: float, a: Array, first: float = 1.0) -> tuple[float, float]:
        line, weight = self._contour(s, w, bend, a)
        values = np.exp(self.k(line) - line * x) * weight
        values[0] *= first
        return float((values / line).real.sum()) / math.pi, float(values.real.sum()) / math.pi

    def lugannani_rice(self, x: float) -> float:
        """P(> x) for x ≥ 0."""
        if x >= self.edge * (1 - 1e-12):
            return 0.0
        if x < 1e-4:
            third = 8 * self.copies * float(np.sum(self.counts * self.weights**3 + 0.75 * self.weights * self.squares))
            return 0.5 - third / (6 * math.sqrt(2 * math.pi)) - x / math.sqrt(2 * math.pi)
        s = self.saddle(x, 0.0)
        w = math.sqrt(2 * max(s * x - float(self.k(np.array(s))), 0.0))
        u = s * math.sqrt(self.bend(s))
        gauss = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
        return 0.5 * math.erfc(w / math.sqrt(2)) + gauss * (1 / u - 1 / w)


def mse_law(kernels: Any, targets: ArrayLike, time: float, moment: str = "trace_s") -> QuadraticLaw:
    r"""Law over initialisations of Tr S(t), Tr S(t)² or the loss, under MSE.

    With r = Y(0) - Y*, E = e^{-tΘ/N} and A_t = Λ Θ^{-1}(Id - E),

    .. math::
        \mathrm{Tr} S = \tfrac1N (G(0) - A_t r)^T E r, \quad \mathrm{Tr} S^2 = \tfrac1{N^2} r^T E Υ E r, \quad
        C = \tfrac1{2N} r^T E^2 r.

    Parameters
    ----------
    kernels : LimitingKernels
        Anything with (N, N) arrays ``sigma``, ``theta``, ``phi``, ``lam``, ``upsilon``, ``xi``.
    targets : array_like, (N,) or (N, n_out)
        Y*.
    time : float
        Gradient-flow time, finite, ≥ 0.
    moment : {"trace_s", "trace_s2", "loss"}
        Which of the three.

    Returns
    -------
    QuadraticLaw
        ``.averaged(T)`` gives the law of the mean of T networks.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Corollary 1.

    Examples
    --------
    One point, every kernel 1, target 0: at the start Tr S² = Y(0)², chi-squared.

    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> law = mse_law(ones, [0.0], 0.0, "trace_s2")
    >>> round(law.mean, 12), round(law.variance, 12)
    (1.0, 2.0)
    """
    return next(_mse_laws(kernels, targets, [time], moment))


def mse_quantiles(
    kernels: Any,
    targets: ArrayLike,
    times: ArrayLike,
    moment: str,
    levels: ArrayLike = (0.05, 0.95),
    *,
    copies: int = 1,
) -> Array:
    """Quantiles of Tr S(t), Tr S(t)² or the loss under MSE at many times, for one network or the mean of ``copies``.

    Parameters
    ----------
    kernels, targets, moment
        As :func:`mse_law` takes them.
    times : array_like, (T,)
        Finite, ≥ 0.
    levels : array_like, (Q,)
        Between 0 and 1.
    copies : int
        Number of networks averaged.

    Returns
    -------
    ndarray, (Q, T)

    Examples
    --------
    One point, every kernel 1, target 0: at the start Tr S² = Y(0)², whose median is 0.6745².

    >>> from types import SimpleNamespace
    >>> one = np.ones((1, 1))
    >>> ones = SimpleNamespace(sigma=one, theta=one, phi=one, lam=one, upsilon=one, xi=one)
    >>> mse_quantiles(ones, [0.0], [0.0], "trace_s2", [0.5]).round(4)
    array([[0.4549]])
    """
    laws = _mse_laws(kernels, targets, np.atleast_1d(np.asarray(times, dtype=np.float64)), moment)
    return np.array([law.averaged(copies).quantile(np.atleast_1d(levels)) for law in laws]).T


def _mse_laws(kernels: Any, targets: ArrayLike, times: Iterable[float], moment: str) -> Iterator[QuadraticLaw]:
    if moment not in ("trace_s", "trace_s2", "loss"):
        raise InputError("moment 'trace_s', 'trace_s2' or 'loss'", repr(moment))
    y = MeanSquaredError().encode(targets)
    n = len(y)
    values, vectors = np.linalg.eigh(gram(kernels, "theta", n))
    values = np.maximum(values, 0.0)
    if moment == "trace_s":
        root, means = covariance_root(initial_covariance(kernels)), np.concatenate([-y, np.zeros_like(y)])
    else:
        root, means = covariance_root(gram(kernels, "sigma", n)), -y
    for time in times:
        if not (math.isfinite(time) and time >= 0):
            raise InputError("a finite time ≥ 0", repr(float(time)))
        yield QuadraticLaw._from_root(_mse_form(kernels, values, vectors, float(time), moment), root, means)


def _mse_form(kernels: Any, values: Array, vectors: Array, time: float, moment: str) -> Array:
    """The matrix of the quadratic form at a time; values and vectors: those of Θ."""
    n = len(values)
    safe = np.where(values > 0, values, 1.0)
    decay = (vectors * np.exp(-values * time / n)) @ vectors.T
    if moment == "trace_s":
        ramp = np.where(values > 0, -np.expm1(-values * time / n) / safe, time / n)
        drift = decay @ gram(kernels, "lam", n) @ (vectors * ramp) @ vectors.T
        return np.block([[-(drift + drift.T), decay], [decay, np.zeros((n, n))]]) / (2 * n)
    middle = gram(kernels, "upsilon", n) / n**2 if moment == "trace_s2" else np.eye(n) / (2 * n)
    form = decay @ middle @ decay
    return np.asarray((form + form.T) / 2)
