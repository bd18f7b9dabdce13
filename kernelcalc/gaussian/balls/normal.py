r"""Enclosures of the bivariate normal distribution function and of Owen's T, by Arb's integration of analytic functions.

.. math::
    Φ_2(h, k, ρ) &= Φ(h) Φ(k) + \frac1{2π} \int_0^{\arcsin ρ}
        \exp\Big(-\frac{(h-k)^2}{2\cos^2θ} - \frac{hk}{1 + \sin θ}\Big) dθ, \\
    T(h, a) &= \frac1{2π} \int_0^{\arctan a} e^{-h^2/2\cos^2θ} dθ.

References
----------
Plackett, Biometrika 41 (1954); Owen, Ann. Math. Stat. 27 (1956); Johansson, "Numerical integration in arbitrary-precision ball
arithmetic" (2018).
"""

from __future__ import annotations

from typing import Any

from kernelcalc.gaussian.balls.program import flint


def normal_cdf(h: Any) -> Any:
    """Φ(h)."""
    return (-h / flint().arb(2).sqrt()).erfc() / 2


def binormal_ball(h: Any, k: Any, rho: Any) -> Any:
    """A ball around Φ₂ at every correlation of the ball ``rho`` within ±1: Φ₂ grows with ρ, so its ends bound it."""
    arb = flint().arb
    low, high = (min(max(end, arb(-1)), arb(1)) for end in (rho.lower(), rho.upper()))
    value = _at_correlation(h, k, low)
    return value if rho.rad() == 0 else value.union(_at_correlation(h, k, high))


def _at_correlation(h: Any, k: Any, rho: Any) -> Any:
    if rho < 0:
        # P(X ≤ h, Y ≤ k) = P(X ≤ h) − P(X ≤ h, −Y ≤ −k).
        return normal_cdf(h) - _at_correlation(h, -k, -rho)
    if rho == 1:
        return normal_cdf(h.min(k))
    gap, slip = (h - k) ** 2 / 2, flint().arb(0)
    if (h - k).contains(0):
        # An undecided gap over cos² has no bound near θ = π/2; ∂Φ₂/∂k does: φ(k) < 1/2.
        gap, slip, k = slip, flint().arb(0, abs(h - k).upper() / 2), h

    def density(theta: Any, _: bool) -> Any:
        exponent = h * k / (1 + theta.sin())
        if not gap.is_zero():
            exponent += gap / theta.cos() ** 2
        return (-exponent).exp()

    return normal_cdf(h) * normal_cdf(k) + _integral(density, rho.asin()) + slip


def owens_t_ball(h: Any, a: Any) -> Any:
    """A ball around T(h, a); where a may be anything, T is between ±Φ(−|h|)/2."""
    arb = flint().arb
    if not a.is_finite():
        return normal_cdf(-abs(h)) / 2 * arb(0, 1)
    half = h * h / 2
    return _integral(lambda theta, _: (-half / theta.cos() ** 2).exp(), a.atan())


def _integral(function: Any, end: Any) -> Any:
    """∫_0^end/2π."""
    acb = flint().acb
    return acb.integral(function, acb(0), acb(end)).real / (2 * flint().arb.pi())
