"""Where an expression has kinks, and the smooth expressions between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import sympy as sp

from kernelcalc.activations.crossings import Crossing, crossings
from kernelcalc.activations.features import compiled
from kernelcalc.errors import ExpressionError
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.expressions.stable import numpy_callable
from kernelcalc.expressions.zeros import expanded, inner_equations, solutions

KINKED = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min)
# Places at which the pieces of a function whose kinks were found by their signs are compared with it.
COMPARED_PLACES = 4001


def cut(expr: sp.Expr) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...], float]:
    """Kinks in ascending order, the smooth expressions between them, and how far out that is so."""
    if not (expr.has(*KINKED) or expr.has(sp.Piecewise)):
        return (), (expr,), math.inf
    candidates, reach = _break_candidates(expr)
    breaks = _apart(sorted(candidates, key=float))
    if reach < math.inf:
        end = sp.Rational(reach)
        breaks = [-end, *(at for at in breaks if abs(float(at)) < reach), end]
    pieces = [_smooth_on(expr, point) for point in _inner_points(breaks)]
    if reach < math.inf:
        pieces[0] = pieces[-1] = unfolded(expr)
    kept_breaks: list[sp.Expr] = []
    kept_pieces = [pieces[0]]
    for at, piece in zip(breaks, pieces[1:], strict=True):
        before = kept_pieces[-1]
        if piece != before and (_differ(piece, before, float(at)) or expanded(piece - before) != 0):
            kept_breaks.append(at)
            kept_pieces.append(piece)
    if any(isinstance(at, Crossing) for at in kept_breaks):
        _check(expr, kept_breaks, kept_pieces)
    return tuple(kept_breaks), tuple(kept_pieces), reach


def _apart(breaks: list[sp.Expr]) -> list[sp.Expr]:
    """Of zeros of two expressions at one place only one."""
    kept = breaks[:1]
    for at in breaks[1:]:
        twice = isinstance(at, Crossing) or isinstance(kept[-1], Crossing)
        if not (
            twice and float(at) == float(kept[-1]) and abs(sp.N(at, 40) - sp.N(kept[-1], 40)) < sp.Float(10) ** -30
        ):
            kept.append(at)
    return kept


def unfolded(expr: sp.Expr) -> sp.Expr:
    """An expression with its kinks in absolute values and signs, which have values everywhere."""
    if expr.has(sp.Piecewise):
        raise ExpressionError(
            "kinks that can be located", f"those of {expr} without end", "write them with max and abs"
        )
    for kind, sign in ((sp.Max, 1), (sp.Min, -1)):
        expr = expr.replace(kind, lambda *args, s=sign: reduce(lambda a, b: (a + b + s * sp.Abs(a - b)) / 2, args))
    return expr.replace(sp.Heaviside, lambda u, *_: (1 + sp.sign(u)) / 2)


def _check(expr: sp.Expr, breaks: list[sp.Expr], pieces: list[sp.Expr]) -> None:
    """Refuse an expression of which kinks were missed: its pieces have other values than it at places all over."""
    whole, made = (
        compiled(unfolded(expr) if not expr.has(sp.Piecewise) else expr),
        {p: compiled(p) for p in set(pieces)},
    )
    kinks = np.array([float(at) for at in breaks])
    at = np.concatenate(
        [np.linspace(kinks[0] - math.e, kinks[-1] + math.pi, COMPARED_PLACES), np.geomspace(1e-3, 100, COMPARED_PLACES)]
    )
    at = np.concatenate([at, -at])
    piece, values = np.searchsorted(kinks, at), np.empty(at.size)
    for k, part in enumerate(pieces):
        values[piece == k] = made[part](at[piece == k])
    exact = whole(at)
    # of which absolute values leave the smaller one's digits
    sizes = [
        compiled(unfolded(part))
        for atom in expr.atoms(sp.Max, sp.Min)
        for part in atom.args
        if not part.has(sp.Piecewise)
    ]
    lost = 1e-12 * sum(np.abs(size(at)) for size in sizes)
    off = np.abs(values - exact) > 1e-9 * (1 + np.abs(exact) + np.abs(values)) + lost
    if off.any():
        raise _not_located(f"those of {expr} near x = {at[off][0]:.3g}")


def _not_located(got: str) -> ExpressionError:
    return ExpressionError("kinks that can be located", got, "write the kinks as |x - a| or Max(x, a)")


def _inner_points(breaks: list[sp.Expr]) -> list[sp.Expr]:
    """One between each two breaks and beyond them: fractions, since breaks may be long radicals.

    Not in the middle, where by symmetry two branches may touch; short ones beside breaks that are known by their sign alone.
    """
    if not breaks:
        return [sp.S.Zero]
    near = [sp.Rational(float(at)) for at in breaks]
    between = [
        (5 * one + 7 * other) / 12 if one != other else sp.nsimplify((a + b) / 2)
        for a, b, one, other in zip(breaks, breaks[1:], near, near[1:], strict=False)
    ]
    if not any(isinstance(at, Crossing) for at in breaks):
        return [near[0] - 1, *between, near[-1] + 1]
    gaps = [1.0, *(float(other - one) for one, other in pairwise(near)), 1.0]
    points = [near[0] - sp.Rational(7, 12), *between, near[-1] + sp.Rational(7, 12)]
    most = (max(97, math.ceil(64 / gap)) if gap else None for gap in gaps)
    return [point.limit_denominator(n) if n else point for point, n in zip(points, most, strict=True)]


def _differ(one: sp.Expr, other: sp.Expr, at: float) -> bool:
    """Whether two expressions have clearly different values near a break: to expand high powers would take long."""
    places = at + np.array([-1.5, -0.625, 0.625, 1.5])
    with np.errstate(all="ignore"):
        first, second = (np.broadcast_to(numpy_callable(e, x)(places), places.shape) for e in (one, other))
        return bool((np.abs(first - second) > 0.01 * (np.abs(first) + np.abs(second))).any())


def _break_candidates(expr: sp.Expr) -> tuple[set[sp.Expr], float]:
    """Where the smooth expression may be another, and the distance from 0 up to which these are all such places."""
    switches: set[sp.Expr] = set()
    for atom in expr.atoms(*KINKED):
        if isinstance(atom, sp.Max | sp.Min):
            arguments = list(atom.args)
            switches |= {a - b for i, a in enumerate(arguments) for b in arguments[:i]}
        else:
            switches.add(atom.args[0])
    for piecewise in expr.atoms(sp.Piecewise):
        for _, condition in piecewise.args:
            switches |= {r.lhs - r.rhs for r in condition.atoms(sp.core.relational.Relational)}
    found: set[sp.Expr] = set()
    reach = math.inf
    for switch in switches:
        if not switch.has(x):
            continue
        # A switch may itself be kinked (|x| - 1): its pieces are smooth expressions each, and so are its kinks.
        breaks, smooth, own = cut(switch)
        found |= set(breaks)
        roots = [_real_roots(part) for piece in set(smooth) if piece.has(x) for part in (piece, *_denominators(piece))]
        found |= {at for places, _ in roots for at in places}
        reach = min(reach, own, *(end for _, end in roots))
    return found, reach


def _denominators(switch: sp.Expr) -> list[sp.Expr]:
    """At whose zeros a switch may change its sign through infinity."""
    bases = {power.base for power in switch.atoms(sp.Pow) if power.base.has(x) and power.exp.is_negative}
    return [base for base in bases if not (base.is_positive or base.is_negative)]


def _real_roots(switch: sp.Expr) -> tuple[set[sp.Expr], float]:
    """Zeros of a smooth expression, and how far out these are all."""
    found = _solved(switch)
    return crossings(switch) if found is None else (found, math.inf)


def _solved(switch: sp.Expr) -> set[sp.Expr] | None:
    """Zeros that have formulas; None where SymPy finds none."""
    if switch.is_polynomial(x) and sp.degree(switch, x) > 2 and sp.Poly(switch, x).domain in (sp.ZZ, sp.QQ):
        # No radicals, which SymPy takes long to find, to put in and to compare.
        return set(sp.real_roots(sp.Poly(switch, x)))
    inner = inner_equations(switch)
    if inner is not None:
        parts = [_solved(equation) for equation in inner]
        return None if None in parts else {root for part in parts if part is not None for root in part}
    found = solutions(switch, x)
    if found is None and switch.is_polynomial(x):
        return set(sp.real_roots(sp.Poly(switch, x)))
    return found


def _smooth_on(expr: sp.Expr, point: sp.Expr) -> sp.Expr:
    """The smooth expression that agrees with expr around a point that is no kink."""

    def positive(switch: sp.Expr) -> bool:
        return bool(switch.subs(x, point) > 0)

    def side(switch: sp.Expr, below: sp.Expr, there: sp.Expr) -> sp.Expr:
        """1, or what a step is below 0, or at 0 where its argument vanishes all around the point."""
        value = switch.subs(x, point)
        return there if value == 0 else sp.S.One if value > 0 else below

    def extreme(largest: bool) -> Callable[..., sp.Expr]:
        def choose(*args: sp.Expr) -> sp.Expr:
            pick = max if largest else min
            return pick(args, key=lambda a: sp.N(a.subs(x, point), 30))

        return choose

    def choose_branch(*branches: Any) -> sp.Expr:
        for value, condition in branches:
            if bool(to_sympy(condition).subs(x, point)):
                return value
        raise ExpressionError("a Piecewise that covers the whole line", str(expr))

    result = expr.replace(sp.Piecewise, choose_branch)
    result = result.replace(sp.Max, extreme(True)).replace(sp.Min, extreme(False))
    result = result.replace(sp.Abs, lambda u: u if positive(u) else -u)
    result = result.replace(sp.sign, lambda u: side(u, -sp.S.One, sp.S.Zero))
    return result.replace(sp.Heaviside, lambda u, *_: side(u, sp.S.Zero, sp.S.Half))
