r"""Closed forms of E[f(a)g(b)] in float64, by a small algebra of atoms.

A function is a sum of atoms :math:`x^p F(x)` with F one of

- ``one``: 1;
- ``R``: the n-th derivative of relu smoothed by N(0, v): n = 0 is x Φ(x/√v) + √v φ(x/√v), n = 1 the normal distribution
  function, n ≥ 2 derivatives of the normal density; v = 0 gives relu, the step and delta functions;
- ``K``: the same for |x|/2, so that erf(κx) = 2 K_1 with v = 1/(2κ²);
- ``exp``: e^{γx};  ``sin``, ``cos``: sin(γx), cos(γx).

The set is closed under differentiation, so one table of pair expectations serves every E_ij. Powers are removed by Stein's
lemma, E[a h(a,b)] = q E[∂_a h] + c E[∂_b h]. Smoothing adds v to a variance and leaves c alone, hence the formulas for
relu (arc-cosine kernel, Cho and Saul 2009) and the arcsine law (Williams 1997) serve all smoothed kinds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import sympy as sp

from kernelcalc.activations import Activation, x
from kernelcalc.gaussian.covariance import Covariance

EPS = np.finfo(np.float64).eps
# Stein's lemma branches at every power; beyond this the Hermite series is both faster and more accurate.
MAX_POWER = 6
# Rounding steps in one pair formula, counted generously.
OPERATIONS = 16
# r − c arctan(r/c) by its series for r below this times c.
SERIES_BELOW = 0.125


@dataclass(frozen=True, kw_only=True)
class Atom:
    """x^power · F(x); ``order`` and ``variance`` for R and K, ``rate`` for exp, sin and cos."""

    power: int = 0
    kind: str = "one"
    order: int = 0
    variance: float = 0.0
    rate: float = 0.0

    def lowered(self) -> Atom:
        return Atom(power=self.power - 1, kind=self.kind, order=self.order, variance=self.variance, rate=self.rate)


Combination = dict[Atom, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A value with a bound on its rounding error."""

    value: np.ndarray
    error: np.ndarray

    def __add__(self, other: Estimate) -> Estimate:
        value = self.value + other.value
        return Estimate(value=value, error=self.error + other.error + EPS * np.abs(value))

    def scaled(self, factor: float | np.ndarray) -> Estimate:
        if isinstance(factor, float) and factor == 1.0:
            return self
        value = self.value * factor
        return Estimate(value=value, error=self.error * np.abs(factor) + EPS * np.abs(value))


def _rounded(value: np.ndarray, magnitude: np.ndarray | None = None) -> Estimate:
    return Estimate(value=value, error=OPERATIONS * EPS * np.abs(value if magnitude is None else magnitude))


def _add(combination: Combination, atom: Atom, weight: float) -> None:
    combination[atom] = combination.get(atom, 0.0) + weight


def differentiate(combination: Combination) -> Combination:
    """Derivative of a sum of atoms, again a sum of atoms."""
    result: Combination = {}
    for atom, weight in combination.items():
        if atom.power:
            _add(result, atom.lowered(), weight * atom.power)
        if atom.kind in ("R", "K"):
            _add(result, Atom(power=atom.power, kind=atom.kind, order=atom.order + 1, variance=atom.variance), weight)
        elif atom.kind == "exp":
            _add(result, atom, weight * atom.rate)
        elif atom.kind == "sin":
            _add(result, Atom(power=atom.power, kind="cos", rate=atom.rate), weight * atom.rate)
        elif atom.kind == "cos":
            _add(result, Atom(power=atom.power, kind="sin", rate=atom.rate), -weight * atom.rate)
    return result


# Recognition ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _recognise_root(pieces: tuple[sp.Expr, ...], breaks: tuple[float, ...]) -> tuple[tuple[Atom, float], ...] | None:
    if not breaks:
        combination = _recognise_smooth(pieces[0])
    elif breaks == (0.0,) and all(p.is_polynomial(x) for p in pieces):
        combination = _recognise_kink(*(sp.Poly(p, x) for p in pieces))
    else:
        combination = None
    return None if combination is None else tuple(combination.items())


def recognise(act: Activation) -> Combination | None:
    """The activation as a sum of atoms, or None if it is no such sum.

    Examples
    --------
    >>> recognise(Activation("2*erf(x) + 3"))
    {Atom(power=0, kind='one', ...): 3.0, Atom(power=0, kind='K', order=1, variance=0.5, rate=0.0): 4.0}
    """
    root = act._root
    items = _recognise_root(root.pieces, root.kinks)
    if items is None:
        return None
    combination = dict(items)
    for _ in range(act.order):
        combination = differentiate(combination)
    return combination


def _recognise_kink(left: sp.Poly, right: sp.Poly) -> Combination | None:
    """Polynomials left and right of 0: an odd part sign(x)·p(x) in K, the rest in R and powers."""
    combination: Combination = {}

    def put(poly: sp.Poly, kind: str, factor: float) -> None:
        for (power,), coefficient in poly.terms():
            weight = factor * float(coefficient)
            if weight:
                # x · H(x) = relu(x), so one power is absorbed where there is one.
                absorbed = 1 if power else 0
                _add(combination, Atom(power=power - absorbed, kind=kind, order=1 - absorbed), weight)

    if max(left.degree(), right.degree()) > MAX_POWER:
        return None
    if (left + right).is_zero:
        put(right, "K", 2.0)
    else:
        for (power,), coefficient in left.terms():
            if coefficient != 0:
                _add(combination, Atom(power=power), float(coefficient))
        put(right - left, "R", 1.0)
    return combination


def _recognise_smooth(expr: sp.Expr) -> Combination | None:
    combination: Combination = {}
    for term in sp.Add.make_args(sp.expand(expr, trig=False, power_base=False)):
        coefficient, rest = term.as_independent(x)
        if not coefficient.is_real:
            return None
        power, special = 0, []
        for factor in sp.Mul.make_args(rest):
            base, exponent = factor.as_base_exp()
            if base == x and exponent.is_Integer and exponent > 0:
                power += int(exponent)
            elif factor != 1:
                special.append(factor)
        if power > MAX_POWER or len(special) > 1:
            return None
        found = _special(special[0]) if special else {Atom(): 1.0}
        if found is None:
            return None
        for atom, weight in found.items():
            raised = Atom(
                power=atom.power + power, kind=atom.kind, order=atom.order, variance=atom.variance, rate=atom.rate
            )
            _add(combination, raised, weight * float(coefficient))
    return _gathered({a: w for a, w in combination.items() if w})


def _special(factor: sp.Expr) -> Combination | None:
    """erf, erfc, exp of a quadratic, sin or cos of a linear argument, as atoms."""
    if (
        not factor.args
        or not factor.args[-1].is_polynomial(x)
        or not isinstance(factor, sp.erf | sp.erfc | sp.exp | sp.sin | sp.cos)
    ):
        return None
    poly = sp.Poly(factor.args[-1], x)
    if poly.degree() > 2 or not all(c.is_real for c in poly.all_coeffs()):
        return None
    exact = tuple(poly.coeff_monomial(x**k) for k in (2, 1, 0))
    curvature, slope, shift = map(float, exact)
    if isinstance(factor, sp.erf | sp.erfc):
        if curvature or shift or not slope:
            return None
        k_one = Atom(kind="K", order=1, variance=float(1 / (2 * exact[1] ** 2)))
        weight = math.copysign(2.0, slope)
        return {k_one: weight} if isinstance(factor, sp.erf) else {Atom(): 1.0, k_one: -weight}
    if isinstance(factor, sp.exp):
        if curvature:
            if curvature > 0 or slope:
                return None
            variance = float(-1 / (2 * exact[0]))
            height = math.exp(shift) * math.sqrt(2 * math.pi * variance)
            return {Atom(kind="R", order=2, variance=variance): height}
        return {Atom(kind="exp", rate=slope): math.exp(shift)}
    if curvature:
        return None
    # sin(γx + φ) = cos φ sin γx + sin φ cos γx, and cos(γx + φ) = cos φ cos γx − sin φ sin γx.
    sine, cosine = Atom(kind="sin", rate=slope), Atom(kind="cos", rate=slope)
    if isinstance(factor, sp.sin):
        parts = {sine: math.cos(shift), cosine: math.sin(shift)}
    else:
        parts = {cosine: math.cos(shift), sine: -math.sin(shift)}
    return {a: w for a, w in parts.items() if w}


def _gathered(combination: Combination) -> Combination:
    """½ + K_1 → R_1 with any power of x before it, and x R_1 + v R_2 → R_0: sums that would cancel in the left tail."""
    result = dict(combination)
    for atom, weight in combination.items():
        if atom.kind == "K" and atom.order == 1:
            constant = Atom(power=atom.power)
            if math.isclose(result.get(constant, 0.0), weight / 2, rel_tol=1e-15):
                del result[constant], result[atom]
                _add(result, Atom(power=atom.power, kind="R", order=1, variance=atom.variance), weight)
    for atom, weight in list(result.items()):
        if atom.kind == "R" and atom.order == 1 and atom.power == 1 and atom.variance > 0:
            density = Atom(kind="R", order=2, variance=atom.variance)
            if math.isclose(result.get(density, 0.0), weight * atom.variance, rel_tol=1e-14):
                del result[density], result[atom]
                _add(result, Atom(kind="R", variance=atom.variance), weight)
    return result


def homogeneous_weights(combination: Combination) -> tuple[float, float] | None:
    """(A, B) of A x + B|x|, or None for any other function."""
    linear = absolute = 0.0
    for atom, weight in combination.items():
        if atom == Atom(power=1):
            linear += weight
        elif atom == Atom(kind="R"):
            linear += weight / 2
            absolute += weight / 2
        elif atom == Atom(kind="K"):
            absolute += weight / 2
        else:
            return None
    return linear, absolute


def sine_residual(theta: np.ndarray) -> np.ndarray:
    """sin θ − θ cos θ without cancellation near 0."""
    t2 = np.where(theta < 0.25, theta, 0.0) ** 2
    # Σ_{k≥1} (−1)^{k+1} 2k θ^{2k+1}/(2k+1)!; at 1/4 the eighth term is below 1e-22.
    series = np.zeros_like(theta)
    for k in range(7, 0, -1):
        series = t2 * ((-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) + series)
    return np.where(theta < 0.25, theta * series, np.sin(theta) - theta * np.cos(theta))


# Pair expectations ---------------------------------------------------------------------------------------------------


def _density_at_zero(order: int, variance: np.ndarray) -> np.ndarray:
    """The order-th derivative at 0 of the density of N(0, variance)."""
    if order % 2:
        return np.zeros_like(variance)
    double_factorial = math.prod(range(order - 1, 0, -2))
    return (-1) ** (order // 2) * double_factorial / (variance ** (order // 2) * np.sqrt(2 * np.pi * variance))


def _at_zero(kind: str, order: int, variance: np.ndarray) -> np.ndarray:
    """R_order or K_order, smoothed by the variance, at x = 0."""
    if order == 0:
        return np.sqrt(variance / (2 * np.pi))
    if order == 1:
        return np.full_like(variance, 0.5 if kind == "R" else 0.0)
    return _density_at_zero(order - 2, variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Smoothed:
    """Covariance after smoothing: Q = q + v, Q' = q' + v', r² = QQ' − c², and the angle atan(r/|c|)."""

    q: np.ndarray
    qp: np.ndarray
    c: np.ndarray
    square: np.ndarray

    @cached_property
    def r(self) -> np.ndarray:
        return np.sqrt(self.square)

    @cached_property
    def angle(self) -> np.ndarray:
        return np.arctan2(self.r, np.abs(self.c))

    @cached_property
    def swapped(self) -> _Smoothed:
        return _Smoothed(q=self.qp, qp=self.q, c=self.c, square=self.square)

    @cached_property
    def residual(self) -> tuple[np.ndarray, np.ndarray]:
        """r − |c| atan(r/|c|) without cancellation where r ≪ |c|, and the size of its rounding."""
        size = np.abs(self.c)
        tail = self.r - size * self.angle
        small = self.r < SERIES_BELOW * size
        if not small.any():
            return tail, self.r
        t = self.r[small] / size[small]
        # Σ_{k≥1} (−1)^{k+1} t^{2k}/(2k+1); at t = 1/8 the eleventh term is below 1e-20.
        series = np.zeros_like(t)
        for k in range(10, 0, -1):
            series = t**2 * ((-1) ** (k + 1) / (2 * k + 1) + series)
        tail[small] = self.r[small] * series
        return tail, np.where(small, tail, self.r)


# Smoothed covariances by the two variances added.
Shared = dict[tuple[float, float], _Smoothed]


def _smoothed(cov: Covariance, v: float, vp: float) -> _Smoothed:
    square = cov.det if v == vp == 0 else cov.det + v * cov.qp + vp * cov.q + v * vp
    return _Smoothed(q=cov.q + v, qp=cov.qp + vp, c=cov.c, square=square)


def _kink_pair(kind: str, m: int, n: int, s: _Smoothed) -> Estimate:
    """E[F_m(a) F_n(b)] for two R or two K (variances already added)."""
    if n < m:
        return _kink_pair(kind, n, m, s.swapped)
    if n >= 2:
        return _against_density(kind, m, n, s)
    if m == 0 and n == 0:
        tail, size = s.residual
        body = np.maximum(s.c, 0.0) if kind == "R" else np.abs(s.c) / 2
        body = np.pi * body
        return _rounded((body + tail) / (2 * np.pi), (body + size) / (2 * np.pi))
    if m == 1:
        # arctan2(r, −c) and arctan2(c, r) from the angle that the other expectations need as well.
        opening = np.where(s.c > 0, np.pi - s.angle, s.angle) if kind == "R" else np.arctan2(s.c, s.r)
        return _rounded(opening / (2 * np.pi))
    if kind == "K":
        return _rounded(np.zeros_like(s.c))
    # E[relu(a) H(b)] = (√(QQ') + c)/(2√(2πQ')), with the sum rationalised where c < 0.
    root = np.sqrt(s.q * s.qp)
    safe = np.where(s.c < 0, root - s.c, 1.0)
    total = np.where(s.c < 0, s.square / safe, root + s.c)
    return _rounded(total / (2 * np.sqrt(2 * np.pi * s.qp)))


def _against_density(kind: str, m: int, n: int, s: _Smoothed) -> Estimate:
    """E[F_m(a) F_n(b)] for n ≥ 2: F_n is a derivative of a density, which picks b = 0.

    E = (−1)^k d^k/dv^k [φ_{Q'}(v) F_m(cv/Q'; variance r²/Q')] at v = 0, k = n − 2.
    """
    k, variance = n - 2, s.square / s.qp
    value, magnitude = np.zeros_like(s.c), np.zeros_like(s.c)
    for j in range(k + 1):
        density = math.comb(k, j) * _density_at_zero(k - j, s.qp)
        # 0 · ∞ on a degenerate covariance: the derivative of the density vanishes identically there.
        if not density.any():
            continue
        term = density * _at_zero(kind, m + j, variance)
        if j:
            slope = (s.c / s.qp) ** j
            term = np.where(slope == 0, 0.0, slope * term)
        value, magnitude = value + term, magnitude + np.abs(term)
    return _rounded((-1) ** k * value, magnitude)


def _plain_pair(f: Atom, g: Atom, cov: Covariance, shared: Shared) -> Estimate | None:
    """E[F(a) G(b)] for two atoms without powers, or None where there is no rule."""
    kinds = (f.kind, g.kind)
    if kinds == ("one", "one"):
        return _rounded(np.ones_like(cov.c))
    if kinds[0] == "one":
        return _plain_pair(g, f, cov.swapped(), {})
    if kinds[1] == "one":
        if f.kind in ("R", "K"):
            return _rounded(_at_zero(f.kind, f.order, cov.q + f.variance))
        return _wave_pair(f, Atom(kind="cos"), cov)
    if f.kind in ("R", "K") and g.kind in ("R", "K"):
        if f.kind == g.kind or (f.order >= 2 and g.order >= 2):
            key = f.variance, g.variance
            if key not in shared:
                shared[key] = _smoothed(cov, *key)
            return _kink_pair(f.kind, f.order, g.order, shared[key])
        return _mixed_kinks(f, g, cov)
    if f.kind in ("exp", "sin", "cos") and g.kind in ("exp", "sin", "cos"):
        return _wave_pair(f, g, cov)
    return None


def _mixed_kinks(f: Atom, g: Atom, cov: Covariance) -> Estimate:
    """R against K: K_n(x) = (R_n(x) + (−1)^n R_n(−x))/2, and b → −b changes the sign of c."""
    if f.kind == "K":
        return _mixed_kinks(g, f, cov.swapped())
    mirrored = Covariance(q=cov.q, qp=cov.qp, c=-cov.c, det=cov.det)
    direct = _kink_pair("R", f.order, g.order, _smoothed(cov, f.variance, g.variance))
    reflected = _kink_pair("R", f.order, g.order, _smoothed(mirrored, f.variance, g.variance))
    return (direct + reflected.scaled((-1.0) ** g.order)).scaled(0.5)


def _wave_pair(f: Atom, g: Atom, cov: Covariance) -> Estimate:
    """exp, sin and cos against each other; cos with rate 0 is the constant 1."""
    if f.kind == "exp" and g.kind != "exp":
        return _wave_pair(g, f, cov.swapped())
    exponent_f, exponent_g = f.rate**2 * cov.q / 2, g.rate**2 * cov.qp / 2
    cross = f.rate * g.rate * cov.c
    size = 1 + exponent_f + exponent_g + np.abs(cross)
    with np.errstate(over="ignore", invalid="ignore"):
        if f.kind == "exp":
            value = np.exp(exponent_f + exponent_g + cross)
        elif g.kind == "exp":
            wave = np.sin(cross) if f.kind == "sin" else np.cos(cross)
            value = np.exp(exponent_g - exponent_f) * wave
            return _rounded(value, np.exp(exponent_g - exponent_f) * size)
        elif f.kind != g.kind:
            value = np.zeros_like(cov.c)
        else:
            envelope = np.exp(np.abs(cross) - exponent_f - exponent_g) / 2
            if f.kind == "sin":
                value = -np.sign(cross) * envelope * np.expm1(-2 * np.abs(cross))
            else:
                value = envelope * (1 + np.exp(-2 * np.abs(cross)))
        return _rounded(value, value * size)


def expectation(f: Combination, g: Combination, cov: Covariance, shared: Shared | None = None) -> Estimate | None:
    """E[f(a) g(b)] of two sums of atoms with a bound on the rounding error; None if a pair has no rule.

    ``shared`` is a dict that calls with the same covariance may share: roots and angles are then computed once.
    Infinite values mark divergent expectations (a squared delta function on a degenerate covariance) and overflow.
    """
    memo: dict[tuple[Atom, Atom], Estimate | None] = {}
    smoothed: Shared = {} if shared is None else shared

    def pair(a: Atom, b: Atom) -> Estimate | None:
        key = (a, b)
        if key not in memo:
            memo[key] = stein(a, b) if a.power or b.power else _plain_pair(a, b, cov, smoothed)
        return memo[key]

    def total(first: Combination, second: Combination, factor: float | np.ndarray) -> Estimate | None:
        result: Estimate | None = None
        for a, weight_a in first.items():
            for b, weight_b in second.items():
                part = pair(a, b)
                if part is None:
                    return None
                part = part.scaled(weight_a * weight_b)
                result = part if result is None else result + part
        return (_rounded(np.zeros_like(cov.c)) if result is None else result).scaled(factor)

    def stein(a: Atom, b: Atom) -> Estimate | None:
        own, other = cov.q, cov.c
        if not a.power:
            lowered = b.lowered()
            first = total({a: 1.0}, differentiate({lowered: 1.0}), cov.qp)
            second = total(differentiate({a: 1.0}), {lowered: 1.0}, other)
        else:
            lowered = a.lowered()
            first = total(differentiate({lowered: 1.0}), {b: 1.0}, own)
            second = total({lowered: 1.0}, differentiate({b: 1.0}), other)
        return None if first is None or second is None else first + second

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return total(f, g, 1.0)
