r"""Derivatives of kernels in a network's σ_w and β, by the same recursion on numbers that carry their derivatives.

The layers' formulas use nothing but ``+``, ``-``, ``*``, ``/``; what an expectation's derivative is says Price's theorem:

.. math::
    dE_{ij} = E_{i+1,j+1}\, dc + \tfrac12 E_{i+2,j}\, dq + \tfrac12 E_{i,j+2}\, dq'.

At (x, x), :math:`dE[F(a)] = \tfrac12 E[F''(a)]\, dq` with F the product of both factors, which kinks allow too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS, Array
from kernelcalc.errors import DivergentExpectationError, InputError, PrecisionWarning, ShapeError, warn
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.gaussian.estimate import Estimate
from kernelcalc.gaussian.floats.methods import GUARANTEE, pair_results
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.kernels.first_order.means import derivative_mean, mean
from kernelcalc.kernels.first_order.products import product, times_power
from kernelcalc.kernels.fold import (
    Numbers,
    Orders,
    Pairs,
    Step,
    first_diagonal,
    first_kernels,
    make_step,
    plan,
    take_diagonals,
    through,
)
from kernelcalc.kernels.gram import Floats
from kernelcalc.kernels.layers import Dense, Layer, Scales, dense_layers
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.points import Points, check_points, check_variances
from kernelcalc.kernels.state import DiagonalKernels, PairKernels
from kernelcalc.patience import watched

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Of an error in c by one rounding, what the values and the gradients lose, at most (measured beside 60 digits: 0.5 in a layer).
_ANGLES = 2.0
# Beyond, means of narrow second derivatives have lost five digits more than those of the function itself; what stands in their
# place takes longer.
_LARGE_VARIANCE = 1e5


class Dual:
    """Numbers with their derivatives in σ_w and β: ``slopes`` has one row more than ``value``, of these two."""

    __array_ufunc__ = None
    value: Array
    slopes: Array

    def __init__(self, value: Any, slopes: Any) -> None:
        self.value, self.slopes = np.asarray(value, dtype=np.float64), np.asarray(slopes, dtype=np.float64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype)

    @staticmethod
    def of(value: Any) -> Dual:
        """A constant, or what is dual already."""
        return value if isinstance(value, Dual) else Dual(value, np.zeros((2, *np.shape(value))))

    def __add__(self, other: Any) -> Dual:
        other = Dual.of(other)
        return Dual(self.value + other.value, _wide(self.slopes, other.value) + _wide(other.slopes, self.value))

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slopes)

    def __sub__(self, other: Any) -> Dual:
        return self + -Dual.of(other)

    def __rsub__(self, other: Any) -> Dual:
        return Dual.of(other) + -self

    def __mul__(self, other: Any) -> Dual:
        other = Dual.of(other)
        slopes = _wide(self.slopes, other.value) * other.value + _wide(other.slopes, self.value) * self.value
        return Dual(self.value * other.value, slopes)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        return self * Dual.of(other) ** -1.0

    def __rtruediv__(self, other: Any) -> Dual:
        return Dual.of(other) * self**-1.0

    def __pow__(self, power: float) -> Dual:
        return Dual(self.value**power, power * self.value ** (power - 1) * self.slopes)

    def __getitem__(self, index: Any) -> Dual:
        return Dual(self.value[index], self.slopes[:, index])


def _wide(slopes: Array, other: Array) -> Array:
    """Slopes of a number that meets an array."""
    return slopes.reshape(slopes.shape[0], *(1,) * (np.ndim(other) - slopes.ndim + 1), *slopes.shape[1:])


class _Duals(Numbers):
    """The fold's number type: σ_w and β of every dense layer are the two variables."""

    def __init__(self) -> None:
        # what rounding of the angles between points may have cost, relative, of all layers so far, and of Σ by itself
        self.lost, self.lost_sigma = 0.0, EPS

    def _count_lost(self, act: Activation, orders: tuple[tuple[int, int], ...], narrow: float) -> None:
        """Where derivatives jump, an expectation changes by dc over the angle between the points."""
        grown = _ANGLES * self.lost_sigma / narrow
        if any(act.derivative(i + 1).deltas and act.derivative(j + 1).deltas for i, j in orders):
            self.lost += grown
        if act.derivative(1).deltas:
            self.lost_sigma += grown

    def zeros(self, like: Any) -> Dual:
        """Constant zeros."""
        return Dual.of(np.zeros_like(like.value))

    def scales(self, dense: Dense) -> Scales:
        """σ_w² and β² with their derivatives."""
        weight = Dual(dense.sigma_w**2, [2 * dense.sigma_w, 0.0])
        bias = Dual(dense.beta**2, [0.0, 2 * dense.beta])
        return Scales(weight=weight, bias=bias, bias_gradient=bias)

    def on_diagonal(self, step: Step, at: DiagonalKernels, orders: Orders) -> dict[tuple[int, int], Any]:
        """E_ij at (x, x)."""
        q = at.sigma
        found = {}
        for i, j in orders:
            both = tuple(sorted((i, j)))
            value = _of_points(partial(mean, product(step.activation, both, 0)), q.value)
            found[i, j] = Dual(value, _slope_of_one(step.activation, both, q.value) * q.slopes)
        return found

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[tuple[int, int], Any], Any]:
        """E_ij at pairs of different points."""
        row, column = pairs.sides(step, k)
        q, qp, c = row.sigma, column.sigma, k.sigma
        det = np.maximum(determinant(q.value, qp.value, c.value), 0.0)
        cov = Covariance(q=q.value, qp=qp.value, c=c.value, det=det)
        act, size = step.activation, cov.q * cov.qp
        # sine of the angle between both points
        narrow = np.sqrt(np.maximum(det, EPS * size) / np.where(size > 0, size, 1.0))[size > 0]
        self._count_lost(act, tuple(step.orders), float(narrow.min(initial=1.0)))

        def dual(i: int, j: int) -> Dual:
            f, g = act.derivative(i), act.derivative(j)
            value = _expectation(f, g, cov, np.ones(det.shape, dtype=bool))
            mixed = _expectation(act.derivative(i + 1), act.derivative(j + 1), cov, (cov.q > 0) & (cov.qp > 0))
            left = _slope_in_q(f, g, cov, mixed)
            right = _slope_in_q(g, f, cov.swapped(), mixed)
            return Dual(value, mixed * c.slopes + left * q.slopes + right * qp.slopes)

        try:
            return {order: dual(*order) for order in step.orders}, None
        except DivergentExpectationError as error:
            meeting = np.flatnonzero((det == 0) & (size > 0))
            if not meeting.size:
                raise
            i, j = (int(side[meeting[0]]) for side in (pairs.rows, pairs.columns))
            raise DivergentExpectationError(
                f"points at an angle above 2e-8, for a gradient at the kinks of {act.name}",
                f"row {i} of X and row {j} of X2 (or of X), parallel to float64's rounding",
                "leave one of them out, or smooth the nonlinearity",
            ) from error


def _expectation(f: Activation, g: Activation, cov: Covariance, where: NDArray[np.bool_]) -> Array:
    """E[f(a) g(b)] at some pairs, 0 elsewhere."""
    found = np.zeros(where.shape)
    if where.any():
        found[where] = pair_results(f, g, cov.take(where), rtol=RTOL).value
    return found


def _slope_in_q(f: Activation, g: Activation, cov: Covariance, mixed: Array) -> Array:
    r"""∂E[f(a) g(b)]/∂q, ``mixed`` being E[f'(a) g'(b)]; 0 where q is 0, and stays so.

    It is half of :math:`E[f''(a) g(b)] = (E[a f'(a) g(b)] - c E[f'(a) g'(b)])/q`. Where q is large f'' may be narrow, and
    what its rounding makes of the left side is q times that of the right one.
    """
    first, second = f.derivative(1), f.derivative(2)
    large = (cov.q > _LARGE_VARIANCE) & (not second.deltas)
    slope = _expectation(second, g, cov, (cov.q > 0) & ~large) / 2
    if large.any():
        scaled = _expectation(times_power(first, 1), g, cov, large)
        slope[large] = ((scaled - cov.c * mixed) / (2 * np.where(large, cov.q, 1.0)))[large]
    return slope


def _of_points(found: Callable[[Array], Estimate], q: Array) -> Array:
    """Of variances, of which many may be equal."""
    unique, back = np.unique(q, return_inverse=True)
    return found(unique).value[back]


def _slope_of_one(act: Activation, orders: tuple[int, ...], q: Array) -> Array:
    """dE[F(a)]/dq = ½ E[F''(a)] of F = σ^(i) σ^(j), (N,); 0 where q is 0, and stays so."""
    slope = np.zeros_like(q)
    slope[q > 0] = _of_points(partial(derivative_mean, act, orders, 2), q[q > 0]) / 2
    return slope


@watched("fewer points and activations with a closed form are faster")
def kernel_gradient(net: Network, X: Any, X2: Any = None, *, kernel: str = "theta") -> tuple[Array, Array]:
    r"""A kernel with its derivatives in σ_w and β, which all layers of weights share.

    Parameters
    ----------
    net : Network
        One σ_w and one β in all its dense layers.
    X, X2 : array_like (N, n_0), (M, n_0)
        Points; X again by default.
    kernel : {"theta", "sigma"}
        Which.

    Returns
    -------
    value, gradient : ndarray (N, M), (N, M, 2)
        The kernel; its derivatives in σ_w and in β.

    Raises
    ------
    InputError
        Layers of different scales, or another kernel.
    ShapeError
        Points that do not fit.
    DivergentExpectationError
        Different points that are parallel, or nearly so (an angle below 2e-8), where the nonlinearity has kinks.

    Notes
    -----
    Functions with kinks have a gradient as long as E[σ''(a) σ''(b)] exists, which it does for different points that are not
    parallel; of nearly parallel ones (an angle of 1e-7) about nine digits are left. Where β = 0 the derivative in β is 0.

    Warns
    -----
    PrecisionWarning
        Points so nearly parallel that less than ten digits are left.

    References
    ----------
    Price (1958), "A useful theorem for nonlinear devices having Gaussian inputs"; Jacot, Gabriel, Hongler (ICLR 2020),
    Section 2.2.

    Examples
    --------
    For one linear layer Θ = σ_w² x·x'/n_0 + β².

    >>> import kernelcalc as kc
    >>> value, gradient = kernel_gradient(kc.MLP("tanh", depth=1, sigma_w=2.0, beta=0.5), [[1.0, 1.0]])
    >>> value.tolist(), gradient.tolist()
    ([[4.25]], [[[4.0, 1.0]]])
    """
    if kernel not in ("theta", "sigma"):
        raise InputError("kernel 'theta' or 'sigma'", repr(kernel))
    scales = {(layer.sigma_w, layer.beta, layer.weight_rate, layer.bias_gradient) for layer in dense_layers(net.layers)}
    if len(scales) != 1 or next(iter(scales))[2:] != (1.0, None):
        raise InputError("a network with one sigma_w and one beta, in NTK parametrisation", f"{len(scales)} of them")
    x = check_points(X)
    x2 = x if X2 is None else check_points(X2, "X2")
    if x2.shape[1] != x.shape[1]:
        raise ShapeError(f"X2 with {x.shape[1]} inputs, as X has", f"{x2.shape[1]}")
    ((sigma_w, beta, *_),) = scales
    numbers = _Duals()
    squares = [Points.of(side).square for side in (x, x2)]
    for square in squares:
        check_variances(sigma_w**2 * square + beta**2)
    first, *steps = plan(net.layers, (kernel,))
    rows, columns = (first_diagonal(first, Dual.of(square), numbers) for square in squares)
    take_diagonals(steps, rows, columns, numbers)
    value, gradient = np.empty((len(x), len(x2))), np.empty((len(x), len(x2), 2))
    same = _equal(np.concatenate([x, x2]))[: len(x), len(x) :]
    i, j = np.nonzero(np.triu(np.logical_not(same)) if x is x2 else np.logical_not(same))
    gram = Dual.of(np.einsum("pd,pd->p", x[i], x2[j]) / x.shape[1])
    last = list(through(steps, first_kernels(first, gram, numbers), numbers, Pairs(i, j)))[-1] if len(i) else None
    if last is not None:
        found = getattr(last, kernel)
        value[i, j], gradient[i, j] = found.value, np.moveaxis(found.slopes, 0, -1)
        if x is x2:
            value[j, i], gradient[j, i] = value[i, j], gradient[i, j]
    if numbers.lost > GUARANTEE:
        warn(
            f"points that are nearly parallel: relative error of {kernel} and its gradient up to {min(numbers.lost, 1.0):.0e}; "
            "leave out points that are nearly multiples of others",
            PrecisionWarning,
        )
    own = _own(net.layers, kernel, Dual.of(squares[0]), numbers)
    i, j = np.nonzero(same)
    value[i, j], gradient[i, j] = own.value[i], np.moveaxis(own.slopes, 0, -1)[i]
    return value, gradient


def _equal(x: Array) -> Array:
    back = np.unique(x, axis=0, return_inverse=True)[1].ravel()
    return np.asarray(back[:, None] == back[None, :])


def _own(layers: tuple[Layer, ...], kernel: str, square: Any, numbers: Numbers) -> Any:
    """The kernel at (x, x), in numbers of the kind of ``square``, x·x/n_0."""
    steps: list[Step] = []
    wanted = frozenset({kernel})
    for layer in reversed(layers):
        steps.insert(0, make_step(layer, (), wanted, False))
        wanted = steps[0].diagonal_before
    at = first_diagonal(steps[0], square, numbers)
    return getattr(take_diagonals(steps[1:], at, at, numbers)[0], kernel)


def diagonal_of(net: Network, X: Any, kernel: str) -> Array:
    """The kernel at (x, x) for every point, (N,).

    Raises
    ------
    ShapeError, NotFiniteError, CovarianceError
        Points that are none, or too large or too small.
    """
    square, first = Points.of(check_points(X)).square, net.layers[0]
    assert isinstance(first, Dense)
    check_variances(first.sigma_w**2 * square + first.beta**2)
    found: Array = _own(net.layers, kernel, square, Floats())
    return found
