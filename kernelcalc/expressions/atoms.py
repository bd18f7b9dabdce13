r"""Functions of one variable as finite sums of atoms, the class that has exact Gaussian expectations.

An atom is :math:`p(x)\, e^{αx^2+γx}\, T(x)` with a polynomial p and one factor T:

- nothing,
- a :class:`Gate` :math:`P(x + sZ ≥ τ)`, Z ~ N(0,1): the Heaviside step at s = 0, the normal distribution function
  (hence erf) at s > 0. Steps and error functions are one thing here: both are orthant probabilities of a Gaussian,
- a :class:`Delta`, a derivative of the Dirac delta, which differentiating a step produces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import sympy as sp

from kernelcalc.errors import InputError, KernelcalcError
from kernelcalc.expressions.zeros import FAILURES, expanded, inner_equations, solutions

x: Any = sp.Symbol("x", real=True)

_SWITCHES = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min, sp.Piecewise)
# Powers of sums up to this are multiplied out: of two terms to the 256th takes 3 seconds, to the 5000th no end (measured).
MOST_FACTORS = 128
_HINT = "use gaussian_expectation, which falls back on quadrature"


class NotInAlgebra(InputError):
    """The function is no finite sum of atoms, so this method has no exact expectation for it."""


@dataclass(frozen=True)
class Gate:
    """P(side·(x + sZ − τ) ≥ 0) with Z ~ N(0,1), where ``s2`` = s² and ``side`` is 1 or −1."""

    s2: sp.Expr
    tau: sp.Expr
    side: int = 1


@dataclass(frozen=True)
class Delta:
    """weight · δ^{(order)}(x − at); within an atom the weight is 1 and its coefficient says it."""

    order: int
    at: sp.Expr
    weight: sp.Expr = sp.S.One


class Atom(NamedTuple):
    """Σ_n coefs[n] xⁿ · exp(alpha x² + gamma x) · factor."""

    coefs: tuple[sp.Expr, ...]
    alpha: sp.Expr
    gamma: sp.Expr
    factor: Gate | Delta | None


Key = tuple[sp.Expr, sp.Expr, "Gate | Delta | None"]
_Sum = dict[Key, list[sp.Expr]]

_UNIT: Key = (sp.S.Zero, sp.S.Zero, None)


@lru_cache(maxsize=1024)
def atoms_of(expr: sp.Expr) -> tuple[Atom, ...]:
    """Write an expression in the real symbol ``x`` as a sum of atoms.

    Raises
    ------
    NotInAlgebra
        Where this is not possible, for instance for tanh.

    Examples
    --------
    >>> atoms_of(x * sp.Heaviside(x - 1))
    (Atom(coefs=(0, 1), alpha=0, gamma=0, factor=Gate(s2=0, tau=1, side=1)),)
    """
    try:
        return _atoms(expr)
    except KernelcalcError:
        raise
    except FAILURES as error:
        raise NotInAlgebra("a function that SymPy can take apart", f"{expr}: {error}", _HINT) from error


def _atoms(expr: sp.Expr) -> tuple[Atom, ...]:
    total: _Sum = {}
    smooth, jumps, deltas = decompose(expr)
    _add(total, _parse(smooth))
    gap = _before_gap(smooth, jumps)
    for place, (tau, jump) in enumerate(jumps):
        for key, coefs in _parse(jump).items():
            right, left = (
                _multiply({key: coefs}, {(*_UNIT[:2], Gate(sp.S.Zero, tau, s)): [sp.S.One]}) for s in (1, -1)
            )
            if key[1].is_positive or place < gap:
                # Steps on which e^{γx} grows would subtract two large expectations, as would two tails and what is between.
                _add(total, {key: coefs})
                _add(total, {k: [-a for a in v] for k, v in left.items()})
            else:
                _add(total, right)
    for tau, order, coefficient in deltas:
        _add(total, {(*_UNIT[:2], Delta(order, tau)): [coefficient]})
    return _freeze(total)


def _before_gap(smooth: sp.Expr, jumps: Jumps) -> int:
    """How many jumps come before the first interval on which a function that is not 0 at −∞ vanishes."""
    if smooth == 0:
        return 0
    here = smooth
    for place, (_, jump) in enumerate(jumps):
        here = here + jump
        if expanded(here) == 0:
            return place + 1
    return 0


def heaviside_form(expr: sp.Expr) -> sp.Expr:
    """Rewrite max, abs, sign and piecewise functions with Heaviside steps, so that ``diff`` loses no jump.

    Examples
    --------
    >>> heaviside_form(sp.Piecewise((x, x > 0), (0, True)))
    x*Heaviside(x)
    """
    if not expr.has(*_SWITCHES, sp.DiracDelta):
        return expr
    smooth, jumps, deltas = decompose(expr)
    return sp.Add(
        smooth,
        *(jump * sp.Heaviside(x - tau) for tau, jump in jumps),
        *(coefficient * sp.DiracDelta(x - tau, order) for tau, order, coefficient in deltas),
    )


Jumps = list[tuple[sp.Expr, sp.Expr]]
Deltas = list[tuple[sp.Expr, int, sp.Expr]]


def decompose(expr: sp.Expr) -> tuple[sp.Expr, Jumps, Deltas]:
    """Smooth part, [(τ, h)] for h(x)·Heaviside(x − τ), and [(τ, k, a)] for a·δ⁽ᵏ⁾(x − τ)."""
    expr = exact_numbers(expr)
    stray = expr.free_symbols - {x}
    if stray:
        raise NotInAlgebra("a function of the real symbol x only", f"the symbols {sorted(map(str, stray))}")
    deltas: Deltas = []
    if expr.has(sp.DiracDelta):
        regular = []
        for term in sp.Add.make_args(sp.expand(expr)):
            if term.has(sp.DiracDelta):
                deltas += _delta_terms(term)
            else:
                regular.append(term)
        expr = sp.Add(*regular)
    parts = [(low, high, logs_near_one(piece)) for low, high, piece in _split(expr, -sp.oo, sp.oo)]
    jumps = [(right[0], jump) for left, right in pairwise(parts) if (jump := expanded(right[2] - left[2])) != 0]
    return parts[0][2], jumps, deltas


@lru_cache(maxsize=4096)
def derivative(atoms: tuple[Atom, ...], order: int = 1) -> tuple[Atom, ...]:
    """Derivative of a sum of atoms in the sense of distributions.

    Examples
    --------
    >>> derivative(atoms_of(sp.Max(x, 0)), 2)
    (Atom(coefs=(1,), alpha=0, gamma=0, factor=Delta(order=0, at=0, weight=1)),)
    """
    for _ in range(order):
        total: _Sum = {}
        for coefs, alpha, gamma, factor in atoms:
            if isinstance(factor, Delta):
                _add(total, {(alpha, gamma, Delta(factor.order + 1, factor.at)): list(coefs)})
                continue
            inner = [n * a for n, a in enumerate(coefs)][1:]
            outer = _polynomial_product(coefs, (gamma, 2 * alpha))
            _add(total, {(alpha, gamma, factor): inner})
            _add(total, {(alpha, gamma, factor): outer})
            if factor is not None:
                _add(total, _gate_slope(coefs, alpha, gamma, factor))
        atoms = _freeze(total)
    return atoms


def _gate_slope(coefs: tuple[sp.Expr, ...], alpha: sp.Expr, gamma: sp.Expr, gate: Gate) -> _Sum:
    s2, tau, side = gate.s2, gate.tau, gate.side
    if s2 == 0:
        value = sum(a * tau**n for n, a in enumerate(coefs)) * sp.exp(alpha * tau**2 + gamma * tau)
        return {(*_UNIT[:2], Delta(0, tau)): [side * value]}
    peak = side * sp.exp(-(tau**2) / (2 * s2)) / sp.sqrt(2 * sp.pi * s2)
    return {(alpha - 1 / (2 * s2), gamma + tau / s2, None): [a * peak for a in coefs]}


def exact_numbers(expr: sp.Expr) -> sp.Expr:
    """Floats as exact rationals: of a double the shortest decimal that identifies it, which is what was typed.

    Examples
    --------
    >>> exact_numbers(sp.Float(0.1) * x)
    x/10
    """
    floats = expr.atoms(sp.Float)
    return expr.xreplace({v: sp.Rational(repr(float(v))) if v._prec <= 53 else sp.Rational(v) for v in floats})


def logs_near_one(expr: sp.Expr) -> sp.Expr:
    """Constants log u, which SymPy evaluates to 0 where u − 1 is below its digits, as 2 artanh((u − 1)/(u + 1)).

    Examples
    --------
    >>> logs_near_one(sp.log(1 + sp.exp(-100)) * x).coeff(x).n(5), sp.log(1 + sp.exp(-100)).n(5)
    (3.7201e-44, 0)
    """
    near = [part for part in expr.atoms(sp.log) if not part.free_symbols and sp.N(part) == 0]
    return expr.xreplace({part: 2 * sp.atanh((part.args[0] - 1) / (part.args[0] + 1)) for part in near})


def _freeze(total: _Sum) -> tuple[Atom, ...]:
    atoms = []
    for (alpha, gamma, factor), coefs in total.items():
        exact = [sp.expand(a) for a in coefs]
        while exact and exact[-1] == 0:
            exact.pop()
        if exact:
            atoms.append(Atom(tuple(exact), alpha, gamma, factor))
    return tuple(atoms)


def _add(total: _Sum, other: _Sum) -> None:
    for key, coefs in other.items():
        old = total.setdefault(key, [])
        old += [sp.S.Zero] * (len(coefs) - len(old))
        for n, a in enumerate(coefs):
            old[n] += a


def _polynomial_product(
    p: tuple[sp.Expr, ...] | list[sp.Expr], r: tuple[sp.Expr, ...] | list[sp.Expr]
) -> list[sp.Expr]:
    out = [sp.S.Zero] * (len(p) + len(r) - 1)
    for i, a in enumerate(p):
        for j, b in enumerate(r):
            out[i + j] += a * b
    return out


def _multiply(one: _Sum, other: _Sum) -> _Sum:
    total: _Sum = {}
    for (alpha, gamma, factor), p in one.items():
        for (alpha2, gamma2, factor2), r in other.items():
            if factor is not None and factor2 is not None:
                raise NotInAlgebra("at most one erf or step in each product", f"{factor} times {factor2}", _HINT)
            key = (sp.expand(alpha + alpha2), sp.expand(gamma + gamma2), factor or factor2)
            _add(total, {key: _polynomial_product(p, r)})
    return {key: coefs for key, coefs in total.items() if any(sp.expand(a) != 0 for a in coefs)}


def _linear(argument: sp.Expr, degree: int = 1) -> list[sp.Expr]:
    """Coefficients of a polynomial of at most this degree, constant term first."""
    try:
        poly = sp.Poly(argument, x)
    except sp.PolynomialError:
        poly = None
    if poly is None or poly.degree() > degree:
        raise NotInAlgebra(f"a polynomial of degree at most {degree} in x", str(argument), _HINT)
    coefs = list(reversed(poly.all_coeffs()))
    return coefs + [sp.S.Zero] * (degree + 1 - len(coefs))


def _exponential(argument: sp.Expr) -> _Sum:
    constant, gamma, alpha = _linear(argument, 2)
    if not alpha.is_real:
        raise NotInAlgebra("a real coefficient of x² in an exponential", str(alpha), _HINT)
    return {(sp.expand(alpha), sp.expand(gamma), None): [sp.exp(constant)]}


def _erf(argument: sp.Expr) -> _Sum:
    mu, kappa = _linear(argument)
    if not (kappa.is_real and mu.is_real):
        raise NotInAlgebra("erf of a real argument", str(argument), _HINT)
    if kappa == 0:
        return {_UNIT: [sp.erf(mu)]}
    side = 1 if kappa.is_positive else -1
    gate = Gate(sp.expand(1 / (2 * kappa**2)), sp.expand(-mu / kappa))
    return {(*_UNIT[:2], gate): [sp.Integer(2 * side)], _UNIT: [sp.Integer(-side)]}


def _parse(expr: sp.Expr) -> _Sum:
    """Atoms of an expression without kinks."""
    if not expr.has(x):
        return {_UNIT: [expr]}
    if expr == x:
        return {_UNIT: [sp.S.Zero, sp.S.One]}
    if isinstance(expr, sp.Add):
        total: _Sum = {}
        for term in expr.args:
            _add(total, _parse(term))
        return total
    if isinstance(expr, sp.Mul):
        product: _Sum = {_UNIT: [sp.S.One]}
        for part in expr.args:
            product = _multiply(product, _parse(part))
        return product
    if isinstance(expr, sp.exp):
        return _exponential(expr.args[0])
    if isinstance(expr, sp.Pow):
        return _parse_power(expr.base, expr.exp)
    argument = expr.args[0] if expr.args else expr
    if isinstance(expr, sp.erf):
        return _erf(argument)
    if isinstance(expr, sp.erfc):
        return _parse(1 - sp.erf(argument, evaluate=False))
    if isinstance(expr, (sp.sin, sp.cos, sp.sinh, sp.cosh)):
        return _parse(sp.expand(expr.rewrite(sp.exp)))
    raise NotInAlgebra("polynomials, exp, erf, steps, sin, cos and their products", str(expr), _HINT)


def _parse_power(base: sp.Expr, exponent: sp.Expr) -> _Sum:
    if not base.has(x) and base.is_positive:
        return _exponential(exponent * sp.log(base))
    if isinstance(exponent, sp.Integer) and exponent > 0:
        factor = _parse(base)
        if exponent > MOST_FACTORS and sum(a != 0 for coefs in factor.values() for a in coefs) > 1:
            raise NotInAlgebra(f"powers of sums up to {MOST_FACTORS}", str(base**exponent), _HINT)
        power: _Sum = {_UNIT: [sp.S.One]}
        for _ in range(int(exponent)):
            power = _multiply(power, factor)
        return power
    if isinstance(base, sp.exp):
        return _exponential(base.args[0] * exponent)
    raise NotInAlgebra("powers with a positive integer exponent", str(base**exponent), _HINT)


def _delta_terms(term: sp.Expr) -> Deltas:
    deltas = [part for part in sp.Mul.make_args(term) if isinstance(part, sp.DiracDelta)]
    if len(deltas) != 1:
        raise NotInAlgebra("one Dirac delta in each product", str(term))
    rest = term / deltas[0]
    order = int(deltas[0].args[1]) if len(deltas[0].args) > 1 else 0
    offset, slope = _linear(deltas[0].args[0])
    tau = -offset / slope
    if rest.has(*_SWITCHES):
        parts = _split(rest, -sp.oo, sp.oo)
        here = {sp.expand(h.subs(x, tau)) for lo, hi, h in parts if lo <= tau <= hi}
        if len(here) != 1 or order > 0:
            raise NotInAlgebra("a Dirac delta times a function smooth there", str(term))
        (value,) = here
        return [(tau, 0, value / sp.Abs(slope))]
    # h δ⁽ᵏ⁾ = Σ_j (−1)^(k−j) binom(k, j) h⁽ᵏ⁻ʲ⁾(τ) δ⁽ʲ⁾
    scale = 1 / (sp.Abs(slope) * slope**order)
    out = []
    for j in range(order + 1):
        value = sp.expand(
            (-1) ** (order - j) * sp.binomial(order, j) * sp.diff(rest, x, order - j).subs(x, tau) * scale
        )
        if value != 0:
            out.append((tau, j, value))
    return out


_Part = tuple[sp.Expr, sp.Expr, sp.Expr]


def _split(expr: sp.Expr, lo: sp.Expr, hi: sp.Expr) -> list[_Part]:
    """Intervals (lo, hi, smooth expression) on which no switch is left."""
    node = next((n for n in sp.postorder_traversal(expr) if isinstance(n, _SWITCHES)), None)
    if node is None:
        return [(lo, hi, expr)]
    cuts = sorted({r for u in _switch_arguments(node) for r in _real_roots(u) if lo < r < hi}, key=float)
    parts: list[_Part] = []
    for left, right in pairwise([lo, *cuts, hi]):
        branch = _branch(node, _inner_point(left, right))
        parts += _split(expr.xreplace({node: branch}), left, right)
    merged = parts[:1]
    for part in parts[1:]:
        if part[2] == merged[-1][2]:
            merged[-1] = (merged[-1][0], part[1], part[2])
        else:
            merged.append(part)
    return merged


def _switch_arguments(node: sp.Expr) -> list[sp.Expr]:
    if isinstance(node, (sp.Max, sp.Min)):
        return [a - b for i, a in enumerate(node.args) for b in node.args[i + 1 :]]
    if isinstance(node, sp.Piecewise):
        return [rel.lhs - rel.rhs for _, cond in node.args for rel in cond.atoms(sp.core.relational.Relational)]
    return [node.args[0]]


def _real_roots(argument: sp.Expr) -> list[sp.Expr]:
    argument = expanded(argument)
    if not argument.has(x):
        return []
    if argument.is_polynomial(x):
        poly = sp.Poly(argument, x)
        if poly.degree() == 1:
            slope, offset = poly.all_coeffs()
            return [-offset / slope]
        if all(a.is_Rational for a in poly.all_coeffs()):
            return list(set(sp.real_roots(poly)))
    inner = inner_equations(argument)
    if inner is not None:
        return list({root for equation in inner for root in _real_roots(equation)})
    roots = solutions(argument, x)
    if roots is None:
        raise NotInAlgebra("kinks at points that can be found", str(argument), _HINT)
    return list(roots)


def _inner_point(lo: sp.Expr, hi: sp.Expr) -> sp.Rational:
    if lo == -sp.oo:
        return sp.S.Zero if hi == sp.oo else sp.Rational(float(hi)) - 1
    if hi == sp.oo:
        return sp.Rational(float(lo)) + 1
    return (sp.Rational(float(lo)) + sp.Rational(float(hi))) / 2


def _branch(node: sp.Expr, point: sp.Rational) -> sp.Expr:
    if isinstance(node, (sp.Max, sp.Min)):
        sign = 1 if isinstance(node, sp.Max) else -1
        return max(node.args, key=lambda u: sign * float(u.subs(x, point)))
    if isinstance(node, sp.Piecewise):
        return next((e for e, cond in node.args if cond.subs(x, point) == sp.true), sp.nan)
    value = node.args[0].subs(x, point)
    if value == 0:  # all around the point, which is no kink
        return sp.S.Half if isinstance(node, sp.Heaviside) else sp.S.Zero
    positive = float(value) > 0
    if isinstance(node, sp.Abs):
        return node.args[0] if positive else -node.args[0]
    return sp.S.One if positive else (sp.S.Zero if isinstance(node, sp.Heaviside) else sp.S.NegativeOne)
