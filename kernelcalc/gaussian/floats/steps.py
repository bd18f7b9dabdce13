"""Hermite coefficients of smooth functions by the trapezoidal rule.

Steps are powers of 2, so nodes are exact: a node rounded by δ moves a coefficient by some √k δ. Half a step adds the nodes
between, and what they add to half of the coefficients is how far these move. A wave that is too fast for the nodes looks like
a slow one there, and may look the same at half a step: what has settled is compared with nodes in between.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.floats.nodes import Z_MAX
from kernelcalc.gaussian.symmetry import symmetry

# The widest step, and how often it is halved at most: down to 1/128, which resolves poles 0.1 from the line.
WIDEST_STEP, MOST_HALVINGS = 2.0**-3, 4
# Polynomials made at once; those for 2048 terms at all nodes are 28 MiB.
TERM_BLOCK = 128
# Levels whose polynomials are made together.
TOGETHER = 3
# Rows treated at once: bounds the table of function values to a few MiB.
ROW_BLOCK = 256
# Steps are halved until coefficients move no more than so many ε, relative to the norm: a little more than rounding moves them.
SETTLED = 16.0
# Where the nodes of the comparison lie, in steps: no small multiple of it is close to a whole number, so waves that are too
# fast have other phases there. In units of 2⁻⁷, for nodes to be exact.
SHIFTED = 49 / 128
# Features narrower than this, in standard deviations, may lie between the nodes of steps that seem to have settled.
BETWEEN_STEPS = 2.0**-5


@cache
def _fresh(level: int) -> tuple[np.ndarray, np.ndarray]:
    """The nodes z ≥ 0 that a level adds, and the step times √φ there; half of it at 0, which stands for both signs."""
    step = WIDEST_STEP / 2**level
    z = np.arange(1.0 if level else 0.0, Z_MAX / step + 1, 2.0 if level else 1.0) * step
    weight = step * _root_density(z)
    if level == 0:
        weight[0] /= 2
    z.flags.writeable = weight.flags.writeable = False
    return z, weight


def _root_density(z: np.ndarray) -> np.ndarray:
    return np.exp(-(z**2) / 4) / (2 * np.pi) ** 0.25


@cache
def _nodes(levels: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([_fresh(level)[0] for level in levels])


@cache
def _table(levels: tuple[int, ...], block: int) -> np.ndarray:
    """h_k √φ at the fresh nodes of some levels for TERM_BLOCK values of k: times √φ they stay bounded for every k."""
    z = _nodes(levels)
    table = np.empty((TERM_BLOCK, z.size))
    before, now = np.zeros_like(z), _root_density(z)
    if block:
        earlier = _table(levels, block - 1)
        k = block * TERM_BLOCK - 1
        before, now = earlier[-1].copy(), (z * earlier[-1] - np.sqrt(k) * earlier[-2]) / np.sqrt(k + 1)
    roots, after = np.sqrt(np.arange(block * TERM_BLOCK, (block + 1) * TERM_BLOCK + 1.0)).tolist(), np.empty_like(z)
    for k in range(TERM_BLOCK):
        table[k] = now
        np.multiply(z, now, out=after)
        np.multiply(before, roots[k], out=before)
        np.subtract(after, before, out=after)
        np.divide(after, roots[k + 1], out=after)
        before, now, after = now, after, before
    table.flags.writeable = False
    return table


def _polynomials(level: int, block: int) -> np.ndarray:
    """The part of one level, (TERM_BLOCK, nodes); nearly all functions need the first ones, which cost no more together."""
    if level >= TOGETHER:
        return _table((level,), block)
    sizes = [_fresh(one)[0].size for one in range(level + 1)]
    return _table(tuple(range(TOGETHER)), block)[:, sum(sizes[:-1]) : sum(sizes)]


def _added(act: Activation, std: np.ndarray, level: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the fresh nodes of a level add to coefficients and energy, and |f| √φ at the last one."""
    z, weight = _fresh(level)
    right, sign = act(std[:, None] * z), symmetry(act)
    left = sign * right if sign else act(-std[:, None] * z)
    energy = (right**2 + left**2) @ (weight * _root_density(z))
    last = np.maximum(np.abs(right[:, -1]), np.abs(left[:, -1])) * np.exp(-(z[-1] ** 2) / 4)
    found = np.zeros((std.size, terms))
    for odd, part in enumerate(((right + left) * weight, (right - left) * weight)):
        if not part.any():
            continue
        for first in range(0, terms, TERM_BLOCK):
            some = found[:, first + odd : first + TERM_BLOCK : 2]
            some[:] = part @ _polynomials(level, first // TERM_BLOCK)[odd::2][: some.shape[1]].T
    return found, energy, last


@cache
def _signs(terms: int) -> np.ndarray:
    """±1 for every coefficient, at random; longer series begin alike."""
    return np.resize(np.random.default_rng(0).choice([-1.0, 1.0], 4096), terms)


@cache
def _between(level: int) -> np.ndarray:
    """Nodes z between those of a level."""
    step = WIDEST_STEP / 2**level
    return (np.arange(-Z_MAX / step, Z_MAX / step) + SHIFTED) * step


@cache
def _signed(level: int, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """h_{K−1} √φ, h_K √φ and Σ_{k<K} ± h_k √φ at the nodes between, K = terms."""
    z = _between(level)
    if not terms:
        return np.zeros_like(z), _root_density(z), np.zeros_like(z)
    first = terms // 2
    before, now, total = (values.copy() for values in _signed(level, first))
    roots, after = np.sqrt(np.arange(terms + 1.0)).tolist(), np.empty_like(z)
    for k, sign in zip(range(first, terms), _signs(terms)[first:].tolist(), strict=True):
        (np.add if sign > 0 else np.subtract)(total, now, out=total)
        np.multiply(z, now, out=after)
        np.multiply(before, roots[k], out=before)
        np.subtract(after, before, out=after)
        np.divide(after, roots[k + 1], out=after)
        before, now, after = now, after, before
    return before, now, total


def _confirmed(act: Activation, std: np.ndarray, level: int, coefficients: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Which rows' coefficients, added with random signs, are the same at nodes between."""
    terms = coefficients.shape[1]
    z = _between(level)
    weight = WIDEST_STEP / 2**level * _root_density(z) * _signed(level, terms)[-1]
    apart = np.abs(act(std[:, None] * z) @ weight - coefficients @ _signs(terms))
    return np.asarray(apart <= SETTLED * EPS * np.sqrt(terms) * norm)


def hidden_between(act: Activation, std: np.ndarray) -> np.ndarray:
    """For each row whether nodes may miss a feature of f(std·z): x² tanh(300 (x² − 1)) differs from x² in |x| < 1 alone."""
    features = act.features
    at, width = (np.array([getattr(f, name) for f in features]) for name in ("at", "width"))
    return ((np.abs(at) < Z_MAX * std[:, None]) & (width < BETWEEN_STEPS * std[:, None])).any(axis=1)


def by_steps(act: Activation, std: np.ndarray, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients f_k (rows, terms), energies E f², |f| √φ at the ends of the range, how far the last halving moved."""
    coefficients = np.empty((std.size, terms))
    energy, spill, moved = np.empty((3, std.size))
    for start in range(0, std.size, ROW_BLOCK):
        rows = np.arange(start, min(start + ROW_BLOCK, std.size))
        coefficients[rows], energy[rows], spill[rows] = _added(act, std[rows], 0, terms)
        for level in range(1, MOST_HALVINGS + 1):
            found, more, _ = _added(act, std[rows], level, terms)
            half = coefficients[rows] / 2
            coefficients[rows], energy[rows] = half + found, energy[rows] / 2 + more
            moved[rows] = np.linalg.norm(found - half, axis=1)
            norm = np.sqrt(energy[rows])
            settled = moved[rows] <= SETTLED * EPS * norm
            # twice the step gives the same there, shifted as well
            settled[settled] = _confirmed(
                act, std[rows[settled]], level - 1, coefficients[rows[settled]], norm[settled]
            )
            rows = rows[~settled]
            if not rows.size:
                break
        moved[rows] = np.inf
    return coefficients, energy, spill, moved
