"""How fast functions grow, proved by rules: |f(x)| ≤ A e^{α x² + B|x|}, or at least A e^{α x² − B|x|}, for some A and B > 0."""

from __future__ import annotations

import math
from functools import lru_cache

import sympy as sp

from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.functions import ErrorComplement
from kernelcalc.expressions.sinc import Sinc
from kernelcalc.expressions.stable import stabilise
from kernelcalc.expressions.zeros import expanded

# Those that tend to a limit other than 0 where their argument does to ±∞.
_SATURATED = (sp.tanh, sp.erf, sp.atan, sp.sign)
_BOUNDED = (sp.sin, sp.cos, sp.tanh, sp.erf, sp.erfc, ErrorComplement, sp.atan, sp.sech, sp.sign, sp.Heaviside, Sinc)
# The distance from the place behind which a function is looked at.
_y = sp.Symbol("y", nonnegative=True)
# Rates of two terms of a sum differ where they do by more.
_APART = 1e-9


@lru_cache(maxsize=1024)
def growth_rate(pieces: tuple[sp.Expr, ...], breaks: tuple[sp.Expr, ...] = ()) -> float:
    """An α ≥ 0 of the function with these pieces, infinite where the rules show none: only the outer two pieces count.

    Examples
    --------
    >>> growth_rate((x**3 * sp.tanh(x) + sp.cosh(5 * x),)), growth_rate((x * sp.exp(x**2 / 8),)), growth_rate((sp.exp(x**4),))
    (0.0, 0.125, inf)
    """
    return max(map(_rate, _outwards(pieces, breaks)))


@lru_cache(maxsize=1024)
def least_rates(pieces: tuple[sp.Expr, ...], breaks: tuple[sp.Expr, ...] = ()) -> tuple[float, float]:
    """The largest α known with |f(x)| ≥ A e^{α x² − B|x|} far to the left and far to the right, −∞ where the rules show none.

    Examples
    --------
    >>> least_rates((sp.tanh(x) * sp.exp(x**2 / 2) + x**3,)), least_rates((sp.S.Zero, x), (sp.S.Zero,))
    ((0.5, 0.5), (-inf, 0.0))
    """
    left, right = map(_least, _outwards(pieces, breaks))
    return left, right


def _outwards(pieces: tuple[sp.Expr, ...], breaks: tuple[sp.Expr, ...]) -> tuple[sp.Expr, sp.Expr]:
    """The outermost pieces as functions of y ≥ 0."""
    left, right = (breaks[0], breaks[-1]) if breaks else (0, 0)
    return pieces[0].xreplace({x: left - _y}), pieces[-1].xreplace({x: right + _y})


def _least(expr: sp.Expr) -> float:
    """As :func:`least_rates` for one expression for y ≥ 0."""
    expr = _natural(expr)
    if expr.is_polynomial(_y):
        return -math.inf if expr.is_zero is not False and expr.expand() == 0 else 0.0
    if isinstance(expr, sp.Abs):
        return _least(expr.args[0])
    if isinstance(expr, sp.Mul):
        factors = list(map(_least, expr.args))
        return -math.inf if -math.inf in factors else sum(factors)
    if isinstance(expr, sp.exp):
        return _leading(expr.args[0])
    if isinstance(expr, sp.sinh | sp.cosh):
        return max(_leading(expr.args[0]), _leading(-expr.args[0]))
    if isinstance(expr, _SATURATED):
        return 0.0 if expr.args[0].is_polynomial(_y) else -math.inf
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        return float(expr.exp) * (_least(expr.base) if expr.exp.is_positive else _falling(expr.base))
    if isinstance(expr, sp.Add):
        terms = list(expr.args)
        least = [_least(t) for t in terms]
        if all(t.is_nonnegative for t in terms):
            return max(least)
        first = max(range(len(terms)), key=least.__getitem__)
        others = max(_rate(t) for k, t in enumerate(terms) if k != first)
        return least[first] if least[first] > others + _APART else -math.inf
    return -math.inf


def _leading(exponent: sp.Expr) -> float:
    """The α of e^exponent where that is a polynomial and what grows like y at most; −∞ for others."""
    terms = sp.Add.make_args(expanded(exponent))
    polynomial = sp.Poly(sp.Add(*(t for t in terms if t.is_polynomial(_y))), _y)
    if not all(_degree(t) <= 1 for t in terms if not t.is_polynomial(_y)):
        return -math.inf
    degree, leading = polynomial.degree(), polynomial.LC()
    if degree <= 2:
        return float(leading) if degree == 2 else 0.0
    return math.inf if leading.is_positive else -math.inf


def _rate(expr: sp.Expr) -> float:
    """α of one expression for y ≥ 0."""
    expr = _natural(expr)
    if _degree(expr) < math.inf:
        return 0.0
    if isinstance(expr, sp.Add | sp.Max | sp.Min | sp.Abs | sp.asinh):
        return max(map(_rate, expr.args))
    if isinstance(expr, sp.Mul):
        return sum(map(_rate, expr.args))
    if isinstance(expr, sp.exp):
        return max(0.0, _above(expr.args[0]))
    if isinstance(expr, sp.sinh | sp.cosh):
        return max(0.0, _above(expr.args[0]), _above(-expr.args[0]))
    if isinstance(expr, sp.Pow) and expr.exp.is_number and expr.exp.is_positive:
        return float(expr.exp) * _rate(expr.base)
    return math.inf


def _falling(expr: sp.Expr) -> float:
    """As :func:`_rate`, but negative where the tails of error functions are known to be factors."""
    if isinstance(expr, ErrorComplement):
        return _above(-(expr.args[0] ** 2)) if _grows(expr.args[0]) else 0.0
    if isinstance(expr, sp.log):
        # |log u| ≤ |1 − u|/u, and u tends to 1
        return _rate(expr) if (rate := _falling(1 - expr.args[0])) >= 0 else rate
    if isinstance(expr, sp.Mul):
        return sum(map(_falling, expr.args))
    if isinstance(expr, sp.Pow) and expr.exp.is_number and expr.exp.is_positive:
        return float(expr.exp) * _falling(expr.base)
    stable = stabilise(expr)
    return _rate(expr) if stable == expr else min(_rate(expr), _falling(stable))


def _grows(argument: sp.Expr) -> bool:
    """Whether a polynomial tends to ∞."""
    return bool(argument.is_polynomial(_y) and argument.has(_y) and sp.LC(argument, _y).is_positive)


def _natural(expr: sp.Expr) -> sp.Expr:
    """b^u as e^{u log b}."""
    if isinstance(expr, sp.Pow) and expr.base.is_number and expr.base.is_positive:
        return sp.exp(expr.exp * sp.log(expr.base), evaluate=False)
    return expr


def _degree(expr: sp.Expr) -> float:
    """A d such that |f(y)| ≤ A (1 + y)^d, infinite where the rules show none."""
    expr = _natural(expr)
    if not expr.has(_y) or isinstance(expr, _BOUNDED):
        return 0.0
    if expr == _y:
        return 1.0
    if isinstance(expr, sp.Add | sp.Max | sp.Min | sp.Abs | sp.asinh):
        return max(map(_degree, expr.args))
    if isinstance(expr, sp.Mul):
        return sum(map(_degree, expr.args))
    if isinstance(expr, sp.exp):
        return 0.0 if _bounded_above(expr.args[0]) else math.inf
    if isinstance(expr, sp.log):
        rate = _rate(expr.args[0]) if _away_from_zero(expr.args[0]) else math.inf
        return 2.0 if 0 < rate < math.inf else 1.0 + rate
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        if expr.exp.is_positive:
            return float(expr.exp) * _degree(expr.base)
        return 0.0 if _away_from_zero(expr.base) else math.inf
    return math.inf


def _above(expr: sp.Expr) -> float:
    """An α such that f(y) ≤ α y² + B y + C, infinite where the rules show none."""
    terms = sp.Add.make_args(expanded(expr))
    polynomial = sp.Poly(sp.Add(*(t for t in terms if t.is_polynomial(_y))), _y)
    rest = [t for t in terms if not t.is_polynomial(_y)]
    if not all(_degree(t) <= 1 or _bounded_above(t) for t in rest):
        return math.inf
    degree, leading = polynomial.degree(), polynomial.LC()
    if degree <= 1 or leading.is_negative:
        return float(leading) if degree == 2 else 0.0
    return float(leading) if degree == 2 and leading.is_real else math.inf


def _bounded_above(expr: sp.Expr) -> bool:
    if expr.is_polynomial(_y):
        polynomial = sp.Poly(expr, _y)
        return bool(polynomial.degree() < 1 or polynomial.LC().is_negative)
    if isinstance(expr, sp.Add):
        return all(map(_bounded_above, expr.args))
    return bool(expr.is_nonpositive) or _degree(expr) == 0


def _away_from_zero(expr: sp.Expr) -> bool:
    """Whether f or −f stays above a positive number."""
    if not expr.has(_y):
        return bool(expr.is_nonzero)
    if expr.is_polynomial(_y) and (polynomial := sp.Poly(expr, _y)).domain in (sp.ZZ, sp.QQ):
        return bool(polynomial.count_roots(0) == 0)
    if isinstance(expr, sp.cosh):
        return True
    if isinstance(expr, sp.Add):
        constant, rest = expr.as_coeff_Add()
        terms = sp.Add.make_args(rest)
        above = constant > 0 and all(t.is_nonnegative for t in terms)
        return bool(above or (constant < 0 and all(t.is_nonpositive for t in terms)))
    if isinstance(expr, sp.Mul):
        return all(map(_away_from_zero, expr.args))
    if isinstance(expr, sp.Abs):
        return _away_from_zero(expr.args[0])
    if isinstance(expr, sp.Pow) and expr.exp.is_number and expr.exp.is_positive:
        return _away_from_zero(expr.base)
    return isinstance(expr, sp.exp) and _bounded_above(-expr.args[0])
