"""The functions the expectation algebra needs, on SymPy expressions and on mpmath numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import mpmath
import sympy as sp
from mpmath import mp

from kernelcalc.errors import InputError
from kernelcalc.expressions.orthant import BinormalCDF, binormal_cdf
from kernelcalc.expressions.parsing import to_sympy

# Binary digits that a sum of a few rounded products of order 1 loses.
_BITS_OF_SUMS = 8


class Numbers(Protocol):
    """A number type; variances are passed in place of standard deviations, so that square roots stay visible."""

    zero: Any
    one: Any

    def constant(self, value: sp.Expr) -> Any:
        """An exact SymPy number in this type."""

    def reduce(self, value: Any) -> Any:
        """A rational expression, simplified."""

    def reduce_sum(self, value: Any) -> Any:
        """Any expression, cheaply simplified."""

    def sqrt(self, value: Any) -> Any:
        """Square root of a positive value."""

    def exp(self, value: Any) -> Any:
        """Exponential."""

    def density(self, u: Any, variance: Any) -> Any:
        """N(0, variance) density at u."""

    def cdf(self, u: Any, variance: Any) -> Any:
        """P(√variance Z ≤ u)."""

    def binormal(self, u: Any, v: Any, va: Any, vb: Any, cov: Any, det: Any) -> Any:
        """P(A ≤ u, B ≤ v) for N(0, [[va, cov], [cov, vb]]) of determinant ``det``."""

    def is_zero(self, value: Any) -> bool:
        """Whether the value vanishes exactly."""

    def same(self, value: Any, other: Any) -> bool:
        """Whether two places on the line coincide; rounded numbers may differ by rounding."""

    def is_positive(self, value: Any) -> bool:
        """Sign of a nonzero value; raises where it cannot be decided."""

    def known_nonpositive(self, value: Any) -> bool:
        """Whether the value is certainly ≤ 0; rounded numbers of order 1 may differ from 0 by rounding."""


class SympyNumbers:
    """SymPy expressions; symbols are variances (positive) and a real covariance."""

    zero: Any
    one: Any

    zero, one = sp.S.Zero, sp.S.One

    def constant(self, value: sp.Expr) -> sp.Expr:
        return value

    def reduce(self, value: Any) -> sp.Expr:
        value = to_sympy(value)
        if value.is_number:
            return sp.radsimp(sp.expand(value))
        return sp.cancel(value) if value.is_rational_function(*value.free_symbols) else sp.expand(value)

    def reduce_sum(self, value: Any) -> sp.Expr:
        return to_sympy(value)

    def sqrt(self, value: Any) -> sp.Expr:
        return root(value)

    def exp(self, value: Any) -> sp.Expr:
        return sp.exp(sp.expand(value) if value.is_polynomial() else value)

    def density(self, u: Any, variance: Any) -> sp.Expr:
        return self.exp(self.reduce(-u * u / (2 * variance))) / (sp.sqrt(2 * sp.pi) * root(variance))

    def cdf(self, u: Any, variance: Any) -> sp.Expr:
        return (1 + sp.erf(ratio(u, 2 * variance))) / 2

    def binormal(self, u: Any, v: Any, va: Any, vb: Any, cov: Any, det: Any) -> sp.Expr:
        return BinormalCDF(ratio(u, va), ratio(v, vb), ratio(cov, va * vb))

    def is_zero(self, value: Any) -> bool:
        value = to_sympy(value)
        if value.is_zero is not None:
            return bool(value.is_zero)
        return self.reduce(value) == 0

    def same(self, value: Any, other: Any) -> bool:
        return self.is_zero(value - other)

    def is_positive(self, value: Any) -> bool:
        value = self.reduce(value)
        if value.is_positive is not None:
            return bool(value.is_positive)
        if value.is_number:
            return bool(value.evalf(30) > 0)
        raise InputError("an expression of known sign", str(value), "give numbers for q, q' and c")

    def known_nonpositive(self, value: Any) -> bool:
        return bool(to_sympy(value).is_nonpositive)


def root(value: Any) -> sp.Expr:
    """√value with the factors of a fraction apart: √((qq' − c²)/q) = √(qq' − c²)/√q."""
    top, bottom = sp.fraction(sp.factor(sp.together(value)))
    return sp.sqrt(top) / sp.sqrt(bottom)


def ratio(u: Any, variance: Any) -> sp.Expr:
    """u/√variance as a person writes it, with square roots in the denominator."""
    top, bottom = sp.fraction(sp.factor(sp.together(to_sympy(u) ** 2 / variance)))
    if top.is_number and bottom.is_number:
        return sp.sqrtdenest(sp.radsimp(u / sp.sqrt(variance)))
    u_top, u_bottom = sp.fraction(sp.factor(sp.together(u)))
    v_top, v_bottom = sp.fraction(sp.factor(sp.together(variance)))
    return sp.powdenest(u_top * sp.sqrt(v_bottom) / u_bottom) / sp.sqrt(v_top)


class MpmathNumbers:
    """mpmath numbers at the precision current when they are used."""

    zero: Any
    one: Any

    def __init__(self, prec: int) -> None:
        self.zero, self.one = mpmath.mpf(0), mpmath.mpf(1)
        self.prec = prec
        self.tiny: Any = mpmath.ldexp(1, -(3 * prec) // 5)

    def constant(self, value: sp.Expr) -> Any:
        return _constant(value, self.prec)

    def reduce(self, value: Any) -> Any:
        return value

    def reduce_sum(self, value: Any) -> Any:
        return value

    def sqrt(self, value: Any) -> Any:
        return mpmath.sqrt(value)

    def exp(self, value: Any) -> Any:
        return mpmath.exp(value)

    def density(self, u: Any, variance: Any) -> Any:
        return mpmath.exp(-u * u / (2 * variance)) / mpmath.sqrt(2 * mp.pi * variance)

    def cdf(self, u: Any, variance: Any) -> Any:
        return mpmath.erfc(-u / mpmath.sqrt(2 * variance)) / 2

    def binormal(self, u: Any, v: Any, va: Any, vb: Any, cov: Any, det: Any) -> Any:
        sa, sb = mpmath.sqrt(va), mpmath.sqrt(vb)
        return binormal_cdf(u / sa, v / sb, cov / (sa * sb), mpmath.sqrt(det) / (sa * sb))

    def is_zero(self, value: Any) -> bool:
        return bool(value == 0)

    def same(self, value: Any, other: Any) -> bool:
        return bool(abs(value - other) <= self.tiny * max(abs(value), abs(other)))

    def is_positive(self, value: Any) -> bool:
        # Of complex means only differences of thresholds are asked for, which are real but for rounding.
        return bool(mpmath.re(value) > 0)

    def known_nonpositive(self, value: Any) -> bool:
        return bool(value <= mpmath.ldexp(1, _BITS_OF_SUMS - self.prec))


@lru_cache(maxsize=4096)
def _constant(value: sp.Expr, prec: int) -> Any:
    return value._to_mpmath(prec)
