r"""Delta functions: derivatives of kinked activations.

.. math::
    E[δ^{(m)}(a - τ)\, g(b)] = (-1)^m \frac{d^m}{da^m} \Big[ φ_q(a)\, E[g(b) | a] \Big]_{a = τ}, \qquad
    \frac{d^n}{da^n} E[g(b)|a] = (c/q)^n\, E[g^{(n)}(b) | a],

with b | a ~ N(ca/q, (qq' − c²)/q); derivatives of g are again taken as distributions.
"""

from __future__ import annotations

import math

import numpy as np

from kernelcalc.activations.activation import ONE, Activation
from kernelcalc.arrays import EPS
from kernelcalc.expressions.atoms import Delta
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Scaled
from kernelcalc.gaussian.floats.quadrature import line


def regular_part(act: Activation) -> Activation:
    """The function without its delta terms."""
    if not act.deltas:
        return act
    return Activation(act.form.regular, name=f"{act.name} (regular part)")


def _normal_density_derivative(order: int, at: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The order-th derivative of the density of N(0, variance)."""
    std = np.sqrt(variance)
    z = at / std
    hermite = np.polynomial.hermite_e.hermeval(z, [0.0] * order + [1.0])
    return (-1) ** order * hermite * np.exp(-(z**2) / 2) / (np.sqrt(2 * np.pi) * std ** (order + 1))


def delta_expectation(delta: Delta, g: Activation, cov: Covariance, *, rtol: float) -> Scaled:
    """E[weight δ^{(m)}(a − τ) g(b)], arrays of shape (n,); infinite where it diverges.

    The magnitude is that of |g|: an odd g leaves nothing of the value.
    """
    at, (total, error, magnitude) = float(delta.at), np.zeros((3, *cov.q.shape))
    with np.errstate(invalid="ignore"):
        slope, variance = cov.c / cov.q, cov.det / cov.q
        for n in range(delta.order + 1):
            inner = _conditional(g.derivative(n), slope * at, variance, rtol=rtol)
            weight = math.comb(delta.order, n) * slope**n
            weight = weight * _normal_density_derivative(delta.order - n, np.full(cov.q.shape, at), cov.q)
            term = np.where(weight == 0, 0.0, weight * inner.value)
            total = total + term
            error = error + np.where(weight == 0, 0.0, np.abs(weight) * inner.error)
            # (z² ε) is the relative error of e^{−z²/2}.
            rounding = (16 + at**2 / cov.q) * EPS * inner.magnitude
            error = error + np.where(weight == 0, 0.0, np.abs(weight) * rounding)
            magnitude = magnitude + np.where(weight == 0, 0.0, np.abs(weight) * inner.magnitude)
    factor = float(delta.weight) * (-1) ** delta.order
    return Scaled(value=factor * total, error=abs(factor) * error, magnitude=abs(factor) * magnitude)


def _conditional(g: Activation, mean: np.ndarray, variance: np.ndarray, *, rtol: float) -> Scaled:
    """E[g(b)] for b ~ N(mean, variance), delta terms included."""
    std = np.sqrt(variance)
    regular = line(regular_part(g), ONE, std, std, rtol=rtol, mean=mean, mean_p=mean)
    value, error, magnitude = regular.value, regular.error, regular.magnitude
    for delta in g.deltas:
        away = float(delta.at) - mean
        density = np.where(
            variance > 0,
            (-1) ** delta.order * _normal_density_derivative(delta.order, away, np.where(variance > 0, variance, 1.0)),
            np.where(away == 0, np.inf, 0.0),
        )
        # That of the mean is felt besides.
        size = np.abs(away) * (np.abs(away) + 2 * np.abs(mean))
        z2 = np.divide(size, variance, out=np.zeros_like(variance), where=variance > 0)
        value = value + float(delta.weight) * density
        error = error + abs(float(delta.weight)) * np.abs(density) * (16 + z2) * EPS
        magnitude = magnitude + abs(float(delta.weight)) * np.abs(density)
    return Scaled(value=value, error=error, magnitude=magnitude)
