"""qq' − c² of the next layer where rounded covariances would not give it."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
from mpmath.libmp import to_rational

from kernelcalc.activations.activation import Activation
from kernelcalc.expressions.exact import evaluate, in_algebra
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats import kinds as combination
from kernelcalc.gaussian.floats.mesh import mesh_rule
from kernelcalc.gaussian.floats.nodes import Z_MAX, panels
from kernelcalc.gaussian.symmetry import symmetry
from kernelcalc.kernels.layer import Scales
from kernelcalc.kernels.points import Places
from kernelcalc.machine import MULTIPRECISION

# The expectations of kinked functions bend like √(1 − ρ²) near ρ = ±1; below this qq' − c², relative to qq', the rounding of
# c would show there beyond 1e-12.
ROUNDING_SHOWS = 1e-8
REFINE_DIGITS = 40
# A third derivative that changes a difference by less than this leaves the fifth below rounding.
_SLIGHTLY_BENT = 1e-7
# (q − q')² over qq' − c² up to which a quadrature loses no more than two digits.
_MOST_CANCELLED = 100.0
# Rows of a quadrature done at once, its nodes a panel, and its nodes across the difference.
ROWS, PANEL, ACROSS = 32, 24, 12
# Multiples of what b differs by from ρa within which it has a kink between, or not; widest panel across it.
_ZONES, _WIDEST_ACROSS = np.array([0.0, 1.0, 2.0, 4.0, 8.0, Z_MAX]), 3.0


def refined(
    act: Activation, before: Covariance, cov: Covariance, same: Places, scales: Scales, least: float
) -> Covariance:
    """The next layer's covariance with qq' − c², q − q' and c anew where these differences have cancelled.

    Parameters
    ----------
    act : Activation
        σ of the layer between.
    before : Covariance
        This layer's, of a block.
    cov : Covariance
        The next layer's: q and q' of shapes (B, 1) and (1, M), c (B, M) and ``det``, which is changed in place.
    same : tuple of index arrays or None
        Pairs of equal points, which are left alone.
    scales : Scales
        σ_w² and β² of the layer of weights between.
    least : float
        Pairs are refined at least where qq' − c² is below this times qq'.
    """
    sigma_w2, beta2 = scales.weight, scales.bias
    weights = _homogeneous(act)
    bound = 1 / 8 if weights is not None else ROUNDING_SHOWS
    near = cov.det < max(bound, least) * (cov.q * cov.qp)
    if same is not None:
        near[same] = False
    if not near.any():
        return cov

    def take(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, near.shape)[near]

    gap = take(before.q) - take(before.qp)
    if before.gap is not None:
        known = before.gap[near]
        gap = np.where(np.isnan(known), gap, known)
    part = Covariance(q=take(before.q), qp=take(before.qp), c=before.c[near], det=before.det[near], gap=gap)
    later = take(cov.q), take(cov.qp)
    if weights is not None:
        det = homogeneous_determinant(weights, part, sigma_w2, beta2)
        gap = sigma_w2 * (weights[0] ** 2 + weights[1] ** 2) * gap
    else:
        det, gap = _of_others(act, part, later, sigma_w2, beta2)
    cov.det[near] = det
    # of c and qq' − c² the former has the rounding of all layers before, which grows where these come apart
    c, gaps = cov.c.copy(), np.full(near.shape, np.nan)
    c[near] = np.copysign(np.sqrt(np.maximum(later[0] * later[1] - det, 0.0)), c[near])
    gaps[near] = gap
    return replace(cov, c=c, gap=gaps)


def _of_others(
    act: Activation, cov: Covariance, later: tuple[np.ndarray, np.ndarray], sigma_w2: float, beta2: float
) -> tuple[np.ndarray, np.ndarray]:
    """qq' − c² and q − q' of the next layer where σ is not homogeneous: by quadrature, or where that does not do exactly."""
    exact = act.smoothness < 1 and in_algebra(act.expr)
    if exact and not all(piece.is_polynomial() for piece in act.form.pieces):
        # what lies between its kinks may vary within what a and b differ by
        return exact_determinant(act, cov, sigma_w2, beta2)
    det, gap = difference_determinant(act, cov, later, sigma_w2, beta2)
    if exact:
        # of parallel points of different lengths: the difference is none
        cancelled = ~(gap**2 <= _MOST_CANCELLED * det)
        if cancelled.any():
            det[cancelled], gap[cancelled] = exact_determinant(act, cov.take(cancelled), sigma_w2, beta2)
    return det, gap


def _homogeneous(act: Activation) -> tuple[float, float] | None:
    atoms = combination.recognise(act)
    return None if atoms is None else combination.homogeneous_weights(atoms)


def homogeneous_determinant(weights: tuple[float, float], cov: Covariance, sigma_w2: float, beta2: float) -> np.ndarray:
    r"""qq' − c² of the next layer without cancellation, for σ(x) = A x + B|x| with weights (A, B).

    V = √(qq') κ(θ) with κ(0) = A² + B². Near θ = 0 the angle of the next layer is only as good as κ(0) − κ(θ), which is
    computed from 1 − cos θ = 2 sin²(θ/2) and sin θ − θ cos θ instead of from rounded covariances.
    """
    linear, absolute = weights
    root = np.sqrt(cov.det)
    scale = np.sqrt(cov.q) * np.sqrt(cov.qp)
    spread = np.sqrt(cov.q) - np.sqrt(cov.qp)
    if absolute == 0:
        # V = A² c: the determinant of a linear layer; q + q' − 2c is a difference only where c is close to √(qq').
        apart = np.where(cov.c > 0, spread**2 + 2 * cov.det / (scale + np.abs(cov.c)), cov.q + cov.qp - 2 * cov.c)
        return sigma_w2**2 * linear**4 * cov.det + sigma_w2 * beta2 * linear**2 * apart
    # An even function does not tell θ from π − θ.
    theta = np.arctan2(root, np.abs(cov.c) if linear == 0 else cov.c)
    versine = 2 * np.sin(theta / 2) ** 2
    bend = sine_residual(theta)
    at_zero = linear**2 + absolute**2
    gap = at_zero * versine - absolute**2 * (2 / np.pi) * bend
    kappa = at_zero - gap
    return sigma_w2**2 * scale**2 * gap * (at_zero + kappa) + sigma_w2 * beta2 * (at_zero * spread**2 + 2 * scale * gap)


def exact_determinant(act: Activation, cov: Covariance, sigma_w2: float, beta2: float) -> tuple[np.ndarray, np.ndarray]:
    """qq' − c² and q − q' of the next layer in multiprecision, pair by pair, from this layer's."""
    result, gap = np.empty(cov.c.shape), np.empty(cov.c.shape)
    with MULTIPRECISION, mpmath.workdps(REFINE_DIGITS):
        for k in range(result.size):
            q, qp, det = (Fraction(float(v[k])) for v in (cov.q, cov.qp, cov.det))
            qp = qp if cov.gap is None else q - Fraction(float(cov.gap[k]))
            root = mpmath.sqrt(mpmath.mpf((q * qp - det).numerator) / (q * qp - det).denominator)
            c = Fraction(*map(int, to_rational((mpmath.sign(cov.c[k]) * root)._mpf_)))
            # the root's rounding goes to q', or points whose difference is 0 would be none of a covariance
            qp = (c * c + det) / q if q > 0 else qp
            first, second, mixed = (
                sigma_w2 * evaluate(act.expr, act.expr, *arguments, REFINE_DIGITS) + beta2
                for arguments in ((q, q, q), (qp, qp, qp), (q, qp, c))
            )
            result[k], gap[k] = float(max(first * second - mixed**2, mpmath.mpf(0))), float(first - second)
    return result, gap


def difference_determinant(
    act: Activation, cov: Covariance, later: tuple[np.ndarray, np.ndarray], sigma_w2: float, beta2: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""qq' − c² and q − q' of the next layer by quadrature of D = E(σ(a) ∓ σ(b))², for nearly parallel or antiparallel pairs.

    .. math:: qq' - c^2 = \tfrac12 (q + q') D - \tfrac14 D^2 - \tfrac14 (q - q')^2, \qquad
        D = q + q' \mp 2c, \quad q - q' = σ_w^2 E[(σ(a) - σ(b))(σ(a) + σ(b))].

    All terms are of second order in the difference of a and b, so none cancels. σ(a) − σ(b) is taken by derivatives between
    nearly equal a and b without a kink between them, or would lose ε over the angle.
    """
    result, gap = np.empty(cov.c.shape), np.empty(cov.c.shape)
    kinks = np.array(act.kinks)
    step = 1 if kinks.size else ROWS
    for start in range(0, result.size, step):
        rows = slice(start, start + step)
        q, c = cov.q[rows, None], cov.c[rows, None]
        std = np.sqrt(q)
        # b given a; where a is 0, b is on its own
        slope = np.divide(c, q, out=np.zeros_like(q), where=q > 0)
        spread = np.divide(np.sqrt(cov.det[rows, None]), std, out=np.sqrt(cov.qp[rows, None]), where=std > 0)
        a, weight, across, density = _nested_rule(act, std, slope, spread)
        b = (slope * a)[:, :, None] + across
        first, second = act(a)[:, :, None], act(b)
        # what σ makes of nearly opposite points is nearly opposite (odd), equal (even), or neither, and then not close
        sign = np.where(_mean(first * second, weight, density) > 0, 1.0, -1.0)
        second = sign[:, None, None] * second
        apart, together = first - second, first + second
        # of opposite points −b is near a
        turn = np.where((c[:, 0] < 0) & (symmetry(act) != 0), -1.0, 1.0)[:, None, None]
        away = (_without_cancelling(cov, rows) * a)[:, :, None] - turn * across
        known = ((turn[:, 0, 0] < 0) | ((sign > 0) & (c[:, 0] > 0)))[:, None, None]
        if kinks.size:
            known = known & (np.searchsorted(kinks, a)[:, :, None] == np.searchsorted(kinks, turn * b))
        apart = np.where(known, _difference(act, turn * b, away, apart), apart)
        wide = sigma_w2 * _mean(apart**2, weight, density)
        wide += np.where(sign > 0, 0.0, 4 * beta2)
        gap[rows] = sigma_w2 * _mean(apart * together, weight, density)
        total = later[0][rows] + later[1][rows]
        result[rows] = total * wide / 2 - wide**2 / 4 - gap[rows] ** 2 / 4
    return result, gap


def _nested_rule(
    act: Activation, std: np.ndarray, slope: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes a (R, n), b − ρa (R, n or 1, m) and their weights, split where either meets a kink; std and so on are (R, 1)."""
    kinks = np.array(act.kinks)
    near = None
    if kinks.size:
        # b meets its kinks near a = kink/ρ
        steps = np.concatenate([_ZONES, -_ZONES[1:]])
        with np.errstate(divide="ignore", invalid="ignore"):
            near = ((kinks[:, None] + spread[:, :, None] * steps) / (slope * std)[:, :, None]).reshape(len(std), -1)
    z, weight, _ = mesh_rule(((act, std[:, 0], np.zeros(len(std))),), 1.0, PANEL, near)
    weight = weight * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    if not kinks.size:
        nodes, density = np.polynomial.hermite_e.hermegauss(ACROSS)
        return (
            std * z,
            weight,
            spread[:, :, None] * nodes,
            np.broadcast_to(density / np.sqrt(2 * np.pi), (1, 1, ACROSS)),
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = slope * std * z
        # of nearly parallel points no more than the two next to it are met
        after = np.searchsorted(kinks, middle)
        beside = kinks[np.clip(np.stack([after - 1, after], axis=2), 0, kinks.size - 1)]
        met = np.nan_to_num((beside - middle[:, :, None]) / spread[:, :, None])
    uniform = np.linspace(-Z_MAX, Z_MAX, math.ceil(2 * Z_MAX / _WIDEST_ACROSS) + 1)
    edges = [np.broadcast_to(uniform, (*z.shape, uniform.size)), np.clip(met, -Z_MAX, Z_MAX)]
    nodes, density = panels(np.sort(np.concatenate(edges, axis=2), axis=2), ACROSS)
    return std * z, weight, spread[:, :, None] * nodes, density * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)


def _mean(values: np.ndarray, weight: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Over the nodes of a nested rule, (R,)."""
    return np.asarray(((values * density).sum(axis=2) * weight).sum(axis=1))


def _without_cancelling(cov: Covariance, rows: slice) -> np.ndarray:
    """1 − |c|/q, (R, 1): (q (q − q') + qq' − c²)/q(q + |c|)."""
    q, qp, c, det = (v[rows, None] for v in (cov.q, cov.qp, np.abs(cov.c), cov.det))
    gap = q - qp if cov.gap is None else cov.gap[rows, None]
    return np.divide(q * gap + det, q * (q + c), out=np.ones_like(q), where=q > 0)


def _difference(act: Activation, b: np.ndarray, apart: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """σ(b + apart) − σ(b) by the derivatives in the middle; ``rounded`` where two of these do not tell it."""
    middle = b + apart / 2
    slope, third = (act.derivative(order)(middle, check=False) for order in (1, 3))
    bend = third * apart**2 / 24
    return np.where(np.abs(bend) <= _SLIGHTLY_BENT * np.abs(slope), (slope + bend) * apart, rounded)


def sine_residual(theta: np.ndarray) -> np.ndarray:
    """sin θ − θ cos θ without cancellation near 0."""
    t2 = np.where(theta < 0.25, theta, 0.0) ** 2
    # Σ_{k≥1} (−1)^{k+1} 2k θ^{2k+1}/(2k+1)!; at 1/4 the eighth term is below 1e-22.
    series = np.zeros_like(theta)
    for k in range(7, 0, -1):
        series = t2 * ((-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) + series)
    return np.where(theta < 0.25, theta * series, np.sin(theta) - theta * np.cos(theta))
