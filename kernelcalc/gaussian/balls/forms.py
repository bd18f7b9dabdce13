"""Enclosures of kinked functions' expectations: their closed forms in ball arithmetic."""

from __future__ import annotations

from typing import Any

import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import NotCertifiableError
from kernelcalc.expressions.exact import NotInAlgebra, c, exact_expectation, q, qp
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.gaussian.balls.normal import binormal_ball, owens_t_ball
from kernelcalc.gaussian.balls.program import BALL_FUNCTIONS, constant, flint, whole_power

_det = sp.Symbol("det", nonnegative=True)


def form_expectation(
    f: Activation, g: Activation, variances: tuple[Any, Any, Any], det: Any, diagonal: bool, exact: Any = None
) -> Any:
    """A ball around E[f(a)g(b)] for balls (q, q', c) and qq' − c²; ``diagonal`` says a = b.

    ``exact`` holds q, q', c as fractions where |ρ| = 1 exactly: that has a form of its own.

    The form for c² < qq' holds for c² = qq' too where it is finite, by continuity in the correlation.

    Raises
    ------
    NotCertifiableError
        If no closed form in elementary functions and normal probabilities is known.
    DivergentExpectationError
        If the expectation is infinite.
    """
    symbols: tuple[Any, Any, Any] = (q, q, q) if diagonal else (q, qp, c)
    if exact is not None and not diagonal:
        symbols = tuple(sp.Rational(v.numerator, v.denominator) for v in exact)
    try:
        form = exact_expectation(f.root.expr, g.root.expr, *symbols, orders=(f.order, g.order))
    except NotInAlgebra as error:
        raise NotCertifiableError(
            "analytic functions, or kinked ones with an elementary closed form",
            f"{f.name}, {g.name}",
            "use dps= for digits without a certificate",
        ) from error
    return _value(form.subs(q * qp - c**2, _det), {**dict(zip((q, qp, c), variances, strict=True)), _det: det})


def _value(expr: sp.Expr, at: dict[sp.Symbol, Any]) -> Any:
    arb = flint().arb
    if not expr.free_symbols and not expr.has(BinormalCDF, OwensT):
        return constant(expr)
    if expr in at:
        return at[expr]
    if isinstance(expr, sp.Pow) and expr.exp.is_Rational:
        base = _value(expr.base, at)
        if not expr.exp.is_Integer:
            # The true value is real: the part of the ball below zero is rounding.
            base = base.nonnegative_part()
        root = base.sqrt() if expr.exp.q == 2 else base ** (arb(1) / expr.exp.q)
        power = base if expr.exp.is_Integer else root
        n = int(expr.exp.p)
        return whole_power(power, n) if n > 0 else 1 / whole_power(power, -n)
    values = [_value(a, at) for a in expr.args]
    if isinstance(expr, sp.Add | sp.Mul):
        result = values[0]
        for value in values[1:]:
            result = result + value if isinstance(expr, sp.Add) else result * value
        return result
    if isinstance(expr, sp.asin | sp.acos):
        # A correlation, for the same reason within ±1; both functions are monotone.
        ends = [min(max(end, arb(-1)), arb(1)) for end in (values[0].lower(), values[0].upper())]
        low, high = (end.asin() if isinstance(expr, sp.asin) else end.acos() for end in ends)
        return low.union(high)
    if isinstance(expr, BinormalCDF):
        return binormal_ball(*values)
    if isinstance(expr, OwensT):
        return owens_t_ball(*values)
    if type(expr) in BALL_FUNCTIONS:
        return BALL_FUNCTIONS[type(expr)](values[0])
    raise NotCertifiableError(
        "a closed form in elementary functions and normal probabilities", f"one with {type(expr).__name__}"
    )
