r"""Arbitrary precision: E[f(a)g(b)] to any number of digits.

Sums of elementary atoms have exact forms (:mod:`kernelcalc.gaussian.algebra`). For other smooth functions the Mehler series
is summed with coefficients from the trapezoidal rule, in fixed-point integers: at 50 digits that is ten times faster than
mpmath numbers. Other kinked functions are integrated by mpmath, piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations import Activation
from kernelcalc.errors import CovarianceError, InputError, NotFiniteError, PrecisionError

GUARD_DIGITS = 12
# Longest series and finest rule tried; tanh at q = 1 and ρ = 1 needs about 900 terms and 800 nodes for 50 digits.
MAX_TERMS = 6400
MAX_NODES = 12800


def mean_and_variance(act: Activation) -> tuple[sp.Expr, sp.Expr]:
    """E f(Z) and Var f(Z), Z ~ N(0, 1): exact where an exact form is known, else to 50 digits."""
    if act.deltas:
        raise InputError("a function", f"{act.name}, a distribution")
    from kernelcalc.gaussian.algebra import NotInAlgebra, exact_expectation

    one = sp.S.One
    try:
        mean = exact_expectation(act.expr, one, one, one, one)
        second = exact_expectation(act.expr, act.expr, one, one, one)
        return mean, sp.simplify(second - mean**2)
    except NotInAlgebra:
        with mpmath.workdps(50 + GUARD_DIGITS):
            mean_number = univariate((act,), mpmath.mpf(1), 50)
            second_number = univariate((act, act), mpmath.mpf(1), 50)
            return sp.Float(mean_number, 50), sp.Float(second_number - mean_number**2, 50)


def _number(name: str, value: Any) -> Any:
    try:
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
    with mpmath.workdps(int(dps) + GUARD_DIGITS):
        q, qp, c = (_number(name, v) for name, v in (("q1", q), ("q2", qp), ("c", c)))
        if q < 0 or qp < 0 or c**2 > q * qp * (1 + mpmath.mpf(10) ** -(dps - 1)):
            raise CovarianceError("q1 ≥ 0, q2 ≥ 0 and c² ≤ q1·q2", f"{q}, {qp}, {c}")
        value = _value(f, g, q, qp, c, int(dps))
    with mpmath.workdps(int(dps)):
        return +value, abs(value) * mpmath.mpf(10) ** (1 - int(dps))


def _value(f: Activation, g: Activation, q: Any, qp: Any, c: Any, dps: int) -> Any:
    from kernelcalc.gaussian.algebra import NotInAlgebra, evaluate

    try:
        return evaluate(f.expr, g.expr, q, qp, c, dps)
    except NotInAlgebra:
        pass
    if f.deltas or g.deltas:
        raise PrecisionError(f"no method gives {dps} digits for the singular functions {f.name}, {g.name}")
    if c**2 >= q * qp:
        return _on_line(f, g, q, qp, c, dps)
    if f.kinks or g.kinks:
        return _nested(f, g, q, qp, c)
    return mehler({"f": f, "g": g}, q, qp, c, [("f", "g")], dps)["f", "g"]


def expectations(
    act: Activation, q: Any, qp: Any, c: Any, orders: Sequence[tuple[int, int]], dps: int
) -> dict[tuple[int, int], Any]:
    """E_ij = E[σ^(i)(a) σ^(j)(b)] for several derivative orders at once, at mpmath numbers q, q', c."""
    from kernelcalc.gaussian.algebra import in_algebra

    functions = {k: act.derivative(k) for k in {k for order in orders for k in order}}
    if c**2 > q * qp and q != qp:
        # Parallel points: the product of rounded norms may fall an ulp short.
        c *= 1 - mpmath.mpf(10) ** (2 - mpmath.mp.dps)
    if c**2 < q * qp and not act.kinks and not in_algebra(act.expr):
        return mehler(functions, q, qp, c, orders, dps)
    return {(i, j): _value(functions[i], functions[j], q, qp, c, dps) for i, j in orders}


def evaluate_at(act: Activation, at: Any) -> Any:
    """f at one mpmath number, at the working precision."""
    index = sum(1 for b in act._breaks if at > mpmath.mpmathify(sp.N(b, mpmath.mp.dps)))
    return mpmath.mpf(act.mpmath_pieces[index](at))


def univariate(functions: Sequence[Activation], q: Any, dps: int, signs: Sequence[Any] | None = None) -> Any:
    """E[∏ f_i(s_i Z √q)] with one Z; s_i = 1 unless given."""
    factors = [mpmath.mpf(1)] * len(functions) if signs is None else list(signs)
    std = mpmath.sqrt(q)

    def integrand(z: Any) -> Any:
        value = mpmath.exp(-z * z / 2)
        for function, factor in zip(functions, factors, strict=True):
            value *= evaluate_at(function, factor * std * z)
        return value

    kinks = {
        mpmath.mpmathify(sp.N(b, mpmath.mp.dps)) / (factor * std)
        for function, factor in zip(functions, factors, strict=True)
        for b in function._breaks
        if factor * std != 0
    }
    reach = mpmath.sqrt(2 * mpmath.log(10) * (mpmath.mp.dps + 10)) + 4
    if not kinks:
        return _trapezoid(integrand, reach, dps) / mpmath.sqrt(2 * mpmath.pi)
    points = [-reach, *sorted(k for k in kinks if abs(k) < reach), reach]
    value, error = mpmath.quad(integrand, points, error=True, maxdegree=12)
    if error > abs(value) * mpmath.mpf(10) ** -dps and error > mpmath.mpf(10) ** -(dps + 2):
        raise PrecisionError(f"quadrature reached only {mpmath.nstr(error, 3)} of {dps} digits")
    return value / mpmath.sqrt(2 * mpmath.pi)


def _trapezoid(integrand: Any, reach: Any, dps: int) -> Any:
    steps, total = 128, None
    while steps <= MAX_NODES:
        h = 2 * reach / steps
        terms = [integrand(-reach + k * h) for k in range(steps + 1)]
        fresh = h * mpmath.fsum(terms)
        tolerance = h * mpmath.fsum(terms, absolute=True) * mpmath.mpf(10) ** -(dps + 2)
        if total is not None and abs(fresh - total) <= tolerance:
            # What symmetry makes zero comes out as rounding.
            return fresh if abs(fresh) > tolerance else mpmath.mpf(0)
        total, steps = fresh, 2 * steps
    raise PrecisionError(f"the trapezoidal rule did not reach {dps} digits with {MAX_NODES} nodes")


def _on_line(f: Activation, g: Activation, q: Any, qp: Any, c: Any, dps: int) -> Any:
    if q == 0:
        return evaluate_at(f, mpmath.mpf(0)) * univariate((g,), qp, dps)
    ratio = mpmath.sqrt(qp / q) * (1 if c >= 0 else -1)
    return univariate((f, g), q, dps, signs=(mpmath.mpf(1), ratio))


def _nested(f: Activation, g: Activation, q: Any, qp: Any, c: Any) -> Any:
    """∫ f(a) E[g(b)|a] with mpmath's quadrature, split at the kinks: minutes rather than seconds."""
    std, spread, slope = mpmath.sqrt(q), mpmath.sqrt(qp - c**2 / q), c / q
    reach = mpmath.sqrt(2 * mpmath.log(10) * mpmath.mp.dps) + 2
    f_kinks = [mpmath.mpmathify(sp.N(b, mpmath.mp.dps)) for b in f._breaks]
    g_kinks = [mpmath.mpmathify(sp.N(b, mpmath.mp.dps)) for b in g._breaks]

    def inner(a: Any) -> Any:
        mean = slope * a
        points = [-reach, *sorted((k - mean) / spread for k in g_kinks if abs(k - mean) < reach * spread), reach]
        return mpmath.quad(lambda z: evaluate_at(g, mean + spread * z) * mpmath.exp(-z * z / 2), points)

    points = sorted({-reach, reach, *(k / std for k in f_kinks), *(k / (slope * std) for k in g_kinks if slope != 0)})
    points = [p for p in points if -reach <= p <= reach]
    outer = mpmath.quad(lambda z: evaluate_at(f, std * z) * inner(std * z) * mpmath.exp(-z * z / 2), points)
    return outer / (2 * mpmath.pi)


# Mehler series in fixed point ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _fixed_basis(nodes: int, terms: int, dps: int) -> tuple[tuple[Any, ...], list[np.ndarray], np.ndarray, int]:
    """Nodes, h_k φ^{1/2} at them and φ^{1/2} dz, as integers scaled by 2^bits."""
    # φ^{1/2} falls to 10^-dps at the ends, and the recurrence amplifies its rounding by as much again.
    bits = int((2 * dps + 30) * 3.33)
    one = 1 << bits
    with mpmath.workprec(bits + 40):
        reach = 2 * mpmath.sqrt(mpmath.log(10) * (dps + 8))
        h = 2 * reach / nodes
        z = tuple(-reach + k * h for k in range(nodes + 1))
        half = np.array([int(mpmath.exp(-(v**2) / 4) / (2 * mpmath.pi) ** 0.25 * one) for v in z], dtype=object)
        weight = np.array([int(v * h) for v in half], dtype=object)
        z_fixed = np.array([int(v * one) for v in z], dtype=object)
        roots = [int(mpmath.sqrt(k) * one) for k in range(terms + 1)]
        inverse = [0, *(int(one / mpmath.sqrt(k)) for k in range(1, terms + 1))]
    basis = [half, (z_fixed * half) >> bits]
    for k in range(1, terms - 1):
        numerator = (z_fixed * basis[k] - roots[k] * basis[k - 1]) >> bits
        basis.append((numerator * inverse[k + 1]) >> bits)
    return z, basis, weight, bits


def _coefficients(act: Activation, q: Any, nodes: int, terms: int, dps: int) -> list[Any]:
    z, basis, weight, bits = _fixed_basis(nodes, terms, dps)
    with mpmath.workprec(bits + 40):
        std, one = mpmath.sqrt(q), mpmath.mpf(1 << bits)
        values = np.array([int(evaluate_at(act, std * v) * one) for v in z], dtype=object)
        weighted = (values * weight) >> bits
        return [mpmath.mpf(int((weighted * row).sum() >> bits)) / one for row in basis]


def mehler(
    functions: dict[Any, Activation], q: Any, qp: Any, c: Any, pairs: Sequence[tuple[Any, Any]], dps: int
) -> dict[tuple[Any, Any], Any]:
    """Σ_k f_k(q) g_k(q') ρ^k for the pairs (key of f, key of g), rule and length doubled until the digits stay.

    Raises
    ------
    PrecisionError
        If the longest series is too short.
    """
    rho = c / mpmath.sqrt(q * qp)
    tolerance = mpmath.mpf(10) ** -(dps + 2)

    def sums(nodes: int, terms: int) -> tuple[dict[tuple[Any, Any], Any], Any]:
        """The series, and the size of its last terms relative to √(E f² E g²)."""
        left = {i: _coefficients(functions[i], q, nodes, terms, dps + GUARD_DIGITS) for i in {i for i, _ in pairs}}
        right = {j: _coefficients(functions[j], qp, nodes, terms, dps + GUARD_DIGITS) for j in {j for _, j in pairs}}
        found, last = {}, mpmath.mpf(0)
        for i, j in pairs:
            products = [a * b for a, b in zip(left[i], right[j], strict=True)]
            found[i, j] = mpmath.polyval(products[::-1], rho)
            size = mpmath.sqrt(mpmath.fsum(a * a for a in left[i]) * mpmath.fsum(b * b for b in right[j]))
            # Even or odd terms may vanish by symmetry: the largest of eight stands for the rest.
            end = max(abs(p) for p in products[-8:]) * abs(rho) ** terms * terms
            last = max(last, end / size if size else mpmath.mpf(0))
        return found, last

    def settled(new: dict[tuple[Any, Any], Any], old: dict[tuple[Any, Any], Any]) -> bool:
        scale = max(max(abs(v) for v in new.values()), tolerance)
        return max(abs(new[p] - old[p]) for p in pairs) <= tolerance * scale

    nodes, terms = 200, 100
    previous, last = sums(nodes, terms)
    while nodes <= MAX_NODES and terms <= MAX_TERMS:
        nodes = nodes * 2
        fresh, last = sums(nodes, terms)
        if settled(fresh, previous):
            if last <= tolerance:
                return fresh
            # h_k oscillates with wave number √k: more terms want slightly closer nodes.
            nodes, terms = int(nodes * (1 + mpmath.sqrt(terms) / 100)) // 2, 2 * terms
            fresh, last = sums(nodes, terms)
        previous = fresh
    raise PrecisionError(f"a series of {MAX_TERMS} terms does not reach {dps} digits at q1={q}, q2={qp}, c={c}")
