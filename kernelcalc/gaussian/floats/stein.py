"""Powers of x in sums of terms, removed on symbols by Stein's lemma, E[a h(a,b)] = q E[∂_a h] + c E[∂_b h]."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from kernelcalc.gaussian.floats.kinds import Combination, Term, differentiate

# Σ w q^i q'^j c^k by exponents (i, j, k).
Polynomial = dict[tuple[int, int, int], float]


def _add_times(
    total: dict[tuple[Term, Term], Polynomial],
    part: dict[tuple[Term, Term], Polynomial],
    weight: float,
    raised: tuple[int, int, int] = (0, 0, 0),
) -> None:
    for pair, polynomial in part.items():
        own = total.setdefault(pair, {})
        for exponents, coefficient in polynomial.items():
            i, j, k = (e + r for e, r in zip(exponents, raised, strict=True))
            own[i, j, k] = own.get((i, j, k), 0.0) + weight * coefficient


@lru_cache(maxsize=4096)
def _without_powers(a: Term, b: Term) -> dict[tuple[Term, Term], Polynomial]:
    """E[a b] of two terms as polynomials times expectations of terms without powers."""
    if not (a.power or b.power):
        return {(a, b): {(0, 0, 0): 1.0}}
    total: dict[tuple[Term, Term], Polynomial] = {}
    left, right = ({a.lowered(): 1.0}, {b: 1.0}) if a.power else ({a: 1.0}, {b.lowered(): 1.0})
    by_left, by_right = ((1, 0, 0), (0, 0, 1)) if a.power else ((0, 0, 1), (0, 1, 0))
    for first, second, raised in ((differentiate(left), right, by_left), (left, differentiate(right), by_right)):
        for f, weight in first.items():
            for g, other in second.items():
                _add_times(total, _without_powers(f, g), weight * other, raised)
    return total


@lru_cache(maxsize=1024)
def reduced(
    f: tuple[tuple[Term, float], ...], g: tuple[tuple[Term, float], ...]
) -> tuple[tuple[Term, Term, Polynomial], ...]:
    """f(a) g(b) without powers, as pairs of terms with the polynomial that stands before them."""
    total: dict[tuple[Term, Term], Polynomial] = {}
    for a, weight in f:
        for b, other in g:
            _add_times(total, _without_powers(a, b), weight * other)
    kept = ((a, b, {e: w for e, w in polynomial.items() if w}) for (a, b), polynomial in total.items())
    return tuple((a, b, polynomial) for a, b, polynomial in kept if polynomial)


def regrouped(combination: Combination, least: float) -> tuple[tuple[Term, float], ...]:
    """x R_1 = R_0 − v R_2 where no variance is below v.

    There the right-hand side hardly cancels, while Stein's lemma on the left loses a factor q/v; below it is the other way
    round.
    """
    if not any(_has_two_forms(term) and term.variance <= least for term in combination):
        return tuple(combination.items())
    result: Combination = {}
    for term, weight in combination.items():
        parts = {term: weight}
        if _has_two_forms(term) and term.variance <= least:
            plain, density = (term._replace(power=0, order=order) for order in (0, 2))
            parts = {plain: weight, density: -term.variance * weight}
        for part, own in parts.items():
            result[part] = result.get(part, 0.0) + own
    return tuple(result.items())


def _has_two_forms(term: Term) -> bool:
    return term.power == 1 and term.kind in ("R", "K") and term.order == 1 and term.variance > 0


def regrouped_at(combination: Combination) -> tuple[float, ...]:
    """The smallest variances at which :func:`regrouped` takes another form."""
    return tuple(term.variance for term in combination if _has_two_forms(term))


def regrouped_from(combination: Combination | None) -> float:
    """The smallest variance at which :func:`regrouped` takes the other form of all terms; 0 where there is one form."""
    return max(regrouped_at(combination or {}), default=0.0)


def evaluate(polynomial: Polynomial, q: Any, qp: Any, c: Any) -> Any:
    """By Horner's scheme in c, arrays or floats; q and q' are often vectors, c a matrix."""
    if len(polynomial) == 1 and (0, 0, 0) in polynomial:
        return polynomial[0, 0, 0]
    total: Any = 0.0
    for k in range(max(k for _, _, k in polynomial), -1, -1):
        # a float as long as there is nothing to multiply
        if isinstance(total, np.ndarray):
            total = total * c
        elif total:
            total = c if total == 1 else total * c
        for (i, j, power), weight in polynomial.items():
            if power == k:
                term = weight * q**i if i else weight
                total = total + (term * qp**j if j else term)
    return total


def size(polynomial: Polynomial, q: float, qp: float, c: float) -> float:
    """The sizes of its terms, added, at numbers of at least 0."""
    return sum(abs(weight) * q**i * qp**j * c**k for (i, j, k), weight in polynomial.items())


def sizes(polynomial: Polynomial) -> Polynomial:
    """The polynomial with the sizes of its coefficients."""
    return {exponents: abs(weight) for exponents, weight in polynomial.items()}
