"""Kernels of a few points at once: closed forms, or Hermite coefficients that are kept from call to call."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from kernelcalc.activations.activation import Activation
from kernelcalc.arrays import EPS
from kernelcalc.gaussian.covariance import Covariance, determinant
from kernelcalc.gaussian.floats.closed import SharedPairs, expectation
from kernelcalc.gaussian.floats.kinds import Combination, feels_small_angles, recognise
from kernelcalc.gaussian.floats.layer import angle_growth
from kernelcalc.gaussian.floats.norms import NORM_EXPONENTS, RTOL
from kernelcalc.gaussian.floats.table import octave_tables
from kernelcalc.kernels.fold import Numbers, Pairs, Step, first_kernels, plan, through
from kernelcalc.kernels.layers import Order
from kernelcalc.kernels.network import Network
from kernelcalc.kernels.points import LARGEST_GROWTH, NEAR_PARALLEL
from kernelcalc.kernels.state import DiagonalKernels, PairKernels, turned, with_transposes

# Most points, rows and columns together, treated this way.
MOST_POINTS = 8


class KeptTables(Numbers):
    """float64 expectations of a few pairs: closed forms, or series of smooth nonlinearities from tables that are kept."""

    def __init__(self) -> None:
        self.growth: float = 1.0
        # the least 1 − ρ² of each pair before the nonlinearities so far
        self.least: np.ndarray | None = None

    def expectations(self, step: Step, k: PairKernels, pairs: Pairs) -> tuple[dict[Order, np.ndarray], Any]:
        """E_ij of all pairs.

        Raises
        ------
        AnotherWayError
            No closed form and no table is good enough, or rounding has grown.
        """
        assert isinstance(pairs, OwnDiagonal)
        act = step.activation
        self._watch(act, k.sigma, pairs)
        of_layer = act, step.orders, k.sigma, pairs.rows, pairs.columns, pairs.count
        found = _closed_forms(*of_layer)
        if found is None and act.smoothness == math.inf:
            found = _series(*of_layer)
        if found is None:
            raise AnotherWayError
        return found, None

    def _watch(self, act: Activation, sigma: np.ndarray, pairs: OwnDiagonal) -> None:
        """Leave points to the Gram matrix's way that layers take far apart from where Σ's rounding shows in 1 − ρ²."""
        q, qp, c = (v[pairs.count :] for v in (sigma[pairs.rows], sigma[pairs.columns], sigma))
        size = q * qp
        square = np.divide(c * c, size, out=np.zeros_like(size), where=size > 0)
        apart = np.maximum(1 - square, EPS)
        self.least = apart if self.least is None else np.minimum(self.least, apart)
        # or may have taken so far from less than what rounding leaves to be seen
        self.growth = max(self.growth, 1.0) * angle_growth(act, sigma[: pairs.count])
        hidden = self.growth > LARGEST_GROWTH and (apart <= NEAR_PARALLEL).any()
        if hidden or (apart > LARGEST_GROWTH * self.least).any():
            raise AnotherWayError


class AnotherWayError(Exception):
    """Tables and closed forms do not suffice: the Gram matrix's own way is needed."""


class OwnDiagonal(Pairs):
    """Pairs the first ``count`` of which are the points with themselves: the diagonals are read off the pairs."""

    def __init__(self, rows: np.ndarray, columns: np.ndarray, count: int) -> None:
        super().__init__(rows, columns)
        self.count = count

    def sides(self, step: Step, k: PairKernels) -> tuple[DiagonalKernels, DiagonalKernels]:
        """Σ, Θ, Φ of the rows' and the columns' points."""
        at = DiagonalKernels(sigma=k.sigma, theta=k.theta, phi=k.phi)
        return at.take(self.rows), at.take(self.columns)


def few_points(
    network: Network, x: np.ndarray, x2: np.ndarray | None, names: tuple[str, ...]
) -> dict[str, np.ndarray] | None:
    """The kernels (N, M) of a few points; None where another way is needed.

    All pairs, and every point with itself, go through the layers together as one array, so a call costs some hundred
    operations on tiny arrays. Expectations are those of a Gram matrix, under the same error bounds.
    """
    n = len(x)
    points = x if x2 is None else np.concatenate([x, x2])
    count = len(points)
    if count > MOST_POINTS or not network.activations:
        return None
    if x2 is None:
        upper = np.triu_indices(n, 1)
        row, column = (np.concatenate([np.arange(n), part]) for part in upper)
    else:
        row = np.concatenate([np.arange(count), np.repeat(np.arange(n), count - n)])
        column = np.concatenate([np.arange(count), np.tile(np.arange(n, count), n)])
    numbers, pairs = KeptTables(), OwnDiagonal(row, column, count)
    first, *steps = few_steps(network, names)
    gram = points @ points.T / points.shape[1]
    try:
        # what has overflowed is refused by name where it is asked for
        with np.errstate(over="ignore", invalid="ignore"):
            *_, last = through(steps, first_kernels(first, gram[row, column], numbers), numbers, pairs)
    except AnotherWayError:
        return None
    result = {}
    for name in names:
        found = np.broadcast_to(getattr(last, name), row.shape)
        if x2 is not None:
            result[name] = found[count:].reshape(n, -1).copy()
            continue
        array = result[name] = np.empty((n, n))
        array[row, column] = found
        array.T[upper] = np.broadcast_to(getattr(last, turned(name)), row.shape)[n:]
    return result


@lru_cache(maxsize=64)
def few_steps(network: Network, names: tuple[str, ...]) -> list[Step]:
    """The steps that carry these kernels, their transposes and the diagonals at all pairs; they hold nothing of the points."""
    return plan(network.layers, with_transposes(names), own_diagonal=True)


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
    if feels_small_angles(act, float(q.max())) and not (det[count:] > NEAR_PARALLEL * (q * qp)[count:]).all():
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
