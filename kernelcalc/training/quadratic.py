r"""Laws of quadratic forms of Gaussians.

References
----------
Imhof, "Computing the distribution of quadratic forms in normal variables", Biometrika 48 (1961).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.arguments import check_count, floats, random_generator
from kernelcalc.errors import InputError, NotFiniteError, PrecisionError, ShapeError
from kernelcalc.results.result import Result, axes
from kernelcalc.training.checks import levels_of
from kernelcalc.training.inversion import Standard
from kernelcalc.training.levels import Laws, quantiles
from kernelcalc.training.start import covariance_root

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

# Leading eigenvalues taken one by one, and dimensions from which fewer than all pay.
LEADING, FEWEST_FOR_LEADING = 16, 128
# Part of a variance whose own skewness is lost in the rounding of float32 sums, and is nothing beside the whole.
_FAINT = 1e-5
# A fifth cumulant moves a distribution function by a 5!-th of itself times the fourth derivative of φ, at most 3 φ(0).
_FIFTH = 3 * 0.4 / 120


@dataclass(frozen=True, kw_only=True, eq=False)
class Form:
    """Q = c + Σ_k (ξ_kᵀ A ξ_k + 2 b_kᵀ ξ_k) of independent standard Gaussian ξ_k: ``inner`` is A, ``image`` has columns b_k.

    ``start`` are directions that leading eigenvectors are sought from, by default :func:`draws_of_directions`.
    """

    inner: Array
    image: Array
    constant: float
    start: Array | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.inner).all() or not math.isfinite(self.constant):
            raise NotFiniteError(
                "kernels and labels whose quadratic form is below 1.8e308", "an overflow", "scale them down"
            )

    @classmethod
    @np.errstate(over="ignore", invalid="ignore")
    def of_root(cls, a: Array, root: Array, mu: Array) -> Form:
        """Of Σ_k z_kᵀ a z_k, z_k of mean μ_k, a column, and covariance ``root @ root.T``."""
        inner, moved = root.T @ a @ root, a @ mu
        return cls(inner=(inner + inner.T) / 2, image=root.T @ moved, constant=float(np.sum(mu * moved)))

    def law(self) -> QuadraticLaw:
        """By all eigenvalues and eigenvectors."""
        weights, vectors = np.linalg.eigh(self.inner)
        return QuadraticLaw(
            weights=np.tile(weights, self.image.shape[1]),
            linear=(2 * vectors.T @ self.image).T.ravel(),
            constant=self.constant,
        )

    def quantiles(self, levels: Array, copies: int = 1, tol: float = 0.0) -> Array:
        """Of the mean of so many copies; ``tol``: see :func:`kernelcalc.mse_quantiles`."""
        return quantiles_of([self.summary(copies, tol)], levels, tol)[0]

    def summary(self, copies: int, tol: float) -> Leading | QuadraticLaw:
        """The law of the mean of so many copies, by its leading eigenvalues where that moves no level by more than ``tol``."""
        if tol > 0 and len(self.inner) >= FEWEST_FOR_LEADING:
            leading = Leading.of(self, copies)
            if leading.error <= tol:
                return leading
        return self.law().averaged(copies)


@dataclass(frozen=True, kw_only=True, eq=False)
class Leading:
    """A law by its leading eigenvalues and its first four cumulants, and how far a level may be off.

    ``terms`` are those of :class:`~kernelcalc.training.levels.Laws`, zeros behind, (3, LEADING + 4).
    """

    terms: Array
    mean: float
    std: float
    error: float

    @classmethod
    def of(cls, form: Form, copies: int) -> Leading:
        """The law of the mean of so many copies."""
        n_out = form.image.shape[1]
        mean = form.constant + n_out * float(np.trace(form.inner))
        std = math.sqrt(2 * n_out * float(np.vdot(form.inner, form.inner)) + 4 * float(np.vdot(form.image, form.image)))
        if std == 0:
            return cls(terms=np.zeros((3, LEADING + 4)), mean=mean, std=0.0, error=0.0)
        a, b = form.inner / std, 2 * form.image / std
        # float32 leaves a millionth of the third and fourth cumulants
        single, moved = a.astype(np.float32), a @ b
        square = square_of(single)
        # one step of subspace iteration with A³: what is no eigenvector yet is left in the cumulants of the rest
        start = draws_of_directions(len(a)) if form.start is None else form.start
        basis = np.linalg.qr(a @ (square @ start.astype(np.float32)))[0]
        values, rotation = np.linalg.eigh(basis.T @ (a @ basis))
        order = np.argsort(-np.abs(values))[:LEADING]
        values, squares = values[order], np.sum(((basis @ rotation[:, order]).T @ b) ** 2, axis=1)
        powers = values ** np.arange(5)[:, None]
        sums = np.array([np.vdot(a, a), np.vdot(square, single), np.vdot(square, square)]) - powers[2:].sum(axis=1)
        left = np.array([np.vdot(b, b), np.vdot(b, moved), np.vdot(moved, moved)]) - powers[:3] @ squares
        first, last = np.abs(values[[0, -1]]).tolist()
        rest = _few_terms(n_out * sums, left, first)
        terms = np.zeros((3, LEADING + 4))
        terms[:, :LEADING] = values, squares, np.full(LEADING, float(n_out))
        terms[:, LEADING : LEADING + rest.shape[1]] = rest
        # the mean of copies: of the sum of them, each over √copies
        terms *= np.array([[copies**-0.5], [1.0], [copies]])
        # the last eigenvalue times the fourth cumulant of the rest bounds its fifth
        fifth = 384 * last * max(n_out * sums[2] + 1.25 * left[2], 0.0)
        return cls(terms=terms, mean=mean, std=std / math.sqrt(copies), error=_FIFTH * fifth / copies**1.5)

    def quantile(self, levels: Array) -> Array:
        """To :attr:`error` in the level."""
        if self.std == 0:
            return np.full(len(levels), self.mean)
        weights, squares, counts = self.terms
        standard = Standard(weights, squares, counts, copies=1)
        return np.array([self.mean + self.std * standard.quantile(float(level)) for level in levels])


def quantiles_of(laws: Sequence[Leading | QuadraticLaw], levels: Array, tol: float) -> Array:
    """Quantiles (R, Q) of laws; of those by leading eigenvalues together, to a hundredth of ``tol`` in the level more."""
    found = np.full((len(laws), len(levels)), np.nan)
    rows = [row for row, law in enumerate(laws) if isinstance(law, Leading) and law.std > 0]
    if rows:
        leading = [law for row in rows if isinstance(law := laws[row], Leading)]
        mean, std = np.array([(law.mean, law.std) for law in leading]).T[:, :, None]
        terms = Laws(*np.stack([law.terms for law in leading], axis=1))
        found[rows] = mean + std * quantiles(terms, levels, tol / 100)
    for row, law in enumerate(laws):
        if np.isnan(found[row]).any():
            found[row] = law.quantile(levels)
    return found


def draws_of_directions(size: int) -> Array:
    """Directions to seek the leading eigenvectors of a form from, as columns."""
    return np.random.default_rng(0).standard_normal((size, LEADING + LEADING // 4))


def square_of(symmetric: np.ndarray) -> np.ndarray:
    """Its square, in half of the time where its last quarter is zero."""
    half = len(symmetric) // 2
    if symmetric[half:, half:].any():
        return np.asarray(symmetric @ symmetric)
    corner, side = symmetric[:half, :half], symmetric[:half, half:]
    square = np.empty_like(symmetric)
    square[:half, :half] = corner @ corner + side @ side.T
    square[:half, half:] = corner @ side
    square[half:, :half] = square[:half, half:].T
    square[half:, half:] = side.T @ side
    return square


def _few_terms(sums: Array, squares: Array, largest: float) -> Array:
    """Few terms (weights, squares, counts) of given Σ λ^n, n = 2, 3, 4, and Σ l² λ^n, n = 0, 1, 2, with |λ| ≤ ``largest``."""
    found = [(node, 0.0, mass / node**2) if node else (0.0, 2 * mass, 0.0) for node, mass in nodes_of(sums, largest)]
    return np.array([*found, *((node, mass, 0.0) for node, mass in nodes_of(squares, largest))]).T


def nodes_of(moments: Iterable[float], largest: float) -> list[tuple[float, float]]:
    """Nodes and masses of a measure with these moments: 0 and one more that is not beyond ``largest``, or else two opposite."""
    total, first, second = map(float, moments)
    if total < _FAINT or second <= 0:
        return [(0.0, max(total, 0.0))]
    if second <= largest * abs(first):
        mass = min(first**2 / second, total)
        return [(0.0, total - mass), (second / first, mass)]
    node = min(math.sqrt(second / total), largest)
    skew = min(max(first / node, -total), total)
    return [(node, (total + skew) / 2), (-node, (total - skew) / 2)]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class QuadraticLaw(Result):
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

    DIMENSIONS = axes(weights="term", linear="term")

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
        a, c = (floats(v, name, "an array (d, d)") for v, name in ((form, "form"), (covariance, "covariance")))
        mu = np.zeros((len(a), 1)) if means is None else floats(means, "means", "an array (d, copies)")
        mu = mu[:, None] if mu.ndim == 1 else mu
        if a.shape != c.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or len(mu) != len(a):
            raise ShapeError(
                "a form and a covariance (d, d) and means (d, copies)", f"{a.shape}, {c.shape}, {mu.shape}"
            )
        if not np.allclose(a, a.T, rtol=1e-9, atol=1e-12 * np.abs(a).max(initial=0)):
            raise InputError("a symmetric form", "an asymmetric one", "take (A + A.T)/2")
        return cls.from_root(a, covariance_root(c), mu)

    @classmethod
    def from_root(cls, a: Array, root: Array, mu: Array) -> QuadraticLaw:
        """As :meth:`of`, with the covariance given as ``root @ root.T``."""
        return Form.of_root(a, root, mu).law()

    def averaged(self, copies: int) -> QuadraticLaw:
        """Law of the mean of independent copies, as of T networks."""
        check_count("copies", copies, 1)
        return QuadraticLaw(
            weights=self.weights, linear=self.linear, constant=self.constant, copies=self.copies * int(copies)
        )

    def cumulant(self, order: int) -> float:
        r"""κ_n = n! Σ_j [(2λ)^n/2n + l² (2λ)^{n-2}/2] (n ≥ 2), over copies^{n-1}; κ_1 = c + Σ λ."""
        check_count("a cumulant's order", order, 1)
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
        return self._each(self._lugannani_rice if method == "saddlepoint" else lambda v: self._cdf_and_pdf(v)[0], x)

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
        return self._each(self._quantile, levels_of(level, ends=False))

    def sample(self, count: int, rng: Any = 0) -> Array:
        """Draws, (count,).

        Raises
        ------
        InputError
            The count is no whole number ≥ 0, or rng neither a seed nor a generator.
        """
        check_count("a number of draws", count, 0)
        draws = random_generator(rng)
        total = np.zeros(count)
        for _ in range(self.copies):
            xi = draws.standard_normal((count, self.weights.size))
            total += xi**2 @ self.weights + xi @ self.linear
        return self.constant + total / self.copies

    def _standard(self) -> Standard:
        return Standard.of(self.weights, self.linear, self.copies, self.std)

    @staticmethod
    def _each(function: Any, x: ArrayLike) -> Any:
        points = floats(x, "points", "numbers")
        result = np.array([function(float(v)) for v in points.ravel()]).reshape(points.shape)
        return float(result) if result.ndim == 0 else result

    def _cdf_and_pdf(self, x: float) -> tuple[float, float]:
        if self.variance == 0:
            return float(x >= self.mean), 0.0
        below, density = self._standard().cdf_and_pdf((x - self.mean) / self.std)
        return below, density / self.std

    def _lugannani_rice(self, x: float) -> float:
        if self.variance == 0:
            return float(x >= self.mean)
        return self._standard().lugannani_rice((x - self.mean) / self.std)

    def _quantile(self, level: float) -> float:
        if self.variance == 0:
            return self.mean
        return self.mean + self.std * self._standard().quantile(level)
