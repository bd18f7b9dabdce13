"""All expectations of one layer, block by block over a Gram matrix."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.errors import DivergentExpectationError, PrecisionWarning, SlowMethodWarning, warn
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.floats import closed, kinds
from kernelcalc.gaussian.floats.blocks import Index, Order, Points, SeriesBlocks
from kernelcalc.gaussian.floats.methods import pair_estimate
from kernelcalc.gaussian.floats.nodes import half_line, log_stretch
from kernelcalc.gaussian.floats.norms import RTOL, enough, lower_norms, smallest_scale
from kernelcalc.gaussian.floats.stein import regrouped_from

# Pairs of a layer sent to quadrature from which on a warning says so, and what one takes.
MANY_PAIRS, SECONDS_ONE_BY_ONE = 2000, (2e-3, 2e-2)
# Correlations at which closed forms whose terms may cancel are tried before they are used.
TRIED = (-0.99, -0.5, 0.0, 0.5, 0.99)
# Closed forms of one term are not tried at variances up to this, whose powers are far from overflow.
TRUSTED = 1e20
# Pairs from which on compiled series are faster than closed forms of several terms (measured: gelu, twice at N = 4096).
MANY_FOR_COMPILED = 2**14


class Blocks(Protocol):
    """How the expectations of a block are computed."""

    @property
    def bytes_per_point(self) -> int:
        """What is kept of one point, at most."""

    def focus(self, rows: slice, columns: slice) -> None:
        """Prepare these points; later blocks must lie within them. By default all points are prepared at once."""

    def values(self, rows: Any, columns: Index, cov: Covariance) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """For each order the values of a block and where their error is too large, None for nowhere."""


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
        self.orders: tuple[Order, ...] = tuple(orders)
        self.points: Points = Points(act, q, qp, self.orders, rtol, compiled)
        self._one_by_one, self._warned = 0, False
        self._products = _closed_forms(self.points)

    @cached_property
    def _blocks(self) -> Blocks:
        return SeriesBlocks(self.points) if self._products is None else ClosedBlocks(self.points, self._products)

    @property
    def compiled(self) -> bool:
        """Whether machine code sums series."""
        return self.points.compiled and self._products is None

    @property
    def pair_by_pair(self) -> bool:
        """Whether blocks may be arrays of pairs of any shape: rows and columns are then indices, one for each pair."""
        return self._products is not None

    @property
    def bytes_per_point(self) -> int:
        """What the series of one point take, at most."""
        return self._blocks.bytes_per_point

    def focus(self, rows: slice, columns: slice) -> None:
        """Prepare the series of these points; later blocks must lie within them. By default all points are prepared at once."""
        self._blocks.focus(rows, columns)

    def block(self, rows: Index, columns: Index, cov: Covariance) -> dict[Order, np.ndarray]:
        """Every E_ij on a block; cov.q has shape (B, 1), cov.qp (1, M), cov.c and cov.det (B, M), or all (P,) for pairs."""
        result: dict[Order, np.ndarray] = {}
        for order, (value, bad) in zip(self.orders, self._blocks.values(rows, columns, cov), strict=True):
            if bad is not None and bad.any():
                value = np.array(value)
                value[bad] = self._recompute(order, cov, bad)
            result[order] = value
        return result

    def _recompute(self, order: Order, cov: Covariance, bad: np.ndarray) -> np.ndarray:
        i, j = order
        self._one_by_one += int(bad.sum())
        if self._one_by_one > MANY_PAIRS and not self._warned:
            self._warned = True
            low, high = (self._one_by_one * seconds for seconds in SECONDS_ONE_BY_ONE)
            warn(
                f"at least {self._one_by_one} expectations of {self.points.act.name} at variances up to {cov.q.max():.3g} "
                f"in a layer go through quadrature one by one, so far some {low:.0f} to {high:.0f} s; points scaled to "
                "|x|² = n_0 or a nonlinearity with a closed form are faster",
                SlowMethodWarning,
            )
        full = Covariance(
            q=np.broadcast_to(cov.q, cov.c.shape), qp=np.broadcast_to(cov.qp, cov.c.shape), c=cov.c, det=cov.det
        )
        f, g = self.points.functions[i], self.points.functions[j]
        pairs = full.take(bad)
        # closed forms are of one form for all pairs, by their smallest variance
        above = np.minimum(pairs.q, pairs.qp) >= max(regrouped_from(kinds.recognise(one)) for one in (f, g))
        result = np.empty(pairs.q.shape)
        for part in (above, ~above):
            if part.any():
                result[part] = pair_estimate(f, g, pairs.take(part), rtol=self.points.rtol).value
        return result


def _closed_forms(points: Points) -> tuple[closed.Product, ...] | None:
    """Products of derivatives, one an order, if they have closed forms that do not cancel where a series would not."""
    compiled = points.compiled and points.q.size * points.qp.size >= MANY_FOR_COMPILED
    return _closed_between(points.act, points.orders, points.ends, points.rtol, compiled)


@lru_cache(maxsize=1024)
def _closed_between(
    act: Activation, orders: tuple[Order, ...], ends: tuple[tuple[float, float], ...], rtol: float, compiled: bool
) -> tuple[closed.Product, ...] | None:
    """:func:`_closed_forms` for variances between these ends."""
    functions = {k: act.derivative(k) for order in orders for k in order}
    known = {}
    for k, f in functions.items():
        atoms = kinds.recognise(f)
        if atoms is None:
            return None
        known[k] = atoms
    products = {(i, j): closed.Product(known[i], known[j]) for i, j in orders}
    far = max(high for _, high in ends) > TRUSTED
    doubtful = [
        (i, j) for i, j in orders if far or not closed.never_cancels(tuple(known[i].items()), tuple(known[j].items()))
    ]
    if not doubtful:
        return tuple(products[order] for order in orders)
    smooth = act.smoothness == np.inf
    at = np.unique(ends)
    q, qp, rho = (v.ravel() for v in np.meshgrid(at, at, TRIED))
    shared = closed.SharedPairs(Covariance(q=q, qp=qp, c=rho * np.sqrt(q * qp), det=q * qp * (1 - rho**2)))
    for i, j in doubtful:
        found = closed.expected(products[i, j], shared)
        if found is None or (compiled and smooth and found.parts.summands > 1):
            return None
        if smooth and not (found.error <= rtol * np.abs(found.value)).all():
            norms = (lower_norms(functions[k], at)[np.searchsorted(at, v)] for k, v in ((i, q), (j, qp)))
            if not enough(found.value, found.error, rho, *norms, rtol=rtol).all():
                return None
    return tuple(products[order] for order in orders)


class ClosedBlocks:
    """Blocks by closed forms."""

    points: Points
    products: tuple[closed.Product, ...]

    bytes_per_point = 0

    def __init__(self, points: Points, products: tuple[closed.Product, ...]) -> None:
        self.points, self.products = points, products

    def focus(self, rows: slice, columns: slice) -> None:
        """Nothing is prepared."""

    def values(self, rows: Index, columns: Index, cov: Covariance) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """See :class:`Blocks`."""
        shared = closed.SharedPairs(cov)
        for (i, j), product in zip(self.points.orders, self.products, strict=True):
            found = closed.expected(product, shared)
            assert found is not None  # probed at construction
            value = found.value if found.value.shape == cov.c.shape else np.broadcast_to(found.value, cov.c.shape)
            yield (
                value,
                None if self._surely(found, i, j, rows, columns, shared) else self._bad(found, i, j, rows, columns),
            )

    def _bad(self, found: closed.ClosedForm, i: int, j: int, rows: Index, columns: Index) -> np.ndarray:
        cov, rtol = found.cov, self.points.rtol
        value, error = (np.broadcast_to(v, cov.c.shape) for v in (found.value, found.error))
        bad = ~(error <= rtol * np.abs(value))
        if bad.any():
            at = np.nonzero(bad)
            left, right = _points(rows, at, 0), _points(columns, at, -1)
            norms = self.points.norms(i, "rows")[left], self.points.norms(j, "columns")[right]
            bad[at] = ~enough(value[at], error[at], cov.rho[at], *norms, rtol=rtol)
        return bad

    def _surely(
        self, found: closed.ClosedForm, i: int, j: int, rows: Index, columns: Index, shared: closed.SharedPairs
    ) -> bool:
        """Whether bounds for a whole block show that no pair's error is too large."""
        rtol = self.points.rtol
        if found.relative <= rtol:
            return found.surely(rtol)
        if not found.largest < np.inf:
            return False
        if found.surely(rtol):
            return True
        octaves = self.points.octave_norms(i, j)
        if found.largest <= rtol * smallest_scale(*octaves, shared.reach_at_most):
            return True
        if found.largest <= rtol * smallest_scale(*octaves, shared.reach):
            return True
        norms = self.points.norms(i, "rows")[_reach(rows)], self.points.norms(j, "columns")[_reach(columns)]
        return found.largest <= rtol * smallest_scale(*norms, shared.reach)


def _points(index: Index, at: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    """The numbers of the points at some places of a block, of which an index counts along an axis or names all."""
    if isinstance(index, slice):
        return index.start + at[axis]
    return np.asarray(index[at] if index.ndim == len(at) else index[at[axis]])


def _reach(index: Index) -> slice:
    """The points from the first to the last one of an index."""
    return index if isinstance(index, slice) else slice(index.min(), index.max() + 1)


def diagonal_expectations(
    act: Activation, q: np.ndarray, orders: Sequence[Order], *, rtol: float = RTOL
) -> dict[Order, np.ndarray]:
    """E_ij at (x, x): a = b ~ N(0, q), one value a point."""
    shared = closed.SharedPairs(Covariance(q=q, qp=q, c=q, det=np.zeros_like(q)))
    result: dict[Order, np.ndarray] = {}
    for i, j in orders:
        if (j, i) in result:
            result[i, j] = result[j, i]
        else:
            result[i, j] = _at_points(act.derivative(i), act.derivative(j), shared, rtol)
    return result


@lru_cache(maxsize=1024)
def _product(f: Activation, g: Activation) -> closed.Product | None:
    """f(a) g(b) as sums of terms, if they are such sums."""
    first, second = kinds.recognise(f), kinds.recognise(g)
    return None if first is None or second is None else closed.Product(first, second)


def _at_points(f: Activation, g: Activation, shared: closed.SharedPairs, rtol: float) -> np.ndarray:
    """The closed form where it surely is exact, without a look at every pair; else by whatever method."""
    cov, product = shared.cov, _product(f, g)
    if product is not None:
        found = closed.expected(product, shared)
        good = found is not None and (found.surely(rtol) or (found.error <= rtol * np.abs(found.value)).all())
        if found is not None and good and np.isfinite(found.value).all():
            value = found.value + 0.0  # no -0.0
            return value if value.shape == cov.q.shape else np.broadcast_to(value, cov.q.shape)
    unique, back = np.unique(cov.q, return_inverse=True)
    once = Covariance(q=unique, qp=unique, c=unique, det=np.zeros_like(unique))
    return np.asarray(pair_estimate(f, g, once, rtol=rtol).value[back])


def angle_growth(act: Activation, q: np.ndarray) -> float:
    """How much 1 − ρ of nearly parallel points grows in the layer, at most: q E[σ'²]/E[σ²], at the ends of q's octaves."""
    low, high = float(q.min()), float(q.max())
    if not low > 0:
        known = q[q > 0]
        if not known.size:
            return 1.0
        low, high = float(known.min()), float(known.max())
    first, last = math.frexp(low)[1], math.frexp(high)[1]
    return max(_growth(act, first), _growth(act, last))


@lru_cache(maxsize=4096)
def _growth(act: Activation, octave: int) -> float:
    q = np.array([2.0**octave])
    if act.centred and not act.kinks and not act.narrow and kinds.recognise(act) is None:
        # a few digits suffice, which one rule gives
        z, density = half_line(16, log_stretch(2.0 ** (octave / 2)))
        x = 2.0 ** (octave / 2) * np.concatenate([z, -z])
        size, slope = (np.tile(density, 2) @ act.derivative(k)(x, check=False) ** 2 for k in (0, 1))
        if np.isfinite(size) and np.isfinite(slope) and size > 0:
            return float(q[0] * slope / size)
    try:
        with warnings.catch_warnings():
            # of an estimate; that a call takes long is said from another thread, and heard here
            for kind in (PrecisionWarning, RuntimeWarning):
                warnings.simplefilter("ignore", kind)
            found = diagonal_expectations(act, q, ((0, 0), (1, 1)))
    except DivergentExpectationError:
        return 1.0  # slopes are infinite: no kernel that needs them is asked for
    return float(q[0] * found[1, 1][0] / found[0, 0][0]) if found[0, 0][0] > 0 else 1.0
