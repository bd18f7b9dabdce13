"""Text to SymPy expression by a whitelist of syntax; nothing is ever evaluated as Python.

The grammar is that of Python arithmetic: numbers, ``+ - * / **`` (``^`` is a power too), parentheses, the constants
``pi`` and ``e``, the listed functions, and ``where(condition, a, b)`` with ``<  <=  >  >=``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from kernelcalc.errors import ExpressionError, InputError, UnknownNameError

# Guards against text that would exhaust memory (9**9**9, deep nesting); generous for any formula a person types.
MAX_LENGTH = 2000
MAX_NODES = 400
MAX_DIGITS = 60
MAX_EXPONENT = 64


def _normal_cdf(u: Any) -> Any:
    return (1 + sp.erf(u / sp.sqrt(2))) / 2


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": sp.exp,
    "log": sp.log,
    "ln": sp.log,
    "log1p": lambda u: sp.log(1 + u),
    "expm1": lambda u: sp.exp(u) - 1,
    "sqrt": sp.sqrt,
    "sin": sp.sin,
    "cos": sp.cos,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "sech": lambda u: 1 / sp.cosh(u),
    "asinh": sp.asinh,
    "arcsinh": sp.asinh,
    "atan": sp.atan,
    "arctan": sp.atan,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "Phi": _normal_cdf,
    "normcdf": _normal_cdf,
    "abs": sp.Abs,
    "Abs": sp.Abs,
    "sign": sp.sign,
    "Heaviside": lambda u: sp.Heaviside(u),
    "step": lambda u: sp.Heaviside(u),
    "max": sp.Max,
    "Max": sp.Max,
    "min": sp.Min,
    "Min": sp.Min,
    "relu": lambda u: sp.Max(u, 0),
    "sigmoid": lambda u: 1 / (1 + sp.exp(-u)),
    "logistic": lambda u: 1 / (1 + sp.exp(-u)),
    "softplus": lambda u: sp.log(1 + sp.exp(u)),
    "silu": lambda u: u / (1 + sp.exp(-u)),
    "swish": lambda u: u / (1 + sp.exp(-u)),
    "gelu": lambda u: u * _normal_cdf(u),
}
TWO_OR_MORE = {"max", "Max", "min", "Min"}
CONSTANTS: dict[str, Any] = {"pi": sp.pi, "e": sp.E, "E": sp.E}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def parse_expression(text: str, symbols: Mapping[str, sp.Symbol]) -> sp.Expr:
    """SymPy expression of a text, by whitelist.

    Parameters
    ----------
    text : str
        For example ``"x*erf(x/sqrt(2))"``. Decimal numbers are taken as the exact fractions they are written as.
    symbols : mapping
        The names that may occur, with their symbols.

    Raises
    ------
    ExpressionError
        For syntax outside the grammar, or text too long, too deep or with powers too large.
    UnknownNameError
        For a name that is neither a symbol, a constant nor a listed function.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> parse_expression("0.5*x^2 + relu(x)", {"x": x})
    x**2/2 + Max(0, x)
    >>> parse_expression("__import__('os')", {"x": x})
    Traceback (most recent call last):
        ...
    kernelcalc.errors.UnknownNameError: expected the name of a function, got '__import__'; known: ...
    """
    if not isinstance(text, str) or not text.strip():
        raise ExpressionError("a formula such as 'x*erf(x)'", repr(text))
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"at most {MAX_LENGTH} characters", f"{len(text)}")
    source = text.strip().replace("^", "**")
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError("a formula such as 'x*erf(x)'", repr(text), "check parentheses and operators") from error
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ExpressionError(f"a formula of at most {MAX_NODES} parts", repr(text[:40] + "..."))
    try:
        result = _Reader(source, symbols).read(tree.body)
    except InputError:
        raise
    except (TypeError, ValueError, ZeroDivisionError, RecursionError, OverflowError) as error:
        raise ExpressionError("a formula with a value", repr(text), str(error)) from error
    if result.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        raise ExpressionError("a formula with finite constants", repr(text))
    return result


def to_sympy(value: Any, symbols: Mapping[str, sp.Symbol] | None = None) -> Any:
    """SymPy form of a number or expression; text goes through :func:`parse_expression`, never through SymPy's own parser.

    Raises
    ------
    ExpressionError
        For what is neither text, a number nor a SymPy expression.

    Examples
    --------
    >>> to_sympy("1/3"), to_sympy(0.5), to_sympy(True)
    (1/3, 0.500000000000000, True)
    """
    if isinstance(value, str):
        return parse_expression(value, symbols or {})
    try:
        return sp.sympify(value, strict=True)
    except sp.SympifyError as error:
        raise ExpressionError("a number, a text or a SymPy expression", type(value).__name__) from error


class _Reader:
    def __init__(self, source: str, symbols: Mapping[str, sp.Symbol]) -> None:
        self.source = source
        self.symbols = symbols

    def read(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return self.number(node)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self.read(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            return self.binary(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        raise self.refuse(node)

    def refuse(self, node: ast.AST) -> ExpressionError:
        piece = ast.get_source_segment(self.source, node) or type(node).__name__
        return ExpressionError("numbers, + - * / **, parentheses and functions", repr(piece))

    def number(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.refuse(node)
        literal = (ast.get_source_segment(self.source, node) or repr(node.value)).replace("_", "")
        if len(literal) > MAX_DIGITS or node.value != node.value or abs(node.value) > 1e100:
            raise ExpressionError(f"numbers of at most {MAX_DIGITS} digits below 1e100", repr(literal))
        return sp.Integer(node.value) if isinstance(node.value, int) else sp.Rational(literal)

    def name(self, identifier: str) -> Any:
        if identifier in self.symbols:
            return self.symbols[identifier]
        if identifier in CONSTANTS:
            return CONSTANTS[identifier]
        raise UnknownNameError("a variable or constant", identifier, [*self.symbols, *CONSTANTS])

    def binary(self, node: ast.BinOp) -> Any:
        left, right = self.read(node.left), self.read(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            if right == 0:
                raise ExpressionError("a denominator that is not zero", repr(self.source))
            return left / right
        if isinstance(node.op, ast.Pow):
            if right.is_number and abs(right) > MAX_EXPONENT:
                raise ExpressionError(f"powers between -{MAX_EXPONENT} and {MAX_EXPONENT}", str(right)[:40])
            return left**right
        raise self.refuse(node)

    def call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.refuse(node)
        identifier = node.func.id
        if identifier == "where":
            return self.where(node)
        if identifier not in FUNCTIONS:
            raise UnknownNameError("a function", identifier, [*FUNCTIONS, "where"])
        arguments = [self.read(a) for a in node.args]
        if len(arguments) < 2 if identifier in TWO_OR_MORE else len(arguments) != 1:
            count = "at least two arguments" if identifier in TWO_OR_MORE else "one argument"
            raise ExpressionError(f"{count} for {identifier}", f"{len(arguments)}")
        return FUNCTIONS[identifier](*arguments)

    def where(self, node: ast.Call) -> Any:
        if len(node.args) != 3 or not isinstance(node.args[0], ast.Compare) or len(node.args[0].ops) != 1:
            raise ExpressionError("where(condition, a, b) with one comparison", repr(self.source))
        compare = node.args[0]
        operator = COMPARISONS.get(type(compare.ops[0]))
        if operator is None:
            raise ExpressionError("a comparison by <, <=, > or >=", repr(ast.unparse(compare)))
        condition = operator(self.read(compare.left), self.read(compare.comparators[0]))
        return sp.Piecewise((self.read(node.args[1]), condition), (self.read(node.args[2]), True))
