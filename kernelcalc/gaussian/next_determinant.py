"""qq' − c² of the next layer where rounded covariances would not give it."""

from __future__ import annotations

import threading

import mpmath
import numpy as np

from kernelcalc.activations import Activation
from kernelcalc.gaussian import closed_form
from kernelcalc.gaussian.algebra import evaluate, in_algebra
from kernelcalc.gaussian.covariance import Covariance

# mpmath's working precision belongs to the process, so blocks computed in threads take turns.
MULTIPRECISION = threading.Lock()


def refine_determinant(
    act: Activation,
    cov: Covariance,
    later: tuple[np.ndarray, np.ndarray],
    det: np.ndarray,
    wanted: np.ndarray,
    sigma_w2: float,
    beta2: float,
) -> None:
    """Recompute in place qq' − c² of the next layer where the difference has cancelled and σ offers more.

    Parameters
    ----------
    act : Activation
        σ of the layer between.
    cov : Covariance
        This layer's, of a block.
    later : (q, q')
        The next layer's variances, of shapes (B, 1) and (1, M).
    det : ndarray (B, M)
        The next layer's differences, changed in place.
    wanted : ndarray of bool
        Pairs of different points.
    sigma_w2, beta2 : float
        σ_w² and β².
    """
    if act.smoothness >= 1:
        return
    weights = _homogeneous(act)
    if weights is None:
        refine_near_parallel(act, cov, det, wanted, sigma_w2, beta2)
        return
    near = det < later[0] * later[1] / 8
    if near.any():
        full = Covariance(
            q=np.broadcast_to(cov.q, det.shape), qp=np.broadcast_to(cov.qp, det.shape), c=cov.c, det=cov.det
        )
        det[near] = homogeneous_determinant(weights, full.take(near), sigma_w2, beta2)


def _homogeneous(act: Activation) -> tuple[float, float] | None:
    atoms = closed_form.recognise(act)
    return None if atoms is None else closed_form.homogeneous_weights(atoms)


def homogeneous_determinant(weights: tuple[float, float], cov: Covariance, sigma_w2: float, beta2: float) -> np.ndarray:
    r"""qq' − c² of the next layer without cancellation, for σ(x) = A x + B|x| with weights (A, B).

    V = √(qq') κ(θ) with κ(0) = A² + B². Near θ = 0 the angle of the next layer is only as good as κ(0) − κ(θ), which is
    computed from 1 − cos θ = 2 sin²(θ/2) and sin θ − θ cos θ instead of from rounded covariances.
    """
    linear, absolute = weights
    root = np.sqrt(cov.det)
    theta = np.arctan2(root, cov.c)
    scale = np.sqrt(cov.q) * np.sqrt(cov.qp)
    versine = 2 * np.sin(theta / 2) ** 2
    bend = closed_form.sine_residual(theta)
    at_zero = linear**2 + absolute**2
    gap = at_zero * versine - absolute**2 * (2 / np.pi) * bend
    kappa = at_zero - gap
    spread = np.sqrt(cov.q) - np.sqrt(cov.qp)
    return sigma_w2**2 * scale**2 * gap * (at_zero + kappa) + sigma_w2 * beta2 * (at_zero * spread**2 + 2 * scale * gap)


# Below this qq' − c² relative to qq' the angle of a kinked layer, √(1 − ρ²), has lost four digits to rounded covariances.
NEAR_PARALLEL = 1e-8
REFINE_DIGITS = 40


def refine_near_parallel(
    act: Activation, cov: Covariance, det: np.ndarray, wanted: np.ndarray, sigma_w2: float, beta2: float
) -> None:
    """Recompute in place qq' − c² of the next layer for nearly parallel pairs of a kinked nonlinearity.

    σ' jumps, so E11 has a square-root singularity at ρ = 1 and the rounding of c, magnified by 1/√(1 − ρ²), would show in
    the next layer's kernels. The few pairs concerned are done in multiprecision, from this layer's exact determinant.
    """
    if not in_algebra(act.expr):
        return
    near = wanted & (cov.det > 0) & (cov.det <= NEAR_PARALLEL * cov.q * cov.qp)
    for i, j in zip(*np.nonzero(near), strict=True):
        q, qp = (mpmath.mpf(float(np.broadcast_to(v, cov.c.shape)[i, j])) for v in (cov.q, cov.qp))
        with MULTIPRECISION, mpmath.workdps(REFINE_DIGITS):
            c = mpmath.sign(float(cov.c[i, j])) * mpmath.sqrt(q * qp - mpmath.mpf(float(cov.det[i, j])))
            first, second, mixed = (
                sigma_w2 * evaluate(act.expr, act.expr, *arguments, REFINE_DIGITS) + beta2
                for arguments in ((q, q, q), (qp, qp, qp), (q, qp, c))
            )
            det[i, j] = float(max(first * second - mixed**2, mpmath.mpf(0)))
