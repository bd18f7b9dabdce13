"""Mehler series over blocks of a Gram matrix: coefficients once a point, one polynomial in ρ a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats.norms import enough, lower_norms, series_error, smallest_scale
from kernelcalc.gaussian.floats.series import SeriesBounds, damping_tier, hermite_series, relative_tails
from kernelcalc.gaussian.floats.sums import mehler_block, mehler_sum
from kernelcalc.gaussian.floats.table import many_series

Order = tuple[int, int]
Index: TypeAlias = "slice | np.ndarray"

# A block on the diagonal holds pairs with ρ = 1, whose series are several times longer than at ρ = 0.9.
NEAR_ONE = 0.9
# Coefficients beyond this relative tail are rounding.
SHORTEST_TAIL = 4 * EPS
# Terms kept whatever their size: at tiny variances the first ones of f and g may not meet, and the product starts later.
FEWEST_TERMS = 8
# Variances at which the p-norms are computed where there are more of them; they vary smoothly with log q.
NORM_NODES = 64


@dataclass(frozen=True, eq=False)
class Points:
    """What a layer is asked for: σ, the variances of rows and columns, orders, tolerance, whether to use machine code."""

    act: Activation
    q: np.ndarray
    qp: np.ndarray
    orders: tuple[Order, ...]
    rtol: float
    compiled: bool
    _norms: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)

    @cached_property
    def functions(self) -> dict[int, Activation]:
        """The derivatives by their order."""
        return {k: self.act.derivative(k) for order in self.orders for k in order}

    def norms(self, order: int, side: str) -> np.ndarray:
        """Lower norms of a derivative at all points of a side, (N, exponents), computed at first use."""
        key = order, "rows" if self.q is self.qp else side
        if key not in self._norms:
            unique, back = np.unique(self.q if key[1] == "rows" else self.qp, return_inverse=True)
            self._norms[key] = _norms(self.functions[order], unique)[back]
        return self._norms[key]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One derivative of σ at all points of one side.

    ``terms`` (K, N) are the Hermite coefficients f_{offset + stride·m} above rounding (stride 2 for even and odd functions),
    ``remains`` the largest relative tail beyond each K, ``damping`` the smallest damped norms relative to the norm; ``bounds``
    belong to the whole computed length.
    """

    terms: np.ndarray
    remains: np.ndarray
    bounds: SeriesBounds
    damping: np.ndarray
    offset: int = 0
    stride: int = 1

    @classmethod
    def of(cls, function: Activation, q: np.ndarray, length: int, parity: int | None) -> Side:
        """``parity`` says which coefficients vanish: 0 for an even function, 1 for an odd one."""
        unique, back = np.unique(q, return_inverse=True)
        series = many_series(function, unique, length=length)
        remains = relative_tails(series)
        keep = min(remains.size, max(FEWEST_TERMS, int((remains > SHORTEST_TAIL).sum())))
        offset, stride = (0, 1) if parity is None else (parity, 2)
        terms = np.ascontiguousarray(series.coefficients[:, offset:keep:stride].T)
        if len(terms) == 0:
            terms = np.zeros((1, unique.size))
        norm = np.where(series.bounds.norm > 0, series.bounds.norm, 1.0)
        return cls(
            terms=terms if np.array_equal(back, np.arange(back.size)) else terms[:, back],
            remains=remains[:keep],
            bounds=series.bounds[back],
            damping=np.min(series.bounds.damped / norm[:, None], axis=0, initial=1.0),
            offset=offset,
            stride=stride,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlations:
    """ρ of a block; ``near`` indexes the few pairs beyond NEAR_ONE, ``reach`` is the largest |ρ| of all others."""

    rho: np.ndarray
    square: np.ndarray
    near: tuple[np.ndarray, ...]
    reach: float

    @classmethod
    def of(cls, cov: Covariance) -> Correlations:
        rho = cov.rho
        size = np.abs(rho)
        near = size > NEAR_ONE
        count = np.count_nonzero(near)
        if 0 < count <= near.size // 8:
            return cls(rho=rho, square=rho * rho, near=np.nonzero(near), reach=float(size[~near].max()))
        none = np.empty(0, dtype=np.intp)
        return cls(rho=rho, square=rho * rho, near=(none, none), reach=float(size.max()))


class SeriesBlocks:
    """Blocks by Mehler series (one of :class:`kernelcalc.gaussian.floats.layer.Blocks`)."""

    length: int
    kept: int
    parity: int | None

    def __init__(self, points: Points) -> None:
        self.points = points
        self.length, self.kept, self.parity = _survey(points)
        self._focus: tuple[slice, slice] | None = None
        self._rows: dict[int, Side] = {}
        self._columns: dict[int, Side] = {}

    @property
    def bytes_per_point(self) -> int:
        """What the series of one point take, at most."""
        return 8 * self.kept * len(self.points.functions) // (1 if self.parity is None else 2)

    def focus(self, rows: slice, columns: slice) -> None:
        """Prepare the series of these points; later blocks must lie within them."""
        before, self._focus = self._focus, (rows, columns)
        if before == self._focus:
            return
        q, qp = self.points.q, self.points.qp
        left, right = ({order[side] for order in self.points.orders} for side in (0, 1))
        if q is qp and rows == columns:
            self._rows = self._columns = self._prepare(q[rows], left | right)
            return
        if before is None or before[0] != rows or self._rows is self._columns:
            self._rows = self._prepare(q[rows], left)
        self._columns = self._prepare(qp[columns], right)

    def _prepare(self, q: np.ndarray, wanted: set[int]) -> dict[int, Side]:
        parities = {k: None if self.parity is None else (self.parity + k) % 2 for k in wanted}
        return {k: Side.of(self.points.functions[k], q, self.length, parity) for k, parity in parities.items()}

    def values(self, rows: slice, columns: Index, cov: Covariance) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """See :class:`kernelcalc.gaussian.floats.layer.Blocks`."""
        if self._focus is None:
            self.focus(slice(0, self.points.q.size), slice(0, self.points.qp.size))
        assert self._focus is not None
        within = _within(rows, self._focus[0]), _within(columns, self._focus[1])
        at = Correlations.of(cov)
        for i, j in self.points.orders:
            left, right = self._rows[i], self._columns[j]
            bounds = left.bounds[within[0]], right.bounds[within[1]]
            norms = self.points.norms(i, "rows")[rows], self.points.norms(j, "columns")[columns]
            value = _mehler(left, right, *within, at, self.points.compiled)
            error = series_error(at.reach**self.length, *(b.widest(at.reach) for b in bounds))
            surely = error <= self.points.rtol * smallest_scale(*norms, at.reach)
            doubtful = at.near if surely else tuple(np.indices(value.shape).reshape(2, -1))
            yield value, self._bad(value, bounds, norms, at.rho, doubtful) if doubtful[0].size else None

    def _bad(
        self,
        value: np.ndarray,
        bounds: tuple[SeriesBounds, SeriesBounds],
        norms: tuple[np.ndarray, np.ndarray],
        rho: np.ndarray,
        pairs: tuple[np.ndarray, ...],
    ) -> np.ndarray:
        """Those of the pairs whose own error bound is too large."""
        i, j = pairs
        at, found, rtol = np.abs(rho[pairs]), value[pairs], self.points.rtol
        error = series_error(at**self.length, bounds[0][i].cut(at), bounds[1][j].cut(at))
        open_ = np.flatnonzero(~(error <= rtol * np.abs(found)))
        i, j, error = i[open_], j[open_], error[open_]
        bad = np.zeros(value.shape, dtype=bool)
        bad[i, j] = ~enough(found[open_], error, rho[i, j], norms[0][i], norms[1][j], rtol=rtol)
        return bad


def _survey(points: Points) -> tuple[int, int, int | None]:
    """Terms that the most demanding derivative needs, and how many of them are kept; 0 or 1 if σ is even or odd.

    Every other coefficient is rounding then. Tails bound a product only if both series end at one length.
    """
    q = np.concatenate([points.q, points.qp])
    ends = np.unique([q.max(), q[q > 0].min(initial=q.max())])
    series = {k: hermite_series(f, ends) for k, f in points.functions.items()}
    length = max(s.coefficients.shape[1] for s in series.values())
    kept = max(int((relative_tails(s) > SHORTEST_TAIL).sum()) for s in series.values())
    for parity in (0, 1):
        if not _has_parity(points.act, parity):
            continue
        wrong = {k: s.coefficients[:, (parity + k + 1) % 2 :: 2] for k, s in series.items()}
        if all((np.abs(w) <= 4 * EPS * series[k].bounds.norm[:, None]).all() for k, w in wrong.items()):
            return length, kept, parity
    return length, kept, None


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


def _mehler(left: Side, right: Side, rows: slice, columns: Index, at: Correlations, compiled: bool) -> np.ndarray:
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


def _terms(left: Side, right: Side, reach: float) -> int:
    """Fewest terms whose remainder at |ρ| ≤ reach stays below half an ulp of the size of the sum (or all there are).

    The size is that of the damped norms, in which the error bound counts rounding.
    """
    count = min(left.remains.size, right.remains.size)
    remainder = left.remains[:count] * right.remains[:count] * reach ** np.arange(count)
    tier = damping_tier(reach)
    small = np.flatnonzero(remainder <= EPS / 4 * left.damping[tier] * right.damping[tier])
    needed = int(small[0]) if small.size else count
    return max(1, -(-(max(needed, min(count, FEWEST_TERMS)) - left.offset) // left.stride))
