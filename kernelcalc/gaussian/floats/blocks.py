"""Mehler series over blocks of a Gram matrix: coefficients once a point, one polynomial in ρ a block."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats.norms import (
    FARTHEST_REACH,
    Cut,
    enough,
    least_norms,
    lower_norms,
    octaves,
    series_error,
    smallest_scale,
)
from kernelcalc.gaussian.floats.series import DAMPINGS, SeriesBounds, damping_tier, hermite_series, relative_tails
from kernelcalc.gaussian.floats.sums import mehler_block, mehler_pairs
from kernelcalc.gaussian.floats.table import many_series

Order = tuple[int, int]
Index: TypeAlias = "slice | np.ndarray"

# A few pairs near |ρ| = 1 need series several times longer than at 0.8: they are summed apart where at most such a part of a
# block lies beyond an edge, and those beyond a later edge apart again (measured: digits, tanh).
EDGES = ((0.8, 1 / 32), (0.9, 1 / 8), (0.97, 0.0))
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
    _least: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)

    @cached_property
    def functions(self) -> dict[int, Activation]:
        """The derivatives by their order."""
        return {k: self.act.derivative(k) for order in self.orders for k in order}

    @cached_property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Powers of two around the variances of rows and of columns."""
        rows = octaves(self.q)
        return rows, rows if self.qp is self.q else octaves(self.qp)

    def octave_norms(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """No more than the norms of two derivatives at rows and at columns, (1, exponents) each, kept from call to call."""
        rows, columns = self.ends
        return least_norms(self.functions[i], rows), least_norms(self.functions[j], columns)

    def norms(self, order: int, side: str) -> np.ndarray:
        """Lower norms of a derivative at all points of a side, (N, exponents), computed at first use."""
        key = order, "rows" if self.q is self.qp else side
        if key not in self._norms:
            unique, back = np.unique(self.q if key[1] == "rows" else self.qp, return_inverse=True)
            found = _norms(self.functions[order], unique)[back]
            # last what other threads look for
            self._least[key] = found.min(axis=0, keepdims=True)
            self._norms[key] = found
        return self._norms[key]

    def least(self, order: int, side: str) -> np.ndarray:
        """The smallest of all points, (1, exponents)."""
        self.norms(order, side)
        return self._least[order, "rows" if self.q is self.qp else side]


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

    @cached_property
    def tails(self) -> list[float]:
        """``remains`` as numbers of Python, which are faster one by one."""
        return self.remains.tolist()

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """For each of DAMPINGS one bound for all points."""
        return tuple(self.bounds.widest(reach) for reach in DAMPINGS)

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


class Near(NamedTuple):
    """Pairs near |ρ| = 1 that are summed together: their indices and the largest |ρ|."""

    pairs: tuple[np.ndarray, ...]
    reach: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Correlations:
    """ρ of a block; ``near`` are the few pairs beyond one of EDGES, ``reach`` is the largest |ρ| of all others."""

    rho: np.ndarray
    square: np.ndarray
    near: tuple[Near, ...]
    reach: float

    @classmethod
    def of(cls, cov: Covariance) -> Correlations:
        rho = cov.rho
        size = np.abs(rho)
        reach, near = float(size.max()), []
        for place, (edge, most) in enumerate(EDGES):
            beyond = size > edge
            if 0 < np.count_nonzero(beyond) <= most * size.size:
                pairs = np.nonzero(beyond)
                reach, at = float(size.max(where=~beyond, initial=0.0)), size[pairs]
                for low, high in pairwise((*(e for e, _ in EDGES[place:]), np.inf)):
                    chosen = (at > low) & (at <= high)
                    if chosen.any():
                        near.append(Near(tuple(index[chosen] for index in pairs), float(at[chosen].max())))
                break
        return cls(rho=rho, square=rho * rho, near=tuple(near), reach=reach)


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
            value = _mehler(left, right, *within, at, self.points.compiled)
            sure = [self._surely((i, j), rows, columns, reach) for reach in (at.reach, *(n.reach for n in at.near))]
            if all(sure):
                yield value, None
                continue
            doubtful = [n.pairs for n, sure_ in zip(at.near, sure[1:], strict=True) if not sure_]
            if not sure[0]:
                doubtful = [tuple(np.indices(value.shape).reshape(2, -1))]
            yield value, self._bad(value, (i, j), rows, columns, at.rho, doubtful)

    def _surely(self, order: Order, rows: slice, columns: Index, reach: float) -> bool:
        """Whether one bound shows that no pair with |ρ| ≤ reach has too large an error: for all points, or for the block's."""
        if reach > FARTHEST_REACH:
            return False
        (i, j), beyond, points = order, reach**self.length, self.points
        left, right, tier = self._rows[i], self._columns[j], damping_tier(reach)
        error = series_error(beyond, left.cuts[tier], right.cuts[tier])
        if error <= points.rtol * smallest_scale(*points.octave_norms(i, j), reach):
            return True
        if error <= points.rtol * smallest_scale(points.least(i, "rows"), points.least(j, "columns"), reach):
            return True
        error = series_error(beyond, *(b.widest(reach) for b in self._bounds_of(order, rows, columns)))
        return bool(error <= points.rtol * smallest_scale(*self._norms_of(order, rows, columns), reach))

    def _norms_of(self, order: Order, rows: slice, columns: Index) -> tuple[np.ndarray, np.ndarray]:
        """Lower norms of the rows and of the columns."""
        return self.points.norms(order[0], "rows")[rows], self.points.norms(order[1], "columns")[columns]

    def _bounds_of(self, order: Order, rows: slice, columns: Index) -> tuple[SeriesBounds, SeriesBounds]:
        """Bounds of the series of the rows and of the columns."""
        assert self._focus is not None
        (i, j), (first, second) = order, self._focus
        return self._rows[i].bounds[_within(rows, first)], self._columns[j].bounds[_within(columns, second)]

    def _bad(
        self,
        value: np.ndarray,
        order: Order,
        rows: slice,
        columns: Index,
        rho: np.ndarray,
        doubtful: list[tuple[np.ndarray, ...]],
    ) -> np.ndarray | None:
        """Those of the pairs whose own error bound is too large; None for none."""
        bounds = self._bounds_of(order, rows, columns)
        pairs = i, j = tuple(np.concatenate(indices) for indices in zip(*doubtful, strict=True))
        at, found, rtol = np.abs(rho[pairs]), value[pairs], self.points.rtol
        error = series_error(at**self.length, bounds[0][i].cut(at), bounds[1][j].cut(at))
        open_ = np.flatnonzero(~(error <= rtol * np.abs(found)))
        if not open_.size:
            return None
        norms = self._norms_of(order, rows, columns)
        i, j, error = i[open_], j[open_], error[open_]
        bad = np.zeros(value.shape, dtype=bool)
        bad[i, j] = ~enough(found[open_], error, rho[i, j], norms[0][i], norms[1][j], rtol=rtol)
        return bad


def _survey(points: Points) -> tuple[int, int, int | None]:
    """Terms that the most demanding derivative needs, and how many of them are kept; 0 or 1 if σ is even or odd.

    Every other coefficient is rounding then. Tails bound a product only if both series end at one length. The highest
    derivative is the most demanding: by Stein's lemma its energies are σ's times weights that grow with k, so a larger part of
    them lies in the tail.
    """
    q = np.concatenate([points.q, points.qp])
    ends = np.unique([q.max(), q[q > 0].min(initial=q.max())])
    top = max(points.functions)
    series = hermite_series(points.functions[top], ends)
    length = series.coefficients.shape[1]
    kept = min(length, int((relative_tails(series) > SHORTEST_TAIL).sum()) + top)
    for parity in (0, 1):
        if not _has_parity(points.act, parity):
            continue
        wrong = np.abs(series.coefficients[:, (parity + top + 1) % 2 :: 2])
        if (wrong <= 4 * EPS * series.bounds.norm[:, None]).all():
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
    """Mehler sums of a block, as long as its bulk of ρ needs; the few pairs near |ρ| = 1 get more terms."""
    if left.offset != right.offset:
        # an even function beside an odd one
        return np.zeros_like(at.rho)
    variable = at.rho if left.stride == 1 else at.square
    count = _terms(left, right, at.reach)
    value = mehler_block(left.terms[:count, rows], right.terms[:count, columns], variable, compiled=compiled)
    for near in at.near:
        count = _terms(left, right, near.reach)
        f, g = left.terms[:count, rows], right.terms[:count, columns]
        value[near.pairs] = mehler_pairs(f, g, near.pairs, variable[near.pairs], compiled=compiled)
    if left.offset:
        value *= at.rho
    return value


def _terms(left: Side, right: Side, reach: float) -> int:
    """Fewest terms whose remainder at |ρ| ≤ reach stays below half an ulp of the size of the sum (or all there are).

    The size is that of the damped norms, in which the error bound counts rounding; the remainder falls with every term.
    """
    f, g, tier = left.tails, right.tails, damping_tier(reach)
    count, least = min(len(f), len(g)), EPS / 4 * float(left.damping[tier] * right.damping[tier])
    needed = bisect_left(range(count), True, key=lambda k: f[k] * g[k] * reach**k <= least)
    return max(1, -(-(max(needed, min(count, FEWEST_TERMS)) - left.offset) // left.stride))
