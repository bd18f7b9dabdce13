"""Single pairs: the ordered list of methods, and the loop that keeps the best estimate of each pair.

A new method is a class with ``applies`` and ``estimate`` and an entry of :data:`METHODS`.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import DivergentExpectationError, NotFiniteError, PrecisionWarning, warn
from kernelcalc.expressions.exact import evaluate, in_algebra
from kernelcalc.expressions.moments import OutgrownError
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Estimate, Scaled
from kernelcalc.gaussian.existence import infinite, meeting, not_shown, surely_infinite
from kernelcalc.gaussian.floats import closed, kinds, quadrature
from kernelcalc.gaussian.floats.mesh import rounds
from kernelcalc.gaussian.floats.method import FAINTEST, Method, Results
from kernelcalc.gaussian.floats.nested import nested
from kernelcalc.gaussian.floats.norms import RTOL, lower_norms, scale_below, series_error
from kernelcalc.gaussian.floats.series import LENGTHS, MODEST, HermiteSeries, hermite_series
from kernelcalc.gaussian.floats.singular import delta_expectation, regular_part
from kernelcalc.gaussian.floats.sums import mehler_sum
from kernelcalc.gaussian.floats.taylor import SMALL_VARIANCE
from kernelcalc.gaussian.symmetry import surely_zero, vanishes
from kernelcalc.machine import MULTIPRECISION

# Errors beyond this, relative to E|fg|, are warned of.
GUARANTEE = 1e-10
# Digits of the exact algebra where it stands in for float64 quadrature.
ALGEBRA_DIGITS = 18
# Below this qq' − c² relative to qq', c's own rounding would be felt.
NEAR_DEGENERATE = 1e-6
# Products of coefficients held at once.
PRODUCTS = 2**20
# Series kept, of so few variances at a time: at most 32 MiB. The first order in 1/width of few points asks for each of some 40
# about ten times.
_KEPT_SERIES, _FEW_VARIANCES = 128, 16


# what overflows is no value, and the next method's
@np.errstate(over="ignore", invalid="ignore")
def pair_results(f: Activation, g: Activation, cov: Covariance, *, rtol: float) -> Results:
    """E[f(a)g(b)] for arrays of shape (n,).

    Raises
    ------
    DivergentExpectationError
        If an expectation is infinite or overflows.

    Warns
    -----
    PrecisionWarning
        If an error bound exceeds GUARANTEE·E|f(a)g(b)|.
    """
    results = Results(cov.q.size)
    for method in METHODS:
        index = results.open(method.aim(rtol))
        index = index[method.applies(f, g, cov.take(index))] if index.size else index
        if index.size:
            with suppress(NotFiniteError):
                results.put(index, method.estimate(f, g, cov.take(index), rtol), method.name)
                results.done[index] = method.final & np.isfinite(results.error[index]) & (results.scale[index] > 0)
    _judge(f, g, cov, results)
    results.error[results.unseen()] += FAINTEST
    return results


def pair_estimate(f: Activation, g: Activation, cov: Covariance, *, rtol: float) -> Estimate:
    """Value and error of :func:`pair_results`."""
    results = pair_results(f, g, cov, rtol=rtol)
    return Estimate(value=results.value, error=results.error)


def _judge(f: Activation, g: Activation, cov: Covariance, results: Results) -> None:
    lost = ~np.isfinite(results.value)
    if lost.any():
        i = int(np.flatnonzero(lost)[0])
        proved = results.method[i] in (Infinite.name, Singular.name) and np.isinf(results.value[i])
        raise (infinite if proved else not_shown)(f, g, *(f"{v[i]:.17g}" for v in (cov.q, cov.qp, cov.c)))
    # that nothing but the end of float64 is left of a value is its error's to say
    faint = (results.value == 0) & (results.error <= 4 * FAINTEST)
    bad = ~(results.error <= GUARANTEE * results.scale) & ~faint
    if bad.any():
        # Values near zero are judged against E|f(a)g(b)|, not against themselves.
        scale, error = results.scale[bad], results.error[bad]
        if not _singular(f, g):
            scale = np.maximum(scale, _scale(f, g, cov.take(bad), results.value[bad], error))
        if (error > GUARANTEE * scale).any():
            worst = float(np.max(error / np.maximum(scale, np.finfo(float).tiny)))
            warn(
                f"E[{f.name}(a) {g.name}(b)]: relative error up to {worst:.1e}; "
                "pass dps= for more digits, or full_output=True to see each value's error",
                PrecisionWarning,
            )


def _singular(f: Activation, g: Activation) -> bool:
    return bool(f.deltas or g.deltas)


def _scale(f: Activation, g: Activation, cov: Covariance, value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """A lower bound of E|f(a)g(b)| from norms and what is known of its value."""
    rows, row_of = np.unique(cov.q, return_inverse=True)
    columns, column_of = np.unique(cov.qp, return_inverse=True)
    norms_f, norms_g = lower_norms(f, rows), lower_norms(g, columns)
    trusted = np.nan_to_num(np.maximum(np.abs(value) - error, 0.0))
    return scale_below(norms_f[row_of], norms_g[column_of], cov.rho, trusted)


class Deterministic(Method):
    """A variance of 0 makes its function a constant."""

    name = "deterministic"

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return (cov.q == 0) | (cov.qp == 0)

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        for delta, variance in [(d, cov.q) for d in f.deltas] + [(d, cov.qp) for d in g.deltas]:
            if delta.at == 0 and (variance == 0).any():
                raise DivergentExpectationError("q > 0 under a delta function", "q = 0")
        if not _singular(f, g):
            found = quadrature.line(f, g, np.sqrt(cov.q), np.sqrt(cov.qp), rtol=rtol)
            nothing = np.isfinite(found.value) & (vanishes(f) & (cov.q == 0) | vanishes(g) & (cov.qp == 0))
            value, error, magnitude = (np.where(nothing, 0.0, v) for v in (found.value, found.error, found.magnitude))
            return Scaled(value=value, error=error, magnitude=magnitude)
        value, error = np.array([self._one(f, g, q, qp, rtol) for q, qp in zip(cov.q, cov.qp, strict=True)]).T
        return Scaled(value=value, error=error, magnitude=np.abs(value))

    def _one(self, f: Activation, g: Activation, q: float, qp: float, rtol: float) -> tuple[float, float]:
        """The other's deltas see the constant only through its value."""
        if q != 0:
            f, g, q, qp = g, f, qp, q
        constant = float(regular_part(f)(0.0))
        if qp == 0:
            return constant * float(regular_part(g)(0.0)), 0.0
        one = Covariance(q=np.array([qp]), qp=np.array([qp]), c=np.zeros(1), det=np.array([qp * qp]))
        inner = pair_estimate(g, ONE, one, rtol=rtol)
        return constant * float(inner.value[0]), abs(constant) * float(inner.error[0])


class Infinite(Method):
    """What is proved not to exist, by growth or where kinks meet on |ρ| = 1."""

    name = "infinite"

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return np.asarray(surely_infinite(f, g, cov.q, cov.qp, cov.c, cov.det)) | meeting(f, g, cov)

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        nothing = np.zeros(cov.q.shape)
        return Scaled(value=nothing + np.inf, error=nothing + np.inf, magnitude=nothing)


class Symmetric(Method):
    """0 by symmetry: its error is 0 too."""

    name = "exact"

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return np.asarray(surely_zero(f, g, cov.q, cov.qp, cov.c, cov.det))

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        nothing = np.zeros(cov.q.shape)
        return Scaled(value=nothing, error=nothing, magnitude=nothing)


class ClosedForm(Method):
    """Sums of atoms whose pairs have formulas."""

    name = "exact"

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        known = kinds.recognise(f) is not None and kinds.recognise(g) is not None
        return np.full(cov.q.shape, known)

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        first, second = kinds.recognise(f), kinds.recognise(g)
        found = None if first is None or second is None else closed.expectation(first, second, cov)
        if found is None:
            return _nothing(cov)
        value, error = (np.array(np.broadcast_to(v, cov.q.shape)) for v in (found.value, found.error))
        if found.parts.has_powers:
            # Powers of the variances may overflow where the expectation does not.
            lost = ~(np.isfinite(value) & np.isfinite(error))
            value[lost], error[lost] = np.nan, np.inf
        scale = np.abs(value)
        unsettled = ~(error <= rtol * scale) & ~np.isinf(value)
        if unsettled.any() and not _singular(f, g):
            scale[unsettled] = _scale(f, g, cov.take(unsettled), value[unsettled], error[unsettled])
        return Scaled(value=value, error=error, magnitude=scale)


def _nothing(cov: Covariance) -> Scaled:
    return Scaled(
        value=np.full(cov.q.shape, np.nan), error=np.full(cov.q.shape, np.inf), magnitude=np.zeros(cov.q.shape)
    )


class Singular(Method):
    """Delta functions: conditional expectations, and the regular parts by the other methods."""

    name = "singular"

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return np.full(cov.q.shape, _singular(f, g))

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        first, second = regular_part(f), regular_part(g)
        total = pair_estimate(first, second, cov, rtol=rtol)
        terms = [delta_expectation(delta, g, cov, rtol=rtol) for delta in f.deltas]
        terms += [delta_expectation(delta, first, cov.swapped(), rtol=rtol) for delta in g.deltas]
        size = np.abs(total.value) + np.sum([term.magnitude for term in terms], axis=0)
        for term in terms:
            total = total + term
        return Scaled(value=total.value, error=total.error, magnitude=size)


class Regular(Method):
    """What the other methods have in common: functions without deltas."""

    def applies(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return self.covers(f, g, cov) & (not _singular(f, g))

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        """As ``applies`` for functions without deltas."""
        raise NotImplementedError


class Expansion(Regular):
    """Small variances: every term of the series is good to rounding of itself."""

    name = "series"

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return np.maximum(cov.q, cov.qp) <= SMALL_VARIANCE

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        rows, row_of = np.unique(cov.q, return_inverse=True)
        columns, column_of = np.unique(cov.qp, return_inverse=True)
        series_f, series_g = hermite_series(f, rows, length=LENGTHS[0]), hermite_series(g, columns, length=LENGTHS[0])
        kept = series_f.relative[row_of] & series_g.relative[column_of]
        f_terms, g_terms = series_f.coefficients.T[:, row_of], series_g.coefficients.T[:, column_of]
        value = np.where(kept, mehler_sum(f_terms, g_terms, cov.rho), np.nan)
        size = mehler_sum(np.abs(f_terms), np.abs(g_terms), np.abs(cov.rho))
        error = np.where(kept, 16 * EPS * size, np.inf)
        return Scaled(value=value, error=error, magnitude=np.nan_to_num(np.abs(value)))


class Line(Regular):
    """|ρ| = 1: one integral."""

    name = "line"

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return cov.det == 0

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        return quadrature.line(f, g, np.sqrt(cov.q), np.sign(cov.c) * np.sqrt(cov.qp), rtol=rtol)


class Apart(Regular):
    """Narrow features at c = 0, or with a constant: a product of two integrals, which other methods can only take twice."""

    name = "line"
    final = True

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        constant = not (f.expr.free_symbols and g.expr.free_symbols)
        return np.full(cov.q.shape, (f.narrow or g.narrow) and constant) | ((cov.c == 0) & (f.narrow or g.narrow))

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        left, right = (quadrature.line(h, ONE, np.sqrt(v), np.sqrt(v), rtol=rtol) for h, v in ((f, cov.q), (g, cov.qp)))
        error = left.error * np.abs(right.value) + right.error * np.abs(left.value) + left.error * right.error
        return Scaled(value=left.value * right.value, error=error, magnitude=left.magnitude * right.magnitude)


class Series(Regular):
    """Mehler series; pairs near |ρ| = 1 apart, which must not keep the series of the others short or long."""

    name = "series"

    def __init__(self, *, near: bool) -> None:
        self.near = near

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return (np.abs(cov.rho) > MODEST) == self.near

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        rows, row_of = np.unique(cov.q, return_inverse=True)
        columns, column_of = np.unique(cov.qp, return_inverse=True)
        series_f, series_g = self._of_one_length(f, g, rows, columns, float(np.abs(cov.rho).max()))
        f_terms, g_terms = series_f.coefficients.T, series_g.coefficients.T
        step = max(1, PRODUCTS // len(f_terms))
        value, error, rho = np.empty(cov.q.size), np.empty(cov.q.size), cov.rho
        for start in range(0, cov.q.size, step):
            block = slice(start, start + step)
            i, j, at = row_of[block], column_of[block], np.abs(rho[block])
            value[block] = mehler_sum(f_terms[:, i], g_terms[:, j], rho[block])
            cuts = series_f.bounds[i].cut(at), series_g.bounds[j].cut(at)
            error[block] = series_error(at ** len(f_terms), *cuts)
        return Scaled(value=value, error=error, magnitude=_scale(f, g, cov, value, error))

    def _of_one_length(
        self, f: Activation, g: Activation, rows: np.ndarray, columns: np.ndarray, reach: float
    ) -> tuple[HermiteSeries, HermiteSeries]:
        """Tails bound a product only if both series end at one length."""
        series_f = _series(f, rows, reach=reach)
        if f == g and np.array_equal(rows, columns):
            return series_f, series_f
        series_g = _series(g, columns, reach=reach)
        lengths = series_f.coefficients.shape[1], series_g.coefficients.shape[1]
        if lengths[0] < lengths[1]:
            series_f = _series(f, rows, length=lengths[1])
        elif lengths[1] < lengths[0]:
            series_g = _series(g, columns, length=lengths[0])
        return series_f, series_g


def _series(f: Activation, q: np.ndarray, *, reach: float | None = None, length: int | None = None) -> HermiteSeries:
    """:func:`hermite_series`, of a few variances kept."""
    if q.size > _FEW_VARIANCES:
        return hermite_series(f, q, reach=reach, length=length)
    return _kept_series(f, tuple(q.tolist()), reach, length)


@lru_cache(maxsize=_KEPT_SERIES)
def _kept_series(f: Activation, q: tuple[float, ...], reach: float | None, length: int | None) -> HermiteSeries:
    return hermite_series(f, np.array(q), reach=reach, length=length)


class Polar(Regular):
    """Polar coordinates, for kinks and features at 0."""

    name = "polar"

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        if not (f.centred and g.centred):
            return np.zeros(cov.q.shape, dtype=bool)
        return np.full(cov.q.shape, not (rounds(f, np.sqrt(cov.q)) or rounds(g, np.sqrt(cov.qp))))

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        return quadrature.polar(f, g, cov, rtol=rtol)


class Algebra(Regular):
    """The exact algebra in multiprecision, a few milliseconds a pair: before panels, for functions it covers."""

    name = "exact"

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return np.full(cov.q.shape, in_algebra(f.expr) and in_algebra(g.expr))

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        pairs = zip(cov.q.tolist(), cov.qp.tolist(), cov.c.tolist(), cov.det.tolist(), strict=True)
        value = np.array([self._one(f, g, *pair) for pair in pairs])
        # The determinant is good to a few ulp, of which derivatives of deltas feel several.
        near = cov.det <= NEAR_DEGENERATE * cov.q * cov.qp
        error = np.where(np.isnan(value), np.inf, np.where(near, 64, 2) * EPS * np.abs(value))
        return Scaled(value=value, error=error, magnitude=np.nan_to_num(np.abs(value)))

    def _one(self, f: Activation, g: Activation, q: float, qp: float, c: float, det: float) -> float:
        """NaN where a part outgrows the density, which the other methods need not look at apart."""
        try:
            return float(evaluate(f.expr, g.expr, *self._exact(q, qp, c, det), ALGEBRA_DIGITS))
        except OutgrownError:
            return np.nan

    def _exact(self, q: float, qp: float, c: float, det: float) -> tuple[Any, Any, Any]:
        """q, q' and c as they are; near |ρ| = 1 the c that the determinant means, which the rounded c does not."""
        if det == 0 and q > 0:
            return Fraction(q), Fraction(c) ** 2 / Fraction(q), Fraction(c)
        if det > NEAR_DEGENERATE * q * qp or q == 0:
            return q, qp, c
        with MULTIPRECISION, mpmath.workdps(60):
            lost = int(mpmath.log10(mpmath.mpf(q) * qp / det))
        with MULTIPRECISION, mpmath.workdps(60 + lost):
            return q, qp, mpmath.sign(c) * mpmath.sqrt(mpmath.mpf(q) * qp - det)


class Nested(Regular):
    """Panels within panels: slow, for any kinks and features."""

    name = "nested"

    def covers(self, f: Activation, g: Activation, cov: Covariance) -> np.ndarray:
        return (cov.q > 0) & (cov.qp > 0)

    def estimate(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> Scaled:
        return nested(f, g, cov)

    def aim(self, rtol: float) -> float:
        """The slowest method is for what the others leave above the guarantee."""
        return max(rtol, GUARANTEE) if rtol >= RTOL else rtol


# Cheapest first. Beside each what is lost without it, which tests/gaussian/floats/test_necessity.py measures.
METHODS: tuple[Method, ...] = (
    Deterministic(),  # correlations of a constant are 0/0: nothing is found
    Infinite(),  # 10 s until rules give up growth; 0 where the limit ρ → ±1 of products of deltas is, which is no value
    Symmetric(),  # 45 s for a wave of |x| beside an erf, which leave 10⁻⁵ of nothing
    ClosedForm(),  # 400,000 function values instead of none (the norms') for an erf near |ρ| = 1
    Singular(),  # functions have no values that a delta could be seen in: nothing is found
    Expansion(),  # a cancelled mean is good to E|fg| only: no digits of itself
    Line(),  # 26 times as many values where a kink meets |ρ| = 1
    Apart(),  # 18 times as many for the mean of a narrow feature
    Series(near=False),  # 38 times as many for pairs of one smooth function
    Series(near=True),  # one pair near |ρ| = 1 takes a rule of its own: 8 times as many
    Polar(),  # 49 times as many for a kink at 0
    Algebra(),  # 480 times as many for kinks elsewhere
    Nested(),  # kinks elsewhere outside the algebra are left at 3·10⁻⁵
)
