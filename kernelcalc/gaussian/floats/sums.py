"""Sums of Mehler series over blocks of a Gram matrix, in NumPy or compiled with numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from kernelcalc.errors import MissingExtraError


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
    compiled_block()(np.ascontiguousarray(f), np.ascontiguousarray(g), np.ascontiguousarray(rho), out)
    return out


@lru_cache(maxsize=1)
def compiled_block() -> Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]:
    """The same Horner scheme as one pass over a row of ρ for each term, with fused multiply-adds.

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
    @numba.njit(
        "void(float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1])",
        fastmath={"contract"},
        nogil=True,
        cache=True,
    )
    def block(f, g, rho, out):  # type: ignore[no-untyped-def]
        for i in range(rho.shape[0]):
            total, at = out[i], rho[i]
            total[:] = 0.0
            for k in range(f.shape[0] - 1, -1, -1):
                weight, row = f[k, i], g[k]
                for j in range(total.size):
                    total[j] = total[j] * at[j] + weight * row[j]

    return block
