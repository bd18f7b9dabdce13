"""Zeros of polynomials of one function, as e^{−3x²} + e^{−x²} − 1 is one of e^{−x²}."""

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
    values = {value for value in sp.real_roots(poly) if low < value.evalf(30) < high}
    return [function.args[0] - inverse(value) for value in sorted(values, key=float)]
