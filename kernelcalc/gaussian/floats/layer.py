"""All expectations of one layer, block by block over a Gram matrix."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import SlowMethodWarning
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.expectation import pair_estimate
from kernelcalc.gaussian.floats import closed as closed_form
from kernelcalc.gaussian.floats import kinds as combination
from kernelcalc.gaussian.floats.kinds import Combination
from kernelcalc.gaussian.floats.norms import NORM_EXPONENTS, RTOL, lower_norms, scale_below
from kernelcalc.gaussian.floats.series import DAMPINGS, SeriesBounds, hermite_series, mehler_error, relative_tails
from kernelcalc.gaussian.floats.sums import mehler_block, mehler_sum
from kernelcalc.gaussian.floats.table import many_series

Order = tuple[int, int]
Index: TypeAlias = "slice | np.ndarray"
# Pairs of a layer sent to quadrature from which on a warning says so, and what one takes.
MANY_PAIRS, SECONDS_ONE_BY_ONE = 2000, (2e-3, 2e-2)

# A block on the diagonal holds pairs with ρ = 1, whose series are several times longer than at ρ = 0.9.
NEAR_ONE = 0.9
# Coefficients beyond this relative tail are rounding.
SHORTEST_TAIL = 4 * EPS
# Correlations at which closed forms whose terms may cancel are tried before they are used.
TRIED = (-0.99, -0.5, 0.0, 0.5, 0.99)
# Pairs from which on compiled series are faster than closed forms of several terms (measured: gelu, twice at N = 4096).
MANY_FOR_COMPILED = 2**14
# Terms kept whatever their size: at tiny variances the first ones of f and g may not meet, and the product starts later.
FEWEST_TERMS = 8
# Variances at which the p-norms are computed where there are more of them; they vary smoothly with log q.
NORM_NODES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """One derivative of σ at all points of one side.

    ``terms`` (K, N) are the Hermite coefficients f_{offset + stride·m} above rounding (stride 2 for even and odd functions),
    ``remains`` the largest relative tail beyond each K, ``norms`` (N, exponents) the lower norms, ``damping`` the smallest
    damped norms relative to the norm; ``bounds`` belong to the whole computed length.
    """

    terms: np.ndarray
    remains: np.ndarray
    bounds: SeriesBounds
    norms: np.ndarray
    damping: np.ndarray
    offset: int = 0
    stride: int = 1

    def every_other(self, offset: int) -> _Side:
        terms = np.ascontiguousarray(self.terms[offset::2])
        return _Side(
            terms=terms if len(terms) else np.zeros((1, self.terms.shape[1])),
            remains=self.remains,
            bounds=self.bounds,
            norms=self.norms,
            damping=self.damping,
            offset=offset,
            stride=2,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Correlations:
    """ρ of a block; ``near`` indexes the few pairs beyond NEAR_ONE, ``reach`` is the largest |ρ| of all others."""

    rho: np.ndarray
    square: np.ndarray
    near: tuple[np.ndarray, ...]
    reach: float

    @classmethod
    def of(cls, cov: Covariance) -> _Correlations:
        rho = cov.rho
        size = np.abs(rho)
        near = size > NEAR_ONE
        count = np.count_nonzero(near)
        if 0 < count <= near.size // 8:
            return cls(rho=rho, square=rho * rho, near=np.nonzero(near), reach=float(size[~near].max()))
        none = np.empty(0, dtype=np.intp)
        return cls(rho=rho, square=rho * rho, near=(none, none), reach=float(size.max()))


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
    rtol : float
        Error aimed at, relative to E|f(a)g(b)|.
    compiled : bool
        Sum the series in numba's machine code instead of NumPy.
    """

    def __init__(
        self,
        act: Activation,
        q: np.ndarray,
        qp: np.ndarray,
        orders: Sequence[Order],
        *,
        rtol: float = RTOL,
        compiled: bool = False,
    ) -> None:
        self.act, self.orders, self.rtol, self.compiled = act, tuple(orders), rtol, compiled
        self.q, self.qp = q, qp
        self._one_by_one, self._warned = 0, False
        self._kept_norms: dict[tuple[int, str], np.ndarray] = {}
        self.functions = {k: act.derivative(k) for k in {k for order in orders for k in order}}
        self.atoms: dict[int, Combination] | None = self._closed_forms()
        self._focus: tuple[slice, slice] | None = None
        if self.atoms is None:
            self.length, self.kept, self.parity = self._survey()

    @property
    def bytes_per_point(self) -> int:
        """What the series of one point take, at most."""
        return 0 if self.atoms is not None else 8 * self.kept * len(self.functions) // (1 if self.parity is None else 2)

    def focus(self, rows: slice, columns: slice) -> None:
        """Prepare the series of these points; later blocks must lie within them. By default all points are prepared at once."""
        before, self._focus = self._focus, (rows, columns)
        if self.atoms is not None or before == self._focus:
            return
        left, right = ({order[side] for order in self.orders} for side in (0, 1))
        if self.q is self.qp and rows == columns:
            self.rows = self.columns = self._prepare(self.q[rows], left | right)
            return
        if before is None or before[0] != rows or self.rows is self.columns:
            self.rows = self._prepare(self.q[rows], left)
        self.columns = self._prepare(self.qp[columns], right)

    def _closed_forms(self) -> dict[int, Combination] | None:
        """All derivatives as sums of atoms, if there are closed forms and they do not cancel where a series would not."""
        known = {}
        for k, f in self.functions.items():
            atoms = combination.recognise(f)
            if atoms is None:
                return None
            known[k] = atoms
        ends = np.unique([self.q.min(), self.q.max(), self.qp.min(), self.qp.max()])
        q, qp, rho = (v.ravel() for v in np.meshgrid(ends, ends, TRIED))
        c = rho * np.sqrt(q * qp)
        shared = closed_form.SharedPairs(Covariance(q=q, qp=qp, c=c, det=q * qp * (1 - rho**2)))
        compiled = self.compiled and self.act.smoothness == np.inf and self.q.size * self.qp.size >= MANY_FOR_COMPILED
        for i, j in self.orders:
            estimate = closed_form.expectation(known[i], known[j], shared.cov, shared)
            if estimate is None or (compiled and len(estimate.terms) > 1):
                return None
            if estimate.relative > self.rtol and self.act.smoothness == np.inf:
                norms = lower_norms(self.functions[i], q), lower_norms(self.functions[j], qp)
                if not (estimate.error <= self.rtol * scale_below(*norms, rho, estimate.value)).all():
                    return None
        return known

    def _survey(self) -> tuple[int, int, int | None]:
        """Terms that the most demanding derivative needs, and how many of them are kept; 0 or 1 if σ is even or odd.

        Every other coefficient is rounding then.

        Tails bound a product only if both series end at one length.
        """
        q = np.concatenate([self.q, self.qp])
        ends = np.unique([q.max(), q[q > 0].min(initial=q.max())])
        series = {k: hermite_series(f, ends) for k, f in self.functions.items()}
        length = max(s.coefficients.shape[1] for s in series.values())
        kept = max(int((relative_tails(s) > SHORTEST_TAIL).sum()) for s in series.values())
        for parity in (0, 1):
            if not _has_parity(self.act, parity):
                continue
            wrong = {k: s.coefficients[:, (parity + k + 1) % 2 :: 2] for k, s in series.items()}
            if all((np.abs(w) <= 4 * EPS * series[k].bounds.norm[:, None]).all() for k, w in wrong.items()):
                return length, kept, parity
        return length, kept, None

    def _prepare(self, q: np.ndarray, wanted: set[int]) -> dict[int, _Side]:
        unique, back = np.unique(q, return_inverse=True)
        sides = {k: self._side(self.functions[k], unique, back) for k in wanted}
        if self.parity is None:
            return sides
        return {k: side.every_other((self.parity + k) % 2) for k, side in sides.items()}

    def _side(self, function: Activation, unique: np.ndarray, back: np.ndarray) -> _Side:
        series = many_series(function, unique, length=self.length)
        remains = relative_tails(series)
        keep = min(remains.size, max(FEWEST_TERMS, int((remains > SHORTEST_TAIL).sum())))
        terms = np.ascontiguousarray(series.coefficients[:, :keep].T)
        norm = np.where(series.bounds.norm > 0, series.bounds.norm, 1.0)
        return _Side(
            terms=terms if np.array_equal(back, np.arange(back.size)) else terms[:, back],
            remains=remains[:keep],
            bounds=series.bounds[back],
            norms=_norms(function, unique)[back],
            damping=np.min(series.bounds.damped / norm[:, None], axis=0, initial=1.0),
        )

    def block(self, rows: slice, columns: Index, cov: Covariance) -> dict[Order, np.ndarray]:
        """Every E_ij on a block; cov.q has shape (B, 1), cov.qp (1, M), cov.c and cov.det (B, M)."""
        if self.atoms is not None:
            shared = closed_form.SharedPairs(cov)
            return {order: self._exact(order, rows, columns, shared) for order in self.orders}
        if self._focus is None:
            self.focus(slice(0, self.q.size), slice(0, self.qp.size))
        rows, columns = (_within(part, of) for part, of in zip((rows, columns), self._focus or (), strict=True))
        at = _Correlations.of(cov)
        return {order: self._series(order, rows, columns, cov, at) for order in self.orders}

    def _exact(self, order: Order, rows: slice, columns: Index, shared: closed_form.SharedPairs) -> np.ndarray:
        assert self.atoms is not None
        (i, j), cov = order, shared.cov
        estimate = closed_form.expectation(self.atoms[i], self.atoms[j], cov, shared)
        assert estimate is not None  # probed at construction
        if self._surely_enough(estimate, order, rows, columns, shared):
            return np.broadcast_to(estimate.value, cov.c.shape)
        value = np.array(np.broadcast_to(estimate.value, cov.c.shape))
        error = np.broadcast_to(estimate.error, value.shape)
        bad = ~(error <= self.rtol * np.abs(value))
        if bad.any():
            k, m = np.nonzero(bad)
            norms = self._norms(i, "rows")[rows][k], self._norms(j, "columns")[columns][m]
            scale = scale_below(*norms, cov.rho[k, m], value[k, m])
            enough = error[k, m] <= self.rtol * scale
            bad[k[enough], m[enough]] = False
        if bad.any():
            value[bad] = self._recompute(order, cov, bad)
        return value

    def _surely_enough(
        self,
        estimate: closed_form.ClosedForm,
        order: Order,
        rows: slice,
        columns: Index,
        shared: closed_form.SharedPairs,
    ) -> bool:
        """Whether bounds for a whole block show that no pair's error is too large."""
        if estimate.relative <= self.rtol:
            # one number instead of an array of them: NaN and infinity pass on to a sum
            return bool(np.isfinite(estimate.value.sum()))
        if not estimate.largest < np.inf:
            return False
        allowed = [index for index, p in enumerate(NORM_EXPONENTS) if shared.reach <= 1 - p]
        left, right = self._norms(order[0], "rows")[rows], self._norms(order[1], "columns")[columns]
        norms = left[:, allowed].min(axis=0) * right[:, allowed].min(axis=0)
        return bool(estimate.largest <= self.rtol * norms.max(initial=0.0))

    def _norms(self, order: int, side: str) -> np.ndarray:
        """Lower norms of a derivative at all points of a side, (N, exponents), computed at first use."""
        key = order, "rows" if self.q is self.qp else side
        if key not in self._kept_norms:
            unique, back = np.unique(self.q if key[1] == "rows" else self.qp, return_inverse=True)
            self._kept_norms[key] = _norms(self.functions[order], unique)[back]
        return self._kept_norms[key]

    def _series(self, order: Order, rows: slice, columns: Index, cov: Covariance, at: _Correlations) -> np.ndarray:
        left, right = self.rows[order[0]], self.columns[order[1]]
        value = _mehler(left, right, rows, columns, at, self.compiled)
        bad = np.zeros(value.shape, dtype=bool)
        if not self._bulk_suffices(left, right, rows, columns, at.reach):
            every = np.indices(value.shape).reshape(2, -1)
            self._mark(bad, value, left, right, rows, columns, at.rho, (every[0], every[1]))
        elif at.near[0].size:
            self._mark(bad, value, left, right, rows, columns, at.rho, at.near)
        if bad.any():
            value[bad] = self._recompute(order, cov, bad)
        return value

    def _bulk_suffices(self, left: _Side, right: _Side, rows: slice, columns: Index, reach: float) -> bool:
        """Whether the largest error bound of a block is below ``rtol`` times the smallest scale: then every pair's is."""
        f, g = left.bounds[rows], right.bounds[columns]
        tier = min(int(np.searchsorted(DAMPINGS, reach)), len(DAMPINGS) - 1)
        damped_f, damped_g = f.damped[:, tier].max(), g.damped[:, tier].max()
        error = reach**self.length * f.tail.max() * g.tail.max()
        error += f.error.max() * damped_g + g.error.max() * damped_f + 16 * EPS * damped_f * damped_g
        allowed = [index for index, p in enumerate(NORM_EXPONENTS) if reach <= 1 - p]
        if not allowed:
            return False
        norms = left.norms[rows][:, allowed].min(axis=0) * right.norms[columns][:, allowed].min(axis=0)
        return bool(error <= self.rtol * norms.max())

    def _mark(
        self,
        bad: np.ndarray,
        value: np.ndarray,
        left: _Side,
        right: _Side,
        rows: slice,
        columns: Index,
        rho: np.ndarray,
        pairs: tuple[np.ndarray, ...],
    ) -> None:
        """Mark in ``bad`` those of the pairs whose own error bound is too large."""
        i, j = pairs
        f, g = left.bounds[rows], right.bounds[columns]
        error = mehler_error(f[i], g[j], rho[pairs], self.length)
        found = value[pairs]
        open_ = np.flatnonzero(~(error <= self.rtol * np.abs(found)))
        if open_.size == 0:
            return
        i, j, error = i[open_], j[open_], error[open_]
        trusted = np.maximum(np.abs(found[open_]) - error, 0.0)
        scale = scale_below(left.norms[rows][i], right.norms[columns][j], rho[i, j], trusted)
        over = ~(error <= self.rtol * scale)
        bad[i[over], j[over]] = True

    def _recompute(self, order: Order, cov: Covariance, bad: np.ndarray) -> np.ndarray:
        i, j = order
        self._one_by_one += int(bad.sum())
        if self._one_by_one > MANY_PAIRS and not self._warned:
            self._warned = True
            low, high = (self._one_by_one * seconds for seconds in SECONDS_ONE_BY_ONE)
            warnings.warn(
                f"at least {self._one_by_one} expectations of {self.act.name} at variances up to {cov.q.max():.3g} in a layer "
                f"go through quadrature one by one, so far some {low:.0f} to {high:.0f} s; points scaled to |x|² = n_0 or a "
                "nonlinearity with a closed form are faster",
                SlowMethodWarning,
                stacklevel=2,
            )
        full = Covariance(
            q=np.broadcast_to(cov.q, cov.c.shape), qp=np.broadcast_to(cov.qp, cov.c.shape), c=cov.c, det=cov.det
        )
        return pair_estimate(self.functions[i], self.functions[j], full.take(bad), rtol=self.rtol).value


def _has_parity(act: Activation, parity: int) -> bool:
    """Whether σ(−x) = ±σ(x) at many points, to rounding."""
    x = np.concatenate([np.linspace(0, 50, 501), np.geomspace(50, 1e3, 100)])
    right, left = act(x, check=False), act(-x, check=False)
    return bool(np.isclose(left, -right if parity else right, rtol=1e-12, atol=1e-14, equal_nan=True).all())


def _within(part: Index, of: slice) -> Any:
    """Indices counted from the start of a slice."""
    return slice(part.start - of.start, part.stop - of.start) if isinstance(part, slice) else part - of.start


def _norms(function: Activation, q: np.ndarray) -> np.ndarray:
    """The lower norms at sorted variances, interpolated in log-log where there are many."""
    if q.size <= NORM_NODES:
        return lower_norms(function, q)
    if q[0] <= 0:
        return np.concatenate([lower_norms(function, q[:1]), _norms(function, q[1:])])
    nodes = np.geomspace(q[0], q[-1], NORM_NODES)
    with np.errstate(divide="ignore"):
        logs = np.log(lower_norms(function, nodes)).T
    return np.exp([np.interp(np.log(q), np.log(nodes), row) for row in logs]).T


def _mehler(left: _Side, right: _Side, rows: slice, columns: Index, at: _Correlations, compiled: bool) -> np.ndarray:
    """Mehler sums of a block, as long as its bulk of ρ needs; the few pairs near |ρ| = 1 get more terms, one by one."""
    variable = at.rho if left.stride == 1 else at.square
    count = _terms(left, right, at.reach)
    value = mehler_block(left.terms[:count, rows], right.terms[:count, columns], variable, compiled=compiled)
    if at.near[0].size:
        i, j = at.near
        count = _terms(left, right, float(np.abs(at.rho[at.near]).max()))
        f = np.take(left.terms[:count, rows], i, axis=1)
        g = np.take(right.terms[:count, columns], j, axis=1)
        value[at.near] = mehler_sum(f, g, variable[at.near])
    if left.offset:
        value *= at.rho
    return value


def _terms(left: _Side, right: _Side, reach: float) -> int:
    """Fewest terms whose remainder at |ρ| ≤ reach stays below half an ulp of the size of the sum (or all there are).

    The size is that of the damped norms, in which the error bound counts rounding.
    """
    count = min(left.remains.size, right.remains.size)
    remainder = left.remains[:count] * right.remains[:count] * reach ** np.arange(count)
    tier = min(int(np.searchsorted(DAMPINGS, reach)), len(DAMPINGS) - 1)
    small = np.flatnonzero(remainder <= EPS / 4 * left.damping[tier] * right.damping[tier])
    needed = int(small[0]) if small.size else count
    return max(1, -(-(max(needed, min(count, FEWEST_TERMS)) - left.offset) // left.stride))


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
