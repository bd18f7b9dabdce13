"""All expectations of one layer, block by block over a Gram matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import mpmath
import numpy as np

from kernelcalc.activations import Activation
from kernelcalc.errors import SlowMethodWarning
from kernelcalc.gaussian import closed_form
from kernelcalc.gaussian.algebra import evaluate, in_algebra
from kernelcalc.gaussian.closed_form import Combination
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.expectation import RTOL, lower_norms, pair_estimate, scale_below
from kernelcalc.gaussian.hermite import SeriesBounds, hermite_series, mehler_error, mehler_sum, relative_tails

Order = tuple[int, int]
# Pairs of a block (of 128 × 256) sent to quadrature from which on a warning says so: some ten seconds.
MANY_PAIRS = 2000
EPS = np.finfo(np.float64).eps


# A block of 128 × 256 holds 128 diagonal pairs with ρ = 1, whose series are several times longer than at ρ = 0.9.
NEAR_ONE = 0.9
ROW_BLOCK = 256
# Coefficients beyond this relative tail are rounding.
SHORTEST_TAIL = 4 * EPS


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """One derivative of σ at all points of one side.

    ``terms`` (K, N) are the Hermite coefficients above rounding, ``remains`` (K,) the largest relative tail beyond each K,
    ``norms`` (N, exponents) the lower norms; ``bounds`` belong to the whole computed length.
    """

    terms: np.ndarray
    remains: np.ndarray
    bounds: SeriesBounds
    norms: np.ndarray


class LayerExpectations:
    """E_ij = E[σ^(i)(a) σ^(j)(b)] of one nonlinearity between row variances q and column variances q'.

    Closed forms where there are; else Hermite coefficients are computed once a point, and a block costs one polynomial in ρ
    for each order. Pairs whose error bound is not below ``rtol`` are recomputed one by one by quadrature.

    Parameters
    ----------
    act : Activation
        σ.
    q, qp : ndarray of shapes (N,), (M,)
        Variances of the rows and columns; pass the same object for a symmetric Gram matrix.
    orders : sequence of (i, j)
        Derivative orders wanted.
    """

    def __init__(
        self, act: Activation, q: np.ndarray, qp: np.ndarray, orders: Sequence[Order], *, rtol: float = RTOL
    ) -> None:
        self.act, self.orders, self.rtol = act, tuple(orders), rtol
        self.functions = {k: act.derivative(k) for k in {k for order in orders for k in order}}
        self.atoms: dict[int, Combination] | None = self._closed_forms()
        if self.atoms is None:
            self.length = self._common_length(max(q.max(), qp.max()))
            self.rows = self._prepare(q, {i for i, _ in orders})
            self.columns = self.rows if qp is q else self._prepare(qp, {j for _, j in orders})
            if qp is q:
                for k in {j for _, j in orders} - self.rows.keys():
                    self.rows[k] = self._prepare(q, {k})[k]

    def _closed_forms(self) -> dict[int, Combination] | None:
        found = {k: closed_form.recognise(f) for k, f in self.functions.items()}
        if any(v is None for v in found.values()):
            return None
        one = np.ones(1)
        probe = Covariance(q=one, qp=one, c=one / 2, det=3 * one / 4)
        known = {k: v for k, v in found.items() if v is not None}
        if any(closed_form.expectation(known[i], known[j], probe) is None for i, j in self.orders):
            return None
        return known

    def _common_length(self, largest: float) -> int:
        """Terms that the most demanding derivative needs: tails bound a product only if both series end at one length."""
        at = np.array([largest])
        return max(hermite_series(f, at).coefficients.shape[1] for f in self.functions.values())

    def _prepare(self, q: np.ndarray, wanted: set[int]) -> dict[int, _Side]:
        unique, back = np.unique(q, return_inverse=True)
        return {k: self._side(self.functions[k], unique, back) for k in wanted}

    def _side(self, function: Activation, unique: np.ndarray, back: np.ndarray) -> _Side:
        parts = []
        for start in range(0, unique.size, ROW_BLOCK):
            series = hermite_series(function, unique[start : start + ROW_BLOCK], length=self.length)
            remains = relative_tails(series)
            keep = max(1, int((remains > SHORTEST_TAIL).sum()))
            parts.append((series.coefficients[:, :keep].T.copy(), remains[:keep], series.bounds))
        longest = max(len(remains) for _, remains, _ in parts)
        terms = np.zeros((longest, unique.size))
        remains = np.zeros(longest)
        for block, (coefficients, own, _) in enumerate(parts):
            terms[: len(own), block * ROW_BLOCK : block * ROW_BLOCK + coefficients.shape[1]] = coefficients
            remains[: len(own)] = np.maximum(remains[: len(own)], own)
        fields = ("norm", "tail", "error", "damped")
        bounds = SeriesBounds(**{f: np.concatenate([getattr(p[2], f) for p in parts])[back] for f in fields})
        return _Side(
            terms=terms if np.array_equal(back, np.arange(back.size)) else terms[:, back],
            remains=remains,
            bounds=bounds,
            norms=lower_norms(function, unique)[back],
        )

    def block(self, rows: slice, columns: slice, cov: Covariance) -> dict[Order, np.ndarray]:
        """Every E_ij on a block; cov.q has shape (B, 1), cov.qp (1, M), cov.c and cov.det (B, M)."""
        return {order: self._one(order, rows, columns, cov) for order in self.orders}

    def _one(self, order: Order, rows: slice, columns: slice, cov: Covariance) -> np.ndarray:
        i, j = order
        if self.atoms is not None:
            estimate = closed_form.expectation(self.atoms[i], self.atoms[j], cov)
            assert estimate is not None  # probed at construction
            value = np.array(np.broadcast_to(estimate.value, cov.c.shape))
            bad = ~(estimate.error <= self.rtol * np.abs(value))
            if bad.any():
                bad &= ~(estimate.error <= self.rtol * self._scale(order, cov, value))
        else:
            left, right = self.rows[i], self.columns[j]
            rho = cov.rho
            value = _series_block(left, right, rows, columns, rho)
            error = mehler_error(left.bounds[rows, None], right.bounds[columns], rho, self.length)
            bad = ~(error <= self.rtol * np.abs(value))
            if bad.any():
                norms_f, norms_g = left.norms[rows, None, :], right.norms[None, columns, :]
                trusted = np.maximum(np.abs(value) - error, 0.0)
                bad &= ~(error <= self.rtol * scale_below(norms_f, norms_g, rho, trusted))
        if bad.any():
            value[bad] = self._recompute(order, cov, bad)
        return value

    def _scale(self, order: Order, cov: Covariance, value: np.ndarray) -> np.ndarray:
        i, j = order
        norms_f = lower_norms(self.functions[i], cov.q.ravel())[:, None, :]
        norms_g = lower_norms(self.functions[j], cov.qp.ravel())[None, :, :]
        return scale_below(norms_f, norms_g, cov.rho, value)

    def _recompute(self, order: Order, cov: Covariance, bad: np.ndarray) -> np.ndarray:
        i, j = order
        if bad.sum() > MANY_PAIRS:
            warnings.warn(
                f"{int(bad.sum())} pairs of E[{self.functions[i].name} {self.functions[j].name}] at variances up to "
                f"{cov.q.max():.3g} go through quadrature one by one, some 1 to 20 ms each; points scaled to |x|² = n_0 or a "
                "nonlinearity with a closed form are faster",
                SlowMethodWarning,
                stacklevel=6,
            )
        full = Covariance(
            q=np.broadcast_to(cov.q, cov.c.shape), qp=np.broadcast_to(cov.qp, cov.c.shape), c=cov.c, det=cov.det
        )
        return pair_estimate(self.functions[i], self.functions[j], full.take(bad), rtol=self.rtol).value


def _series_block(left: _Side, right: _Side, rows: slice, columns: slice, rho: np.ndarray) -> np.ndarray:
    """Mehler sums of a block, as long as its bulk of ρ needs; the few pairs near |ρ| = 1 get more terms, one by one."""
    size = np.abs(rho)
    near = size > NEAR_ONE
    few = 0 < near.sum() <= near.size // 8
    reach = float(size.max()) if not few else float(size[~near].max())
    terms = _terms(left, right, reach)
    value = mehler_sum(left.terms[:terms, rows, None], right.terms[:terms, None, columns], rho)
    if few:
        i, j = np.nonzero(near)
        terms = _terms(left, right, float(size[near].max()))
        f = np.take(left.terms[:terms, rows], i, axis=1)
        g = np.take(right.terms[:terms, columns], j, axis=1)
        value[near] = mehler_sum(f, g, rho[near])
    return value


def _terms(left: _Side, right: _Side, reach: float) -> int:
    """Fewest terms whose remainder at |ρ| ≤ reach stays below half an ulp of ‖f‖‖g‖ (or all there are)."""
    count = min(left.remains.size, right.remains.size)
    remainder = left.remains[:count] * right.remains[:count] * reach ** np.arange(count)
    small = np.flatnonzero(remainder <= EPS / 4)
    return max(1, int(small[0])) if small.size else count


def diagonal_expectations(
    act: Activation, q: np.ndarray, orders: Sequence[Order], *, rtol: float = RTOL
) -> dict[Order, np.ndarray]:
    """E_ij at (x, x): a = b ~ N(0, q), one value a point."""
    unique, back = np.unique(q, return_inverse=True)
    cov = Covariance(q=unique, qp=unique, c=unique, det=np.zeros_like(unique))
    result: dict[Order, np.ndarray] = {}
    for i, j in orders:
        if (j, i) in result:
            result[i, j] = result[j, i]
        else:
            result[i, j] = pair_estimate(act.derivative(i), act.derivative(j), cov, rtol=rtol).value[back]
    return result


def homogeneous_determinant(act: Activation, cov: Covariance, sigma_w2: float, beta2: float) -> np.ndarray | None:
    r"""qq' − c² of the next layer without cancellation, for σ(x) = A x + B|x|; None for other nonlinearities.

    V = √(qq') κ(θ) with κ(0) = A² + B². Near θ = 0 the angle of the next layer is only as good as κ(0) − κ(θ), which is
    computed from 1 − cos θ = 2 sin²(θ/2) and sin θ − θ cos θ instead of from rounded covariances.
    """
    atoms = closed_form.recognise(act)
    weights = None if atoms is None else closed_form.homogeneous_weights(atoms)
    if weights is None:
        return None
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
        with mpmath.workdps(REFINE_DIGITS):
            c = mpmath.sign(float(cov.c[i, j])) * mpmath.sqrt(q * qp - mpmath.mpf(float(cov.det[i, j])))
            first, second, mixed = (
                sigma_w2 * evaluate(act.expr, act.expr, *arguments, REFINE_DIGITS) + beta2
                for arguments in ((q, q, q), (qp, qp, qp), (q, qp, c))
            )
            det[i, j] = float(max(first * second - mixed**2, mpmath.mpf(0)))
