"""Even and odd functions, proved by rules on their expressions and never by values."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

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
from kernelcalc.expressions.sinc import Sinc
from kernelcalc.expressions.stable import numpy_callable, stabilise
from kernelcalc.expressions.zeros import expanded

ODD_FUNCTIONS = (sp.sin, sp.tan, sp.sinh, sp.tanh, sp.asinh, sp.atan, sp.erf, sp.sign, StableTanh)
EVEN_FUNCTIONS = (sp.cos, sp.cosh, sp.sech, sp.Abs, LogCosh, LogisticDensity)
# Places where most functions without a parity show it.
_MIRRORED = np.array([-11.0625, -4.5625, -1.9375, -0.875, -0.3125, 0.3125, 0.875, 1.9375, 4.5625, 11.0625])


@lru_cache(maxsize=1024)
def parity(pieces: tuple[sp.Expr, ...], breaks: tuple[sp.Expr, ...] = ()) -> int:
    """1 for an even function, −1 for an odd one, 0 where the expressions of its pieces do not show either.

    Examples
    --------
    >>> parity((x * sp.erf(x),)), parity((-x, x), (sp.S.Zero,)), parity((1 / (1 + sp.exp(-x)) - sp.S.Half,)), parity((x + 1,))
    (1, 1, -1, 0)
    """
    if not breaks and (found := parity_by_rules(pieces[0])):
        return found
    if any(left != -right for left, right in zip(breaks, breaks[::-1], strict=True)):
        return 0
    turned = [piece.xreplace({x: -x}) for piece in pieces[::-1]]
    for sign in _possible(pieces):
        if all(_equal(one, sign * other) for one, other in zip(pieces, turned, strict=True)):
            return sign
    return 0


def _possible(pieces: tuple[sp.Expr, ...]) -> list[int]:
    """The parities that a few values leave: expressions that clearly differ need not be expanded."""
    if any(piece.has(AppliedUndef) for piece in pieces):
        return []
    with np.errstate(all="ignore"):
        values = [np.broadcast_to(numpy_callable(piece, x)(_MIRRORED), _MIRRORED.shape) for piece in pieces]
        turned = [v[::-1] for v in values[::-1]]
        return [
            sign
            for sign in (1, -1)
            if not any(
                (np.abs(one - sign * other) > 0.01 * (np.abs(one) + np.abs(other))).any()
                for one, other in zip(values, turned, strict=True)
            )
        ]


def parity_by_rules(expr: sp.Expr) -> int:
    """The parity that follows from those of the parts, 0 where it does not.

    Examples
    --------
    >>> parity_by_rules(sp.sin(3 * (sp.Abs(x) - 1))), parity_by_rules(x**3 * sp.exp(-(x**2))), parity_by_rules(sp.exp(x))
    (1, -1, 0)
    """
    if not expr.has(x):
        return 1
    if expr == x:
        return -1
    parts = [parity_by_rules(a) for a in expr.args if isinstance(a, sp.Expr)]
    if isinstance(expr, sp.Mul):
        return int(np.prod(parts))
    if isinstance(expr, sp.Add):
        return parts[0] if len(set(parts)) == 1 else 0
    if isinstance(expr, sp.Piecewise | AppliedUndef):
        return 0
    if all(part == 1 for part in parts):
        return 1
    if isinstance(expr, sp.Pow) and parts[0] == -1 and expr.exp.is_Integer:
        return -1 if expr.exp % 2 else 1
    if isinstance(expr, Sinc) and parts[0] == -1:
        return -1 if expr.args[1] % 2 else 1
    return parts[0] and (-1 if isinstance(expr, ODD_FUNCTIONS) else 1 if isinstance(expr, EVEN_FUNCTIONS) else 0)


def _equal(one: sp.Expr, other: sp.Expr) -> bool:
    """Whether two expressions are one function by their form."""
    return bool(one == other or expanded(_comparable(one) - _comparable(other)) == 0)


def _comparable(expr: sp.Expr) -> sp.Expr:
    """Functions of −u in terms of those of u: the logistic family by tanh and log cosh, erfc by erf."""
    rules: dict[Any, Any] = {
        LogisticSigmoid: lambda u: sp.S.Half + sp.tanh(u / 2) / 2,
        Softplus: lambda u: u / 2 + sp.log(2) + LogCosh(_without_sign(u / 2)),
        LogCosh: lambda u: LogCosh(_without_sign(u)),
        LogisticDensity: lambda u: LogisticDensity(_without_sign(u)),
        StableTanh: sp.tanh,
        ErrorComplement: lambda u: 1 - sp.erf(u),
        ExpMinusOne: lambda u: sp.exp(u) - 1,
    }
    found = stabilise(expr)
    for function, rule in rules.items():
        found = found.replace(function, rule)
    return found


def _without_sign(u: sp.Expr) -> sp.Expr:
    """u or −u, the same of both."""
    return -u if u.could_extract_minus_sign() else u
