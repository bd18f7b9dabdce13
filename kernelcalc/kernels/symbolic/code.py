"""Closed forms as running code: NumPy functions, and C, JAX or NumPy source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from kernelcalc.activations.activation import Activation
from kernelcalc.arguments import shown
from kernelcalc.errors import InputError, PrecisionWarning, warn
from kernelcalc.expressions import exact as algebra
from kernelcalc.expressions.compiling import compile_expression
from kernelcalc.expressions.orthant import BinormalCDF, OwensT
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.gaussian.expectation import gaussian_expectation
from kernelcalc.kernels.symbolic.expectation import GaussianExpectation
from kernelcalc.patience import watched

ARGUMENTS = (algebra.q, algebra.qp, algebra.c)
# The larger of two, as the languages have it; SymPy's own asks of all arguments, for seconds, which is the larger.
MAXIMUM: Any = sp.Function("maximum")


@watched("a smaller depth is faster, and kernels in numbers")
def to_numpy(expr: sp.Expr, args: tuple[sp.Symbol, ...] = ARGUMENTS) -> Callable[..., NDArray[np.float64]]:
    r"""A NumPy function of arrays (q, q', c) that broadcasts.

    arcsin(c/√(AB)) is computed as arctan2(c, √(AB − c²)), accurate near ρ = ±1 to the rounding of the inputs; what has no
    closed form is computed by :func:`kernelcalc.gaussian_expectation`. At coinciding points use the kernel with
    ``diagonal=True``: the off-diagonal formula of a deep kinked network cannot know there that its inputs are equal. Of
    variances q far above 1 next to ρ = ±1 terms of gelu's formulas cancel: Λ at depth 2 and ρ = 1 − 10⁻⁶ is good to 10⁻⁸ at
    q = 10⁴, to 10⁻⁵ at q = 10⁶; kernels in numbers keep their digits there. Where
    a formula has no value, as those with kinks away from 0 at coinciding points, a :class:`~kernelcalc.errors.PrecisionWarning`
    says so.

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
        return _finished(last, arrays)

    if not steps:
        # Closed forms need nothing but NumPy and SciPy.
        def closed(*values: Any) -> NDArray[np.float64]:
            return _finished(last, np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in values)))

        return closed
    return function


def _finished(formula: Callable[..., Any], arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Values of a compiled formula at arrays of one shape."""
    with np.errstate(divide="ignore", invalid="ignore"):
        (out,) = formula(*arrays)
    out = np.broadcast_to(np.asarray(out, dtype=float), arrays[0].shape)
    lost = np.isnan(out) & ~np.any([np.isnan(one) for one in arrays], axis=0)
    if lost.any():
        warn(
            f"the formula has no value at {lost.sum()} of {lost.size} places, NaN there; at coinciding points take "
            "kernel(..., diagonal=True), for others kernels in numbers",
            PrecisionWarning,
        )
    return out[()]


def _activation(expr: sp.Expr) -> Any:
    return Activation(expr)


def stable(expr: sp.Expr) -> sp.Expr:
    """Inverse sines as arctan2 and determinants as differences of squares, which keep their digits near ρ = ±1.

    e^s cosh u, which waves of large variances have, as :math:`e^{s+|u|} (1 + e^{-2|u|})/2`, and e^s sinh u as that times
    tanh u: neither overflows before the product does.
    """

    def inverse_sine(u: sp.Expr) -> sp.Expr:
        top, bottom = sp.fraction(sp.together(u) if u.is_Add else u)
        return sp.atan2(top, sp.sqrt(_difference(bottom**2, top)))

    def root(base: sp.Expr, power: sp.Expr) -> sp.Expr:
        negative = [t for t in base.args if t.as_coeff_Mul()[0].is_negative]
        squares = [t for t in negative if all(s.is_number or (s.is_Pow and s.exp == 2) for s in sp.Mul.make_args(-t))]
        if len(squares) != 1:
            return MAXIMUM(0, base) ** power
        parts = sp.Mul.make_args(-squares[0])
        side = sp.Mul(*(s.base if s.is_Pow and s.exp == 2 else sp.sqrt(s) for s in parts))
        return _difference(base - squares[0], side) ** power

    found = expr.replace(sp.asin, inverse_sine).replace(
        lambda e: isinstance(e, sp.Pow) and e.exp.is_Rational and e.exp.q == 2 and e.base.is_Add,
        lambda e: root(e.base, e.exp),
    )
    return found.replace(lambda e: e.is_Mul and e.has(sp.exp) and e.has(sp.cosh, sp.sinh), _with_exponent)


def _with_exponent(product: sp.Expr) -> sp.Expr:
    """A product of exponentials and hyperbolic functions with one exponent."""
    waves = [f for f in product.args if isinstance(f, sp.cosh | sp.sinh)]
    others = [f for f in product.args if isinstance(f, sp.exp)]
    if not waves or not others:
        return product
    rest = sp.Mul(*(f for f in product.args if f not in waves and f not in others))
    sizes = [sp.Abs(f.args[0], evaluate=False) for f in waves]
    shapes = [(1 + sp.exp(-2 * size)) / 2 for size in sizes]
    signs = [sp.tanh(f.args[0]) for f in waves if isinstance(f, sp.sinh)]
    exponent = sp.Add(*(f.args[0] for f in others), *sizes)
    return sp.Mul(rest, sp.exp(exponent), *shapes, *signs)


def _difference(product: sp.Expr, side: sp.Expr) -> sp.Expr:
    """max(product − side², 0) as (√product − side)(√product + side); √(q·q) is q in IEEE arithmetic."""
    big = sp.sqrt(product)
    return MAXIMUM(0, (big - side) * (big + side))


def _checked(expr: Any, args: Any) -> tuple[sp.Expr, tuple[sp.Symbol, ...]]:
    if not isinstance(args, list | tuple) or not all(isinstance(one, sp.Symbol) for one in args):
        raise InputError("args, a sequence of SymPy symbols", shown(args))
    return to_sympy(expr, {str(one).replace("'", "p"): one for one in args}), tuple(args)


@watched("a smaller depth is faster, and symbolic.equations")
def source(
    expr: sp.Expr, language: str = "numpy", name: str = "kernel", args: tuple[sp.Symbol, ...] = ARGUMENTS
) -> str:
    """Source text of a function of (q, qp, c) in ``"numpy"``, ``"jax"`` or ``"c"``, with common subexpressions named.

    It computes as :func:`to_numpy` does: inverse sines as arctan2, at coinciding points too. Where that would warn, the text
    gives NaN.

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
        t0 = numpy.sqrt(q*qp)
        return numpy.arctan2(c, numpy.sqrt(numpy.maximum(0, (-c + t0)*(c + t0))))
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
    if expr.has(sp.erfi) and language != "numpy":
        raise InputError(
            f"functions that {language} has", "erfi, the error function of imaginary numbers", "use 'numpy'"
        )
    names = {s: sp.Symbol(str(s).replace("'", "p")) for s in args}
    expr = expr.rewrite(OwensT) if expr.has(BinormalCDF) else expr
    # SymPy prints Max as what needs functools, in C as fmax
    expr = stable(expr.xreplace(names).replace(sp.Max, MAXIMUM))
    steps, (result,) = sp.cse([expr], symbols=sp.numbered_symbols("t"))
    signature = [str(names[s]) for s in args]
    if language == "c":
        options = {"user_functions": {"maximum": "fmax"}}
        lines = [f"    const double {s} = {sp.ccode(v, **options)};" for s, v in steps]
        head = ", ".join(f"double {s}" for s in signature)
        body = "\n".join([*lines, f"    return {sp.ccode(result, **options)};"])
        return f"#include <math.h>\n\ndouble {name}({head})\n{{\n{body}\n}}\n"
    text, modules = _python(language)
    lines = [f"    {s} = {text(v)}" for s, v in steps]
    body = "\n".join([*lines, f"    return {text(result)}"])
    imports = "\n".join(f"import {m}" for m in modules if m.split(".")[0] + "." in body)
    return f"{imports}\n\n\ndef {name}({', '.join(signature)}):\n{body}\n"


def _python(language: str) -> tuple[Callable[[sp.Expr], str], tuple[str, ...]]:
    from sympy.printing.numpy import JaxPrinter, SciPyPrinter

    if language == "jax":
        printer = JaxPrinter(
            {
                "user_functions": {
                    "erf": "jax.scipy.special.erf",
                    "atan2": "jax.numpy.arctan2",
                    "maximum": "jax.numpy.maximum",
                }
            }
        )
        return printer.doprint, ("jax", "jax.numpy")
    printer = SciPyPrinter(
        {
            "user_functions": {
                "OwensT": "scipy.special.owens_t",
                "erfi": "scipy.special.erfi",
                "maximum": "numpy.maximum",
            }
        }
    )
    return printer.doprint, ("numpy", "scipy.special")
