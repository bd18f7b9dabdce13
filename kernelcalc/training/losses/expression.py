"""Losses from expressions in an output y and its target t, or from callables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.arguments import shown
from kernelcalc.errors import ExpressionError, InputError, NotFiniteError, SmoothnessError
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.functions import MPMATH_FUNCTIONS, NUMPY_FUNCTIONS, plain
from kernelcalc.expressions.parsing import parse_expression
from kernelcalc.expressions.stable import stabilise
from kernelcalc.machine import MULTIPRECISION
from kernelcalc.training.losses.loss import Loss
from kernelcalc.training.losses.sublevel import bound

if TYPE_CHECKING:
    from kernelcalc.arrays import Array


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConvexLoss(Loss):
    """c(y, t) of one output y and its target t, as callables; see :func:`convex_loss`."""

    name: str
    c: Callable[[Any, Any], Any]
    first: Callable[[Any, Any], Any]
    second: Callable[[Any, Any], Any]
    expression: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        # compiled functions do not travel between processes; they are made again from the expression
        if self.expression is not None:
            return _named, (self.expression, self.name)
        return _of_callables, (self.name, self.c, self.first, self.second)

    def point_values(self, y: Array, t: Array) -> Array:
        """c(y) summed over outputs.

        Raises
        ------
        NotFiniteError
            c is not finite there.
        """
        return np.sum(self._called(self.c, y, t, "c"), axis=-1)

    def slope(self, y: Array, t: Array) -> Array:
        """c'(y).

        Raises
        ------
        NotFiniteError
            c' is not finite there.
        """
        return self._called(self.first, y, t, "c'")

    def curvature(self, y: Array, t: Array) -> Array:
        """c''(y).

        Raises
        ------
        NotFiniteError
            c'' is not finite there.
        InputError
            c'' is negative there: the loss is not convex.
        """
        h = self._called(self.second, y, t, "c''")
        if h.size and h.min() < -1e-12 * np.abs(h).max():
            at = np.unravel_index(int(h.argmin()), h.shape)
            where = f"c'' = {h.min():.4g} at y = {np.broadcast_to(y, h.shape)[at]:.4g}"
            raise InputError("a loss convex in y", where, "the theory needs a positive semidefinite Hessian of C")
        return np.maximum(h, 0.0)

    def sublevel_bound(self, level: float, t: Array) -> float:
        def at(function: Callable[[Any, Any], Any]) -> Callable[[float, float], float]:
            return lambda y, v: float(np.asarray(function(np.array(y), np.array(v))))

        with np.errstate(all="ignore"):
            return bound(at(self.c), at(self.first), t, level)

    def _called(self, function: Callable[[Any, Any], Any], y: Array, t: Array, what: str) -> Array:
        shape = np.broadcast_shapes(y.shape, t.shape)
        result = np.broadcast_to(np.asarray(function(y, t), dtype=np.float64), shape)
        if not np.isfinite(result).all():
            bad = ~np.isfinite(result)
            got = f"y = {np.broadcast_to(y, shape)[bad][0]:.6g}, t = {np.broadcast_to(t, shape)[bad][0]:.6g}"
            raise NotFiniteError(f"a finite {what} of the loss {self.name}", got)
        return result


def convex_loss(
    c: Any,
    first: Callable[[Any, Any], Any] | None = None,
    second: Callable[[Any, Any], Any] | None = None,
    *,
    name: str | None = None,
) -> ConvexLoss:
    r"""Loss :math:`c(y, t)` of each output, from an expression or from callables.

    Parameters
    ----------
    c : str, sympy.Expr or callable
        An expression in the symbols ``y`` (output) and ``t`` (target), text or SymPy; or a vectorised callable.
    first, second : callable
        ∂c/∂y and ∂²c/∂y², needed when c is a callable.
    name : str
        Shown in messages; by default the expression.

    Raises
    ------
    ExpressionError
        Symbols other than y and t, or no y.
    SmoothnessError
        ∂c/∂y jumps (hinge, absolute value): 𝓗C does not exist.
    InputError
        A callable without its derivatives, an expression with some, a name that is no text, or a linear loss, which has no
        minimum. A loss that is not convex is refused when its Hessian is first evaluated.

    Notes
    -----
    Where the float64 formula overflows, the value is recomputed with mpmath.

    Examples
    --------
    >>> convex_loss("log(1 + exp(-t*y))").gradient([-1e4, 0.0, 1e4], [1, 1, 1])
    array([-0.33..., -0.16..., -0.  ])
    """
    if name is not None and not isinstance(name, str):
        raise InputError("name, a text", shown(name))
    if isinstance(c, str | sp.Basic) and not first is second is None:
        raise InputError("first and second beside a callable c only", f"{shown(first)}, {shown(second)}")
    if not isinstance(c, str | sp.Basic):
        if not (callable(c) and callable(first) and callable(second)):
            raise InputError("an expression in y and t, or three callables c, c', c''", f"{c!r}, {first!r}, {second!r}")
        return ConvexLoss(name=str(name or getattr(c, "__name__", "custom")), c=c, first=first, second=second)
    y, t = sp.Symbol("y", real=True), sp.Symbol("t", real=True)
    if isinstance(c, str):
        expr = parse_expression(c, {"y": y, "t": t})
    else:
        expr = c.subs({s: {"y": y, "t": t}[s.name] for s in c.free_symbols if s.name in ("y", "t")})
    if not expr.free_symbols <= {y, t} or y not in expr.free_symbols:
        raise ExpressionError("an expression in y and t", str(c))
    functions = [_compile(expr, y, t, k) for k in range(3)]
    _check_continuity(str(c), expr, y, t, functions[:2])
    if _derivative(expr, y, 2) == 0:
        raise InputError(
            "a loss that curves", f"{c}, which is linear in y", "without curvature I and the largest step vanish"
        )
    value, slope, curvature = functions
    return ConvexLoss(name=str(name or c), c=value, first=slope, second=curvature, expression=expr)


def _named(expression: Any, name: str) -> ConvexLoss:
    return convex_loss(expression, name=name)


def _of_callables(name: str, *functions: Callable[[Any, Any], Any]) -> ConvexLoss:
    return ConvexLoss(name=name, c=functions[0], first=functions[1], second=functions[2])


def _compile(expr: Any, y: Any, t: Any, order: int) -> Callable[[Any, Any], Any]:
    # Differentiating the stabilised form keeps its derivatives stable; rewriting the derivative catches the rest.
    exact = _derivative(expr, y, order)
    stable = stabilise(expr)
    stable = stabilise(_derivative(stable, y, order)) if order else stable
    fast = compile_expression((y, t), stable, modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)
    slow = compile_expression((y, t), plain(exact), modules=MPMATH_FUNCTIONS)

    def call(outputs: Any, targets: Any) -> Any:
        shape = np.broadcast_shapes(np.shape(outputs), np.shape(targets))
        try:
            with np.errstate(all="ignore"):
                raw = fast(outputs, targets)
        except OverflowError:  # a number of the expression is beyond float64
            raw = np.nan
        result = np.broadcast_to(np.asarray(raw, dtype=np.float64), shape)
        bad = ~np.isfinite(result)
        if bad.any():
            result = result.copy()
            at_y, at_t = np.broadcast_to(outputs, shape)[bad], np.broadcast_to(targets, shape)[bad]
            result[bad] = [_mp_value(slow, float(a), float(b)) for a, b in zip(at_y, at_t, strict=True)]
        return result

    return call


def _mp_value(function: Callable[[Any, Any], Any], y: float, t: float) -> float:
    with MULTIPRECISION, mpmath.workdps(50):
        try:
            value = mpmath.mpmathify(function(mpmath.mpf(y), mpmath.mpf(t)))
        except (ZeroDivisionError, ValueError, OverflowError, MemoryError):
            return math.nan
        return float(mpmath.re(value)) if mpmath.im(value) == 0 else math.nan


def _derivative(expr: Any, y: Any, order: int) -> Any:
    """Derivative between the kinks: where it is continuous (which is checked), what SymPy adds at them is zero."""
    for _ in range(order):
        expr = expr.diff(y).replace(sp.DiracDelta, lambda *_: sp.Integer(0))
    return expr


def _check_continuity(text: str, expr: Any, y: Any, t: Any, functions: Sequence[Callable[[Any, Any], Any]]) -> None:
    """Refuse c and c' that jump: both sides of every kink are compared, for a few targets."""
    from scipy.optimize import brentq

    kinks = {e.args[0] for e in expr.atoms(sp.Abs, sp.sign, sp.Heaviside)}
    kinks |= {a - b for e in expr.atoms(sp.Max, sp.Min) for a, b in combinations(e.args, 2)}
    kinks |= {r.lhs - r.rhs for e in expr.atoms(sp.Piecewise) for r in e.atoms(sp.core.relational.Relational)}
    grid, step = np.linspace(-20.0, 20.0, 3999), 1e-6
    for kink in (k for k in kinks if k.has(y)):
        distance = _compile(kink, y, t, 0)
        for target in (-1.0, 0.0, 0.37, 1.0, 2.3):
            values = np.asarray(distance(grid, np.array(target)))
            for i in np.flatnonzero((values[:-1] * values[1:] < 0) | (values[:-1] == 0)):
                at = grid[i] if values[i] == 0 else brentq(distance, grid[i], grid[i + 1], args=(target,))
                for function in functions:
                    below, above = (float(function(np.array(at + s), np.array(target))) for s in (-step, step))
                    # A jump of 1e-3 is one; a slope of 100 moves less than that across the kink.
                    if abs(above - below) > 1e-3 * max(1.0, abs(below)):
                        where = f"{text}, which jumps by {above - below:.4g} at y = {at:.4g}, t = {target:g}"
                        raise SmoothnessError("a loss whose derivative in y is continuous", where, "smooth its kinks")
