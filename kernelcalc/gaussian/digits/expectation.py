r"""Arbitrary precision: E[f(a)g(b)] to any number of digits.

Sums of elementary atoms have exact forms (:mod:`kernelcalc.expressions.exact`). Other analytic functions are summed on a
lattice (:mod:`kernelcalc.gaussian.digits.lattice`), other kinked ones on panels between their kinks
(:mod:`kernelcalc.gaussian.digits.panels`), in fixed-point integers: at 50 digits ten times faster than mpmath numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError
from kernelcalc.expressions.exact import NotInAlgebra, evaluate, in_algebra
from kernelcalc.expressions.moments import OutgrownError
from kernelcalc.gaussian.digits.lattice import lattice_expectations
from kernelcalc.gaussian.digits.panels import determinant, panel_expectations
from kernelcalc.gaussian.digits.tilt import without_growth
from kernelcalc.gaussian.existence import refuse_infinite
from kernelcalc.gaussian.symmetry import surely_zero
from kernelcalc.machine import MULTIPRECISION

GUARD_DIGITS = 12
Pairs = Sequence[tuple[int, int]]


def _number(name: str, value: Any) -> Any:
    # 1 − ρ keeps its digits where ρ is written with many nines.
    written = len(str(value)) if isinstance(value, str | sp.Expr) else 0
    try:
        with mpmath.workdps(mpmath.mp.dps + written):
            number = mpmath.mpmathify(value if not isinstance(value, sp.Expr) else sp.N(value, mpmath.mp.dps))
    except (TypeError, ValueError) as error:
        raise InputError(f"one real number {name} (dps= takes scalars)", repr(value)) from error
    if not isinstance(number, mpmath.mpf) or not mpmath.isfinite(number):
        raise NotFiniteError(f"one finite real number {name}", repr(value))
    return number


def expectation(f: Activation, g: Activation, q: Any, qp: Any, c: Any, *, dps: int) -> tuple[Any, Any]:
    """E[f(a)g(b)] to ``dps`` digits with an error bound; arguments are read as exact (strings keep all their digits).

    Raises
    ------
    CovarianceError
        If q, q', c are no covariance.
    PrecisionError
        If the digits cannot be reached.
    """
    if not isinstance(dps, int | np.integer) or isinstance(dps, bool) or not 1 <= dps <= 2000:
        raise InputError("a number of digits 1 ≤ dps ≤ 2000", repr(dps))
    # Near ρ = ±1 functions with jumps see √(1 − ρ²): half of the digits of the arguments.
    with MULTIPRECISION, mpmath.workdps(2 * int(dps) + 2 * GUARD_DIGITS):
        q, qp, c = (_number(name, v) for name, v in (("q1", q), ("q2", qp), ("c", c)))
        if q < 0 or qp < 0 or c**2 > q * qp * (1 + mpmath.mpf(10) ** -(dps - 1)):
            raise CovarianceError("q1 ≥ 0, q2 ≥ 0 and c² ≤ q1·q2", f"{q}, {qp}, {c}")
        value = _value(f, g, q, qp, c, int(dps))
    with MULTIPRECISION, mpmath.workdps(int(dps)):
        return +value, abs(value) * mpmath.mpf(10) ** (1 - int(dps))


def _value(f: Activation, g: Activation, q: Any, qp: Any, c: Any, dps: int) -> Any:
    if surely_zero(f, g, q, qp, c, determinant(q, qp, c)):
        return mpmath.mpf(0)
    try:
        return evaluate(f.expr, g.expr, q, qp, c, dps)
    except (NotInAlgebra, OutgrownError):
        return _summed((f,), (g,), q, qp, c, ((0, 0),), dps)[0, 0]


def _summed(
    f: tuple[Activation, ...], g: tuple[Activation, ...], q: Any, qp: Any, c: Any, pairs: Pairs, dps: int
) -> dict[tuple[int, int], Any]:
    """By lattice or panels; a variance of 0 makes a constant of its function."""
    if q == 0 or qp == 0:
        if f[0].deltas or g[0].deltas:
            raise PrecisionError(f"no method gives {dps} digits of delta functions at q = 0")
        zero = mpmath.mpf(0)
        rows, columns = (
            {k: evaluate_at(h[k], zero) if variance == 0 else univariate((h[k],), variance, dps) for k in wanted}
            for h, variance, wanted in ((f, q, {i for i, _ in pairs}), (g, qp, {j for _, j in pairs}))
        )
        return {(i, j): rows[i] * columns[j] for i, j in pairs}
    det = determinant(q, qp, c)
    for i, j in pairs:
        refuse_infinite(f[i], g[j], q, qp, c, det)
    zeros = {(i, j): mpmath.mpf(0) for i, j in pairs if surely_zero(f[i], g[j], q, qp, c, det)}
    others = [pair for pair in pairs if pair not in zeros]
    if not others:
        return zeros
    f, g, q, qp, c, weight = without_growth(f, g, q, qp, c, det)
    if weight != 1:
        return zeros | {pair: weight * value for pair, value in _of_tame(f, g, q, qp, c, others, dps).items()}
    return zeros | _of_tame(f, g, q, qp, c, others, dps)


def _of_tame(
    f: tuple[Activation, ...], g: tuple[Activation, ...], q: Any, qp: Any, c: Any, pairs: Pairs, dps: int
) -> dict[tuple[int, int], Any]:
    """By lattice, or by panels where there are kinks or narrow features."""
    narrow = f[0].root.narrow or g[0].root.narrow
    if narrow or f[0].kinks or g[0].kinks:
        return panel_expectations(f, g, q, qp, c, pairs, dps)
    first, second = (tuple(function.form.pieces[0] for function in h) for h in (f, g))
    return lattice_expectations(first, second, q, qp, c, pairs, dps)


def expectations(
    act: Activation, q: Any, qp: Any, c: Any, orders: Pairs, dps: int, highest: int | None = None
) -> dict[tuple[int, int], Any]:
    """E_ij = E[σ^(i)(a) σ^(j)(b)] for several derivative orders at once, at mpmath numbers q, q', c.

    Values of the derivatives up to order ``highest`` are kept for other covariances with the same variances.
    """
    if in_algebra(act.expr):
        det = determinant(q, qp, c)
        pairs = {order: (act.derivative(order[0]), act.derivative(order[1])) for order in orders}
        zeros = {order for order, pair in pairs.items() if surely_zero(*pair, q, qp, c, det)}
        if q > 0 and det == 0:
            # Parallel points up to rounding: exactly parallel, where kinks see the square root of the rounding.
            q, c = (Fraction(*map(int, mpmath.libmp.to_rational(v._mpf_))) for v in (q, c))
            qp = c * c / q
        with suppress(OutgrownError):
            return {
                order: mpmath.mpf(0) if order in zeros else evaluate(act.expr, act.expr, q, qp, c, dps, orders=order)
                for order in orders
            }
    order = max(max(pair) for pair in orders) if highest is None else highest
    derivatives = tuple(act.derivative(k) for k in range(order + 1))
    return _summed(derivatives, derivatives, q, qp, c, orders, dps)


def evaluate_at(act: Activation, at: Any) -> Any:
    """f at one mpmath number, at the working precision."""
    index = sum(1 for b in act.form.breaks if at > mpmath.mpmathify(sp.N(b, mpmath.mp.dps)))
    return mpmath.mpf(act.mpmath_pieces[index](at))


def univariate(functions: Sequence[Activation], q: Any, dps: int) -> Any:
    """E[∏ f_i(√q Z)] of one or two functions, q > 0."""
    f, g = (*functions, ONE)[:2]
    return _summed((f,), (g,), q, q, q, ((0, 0),), dps)[0, 0]
