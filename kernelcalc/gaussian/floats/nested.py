r"""Nested panels: E[f(a) E[g(b)|a]] by Gauss–Legendre panels in a, and in b around its conditional mean.

The inner expectation is g smoothed over the conditional deviation s, hence an entire function of a. Where f needs more
panels than that, it is computed on panels of its own and read off between their nodes: the values taken are then the sum
of what f and g need, not the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import DivergentExpectationError, NotFiniteError
from kernelcalc.gaussian.covariance import Covariance
from kernelcalc.gaussian.estimate import Scaled
from kernelcalc.gaussian.floats.mesh import (
    FAR_OUT,
    FAR_SQUARE,
    MESH_NODES,
    PLACING_STEPS,
    doubt,
    feature_mesh,
    hidden_beyond,
    mesh_radius,
    rounded,
)
from kernelcalc.gaussian.floats.nodes import Z_LAST, legendre, panels
from kernelcalc.gaussian.floats.norms import RTOL
from kernelcalc.gaussian.floats.quadrature import ROUNDING_STEPS, VALUES_AT_ONCE
from kernelcalc.patience import Patience

# Nodes a panel, and fewer for the error.
FINE_NODES, COARSE_NODES = 20, 12
# Standard deviations covered, tried in turn: e^{−z²/2} is below 1e-22 at 10, and at 38 it is the smallest double.
REACHES = (10.0, 16.0, 26.0, Z_LAST)
# Below this what is left there is the end of float64, not a function that grows too fast.
FAINT = 1e-200
# Panels a conditional deviation on which the smoothed g is read off: 20 nodes give it to rounding, 12 to 1e-15 of √E g².
SMOOTH_PANELS = 2
# Panels so many times as long as one beside them are graded towards it.
SHORT_BESIDE = 4
# Rounding of a polynomial of degree 19 between its nodes, in ulp of its largest value.
READING_STEPS = 16
# Width of g's panels over the range from which on they are seen through the rounding of b, some thousand ulp.
FINEST_READ = 2.0**-42
# Of the time of a pair, what the coarser of its two rules takes: the square of 12/20, to 27 %.
COARSE_SHARE = 0.27
# Rows of what is known of g given a.
_VALUE, _SIZE, _NOISE, _FACES, _SPREAD, _BESIDE, _KNOWN = 0, 1, 2, 3, 5, 6, 7

# Conditional deviations below this part of √q' feel the rounding of means where f and g meet in a wedge.
CLOSE = 2.0**-4

# q, q', c and the determinant of one pair.
Pair: TypeAlias = tuple[float, float, float, float]


def nested(f: Activation, g: Activation, cov: Covariance) -> Scaled:
    """E[f(a) E[g(b)|a]] by Gauss–Legendre panels, one pair after the other: slow, for any kinks and features.

    Raises
    ------
    DivergentExpectationError
        If f(a)g(b) grows too fast for the Gaussian weight, or so fast that what counts lies beyond Z_LAST.

    Warns
    -----
    SlowMethodWarning
        If all pairs together take more than ten seconds.
    """
    patience = Patience(
        f"{cov.q.size} of E[{f.name}(a) {g.name}(b)] by nested panels",
        "wider features (smaller factors within the functions), |ρ| further from 1 and fewer pairs are faster",
    )
    pairs = zip(cov.q.tolist(), cov.qp.tolist(), cov.c.tolist(), cov.det.tolist(), strict=True)
    found = [_pair(f, g, pair, _Share(patience, place, cov.q.size)) for place, pair in enumerate(pairs)]
    value, error, magnitude = np.array(found).reshape(-1, 3).T
    return Scaled(value=value, error=error, magnitude=magnitude)


@dataclass(frozen=True)
class _Share:
    """How far one of many pairs is, and where in it one of its two rules."""

    patience: Patience
    place: int
    pairs: int
    first: float = 0.0
    last: float = 1.0

    def done(self, part: float) -> None:
        """So much of this rule is over."""
        self.patience.done((self.place + self.first + part * (self.last - self.first)) / self.pairs)

    def again(self) -> None:
        """This rule was of no use; the first pair tells nothing of how many are, later ones show it by their time."""
        if self.place == 0:
            self.patience.again()

    def between(self, first: float, last: float) -> _Share:
        """One rule of the pair."""
        return _Share(self.patience, self.place, self.pairs, first, last)


def _pair(f: Activation, g: Activation, pair: Pair, share: _Share) -> tuple[float, float, float]:
    """Value, error and E|fg| of one pair."""
    value, rough, error, magnitude = _by_rules(f, g, pair, share, reads=True)
    if abs(value - rough) > RTOL * magnitude + (error - abs(value - rough)):
        # What is read off is not smooth after all: all panels.
        share.again()
        value, rough, error, magnitude = _by_rules(f, g, pair, share, reads=False)
    return value, error, magnitude


def _by_rules(
    f: Activation, g: Activation, pair: Pair, share: _Share, *, reads: bool
) -> tuple[float, float, float, float]:
    """Value, that of the coarser rule, error and E|fg|."""
    q, qp, c, _ = pair
    far = any(hidden_beyond(h, np.sqrt([v]), np.zeros(1), REACHES[0])[0] for h, v in ((f, q), (g, qp)))
    largest = _largest(f, g, pair) if far else 0.0
    for reach in REACHES:
        # What kinks and features further out may hold.
        beyond = 2 * math.erfc(reach / math.sqrt(2)) * largest
        try:
            coarse, fine = (_Rule(f, g, pair, reach, count, reads=reads) for count in (COARSE_NODES, FINE_NODES))
            rough, magnitude, spill, _, spread = coarse.sums(share.between(0.0, COARSE_SHARE))
            last = reach == REACHES[-1] and spill < FAINT
            if not (last or (spill <= 1e-15 * magnitude and beyond <= EPS * magnitude and magnitude > 0)):
                share.again()
                continue
            if spread > FAR_SQUARE * magnitude:
                fine.felt = f.form.known, g.form.known
            value, magnitude, spill, noise, spread = fine.sums(share.between(COARSE_SHARE, 1.0))
            noise += PLACING_STEPS * EPS * spread
        except NotFiniteError:
            break
        error = abs(value - rough) + ROUNDING_STEPS * EPS * magnitude + noise + beyond
        return value, rough, error + (2 * REACHES[-1] * spill if last else 0.0), magnitude
    raise DivergentExpectationError(
        f"f(a)g(b) that a Gaussian can integrate, within {Z_LAST:g} standard deviations",
        f"{f.name}, {g.name} at q1={q}, q2={qp}, c={c}",
        "use smaller variances, or dps=20 if it is finite and lies further out",
    )


@np.errstate(over="ignore", invalid="ignore")
def _largest(f: Activation, g: Activation, pair: Pair) -> float:
    """The largest |f(a)g(b)| within the last reach."""
    found, (q, qp, _, _) = 1.0, pair
    for act, std in ((f, math.sqrt(q)), (g, math.sqrt(qp))):
        mesh, far = feature_mesh(act, mesh_radius(std, reach=Z_LAST)), Z_LAST * std
        # a mesh reaches further, where values may overflow
        at, _ = panels(np.unique(np.clip(mesh.edges, -far, far)), MESH_NODES)
        found *= float((np.abs(act(at, check=False)) + mesh.unresolved(at)).max())
    return found


def _radii(pair: Pair, reach: float) -> tuple[float, float]:
    """How far out a and b may come."""
    q, qp, _, det = pair
    return mesh_radius(math.sqrt(q), reach=reach), mesh_radius(math.sqrt(qp) + math.sqrt(det / q), reach=reach)


class _Rule:
    """Panels of ``count`` nodes up to ``reach`` standard deviations, for one pair; ``reads`` allows to read smooth g off."""

    def __init__(self, f: Activation, g: Activation, pair: Pair, reach: float, count: int, *, reads: bool) -> None:
        q, _, c, det = pair
        self.f, self.g, self.reach, self.count = f, g, reach, count
        self.std, self.spread, self.slope = math.sqrt(q), math.sqrt(det / q), c / q
        self.f_mesh, self.g_mesh = (feature_mesh(h, r) for h, r in zip((f, g), _radii(pair, reach), strict=True))
        self.steps = np.arange(-reach, reach + 0.5)
        # A feature near 0 is met from means far out, whose rounding must be far below its width.
        self.reads = reads and np.diff(self.g_mesh.edges).min() > FINEST_READ * self.g_mesh.edges[-1]
        self.std_p = math.sqrt(pair[1])
        # The coarser rule is for its value alone.
        felt = rounded(f, g, np.array([self.std]), np.array([self.std_p]))
        self.felt = felt if count == FINE_NODES else (False, False)
        sides = (f, self.std), (g, self.std_p)
        self.close = 0 < self.spread < CLOSE * self.std_p
        self.far = any(hidden_beyond(h, np.array([s]), np.zeros(1), FAR_OUT)[0] for h, s in sides)

    def sums(self, share: _Share) -> tuple[float, float, float, float, float]:
        """Value, E|fg|, what is left at the ends of the range, what rounding and unresolved features may add, and, where
        kinks or features lie far out, E (a²/q + b²/q')|fg|, which is what E fg changes by with the logarithms of √q and √q'.
        """
        edges, read, smooth = self._edges(), np.empty(0), self._smooth_panels()
        if smooth < edges.size - 1:
            read = self.reach * self.std * np.linspace(-1, 1, int(smooth) + 1)
            edges = self._within(read, self.std * self.steps, self.f_mesh.edges)
        a, weight = panels(edges, self.count)
        weight = weight * np.exp(-(a**2) / (2 * self.std**2)) / (self.std * np.sqrt(2 * np.pi))
        values = self.f(a)
        left = values * weight
        inner = self._read(read, a, share) if read.size else self._conditional(self.slope * a, share)
        noise = float(np.abs(left) @ inner[_NOISE])
        if self.felt[0] or not self.f_mesh.resolves:
            noise += float((doubt(self.f, self.f_mesh, a, rounded=self.felt[0]) * weight) @ inner[_SIZE])
        spread = np.abs(left) @ (inner[_SIZE] * (a / self.std) ** 2 + inner[_SPREAD]) if self.far else 0.0
        if self.close:
            noise += PLACING_STEPS * EPS * min(float(np.abs(left) @ inner[_BESIDE]), self._norms(values**2 @ weight))
        # What the integrand is worth at the ends of both ranges, a unit of z wide; a panel's last node has little of it.
        edge = (np.abs(values) * np.exp(-(a**2) / (2 * self.std**2)) * inner[_SIZE])[[0, -1]]
        spill = max(edge.max(), float((inner[_FACES:_SPREAD] @ np.abs(left)).max()))
        return float(left @ inner[_VALUE]), float(np.abs(left) @ inner[_SIZE]), spill, noise, float(spread)

    def _norms(self, square: float) -> float:
        """√(E f² E g²), of which the places of kinks change E fg by no more than the rounding of these."""
        edges = np.unique(
            np.clip(np.concatenate([self.std_p * self.steps, self.g_mesh.edges]), *self.std_p * self.steps[[0, -1]])
        )
        b, weight = panels(edges, self.count)
        weight = weight * np.exp(-(b**2) / (2 * self.std_p**2)) / (self.std_p * np.sqrt(2 * np.pi))
        return math.sqrt(square * float(self.g(b) ** 2 @ weight))

    def _within(self, *places: np.ndarray) -> np.ndarray:
        return np.unique(np.clip(np.concatenate(places), -self.reach * self.std, self.reach * self.std))

    def _edges(self) -> np.ndarray:
        """Panels in a that resolve f and E[g(b)|a]."""
        outer = [self.std * self.steps, self.f_mesh.edges]
        if self.slope != 0:
            # E[g(b)|a] has g's features, smoothed over `spread`: finer ones need no panels, kinks a graded set.
            fine = self.g_mesh.edges[np.concatenate([[True], np.diff(self.g_mesh.edges) > self.spread / 4])]
            outer.extend((fine / self.slope, self._graded() / self.slope))
            reach = self.reach * self.std * abs(self.slope)
            doublings = np.ceil(np.log2(reach / self.spread)) if self.spread > 0 else 0
            grades = self.spread * 2.0 ** np.arange(-1, min(doublings, 60))
            outer.extend((k + s * grades) / self.slope for k in self.g.kinks for s in (-1, 1))
            outer.append(np.array(self.g.kinks) / self.slope)
        return self._within(*outer)

    def _graded(self) -> np.ndarray:
        """Edges within long panels of g, towards short ones beside them, whose features reach over by `spread`."""
        edges, gaps = self.g_mesh.edges, np.diff(self.g_mesh.edges)
        away = self.spread * 2.0 ** np.arange(-1, 60)
        beside = np.concatenate([[np.inf], gaps[:-1]]), np.concatenate([gaps[1:], [np.inf]])
        found = []
        for ends, sign, short in ((edges[:-1], 1, beside[0]), (edges[1:], -1, beside[1])):
            at = (gaps > self.spread) & (short < gaps / SHORT_BESIDE)
            within = away < gaps[at, None] / 2
            found.append((ends[at, None] + sign * away)[within])
        return np.concatenate(found)

    def _smooth_panels(self) -> float:
        """How many panels in a let E[g(b)|a] be read off between their nodes."""
        if self.spread == 0 or not self.reads:
            return math.inf
        return math.ceil(2 * self.reach * max(1.0, SMOOTH_PANELS * abs(self.slope) * self.std / self.spread))

    def _read(self, edges: np.ndarray, a: np.ndarray, share: _Share) -> np.ndarray:
        """As :meth:`_conditional` at a, by polynomials through the nodes of the panels between the edges."""
        nodes, _ = legendre(self.count)
        at, _ = panels(edges, self.count)
        table = self._conditional(self.slope * at, share).reshape(_KNOWN, edges.size - 1, self.count)
        coefficients = table @ np.linalg.inv(np.polynomial.legendre.legvander(nodes, self.count - 1)).T
        largest = np.abs(table).max(axis=2)
        found = np.empty((_KNOWN, a.size))
        for start in range(0, a.size, VALUES_AT_ONCE // (_KNOWN * self.count)):
            part = slice(start, start + VALUES_AT_ONCE // (_KNOWN * self.count))
            panel = np.searchsorted(edges[1:-1], a[part], side="right")
            local = (2 * a[part] - edges[panel] - edges[panel + 1]) / (edges[panel + 1] - edges[panel])
            powers = np.polynomial.legendre.legvander(local, self.count - 1)
            found[:, part] = np.einsum("rnk,nk->rn", coefficients[:, panel], powers)
            found[_SIZE, part] = np.maximum(found[_SIZE, part], np.abs(found[_VALUE, part]))
            rounding = READING_STEPS * EPS * largest[_SIZE, panel]
            found[_NOISE, part] = np.maximum(found[_NOISE, part], 0.0) + rounding
            found[_SPREAD:, part] = np.maximum(found[_SPREAD:, part], 0.0)
            found[_FACES:_SPREAD, part] = largest[_FACES:_SPREAD, panel]
        return found

    def _conditional(self, mean: np.ndarray, share: _Share) -> np.ndarray:
        """E[g(b)|a], E[|g(b)| |a], what values of g are in doubt by, |g|e^{−z²/2} at either end and, where
        something lies far out, E[b²|g(b)| |a]/q'; where the spread is small, E[|b z g(b)| |a] over it, by which rounding
        of the mean changes the first: (_KNOWN, n).
        """
        if self.spread > 0 and not (self.close or self.far):
            return self._together(mean, share)
        found = np.zeros((_KNOWN, mean.size))
        edges, reach = self.g_mesh.edges, self.reach * self.spread
        first, last = np.searchsorted(edges, mean - reach), np.searchsorted(edges, mean + reach)
        widest = int((last - first).max()) + self.steps.size
        rows = max(1, VALUES_AT_ONCE // (widest * self.count))
        for start in range(0, mean.size, rows):
            part = slice(start, start + rows)
            own = edges[first[part].min() : last[part].max()]
            found[:, part] = self._block(mean[part, None], own) if self.spread > 0 else self._at(mean[part])
            share.done(min(1.0, (start + rows) / mean.size))
        return found

    def _together(self, mean: np.ndarray, share: _Share) -> np.ndarray:
        """The same from values of g that all means share: b − mean loses no more than b where the spread is not small."""
        found = np.zeros((_KNOWN, mean.size))
        reach = self.reach * self.spread
        low, high = mean.min() - reach, mean.max() + reach
        uniform = self.spread * np.arange(np.floor(low / self.spread), np.ceil(high / self.spread) + 1)
        b, weight = panels(np.unique(np.clip(np.concatenate([uniform, self.g_mesh.edges]), low, high)), self.count)
        values = self.g(b)
        table = np.stack([values, np.abs(values), np.zeros(b.size)])
        if self.felt[1] or not self.g_mesh.resolves:
            table[_NOISE] = doubt(self.g, self.g_mesh, b, rounded=self.felt[1])
        table *= weight / (self.spread * np.sqrt(2 * np.pi))
        rows = max(1, VALUES_AT_ONCE // b.size)
        for start in range(0, mean.size, rows):
            some = mean[start : start + rows]
            near = slice(*np.searchsorted(b, [some.min() - reach, some.max() + reach]))
            density = np.exp(-(((b[near] - some[:, None]) / self.spread) ** 2) / 2)
            found[: len(table), start : start + rows] = table[:, near] @ density.T
            share.done(min(1.0, (start + rows) / mean.size))
        ends = np.abs(self.g(np.stack([mean - reach, mean + reach])))
        found[_FACES:_SPREAD] = ends * math.exp(-(self.reach**2) / 2)
        return found

    def _block(self, mean: np.ndarray, edges: np.ndarray) -> np.ndarray:
        # In units of the conditional deviation: b − mean would cancel where it is far below the mean.
        inside = np.clip((edges - mean) / self.spread, -self.reach, self.reach)
        uniform = np.broadcast_to(self.steps, (mean.size, self.steps.size))
        z, weight = panels(np.sort(np.concatenate([inside, uniform], axis=1), axis=1), self.count)
        weight *= np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        b = mean + self.spread * z
        values = self.g(b)
        right = values * weight
        size = np.abs(right)
        lost = spread = beside = np.zeros(mean.size)
        if self.felt[1] or not self.g_mesh.resolves:
            lost = (doubt(self.g, self.g_mesh, b, rounded=self.felt[1]) * weight).sum(axis=1)
        if self.far:
            spread = (size * (b / self.std_p) ** 2).sum(axis=1)
        if self.close:
            beside = (size * np.abs(b * z)).sum(axis=1) / self.spread
        faces = (np.abs(values[:, [0, -1]]) * np.exp(-(z[:, [0, -1]] ** 2) / 2)).T
        return np.array([right.sum(axis=1), size.sum(axis=1), lost, *faces, spread, beside])

    def _at(self, mean: np.ndarray) -> np.ndarray:
        """Where b is its mean."""
        values, none = self.g(mean), np.zeros(mean.size)
        lost = doubt(self.g, self.g_mesh, mean, rounded=self.felt[1])
        return np.array([values, np.abs(values), lost, none, none, np.abs(values) * (mean / self.std_p) ** 2, none])
