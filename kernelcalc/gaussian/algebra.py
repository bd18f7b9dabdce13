r"""Exact Gaussian expectations E[f(a) g(b)] for all functions that are sums of atoms.

For each pair of atoms (:mod:`kernelcalc.gaussian.atoms`) of (a, b) ~ N(0, Σ), Σ = [[q, c], [c, q']]:

1. a Dirac delta conditions the other variable;
2. the weight exp(zᵀDz + γᵀz), D = diag(α, α'), tilts N(m, Σ) into N(m̃, Σ̃) with Σ̃ = Σ(I − 2DΣ)^{-1} and
   m̃ = (I − 2ΣD)^{-1}(m + Σγ), times det(I − 2DΣ)^{-1/2} exp(m̃ᵀDm̃ + γᵀm̃ − ½(m̃ − m)ᵀ(2Dm̃ + γ));
3. Stein's lemma E[(a − m_a) h] = Σ_aa E[∂_a h] + Σ_ab E[∂_b h] lowers the powers; the slope of a gate
   P(a + sZ ≥ τ) is the density of a + sZ at τ, which conditions the Gaussian on a + sZ = τ;
4. what is left is P(a + sZ ≥ τ, b + s'Z' ≥ τ'): an orthant probability.

Nothing inverts Σ, so q = 0 and c² = qq' are no special cases, and every step runs on SymPy expressions and on mpmath numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import sympy as sp
from mpmath import mp

from kernelcalc.errors import CovarianceError, DivergentExpectationError, PrecisionError
from kernelcalc.gaussian.atoms import Atom, Delta, Gate, NotInAlgebra, atoms_of, derivative, x
from kernelcalc.gaussian.numbers import MpmathNumbers, Numbers, SympyNumbers
from kernelcalc.gaussian.tidy import tidy

__all__ = ["NotInAlgebra", "evaluate", "exact_expectation", "in_algebra", "x"]

q, qp = sp.symbols("q q'", positive=True)
c = sp.Symbol("c", real=True)


class _Covariance(NamedTuple):
    """Σ; ``slope`` is not ``None`` where b = slope · a exactly."""

    aa: Any
    ab: Any
    bb: Any
    slope: Any = None


class _Gate(NamedTuple):
    s2: Any
    tau: Any
    side: int


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


def exact_expectation(
    f: sp.Expr, g: sp.Expr, q1: Any = q, q2: Any = qp, cov: Any = c, *, orders: tuple[int, int] = (0, 0)
) -> sp.Expr:
    r"""E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] as a SymPy expression, (a, b) centred Gaussian with covariance [[q1, cov], [cov, q2]].

    Parameters
    ----------
    f, g : sympy.Expr
        Functions of the real symbol :data:`x`, in the class of :mod:`kernelcalc.gaussian.atoms`.
    q1, q2, cov
        Numbers or SymPy expressions. ``q1 == q2 == cov`` is the diagonal.
    orders : tuple of int
        Derivatives (i, j), in the sense of distributions.

    Raises
    ------
    NotInAlgebra
        f or g is no sum of atoms.
    DivergentExpectationError
        The expectation is infinite or undefined, as E[σ̈(a) σ̈(a)] for relu.

    Examples
    --------
    >>> exact_expectation(sp.Max(x, 0), sp.Max(x, 0))
    c*asin(c/(sqrt(q)*sqrt(q')))/(2*pi) + c/4 + sqrt(-c**2 + q*q')/(2*pi)
    >>> exact_expectation(sp.sin(x), sp.sin(x), q, q, q)
    1/2 - exp(-2*q)/2
    >>> exact_expectation(sp.Max(x, 0), sp.Max(x, 0), orders=(2, 2))
    1/(2*pi*sqrt(-c**2 + q*q'))
    """
    fa, ga = derivative(atoms_of(sp.sympify(f)), orders[0]), derivative(atoms_of(sp.sympify(g)), orders[1])
    v1, v2, v12 = (sp.sympify(v) for v in (q1, q2, cov))
    if all(v.is_number for v in (v1, v2, v12)):
        det = _check_covariance(v1, v2, v12)
        slope = v12 / v1 if det == 0 and v1 != 0 else None
        numbers = SympyNumbers()
        return tidy(_total(fa, ga, _Covariance(v1, v12, v2, slope), numbers))
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
        cov = _Covariance(q, c, qp)
    elif sign == 0:
        cov = _Covariance(q, sp.S.Zero, qp)
    else:
        cov = _Covariance(q, sign * q, q, sp.Integer(sign))
    return tidy(_total(fa, ga, cov, numbers))


def evaluate(
    f: sp.Expr, g: sp.Expr, q1: Any, q2: Any, cov: Any, dps: int = 50, *, orders: tuple[int, int] = (0, 0)
) -> mpmath.mpf:
    """E[f⁽ⁱ⁾(a) g⁽ʲ⁾(b)] to ``dps`` significant digits, by the closed form in mpmath arithmetic.

    The value is computed at two working precisions; where they differ, digits have cancelled and both are raised. Floats
    count as the exact binary numbers they are.

    Raises
    ------
    NotInAlgebra, DivergentExpectationError
        As :func:`exact_expectation`.
    CovarianceError
        (q1, q2, cov) is no covariance.
    PrecisionError
        More digits cancel than 64 times ``dps`` working digits can replace.

    Examples
    --------
    >>> print(mpmath.nstr(evaluate(sp.erf(x), sp.erf(x), 1, 2, 0.5, dps=30), 30))
    0.16625797148119024299996598761
    """
    fa, ga = derivative(atoms_of(sp.sympify(f)), orders[0]), derivative(atoms_of(sp.sympify(g)), orders[1])
    v1, v2, v12 = (_exact(v) for v in (q1, q2, cov))
    det = _check_covariance(v1, v2, v12)
    degenerate = det == 0 and v1 != 0
    work = dps + 15
    value = _evaluate_at(fa, ga, v1, v2, v12, degenerate, work)
    for _ in range(7):
        raised = work + max(10, work // 2)
        better = _evaluate_at(fa, ga, v1, v2, v12, degenerate, raised)
        with mp.workdps(dps + 5):
            if abs(value - better) <= abs(better) * mpmath.mpf(10) ** (-dps - 2):
                return mp.mpf(better)
            # A zero leaves rounding noise, which sinks with the precision.
            if abs(better) < mpmath.mpf(10) ** (-raised // 2) and abs(better) <= abs(value):
                if raised > 6 * dps:
                    return mpmath.mpf(0)
            work, value = raised, better
    raise PrecisionError(f"more than {work} working digits cancelled in E[f(a)g(b)] at ({q1}, {q2}, {cov})")


def _evaluate_at(
    fa: tuple[Atom, ...], ga: tuple[Atom, ...], v1: Any, v2: Any, v12: Any, degenerate: bool, dps: int
) -> mpmath.mpf:
    with mp.workdps(dps):
        a, b, ab = (_to_mpf(v, dps) for v in (v1, v2, v12))
        cov = _Covariance(a, ab, b, ab / a if degenerate else None)
        return mpmath.re(_total(fa, ga, cov, MpmathNumbers(mp.prec)))


def _exact(value: Any) -> Fraction | sp.Expr:
    if isinstance(value, (int, float, Fraction)) or type(value).__module__ == "numpy":
        value = float(value) if not isinstance(value, (int, float, Fraction)) else value
        if not math.isfinite(value):
            raise CovarianceError("finite variances and covariance", repr(value))
        return Fraction(value)
    if isinstance(value, mpmath.mpf):
        sign, man, exp, _ = value._mpf_
        return Fraction(-man if sign else man) * Fraction(2) ** exp
    value = sp.sympify(value)
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
        det = sp.nsimplify(sp.simplify(sp.sympify(det)))
    if v1 < 0 or v2 < 0 or det < 0:
        raise CovarianceError("q ≥ 0, q' ≥ 0 and c² ≤ q q'", f"q={v1}, q'={v2}, c={v12}")
    return det


# --------------------------------------------------------------------------------------------------------------------
# One pair of atoms


def _total(fa: Iterable[Atom], ga: Iterable[Atom], cov: _Covariance, num: Numbers) -> Any:
    total = num.zero
    for f in fa:
        for g in ga:
            total += _pair(f, g, cov, num)
    return total


def _pair(f: Atom, g: Atom, cov: _Covariance, num: Numbers) -> Any:
    if isinstance(f.factor, Delta):
        return _delta_pair(f, g, cov, num)
    if isinstance(g.factor, Delta):
        slope = None if cov.slope is None else 1 / cov.slope
        return _delta_pair(g, f, _Covariance(cov.bb, cov.ab, cov.aa, slope), num)
    return _smooth_pair(f, g, (num.zero, num.zero), cov, num)


def _delta_pair(f: Atom, g: Atom, cov: _Covariance, num: Numbers) -> Any:
    r"""E[δ⁽ᵏ⁾(a − τ) g(b)] = (−1)ᵏ ∂_τᵏ (p(τ) E[g(b) | a = τ])."""
    assert isinstance(f.factor, Delta)
    order, tau = f.factor.order, num.constant(f.factor.tau)
    if num.is_zero(cov.aa):
        if num.is_zero(tau):
            raise _coincident()
        return num.zero
    ratio = cov.ab / cov.aa if cov.slope is None else cov.slope
    mean = ratio * tau
    variance = num.zero if cov.slope is not None else num.reduce(cov.bb - cov.ab * ratio)
    total = num.zero
    for i in range(order + 1):
        outer = _density_derivative(order - i, tau, cov.aa, num)
        inner = sum(
            (_univariate(atom, mean, variance, num) for atom in derivative((g,), i)),
            num.zero,
        )
        total += (-1) ** order * math.comb(order, i) * outer * ratio**i * inner
    return num.constant(f.coefs[0]) * total


def _density_derivative(order: int, u: Any, variance: Any, num: Numbers) -> Any:
    """The derivative of this order at u of the N(0, variance) density."""
    # He_k(u/√v)/v^{k/2} by its recursion, which has no square roots.
    before, value = num.zero, num.one
    for k in range(order):
        before, value = value, num.reduce((u * value - k * before) / variance)
    return (-1) ** order * value * num.density(u, variance)


def _univariate(g: Atom, mean: Any, variance: Any, num: Numbers) -> Any:
    if isinstance(g.factor, Delta):
        tau = num.constant(g.factor.tau)
        if num.is_zero(variance):
            if num.is_zero(mean - tau):
                raise _coincident()
            return num.zero
        sign = (-1) ** g.factor.order
        return num.constant(g.coefs[0]) * sign * _density_derivative(g.factor.order, tau - mean, variance, num)
    one = Atom((sp.S.One,), sp.S.Zero, sp.S.Zero, None)
    return _smooth_pair(g, one, (mean, num.zero), _Covariance(variance, num.zero, num.zero), num)


def _coincident() -> DivergentExpectationError:
    return DivergentExpectationError(
        "kinks of f and g that do not meet",
        "two Dirac deltas at one point (b is a multiple of a)",
        "smooth the nonlinearity, for instance smooth_relu instead of relu",
    )


def _smooth_pair(f: Atom, g: Atom, mean: tuple[Any, Any], cov: _Covariance, num: Numbers) -> Any:
    alphas, gammas = (f.alpha, g.alpha), (f.gamma, g.gamma)
    weight = num.one
    if any(v != 0 for v in (*alphas, *gammas)):
        weight, mean, cov = _tilt(
            tuple(num.constant(v) for v in alphas), tuple(num.constant(v) for v in gammas), mean, cov, num
        )
    gates = [None if t is None else _Gate(num.constant(t.s2), num.constant(t.tau), t.side) for t in (f.factor, g.factor)]
    moments = _Moments(mean, cov, gates[0], gates[1], num)
    total = num.zero
    for n, left in enumerate(f.coefs):
        for m, right in enumerate(g.coefs):
            if left != 0 and right != 0:
                total += num.constant(left) * num.constant(right) * moments(n, m)
    return weight * total


def _tilt(
    alphas: tuple[Any, ...], gammas: tuple[Any, ...], mean: tuple[Any, Any], cov: _Covariance, num: Numbers
) -> tuple[Any, tuple[Any, Any], _Covariance]:
    """Weight, mean and covariance of the Gaussian times exp(zᵀDz + γᵀz)."""
    (d1, d2), (g1, g2) = alphas, gammas
    s11, s12, s22 = cov.aa, cov.ab, cov.bb
    det = num.zero if cov.slope is not None else num.reduce(s11 * s22 - s12 * s12)
    scale = num.reduce(1 - 2 * d1 * s11 - 2 * d2 * s22 + 4 * d1 * d2 * det)
    if num.known_nonpositive(scale) or num.known_nonpositive(1 - d1 * s11 - d2 * s22):
        raise DivergentExpectationError(
            "exp(α x²) with 2 α q < 1, and Σ^{-1} − 2 diag(α, α') positive definite",
            f"α = {alphas[0]}, α' = {alphas[1]} at q = {s11}, q' = {s22}, c = {s12}",
            "use smaller variances (sigma_w, beta, scaled data)",
        )
    new = _Covariance(
        num.reduce((s11 - 2 * d2 * det) / scale),
        num.reduce(s12 / scale),
        num.reduce((s22 - 2 * d1 * det) / scale),
        cov.slope,
    )
    u1, u2 = mean[0] + s11 * g1 + s12 * g2, mean[1] + s12 * g1 + s22 * g2
    m1 = num.reduce(((1 - 2 * d2 * s22) * u1 + 2 * d2 * s12 * u2) / scale)
    m2 = num.reduce((2 * d1 * s12 * u1 + (1 - 2 * d1 * s11) * u2) / scale)
    exponent = d1 * m1 * m1 + d2 * m2 * m2 + g1 * m1 + g2 * m2
    exponent -= ((m1 - mean[0]) * (2 * d1 * m1 + g1) + (m2 - mean[1]) * (2 * d2 * m2 + g2)) / 2
    return num.exp(num.reduce(exponent)) / num.sqrt(scale), (m1, m2), new


class _Moments:
    """E[aⁿ bᵐ G(a) G'(b)] for N(mean, cov), by Stein's lemma."""

    def __init__(
        self, mean: tuple[Any, Any], cov: _Covariance, gate_a: _Gate | None, gate_b: _Gate | None, num: Numbers
    ) -> None:
        self.mean, self.cov, self.gate_a, self.gate_b, self.num = mean, cov, gate_a, gate_b, num
        self.known: dict[tuple[int, int], Any] = {}
        self.slopes: dict[str, tuple[Any, Callable[[int, int], Any] | None]] = {}

    def __call__(self, n: int, m: int) -> Any:
        if (n, m) not in self.known:
            self.known[n, m] = self.num.reduce_sum(self._compute(n, m))
        return self.known[n, m]

    def _compute(self, n: int, m: int) -> Any:
        mean, cov = self.mean, self.cov
        if n > 0:
            out = mean[0] * self(n - 1, m) + cov.aa * self._slope("a", n - 1, m) + cov.ab * self._slope("b", n - 1, m)
            if n > 1:
                out += (n - 1) * cov.aa * self(n - 2, m)
            if m > 0:
                out += m * cov.ab * self(n - 1, m - 1)
            return out
        if m > 0:
            out = mean[1] * self(0, m - 1) + cov.bb * self._slope("b", 0, m - 1) + cov.ab * self._slope("a", 0, m - 1)
            if m > 1:
                out += (m - 1) * cov.bb * self(0, m - 2)
            return out
        return self._orthant()

    def _slope(self, which: str, n: int, m: int) -> Any:
        """The expectation with the gate of a (or b) replaced by its slope."""
        if which not in self.slopes:
            self.slopes[which] = self._conditioned(which)
        density, moments = self.slopes[which]
        return self.num.zero if moments is None else density * moments(n, m)

    def _conditioned(self, which: str) -> tuple[Any, Callable[[int, int], Any] | None]:
        num, cov, mean = self.num, self.cov, self.mean
        gate = self.gate_a if which == "a" else self.gate_b
        if gate is None:
            return num.zero, None
        own, cross = (cov.aa, (cov.aa, cov.ab)) if which == "a" else (cov.bb, (cov.ab, cov.bb))
        variance = num.reduce(own + gate.s2)
        if num.is_zero(variance):
            # Stein's lemma multiplies this by the variance, which vanishes.
            return num.zero, None
        gap = num.reduce(gate.tau - mean[0 if which == "a" else 1])
        step = gap / variance
        new_mean = (num.reduce(mean[0] + cross[0] * step), num.reduce(mean[1] + cross[1] * step))
        new_cov = _conditioned_covariance(cov, cross, variance, gate, num)
        left = (None, self.gate_b) if which == "a" else (self.gate_a, None)
        return gate.side * num.density(gap, variance), _Moments(new_mean, new_cov, left[0], left[1], num)

    def _orthant(self) -> Any:
        num, cov, (m1, m2) = self.num, self.cov, self.mean
        a, b = self.gate_a, self.gate_b
        if a is None and b is None:
            return num.one
        if a is None or b is None:
            gate, centre, own = (b, m2, cov.bb) if a is None else (a, m1, cov.aa)
            assert gate is not None
            return _side(gate.side * num.reduce(centre - gate.tau), num.reduce(own + gate.s2), num)
        va, vb = num.reduce(cov.aa + a.s2), num.reduce(cov.bb + b.s2)
        ua, ub = a.side * num.reduce(m1 - a.tau), b.side * num.reduce(m2 - b.tau)
        if num.is_zero(va) or num.is_zero(vb) or num.is_zero(cov.ab):
            return _side(ua, va, num) * _side(ub, vb, num)
        if cov.slope is not None and num.is_zero(a.s2) and num.is_zero(b.s2):
            # With t = ±(a − m_a) the event is t ≥ −u_a and slope·t ≥ −u_b: two half lines.
            slope = a.side * b.side * cov.slope
            other = num.reduce(ub / slope)
            if num.is_positive(slope):
                return _side(other if num.is_positive(ua - other) else ua, va, num)
            return _side(ua, va, num) - _side(other, va, num) if num.is_positive(ua - other) else num.zero
        det = num.reduce(va * vb - cov.ab * cov.ab)
        return num.binormal(ua, ub, va, vb, a.side * b.side * cov.ab, det)


def _conditioned_covariance(
    cov: _Covariance, cross: tuple[Any, Any], variance: Any, gate: _Gate, num: Numbers
) -> _Covariance:
    if cov.slope is not None:
        if num.is_zero(gate.s2):
            return _Covariance(num.zero, num.zero, num.zero)
        shrink = gate.s2 / variance
        return _Covariance(*(num.reduce(v * shrink) for v in cov[:3]), cov.slope)
    aa, ab, bb = (
        num.reduce(old - u * v / variance)
        for old, u, v in zip(cov[:3], (cross[0], cross[0], cross[1]), (cross[0], cross[1], cross[1]), strict=True)
    )
    if num.is_zero(gate.s2):
        # Conditioning on a variable leaves it no spread at all; rounding must not say otherwise.
        aa, ab, bb = (num.zero, num.zero, bb) if cross[0] is cov.aa else (aa, num.zero, num.zero)
    return _Covariance(aa, ab, bb)


def _side(u: Any, variance: Any, num: Numbers) -> Any:
    """P(u + √variance Z ≥ 0)."""
    if not num.is_zero(variance):
        return num.cdf(u, variance)
    if num.is_zero(u):
        return num.one / 2
    return num.one if num.is_positive(u) else num.zero
