r"""Closed forms of E[f(a)g(b)] in float64 for sums of terms (:mod:`kernelcalc.gaussian.floats.kinds`).

Powers of x are removed beforehand, on symbols (:mod:`kernelcalc.gaussian.floats.stein`): what remains are polynomials in
q, q' and c times expectations of pairs without powers. Smoothing adds v to a variance and leaves c alone, hence the formulas
for relu (arc-cosine kernel, Cho and Saul 2009) and the arcsine law (Williams 1997) serve all smoothed kinds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.floats import densities
from kernelcalc.gaussian.floats.densities import Group, Split, at_zero, split
from kernelcalc.gaussian.floats.kinds import Combination, Term
from kernelcalc.gaussian.floats.pairs import Pair
from kernelcalc.gaussian.floats.small import MANY, arctangent
from kernelcalc.gaussian.floats.stein import Polynomial, evaluate, regrouped, sizes
from kernelcalc.gaussian.floats.waves import SlowWaves, Waves

# Rounding steps in one pair formula, counted generously, and in a polynomial before it.
OPERATIONS, POLYNOMIAL_OPERATIONS = 16, 16
# t − atan t by its series where atan t is below this; above, the difference is at least t divided by the second number.
SERIES_BELOW, DIFFERENCE_LOSS = 0.25, 50.0

# The factor of what is complete.
AS_IT_IS: Polynomial = {(0, 0, 0): 1.0}

# Powers of large variances below 10 to minus this are not trusted.
MOST_DECADES = 250.0


# Pairs without powers ------------------------------------------------------------------------------------------------


class _Smoothed:
    """Covariance after smoothing: Q = q + v, Q' = q' + v', r² = QQ' − c²."""

    def __init__(self, cov: Covariance, v: float, vp: float, sign: int = 1) -> None:
        self.cov, self.variances = cov, (v, vp)
        self.c: np.ndarray = sign * cov.c if sign < 0 else cov.c
        self.square: np.ndarray = cov.det
        if v or vp:
            # the same for (b, a)
            self.square = cov.of_rows(lambda q: vp * q + v * vp / 2) + cov.of_columns(lambda q: v * q + v * vp / 2)
            self.square += cov.det
        self._powers: dict[int, np.ndarray] = {}
        self._products: dict[tuple[int, int], np.ndarray] = {}
        self._cores: dict[densities.Core, np.ndarray] = {}
        self._factors: dict[tuple[str, int, int, float], np.ndarray] = {}

    @cached_property
    def q(self) -> np.ndarray:
        return self.cov.q + self.variances[0] if self.variances[0] else self.cov.q

    @cached_property
    def qp(self) -> np.ndarray:
        return self.cov.qp + self.variances[1] if self.variances[1] else self.cov.qp

    @cached_property
    def r(self) -> np.ndarray:
        return np.sqrt(self.square)

    def power(self, exponent: int) -> np.ndarray:
        """r to an odd power, 1 or negative."""
        if exponent not in self._powers:
            if exponent >= -1:
                self._powers[exponent] = self.r if exponent == 1 else 1 / self.r
            else:
                self._powers[exponent] = self.power(exponent + 2) * self.inverse_square
        return self._powers[exponent]

    def c_power(self, exponent: int) -> np.ndarray:
        """c to a positive power."""
        if exponent == 1:
            return self.c
        key = "c", exponent, 0, 1.0
        if key not in self._factors:
            self._factors[key] = self.c * self.c if exponent == 2 else self.c_power(exponent - 1) * self.c
        return self._factors[key]

    @cached_property
    def inverse_square(self) -> np.ndarray:
        """1/r²."""
        return self.power(-1) * self.power(-1)

    @cached_property
    def ratio_square(self) -> np.ndarray:
        """c²/r²."""
        return self.ratio * self.ratio

    @cached_property
    def ratio(self) -> np.ndarray:
        """c/r."""
        return self.c * self.power(-1)

    def product(self, k: int, p: int) -> np.ndarray:
        """c^k r^p."""
        if k == 0:
            return self.power(p)
        if (k, p) == (1, -1):
            return self.ratio
        if (k, p) not in self._products:
            if k == 1:
                self._products[k, p] = self.ratio * self.inverse_square if p == -3 else self.c * self.power(p)
            else:
                self._products[k, p] = self.product(k - 2, p + 2) * self.ratio_square
        return self._products[k, p]

    def core(self, core: densities.Core) -> np.ndarray:
        """Σ weight c^k r^p, not to be changed."""
        if len(core) == 1:
            return self.product(*core[0][1:])
        if core not in self._cores:
            first, *others = core
            total = self.product(*first[1:])
            for place, (weight, k, p) in enumerate(others):
                part = self.product(k, p) if weight == 1 else weight * self.product(k, p)
                total = np.add(total, part, out=total if place else None)
            self._cores[core] = total
        return self._cores[core]

    def row_factor(self, e: int, i: int, weight: float) -> np.ndarray:
        """weight √Q^e q^i."""
        return self._factor("q", e, i, self.variances[0], weight)

    def column_factor(self, e: int, j: int, weight: float) -> np.ndarray:
        """weight √Q'^e q'^j."""
        return self._factor("qp", e, j, self.variances[1], weight)

    def _factor(self, side: str, e: int, i: int, v: float, weight: float) -> np.ndarray:
        def function(q: np.ndarray) -> np.ndarray:
            root = (q + v) ** (e // 2 if e % 2 == 0 else e / 2) if e else q**i
            root = root * q**i if e and i else root
            return root if weight == 1 else root * weight

        if (side, e, i, weight) not in self._factors:
            self._factors[side, e, i, weight] = (self.cov.of_rows if side == "q" else self.cov.of_columns)(function)
        return self._factors[side, e, i, weight]

    @cached_property
    def ends(self) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
        """No more than the least Q, Q', r² and no less than the largest Q, Q', r², |c|: vq' + v'q + vv' ≤ r² ≤ QQ'."""
        (v, vp), (low, high, low_p, high_p, c) = self.variances, self.cov.extremes
        least = v * low_p + vp * low + v * vp
        least = least if least > 0 else float(self.square.min())
        return (low + v, low_p + vp, least), (high + v, high_p + vp, (high + v) * (high_p + vp), c)

    @cached_property
    def scale(self) -> float:
        """Decades of the largest variance above 1."""
        (v, vp), (_, q, _, qp, _) = self.variances, self.cov.extremes
        return math.log10(max(1.0, q + v, qp + vp))

    @cached_property
    def degenerate(self) -> bool:
        """Whether r = 0 somewhere."""
        return not self.ends[0][2] > 0

    @cached_property
    def opening(self) -> np.ndarray:
        """π minus the angle between a and b: atan2(r, −c), π/2 where a or b is 0: a step there is ½."""
        opening = arctangent(self.c, self.r, self.ratio, opening=True)
        if not all(self.variances) and not min(self.cov.extremes[0], self.cov.extremes[2]) > 0:
            opening = np.where((self.q == 0) | (self.qp == 0), np.pi / 2, opening)
        return opening

    @cached_property
    def turn(self) -> np.ndarray:
        """atan2(c, r): the arcsine of c/√(QQ')."""
        return arctangent(self.c, self.r, self.ratio)

    @cached_property
    def arch(self) -> np.ndarray:
        """r + c · opening, to DIFFERENCE_LOSS times the rounding of its value."""
        total = self.c * self.opening
        total += self.r
        small = self.opening < SERIES_BELOW
        if small.any():
            r, size = self.r[small], -self.c[small]
            square = np.divide(r, size, out=np.zeros_like(r), where=size > 0) ** 2
            # t − atan t = t Σ_{k≥1} (−1)^{k+1} t^{2k}/(2k+1); at tan(1/4) the sixteenth term is below 1e-19.
            series = np.zeros_like(r)
            for k in range(15, 0, -1):
                series = square * ((-1) ** (k + 1) / (2 * k + 1) + series)
            total[small] = r * series
        return total


def _kink_pair(kind: str, m: int, n: int, s: _Smoothed, *, swap: bool = False) -> Pair:
    """E[F_m(a) F_n(b)] for two R or two K (variances already added); with ``swap`` E[F_m(b) F_n(a)]."""
    if n < m:
        return _kink_pair(kind, n, m, s, swap=not swap)
    if m == 0 and n == 0:
        if kind == "R":
            return Pair(value=s.arch * (0.5 / np.pi), loss=DIFFERENCE_LOSS)
        return Pair(value=(s.r + s.c * s.turn) * (0.5 / np.pi))
    if m == 1:
        return Pair(value=(s.opening if kind == "R" else s.turn) * (0.5 / np.pi), bounded=True)
    if kind == "K":
        return Pair(value=np.zeros_like(s.c))
    # E[relu(a) H(b)] = (√(QQ') + c)/(2√(2πQ')), with the sum rationalised where c < 0.
    root = np.sqrt(s.q * s.qp)
    safe = np.where(s.c < 0, root - s.c, 1.0)
    total = np.where(s.c < 0, s.square / safe, root + s.c)
    return Pair(value=total / (2 * np.sqrt(2 * np.pi * (s.q if swap else s.qp))))


def _mixed_kinks(f: Term, g: Term, s: _Smoothed, mirrored: _Smoothed, *, swap: bool = False) -> Pair:
    """R against K: K_n(x) = (R_n(x) + (−1)^n R_n(−x))/2, and b → −b changes the sign of c."""
    if f.kind == "K":
        return _mixed_kinks(g, f, s, mirrored, swap=not swap)
    direct = _kink_pair("R", f.order, g.order, s, swap=swap)
    reflected = _kink_pair("R", f.order, g.order, mirrored, swap=swap)
    value = (direct.value + (-1.0) ** g.order * reflected.value) / 2
    return Pair(value=value, magnitude=(direct.size + reflected.size) / 2)


def _exponential_pair(f: Term, g: Term, cov: Covariance) -> Pair:
    """exp against exp, sin or cos; cos with rate 0 is the constant 1."""
    if g.kind != "exp":
        return _exponential_pair(g, f, cov.swapped())
    exponent_f, exponent_g = f.rate**2 * cov.q / 2, g.rate**2 * cov.qp / 2
    cross = f.rate * g.rate * cov.c
    size = 1 + exponent_f + exponent_g + np.abs(cross)
    if f.kind == "exp":
        value = np.exp(exponent_f + exponent_g + cross)
        return Pair(value=value, magnitude=value * size)
    wave = np.sin(cross) if f.kind == "sin" else np.cos(cross)
    envelope = np.exp(exponent_g - exponent_f)
    return Pair(value=envelope * wave, magnitude=envelope * size)


class SharedPairs:
    """Expectations of pairs without powers at one covariance, each computed once."""

    def __init__(self, cov: Covariance) -> None:
        self.cov = cov
        self._pairs: dict[tuple[Term, Term], Pair | None] = {}
        self._smoothed: dict[tuple[float, float, int], _Smoothed] = {}
        self._waves: dict[tuple[float, float], Waves | SlowWaves] = {}
        self._groups: dict[Group, Pair] = {}

    def __call__(self, f: Term, g: Term) -> Pair | None:
        """E[F(a) G(b)], or None where there is no rule."""
        if (f, g) not in self._pairs:
            self._pairs[f, g] = self._pair(f, g)
        return self._pairs[f, g]

    @cached_property
    def least(self) -> float:
        """The smallest q or q'."""
        return min(self.cov.extremes[0], self.cov.extremes[2])

    @cached_property
    def largest(self) -> tuple[float, float, float]:
        """The largest q, q' and |c|."""
        _, q, _, qp, c = self.cov.extremes
        return q, qp, c

    @cached_property
    def reach_at_most(self) -> float:
        """No less than the largest |ρ|, without a look at each."""
        return self.largest[2] / self.least if self.least > 0 else math.inf

    @cached_property
    def reach(self) -> float:
        """The largest |ρ|."""
        rho = self.cov.rho
        return float(max(rho.max(), -rho.min()))

    def _pair(self, f: Term, g: Term) -> Pair | None:
        constants = (f.kind == "one", g.kind == "one")
        if any(constants):
            other, q = (g, self.cov.qp) if constants[0] else (f, self.cov.q)
            return _against_one(other, q)
        kinks, waves = ({"R", "K"}, {"exp", "sin", "cos"})
        if {f.kind, g.kind} <= kinks:
            if f.kind == g.kind:
                return _kink_pair(f.kind, f.order, g.order, self._covariance(f.variance, g.variance))
            sides = (self._covariance(f.variance, g.variance, sign) for sign in (1, -1))
            return _mixed_kinks(f, g, *sides)
        return self._wave_pair(f, g) if {f.kind, g.kind} <= waves else None

    def _wave_pair(self, f: Term, g: Term) -> Pair:
        if "exp" in (f.kind, g.kind):
            return _exponential_pair(f, g, self.cov)
        if f.kind != g.kind:
            return Pair(value=np.zeros_like(self.cov.c))
        rates = f.rate, g.rate
        if rates not in self._waves:
            largest = max(self.largest[:2])
            slow = SlowWaves.suffice(self.cov, rates, largest)
            self._waves[rates] = (SlowWaves if slow else Waves).of(self.cov, rates, largest)
        return self._waves[rates].pair(f.kind)

    def group(self, group: Group) -> Pair:
        """A group of densities, infinitely uncertain where a factor may have underflowed, which nothing else would tell."""
        if group not in self._groups:
            s = self._covariance(*group.variances)
            value = densities.evaluate(group, s)
            far = s.scale * group.rate > MOST_DECADES
            self._groups[group] = Pair(value=value, magnitude=np.full_like(value, np.inf) if far else None)
        return self._groups[group]

    def together(self, groups: tuple[Group, ...]) -> Pair | None:
        """All groups at once, where that is as good."""
        if self.cov.c.size < MANY or len({group.variances for group in groups}) != 1:
            return None
        s = self._covariance(*groups[0].variances)
        if s.scale * max(group.rate for group in groups) > MOST_DECADES:
            return None
        value = densities.together(groups, s)
        if value is None:
            return None

        def size() -> np.ndarray:
            return np.asarray(sum(self.group(group).size for group in groups))

        limit = sum(densities.bound(group, *s.ends) for group in groups)
        return Pair(value=value, apart=size, limit=limit if math.isfinite(limit) else None)

    def _covariance(self, v: float, vp: float, sign: int = 1) -> _Smoothed:
        key = v, vp, sign
        if key not in self._smoothed:
            self._smoothed[key] = _Smoothed(self.cov, *key)
        return self._smoothed[key]


def _against_one(f: Term, q: np.ndarray) -> Pair:
    """E[F(a)]."""
    if f.kind == "one":
        return Pair(value=np.ones_like(q))
    if f.kind in ("R", "K"):
        weight, power = at_zero(f.kind, f.order)
        return Pair(value=weight * np.sqrt(q + f.variance) ** power)
    nothing = np.zeros_like(q)
    pair = SharedPairs(Covariance(q=q, qp=nothing, c=nothing, det=nothing))(f, Term(kind="cos"))
    assert pair is not None
    return pair


# Sums ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class ClosedForm:
    """A value with bounds on its rounding error.

    ``relative`` bounds the error relative to |value| (infinite if terms may cancel), ``largest`` that of every element;
    ``error``, for every element, is computed when it is asked for. Shapes broadcast with that of c.
    """

    value: np.ndarray
    relative: float
    cov: Covariance
    terms: tuple[tuple[Pair, Polynomial], ...]
    parts: Split
    pairs: SharedPairs

    def surely(self, rtol: float) -> bool:
        """Whether bounds for all elements together show each of them good to this, relative to itself."""
        if self.relative <= rtol:
            bounded = all(pair.bounded and p == AS_IT_IS for pair, p in self.terms)
            # one number instead of an array of them: NaN and infinity pass on to a sum
            return bounded or bool(np.isfinite(self.value.sum()))
        if not self.largest < math.inf:
            return False
        smallest = float(self.value.min())
        return self.largest <= rtol * (smallest if smallest > 0 else float(np.abs(self.value).min()))

    @property
    def steps(self) -> float:
        """Rounding of all terms together, relative to the sum of their sizes."""
        return (OPERATIONS + POLYNOMIAL_OPERATIONS + self.parts.summands) * EPS

    @cached_property
    def largest(self) -> float:
        try:
            return self.steps * sum(pair.largest * evaluate(sizes(p), *self.pairs.largest) for pair, p in self.terms)
        except OverflowError:
            return math.inf

    @cached_property
    def error(self) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(self.relative) and all(pair.finer is None for pair, _ in self.terms):
                return self.relative * np.abs(self.value)
            q, qp, c = self.cov.q, self.cov.qp, np.abs(self.cov.c)
            parts = [pair.size * evaluate(sizes(p), q, qp, c) for pair, p in self.terms]
            return np.asarray(self.steps * sum(parts))


def _added(
    total: np.ndarray | None, own: bool, value: np.ndarray, factor: np.ndarray | float
) -> tuple[np.ndarray, bool]:
    """total + factor · value, in place where the total is not anybody else's, and whether it now is ours."""
    sign = factor if isinstance(factor, float) and factor in (1.0, -1.0) else None
    if total is None:
        return (value, False) if sign == 1.0 else (value * factor, True)
    part = value if sign else value * factor
    add = np.subtract if sign == -1.0 else np.add
    if own and np.broadcast_shapes(total.shape, part.shape) == total.shape:
        return add(total, part, out=total), True
    return add(total, part), True


def expectation(
    f: Combination, g: Combination, cov: Covariance, shared: SharedPairs | None = None
) -> ClosedForm | None:
    """E[f(a) g(b)] of two sums of terms with a bound on the rounding error; None if a pair has no rule.

    ``shared`` at the same covariance may be given to calls for several functions: roots, angles and pairs are then computed
    once. Infinite values mark divergent expectations (a squared delta function on a degenerate covariance) and overflow.
    The value's shape may be smaller than that of c, which it broadcasts with.
    """
    pairs = SharedPairs(cov) if shared is None else shared
    parts = split(regrouped(f, pairs.least), regrouped(g, pairs.least))
    terms: list[tuple[Pair, Polynomial]] = []
    value: np.ndarray | None = None
    own, relative = False, math.inf
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for a, b, polynomial in parts.pairs:
            pair = pairs(a, b)
            if pair is None:
                return None
            value, own = _added(value, own, pair.value, evaluate(polynomial, cov.q, cov.qp, cov.c))
            terms.append((pair, polynomial))
        whole = pairs.together(parts.groups)
        for pair in map(pairs.group, parts.groups) if whole is None else (whole,):
            value, own = _added(value, own, pair.value, 1.0)
            terms.append((pair, AS_IT_IS))
    if parts.one_sign or (parts.summands == 1 and len(terms[0][1]) == 1):
        losses = [pair.loss if pair.magnitude is None else math.inf for pair, _ in terms]
        relative = (OPERATIONS + POLYNOMIAL_OPERATIONS + parts.summands - 1) * EPS * max(losses)
    if value is None:
        value, relative = np.zeros_like(cov.c), 0.0
    return ClosedForm(value=value, relative=relative, cov=cov, terms=tuple(terms), parts=parts, pairs=pairs)


@lru_cache(maxsize=1024)
def never_cancels(f: tuple[tuple[Term, float], ...], g: tuple[tuple[Term, float], ...]) -> bool:
    """Whether E[f(a) g(b)] is one term whose error is relative to itself, at any covariance."""
    found = expectation(dict(f), dict(g), make_covariance([1.0], 1.0, 0.5))
    return found is not None and math.isfinite(found.relative) and not any(t.variance for t, _ in (*f, *g) if t.power)
