"""sinc(v) = sin(πv)/(πv) as NumPy, PyTorch and JAX have it, and its derivatives, without 0/0 and without cancellation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp


class Sinc(sp.Function):
    r"""The n-th derivative of sin(πv)/(πv) at v, an entire function: :math:`π^n \int_0^1 t^n \cos(πvt + nπ/2)\,dt`.

    Examples
    --------
    >>> v = sp.Symbol("v", real=True)
    >>> Sinc(v, 0).diff(v).subs(v, 0), Sinc(v, 0).diff(v, 2).subs(v, 0)
    (0, -pi**2/3)
    """

    nargs = 2

    @classmethod
    def eval(cls, v: Any, n: Any) -> Any:
        if v.is_zero:
            return sp.pi**n * sp.cos(n * sp.pi / 2) / (n + 1)
        # a zero that stands in a denominator must be seen
        return sp.S.Zero if v.is_integer and v.is_nonzero and n == 0 else None

    def fdiff(self, argindex: int = 1) -> Any:
        v, n = self.args
        return Sinc(v, n + 1)

    def _eval_is_extended_real(self) -> Any:
        return self.args[0].is_extended_real

    def _eval_is_finite(self) -> Any:
        return self.args[0].is_finite

    def _eval_evalf(self, prec: int) -> Any:
        v, n = self.args
        with mpmath.workprec(prec):
            return sp.Float(sinc_digits(v._to_mpmath(prec), int(n)), precision=prec)

    def _sympystr(self, printer: Any) -> str:
        v, n = self.args
        return f"sinc^({n})({printer._print(v)})" if n else f"sinc({printer._print(v)})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        v, n = self.args
        order = rf"^{{\left({n}\right)}}" if n else ""
        text = rf"\operatorname{{sinc}}{order}{{\left({printer._print(v)} \right)}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


@lru_cache(maxsize=64)
def _legendre(n: int) -> tuple[float, ...]:
    """t^n in Legendre polynomials: positive weights that add up to 1."""
    from numpy.polynomial.legendre import poly2leg

    return tuple(poly2leg([0.0] * n + [1.0]))


def sinc_floats(v: Any, n: int) -> Any:
    """Float64. Near 0: with t^n = Σ c_k P_k(t) it is π^n Σ_k i^{n+k} c_k j_k(πv), spherical Bessel functions.

    Elsewhere by u f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾ = sin(u + kπ/2), u = πv, which loses nothing there; whole v are zeros of sin exactly.
    """
    from scipy.special import spherical_jn

    v = np.asarray(v, dtype=np.float64)
    u, far = np.pi * v, np.abs(v) * np.pi > n + 1
    signs = {0: 1.0, 2: -1.0}
    bessel = (
        signs[(n + k) % 4] * weight * spherical_jn(k, u) for k, weight in enumerate(_legendre(n)) if (n + k) % 2 == 0
    )
    near = sum(bessel)
    whole = np.round(v)
    sign = 1 - 2 * np.mod(whole, 2)
    sine, cosine = sign * np.sin(np.pi * (v - whole)), sign * np.cos(np.pi * (v - whole))
    divisor = np.where(far, u, 1.0)
    value = sine / divisor
    for k in range(1, n + 1):
        shifted = (-1 if k % 4 > 1 else 1) * (cosine if k % 2 else sine)
        value = (shifted - k * value) / divisor
    return np.pi**n * np.where(far, value, near)


def sinc_digits(v: Any, n: Any) -> Any:
    """mpmath's numbers, complex too: near 0 the power series, else u f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾ = sin(u + kπ/2), u = πv."""
    n, size = int(n), float(abs(v)) * 3.2
    with mpmath.workprec(mpmath.mp.prec + 20 + int(1.5 * min(size, n + 1))):
        u = mpmath.pi * v
        value = _near_zero(u, n) if size < n + 1 else mpmath.sin(u) / u
        if size >= n + 1:
            for k in range(1, n + 1):
                value = (_shifted_sine(u, k) - k * value) / u
        value = mpmath.pi**n * value
    return +value


def _shifted_sine(u: Any, k: int) -> Any:
    """sin(u + kπ/2)."""
    return (-1 if k % 4 > 1 else 1) * (mpmath.cos(u) if k % 2 else mpmath.sin(u))


def _near_zero(u: Any, n: int) -> Any:
    """Σ_m cos((n+m)π/2) u^m / (m! (n+m+1)); terms beyond the digits of the largest are left out."""
    total, power, m = mpmath.mpf(0), mpmath.mpf(1), 0
    while True:
        if (n + m) % 2 == 0:
            total += (1 if (n + m) % 4 == 0 else -1) * power / (n + m + 1)
        m += 1
        power = power * u / m
        if m > abs(u) and abs(power) < mpmath.mpf(2) ** (-mpmath.mp.prec - 10) / (n + 1):
            return total
