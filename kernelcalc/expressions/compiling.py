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
