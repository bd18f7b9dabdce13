"""Where a smooth expression may vary fast, how fast, and what rounding does to its values there.

A function varies fast where the argument of a function in it passes zero or turns back, and near the zeros of denominators
and of bases of powers. Arguments that are polynomials have their zeros exactly. Others are followed on a grid that is refined
where they bend and around the features of what they are made of, so that functions of functions are seen from the innermost
outwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.arrays import EPS
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.functions import (
    NUMPY_FUNCTIONS,
    ErrorComplement,
    LogisticDensity,
    LogisticSigmoid,
    StableTanh,
    plain,
)
from kernelcalc.expressions.stable import FloatFunction, in_floats
from kernelcalc.expressions.zeros import HIGHEST_POWER

# Polynomials of a higher degree are followed as any other argument is.
MAX_DEGREE = 12
# The grid: even steps up to its first reach, then as a geometric series up to the second, the last of the variances' reach.
STEP, EVEN, FARTHEST = 1 / 32, 512.0, 2.0**20
# So many places beyond the even steps are a wave that these do not resolve.
MOST_FAR = 64
# Nearest to 0 of the places of one argument: more turns, within the variances' reach, are a wave that no grid follows.
MOST_PLACES = 2048
# Grid points between which an argument bends more than this part of its change are taken apart, so often.
BEND, REFINEMENTS, MOST_GRID = 0.1, 4, 2**17
# Halvings from 1 at which the width of a feature is looked for: down to 1e-15.
HALVINGS = 50
# Functions that are constant to rounding once their argument is beyond the number.
SATURATED, SATURATING = 60.0, (StableTanh, LogisticSigmoid, LogisticDensity, ErrorComplement, sp.erf, sp.erfc, sp.sech)
# Features below this, relative to their distance from 0 or to 1, are narrow: rounding is felt in them.
NARROW_FEATURE = 1 / 32


class Feature(NamedTuple):
    """A place and the length on which the function varies there, at most 1."""

    at: float
    width: float

    @property
    def narrow(self) -> bool:
        """Whether it would be missed by rules that know nothing of it, or feel the rounding of its place."""
        return self.width < NARROW_FEATURE * max(1.0, abs(self.at))


def features_between(expr: sp.Expr, low: float, high: float) -> tuple[Feature, ...]:
    """The features of a smooth expression in [low, high], in ascending order.

    Examples
    --------
    >>> [(round(f.at, 6), round(f.width, 6)) for f in features_between(sp.exp(-(2**20) * (sp.atan(x) - 1) ** 2), -9, 9)]
    [(0.0, 1.0), (1.557408, 0.001953)]
    """
    found: list[Feature] = []
    for part, outer in _arguments(expr):
        call = compiled(part)
        roots = None
        if part.is_polynomial(x) and sp.degree(part, x) <= MAX_DEGREE:
            roots = polynomial_zeros(_numerical(part))
        places = _turns(part, call, found, low, high) if roots is None else np.real(roots)
        places = places[(places >= low) & (places <= high)]
        if isinstance(outer, SATURATING):
            places = places[np.abs(call(places)) <= SATURATED]
        widths = _widths(call, places, relative=isinstance(outer, sp.Pow | sp.log))
        found += [Feature(float(at), float(width)) for at, width in zip(places, widths, strict=True)]
    return _merged(found)


def _numerical(part: sp.Expr) -> sp.Poly:
    """A polynomial whose coefficients are numbers to SymPy too, which knows no digits of this package's functions within."""
    coefficients = [c if c.is_Rational else sp.N(plain(c), 30) for c in sp.Poly(part, x).all_coeffs()]
    return sp.Poly(coefficients, x)


def polynomial_zeros(polynomial: sp.Poly) -> np.ndarray | None:
    """Complex zeros; None for high degrees, and if mpmath's iteration does not end, as where many meet."""
    if polynomial.degree() > HIGHEST_POWER:
        return None
    try:
        return np.array([complex(root) for root in polynomial.nroots(n=20, maxsteps=200)])
    except mpmath.libmp.NoConvergence:
        return None


def _arguments(expr: sp.Expr) -> Iterator[tuple[sp.Expr, sp.Expr]]:
    """Arguments of functions and bases of powers with what they stand in, innermost first, each once."""
    seen: set[tuple[sp.Expr, Any]] = set()
    for part in sp.postorder_traversal(expr):
        inner = None
        if isinstance(part, sp.Function | sp.exp):
            inner = part.args[0]
        elif isinstance(part, sp.Pow):
            # The zeros of a base are those of a square, better to be had from the base.
            base, power = part.as_base_exp()
            sharp = not power.is_Integer or power.is_negative
            inner = base if base.has(x) and (sharp or not base.is_polynomial(x)) else power
        if inner is not None and inner.has(x) and (inner, type(part)) not in seen:
            seen.add((inner, type(part)))
            yield inner, part


def compiled(expr: sp.Expr) -> FloatFunction:
    """For float64 arrays; NaN and infinity stay what they are, far out where an argument overflows."""
    raw = compile_expression(x, in_floats(expr), modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)

    def call(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            try:
                found = np.asarray(raw(np.asarray(values, dtype=np.float64)))
            except OverflowError:  # a constant beyond the range
                found = np.asarray(np.nan)
        found = np.where(np.imag(found) == 0, np.real(found), np.nan) if np.iscomplexobj(found) else found
        return np.broadcast_to(found.astype(np.float64), np.shape(values))

    return call


def _turns(part: sp.Expr, call: FloatFunction, known: list[Feature], low: float, high: float) -> np.ndarray:
    """Where an argument changes its sign or its direction, by bisection between the points of a grid."""
    slope = compiled(sp.diff(part, x))
    grid = argument_grid(call, known, max(low, -FARTHEST), min(high, FARTHEST))
    places = [np.empty(0)]
    for function in (call, slope):
        places.append(sign_changes(function, grid))
    found = np.unique(np.concatenate(places))
    far = np.abs(found) > EVEN
    # An argument that turns on and on is not followed where the grid is too wide for it.
    found = found[~far] if far.sum() > MOST_FAR else found
    return found if found.size <= MOST_PLACES else np.sort(found[np.argsort(np.abs(found))[:MOST_PLACES]])


def sign_changes(function: FloatFunction, grid: np.ndarray) -> np.ndarray:
    """Zeros between the points of a grid, and isolated ones on it."""
    values = np.sign(function(grid))
    change = np.flatnonzero(values[:-1] * values[1:] < 0)
    isolated = np.flatnonzero((values[1:-1] == 0) & (values[:-2] * values[2:] != 0))
    return np.concatenate([_bisected(function, grid[change], grid[change + 1], values[change]), grid[isolated + 1]])


def argument_grid(call: FloatFunction, known: list[Feature], low: float, high: float) -> np.ndarray:
    """Places between which an argument does not turn unseen: refined where it bends and around known features."""
    even = np.arange(0.0, EVEN + STEP / 2, STEP)
    half = np.concatenate([even, np.geomspace(EVEN, FARTHEST, 4000)[1:], np.geomspace(1e-9, STEP, 60)[:-1]])
    scales = 2.0 ** -np.arange(-6, HALVINGS - 8, 0.25)
    near = [f.at + sign * f.width * scales[scales * f.width < 8] for f in known if f.narrow for sign in (-1, 1)]
    grid = np.unique(np.clip(np.concatenate([half, -half, *near]), low, high))
    for _ in range(REFINEMENTS):
        middle = (grid[1:] + grid[:-1]) / 2
        ends, between = call(grid), call(middle)
        with np.errstate(invalid="ignore", over="ignore"):
            bend = np.abs(between - (ends[1:] + ends[:-1]) / 2) > BEND * np.abs(ends[1:] - ends[:-1])
            # An argument that only flattens out bends too; one that could turn between is close to no change.
            turning = bend & ((between - ends[:-1]) * (ends[1:] - between) <= 0)
        if not turning.any() or grid.size > MOST_GRID:
            break
        grid = np.unique(np.concatenate([grid, middle[turning]]))
    return grid


def _bisected(function: FloatFunction, left: np.ndarray, right: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Zeros between points at which a function has the sign and its opposite, to the last bit."""
    for _ in range(80):
        middle = (left + right) / 2
        same = np.sign(function(middle)) == sign
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return (left + right) / 2


def _widths(call: FloatFunction, places: np.ndarray, *, relative: bool) -> np.ndarray:
    """Largest 2^−j such that an argument changes by at most 1, or by itself, as far from the places."""
    steps = 2.0 ** -np.arange(HALVINGS)
    here = call(places)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.maximum(np.abs(call(places[:, None] + steps) - here), np.abs(call(places[:, None] - steps) - here))
        small = change <= (np.maximum(np.abs(here), np.finfo(float).tiny) if relative else 1.0)
    # Where nothing is small enough, as at a zero of a power's base, there is no width to be had.
    first = np.where(small.any(axis=1), np.argmax(small, axis=1), 0)
    return steps[first]


def _merged(found: list[Feature]) -> tuple[Feature, ...]:
    """Features at one place are one, with the smaller width."""
    kept: list[Feature] = []
    for feature in sorted(found):
        if kept and feature.at - kept[-1].at <= 1e-3 * min(feature.width, kept[-1].width):
            kept[-1] = min(kept[-1], feature, key=lambda f: f.width)
        else:
            kept.append(feature)
    return tuple(kept)


# Rounding ------------------------------------------------------------------------------------------------------------

_HALF = 3 * 2.0 ** -np.arange(0, 16, 0.25)
# Places in standard deviations, and their weights, where values are compared in single and double precision.
SAMPLED = np.concatenate([-_HALF, _HALF[::-1]])
SAMPLE_WEIGHTS = np.abs(SAMPLED) * np.exp(-(SAMPLED**2) / 2)
# Beyond the size of the logarithm of every number of float64.
LOWEST_LOGARITHM = 745.0


def single_callable(expr: sp.Expr) -> FloatFunction:
    """Values of an expression in the precision of its argument, single or double, as float64."""

    def is_irrational(e: sp.Expr) -> bool:
        return bool(e.is_Pow and e.is_number and not e.is_Rational)

    # NumPy's root of a number is of double precision, and so is what it is multiplied with; a literal is not.
    literal = in_floats(expr).replace(is_irrational, lambda e: sp.Float(sp.N(plain(e), 20), 17))
    raw = compile_expression(x, literal, modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)

    def call(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            found = np.asarray(raw(values))
        found = np.where(np.imag(found) == 0, np.real(found), np.nan) if np.iscomplexobj(found) else found
        return np.broadcast_to(found.astype(np.float64), values.shape)

    return call


def rounding_callable(expr: sp.Expr) -> FloatFunction:
    """Bound on the rounding error of an expression's value in float64, that of x by an ulp included: to first order.

    Every operation loses half an ulp of its result, which then goes through the slopes of what is outside. Values that
    are not finite in float64 lose nothing: they are computed with more digits.
    """
    direct = compiled(expr)

    def call(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            lost = _followed(expr, np.asarray(values, dtype=np.float64), {})[1]
        lost = np.where(np.isfinite(direct(values)), lost, 0.0)
        return np.asarray(EPS * np.nan_to_num(lost, nan=0.0, posinf=0.0))

    return call


def _followed(expr: sp.Expr, at: np.ndarray, known: dict[sp.Expr, tuple[Any, Any]]) -> tuple[Any, Any]:
    """Values of an expression at x, and what they have lost, in units of the rounding of 1; of each part once."""
    if expr not in known:
        known[expr] = _value_and_loss(expr, at, known)
    return known[expr]


def _value_and_loss(expr: sp.Expr, at: np.ndarray, known: dict[sp.Expr, tuple[Any, Any]]) -> tuple[Any, Any]:
    if not expr.has(x):
        constant = _constant(expr)
        return constant, abs(constant)
    if expr == x:
        return at, 2 * np.abs(at)
    values, lost = zip(*(_followed(part, at, known) for part in expr.args), strict=True)
    if expr.is_Add:
        value = sum(values)
        return value, np.abs(value) + sum(lost)
    if expr.is_Mul:
        value = math.prod(values)
        others = (math.prod(values[:i] + values[i + 1 :]) for i in range(len(values)))
        return value, np.abs(value) + sum(part * np.abs(other) for part, other in zip(lost, others, strict=True))
    if isinstance(expr, sp.log) or (expr.is_Pow and expr.exp.is_Rational and expr.exp < 1):
        return _near_zero(expr, values[0], lost[0])
    if isinstance(expr, sp.Function | sp.exp):
        function, slope = _function(expr.func(x, *expr.args[1:]))
        value = function(values[0])
        return value, 2 * np.abs(value) + np.abs(slope(values[0])) * lost[0]
    base, power = values
    value = base**power
    return value, 2 * np.abs(value) + (0.0 if expr.exp.has(x) else np.abs(power * base ** (power - 1)) * lost[0])


def _near_zero(expr: sp.Expr, value: Any, lost: Any) -> tuple[Any, Any]:
    """A logarithm, root or reciprocal and what it has lost, where its argument may be all rounding: sums that cancel to 0.

    |√u − √v| ≤ √|u − v| for every root; the logarithm of what is all rounding is any down to that of the smallest number.
    Of reciprocals that may be any no more than their own size is said.
    """
    apart = EPS * lost
    sure = np.abs(value) > 2 * apart
    # the slope at the end nearest to 0
    near = np.where(sure, np.abs(value) - apart, 1.0)
    if isinstance(expr, sp.log):
        found = np.log(np.where(sure, value, np.maximum(apart, np.finfo(float).tiny)))
        return found, np.where(sure, 2 * np.abs(found) + lost / near, LOWEST_LOGARITHM / EPS)
    power = float(expr.exp)
    found = np.where(value == 0, apart, value) ** power
    doubtful = (3 * apart) ** power if power > 0 else np.abs(found)
    return found, np.where(sure, 2 * np.abs(found) + abs(power) * near ** (power - 1) * lost, doubtful / EPS)


def _constant(expr: sp.Expr) -> float:
    """NaN if it is beyond the range, or complex."""
    try:
        return float(expr if expr.is_Number else sp.N(plain(expr), 17))
    except (OverflowError, TypeError):
        return math.nan


@lru_cache(maxsize=128)
def _function(of_x: sp.Expr) -> tuple[FloatFunction, FloatFunction]:
    """A function and its derivative."""
    # the slope of a sign is nothing but at 0
    return compiled(of_x), compiled(sp.S.Zero if isinstance(of_x, sp.sign) else of_x.fdiff(1))
