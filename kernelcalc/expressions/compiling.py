"""Compiling expressions to Python functions, in one place."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import sympy as sp


def compile_expression(arguments: Any, expr: Any, modules: Any, cse: bool = False) -> Callable[..., Any]:
    """``sympy.lambdify`` without its text kept among the lines of source that tracebacks are shown from.

    SymPy takes that text out again when the function is collected. That may happen while ``linecache.checkcache`` walks over
    all texts, in any traceback, doctest or debugger, which then fails with a KeyError: CPython's walk expects none to vanish.
    """
    function = sp.lambdify(arguments, expr, modules=modules, cse=cse, docstring_limit=0)
    linecache.cache.pop(function.__code__.co_filename, None)
    return function


def one_constant(total: sp.Expr) -> sp.Expr:
    """A sum with its constants, which may cancel, as one float64.

    Examples
    --------
    >>> one_constant(sp.Symbol("x") + 10**9 * sp.pi - 3141592653)
    x + 0.58979323846264338
    """
    constant, rest = total.as_independent(*total.free_symbols, as_Add=True)
    if not constant.is_Add:
        return total
    value = sp.N(constant, 20)
    # functions of our own have no digits until they are written in SymPy's
    value = value if value.is_Float else sp.N(constant.rewrite(sp.exp), 20)
    return sp.Float(value, 17) + rest if value.is_Float else total


def one_number(constant: sp.Expr) -> sp.Expr:
    """A function of a constant as the number it is: float64 loses the digits of a large argument, of a sine for instance."""
    argument = sp.N(constant.args[0], 30)
    if not (argument.is_Float and 1 < abs(argument) < 2**53):
        return constant
    value = sp.N(constant, 30)
    return sp.Float(value, 17) if value.is_Float else constant
