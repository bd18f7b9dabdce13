"""Panels that resolve a function by themselves: adaptive bisection, started from what the expression says of its features."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.gaussian.floats.nodes import Z_LAST, Z_MAX, legendre, panels

MESH_NODES = 16
# Rounding of values shows in the last coefficients and at the samples, at most so much of it.
SEEN_NOISE = 4.0
RESOLVED = 1e-12
# Two rules on panels much wider than a narrow feature may miss the same of its slopes.
RESOLVED_NARROW = 1e-15
# Errors are relative to this part of the largest |f| nearer 0, at least.
SMALL_PART = 1e-6
# A Gaussian that ends at the radius weighs |f| there by e to minus this, as √φ does at Z_MAX: growth hides nothing nearer 0.
# Of what grows as x the largest value is 15 times that of its weighed ones.
WEIGHED, GROWN = Z_MAX**2 / 4, 16.0
# From the widest panel down to 1e-12 of it, or of 1 where that is less: features keep their width however large the
# variance. A function rougher than MAX_ROUGH panels a level stays unresolved, and the difference of two resolutions says so.
MAX_SPLITS, MAX_ROUGH = 40, 200


# Rounding is looked at on these multiples of the standard deviation, for what lies in the tails; kinks and features beyond so
# many deviations may keep all there is there, which the mean of z² then shows.
TAILS, FAR_OUT, FAR_SQUARE = (1.0, 4.0, 16.0), 3.0, 8.0
# Where kinks and features beyond so many deviations hold all there is, the tail behind them does not end at Z_MAX: between
# the two the density falls by e^{−44} = 10⁻¹⁹.
TAIL_WITHIN = 9.0
# Ulp of a kink's place, of the standard deviation and of their quotient, whose change E z²|fg| is.
PLACING_STEPS = 2.0
# Places at which a function that is no expression is looked at: half a millisecond for NumPy's tanh.
LOOKS = 2**15


class Mesh(NamedTuple):
    """Breakpoints, and where halving was given up: panels from ``left`` to ``right``, on which polynomials miss so much."""

    edges: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missed: np.ndarray

    @property
    def resolves(self) -> bool:
        """Whether no panel was given up."""
        return not self.left.size

    def unresolved(self, values: np.ndarray) -> np.ndarray | float:
        """What polynomials miss of f at the values."""
        if self.resolves:
            return 0.0
        panel = np.maximum(np.searchsorted(self.left, values, side="right") - 1, 0)
        return np.where((self.left[panel] <= values) & (values <= self.right[panel]), self.missed[panel], 0.0)


@cache
def _interpolation() -> tuple[np.ndarray, np.ndarray]:
    """From values at a panel's nodes to the last two Legendre coefficients and to all Chebyshev coefficients."""
    nodes, _ = legendre(MESH_NODES)
    last = np.linalg.inv(np.polynomial.legendre.legvander(nodes, MESH_NODES - 1)).T[:, -2:]
    return last, np.linalg.inv(np.polynomial.chebyshev.chebvander(nodes, MESH_NODES - 1)).T


@lru_cache(maxsize=128)
@np.errstate(over="ignore", invalid="ignore")
def feature_mesh(act: Activation, radius: float) -> Mesh:
    """Breakpoints in [−radius, radius] between which f is resolved by a polynomial of degree 15.

    A panel is halved while its last Legendre coefficients, or the interpolation error at samples that crowd geometrically
    around the function's features, exceed 1e-12 of its size, as a Gaussian weighs it: narrow bumps are found because their
    place is known, not because a node happens to hit them.
    """
    transform, waves = _interpolation()
    inside = [k for k in act.kinks if -radius < k < radius]
    start = np.array(sorted({-radius, 0.0, radius, *inside}))
    samples = _samples(act, radius)
    at_samples = act(samples, check=False)
    inner, scale = _inner_scale(act, radius, samples, at_samples)
    left, right = start[:-1], start[1:]
    found, felt = [start], rounds(act, np.array([radius / max(TAILS)]))
    resolved = RESOLVED_NARROW if act.narrow else RESOLVED
    for _ in range(_splits(radius)):
        at, _ = panels(np.stack([left, right], axis=1), MESH_NODES)
        values = act(at, check=False)
        last = values @ transform
        place = np.searchsorted(inner, np.maximum(np.abs(left), np.abs(right)), side="right") - 1
        nearest = np.minimum(np.abs(left), np.abs(right))
        weight = np.exp(WEIGHED * (nearest[:, None] ** 2 - at**2) / radius**2)
        largest = np.abs(np.stack([values, GROWN * weight * values])).max(axis=2)
        error = np.abs(last).max(axis=1)
        panel = np.searchsorted(left, samples, side="right") - 1
        hit = (panel >= 0) & (samples <= right[np.maximum(panel, 0)])
        panel, where = panel[hit], samples[hit]
        local = (2 * where - left[panel] - right[panel]) / (right[panel] - left[panel])
        angles = np.arccos(np.clip(local, -1.0, 1.0))[:, None] * np.arange(MESH_NODES)
        missed = np.abs((np.cos(angles) * (values @ waves)[panel]).sum(axis=1) - at_samples[hit])
        weighed = GROWN * np.exp(WEIGHED * (nearest[panel] ** 2 - where**2) / radius**2)
        for row, factor in zip(largest, (1.0, weighed), strict=True):
            np.maximum.at(row, panel, factor * np.abs(at_samples[hit]))
        size = np.maximum(largest.min(axis=0), SMALL_PART * scale[place])
        # Interpolation magnifies rounding a little more than the coefficients do.
        np.maximum.at(error, panel, missed / 8)
        lost = act.form.rounding(at) if felt else np.zeros(at.shape)
        noise = SEEN_NOISE * np.stack([lost, GROWN * weight * lost]).max(axis=2).min(axis=0)
        rough = ~(error <= resolved * size + noise)
        if not rough.any() or rough.sum() > MAX_ROUGH + 4 * len(act.features):
            left, right, missed = left[rough], right[rough], np.nan_to_num(error[rough], nan=0.0, posinf=0.0)
            break
        middle = (left[rough] + right[rough]) / 2
        found.append(middle)
        left, right = np.concatenate([left[rough], middle]), np.concatenate([middle, right[rough]])
        order = np.argsort(left)
        left, right = left[order], right[order]
    else:
        # As narrow as floats allow: a jump or a pole, of no weight.
        left = right = missed = np.empty(0)
    return Mesh(np.unique(np.concatenate(found)), left, right, missed)


def _inner_scale(
    act: Activation, radius: float, samples: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from 0, and the largest |f| seen up to each: what f is further out, a Gaussian weighs less."""
    # an odd number of places, one of which is 0
    grid = np.linspace(-radius, radius, 401)
    at = np.abs(np.concatenate([grid, samples]))
    order = np.argsort(at)
    size = np.abs(np.concatenate([act(grid, check=False), values]))
    return at[order], np.maximum.accumulate(np.nan_to_num(size[order]))


def _splits(radius: float) -> int:
    return MAX_SPLITS + max(0, int(np.ceil(np.log2(radius))))


def doubt(act: Activation, mesh: Mesh, values: np.ndarray, *, rounded: bool) -> np.ndarray:
    """Bound on what panels that were given up add to f at the values and, if it is ``rounded``, rounding."""
    return (act.form.rounding(values) if rounded else np.zeros(np.shape(values))) + mesh.unresolved(values)


def rounds(act: Activation, std: np.ndarray) -> bool:
    """Whether rounding of f(std·z) is felt more than usual: in narrow features, or where sums cancel."""
    octaves = {*np.frexp(std)[1].ravel().tolist()}
    return act.narrow or act.form.has_short_piece or any(_magnifies(act, octave) for octave in octaves)


@lru_cache(maxsize=1024)
def _magnifies(act: Activation, octave: int) -> bool:
    return any(act.form.magnifies(2.0**octave * tail) for tail in TAILS)


def rounded(f: Activation, g: Activation, std: np.ndarray, std_p: np.ndarray) -> tuple[bool, bool]:
    """Whether rounding of either is to be looked at in a product, in which a sum may cancel where the other is narrow."""
    own = rounds(f, std), rounds(g, std_p)
    first, second = (known or (any(own) and h.form.known and h.form.adds) for h, known in zip((f, g), own, strict=True))
    return first, second


def resolution(radius: float) -> float:
    """Between the places in [−radius, radius] where a plain callable is looked at; finer features would be missed."""
    return 2 * radius / (LOOKS + 0.618)


def _samples(act: Activation, radius: float) -> np.ndarray:
    steps = radius * 2.0 ** -np.arange(0.5, _splits(radius))
    centres = sorted({0.0, *act.kinks, *(f.at for f in act.features)})
    points = np.concatenate([[p, *(p + steps), *(p - steps)] for p in centres])
    if not act.form.known:
        # Nothing tells where to look; a step that is no fraction of the panels does not meet their nodes.
        points = np.concatenate([points, np.arange(-radius, radius, resolution(radius))])
    # A kink itself belongs to two panels, and the function takes the mean of a jump there.
    points = points[(np.abs(points) < radius) & ~np.isin(points, act.kinks)]
    return np.unique(points)


def mesh_radius(std: float, mean: float = 0.0, reach: float = Z_MAX) -> float:
    """Power of two beyond reach standard deviations, so that few different meshes are made."""
    return float(2.0 ** np.ceil(np.log2(max(abs(mean) + reach * std, 1e-12))))


def hidden_beyond(act: Activation, std: np.ndarray, mean: np.ndarray, near: float = Z_MAX) -> np.ndarray:
    """For each row whether a kink or feature of f(mean + std·z) lies further than ``near`` and within Z_LAST."""
    places = _places(act)
    if not (places.any() or mean.any()):
        return np.zeros(std.shape, dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = np.abs((places - mean[:, None]) / std[:, None])
    return ((z > near) & (z < Z_LAST)).any(axis=1)


@lru_cache(maxsize=256)
def _places(act: Activation) -> np.ndarray:
    return np.array([*act.kinks, *(f.at for f in act.features)])


def mesh_rule(
    functions: tuple[tuple[Activation, np.ndarray, np.ndarray], ...],
    width: float,
    count: int,
    more: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, list[Mesh]]:
    """Gauss–Legendre nodes z and weights (rows, n) that resolve every f(mean + std·z) of a row, and the functions' meshes.

    On [−Z_MAX, Z_MAX], or [−Z_LAST, Z_LAST] where a kink or feature lies beyond TAIL_WITHIN: it may hold all there is.

    Parameters
    ----------
    functions : tuple of (Activation, std, mean)
        std and mean of shape (rows,); std may be negative or 0.
    width : float
        Widest panel, in z.
    count : int
        Nodes a panel.
    more : ndarray (rows, ...), optional
        Places in z where panels end too.
    """
    rows = functions[0][1].size
    reach = Z_LAST if any(hidden_beyond(*function, TAIL_WITHIN).any() for function in functions) else Z_MAX
    uniform = np.linspace(-reach, reach, int(np.ceil(2 * reach / width)) + 1)
    parts, meshes = [np.broadcast_to(uniform, (rows, uniform.size))], []
    for act, std, mean in functions:
        meshes.append(feature_mesh(act, mesh_radius(float(np.abs(std).max()), float(np.abs(mean).max()), reach)))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (meshes[-1].edges[None, :] - mean[:, None]) / std[:, None]
        parts.append(np.where(np.isnan(z), reach, np.clip(z, -reach, reach)))
    if more is not None:
        parts.append(np.where(np.isnan(more), reach, np.clip(more, -reach, reach)))
    return *panels(np.sort(np.concatenate(parts, axis=1), axis=1), count), meshes
