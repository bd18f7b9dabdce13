"""Activations as sums of atoms :math:`x^p F(x)` whose pairs have closed Gaussian expectations.

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
from functools import lru_cache
from typing import NamedTuple

import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.expressions.atoms import x

# Stein's lemma branches at every power; beyond this the Hermite series is both faster and more accurate.
MAX_POWER = 6


class Atom(NamedTuple):
    """x^power · F(x); ``order`` and ``variance`` for R and K, ``rate`` for exp, sin and cos."""

    power: int = 0
    kind: str = "one"
    order: int = 0
    variance: float = 0.0
    rate: float = 0.0

    def lowered(self) -> Atom:
        return self._replace(power=self.power - 1)


Combination = dict[Atom, float]


def _add(combination: Combination, atom: Atom, weight: float) -> None:
    if atom.power == 1 and atom.kind in ("R", "K") and atom.order == 2 and atom.variance > 0:
        # x φ(x) = −v φ'(x) for the density of N(0, v)
        atom, weight = Atom(kind=atom.kind, order=3, variance=atom.variance), -atom.variance * weight
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
    form = act.root.form
    items = _recognise_root(form.pieces, form.kinks)
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


# Smoothed kinks narrower than this variance bend like kinks between nearly parallel points.
SHARP = 1e-2


def feels_small_angles(act: Activation) -> bool:
    """Whether expectations of σ depend on the angle of nearly parallel points more finely than their covariances hold it.

    That is so for kinks, where it is of first order, and for kinks smoothed over less than the points' own size (erf(100 x)).

    Examples
    --------
    >>> [feels_small_angles(Activation(text)) for text in ("tanh(x)", "Abs(x)", "erf(100*x)")]
    [False, True, True]
    """
    atoms = recognise(act) or {}
    return act.smoothness < 1 or any(a.kind in ("R", "K") and a.variance < SHARP for a in atoms)
