r"""Exact Gaussian expectations E[f(a) g(b)] for all functions that are sums of atoms.

For each pair of atoms (:mod:`kernelcalc.expressions.atoms`) of (a, b) ~ N(0, Σ), Σ = [[q, c], [c, q']]:

1. a Dirac delta conditions the other variable;
2. the weight exp(zᵀDz + γᵀz), D = diag(α, α'), tilts N(m, Σ) into N(m̃, Σ̃) with Σ̃ = Σ(I − 2DΣ)^{-1} and
   m̃ = (I − 2ΣD)^{-1}(m + Σγ), times det(I − 2DΣ)^{-1/2} exp(m̃ᵀDm̃ + γᵀm̃ − ½(m̃ − m)ᵀ(2Dm̃ + γ));
3. Stein's lemma E[(a − m_a) h] = Σ_aa E[∂_a h] + Σ_ab E[∂_b h] lowers the powers; the slope of a gate
   P(a + sZ ≥ τ) is the density of a + sZ at τ, which conditions the Gaussian on a + sZ = τ;
4. what is left is P(a + sZ ≥ τ, b + s'Z' ≥ τ'): an orthant probability.

Nothing inverts Σ, so q = 0 and c² = qq' are no special cases, and every step runs on SymPy expressions and on mpmath
numbers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from mpmath import mp

from kernelcalc.arguments import counts
from kernelcalc.errors import CovarianceError, InputError, PrecisionError
from kernelcalc.expressions.atoms import Atom, NotInAlgebra, atoms_of, derivative, exact_numbers, x
from kernelcalc.expressions.moments import PairCovariance, total_expectation
from kernelcalc.expressions.numbers import MpmathNumbers, SympyNumbers
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.realform import real_form
from kernelcalc.expressions.tidy import tidy
from kernelcalc.expressions.zeros import simplified
from kernelcalc.machine import MULTIPRECISION
from kernelcalc.patience import watched

__all__ = ["NotInAlgebra", "evaluate", "exact_expectation", "in_algebra", "x"]

# How often digits are raised by half. What sinks below 10^−SINKING·digits at two precisions of at least ZERO_DIGITS, whose
# product is beyond the range of float64, is a zero.
MOST_RAISES, SINKING, ZERO_DIGITS = 10, 0.8, 400

q: Any
qp: Any
q, qp = sp.symbols("q q'", positive=True)
c: Any = sp.Symbol("c", real=True)
# What the symbols are called in a text.
LETTERS = {"q": q, "qp": qp, "c": c}


def in_algebra(f: sp.Expr) -> bool:
    """Whether :func:`exact_expectation` covers this function of ``x``.

    Examples
    --------
    >>> in_algebra(x * sp.erf(x)), in_algebra(sp.tanh(x))
    (True, False)
    """
    try:
        atoms_of(f)
    except NotInAlgebra:
        return False
    return True


@watched("numbers in the place of symbols, and kernelcalc.gaussian_expectation, are faster")
def exact_expectation(
    f: sp.Expr, g: sp.Expr, q1: Any = q, q2: Any = qp, cov: Any = c, *, orders: tuple[int, int] = (0, 0)
) -> sp.Expr:
    r"""E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] as a SymPy expression, (a, b) centred Gaussian with covariance [[q1, cov], [cov, q2]].

    Parameters
    ----------
    f, g : sympy.Expr
        Functions of the real symbol :data:`x`, in the class of :mod:`kernelcalc.expressions.atoms`.
    q1, q2, cov
        Numbers or SymPy expressions. ``q1 == q2 == cov`` is the diagonal.
    orders : tuple of int
        Derivatives (i, j), in the sense of distributions.

    Raises
    ------
    InputError
        Orders that are no two whole numbers of at least 0.
    NotInAlgebra
        f or g is no sum of atoms.
    DivergentExpectationError
        The expectation is infinite or undefined, as E[σ̈(a) σ̈(a)] for relu.

    Notes
    -----
    Convergence (α q < ½ and so on) is checked for numbers; for symbols it is assumed. So is c² < qq' in a formula for
    three different symbols: where a kink makes it diverge as c² → qq', the formula does.

    Examples
    --------
    >>> exact_expectation(sp.Max(x, 0), sp.Max(x, 0))
    c*asin(c/(sqrt(q)*sqrt(q')))/(2*pi) + c/4 + sqrt(-c**2 + q*q')/(2*pi)
    >>> exact_expectation(sp.sin(x), sp.sin(x), q, q, q)
    1/2 - exp(-2*q)/2
    >>> exact_expectation(sp.Max(x, 0), sp.Max(x, 0), orders=(2, 2))
    1/(2*pi*sqrt(-c**2 + q*q'))
    """
    found = counts("orders", orders, 0)
    if len(found) != 2:
        raise InputError("orders, one of f and one of g", f"{found}")
    fa, ga = (
        derivative(atoms_of(to_sympy(f, {"x": x})), found[0]),
        derivative(atoms_of(to_sympy(g, {"x": x})), found[1]),
    )
    v1, v2, v12 = (exact_numbers(to_sympy(v)) for v in (q1, q2, cov))
    if all(v.is_number for v in (v1, v2, v12)):
        det = _check_covariance(v1, v2, v12)
        slope = v12 / v1 if det == 0 and v1 != 0 and v2 != 0 else None
        numbers = SympyNumbers()
        return real_form(tidy(total_expectation(fa, ga, PairCovariance(v1, v12, v2, slope), numbers)))
    if v1 == v2 and v12 in (v1, -v1):
        return _symbolic(fa, ga, 1 if v12 == v1 else -1).subs(q, v1)
    if v12.is_zero:
        return _symbolic(fa, ga, 0).subs({q: v1, qp: v2}, simultaneous=True)
    return _symbolic(fa, ga, None).subs({q: v1, qp: v2, c: v12}, simultaneous=True)


@lru_cache(maxsize=512)
def _symbolic(fa: tuple[Atom, ...], ga: tuple[Atom, ...], sign: int | None) -> sp.Expr:
    """Closed form in q, q', c; ``sign`` ±1 for c = ±q = ±q', 0 for c = 0."""
    numbers = SympyNumbers()
    if sign is None:
        cov = PairCovariance(q, c, qp)
    elif sign == 0:
        cov = PairCovariance(q, sp.S.Zero, qp)
    else:
        cov = PairCovariance(q, sign * q, q, sp.Integer(sign))
    return real_form(tidy(total_expectation(fa, ga, cov, numbers)))


def evaluate(
    f: sp.Expr, g: sp.Expr, q1: Any, q2: Any, cov: Any, dps: int = 50, *, orders: tuple[int, int] = (0, 0)
) -> mpmath.mpf:
    """E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] to ``dps`` significant digits, by the closed form in mpmath arithmetic.

    The value is computed at two working precisions; where they differ, digits have cancelled and both are raised.
    Floats count as the exact binary numbers they are.

    Raises
    ------
    NotInAlgebra, DivergentExpectationError
        As :func:`exact_expectation`.
    CovarianceError
        (q1, q2, cov) is no covariance.
    PrecisionError
        More digits cancel than some twenty times ``dps`` working digits can replace.

    Examples
    --------
    >>> print(mpmath.nstr(evaluate(sp.erf(x), sp.erf(x), 1, 2, 0.5, dps=30), 30))
    0.166257971481190242999965987608
    """
    fa, ga = (
        derivative(atoms_of(to_sympy(f, {"x": x})), orders[0]),
        derivative(atoms_of(to_sympy(g, {"x": x})), orders[1]),
    )
    with MULTIPRECISION:
        return _raised_until_equal(fa, ga, (q1, q2, cov), dps)


def _raised_until_equal(
    fa: tuple[Atom, ...], ga: tuple[Atom, ...], given: tuple[Any, Any, Any], dps: int
) -> mpmath.mpf:
    v1, v2, v12 = (_exact(v) for v in given)
    det = _check_covariance(v1, v2, v12)
    degenerate = det == 0 and v1 != 0 and v2 != 0
    work = dps + 15 + _digits_lost(v1, v2, det)
    value = _evaluate_at(fa, ga, v1, v2, v12, degenerate, work)
    for _ in range(MOST_RAISES):
        raised = work + max(10, work // 2)
        better = _evaluate_at(fa, ga, v1, v2, v12, degenerate, raised)
        with MULTIPRECISION, mp.workdps(dps + 5):
            if better != 0 and abs(value - better) <= abs(better) * mpmath.mpf(10) ** (-dps - 2):
                return mp.mpf(better)
            # A zero leaves rounding noise, which sinks with the precision; the tail of a Gaussian stays where it is.
            noise = (
                abs(value) <= mpmath.mpf(10) ** (-SINKING * work),
                abs(better) <= mpmath.mpf(10) ** (-SINKING * raised),
            )
            if raised > max(6 * dps, ZERO_DIGITS) and all(noise):
                return mpmath.mpf(0)
            work, value = raised, better
    raise PrecisionError(f"more than {work} working digits cancelled in E[f(a)g(b)] at {given}")


def _evaluate_at(
    fa: tuple[Atom, ...], ga: tuple[Atom, ...], v1: Any, v2: Any, v12: Any, degenerate: bool, dps: int
) -> mpmath.mpf:
    with MULTIPRECISION, mp.workdps(dps):
        a, b, ab = (_to_mpf(v, dps) for v in (v1, v2, v12))
        cov = PairCovariance(a, ab, b, ab / a if degenerate else None)
        return mpmath.re(total_expectation(fa, ga, cov, MpmathNumbers(mp.prec)))


def _digits_lost(v1: Any, v2: Any, det: Any) -> int:
    """How many digits of q q' − c² cancel."""
    if det == 0:
        return 0
    with mp.workdps(15):
        product, left = (_to_mpf(v if isinstance(v, Fraction) else to_sympy(v), 15) for v in (v1 * v2, det))
        return max(0, int(mpmath.log10(product / left)))


def _exact(value: Any) -> Fraction | sp.Expr:
    if isinstance(value, (int, float, Fraction)) or type(value).__module__ == "numpy":
        value = float(value) if not isinstance(value, (int, float, Fraction)) else value
        if not math.isfinite(value):
            raise CovarianceError("finite variances and covariance", repr(value))
        return Fraction(value)
    if isinstance(value, mpmath.mpf):
        sign, man, exp, _ = value._mpf_
        return Fraction(-man if sign else man) * Fraction(2) ** exp
    value = to_sympy(value)
    if isinstance(value, sp.Float):
        return _exact(mpmath.mpf(value._mpf_))
    if isinstance(value, sp.Rational):
        return Fraction(int(value.p), int(value.q))
    if not value.is_number:
        raise CovarianceError("numbers as variances and covariance", str(value))
    return value


def _to_mpf(value: Fraction | sp.Expr, dps: int) -> mpmath.mpf:
    if isinstance(value, Fraction):
        return mpmath.mpf(value.numerator) / value.denominator
    return value._to_mpmath(mp.prec)


def _check_covariance(v1: Any, v2: Any, v12: Any) -> Any:
    det = v1 * v2 - v12 * v12
    if not isinstance(det, Fraction):
        det = sp.nsimplify(simplified(to_sympy(det)))
    if v1 < 0 or v2 < 0 or det < 0:
        raise CovarianceError("q ≥ 0, q' ≥ 0 and c² ≤ q q'", f"q={v1}, q'={v2}, c={v12}")
    return det
