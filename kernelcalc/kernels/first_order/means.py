r"""Means of derivatives of one function, E[F^(d)(a)], where differentiating has made them small differences of large parts.

With He the (probabilists') Hermite polynomials, integration by parts (Stein's lemma, m times) moves derivatives from F to
the density,

.. math::
    E[F^{(d)}(a)] = q^{-m/2} E[He_m(a/\sqrt q)\, F^{(d-m)}(a)], \quad a \sim N(0, q) .

Where F varies over lengths far below √q, F^(d) has both signs within one of them, its moments there are zero up to the
(d − 1)th, and its mean has lost a factor q^{d/2} of digits: with m = d nothing of the kind cancels. What is a polynomial far
away, as gelu² is, cancels against He_m instead, until it is differentiated away; so m is the one of the least error.
"""

from __future__ import annotations

import math
import warnings
from contextlib import suppress

import numpy as np

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.arrays import EPS, Array
from kernelcalc.errors import DivergentExpectationError, PrecisionWarning
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Estimate
from kernelcalc.gaussian.floats.methods import pair_results
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.kernels.first_order.products import Orders, product, times_power


def mean(f: Activation, q: Array) -> Estimate:
    """E f(a), a ~ N(0, q), (N,)."""
    cov = Covariance(q=q, qp=np.ones_like(q), c=np.zeros_like(q), det=q)
    found = pair_results(f, ONE, cov, rtol=RTOL)
    return Estimate(value=found.value, error=found.error)


def derivative_mean(act: Activation, orders: Orders, derivative: int, q: Array) -> Estimate:
    r"""E of the derivative-th derivative of :math:`\prod_k σ^{(k)}(a)`, a ~ N(0, q), (N,).

    Raises
    ------
    SmoothnessError, DivergentExpectationError
        As :func:`kernelcalc.kernels.first_order.products.product` and the mean itself.
    """
    best = mean(product(act, orders, derivative), q)
    for times in range(derivative):
        lost = (q > 0) & ~(best.error <= RTOL * np.abs(best.value))
        base = product(act, orders, times)
        if not lost.any() or base.deltas:
            break
        with suppress(DivergentExpectationError), warnings.catch_warnings():
            # what is worse than the direct mean is not taken
            warnings.simplefilter("ignore", PrecisionWarning)
            other = _by_parts(base, derivative - times, q[lost])
            better = other.error < best.error[lost]
            at = np.flatnonzero(lost)[better]
            best.value[at], best.error[at] = other.value[better], other.error[better]
    return best


def _by_parts(f: Activation, times: int, q: Array) -> Estimate:
    """q^{-times/2} E[He_times(a/√q) f(a)]."""
    value, error = np.zeros_like(q), np.zeros_like(q)
    for j in range(times // 2 + 1):
        power = times - 2 * j
        weight = (-1) ** j * math.factorial(times) / (math.factorial(j) * math.factorial(power) * 2**j)
        factor = weight * q ** (j - times)
        part = mean(times_power(f, power) if power else f, q)
        value += factor * part.value
        error += np.abs(factor) * (part.error + (times + 2) * EPS * np.abs(part.value))
    return Estimate(value=value, error=error)
