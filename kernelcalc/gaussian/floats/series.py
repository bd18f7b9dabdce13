r"""Hermite coefficients and the Mehler series.

With the orthonormal Hermite polynomials :math:`h_k = He_k/\sqrt{k!}` and :math:`f_k(q) = E[f(\sqrt q Z) h_k(Z)]`,

.. math:: E[f(a) g(b)] = \sum_k f_k(q)\, g_k(q')\, ρ^k, \qquad \sum_k f_k(q)^2 = E[f(a)^2].

The second identity (Parseval) says how much is left out after K terms, so the truncation error is bounded, not guessed:
:math:`|\sum_{k ≥ K}| ≤ |ρ|^K \sqrt{R_f R_g}`, :math:`R_f = E f^2 - \sum_{k<K} f_k^2`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.errors import NotFiniteError
from kernelcalc.gaussian.floats.jumps import MOST_BY_QUADRATURE, exponential_parts, jump_coefficients, jumps_of
from kernelcalc.gaussian.floats.mesh import doubt, feature_mesh, mesh_radius, mesh_rule, rounds
from kernelcalc.gaussian.floats.nodes import trapezoid
from kernelcalc.gaussian.floats.norms import Cut
from kernelcalc.gaussian.floats.steps import ROW_BLOCK, TERM_BLOCK, by_steps, hidden_between
from kernelcalc.gaussian.floats.taylor import SMALL_VARIANCE, taylor_coefficients

# Series lengths tried one after the other. tanh at q = 1 needs about 60 terms for 1e-15, at q = 25 about 1000; the longest
# ends by ρ^k alone up to MODEST, whatever the function.
LENGTHS = (48, 96, 192, 512, 1024, 2048)
MODEST = 0.98
# Terms that a smooth function gets at once, of which the shorter series are the beginnings: its values cost more.
AT_ONCE = 192
# Panels of width 1 hold less than four waves of series of this length; a tail that ends later is no cheaper than quadrature.
WIDE_TERMS = 1024
# |ρ| up to which a damped norm stands; at large variances most of a function's energy sits in terms that ρ^k suppresses.
DAMPINGS = (0.25, 0.5, 0.75, 0.9, 0.95, MODEST, 1.0)
# Rounding of the energy and of a series' own, of which the tail is the difference (seen: 17).
ROUNDING_LEFT = 32
# From here on the low coefficients of derivatives come from those of the function.
LARGE_VARIANCE = 16.0
AGREED = 1e-12
# The highest derivative in a kernel: all of them are read from one series.
MOST_KERNELS_NEED = 3
# Difference allowed between an expansion and quadrature, which may see a function like log(1 + x²) through its rounding.
CHECKED = 1e-10
# The share of the norm that |f| √φ at the end of the range may have if what lies beyond is no more than that.
UNCOVERED = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesBounds:
    """What is known of a truncated series, one value a row.

    Attributes
    ----------
    norm : ndarray
        √E[f(√q Z)²].
    tail : ndarray
        √R_f: root of the energy beyond the last term, at least the rounding level of the energies it is the difference of.
    error : ndarray
        Bound on the 2-norm of the coefficients' own error.
    damped : ndarray (..., len(DAMPINGS))
        √(Σ_k f_k² r^k) for the r of DAMPINGS: by Cauchy–Schwarz the size of the terms of a series at |ρ| ≤ r.
    noise : ndarray (..., len(DAMPINGS))
        The same of the coefficients' own errors, at most ``error``.
    """

    norm: np.ndarray
    tail: np.ndarray
    error: np.ndarray
    damped: np.ndarray
    noise: np.ndarray

    def __getitem__(self, index: Any) -> SeriesBounds:
        return SeriesBounds(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def cut(self, size: np.ndarray) -> Cut:
        """Each row at its own |ρ| = ``size``, shape (rows,)."""
        rows, tier = np.arange(size.size), np.minimum(np.searchsorted(DAMPINGS, size), len(DAMPINGS) - 1)
        return Cut(tail=self.tail, size=self.damped[rows, tier], noise=self.noise[rows, tier])

    def widest(self, reach: float) -> Cut:
        """One bound for all rows at |ρ| ≤ reach."""
        tier = damping_tier(reach)
        return Cut(tail=self.tail.max(), size=self.damped[:, tier].max(), noise=self.noise[:, tier].max())


def damping_tier(size: float) -> int:
    """Which of DAMPINGS stands for this |ρ|."""
    return min(bisect_left(DAMPINGS, size), len(DAMPINGS) - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class HermiteSeries:
    """Coefficients f_k(q) of one function at several variances, shape (rows, K), with their bounds.

    ``relative`` (rows,) marks rows whose every coefficient is good to rounding of itself, not of the norm.
    """

    coefficients: np.ndarray
    bounds: SeriesBounds
    relative: np.ndarray


def _separate(act: Activation, std: np.ndarray, count: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients, energies E f² and |f| √φ at the ends by panels that resolve f at every row: one recurrence for a block."""
    coefficients = np.empty((std.size, terms))
    energy = np.empty(std.size)
    spill = np.empty(std.size)
    felt = rounds(act, std)
    roots = np.sqrt(np.arange(terms + 1.0)).tolist()
    for start in range(0, std.size, ROW_BLOCK // 4):
        rows = slice(start, start + ROW_BLOCK // 4)
        z, weight, (mesh,) = mesh_rule(((act, std[rows], np.zeros_like(std[rows])),), 1.0, count)
        values = act(std[rows, None] * z)
        half = np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25
        spill[rows] = _spill(values, z)
        if felt or not mesh.resolves:
            # By Bessel's inequality the coefficients feel errors of the values at most by their norm.
            lost = doubt(act, mesh, std[rows, None] * z, rounded=felt)
            spill[rows] += np.sqrt((lost**2 * weight * half**2).sum(axis=-1))
        weighted = values * weight * half
        energy[rows] = (weighted * values * half).sum(axis=-1)
        before, now, after = np.zeros_like(half), half, np.empty_like(half)
        for k in range(terms):
            coefficients[rows, k] = np.einsum("in,in->i", weighted, now)
            np.multiply(z, now, out=after)
            np.subtract(after, np.multiply(before, roots[k], out=before), out=after)
            np.divide(after, roots[k + 1], out=after)
            before, now, after = now, after, before
    return coefficients, energy, spill


def _by_jumps(act: Activation, std: np.ndarray, count: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`_separate` for pieces of polynomials and exponentials: all but the first coefficients without quadrature."""
    jumps = jumps_of(act)
    assert jumps is not None
    first = min(terms, jumps.by_quadrature(float(std.max()) ** 2))
    low, energy, spill = _separate(act, std, count, first)
    parts = [_separate(part, std, count, first)[0] for part in exponential_parts(act)]
    return jump_coefficients(jumps, std, np.stack([*parts, low]), terms), energy, spill + jumps.rounding(std)


def _together(act: Activation, std: np.ndarray, count: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`_separate` for features at 0: one set of panels resolves f at all rows between std and 2·std."""
    coefficients = np.empty((std.size, terms))
    energy = np.empty(std.size)
    spill = np.empty(std.size)
    felt = rounds(act, std)
    octave = np.floor(np.log2(np.maximum(std, np.finfo(np.float64).tiny)))
    # Half a unit of z holds less than four waves of the longest series.
    width = 1.0 if terms <= WIDE_TERMS else 0.5
    for value in np.unique(octave):
        members = np.flatnonzero(octave == value)
        ends = [np.array([extreme]) for extreme in (std[members].min(), std[members].max())]
        z, weight, meshes = mesh_rule(tuple((act, end, np.zeros(1)) for end in ends), width, count)
        # Panels of the two ends that coincide, or lie beyond the range, are empty.
        z, weight = z[weight > 0], weight[weight > 0]
        half = np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25
        for start in range(0, members.size, ROW_BLOCK):
            rows = members[start : start + ROW_BLOCK]
            values = act(std[rows, None] * z)
            spill[rows] = _spill(values, z)
            if felt or not meshes[-1].resolves:
                lost = doubt(act, meshes[-1], std[rows, None] * z, rounded=felt)
                spill[rows] += np.sqrt(lost**2 @ (weight * half**2))
            weighted = values * (weight * half)
            energy[rows] = (weighted * values) @ half
            coefficients[rows] = _hermite_sums(weighted, z, half, terms)
    return coefficients, energy, spill


def _hermite_sums(weighted: np.ndarray, z: np.ndarray, start: np.ndarray, terms: int) -> np.ndarray:
    """Σ_z weighted(z) start(z) h_k(z) for k < terms, (rows, nodes) to (rows, terms); half of symmetric nodes is enough."""
    middle = z.size // 2
    even = odd = weighted
    if np.array_equal(z, -z[::-1]):
        left, right = weighted[:, :middle][:, ::-1], weighted[:, middle:]
        even, odd, z, start = left + right, right - left, z[middle:], start[middle:]
    found = np.empty((len(weighted), terms))
    roots = np.sqrt(np.arange(terms + 1.0)).tolist()
    before, now, after = np.zeros_like(start), start.copy(), np.empty_like(start)
    for first in range(0, terms, TERM_BLOCK):
        last = min(first + TERM_BLOCK, terms)
        basis = np.empty((last - first, z.size))
        for k in range(first, last):
            basis[k - first] = now
            np.multiply(z, now, out=after)
            np.subtract(after, np.multiply(before, roots[k], out=before), out=after)
            np.divide(after, roots[k + 1], out=after)
            before, now, after = now, after, before
        found[:, first:last:2] = even @ basis[::2].T
        found[:, first + 1 : last : 2] = odd @ basis[1::2].T
    return found


def _rounding_norm(act: Activation, std: np.ndarray) -> np.ndarray:
    """√E of the squared rounding errors of f, by coarse steps."""
    z, weight = trapezoid(0)
    density = weight * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(np.sqrt(act.form.rounding(std[:, None] * z) ** 2 @ density))


def _panels_resolve(act: Activation, std: np.ndarray) -> np.ndarray:
    """For each row whether panels resolve f: not so of waves that turn very often, whose steps were compared already."""
    octave = np.frexp(std)[1]
    found = np.empty(std.size, dtype=bool)
    for value in np.unique(octave):
        members = octave == value
        found[members] = feature_mesh(act, mesh_radius(float(std[members].max()))).resolves
    return found


def _spill(values: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Size of |f| φ^{1/2} at the ends of the range: what a function that grows too fast leaves outside."""
    ends = np.abs(values[..., [0, -1]]) * np.exp(-(z[..., [0, -1]] ** 2) / 4)
    return ends.max(axis=-1)


@np.errstate(over="ignore", invalid="ignore")
def hermite_series(
    act: Activation, q: np.ndarray, *, reach: float | None = None, length: int | None = None
) -> HermiteSeries:
    """Hermite coefficients of f at the variances q, resolved to rounding where possible.

    Parameters
    ----------
    act : Activation
        f, without singular part.
    q : ndarray (rows,)
        Variances.
    reach : float, optional
        Largest |ρ| the series will be used at: terms are added until |ρ|^K times the tail is below rounding, or the
        longest length is reached; the tail then says what is missing. By default 1, or MODEST where 1 is out of reach.
    length : int, optional
        Exactly this many terms: two series must have one length for their tails to bound what a product leaves out.

    Notes
    -----
    Smooth functions use the trapezoidal rule, whose error falls as e^{−2πd/h} with the distance d of the nearest pole
    (Trefethen and Weideman, SIAM Review 56, 2014). Functions with kinks or with features between the steps, rows whose
    coefficients still move when the step is halved, or whose energy is not that of panels which resolve f, use those panels.
    The last movement is part of the error.
    Overflow shows as an infinite or undefined error. Small variances take the coefficients from the Taylor expansion at 0
    where there is one.
    """
    q = np.asarray(q, dtype=np.float64)
    std = np.sqrt(q)
    by_jumps = _jumps_suffice(act, float(q.max()))
    smooth = not by_jumps and not act.kinks
    ends = np.array([np.argmin(q), np.argmax(q)])
    resolved = _resolved_energy(act, std[ends]) if smooth else np.empty(2)
    aim = 1.0 if reach is None else reach
    panels = _by_jumps if by_jumps else _together if act.centred else _separate
    made = 0
    for terms in LENGTHS if length is None else (length,):
        if terms > made:
            made = max(terms, AT_ONCE) if smooth and length is None else terms
            whole, energy, spill, moved = by_steps(act, std, made) if smooth else _nothing(std.size, made)
            smooth = smooth and bool((np.abs(energy[ends] - resolved) <= 1e-9 * resolved).all())
            spill += _rounding_norm(act, std) if smooth and rounds(act, std) else 0.0
            hidden = hidden_between(act, std)
            hidden[hidden] = _panels_resolve(act, std[hidden])
            lost = np.arange(std.size)[~(moved <= 64 * EPS * np.sqrt(energy)) | hidden | (not smooth)]
            if lost.size:
                coarse, _, _ = panels(act, std[lost], 24, made)
                whole[lost], energy[lost], spill[lost] = panels(act, std[lost], 32, made)
                moved[lost] = np.linalg.norm(whole[lost] - coarse, axis=1)
        coefficients = np.ascontiguousarray(whole[:, :terms])
        norm = np.sqrt(energy)
        left = energy - np.einsum("ik,ik->i", coefficients, coefficients)
        tail = np.sqrt(np.maximum(left, 2 * EPS * energy))
        relative_tail = tail / np.where(norm > 0, norm, 1.0)
        if _faded(coefficients, left, energy):
            break
        if reach is None and not _ended(relative_tail, terms, aim) and _hopeless(relative_tail, terms, aim):
            aim = min(aim, MODEST)
        if _ended(relative_tail, terms, aim) or _hopeless(relative_tail, terms, aim):
            break
    error = moved + spill + 4 * EPS * norm
    # f φ may grow on beyond the range
    error[spill > UNCOVERED * norm] = np.inf
    noise = np.repeat(error[:, None], len(DAMPINGS), axis=1)
    large = q >= LARGE_VARIANCE
    if act.order and not act.kinks and large.any():
        coefficients[large], noise[large] = _by_parts(act, q[large], coefficients[large], error[large], norm[large])
    relative = np.zeros(q.size, dtype=bool)
    if (q <= SMALL_VARIANCE).any() and _expansion_holds(act):
        expanded, relative = taylor_coefficients(act, q, coefficients.shape[1])
        coefficients[relative] = expanded[relative]
        energy[relative] = (expanded[relative] ** 2).sum(axis=1)
        error = np.where(relative, 4 * EPS * np.sqrt(energy), error)
        noise[relative] = error[relative, None]
    series = with_bounds(coefficients, energy, error)
    return replace(series, bounds=replace(series.bounds, noise=noise), relative=relative)


def _nothing(rows: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Room for what :func:`by_steps` returns."""
    energy, spill, moved = np.empty((3, rows))
    return np.empty((rows, terms)), energy, spill, moved


def _by_parts(
    act: Activation, q: np.ndarray, direct: np.ndarray, error: np.ndarray, norm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""The coefficients of F^{(n)} from those of F where that is finer: F^{(n)}_k = q^{−n/2} √((k+n)!/k!) F_{k+n} (Stein).

    At large variances the low coefficients of a derivative like tanh'' are far below its norm, of which quadrature keeps
    the digits; they decide E[F''(a) F''(b)]. Also returns what is left of the error in the damped norms.
    """
    terms = direct.shape[1]
    noise = np.repeat(error[:, None], len(DAMPINGS), axis=1)
    try:
        series = _of_root(act.root, q.tobytes(), terms + max(MOST_KERNELS_NEED, act.order))
    except NotFiniteError:
        return direct, noise
    k = np.arange(terms)
    factor = q[:, None] ** (-act.order / 2) * np.sqrt(np.prod([k + j + 1.0 for j in range(act.order)], axis=0))
    found = factor * series.coefficients[:, act.order : act.order + terms]
    each = factor * series.bounds.error[:, None]
    finer = each < error[:, None]
    apart = np.linalg.norm(np.where(finer, found - direct, 0.0), axis=1)
    finer &= (apart <= AGREED * norm + error)[:, None]
    powers = np.array(DAMPINGS)[None, :] ** k[:, None]
    # The factor grows with k: coefficients beyond the last finer one keep their common error.
    rest = error[:, None] ** 2 * np.array(DAMPINGS) ** finer.sum(axis=1)[:, None]
    fine = np.where(finer, each, 0.0) ** 2 @ powers + rest
    return np.where(finer, found, direct), np.minimum(noise, np.sqrt(fine))


@lru_cache(maxsize=4)
def _of_root(root: Activation, q: bytes, length: int) -> HermiteSeries:
    """The series that all derivatives of a function are read from, one after the other."""
    return hermite_series(root, np.frombuffer(q), length=length)


@lru_cache(maxsize=256)
def _expansion_holds(act: Activation) -> bool:
    """Whether the Taylor expansion agrees with quadrature at the largest power of 2 where it has converged."""
    candidates = SMALL_VARIANCE * 2.0 ** -np.arange(40)
    expanded, converged = taylor_coefficients(act, candidates, LENGTHS[0])
    if not converged.any():
        return False
    first = int(np.argmax(converged))
    coefficients, energy, _ = _separate(act, np.sqrt(candidates[first : first + 1]), 32, LENGTHS[0])
    return bool(np.linalg.norm(coefficients[0] - expanded[first]) <= CHECKED * np.sqrt(energy[0]))


def _jumps_suffice(act: Activation, q: float) -> bool:
    """Whether a few coefficients by quadrature and the jumps give all."""
    jumps = jumps_of(act)
    return jumps is not None and jumps.by_quadrature(q) <= MOST_BY_QUADRATURE


def _resolved_energy(act: Activation, std: np.ndarray) -> np.ndarray:
    """E f² by panels that resolve f: those of the function that f is a derivative of, with half as many nodes again."""
    z, weight, _ = mesh_rule(((act.root, std, np.zeros(std.size)),), 1.0, 24)
    return (act(std[:, None] * z) ** 2 * weight * np.exp(-(z**2) / 2)).sum(axis=1) / np.sqrt(2 * np.pi)


def _ended(tail: np.ndarray, terms: int, reach: float) -> bool:
    """Whether what a product leaves out, |ρ|^K times both relative tails, is below rounding in every row."""
    return bool((tail * reach ** (terms / 2) <= np.sqrt(4 * EPS)).all())


def _faded(coefficients: np.ndarray, left: np.ndarray, energy: np.ndarray) -> bool:
    """Whether what is left is the rounding of energies: the second half of the coefficients has next to none of it."""
    last = np.einsum("ik,ik->i", *(coefficients[:, coefficients.shape[1] // 2 :],) * 2)
    return bool(((left <= ROUNDING_LEFT * EPS * energy) & (last <= EPS * energy / 4)).all())


def _hopeless(tail: np.ndarray, terms: int, reach: float) -> bool:
    """Whether the longest series would still be far from rounding.

    For a pole at distance d the tail falls as e^{−d√(2K)}, so √K extrapolates its logarithm; kinks fall more slowly.
    """
    # Beyond MODEST a still longer series is no cheaper than quadrature.
    longest = LENGTHS[-1] if reach <= MODEST else WIDE_TERMS
    if terms >= longest or not np.isfinite(tail).all():
        return True
    expected = tail.max() ** np.sqrt(longest / terms) * reach ** (longest / 2)
    return terms > LENGTHS[1] and bool(expected > 1e-4)


def with_bounds(
    coefficients: np.ndarray, energy: np.ndarray, error: np.ndarray, *, slack: float = 2 * EPS
) -> HermiteSeries:
    """Coefficients (rows, K) with what E f² (rows,) and a bound on their own error (rows,) say of the series.

    ``slack`` is the relative error of the energy, below which no tail is seen.
    """
    norm = np.sqrt(energy)
    left = energy - np.einsum("ik,ik->i", coefficients, coefficients)
    tail = np.sqrt(np.maximum(left, slack * energy))
    powers = np.array(DAMPINGS)[None, :] ** np.arange(coefficients.shape[1])[:, None]
    damped = np.empty((norm.size, len(DAMPINGS)))
    for start in range(0, norm.size, ROW_BLOCK):  # squares that stay in the cache
        rows = slice(start, start + ROW_BLOCK)
        damped[rows] = np.sqrt(coefficients[rows] ** 2 @ powers)
    return HermiteSeries(
        coefficients=coefficients,
        bounds=SeriesBounds(
            norm=norm, tail=tail, error=error, damped=damped, noise=np.repeat(error[:, None], len(DAMPINGS), axis=1)
        ),
        relative=np.zeros(norm.size, dtype=bool),
    )


def relative_tails(series: HermiteSeries) -> np.ndarray:
    """For each K the largest √(Σ_{k≥K} f_k²) over the rows, relative to all computed coefficients: the cost of an early end.

    Not relative to ‖f‖, of which the coefficients of a narrow peak hold a tiny part. A row that overflows bounds none.
    """
    largest = np.zeros(series.coefficients.shape[1])
    for start in range(0, len(series.coefficients), ROW_BLOCK):
        energy = np.cumsum(series.coefficients[start : start + ROW_BLOCK, ::-1] ** 2, axis=1)
        whole = np.where(energy[:, -1:] == 0, 1.0, energy[:, -1:])
        energy /= whole
        np.maximum(largest, energy.max(axis=0)[::-1], out=largest)
    return np.where(np.isnan(largest), np.inf, np.sqrt(largest))
