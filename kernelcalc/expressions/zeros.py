"""Zeros of functions, and whether a function is 0, by what SymPy can do in a moment."""

from __future__ import annotations

from typing import Any

import sympy as sp

# Increasing functions: the ends of their range, and the inverse.
INVERSES: dict[Any, tuple[Any, Any, Any]] = {
    sp.exp: (0, sp.oo, sp.log),
    sp.log: (-sp.oo, sp.oo, sp.exp),
    sp.tanh: (-1, 1, sp.atanh),
    sp.erf: (-1, 1, sp.erfinv),
    sp.atan: (-sp.pi / 2, sp.pi / 2, sp.tan),
    sp.asinh: (-sp.oo, sp.oo, sp.sinh),
}

# Powers of sums up to this are expanded, factorised and solved: SymPy takes minutes for some hundred.
HIGHEST_POWER = 32
# What SymPy raises of expressions that it cannot take apart.
FAILURES = (ArithmeticError, NotImplementedError, RecursionError, TypeError, ValueError, sp.PolynomialError)


def simplified(expr: sp.Expr) -> sp.Expr:
    """The expression as SymPy simplifies it, or as it is where SymPy fails."""
    try:
        return sp.simplify(expr)
    except FAILURES:
        return expr


def expanded(expr: sp.Expr) -> sp.Expr:
    """The expression multiplied out, or as it is if it has high powers, or exponentials that SymPy makes high powers of.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> expanded((x + 1) ** 2 - x**2), expanded((x + 1) ** 5000), expanded(sp.exp(5000 * sp.log(x + 1) ** 2))
    (2*x + 1, (x + 1)**5000, exp(5000*log(x + 1)**2))
    """
    for power in expr.atoms(sp.Pow, sp.exp):
        base, exponent = power.as_base_exp()
        high = any(abs(n) > HIGHEST_POWER for n in exponent.atoms(sp.Number))
        # e^{n log u} is uⁿ
        if high and (base.is_Add or exponent.has(sp.log)):
            return expr
    return sp.expand(expr)


def solutions(switch: sp.Expr, x: sp.Symbol) -> set[sp.Expr] | None:
    """Where an expression of the real x is 0; None if SymPy does not know, whatever it raises, or would look for long."""
    powers = [p.exp for p in switch.atoms(sp.Pow) if p.has(x) and p.exp.is_number]
    # roots are powers of what stands for their base
    if any(abs(n) > HIGHEST_POWER or (n.is_Rational and n.q > HIGHEST_POWER) for n in powers):
        return None
    try:
        found = sp.solveset(switch, x, sp.S.Reals)
    except Exception:  # of any type: SymPy raises ValueError, TypeError, RecursionError and more
        return None
    return set(found) if isinstance(found, sp.FiniteSet) else set() if found is sp.S.EmptySet else None


def inner_equations(switch: sp.Expr) -> list[sp.Expr] | None:
    """Expressions that vanish where a polynomial of degree 3 or more of one function does; None for others.

    The zeros of the polynomial stay exact but without radicals, which within logarithms take SymPy minutes to compare with 0.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> inner_equations((sp.exp(x) - 2) * (sp.exp(2 * x) + 1))
    [x - log(2)]
    """
    try:
        poly = sp.poly_from_expr(switch)[0]
    except sp.PolynomialError:
        return None
    if len(poly.gens) != 1 or type(poly.gens[0]) not in INVERSES or poly.degree() < 3:
        return None
    function = poly.gens[0]
    if poly.domain not in (sp.ZZ, sp.QQ) or not function.free_symbols:
        return None
    low, high, inverse = INVERSES[type(function)]
    try:
        values = {value for value in sp.real_roots(poly) if low < value.evalf(30) < high}
    except FAILURES:
        return None
    return [function.args[0] - inverse(value) for value in sorted(values, key=float)]
