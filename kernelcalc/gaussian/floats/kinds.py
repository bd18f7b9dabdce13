r"""Activations as float64 sums of terms :math:`x^p F(x)` whose pairs have closed Gaussian expectations.

They are read off the exact atoms (:mod:`kernelcalc.expressions.atoms`), which have their steps at 0 here.

F is one of

- ``one``: 1;
- ``R``: the n-th derivative of relu smoothed by N(0, v): n = 0 is x Φ(x/√v) + √v φ(x/√v), n = 1 the normal distribution
  function, n ≥ 2 derivatives of the normal density; v = 0 gives relu, the step and delta functions;
- ``K``: the same for |x|/2, so that erf(κx) = 2 K_1 with v = 1/(2κ²);
- ``exp``: e^{γx};  ``sin``, ``cos``: sin(γx), cos(γx).

The set is closed under differentiation.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.expressions.atoms import Atom, Gate, NotInAlgebra, atoms_of

# Stein's lemma branches at every power; beyond this the Hermite series is both faster and more accurate.
MAX_POWER = 6
# So does every pair of exponentials cost one of its own.
MAX_WAVES = 8


class Term(NamedTuple):
    """x^power · F(x); ``order`` and ``variance`` for R and K, ``rate`` for exp, sin and cos (of waves, 0 or more)."""

    power: int = 0
    kind: str = "one"
    order: int = 0
    variance: float = 0.0
    rate: float = 0.0

    def lowered(self) -> Term:
        return self._replace(power=self.power - 1)


Combination = dict[Term, float]
# By power and by s² of a gate or γ of an exponential.
Coefficients = defaultdict[tuple[int, sp.Expr], sp.Expr]


def _add(combination: Combination, term: Term, weight: float) -> None:
    if term.power == 1 and term.kind in ("R", "K") and term.order == 2 and term.variance > 0:
        # x φ(x) = −v φ'(x) for the density of N(0, v)
        term, weight = Term(kind=term.kind, order=3, variance=term.variance), -term.variance * weight
    combination[term] = combination.get(term, 0.0) + weight


def differentiate(combination: Combination) -> Combination:
    """Derivative of a sum of terms, again a sum of terms."""
    result: Combination = {}
    for term, weight in combination.items():
        if term.power:
            _add(result, term.lowered(), weight * term.power)
        if term.kind in ("R", "K"):
            _add(result, Term(power=term.power, kind=term.kind, order=term.order + 1, variance=term.variance), weight)
        elif term.kind == "exp":
            _add(result, term, weight * term.rate)
        elif term.kind == "sin":
            _add(result, Term(power=term.power, kind="cos", rate=term.rate), weight * term.rate)
        elif term.kind == "cos":
            _add(result, Term(power=term.power, kind="sin", rate=term.rate), -weight * term.rate)
    return result


def recognise(act: Activation) -> Combination | None:
    """The activation as a sum of terms, or None if it is no such sum.

    Examples
    --------
    >>> recognise(Activation("2*erf(x) + 3"))
    {Term(power=0, kind='K', order=1, variance=0.5, rate=0.0): 4.0, Term(power=0, kind='one', ...): 3.0}
    """
    terms = _terms(act)
    return None if terms is None else dict(terms)


@lru_cache(maxsize=512)
def _terms(act: Activation) -> tuple[tuple[Term, float], ...] | None:
    if act.order:
        before = _terms(act.root.derivative(act.order - 1))
        return None if before is None else tuple(differentiate(dict(before)).items())
    if act.kinks not in ((), (0.0,)):
        return None
    try:
        combination = _of_atoms(atoms_of(act.form.regular))
    except NotInAlgebra:
        return None
    return tuple(combination.items())


def _of_atoms(atoms: Iterable[Atom]) -> Combination:
    """Exact atoms in float64; coefficients are added as symbols, so that what cancels does."""
    plain: Coefficients = defaultdict(lambda: sp.S.Zero)
    gates, waves = plain.copy(), plain.copy()
    result: Combination = {}
    for coefs, alpha, gamma, factor in atoms:
        if len(coefs) > MAX_POWER + 1:
            raise NotInAlgebra(f"powers up to {MAX_POWER}", f"{len(coefs) - 1}")
        for power, weight in enumerate(coefs):
            if weight == 0:
                continue
            if factor is None and alpha == gamma == 0:
                plain[power, sp.S.Zero] += weight
            elif factor is None and alpha == 0:
                waves[power, gamma] += weight
            elif factor is None and gamma == 0 and alpha.is_negative:
                variance = -1 / (2 * alpha)
                bell = Term(power=power, kind="R", order=2, variance=float(variance))
                _add(result, bell, float(weight * sp.sqrt(2 * sp.pi * variance)))
            elif isinstance(factor, Gate) and factor.tau == alpha == gamma == 0:
                # Φ(−x/s) = 1 − Φ(x/s)
                gates[power, factor.s2] += factor.side * weight
                plain[power, sp.S.Zero] += weight if factor.side < 0 else 0
            else:
                raise NotInAlgebra("steps and densities at 0", str(factor))
    for (power, s2), weight in gates.items():
        _add_gate(result, plain, power, s2, weight)
    for (power, _), weight in plain.items():
        _add(result, Term(power=power), float(weight))
    _add_waves(result, waves)
    return _gathered({term: weight for term, weight in result.items() if weight})


def _add_gate(result: Combination, plain: Coefficients, power: int, s2: sp.Expr, weight: sp.Expr) -> None:
    """weight · x^power P(x + sZ ≥ 0): an odd function where it is one but for a polynomial, which ``plain`` then has."""
    half = sp.expand(plain[power, sp.S.Zero] + weight / 2)
    if s2 == 0:
        # x H(x) = relu(x): one power is absorbed where there is one.
        absorbed = 1 if power else 0
        kink = Term(power=power - absorbed, kind="R" if half else "K", order=1 - absorbed)
        _add(result, kink, float(weight))
        plain[power, sp.S.Zero] *= 1 if half else 0
    else:
        _add(result, Term(power=power, kind="K", order=1, variance=float(s2)), float(weight))
        plain[power, sp.S.Zero] = half


def _add_waves(result: Combination, waves: Coefficients) -> None:
    """e^{γx} with a real rate, and a e^{iωx} + b e^{−iωx} = (a + b) cos ωx + i (a − b) sin ωx."""
    if len(waves) > MAX_WAVES:
        raise NotInAlgebra(f"at most {MAX_WAVES} exponentials", f"{len(waves)}")
    for (power, gamma), weight in waves.items():
        if gamma.is_real:
            _add(result, Term(power=power, kind="exp", rate=float(gamma)), float(weight))
            continue
        rate = gamma / sp.I
        if not rate.is_real:
            raise NotInAlgebra("exponentials or waves", f"exp({gamma}·x)")
        if rate > 0:
            other = waves.get((power, -gamma), sp.S.Zero)
            for kind, value in (("cos", weight + other), ("sin", sp.I * (weight - other))):
                # real, as the function is
                amount = complex(sp.expand(value)).real
                _add(result, Term(power=power, kind=kind, rate=float(rate)), amount)


def _gathered(combination: Combination) -> Combination:
    """½ + K_1 → R_1 with any power of x before it, and x R_1 + v R_2 → R_0: sums that would cancel in the left tail."""
    result = dict(combination)
    for term, weight in combination.items():
        if term.kind == "K" and term.order == 1:
            constant = Term(power=term.power)
            if math.isclose(result.get(constant, 0.0), weight / 2, rel_tol=1e-15):
                del result[constant], result[term]
                _add(result, Term(power=term.power, kind="R", order=1, variance=term.variance), weight)
    for term, weight in list(result.items()):
        if term.kind == "R" and term.order == 1 and term.power == 1 and term.variance > 0:
            density = Term(kind="R", order=2, variance=term.variance)
            if math.isclose(result.get(density, 0.0), weight * term.variance, rel_tol=1e-14):
                del result[density], result[term]
                _add(result, Term(kind="R", variance=term.variance), weight)
    return result


def homogeneous_weights(combination: Combination) -> tuple[float, float] | None:
    """(A, B) of A x + B|x|, or None for any other function."""
    linear = absolute = 0.0
    for term, weight in combination.items():
        if term == Term(power=1):
            linear += weight
        elif term == Term(kind="R"):
            linear += weight / 2
            absolute += weight / 2
        elif term == Term(kind="K"):
            absolute += weight / 2
        else:
            return None
    return linear, absolute


# Smoothed kinks narrower than this, relative to the points' own variance, bend like kinks between nearly parallel points.
SHARP = 1e-2


def feels_small_angles(act: Activation, largest: float = 1.0) -> bool:
    """Whether expectations of σ depend on the angle of nearly parallel points more finely than their covariances hold it.

    That is so for kinks, where it is of first order, and for kinks smoothed over less than the points' own size: erf(100 x),
    and every nonlinearity at points of a variance far above 1. ``largest`` is the largest variance.

    Examples
    --------
    >>> [feels_small_angles(Activation(text)) for text in ("tanh(x)", "Abs(x)", "erf(100*x)")]
    [False, True, True]
    >>> feels_small_angles(Activation("tanh(x)"), 1e4)
    True
    """
    terms = recognise(act)
    sharp = SHARP * max(1.0, largest)
    if act.smoothness < 1 or (terms is None and sharp > 1):
        return True
    return any(t.kind in ("R", "K") and t.variance < sharp for t in terms or {})
