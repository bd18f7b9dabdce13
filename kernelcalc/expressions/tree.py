"""Expressions as nested lists of texts, for files: exact, and read back by a table of names, never by evaluating text.

A number is ``["Integer", "3"]``, ``["Rational", "1", "3"]`` or ``["Float", mantissa, exponent, bits]``, everything else a name
and its parts.
"""

from __future__ import annotations

from typing import Any, Self

import mpmath
import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair
from sympy.logic.boolalg import BooleanAtom

from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.sinc import Sinc

_FUNCTIONS: dict[str, Any] = {
    function.__name__: function
    for function in (
        *(sp.Add, sp.Mul, sp.Pow, sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.DiracDelta, sp.Piecewise),
        *(sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.sinh, sp.cosh, sp.tanh, sp.sech, sp.asinh, sp.atan, sp.asin),
        *(sp.erf, sp.erfc, sp.sinc, Sinc, sp.floor, sp.ceiling, sp.gamma, sp.And, sp.Or, sp.Not, sp.Tuple),
        *(
            sp.StrictLessThan,
            sp.LessThan,
            sp.StrictGreaterThan,
            sp.GreaterThan,
            sp.Equality,
            sp.Unequality,
            ExprCondPair,
        ),
    )
}
_CONSTANTS: dict[str, Any] = {"Pi": sp.pi, "Exp1": sp.E, "BooleanTrue": sp.true, "BooleanFalse": sp.false}


def to_tree(expr: Any) -> list[Any]:
    """The expression in :data:`~kernelcalc.expressions.atoms.x` as nested lists of texts.

    Raises
    ------
    ExpressionError
        A part that is not in the table, such as a function that is known only by its values.

    Examples
    --------
    >>> to_tree(x / 2)
    ['Mul', ['Rational', '1', '2'], ['x']]
    """
    if expr == x:
        return ["x"]
    if isinstance(expr, sp.Integer):
        return ["Integer", str(expr)]
    if isinstance(expr, sp.Rational):
        return ["Rational", str(expr.p), str(expr.q)]
    if isinstance(expr, sp.Float):
        sign, mantissa, exponent, _ = expr._mpf_
        return ["Float", f"{'-' * sign}{int(mantissa)}", str(exponent), str(expr._prec)]
    name = type(expr).__name__
    if isinstance(expr, sp.NumberSymbol | BooleanAtom) and name in _CONSTANTS:
        return [name]
    if name not in _FUNCTIONS:
        raise ExpressionError("an expression of known functions, which can be saved", f"{name} in {expr}")
    return [name, *map(to_tree, expr.args)]


def from_tree(tree: list[Any]) -> Any:
    """The expression that :func:`to_tree` has written.

    Raises
    ------
    ExpressionError
        Anything else.

    Examples
    --------
    >>> from_tree(["Mul", ["Rational", "1", "2"], ["x"]])
    x/2
    """
    if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
        raise ExpressionError("an expression as saved", repr(tree))
    name, *parts = tree
    if name == "x":
        return x
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name in ("Integer", "Rational"):
        return sp.Rational(*map(int, parts))
    if name == "Float":
        mantissa, exponent, bits = map(int, parts)
        return sp.Float(mpmath.mp.make_mpf(mpmath.libmp.from_man_exp(mantissa, exponent)), precision=bits)
    if name not in _FUNCTIONS:
        raise ExpressionError("the name of a known function", repr(name))
    return _FUNCTIONS[name](*map(from_tree, parts))


class NamedExpression:
    """What has a name and an expression, in files."""

    name: str
    expr: Any

    def stored(self) -> dict[str, Any]:
        """The fields that a file keeps."""
        return {"name": self.name, "expression": to_tree(self.expr)}

    @classmethod
    def from_stored(cls, fields: dict[str, Any]) -> Self:
        """The object with the fields that a file has kept."""
        return cls(from_tree(fields["expression"]), name=fields["name"])  # type: ignore[call-arg]
