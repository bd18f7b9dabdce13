"""Text to SymPy expression by a whitelist of syntax; nothing is ever evaluated as Python.

The grammar is that of Python arithmetic: numbers, ``+ - * / **`` (``^`` is a power too), parentheses, the constants
``pi`` and ``e``, the listed functions, ``where(condition, a, b)`` with ``<  <=  >  >=``, and such a comparison as a number,
1 where it holds and 0 elsewhere.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import sympy as sp
from sympy.logic.boolalg import Boolean

from kernelcalc.errors import ExpressionError, InputError, UnknownNameError
from kernelcalc.expressions.sinc import Sinc

# Guards against text that would exhaust memory (9**9**9, deep nesting); generous for any formula a person types.
MAX_LENGTH = 2000
MAX_NODES = 400
MAX_DIGITS = 60
MAX_EXPONENT = 64
# Of powers within each other: their derivatives at a kink take a second (measured).
MAX_RAISED_EXPONENT = 512
# Roots of constants: SymPy gathers all their factors under one root, in numbers of thousands of digits.
MAX_ROOT = 1000
# Functions and powers within each other: SymPy's time grows with the square of their depth, exponentially for constants,
# whose sign it looks for at every step (measured by tests/fuzz/test_parser.py: a second at 5 to 12 for constants).
MAX_DEPTH = 8
MAX_CONSTANT_DEPTH = 3
# Constants, on the way too: SymPy compares exp(exp(exp(9))) digit by digit, and powers of powers fill the memory.
MAX_CONSTANT = 10**100
MIN_CONSTANT = sp.Integer(10) ** -330
MAX_RATIONAL = 10**1000


# Signs as books, word processors and other keyboards write them, in ASCII; what has no width is nothing.
_SIGNS = str.maketrans(
    {**dict.fromkeys("−–﹣", "-"), **dict.fromkeys("×·⋅∙∗", "*"), **dict.fromkeys("÷∕", "/"), "≤": "<=", "≥": ">="}
    | {"π": "pi", "Φ": "Phi"} | dict.fromkeys("\ufeff\u200b\u200c\u200d\u2060", "")
)  # fmt: skip
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_POWER = re.compile(f"[{''.join(map(chr, _RAISED))}]+")


def plain_text(text: str) -> str:
    r"""A formula or name as typed on a plain keyboard: ASCII signs and digits, raised numbers as powers, single spaces.

    Examples
    --------
    >>> plain_text(" 2×x²\u00a0−\t１ "), plain_text("x⁻¹⁰")
    ('2*x^2 - 1', 'x^-10')
    """
    text = _POWER.sub(lambda found: "^" + found[0].translate(_RAISED), text.translate(_SIGNS))
    return " ".join(unicodedata.normalize("NFKC", text).split())


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
    "sinc": lambda u: Sinc(u, 0),
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
# Text and numbers that are none of the grammar's; of some, such as 1if, Python would only warn.
_ODD = re.compile(r"""['"\\#]|\b0[xXbBoO]|[\d.][jJ]?(?:and|else|for|if|in|is|not|or)""")
_WITHOUT_END = "jumps at every whole number, without end; a few levels are a sum of steps, (x > 0) + (x > 1)"
# Functions that people write and that no expression can have here, with the reason.
IMPOSSIBLE = {
    **dict.fromkeys(("floor", "ceil", "round", "trunc", "frac"), _WITHOUT_END),
    "tan": "has poles",
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
    >>> parse_expression("__import__(x)", {"x": x})
    Traceback (most recent call last):
        ...
    kernelcalc.errors.UnknownNameError: expected the name of a function, got '__import__'; known: ...
    """
    if not isinstance(text, str) or not text.strip():
        raise ExpressionError("a formula such as 'x*erf(x)'", repr(text))
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"at most {MAX_LENGTH} characters", f"{len(text)}")
    source = plain_text(text).replace("^", "**")
    try:
        if _ODD.search(source):
            raise SyntaxError
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError("a formula such as 'x*erf(x)'", repr(text), "check parentheses and operators") from error
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ExpressionError(f"a formula of at most {MAX_NODES} parts", repr(text[:40] + "..."))
    try:
        result = _Reader(source, symbols).read(tree.body)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, NotImplementedError, RecursionError) as error:
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
        found = sp.sympify(value, strict=True)
    except (sp.SympifyError, TypeError, ValueError) as error:
        raise ExpressionError("a number, a text or a SymPy expression", type(value).__name__) from error
    # lists, arrays and dicts have SymPy forms that are no expressions
    if not isinstance(found, sp.Expr | Boolean):
        raise ExpressionError("a number, a text or a SymPy expression", type(value).__name__)
    return found


class _Reader:
    def __init__(self, source: str, symbols: Mapping[str, sp.Symbol]) -> None:
        self.source = source
        self.symbols = symbols

    def read(self, node: ast.expr) -> Any:
        depth = _depth(node)
        if depth > MAX_DEPTH:
            raise ExpressionError(f"at most {MAX_DEPTH} functions and powers within each other", f"{depth}")
        value = self.read_any(node)
        if value.is_number and depth > MAX_CONSTANT_DEPTH:
            expected = f"constants of at most {MAX_CONSTANT_DEPTH} functions and powers within each other"
            raise ExpressionError(expected, f"{depth}", "write the number in its place")
        return _bounded(value)

    def read_any(self, node: ast.expr) -> Any:
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
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return sp.Piecewise((1, self.condition(node)), (0, True))
        raise self.refuse(node)

    def refuse(self, node: ast.AST) -> ExpressionError:
        piece = ast.get_source_segment(self.source, node) or type(node).__name__
        return ExpressionError("numbers, + - * / **, parentheses and functions", repr(piece))

    def number(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.refuse(node)
        literal = (ast.get_source_segment(self.source, node) or repr(node.value)).replace("_", "")
        # 1e-4000000 is no zero, and no number of a formula either
        lost = node.value == 0 and any(digit in "123456789" for digit in literal.lower().split("e")[0])
        if len(literal) > MAX_DIGITS or abs(node.value) > MAX_CONSTANT or lost:
            raise ExpressionError(f"numbers of at most {MAX_DIGITS} digits between 1e-323 and 1e100", repr(literal))
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
            if abs(right if right.is_number else right.as_coeff_Add()[0]) > MAX_EXPONENT:
                raise ExpressionError(f"powers between -{MAX_EXPONENT} and {MAX_EXPONENT}", str(right)[:40])
            if left.is_number and right.is_number and not right.is_Integer and left.evalf(15) < 0:
                raise ExpressionError("a formula with real constants", repr(ast.unparse(node)))
            if left.is_number and left not in (0, 1):
                self._check_root(right, node)
            return left**right
        raise self.refuse(node)

    def call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.refuse(node)
        identifier = node.func.id
        if identifier == "where":
            return self.where(node)
        if identifier in IMPOSSIBLE:
            raise ExpressionError("a function with expectations", f"{identifier}, which {IMPOSSIBLE[identifier]}")
        if identifier not in FUNCTIONS:
            raise UnknownNameError("a function", identifier, [*FUNCTIONS, "where"])
        arguments = [self.read(a) for a in node.args]
        if len(arguments) < 2 if identifier in TWO_OR_MORE else len(arguments) != 1:
            count = "at least two arguments" if identifier in TWO_OR_MORE else "one argument"
            raise ExpressionError(f"{count} for {identifier}", f"{len(arguments)}")
        if identifier in TWO_OR_MORE:
            _told_apart(arguments)
        if identifier == "exp":
            for part in sp.Add.make_args(arguments[0]):
                if any(one.args[0].is_number for one in part.atoms(sp.log)):
                    self._check_root(part.as_coeff_Mul()[0], node)
        return FUNCTIONS[identifier](*arguments)

    @staticmethod
    def _check_root(power: Any, node: ast.expr) -> None:
        """Refuse powers of constants whose roots SymPy would take minutes to gather under one sign."""
        if power.is_Rational and power.q > MAX_ROOT:
            raise ExpressionError(
                f"powers of constants that are at most {MAX_ROOT}th roots",
                repr(ast.unparse(node)),
                "write its value as a number",
            )

    def where(self, node: ast.Call) -> Any:
        if len(node.args) != 3 or not isinstance(node.args[0], ast.Compare) or len(node.args[0].ops) != 1:
            raise ExpressionError("where(condition, a, b) with one comparison", repr(self.source))
        condition = self.condition(node.args[0])
        return sp.Piecewise((self.read(node.args[1]), condition), (self.read(node.args[2]), True))

    def condition(self, compare: ast.Compare) -> Any:
        operator = COMPARISONS.get(type(compare.ops[0]))
        if operator is None:
            raise ExpressionError("a comparison by <, <=, > or >=", repr(ast.unparse(compare)))
        sides = self.read(compare.left), self.read(compare.comparators[0])
        if any(side.has(sp.Piecewise) for side in sides):
            raise ExpressionError("a condition without where(...) in it", repr(ast.unparse(compare)))
        _told_apart(sides)
        return operator(*sides)


def _depth(node: ast.AST) -> int:
    """How many functions and powers stand within each other; powers that are no integers count twice."""
    own = int(isinstance(node, ast.Call))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        power = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
        own = 1 if isinstance(power, ast.Constant) and isinstance(power.value, int) else 2
    return own + max(map(_depth, ast.iter_child_nodes(node)), default=0)


def _bounded(value: Any) -> Any:
    """A value whose constants SymPy can compute with in a moment: it raises those of where(...) and of products one by one."""
    expected = "constants from 1e-330 to 1e100, of at most 1000 digits"
    long = [r for r in value.atoms(sp.Rational) if max(abs(r.p), r.q) > MAX_RATIONAL]
    if long:
        raise ExpressionError(expected, str(long[0].evalf(5)))
    steep = [p for p in value.atoms(sp.Pow) if p.exp.is_Rational and abs(p.exp) > MAX_RAISED_EXPONENT]
    if steep:
        raise ExpressionError(
            f"powers of powers between -{MAX_RAISED_EXPONENT} and {MAX_RAISED_EXPONENT}",
            str(steep[0].exp),
            "exp(n*log(u)) is the power u^n; tanh may be as steep as you like, and sigmoid(v) is (1 + tanh(v/2))/2",
        )
    if not value.is_number or not value.is_finite:
        return value
    number = value if value.is_Rational else value.evalf(15)
    if number.has(sp.I):
        raise ExpressionError("a formula with real constants", str(value))
    if number.is_Float and number._prec == 1:
        raise ExpressionError("constants that a hundred digits tell from each other", f"{value} near 0")
    if number != 0 and not MIN_CONSTANT < abs(number) < 2 * MAX_CONSTANT:
        raise ExpressionError(expected, str(value.evalf(5)))
    return value


def _told_apart(values: Sequence[Any]) -> None:
    """Refuse constants too close to each other for their order to be found."""
    for a, b in combinations([value for value in values if value.is_number], 2):
        _bounded(a - b)
