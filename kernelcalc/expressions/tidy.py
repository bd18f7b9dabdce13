"""Simplification of closed forms to what a person would publish."""

from __future__ import annotations

import sympy as sp

from kernelcalc.expressions.parsing import to_sympy

_Groups = dict[sp.Expr, sp.Expr]


def tidy(expr: sp.Expr) -> sp.Expr:
    """Collect a sum by its transcendental parts, with factored rational coefficients.

    Odd powers of a square root become one root times a rational function, exponentials are merged, and two exponentials
    of one size become cosh or sinh.

    Examples
    --------
    >>> a, b = sp.symbols("a b", positive=True)
    >>> tidy(a**2 / sp.sqrt(a + b) + a * b / sp.sqrt(a + b))
    a*sqrt(a + b)
    """
    groups = _groups(to_sympy(expr))
    collected = {key: value for key, raw in groups.items() if (value := sp.factor(sp.together(raw))) != 0}
    if sp.S.One in collected and _affine(collected[sp.S.One]):
        collected[sp.S.One] = sp.expand(collected[sp.S.One])
    return _determinants(sp.Add(*(_join(key, value) for key, value in _hyperbolic(collected).items())))


def _affine(value: sp.Expr) -> bool:
    rest = value.as_coeff_Mul()[1]
    return bool(rest.is_Add and rest.is_polynomial() and sp.Poly(rest).total_degree() == 1)


def _join(key: sp.Expr, value: sp.Expr) -> sp.Expr:
    """Product of both, where √D meets powers of −D as well as of D."""
    roots = [p.base for p in sp.Mul.make_args(key) if p.is_Pow and p.exp.is_Rational and p.base.is_Add]
    parts = []
    for part in sp.Mul.make_args(value):
        base, power = part.as_base_exp()
        flipped = next((d for d in roots if base.is_Add and sp.expand(base + d) == 0), None)
        parts.append(part if flipped is None else (-1) ** power * flipped**power)
    return sp.Mul(key, *parts)


def _determinants(expr: sp.Expr) -> sp.Expr:
    """Write the polynomial under a root as a product minus a square where it is one: (1 + q)(1 + q') − c²."""

    def shown(base: sp.Expr) -> sp.Expr:
        square = [t for t in base.args if t.is_Mul and t.could_extract_minus_sign() and _is_square(t)]
        if len(square) != 1:
            return base
        rest = sp.factor(base - square[0])
        return square[0] + rest if rest.is_Mul and len(rest.free_symbols) > 1 else base

    return expr.replace(
        lambda e: isinstance(e, sp.Pow) and e.exp.is_Rational and e.exp.q == 2 and e.base.is_Add,
        lambda e: shown(e.base) ** e.exp,
    )


def _is_square(term: sp.Expr) -> bool:
    symbol = term.as_coeff_Mul()[1]
    return bool(symbol.is_Pow and symbol.exp == 2 and symbol.base.is_Symbol)


def _groups(expr: sp.Expr) -> _Groups:
    """{transcendental part: rational coefficient}; denominators stay as they are."""
    if isinstance(expr, sp.Add):
        total: _Groups = {}
        for term in expr.args:
            for key, value in _groups(term).items():
                total[key] = total.get(key, sp.S.Zero) + value
        return total
    if expr.is_rational_function(*expr.free_symbols) and not _irrational(expr):
        return {sp.S.One: expr}
    if isinstance(expr, sp.Pow) and isinstance(expr.base, sp.Add) and expr.exp.is_Integer and expr.exp > 0:
        return _groups(sp.Mul(*[expr.base] * int(expr.exp), evaluate=False))
    if isinstance(expr, sp.Mul):
        product: _Groups = {sp.S.One: sp.S.One}
        for part in expr.args:
            factor = _groups(part)
            fresh: _Groups = {}
            for key1, value1 in product.items():
                for key2, value2 in factor.items():
                    key, extra = _separate(key1 * key2)
                    fresh[key] = fresh.get(key, sp.S.Zero) + value1 * value2 * extra
            product = fresh
        return product
    key, value = _separate(expr)
    return {key: value}


def _irrational(expr: sp.Expr) -> bool:
    return bool(expr.atoms(sp.NumberSymbol, sp.exp)) or any(
        p.exp.is_Rational and p.exp.q > 1 for p in expr.atoms(sp.Pow)
    )


def _separate(term: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """(transcendental part, rational coefficient) of a product without sums to distribute."""
    key, coefficient, exponent = sp.S.One, sp.S.One, sp.S.Zero
    for part in sp.Mul.make_args(term):
        base, power = part.as_base_exp()
        if isinstance(part, sp.exp):
            exponent += part.args[0]
        elif power.is_Rational and power.q == 2 and base.is_rational_function() and base.free_symbols:
            root, scale = _root(base)
            key *= root * sp.sqrt(scale) ** power.p
            coefficient *= base ** (power - sp.Rational(1, 2)) / scale ** (power - sp.Rational(1, 2))
        elif part.free_symbols and part.is_rational_function(*part.free_symbols) and not _irrational(part):
            coefficient *= part
        else:
            key *= part
    if exponent != 0:
        key *= sp.exp(_neat(exponent))
    number, key = key.as_coeff_Mul()
    if number.is_Rational:
        return key, coefficient * number
    return number * key, coefficient


def _neat(value: sp.Expr) -> sp.Expr:
    return sp.expand(value) if value.is_polynomial(*value.free_symbols) else sp.factor(sp.together(value))


def _root(base: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """√(base/scale) and the positive numerical content ``scale`` of a polynomial base."""
    base = sp.expand(base) if base.is_polynomial() else base
    content, primitive = base.primitive() if base.is_Add else (sp.S.One, base)
    return sp.sqrt(primitive), content


def _hyperbolic(groups: _Groups) -> _Groups:
    """Join e^{S+D} ± e^{S−D} where exactly two exponentials share the rest and S and D share no symbol."""
    families: dict[sp.Expr, list[tuple[sp.Expr, sp.Expr, sp.Expr]]] = {}
    for key, value in groups.items():
        parts = sp.Mul.make_args(key)
        exponent = sp.Add(*(p.args[0] for p in parts if isinstance(p, sp.exp)))
        rest = sp.Mul(*(p for p in parts if not isinstance(p, sp.exp)))
        families.setdefault(rest, []).append((exponent, value, key))
    out: _Groups = {}
    for rest, members in families.items():
        if len(members) == 2 and members[0][0] != 0 and members[1][0] != 0:
            (e1, v1, _), (e2, v2, _) = members
            mean, half = _neat((e1 + e2) / 2), _neat((e1 - e2) / 2)
            if half.could_extract_minus_sign():
                half, v1, v2 = -half, v2, v1
            joined = next((fn for fn, s in ((sp.cosh, 1), (sp.sinh, -1)) if sp.expand(v1 - s * v2) == 0), None)
            if joined is not None and not mean.free_symbols & half.free_symbols:
                out[rest * sp.exp(mean) * joined(half)] = 2 * v1
                continue
        for _, value, key in members:
            out[key] = value
    return out
