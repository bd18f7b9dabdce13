"""SciPy's BDF for systems too large for a Jacobian matrix: Newton steps by GMRES from products with the Jacobian.

References
----------
Shampine, Reichelt, "The MATLAB ODE suite", SIAM J. Sci. Comput. 18 (1997) 1–22 (the method of ``scipy.integrate.BDF``).
Brown, Hindmarsh, "Reduced storage matrix methods in stiff ODE systems", Appl. Math. Comput. 31 (1989) 40–91.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from scipy.sparse import csc_array
from scipy.sparse.linalg import LinearOperator, gmres

from kernelcalc.errors import IntegrationError, NotFiniteError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from kernelcalc.arrays import Array

    Product = Callable[[Array], Array]

_MOST_STEPS = 100_000
# SciPy's bound on the Newton error, as a part of the tolerance, for loose tolerances; it makes it smaller for tight
# ones, which cost half as much again and changed no error (measured on ten-class softmax, rtol 1e-5 to 1e-7).
_NEWTON = 0.03
# Accuracy of a linear solve, relative and as a part of the Newton tolerance: Newton converges linearly at this rate.
_LINEAR = 0.05
_KRYLOV = 20
# What a solve and the second order of f may each leave, as a part of the tolerance, where f is not evaluated again.
_LINEARISED = 0.4 * _NEWTON
# What of SciPy's BDF is set or read below without being documented (checked with SciPy 1.13 and 1.17).
_INNER = ("D", "I", "J", "jac", "lu", "solve_lu", "newton_tol")


def integrate(
    derivative: Callable[[Array], Array],
    jacobian: Callable[[Array], Product],
    start: Array,
    times: Array,
    *,
    rtol: float,
    atol: ArrayLike,
    solves_in: type[np.floating[Any]] = np.float64,
    bend: Callable[[Array], Array] | None = None,
) -> Iterator[Array]:
    """Solution of y' = f(y), y(0) = start at increasing times, one at a time.

    Parameters
    ----------
    derivative : callable
        f(y), in the shape of y.
    jacobian : callable
        ``jacobian(y)`` returns the function v ↦ ∂f(y) v, of arrays in the shape of y, of the type ``solves_in``.
    start : ndarray
        y(0), of any shape.
    times : ndarray
        Increasing, finite, ≥ 0.
    rtol, atol : float, array_like
        An error of size atol + rtol |y| in every entry is just acceptable for a step, root mean square.
    solves_in : type
        Type of numbers in linear solves.
    bend : callable, optional
        Of a small d: bounds of |f(y + d) - f(y) - ∂f(y) d| at any y, with the rounding of ∂f(y) d. Where they are well below
        the tolerance, f is evaluated once a step.

    Raises
    ------
    IntegrationError
        The step shrinks to nothing or the number of steps runs out; or SciPy's BDF lacks what is replaced in it.

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
    derivative(start)  # an f that is undefined from the start is reported as such
    end = float(times[-1])
    solver = _matrix_free_bdf(
        derivative, jacobian, start, end, rtol, np.broadcast_to(atol, start.shape).ravel(), solves_in, bend
    )
    for _ in range(_MOST_STEPS):
        with np.errstate(all="ignore"):  # a step that overflows is refused
            message = solver.step()
        if solver.status == "failed":
            raise IntegrationError(f"gradient flow stopped at time {solver.t:.4g} of {end:.4g}: {message}")
        between = None
        while target is not None and target <= solver.t:
            between = between or solver.dense_output()
            yield between(target).reshape(start.shape)
            target = next(pending, None)
        if target is None:
            return
    raise IntegrationError(
        f"gradient flow stopped at time {solver.t:.4g} of {end:.4g} after {_MOST_STEPS} steps; loosen rtol"
    )


class _Shifted(LinearOperator):
    """v ↦ shift v + factor ∂f v: I, J, and the I - cJ that SciPy makes of them, without sums of operators inside each other."""

    def __init__(self, n: int, product: Product, shift: float, factor: float) -> None:
        super().__init__(np.float64, (n, n))
        self.product, self.shift, self.factor = product, shift, factor

    def __rmul__(self, number: float) -> _Shifted:
        return _Shifted(self.shape[0], self.product, number * self.shift, number * self.factor)

    def __sub__(self, other: _Shifted) -> _Shifted:
        return _Shifted(self.shape[0], other.product, self.shift - other.shift, self.factor - other.factor)

    def _matvec(self, v: Array) -> Array:
        return np.asarray(self.shift * v.ravel() + self.factor * self.product(v))


def _solved(
    matrix: _Shifted, right: Array, unit: Array, solves_in: type[np.floating[Any]], rtol: float, atol: float
) -> tuple[Array, bool]:
    """(I + factor ∂f)⁻¹ right by GMRES, in these units, root mean square, and whether it came so far."""
    n = right.size
    into, back = unit.astype(solves_in), (matrix.factor / unit).astype(solves_in)

    def scaled(v: Array) -> Array:
        found = np.asarray(back * matrix.product(v * into), dtype=solves_in)
        found += v
        return found

    found, failed = gmres(
        LinearOperator((n, n), matvec=scaled, dtype=solves_in),
        (right / unit).astype(solves_in),
        rtol=rtol,
        atol=atol * np.sqrt(n),
        restart=_KRYLOV,
        maxiter=5,
    )
    return np.asarray(found * unit), not failed


class _Newton:
    """What SciPy's Newton iterations of a step ask for: f(y), and a solution of (I - cJ) d = r.

    They evaluate f anew after each correction d, which is as small as the error of a step. With ``bend``, J is taken where f
    was evaluated, and where f(y + d) is f(y) + J d to well within the tolerance, that is what they are given.
    """

    def __init__(
        self,
        derivative: Callable[[Array], Array],
        jacobian: Callable[[Array], Product],
        bend: Callable[[Array], Array] | None,
        unit: Callable[[], Array],
        solves_in: type[np.floating[Any]],
    ) -> None:
        self.derivative, self.jacobian, self.bend = derivative, jacobian, bend
        self.unit, self.solves_in = unit, solves_in
        self.at: tuple[Array, Array] | None = None
        self.linear: tuple[Array, Array] | None = None
        self.solved = False

    def value(self, _: float, y: Array) -> Array:
        """f."""
        linear, self.linear, self.at = self.linear, None, None
        self.solved = linear is not None and np.array_equal(linear[0], y)
        if linear is not None and self.solved:
            return linear[1]
        found = self.derivative(y)
        if self.bend is not None and np.isfinite(found).all():
            self.at = y.copy(), found
        return found

    def correction(self, matrix: _Shifted, right: Array) -> Array:
        """(I - cJ)⁻¹ r, in units of the tolerance, so that every entry counts as the step's error control will count it."""
        if self.solved:
            return np.zeros_like(right)
        unit = self.unit()
        if self.bend is None or self.at is None:
            return _solved(matrix, right, unit, self.solves_in, _LINEAR, _LINEAR * _NEWTON)[0]
        y, f = self.at
        here = _Shifted(len(y), self.jacobian(y), matrix.shift, matrix.factor)
        found, solved = _solved(here, right, unit, self.solves_in, 0.0, _LINEARISED)
        left = np.sqrt(np.mean((matrix.factor * self.bend(found) / unit) ** 2))
        if solved and left <= _LINEARISED:
            self.linear = y + found, f + (right - found) / matrix.factor
        return found


def _matrix_free_bdf(
    derivative: Any,
    jacobian: Any,
    start: Array,
    end: float,
    rtol: float,
    atol: Array,
    solves_in: type[np.floating[Any]],
    bend: Callable[[Array], Array] | None,
) -> Any:
    """SciPy's BDF on flat vectors, with linear operators where it has matrices."""
    shape, n = start.shape, start.size

    def flat(y: Array) -> Array:
        try:
            return np.asarray(derivative(y.reshape(shape))).ravel()
        except NotFiniteError:
            return np.full(n, np.inf)

    def product(y: Array) -> Product:
        of_shape = jacobian(y.reshape(shape))
        return lambda v: of_shape(v.reshape(shape)).ravel()

    def operator(_: float, y: Array) -> Any:
        try:
            return _Shifted(n, product(y), 0.0, 1.0)
        except NotFiniteError:
            return solver.J

    flat_bend = None if bend is None else lambda d: np.asarray(bend(d.reshape(shape))).ravel()
    newton = _Newton(flat, product, flat_bend, lambda: atol + rtol * np.abs(solver.y), solves_in)

    from scipy.integrate import BDF

    options: dict[str, Any] = {"rtol": rtol, "atol": atol, "jac": csc_array((n, n))}
    solver: Any = BDF(newton.value, 0.0, start.ravel(), end, **options)
    missing = [name for name in _INNER if not hasattr(solver, name)]
    if missing:
        raise IntegrationError(
            f"scipy.integrate.BDF of SciPy {scipy.__version__} has no {', '.join(missing)}, which matrix-free steps replace; "
            "install SciPy 1.13 or another version this package is tested with"
        )
    # SciPy leaves these differences as it finds the memory and carries them along unused.
    solver.D[2:] = 0
    # SciPy takes a Jacobian as a matrix only. It forms I - cJ, factorises and solves through these attributes, for
    # which linear operators do as well.
    solver.I = _Shifted(n, np.zeros_like, 1.0, 0.0)
    solver.jac, solver.lu, solver.solve_lu, solver.newton_tol = (
        operator,
        lambda matrix: matrix,
        newton.correction,
        _NEWTON,
    )
    solver.J = operator(0.0, solver.y)
    return solver
