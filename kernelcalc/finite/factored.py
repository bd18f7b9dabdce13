r"""Gradient flow of wide networks at few points, without arithmetic on arrays of the length of θ between its steps.

The gradient of a weight array is a sum over points of outer products, :math:`∂C/∂W = c\, a^T η`. Inside a Runge–Kutta step the
weights are those at its start and a few such products, so that a pass goes through

.. math:: a\,(W - \sum_j b_j c\, a_j^T η_j) = a W - \sum_j b_j c\, (a a_j^T)\, η_j

with N numbers a point and stage in the place of n². Only the step itself, and the estimate of its error, have the length of θ.
Measured, two hidden layers of width 256, 5 points, one core: 13 ms a training instead of 33 ms.

Networks of one architecture take their steps side by side, each as long as its own error allows, so that each goes where it
would go alone; what this saves is the overhead of every call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernelcalc.finite.arrays import AnyArray
from kernelcalc.finite.composition import LayeredParameters
from kernelcalc.finite.derivatives import Problem, propagate
from kernelcalc.finite.parameters import Parameters

# Points and weights from and up to which the detour pays (measured: as fast at width 128 with 5 points, 256 with 20).
_MOST_POINTS, _FEWEST_WEIGHTS = 1 / 12, 2**14
# Networks side by side at most, and the parameters of all of them: what a processor's cache holds (measured, 5 points, flows
# to t = 10 of 1, 3, 6 and 16 networks, ms each: width 64: 19, 7.3, 5.5, 3.2; 128: 21, 15, 13, 7.9; 256: 36, 24, 21, 20).
_MOST_TOGETHER, _PARAMETERS_TOGETHER = 16, 2**19
# Slopes in float32: how far they move θ over √T (√C(0) + ‖Y‖_∞) times float32's eps (measured: less in 9 of 10 of 85 flows of
# width 64, whose steps differ a little in length; at most 0.7 of tol in all).
_PATH_ROUNDING = 32.0
# A sum of squares may cancel up to here, which leaves six digits.
_CANCELLED = 1e-10
# Of SciPy's RK45, whose steps these are.
_SAFETY, _LEAST_FACTOR, _LARGEST_FACTOR, _ORDER = 0.9, 0.2, 10.0, 5


def factors_pay(net: Parameters, problem: Problem) -> bool:
    """Whether the network is wide enough for its points."""
    return _has_few_points(net, problem) and _largest_weights(net) >= _FEWEST_WEIGHTS


def networks_together(net: Parameters, problem: Problem) -> int:
    """How many networks of this architecture should take their steps side by side, at least 1."""
    if not _has_few_points(net, problem):
        return 1
    return max(1, min(_MOST_TOGETHER, _PARAMETERS_TOGETHER // net.n_parameters))


def slope_type(net: Parameters, loss: float, problem: Problem, end: float, tol: float) -> np.dtype[Any]:
    r"""float32 where slopes in it are estimated to move θ by less than ``tol`` in all, else the network's own number type.

    C(0) is ``loss``.

    Under gradient flow of a loss that is never negative θ goes no further than :math:`\sqrt{T\, C(0)}`, and outputs that are
    off by δ in root mean square, as other targets would be, move it by at most :math:`\sqrt{T}\, δ`; for rounding δ is of the
    size of ε |f|. Along a kink two flows that are close may be further apart than ``tol`` after a step.
    """
    moderate = problem.loss.name == "mse" and problem.is_moderate(net)
    moderate = moderate and not any(getattr(act, "kinks", ()) for act in net.activations)
    path = end**0.5 * (loss**0.5 + float(np.abs(problem.targets).max()))
    single = np.dtype(np.float32)
    return single if moderate and _PATH_ROUNDING * np.finfo(single).eps * path <= tol else net.dtype


def _has_few_points(net: Parameters, problem: Problem) -> bool:
    return not isinstance(net, LayeredParameters) and len(problem.x) <= _MOST_POINTS * _largest_weights(net) ** 0.5


def _largest_weights(net: Parameters) -> int:
    return max(n * m for n, m in net.weight_shapes)


class _Moved:
    """Matrices W + LᵀR in products from the left."""

    # leaves a @ W to this class
    __array_ufunc__ = None

    def __init__(self, weights: AnyArray, left: AnyArray, right: AnyArray) -> None:
        self.weights, self.left, self.right = weights, left, right
        self.dtype, self.shape = weights.dtype, weights.shape

    def __rmatmul__(self, a: AnyArray) -> AnyArray:
        moved = a @ self.weights
        moved += (a @ self.left.swapaxes(-1, -2)) @ self.right
        return moved

    def swapaxes(self, *_: int) -> _Moved:
        return _Moved(self.weights.swapaxes(-1, -2), self.right, self.left)


class FactoredSteps:
    """The steps of SciPy's RK45 for θ' = −∇C(θ) of E networks side by side, with the same control of errors in each.

    Parameters
    ----------
    net : Parameters
        One of the architecture.
    theta : (E, P) array
        Where they start.
    problem : Problem
        Points, targets and loss of all of them.
    end : float
        The last time.
    tol : float
        Bound on the error of a step in ‖θ‖₂, of each network.
    slopes : dtype, optional
        What slopes are computed in; by default in the network's number type.

    Attributes
    ----------
    members : (M,) array
        Numbers of the networks that are still under way; the arrays below belong to these.
    t, h, h_abs, speed : (M,) arrays
        Times, lengths of the last step and of the next one, ‖∇C‖ at the start.
    y, old : (M, P) arrays
        Parameters after and before the last step, float64.
    steps : (M,) array
        Steps taken.
    moved, stuck : (M,) arrays
        Which networks took a step in the last attempt, and which can take none.
    """

    net: Parameters
    members: AnyArray
    t: AnyArray
    h: AnyArray
    h_abs: AnyArray
    speed: AnyArray
    y: AnyArray
    old: AnyArray
    steps: AnyArray
    moved: AnyArray
    stuck: AnyArray

    def __init__(
        self, net: Parameters, theta: AnyArray, problem: Problem, end: float, tol: float, slopes: Any = None
    ) -> None:
        from scipy.integrate import RK45

        self.net, self._end, self._tol = net, end, tol
        self._type = net.dtype if slopes is None else np.dtype(slopes)
        self._problem = problem.of_type(self._type)
        self._a, self._b, self._e, self._p = RK45.A, RK45.B, RK45.E, RK45.P
        # the state is float64 also for float32 networks: small steps would be lost to rounding
        self.y = theta.astype(np.float64)
        self.old, count, n = self.y, len(self.y), len(problem.x)
        self.members, self.t, self.h = np.arange(count), np.zeros(count), np.zeros(count)
        self.steps, self._rejected = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
        self.moved, self.stuck = self._rejected, self._rejected
        # −∇C of every stage as factors: activations a^ℓ and cotangents η^{ℓ+1} by weight layer, (M, stage, N, n)
        shape, dtype = (count, len(self._e), n), self._type
        self._left = [np.empty((*shape, size if layer else 0), dtype) for layer, size in enumerate(net.sizes[:-1])]
        self._right = [np.empty((*shape, size), dtype) for size in net.sizes[1:]]
        self._look(self._at(self.y), 0)
        self.speed = np.linalg.norm(self._combined(np.ones((count, 1))), axis=1)
        self.h_abs = self._first_steps()

    def attempt(self) -> None:
        """Try a step of every network: those with too large an error stay, for a shorter one."""
        for part in (*self._left, *self._right):
            part[self.moved, 0] = part[self.moved, -1]
        least = 10 * np.abs(np.nextafter(self.t, np.inf) - self.t)
        self.stuck = self._rejected & (self.h_abs < least)
        h_abs = np.where(self._rejected, self.h_abs, np.maximum(self.h_abs, least))
        new, base = np.minimum(self.t + h_abs, self._end), self._at(self.y)
        h = new - self.t
        for stage, row in enumerate(self._a[1:], start=1):
            self._look(self._shifted(base, h[:, None] * row[:stage]), stage)
        y = self._combined(h[:, None] * self._b)
        y += self.y
        self._look(self._at(y), len(self._b))
        error = self._size(h[:, None] * self._e) / self._tol
        with np.errstate(divide="ignore"):
            factor = _SAFETY * error ** (-1 / _ORDER)
        self.moved = error < 1
        longer = np.minimum(np.where(self._rejected, 1.0, _LARGEST_FACTOR), factor)
        # not a number: an overflow
        shorter = np.where(np.isfinite(error), np.maximum(_LEAST_FACTOR, factor), _LEAST_FACTOR)
        self.h_abs, self._rejected = h * np.where(self.moved, longer, shorter), ~self.moved
        self.old, self.h, self.t = self.y, h, np.where(self.moved, new, self.t)
        self.y = y if self.moved.all() else np.where(self.moved[:, None], y, self.y)
        self.steps = self.steps + self.moved

    def between(self, rows: AnyArray, times: AnyArray) -> AnyArray:
        """θ of some networks at times within the last step, (rows, P)."""
        h = self.h[rows]
        powers = ((times - (self.t[rows] - h)) / h)[:, None] ** np.arange(1, self._p.shape[1] + 1)
        return np.asarray(self.old[rows] + self._combined(h[:, None] * (powers @ self._p.T), rows))

    def keep(self, wanted: AnyArray) -> None:
        """Go on with some of the networks."""
        for name in ("members", "t", "h", "h_abs", "speed", "y", "old", "steps", "moved", "stuck", "_rejected"):
            setattr(self, name, getattr(self, name)[wanted])
        self._left, self._right = ([part[wanted] for part in parts] for parts in (self._left, self._right))

    def _first_steps(self) -> AnyArray:
        """The steps that SciPy's solvers begin with."""
        size, speed = np.linalg.norm(self.y, axis=1), self.speed
        with np.errstate(divide="ignore"):
            rough = np.where(np.minimum(size, speed) >= 1e-5 * self._tol, 0.01 * size / speed, 1e-6)
        rough = np.minimum(rough, self._end)
        self._look(self._shifted(self._at(self.y), rough[:, None]), 1)
        bend = np.linalg.norm(self._combined(np.tile([-1.0, 1.0], (len(rough), 1))), axis=1) / rough
        fine = np.maximum(speed, bend) / self._tol
        with np.errstate(divide="ignore"):
            step = np.where(fine > 1e-15, (0.01 / fine) ** (1 / _ORDER), np.maximum(1e-6, rough * 1e-3))
        return np.asarray(np.minimum(np.minimum(100 * rough, step), self._end))

    def _at(self, y: AnyArray) -> Parameters:
        return self.net.at(y.astype(self._type, copy=False))

    def _look(self, net: Parameters, stage: int) -> None:
        """Keep the slope at these parameters as that of a stage."""
        run = propagate(net, self._problem.x)
        eta = run.cotangents(self._problem.slope(run.outputs))
        for layer, right in enumerate(self._right):
            right[:, stage] = eta[layer + 1]
            if layer:
                self._left[layer][:, stage] = run.a[layer]

    def _shifted(self, base: Parameters, step: AnyArray) -> Parameters:
        """The networks at base − Σ_j step_j ∇C_j."""
        weights, biases = [], []
        for layer, (left, right) in enumerate(self._stacked(step, slice(None))):
            weights.append(_Moved(base.weights[layer], left, -base.scales[layer] * right))
            biases.append(base.biases[layer] - base.beta * right.sum(axis=-2))
        return base.holding(weights, biases)

    def _combined(self, coefficients: AnyArray, rows: slice | AnyArray = slice(None)) -> AnyArray:
        """−Σ_j coefficient_j ∇C_j of some networks, (rows, P)."""
        result = np.empty((len(coefficients), self.y.shape[1]))
        weights, biases = self.net.split(result)
        for layer, (left, right) in enumerate(self._stacked(coefficients, rows)):
            np.matmul(left.swapaxes(-1, -2), -self.net.scales[layer] * right, out=weights[layer])
            np.multiply(-self.net.beta, right.sum(axis=-2), out=biases[layer])
        return result

    def _size(self, coefficients: AnyArray) -> AnyArray:
        r"""‖Σ_j coefficient_j ∇C_j‖₂ of every network, from inner products: :math:`‖L^T R‖^2 = Σ (L L^T) ∘ (R R^T)`."""
        square, whole = np.zeros(len(coefficients)), np.zeros(len(coefficients))
        for c, (left, right) in zip(self.net.scales, self._stacked(coefficients, slice(None)), strict=True):
            left, right = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
            terms = c * c * (left @ left.swapaxes(-1, -2)) * (right @ right.swapaxes(-1, -2))
            square += terms.sum(axis=(-2, -1)) + self.net.beta**2 * (right.sum(axis=-2) ** 2).sum(axis=-1)
            whole += np.trace(terms, axis1=-2, axis2=-1)
        if (square > _CANCELLED * whole).all():
            return np.sqrt(square)
        return np.asarray(np.linalg.norm(self._combined(coefficients), axis=1))

    def _stacked(self, coefficients: AnyArray, rows: slice | AnyArray) -> list[tuple[AnyArray, AnyArray]]:
        """a_j and coefficient_j η_j of all stages below each other, one pair a layer."""
        count, stages = coefficients.shape
        factors = coefficients.astype(self._type)[:, :, None, None]
        found: list[tuple[AnyArray, AnyArray]] = []
        for left, right in zip(self._left, self._right, strict=True):
            scaled = factors * right[rows, :stages]
            if found:
                below = left[rows, :stages].reshape(count, -1, left.shape[-1])
                found.append((below, scaled.reshape(count, -1, scaled.shape[-1])))
            else:
                # the points are the same at every stage
                found.append((self._problem.x, scaled.sum(axis=1)))
        return found
