"""Growth bounds of functions on the real line, proved by rules on the expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from kernelcalc.errors import NotCertifiableError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.functions import (
    ErrorComplement,
    ExpMinusOne,
    LogCosh,
    LogisticDensity,
    LogisticSigmoid,
    Softplus,
    StableTanh,
)
from kernelcalc.gaussian.balls.program import KNOWN, constant, flint, largest


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """|f(σ u)| ≤ size · exp(rate |u| + square u²/2) for every real u."""

    size: Any
    rate: Any
    square: Any

    @property
    def bounded(self) -> bool:
        """Whether this is a constant bound."""
        return bool(self.rate == 0 and self.square == 0)

    def tail(self, reach: Any) -> Any:
        """Upper bound of E[f(σU)²; |U| > reach], U ~ N(0, 1).

        Raises
        ------
        NotCertifiableError
            If the bound is not square integrable.
        """
        curvature = 1 - 2 * self.square
        if not curvature > 0:
            raise NotCertifiableError("a function that grows more slowly than exp(x²/4q)", "a faster one")
        root = curvature.sqrt()
        beyond = ((root * reach - 2 * self.rate / root) / flint().arb(2).sqrt()).erfc()
        return self.size**2 * (2 * self.rate**2 / curvature).exp() / root * beyond


def growth(expr: sp.Expr, std: Any) -> Growth:
    """A bound of f(std · u) for all real u, by rules on the expression.

    Raises
    ------
    NotCertifiableError
        If the rules give none.
    """
    arb = flint().arb
    if not expr.has(x):
        return _bounded(abs(constant(expr)))
    if isinstance(expr, sp.Add):
        parts = [growth(a, std) for a in expr.args]
        size = sum((p.size for p in parts), arb(0))
        return Growth(size=size, rate=largest(p.rate for p in parts), square=largest(p.square for p in parts))
    if isinstance(expr, sp.Mul):
        result = _bounded(arb(1))
        for a in expr.args:
            p = growth(a, std)
            result = Growth(size=result.size * p.size, rate=result.rate + p.rate, square=result.square + p.square)
        return result
    if expr == x:
        return _power_growth(1, std)
    if isinstance(expr, sp.Pow):
        return _growth_of_power(expr, std)
    inner = expr.args[0] if expr.args else x
    if isinstance(expr, sp.tanh | StableTanh | sp.erf | sp.sin | sp.cos | sp.sech | LogisticSigmoid):
        return _bounded(arb(1))
    if isinstance(expr, LogisticDensity):
        return _bounded(arb(0.25))
    if isinstance(expr, sp.erfc | ErrorComplement | sp.atan):
        return _bounded(arb(2))
    if isinstance(expr, sp.exp):
        return _growth_of_exp(inner, std)
    if isinstance(expr, ExpMinusOne):
        e = _growth_of_exp(inner, std)
        return Growth(size=e.size + 1, rate=e.rate, square=e.square)
    if isinstance(expr, sp.sinh | sp.cosh):
        up, down = _growth_of_exp(inner, std), _growth_of_exp(-inner, std)
        rate, square = up.rate.max(down.rate), up.square.max(down.square)
        return Growth(size=(up.size + down.size) / 2, rate=rate, square=square)
    if isinstance(expr, Softplus | LogCosh | sp.asinh):
        # 0 ≤ log(1 + e^v) ≤ |v| + log 2; log cosh v and |asinh v| are at most |v|.
        v = growth(inner, std)
        return Growth(size=v.size + arb(2).log(), rate=v.rate, square=v.square)
    if isinstance(expr, sp.log):
        below, v = _positive_bound(inner, std), growth(inner, std)
        # |u| ≤ e^{|u|}/e and u² ≤ (2/e)² e^{|u|}.
        e = arb(1).exp()
        size = abs(below.log()) + abs(v.size.log()) + v.rate / e + v.square * 2 / e**2
        return Growth(size=size, rate=arb(0) if v.bounded else arb(1), square=arb(0))
    raise NotCertifiableError("a function with a growth bound by rules", f"one with {expr}", KNOWN)


def _bounded(size: Any) -> Growth:
    return Growth(size=size.upper(), rate=flint().arb(0), square=flint().arb(0))


def _power_growth(n: int, std: Any) -> Growth:
    # |u|^n ≤ (n/e)^n e^{|u|}.
    arb = flint().arb
    return Growth(size=(n * std / arb(1).exp()) ** n, rate=arb(1), square=arb(0))


def _growth_of_power(expr: sp.Expr, std: Any) -> Growth:
    base, exponent = expr.base, expr.exp
    if exponent.has(x) or not exponent.is_Rational:
        raise NotCertifiableError("a power with a rational exponent", str(expr))
    if exponent < 0:
        return _bounded(_positive_bound(base, std) ** constant(exponent))
    if base == x and exponent.is_Integer:
        return _power_growth(int(exponent), std)
    p, v = constant(exponent), growth(base, std)
    return Growth(size=v.size**p, rate=v.rate * p, square=v.square * p)


def _growth_of_exp(inner: sp.Expr, std: Any) -> Growth:
    arb = flint().arb
    if inner.is_polynomial(x) and sp.degree(inner, x) <= 2:
        c2, c1, c0 = (constant(inner.expand().coeff(x, k)) for k in (2, 1, 0))
        if c2 < 0:
            return _bounded((c0 - c1**2 / (4 * c2)).exp())
        return Growth(size=c0.exp(), rate=abs(c1) * std, square=(2 * c2 * std**2).max(arb(0)))
    v = growth(inner, std)
    if v.bounded:
        return _bounded(v.size.exp())
    raise NotCertifiableError("exponentials of bounded functions or of polynomials of degree 2", f"exp({inner})")


def _positive_bound(expr: sp.Expr, std: Any) -> Any:
    below = lower_bound(expr, std)
    if below is None or not below > 0:
        raise NotCertifiableError("roots, logarithms and denominators that stay away from zero by rules", str(expr))
    return below.lower()


def lower_bound(expr: sp.Expr, std: Any) -> Any | None:
    """A lower bound of the expression on the real line, or None.

    Examples
    --------
    >>> lower_bound(1 + x**2 + sp.exp(x), flint().arb(1)) == 1
    True
    """
    arb = flint().arb
    if not expr.has(x):
        return constant(expr)
    if expr.is_polynomial(x) and sp.degree(expr, x) == 2:
        c2, c1, c0 = (constant(expr.expand().coeff(x, k)) for k in (2, 1, 0))
        return c0 - c1**2 / (4 * c2) if c2 > 0 else None
    if isinstance(expr, sp.cosh):
        return arb(1)
    if isinstance(expr, sp.exp | LogisticSigmoid | LogisticDensity | Softplus | LogCosh | sp.erfc | ErrorComplement):
        return arb(0)
    if isinstance(expr, sp.Add):
        parts = [lower_bound(a, std) for a in expr.args]
        total = arb(0)
        for p in parts:
            if p is None:
                return None
            total += p
        return total
    if isinstance(expr, sp.Mul):
        parts = [lower_bound(a, std) for a in expr.args]
        if all(p is not None and p >= 0 for p in parts):
            value = arb(1)
            for p in parts:
                value *= p
            return value
    if isinstance(expr, sp.Pow) and expr.exp.is_Rational:
        if expr.exp.is_Integer and int(expr.exp) > 0 and int(expr.exp) % 2 == 0:
            return arb(0)
        base = lower_bound(expr.base, std)
        if base is not None and base >= 0:
            return base ** constant(expr.exp) if expr.exp > 0 else arb(0)
    try:
        v = growth(expr, std)
    except NotCertifiableError:
        return None
    return -v.size if v.bounded else None
