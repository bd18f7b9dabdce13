"""Direct quadrature of E[f(a)g(b)]: on a line (ρ = ±1) and in polar coordinates.

Every rule computes its value at two resolutions and takes the difference, plus rounding relative to E|f(a)g(b)|, as its
error estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Scaled
from kernelcalc.gaussian.floats.mesh import (
    FAR_OUT,
    FAR_SQUARE,
    PLACING_STEPS,
    doubt,
    hidden_beyond,
    mesh_rule,
    rounded,
    rounds,
)
from kernelcalc.gaussian.floats.nodes import half_line, log_stretch, trapezoid
from kernelcalc.gaussian.symmetry import symmetry

# Rounding of sums and of functions, in ulp of E|fg|: those that decay like e^(-x) magnify the rounding of their argument x
# by a dozen or more where it counts.
ROUNDING_STEPS = 64
# Errors over the change from half as many nodes, for a feature that the double exponential rules meet far out.
SLOWEST = 8.0
# Function values held at once (8 bytes each): 4 MiB an array stays in the second-level cache.
VALUES_AT_ONCE = 2**19
# From this many rows on, a cheaper rule is worth trying first.
MANY_ROWS = 64
# Rows of a line rule: some two thousand nodes each.
LINE_ROWS = 256


def line(
    f: Activation,
    g: Activation,
    std: np.ndarray,
    std_p: np.ndarray,
    *,
    rtol: float,
    mean: np.ndarray | float = 0.0,
    mean_p: np.ndarray | float = 0.0,
) -> Scaled:
    """E[f(mean + std·Z) g(mean_p + std_p·Z)] with one Z ~ N(0, 1); arrays of shape (n,).

    With zero means this is the case |ρ| = 1; standard deviations may be negative. NaN where the product grows too fast.
    """
    mean, mean_p = np.broadcast_to(mean, std.shape), np.broadcast_to(mean_p, std.shape)
    value, error, magnitude, previous = (np.full(std.shape, np.nan) for _ in range(4))
    todo = np.arange(std.size)
    smooth = not (f.kinks or g.kinks or mean.any() or mean_p.any())
    if std.size >= MANY_ROWS and smooth and not (rounds(f, std) or rounds(g, std_p)):
        quick = _many(f, g, std, std_p, rtol=rtol)
        value[:], error[:], magnitude[:] = quick.value, quick.error, quick.magnitude
        todo = np.flatnonzero(~(error <= rtol * magnitude))
    for width, count in ((1.0, 16), (1.0, 24), (0.5, 32)):
        if todo.size == 0:
            break
        fresh, size, noise = _line_once(f, g, std[todo], std_p[todo], mean[todo], mean_p[todo], width, count)
        change = np.abs(fresh - previous[todo])
        value[todo], magnitude[todo], previous[todo] = fresh, size, fresh
        error[todo] = np.where(np.isnan(change), np.inf, change) + ROUNDING_STEPS * EPS * size + noise
        todo = todo[~(error[todo] <= rtol * size)]
    return Scaled(value=value, error=error, magnitude=magnitude)


def _many(f: Activation, g: Activation, std: np.ndarray, std_p: np.ndarray, *, rtol: float) -> Scaled:
    """Smooth functions at many variances: the trapezoidal rule, five times cheaper than panels, trusted only if it agrees
    with panels at the extreme rows; rows it does not settle have an infinite error.
    """
    value, magnitude = np.zeros(std.size), np.zeros(std.size)
    error, previous = np.full(std.size, np.inf), np.full(std.size, np.nan)
    todo = np.arange(std.size)
    square, even = f is g and np.array_equal(std, std_p), symmetry(f) * symmetry(g) == 1
    for level in range(4):
        z, weight = trapezoid(level)
        if even:
            z, weight = z[z.size // 2 :], 2 * weight[z.size // 2 :]
            weight[0] /= 2
        density = weight * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        for start in range(0, todo.size, LINE_ROWS):
            rows = todo[start : start + LINE_ROWS]
            product = f(std[rows, None] * z)
            product = product * (product if square else g(std_p[rows, None] * z))
            product *= density
            ends = np.abs(product[:, [-1 if even else 0, -1]]).max(axis=1)
            fresh, size = product.sum(axis=1), np.abs(product).sum(axis=1)
            change = np.abs(fresh - previous[rows])
            settled = ~np.isnan(change) & (ends <= 1e-14 * size)
            error[rows] = np.where(settled, change + ROUNDING_STEPS * EPS * size, np.inf)
            value[rows], magnitude[rows], previous[rows] = fresh, size, fresh
        todo = todo[~(error[todo] <= rtol * magnitude[todo])]
        if todo.size == 0:
            break
    extreme = np.unique(
        [np.argmin(np.abs(std)), np.argmax(np.abs(std)), np.argmin(np.abs(std_p)), np.argmax(np.abs(std_p))]
    )
    zero = np.zeros(extreme.size)
    check, size, noise = _line_once(f, g, std[extreme], std_p[extreme], zero, zero, 1.0, 24)
    agrees = np.abs(check - value[extreme]) + noise <= np.maximum(1e-12 * size, error[extreme])
    return Scaled(value=value, error=error if agrees.all() else np.full(std.size, np.inf), magnitude=magnitude)


def _line_once(
    f: Activation,
    g: Activation,
    std: np.ndarray,
    std_p: np.ndarray,
    mean: np.ndarray,
    mean_p: np.ndarray,
    width: float,
    count: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, E|fg| and what rounding where it is felt and unresolved features may add."""
    value, magnitude, noise = np.zeros((3, std.size))
    square = f is g and np.array_equal(std, std_p) and np.array_equal(mean, mean_p)
    felt = rounded(f, g, np.abs(std) + np.abs(mean), np.abs(std_p) + np.abs(mean_p))
    for start in range(0, std.size, LINE_ROWS):
        part = slice(start, start + LINE_ROWS)
        sides = ((f, std[part], mean[part]), (g, std_p[part], mean_p[part]))[: 2 - square]
        z, weight, meshes = mesh_rule(sides, width, count)
        density = weight * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        at, at_p = mean[part, None] + std[part, None] * z, mean_p[part, None] + std_p[part, None] * z
        left = f(at)
        right = left if square else g(at_p)
        raw = left * right
        product = raw * density
        size = np.abs(product)
        value[part], magnitude[part] = product.sum(axis=1), size.sum(axis=1)
        here, far = felt, any(hidden_beyond(*side, near=FAR_OUT).any() for side in sides)
        if far or mean[part].any() or mean_p[part].any():
            spread, moved = _spread(size, z, sides)
            noise[part] += PLACING_STEPS * EPS * (spread + moved)
            if far and not (spread <= FAR_SQUARE * magnitude[part]).all():
                here = f.form.known, g.form.known
        if any(here) or not all(mesh.resolves for mesh in meshes):
            lost = doubt(f, meshes[0], at, rounded=here[0]), doubt(g, meshes[-1], at_p, rounded=here[1])
            noise[part] += ((np.abs(left) * lost[1] + np.abs(right) * lost[0]) * density).sum(axis=1)
        # What the integrand is worth at the ends of the range, a unit of z wide.
        ends = (np.abs(raw) * np.exp(-(z**2) / 2))[:, [0, -1]].max(axis=1)
        value[part] = np.where(ends > 1e-14 * magnitude[part], np.nan, value[part])
    return value, magnitude, noise


def _spread(
    size: np.ndarray, z: np.ndarray, sides: Sequence[tuple[Activation, np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """E z²|fg| and E |z (mean/std) fg|: by parts, what E fg changes by with the logarithms of std and mean."""
    far = np.zeros(len(size))
    for _, std, mean in sides:
        far = np.maximum(far, np.divide(np.abs(mean), np.abs(std), out=np.zeros(len(size)), where=std != 0))
    weighted = size * np.abs(z)
    return (weighted * np.abs(z)).sum(axis=1), far * weighted.sum(axis=1)


# Polar coordinates ---------------------------------------------------------------------------------------------------


def polar(
    f: Activation, g: Activation, cov: Covariance, *, rtol: float, levels: tuple[int, ...] = (8, 16, 32)
) -> Scaled:
    r"""E[f(a)g(b)] in polar coordinates, for functions whose kinks and sharp features lie at 0.

    With a = √q r cos φ, b = √q' r cos(φ − θ), cos θ = ρ, the lines a = 0 and b = 0 are rays. Between them the integrand is
    smooth; double exponential maps in φ and r (Takahasi and Mori, 1974) put the nodes where features of unit width lie
    whatever q, and sectors that vanish as ρ → ±1 cause no loss.

    Parameters
    ----------
    cov : Covariance
        Arrays of shape (n,).
    rtol : float
        Relative to E|f(a)g(b)|: pairs are refined until their error is below.
    levels : tuple of int
        Nodes per unit of the transformed variables.
    """
    n = cov.q.size
    value, error, magnitude = np.zeros(n), np.full(n, np.inf), np.zeros(n)
    previous = np.full(n, np.nan)
    stretches = np.array([log_stretch(float(std)) for std in np.sqrt(np.maximum(cov.q, cov.qp))])
    for stretch in np.unique(stretches):
        todo = np.flatnonzero(stretches == stretch)
        for per_unit in levels:
            if todo.size == 0:
                break
            fresh, size, spill = _polar_once(f, g, cov.take(todo), per_unit, float(stretch))
            fresh = np.where(spill > 1e-14 * size, np.nan, fresh)
            change = np.abs(fresh - previous[todo])
            error[todo] = np.where(np.isnan(change), np.inf, SLOWEST * change) + ROUNDING_STEPS * EPS * size
            value[todo], magnitude[todo], previous[todo] = fresh, size, fresh
            todo = todo[~(error[todo] <= rtol * size)]
    return Scaled(value=value, error=error, magnitude=magnitude)


@lru_cache(maxsize=8)
def _polar_rule(per_unit: int, stretch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Angles as fractions of a sector from either side with weights, and radii with weights."""
    if stretch == 0:
        t = np.arange(-3.25 * per_unit, 3.25 * per_unit + 1) / per_unit
        s, step = np.pi * np.sinh(t), np.pi * np.cosh(t) / per_unit
    else:
        # Uniform in the logarithm of either angle, down to rounding of a sector e^{−stretch} wide.
        half = int(np.ceil((stretch + 37) / 3 * per_unit))
        s = 3 * np.arange(-half, half + 1) / per_unit
        step = np.full(s.size, 3 / per_unit)
    near, far = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(s))
    radius, weight = half_line(per_unit, stretch)
    return near, far, near * far * step, radius, radius * weight / np.sqrt(2 * np.pi)


def _polar_once(
    f: Activation, g: Activation, cov: Covariance, per_unit: int, stretch: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, E|fg| and what the outermost radius still carries."""
    near, far, angle_weight, radius, radius_weight = _polar_rule(per_unit, stretch)
    value, magnitude, spill = np.zeros((3, cov.q.size))
    # Of even and odd functions f(−a)g(−b) is f(a)g(b) or its opposite.
    mirrored = symmetry(f) * symmetry(g)
    rows = max(1, VALUES_AT_ONCE // (near.size * radius.size))
    for start in range(0, cov.q.size, rows):
        part = slice(start, start + rows)
        root = np.sqrt(cov.det[part])
        theta, supplement = np.arctan2(root, cov.c[part]), np.arctan2(root, -cov.c[part])
        for width, other, b_sign in ((theta, supplement, -1.0), (supplement, theta, 1.0)):
            # a vanishes at one side of the sector, b at the other; near π the sine is that of what is left to it.
            one, two = width[:, None] * near, width[:, None] * far
            a_angle, b_angle = (np.sin(np.minimum(v, other[:, None] + w)) for v, w in ((one, two), (two, one)))
            a = np.sqrt(cov.q[part])[:, None, None] * a_angle[:, :, None] * radius
            b = b_sign * np.sqrt(cov.qp[part])[:, None, None] * b_angle[:, :, None] * radius
            for flip in (1.0,) if mirrored else (1.0, -1.0):
                product = f(flip * a) * g(flip * b)
                weighted = width * ((product @ radius_weight) @ angle_weight)
                value[part] += weighted
                magnitude[part] += width * ((np.abs(product) @ radius_weight) @ angle_weight)
                spill[part] += width * (np.abs(product[..., -1]) @ angle_weight) * radius_weight[-1] * per_unit
    return (value * (1 + mirrored), 2 * magnitude, 2 * spill) if mirrored else (value, magnitude, spill)
