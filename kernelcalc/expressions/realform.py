"""Closed forms of waves as real expressions.

Sines that are shifted, or times something else, are found as pairs of complex exponentials.
"""

from __future__ import annotations

import sympy as sp


def real_form(expr: sp.Expr) -> sp.Expr:
    """The real part, term by term, of a sum that is real: cos and sin in place of e^{iu}, erfi(u) in place of erf(iu).

    Terms in which something else is complex, such as erf(u + iv), are left as they are.

    Examples
    --------
    >>> u, v = sp.symbols("u v", real=True)
    >>> real_form(sp.exp(u + sp.I * v) + sp.exp(u - sp.I * v))
    2*exp(u)*cos(v)
    >>> real_form(sp.I * sp.erf(sp.I * u) - u * sp.erf(u))
    -u*erf(u) - erfi(u)
    """
    if not expr.has(sp.I):
        return expr
    out = []
    for term in sp.Add.make_args(expr):
        parts = _parts(term)
        out.append(term if parts is None else parts[0])
    return sp.Add(*out)


def _parts(value: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """(real, imaginary) part; None where it is not known."""
    if not value.has(sp.I):
        return value, sp.S.Zero
    if isinstance(value, sp.Add):
        found = [_parts(one) for one in value.args]
        return None if None in found else tuple(sp.Add(*side) for side in zip(*found, strict=True))
    if isinstance(value, sp.Mul):
        real, mixed = (
            sp.Mul(*(one for one in value.args if not one.has(sp.I))),
            [one for one in value.args if one.has(sp.I)],
        )
        re, im = sp.S.One, sp.S.Zero
        for one in mixed:
            if (parts := _parts(one)) is None:
                return None
            re, im = re * parts[0] - im * parts[1], re * parts[1] + im * parts[0]
        return real * re, real * im
    if value == sp.I:
        return sp.S.Zero, sp.S.One
    if isinstance(value, sp.Pow) and value.exp.is_Integer and value.exp > 0:
        return _parts(sp.Mul(*[value.base] * int(value.exp), evaluate=False))
    inner = _parts(value.args[0]) if len(value.args) == 1 else None
    return None if inner is None else _of_function(value.func, *inner)


def _of_function(function: type, re: sp.Expr, im: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """The parts of a function of re + i im."""
    re, im = sp.expand(re), sp.expand(im)
    if function is sp.exp:
        return sp.exp(re) * sp.cos(im), sp.exp(re) * sp.sin(im)
    if function is sp.cosh:
        return sp.cosh(re) * sp.cos(im), sp.sinh(re) * sp.sin(im)
    if function is sp.sinh:
        return sp.sinh(re) * sp.cos(im), sp.cosh(re) * sp.sin(im)
    if function is sp.erf and re == 0:
        return sp.S.Zero, sp.erfi(im)
    return None
