"""E[f(a)g(b)] for one pair of atoms: conditioning, tilting, Stein's lemma, orthant probabilities.

The steps are explained in :mod:`kernelcalc.expressions.exact`; they run on every number type of
:mod:`kernelcalc.expressions.numbers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import mpmath
import sympy as sp

from kernelcalc.errors import DivergentExpectationError
from kernelcalc.expressions.atoms import Atom, Delta, Gate, derivative
from kernelcalc.expressions.numbers import Numbers


class OutgrownError(DivergentExpectationError):
    """A part of f(a)g(b) outgrows the density in some direction, which the whole need not do: steps may cut it off there."""


class PairCovariance(NamedTuple):
    """Σ; ``slope`` is not ``None`` where b = slope · a exactly."""

    aa: Any
    ab: Any
    bb: Any
    slope: Any = None


class _Gate(NamedTuple):
    s2: Any
    tau: Any
    side: int


def total_expectation(fa: Iterable[Atom], ga: Iterable[Atom], cov: PairCovariance, num: Numbers) -> Any:
    """E[f(a) g(b)] of two sums of atoms, pair by pair, in the number type of ``num``."""
    total = num.zero
    for f in fa:
        for g in ga:
            total += _pair(f, g, cov, num)
    return total


def _pair(f: Atom, g: Atom, cov: PairCovariance, num: Numbers) -> Any:
    if isinstance(f.factor, Delta):
        return _delta_pair(f, g, cov, num)
    if isinstance(g.factor, Delta):
        slope = None if cov.slope is None else 1 / cov.slope
        return _delta_pair(g, f, PairCovariance(cov.bb, cov.ab, cov.aa, slope), num)
    return _smooth_pair(f, g, (num.zero, num.zero), cov, num)


def _delta_pair(f: Atom, g: Atom, cov: PairCovariance, num: Numbers) -> Any:
    r"""E[δ⁽ᵏ⁾(a − τ) g(b)] = (−1)ᵏ ∂_τᵏ (p(τ) E[g(b) | a = τ])."""
    assert isinstance(f.factor, Delta)
    order, tau = f.factor.order, num.constant(f.factor.at)
    if num.is_zero(cov.aa):
        if num.is_zero(tau):
            raise _coincident()
        return num.zero
    ratio = cov.ab / cov.aa if cov.slope is None else cov.slope
    mean = ratio * tau
    variance = num.zero if cov.slope is not None else num.reduce(cov.bb - cov.ab * ratio)
    total = num.zero
    # of independent a and b only the first term is not 0, and the derivatives of g need not exist
    for i in range(1 if num.is_zero(ratio) else order + 1):
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
        tau = num.constant(g.factor.at)
        if num.is_zero(variance):
            if num.same(mean, tau):
                raise _coincident()
            return num.zero
        sign = (-1) ** g.factor.order
        return num.constant(g.coefs[0]) * sign * _density_derivative(g.factor.order, tau - mean, variance, num)
    one = Atom((sp.S.One,), sp.S.Zero, sp.S.Zero, None)
    return _smooth_pair(g, one, (mean, num.zero), PairCovariance(variance, num.zero, num.zero), num)


def _coincident() -> DivergentExpectationError:
    return DivergentExpectationError(
        "kinks of f and g that do not meet",
        "two Dirac deltas at one point (b is a multiple of a)",
        "smooth the nonlinearity, for instance smooth_relu instead of relu",
    )


def _smooth_pair(f: Atom, g: Atom, mean: tuple[Any, Any], cov: PairCovariance, num: Numbers) -> Any:
    alphas, gammas = (f.alpha, g.alpha), (f.gamma, g.gamma)
    weight = num.one
    if any(v != 0 for v in (*alphas, *gammas)):
        weight, mean, cov = _tilt(
            tuple(num.constant(v) for v in alphas), tuple(num.constant(v) for v in gammas), mean, cov, num
        )
    gates = [
        _Gate(num.constant(t.s2), num.constant(t.tau), t.side) if isinstance(t, Gate) else None
        for t in (f.factor, g.factor)
    ]
    moments = _Moments(mean, cov, gates[0], gates[1], num)
    total = num.zero
    for n, left in enumerate(f.coefs):
        for m, right in enumerate(g.coefs):
            if left != 0 and right != 0:
                total += num.constant(left) * num.constant(right) * moments(n, m)
    return weight * total


def _shown(value: Any) -> str:
    return mpmath.nstr(value, 15) if isinstance(value, mpmath.mpf) else str(value)


def _tilt(
    alphas: tuple[Any, ...], gammas: tuple[Any, ...], mean: tuple[Any, Any], cov: PairCovariance, num: Numbers
) -> tuple[Any, tuple[Any, Any], PairCovariance]:
    """Weight, mean and covariance of the Gaussian times exp(zᵀDz + γᵀz)."""
    (d1, d2), (g1, g2) = alphas, gammas
    s11, s12, s22 = cov.aa, cov.ab, cov.bb
    det = num.zero if cov.slope is not None else num.reduce(s11 * s22 - s12 * s12)
    scale = num.reduce(1 - 2 * d1 * s11 - 2 * d2 * s22 + 4 * d1 * d2 * det)
    if num.known_nonpositive(scale) or num.known_nonpositive(1 - d1 * s11 - d2 * s22):
        found = (f"{name} = {_shown(v)}" for name, v in zip(("α", "α'"), alphas, strict=True))
        place = (f"{name} = {_shown(v)}" for name, v in (("q", s11), ("q'", s22), ("c", s12)))
        raise OutgrownError(
            "parts exp(α x²) with 2 α q < 1, and Σ^{-1} − 2 diag(α, α') positive definite, for a formula",
            f"{', '.join(found)} at {', '.join(place)}",
            "without that the expectation is not shown to exist; use smaller variances (sigma_w, beta, scaled data)",
        )
    new = PairCovariance(
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
        self, mean: tuple[Any, Any], cov: PairCovariance, gate_a: _Gate | None, gate_b: _Gate | None, num: Numbers
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
        new_cov = _conditioned_covariance(cov, which, variance, gate, num)
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
            return _side(gate, centre, num.reduce(own + gate.s2), num)
        va, vb = num.reduce(cov.aa + a.s2), num.reduce(cov.bb + b.s2)
        ua, ub = a.side * num.reduce(m1 - a.tau), b.side * num.reduce(m2 - b.tau)
        if num.is_zero(va) or num.is_zero(vb) or num.is_zero(cov.ab):
            return _side(a, m1, va, num) * _side(b, m2, vb, num)
        if cov.slope is not None and num.is_zero(a.s2) and num.is_zero(b.s2):
            # With t = ±(a − m_a) the event is t ≥ −u_a and slope·t ≥ −u_b: two half lines.
            slope = a.side * b.side * cov.slope
            other = num.reduce(ub / slope)
            if num.is_positive(slope):
                return num.cdf(other if num.is_positive(ua - other) else ua, va)
            return num.cdf(ua, va) - num.cdf(other, va) if num.is_positive(ua - other) else num.zero
        det = num.reduce(va * vb - cov.ab * cov.ab)
        return num.binormal(ua, ub, va, vb, a.side * b.side * cov.ab, det)


def _conditioned_covariance(
    cov: PairCovariance, which: str, variance: Any, gate: _Gate, num: Numbers
) -> PairCovariance:
    if cov.slope is not None:
        if num.is_zero(gate.s2):
            return PairCovariance(num.zero, num.zero, num.zero)
        shrink = gate.s2 / variance
        return PairCovariance(
            num.reduce(cov.aa * shrink), num.reduce(cov.ab * shrink), num.reduce(cov.bb * shrink), cov.slope
        )
    to_a, to_b = (cov.aa, cov.ab) if which == "a" else (cov.ab, cov.bb)
    aa, ab, bb = (
        num.reduce(old - u * v / variance)
        for old, u, v in ((cov.aa, to_a, to_a), (cov.ab, to_a, to_b), (cov.bb, to_b, to_b))
    )
    if num.is_zero(gate.s2):
        # Conditioning on a variable leaves it no spread at all; rounding must not say otherwise.
        aa, ab, bb = (num.zero, num.zero, bb) if which == "a" else (aa, num.zero, num.zero)
    return PairCovariance(aa, ab, bb)


def _side(gate: _Gate, centre: Any, variance: Any, num: Numbers) -> Any:
    """The expectation of a gate alone, where a + sZ is N(centre, variance)."""
    if not num.is_zero(variance):
        return num.cdf(gate.side * num.reduce(centre - gate.tau), variance)
    if num.same(centre, gate.tau):
        return num.one / 2
    return num.one if num.is_positive(gate.side * (centre - gate.tau)) else num.zero
