"""The front door: E[f(a)g(b)] by the best method for each covariance, with an honest error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sympy as sp

from kernelcalc.activations.activation import Activation
from kernelcalc.activations.names import as_activation
from kernelcalc.arguments import flag
from kernelcalc.errors import InputError, ResolutionWarning, warn
from kernelcalc.gaussian.balls.expectation import DEFAULT_DIGITS, certified_expectation
from kernelcalc.gaussian.covariance import Covariance, make_covariance
from kernelcalc.gaussian.digits.expectation import expectation as precise_expectation
from kernelcalc.gaussian.floats.mesh import mesh_radius, resolution
from kernelcalc.gaussian.floats.methods import pair_results
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.patience import watched
from kernelcalc.results.result import Result

Function: TypeAlias = "Activation | str | sp.Expr | Callable[[Any], Any]"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExpectationResult(Result):
    """Value of E[f(a)g(b)] with an error bound and the method used.

    Attributes
    ----------
    value : ndarray or float
        The expectation; an mpmath number if digits were asked for.
    error : ndarray or float
        Estimate of the absolute error, meant as an upper bound.
    method : str or ndarray of str
        "exact" (closed form, or 0 by symmetry), "series" (Mehler), "line" (|ρ| = 1), "polar", "nested" (panels),
        "singular" (delta functions), "deterministic" (a zero variance), "multiprecision" or "certified"; an array where
        methods differ.
    resolution : float
        0 for expressions. A plain callable is looked at so far apart: the error says nothing of what is finer.
    """

    value: Any
    error: Any
    method: Any
    resolution: float = 0.0

    def scalars(self) -> dict[str, Any]:
        values = {name: value for name, value in self.stored().items() if not np.ndim(value)}
        return {name: float(v) if isinstance(v, np.floating) else v for name, v in values.items()}

    def dimensions(self) -> dict[str, tuple[str, ...]]:
        arrays = {name: np.ndim(getattr(self, name)) for name in ("value", "error", "method")}
        return {name: tuple(f"axis_{i}" for i in range(count)) for name, count in arrays.items() if count}


@watched("functions of one factor or with a closed form, and fewer covariances, are faster")
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
        forms. Floats count as the binary numbers they are, text and ``decimal.Decimal`` as decimals, balls as all numbers in
        them.

    Returns
    -------
    float, ndarray, mpmath.mpf, flint.arb or ExpectationResult

    Raises
    ------
    CovarianceError, NotFiniteError, ShapeError
        For (q1, q2, c) that are no covariance, not finite, or do not broadcast.
    InputError
        ``rtol`` or ``dps`` out of their ranges.
    DivergentExpectationError
        If the expectation is infinite or overflows.
    MissingExtraError, NotCertifiableError
        With ``certified``: python-flint is missing, or f or g has no provable bounds.

    Warns
    -----
    PrecisionWarning
        If the error bound of some value exceeds 1e-10 E|f(a)g(b)|.
    ResolutionWarning
        For plain callables, which are known only where they are looked at: finer features are not seen.

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
    f, g, full_output = as_activation(f), as_activation(g), flag("full_output", full_output)
    if flag("certified", certified):
        ball = certified_expectation(f, g, q1, q2, c, digits=DEFAULT_DIGITS if dps is None else dps)
        return ExpectationResult(value=ball, error=ball.rad(), method="certified") if full_output else ball
    if dps is not None:
        value, error = precise_expectation(f, g, q1, q2, c, dps=dps)
        return ExpectationResult(value=value, error=error, method="multiprecision") if full_output else value
    if not (isinstance(rtol, float | int | np.number) and 0 < rtol < 1):
        raise InputError("0 < rtol < 1", repr(rtol))
    cov = make_covariance(q1, q2, c)
    flat = Covariance(q=cov.q.ravel(), qp=cov.qp.ravel(), c=cov.c.ravel(), det=cov.det.ravel())
    results = pair_results(f, g, flat, rtol=rtol)
    finest = _finest(f, g, cov)
    shape = cov.q.shape
    value, error = results.value.reshape(shape)[()], results.error.reshape(shape)[()]
    if not full_output:
        return value
    methods = results.method.reshape(shape)
    method = str(methods.flat[0]) if methods.size and (methods == methods.flat[0]).all() else methods
    return ExpectationResult(value=value, error=error, method=method, resolution=finest)


def _finest(f: Activation, g: Activation, cov: Covariance) -> float:
    """How far apart plain callables were looked at, with a warning; 0 without any."""
    finest = 0.0
    for act, variance in ((f, cov.q), (g, cov.qp)):
        if not act.form.known and variance.size and variance.max() > 0:
            own = resolution(mesh_radius(float(np.sqrt(variance.max()))))
            finest = max(finest, own)
            warn(
                f"the callable {act.name} is known only where it is looked at: features narrower than {own:.1g} would be "
                "missed; pass an expression, which shows where they are",
                ResolutionWarning,
            )
    return finest
