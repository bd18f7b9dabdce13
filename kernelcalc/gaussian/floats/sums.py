"""Sums of Mehler series over blocks of a Gram matrix, in NumPy or compiled with numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from kernelcalc.errors import MissingExtraError

# Pairs up to which all powers of ρ at once are faster than term by term (measured: 64 and 1000 terms).
FEW_PAIRS = 256


def mehler_sum(f: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Σ_k f_k g_k ρ^k by Horner's scheme; f[k] and g[k] must broadcast with ρ."""
    terms = min(len(f), len(g))
    total = f[terms - 1] * g[terms - 1] + np.zeros_like(rho)
    product = np.empty_like(total)
    for k in range(terms - 2, -1, -1):
        np.multiply(total, rho, out=total)
        np.multiply(f[k], g[k], out=product)
        np.add(total, product, out=total)
    return total


def mehler_block(f: np.ndarray, g: np.ndarray, rho: np.ndarray, *, compiled: bool = False) -> np.ndarray:
    """Σ_k f_k g_k ρ^k on a block: f of shape (K, B), g (K, M), ρ (B, M).

    Raises
    ------
    MissingExtraError
        With ``compiled`` where numba is not installed.

    Examples
    --------
    >>> f, g = np.ones((3, 1)), np.ones((3, 2))
    >>> mehler_block(f, g, np.array([[0.5, -1.0]])).tolist()
    [[1.75, 1.0]]
    """
    if not compiled:
        return mehler_sum(f[:, :, None], g[:, None, :], rho)
    out = np.empty(rho.shape)
    compiled_sums().block(f, np.ascontiguousarray(g), np.ascontiguousarray(rho), out)
    return out


def mehler_pairs(
    f: np.ndarray, g: np.ndarray, pairs: tuple[np.ndarray, ...], rho: np.ndarray, *, compiled: bool = False
) -> np.ndarray:
    """The same at pairs (i, j) of a block, ρ of shape (pairs,).

    Examples
    --------
    >>> f, g = np.array([[1.0, 2.0], [1.0, 2.0]]), np.ones((2, 3))
    >>> mehler_pairs(f, g, (np.array([1]), np.array([2])), np.array([0.5])).tolist()
    [3.0]
    """
    i, j = pairs
    if not compiled:
        if rho.size > FEW_PAIRS:
            return mehler_sum(np.take(f, i, axis=1), np.take(g, j, axis=1), rho)
        terms = np.take(f, i, axis=1)
        terms *= np.take(g, j, axis=1)
        powers = np.empty_like(terms)
        powers[0], powers[1:] = 1.0, rho
        terms *= np.multiply.accumulate(powers, axis=0, out=powers)
        return np.asarray(terms.sum(axis=0))
    out = np.empty(rho.shape)
    compiled_sums().pairs(f, g, i, j, np.ascontiguousarray(rho), out)
    return out


class CompiledSums(NamedTuple):
    """Machine code for a block and for single pairs of it."""

    block: Callable[..., None]
    pairs: Callable[..., None]


@lru_cache(maxsize=1)
def compiled_sums() -> CompiledSums:
    """The same Horner scheme, four terms in one pass over a row of ρ, with fused multiply-adds; pairs term by term.

    Raises
    ------
    MissingExtraError
        Where numba is not installed.
    """
    try:
        import numba
    except ImportError as error:
        raise MissingExtraError("numba", "fast", "compiled=True") from error

    # "contract" allows a·b + c in one rounding and nothing else: no reordering, the same result in every run.
    compiled: Any = {"fastmath": {"contract"}, "nogil": True, "cache": True}

    @numba.njit("void(float64[:, :], float64[:, ::1], float64[:, ::1], float64[:, ::1])", **compiled)
    def block(f, g, rho, out):  # type: ignore[no-untyped-def]
        last = f.shape[0] - 1
        whole = last - f.shape[0] % 4
        for i in range(rho.shape[0]):
            total, at = out[i], rho[i]
            total[:] = 0.0
            for k in range(last, whole, -1):
                weight, row = f[k, i], g[k]
                for j in range(total.size):
                    total[j] = total[j] * at[j] + weight * row[j]
            for k in range(whole, -1, -4):
                a, b, c, d = f[k, i], f[k - 1, i], f[k - 2, i], f[k - 3, i]
                p, q, r, s = g[k], g[k - 1], g[k - 2], g[k - 3]
                for j in range(total.size):
                    v = at[j]
                    total[j] = (((total[j] * v + a * p[j]) * v + b * q[j]) * v + c * r[j]) * v + d * s[j]

    @numba.njit("void(float64[:, :], float64[:, :], intp[:], intp[:], float64[::1], float64[::1])", **compiled)
    def pairs(f, g, i, j, rho, out):  # type: ignore[no-untyped-def]
        last = f.shape[0] - 1
        whole = last - f.shape[0] % 4
        out[:] = 0.0
        for k in range(last, whole, -1):
            for n in range(rho.size):
                out[n] = out[n] * rho[n] + f[k, i[n]] * g[k, j[n]]
        for k in range(whole, -1, -4):
            a, b, c, d = f[k], f[k - 1], f[k - 2], f[k - 3]
            p, q, r, s = g[k], g[k - 1], g[k - 2], g[k - 3]
            for n in range(rho.size):
                v, x, y = rho[n], i[n], j[n]
                total = (out[n] * v + a[x] * p[y]) * v + b[x] * q[y]
                out[n] = (total * v + c[x] * r[y]) * v + d[x] * s[y]

    return CompiledSums(block=block, pairs=pairs)
