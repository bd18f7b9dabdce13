r"""Closed forms of E[f(a)g(b)] in float64 for sums of terms (:mod:`kernelcalc.gaussian.floats.kinds`).

Powers of x are removed beforehand, on symbols (:mod:`kernelcalc.gaussian.floats.stein`): what remains are polynomials in
q, q' and c times expectations of pairs without powers. Smoothing adds v to a variance and leaves c alone, hence the formulas
for relu (arc-cosine kernel, Cho and Saul 2009) and the arcsine law (Williams 1997) serve all smoothed kinds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.floats import densities
from kernelcalc.gaussian.floats.densities import Group, Split, at_zero, split
from kernelcalc.gaussian.floats.kinds import Combination, Term
from kernelcalc.gaussian.floats.pairs import Pair
from kernelcalc.gaussian.floats.small import MANY
from kernelcalc.gaussian.floats.smoothed import DIFFERENCE_LOSS, TURN, Smoothed
from kernelcalc.gaussian.floats.stein import Polynomial, evaluate, regrouped, regrouped_at, size, sizes
from kernelcalc.gaussian.floats.waves import SlowWaves, Waves
from kernelcalc.machine import unlocked_property

# Rounding steps in one pair formula, counted generously, and in a polynomial before it.
OPERATIONS, POLYNOMIAL_OPERATIONS = 16, 16

# The factor of what is complete.
AS_IT_IS: Polynomial = {(0, 0, 0): 1.0}

# What is bounded, by numbers far below this, is a number also times this.
MUCH = 1e100

# Powers of large variances below 10 to minus this are not trusted.
MOST_DECADES = 250.0


# Pairs without powers ------------------------------------------------------------------------------------------------


def _kink_pair(kind: str, m: int, n: int, s: Smoothed, *, swap: bool = False) -> Pair:
    """E[F_m(a) F_n(b)] for two R or two K (variances already added); with ``swap`` E[F_m(b) F_n(a)]."""
    if n < m:
        return _kink_pair(kind, n, m, s, swap=not swap)
    if m == 0 and n == 0:
        if kind == "R":
            return Pair(value=s.arch, loss=DIFFERENCE_LOSS)
        return Pair(value=s.r * (1 / TURN) + s.c * s.turn)
    if m == 1:
        return Pair(value=s.opening if kind == "R" else s.turn, bounded=True)
    if kind == "K":
        return Pair(value=np.zeros_like(s.c))
    # E[relu(a) H(b)] = (√(QQ') + c)/(2√(2πQ')), with the sum rationalised where c < 0.
    root = np.sqrt(s.q * s.qp)
    safe = np.where(s.c < 0, root - s.c, 1.0)
    total = np.where(s.c < 0, s.square / safe, root + s.c)
    return Pair(value=total / (2 * np.sqrt(2 * np.pi * (s.q if swap else s.qp))))


def _mixed_kinks(f: Term, g: Term, s: Smoothed, mirrored: Smoothed, *, swap: bool = False) -> Pair:
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
        self._smoothed: dict[tuple[float, float, int], Smoothed] = {}
        self._waves: dict[tuple[float, float], Waves | SlowWaves] = {}
        self._groups: dict[Group, Pair] = {}

    def __call__(self, f: Term, g: Term) -> Pair | None:
        """E[F(a) G(b)], or None where there is no rule."""
        if (f, g) not in self._pairs:
            self._pairs[f, g] = self._pair(f, g)
        return self._pairs[f, g]

    @unlocked_property
    def least(self) -> float:
        """The smallest q or q'."""
        return min(self.cov.extremes[0], self.cov.extremes[2])

    @unlocked_property
    def largest(self) -> tuple[float, float, float]:
        """The largest q, q' and |c|."""
        _, q, _, qp, c = self.cov.extremes
        return q, qp, c

    @unlocked_property
    def reach_at_most(self) -> float:
        """No less than the largest |ρ|, without a look at each."""
        return self.largest[2] / self.least if self.least > 0 else math.inf

    @unlocked_property
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

    def together(self, parts: Split) -> Pair | None:
        """All groups at once, where that is as good."""
        if not parts.groups or self.cov.c.size < MANY or parts.factored is None:
            return None
        s = self._covariance(*parts.factored.variances)
        if s.scale * parts.rate > MOST_DECADES:
            return None
        value = densities.together(parts.factored, s)
        if value is None:
            return None

        def sizes_of_all() -> np.ndarray:
            return np.asarray(sum(self.group(group).size for group in parts.groups))

        limit = sum(densities.bound(group, *s.ends) for group in parts.groups)
        return Pair(value=value, apart=sizes_of_all, limit=limit if math.isfinite(limit) else None)

    def _covariance(self, v: float, vp: float, sign: int = 1) -> Smoothed:
        key = v, vp, sign
        if key not in self._smoothed:
            self._smoothed[key] = Smoothed(self.cov, *key)
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
            bounded = all(
                pair.bounded and len(p) == 1 and abs(p.get((0, 0, 0), math.inf)) < MUCH for pair, p in self.terms
            )
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

    @unlocked_property
    def largest(self) -> float:
        try:
            return self.steps * sum(pair.largest * size(p, *self.pairs.largest) for pair, p in self.terms)
        except OverflowError:
            return math.inf

    @unlocked_property
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
    if own and part.shape == total.shape:
        return add(total, part, out=total), True
    return add(total, part), True


class Product:
    """f(a) g(b) of two sums of terms, to be expected at many covariances: what does not depend on these is kept."""

    def __init__(self, f: Combination, g: Combination) -> None:
        self._f, self._g = f, g
        self._edges: tuple[float, ...] = tuple(sorted({*regrouped_at(f), *regrouped_at(g)}))
        self._splits: dict[int, Split] = {}

    def parts(self, least: float) -> Split:
        """Without powers of x, in the form for variances of at least so much."""
        form = bisect_right(self._edges, least)
        if form not in self._splits:
            self._splits[form] = split(regrouped(self._f, least), regrouped(self._g, least))
        return self._splits[form]


def expectation(
    f: Combination, g: Combination, cov: Covariance, shared: SharedPairs | None = None
) -> ClosedForm | None:
    """E[f(a) g(b)] of two sums of terms with a bound on the rounding error; None if a pair has no rule.

    ``shared`` at the same covariance may be given to calls for several functions: roots, angles and pairs are then computed
    once. Infinite values mark divergent expectations (a squared delta function on a degenerate covariance) and overflow.
    The value's shape may be smaller than that of c, which it broadcasts with.
    """
    return expected(Product(f, g), SharedPairs(cov) if shared is None else shared)


def expected(product: Product, pairs: SharedPairs) -> ClosedForm | None:
    """:func:`expectation` of a product that is kept."""
    cov, parts = pairs.cov, product.parts(pairs.least)
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
        whole = pairs.together(parts)
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
