"""The scale that errors are relative to: bounds of E|f(a)g(b)| from below, without a double integral."""

from __future__ import annotations

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.floats.nodes import half_line, log_stretch

# Error aimed at, relative to E|f(a)g(b)|.
RTOL = 1e-11
# Each of the norms that bound E|fg| from below holds for |ρ| ≤ 1 − p: p-norms first, then means under a narrower Gaussian.
P_NORMS = (0.9, 0.75, 0.5, 0.25, 0.125, 1 / 64)
NARROWED = (0.5, 0.125, 1 / 64, 1 / 1024)
NORM_EXPONENTS = P_NORMS + NARROWED


def lower_norms(act: Activation, q: np.ndarray) -> np.ndarray:
    r"""Norms of f(√q Z) whose products bound E|f(a)g(b)| from below for |ρ| ≤ 1 − p, shape (rows, len(NORM_EXPONENTS)).

    They give the scale that relative errors refer to without a double integral:

    - ‖f‖_p = (E|f(√q Z)|^p)^{1/p}, by reverse hypercontractivity (Borell 1982; Mossel, Oleszkiewicz, Sen 2013);
    - E|f(√q Z)| e^{−Z²(1/p − 1)/2}, for functions that live near 0: with u = a/√q, v = b/√q' the exponent of the density,
      (u² − 2ρuv + v²)/2(1 − ρ²), is at most (u² + v²)/2(1 − |ρ|).
    """
    z, density = half_line(16, log_stretch(float(np.sqrt(q).max(initial=0.0))))
    z, density = np.concatenate([-z[::-1], z]), np.concatenate([density[::-1], density])
    size = np.abs(act(np.sqrt(q)[:, None] * z, check=False))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = [(size**p @ density) ** (1 / p) for p in P_NORMS]
        norms += [size @ (density * np.exp(-(z**2) * (1 / p - 1) / 2)) for p in NARROWED]
    table = np.stack(norms, axis=1)
    return np.where(np.isfinite(table), table, 0.0)


def scale_below(norms_f: np.ndarray, norms_g: np.ndarray, rho: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A lower bound of E|f(a)g(b)|: |value| or a product of lower norms, whichever is larger."""
    scale = np.abs(value)
    for index, p in enumerate(NORM_EXPONENTS):
        bound = norms_f[..., index] * norms_g[..., index]
        scale = np.maximum(scale, np.where(np.abs(rho) <= 1 - p, bound, 0.0))
    return scale
