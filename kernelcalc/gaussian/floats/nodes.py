"""One-dimensional rules for the standard Gaussian weight, and Gauss–Legendre panels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from kernelcalc.activations.activation import Activation

# e^{−z²/4} at 13 is 4e-19: beyond, φ^{1/2}(z) times any Hermite function is below rounding.
Z_MAX = 13.0
# Where the density ends in float64; kinks and features that far are looked at.
Z_LAST = 38.0
# Nodes of one Gauss–Legendre panel: 32 resolve five waves to rounding, which is what h_k, k = 1000, does in a panel.
PANEL_NODES = 32


@lru_cache(maxsize=16)
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights on [−1, 1], read-only."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def panels(breaks: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Composite Gauss–Legendre rule on the panels between sorted breakpoints (..., P + 1): nodes, weights (..., P·count)."""
    nodes, weights = legendre(count)
    centre = (breaks[..., 1:] + breaks[..., :-1]) / 2
    half = (breaks[..., 1:] - breaks[..., :-1]) / 2
    shape = (*breaks.shape[:-1], -1)
    at = (centre[..., None] + half[..., None] * nodes).reshape(shape)
    return at, (half[..., None] * weights).reshape(shape)


def trapezoid(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Trapezoidal rule on [−Z_MAX, Z_MAX] with 160·2^level steps (nodes and weights without the Gaussian)."""
    steps = 160 * 2**level
    z = np.linspace(-Z_MAX, Z_MAX, steps + 1)
    return z, np.full(steps + 1, 2 * Z_MAX / steps)


def scaled_kinks(act: Activation, std: np.ndarray, mean: np.ndarray | float = 0.0) -> np.ndarray:
    """Kinks of x = mean + std·z in units of z, shape (rows, m); out of reach where std is 0."""
    kinks = np.asarray(act.kinks, dtype=np.float64)
    offset = kinks[None, :] - np.reshape(np.broadcast_to(mean, std.shape), (-1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = offset / std[:, None]
    return np.where(offset == 0, 0.0, np.where(np.isfinite(z), z, Z_MAX))


# Standard deviations up to which the double exponential rules see features of width 1 without help.
LARGE_STD = 1e4


def log_stretch(std: float) -> float:
    """Room in log z that features of width 1 need below z = 1 at this standard deviation; few different values."""
    return 0.0 if not std > LARGE_STD else float(8 * np.ceil((np.log(std) + 3) / 8))


@lru_cache(maxsize=8)
def half_line(per_unit: int, stretch: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rule for ∫_0^∞ φ(z) f(z) dz, dense on every scale from 1 down to e^{−stretch}: nodes and weights with φ in them.

    Double exponential at either end (Takahasi and Mori, 1974), uniform in log z between.
    """
    u = np.arange(-(stretch + 3.25) * per_unit, 2.5 * per_unit + 1) / per_unit
    z = np.exp(u - np.exp(-u - stretch))
    return z, z * (1 + np.exp(-u - stretch)) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / per_unit


def chebyshev_coefficients(values: np.ndarray) -> np.ndarray:
    r"""c_k of Σ_k c_k T_k(x) through values (..., n) at the nodes x_j = cos(π (j + ½)/n).

    :math:`c_k = \frac{2 - δ_{k0}}{n} \sum_j v_j \cos(π k (j + ½)/n)`, by the Fourier transform of the values and their mirror
    image: importing SciPy's takes a quarter of a second.

    Examples
    --------
    >>> x = np.cos(np.pi * (np.arange(4) + 0.5) / 4)
    >>> chebyshev_coefficients(1 + 2 * x**2).round(12) + 0.0
    array([2., 0., 1., 0.])
    """
    n = values.shape[-1]
    turns = np.exp(-0.5j * np.pi / n * np.arange(n))
    mirrored = np.concatenate([values, values[..., ::-1]], axis=-1)
    found = np.asarray((np.fft.rfft(mirrored)[..., :n] * turns).real) / n
    found[..., 0] /= 2
    return found
