r"""Runge–Kutta–Chebyshev integrator: explicit, stable on long stretches of the negative real axis.

Gradient flow has a real non-positive spectrum and many equations. A step of s stages is stable for
:math:`h ρ ≤ 0.65 s^2` (ρ: spectral radius), so stiffness costs its square root in evaluations and no linear algebra.

References
----------
Sommeijer, Shampine, Verwer, "RKC: an explicit solver for parabolic PDEs", J. Comput. Appl. Math. 88 (1998) 315–326.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .errors import IntegrationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# From the paper: damping, and the ratio of the step's size to its stability limit.
_DAMPING = 2 / 13
_STABILITY = 1.54
# Beyond this many stages rounding errors of a step grow like s² eps; a longer step is cut instead.
_MAX_STAGES = 2000
_MAX_STEPS = 100_000
# A spectral radius that has shrunk since costs stages, one that has grown a rejected step, which estimates it afresh.
_KEEP_RADIUS = 10


def integrate(
    derivative: Callable[[Array], Array],
    start: Array,
    times: Array,
    *,
    radius: Callable[[Array, Array], float],
    error_norm: Callable[[Array, Array, Array], float],
) -> Iterator[Array]:
    """Solution of y' = f(y), y(0) = start at increasing times, one at a time.

    Parameters
    ----------
    derivative : callable
        f(y), in the shape of y. Its Jacobian has real non-positive eigenvalues.
    start : ndarray
        y(0).
    times : ndarray
        Increasing, finite, ≥ 0.
    radius : callable
        ``radius(y, f)``: an upper estimate of the spectral radius of the Jacobian at y; f = f(y) is passed along.
    error_norm : callable
        ``error_norm(error, before, after)``: size of a local error, 1 being just acceptable.

    Raises
    ------
    IntegrationError
        The step shrinks to nothing or the number of steps runs out.

    Notes
    -----
    Order 2 with the embedded error estimate of the paper; between steps cubic Hermite interpolation, whose error is of
    higher order.

    Examples
    --------
    >>> stiff = np.array([1.0, 1e6])
    >>> solution = integrate(
    ...     lambda y: -stiff * y,
    ...     np.ones(2),
    ...     np.array([1.0]),
    ...     radius=lambda y, f: 1e6,
    ...     error_norm=lambda e, a, b: np.abs(e).max() / 1e-8,
    ... )
    >>> bool(np.allclose(next(solution), [np.exp(-1), 0], atol=1e-6))
    True
    """
    t, y, f = 0.0, start, derivative(start)
    rho = radius(y, f)
    end = float(times[-1]) if len(times) else 0.0
    h = min(end, 0.1 / rho) if rho > 0 else end
    steps, grow = 0, 5.0
    pending = iter(times)
    target = next(pending, None)
    while target is not None and target <= t:
        yield y
        target = next(pending, None)
    while target is not None:
        steps += 1
        if steps > _MAX_STEPS or h <= 1e-15 * max(t, end * 1e-12):
            raise IntegrationError(
                f"gradient flow stopped at time {t:.4g} of {end:.4g} after {steps} steps; loosen rtol"
            )
        h = min(h, end - t, 0.65 * _MAX_STAGES**2 / rho if rho > 0 else np.inf)
        with np.errstate(all="ignore"):  # a step that overflows is refused below
            after, f_after = _step(derivative, y, f, h, rho)
            error = error_norm(0.8 * (y - after) + 0.4 * h * (f + f_after), y, after)
        if not np.isfinite(error):
            error = 1e3
        # Order 2: the local error is of order h³.
        change = min(grow, max(0.1, 0.8 * error ** (-1 / 3) if error > 0 else grow))
        if error > 1:
            # A growing error can also mean that ρ was too small an estimate.
            rho, h, grow = max(rho, radius(y, f)), h * min(change, 0.9), 1.0
            continue
        arrived = end if h >= end - t else t + h
        while target is not None and target <= arrived:
            yield _hermite((target - t) / h, h, y, f, after, f_after)
            target = next(pending, None)
        t, y, f, h, grow = arrived, after, f_after, h * change, 5.0
        if steps % _KEEP_RADIUS == 0:
            rho = radius(y, f)


def _step(derivative: Callable[[Array], Array], y: Array, f: Array, h: float, rho: float) -> tuple[Array, Array]:
    stages = max(2, 1 + int(np.sqrt(1 + _STABILITY * h * rho)))
    first, table = _coefficients(stages)
    older, newer = y, y + first * h * f
    scaled = h * f
    for mu, nu, mu_t, gamma_t in table:
        current = derivative(newer)
        current *= mu_t * h
        current += mu * newer
        current += nu * older
        current += (1 - mu - nu) * y
        current += gamma_t * scaled
        older, newer = newer, current
    return newer, derivative(newer)


@lru_cache(maxsize=256)
def _coefficients(s: int) -> tuple[float, tuple[tuple[float, float, float, float], ...]]:
    """Coefficients of an s-stage step: equations (2.3) to (2.9) of the paper."""
    w0 = 1 + _DAMPING / s**2
    # T_j(w0) and its two derivatives by the three-term recurrence.
    value, slope, bend = np.zeros(s + 1), np.zeros(s + 1), np.zeros(s + 1)
    value[0], value[1], slope[1] = 1, w0, 1
    for j in range(2, s + 1):
        value[j] = 2 * w0 * value[j - 1] - value[j - 2]
        slope[j] = 2 * w0 * slope[j - 1] + 2 * value[j - 1] - slope[j - 2]
        bend[j] = 2 * w0 * bend[j - 1] + 4 * slope[j - 1] - bend[j - 2]
    w1 = slope[s] / bend[s]
    b = np.empty(s + 1)
    b[2:] = bend[2:] / slope[2:] ** 2
    b[0], b[1] = b[2], 1 / w0
    a = 1 - b * value
    table = []
    for j in range(2, s + 1):
        mu_t = 2 * b[j] * w1 / b[j - 1]
        row = (2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], mu_t, -a[j - 1] * mu_t)
        table.append((float(row[0]), float(row[1]), float(row[2]), float(row[3])))
    return float(b[1] * w1), tuple(table)


def _hermite(x: float, h: float, y: Array, f: Array, after: Array, f_after: Array) -> Array:
    if x >= 1:
        return after
    rest = 1 - x
    return rest**2 * ((1 + 2 * x) * y + x * h * f) + x**2 * ((1 + 2 * rest) * after - rest * h * f_after)
