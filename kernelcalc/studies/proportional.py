r"""Spectra of the kernels of networks as wide as there are points: random matrices instead of the limit of infinite width.

With N points, hidden widths n_ℓ and γ_ℓ = N/n_ℓ fixed, rows of features are independent given the layer below, so that the
conjugate kernel :math:`K_ℓ = α_ℓ^T α_ℓ/n_ℓ` is a sample covariance of the population :math:`Φ_ℓ = E[σ(a) σ(b)]` at the Gram
matrix :math:`G_ℓ = σ_w^2 K_{ℓ-1} + β^2` of pre-activations. Where points are nearly orthogonal, or nearly at one angle with
covariance c_ℓ off the diagonal and q_ℓ on it, Φ_ℓ is linear in G_ℓ but for few eigenvalues,

.. math::
    Φ_ℓ ≈ a_ℓ\, Id + b_ℓ\, G_ℓ + \text{rank one}, \quad b_ℓ = E_{11}(q, q, c), \quad
    a_ℓ = E_{00}(q, q, q) - E_{00}(q, q, c) - b_ℓ (q - c),

and so is the tangent kernel, whose entry-wise products with the backpropagated derivatives leave only their means,

.. math:: Θ ≈ r\, Id + \sum_ℓ q_ℓ G_ℓ, \quad q_ℓ = \prod_{k ≥ ℓ} σ_w^2 E_{11}(q_k, q_k, c_k), \quad
          r = \sum_ℓ (\prod_{k ≥ ℓ} σ_w^2 E_{11}(q_k, q_k, q_k) - q_ℓ)\, q_ℓ^{\text{diag}}.

References
----------
Fan, Wang, "Spectra of the conjugate kernel and neural tangent kernel for linear-width neural networks" (NeurIPS 2020),
Theorems 3.4 and 3.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kernelcalc.arguments import check_count, check_number, floats
from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, IntegrationError
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.kernels.mlp import MLP
from kernelcalc.kernels.points import check_points
from kernelcalc.results.result import Result, axes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from kernelcalc.arrays import Array

    Complex = NDArray[np.complex128]

# Height above the real axis, in units of the largest eigenvalue, at which the density is taken unless told: the picture of a
# histogram does not show it.
_ABOVE_AXIS = 1e-5
# Largest start of the continuation in the same units, steps of Newton at each height, and their accuracy.
_HIGHEST, _NEWTON_AT_WIDTH, _SOLVED = 8.0, 20, 1e-11
_NUDGE = 1e-7
# Where the spectrum is looked for, in units of the infinite network's upper eigenvalues, with how many points, and then drawn.
_LOW, _HIGH, _LOOKED_AT, _SHOWN_GRID = 1e-4, 40.0, 160, 401
# Blur of that look, and how far above the blur's tails the spectrum begins at the left and ends at the right.
_BLUR, _LEFT, _RIGHT = 10.0, 0.2, 0.3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectrumAtWidth(Result):
    """Limit of the spectrum of a kernel's Gram matrix with widths in proportion to the points.

    Attributes
    ----------
    x, density : ndarray, (K,)
        Grid, and density of the eigenvalues there, of total mass 1 - atom (an outlier of the data counts 1/N).
    infinite : ndarray, (N,)
        Eigenvalues of the kernel of the infinitely wide network, descending.
    kernel : str
        "sigma" or "theta".
    widths : tuple of int
    atom : float
        Share of eigenvalues at zero, because a layer has fewer units than there are points ("sigma").
    correlation : float
        Mean correlation of different points' pre-activations in the last hidden layer: near 0 (or, for "sigma", constant over
        pairs) the theory applies.
    """

    DIMENSIONS = axes(x="grid", density="grid", infinite="rank")
    TABLE: ClassVar[str] = "grid"

    x: Array
    density: Array
    infinite: Array
    kernel: str
    widths: tuple[int, ...]
    atom: float
    correlation: float

    def coordinates(self) -> dict[str, Any]:
        """The grid."""
        return {"grid": self.x}

    def mass(self, low: float, high: float) -> float:
        """Share of the eigenvalues between two numbers, by the trapezoidal rule on the grid."""
        edges = np.unique(
            np.concatenate([self.x[(self.x > low) & (self.x < high)], np.clip([low, high], self.x[0], self.x[-1])])
        )
        return float(np.trapezoid(np.interp(edges, self.x, self.density), edges))


def at_width(
    net: MLP,
    X: ArrayLike,
    widths: int | Sequence[int],
    kernel: str = "theta",
    *,
    x: ArrayLike | None = None,
    height: float | None = None,
) -> SpectrumAtWidth:
    r"""Limiting spectrum of Σ̂ or Θ̂ of a finite network at initialisation, widths in proportion to the number of points.

    Σ̂ = σ_w² α^T α/n + β² of the last hidden layer and Θ̂ = ∇f·∇f' for one output. The population of the first layer is that of
    the data, not its linear form; layers above follow the module's.

    Parameters
    ----------
    net : MLP
        With at least one hidden layer.
    X : array_like, (N, n_0)
        Points of nearly equal norms, nearly orthogonal (n_0 not small beside N).
    widths : int or sequence of int
        Of the hidden layers.
    kernel : {"sigma", "theta"}
        Which one. For "theta" the nonlinearity should be centred (``activation.normalized()``) and β small.
    x : array_like, optional
        Where the density is wanted, ascending; by default 401 points over the bulk.
    height : float, optional
        Height above the real axis, in eigenvalues: the density is blurred by a Cauchy law of this width.

    Raises
    ------
    InputError, ShapeError, NotFiniteError
        A network without hidden layers, another kernel, widths that do not fit.
    IntegrationError
        The equations could not be solved to 1e-8.

    References
    ----------
    Fan, Wang (NeurIPS 2020), Theorems 3.4 and 3.7.

    Examples
    --------
    One hidden layer with as many units as points: between 0 and about four times the infinite network's eigenvalue.

    >>> found = at_width(MLP("erf", depth=2, beta=0.0), 4.0 * np.eye(16), 16, "sigma")
    >>> bool(found.infinite.std() < 1e-12 < found.x[-1]), round(found.mass(0, found.x[-1]), 1)
    (True, 1.0)
    """
    if not isinstance(net, MLP) or net.depth < 2:
        raise InputError("an MLP with at least one hidden layer", repr(net))
    if kernel not in ("sigma", "theta"):
        raise InputError("kernel 'sigma' or 'theta'", repr(kernel))
    points = check_points(X, "X")
    sizes = [widths] * (net.depth - 1) if isinstance(widths, int | np.integer) else list(widths)
    if len(sizes) != net.depth - 1:
        raise InputError(f"{net.depth - 1} hidden widths", f"{len(sizes)}")
    for size in sizes:
        check_count("a width", size, 1)
    problem = _Linear.of(net, points, [len(points) / size for size in sizes], kernel)
    infinite = np.linalg.eigvalsh(getattr(net.kernels(points, only=(kernel,)), kernel))[::-1]
    # eigenvalues far above the others belong to the data
    bulk = float(np.quantile(infinite, 0.95))
    grid = problem.grid(bulk) if x is None else floats(x, "x", "an array of numbers").ravel()
    eta = _ABOVE_AXIS * bulk if height is None else check_number("height", height)
    if eta == 0:
        raise InputError("a height above zero", repr(height))
    density = problem.stieltjes(grid, np.full_like(grid, eta)).imag / np.pi
    return SpectrumAtWidth(
        x=grid,
        density=density,
        infinite=np.asarray(infinite),
        kernel=kernel,
        widths=tuple(int(size) for size in sizes),
        atom=problem.atom,
        correlation=problem.correlation,
    ).with_origin(network=repr(net), data=digest(points))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Linear:
    """The matrix z_{-1} Id + z_0 Φ_1 + Σ_ℓ z_ℓ K_ℓ of a kernel, and what joins K_ℓ to K_{ℓ-1}."""

    population: Array  # eigenvalues of Φ_1
    gammas: list[float]
    shifts: list[float]  # a_ℓ of Φ_ℓ = a_ℓ + b_ℓ K_{ℓ-1}, ℓ = 2, ...
    factors: list[float]  # b_ℓ
    identity: float
    first: float
    coefficients: list[float]
    correlation: float

    @property
    def atom(self) -> float:
        """Share of eigenvalues at zero: the last kernel alone has no more eigenvalues than the narrowest layer has units."""
        return max(0.0, 1 - 1 / max(self.gammas)) if self.first == 0 else 0.0

    @classmethod
    def of(cls, net: MLP, points: Array, gammas: list[float], kernel: str) -> _Linear:
        w2, b2 = net.sigma_w**2, net.beta**2
        n = len(points)
        gram = w2 * points @ points.T / points.shape[1] + b2
        q = float(np.diagonal(gram).mean())
        c = float((gram.sum() - np.trace(gram)) / max(n * (n - 1), 1))
        ones = (
            MLP(net.activations[0], depth=2, sigma_w=net.sigma_w, beta=net.beta).kernels(points, only=("sigma",)).sigma
        )
        population = np.maximum(np.linalg.eigvalsh((ones - b2) / w2), 0.0)
        shifts, factors, diagonals, slopes, gains = [], [], [], [], []
        for activation in net.activations:
            slope = activation.derivative()
            same, apart = (float(gaussian_expectation(activation, activation, q, q, v)) for v in (q, c))
            b, on = (float(gaussian_expectation(slope, slope, q, q, v)) for v in (c, q))
            diagonals.append(q)
            shifts.append(max(same - apart - b * (q - c), 0.0))
            factors.append(b)
            slopes.append(w2 * b)
            gains.append(w2 * on)
            correlation = c / q
            q, c = w2 * same + b2, w2 * apart + b2
        # weights of G_1, ..., G_L in the kernel, and what the entry-wise products leave on the diagonal
        share = [float(np.prod(slopes[k:])) for k in range(len(slopes))]
        whole = [float(np.prod(gains[k:])) for k in range(len(gains))]
        rest = sum((g - s) * d for g, s, d in zip(whole, share, diagonals, strict=True))
        if kernel == "sigma":
            share, rest = [0.0] * len(share), 0.0
        # G_1 = (Φ_1 - a_1)/b_1: its weight has the factor b_1 too
        first = w2 * float(np.prod(slopes[1:])) if kernel == "theta" else 0.0
        return cls(
            population=np.asarray(population),
            gammas=gammas,
            shifts=shifts[1:],
            factors=[b * w2 for b in factors[1:]],
            identity=rest - first * shifts[0],
            first=first,
            coefficients=[w2 * s for s in (*share[1:], 1.0)],
            correlation=correlation,
        )

    def grid(self, bulk: float) -> Array:
        """Points where the spectrum is, dense at its ends, found by a look at it through a blur."""
        x = np.geomspace(_LOW * bulk, _HIGH * bulk, _LOOKED_AT)
        seen = x * self.stieltjes(x, x / _BLUR).imag / np.pi
        # what is at zero, or all of it from far above, leaves 1/π_BLUR of its mass
        tail = 1 / (np.pi * _BLUR)
        low = x[max(int(np.argmax(seen > tail * (self.atom + _LEFT))) - 1, 0)]
        high = x[min(_LOOKED_AT - int(np.argmax(seen[::-1] > tail * (1 + _RIGHT))), _LOOKED_AT - 1)]
        share = (1 - np.cos(np.linspace(0, np.pi, _SHOWN_GRID))) / 2
        return np.asarray(low + (high - low) * share**1.5)

    def stieltjes(self, x: Array, eta: Array) -> Complex:
        """(1/N) Tr(M - x - iη)^{-1}, followed down from a height where the equations are nearly explicit."""
        start = _HIGHEST * max(float(np.abs(x).max()), float(np.max(eta)))
        heights = np.geomspace(np.full_like(eta, start), eta, int(np.ceil(np.log2(start / eta.min()))) + 2)
        s = self._high_up(x - 1j * heights[0])
        for height in heights:
            s = self._newton(x + 1j * height, s)
        error = np.abs(self._equations(x + 1j * eta, s)[0]) / np.abs(s)
        if not error.max() < 1e-8:
            raise IntegrationError(f"the equations of the spectrum are solved to {error.max():.2g} only; raise height=")
        return self._equations(x + 1j * eta, s)[1]

    def _high_up(self, z: Complex) -> Complex:
        """s_ℓ = 1/z_ℓ + γ_ℓ t_{ℓ-1} without t, from the last layer down, (layers, K)."""
        weights = list(self.coefficients)
        found = []
        for layer in range(len(weights) - 1, -1, -1):
            found.append(np.full(z.shape, 1 / weights[layer], dtype=np.complex128))
            if layer:
                weights[layer - 1] += self.factors[layer - 1] * weights[layer]
        return np.array(found[::-1])

    def _newton(self, z: Complex, s: Complex) -> Complex:
        layers = len(s)
        for _ in range(_NEWTON_AT_WIDTH):
            value = self._equations(z, s)[0]
            if (np.abs(value) <= _SOLVED * np.abs(s)).all():
                break
            jacobian = np.empty((*z.shape, layers, layers), dtype=np.complex128)
            for j in range(layers):
                step = _NUDGE * np.abs(s[j])
                moved = s.copy()
                moved[j] = moved[j] + step
                jacobian[..., j] = ((self._equations(z, moved)[0] - value) / step).T
            change = np.linalg.solve(jacobian, value.T[..., None])[..., 0].T
            # s has an imaginary part above zero: shorter steps where a whole one would leave it
            for _ in range(30):
                wrong = ((s - change).imag < 0).any(axis=0)
                if not wrong.any():
                    break
                change = np.where(wrong, change / 2, change)
            s = s - change
        return s

    def _equations(self, z: Complex, s: Complex) -> tuple[Complex, Complex]:
        """s_ℓ - 1/z_ℓ - γ_ℓ t_{ℓ-1}(Φ_ℓ) for every layer, and the Stieltjes transform."""
        layers = len(s)
        # down: what multiplies Id, Φ_1, K_1, ... once the layers above are replaced by their equivalents
        levels: list[list[Any]] = [[self.identity - z, self.first + 0 * z, *(k + 0 * z for k in self.coefficients)]]
        for layer in range(layers, 0, -1):
            levels.append(self._replaced(levels[-1], s[layer - 1], layer))
        base = 1 / (levels[-1][0][:, None] + levels[-1][1][:, None] * self.population)
        found = np.empty_like(s)
        for layer in range(1, layers + 1):
            weights = [0 * z for _ in range(layer + 1)]
            if layer == 1:
                weights[1] = 1 + 0 * z
            else:
                weights[0], weights[layer] = self.shifts[layer - 2] + 0 * z, self.factors[layer - 2] + 0 * z
            own = levels[layers - layer][layer + 1]
            trace = self._trace(weights, levels[layers - layer + 1 :], base)
            found[layer - 1] = s[layer - 1] - 1 / own - self.gammas[layer - 1] * trace
        return found, base.mean(axis=1)

    def _replaced(self, weights: list[Any], s: Any, layer: int) -> list[Any]:
        """Weights without K_ℓ, for which Φ_ℓ/s stands."""
        rest = list(weights[:-1])
        if layer == 1:
            rest[1] = rest[1] + 1 / s
        else:
            rest[0] = rest[0] + self.shifts[layer - 2] / s
            rest[layer] = rest[layer] + self.factors[layer - 2] / s
        return rest

    def _trace(self, weights: list[Any], levels: list[list[Any]], base: Complex) -> Complex:
        """(1/N) Tr of (Σ z M)^{-1} Σ w M, ``levels`` being the z of this layer and of those below."""
        total = 0 * weights[0]
        for level in levels[:-1]:
            ratio = weights[-1] / level[-1]
            total = total + ratio
            weights = [w - ratio * v for w, v in zip(weights[:-1], level[:-1], strict=True)]
        own = weights[0][:, None] + weights[1][:, None] * self.population
        return np.asarray(total + (own * base).mean(axis=1))
