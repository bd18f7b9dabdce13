"""Closed forms as running code: NumPy functions, and C, JAX or NumPy source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from kernelcalc.activations.activation import Activation
from kernelcalc.arguments import shown
from kernelcalc.errors import InputError
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation

ARGUMENTS = (algebra.q, algebra.qp, algebra.c)


def to_numpy(expr: sp.Expr, args: tuple[sp.Symbol, ...] = ARGUMENTS) -> Callable[..., NDArray[np.float64]]:
    r"""A NumPy function of arrays (q, q', c) that broadcasts.

    arcsin(c/√(AB)) is computed as arctan2(c, √(AB − c²)), accurate near ρ = ±1 to the rounding of the inputs; what has no
    closed form is computed by :func:`kernelcalc.gaussian_expectation`. At coinciding points use the kernel with
    ``diagonal=True``: the off-diagonal formula of a deep kinked network cannot know there that its inputs are equal.

    Raises
    ------
    InputError
        The expression has other symbols than ``args``, or is none.

    Examples
    --------
    >>> f = to_numpy(sp.asin(algebra.c / sp.sqrt(algebra.q * algebra.qp)))
    >>> float(f(2.1, 2.1, 2.1)) == np.pi / 2
    True
    """
    expr, args = _checked(expr, args)
    names = {s: sp.Symbol(f"arg{k}") for k, s in enumerate(args)}
    stray = expr.free_symbols - set(args)
    if stray:
        raise InputError("an expression in " + ", ".join(map(str, args)), f"the symbols {sorted(map(str, stray))}")
    steps: list[tuple[sp.Symbol, GaussianExpectation, Callable[..., Any]]] = []
    known: list[sp.Symbol] = list(args)

    def compiled(e: Any) -> Callable[..., Any]:
        variables = [names.get(s, s) for s in known]
        return compile_expression(
            variables, [stable(v.xreplace(names)) for v in e], modules=["numpy", "scipy"], cse=True
        )

    while expr.has(GaussianExpectation):
        # Innermost first: its arguments then hold closed forms and values already named.
        inner = next(n for n in sp.postorder_traversal(expr) if isinstance(n, GaussianExpectation))
        value = sp.Dummy(f"e{len(steps)}")
        steps.append((value, inner, compiled(inner.covariance)))
        known.append(value)
        expr = expr.xreplace({inner: value})
    last = compiled([expr])

    def function(*values: Any) -> NDArray[np.float64]:
        arrays: list[Any] = list(np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in values)))
        for _, inner, covariance in steps:
            numbers = np.broadcast_arrays(arrays[0], *covariance(*arrays))[1:]
            arrays.append(gaussian_expectation(_activation(inner.f), _activation(inner.g), *numbers))
        (out,) = last(*arrays)
        return np.broadcast_to(np.asarray(out, dtype=float), arrays[0].shape)[()]

    if not steps:
        # Closed forms need nothing but NumPy and SciPy.
        def closed(*values: Any) -> NDArray[np.float64]:
            arrays = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in values))
            (out,) = last(*arrays)
            return np.broadcast_to(np.asarray(out, dtype=float), arrays[0].shape)[()]

        return closed
    return function


def _activation(expr: sp.Expr) -> Any:
    return Activation(expr)


def stable(expr: sp.Expr) -> sp.Expr:
    """Inverse sines as arctan2 and determinants as differences of squares, which keep their digits near ρ = ±1."""

    def inverse_sine(u: sp.Expr) -> sp.Expr:
        top, bottom = sp.fraction(sp.together(u) if u.is_Add else u)
        return sp.atan2(top, sp.sqrt(_difference(bottom**2, top)))

    def root(base: sp.Expr, power: sp.Expr) -> sp.Expr:
        negative = [t for t in base.args if t.as_coeff_Mul()[0].is_negative]
        squares = [t for t in negative if all(s.is_number or (s.is_Pow and s.exp == 2) for s in sp.Mul.make_args(-t))]
        if len(squares) != 1:
            return sp.Max(base, 0, evaluate=False) ** power
        parts = sp.Mul.make_args(-squares[0])
        side = sp.Mul(*(s.base if s.is_Pow and s.exp == 2 else sp.sqrt(s) for s in parts))
        return _difference(base - squares[0], side) ** power

    return expr.replace(sp.asin, inverse_sine).replace(
        lambda e: isinstance(e, sp.Pow) and e.exp.is_Rational and e.exp.q == 2 and e.base.is_Add,
        lambda e: root(e.base, e.exp),
    )


def _difference(product: sp.Expr, side: sp.Expr) -> sp.Expr:
    """max(product − side², 0) as (√product − side)(√product + side); √(q·q) is q in IEEE arithmetic."""
    big = sp.sqrt(product)
    return sp.Max((big - side) * (big + side), 0, evaluate=False)


def _checked(expr: Any, args: Any) -> tuple[sp.Expr, tuple[sp.Symbol, ...]]:
    if not isinstance(args, list | tuple) or not all(isinstance(one, sp.Symbol) for one in args):
        raise InputError("args, a sequence of SymPy symbols", shown(args))
    return to_sympy(expr, {str(one).replace("'", "p"): one for one in args}), tuple(args)


def source(
    expr: sp.Expr, language: str = "numpy", name: str = "kernel", args: tuple[sp.Symbol, ...] = ARGUMENTS
) -> str:
    """Source text of a function of (q, qp, c) in ``"numpy"``, ``"jax"`` or ``"c"``, with common subexpressions named.

    Raises
    ------
    InputError
        For an unknown language, functions that the language lacks, a name that is none, and what is no expression.

    Examples
    --------
    >>> print(source(sp.asin(algebra.c / sp.sqrt(algebra.q * algebra.qp)), "numpy"))
    import numpy
    <BLANKLINE>
    <BLANKLINE>
    def kernel(q, qp, c):
        return numpy.arcsin(c/(numpy.sqrt(q)*numpy.sqrt(qp)))
    <BLANKLINE>
    """
    languages = ("c", "jax", "numpy")
    if not isinstance(language, str) or language not in languages:
        raise InputError(f"a language among {', '.join(languages)}", shown(language))
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError("name, that of a function", shown(name))
    expr, args = _checked(expr, args)
    if expr.has(GaussianExpectation):
        raise InputError(
            "a closed form", "an expectation without one", "use to_numpy, or an activation with a closed form"
        )
    if expr.has(BinormalCDF, OwensT) and language != "numpy":
        raise InputError(f"functions that {language} has", "bivariate normal probabilities", "use language='numpy'")
    names = {s: sp.Symbol(str(s).replace("'", "p")) for s in args}
    expr = expr.rewrite(OwensT) if expr.has(BinormalCDF) else expr
    steps, (result,) = sp.cse([expr.xreplace(names)], symbols=sp.numbered_symbols("t"))
    signature = [str(names[s]) for s in args]
    if language == "c":
        lines = [f"    const double {s} = {sp.ccode(v)};" for s, v in steps]
        head = ", ".join(f"double {s}" for s in signature)
        body = "\n".join([*lines, f"    return {sp.ccode(result)};"])
        return f"#include <math.h>\n\ndouble {name}({head})\n{{\n{body}\n}}\n"
    text, modules = _python(language)
    lines = [f"    {s} = {text(v)}" for s, v in steps]
    body = "\n".join([*lines, f"    return {text(result)}"])
    imports = "\n".join(f"import {m}" for m in modules if m.split(".")[0] + "." in body)
    return f"{imports}\n\n\ndef {name}({', '.join(signature)}):\n{body}\n"


def _python(language: str) -> tuple[Callable[[sp.Expr], str], tuple[str, ...]]:
    from sympy.printing.numpy import JaxPrinter, SciPyPrinter

    if language == "jax":
        printer = JaxPrinter({"user_functions": {"erf": "jax.scipy.special.erf"}})
        return printer.doprint, ("jax", "jax.numpy")
    printer = SciPyPrinter({"user_functions": {"OwensT": "scipy.special.owens_t"}})
    return printer.doprint, ("numpy", "scipy.special")
