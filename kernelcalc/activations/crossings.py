"""Where a function changes its sign, though no formula says it: zeros as numbers of any precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.features import FARTHEST, argument_grid, compiled, features_between, sign_changes
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.stable import mpmath_callable
from kernelcalc.machine import MULTIPRECISION

# Nearest to 0 of the zeros that are kept; functions with more have kinks without end.
MOST_CROSSINGS = 64
# Digits to which signs beside a zero are looked at, bits beyond those asked for, and the least gap, relative to the distance
# from 0, in which kinks without end are cut off.
_SIGN_DIGITS, _MORE_BITS, _GAP = 60, 20, 1e-3


class Crossing(sp.NumberSymbol):
    """The zero of an expression in x between two fractions, at which it has different signs.

    Examples
    --------
    >>> sp.N(Crossing(sp.cos(x) - x, sp.Rational(7, 10), sp.Rational(3, 4)), 30)
    0.739085133215160641655312087674
    """

    is_real = True
    is_irrational = None
    is_algebraic = None

    def __new__(cls, switch: sp.Expr, low: sp.Rational, high: sp.Rational) -> Crossing:
        self = sp.NumberSymbol.__new__(cls)
        self.switch, self.low, self.high = switch, low, high
        return self

    def _eval_is_positive(self) -> bool | None:
        return True if self.low >= 0 else False if self.high <= 0 else None

    def _eval_is_negative(self) -> bool | None:
        return True if self.high <= 0 else False if self.low >= 0 else None

    def __getnewargs__(self) -> tuple[sp.Expr, sp.Rational, sp.Rational]:
        return self.switch, self.low, self.high

    def _hashable_content(self) -> tuple[sp.Expr, sp.Rational, sp.Rational]:
        return self.switch, self.low, self.high

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Crossing) and self._hashable_content() == other._hashable_content()

    def __hash__(self) -> int:
        return hash((Crossing, *self._hashable_content()))

    def _as_mpf_val(self, prec: int) -> Any:
        # few precisions, so that most are known already
        with MULTIPRECISION, mpmath.workprec(prec):
            return (+_refined(self.switch, self.low, self.high, 64 if prec < 64 else -(-prec // 256) * 256))._mpf_

    def approximation_interval(self, number_cls: Any) -> tuple[Any, Any] | None:
        return (self.low, self.high) if number_cls is sp.Rational else None

    def _sympystr(self, printer: Any) -> str:
        return f"{float(self):.17g}"

    _latex = _sympystr


@lru_cache(maxsize=4096)
def _refined(switch: sp.Expr, low: sp.Rational, high: sp.Rational, bits: int) -> Any:
    """The zero to so many bits: secants, if signs on either side confirm them, else bisection.

    Of signs three times as many bits decide where zeros are triple.
    """
    call = mpmath_callable(switch, x)
    with MULTIPRECISION, mpmath.workprec(3 * bits + _MORE_BITS):
        left, right = (mpmath.mpf(int(v.p)) / int(v.q) for v in (low, high))
        sign, least = mpmath.sign(call(left)), mpmath.ldexp(1, -bits - 2)
        left, right = _beside(call, left, right, least)
        # 0 itself has no relative precision: numbers below this are as good
        while right - left > least * max(abs(left), abs(right), mpmath.ldexp(1, -2 * bits)):
            middle = (left + right) / 2
            here = mpmath.sign(call(middle))
            if here == 0:
                left = right = middle
            elif here == sign:
                left = middle
            else:
                right = middle
        with mpmath.workprec(bits):
            return mpmath.mpf(0) if left < 0 < right else +((left + right) / 2)


def _beside(call: Callable[[Any], Any], left: Any, right: Any, least: Any) -> tuple[Any, Any]:
    """Numbers close around a zero that secants find between two, or these themselves."""
    try:
        guess = mpmath.findroot(call, (left, right), solver="anderson", maxsteps=60, tol=least**4, verify=False)
    except (ArithmeticError, ValueError):
        return left, right
    near = guess - least * abs(guess) / 3, guess + least * abs(guess) / 3
    inside = left < near[0] and near[1] < right
    signs = [mpmath.sign(call(at)) for at in (left, *near)] if inside else [0, 0, 0]
    return near if signs[0] == signs[1] == -signs[2] != 0 else (left, right)


def crossings(switch: sp.Expr) -> tuple[set[sp.Expr], float]:
    """The zeros at which an expression changes its sign, and the distance from 0 up to which these are all; ∞ if everywhere.

    They are looked for on the grid on which features are, and between its turns; signs that decide are those of many digits.

    Examples
    --------
    >>> sorted(round(float(at), 6) for at in crossings(sp.tanh(x) - x / 2)[0])
    [-1.915008, 0.0, 1.915008]
    >>> places, reach = crossings(sp.sin(x))
    >>> len(places), round(reach / math.pi, 1)
    (63, 31.5)
    """
    # the zeros of −u are those of u
    switch = -switch if switch.could_extract_minus_sign() else switch
    call = compiled(switch)
    grid = argument_grid(call, list(features_between(switch, -math.inf, math.inf)), -FARTHEST, FARTHEST)
    points = np.union1d(grid, sign_changes(compiled(sp.diff(switch, x)), grid))
    signs = np.sign(call(points))
    points, signs = points[np.isfinite(signs) & (signs != 0)], signs[np.isfinite(signs) & (signs != 0)]
    while True:
        changed = signs[1:] != signs[:-1]
        reach = _kept(np.sort(np.abs([points[:-1][changed], points[1:][changed]]), axis=0))
        inside = np.abs(points) <= reach
        near, settled = points[inside], signs[inside]
        changes = _surely_changed(switch, near, settled)
        # of changes that are rounding there may be more than are kept
        if reach == math.inf or (settled == signs[inside]).all():
            return {_zero(switch, near[k], near[k + 1]) for k in changes}, reach
        signs[inside] = settled


def _kept(ends: np.ndarray) -> float:
    """A distance that parts the nearest of intervals from the others, by more than a little; ∞ where they are few.

    ``ends``: how far the nearer and the farther end of each is from 0, (2, places).
    """
    if ends.shape[1] <= MOST_CROSSINGS:
        return math.inf
    nearer, farther = ends[:, np.argsort(ends[0])]
    for count in range(MOST_CROSSINGS, 0, -1):
        one, other = float(farther[:count].max()), float(nearer[count])
        if other - one > _GAP * other:
            return (one + other) / 2
    return 0.0


def _surely_changed(switch: sp.Expr, points: np.ndarray, signs: np.ndarray) -> list[int]:
    """Between which points the sign changes, where ``signs`` have been put right: rounding may have turned some."""
    call, sure = mpmath_callable(switch, x), np.zeros(points.size, dtype=bool)
    with MULTIPRECISION, mpmath.workdps(_SIGN_DIGITS):
        while True:
            changes = np.flatnonzero(signs[:-1] != signs[1:])
            doubtful = [k for k in np.union1d(changes, changes + 1) if not sure[k]]
            for k in doubtful:
                signs[k], sure[k] = int(mpmath.sign(call(mpmath.mpf(float(points[k]))))) or signs[k], True
            if not doubtful:
                return [int(k) for k in changes]


def _zero(switch: sp.Expr, low: float, high: float) -> sp.Expr:
    """0 itself, where it is that, else what is known by its sign only."""
    if low < 0 < high and switch.subs(x, 0) == 0:
        return sp.S.Zero
    return Crossing(switch, sp.Rational(float(low)), sp.Rational(float(high)))
