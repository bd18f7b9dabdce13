"""Kernels of a few points at once: closed forms, or Hermite coefficients that are kept from call to call."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.gaussian.floats.closed import SharedPairs, expectation
from kernelcalc.gaussian.floats.kinds import Combination, feels_small_angles, recognise
from kernelcalc.gaussian.floats.norms import NORM_EXPONENTS, RTOL
from kernelcalc.gaussian.floats.table import octave_tables
from kernelcalc.kernels.state import (
    DiagonalKernels,
    closure,
    diagonal_of,
    expectation_orders,
    first_layer,
    layer_step,
)

if TYPE_CHECKING:
    from kernelcalc.activations.activation import Activation
    from kernelcalc.kernels.mlp import MLP

# Most points, rows and columns together, treated this way.
MOST_POINTS = 8
# qq' − c² relative to qq' below which points of kinked networks count as nearly parallel.
NEAR_PARALLEL = 1e-6


def few_points(net: MLP, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    """The kernels (N, M) of a few points; None where another way is needed.

    All pairs, and every point with itself, go through the layers together as one array, so a call costs some hundred
    operations on tiny arrays. Expectations are those of a Gram matrix, under the same error bounds: closed forms, or for
    smooth nonlinearities Mehler series.
    """
    n = len(x)
    points = x if x2 is None else np.concatenate([x, x2])
    if len(points) > MOST_POINTS or not net.activations:
        return None
    count = len(points)
    columns = np.arange(n if x2 is None else count)[0 if x2 is None else n :]
    row = np.concatenate([np.arange(count), np.repeat(np.arange(n), columns.size)])
    column = np.concatenate([np.arange(count), np.tile(columns, n)])
    sigma_w2, beta2 = net.sigma_w**2, net.beta**2
    gram = sigma_w2 * (points @ points.T / points.shape[1]) + beta2
    carried = closure(names)
    orders = expectation_orders(carried)
    kernels = first_layer(gram[row, column], carried, np.zeros(row.size))
    for act in net.activations:
        at = diagonal_of(kernels)
        of_layer = act, orders, kernels.sigma, row, column, count
        expectations = _closed_forms(*of_layer)
        if expectations is None and act.smoothness == math.inf:
            expectations = _series(*of_layer)
        if expectations is None:
            return None
        kernels = layer_step(kernels, _take(at, row), _take(at, column), expectations, sigma_w2, beta2)
    result = {}
    for name in names:
        result[name] = np.broadcast_to(getattr(kernels, name), row.shape)[count:].reshape(n, -1).copy()
        if x2 is None:
            np.fill_diagonal(result[name], np.broadcast_to(getattr(kernels, name), row.shape)[:count])
            if name not in ("phi", "lam"):
                upper = np.triu_indices(n, 1)
                result[name].T[upper] = result[name][upper]
    return result


def _take(at: DiagonalKernels, index: np.ndarray) -> DiagonalKernels:
    def part(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[index]

    return DiagonalKernels(sigma=part(at.sigma), theta=part(at.theta), phi=part(at.phi))


def _series(
    act: Activation,
    orders: tuple[tuple[int, int], ...],
    sigma: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    count: int,
) -> dict[tuple[int, int], np.ndarray] | None:
    """E_ij of all pairs, the first ``count`` of them being points with themselves; None if a bound exceeds the tolerance."""
    q = sigma[:count]
    if not (np.isfinite(q) & (q > 0)).all():
        return None
    wanted = tuple(sorted({k for order in orders for k in order}))
    tables = []
    for variance in q.tolist():
        table = octave_tables(act, wanted, math.frexp(variance)[1] - 1)
        if table is None:
            return None
        tables.append(table)
    values = [table.values(variance) for table, variance in zip(tables, q.tolist(), strict=True)]
    lengths = np.array([v.shape[1] - 1 for v in values])
    length = int(lengths.max())
    terms = np.zeros((count, len(wanted), length))
    for point, v in enumerate(values):
        terms[point, :, : lengths[point]] = v[:, :-1]
    energy = np.stack([v[:, -1] for v in values])
    norm = np.sqrt(energy)
    own = np.stack([t.error for t in tables]) * norm
    below = np.stack([t.norms for t in tables])
    # What each series has left beyond the length of each point's: tails bound a product only if both are cut at one length.
    left_over = energy[:, :, None] - np.cumsum(terms**2, axis=2)[:, :, lengths - 1]
    slack = np.stack([t.slack for t in tables])
    tail = np.sqrt(np.maximum(left_over, (slack * energy)[:, :, None]))
    shorter = np.where(lengths[row] <= lengths[column], row, column)

    root = np.sqrt(q)
    rho = sigma / (root[row] * root[column])
    rho[:count] = 1.0
    powers = np.cumprod(
        np.concatenate([np.ones((rho.size, 1)), np.repeat(rho[:, None], length, axis=1)], axis=1), axis=1
    )
    left, right = terms[row], terms[column]
    value = (left * powers[:, None, :length]) @ right.transpose(0, 2, 1)

    def outer(f: np.ndarray, g: np.ndarray) -> np.ndarray:
        return f[row][:, :, None] * g[column][:, None, :]

    beyond = np.abs(powers[np.arange(rho.size), lengths[shorter]])
    error = beyond[:, None, None] * tail[row, :, shorter][:, :, None] * tail[column, :, shorter][:, None, :]
    error += outer(own, norm) + outer(norm, own) + 16 * EPS * outer(norm, norm)
    if not (error <= RTOL * np.abs(value)).all():
        size = np.abs(value) - error
        for index, p in enumerate(NORM_EXPONENTS):
            allowed = (np.abs(rho) <= 1 - p)[:, None, None]
            size = np.maximum(size, np.where(allowed, outer(below[..., index], below[..., index]), 0.0))
        place = {k: i for i, k in enumerate(wanted)}
        enough = error <= RTOL * size
        if not all(enough[:, place[i], place[j]].all() for i, j in orders):
            return None
    return {(i, j): value[:, wanted.index(i), wanted.index(j)] for i, j in orders}


def _closed_forms(
    act: Activation,
    orders: tuple[tuple[int, int], ...],
    sigma: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    count: int,
) -> dict[tuple[int, int], np.ndarray] | None:
    """The same from closed forms; None if there are none or they do not suffice."""
    atoms = _atoms(act, orders)
    q, qp = sigma[row], sigma[column]
    if atoms is None or not (np.isfinite(sigma).all() and (q > 0).all()):
        return None
    det = np.maximum(determinant(q, qp, sigma), 0.0)
    det[:count] = 0.0
    if feels_small_angles(act) and not (det[count:] > NEAR_PARALLEL * (q * qp)[count:]).all():
        return None
    shared = SharedPairs(Covariance(q=q, qp=qp, c=sigma, det=det))
    result = {}
    for i, j in orders:
        found = expectation(atoms[i], atoms[j], shared.cov, shared)
        if found is None or not np.isfinite(found.value).all():
            return None
        if not (found.relative <= RTOL or (found.error <= RTOL * np.abs(found.value)).all()):
            return None
        result[i, j] = found.value
    return result


@lru_cache(maxsize=64)
def _atoms(act: Activation, orders: tuple[tuple[int, int], ...]) -> dict[int, Combination] | None:
    found = {}
    for k in {k for order in orders for k in order}:
        atoms = recognise(act.derivative(k))
        if atoms is None:
            return None
        found[k] = atoms
    return found
