"""Forms of expressions with stable numerics.

SymPy's own ``log(1 + exp(x))`` overflows in floating point and ``1 - tanh(x)**2`` cancels. :func:`stabilise` rewrites an
expression with the functions of :mod:`kernelcalc.expressions.functions`; :func:`numpy_callable` compiles the result for
float64 arrays.
"""

from __future__ import annotations

import math
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
    Logarithm,
    LogCosh,
    LogHalfErrorComplement,
    LogisticDensity,
    LogisticSigmoid,
    LogMinusLogHalfErrorComplement,
    LogSoftplus,
    Softplus,
    StableTanh,
    plain,
)
from kernelcalc.machine import MULTIPRECISION

FloatFunction = Callable[[np.ndarray], np.ndarray]


# Powers of 1 + e^v above this, and fractions above 1, are written as exponentials.
HIGH_POWER = 16
# Powers beyond any that text may write: of e^{n log u} SymPy has made them.
HUGE_POWER = 64


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
    """Sums that cancel far out: c ± c·erf(v) → c·ErrorComplement(∓v), e^v − 1 → ExpMinusOne(v), sigmoids, c − w·uⁿ."""
    constant, rest = e.as_coeff_Add()
    if constant == 0:
        return e
    if sigmoid := _as_sigmoid(e):
        return sigmoid[0] * LogisticSigmoid(sigmoid[1])
    terms = list(sp.Add.make_args(rest))
    weights = [term.as_coeff_Mul() for term in terms]
    if (
        len(terms) > 1
        and all(isinstance(f, sp.erf) for _, f in weights)
        and sum(abs(w) for w, _ in weights) == abs(constant)
    ):
        return sp.Add(*(_stable_add(sp.sign(constant) * abs(w) + w * f) for w, f in weights))
    for index, (coefficient, factor) in enumerate(weights):
        replaced = None
        if isinstance(factor, sp.erf) and abs(coefficient) == abs(constant):
            argument = factor.args[0]
            replaced = constant * ErrorComplement(-argument if coefficient == constant else argument)
        elif isinstance(factor, ErrorComplement) and 2 * coefficient == -constant:
            replaced = -coefficient * ErrorComplement(-factor.args[0])
        elif coefficient == -constant and factor.is_Pow and factor.exp == 2 and isinstance(factor.base, sp.tanh):
            replaced = 4 * constant * LogisticDensity(2 * factor.base.args[0])
        elif _is_exp(factor) and coefficient == -constant:
            replaced = coefficient * ExpMinusOne(factor.args[0])
        elif factor.is_Pow and len(terms) == 1:
            replaced = _difference_of_powers(constant, -coefficient, factor)
        if replaced is not None:
            return sp.Add(replaced, *terms[:index], *terms[index + 1 :])
    return e


def _difference_of_powers(constant: Any, weight: Any, power: Any) -> Any:
    """c − w·uⁿ as w (s − u)(s^{n−1} + … + u^{n−1}), n halved while even, where s = (c/w)^{1/n} and s − u has its own form."""
    base, n = power.as_base_exp()
    if not (n.is_Integer and 1 < n <= HIGH_POWER and constant / weight > 0):
        return None
    s = sp.root(constant / weight, n)
    less = _stable_add(s - base) if s.is_Rational else s - base
    if less == s - base:
        return None
    if n % 2:
        return weight * less * sp.Add(*(s ** (n - 1 - k) * base**k for k in range(n)))
    half = _difference_of_powers(s ** (n / 2), sp.S.One, base ** (n / 2)) if n > 2 else less
    return weight * half * (_stable_add(s + base) if n == 2 else s ** (n / 2) + base ** (n / 2))


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
    """(1 + e^v)^n → exp(n·Softplus(v)), of which SymPy makes such a power: it overflows or, in log(1 + …), leaves nothing.

    Likewise other u^n with u > 0 and a huge n.
    """
    base, power = e.as_base_exp()
    argument = _one_plus_exp(base)
    if not power.is_number:
        return e
    if argument is None:
        huge = base.is_positive and base.free_symbols and abs(power) > HUGE_POWER
        return sp.exp(power * Logarithm(base)) if huge else e
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


# What the logarithm of a function is, where its own underflow or overflow must not be seen in it.
_LOGARITHMS: dict[Any, Callable[[Any], Any]] = {
    sp.exp: lambda u: u,
    sp.cosh: LogCosh,
    sp.sech: lambda u: -LogCosh(u),
    LogisticSigmoid: lambda u: -Softplus(-u),
    LogisticDensity: lambda u: -2 * (LogCosh(u / 2) + sp.log(2)),
    ErrorComplement: lambda u: sp.log(2) + LogHalfErrorComplement(u),
    Softplus: LogSoftplus,
}
# Sums of more terms are left as they are.
_MOST_TERMS = 4


def _logarithm(e: Any) -> Any:
    """log e by what is known of its factors or terms, None if that is too little."""
    if type(e) in _LOGARITHMS:
        return _LOGARITHMS[type(e)](e.args[0])
    if e.is_Pow:
        inner = _logarithm(e.base)
        return e.exp * (sp.log(e.base) if inner is None else inner) if e.base.is_positive else None
    if e.is_Mul:
        return _logarithm_of_product(e)
    return _logarithm_of_sum(e) if e.is_Add else None


def _logarithm_of_sum(e: Any) -> Any:
    """log(A + B) = log A + Softplus(log B − log A), where A is all that no more is known of than that it is positive."""
    logarithms = [(term, _logarithm(term)) for term in e.args]
    known = [found for _, found in logarithms if found is not None]
    rest = sp.Add(*(term for term, found in logarithms if found is None))
    useful = rest == 0 or (rest.is_positive and any(map(_overflows, e.args)))
    if not useful or len(known) > _MOST_TERMS:
        return None
    total = known.pop(0) if rest == 0 else sp.log(rest)
    for term in known:
        total += Softplus(term - total)
    return total


def _logarithm_of_product(e: Any) -> Any:
    """log of each factor; −log ½erfc, the only negative one that is known, has one of its own."""
    number, product = e.as_coeff_Mul()
    total, known = sp.log(abs(number)), False
    for factor in sp.Mul.make_args(product):
        if number.is_negative and isinstance(factor, LogHalfErrorComplement):
            number, inner = -number, LogMinusLogHalfErrorComplement(factor.args[0])
        else:
            inner = _logarithm(factor)
        known = known or inner is not None
        if inner is None and not factor.is_positive:
            return None
        total += sp.log(factor) if inner is None else inner
    return total if known and number.is_positive else None


def _overflows(e: Any) -> bool:
    """Whether a term may leave floats where the logarithm of a sum does not."""
    return any(isinstance(f, sp.exp | sp.cosh) or (f.is_Pow and f.exp.is_negative) for f in sp.Mul.make_args(e))


def _stable_log(argument: Any) -> Any:
    found = _logarithm(argument)
    return sp.log(argument) if found is None else found


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
    result = result.replace(sp.erfc, ErrorComplement)
    result = result.replace(lambda e: e.is_Mul, _stable_mul)
    result = result.replace(lambda e: e.is_Add, _stable_add)
    result = result.replace(sp.log, _stable_log)
    return result.replace(sp.tanh, StableTanh)


def mpmath_callable(expr: sp.Expr, symbol: sp.Symbol) -> Callable[[Any], Any]:
    """Compile an expression of one symbol for mpmath numbers at the caller's precision."""
    return compile_expression(symbol, plain(expr), modules=MPMATH_FUNCTIONS)


# Values beyond a float64 formula after which the time of all is foretold, and seconds from which on a warning says so.
FEW_BY_DIGITS, SLOW_BY_DIGITS = 100, 5.0
# A little more than the logarithm of float64's largest number.
_LARGEST_LOGARITHM = 710.0
# e^{200000} is beyond any float64 that comes back from it by digits the fallback has, and its sine still costs little.
_LARGEST_EXPONENT = 200_000


def numpy_callable(expr: sp.Expr, symbol: sp.Symbol) -> FloatFunction:
    """Compile an expression of one symbol for float64 arrays.

    Where the float64 formula overflows or is undefined at a finite argument, the value is recomputed with mpmath; what is
    not a finite real number even then stays NaN or infinite for the caller to refuse.
    """
    compiled = compile_expression(symbol, in_floats(expr), modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)
    slow: list[Callable[[Any], Any]] = []
    surely: list[FloatFunction] = []

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
                slow.append(guarded_callable(expr, symbol))
                surely.append(_infinite(expr, symbol))
            result = result.copy()
            unique, back = np.unique(values[bad], return_inverse=True)
            found = surely[0](unique)
            small = np.isnan(found)
            found[small] = _one_by_one(slow[0], unique[small], expr)
            result[bad] = found[back]
        return result

    return call


def _infinite(expr: sp.Expr, symbol: sp.Symbol) -> FloatFunction:
    """±∞ where the logarithm of a product shows that it is beyond float64, else NaN: digits take long to say so."""
    number, product = expr.as_coeff_Mul()
    logarithm = _logarithm(product) if product.has(symbol) else None
    if logarithm is None:
        return lambda values: np.full(values.shape, np.nan)
    size = compile_expression(symbol, in_floats(logarithm), modules=[NUMPY_FUNCTIONS, "numpy"], cse=True)

    def call(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.where(
                size(values) > _LARGEST_LOGARITHM - math.log(abs(number)), math.copysign(np.inf, number), np.nan
            )

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


def guarded_callable(expr: sp.Expr, symbol: sp.Symbol) -> Callable[[Any], Any]:
    """As :func:`mpmath_callable`, but what is far beyond float64 on the way raises OverflowError: it would fill the memory."""
    power = sp.Function("guarded_power")
    guarded = plain(expr).replace(lambda e: e.is_Pow and bool(e.exp.free_symbols), lambda e: power(*e.as_base_exp()))
    functions = {
        "exp": _exp,
        "guarded_power": lambda a, b: a**b if a in (0, 1) else _exp(b * mpmath.log(a)),
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
