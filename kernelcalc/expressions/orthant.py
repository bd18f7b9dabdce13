r"""Bivariate normal orthant probabilities: Owen's T function and Φ₂(h, k, ρ) in mpmath, NumPy and SymPy.

Everything rests on Nicholson's function :math:`V(h, y) = ∫_0^h φ(u) ∫_0^{uy/h} φ(v)\, dv\, du`, odd and entire in h
and y:

.. math::
    Φ_2(h, k, ρ) = \tfrac12 Φ(h) + \tfrac12 Φ(k) - \frac{\arccos ρ}{2π}
                   + V\Big(h, \frac{k-ρh}{\sqrt{1-ρ^2}}\Big) + V\Big(k, \frac{h-ρk}{\sqrt{1-ρ^2}}\Big),
    \qquad T(h, a) = \frac{\arctan a}{2π} - V(h, ah),

which, unlike Owen's own formula, has no case distinctions on the signs of h and k.

References
----------
Owen (1956), "Tables for computing bivariate normal probabilities". Nicholson (1943), "The probability integral for two
variables".
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy as sp
from mpmath import mp
from numpy.typing import ArrayLike, NDArray

from kernelcalc.errors import InputError, PrecisionError
from kernelcalc.expressions.parsing import to_sympy
from kernelcalc.machine import MULTIPRECISION

# Squared distance from 0 beyond which a quadrant's probability, below 1e-13, is integrated by itself.
FAR_QUADRANT = 60
# What the exponent of a complex argument changes by on one panel, and the most panels: seconds.
PANEL_TURN, MOST_TURNS = 40, 2000
# A correlation computed in float64 may lie beyond 1 by a few roundings.
_ROUNDED_CORRELATION = 1e-12


def nicholson_v(h: Any, y: Any) -> Any:
    """V(h, y) at the current mpmath precision; real or complex arguments.

    Examples
    --------
    >>> print(mpmath.nstr(4 * nicholson_v(mpmath.inf, mpmath.inf), 5), mpmath.nstr(nicholson_v(2, 0), 5))
    0.5 0.0
    """
    if h == 0 or y == 0:
        return mpmath.mpf(0)
    if mpmath.isinf(h) and mpmath.isinf(y):
        return mpmath.sign(h) * mpmath.sign(y) / mpmath.mpf(8)
    if abs(y) > abs(h):
        return _half_erf(h) * _half_erf(y) - nicholson_v(y, h)
    if mpmath.isinf(h):
        return mpmath.mpf(0)
    slope, half = y / h, h * h / 2
    if mpmath.im(h) or mpmath.im(y):
        area = mpmath.quad(_slope_integrand(slope, half), _complex_cuts(slope, half), method="gauss-legendre")
        return slope * area / (2 * mp.pi)
    # The integrand is e^{−h²t²/2} wide; beyond |h| of 1 the cuts keep each panel to a few widths.
    width = 4 / max(abs(h), 1)
    panels = 1 if abs(slope) <= width else int(mpmath.ceil(mpmath.log(abs(slope) / width, 2))) + 1
    nodes = [0] + [slope / 2**k for k in range(panels - 1, -1, -1)]
    area = mpmath.quad(lambda t: -mpmath.expm1(-half * (1 + t * t)) / (1 + t * t), nodes, method="gauss-legendre")
    return area / (2 * mp.pi)


def _slope_integrand(slope: Any, half: Any) -> Any:
    """What V(h, y) integrates over s from 0 to 1 where t = s y/h; the exponential is entire, the zeros of 1 + t² are none."""

    def integrand(s: Any) -> Any:
        bend = 1 + (slope * s) ** 2
        return -mpmath.expm1(-half * bend) / bend if bend != 0 else half

    return integrand


def _complex_cuts(slope: Any, half: Any) -> list[Any]:
    """Panels of s from 0 to 1 on each of which e^{−h²t²/2}, at t = s·slope, turns or grows by e^{40}.

    Raises
    ------
    PrecisionError
        The exponential turns too often.
    """
    end = half * slope * slope
    size, growth = abs(end), -mpmath.re(end)
    # What grows towards s = 1 by more digits than are kept is nothing before.
    first = mpmath.sqrt(max(0, 1 - (mp.prec + 20) * mpmath.log(2) / growth)) if growth > 0 else mpmath.mpf(0)
    count = int(mpmath.ceil(size * (1 - first**2) / PANEL_TURN)) or 1
    if count > MOST_TURNS:
        raise PrecisionError(f"Φ₂ at complex arguments: an exponential of {count} panels")
    even = {mpmath.sqrt(first**2 + (1 - first**2) * n / count) for n in range(count + 1)}
    if abs(1 + slope * slope) < 0.5:
        # 1/(1 + t²) has its poles beside s = 1.
        even |= {max(first, 1 - mpmath.ldexp(1, -k)) for k in range(1, max(2, mpmath.mag(half) + 1))}
    return sorted(even)


def owens_t(h: Any, a: Any) -> Any:
    """Owen's T function at the current mpmath precision.

    Examples
    --------
    >>> print(mpmath.nstr(owens_t(1, 1), 12))
    0.0667418821657
    """
    h, a = mpmath.mpmathify(h), mpmath.mpmathify(a)
    return mpmath.atan(a) / (2 * mp.pi) - nicholson_v(h, a * h)


def binormal_cdf(h: Any, k: Any, cosine: Any, sine: Any) -> Any:
    """Φ₂(h, k, ρ) with ρ = cosine and √(1−ρ²) = sine > 0, given apart so that no digits are lost near ρ = ±1.

    Complex h and k, of waves beside a step, keep as many digits as do not cancel.
    """
    if not (mpmath.im(h) or mpmath.im(k)):
        return _binormal_real(mpmath.re(h), mpmath.re(k), cosine, sine)
    return _by_nicholson(h, k, cosine, sine)


def _binormal_real(h: Any, k: Any, cosine: Any, sine: Any) -> Any:
    # The point of the quadrant that is nearest to 0 lies in the corner, or at one side.
    left, below = h - cosine * k, k - cosine * h
    if left < 0 and below < 0:
        if h * h + (below / sine) ** 2 > FAR_QUADRANT:
            return _far_quadrant(min(h, k), max(h, k), cosine, sine)
    elif h < 0 <= below and h * h > FAR_QUADRANT:
        return _far_quadrant(h, k, cosine, sine)
    elif k < 0 <= left and k * k > FAR_QUADRANT:
        return _far_quadrant(k, h, cosine, sine)
    return _by_nicholson(h, k, cosine, sine)


def _by_nicholson(h: Any, k: Any, cosine: Any, sine: Any) -> Any:
    angle = mpmath.atan2(sine, cosine)
    out = (_half_erf(h) + _half_erf(k) + 1) / 2 - angle / (2 * mp.pi)
    if h != 0:
        out += nicholson_v(h, (k - cosine * h) / sine)
    if k != 0:
        out += nicholson_v(k, (h - cosine * k) / sine)
    return out


def _far_quadrant(h: Any, k: Any, cosine: Any, sine: Any) -> Any:
    """∫_{−∞}^h φ(u) Φ((k − ρu)/√(1−ρ²)) du whose integrand falls from h on: no digits cancel, however small it is."""
    # φ far out feels the rounding of its argument by the square of its size.
    precise = mp.prec + 2 * max(0, mpmath.mag((k - cosine * h) / sine))
    with mp.workprec(precise):
        start, slope = (k - cosine * h) / sine, cosine / sine
        first = mpmath.ncdf(start)
    # Concave logarithms fall at least as fast as at first, and as φ does.
    rate = -h - cosine / sine * mpmath.npdf(start) / first
    depth = mp.prec * mpmath.log(2) + 10
    end = min(depth / rate, mpmath.sqrt(2 * depth)) if rate > 0 else mpmath.sqrt(2 * depth)
    width = min(1 / rate, sine) if rate > 0 else sine
    width = min(width, end)
    places = {mpmath.mpf(0), end} | {width * 2**n for n in range(int(mpmath.log(end / width, 2)) + 1)}
    if cosine != 0:
        # Here the other condition begins or ends to hold.
        turn = (cosine * h - k) / cosine
        places |= {turn + n * sine for n in (-9, -6, -3, -1, 0, 1, 3, 6, 9) if 0 < turn + n * sine < end}

    def integrand(t: Any) -> Any:
        with mp.workprec(precise):
            inner = mpmath.ncdf(start + slope * t) / first
        return mpmath.exp(h * t - t * t / 2) * inner

    # In units of the width, so that the integral is of the size of 1.
    cuts = [place / width for place in sorted(places)]
    area = mpmath.quad(lambda t: integrand(width * t), cuts, method="gauss-legendre")
    return mpmath.npdf(h) * first * width * area


def _half_erf(h: Any) -> Any:
    return mpmath.erf(h / mpmath.sqrt(2)) / 2


def binormal_cdf_float(h: ArrayLike, k: ArrayLike, rho: ArrayLike) -> NDArray[np.float64]:
    """Φ₂(h, k, ρ) in float64 with broadcasting, by :func:`scipy.special.owens_t`.

    Raises
    ------
    InputError
        Complex numbers.

    Examples
    --------
    >>> float(binormal_cdf_float(0.0, 0.0, 0.5).round(12))
    0.333333333333
    """
    from scipy.special import ndtr

    if any(np.iscomplexobj(v) for v in (h, k, rho)):
        raise InputError(
            "real h, k, rho", "complex numbers", "waves times kinks have no float64 form: take kernels in numbers"
        )
    h, k, rho = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (h, k, rho)))
    sine = np.sqrt((1 - rho) * (1 + rho))
    # At ρ = ±1 the event is one half line.
    edge = np.where(rho > 0, ndtr(np.minimum(h, k)), np.maximum(ndtr(h) - ndtr(-k), 0.0))
    safe = np.where(sine > 0, sine, 1.0)
    inside = (
        (ndtr(h) + ndtr(k)) / 2
        - np.arctan2(sine, rho) / (2 * np.pi)
        + _v_float(h, (k - rho * h) / safe)
        + _v_float(k, (h - rho * k) / safe)
    )
    return np.where(sine > 0, inside, edge)[()]


def _v_float(h: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import owens_t as scipy_owens_t

    safe = np.where(h == 0, 1.0, h)
    return np.where(h == 0, 0.0, np.arctan(y / safe) / (2 * np.pi) - scipy_owens_t(safe, y / safe))


def _owens_t_float(h: ArrayLike, a: ArrayLike) -> NDArray[np.float64]:
    from scipy.special import owens_t as scipy_owens_t

    return scipy_owens_t(np.asarray(h, dtype=float), np.asarray(a, dtype=float))


def _at_precision(function: Any, prec: int, args: tuple[sp.Expr, ...]) -> sp.Expr | None:
    values = [a._to_mpmath(prec + 20) if a.is_number else None for a in args]
    if any(v is None for v in values):
        return None
    with MULTIPRECISION, mpmath.workprec(prec + 20):
        return sp.Expr._from_mpmath(function(*values), prec)


class OwensT(sp.Function):
    r"""Owen's T function :math:`\frac1{2π}∫_0^a \frac{e^{-h^2(1+t^2)/2}}{1+t^2} dt` as a SymPy function.

    Examples
    --------
    >>> OwensT(1, 1).evalf(20)
    0.066741882165700966623
    >>> OwensT(0, sp.sqrt(3))
    1/6
    """

    nargs = 2
    is_real = True
    _imp_ = staticmethod(_owens_t_float)

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Arguments that are expressions or numbers; a text is read by the whitelist."""
        return super().__new__(cls, *map(to_sympy, args), **options)

    @classmethod
    def eval(cls, h: sp.Expr, a: sp.Expr) -> sp.Expr | None:
        """Value at the special points."""
        if h.is_zero:
            return sp.atan(a) / (2 * sp.pi)
        if a.is_zero:
            return sp.S.Zero
        if a.could_extract_minus_sign():
            return -cls(h, -a)
        if h.could_extract_minus_sign():
            return cls(-h, a)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Partial derivative."""
        h, a = self.args
        if argindex == 1:
            return -sp.exp(-(h**2) / 2) * sp.erf(a * h / sp.sqrt(2)) / (2 * sp.sqrt(2 * sp.pi))
        return sp.exp(-(h**2) * (1 + a**2) / 2) / (2 * sp.pi * (1 + a**2))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _at_precision(owens_t, prec, self.args)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = ", ".join(printer._print(a) for a in self.args)
        return rf"T\left({inner}\right)" + (f"^{{{exp}}}" if exp else "")


class BinormalCDF(sp.Function):
    r"""Φ₂(h, k, ρ) = P(X ≤ h, Y ≤ k) for standard normals of correlation ρ, as a SymPy function.

    Examples
    --------
    >>> BinormalCDF(0, 0, sp.Rational(1, 2))
    1/3
    >>> BinormalCDF(1, -1, sp.Rational(1, 2)).evalf(15)
    0.154872951858603
    """

    nargs = 3
    is_real = True
    _imp_ = staticmethod(binormal_cdf_float)

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Arguments that are expressions or numbers; a text is read by the whitelist.

        Raises
        ------
        InputError
            A correlation that is a number outside [-1, 1].
        """
        given = [to_sympy(value) for value in args]
        rho = given[-1] if len(given) == 3 else sp.Integer(0)
        if rho.is_number and rho.is_real and abs(rho) > 1 + _ROUNDED_CORRELATION:
            raise InputError("a correlation rho from -1 to 1", str(rho))
        return super().__new__(cls, *given, **options)

    @classmethod
    def eval(cls, h: sp.Expr, k: sp.Expr, rho: sp.Expr) -> sp.Expr | None:
        """Value at the special points."""
        if h.is_zero and k.is_zero:
            return sp.Rational(1, 4) + sp.asin(rho) / (2 * sp.pi)
        if rho.is_zero:
            return (1 + sp.erf(h / sp.sqrt(2))) * (1 + sp.erf(k / sp.sqrt(2))) / 4
        if (h.is_zero or k.is_zero) and not (1 - rho**2).is_zero:
            other = k if h.is_zero else h
            return (1 + sp.erf(other / sp.sqrt(2))) / 4 + OwensT(other, rho / sp.sqrt(1 - rho**2))
        if sp.default_sort_key(h) > sp.default_sort_key(k):
            return cls(k, h, rho)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Partial derivative."""
        h, k, rho = self.args
        sine2 = 1 - rho**2
        if argindex == 3:
            return sp.exp(-(h**2 - 2 * h * k * rho + k**2) / (2 * sine2)) / (2 * sp.pi * sp.sqrt(sine2))
        one, other = (h, k) if argindex == 1 else (k, h)
        density = sp.exp(-(one**2) / 2) / sp.sqrt(2 * sp.pi)
        return density * (1 + sp.erf((other - rho * one) / sp.sqrt(2 * sine2))) / 2

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _at_precision(_binormal_of_rho, prec, self.args)

    def _eval_rewrite_as_OwensT(self, h: sp.Expr, k: sp.Expr, rho: sp.Expr, **_: Any) -> sp.Expr:
        sine = sp.sqrt(1 - rho**2)
        # V with two signs undecided is written with arctan, defined wherever h k ≠ 0.
        slopes = ((h, (k - rho * h) / (h * sine)), (k, (h - rho * k) / (k * sine)))
        halves = (2 + sp.erf(h / sp.sqrt(2)) + sp.erf(k / sp.sqrt(2))) / 4
        wedges = [sp.atan(slope) / (2 * sp.pi) - OwensT(one, slope) for one, slope in slopes]
        return halves - sp.acos(rho) / (2 * sp.pi) + sp.Add(*wedges)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inner = ", ".join(printer._print(a) for a in self.args)
        return rf"\Phi_2\left({inner}\right)" + (f"^{{{exp}}}" if exp else "")


def _binormal_of_rho(h: Any, k: Any, rho: Any) -> Any:
    sine = mpmath.sqrt((1 - rho) * (1 + rho))
    if sine == 0:
        cdf = mpmath.ncdf
        return cdf(min(h, k)) if rho > 0 else max(cdf(h) - cdf(-k), mpmath.mpf(0))
    return binormal_cdf(h, k, rho, sine)
