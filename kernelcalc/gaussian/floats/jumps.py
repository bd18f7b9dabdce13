r"""Hermite coefficients of functions made of polynomials and exponentials between kinks, from their jumps.

Integrating by parts, :math:`h_k φ = -(h_{k-1} φ)'/\sqrt k`, a piecewise polynomial leaves nothing but jumps: with J_j(p) the
jump of f^{(j)} at p, and k above the degree of every piece,

.. math::
    f_k(q) = \sum_p \sum_j J_j(p)\, q^{j/2} \sqrt{\frac{(k-1-j)!}{k!}}\; h_{k-1-j}(p/\sqrt q)\, φ(p/\sqrt q),

and a function that is a multiple of e^{λx} between its jumps J(p)

.. math:: f_k(q) = \frac{1}{\sqrt k} \Big[ λ\sqrt q\, f_{k-1}(q) + \sum_p J(p)\, h_{k-1}(p/\sqrt q)\, φ(p/\sqrt q) \Big],

which is stable upwards from k = λ²q. No quadrature, and every coefficient good to rounding of its largest term.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS, Array
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.zeros import expanded

# Coefficients below λ²q come from quadrature, whose cost grows with them.
MOST_BY_QUADRATURE = 64

# Numbers of a table of Hermite functions, 512 KiB, which stay in cache, and orders in it at least.
_TABLE_NUMBERS, _LEAST_ORDERS = 2**16, 16


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Where a function jumps: ``polynomial[j]`` are the jumps of the j-th derivative of its polynomials at every kink,
    ``exponential[λ]`` those of its multiple of e^{λx}.
    """

    kinks: tuple[float, ...]
    polynomial: tuple[tuple[float, ...], ...]
    exponential: dict[float, tuple[float, ...]]

    def by_quadrature(self, q: float) -> int:
        """How many coefficients the formulas do not give at variances up to q."""
        steepest = max((rate * rate for rate in self.exponential), default=0.0)
        return max(len(self.polynomial), math.ceil(steepest * q)) + 1

    def rounding(self, std: Array) -> Array:
        """Norm of what the coefficients lose where jumps are far larger than the function, as those of a steep ramp are."""
        z = self.places(std)
        weight = (1 + np.abs(z)) * np.exp(-(z**2) / 4)
        orders = [np.abs(row)[:, None] * std**j for j, row in enumerate(self.polynomial) if j]
        return EPS * sum(((order * weight).sum(axis=0) for order in orders), np.zeros(std.size))

    def places(self, std: Array) -> Array:
        """The kinks in standard deviations, (kinks, rows); at variance 0, which knows none, as if that were 1."""
        return np.asarray(np.array(self.kinks)[:, None] / np.where(std > 0, std, 1.0))


@lru_cache(maxsize=256)
def jumps_of(act: Activation) -> Jumps | None:
    """The jumps of a function with kinks between which it is a polynomial plus exponentials; None for others.

    Examples
    --------
    >>> from kernelcalc.activations.names import activation
    >>> jumps_of(activation("hard_tanh")).polynomial
    ((0.0, 0.0), (1.0, -1.0))
    >>> jumps_of(activation("elu")).exponential, jumps_of(activation("tanh"))
    ({1.0: (-1.0,)}, None)
    """
    if not act.kinks or act.deltas:
        return None
    parts = [_parts(piece) for piece in act.form.pieces]
    if any(part is None for part in parts):
        return None
    sides = [part for part in parts if part is not None]
    degree = max(int(sp.degree(side[sp.S.Zero], x)) if side[sp.S.Zero].has(x) else 0 for side in sides)
    rates = {rate for side in sides for rate in side if rate != 0}

    def across(rate: sp.Expr, order: int) -> tuple[float, ...]:
        return tuple(
            float(sp.diff((right[rate] - left[rate]) * sp.exp(rate * x), x, order).subs(x, at))
            for at, left, right in zip(act.form.breaks, sides[:-1], sides[1:], strict=True)
        )

    return Jumps(
        kinks=act.kinks,
        polynomial=tuple(across(sp.S.Zero, order) for order in range(degree + 1)),
        exponential={float(rate): across(rate, 0) for rate in sorted(rates)},
    )


def _parts(piece: sp.Expr) -> defaultdict[sp.Expr, sp.Expr] | None:
    """A piece as {0: polynomial, λ: factor of e^{λx}, ...}; None if it is more than that."""
    found: defaultdict[sp.Expr, sp.Expr] = defaultdict(lambda: sp.S.Zero)
    for term in sp.Add.make_args(expanded(piece)):
        if term.is_polynomial(x):
            found[sp.S.Zero] += term
            continue
        factor, rest = term.as_independent(x)
        if not isinstance(rest, sp.exp) or not rest.args[0].is_polynomial(x) or sp.degree(rest.args[0], x) != 1:
            return None
        rate, shift = rest.args[0].coeff(x, 1), rest.args[0].coeff(x, 0)
        found[rate] += factor * sp.exp(shift)
    return found


def jump_coefficients(jumps: Jumps, std: Array, low: Array, terms: int) -> Array:
    """f_k at a = std·Z for k < terms, shape (rows, terms).

    Parameters
    ----------
    low : ndarray (number of exponentials + 1, rows, first)
        The first coefficients of every exponential, then those of the whole function, from elsewhere.
    """
    first, count = low.shape[2], terms
    found = np.zeros((count, std.size))
    z = jumps.places(std)
    half = np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25
    # Times φ^{1/2} the recurrence stays bounded for every k; the other half of the weight comes with the jumps.
    heights = [np.array(row)[:, None] * std**j * half for j, row in enumerate(jumps.polynomial)]
    ends = [np.array(row)[:, None] * half for row in jumps.exponential.values()]
    slopes = [rate * std for rate in jumps.exponential]
    carried = [one[:, -1] if first else np.zeros(std.size) for one in low[:-1]]
    step = min(count, max(_LEAST_ORDERS, _TABLE_NUMBERS // max(1, half.size)))
    table = np.zeros((step + 2, *half.shape))
    table[-1] = half
    for start in range(1, count, step):
        k = np.arange(start, min(start + step, count))
        hermite = _hermite_functions(table, z, k)
        for j, height in enumerate(heights):
            known = (k + j >= first) & (k + j < count)
            scale = np.sqrt(np.prod([k[known] + float(i) for i in range(j + 1)], axis=0))
            found[k[known] + j] += np.einsum("pr,kpr->kr", height, hermite[known]) / scale[:, None]
        known = k >= first
        for n, (end, slope) in enumerate(zip(ends, slopes, strict=True)):
            driven = np.einsum("pr,kpr->kr", end, hermite[known])
            for order, row in zip(k[known].tolist(), driven, strict=True):
                row += slope * carried[n]
                row /= math.sqrt(order)
                carried[n] = row
            found[k[known]] += driven
    # f of variance 0 is the constant f(0)
    found[:, std == 0] = 0.0
    found[:first] = low[-1].T[:count]
    return np.ascontiguousarray(found.T)


def _hermite_functions(table: Array, z: Array, k: Array) -> Array:
    """h_{k−1}(z) φ^{1/2} for consecutive k, in a table whose last two entries are those before; it is written over."""
    table[:2] = table[-2:]
    shifts, weights = z / np.sqrt(k)[:, None, None], np.sqrt((k - 1.0) / k).tolist()
    # entry i + 1 has h_{k−1} of the i-th k
    for i, (shift, weight) in enumerate(zip(shifts, weights, strict=True), start=2):
        np.multiply(shift, table[i - 1], out=table[i])
        table[i] -= weight * table[i - 2]
    return table[1 : len(k) + 1]


@lru_cache(maxsize=256)
def exponential_parts(act: Activation) -> tuple[Activation, ...]:
    """The multiples of e^{λx} alone, as functions of their own."""
    parts = [_parts(piece) for piece in act.form.pieces]
    jumps = jumps_of(act)
    assert jumps is not None
    made = []
    for rate in jumps.exponential:
        wanted = next(one for part in parts if part is not None for one in part if float(one) == rate)
        pieces = tuple((part or {}).get(wanted, sp.S.Zero) * sp.exp(wanted * x) for part in parts)
        form = type(act.form)(breaks=act.form.breaks, pieces=pieces, stable=pieces)
        made.append(Activation(form, name=f"{act.name}, e^({rate:g}x)"))
    return tuple(made)
