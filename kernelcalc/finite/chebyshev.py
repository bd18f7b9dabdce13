r"""An explicit integrator for mildly stiff gradient flows: the Runge–Kutta–Chebyshev method of second order.

Gradient flow θ' = −∇C has a nearly real spectrum −λ(H) whose top is λ_max ≈ λ_max(Θ)/N while the interesting times are
1/λ_small. A step of s stages is stable up to h λ_max ≈ ⅔ s², so that the work for a long time grows like √λ_max.

References
----------
Sommeijer, Shampine, Verwer (J. Comput. Appl. Math. 88, 1998): coefficients, error estimate and number of stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import IntegrationError

Array = np.ndarray[Any, Any]

# Most stages of a step: internal rounding errors grow like s² (same paper); 200 costs 4e4 machine epsilons.
_MAX_STAGES = 200
# Steps between two estimates of the spectral radius (same paper: 25).
_RADIUS_EVERY = 25
# Damping of the stability polynomial (same paper).
_DAMPING = 2 / 13


@lru_cache(maxsize=256)
def _coefficients(stages: int) -> tuple[float, list[tuple[float, float, float, float]]]:
    """μ̃_1 and (μ_j, ν_j, μ̃_j, γ̃_j) for j = 2..s."""
    w0 = 1 + _DAMPING / stages**2
    t, dt, ddt = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for j in range(2, stages + 1):
        t.append(2 * w0 * t[-1] - t[-2])
        dt.append(2 * t[j - 1] + 2 * w0 * dt[-1] - dt[-2])
        ddt.append(4 * dt[j - 1] + 2 * w0 * ddt[-1] - ddt[-2])
    w1 = dt[stages] / ddt[stages]
    b = [ddt[j] / dt[j] ** 2 for j in range(2, stages + 1)]
    b = [b[0], b[0], *b]
    table = []
    for j in range(2, stages + 1):
        mu, nu, mu_t = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], 2 * b[j] * w1 / b[j - 1]
        table.append((mu, nu, mu_t, -(1 - b[j - 1] * t[j - 1]) * mu_t))
    return b[1] * w1, table


def integrate(
    field: Callable[[Array], Array],
    start: Array,
    times: Array,
    *,
    radius: Callable[[Array], float],
    tol: float,
    max_steps: int = 10_000,
) -> Iterator[Array]:
    """Yield the solution of y' = field(y), y(0) = start, at increasing ``times``.

    Parameters
    ----------
    field : callable
        (P,) -> (P,).
    start : (P,) array
        y(0).
    times : (T,) array
        Non-negative, not decreasing.
    radius : callable
        (P,) -> float, upper estimate of the spectral radius of the field's Jacobian.
    tol : float
        Size of the error to aim at, in Euclidean norm. The error of a step is held below tol^{3/2}: a second-order
        method then takes about tol^{-1/2} steps, whose errors add up to about tol. Where the flow is unstable they
        grow with it.
    max_steps : int
        Most steps, rejected ones included.

    Raises
    ------
    IntegrationError
        The solution overflows, steps become smaller than rounding allows, or too many are needed.

    Examples
    --------
    >>> import numpy as np
    >>> rates = np.array([1.0, 1000.0])
    >>> y, = integrate(lambda y: -rates * y, np.ones(2), np.array([1.0]), radius=lambda y: 1000.0, tol=1e-6)
    >>> bool(abs(y[0] - np.exp(-1)) < 1e-5), bool(abs(y[1]) < 1e-5)
    (True, True)
    """
    t, y, local = 0.0, start.copy(), tol**1.5
    f = field(y)
    rho = radius(y)
    h = 1 / max(rho, 1e-300)
    since_radius, steps = 0, 0
    last_h = last_error = 0.0
    for target in times:
        while t < target:
            if steps >= max_steps:
                raise IntegrationError(
                    f"no end after {steps} steps at t={t:.6g}; raise tol or shorten the times"
                    " (units sliding along a kink, as of relu, may need method='gd')"
                )
            if since_radius >= _RADIUS_EVERY:
                rho, since_radius = radius(y), 0
            h = min(h, (_MAX_STAGES**2 - 1) / (1.54 * rho)) if rho > 0 else h
            # a step that would leave a crumb is stretched to the target
            step = target - t if t + 1.1 * h >= target else h
            stages = max(2, 1 + int(np.sqrt(1.54 * step * rho + 1)))
            with np.errstate(over="ignore", invalid="ignore"):
                new = _step(field, y, f, step, stages)
                f_new = field(new)
                error = float(np.linalg.norm(0.8 * (y - new) + 0.4 * step * (f + f_new))) / local
            steps += 1
            if not np.isfinite(error) or error > 1:
                if step < 1e-14 * max(t, target * 1e-14) or step < 1e-300:
                    raise IntegrationError(f"the flow could not be followed past t={t:.6g}")
                h = step * (max(0.1, 0.8 * error ** (-1 / 3)) if np.isfinite(error) else 0.1)
                rho, since_radius = radius(y), 0
                continue
            error = max(error, 1e-12)
            factor = 0.8 * error ** (-1 / 3)
            if last_error and last_h:
                # predictive controller of the same paper
                factor = min(factor, factor * (step / last_h) * (last_error / error) ** (1 / 3))
            if step >= 0.5 * h:
                h = step * min(10.0, max(0.1, factor))
            last_h, last_error = step, error
            y, f, t = new, f_new, float(target) if step == target - t else t + step
            since_radius += 1
        yield y.copy()


def _step(field: Callable[[Array], Array], y: Array, f: Array, h: float, stages: int) -> Array:
    mu1, table = _coefficients(stages)
    before, now = y, y + (mu1 * h) * f
    for mu, nu, mu_t, gamma_t in table:
        after = (1 - mu - nu) * y + mu * now + nu * before + (mu_t * h) * field(now) + (gamma_t * h) * f
        before, now = now, after
    return now
