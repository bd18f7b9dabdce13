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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError, PrecisionError, ShapeError
from .gradient_flow import covariance_root, gram, initial_covariance
from .losses import MeanSquaredError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# Accuracy of probabilities asked of the inversion, absolute.
_TOLERANCE = 1e-11
_MAX_POINTS = 2**15


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
            raise ShapeError("a form and a covariance (d, d) and means (d, copies)", f"{a.shape}, {c.shape}, {mu.shape}")
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
        method : {"inversion", "saddlepoint"}
            Inversion of the Laplace transform on the vertical line through Rice's saddle point (absolute error about
            1e-10), or the formula of Lugannani and Rice (relative error of a percent or so, in the tails too).

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
        """Density at x, by the same inversion as :meth:`cdf`."""
        return self._each(lambda v: self._cdf_and_pdf(v)[1], x)

    def quantile(self, level: ArrayLike) -> Any:
        """x with P(Q ≤ x) = level, to about 1e-9 in the level."""
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

    def _standard(self) -> _Standard:
        return _Standard(self)

    def _cdf_and_pdf(self, x: float) -> tuple[float, float]:
        if self.variance == 0:
            return float(x >= self.mean), 0.0
        return self._standard().cdf_and_pdf((x - self.mean) / self.std, self.std)

    def _lugannani_rice(self, x: float) -> tuple[float, float]:
        if self.variance == 0:
            return float(x >= self.mean), 0.0
        return self._standard().lugannani_rice((x - self.mean) / self.std), math.nan

    def _quantile(self, level: float) -> float:
        from scipy.optimize import brentq

        if self.variance == 0:
            return self.mean
        standard = self._standard()
        low, high = standard.bracket(level)
        start = brentq(lambda u: standard.lugannani_rice(u) - level, low, high, xtol=1e-6)
        # Newton's steps on the exact law, kept in a shrinking bracket.
        u = start
        for _ in range(60):
            p, density = standard.cdf_and_pdf(u, 1.0)
            low, high = (u, high) if p < level else (low, u)
            step = (p - level) / density if density > 0 else math.inf
            new = u - step
            u, last = (new if low < new < high else (low + high) / 2), u
            if abs(p - level) <= 1e-10 or abs(u - last) <= 1e-14 * max(1.0, abs(u)):
                break
        return self.mean + self.std * u


class _Standard:
    """The law shifted and scaled to mean 0 and variance 1, in terms of its cumulant function K(s)."""

    def __init__(self, law: QuadraticLaw) -> None:
        keep = np.abs(law.weights) + np.abs(law.linear) > 1e-13 * law.std * math.sqrt(law.copies)
        self.copies = law.copies
        self.weights = law.weights[keep] / (law.std * law.copies)
        self.linear = law.linear[keep] / (law.std * law.copies)
        largest, smallest = self.weights.max(initial=0.0), self.weights.min(initial=0.0)
        self.s_max = 0.5 / largest if largest > 0 else math.inf
        self.s_min = 0.5 / smallest if smallest < 0 else -math.inf
        flat = self.weights == 0
        # The ends of the support; a component without square makes it all of the line.
        edge = -self.weights.sum() - np.sum(self.linear[~flat] ** 2 / (4 * self.weights[~flat]))
        unbounded = bool((self.linear[flat] != 0).any())
        self.low = self.copies * edge if smallest >= 0 and not unbounded else -math.inf
        self.high = self.copies * edge if largest <= 0 and not unbounded else math.inf

    def k(self, s: Any) -> Any:
        """K(s), real or complex s, any shape."""
        s = np.asarray(s)[..., None]
        one = 1 - 2 * s * self.weights
        # -½log(1 - 2sλ) - sλ is small where sλ is: log1p keeps it.
        square = -0.5 * np.log1p(-2 * s * self.weights) - s * self.weights
        return self.copies * (square + (s * self.linear) ** 2 / (2 * one)).sum(axis=-1)

    def slope(self, s: float) -> float:
        """K'(s)."""
        one = 1 - 2 * s * self.weights
        square = 2 * s * self.weights**2 / one
        line = s * self.linear**2 * (1 - s * self.weights) / one**2
        return float(self.copies * (square + line).sum())

    def bend(self, s: float) -> float:
        """K''(s)."""
        one = 1 - 2 * s * self.weights
        return float(self.copies * (2 * self.weights**2 / one**2 + self.linear**2 / one**3).sum())

    def _solve(self, increasing: Any, low: float, high: float) -> float:
        """Root of an increasing function that is negative near low and positive near high (either may be infinite)."""
        from scipy.optimize import brentq

        def inside(end: float, k: int) -> float:
            return math.copysign(2.0**k, end) if math.isinf(end) else end * (1 - 2.0**-k) if end else math.copysign(2.0**-k, 1)

        a = next((inside(low, k) if low <= 0 or math.isinf(low) else low for k in range(1, 52) if increasing(inside(low, k)) < 0), None)
        b = next((inside(high, k) for k in range(1, 52) if increasing(inside(high, k)) > 0), None)
        if a is None or b is None:
            raise PrecisionError("no saddle point: the point lies at the end of the support")
        return float(brentq(increasing, a, b, xtol=1e-14, rtol=1e-12))
