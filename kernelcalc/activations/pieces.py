"""Functions of x cut at their kinks: smooth expressions between, delta functions on them, derivatives of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from kernelcalc.activations.features import (
    SAMPLE_WEIGHTS,
    SAMPLED,
    Feature,
    compiled,
    features_between,
    polynomial_zeros,
    rounding_callable,
    single_callable,
)
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.atoms import Delta, x
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.sinc import Sinc
from kernelcalc.expressions.stable import FloatFunction, numpy_callable, stabilise
from kernelcalc.expressions.zeros import expanded, inner_equations, solutions

# Derivatives whose jumps are looked at when the smoothness class is determined: the theory asks for C⁴.
SMOOTHNESS_DEPTH = 6
KINKED = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min)
ELEMENTARY: tuple[Any, ...] = (
    *(*KINKED, sp.Piecewise, sp.DiracDelta, sp.exp, sp.log, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.sech),
    *(sp.coth, sp.asinh, sp.atan, sp.erf, sp.erfc, sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.re, sp.im, sp.arg, Sinc),
)
# Functions with poles for some argument.
WITH_POLES = (sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.coth)
# Ulp of a function's values, in the mean, from which on their rounding is looked at: those of the catalogue have less than 5.
MAGNIFIED = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class PiecewiseForm:
    """Smooth expressions between breaks, and the singular part.

    Attributes
    ----------
    breaks : tuple of sympy.Expr
        Where the function or one of its derivatives jumps, in ascending order.
    pieces : tuple of sympy.Expr
        The smooth expressions between them, one more than there are breaks.
    stable : tuple of sympy.Expr
        The same in functions without overflow or cancellation (:mod:`kernelcalc.expressions.stable`).
    deltas : tuple of Delta
        The singular part.
    """

    breaks: tuple[sp.Expr, ...]
    pieces: tuple[sp.Expr, ...]
    stable: tuple[sp.Expr, ...]
    deltas: tuple[Delta, ...] = ()

    @classmethod
    def of(cls, expr: sp.Expr) -> PiecewiseForm:
        """Cut an expression in x.

        Raises
        ------
        ExpressionError
            If it has functions that are not known, or kinks that cannot be located.
        """
        functions = {type(f) for f in expr.atoms(sp.Function) if f.has(x) and not isinstance(f, ELEMENTARY)}
        if functions:
            names = ", ".join(sorted(f.__name__ for f in functions))
            raise ExpressionError("elementary functions, erf, steps and absolute values", names)
        breaks, pieces = _pieces(expr)
        return cls(breaks=breaks, pieces=pieces, stable=tuple(stabilise(piece) for piece in pieces))

    def derivative(self, order: int) -> PiecewiseForm:
        """The derivative of a function without singular part, in the sense of distributions."""
        return PiecewiseForm(
            breaks=self.breaks,
            pieces=tuple(sp.diff(piece, x, order) for piece in self.pieces),
            stable=tuple(sp.diff(piece, x, order) for piece in self.stable),
            deltas=tuple(
                Delta(at=at, order=order - 1 - j, weight=jump)
                for j in range(order)
                for at, jump in zip(self.breaks, self.jumps(j), strict=True)
                if jump != 0
            ),
        )

    @property
    def regular(self) -> sp.Expr:
        """One expression without the singular part."""
        if not self.breaks:
            return self.pieces[0]
        conditions = [x < at for at in self.breaks] + [True]
        return sp.Piecewise(*zip(self.pieces, conditions, strict=True))

    @property
    def expr(self) -> sp.Expr:
        """One expression, delta functions included."""
        singular = (d.weight * sp.DiracDelta(x - d.at, d.order) for d in self.deltas)
        return sp.Add(self.regular, *singular)

    @property
    def known(self) -> bool:
        """Whether this is made of known functions only: that of a plain callable is not."""
        return not self.pieces[0].has(AppliedUndef)

    def __getstate__(self) -> dict[str, Any]:
        # without what is computed at first use
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def kinks(self) -> tuple[float, ...]:
        return tuple(float(b) for b in self.breaks)

    def jumps(self, order: int) -> list[Any]:
        """Jump of the order-th derivative of the pieces at every break."""
        derivatives = [sp.diff(piece, x, order) for piece in self.pieces]
        return [
            _simplified(_value_at(right, at) - _value_at(left, at), at)
            for at, left, right in zip(self.breaks, derivatives[:-1], derivatives[1:], strict=True)
        ]

    @cached_property
    def smoothness(self) -> float:
        """Largest k with σ ∈ C^k (``math.inf``: no kinks; −1: a jump; lower for distributions)."""
        if self.deltas:
            return min(-2 - d.order for d in self.deltas)
        if not self.breaks:
            return math.inf
        for order in range(SMOOTHNESS_DEPTH + 1):
            if any(jump != 0 for jump in self.jumps(order)):
                return order - 1
        return SMOOTHNESS_DEPTH

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Where the function may vary fast, and how fast."""
        found = (features_between(*part) for part in self._between(self.stable))
        return tuple(feature for part in found for feature in part)

    @cached_property
    def compiled(self) -> tuple[FloatFunction, ...]:
        """The pieces for float64 arrays, each to be used in its interval."""
        return tuple(numpy_callable(piece, x) for piece in self.stable)

    @cached_property
    def _lost(self) -> tuple[FloatFunction, ...]:
        return tuple(map(rounding_callable, self.stable))

    def rounding(self, values: np.ndarray) -> np.ndarray:
        """Bound on the rounding errors of the pieces' values in float64."""
        return self._by_piece(self._lost, values)

    def _by_piece(self, functions: tuple[FloatFunction, ...], values: np.ndarray) -> np.ndarray:
        """At each value that of the function of its piece."""
        if not self.breaks:
            return functions[0](values)
        piece, found = np.searchsorted(np.asarray(self.kinks), values), np.empty(np.shape(values))
        for k, function in enumerate(functions):
            found[piece == k] = function(values[piece == k])
        return found

    @cached_property
    def adds(self) -> bool:
        """Whether there is a sum, which may cancel; those within functions of this package do not."""
        return any(piece.has(sp.Add) for piece in self.stable)

    @cached_property
    def _single(self) -> tuple[FloatFunction, ...]:
        return tuple(map(single_callable, self.stable))

    def magnifies(self, std: float) -> bool:
        """Whether values at N(0, std²) have far more rounding than usual, in the mean: single precision shows it.

        As in sigmoid(3000 (tanh(x²) − 1.01)), which varies as slowly as it is wide, or 1/cosh(x) − 0.9999 near 0.
        """
        if not (self.known and self.adds):
            return False
        with np.errstate(over="ignore"):  # what is not finite in single precision is left out
            at = np.asarray(std * SAMPLED, dtype=np.float32)
        rough, exact = (self._by_piece(self._single, v) for v in (at, at.astype(np.float64)))
        finite = np.isfinite(rough) & np.isfinite(exact)
        lost, size = (SAMPLE_WEIGHTS[finite] @ np.abs(v[finite]) for v in (rough - exact, exact))
        return bool(lost > MAGNIFIED * np.finfo(np.float32).eps * size)

    def poles(self, reach: float) -> set[float]:
        """Where a piece has a pole, or a power of 0 is infinite, within its interval and [−reach, reach]."""
        return {
            root
            for piece, low, high in self._between(self.pieces)
            for root in _poles(piece, max(low, -reach), min(high, reach))
            | infinite_powers(piece, max(low, -reach), min(high, reach))
        }

    def _between(self, pieces: tuple[sp.Expr, ...]) -> Iterator[tuple[sp.Expr, float, float]]:
        """Every piece with the ends of its interval."""
        edges = (-math.inf, *self.kinks, math.inf)
        return zip(pieces, edges[:-1], edges[1:], strict=True)


def _poles(expr: sp.Expr, low: float, high: float) -> set[float]:
    """Zeros of denominators in [low, high]: exact for polynomials, by a change of sign for others."""
    found: set[float] = set()
    for base in {p.base for p in expr.atoms(sp.Pow) if p.exp.is_negative and p.base.has(x)}:
        if base.is_positive or base.is_negative:
            continue
        if base.is_polynomial(x) and (roots := polynomial_zeros(sp.Poly(base, x))) is not None:
            found |= {root.real for root in roots.tolist() if abs(root.imag) < 1e-12}
        else:
            grid = np.linspace(low, high, 4001)
            signs = np.sign(compiled(base)(grid))
            found |= {float(v) for v in grid[1:][signs[1:] * signs[:-1] <= 0]}
    return {root for root in found if low <= root <= high}


def infinite_powers(expr: sp.Expr, low: float, high: float) -> set[float]:
    """One place in (low, high) for each power of 0 that is infinite there, as 0^x is where x < 0.

    What is around it, such as tanh or sign, may be finite there.
    """
    exponents = {p.exp for p in expr.atoms(sp.Pow) if p.base.is_zero and p.exp.has(x)} if low < high else set()
    within = np.linspace(low, high, 4001)[1:-1]
    return {float(at) for e in exponents for at in within[numpy_callable(e, x)(within) < 0][:1]}


def _simplified(value: Any, at: Any) -> Any:
    value = sp.nsimplify(value) if value.is_Float else value
    if value.is_number and not value.is_Rational:
        number = abs(sp.N(value, 30))
        if number is sp.nan:
            raise ExpressionError("finite values and slopes at its kinks", f"infinite ones on both sides of x = {at}")
        if number < sp.Float(10) ** -25:
            return sp.S.Zero
    return value


def _value_at(expr: sp.Expr, at: sp.Expr) -> sp.Expr:
    value = expr.subs(x, at)
    if not value.has(sp.nan, sp.zoo, sp.oo):
        return value
    try:
        return sp.limit(expr, x, at)
    except Exception as error:  # of any type
        raise ExpressionError("limits at kinks that can be found", f"{expr} at x = {at}", str(error)) from error


def _pieces(expr: sp.Expr) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
    """Kinks in ascending order and the smooth expressions between them."""
    if not (expr.has(*KINKED) or expr.has(sp.Piecewise)):
        return (), (expr,)
    breaks = sorted(_break_candidates(expr), key=float)
    pieces = [_smooth_on(expr, point) for point in _inner_points(breaks)]
    kept_breaks: list[sp.Expr] = []
    kept_pieces = [pieces[0]]
    for at, piece in zip(breaks, pieces[1:], strict=True):
        if _differ(piece, kept_pieces[-1], float(at)) or expanded(piece - kept_pieces[-1]) != 0:
            kept_breaks.append(at)
            kept_pieces.append(piece)
    return tuple(kept_breaks), tuple(kept_pieces)


def _inner_points(breaks: list[sp.Expr]) -> list[sp.Expr]:
    """One between each two breaks and beyond them: fractions, since breaks may be long radicals."""
    if not breaks:
        return [sp.S.Zero]
    near = [sp.Rational(float(at)) for at in breaks]
    between = [
        (one + other) / 2 if one != other else sp.nsimplify((a + b) / 2)
        for a, b, one, other in zip(breaks, breaks[1:], near, near[1:], strict=False)
    ]
    return [near[0] - 1, *between, near[-1] + 1]


def _differ(one: sp.Expr, other: sp.Expr, at: float) -> bool:
    """Whether two expressions have clearly different values near a break: to expand high powers would take long."""
    places = at + np.array([-1.5, -0.625, 0.625, 1.5])
    with np.errstate(all="ignore"):
        first, second = (np.broadcast_to(numpy_callable(e, x)(places), places.shape) for e in (one, other))
        return bool((np.abs(first - second) > 0.01 * (np.abs(first) + np.abs(second))).any())


def _break_candidates(expr: sp.Expr) -> set[sp.Expr]:
    switches: set[sp.Expr] = set()
    for atom in expr.atoms(*KINKED):
        if isinstance(atom, sp.Max | sp.Min):
            arguments = list(atom.args)
            switches |= {a - b for i, a in enumerate(arguments) for b in arguments[:i]}
        else:
            switches.add(atom.args[0])
    for piecewise in expr.atoms(sp.Piecewise):
        for _, condition in piecewise.args:
            switches |= {r.lhs - r.rhs for r in condition.atoms(sp.core.relational.Relational)}
    found: set[sp.Expr] = set()
    for switch in switches:
        if not switch.has(x):
            continue
        # A switch may itself be kinked (|x| - 1): its pieces are smooth expressions each, and so are its kinks.
        breaks, smooth = _pieces(switch)
        found |= set(breaks)
        for piece in smooth:
            if piece.has(x):
                found |= _real_roots(piece) | _infinities(piece)
    return found


def _infinities(switch: sp.Expr) -> set[sp.Expr]:
    """Where a switch may change its sign through infinity."""
    bases = {power.base for power in switch.atoms(sp.Pow) if power.base.has(x) and power.exp.is_negative}
    return {root for base in bases if not (base.is_positive or base.is_negative) for root in _real_roots(base)}


def _real_roots(switch: sp.Expr) -> set[sp.Expr]:
    if switch.is_polynomial(x) and sp.degree(switch, x) > 2 and sp.Poly(switch, x).domain in (sp.ZZ, sp.QQ):
        # No radicals, which SymPy takes long to find, to put in and to compare.
        return set(sp.real_roots(sp.Poly(switch, x)))
    inner = inner_equations(switch)
    if inner is not None:
        return {root for equation in inner for root in _real_roots(equation)}
    found = solutions(switch, x)
    if found is not None:
        return found
    if switch.is_polynomial(x):
        return set(sp.real_roots(sp.Poly(switch, x)))
    raise ExpressionError("kinks that can be located", f"zeros of {switch}", "write the kinks as |x - a| or Max(x, a)")


def _smooth_on(expr: sp.Expr, point: sp.Expr) -> sp.Expr:
    """The smooth expression that agrees with expr around a point that is no kink."""

    def positive(switch: sp.Expr) -> bool:
        return bool(switch.subs(x, point) > 0)

    def side(switch: sp.Expr, below: sp.Expr, there: sp.Expr) -> sp.Expr:
        """1, or what a step is below 0, or at 0 where its argument vanishes all around the point."""
        value = switch.subs(x, point)
        return there if value == 0 else sp.S.One if value > 0 else below

    def extreme(largest: bool) -> Callable[..., sp.Expr]:
        def choose(*args: sp.Expr) -> sp.Expr:
            pick = max if largest else min
            return pick(args, key=lambda a: sp.N(a.subs(x, point), 30))

        return choose

    def choose_branch(*branches: Any) -> sp.Expr:
        for value, condition in branches:
            if bool(to_sympy(condition).subs(x, point)):
                return value
        raise ExpressionError("a Piecewise that covers the whole line", str(expr))

    result = expr.replace(sp.Piecewise, choose_branch)
    result = result.replace(sp.Max, extreme(True)).replace(sp.Min, extreme(False))
    result = result.replace(sp.Abs, lambda u: u if positive(u) else -u)
    result = result.replace(sp.sign, lambda u: side(u, -sp.S.One, sp.S.Zero))
    return result.replace(sp.Heaviside, lambda u, *_: side(u, sp.S.Zero, sp.S.Half))
