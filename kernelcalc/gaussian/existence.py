"""Expectations that do not exist, proved from the expressions: at once, where rules would refine until they give up.

What is refused without a proof says so (:func:`not_shown`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import DivergentExpectationError
from kernelcalc.expressions.growing import least_rates
from kernelcalc.gaussian.symmetry import SURELY_POSITIVE

# Ulp of the places of two delta functions and of the slope between them.
_MEETING = 4
# Stands for the rate of what outgrows every e^{αx²}.
_LARGEST = 1e100


@lru_cache(maxsize=1024)
def _sides(function: Activation) -> tuple[tuple[int, float], ...]:
    """(−1, α), (1, α): |f(a)| ≥ A e^{αa² − B|a|} far out on either side, where something is known there."""
    if not function.form.known:
        return ()
    rates = least_rates(function.form.pieces, function.form.breaks)
    return tuple((side, min(rate, _LARGEST)) for side, rate in zip((-1, 1), rates, strict=True) if rate > -math.inf)


def surely_infinite(f: Activation, g: Activation, q: Any, qp: Any, c: Any, det: Any) -> Any:
    """Where E|f(a)g(b)| is infinite: E[|f(a)| | b] for every b, or f(a)g(b) along some ray of the plane outgrows the density.

    With |f| ≥ A e^{αa² − B|a|} the first is 2α (qq' − c²)/q' > 1, and likewise for g; the other that ½Σ^{-1} − diag(α, α') is
    negative somewhere between the sides on which α and α' hold.

    Parameters
    ----------
    q, qp, c, det : numbers or arrays
        Variances, the covariance, and qq' − c², 0 where |ρ| = 1.
    """
    found, positive = (q < 0) & (q > 0), (q > 0) & (qp > 0)
    sides = _sides(f), _sides(g)
    if max((rate for side in sides for _, rate in side), default=0) <= 0 or f.expr == 0 or g.expr == 0:
        return found
    for rates, variance in zip(sides, (qp, q), strict=True):
        for _, rate in rates:
            found |= positive & (variance - 2 * rate * det < -SURELY_POSITIVE * variance)
    for (side, rate), (other_side, other) in product(*sides):
        minor = 1 - 2 * rate * q - 2 * other * qp + 4 * rate * other * det
        found |= positive & (minor < -SURELY_POSITIVE) & (c * (side * other_side) > 0)
    return found


def refuse_infinite(f: Activation, g: Activation, q: Any, qp: Any, c: Any, det: Any) -> None:
    """Raise an error where :func:`surely_infinite`, for one covariance."""
    if surely_infinite(f, g, q, qp, c, det):
        raise infinite(f, g, q, qp, c)


def infinite(f: Activation, g: Activation, q: Any, qp: Any, c: Any) -> DivergentExpectationError:
    """The error that says so."""
    return DivergentExpectationError(
        f"a finite E[f(a)g(b)] of f = {f.name}, g = {g.name}",
        f"q1={q}, q2={qp}, c={c}",
        "on |ρ| = 1 products of delta functions diverge; fast growing functions need smaller variances",
    )


def not_shown(f: Activation, g: Activation, q: Any, qp: Any, c: Any) -> DivergentExpectationError:
    """The error where no method finds a value, which is no proof that there is none."""
    return DivergentExpectationError(
        f"an E[f(a)g(b)] of f = {f.name}, g = {g.name} that can be shown to be finite, and within float64",
        f"q1={q}, q2={qp}, c={c}, where no method does",
        "it may exist: try smaller variances, or dps= for numbers beyond 1e308",
    )


def meeting(f: Activation, g: Activation, cov: Any) -> np.ndarray:
    """Where |ρ| = 1 and a delta function of one meets a kink of the other that its order sees: such products do not exist."""
    found = np.zeros(cov.q.shape, dtype=bool)
    line = (cov.det == 0) & (cov.q > 0) & (cov.qp > 0)
    if not line.any():
        return found
    for at, other in (*_meetings(f, g), *((b, a) for a, b in _meetings(g, f))):
        moved = np.divide(cov.c * at, cov.q, out=np.zeros(cov.q.shape), where=line)
        found |= line & (np.abs(moved - other) <= _MEETING * EPS * abs(other))
    return found


def _meetings(f: Activation, g: Activation) -> Iterator[tuple[float, float]]:
    """Places of a δ^(m) of f and of the deltas of g^(m)."""
    for delta in f.deltas:
        for other in g.derivative(delta.order).deltas:
            yield float(delta.at), float(other.at)
