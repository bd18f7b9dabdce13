r"""Expectations with a derivative of a normal density, as sums of products of powers.

For n ≥ 2, F_n is a derivative of the density of N(0, v'), which picks b = 0: with Q = q + v, Q' = q' + v', r² = QQ' − c²,

.. math:: E[F_m(a) F_n(b)] = (-1)^k \frac{d^k}{du^k} \Bigl[φ_{Q'}(u)\, F_m(cu/Q';\ \text{variance}\ r^2/Q')\Bigr]_{u=0},
    \qquad k = n - 2 ≥ m - 2,

a sum of w √Q'^e c^j r^p. All pairs of two sums of terms together are sorted by p, by the parity of j and by sign, so that
nothing cancels within one group and r^p is multiplied once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from kernelcalc.gaussian.floats.kinds import Term
from kernelcalc.gaussian.floats.stein import Polynomial, reduced

Sum = tuple[tuple[Term, float], ...]


class Monomial(NamedTuple):
    """weight · √Q^row q^i · √Q'^column q'^j · c^k; ``rate`` is the growth in a variance of its largest factors."""

    weight: float
    row: tuple[int, int]
    column: tuple[int, int]
    power: int
    rate: float


class Group(NamedTuple):
    """r^power times monomials of one sign, for the smoothing variances (v, v')."""

    variances: tuple[float, float]
    power: int
    odd: bool
    positive: bool
    monomials: tuple[Monomial, ...]

    @property
    def rate(self) -> float:
        """The largest of its monomials."""
        return max(one.rate for one in self.monomials)


@dataclass(frozen=True, eq=False)
class Split:
    """Pairs of terms with their polynomials, those with densities apart; whether there were powers of x."""

    pairs: tuple[tuple[Term, Term, Polynomial], ...]
    groups: tuple[Group, ...]
    has_powers: bool

    @cached_property
    def one_sign(self) -> bool:
        """Whether there are groups only, and all of one sign."""
        return not self.pairs and len({(group.odd, group.positive) for group in self.groups}) == 1

    @cached_property
    def summands(self) -> int:
        """How many there are."""
        return len(self.pairs) + sum(len(group.monomials) for group in self.groups)

    @cached_property
    def rate(self) -> float:
        """The largest of the groups."""
        return max(group.rate for group in self.groups)

    @cached_property
    def factored(self) -> Factored | None:
        """The sum of the groups, where they are of the same variances and odd powers of r."""
        alike = len({group.variances for group in self.groups}) == 1 and all(group.power % 2 for group in self.groups)
        return _factored(self.groups) if alike else None


@lru_cache(maxsize=1024)
def split(f: Sum, g: Sum) -> Split:
    """f(a) g(b) without powers of x."""
    pairs: list[tuple[Term, Term, Polynomial]] = []
    groups: dict[tuple[tuple[float, float], int, bool, bool], dict[Any, float]] = {}
    for a, b, polynomial in reduced(f, g):
        if not {a.kind, b.kind} <= {"R", "K"} or max(a.order, b.order) < 2:
            pairs.append((a, b, polynomial))
            continue
        swap = a.order > b.order
        lower, upper = (b, a) if swap else (a, b)
        # derivatives of one density: K_n = R_n for n ≥ 2
        for weight, e, k, p in terms(lower.kind, lower.order, upper.order):
            rate = abs(e) / 2 + k + abs(p)
            for (i, j, more), coefficient in polynomial.items():
                row, column = ((e if swap else 0), i), ((0 if swap else e), j)
                total = weight * coefficient
                key = (a.variance, b.variance), p, bool((k + more) % 2), total > 0
                found, one = groups.setdefault(key, {}), (row, column, k + more, rate)
                found[one] = found.get(one, 0.0) + total
    made = [
        Group(variances, p, odd, positive, tuple(Monomial(weight, *powers) for powers, weight in monomials.items()))
        for (variances, p, odd, positive), monomials in groups.items()
    ]
    return Split(tuple(pairs), tuple(made), any(term.power for term, _ in (*f, *g)))


@lru_cache(maxsize=256)
def terms(kind: str, m: int, n: int) -> tuple[tuple[float, int, int, int], ...]:
    """Terms (w, e, j, p) of E[F_m(a) F_n(b)] = Σ w √Q'^e c^j r^p for n ≥ 2, n ≥ m."""
    k, found = n - 2, []
    for j in range(k + 1):
        density, below = at_zero("R", k - j + 2)
        value, p = at_zero(kind, m + j)
        weight = (-1) ** k * math.comb(k, j) * density * value
        if weight:
            found.append((weight, below - 2 * j - p, j, p))
    return tuple(found)


def at_zero(kind: str, order: int) -> tuple[float, int]:
    """R_order or K_order, smoothed by the variance u, at x = 0, as a number times a power of √u."""
    if order < 2:
        return ((2 * np.pi) ** -0.5, 1) if order == 0 else (0.5 if kind == "R" else 0.0, 0)
    k = order - 2
    return (0.0, 0) if k % 2 else ((-1) ** (k // 2) * _double_factorial(k - 1) * (2 * np.pi) ** -0.5, -k - 1)


def _double_factorial(k: int) -> int:
    """k!! with (−1)!! = 1."""
    return math.prod(range(k, 0, -2))


def evaluate(group: Group, s: Any) -> np.ndarray:
    """The group's value at a smoothed covariance."""
    if not group.power:
        return np.asarray(_inner(group.monomials, s))
    r = s.power(group.power)
    if not s.degenerate:
        return np.asarray(_inner(group.monomials, s) * r)
    values = [_inner((one,), s) for one in group.monomials]
    # 0 · ∞ where r = 0: this derivative vanishes identically there
    parts = [value * np.where(value == 0, 0.0, r) for value in values]
    return np.asarray(sum(parts[1:], parts[0]))


# A sum of multiples of c^k r^p: (weight, k, p) each, the first weight being 1.
Core = tuple[tuple[float, int, int], ...]
# c^0 r^0.
NO_POWERS: Core = ((1.0, 0, 0),)
# A sum of factors (weight, row, column) of the points.
Factors = tuple[tuple[float, tuple[int, int], tuple[int, int]], ...]


class Factored(NamedTuple):
    """weight · c^k r^p times a sum of cores, each times a sum of factors of rows and of columns."""

    variances: tuple[float, float]
    weight: float
    power: tuple[int, int]
    sums: tuple[tuple[Core, Factors], ...]


def together(found: Factored, s: Any) -> np.ndarray | None:
    """The sum of groups of the same variances with odd powers of r; None where r = 0.

    Factors of rows and of columns before the same sum of powers of c and r are added first; such sums are kept.
    """
    if s.degenerate:
        return None
    total: Any = None
    own = False
    for core, factors in found.sums:
        part: Any = s.factors(factors)
        if core != NO_POWERS:
            part = s.core(core) if isinstance(part, float) and part == 1 else s.core(core) * part
        if total is None:
            # what is kept is not ours
            total, own = part, core != NO_POWERS and part is not s.core(core)
        elif own:
            total += part
        else:
            total, own = total + part, True
    common = s.product(*found.power)
    if isinstance(total, float):
        return np.asarray(common * (total * found.weight))
    total = np.multiply(total, common, out=total if own and total.shape == common.shape else None)
    total *= found.weight
    return np.asarray(total)


def _factored(groups: tuple[Group, ...]) -> Factored:
    """By powers of c and r with the factors before them, the largest of r and the least of c apart."""
    sums: dict[tuple[Any, Any], list[tuple[float, int, int]]] = {}
    least, most = (
        choose(one.power if c else group.power for group in groups for one in group.monomials)
        for choose, c in ((min, True), (max, False))
    )
    for group in groups:
        for one in group.monomials:
            sums.setdefault((one.row, one.column), []).append((one.weight, one.power - least, group.power - most))
    found: dict[Core, list[tuple[float, Any, Any]]] = {}
    for (row, column), parts in sums.items():
        first = parts[0][0]
        core = tuple((weight / first, k, p) for weight, k, p in parts)
        found.setdefault(core, []).append((first, row, column))
    weight = next(iter(found.values()))[0][0]
    relative = ((core, tuple((own / weight, *at) for own, *at in factors)) for core, factors in found.items())
    return Factored(groups[0].variances, weight, (least, most), tuple(relative))


def factor(weight: float, row: tuple[int, int], column: tuple[int, int], s: Any) -> Any:
    """weight √Q^e q^i √Q'^e' q'^j; the weight goes through the shorter array."""
    if not any(row):
        return s.column_factor(*column, weight) if any(column) else weight
    value = s.row_factor(*row, weight)
    return value * s.column_factor(*column, 1.0) if any(column) else value


def bound(group: Group, least: tuple[float, float, float], largest: tuple[float, float, float, float]) -> float:
    """No less than the sizes of a group's monomials, added: from the least Q, Q' and r², the largest Q, Q', r² and |c|."""
    v, vp = group.variances
    total = 0.0
    for one in group.monomials:
        size = abs(one.weight) * largest[3] ** one.power
        for (e, i), low, high, own in ((one.row, least[0], largest[0], v), (one.column, least[1], largest[1], vp)):
            size *= (low if e < 0 else high) ** (e / 2) * (high - own) ** i
        total += size
    return total * (least[2] if group.power < 0 else largest[2]) ** (group.power / 2)


def _inner(monomials: tuple[Monomial, ...], s: Any) -> Any:
    """Σ weight √Q^e q^i √Q'^e' q'^j c^k, by Horner's scheme in c."""
    coefficients: dict[int, Any] = {}
    for one in monomials:
        value = factor(one.weight, one.row, one.column, s)
        coefficients[one.power] = coefficients[one.power] + value if one.power in coefficients else value
    powers = sorted(coefficients, reverse=True)
    total = coefficients[powers[0]]
    for power, following in zip(powers, [*powers[1:], 0], strict=True):
        if power > following:
            total = s.c_power(power - following) * total
        if following != power and following in coefficients:
            total = total + coefficients[following]
    return total
