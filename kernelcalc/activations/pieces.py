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

from kernelcalc.activations.crossings import Crossing
from kernelcalc.activations.cuts import KINKED, cut
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
from kernelcalc.errors import ExpressionError, SmoothnessError
from kernelcalc.expressions.atoms import Delta, x
from kernelcalc.expressions.sinc import Sinc
from kernelcalc.expressions.stable import FloatFunction, numpy_callable, stabilise

# Derivatives whose jumps are looked at when the smoothness class is determined: the theory asks for C⁴.
SMOOTHNESS_DEPTH = 6
ELEMENTARY: tuple[Any, ...] = (
    *(*KINKED, sp.Piecewise, sp.DiracDelta, sp.exp, sp.log, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.sech),
    *(sp.coth, sp.asinh, sp.atan, sp.erf, sp.erfc, sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.re, sp.im, sp.arg, Sinc),
)
# Functions with poles for some argument.
WITH_POLES = (sp.tan, sp.cot, sp.sec, sp.csc, sp.csch, sp.coth)
# Ulp of a function's values, in the mean, from which on their rounding is looked at: those of the catalogue have less than 5.
MAGNIFIED = 8.0
# Distance of two kinks, beside that from 0, below which rounding moves what is between them (measured: at a twentieth it
# first exceeded what is stated else).
SHORT_PIECE = 1 / 16


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
    reach : float
        There are kinks without end where this is not infinite: up to here the breaks are all, and the outermost pieces, which
        begin here, have those further out in them.
    """

    breaks: tuple[sp.Expr, ...]
    pieces: tuple[sp.Expr, ...]
    stable: tuple[sp.Expr, ...]
    deltas: tuple[Delta, ...] = ()
    reach: float = math.inf

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
        breaks, pieces, reach = cut(expr)
        return cls(breaks=breaks, pieces=pieces, stable=_of_each(stabilise, pieces), reach=reach)

    def derivative(self, order: int) -> PiecewiseForm:
        """The derivative of a function without singular part, in the sense of distributions."""
        pieces, stable = (
            _of_each(lambda piece: sp.diff(piece, x, order), every) for every in (self.pieces, self.stable)
        )
        if pieces[0].has(sp.DiracDelta):
            raise SmoothnessError(
                "derivatives without delta functions where kinks are without end", f"{order} of {self.pieces[0]}"
            )
        return PiecewiseForm(
            breaks=self.breaks,
            pieces=pieces,
            stable=stable,
            reach=self.reach,
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
        derivatives = _of_each(lambda piece: sp.diff(piece, x, order), self.pieces)
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
        if self.reach < math.inf:
            every = {piece: features_between(piece, -math.inf, math.inf) for piece in set(self.stable)}
            return tuple(
                feature
                for piece, low, high in self._between(self.stable)
                for feature in every[piece]
                if low <= feature.at <= high
            )
        found = (features_between(*part) for part in self._between(self.stable))
        return tuple(feature for part in found for feature in part)

    @cached_property
    def compiled(self) -> tuple[FloatFunction, ...]:
        """The pieces for float64 arrays, each to be used in its interval."""
        return _of_each(lambda piece: numpy_callable(piece, x), self.stable)

    @cached_property
    def _lost(self) -> tuple[FloatFunction, ...]:
        return _of_each(rounding_callable, self.stable)

    def rounding(self, values: np.ndarray) -> np.ndarray:
        """Bound on the rounding errors of the pieces' values in float64."""
        return self.by_piece(self._lost, values)

    def by_piece(self, functions: tuple[FloatFunction, ...], values: np.ndarray) -> np.ndarray:
        """At each value that of the function of its piece."""
        if not self.breaks:
            return functions[0](values)
        distinct = list(dict.fromkeys(functions))
        which = np.array([distinct.index(function) for function in functions])
        piece, found = which[np.searchsorted(np.asarray(self.kinks), values)], np.empty(np.shape(values))
        for k, function in enumerate(distinct):
            found[piece == k] = function(values[piece == k])
        return found

    @cached_property
    def adds(self) -> bool:
        """Whether there is a sum, which may cancel; those within functions of this package do not."""
        return any(piece.has(sp.Add) for piece in self.stable)

    @cached_property
    def has_short_piece(self) -> bool:
        """Whether kinks are close beside their distance from 0, as in relu(1 − 1000|x − 3|): their rounding is felt."""
        return any(
            high - low < SHORT_PIECE * max(abs(low), abs(high))
            for low, high in zip(self.kinks[:-1], self.kinks[1:], strict=True)
        )

    @cached_property
    def _single(self) -> tuple[FloatFunction, ...]:
        return _of_each(single_callable, self.stable)

    def at_many_kinks(self, values: np.ndarray, jumps: tuple[float, ...]) -> np.ndarray:
        """Every piece at its own values, and at a kink the mean of its jump."""
        kinks = np.array(self.kinks)
        near = np.minimum(np.searchsorted(kinks, values), kinks.size - 1)
        # the left piece has the kink itself
        return self.by_piece(self.compiled, values) + np.where(kinks[near] == values, np.array(jumps)[near] / 2, 0.0)

    def magnifies(self, std: float) -> bool:
        """Whether values at N(0, std²) have far more rounding than usual, in the mean: single precision shows it.

        As in sigmoid(3000 (tanh(x²) − 1.01)), which varies as slowly as it is wide, or 1/cosh(x) − 0.9999 near 0.
        """
        if not (self.known and self.adds):
            return False
        with np.errstate(over="ignore"):  # what is not finite in single precision is left out
            at = np.asarray(std * SAMPLED, dtype=np.float32)
        rough, exact = (self.by_piece(self._single, v) for v in (at, at.astype(np.float64)))
        finite = np.isfinite(rough) & np.isfinite(exact)
        lost, size = (SAMPLE_WEIGHTS[finite] @ np.abs(v[finite]) for v in (rough - exact, exact))
        return bool(lost > MAGNIFIED * np.finfo(np.float32).eps * size)

    def poles(self, reach: float) -> set[float]:
        """Where a piece has a pole, or a power of 0 is infinite, within its interval and [−reach, reach]."""
        exact, stable = self._between(self.pieces), self._between(self.stable)
        return {
            root
            for (piece, low, high), (safe, _, _) in zip(exact, stable, strict=True)
            for root in _poles(safe, max(low, -reach), min(high, reach))
            | infinite_powers(piece, max(low, -reach), min(high, reach))
        }

    def _between(self, pieces: tuple[sp.Expr, ...]) -> Iterator[tuple[sp.Expr, float, float]]:
        """Every piece with the ends of its interval."""
        edges = (-math.inf, *self.kinks, math.inf)
        return zip(pieces, edges[:-1], edges[1:], strict=True)


def _of_each(function: Callable[[sp.Expr], Any], pieces: tuple[sp.Expr, ...]) -> tuple[Any, ...]:
    """A function of every piece, computed once for equal ones."""
    made = {piece: function(piece) for piece in dict.fromkeys(pieces)}
    return tuple(made[piece] for piece in pieces)


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
        # of a zero SymPy would ask for ever more digits
        number = abs(sp.N(value.xreplace({c: sp.N(c, 60) for c in value.atoms(Crossing)}), 30))
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
