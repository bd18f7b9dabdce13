"""Expectations that are 0 by symmetry: of an even and an odd function, and of an odd one that stands alone."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.expressions.atoms import x
from kernelcalc.expressions.growing import growth_rate
from kernelcalc.expressions.parity import parity, parity_by_rules

# 1 − 2αq and the determinant that decide whether an expectation exists are at least this, beyond their rounding.
SURELY_POSITIVE = 1e-6


@lru_cache(maxsize=1024)
def symmetry(function: Activation) -> int:
    """1 for an even function, −1 for an odd one, 0 where neither is proved; delta functions included.

    Examples
    --------
    >>> symmetry(Activation("tanh(x)")), symmetry(Activation("abs(x)").derivative(2)), symmetry(Activation("relu(x)"))
    (-1, 1, 0)
    """
    if not function.form.known:
        return 0
    if function.order:
        return symmetry(function.root) * (-1) ** function.order
    return parity_by_rules(function.expr) or parity(function.form.pieces, function.form.breaks)


@lru_cache(maxsize=1024)
def rate(function: Activation) -> float:
    """An α ≥ 0 with |f| ≤ A e^{αx² + B|x|}, infinite where no rule shows one."""
    return growth_rate(function.form.pieces, function.form.breaks)


@lru_cache(maxsize=1024)
def vanishes(function: Activation) -> bool:
    """Whether f(0) is proved to be 0, of which floating point may leave some rounding.

    Examples
    --------
    >>> vanishes(Activation("log(1+exp(x))-log(2)")), vanishes(Activation("cos(x)"))
    (True, False)
    """
    form = function.form
    if not form.known:
        return False
    first, last = (bisect(form.kinks, 0.0) for bisect in (bisect_left, bisect_right))
    return all(piece.subs(x, 0) == 0 for piece in form.pieces[first : last + 1])


def surely_zero(f: Activation, g: Activation, q: Any, qp: Any, c: Any, det: Any) -> Any:
    """Where E[f(a)g(b)] exists and is 0 because f(−a)g(−b) = −f(a)g(b), or because c = 0 and f or g is odd.

    Both are proved: parities by rules on expressions, and existence with |f| ≤ A e^{αx² + B|x|} and α' of g by
    I − 2 diag(α, α') Σ, whose leading minors are positive. Where no rule does, the answer is no.

    Parameters
    ----------
    q, qp, c, det : numbers or arrays
        Variances, the covariance, and qq' − c², 0 where |ρ| = 1.
    """
    alone, nowhere = c == 0, (c == 0) & (c != 0)
    first = symmetry(f)
    if first == 0 and not np.any(alone):
        return nowhere
    second = symmetry(g)
    if -1 not in (first, second):
        return nowhere
    alpha, beta = rate(f), rate(g)
    if math.inf in (alpha, beta):
        return nowhere
    found = (q > 0) & (qp > 0) & (alone | (first * second == -1))
    if f.deltas or g.deltas:
        found &= det > 0
    minors = 1 - 2 * alpha * q, 1 - 2 * alpha * q - 2 * beta * qp + 4 * alpha * beta * det
    return found & (minors[0] > SURELY_POSITIVE) & (minors[1] > SURELY_POSITIVE)
