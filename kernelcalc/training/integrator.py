r"""Stiff systems :math:`y' = f(A y)` too large for a Jacobian matrix: backward differences, Newton steps by GMRES.

The solution is known by its backward differences ∇ʲy at equal steps h. A step of order k takes :math:`y_0 = \sum_{j ≤ k} ∇^j y`
for a prediction and solves for the correction d

.. math::
    d = c f(A(y_0 + d)) - \sum_{1 ≤ j ≤ k} \frac{γ_j}{α_k} ∇^j y, \qquad
    c = \frac{h}{α_k}, \quad γ_j = \sum_{i ≤ j} \frac1i, \quad α_k = (1 - κ_k) γ_k,

whose local error is :math:`(κ_k γ_k + \frac{1}{k + 1}) d`. These are the methods of MATLAB's ode15s and of SciPy's BDF.

References
----------
Shampine, Reichelt, "The MATLAB ODE suite", SIAM J. Sci. Comput. 18 (1997) 1–22, Sections 2.1 to 2.3 and Table 1.
Brown, Hindmarsh, "Reduced storage matrix methods in stiff ODE systems", Appl. Math. Comput. 31 (1989) 40–91.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelcalc.errors import IntegrationError, NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

    Product = Callable[[Array], Array]

_MOST_STEPS = 100_000
_HIGHEST_ORDER = 5
# κ, γ, α and the constants of the local error, by order.
_KAPPA = np.array([0, -0.1850, -1 / 9, -0.0823, -0.0415, 0])
_GAMMA = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _HIGHEST_ORDER + 1))])
_ALPHA = (1 - _KAPPA) * _GAMMA
_ERROR = np.abs(_KAPPA * _GAMMA + 1 / np.arange(1, _HIGHEST_ORDER + 2))
# Of the step that would just be accepted, this part is tried (ode15s: 0.83 of one of the same order; SciPy: 0.81).
_PART_OF_STEP = 0.81
_SHORTEST, _LONGEST_STEP = 0.2, 10.0
# Accuracy of the correction and of one linear solve, root mean square in units of the tolerance (the first is SciPy's). With
# these the first solve is enough: none of 600 steps on ten-class softmax took a second one (measured, rtol 1e-5).
_NEWTON, _LINEAR = 0.03, 0.01
_MOST_SOLVES = 4
# Directions that GMRES keeps; the Newton step after the next goes on from there.
_KRYLOV = 60


def integrate(
    derivative: Callable[[Array], Array],
    jacobian: Callable[[Array], Product],
    start: Array,
    times: Array,
    *,
    rtol: float,
    atol: ArrayLike,
    image: Product | None = None,
    precision: Any = np.float64,
) -> Iterator[Array]:
    """Solution of y' = f(A y), y(0) = start at increasing times, one at a time.

    Parameters
    ----------
    derivative : callable
        f(u), in the shape of y.
    jacobian : callable
        ``jacobian(u)`` returns the function v ↦ ∂f(u) v, of arrays in the shape of y.
    start : ndarray
        y(0), of any shape.
    times : ndarray
        Increasing, finite, ≥ 0.
    rtol, atol : float, array_like
        An error of size atol + rtol |y| in every entry is just acceptable for a step, root mean square.
    image : callable, optional
        y ↦ A y, linear, the identity by default. Once a step it is taken of y; else of what linear solves multiply by.
    precision : dtype
        Of linear solves: ``image`` and the products with the Jacobian are taken of such arrays there.

    Raises
    ------
    IntegrationError
        The step shrinks to nothing or the number of steps runs out.

    Notes
    -----
    Orders 1 to 5 with local error control, dense output between steps. A step to a point where f is not finite is
    shortened.

    Examples
    --------
    >>> rates = np.array([1.0, 1e6])
    >>> solution = integrate(
    ...     lambda y: -rates * y, lambda y: lambda v: -rates * v, np.ones(2), np.array([1.0]), rtol=1e-8, atol=1e-10
    ... )
    >>> bool(np.allclose(next(solution), [np.exp(-1), 0], atol=1e-6))
    True
    """
    pending = iter(times)
    target = next(pending, None)
    while target is not None and target <= 0:
        yield start
        target = next(pending, None)
    if target is None:
        return
    end = float(times[-1])
    solver = _Differences(derivative, jacobian, image or np.asarray, start, end, rtol, atol, precision)
    for _ in range(_MOST_STEPS):
        with np.errstate(all="ignore"):  # a step that overflows is refused
            solver.step()
        while target is not None and target <= solver.t:
            yield solver.at(float(target))
            target = next(pending, None)
        if target is None:
            return
    raise IntegrationError(
        f"gradient flow stopped at time {solver.t:.4g} of {end:.4g} after {_MOST_STEPS} steps; loosen rtol"
    )


class _Differences:
    """Backward differences of the solution at time ``t``, in steps of ``h``."""

    def __init__(
        self,
        derivative: Callable[[Array], Array],
        jacobian: Callable[[Array], Product],
        image: Product,
        start: Array,
        end: float,
        rtol: float,
        atol: ArrayLike,
        precision: Any,
    ) -> None:
        self.derivative, self.jacobian, self.image, self.precision = derivative, jacobian, image, precision
        self.end, self.rtol, self.atol = end, rtol, np.broadcast_to(atol, start.shape)
        self.t, self.order, self.equal_steps = 0.0, 1, 0
        # an f that is undefined from the start is reported as such
        slope = derivative(image(start))
        # as far as y moves by the tolerance: the next steps may be longer by factors
        self.h: float = min(end, 1 / (_size(slope / self._unit(start)) or 1 / end))
        self.d: Array = np.zeros((_HIGHEST_ORDER + 3, *start.shape))
        self.d[0], self.d[1] = start, self.h * slope

    def step(self) -> None:
        """Go on by a step that meets the tolerance.

        Raises
        ------
        IntegrationError
            No step is short enough.
        """
        while True:
            if self.h < 10 * np.spacing(self.t):
                raise IntegrationError(
                    f"gradient flow stopped at time {self.t:.4g} of {self.end:.4g}: the step shrank to nothing"
                )
            if self.t + self.h > self.end:
                self._stretch((self.end - self.t) / self.h)
            k = self.order
            weights = np.stack([np.ones(k + 1), _GAMMA[: k + 1] / _ALPHA[k]])
            predicted, past = np.tensordot(weights, self.d[: k + 1], axes=1)
            moved = self._correction(predicted, past, self.h / _ALPHA[k])
            if moved is None:
                self._stretch(0.5)
                continue
            unit = self._unit(predicted + moved)
            error = _ERROR[k] * _size(moved / unit)
            if error <= 1:
                break
            self._stretch(max(_SHORTEST, _PART_OF_STEP * error ** (-1 / (k + 1))))
        self.t = min(self.t + self.h, self.end)
        self.d[k + 2] = moved - self.d[k + 1]
        self.d[k + 1] = moved
        for j in reversed(range(k + 1)):
            self.d[j] += self.d[j + 1]
        self.equal_steps += 1
        if self.equal_steps > k:
            self._choose_order(error, unit)

    def at(self, t: float) -> Array:
        """The solution at a time within the last step, from the polynomial through the last ``order`` + 1 points."""
        j = np.arange(self.order)
        weights = np.cumprod(((t - self.t) / self.h + j) / (1 + j))
        return np.asarray(self.d[0] + np.tensordot(weights, self.d[1 : self.order + 1], axes=1))

    def _choose_order(self, error: float, unit: Array) -> None:
        """The order and the step of which most is to be expected, from the errors of this order and its neighbours."""
        k, errors = self.order, [np.inf, error, np.inf]
        if k > 1:
            errors[0] = _ERROR[k - 1] * _size(self.d[k] / unit)
        if k < _HIGHEST_ORDER:
            errors[2] = _ERROR[k + 1] * _size(self.d[k + 2] / unit)
        with np.errstate(divide="ignore"):
            factors = np.array(errors) ** (-1 / np.arange(k, k + 3))
        self.order += int(factors.argmax()) - 1
        self._stretch(min(_LONGEST_STEP, _PART_OF_STEP * float(factors.max())))

    def _stretch(self, factor: float) -> None:
        """Differences of the same polynomial in steps longer by a factor."""
        k = self.order
        change = _changed_steps(k, factor) @ _changed_steps(k, 1.0)
        self.d[: k + 1] = np.tensordot(change.T, self.d[: k + 1], axes=1)
        self.h *= factor
        self.equal_steps = 0

    def _unit(self, y: Array) -> Array:
        return np.asarray(self.atol + self.rtol * np.abs(y))

    def _correction(self, predicted: Array, past: Array, c: float) -> Array | None:
        """The d of the module's first formula, where the prediction and the second sum are known; None if not found."""
        unit, u = self._unit(predicted), self.image(predicted)
        moved, before = np.zeros_like(predicted), np.inf
        try:
            right = (c * self.derivative(u) - past) / unit
            for _ in range(_MOST_SOLVES):
                size = _size(right)
                if not size < before:
                    return None
                if size == 0:
                    return moved
                by, image = self._newton_step(self.jacobian(u), right, unit, c)
                moved += by
                u = u + image
                right = (c * self.derivative(u) - past - moved) / unit
                if _size(right) <= _NEWTON:
                    return moved
                before = size
        except NotFiniteError:
            pass
        return None

    def _newton_step(self, product: Product, right: Array, unit: Array, c: float) -> tuple[Array, Array]:
        """x with (1 - c ∂f A) x = ``right``, and A x; in units of the tolerance, so that entries count as they will."""
        largest = float(unit.max())
        scale = (unit / largest).astype(self.precision)
        back = (-c * largest / unit).astype(self.precision)
        images: list[Array] = []

        def applied(v: Array) -> Array:
            images.append(self.image(v * scale))
            found = (product(images[-1]) * back).astype(self.precision, copy=False)
            found += v
            return found

        vectors, weights = gmres(applied, right, _LINEAR * right.size**0.5, _KRYLOV, self.precision)
        return unit * _combined(weights, vectors), largest * _combined(weights, images)


def gmres(
    product: Product, right: Array, enough: float, most: int, precision: Any = np.float64
) -> tuple[list[Array], Array]:
    """Orthonormal vectors and their weights in the x with least |right - M x| ≤ ``enough``, or ``most`` of them.

    The right-hand side is not 0, the vectors are of the given precision.

    References
    ----------
    Saad, Schultz, "GMRES", SIAM J. Sci. Stat. Comput. 7 (1986) 856–869.

    Examples
    --------
    >>> vectors, weights = gmres(lambda v: np.array([2.0, 4.0]) * v, np.array([1.0, 1.0]), 1e-12, 5)
    >>> (weights @ vectors).round(12)
    array([0.5 , 0.25])
    """
    size = float(np.linalg.norm(right))
    vectors: list[Array] = [(right / size).astype(precision)]
    columns = np.zeros((most + 1, most))
    for j in range(most):
        new = product(vectors[j])
        for i, v in enumerate(vectors):
            columns[i, j] = np.vdot(v, new)
            new -= float(columns[i, j]) * v
        columns[j + 1, j] = float(np.linalg.norm(new))
        aim = np.zeros(j + 2)
        aim[0] = size
        weights: Any = np.linalg.lstsq(columns[: j + 2, : j + 1], aim, rcond=None)[0]
        left = np.linalg.norm(aim - columns[: j + 2, : j + 1] @ weights)
        if left <= enough or not columns[j + 1, j] > 0 or j + 1 == most:
            break
        vectors.append(new / float(columns[j + 1, j]))
    return vectors, weights


def _combined(weights: Array, arrays: list[Array]) -> Array:
    total = weights[0] * arrays[0].astype(np.float64)
    for weight, array in zip(weights[1:].tolist(), arrays[1:], strict=True):
        total += weight * array
    return total


def _size(y: Array) -> float:
    """Root mean square."""
    return float(np.linalg.norm(y)) / max(y.size, 1) ** 0.5


def _changed_steps(order: int, factor: float) -> Array:
    """Section 2.3 of Shampine and Reichelt: row i is the product of (m - 1 - j·factor)/m over m ≤ i, j the column."""
    i, j = np.arange(1, order + 1)[:, None], np.arange(1, order + 1)
    found = np.zeros((order + 1, order + 1))
    found[0] = 1
    found[1:, 1:] = (i - 1 - factor * j) / i
    return np.asarray(np.cumprod(found, axis=0))
