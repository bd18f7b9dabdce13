"""Forms of expressions with stable numerics.

SymPy's own ``log(1 + exp(x))`` overflows in floating point and ``1 - tanh(x)**2`` cancels. :func:`stabilise` rewrites an
expression with the functions of :mod:`kernelcalc.expressions.functions`; :func:`numpy_callable` compiles the result for
float64 arrays.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.errors import SlowMethodWarning
from kernelcalc.expressions.compiling import compile_expression, one_constant, one_number
from kernelcalc.expressions.functions import (
    MPMATH_FUNCTIONS,
    NUMPY_FUNCTIONS,
    ErrorComplement,
    ExpMinusOne,
    LogCosh,
    LogHalfErrorComplement,
    LogisticDensity,
    LogisticSigmoid,
    Softplus,
    StableTanh,
    plain,
)
from kernelcalc.machine import MULTIPRECISION

FloatFunction = Callable[[np.ndarray], np.ndarray]


# Powers of 1 + e^v above this, and fractions above 1, are written as exponentials.
HIGH_POWER = 16


def _is_exp(e: Any) -> bool:
    return isinstance(e, sp.exp)


def _one_plus_exp(e: Any) -> Any:
    """Return v where e is 1 + exp(v), else None."""
    if e.is_Add and len(e.args) == 2 and sp.S.One in e.args:
        other = e.args[0] if e.args[1] is sp.S.One else e.args[1]
        if _is_exp(other):
            return other.args[0]
    return None


def _as_sigmoid(e: Any) -> Any:
    """(weight, v) where e, two that cancel far out, is weight·LogisticSigmoid(v): c ± c·tanh, c − c·LogisticSigmoid."""
    constant, rest = e.as_coeff_Add()
    weight, factor = rest.as_coeff_Mul()
    if constant != 0 and isinstance(factor, sp.tanh) and abs(weight) == abs(constant):
        return 2 * constant, 2 * factor.args[0] * weight / constant
    if constant != 0 and isinstance(factor, LogisticSigmoid) and weight == -constant:
        return constant, -factor.args[0]
    return None


def _stable_add(e: Any) -> Any:
    """c ± c·erf(v) → c·ErrorComplement(∓v), e^v − 1 → ExpMinusOne(v), c − c·tanh² v → 4c·LogisticDensity(2v); sigmoids."""
    constant, rest = e.as_coeff_Add()
    if constant == 0:
        return e
    if sigmoid := _as_sigmoid(e):
        return sigmoid[0] * LogisticSigmoid(sigmoid[1])
    terms = list(sp.Add.make_args(rest))
    for index, term in enumerate(terms):
        coefficient, factor = term.as_coeff_Mul()
        replaced = None
        if isinstance(factor, sp.erf) and abs(coefficient) == abs(constant):
            argument = factor.args[0]
            replaced = constant * ErrorComplement(-argument if coefficient == constant else argument)
        elif coefficient == -constant and factor.is_Pow and factor.exp == 2 and isinstance(factor.base, sp.tanh):
            replaced = 4 * constant * LogisticDensity(2 * factor.base.args[0])
        elif _is_exp(factor) and coefficient == -constant:
            replaced = coefficient * ExpMinusOne(factor.args[0])
        if replaced is not None:
            return sp.Add(replaced, *terms[:index], *terms[index + 1 :])
    return e


def _hyperbolic(e: Any) -> Any:
    """sinh(v)/cosh(v) → tanh(v), of which both overflow."""
    count = e.as_powers_dict()
    both = [f for f in count if isinstance(f, sp.sinh) and (count[f] + count.get(sp.cosh(*f.args), 0)).is_nonpositive]
    return e.xreplace({f: sp.tanh(*f.args) * sp.cosh(*f.args) for f in both})


def _stable_mul(e: Any) -> Any:
    """exp(v)·LogisticSigmoid(−v) → LogisticSigmoid(v)."""
    factors = list(e.args)
    for i, factor in enumerate(factors):
        if not _is_exp(factor):
            continue
        for j, other in enumerate(factors):
            base, power = other.as_base_exp()
            if (
                isinstance(base, LogisticSigmoid)
                and power.is_positive
                and sp.expand(base.args[0] + factor.args[0]) == 0
            ):
                rest = [f for k, f in enumerate(factors) if k not in (i, j)]
                return _stable_mul(sp.Mul(*rest, LogisticSigmoid(factor.args[0]), base ** (power - 1)))
    return e


def _high_power(e: Any) -> Any:
    """(1 + e^v)^n → exp(n·Softplus(v)), of which SymPy makes such a power: it overflows or, in log(1 + …), leaves nothing."""
    base, power = e.as_base_exp()
    argument = _one_plus_exp(base)
    if argument is None or not power.is_number:
        return e
    written = abs(power) > HIGH_POWER or (power > 1 and not power.is_Integer)
    return sp.exp(power * Softplus(argument)) if written else e


def _one_exponential(e: Any) -> Any:
    """e^u e^v → e^{u+v}."""
    exponents = [f.args[0] for f in e.args if _is_exp(f)]
    rest = [f for f in e.args if not _is_exp(f)]
    return sp.Mul(*rest, sp.exp(sp.Add(*exponents))) if len(exponents) > 1 else e


def _stable_pow(e: Any) -> Any:
    """(1 + e^v)^{−n} → LogisticSigmoid(−v)^n, cosh(v)^{−n} → exp(−n·LogCosh(v))."""
    base, power = e.as_base_exp()
    if isinstance(base, sp.cosh) and power.is_negative:
        return sp.exp(power * LogCosh(base.args[0]))
    argument = _one_plus_exp(base)
    if argument is not None and power.is_negative:
        return LogisticSigmoid(-argument) ** (-power)
    return e


def _stable_log(argument: Any) -> Any:
    """log of what _stable_pow leaves, without 1 + or 1 − what is below rounding; of products of sigmoids one by one."""
    argument = _stable_mul(argument) if argument.is_Mul else argument
    number, product = argument.as_coeff_Mul()
    factors = [f.as_base_exp() for f in sp.Mul.make_args(product)]
    if number.is_positive and all(isinstance(base, LogisticSigmoid) and power.is_positive for base, power in factors):
        return sp.log(number) + sp.Add(*(-power * Softplus(-base.args[0]) for base, power in factors))
    inner = _one_plus_exp(argument)
    if inner is not None:
        return Softplus(inner)
    if isinstance(argument, sp.cosh):
        return LogCosh(argument.args[0])
    if (sigmoid := _as_sigmoid(argument)) and sigmoid[0].is_positive:
        return sp.log(sigmoid[0]) - Softplus(-sigmoid[1])
    constant, rest = argument.as_coeff_Add()
    weight, factor = rest.as_coeff_Mul()
    if constant == 0 and weight > 0 and isinstance(factor, sp.erfc):
        return sp.log(2 * weight) + LogHalfErrorComplement(factor.args[0])
    if constant > 0 and isinstance(factor, sp.erf) and abs(weight) == constant:
        return sp.log(2 * constant) + LogHalfErrorComplement(-factor.args[0] if weight > 0 else factor.args[0])
    if constant > 0 and isinstance(factor, sp.erfc) and 2 * weight == -constant:
        # 2 − erfc(u), as SymPy writes erfc(−u)
        return sp.log(-2 * weight) + LogHalfErrorComplement(-factor.args[0])
    if constant > 0 and weight > 0 and _is_exp(factor) and factor.args[0].free_symbols:
        # log(c + k e^v), as softplus of softplus is.
        return sp.log(constant) + Softplus(factor.args[0] + sp.log(weight / constant))
    return sp.log(argument)


def stabilise(expr: sp.Expr) -> sp.Expr:
    """Rewrite an expression so that neither it nor its derivatives overflow or cancel where that can be helped.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> stabilise(sp.log(1 + sp.exp(2 * x)))
    Softplus(2*x)
    >>> stabilise(sp.exp(x) / (1 + sp.exp(x)))
    LogisticSigmoid(x)
    """
    result = expr.replace(lambda e: e.is_Pow and not _is_exp(e), _high_power)
    if result != expr:
        result = result.replace(lambda e: e.is_Mul, _one_exponential)
    result = result.replace(lambda e: e.is_Mul and e.has(sp.sinh), _hyperbolic)
    result = result.replace(lambda e: e.is_Pow and not _is_exp(e), _stable_pow)
    result = result.replace(sp.log, _stable_log)
    result = result.replace(lambda e: e.is_Mul, _stable_mul)
    result = result.replace(lambda e: e.is_Add, _stable_add)
    return result.replace(sp.tanh, StableTanh)


def mpmath_callable(expr: sp.Expr, symbol: sp.Symbol) -> Callable[[Any], Any]:
    """Compile an expression of one symbol for mpmath numbers at the caller's precision."""
    return compile_expression(symbol, plain(expr), modules=MPMATH_FUNCTIONS)


# Values beyond a float64 formula after which the time of all is foretold, and seconds from which on a warning says so.
FEW_BY_DIGITS, SLOW_BY_DIGITS = 100, 5.0
# e^{200000} is beyond any float64 that comes back from it by digits the fallback has, and its sine still costs little.
_LARGEST_EXPONENT = 200_000


def numpy_callable(expr: sp.Expr, symbol: sp.Symbol) -> FloatFunction:
    """Compile an expression of one symbol for float64 arrays.

    Where the float64 formula overflows or is undefined at a finite argument, the value is recomputed with mpmath; what is
    not a finite real number even then stays NaN or infinite for the caller to refuse.
    """
    compiled = compile_expression(symbol, in_floats(expr), modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)
    slow: list[Callable[[Any], Any]] = []

    def call(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        with np.errstate(all="ignore"):
            raw = compiled(values)
        # nearly always; what follows is half of the time of a call with few values
        is_plain = type(raw) is np.ndarray and raw.dtype == np.float64 and raw.shape == values.shape
        if is_plain and raw is not values and np.isfinite(raw).all():
            return raw
        if np.iscomplexobj(raw):
            raw = np.where(np.imag(raw) == 0, np.real(raw), np.nan)
        result = np.broadcast_to(np.asarray(raw, dtype=np.float64), values.shape)
        bad = ~np.isfinite(result) & np.isfinite(values)
        if bad.any():
            if not slow:
                slow.append(_overflowing(expr, symbol))
            result = result.copy()
            unique, back = np.unique(values[bad], return_inverse=True)
            result[bad] = np.array(_one_by_one(slow[0], unique, expr))[back]
        return result

    return call


def _one_by_one(function: Callable[[Any], Any], values: np.ndarray, expr: sp.Expr) -> list[float]:
    """Values by mpmath, with a warning if that takes long."""
    started, found = time.thread_time(), []
    for place, value in enumerate(values):
        if (
            place == FEW_BY_DIGITS
            and (seconds := (time.thread_time() - started) / place * len(values)) > SLOW_BY_DIGITS
        ):
            warnings.warn(
                f"{len(values)} values of {plain(expr)} are beyond its float64 formula and computed one by one in 500 digits, "
                f"some {seconds:.0f} s; smaller variances, or a form that does not overflow, are faster",
                SlowMethodWarning,
                stacklevel=2,
            )
        found.append(_mp_value(function, float(value)))
    return found


def in_floats(expr: sp.Expr) -> sp.Expr:
    """As float64: whole numbers and fractions that NumPy has no type for, and constants whose digits cancel."""
    expr = expr.replace(lambda e: e.is_Add, one_constant)
    expr = expr.replace(lambda e: isinstance(e, sp.Function | sp.exp) and not e.free_symbols, one_number)
    large = [n for n in expr.atoms(sp.Rational) if max(abs(n.p), n.q) >= 2**53]
    return expr.xreplace({n: sp.Float(n, 17) for n in large})


def _overflowing(expr: sp.Expr, symbol: sp.Symbol) -> Callable[[Any], Any]:
    """As :func:`mpmath_callable`, but what is far beyond float64 on the way raises OverflowError: it would fill the memory."""
    power = sp.Function("overflowing_power")
    guarded = plain(expr).replace(lambda e: e.is_Pow and bool(e.exp.free_symbols), lambda e: power(*e.as_base_exp()))
    functions = {
        "exp": _exp,
        "overflowing_power": lambda a, b: a**b if a in (0, 1) else _exp(b * mpmath.log(a)),
        "erf": _bounded(mpmath.erf, 1),
        "erfc": _bounded(mpmath.erfc, 0),
    }
    return compile_expression(symbol, guarded, modules=[functions, *MPMATH_FUNCTIONS])


def _exp(z: Any) -> Any:
    if mpmath.re(z) > _LARGEST_EXPONENT:
        raise OverflowError
    if mpmath.re(z) < -_LARGEST_EXPONENT:
        return mpmath.mpf(0)
    return mpmath.exp(z)


def _bounded(function: Callable[[Any], Any], right: int) -> Callable[[Any], Any]:
    """erf or erfc, whose value at the far right is known; e^{−z²} of huge complex numbers is not waited for."""

    def call(z: Any) -> Any:
        if abs(z) < _LARGEST_EXPONENT**0.5:
            return function(z)
        if mpmath.im(z) != 0:
            raise OverflowError
        return mpmath.mpf(right) if mpmath.re(z) > 0 else 2 * (1 - right) - mpmath.mpf(right)

    return call


def _mp_value(function: Callable[[Any], Any], at: float) -> float:
    # e^{1000} ± 1 needs 435 digits to tell the 1: the fallback is rare, so digits are cheap.
    with MULTIPRECISION, mpmath.workdps(500):
        try:
            value = function(mpmath.mpf(at))
        except (ZeroDivisionError, ValueError, OverflowError):
            return float("nan")
        if isinstance(value, mpmath.mpc):
            return float(value.real) if value.imag == 0 else float("nan")
        return float(value)
