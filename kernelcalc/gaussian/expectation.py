"""The front door: E[f(a)g(b)] by the best method for each covariance, with an honest error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath
import numpy as np
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import DivergentExpectationError, InputError, NotFiniteError, PrecisionWarning
from kernelcalc.expressions.exact import MULTIPRECISION, evaluate, in_algebra
from kernelcalc.gaussian.balls.expectation import DEFAULT_DIGITS, certified_expectation
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.digits.expectation import expectation as precise_expectation
from kernelcalc.gaussian.estimate import Estimate
from kernelcalc.gaussian.floats import closed as closed_form
from kernelcalc.gaussian.floats import kinds as combination
from kernelcalc.gaussian.floats import quadrature
from kernelcalc.gaussian.floats.norms import RTOL, lower_norms, scale_below
from kernelcalc.gaussian.floats.series import LENGTHS, MODEST, hermite_series, mehler_error
from kernelcalc.gaussian.floats.singular import delta_expectation, regular_part
from kernelcalc.gaussian.floats.sums import mehler_sum
from kernelcalc.gaussian.floats.taylor import SMALL_VARIANCE

GUARANTEE = 1e-10
# Digits of the exact algebra where it stands in for float64 quadrature.
DIGITS = 18
# Below this qq' − c² relative to qq', c's own rounding would be felt.
NEAR_DEGENERATE = 1e-6
Function: TypeAlias = "Activation | str | sp.Expr | Callable[[Any], Any]"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpectationResult:
    """Value of E[f(a)g(b)] with an error bound and the method used.

    Attributes
    ----------
    value : ndarray or float
        The expectation; an mpmath number if digits were asked for.
    error : ndarray or float
        Estimate of the absolute error, meant as an upper bound.
    method : str or ndarray of str
        "exact" (closed form), "series" (Mehler), "line" (|ρ| = 1), "polar", "nested" (panels), "singular" (delta
        functions), "deterministic" (a zero variance), "multiprecision" or "certified"; an array where methods differ.
    """

    value: Any
    error: Any
    method: Any


def gaussian_expectation(
    f: Function,
    g: Function,
    q1: Any,
    q2: Any,
    c: Any,
    *,
    full_output: bool = False,
    dps: int | None = None,
    rtol: float = RTOL,
    certified: bool = False,
) -> Any:
    r"""E[f(a) g(b)] for a centred Gaussian pair with covariance [[q1, c], [c, q2]].

    Parameters
    ----------
    f, g : Activation, str, sympy.Expr or callable
        Functions of one variable: a name, an expression, or a NumPy callable taken as smooth. Derivatives of kinked
        activations are distributions: E[δ(a)g(b)] is what the density makes of it.
    q1, q2, c : array_like
        Variances of a and b and their covariance; they broadcast. 0 variances and |ρ| = 1 are allowed.
    full_output : bool
        Return an :class:`ExpectationResult` with value, error and method.
    dps : int, optional
        Decimal digits: compute with mpmath and return an mpmath number (scalars only).
    rtol : float
        Error aimed at, relative to E|f(a)g(b)|; cheaper methods are kept where their error bound is below.
    certified : bool
        Return a ``flint.arb`` ball that provably contains the value (scalars only; extra ``certified``), of relative
        radius below 10^−dps, 15 digits by default, for analytic functions and for kinked ones with elementary closed
        forms. Floats count as the binary numbers they are, text as decimals, balls as all numbers in them.

    Returns
    -------
    float, ndarray, mpmath.mpf, flint.arb or ExpectationResult

    Raises
    ------
    CovarianceError, NotFiniteError, ShapeError
        For (q1, q2, c) that are no covariance, not finite, or do not broadcast.
    DivergentExpectationError
        If the expectation is infinite or overflows.
    MissingExtraError, NotCertifiableError
        With ``certified``: python-flint is missing, or f or g has no provable bounds.

    Warns
    -----
    PrecisionWarning
        If the error bound of some value exceeds 1e-10 E|f(a)g(b)|.

    References
    ----------
    The kernel 𝓛^{f,g} of Jacot, Gabriel, Hongler (ICLR 2020), Section 2.2.

    Examples
    --------
    The arc-cosine kernel at ρ = 0 is 1/2π:

    >>> float(gaussian_expectation("relu", "relu", 1.0, 1.0, 0.0))
    0.15915494309189535
    >>> result = gaussian_expectation("tanh", "tanh", 1.0, 2.0, 0.5, full_output=True)
    >>> result.method, bool(result.error < 1e-13)
    ('series', True)
    """
    f, g = as_activation(f), as_activation(g)
    if certified:
        ball = certified_expectation(f, g, q1, q2, c, digits=DEFAULT_DIGITS if dps is None else dps)
        return ExpectationResult(value=ball, error=ball.rad(), method="certified") if full_output else ball
    if dps is not None:
        value, error = precise_expectation(f, g, q1, q2, c, dps=dps)
        return ExpectationResult(value=value, error=error, method="multiprecision") if full_output else value
    if not (isinstance(rtol, float | int | np.number) and 0 < rtol < 1):
        raise InputError("0 < rtol < 1", repr(rtol))
    cov = make_covariance(q1, q2, c)
    flat = Covariance(q=cov.q.ravel(), qp=cov.qp.ravel(), c=cov.c.ravel(), det=cov.det.ravel())
    work = _Work(f, g, flat, rtol)
    work.run()
    shape = cov.q.shape
    value, error = work.value.reshape(shape)[()], work.error.reshape(shape)[()]
    if not full_output:
        return value
    methods = work.method.reshape(shape)
    method = str(methods.flat[0]) if methods.size and (methods == methods.flat[0]).all() else methods
    return ExpectationResult(value=value, error=error, method=method)


def pair_estimate(f: Activation, g: Activation, cov: Covariance, *, rtol: float) -> Estimate:
    """As :func:`gaussian_expectation` for checked arrays of shape (n,)."""
    work = _Work(f, g, cov, rtol)
    work.run()
    return Estimate(value=work.value, error=work.error)


class _Work:
    """One call: fills value, error and method, cheapest method first."""

    def __init__(self, f: Activation, g: Activation, cov: Covariance, rtol: float) -> None:
        self.f, self.g, self.cov, self.rtol = f, g, cov, rtol
        n = cov.q.size
        self.value = np.full(n, np.nan)
        self.error = np.full(n, np.inf)
        self.scale = np.zeros(n)
        self.method = np.full(n, "", dtype=object)

    def run(self) -> None:
        if self.cov.q.size == 0:
            return
        self.deterministic()
        self.closed_form()
        if self.f.deltas or self.g.deltas:
            self.singular()
        else:
            # Overflow within reach of a rule leaves the pair to the last one, which knows where the weight ends.
            with suppress(NotFiniteError):
                self.expansion()
            with suppress(NotFiniteError):
                self.line()
            # Pairs near |ρ| = 1 must not keep the series of the others short or long.
            near = np.abs(self.cov.rho) > MODEST
            for group in (~near, near):
                with suppress(NotFiniteError):
                    self.series(group)
            if self.f.centred and self.g.centred:
                self.take_quadrature("polar", lambda c: quadrature.polar(self.f, self.g, c, rtol=self.rtol))
            self.algebra()
            # The slowest method is for what the others leave above the guarantee.
            last = max(self.rtol, GUARANTEE) if self.rtol >= RTOL else self.rtol
            self.take_quadrature("nested", lambda c: quadrature.nested(self.f, self.g, c), last)
        self.judge()

    def open(self, rtol: float | None = None) -> np.ndarray:
        """Indices of the pairs that no method has settled yet."""
        rtol = self.rtol if rtol is None else rtol
        return np.flatnonzero(~(self.error <= rtol * self.scale) & ~np.isinf(self.value))

    def put(self, index: np.ndarray, estimate: Estimate, scale: np.ndarray, method: str) -> None:
        """Keep the new estimates that are better than what is there."""
        better = (estimate.error < self.error[index]) | np.isinf(estimate.value) | np.isnan(self.value[index])
        kept = index[better]
        self.value[kept], self.error[kept] = estimate.value[better], estimate.error[better]
        self.scale[kept], self.method[kept] = scale[better], method
        # A resolved E|fg| is the scale of errors whichever value is kept: that of a vanishing one is not seen in the value.
        known = ~better & (estimate.error <= scale / 2)
        self.scale[index[known]] = np.maximum(self.scale[index[known]], scale[known])

    def deterministic(self) -> None:
        index = np.flatnonzero((self.cov.q == 0) | (self.cov.qp == 0))
        if index.size == 0:
            return
        for delta, variance in [(d, self.cov.q) for d in self.f.deltas] + [(d, self.cov.qp) for d in self.g.deltas]:
            if delta.at == 0 and (variance[index] == 0).any():
                raise DivergentExpectationError("q > 0 under a delta function", "q = 0")
        part = self.cov.take(index)
        if self.f.deltas or self.g.deltas:
            # The variance of the deterministic one is 0; the other's deltas see the constant only through its value.
            for i in index:
                self._deterministic_singular(int(i))
            return
        estimate = quadrature.line(self.f, self.g, np.sqrt(part.q), np.sqrt(part.qp), rtol=self.rtol)
        self.put(index, estimate, estimate.magnitude, "deterministic")

    def _deterministic_singular(self, i: int) -> None:
        f, g, q = (self.f, self.g, self.cov.qp[i]) if self.cov.q[i] == 0 else (self.g, self.f, self.cov.q[i])
        constant = float(regular_part(f)(0.0))
        if q == 0:
            value, error = constant * float(regular_part(g)(0.0)), 0.0
        else:
            one = Covariance(q=np.array([q]), qp=np.array([q]), c=np.zeros(1), det=np.array([q * q]))
            inner = pair_estimate(g, as_activation(sp.S.One), one, rtol=self.rtol)
            value, error = constant * float(inner.value[0]), abs(constant) * float(inner.error[0])
        self.put(
            np.array([i]),
            Estimate(value=np.array([value]), error=np.array([error])),
            np.array([abs(value)]),
            "deterministic",
        )

    def closed_form(self) -> None:
        first, second = combination.recognise(self.f), combination.recognise(self.g)
        index = self.open()
        if first is None or second is None or index.size == 0:
            return
        part = self.cov.take(index)
        found = closed_form.expectation(first, second, part)
        if found is None:
            return
        value, error = (np.broadcast_to(v, index.shape) for v in (found.value, found.error))
        if any(polynomial.keys() != {(0, 0, 0)} for _, polynomial in found.terms):
            # Powers of the variances may overflow where the expectation does not.
            settled = np.isfinite(value) & np.isfinite(error)
            index, value, error = index[settled], value[settled], error[settled]
        self.put(index, Estimate(value=value, error=error), np.abs(value), "exact")
        index = self.open()
        if index.size and not (self.f.deltas or self.g.deltas):
            self.scale[index] = self.scales(index)

    def scales(self, index: np.ndarray) -> np.ndarray:
        part = self.cov.take(index)
        rows, row_of = np.unique(part.q, return_inverse=True)
        columns, column_of = np.unique(part.qp, return_inverse=True)
        norms_f, norms_g = lower_norms(self.f, rows), lower_norms(self.g, columns)
        trusted = np.maximum(np.abs(self.value[index]) - self.error[index], 0.0)
        return scale_below(norms_f[row_of], norms_g[column_of], part.rho, np.nan_to_num(trusted))

    def line(self) -> None:
        index = self.open()
        index = index[self.cov.det[index] == 0]
        if index.size:
            part = self.cov.take(index)
            signed = np.sign(part.c) * np.sqrt(part.qp)
            estimate = quadrature.line(self.f, self.g, np.sqrt(part.q), signed, rtol=self.rtol)
            self.put(index, estimate, estimate.magnitude, "line")

    def expansion(self) -> None:
        """Small variances: every term of the series is good to rounding of itself."""
        index = self.open()
        index = index[np.maximum(self.cov.q, self.cov.qp)[index] <= SMALL_VARIANCE]
        if index.size == 0:
            return
        part = self.cov.take(index)
        rows, row_of = np.unique(part.q, return_inverse=True)
        columns, column_of = np.unique(part.qp, return_inverse=True)
        series_f = hermite_series(self.f, rows, length=LENGTHS[0])
        series_g = hermite_series(self.g, columns, length=LENGTHS[0])
        kept = series_f.relative[row_of] & series_g.relative[column_of]
        index, part, row_of, column_of = index[kept], part.take(kept), row_of[kept], column_of[kept]
        f_terms, g_terms = series_f.coefficients.T[:, row_of], series_g.coefficients.T[:, column_of]
        value = mehler_sum(f_terms, g_terms, part.rho)
        size = mehler_sum(np.abs(f_terms), np.abs(g_terms), np.abs(part.rho))
        self.put(index, Estimate(value=value, error=16 * EPS * size), np.abs(value), "series")

    def series(self, group: np.ndarray) -> None:
        index = self.open()
        index = index[group[index]]
        if index.size == 0:
            return
        part = self.cov.take(index)
        rows, row_of = np.unique(part.q, return_inverse=True)
        columns, column_of = np.unique(part.qp, return_inverse=True)
        rho = part.rho
        reach = float(np.abs(rho).max())
        series_f = hermite_series(self.f, rows, reach=reach)
        same = self.f == self.g and np.array_equal(rows, columns)
        series_g = series_f if same else hermite_series(self.g, columns, reach=reach)
        length = max(series_f.coefficients.shape[1], series_g.coefficients.shape[1])
        if series_f.coefficients.shape[1] < length:
            series_f = hermite_series(self.f, rows, length=length)
        if series_g.coefficients.shape[1] < length:
            series_g = hermite_series(self.g, columns, length=length)
        # At most 2^20 products at once.
        f_terms, g_terms = series_f.coefficients.T, series_g.coefficients.T
        step = max(1, 2**20 // length)
        value, error = np.empty(index.size), np.empty(index.size)
        for start in range(0, index.size, step):
            block = slice(start, start + step)
            i, j = row_of[block], column_of[block]
            value[block] = mehler_sum(f_terms[:, i], g_terms[:, j], rho[block])
            error[block] = mehler_error(series_f.bounds[i], series_g.bounds[j], rho[block], length)
        norms_f, norms_g = lower_norms(self.f, rows), lower_norms(self.g, columns)
        trusted = np.maximum(np.abs(value) - error, 0.0)
        scale = scale_below(norms_f[row_of], norms_g[column_of], rho, trusted)
        self.put(index, Estimate(value=value, error=error), scale, "series")

    def take_quadrature(
        self, name: str, method: Callable[[Covariance], quadrature.Quadrature], rtol: float | None = None
    ) -> None:
        index = self.open(rtol)
        if index.size:
            with suppress(NotFiniteError):
                estimate = method(self.cov.take(index))
                self.put(index, estimate, estimate.magnitude, name)

    def algebra(self) -> None:
        """The exact algebra in multiprecision, a few milliseconds a pair: before panels, for functions it covers."""
        index = self.open()
        if index.size == 0 or not (in_algebra(self.f.expr) and in_algebra(self.g.expr)):
            return
        exact = [evaluate(self.f.expr, self.g.expr, *self._exact_pair(int(k)), DIGITS) for k in index]
        value = np.array([float(v) for v in exact])
        # The determinant is good to a few ulp, of which derivatives of deltas feel several.
        near = self.cov.det[index] <= NEAR_DEGENERATE * self.cov.q[index] * self.cov.qp[index]
        self.put(
            index, Estimate(value=value, error=np.where(near, 64, 2) * EPS * np.abs(value)), np.abs(value), "exact"
        )

    def _exact_pair(self, k: int) -> tuple[Any, Any, Any]:
        """q, q' and c as they are; near |ρ| = 1 the c that the determinant means, which the rounded c does not."""
        q, qp, c, det = (float(v[k]) for v in (self.cov.q, self.cov.qp, self.cov.c, self.cov.det))
        if det == 0:
            return Fraction(q), Fraction(c) ** 2 / Fraction(q), Fraction(c)
        if det > NEAR_DEGENERATE * q * qp:
            return q, qp, c
        with MULTIPRECISION, mpmath.workdps(60):
            return q, qp, mpmath.sign(c) * mpmath.sqrt(mpmath.mpf(q) * qp - det)

    def singular(self) -> None:
        index = self.open()
        if index.size == 0:
            return
        part = self.cov.take(index)
        first, second = regular_part(self.f), regular_part(self.g)
        terms = [pair_estimate(first, second, part, rtol=self.rtol)]
        terms += [delta_expectation(delta, self.g, part, rtol=self.rtol) for delta in self.f.deltas]
        terms += [delta_expectation(delta, first, part.swapped(), rtol=self.rtol) for delta in self.g.deltas]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        self.put(index, total, np.sum([np.abs(t.value) for t in terms], axis=0), "singular")

    def judge(self) -> None:
        infinite = ~np.isfinite(self.value)
        if infinite.any():
            i = int(np.flatnonzero(infinite)[0])
            raise DivergentExpectationError(
                f"a finite E[f(a)g(b)] of f = {self.f.name}, g = {self.g.name}",
                f"q1={self.cov.q[i]!r}, q2={self.cov.qp[i]!r}, c={self.cov.c[i]!r}",
                "on |ρ| = 1 products of delta functions diverge; fast growing functions need smaller variances",
            )
        bad = self.error > GUARANTEE * self.scale
        if bad.any():
            # Values near zero are judged against E|f(a)g(b)|, not against themselves.
            index = np.flatnonzero(bad)
            scale = self.scale[index]
            if not (self.f.deltas or self.g.deltas):
                scale = np.maximum(scale, self.scales(index))
            if (self.error[index] > GUARANTEE * scale).any():
                worst = float(np.max(self.error[index] / np.maximum(scale, np.finfo(float).tiny)))
                warnings.warn(
                    f"E[{self.f.name}(a) {self.g.name}(b)]: relative error up to {worst:.1e}; "
                    "pass dps= for more digits, or full_output=True to see each value's error",
                    PrecisionWarning,
                    stacklevel=4,
                )
