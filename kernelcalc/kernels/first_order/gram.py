"""Gram matrices of the first order: in floats by blocks of pairs, to many digits for one or two points.

Corrections multiply means of higher derivatives by powers of covariances. Where variances are large, or points nearly parallel
and nonlinearities kinked, they are small differences of large parts; how many digits that leaves a second computation shows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mpmath
import numpy as np

from kernelcalc.arrays import EPS, AnyArray
from kernelcalc.errors import DivergentExpectationError, KernelcalcError, PrecisionError, PrecisionWarning, warn
from kernelcalc.gaussian.digits.expectation import GUARD_DIGITS
from kernelcalc.gaussian.floats.methods import GUARANTEE
from kernelcalc.kernels.digits import DigitNumbers
from kernelcalc.kernels.first_order.entries import OWN_LIMITS, Filled
from kernelcalc.kernels.first_order.layers import Hidden, behind, first_state
from kernelcalc.kernels.first_order.numbers import DigitExpectations, FloatExpectations, Rounding
from kernelcalc.kernels.fold import Numbers
from kernelcalc.kernels.layers import Dense
from kernelcalc.kernels.points import Points, check_variances
from kernelcalc.machine import MULTIPRECISION

# Pairs of points that are folded together: some hundred arrays of this length are held.
PAIRS_AT_ONCE = 8192
# Digits that the guard digits cannot make up for; beyond so many lost ones floats do not tell how many there are.
_SPARE, _TOLD = 4, 12
_MOST_RAISES = 12
# An array that moves by so much of itself is nothing but rounding.
_NOTHING_LEFT = 0.1
# Pairs that are computed a second time where only their being nearly parallel gives reason to.
_SEEN_TWICE = 64

Pairs: TypeAlias = tuple[AnyArray, AnyArray]


@dataclass(frozen=True, kw_only=True)
class Computation:
    """The first order at points x (N, n_0): weights before the first nonlinearity, hidden layers, what is wanted."""

    first: Dense
    hidden: Sequence[Hidden]
    x: AnyArray
    names: Sequence[str]

    def floats(self) -> Filled:
        """float64 arrays, with a PrecisionWarning where rounding may matter, and does, but for the limits Σ and Θ."""
        rounding = Rounding()
        found = self._filled(rounding)
        if rounding.suspected:
            lost = self._lost(found, None if rounding.of_any_pair else _closest(self.x, found.arrays["sigma_limit"]))
            worst = max((name for name in lost if name not in OWN_LIMITS), key=lost.__getitem__, default="")
            if worst and not lost[worst] <= GUARANTEE:
                much = (
                    f"up to {lost[worst]:.0e} of its largest entry"
                    if lost[worst] < _NOTHING_LEFT
                    else "as large as itself"
                )
                warn(
                    f"rounding in finite_width: error of {worst} {much}; smaller inputs, functions that vary less fast, points "
                    "further apart, or dps= for one or two points have more digits",
                    PrecisionWarning,
                )
        return found

    def digits(self, dps: int) -> Filled:
        """Object arrays of mpmath numbers, right to ``dps`` digits of the largest entry of each.

        Raises
        ------
        PrecisionError
            If more cancels than a dozen raises of the precision make up for.
        """
        lost = self._digits_lost()
        if lost <= _TOLD:
            return self._to(dps + GUARD_DIGITS + max(0, math.ceil(lost) - GUARD_DIGITS + _SPARE))
        work = dps + 2 * GUARD_DIGITS
        found = self._to(work)
        for _ in range(_MOST_RAISES):
            work += work // 2
            before, found = found, self._to(work)
            with MULTIPRECISION, mpmath.workdps(work):
                if not max(_differences(before.arrays, found.arrays, ...).values(), default=0) > mpmath.mpf(10) ** -dps:
                    return found
        raise PrecisionError(
            f"more than {work} working digits cancelled in finite_width(dps={dps}); take points further apart"
        )

    def _filled(self, rounding: Rounding, only: Pairs | None = None) -> Filled:
        """Points once, then the pairs in blocks, all of different points or a few."""
        x, first, store = self.x, self.first, Filled(self.names, len(self.x), float)
        q = first.sigma_w**2 * Points.of(x).square + first.beta**2
        check_variances(q)
        everyone = np.arange(len(x))
        variances, state = [q], first_state({(0, 0): q})
        for layer in self.hidden:
            expect = FloatExpectations(layer.activation, variances[-1], everyone, everyone, variances[-1], rounding)
            state = behind(layer, state, expect, Numbers(), (0,))
            variances.append(state.limits["sigma", 0, 0])
        store.put(state, (0, 0), everyone, everyone)
        i, j = only or _different(x)
        if only is None:
            store.equal(*np.array(np.triu_indices(len(x), 1))[:, _equal(x)])
        for start in range(0, len(i), PAIRS_AT_ONCE):
            rows, columns = i[start : start + PAIRS_AT_ONCE], j[start : start + PAIRS_AT_ONCE]
            c = first.sigma_w**2 * np.einsum("pd,pd->p", x[rows], x[columns]) / x.shape[1] + first.beta**2
            c = rounding.moved(c, EPS * np.abs(c))
            state = first_state({(0, 0): q[rows], (0, 1): c, (1, 0): c, (1, 1): q[columns]})
            for layer, at_points in zip(self.hidden, variances, strict=False):
                between = state.limits["sigma", 0, 1]
                expect = FloatExpectations(layer.activation, at_points, rows, columns, between, rounding)
                state = behind(layer, state, expect, Numbers(), (0, 1))
            store.put(state, (0, 1), rows, columns)
        return store

    def _lost(self, found: Filled, only: Pairs | None = None) -> Mapping[str, float]:
        """By how much of its largest entry each array moves where every expectation and covariance moves by its error."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = self._filled(Rounding(np.random.default_rng(0)), only)
        return _differences(found.arrays, again.arrays, ... if only is None else only)

    def _digits_lost(self) -> float:
        """About the number of digits that cancel; infinite where floats cannot tell."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = self._filled(Rounding())
                worst = max(self._lost(found).values(), default=0.0)
        except KernelcalcError:
            return math.inf
        # in floats points may be parallel that are not
        if any(isinstance(error, DivergentExpectationError) for error in found.refused.values()):
            return math.inf
        return math.log10(max(worst / EPS, 1.0)) if math.isfinite(worst) else math.inf

    def _to(self, digits: int) -> Filled:
        """mpmath numbers, one or two points."""
        x, store = self.x, Filled(self.names, len(self.x), object)
        with MULTIPRECISION, mpmath.workdps(digits + GUARD_DIGITS):
            numbers = DigitNumbers(digits)
            scales = numbers.scales(self.first)
            which = tuple(range(len(x)))
            state = first_state(
                {(a, b): scales.weight * numbers.product(x[a], x[b]) + scales.bias for a in which for b in which}
            )
            for layer in self.hidden:
                expect = DigitExpectations(layer.activation, state.limits, digits)
                state = behind(layer, state, expect, numbers, which)
            for a in which:
                for b in which[a:]:
                    store.put(state, (a, b), a, b)
        return store


def _differences(one: Mapping[str, AnyArray], other: Mapping[str, AnyArray], at: Any) -> dict[str, Any]:
    """The largest of each array at some places over its largest entry; infinite for one that only the first has."""
    return {
        name: np.abs(other[name][at] - array[at]).max() / np.abs(array).max() if name in other else math.inf
        for name, array in one.items()
        if array.any()
    }


def _closest(x: AnyArray, sigma: AnyArray) -> Pairs:
    """Pairs of different points nearest to parallel, no more than are soon computed."""
    i, j = _different(x)
    size = np.diagonal(sigma)[i] * np.diagonal(sigma)[j]
    square = np.divide(sigma[i, j] ** 2, size, out=np.zeros_like(size), where=size > 0)
    most = np.argsort(-square, kind="stable")[:_SEEN_TWICE]
    return i[most], j[most]


def _different(x: AnyArray) -> Pairs:
    """All pairs of different points."""
    i, j = np.array(np.triu_indices(len(x), 1))[:, ~_equal(x)]
    return i, j


def _equal(x: AnyArray) -> AnyArray:
    """Which pairs, in the order of ``numpy.triu_indices``, are of equal points."""
    return np.concatenate([np.array([], dtype=bool), *((x[k + 1 :] == x[k]).all(axis=1) for k in range(len(x)))])
